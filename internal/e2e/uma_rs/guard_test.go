package uma_rs_test

import (
	"encoding/json"
	"fmt"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"example.com/gatehouse"
	"example.com/gatehouse/internal/e2e/world"
)

// TestUMAIdentity: what the handler learns about the requester.
func TestUMAIdentity(t *testing.T) {
	s := world.NewScript(t)
	s.Says("POST /look", 200, `{"active":true,"sub":"bob","client_id":"printshop","exp":1777637100,"email":"bob@example.org",
		"permissions":[{"resource_id":"r-1","resource_scopes":["view"],"exp":1777636860},{"resource_id":"r-2","resource_scopes":["secret"]}]}`)
	guard := s.ResourceServer(gatehouse.ResourceServerConfig{}).UMAGuard(one.AllOf("view"))
	r := httptest.NewRequest("GET", "/", nil)
	r.Header.Set("Authorization", "Bearer tok")
	id, err := guard.Check(r)
	if err != nil {
		t.Fatal(err)
	}
	if id.Via != gatehouse.ViaUMA || id.Issuer != world.ScriptIssuer || id.Subject != "bob" || id.ClientID != "printshop" ||
		fmt.Sprint(id.Granted) != "[view]" || !id.Expires.Equal(time.Unix(1777636860, 0)) || id.ClaimString("email") != "bob@example.org" {
		t.Errorf("identity %+v", id)
	}
	var all map[string]json.RawMessage
	if err := id.Claims(&all); err != nil || all["permissions"] != nil {
		t.Errorf("claims %v, %v; want none of other resources' permissions", all, err)
	}
}

// TestUMAGuardHalves: Check writes nothing and requests no ticket. Refuse
// answers, also in Either and when called by hand.
func TestUMAGuardHalves(t *testing.T) {
	s := world.NewScript(t)
	s.Says("POST /perm", 201, `{"ticket":"t1"}`)
	guard := s.ResourceServer(gatehouse.ResourceServerConfig{}).UMAGuard(one.AllOf("view"))
	r := httptest.NewRequest("GET", "/", nil)
	id, err := guard.Check(r)
	if id != nil || gatehouse.ErrorCode(err) != "permission_required" {
		t.Fatalf("Check: %v, %v", id, err)
	}
	if got := s.Saw(""); len(got) != 0 {
		t.Errorf("Check made the calls %q", got)
	}
	w := httptest.NewRecorder()
	guard.Refuse(w, r, fmt.Errorf("wrapped: %w", err))
	if w.Code != 401 || !strings.Contains(w.Header().Get("WWW-Authenticate"), `ticket="t1"`) {
		t.Errorf("Refuse: %d %v", w.Code, w.Header())
	}

	page := denyAll{}
	mine := gatehouse.Require(gatehouse.Either(page, guard))(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { fmt.Fprint(w, "served") }))
	if w := world.Send(mine, "GET", "/", ""); w.Code != 401 || !strings.Contains(w.Header().Get("WWW-Authenticate"), `ticket="t1"`) {
		t.Errorf("Either: %d %v", w.Code, w.Header())
	}
}

// denyAll is a page to which nobody is signed in.
type denyAll struct{}

func (denyAll) Check(*http.Request) (*gatehouse.Identity, error) {
	return nil, &gatehouse.Error{Code: "login_required", Status: 401}
}

func (denyAll) Refuse(w http.ResponseWriter, _ *http.Request, _ error) { w.WriteHeader(401) }

// TestUMAErrorHandler: the hook writes the body, and the headers are ours.
func TestUMAErrorHandler(t *testing.T) {
	s := world.NewScript(t)
	s.Says("POST /perm", 201, `{"ticket":"t1"}`)
	rs := s.ResourceServer(gatehouse.ResourceServerConfig{ErrorHandler: func(w http.ResponseWriter, _ *http.Request, e *gatehouse.Error) {
		w.WriteHeader(e.Status)
		fmt.Fprintf(w, "custom %s %v", e.Code, e.ID != "")
	}})
	h := world.Photos(rs.UMAProtect(gatehouse.Rules{"GET /a": one.AllOf("view")}))
	w := world.Send(h, "GET", "/a", "")
	if w.Code != 401 || w.Body.String() != "custom permission_required true" || w.Header().Get("WWW-Authenticate") == "" || w.Header().Get("Cache-Control") != "no-store" {
		t.Errorf("%d %s %v", w.Code, w.Body, w.Header())
	}
	if w := world.Send(h, "GET", "/b", ""); w.Code != 403 || w.Body.String() != "custom no_rule true" {
		t.Errorf("%d %s", w.Code, w.Body)
	}
}

func TestResourceServerConfig(t *testing.T) {
	s := world.NewScript(t)
	_, err := gatehouse.NewResourceServer(nil, gatehouse.ResourceServerConfig{Audience: []string{""}, Realm: "a\nb", CacheTTL: 31e9})
	for _, field := range []string{"provider: nil", "Audience", "Realm", "CacheTTL"} {
		if err == nil || !strings.Contains(err.Error(), field) {
			t.Errorf("error %v does not name %s", err, field)
		}
	}
	for _, c := range []struct {
		config gatehouse.ResourceServerConfig
		realm  string
	}{
		{gatehouse.ResourceServerConfig{}, "photoz"},
		{gatehouse.ResourceServerConfig{Audience: []string{"photos-api"}}, "photoz"},
		{gatehouse.ResourceServerConfig{Audience: []string{"https://api.example.org:8443/x"}}, "api.example.org:8443"},
		{gatehouse.ResourceServerConfig{Audience: []string{"https://api.example.org"}, Realm: "my"}, "my"},
	} {
		s := world.NewScript(t)
		s.Says("POST /perm", 201, `{"ticket":"t"}`)
		w := world.Send(world.Photos(s.ResourceServer(c.config).UMAProtect(one.AllOf("view"))), "GET", "/", "")
		if got := w.Header().Get("WWW-Authenticate"); !strings.HasPrefix(got, `UMA realm="`+c.realm+`", `) {
			t.Errorf("%+v: challenge %q, want the realm %q", c.config, got, c.realm)
		}
	}
	if got := s.Saw(""); len(got) != 0 {
		t.Errorf("the constructor made the calls %q", got)
	}
}

// TestUMAOwnerPasses: a NeedFunc may make a request public for the owner, whom
// an outer guard has identified. The handler is then served as nobody, because
// that is what the inner guard decided.
func TestUMAOwnerPasses(t *testing.T) {
	s := open(t)
	h := world.Photos(s.ResourceServer(gatehouse.ResourceServerConfig{}).UMAProtect(gatehouse.NeedFunc(func(r *http.Request) (gatehouse.Permission, error) {
		if id := gatehouse.IdentityFrom(r.Context()); id != nil && id.Subject == "alice" {
			return gatehouse.Public(), nil
		}
		return one.AllOf("delete"), nil
	})))
	r := httptest.NewRequest("GET", "/", nil)
	w := httptest.NewRecorder()
	h.ServeHTTP(w, r.WithContext(gatehouse.WithIdentity(r.Context(), &gatehouse.Identity{Subject: "alice", Via: gatehouse.ViaSession})))
	if w.Code != 200 || w.Body.String() != "served nobody" {
		t.Errorf("alice: %d %s", w.Code, w.Body)
	}
	if w := world.Send(h, "GET", "/", "tok"); w.Code != 401 {
		t.Errorf("a stranger: %d", w.Code)
	}
}
