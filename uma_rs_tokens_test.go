package gatehouse_test

import (
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"reflect"
	"strings"
	"testing"
	"time"

	"example.com/gatehouse"
	"example.com/gatehouse/internal/testkit/opserver"
)

// TestUR14_OwnerOnEveryResource: through the package one owner cannot touch what
// is another's, by whatever id, and a call is about the resources of one owner.
func TestUR14_OwnerOnEveryResource(t *testing.T) {
	w := newRSWorld(t)
	g := w.grants(nil)
	rs := w.resourceServer(gatehouse.ResourceServerConfig{PAT: g})
	for _, user := range []string{"alice", "bob"} {
		answer := w.agree(user, g.GrantScopes(t.Context())...)
		access, _ := answer["access_token"].(string)
		refresh, _ := answer["refresh_token"].(string)
		scope, _ := answer["scope"].(string)
		w.must(g.KeepGrant(t.Context(), user, access, refresh, scope, w.Now(), w.Now().Add(time.Hour)))
	}
	hers, err := rs.Register(t.Context(), album7)
	w.must(err)
	before := w.Resources("alice")

	taken := gatehouse.Resource{Owner: "bob", Name: "mine now", Scopes: []string{"view"}, ID: hers.ID}
	got, err := rs.Register(t.Context(), taken)
	if err == nil && got.ID == hers.ID {
		t.Errorf("bob registered over %+v", got)
	}
	for _, r := range []gatehouse.Resource{taken, {Owner: "bob", ID: hers.ID}, {Owner: "bob", Name: album7.Name, Scopes: album7.Scopes}, {Owner: "", ID: hers.ID}} {
		_ = rs.Deregister(t.Context(), r) // an error or nothing, and in any case:
		if now := w.Resources("alice"); !reflect.DeepEqual(now, before) {
			t.Fatalf("after deregistering %+v alice has %+v, had %+v", r, now, before)
		}
	}
	// A permission that names resources of two owners is none, in whatever order.
	mixed := []gatehouse.Permission{
		album7.AllOf("view").And(taken.AllOf("view")),
		taken.AllOf("view").And(taken.AllOf("view"), album7.AllOf("view")),
	}
	for i, p := range mixed {
		h := photos(rs.UMAProtect(gatehouse.NeedFunc(func(*http.Request) (gatehouse.Permission, error) { return p, nil })))
		w.reset()
		if answer := send(h, "GET", "/", "tok"); answer.Code != 500 || served(answer) || w.total() != 0 {
			t.Errorf("two owners, %d: %d %s after %d calls", i, answer.Code, answer.Body, w.total())
		}
	}
	if got := w.Violations(); len(got) > 0 {
		t.Errorf("the server complains: %v", got)
	}
}

// TestUR14_WrongKindOfToken: an access token whose scope has the right name, an
// RPT of another authorization server and other tokens get a ticket.
func TestUR14_WrongKindOfToken(t *testing.T) {
	for _, form := range []opserver.RPTOptions{{}, {JWT: true}} {
		t.Run(fmt.Sprintf("JWT %v", form.JWT), func(t *testing.T) {
			w, other := newRSWorld(t), newRSWorld(t)
			w.SetRPT(form)
			other.SetRPT(form)
			h := photos(w.resourceServer(gatehouse.ResourceServerConfig{}).UMAProtect(albumRules()))
			good := w.rpt(h, "GET", "/albums/", "photoz", "view")
			foreign := other.rpt(photos(other.resourceServer(gatehouse.ResourceServerConfig{}).UMAProtect(albumRules())), "GET", "/albums/", "photoz", "view")
			plain, err := w.AccessToken("bob", "printshop", "openid", "view")
			w.must(err)
			own, err := w.AccessToken("alice", "photoz", "view")
			w.must(err)
			idToken, err := w.IDToken("bob", "printshop")
			w.must(err)
			for name, token := range map[string]string{
				"plain access token": plain, "plain token of our client": own, "RPT of another server": foreign, "ID Token": idToken,
				"RPT with a tail": good + "x",
			} {
				t.Run(name, func(t *testing.T) { w.wantTicket(send(h, "GET", "/albums/", token)) })
			}
			if answer := send(h, "GET", "/albums/", good); !served(answer) {
				t.Errorf("the right token: %d %s", answer.Code, answer.Body)
			}
			w.wantNoSecrets(nil, good, foreign, plain, own)
		})
	}
}

