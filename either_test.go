package gatehouse_test

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"example.com/gatehouse"
	"example.com/gatehouse/internal/e2e/world"
	"example.com/gatehouse/internal/testkit/opserver"
)

// badge is an API guard of an application: it takes one header.
type badge struct{}

var errNoBadge = errors.New("no badge")

func (badge) Check(r *http.Request) (*gatehouse.Identity, error) {
	if r.Header.Get("Authorization") == "Badge good" {
		return &gatehouse.Identity{Subject: "machine", Via: "badge"}, nil
	}
	return nil, errNoBadge
}

func (badge) Refuse(w http.ResponseWriter, _ *http.Request, err error) {
	w.Header().Set("WWW-Authenticate", "Badge")
	w.Header().Set("Cache-Control", "no-store")
	w.WriteHeader(http.StatusUnauthorized)
	fmt.Fprintf(w, "show a badge (%v)", err)
}

// eitherSite has a page at /mine for ana that is also an API, and a page at
// /fresh whose requirement can be met by signing in again.
func eitherSite(t testing.TB, api func(s *world.Site) gatehouse.Guard) *world.Site {
	s := world.NewSite(t, world.Watched)
	owner := gatehouse.RequirementFunc("owner", func(r *http.Request, id *gatehouse.Identity) (bool, error) {
		if r.URL.Query().Has("broken") {
			return false, errors.New("database away")
		}
		return id.Subject == "ana-1", nil
	})
	r := s.Replicas[0]
	r.Mux.Handle("/mine", gatehouse.Require(gatehouse.Either(r.Login.With(owner), api(s)))(world.WhoAmI))
	r.Mux.Handle("/fresh", gatehouse.Require(gatehouse.Either(r.Login.With(gatehouse.Scopes("admin")), api(s)))(world.WhoAmI))
	return s
}

func TestEither(t *testing.T) {
	s := eitherSite(t, func(*world.Site) gatehouse.Guard { return badge{} })
	testEither(t, s, func(a *world.Page) bool {
		return a.Code == http.StatusUnauthorized && a.Header().Get("WWW-Authenticate") == "Badge"
	})
	nobody, ana := s.Visitor("ana"), s.Visitor("ana")
	ana.SignIn()
	// With an Authorization header the API alone judges, whatever cookies come along.
	for _, b := range []*world.Visitor{nobody, ana} {
		if a := b.Get("/mine", "Authorization", "Badge good"); a.Body.String() != "served machine by badge" {
			t.Errorf("a good badge: %v", a)
		}
		for _, header := range []string{"Badge bad", "Bearer x", "", "Basic YTpi"} {
			if a := b.Get("/mine", "Authorization", header); a.Code != http.StatusUnauthorized || !strings.Contains(a.Body.String(), "badge") {
				t.Errorf("Authorization %q: %v", header, a)
			}
		}
		// A token does not travel by itself, so a cross-site request with one is the API's affair.
		a := b.Do(b.Request(http.MethodPost, "/mine", nil, "Authorization", "Badge good", "Sec-Fetch-Site", "cross-site"))
		if a.Body.String() != "served machine by badge" {
			t.Errorf("cross-site with a badge: %v", a)
		}
	}
}

