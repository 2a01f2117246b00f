package attempt_test

import (
	"bytes"
	"encoding/base64"
	"errors"
	"fmt"
	"reflect"
	"strings"
	"testing"
	"time"

	"example.com/gatehouse/internal/attempt"
	"example.com/gatehouse/internal/seal"
)

var (
	now   = time.Date(2026, 5, 1, 12, 0, 0, 0, time.UTC)
	marks = []attempt.Mark{{Name: strings.Repeat("A", 22), Number: 1}, {Name: base64.RawURLEncoding.EncodeToString([]byte("sixteen bytes ok")), Number: 1 << 60}}
)

func ring(t testing.TB, keys ...string) *seal.Ring {
	t.Helper()
	var all [][]byte
	for _, k := range keys {
		all = append(all, []byte(strings.Repeat(k, 32)))
	}
	r, err := seal.NewRing(all...)
	if err != nil {
		t.Fatal(err)
	}
	return r
}

// State, nonce and verifier have their lengths, differ from each other and from
// those of any other attempt, and survive sealing and opening.
func TestDerived(t *testing.T) {
	seen := map[string]bool{}
	for range 100 {
		a := attempt.New(now)
		for what, c := range map[string]struct {
			value string
			size  int
		}{"state": {a.State(), 22}, "nonce": {a.Nonce(), 22}, "verifier": {a.Verifier(), 43}} {
			if len(c.value) != c.size || strings.Trim(c.value, "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_") != "" || seen[c.value] {
				t.Errorf("%s %q, seen before: %v", what, c.value, seen[c.value])
			}
			seen[c.value] = true
		}
		if !attempt.ValidState(a.State()) {
			t.Errorf("state %q does not have the form of a state", a.State())
		}
	}
}

func TestValidState(t *testing.T) {
	for _, state := range []string{
		"", "A", strings.Repeat("A", 21), strings.Repeat("A", 23), strings.Repeat("A", 21) + "=", strings.Repeat("A", 21) + "/", strings.Repeat("A", 21) + "\n",
		strings.Repeat("A", 21) + "\r", strings.Repeat("A", 22) + "\n", strings.Repeat("\u00e9", 11), strings.Repeat("A", 1<<20),
	} {
		if attempt.ValidState(state) {
			t.Errorf("%.40q has the form of a state", state)
		}
	}
}

// An attempt accepts only its own state, for ten minutes.
func TestCheck(t *testing.T) {
	a := attempt.New(now.Add(999 * time.Microsecond))
	if !a.Begin.Equal(now) || !a.Ends().Equal(now.Add(10*time.Minute)) {
		t.Errorf("from %v to %v", a.Begin, a.Ends())
	}
	other := attempt.New(now).State()
	for _, c := range []struct {
		state string
		after time.Duration
		want  error
	}{
		{a.State(), 0, nil},
		{a.State(), 10*time.Minute - time.Millisecond, nil},
		{a.State(), 10 * time.Minute, attempt.ErrExpired},
		{a.State(), time.Hour, attempt.ErrExpired},
		{other, 0, attempt.ErrUnknown},
		{other, time.Hour, attempt.ErrUnknown},
		{strings.ToLower(a.State()), 0, attempt.ErrUnknown},
		{"", 0, attempt.ErrUnknown},
		{a.State()[:8] + other[8:], 0, attempt.ErrUnknown},
	} {
		if err := a.Check(c.state, now.Add(c.after)); !errors.Is(err, c.want) {
			t.Errorf("state %q after %v: %v, want %v", c.state, c.after, err, c.want)
		}
	}
}

// If several requirements ask, the shortest age and all scopes count.
func TestAsk(t *testing.T) {
	a := attempt.New(now)
	if a.AskScopes(); a.Scopes != "" || a.Aged {
		t.Errorf("nothing requested: scopes %q, aged %v", a.Scopes, a.Aged)
	}
	a.AskScopes("write", "admin")
	a.AskScopes("read", "write")
	if a.Scopes != "admin read write" {
		t.Errorf("scopes %q", a.Scopes)
	}
	for _, c := range []struct{ asked, want time.Duration }{
		{1000 * 24 * time.Hour, 400 * 24 * time.Hour}, {time.Hour, time.Hour}, {2 * time.Hour, time.Hour}, {90*time.Second + time.Millisecond, 90 * time.Second}, {0, 0}, {time.Second, 0},
	} {
		if a.AskAge(c.asked); !a.Aged || a.MaxAge != c.want {
			t.Errorf("%v requested: %v, want %v", c.asked, a.MaxAge, c.want)
		}
	}
}

