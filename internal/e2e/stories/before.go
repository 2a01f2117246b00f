package stories

import (
	"context"
	"embed"
	"encoding/json"
	"maps"
	"net/http"
	"slices"
	"strings"
	"testing"
	"time"

	"example.com/gatehouse/internal/e2e/world"
)

// Left is what a build left in a store and in browsers when it was replaced.
type Left struct {
	Now   time.Time            `json:"now"`
	Store map[string]LeftValue `json:"store"`
	// Cookies are those of each browser.
	Cookies map[string]map[string]string `json:"cookies"`
	// UnderWay is where the browser "under way" was sent to sign in.
	UnderWay string `json:"under_way"`
}

// LeftValue is one value of the store.
type LeftValue struct {
	Bytes  []byte    `json:"bytes"`
	Expiry time.Time `json:"expiry"`
}

// leftAt is when builds leave their things: later than the clock of any store
// in which they are put.
var leftAt = time.Date(2100, 1, 1, 12, 0, 0, 0, time.UTC)

// Leave makes what this build leaves: sessions in use, one that is due for
// renewal, one whose renewal died, one that was signed out, one that its
// provider ended, those of a person who was signed out everywhere and has come
// back, and a sign-in under way.
func Leave(t *testing.T, keys On) Left {
	s := LogoutSite(t, keys, world.Watched, func(o *world.SiteOptions) { o.Begin = leftAt })
	browsers := map[string]*world.Visitor{}
	signIn := func(name, user string) *world.Visitor {
		browsers[name] = s.Visitor(user)
		browsers[name].SignIn()
		return browsers[name]
	}
	leased := signIn("leased", "ana")
	signIn("due", "ana")
	s.Advance(4*time.Minute + 10*time.Second)
	s.OnRefresh(func(*http.Request, func(*http.Request) *http.Response) (*http.Response, error) {
		return nil, context.DeadlineExceeded
	})
	leased.Get("/notes/")
	s.ShutdownAll()
	s.SetWire(nil)
	signIn("live", "ana")
	signedOut := signIn("signed out", "ana")
	cookies := map[string]map[string]string{"signed out": signedOut.Cookies()}
	signedOut.Post("/auth/logout", nil)
	loggedOut, sid := SignedIn(s, "ana", 0)
	browsers["logged out"] = loggedOut
	LogOut(s, 1, LogoutToken(s, map[string]any{"sid": sid}))
	signIn("revoked", "ben")
	s.Advance(time.Second)
	RevokeAll(s, 0, world.SiteIssuer, "ben-1")
	s.Advance(time.Second)
	signIn("again", "ben")
	browsers["under way"] = s.Visitor("ben")
	start := browsers["under way"].Get("/notes/")
	s.ShutdownAll()

	left := Left{Now: s.Now(), Store: map[string]LeftValue{}, Cookies: cookies, UnderWay: start.Location()}
	for key, expiry := range s.Watched().Keys() {
		value, found, err := s.Store.FindCtx(t.Context(), key)
		s.Must(err)
		if found {
			left.Store[key] = LeftValue{value, expiry}
		}
	}
	for name, b := range browsers {
		if cookies[name] == nil {
			cookies[name] = b.Cookies()
		}
	}
	return left
}

// Take is the story of a rolling change: this build takes over what another one
// left. Nobody is signed out who was not, nothing that ended comes back, and
// what was under way comes to its end.
func Take(t *testing.T, on, keys On, left Left) {
	s, seen := world.WithTokens(t, on, keys, func(o *world.SiteOptions) { o.Begin = left.Now })
	for key, v := range left.Store {
		s.Must(s.Store.CommitCtx(t.Context(), key, v.Bytes, v.Expiry))
	}
	browser := func(name, user string) *world.Visitor {
		b := s.Visitor(user)
		for cookie, value := range left.Cookies[name] {
			b.SetCookie(cookie, value)
		}
		if len(left.Cookies[name]) == 0 {
			t.Fatalf("no cookie of %q was left", name)
		}
		return b
	}
	live, leased, due := browser("live", "ana"), browser("leased", "ana"), browser("due", "ana")
	list, err := s.Replicas[0].Sessions.List(t.Context(), world.SiteIssuer, "ana-1")
	if err != nil || len(list) != 3 {
		t.Errorf("%d sessions of ana, %v, want 3", len(list), err)
	}
	for at := range 2 {
		live.WantServed(live.On(at).Get("/notes/"))
		gone := browser("signed out", "ana")
		gone.WantOut(gone.On(at).Get("/notes/"))
		if left.Cookies["logged out"] != nil { // by its provider, which only newer builds hear
			told := browser("logged out", "ana")
			told.WantOut(told.On(at).Get("/notes/"))
		}
		revoked := browser("revoked", "ben")
		revoked.WantOut(revoked.On(at).Get("/notes/"))
		again := browser("again", "ben")
		again.WantServed(again.On(at).Get("/notes/"))
	}
	underWay := browser("under way", "ben")
	underWay.WantServed(underWay.On(1).Visit(left.UnderWay))
	underWay.WantServed(underWay.On(0).Get("/notes/"))
	takeRenewals(s, seen, leased, due)

	live.Post("/auth/logout", nil)
	for at := range 2 {
		live.WantOut(live.On(at).Get("/notes/"))
		due.WantServed(due.On(at).Get("/notes/"))
	}
	RevokeAll(s, 1, world.SiteIssuer, "ana-1")
	due.WantOut(due.Get("/notes/"))
	again := browser("again", "ben")
	again.WantServed(again.Get("/notes/"))
	wantOldForms(s, slices.Collect(maps.Keys(left.Store)))
}

