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
func eitherSite(t testing.TB, api func(s *site) gatehouse.Guard) *site {
	s := newSite(t, watched)
	owner := gatehouse.RequirementFunc("owner", func(r *http.Request, id *gatehouse.Identity) (bool, error) {
		if r.URL.Query().Has("broken") {
			return false, errors.New("database away")
		}
		return id.Subject == "ana-1", nil
	})
	r := s.replicas[0]
	r.mux.Handle("/mine", gatehouse.Require(gatehouse.Either(r.login.With(owner), api(s)))(whoAmI))
	r.mux.Handle("/fresh", gatehouse.Require(gatehouse.Either(r.login.With(gatehouse.Scopes("admin")), api(s)))(whoAmI))
	return s
}

func TestEither(t *testing.T) {
	s := eitherSite(t, func(*site) gatehouse.Guard { return badge{} })
	testEither(t, s, func(a *answer) bool {
		return a.Code == http.StatusUnauthorized && a.Header().Get("WWW-Authenticate") == "Badge"
	})
	nobody, ana := s.visitor("ana"), s.visitor("ana")
	ana.signIn()
	// With an Authorization header the API alone judges, whatever cookies come along.
	for _, b := range []*visitor{nobody, ana} {
		if a := b.get("/mine", "Authorization", "Badge good"); a.Body.String() != "served machine by badge" {
			t.Errorf("a good badge: %v", a)
		}
		for _, header := range []string{"Badge bad", "Bearer x", "", "Basic YTpi"} {
			if a := b.get("/mine", "Authorization", header); a.Code != http.StatusUnauthorized || !strings.Contains(a.Body.String(), "badge") {
				t.Errorf("Authorization %q: %v", header, a)
			}
		}
		// A token does not travel by itself, so a cross-site request with one is the API's affair.
		a := b.do(b.request(http.MethodPost, "/mine", nil, "Authorization", "Badge good", "Sec-Fetch-Site", "cross-site"))
		if a.Body.String() != "served machine by badge" {
			t.Errorf("cross-site with a badge: %v", a)
		}
	}
}

// testEither checks the branches that do not depend on the kind of API.
func testEither(t *testing.T, s *site, challenged func(*answer) bool) {
	t.Helper()
	nobody, ana, ben := s.visitor("ana"), s.visitor("ana"), s.visitor("ben")
	ana.signIn()
	ben.signIn()
	ana.wantServed(ana.get("/mine"))
	ana.wantServed(ana.fetch(http.MethodGet, "/mine"))
	ana.wantServed(ana.fetch(http.MethodPost, "/mine"))
	nobody.wantOut(nobody.get("/mine")) // a navigation without a session: sign-in
	for _, target := range []string{"/mine", "/fresh"} {
		s.wantRefusal(ben.get(target), http.StatusForbidden) // a navigation with one: 403, no sign-in
		for _, method := range []string{http.MethodGet, http.MethodPost, http.MethodDelete} {
			for who, b := range map[string]*visitor{"nobody": nobody, "ben": ben} {
				if a := b.fetch(method, target); !challenged(a) {
					t.Errorf("%s of a script by %s: %v, want the API's challenge", method, who, a)
				}
			}
		}
	}
	// A program without any browser header, with and without a session.
	for who, b := range map[string]*visitor{"nobody": nobody, "ben": ben} {
		if a := b.do(b.request(http.MethodGet, "/mine", nil)); !challenged(a) {
			t.Errorf("a program as %s: %v", who, a)
		}
	}
	// Another site's request is refused, never challenged (decision 15).
	for _, b := range []*visitor{nobody, ana, ben} {
		s.wantRefusal(b.do(b.request(http.MethodPost, "/mine", nil, "Sec-Fetch-Site", "cross-site", "Origin", "https://evil.example")), http.StatusForbidden)
		s.wantRefusal(b.do(b.request(http.MethodGet, "/mine", nil, "Upgrade", "websocket", "Origin", "https://evil.example")), http.StatusForbidden)
	}
	s.wantRefusal(ana.get("/mine?broken"), http.StatusServiceUnavailable)
	s.wantRefusal(ana.fetch(http.MethodGet, "/mine?broken"), http.StatusServiceUnavailable)
	// A store in trouble is 503, never a challenge (R10).
	s.watched().fail(errors.New("refused"), false)
	s.wantRefusal(ana.get("/mine"), http.StatusServiceUnavailable)
	s.wantRefusal(ana.fetch(http.MethodGet, "/mine"), http.StatusServiceUnavailable)
	s.watched().fail(nil, false)
	// The provider away: whoever has no session gets the page's 503, not a loop.
	ana.wantServed(ana.get("/mine"))
}

// With UMA beside the session: strangers get a true ticket, the owner her page.
func TestEitherUMA(t *testing.T) {
	var api *gatehouse.ResourceServer
	photo := gatehouse.Resource{Name: "photo 7", Scopes: []string{"view"}}
	s := eitherSite(t, func(s *site) gatehouse.Guard {
		if api == nil {
			var err error
			s.must(s.AddClient(opserver.Client{ID: "photos", Secret: "secret of photos"}))
			s.mint("client secret", "secret of photos")
			api, err = gatehouse.NewResourceServer(s.replicas[0].provider, gatehouse.ResourceServerConfig{
				Client: gatehouse.Client{ID: "photos", Secret: gatehouse.NewSecret("secret of photos")},
			})
			s.must(err)
		}
		return api.UMAGuard(gatehouse.NeedFunc(func(*http.Request) (gatehouse.Permission, error) { return photo.AllOf("view"), nil }))
	})
	defer func() { s.must(api.Shutdown(context.Background())) }()
	testEither(t, s, func(a *answer) bool {
		h := a.Header().Get("WWW-Authenticate")
		return a.Code == http.StatusUnauthorized && strings.HasPrefix(h, "UMA ") && strings.Contains(h, "ticket=") && strings.Contains(h, `as_uri="`+siteIssuer+`"`)
	})
	ana := s.visitor("ana")
	ana.signIn()
	if a := ana.get("/mine", "Authorization", "Bearer not-a-token"); a.Code != http.StatusUnauthorized || !strings.Contains(a.Header().Get("WWW-Authenticate"), "ticket=") {
		t.Errorf("a bad token beside a good session: %v", a)
	}
}

// The guard is a guard: Check writes nothing and Refuse answers what Check said,
// also through another wrapper.
func TestEitherHalves(t *testing.T) {
	s := newSite(t)
	guard := gatehouse.Either(s.replicas[0].login, badge{})
	r := httptest.NewRequest(http.MethodGet, s.origin+"/notes/", nil)
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
	nested := gatehouse.Either(s.replicas[0].login, guard)
	r = httptest.NewRequest(http.MethodGet, s.origin+"/notes/", nil)
	_, err = nested.Check(r)
	w = httptest.NewRecorder()
	nested.Refuse(w, r, err)
	if !errors.Is(err, errNoBadge) || w.Header().Get("WWW-Authenticate") != "Badge" {
		t.Errorf("nested: %v answered with %d", err, w.Code)
	}
}