// whole is an attempt with every field set.
func whole(t testing.TB) *attempt.Attempt {
	t.Helper()
	first := attempt.New(now)
	first.Aged, first.MaxAge, first.Scopes, first.ACR = true, time.Hour, "admin", "2 urn:example:gold"
	first.Asked, first.From, first.ReturnTo = []byte("12345678"), []byte("87654321"), "/notes/?a=b"
	a, err := first.Again(now, marks...)
	if err != nil {
		t.Fatal(err)
	}
	a.Grant, a.Silent, a.Params, a.Essential = true, true, "prompt=none", "\x00\x01a"
	a.Answer, a.Beside = "\x0b", "gh-1=id.mark.mark"
	return a
}

// An attempt that starts over asks for the same with a new state. It knows the
// marks that made it start over. It starts over at most twice.
func TestAgain(t *testing.T) {
	a := whole(t)
	for i := range marks {
		if !a.Carries(marks[i]) || a.Carries(attempt.Mark{Name: marks[i].Name, Number: marks[i].Number + 1}) || attempt.New(now).Carries(marks[i]) {
			t.Errorf("mark %d is not carried unchanged", i)
		}
	}
	next, err := a.Again(now.Add(time.Minute))
	if err != nil {
		t.Fatal(err)
	}
	if next.State() == a.State() || next.Carries(marks[0]) || !next.Begin.Equal(now.Add(time.Minute)) || next.Grant {
		t.Errorf("%+v after %+v", next, a)
	}
	if !next.Aged || next.MaxAge != a.MaxAge || next.Scopes != a.Scopes || next.ACR != a.ACR || !bytes.Equal(next.Asked, a.Asked) || !bytes.Equal(next.From, a.From) || next.ReturnTo != a.ReturnTo {
		t.Errorf("%+v asks for less than %+v", next, a)
	}
	if _, err := next.Again(now); err != attempt.ErrRestarts {
		t.Errorf("a third restart: %v", err)
	}
	if a := attempt.New(now); !a.FirstBegin().Equal(now) {
		t.Errorf("a first attempt began at %v", a.FirstBegin())
	}
	next, err = attempt.New(now).Again(now.Add(time.Minute))
	if err != nil {
		t.Fatal(err)
	}
	if again, err := attempt.Open(ring(t, "k"), "b", next.Seal(ring(t, "k"), "b")); err != nil || !again.FirstBegin().IsZero() {
		t.Errorf("one that has started over began at %v, %v", again.FirstBegin(), err)
	}
}

// However an attempt starts over, it may end in the same session, so that a
// sign-out that knows one of its states ends it. Everything that the provider
// is told is new.
func TestStartsOver(t *testing.T) {
	again := func(a *attempt.Attempt) (*attempt.Attempt, error) { return a.Again(now, marks...) }
	retry := func(a *attempt.Attempt) (*attempt.Attempt, error) { return a.Retry(now) }
	for name, steps := range map[string][]func(*attempt.Attempt) (*attempt.Attempt, error){
		"logouts first": {again, again, retry}, "trouble first": {retry, again, again}, "in between": {again, retry, again},
	} {
		t.Run(name, func(t *testing.T) {
			a := attempt.New(now)
			first, seen := a.SessionID(), map[string]bool{a.State(): true, a.Nonce(): true, a.Verifier(): true}
			for i, step := range steps {
				next, err := step(a)
				if err != nil {
					t.Fatal(err)
				}
				if a, err = attempt.Open(ring(t, "k"), "b", next.Seal(ring(t, "k"), "b")); err != nil {
					t.Fatal(err)
				}
				for _, of := range []*attempt.Attempt{next, a} {
					if of.SessionID() != first || of.State() != next.State() || of.Check(next.State(), now) != nil {
						t.Errorf("step %d: another session or state", i)
					}
				}
				seen[a.State()], seen[a.Nonce()], seen[a.Verifier()] = true, true, true
			}
			if len(seen) != 3*4 {
				t.Errorf("%d different values in four attempts", len(seen))
			}
		})
	}
}

