package gatehouse_test

import (
	"fmt"
	"net/http"
	"testing"
	"time"

	"github.com/alexedwards/scs/v2"

	"example.com/gatehouse"
)

// appSite is a site with a session manager of its own: /put/ stores a value,
// /shop tells it. Both are public.
func appSite(t testing.TB, outside bool) (*site, *scs.SessionManager) {
	app := scs.New()
	app.Lifetime = 24 * time.Hour
	app.Cookie.Name, app.Cookie.Secure = "app", true
	s := newSite(t, func(o *siteOptions) {
		o.sessions = func(c *gatehouse.SessionsConfig) { c.App = app }
		o.mount = func(mux *http.ServeMux, _ *gatehouse.RelyingParty) {
			mux.Handle("/put/{value}", app.LoadAndSave(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
				app.Put(r.Context(), "basket", r.PathValue("value"))
			})))
			mux.Handle("/shop", app.LoadAndSave(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
				fmt.Fprint(w, app.GetString(r.Context(), "basket"))
			})))
		}
	})
	if outside { // as an application that wraps its whole mux
		inner := s.replicas[0].mux
		s.replicas[0].mux = http.NewServeMux()
		s.replicas[0].mux.Handle("/", app.LoadAndSave(inner))
	}
	return s, app
}

// The application's token is new after a sign-in, its data is kept, and it is gone
// after sign-out (decision 2). With and without LoadAndSave outside.
func TestSessionOfTheApp(t *testing.T) {
	for _, outside := range []bool{false, true} {
		t.Run(fmt.Sprintf("LoadAndSave outside %v", outside), func(t *testing.T) {
			s, _ := appSite(t, outside)
			ana := s.visitor("ana")
			ana.get("/put/apples")
			before := ana.cookies()["app"]
			ana.signIn()
			after := ana.cookies()["app"]
			if before == "" || after == "" || before == after {
				t.Errorf("the application's token did not change at sign-in (%d and %d characters)", len(before), len(after))
			}
			if got := ana.get("/shop").Body.String(); got != "apples" {
				t.Errorf("basket %q after sign-in", got)
			}
			thief := s.visitor("ana")
			thief.setCookie("app", before)
			if got := thief.get("/shop").Body.String(); got != "" {
				t.Errorf("the token of before the sign-in opens %q", got)
			}
			ana.visit("/auth/login") // the same person once more
			if got := ana.get("/shop").Body.String(); got != "apples" {
				t.Errorf("basket %q after the second sign-in", got)
			}
			last := ana.cookies()["app"]
			ana.follow(ana.post("/auth/logout", nil), nil)
			thief.setCookie("app", last)
			for _, b := range []*visitor{ana, thief} {
				if got := b.get("/shop").Body.String(); got != "" {
					t.Errorf("basket %q after sign-out", got)
				}
			}
		})
	}
}

// The data of one person never passes to the next in the same browser, however
// the first session ended.
func TestSessionOfTheAppAndAnotherPerson(t *testing.T) {
	for name, end := range map[string]func(s *site, b *visitor){
		"replaced":    func(*site, *visitor) {},
		"revoked":     func(s *site, _ *visitor) { s.revokeAll(0, siteIssuer, "ana-1") },
		"timed out":   func(s *site, _ *visitor) { s.advance(13 * time.Hour) },
		"cookie gone": func(_ *site, b *visitor) { b.setCookie(b.sessionName(), "") },
		"signed out":  func(_ *site, b *visitor) { b.post("/auth/logout", nil) },
		"locked out":  func(s *site, b *visitor) { s.RevokeGrants("ana"); s.advance(past); b.get("/notes/") },
		"store forgot": func(s *site, b *visitor) {
			s.overwrite(recordKey(s.t, s, b), func([]byte) []byte { return []byte("x") })
		},
	} {
		t.Run(name, func(t *testing.T) {
			s, _ := appSite(t, false)
			b := s.visitor("ana")
			b.signIn()
			b.get("/put/diary")
			end(s, b)
			s.EndSessions("ana")
			b.user = "ben"
			b.wantServed(b.visit("/auth/login?return_to=/notes/"))
			if got := b.get("/shop").Body.String(); got != "" {
				t.Errorf("ben finds ana's %q", got)
			}
		})
	}
}

// A refused callback changes nothing of the application's session.
func TestSessionOfTheAppAndRefusals(t *testing.T) {
	s, _ := appSite(t, false)
	ana := s.visitor("ana")
	ana.get("/put/apples")
	before := ana.cookies()["app"]
	s.wantNo(ana, ana.get("/auth/callback?code=x&state=AAAAAAAAAAAAAAAAAAAAAA"), 0)
	ana.do(ana.request(http.MethodPost, "/auth/logout", nil, "Sec-Fetch-Site", "cross-site"))
	if ana.cookies()["app"] != before || ana.get("/shop").Body.String() != "apples" {
		t.Error("a refusal changed the application's session")
	}
}
