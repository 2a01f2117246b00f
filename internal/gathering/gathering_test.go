package gathering_test

import (
	"crypto/sha256"
	"encoding/base64"
	"errors"
	"reflect"
	"slices"
	"strings"
	"testing"
	"time"

	"example.com/gatehouse/internal/gathering"
	"example.com/gatehouse/internal/seal"
)

var now = time.Date(2026, 5, 1, 12, 0, 0, 0, time.UTC)

func ring(t testing.TB, key string) *seal.Ring {
	t.Helper()
	r, err := seal.NewRing([]byte(strings.Repeat(key, 32)))
	if err != nil {
		t.Fatal(err)
	}
	return r
}

// whole is a visit with every field set.
func whole() *gathering.Gathering {
	g := gathering.New(now, "shop", "bob", "ticket-1")
	g.Wanted("GET", "/albums/7", sha256.Sum256([]byte("GET /albums/7")))
	g.From, g.Origin, g.ReturnTo, g.Rounds, g.Silent = []byte("12345678"), "https://photos.example.org", "/print?album=7", 1, true
	return g
}

// A visit accepts only its own state, for ten minutes.
func TestCheck(t *testing.T) {
	g := whole()
	other := whole().State()
	for _, c := range []struct {
		state string
		after time.Duration
		want  error
	}{
		{g.State(), 0, nil},
		{g.State(), 10*time.Minute - time.Millisecond, nil},
		{g.State(), 10 * time.Minute, gathering.ErrExpired},
		{other, 0, gathering.ErrUnknown},
		{other, time.Hour, gathering.ErrUnknown},
		{"", 0, gathering.ErrUnknown},
		{g.State()[:8] + other[8:], 0, gathering.ErrUnknown},
	} {
		if err := g.Check(c.state, now.Add(c.after)); !errors.Is(err, c.want) {
			t.Errorf("state %q after %v: %v, want %v", c.state, c.after, err, c.want)
		}
	}
	if !gathering.ValidState(g.State()) || g.State() == other || len(g.State()) != 22 {
		t.Errorf("states %q and %q", g.State(), other)
	}
	for _, state := range []string{"", "A", strings.Repeat("A", 21), strings.Repeat("A", 23), strings.Repeat("A", 21) + "\n", strings.Repeat("A", 21) + "B", strings.Repeat("é", 11)} {
		if gathering.ValidState(state) {
			t.Errorf("%q has the form of a state", state)
		}
	}
}

// A visit knows its own names alone.
func TestRecognises(t *testing.T) {
	g := whole()
	for name, ok := range map[string][2]bool{
		"by": {g.IsBy("shop"), g.IsBy("bob")}, "party": {g.IsFor("bob"), g.IsFor("")}, "ticket": {g.Sent("ticket-1"), g.Sent("ticket-2")},
	} {
		if !ok[0] || ok[1] {
			t.Errorf("%s: own %v, another's %v", name, ok[0], ok[1])
		}
	}
	next := g.Next(now.Add(time.Minute), "ticket-2")
	if next.State() == g.State() || next.Rounds != 2 || !next.Sent("ticket-2") || next.Sent("ticket-1") || !next.IsFor("bob") || next.Ends() != now.Add(11*time.Minute) {
		t.Errorf("%+v follows %+v", next, g)
	}
}

// The client that asked first stays that of later visits, until the last has ended.
// A visit without one has the form that earlier builds know.
func TestSince(t *testing.T) {
	g := whole()
	without, _ := g.Seal(ring(t, "k"), "b")
	g.Since = now.Add(-time.Hour)
	next := g.Next(now, "ticket-2")
	value, fits := next.Seal(ring(t, "k"), "b")
	got, err := gathering.Open(ring(t, "k"), "b", value)
	if err != nil || !fits || !got.Since.Equal(g.Since) || got.Path != g.Path || len(value) <= len(without) {
		t.Errorf("%+v, %v", got, err)
	}
	next.End(now)
	if !next.Since.IsZero() {
		t.Errorf("%+v", next)
	}
	old, err := gathering.Open(ring(t, "k"), "b", without)
	if err != nil || !old.Since.IsZero() {
		t.Errorf("%+v, %v", old, err)
	}
}

// It survives sealing, and opens only with its key, under its binding, unchanged.
func TestSeal(t *testing.T) {
	g := whole()
	value, fits := g.Seal(ring(t, "k"), "b")
	got, err := gathering.Open(ring(t, "k"), "b", value)
	if err != nil || !fits {
		t.Fatal(err, fits)
	}
	if got.State() != g.State() || !got.Ends().Equal(g.Ends()) || !got.IsBy("shop") || !got.IsFor("bob") || !got.Sent("ticket-1") {
		t.Errorf("%+v from %+v", got, g)
	}
	type open struct {
		From, Origin, Method, Path, ReturnTo string
		Request                              [32]byte
		Rounds                               int
		Silent, Done                         bool
	}
	plain := func(g *gathering.Gathering) open {
		return open{string(g.From), g.Origin, g.Method, g.Path, g.ReturnTo, g.Request, g.Rounds, g.Silent, g.Done}
	}
	if !reflect.DeepEqual(plain(got), plain(g)) {
		t.Errorf("%+v from %+v", plain(got), plain(g))
	}
	i := len(value) / 2
	flipped := value[:i] + map[bool]string{true: "B", false: "A"}[value[i] == 'A'] + value[i+1:]
	for name, bad := range map[string]struct{ key, binding, value string }{
		"another key": {"x", "b", value}, "another binding": {"k", "c", value}, "changed": {"k", "b", flipped},
		"cut": {"k", "b", value[:len(value)-4]}, "empty": {"k", "b", ""}, "no base64": {"k", "b", "="},
		"huge": {"k", "b", strings.Repeat("A", 1<<20)},
	} {
		if _, err := gathering.Open(ring(t, bad.key), bad.binding, bad.value); !errors.Is(err, gathering.ErrUnknown) {
			t.Errorf("%s: %v", name, err)
		}
	}
}

