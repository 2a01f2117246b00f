package stories

import (
	"context"
	"crypto/sha256"
	"net/http"
	"slices"
	"sync"
	"testing"
	"time"

	"example.com/gatehouse"
	"example.com/gatehouse/internal/e2e/world"
)

// recordKey is the store key of the visitor's session, a hash of the cookie's
// id (decision 2): base64url(SHA-256(domain ‖ value)).
func RecordKey(t testing.TB, s *world.Site, b *world.Visitor) string {
	t.Helper()
	list, err := s.Replicas[0].Sessions.List(context.Background(), world.SiteIssuer, b.User+"-1")
	if err != nil || len(list) != 1 {
		t.Fatalf("%d sessions, err %v", len(list), err)
	}
	return list[0].ID
}

func Overwrite(s *world.Site, key string, change func([]byte) []byte) {
	s.T.Helper()
	ctx := context.Background()
	old, found, err := s.Store.FindCtx(ctx, key)
	if err != nil || !found {
		s.T.Fatalf("no record under %s, err %v", key, err)
	}
	s.Must(s.Store.CommitCtx(ctx, key, change(slices.Clone(old)), s.Now().Add(time.Hour)))
}

// WantUnreadable checks that a person whose record a newer build may read gets
// an error and not an answer, and keeps the cookie.
func WantUnreadable(s *world.Site, b *world.Visitor) {
	s.T.Helper()
	for _, r := range []*http.Request{
		b.Request(http.MethodGet, "/notes/", nil, world.Navigation...),
		b.Request(http.MethodGet, "/open", nil, world.Navigation...),
		b.Request(http.MethodGet, "/notes/", nil, "Sec-Fetch-Mode", "cors"),
	} {
		a := b.Do(r)
		s.WantRefusal(a, http.StatusServiceUnavailable)
		if a.Location() != "" || len(a.Result().Cookies()) != 0 {
			s.T.Errorf("%v: cookies %v with a 503", a, a.Result().Cookies())
		}
	}
}

func Key(name string) gatehouse.Secret {
	sum := sha256.Sum256([]byte(name))
	return gatehouse.NewSecret(string(sum[:]))
}

func Keys(names ...string) func(*world.SiteOptions) {
	return func(o *world.SiteOptions) {
		o.Sessions = func(c *gatehouse.SessionsConfig) {
			for _, n := range names {
				c.Keys = append(c.Keys, Key(n))
			}
		}
	}
}

// interrupt runs f once, before the nth call from now to the site's store or to
// one of the others.
func Interrupt(s *world.Site, n int, f func(), others ...*world.WatchedStore) (reached func() bool) {
	var mu sync.Mutex
	calls := 0
	stores := append(others, s.Watched())
	between := func(f func(string, string)) {
		for _, store := range stores {
			store.Between(f)
		}
	}
	between(func(string, string) {
		mu.Lock()
		mine := calls == n
		calls++
		mu.Unlock()
		if mine {
			between(nil)
			f()
		}
	})
	return func() bool {
		between(nil)
		mu.Lock()
		defer mu.Unlock()
		return calls > n
	}
}

// revokeAll ends all of a person's sessions through a replica.
func RevokeAll(s *world.Site, at int, issuer, subject string) {
	s.T.Helper()
	s.Must(s.Replicas[at].Sessions.RevokeAll(context.Background(), issuer, subject))
}

func Always(code int, body string) func(*http.Request, func(*http.Request) *http.Response) (*http.Response, error) {
	return func(r *http.Request, _ func(*http.Request) *http.Response) (*http.Response, error) {
		return world.Answer(r, code, body), nil
	}
}

func WantUnavailable(t testing.TB, err error) {
	t.Helper()
	e, ok := err.(*gatehouse.Error)
	if !ok || e.Status != http.StatusServiceUnavailable || e.RetryAfter <= 0 {
		t.Errorf("error %v, want an *Error with 503 and RetryAfter", err)
	}
}

// EveryCookie examines every Set-Cookie of a site.
func EveryCookie(s *world.Site, check func(c *http.Cookie, raw string)) {
	for _, r := range s.Replicas {
		inner := r.Mux
		r.Mux = http.NewServeMux()
		r.Mux.HandleFunc("/", func(w http.ResponseWriter, req *http.Request) {
			inner.ServeHTTP(w, req)
			for _, raw := range w.Header().Values("Set-Cookie") {
				c, err := http.ParseSetCookie(raw)
				if err != nil {
					s.T.Errorf("Set-Cookie %q: %v", raw, err)
					continue
				}
				check(c, raw)
			}
		})
	}
}

// wholeLife makes the package set and clear every kind of cookie that it has.
func wholeLife(s *world.Site, ana *world.Visitor) {
	for range 9 { // the ninth attempt pushes out the oldest
		ana.Get("/notes/")
	}
	ana.SignIn()
	ana.Get("/notes/")
	ana.Get("/auth/login")
	a := ana.Follow(ana.Post("/auth/logout", nil), nil)
	if a.Code != http.StatusOK {
		s.T.Errorf("after sign-out: %v", a)
	}
}

// WantUncached checks the two headers that CK8 requires.
func WantUncached(t *testing.T, a *world.Page, control string) {
	t.Helper()
	h := a.Header()
	if got := h.Values("Cache-Control"); !slices.Equal(got, []string{control}) {
		t.Errorf("%v: Cache-Control %q, want %q", a, got, control)
	}
	if got := h.Values("Vary"); !slices.Equal(got, []string{"Cookie"}) {
		t.Errorf("%v: Vary %q, want Cookie, once", a, got)
	}
}
