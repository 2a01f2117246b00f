package gatehouse_test

import (
	"context"
	"fmt"
	"net/http"
	"net/url"
	"strings"
	"sync"
	"testing"
	"time"

	"example.com/gatehouse"
	"example.com/gatehouse/internal/testkit/opserver"
)

// timedStore counts the writes that a store took, by the injected clock.
type timedStore struct {
	gatehouse.Store
	now func() time.Time

	mu    sync.Mutex
	taken map[string][]time.Time // by key
	meet  int                    // so many reads are answered at once
	met   chan struct{}
}

// together makes the next n reads wait for one another, so that all read the
// same.
func (s *timedStore) together(n int) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.meet, s.met = n, make(chan struct{})
}

func (s *timedStore) FindManyCtx(ctx context.Context, keys []string) ([][]byte, error) {
	values, err := s.Store.FindManyCtx(ctx, keys)
	s.mu.Lock()
	met, wait := s.met, s.meet > 0
	if wait {
		if s.meet--; s.meet == 0 {
			close(met)
		}
	}
	s.mu.Unlock()
	if wait {
		<-met
	}
	return values, err
}

func (s *timedStore) SwapCtx(ctx context.Context, key string, old, new []byte, expiry time.Time) (bool, error) {
	swapped, err := s.Store.SwapCtx(ctx, key, old, new, expiry)
	if swapped {
		s.mu.Lock()
		s.taken[key] = append(s.taken[key], s.now())
		s.mu.Unlock()
	}
	return swapped, err
}

// At most one write to the store per session and tenth of the idle interval,
// over three intervals, two replicas and two browsers, with requests one by one
// and many at once.
func TestSessionWritesOncePerTenth(t *testing.T) {
	const idle = 20 * time.Minute
	var store *timedStore
	s := newSite(t, twoReplicas, limits(12*time.Hour, idle), func(o *siteOptions) {
		o.wrap = func(inner gatehouse.Store) gatehouse.Store {
			store = &timedStore{Store: inner, taken: map[string][]time.Time{}}
			return store
		}
	})
	store.now = s.Now
	s.SetTokenLifetime(24 * time.Hour)
	people := []*visitor{s.visitor("ana"), s.visitor("ben")}
	keys := map[string]bool{}
	for _, b := range people {
		b.signIn()
		keys[recordKey(t, s, b)] = true
	}
	begin := s.Now()
	const step = 7 * time.Second
	for i := 0; s.Now().Before(begin.Add(3 * idle)); i++ {
		for _, b := range people {
			if i%40 == 0 {
				s.advance(idle / 10) // a write is due, and all see that
				store.together(24)
				for _, a := range b.together(24, 2, "/notes/") {
					b.wantServed(a)
				}
				continue
			}
			b.wantServed(b.on(i % 2).get("/notes/"))
		}
		s.advance(step)
	}
	s.shutdownAll()
	store.mu.Lock()
	defer store.mu.Unlock()
	for key := range keys {
		times := store.taken[key]
		if len(times) < 20 { // 30 tenths, less what the steps waste
			t.Errorf("%d writes of a session in constant use: the test no longer tests", len(times))
		}
		if times[0].Equal(begin) {
			times = times[1:] // its creation
		}
		for i := 1; i < len(times); i++ {
			if gap := times[i].Sub(times[i-1]); gap < idle/10 {
				t.Errorf("two writes of one session within %v, want at least %v apart", gap, idle/10)
			}
		}
	}
	for key, times := range store.taken {
		if !keys[key] && times[len(times)-1].After(begin) {
			t.Errorf("a request wrote to another key at %v", times[len(times)-1].Sub(begin))
		}
	}
}