// What is too long is left out, as long as the rest fits.
func TestSealLong(t *testing.T) {
	g := whole()
	g.ReturnTo = "/" + strings.Repeat("r", 500)
	if _, fits := g.Seal(ring(t, "k"), "b"); !fits || g.ReturnTo == "" {
		t.Errorf("500 bytes of path: fits %v, path %q", fits, g.ReturnTo)
	}
	g.ReturnTo = "/" + strings.Repeat("r", 2000)
	if value, fits := g.Seal(ring(t, "k"), "b"); !fits || g.ReturnTo != "" || len(value) > gathering.Room {
		t.Errorf("2000 bytes of path: fits %v, path of %d bytes", fits, len(g.ReturnTo))
	}
	g.Wanted(strings.Repeat("M", 99), "/"+strings.Repeat("p", 4000), g.Request)
	if _, fits := g.Seal(ring(t, "k"), "b"); !fits || g.Method != "" || len(g.Path) != 256 {
		t.Errorf("a long request: fits %v, method %q, path of %d bytes", fits, g.Method, len(g.Path))
	}
	g.Origin = strings.Repeat("o", 4000)
	if _, fits := g.Seal(ring(t, "k"), "b"); fits {
		t.Error("an origin of 4000 bytes fits")
	}
}

// Visits for one request, one soon after the other, are counted.
func TestFollow(t *testing.T) {
	before := whole()
	before.Rounds = 0
	before.End(now)
	have := []gathering.Sealed{{Name: "gone"}, {Name: "ended", Gathering: before}, {Name: "under way", Gathering: whole()}}
	for name, c := range map[string]struct {
		g      *gathering.Gathering
		after  time.Duration
		rounds int
		names  int
	}{
		"at once":         {whole(), 0, 1, 1},
		"within a minute": {whole(), time.Minute - time.Millisecond, 1, 1},
		"later":           {whole(), time.Minute, 0, 1},
		"another party":   {gathering.New(now, "shop", "ana", "t"), 0, 0, 0},
		"another request": {gathering.New(now, "shop", "bob", "t"), 0, 0, 0},
	} {
		c.g.Rounds = 0
		if got := c.g.Follow(have, now.Add(c.after)); c.g.Rounds != c.rounds || len(got) != c.names {
			t.Errorf("%s: %d rounds, %d counted; want %d, %d", name, c.g.Rounds, len(got), c.rounds, c.names)
		}
	}
}

// Of too many visits the oldest go, and first what cannot be opened.
func TestFit(t *testing.T) {
	sealed := func(name string, after time.Duration) gathering.Sealed {
		return gathering.Sealed{Name: name, Value: strings.Repeat("v", 400), Gathering: gathering.New(now.Add(after), "", "", "")}
	}
	names := func(list []gathering.Sealed) (all string) {
		for _, s := range list {
			all += s.Name
		}
		return all
	}
	have := []gathering.Sealed{sealed("b", 2), sealed("a", 1*time.Second), {Name: "x", Value: "garbage"}, sealed("c", 3*time.Second)}
	if got := names(gathering.Fit(have, sealed("new", time.Minute))); got != "xb" {
		t.Errorf("%q goes", got)
	}
	if got := names(gathering.Fit(have[:2], sealed("new", time.Minute))); got != "" {
		t.Errorf("%q goes though all fit", got)
	}
	if got := names(gathering.Fit(have, gathering.Sealed{Value: strings.Repeat("v", 2000)})); len(got) != 4 {
		t.Errorf("%q goes for one that fills the room", got)
	}
}

func FuzzOpen(f *testing.F) {
	ring := ring(f, "k")
	value, _ := whole().Seal(ring, "b")
	sealed, err := base64.RawURLEncoding.DecodeString(value)
	if err != nil {
		f.Fatal(err)
	}
	plain, err := ring.Open("gatehouse/gathering", []byte("b"), sealed)
	if err != nil {
		f.Fatal(err)
	}
	f.Add(plain)
	f.Add(plain[:len(plain)-1])
	f.Add(append(slices.Clone(plain), 0, 0, 1, 2, 3, 4, 5, 6))
	f.Add(append(slices.Clone(plain), 0, 0, 1))
	f.Add([]byte{})
	f.Add([]byte(strings.Repeat("\xff", 200)))
	f.Fuzz(func(t *testing.T, plain []byte) {
		g, err := gathering.Open(ring, "b", base64.RawURLEncoding.EncodeToString(ring.Seal("gatehouse/gathering", []byte("b"), plain)))
		if err != nil {
			if !errors.Is(err, gathering.ErrUnknown) {
				t.Fatal(err)
			}
			return
		}
		again, fits := g.Seal(ring, "b")
		if got, err := gathering.Open(ring, "b", again); fits && (err != nil || got.State() != g.State() || got.Path != g.Path) {
			t.Fatalf("%v: %+v from %+v", err, got, g)
		}
	})
}