// TestIN1_ActiveMeansTrue: a token that the server does not plainly call active,
// now, is refused with a new ticket, and the handler does not run.
func TestIN1_ActiveMeansTrue(t *testing.T) {
	const now = 1777636800
	rest := `"permissions":[{"resource_id":"r-1","resource_scopes":["view"]}]}`
	for body, open := range map[string]bool{
		`{"active":true,` + rest:                              true,
		fmt.Sprintf(`{"active":true,"exp":%d,`, now+1) + rest: true,
		`{"active":false,` + rest:                             false,
		`{"active":false}`:                                    false,
		`{` + rest:                                            false,
		`{}`:                                                  false,
		`{"active":"true",` + rest:                            false,
		`{"active":1,` + rest:                                 false,
		`{"active":null,` + rest:                              false,
		`{"active":[true],` + rest:                            false,
		`{"Active":true,` + rest:                              false,
		fmt.Sprintf(`{"active":true,"exp":%d,`, now) + rest:                 false,
		fmt.Sprintf(`{"active":true,"exp":%d,`, now-3600) + rest:            false,
		fmt.Sprintf(`{"active":true,"exp":"%d",`, now+3600) + rest:          false,
		fmt.Sprintf(`{"active":true,"nbf":%d,`, now+1) + rest:               false,
		`{"active":true,"exp":0,` + rest:                                    false,
		`{"active":true,"exp":-1,` + rest:                                   false,
		fmt.Sprintf(`{"active":true,"exp":%d.5,`, now-1) + rest:             false,
		`{"active":true,"exp":null,` + rest:                                 true, // the server did not say
		`{"active":true,"iss":"https://other.example.org",` + rest:          false,
		`{"active":true,"aud":["somebody else"],` + rest:                    false,
		fmt.Sprintf(`{"active":true,"iat":%d,`, now+86400) + rest:           true, // RFC 7662 §2.2 gives iat no such meaning
		`{"active":true,"scope":"view","token_type":"Bearer"}`:              false,
		`{"active":true,"permissions":{"r-1":["view"]}}`:                    false,
		`{"active":true,"scope":"view","permissions":[]}`:                   false,
		`{"active":true,"permissions":[{"resource_id":"r-1"}]}`:             false,
		`{"active":true,"permissions":[{"resource_scopes":["view"]` + `}]}`: false,
	} {
		s := newScripted(t)
		s.says("POST /look", 200, body)
		s.says("POST /perm", 201, `{"ticket":"t1"}`)
		answer := send(photos(s.resourceServer(gatehouse.ResourceServerConfig{}).UMAProtect(one.AllOf("view"))), "GET", "/", "tok")
		if served(answer) != open {
			t.Errorf("%s: %d %s", body, answer.Code, answer.Body)
		}
		if !open && (answer.Code != 401 || !strings.Contains(answer.Header().Get("WWW-Authenticate"), `ticket="t1"`)) {
			t.Errorf("%s: %d %v, want a ticket", body, answer.Code, answer.Header())
		}
	}
}

