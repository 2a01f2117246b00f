package uma_rs_test

import (
	"context"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"example.com/gatehouse"
	"example.com/gatehouse/internal/e2e/world"
)

// slow is a server whose calls take a second, and which knows how many run at a
// time. The tokens that begin with "good" are active, and hold view on r-1.
type slow struct {
	*world.Script
	mu            sync.Mutex
	running, most map[string]int
}

func newSlow(t testing.TB) *slow {
	s := &slow{Script: world.NewScript(t), running: map[string]int{}, most: map[string]int{}}
	s.takes("POST /perm", "ticket", func(http.ResponseWriter, string) (int, string) { return 201, `{"ticket":"t1"}` })
	s.takes("POST /look", "look", func(_ http.ResponseWriter, body string) (int, string) {
		if strings.HasPrefix(body, "token=good") {
			return 200, `{"active":true,"permissions":[{"resource_id":"r-1","resource_scopes":["view"]}]}`
		}
		return 200, `{"active":false}`
	})
	s.takes("GET /res", "ticket", func(http.ResponseWriter, string) (int, string) { return 200, `[]` })
	n := 0
	s.takes("POST /res", "ticket", func(http.ResponseWriter, string) (int, string) {
		s.mu.Lock()
		defer s.mu.Unlock()
		n++
		return 201, fmt.Sprintf(`{"_id":"made-%d"}`, n)
	})
	return s
}

// takes answers a pattern after a second, and counts the calls of that kind.
func (s *slow) takes(pattern, kind string, answer func(http.ResponseWriter, string) (int, string)) {
	s.Mux.HandleFunc(pattern, func(w http.ResponseWriter, r *http.Request) {
		s.mu.Lock()
		s.running[kind]++
		s.most[kind] = max(s.most[kind], s.running[kind])
		s.mu.Unlock()
		body, _ := io.ReadAll(r.Body)
		time.Sleep(time.Second)
		status, text := answer(w, string(body))
		w.Header().Set("Content-Type", "application/json")
		w.WriteHeader(status)
		_, _ = io.WriteString(w, text)
		s.mu.Lock()
		s.running[kind]--
		s.mu.Unlock()
	})
}

// atOnce sends n requests at once and counts the answers by status. Whoever is
// turned away must be so at once.
func atOnce(t *testing.T, h http.Handler, n int, path, token func(i int) string) map[int]int {
	t.Helper()
	counts, start := map[int]int{}, time.Now()
	type timed struct {
		*httptest.ResponseRecorder
		after time.Duration
	}
	for _, a := range world.Together(n, func(i int) timed {
		answer := world.Send(h, "GET", path(i), token(i))
		return timed{answer, time.Since(start)}
	}) {
		counts[a.Code]++
		if a.Code != http.StatusServiceUnavailable {
			continue
		}
		if a.after > 0 {
			t.Errorf("turned away after %v, want at once", a.after)
		}
		if a.Header().Get("Retry-After") != "1" || a.Header().Get("Warning") != world.Unreachable || a.Header().Get("WWW-Authenticate") != "" || !strings.Contains(a.Body.String(), `"authorization_server_busy"`) {
			t.Errorf("turned away with %q %s", a.Header(), a.Body)
		}
	}
	return counts
}

func always(text string) func(int) string { return func(int) string { return text } }