// What a stranger's callbacks cost. With a valid attempt, which anybody can
// begin, each costs one entry for the used state and one token request, however
// often it is repeated; without one, nothing. The entries go with their time.
func TestCallbackGarbageCosts(t *testing.T) {
	s := newSite(t, twoReplicas, watched)
	s.visitor("ben").signIn() // both replicas know their keys
	s.visitor("ben").on(replicaB).signIn()
	s.watched().counts()
	s.ResetCounts()
	before := len(s.watched().all())
	const attempts, repeats = 40, 3
	stranger := s.visitor("ana")
	for i := range attempts {
		state := queryOf(t, stranger.get("/auth/login").location()).Get("state")
		cookies := stranger.cookies()
		garbage := "/auth/callback?" + url.Values{"state": {state}, "iss": {siteIssuer}, "code": {fmt.Sprint("garbage-", i, strings.Repeat("x", 7<<10))}}.Encode()
		for n := range repeats {
			for name, value := range cookies { // as a stranger keeps them
				stranger.setCookie(name, value)
			}
			a := stranger.on(n % 2).get(garbage)
			s.wantRefusal(a, http.StatusBadRequest)
			if want := map[bool]string{true: "code_refused", false: "state_used"}[n == 0]; s.lastCode() != want {
				t.Fatalf("attempt %d, time %d: code %q, want %q", i, n, s.lastCode(), want)
			}
		}
		s.wantRefusal(stranger.get(strings.Replace(garbage, "state=", "state=x", 1)), http.StatusBadRequest)
	}
	if got := s.Count(opserver.EndpointToken); got != attempts {
		t.Errorf("%d token requests for %d attempts", got, attempts)
	}
	if got := len(s.watched().all()) - before; got != attempts {
		t.Errorf("%d entries in the store for %d attempts", got, attempts)
	}
	if reads, writes := s.watched().counts(); writes != attempts*repeats || reads != 0 {
		t.Errorf("%d reads and %d tries to write; want none and %d", reads, writes, attempts*repeats)
	}
	for _, expiry := range s.watched().keys {
		if life := expiry.Sub(s.Now()); life < 11*time.Hour && life > 12*time.Minute {
			t.Errorf("an entry lives %v, more than the attempt", life)
		}
	}
	s.ResetCounts()
	for range attempts {
		nobody := s.visitor("ana")
		s.wantRefusal(nobody.get("/auth/callback?state=AAAAAAAAAAAAAAAAAAAAAA&code=c1"), http.StatusBadRequest)
	}
	if reads, writes := s.watched().counts(); reads+writes != 0 || s.Count(opserver.EndpointToken) != 0 {
		t.Errorf("without an attempt: %d reads, %d writes, %d token requests", reads, writes, s.Count(opserver.EndpointToken))
	}
}

// CK6, bounded: no cookie that anybody sends costs more than a mebibyte, on a
// page, on a public page, and at our own handlers, and none makes a 5xx.
func TestCK6_HostileCookiesAreBounded(t *testing.T) {
	s := newSite(t)
	ana := s.visitor("ana")
	ana.get("/auth/login")
	names := []string{ana.attempts()[0]}
	ana.signIn()
	names = append(names, ana.sessionName())
	prefix := names[0][:strings.LastIndex(names[0], "-")+1]
	values := []string{
		"", ";", `"`, "=", "%00", strings.Repeat("A", 8<<10), "\x80\x81\xfe\xff", "bm90IGEgc2Vzc2lvbg", ana.sessionCookie() + ".", strings.Repeat("A", 43) + "." + strings.Repeat(strings.Repeat("B", 22)+".", 300),
	}
	var lines []string
	for _, name := range names {
		for _, v := range values {
			lines = append(lines, name+"="+v)
		}
	}
	many := ""
	for i := range 300 {
		many += fmt.Sprintf("%s%08d=%s; ", prefix, i, strings.Repeat("A", 80))
	}
	lines = append(lines, ";", "; ; ;", "=", "=;=", strings.Repeat("a=b; ", 2000), many, strings.Repeat(names[1]+"="+strings.Repeat("A", 43)+"; ", 300),
		strings.Repeat(names[1]+"="+strings.Repeat("A", 43)+"; ", 2999), strings.Repeat(names[0]+"="+strings.Repeat("A", 80)+"; ", 2999), strings.Repeat("a=b; ", 200_000))
	for _, path := range []string{"/notes/", "/open", "/auth/login", "/auth/logout", "/auth/callback?code=c1&state=" + strings.Repeat("A", 22)} {
		for _, line := range lines {
			var a *answer
			cost := allocated(func() {
				b := s.visitor("ana")
				a = b.get(path, "Cookie", line)
			})
			if a.Code >= 500 || cost > maxHeap {
				t.Errorf("%s with %.60q: status %d, %d bytes allocated", path, line, a.Code, cost)
			}
			if path == "/open" && a.Body.String() != "served nobody" {
				t.Errorf("%s with %.60q: %v", path, line, a)
			}
		}
	}
}