// TestIN5_RevokedAtTheServer: a token that ends at the server ends here after
// CacheTTL at most, at once if that is negative, and never lives past its exp.
func TestIN5_RevokedAtTheServer(t *testing.T) {
	for _, c := range []struct{ ttl, within time.Duration }{{0, 10 * time.Second}, {30 * time.Second, 30 * time.Second}, {time.Second, time.Second}, {-1, 0}} {
		t.Run(c.ttl.String(), func(t *testing.T) {
			w := newRSWorld(t)
			h := photos(w.resourceServer(gatehouse.ResourceServerConfig{CacheTTL: c.ttl}).UMAProtect(albumRules()))
			token := w.rpt(h, "GET", "/albums/", "photoz", "view")
			if !served(send(h, "GET", "/albums/", token)) {
				t.Fatal("not served before")
			}
			if !w.RevokeToken(token) {
				t.Fatal("the server does not know the token")
			}
			w.advance(c.within)
			w.wantTicket(send(h, "GET", "/albums/", token))
		})
	}
	w := newRSWorld(t)
	w.SetTokenLifetime(3 * time.Second)
	h := photos(w.resourceServer(gatehouse.ResourceServerConfig{CacheTTL: 30 * time.Second}).UMAProtect(albumRules()))
	token := w.rpt(h, "GET", "/albums/", "photoz", "view")
	if !served(send(h, "GET", "/albums/", token)) {
		t.Fatal("not served before")
	}
	w.advance(3 * time.Second)
	w.wantTicket(send(h, "GET", "/albums/", token))
	if _, err := gatehouse.NewResourceServer(w.provider, gatehouse.ResourceServerConfig{Client: rsClient, CacheTTL: 30*time.Second + 1}); err == nil {
		t.Error("a CacheTTL above 30 s is taken")
	}
}

// TestIN8_IntrospectionWire: how the request looks, and that an answer which
// helps nobody is 503 after one renewal of the credentials at most.
func TestIN8_IntrospectionWire(t *testing.T) {
	const marker = "MARKER-of-the-body"
	page := func(status int, kind, body string) http.HandlerFunc {
		return func(w http.ResponseWriter, _ *http.Request) {
			w.Header().Set("Content-Type", kind)
			w.WriteHeader(status)
			_, _ = io.WriteString(w, body)
		}
	}
	good := `{"active":true,"permissions":[{"resource_id":"r-1","resource_scopes":["view"]}],"x":"` + marker + `"}`
	for name, answer := range map[string]http.HandlerFunc{
		"401":        page(401, "application/json", `{"error":"invalid_client","error_description":"`+marker+`"}`),
		"a page":     page(200, "text/html", "<html>"+marker),
		"2 MiB":      page(200, "application/json", strings.Repeat(" ", 2<<20)+good),
		"2 MiB more": page(200, "application/json", good+strings.Repeat(" ", 2<<20)),
		"500":        page(500, "application/json", good),
	} {
		t.Run(name, func(t *testing.T) {
			s := newScripted(t)
			var alarm strings.Builder
			s.mux.HandleFunc("/look", func(w http.ResponseWriter, r *http.Request) {
				if r.Method != http.MethodPost || r.URL.RawQuery != "" || r.PostFormValue("token") != "tok-secret" || r.Header.Get("Authorization") == "" {
					t.Errorf("%s %s, token in the body %v", r.Method, r.URL, r.PostFormValue("token") != "")
				}
				answer(w, r)
			})
			rs := s.resourceServer(gatehouse.ResourceServerConfig{ErrorHandler: func(w http.ResponseWriter, _ *http.Request, e *gatehouse.Error) {
				fmt.Fprintf(&alarm, "%+v", e.Err)
				w.WriteHeader(e.Status)
			}})
			r := httptest.NewRequest("GET", "/", nil)
			r.Header.Set("Authorization", "Bearer tok-secret")
			w := httptest.NewRecorder()
			photos(rs.UMAProtect(one.AllOf("view"))).ServeHTTP(w, r)
			wantTrouble(t, w)
			if n := len(s.saw("POST /look")); n > 3 {
				t.Errorf("%d introspections", n)
			}
			if n := len(s.saw("POST /token")); n > 2 {
				t.Errorf("%d token requests, want the PAT and one renewal at most", n)
			}
			if alarm.Len() == 0 || strings.Contains(alarm.String(), marker) || strings.Contains(alarm.String(), "tok-secret") {
				t.Errorf("the alarm says %q", alarm.String())
			}
			for _, c := range s.saw("") {
				if verb, rest, _ := strings.Cut(c, " "); strings.Contains(strings.SplitN(rest, " ", 2)[0], "tok-secret") {
					t.Errorf("%s: the token is in the address %s", verb, rest)
				}
			}
		})
	}
}
