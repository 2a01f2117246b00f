package introspection_test

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"example.com/gatehouse/internal/introspection"
)

// The limits from docs/limits.md that the floods below exceed.
const (
	maxGoodFacts  = 128 << 20
	maxBadFacts   = 4 << 20
	factsOverhead = 400
	ttl           = 30 * time.Second
)

// asked is a Cache with a stopped clock that asks a server of given answers.
type asked struct {
	*introspection.Cache
	now   time.Time
	calls int
}

func newAsked(ttl time.Duration) *asked {
	a := &asked{now: noon.Time()}
	a.Cache = introspection.NewCache(ttl, func() time.Time { return a.now })
	return a
}

// get asks about a token; the server answers with f.
func (a *asked) get(t *testing.T, token string, f *introspection.Facts) *introspection.Facts {
	t.Helper()
	got, err := a.Get(t.Context(), introspection.KeyOf(token, ""), time.Minute, func(context.Context) (*introspection.Facts, error) {
		a.calls++
		return f, nil
	})
	if err != nil {
		t.Fatal(err)
	}
	return got
}

func (a *asked) knows(token string) bool {
	return a.Known(introspection.KeyOf(token, ""), a.now) != nil
}

func good() *introspection.Facts {
	return &introspection.Facts{Active: true, Expires: introspection.Never}
}

// TestKeys: any token and asker are kept apart.
func TestKeys(t *testing.T) {
	seen := map[introspection.Key]string{}
	long := strings.Repeat("t", 5000)
	for _, c := range [][2]string{{"", ""}, {"ab", "c"}, {"a", "bc"}, {"abc", ""}, {"", "abc"}, {long, ""}, {long[1:], ""}, {long + "t", ""}, {long, "t"}, {long[:512], ""}} {
		name := fmt.Sprintf("%.9q of %d, %q", c[0], len(c[0]), c[1])
		key := introspection.KeyOf(c[0], c[1])
		if other, ok := seen[key]; ok {
			t.Errorf("%s has the key of %s", name, other)
		}
		seen[key] = name
	}
}

// TestRemembered: how long facts are used.
func TestRemembered(t *testing.T) {
	at := func(d time.Duration) introspection.Seconds { return introspection.Seconds(noon.Time().Add(d).Unix()) }
	for name, c := range map[string]struct {
		facts *introspection.Facts
		ttl   time.Duration
		want  time.Duration // 0: not at all
	}{
		"good":                        {good(), ttl, ttl},
		"good, ends before":           {&introspection.Facts{Active: true, Expires: at(7 * time.Second)}, ttl, 7 * time.Second},
		"good, ends later":            {&introspection.Facts{Active: true, Expires: at(time.Hour)}, ttl, ttl},
		"good, has ended":             {&introspection.Facts{Active: true, Expires: at(-time.Second)}, ttl, 0},
		"refused":                     {&introspection.Facts{}, ttl, 2 * time.Second},
		"refused, short ttl":          {&introspection.Facts{}, time.Second, 2 * time.Second},
		"good, nothing remembered":    {good(), -1, 0},
		"refused, nothing remembered": {&introspection.Facts{}, -1, 2 * time.Second}, // strangers make up tokens
	} {
		t.Run(name, func(t *testing.T) {
			a := newAsked(c.ttl)
			start := a.now
			first := a.get(t, "token", c.facts)
			if c.want > 0 {
				a.now = start.Add(c.want - 1)
				if got := a.get(t, "token", nil); got != first || a.calls != 1 {
					t.Errorf("just before the end: other facts, asked %d times", a.calls)
				}
			}
			a.now = start.Add(c.want)
			if a.knows("token") {
				t.Error("still known at the end")
			}
			if a.get(t, "token", c.facts); a.calls != 2 {
				t.Errorf("asked %d times, want 2", a.calls)
			}
		})
	}
}

// TestErrorsAreNotRemembered: a later caller asks again.
func TestErrorsAreNotRemembered(t *testing.T) {
	a, boom := newAsked(ttl), errors.New("boom")
	f, err := a.Get(t.Context(), introspection.KeyOf("token", ""), time.Minute, func(context.Context) (*introspection.Facts, error) { return nil, boom })
	if f != nil || err != boom {
		t.Fatal(f, err)
	}
	if a.get(t, "token", good()); a.calls != 1 || !a.knows("token") {
		t.Errorf("asked %d times", a.calls)
	}
}