// TestUMAStrangersDoNotDriveTheServer: 200 at once make no more than 32 calls
// at a time, and the others are answered at once.
func TestUMAStrangersDoNotDriveTheServer(t *testing.T) {
	album := gatehouse.NeedFunc(func(r *http.Request) (gatehouse.Permission, error) {
		return gatehouse.Resource{Name: r.URL.Path, Scopes: []string{"view"}}.AllOf("view"), nil
	})
	numbered := func(prefix string) func(int) string { return func(i int) string { return fmt.Sprint(prefix, i) } }
	for name, c := range map[string]struct {
		need        gatehouse.Need
		path, token func(int) string
		config      gatehouse.ResourceServerConfig
		ok, status  int
		kind        string
		served      int
	}{
		"without a token":                   {one.AllOf("view"), always("/"), always(""), gatehouse.ResourceServerConfig{}, 32, 401, "ticket", 0},
		"without a token, set to 5":         {one.AllOf("view"), always("/"), always(""), gatehouse.ResourceServerConfig{MaxTicketCalls: 5}, 5, 401, "ticket", 0},
		"made-up tokens":                    {one.AllOf("view"), always("/"), numbered("junk"), gatehouse.ResourceServerConfig{RequestBudget: 5 * time.Second}, 32, 401, "look", 0},
		"made-up tokens, set to 7":          {one.AllOf("view"), always("/"), numbered("junk"), gatehouse.ResourceServerConfig{RequestBudget: 5 * time.Second, MaxTokenCalls: 7}, 7, 401, "look", 0},
		"new tokens":                        {one.AllOf("view"), always("/"), numbered("good"), gatehouse.ResourceServerConfig{}, 32, 200, "look", 32},
		"resources that are not registered": {album, numbered("/a"), always(""), gatehouse.ResourceServerConfig{RequestBudget: 10 * time.Second}, 32, 401, "ticket", 0},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				s := newSlow(t)
				h := world.Photos(s.ResourceServer(c.config).UMAProtect(c.need))
				world.Send(h, "GET", "/", "") // metadata and PAT are there
				s.mu.Lock()
				clear(s.most)
				s.mu.Unlock()
				counts := atOnce(t, h, 200, c.path, c.token)
				if counts[c.status] != c.ok || counts[503] != 200-c.ok || s.most[c.kind] != c.ok {
					t.Errorf("answers %v, at most %d calls at a time; want %d with %d, the others with 503", counts, s.most[c.kind], c.ok, c.status)
				}
				if again := world.Send(h, "GET", c.path(0), c.token(0)); again.Code != c.status {
					t.Errorf("afterwards: %d %s", again.Code, again.Body)
				}
			})
		})
	}
}

// TestUMAKnownTokensNeverWait: a token that was seen active is looked up again
// outside the bound, however many strangers come.
func TestUMAKnownTokensNeverWait(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newSlow(t)
		h := world.Photos(s.ResourceServer(gatehouse.ResourceServerConfig{}).UMAProtect(one.AllOf("view")))
		for i := range 40 {
			if a := world.Send(h, "GET", "/", fmt.Sprint("good", i)); !world.Served(a) {
				t.Fatal(a.Code, a.Body)
			}
		}
		s.Advance(time.Hour) // the facts are no longer used
		var strangers sync.WaitGroup
		for i := range 200 {
			strangers.Go(func() { world.Send(h, "GET", "/", fmt.Sprint("junk", i)) })
			strangers.Go(func() { world.Send(h, "GET", "/", "") })
		}
		synctest.Wait()
		counts := atOnce(t, h, 40, always("/"), func(i int) string { return fmt.Sprint("good", i) })
		if counts[200] != 40 {
			t.Errorf("known tokens were answered %v", counts)
		}
		strangers.Wait()
	})
}

// TestUMAMadeUpTokens: a made-up token is looked up once in two seconds, even
// without a cache, and one that cannot be a Bearer token never.
func TestUMAMadeUpTokens(t *testing.T) {
	for _, ttl := range []time.Duration{0, -1, time.Second} {
		s := open(t)
		s.Mux = http.NewServeMux()
		s.Says("GET /.well-known/", 200, `{"issuer":"https://as.example.org","token_endpoint":"https://as.example.org/token","introspection_endpoint":"https://as.example.org/look","permission_endpoint":"https://as.example.org/perm"}`)
		s.Says("POST /token", 200, `{"access_token":"pat","token_type":"Bearer"}`)
		s.Says("POST /look", 200, `{"active":false}`)
		s.Says("POST /perm", 201, `{"ticket":"t1"}`)
		h := world.Photos(s.ResourceServer(gatehouse.ResourceServerConfig{CacheTTL: ttl}).UMAProtect(one.AllOf("view")))
		for i := range 20 { // 100 ms apart
			if a := world.Send(h, "GET", "/", "junk"); a.Code != 401 {
				t.Fatal(i, a.Code)
			}
			s.Advance(100 * time.Millisecond)
		}
		if n := len(s.Saw("POST /look")); n != 1 {
			t.Errorf("ttl %v: %d introspections within two seconds, want 1", ttl, n)
		}
		world.Send(h, "GET", "/", "junk")
		if n := len(s.Saw("POST /look")); n != 2 {
			t.Errorf("ttl %v: %d introspections after two seconds, want 2", ttl, n)
		}
		for _, token := range []string{"a b", "a,b", "=", "ä", "a\"b", strings.Repeat("x", 17<<10)} {
			if a := world.Send(h, "GET", "/", token); a.Code != 400 {
				t.Errorf("%.10q: %d", token, a.Code)
			}
		}
		if n := len(s.Saw("POST /")) - len(s.Saw("POST /perm")) - len(s.Saw("POST /token")); n != 2 {
			t.Errorf("ttl %v: %d introspections, some of what cannot be a token", ttl, n)
		}
	}
}