// Latest is the end of the last callback, with every start over as late as can be.
func TestLatest(t *testing.T) {
	const callback, page = 9 * time.Second, 50 * time.Minute
	again := func(a *attempt.Attempt) (*attempt.Attempt, error) { return a.Again(a.Ends().Add(callback)) }
	retry := func(a *attempt.Attempt) (*attempt.Attempt, error) { return a.Retry(a.Ends().Add(page + callback)) }
	for name, steps := range map[string][]func(*attempt.Attempt) (*attempt.Attempt, error){
		"logouts first": {again, again, retry}, "trouble first": {retry, again, again}, "in between": {again, retry, again},
	} {
		a := attempt.New(now)
		latest := a.Latest(page, callback)
		for _, step := range steps {
			next, err := step(a)
			if err != nil {
				t.Fatal(name, err)
			}
			if a = next; !a.Latest(page, callback).Equal(latest) {
				t.Errorf("%s: %v, and before %v", name, a.Latest(page, callback), latest)
			}
		}
		if end := a.Ends().Add(callback); !end.Equal(latest) {
			t.Errorf("%s: the last callback ends %v, and should %v", name, end, latest)
		}
	}
}

// Of an attempt that has expired, the new start has the return path and the session
// that a sign-out may know already, and nothing else.
func TestRetryTooLate(t *testing.T) {
	a := whole(t)
	late := a.Ends()
	next, err := a.Retry(late)
	if err != nil {
		t.Fatal(err)
	}
	if next.SessionID() != a.SessionID() || next.State() == a.State() || next.Check(next.State(), late) != nil || next.ReturnTo != a.ReturnTo || next.Scopes != "" || next.ACR != "" || next.Aged || next.Grant || next.Silent || next.Params != "" || next.Essential != "" || next.Asked != nil || next.From != nil || next.Answer != a.Answer || next.Beside != "" {
		t.Errorf("%+v after %+v", next, a)
	}
	if _, err := next.Retry(next.Ends()); err != attempt.ErrRestarts {
		t.Errorf("a second retry: %v", err)
	}
}

// flipped changes one character in the middle, so that it decodes to other
// bytes.
func flipped(value string) string {
	i, c := len(value)/2, "A"
	if value[i] == 'A' {
		c = "B"
	}
	return value[:i] + c + value[i+1:]
}

// Opening a value returns what was sealed. It fails under another binding or
// without the key.
func TestSealAndOpen(t *testing.T) {
	a := whole(t)
	value := a.Seal(ring(t, "k"), "party cookie-1")
	got, err := attempt.Open(ring(t, "j", "k"), "party cookie-1", value)
	if err != nil {
		t.Fatal(err)
	}
	if got.Begin = got.Begin.UTC(); parts(got) != parts(a) {
		t.Errorf("%+v was sealed, %+v opened", a, got)
	}
	if _, err := got.Again(now); err != nil {
		t.Errorf("after one restart: %v", err)
	}
	plain := base64.RawURLEncoding.EncodeToString
	for name, c := range map[string]struct {
		ring           *seal.Ring
		binding, value string
		want           error
	}{
		"another cookie":     {ring(t, "k"), "party cookie-2", value, attempt.ErrUnknown},
		"another party":      {ring(t, "k"), "other cookie-1", value, attempt.ErrUnknown},
		"another key":        {ring(t, "j"), "party cookie-1", value, seal.ErrUnknownKey},
		"changed":            {ring(t, "k"), "party cookie-1", flipped(value), attempt.ErrUnknown},
		"shorter":            {ring(t, "k"), "party cookie-1", value[:len(value)-4], attempt.ErrUnknown},
		"padded":             {ring(t, "k"), "party cookie-1", value + "=", attempt.ErrUnknown},
		"too long":           {ring(t, "k"), "party cookie-1", strings.Repeat("A", 3073), attempt.ErrUnknown},
		"empty":              {ring(t, "k"), "party cookie-1", "", attempt.ErrUnknown},
		"of another use":     {ring(t, "k"), "party cookie-1", plain(ring(t, "k").Seal("gatehouse/session", []byte("party cookie-1"), make([]byte, 50))), attempt.ErrUnknown},
		"sealed but too few": {ring(t, "k"), "party cookie-1", plain(ring(t, "k").Seal("gatehouse/attempt", []byte("party cookie-1"), make([]byte, 41))), attempt.ErrUnknown},
	} {
		t.Run(name, func(t *testing.T) {
			got, err := attempt.Open(c.ring, c.binding, c.value)
			if got != nil || !errors.Is(err, c.want) || !errors.Is(err, attempt.ErrUnknown) {
				t.Errorf("%+v, %v", got, err)
			}
		})
	}
}