// TestForget: the next call asks. Forgetting facts that are not the remembered
// ones, or refused ones, changes nothing.
func TestForget(t *testing.T) {
	a, key := newAsked(ttl), introspection.KeyOf("token", "")
	first := a.get(t, "token", good())
	a.Forget(key, good())
	a.Forget(introspection.KeyOf("other", ""), first)
	if a.Known(key, a.now) != first {
		t.Error("other facts were forgotten")
	}
	a.Forget(key, first)
	if a.knows("token") {
		t.Error("not forgotten")
	}
	second := a.get(t, "token", good())
	a.Forget(key, first) // a slow caller
	if a.calls != 2 || a.Known(key, a.now) != second {
		t.Errorf("asked %d times; the newer facts are gone", a.calls)
	}
	refused := a.get(t, "refused", &introspection.Facts{})
	if a.Forget(introspection.KeyOf("refused", ""), refused); !a.knows("refused") {
		t.Error("a refused token is forgotten: a client that repeats it costs a call each time")
	}
}

// TestOneFlight: many callers that ask about a token at once cause one call,
// and each may leave. The call continues, and Wait waits for it.
func TestOneFlight(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c, key := introspection.NewCache(ttl, time.Now), introspection.KeyOf("token", "")
		said, calls := &introspection.Facts{Active: true, Expires: introspection.Never, Subject: "ana"}, 0
		ask := func(ctx context.Context) (*introspection.Facts, error) {
			calls++
			time.Sleep(time.Second) // the bubble's clock
			return said, ctx.Err()
		}
		var wg sync.WaitGroup
		for i := range 20 {
			wg.Go(func() {
				ctx, cancel := t.Context(), context.CancelFunc(func() {})
				if i%2 == 0 {
					ctx, cancel = context.WithTimeout(ctx, time.Millisecond)
				}
				defer cancel()
				f, err := c.Get(ctx, key, time.Minute, ask)
				if i%2 == 0 && err != context.DeadlineExceeded || i%2 == 1 && (err != nil || f.Subject != "ana") {
					t.Errorf("%d: %v, %v", i, f, err)
				}
			})
		}
		time.Sleep(2 * time.Millisecond)
		if err := c.Wait(t.Context()); err != nil || calls != 1 || c.Known(key, time.Now()) == nil {
			t.Errorf("%v after %d calls", err, calls)
		}
		wg.Wait()
		hangs := func(ctx context.Context) (*introspection.Facts, error) { <-ctx.Done(); return nil, ctx.Err() }
		if f, err := c.Get(t.Context(), introspection.KeyOf("slow", ""), time.Second, hangs); f != nil || err != context.DeadlineExceeded {
			t.Errorf("a call that never ends: %v, %v", f, err)
		}
	})
}