// ownerPATs has a token for every owner.
type ownerPATs struct{}

func (ownerPATs) PAT(_ context.Context, owner string, _ gatehouse.Secret) (gatehouse.Secret, error) {
	return gatehouse.NewSecret("pat-of-" + owner), nil
}

// TestUMAMadeUpTokensOfManyOwners: where introspection needs the owner's PAT, a
// made-up token is looked up once, however many owners' resources it is tried
// at. A token that is active for one owner is judged for each by itself.
func TestUMAMadeUpTokensOfManyOwners(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := world.NewScript(t)
		s.Says("POST /perm", 201, `{"ticket":"t1"}`)
		var mu sync.Mutex
		looks := map[string]int{}
		s.Mux.HandleFunc("POST /look", func(w http.ResponseWriter, r *http.Request) {
			owner, token := strings.TrimPrefix(r.Header.Get("Authorization"), "Bearer pat-of-"), r.PostFormValue("token")
			mu.Lock()
			looks[token]++
			mu.Unlock()
			time.Sleep(100 * time.Millisecond)
			w.Header().Set("Content-Type", "application/json")
			if token == "good" && (owner == "o1" || owner == "o2") {
				fmt.Fprintf(w, `{"active":true,"sub":%q,"permissions":[{"resource_id":"r-%s","resource_scopes":["view"]}]}`, "by "+owner, owner)
				return
			}
			_, _ = io.WriteString(w, `{"active":false}`)
		})
		rs, err := gatehouse.NewResourceServer(s.Process, gatehouse.ResourceServerConfig{Client: gatehouse.Client{ID: "photoz", Auth: gatehouse.AuthNone}, PAT: ownerPATs{}})
		s.Must(err)
		h := world.Photos(rs.UMAProtect(gatehouse.NeedFunc(func(r *http.Request) (gatehouse.Permission, error) {
			owner := strings.TrimPrefix(r.URL.Path, "/")
			return gatehouse.Resource{Owner: owner, ID: "r-" + owner}.AllOf("view"), nil
		})))
		at := func(i int) string { return fmt.Sprintf("/o%d", i) }
		world.Together(20, func(i int) int {
			a := world.Send(h, "GET", at(i), "junk")
			if a.Code != 401 {
				t.Errorf("owner %d: %d %s", i, a.Code, a.Body)
			}
			return a.Code
		})
		for i := range 20 {
			world.Send(h, "GET", at(i), "junk")
		}
		if looks["junk"] != 1 {
			t.Errorf("a made-up token was looked up %d times within two seconds, want once", looks["junk"])
		}
		time.Sleep(2 * time.Second)
		s.Advance(2 * time.Second)
		world.Send(h, "GET", at(3), "junk")
		if looks["junk"] != 2 {
			t.Errorf("%d times after two seconds", looks["junk"])
		}
		for _, c := range []struct{ owner, status int }{{1, 200}, {2, 200}, {3, 401}, {1, 200}, {2, 200}} {
			if a := world.Send(h, "GET", at(c.owner), "good"); a.Code != c.status {
				t.Errorf("owner %d: %d %s", c.owner, a.Code, a.Body)
			}
		}
		if looks["good"] != 3 {
			t.Errorf("a good token was looked up %d times for three owners", looks["good"])
		}
		s.Advance(time.Hour)
		for range 3 { // for the third owner it was never active, and what holds for the others stays
			world.Together(9, func(i int) int { return world.Send(h, "GET", at(i%3+1), "good").Code })
			if a := world.Send(h, "GET", at(2), "good"); a.Code != 200 {
				t.Errorf("%d %s", a.Code, a.Body)
			}
		}
		if looks["good"] != 6 {
			t.Errorf("a good token was looked up %d times in all, want 6", looks["good"])
		}
	})
}