// A cookie fits into 512 bytes with its name, or into 3 KiB if its path needs
// it. Scopes of ordinary length stay beside any path; longer ones are dropped,
// and so is a path that is longer than any.
func TestSize(t *testing.T) {
	long := func(n int) string { return strings.Repeat("s", n) }
	for _, c := range []struct {
		scopes, path         int
		keptScopes, keptPath bool
		size                 int
	}{
		{20, 20, true, true, 512}, {60, 60, true, true, 512}, {500, 60, false, true, 512}, {200, 200, false, true, 512},
		{500, 500, false, true, 900}, {0, 500, true, true, 900}, {500, 2000, false, true, 3072}, {20, 2200, true, false, 512},
		{100, 256, true, true, 900}, {100, 500, true, true, 1200}, {100, 2000, true, true, 3072}, {250, 10, false, true, 512},
	} {
		a := whole(t)
		a.Scopes, a.ACR, a.ReturnTo, a.Params, a.Essential = long(c.scopes), "", "/"+long(c.path), "", ""
		a.Answer, a.Beside = "", ""
		value := a.Seal(ring(t, "k"), "b")
		if n := len("__Host-gh-12345678-12345678=") + len(value); n > c.size {
			t.Errorf("scopes of %d and a path of %d: %d bytes", c.scopes, c.path, n)
		}
		got, err := attempt.Open(ring(t, "k"), "b", value)
		if err != nil {
			t.Fatal(err)
		}
		if (got.Scopes == long(c.scopes)) != c.keptScopes || (got.ReturnTo == "/"+long(c.path)) != c.keptPath || got.State() != a.State() || !got.Carries(marks[1]) {
			t.Errorf("scopes of %d and a path of %d: scopes of %d, a path of %d", c.scopes, c.path, len(got.Scopes), len(got.ReturnTo))
		}
		if got.SessionID() != a.SessionID() {
			t.Error("the attempt would end in another session")
		}
	}
}

// The acr_values stay beside any path as well, before the scopes do.
func TestSizeOfACR(t *testing.T) {
	for _, c := range []struct {
		acr, scopes, path   int
		keptACR, keptScopes bool
	}{
		{30, 30, 20, true, true}, {80, 0, 2000, true, true}, {80, 500, 2000, true, false}, {80, 500, 20, true, false}, {500, 500, 20, false, false}, {500, 0, 2000, false, true},
	} {
		a := whole(t)
		a.Params, a.Essential = "", ""
		a.ACR, a.Scopes, a.ReturnTo = strings.Repeat("a", c.acr), strings.Repeat("s", c.scopes), "/"+strings.Repeat("p", c.path)
		a.Answer, a.Beside = "", ""
		value := a.Seal(ring(t, "k"), "b")
		got, err := attempt.Open(ring(t, "k"), "b", value)
		if err != nil {
			t.Fatal(err)
		}
		if (len(got.ACR) == c.acr) != c.keptACR || (len(got.Scopes) == c.scopes) != c.keptScopes || len(got.ReturnTo) != c.path+1 || len(value) > 3040 || c.path < 100 && len(value) > 480 {
			t.Errorf("%+v: acr_values of %d, scopes of %d, a path of %d, in %d bytes", c, len(got.ACR), len(got.Scopes), len(got.ReturnTo), len(value))
		}
	}
}

// Parameters are left out first. What has to be checked stays, beside the longest
// marks and digests, in 512 bytes; without its parameters the attempt cannot ask
// for it again, and does not start over.
func TestSizeOfWhatIsChecked(t *testing.T) {
	for _, c := range []struct {
		params, scopes, path int
		kept                 bool
	}{{20, 20, 10, true}, {60, 60, 10, false}, {600, 0, 10, false}, {600, 0, 2000, false}, {20, 0, 2000, true}} {
		a := whole(t)
		a.Answer, a.Beside = "", ""
		a.Grant, a.ACR, a.Scopes, a.ReturnTo = false, "", strings.Repeat("s", c.scopes), "/"+strings.Repeat("p", c.path)
		a.Asked, a.Params, a.Essential = []byte(strings.Repeat("d", 32)), strings.Repeat("p", c.params), strings.Repeat("e", 160)
		if c.kept {
			a.Essential = a.Essential[:40]
		}
		essential := a.Essential
		value := a.Seal(ring(t, "k"), "b")
		if limit := 3040; len(value) > limit || c.path < 100 && len(value) > 480 {
			t.Errorf("%+v: %d bytes", c, len(value))
		}
		got, err := attempt.Open(ring(t, "k"), "b", value)
		if err != nil {
			t.Fatal(err)
		}
		if got.Essential != essential || (got.Params != "") != c.kept || !got.Silent {
			t.Errorf("%+v: %d bytes of what is checked, %d of parameters, silent %v", c, len(got.Essential), len(got.Params), got.Silent)
		}
		_, again := got.Again(now)
		_, retry := got.Retry(now)
		if (again == nil) != c.kept || (retry == nil) != c.kept {
			t.Errorf("%+v: starts over with %v and %v", c, again, retry)
		}
		if _, late := got.Retry(got.Ends()); late != nil {
			t.Errorf("%+v: too late: %v", c, late)
		}
	}
}