// TestManyAskers: a token that nobody has seen active is asked about once for
// all askers. What holds for one asker alone is not told to another.
func TestManyAskers(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := introspection.NewCache(ttl, time.Now)
		var mu sync.Mutex
		calls := map[string]int{}
		get := func(token, asker string, f *introspection.Facts, err error) (*introspection.Facts, error) {
			return c.GetAs(t.Context(), introspection.KeyOf(token, asker), introspection.KeyOf(token, ""), time.Minute, func(context.Context) (*introspection.Facts, error) {
				mu.Lock()
				calls[token]++
				mu.Unlock()
				time.Sleep(time.Second) // the bubble's clock
				return f, err
			})
		}
		var wg sync.WaitGroup
		wg.Go(func() {
			if _, err := get("token", "first", nil, errors.New("no grant")); err == nil {
				t.Error("the first asker has no error")
			}
		})
		synctest.Wait()
		for i := range 5 { // they join the flight of the first, which fails
			wg.Go(func() {
				me := fmt.Sprint("asker ", i)
				if f, err := get("token", me, &introspection.Facts{Active: true, Expires: introspection.Never, Subject: me}, nil); err != nil || f.Subject != me {
					t.Errorf("%s: %v, %v", me, f, err)
				}
			})
		}
		for i := range 5 {
			wg.Go(func() {
				if f, err := get("junk", fmt.Sprint("asker ", i), &introspection.Facts{}, nil); err != nil || f.Active {
					t.Errorf("junk: %v, %v", f, err)
				}
			})
		}
		wg.Wait()
		if err := c.Wait(t.Context()); err != nil || calls["token"] != 6 || calls["junk"] != 1 {
			t.Errorf("%v, calls %v", err, calls)
		}
		if f, err := get("token", "asker 9", &introspection.Facts{}, nil); err != nil || f.Active {
			t.Errorf("not active for another: %v, %v", f, err)
		}
		if f, _ := get("token", "asker 3", nil, nil); f == nil || !f.Active || calls["token"] != 7 {
			t.Errorf("what the third asker knows: %v after %d calls", f, calls["token"])
		}
		time.Sleep(ttl)
		if f, _ := get("token", "asker 3", &introspection.Facts{}, nil); f.Active { // it has ended
			t.Error("still active")
		}
		if f, _ := get("token", "asker 4", &introspection.Facts{}, nil); f.Active || calls["token"] != 9 {
			t.Errorf("%v after %d calls", f, calls["token"])
		}
		if _, _ = get("token", "asker 5", nil, nil); calls["token"] != 9 {
			t.Error("nobody has seen it active since, but it was asked about for another asker")
		}
	})
}

// TestFactsCacheIsBounded: a flood of tokens takes bounded memory and pushes
// out the oldest. Junk pushes out nothing good.
func TestFactsCacheIsBounded(t *testing.T) {
	a := newAsked(ttl)
	a.get(t, "good", good())
	const junk = 3 * maxBadFacts / factsOverhead
	for i := range junk {
		a.get(t, fmt.Sprint("junk ", i), &introspection.Facts{})
	}
	if !a.knows("good") {
		t.Error("junk pushed out a good token")
	}
	known := 0
	for i := range junk {
		if a.knows(fmt.Sprint("junk ", i)) {
			known++
		}
	}
	if known > junk/3 || known < junk/4 {
		t.Errorf("%d refused tokens are known, want at most %d", known, junk/3)
	}
	if a.knows("junk 0") || !a.knows(fmt.Sprint("junk ", junk-1)) {
		t.Error("the oldest did not go first")
	}
}

// TestRepeatedTokenIsBounded: a token whose facts are forgotten and requested
// again takes memory each time, until the oldest entries have to go.
func TestRepeatedTokenIsBounded(t *testing.T) {
	a, claims := newAsked(ttl), make([]byte, 256<<10)
	a.get(t, "other", good())
	const times = maxGoodFacts / (256 << 10)
	for i := range times {
		if i == times/2 && !a.knows("other") {
			t.Fatal("the other token was dropped while there was room")
		}
		f := good()
		f.Claims = claims
		a.Forget(introspection.KeyOf("token", ""), a.get(t, "token", f))
	}
	if a.calls != times+1 || a.knows("other") {
		t.Errorf("asked %d times, and nothing was dropped", a.calls)
	}
	a.now = a.now.Add(time.Hour)
	if a.get(t, "new", good()); !a.knows("new") || a.knows("token") {
		t.Error("an expired entry is known, or no new one is")
	}
}

// TestGrantsAreKept: few grants or many, the cache returns what the server
// said, and one token's grants are not another's.
func TestGrantsAreKept(t *testing.T) {
	a := newAsked(ttl)
	facts := func(n int) *introspection.Facts {
		f := good()
		for i := range n {
			f.Grants = append(f.Grants, introspection.Grant{Resource: fmt.Sprint("r", n), Scope: fmt.Sprint("s", i), Expires: introspection.Never})
		}
		return f
	}
	for n := range 6 {
		a.get(t, fmt.Sprint("token", n), facts(n))
	}
	for n := range 6 {
		got := a.Known(introspection.KeyOf(fmt.Sprint("token", n), ""), a.now)
		if want := facts(n).Grants; got == nil || !slices.Equal(got.Grants, want) {
			t.Errorf("%d grants: %+v, want %+v", n, got, want)
		}
	}
}
