package gatehouse_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"net/http/httptest"
	"testing"
	"time"

	"example.com/gatehouse"
	"example.com/gatehouse/internal/e2e/world"
)

func TestErrorFaces(t *testing.T) {
	cause := errors.New("the cause")
	e := &gatehouse.Error{Code: "nonce_mismatch", Status: 400, Message: "For the person.", Err: fmt.Errorf("inside: %w", cause)}
	if got := e.Error(); got != "gatehouse: nonce_mismatch: inside: the cause" {
		t.Errorf("Error() %q", got)
	}
	if got := (&gatehouse.Error{Code: "x"}).Error(); got != "gatehouse: x" {
		t.Errorf("Error() without a cause %q", got)
	}
	wrapped := fmt.Errorf("outside: %w", e)
	if !errors.Is(wrapped, &gatehouse.Error{Code: "nonce_mismatch"}) || errors.Is(wrapped, &gatehouse.Error{Code: "other"}) ||
		!errors.Is(wrapped, cause) || errors.Is(wrapped, &gatehouse.Error{}) {
		t.Error("errors.Is does not go by the code")
	}
	if gatehouse.ErrorCode(wrapped) != "nonce_mismatch" || gatehouse.ErrorCode(cause) != "" || gatehouse.ErrorCode(nil) != "" {
		t.Error("ErrorCode does not find the code")
	}
}

func TestIdentityOnContext(t *testing.T) {
	if gatehouse.IdentityFrom(context.Background()) != nil {
		t.Error("an identity from nowhere")
	}
	id := &gatehouse.Identity{Issuer: "https://id.example.org", Subject: "u1"}
	if got := gatehouse.IdentityFrom(gatehouse.WithIdentity(context.Background(), id)); got != id {
		t.Errorf("got %v", got)
	}
}

func TestIdentityClaims(t *testing.T) {
	type person struct {
		Email string
		Big   json.Number
		Admin bool
	}
	claims := person{Email: "before"}
	if err := (&gatehouse.Identity{}).Claims(&claims); err != nil || claims.Email != "before" || (&gatehouse.Identity{}).ClaimString("email") != "" {
		t.Errorf("no claims: %v, %q", err, claims.Email)
	}
	var id *gatehouse.Identity
	s := world.NewSite(t, func(o *world.SiteOptions) {
		o.Mount = func(mux *http.ServeMux, login *gatehouse.RelyingParty) {
			mux.Handle("/who", login.RequireLogin(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
				id = gatehouse.IdentityFrom(r.Context())
			})))
		}
	})
	s.Must(s.AddUser("ana", world.SitePass, map[string]any{"sub": "ana-1", "email": "a@example.org", "big": json.Number("12345678901234567890"), "admin": true}))
	s.Visitor("ana").Visit("/who")
	if err := id.Claims(&claims); err != nil || claims.Email != "a@example.org" || claims.Big != "12345678901234567890" || !claims.Admin {
		t.Errorf("%+v, %v", claims, err)
	}
	if id.ClaimString("email") != "a@example.org" || id.ClaimString("admin") != "" || id.ClaimString("none") != "" {
		t.Error("ClaimString")
	}
	var wrong struct{ Email int }
	if err := id.Claims(&wrong); err == nil {
		t.Error("a text decoded into a number")
	}
}

// pass is a guard that lets in as id, or refuses.
type pass struct {
	id  *gatehouse.Identity
	err error
}

func (p pass) Check(*http.Request) (*gatehouse.Identity, error) { return p.id, p.err }
func (p pass) Refuse(w http.ResponseWriter, _ *http.Request, err error) {
	http.Error(w, err.Error(), http.StatusTeapot)
}

// Require makes a middleware of any guard.
func TestRequire(t *testing.T) {
	for _, c := range []struct {
		guard pass
		code  int
		body  string
		cache string
	}{
		{pass{id: &gatehouse.Identity{Subject: "u1", Via: "badge"}}, 200, "served u1 by badge", ""},
		{pass{id: &gatehouse.Identity{Subject: "u1", Via: gatehouse.ViaSession}}, 200, "served u1 by session", "no-store"},
		{pass{}, 200, "served nobody", ""},
		{pass{err: errors.New("no")}, http.StatusTeapot, "no\n", ""},
		{pass{id: &gatehouse.Identity{Subject: "u1"}, err: errors.New("no")}, http.StatusTeapot, "no\n", ""},
	} {
		w := httptest.NewRecorder()
		gatehouse.Require(c.guard)(world.WhoAmI).ServeHTTP(w, httptest.NewRequest(http.MethodGet, "/", nil))
		if w.Code != c.code || w.Body.String() != c.body || w.Header().Get("Cache-Control") != c.cache {
			t.Errorf("%+v: %d %q, Cache-Control %q", c.guard, w.Code, w.Body, w.Header().Get("Cache-Control"))
		}
	}
}

// Every 503 says when another try makes sense, and every event has a time and
// the issuer.
func TestEventsAreWhole(t *testing.T) {
	s := world.NewSite(t)
	ana := s.Visitor("ana")
	ana.SignIn()
	s.Advance(world.Past)
	ana.Get("/notes/")
	ana.Post("/auth/logout", nil)
	ana.Get("/auth/callback")
	s.ShutdownAll()
	names := map[gatehouse.EventName]bool{}
	for _, e := range s.Events() {
		names[e.Name] = true
		if e.Issuer != world.SiteIssuer || e.Time.IsZero() || e.Time.After(s.Now()) || s.Now().Sub(e.Time) > time.Hour || e.ClientID != "notes" {
			t.Errorf("event %+v", e)
		}
		if e.Name != gatehouse.EventRefusal && e.Subject != "ana-1" {
			t.Errorf("event %+v without its person", e)
		}
		if e.Name == gatehouse.EventRefusal && (e.ID == "" || e.Code == "") {
			t.Errorf("refusal %+v without id or code", e)
		}
	}
	for _, want := range []gatehouse.EventName{gatehouse.EventLogin, gatehouse.EventRefresh, gatehouse.EventLogout, gatehouse.EventRefusal} {
		if !names[want] {
			t.Errorf("no event %s", want)
		}
	}
}
