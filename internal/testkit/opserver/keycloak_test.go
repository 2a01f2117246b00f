package opserver_test

import (
	"fmt"
	"net/http"
	"net/url"
	"strings"
	"testing"
	"time"

	"example.com/gatehouse/internal/testkit/opserver"
	"example.com/gatehouse/internal/testkit/umacases"
)

// TestCases runs the table of UMA answers against both dialects. interop runs
// it against a real Keycloak.
func TestCases(t *testing.T) {
	for name, dialect := range map[string]opserver.Dialect{"standard": opserver.Standard, "Keycloak": opserver.Keycloak} {
		t.Run(name, func(t *testing.T) {
			w := newWorldWith(t, opserver.Config{Dialect: dialect}, "/realms/gatehouse")
			w.must(w.AddUser("carol", "pw", nil))
			w.must(w.AddClient(opserver.Client{ID: "photoz", Secret: "photoz-secret"}))
			w.must(w.AddClient(opserver.Client{ID: "printshop", Secret: "printshop-secret", Scopes: []string{"openid", "profile", "email", "view", "print", "delete", "fly"}}))
			w.LetProtect("bob", false)
			table, err := umacases.Open(t.Context(), w.Issuer())
			w.must(err)
			cases := umacases.World{
				Keycloak: dialect == opserver.Keycloak, Prefix: "case-", Tokens: w.casesTokens,
				SignOut:  func(user string) error { w.EndSessions(user); return nil },
				Share:    func(owner, resource, who, scope string) error { return w.Share(owner, resource, who, scope) },
				TakeBack: func(owner, resource, who, scope string) error { return w.Unshare(owner, resource, who, scope) },
				Pending: func(owner, resource string) (n int, _ error) {
					for _, q := range w.Pending(owner) {
						if q.ResourceID == resource {
							n++
						}
					}
					return n, nil
				},
			}
			for _, c := range umacases.Cases() {
				t.Run(c.Name, func(t *testing.T) {
					if err := table.Run(t.Context(), cases, c); err != nil {
						t.Error(err)
					}
				})
			}
		})
	}
}

// casesTokens signs somebody in for the cases. In the standard dialect only
// people who may own resources have a PAT.
func (w *world) casesTokens(user, client string) (made umacases.Tokens, err error) {
	scope := "email"
	if client == "photoz" && user != "bob" {
		scope = "uma_protection"
	}
	if made.Access, err = w.AccessToken(user, client, scope); err == nil && user != "" {
		made.ID, err = w.IDToken(user, client)
	}
	return made, err
}

// TestKeycloakScope: in Keycloak a PAT does not depend on a scope, not even at
// sign-in (K1).
func TestKeycloakScope(t *testing.T) {
	for dialect, want := range map[opserver.Dialect]string{opserver.Standard: "", opserver.Keycloak: "invalid_scope"} {
		w := newWorldWith(t, opserver.Config{Dialect: dialect}, "")
		back, err := url.Parse(w.get(w.http, w.authorizeURL("scope", "openid uma_protection", "prompt", "none")).Header.Get("Location"))
		w.must(err)
		if got := back.Query().Get("error"); want != "" && got != want || want == "" && got != "login_required" {
			t.Errorf("dialect %d: %q", dialect, got)
		}
	}
}

// TestKeycloakTicketEnds: a ticket ends with the PAT that requested it or after
// the lifetime of tickets, whichever is sooner (K10). A ticket that is used
// twice is recorded although it works.
func TestKeycloakTicketEnds(t *testing.T) {
	w := newWorldWith(t, opserver.Config{Dialect: opserver.Keycloak}, "")
	w.SetTicketLifetime(time.Hour)
	old := w.pat("alice") // for five minutes
	id := w.register(old)
	w.must(w.Share("alice", id, "bob", "view"))
	w.clock.advance(4 * time.Minute)
	byOld, byNew := w.ticket(old, id, "view"), w.ticket(w.pat("alice"), id, "view")
	w.clock.advance(time.Minute)
	w.exchange(byOld, w.claim("bob")...).want(t, 403, "invalid_ticket")
	w.exchange(byNew, w.claim("bob")...).want(t, 200, "")
	w.violations("")
	w.exchange(byNew, w.claim("bob")...).want(t, 200, "")
	w.violations("presented a ticket twice")
	w.SetTicketLifetime(time.Second)
	short := w.ticket(w.pat("alice"), id, "view")
	w.clock.advance(time.Second)
	w.exchange(short, w.claim("bob")...).want(t, 403, "invalid_ticket")
	parts := strings.Split(byNew, ".")
	w.exchange(parts[0]+"."+parts[1]+"."+strings.Repeat("A", len(parts[2])), w.claim("bob")...).want(t, 403, "invalid_ticket")
}