// testEither checks the branches that do not depend on the kind of API.
func testEither(t *testing.T, s *world.Site, challenged func(*world.Page) bool) {
	t.Helper()
	nobody, ana, ben := s.Visitor("ana"), s.Visitor("ana"), s.Visitor("ben")
	ana.SignIn()
	ben.SignIn()
	ana.WantServed(ana.Get("/mine"))
	ana.WantServed(ana.Fetch(http.MethodGet, "/mine"))
	ana.WantServed(ana.Fetch(http.MethodPost, "/mine"))
	nobody.WantOut(nobody.Get("/mine")) // a navigation without a session: sign-in
	for _, target := range []string{"/mine", "/fresh"} {
		s.WantRefusal(ben.Get(target), http.StatusForbidden) // a navigation with one: 403, no sign-in
		for _, method := range []string{http.MethodGet, http.MethodPost, http.MethodDelete} {
			for who, b := range map[string]*world.Visitor{"nobody": nobody, "ben": ben} {
				if a := b.Fetch(method, target); !challenged(a) {
					t.Errorf("%s of a script by %s: %v, want the API's challenge", method, who, a)
				}
			}
		}
	}
	// A program without any browser header, with and without a session.
	for who, b := range map[string]*world.Visitor{"nobody": nobody, "ben": ben} {
		if a := b.Do(b.Request(http.MethodGet, "/mine", nil)); !challenged(a) {
			t.Errorf("a program as %s: %v", who, a)
		}
	}
	// Another site's request is refused, never challenged (decision 15).
	for _, b := range []*world.Visitor{nobody, ana, ben} {
		s.WantRefusal(b.Do(b.Request(http.MethodPost, "/mine", nil, "Sec-Fetch-Site", "cross-site", "Origin", "https://evil.example")), http.StatusForbidden)
		s.WantRefusal(b.Do(b.Request(http.MethodGet, "/mine", nil, "Upgrade", "websocket", "Origin", "https://evil.example")), http.StatusForbidden)
	}
	s.WantRefusal(ana.Get("/mine?broken"), http.StatusServiceUnavailable)
	s.WantRefusal(ana.Fetch(http.MethodGet, "/mine?broken"), http.StatusServiceUnavailable)
	// A store in trouble is 503, never a challenge (R10).
	s.Watched().Fail(errors.New("refused"), false)
	s.WantRefusal(ana.Get("/mine"), http.StatusServiceUnavailable)
	s.WantRefusal(ana.Fetch(http.MethodGet, "/mine"), http.StatusServiceUnavailable)
	s.Watched().Fail(nil, false)
	// The provider away: whoever has no session gets the page's 503, not a loop.
	ana.WantServed(ana.Get("/mine"))
}

// With UMA beside the session: strangers get a true ticket, the owner her page.
func TestEitherUMA(t *testing.T) {
	var api *gatehouse.ResourceServer
	photo := gatehouse.Resource{Name: "photo 7", Scopes: []string{"view"}}
	s := eitherSite(t, func(s *world.Site) gatehouse.Guard {
		if api == nil {
			var err error
			s.Must(s.AddClient(opserver.Client{ID: "photos", Secret: "secret of photos"}))
			s.Mint("client secret", "secret of photos")
			api, err = gatehouse.NewResourceServer(s.Replicas[0].Provider, gatehouse.ResourceServerConfig{
				Client: gatehouse.Client{ID: "photos", Secret: gatehouse.NewSecret("secret of photos")},
			})
			s.Must(err)
		}
		return api.UMAGuard(gatehouse.NeedFunc(func(*http.Request) (gatehouse.Permission, error) { return photo.AllOf("view"), nil }))
	})
	defer func() { s.Must(api.Shutdown(context.Background())) }()
	testEither(t, s, func(a *world.Page) bool {
		h := a.Header().Get("WWW-Authenticate")
		return a.Code == http.StatusUnauthorized && strings.HasPrefix(h, "UMA ") && strings.Contains(h, "ticket=") && strings.Contains(h, `as_uri="`+world.SiteIssuer+`"`)
	})
	ana := s.Visitor("ana")
	ana.SignIn()
	if a := ana.Get("/mine", "Authorization", "Bearer not-a-token"); a.Code != http.StatusUnauthorized || !strings.Contains(a.Header().Get("WWW-Authenticate"), "ticket=") {
		t.Errorf("a bad token beside a good session: %v", a)
	}
}

// The guard is a guard: Check writes nothing and Refuse answers what Check said,
// also through another wrapper.
func TestEitherHalves(t *testing.T) {
	s := world.NewSite(t)
	guard := gatehouse.Either(s.Replicas[0].Login, badge{})
	r := httptest.NewRequest(http.MethodGet, s.Origin+"/notes/", nil)
	r.Header.Set("Accept", "text/html")
	id, err := guard.Check(r)
	if id != nil || gatehouse.ErrorCode(err) != "login_required" {
		t.Fatalf("Check gave %v, %v", id, err)
	}
	w := httptest.NewRecorder()
	guard.Refuse(w, r, err)
	if w.Code != http.StatusSeeOther {
		t.Errorf("Refuse answered %d", w.Code)
	}
	w = httptest.NewRecorder()
	guard.Refuse(w, r, errNoBadge) // an error that Check did not give
	if w.Code != http.StatusUnauthorized {
		t.Errorf("Refuse answered %d to a stranger's error", w.Code)
	}
	nested := gatehouse.Either(s.Replicas[0].Login, guard)
	r = httptest.NewRequest(http.MethodGet, s.Origin+"/notes/", nil)
	_, err = nested.Check(r)
	w = httptest.NewRecorder()
	nested.Refuse(w, r, err)
	if !errors.Is(err, errNoBadge) || w.Header().Get("WWW-Authenticate") != "Badge" {
		t.Errorf("nested: %v answered with %d", err, w.Code)
	}
}