// TestUMARegisterWaitsForItsTurn: the application's own registrations are not
// turned away. They wait.
func TestUMARegisterWaitsForItsTurn(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newSlow(t)
		rs := s.ResourceServer(gatehouse.ResourceServerConfig{MaxTicketCalls: 4})
		h := world.Photos(rs.UMAProtect(one.AllOf("view")))
		var strangers sync.WaitGroup
		for range 100 {
			strangers.Go(func() { world.Send(h, "GET", "/", "") })
		}
		for _, err := range world.Together(10, func(i int) error {
			_, err := rs.Register(t.Context(), gatehouse.Resource{Name: fmt.Sprint("album ", i), Scopes: []string{"view"}})
			return err
		}) {
			if err != nil {
				t.Error(err)
			}
		}
		strangers.Wait()
		// A request for what waits to be registered is turned away with the others.
		for range 4 {
			strangers.Go(func() { world.Send(h, "GET", "/", "") })
		}
		synctest.Wait()
		waits := gatehouse.Resource{Name: "waits", Scopes: []string{"view"}}
		strangers.Go(func() {
			if _, err := rs.Register(t.Context(), waits); err != nil {
				t.Error(err)
			}
		})
		synctest.Wait()
		if counts := atOnce(t, world.Photos(rs.UMAProtect(waits.AllOf("view"))), 3, always("/"), always("")); counts[503] != 3 {
			t.Errorf("while a registration waits for its turn: %v", counts)
		}
		strangers.Wait()
		// Who leaves while waiting takes no place along.
		for range 20 {
			ctx, cancel := context.WithCancel(t.Context())
			strangers.Go(func() { _, _ = rs.Register(ctx, gatehouse.Resource{Name: "left", Scopes: []string{"view"}}) })
			cancel()
		}
		strangers.Wait()
		s.Must(rs.Shutdown(t.Context()))
		if counts := atOnce(t, h, 5, always("/"), always("")); counts[401] != 4 {
			t.Errorf("afterwards: %v, want four with a ticket", counts)
		}
		if s.most["ticket"] > 4 {
			t.Errorf("%d calls at a time, want at most 4", s.most["ticket"])
		}
	})
}

// TestUMARequestBudget: RequestBudget is how long one request waits for a
// server that hangs.
func TestUMARequestBudget(t *testing.T) {
	for budget, want := range map[time.Duration]time.Duration{0: 1700 * time.Millisecond, 300 * time.Millisecond: 300 * time.Millisecond, 5 * time.Second: 5 * time.Second} {
		for token, status := range map[string]int{"": 403, "tok": 503} {
			synctest.Test(t, func(t *testing.T) {
				s := world.NewScript(t)
				s.Mux.HandleFunc("POST /perm", func(_ http.ResponseWriter, r *http.Request) { <-r.Context().Done() })
				s.Mux.HandleFunc("POST /look", func(_ http.ResponseWriter, r *http.Request) { <-r.Context().Done() })
				h := world.Photos(s.ResourceServer(gatehouse.ResourceServerConfig{RequestBudget: budget}).UMAProtect(one.AllOf("view")))
				start := time.Now()
				answer := world.Send(h, "GET", "/", token)
				took := time.Since(start)
				if answer.Code != status || took > want || took < want-want/10 {
					t.Errorf("budget %v, token %q: %d after %v", budget, token, answer.Code, took)
				}
			})
		}
	}
	p := world.NewScript(t).Process
	for field, c := range map[string]gatehouse.ResourceServerConfig{
		"RequestBudget":  {RequestBudget: -1},
		"MaxTicketCalls": {MaxTicketCalls: -1},
		"MaxTokenCalls":  {MaxTokenCalls: -1},
	} {
		c.Client = world.PhotozClient
		if _, err := gatehouse.NewResourceServer(p, c); err == nil || !strings.Contains(err.Error(), field+": ") {
			t.Errorf("%s: %v", field, err)
		}
	}
}