// takeRenewals renews what another build was renewing or had to renew. The
// provider does not know the tokens of that build, so the story answers for it.
func takeRenewals(s *world.Site, seen *world.TokenSeen, leased, due *world.Visitor) {
	s.T.Helper()
	sent := len(s.SentRefreshTokens())
	leased.WantServed(leased.Get("/notes/"))
	s.ShutdownAll()
	if n := len(s.SentRefreshTokens()) - sent; n != 0 {
		s.T.Errorf("%d refreshes under the lease of another process", n)
	}
	s.OnRefresh(Always(http.StatusOK, `{"access_token":"renewed-access","token_type":"Bearer","expires_in":86400,"refresh_token":"renewed-refresh"}`))
	s.Advance(46 * time.Second) // the access tokens have two seconds left, and the lease is over
	due.WantServed(due.Get("/notes/"))
	s.ShutdownAll()
	due.WantServed(due.On(1).Get("/token"))
	if token := seen.One(s.T); token != "renewed-access" || len(s.SentRefreshTokens()) != sent+1 {
		s.T.Errorf("token %q after %d refreshes", token, len(s.SentRefreshTokens())-sent)
	}
	// The fate of the refresh token of the other process is not known, so its
	// refusal ends nothing while the access token serves.
	s.OnRefresh(Always(http.StatusBadRequest, `{"error":"invalid_grant"}`))
	leased.WantServed(leased.Get("/notes/"))
	s.ShutdownAll()
	leased.WantServed(leased.On(1).Get("/notes/"))
	if len(s.SentRefreshTokens()) != sent+2 {
		s.T.Errorf("%d refreshes, want one more", len(s.SentRefreshTokens())-sent)
	}
	s.Advance(time.Minute)
	leased.WantOut(leased.Get("/notes/"))
	s.SetWire(nil)
}

// wantOldForms checks that the build before reads what this one has written: the
// values that it left have kept the version and form of its own.
func wantOldForms(s *world.Site, keys []string) {
	s.T.Helper()
	values, err := s.Store.FindManyCtx(context.Background(), keys)
	s.Must(err)
	for i, v := range values {
		if len(v) > 0 && (v[0] != 1 || v[1] > 1) {
			s.T.Errorf("the value under %s has version %d, form %d", keys[i], v[0], v[1])
		}
	}
}

// LeftKeys are the keys with which a build sealed what it left, by the name of
// the part of a file.
func LeftKeys() map[string]On {
	return map[string]On{"plain": InMemory, "sealed": Keys("one")}
}

//go:embed testdata/*.json
var leftByOthers embed.FS

// TakeOver runs [Take] on what each earlier build left.
func TakeOver(t *testing.T, on On) {
	files, err := leftByOthers.ReadDir("testdata")
	if err != nil || len(files) == 0 {
		t.Fatalf("%d files, %v", len(files), err)
	}
	for _, file := range files {
		text, err := leftByOthers.ReadFile("testdata/" + file.Name())
		if err != nil {
			t.Fatal(err)
		}
		TakeFile(t, on, strings.TrimSuffix(file.Name(), ".json"), text)
	}
}

// TakeFile runs [Take] on what one build left.
func TakeFile(t *testing.T, on On, build string, text []byte) {
	var all map[string]Left
	if err := json.Unmarshal(text, &all); err != nil {
		t.Fatal(err)
	}
	for name, keys := range LeftKeys() {
		t.Run(build+", "+name, func(t *testing.T) { Take(t, on, keys, all[name]) })
	}
}