// What the answer has to be stays whatever else is left out, and so does what the
// browser will not bring along, unless it is far too long. Without either an
// attempt takes no room for them.
func TestSizeOfAnswer(t *testing.T) {
	for _, c := range []struct {
		beside, scopes, path   int
		keptBeside, keptScopes bool
	}{
		{110, 20, 20, true, true}, {110, 100, 2000, true, false}, {150, 0, 2000, true, true}, {600, 0, 20, false, true},
	} {
		a := attempt.New(now)
		a.From, a.Answer, a.Beside = []byte("87654321"), "\x0b", strings.Repeat("b", c.beside)
		a.Scopes, a.ReturnTo = strings.Repeat("s", c.scopes), "/"+strings.Repeat("p", c.path)
		value := a.Seal(ring(t, "k"), "b")
		got, err := attempt.Open(ring(t, "k"), "b", value)
		if err != nil {
			t.Fatal(err)
		}
		if got.Answer != "\x0b" || (len(got.Beside) == c.beside) != c.keptBeside || (len(got.Scopes) == c.scopes) != c.keptScopes || len(got.ReturnTo) != c.path+1 || len(value) > 3040 {
			t.Errorf("%+v: answer %q, %d beside, scopes of %d, in %d bytes", c, got.Answer, len(got.Beside), len(got.Scopes), len(value))
		}
	}
	a := attempt.New(now)
	a.Answer = strings.Repeat("x", 9)
	if _, err := attempt.Open(ring(t, "k"), "b", a.Seal(ring(t, "k"), "b")); !errors.Is(err, attempt.ErrUnknown) {
		t.Errorf("an answer of 9 bytes: %v", err)
	}
}

// FuzzAttempt: what the seal protects is read back as it was written.
func FuzzAttempt(f *testing.F) {
	const domain, binding = "gatehouse/attempt", "b"
	r := ring(f, "k")
	open := func(sealed string) []byte {
		b, err := base64.RawURLEncoding.DecodeString(sealed)
		if err != nil {
			f.Fatal(err)
		}
		plain, err := r.Open(domain, []byte(binding), b)
		if err != nil {
			f.Fatal(err)
		}
		return plain
	}
	full := open(whole(f).Seal(r, binding))
	f.Add(open(attempt.New(now).Seal(r, binding)))
	f.Add(full)
	f.Add([]byte{})
	f.Add(full[:50])
	f.Fuzz(func(t *testing.T, b []byte) {
		first, err := attempt.Open(r, binding, base64.RawURLEncoding.EncodeToString(r.Seal(domain, []byte(binding), b)))
		if err != nil {
			return
		}
		state, nonce, verifier := first.State(), first.Nonce(), first.Verifier()
		second, err := attempt.Open(r, binding, first.Seal(r, binding))
		if err != nil {
			t.Fatalf("what was read cannot be read again once written: %v", err)
		}
		if parts(first) != parts(second) || second.State() != state {
			t.Errorf("%+v became %+v", first, second)
		}
		if len(state) != 22 || len(verifier) != 43 || state == nonce {
			t.Error("state, nonce and verifier do not have their shapes")
		}
	})
}

// parts has everything of an attempt but what is computed from it when needed.
func parts(a *attempt.Attempt) string {
	var b strings.Builder
	for f, v := range reflect.ValueOf(a).Elem().Fields() {
		if f.Name != "mac" {
			fmt.Fprintf(&b, "%s: %q\n", f.Name, fmt.Sprint(v))
		}
	}
	return b.String()
}