// TestKeycloakPATsEnd: the controls recognise a PAT by Keycloak's own rule.
func TestKeycloakPATsEnd(t *testing.T) {
	w := newWorldWith(t, opserver.Config{Dialect: opserver.Keycloak}, "")
	w.must(w.AddClient(opserver.Client{ID: "shop", Secret: "shop-secret", Scopes: []string{"email"}}))
	at := w.endpoint("resource_registration_endpoint")
	for name, end := range map[string]func(){
		"ExpirePATs": w.ExpirePATs, "LostPAT": func() { w.must(w.SetFault(opserver.LostPAT, true)) },
	} {
		pat := w.pat("alice")
		plain, err := w.AccessToken("alice", "shop", "email")
		w.must(err)
		w.rs(pat, http.MethodGet, at, "").want(t, 200, "")
		end()
		w.rs(pat, http.MethodGet, at, "").want(t, 403, "invalid_bearer_token")
		if w.introspect(plain, rpAuth)["active"] != true {
			t.Errorf("%s ends a token that is not a PAT", name)
		}
	}
}

// TestKeycloakLongParameters: a ticket or an rpt above 4,000 characters is
// ignored (K25).
func TestKeycloakLongParameters(t *testing.T) {
	w := newWorldWith(t, opserver.Config{Dialect: opserver.Keycloak}, "")
	pat := w.pat("alice")
	at := w.endpoint("resource_registration_endpoint")
	var all []string
	for i := range 60 {
		made := w.rs(pat, http.MethodPost, at, fmt.Sprintf(`{"name":"album %d","resource_scopes":["view"]}`, i))
		made.want(t, 201, "")
		id := str(made.json["_id"])
		w.must(w.Share("alice", id, "bob", "view"))
		all = append(all, fmt.Sprintf(`{"resource_id":%q,"resource_scopes":["view"]}`, id))
	}
	ticket := func(n int) string {
		made := w.rs(pat, http.MethodPost, w.endpoint("permission_endpoint"), "["+strings.Join(all[:n], ",")+"]")
		made.want(t, 201, "")
		return str(made.json["ticket"])
	}
	long := ticket(60)
	if len(long) <= 4000 {
		t.Fatalf("the long ticket has %d characters", len(long))
	}
	w.exchange(long, w.claim("bob")...).want(t, 400, "invalid_request")
	w.exchange(ticket(2), w.claim("bob")...).want(t, 200, "")
	with := append(w.claim("bob"), "rpt", strings.Repeat("x", 4001))
	w.exchange(ticket(2), with...).want(t, 200, "")
	with[len(with)-1] = strings.Repeat("x", 4000)
	w.exchange(ticket(2), with...).want(t, 403, "invalid_rpt")
}

// TestKeycloakUpdateDrops: an update drops uris and displayName if they are
// left out, but not attributes. A scope that is left out loses for good what
// was decided about it (K26).
func TestKeycloakUpdateDrops(t *testing.T) {
	w := newWorldWith(t, opserver.Config{Dialect: opserver.Keycloak}, "")
	pat := w.pat("alice")
	at := w.endpoint("resource_registration_endpoint")
	made := w.rs(pat, http.MethodPost, at, `{"name":"album","displayName":"My album","uris":["/a"],"attributes":{"k":["v"]},"resource_scopes":["view","print"]}`)
	made.want(t, 201, "")
	id := str(made.json["_id"])
	w.must(w.Share("alice", id, "bob", "view", "print"))
	w.rs(pat, http.MethodPut, at+"/"+id, `{"name":"album","resource_scopes":["view"]}`).want(t, 204, "")
	have := w.rs(pat, http.MethodGet, at+"/"+id, "").json
	if uris, _ := have["uris"].([]any); len(uris) > 0 || have["displayName"] != nil || fmt.Sprint(have["attributes"]) != "map[k:[v]]" {
		t.Errorf("after the update: %v", have)
	}
	w.rs(pat, http.MethodPut, at+"/"+id, `{"name":"album","resource_scopes":["view","print"]}`).want(t, 204, "")
	w.exchange(w.ticket(pat, id, "print"), w.claim("bob")...).want(t, 403, "access_denied")
	w.exchange(w.ticket(pat, id, "view"), w.claim("bob")...).want(t, 200, "")
}
