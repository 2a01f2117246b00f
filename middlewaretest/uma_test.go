package middlewaretest_test

import (
	"context"
	"net/http"
	"strings"
	"testing"
	"time"

	"example.com/gatehouse"
	"example.com/gatehouse/internal/testkit/opserver"
	"example.com/gatehouse/middlewaretest"
)

// umaSite is a resource server with one album of its own, with its
// authorization server and clients.
type umaSite struct {
	op     *middlewaretest.Server
	photoz gatehouse.Client
	shop   gatehouse.Client
	url    string
	clock  *middlewaretest.Clock
}

var siteAlbum = gatehouse.Resource{Name: "album", Scopes: []string{"view", "print"}}

func newUMASite(t *testing.T, op *middlewaretest.Server) *umaSite {
	t.Helper()
	u := &umaSite{op: op, photoz: op.AddClient(), shop: op.AddClient(), clock: op.Clock()}
	op.AddUser("bob", middlewaretest.Claims{"email": "bob@example.org"})
	rs, err := gatehouse.NewResourceServer(op.Provider(), gatehouse.ResourceServerConfig{Client: u.photoz})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := rs.Shutdown(t.Context()); err != nil && t.Context().Err() == nil {
			t.Error(err)
		}
	})
	if _, err := rs.Register(t.Context(), siteAlbum); err != nil {
		t.Fatal(err)
	}
	u.url = middlewaretest.NewApp(t, func(string) http.Handler {
		return rs.UMAProtect(gatehouse.Rules{"GET /": siteAlbum.AllOf("view"), "PUT /": siteAlbum.AllOf("print")})(
			http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { _, _ = w.Write([]byte("album")) }))
	})
	return u
}

// client is the shop, acting for bob, who has an ID Token of an issuer.
func (u *umaSite) client(t *testing.T, idToken func() string) *http.Client {
	t.Helper()
	tr, err := gatehouse.NewUMATransport(u.op.Provider(), gatehouse.UMATransportConfig{
		Client: u.shop, Party: func(context.Context) string { return "bob" },
		Claims: func(context.Context) (gatehouse.ClaimToken, error) {
			return gatehouse.ClaimToken{Token: gatehouse.NewSecret(idToken())}, nil
		},
	})
	if err != nil {
		t.Fatal(err)
	}
	return &http.Client{Transport: tr}
}

// get returns the status, or the code of the error.
func get(t *testing.T, c *http.Client, method, at string) string {
	t.Helper()
	req, err := http.NewRequestWithContext(t.Context(), method, at, nil)
	if err != nil {
		t.Fatal(err)
	}
	resp, err := c.Do(req)
	if err != nil {
		return gatehouse.ErrorCode(err)
	}
	_ = resp.Body.Close()
	return resp.Status[:3]
}

// TestWiderUnderTheSameString: a server may widen a token without changing its
// text (J9). The resource server remembers what the token held, so it asks
// again after it has issued a ticket for it.
func TestWiderUnderTheSameString(t *testing.T) {
	for _, keep := range []bool{false, true} {
		op := middlewaretest.NewServer(t)
		inside(t, op).SetRPT(opserver.RPTOptions{KeepOnUpgrade: keep})
		u := newUMASite(t, op)
		c := u.client(t, func() string { return op.IDToken("bob", u.shop) })
		op.As(u.photoz.ID).Share("album", "bob", "view", "print")
		for _, method := range []string{http.MethodGet, http.MethodPut, http.MethodGet} {
			if got := get(t, c, method, u.url); got != "200" {
				t.Errorf("kept %v: %s gives %s", keep, method, got)
			}
		}
		if n := op.Count("permission"); n != 2 {
			t.Errorf("kept %v: %d tickets, want one for each method", keep, n)
		}
	}
}

// TestTrust: bob signs in at one server, and another lets him in.
func TestTrust(t *testing.T) {
	as, idp := middlewaretest.NewServer(t), middlewaretest.NewServerAt(t, "/idp")
	u := newUMASite(t, as)
	idp.AddUser("robert", middlewaretest.Claims{"email": "bob@elsewhere.org"})
	there := idp.AddClient()
	c := u.client(t, func() string { return idp.IDToken("robert", there) })
	as.As(u.photoz.ID).Share("album", "bob@elsewhere.org", "view")
	if got := get(t, c, http.MethodGet, u.url); got == "200" {
		t.Fatalf("an issuer that nobody trusts: %s", got)
	}
	u.clock.Advance(6 * time.Second)
	must(t, inside(t, as).TrustIssuer(inside(t, idp).AsIssuer(there.ID)))
	if got := get(t, c, http.MethodGet, u.url); got != "200" {
		t.Errorf("bob of the trusted issuer: %s", got)
	}
	if inside(t, as).TicketChain() < 2 {
		t.Errorf("chain of %d tickets, want need_info and one more", inside(t, as).TicketChain())
	}
}

// TestPATRefusals: a PAT is renewed whatever answer shows that it is bad.
func TestPATRefusals(t *testing.T) {
	for _, status := range []int{400, 401, 403, 406} {
		op := middlewaretest.NewServer(t)
		u := newUMASite(t, op)
		must(t, inside(t, op).SetPATRefusal(status))
		inside(t, op).ExpirePATs()
		op.ResetCounts()
		if got := get(t, http.DefaultClient, http.MethodGet, u.url); got != "401" || op.CountToken("client_credentials") != 1 {
			t.Errorf("%d: %s after %d PATs", status, got, op.CountToken("client_credentials"))
		}
	}
}

// TestResourceLifetime: a resource that the server forgets is registered again,
// wherever its Location points.
func TestResourceLifetime(t *testing.T) {
	op := middlewaretest.NewServer(t)
	inside(t, op).SetRelativeLocation(true)
	inside(t, op).SetResourceLifetime(time.Minute)
	u := newUMASite(t, op)
	first := op.As(u.photoz.ID).ResourceID("album")
	u.clock.Advance(time.Minute)
	if got := get(t, http.DefaultClient, http.MethodGet, u.url); got != "401" {
		t.Errorf("after the resource expired: %s", got)
	}
	if again := op.As(u.photoz.ID).ResourceID("album"); again == first {
		t.Error("it did not expire")
	}
}

func TestIntrospectionsAreCounted(t *testing.T) {
	op := middlewaretest.NewServer(t)
	c := op.AddClient()
	introspect(t, op, c, "a token")
	if got := inside(t, op).CountIntrospected("a token"); got != 1 {
		t.Errorf("counted %d", got)
	}
}

// TestNewKeycloak checks what immediately distinguishes the two kinds of
// server.
func TestNewKeycloak(t *testing.T) {
	op := middlewaretest.NewKeycloak(t)
	u := newUMASite(t, op)
	op.As(u.photoz.ID).Share("album", "bob", "view")
	resp, err := http.Get(u.url)
	if err != nil {
		t.Fatal(err)
	}
	_ = resp.Body.Close()
	if challenge := resp.Header.Get("WWW-Authenticate"); resp.StatusCode != 401 || !strings.Contains(challenge, `ticket="ey`) {
		t.Errorf("%s %s, want a ticket that is a JWT", resp.Status, challenge)
	}
	c := u.client(t, func() string { return op.IDToken("bob", u.shop) })
	if got := get(t, c, http.MethodGet, u.url); got != "200" {
		t.Errorf("bob: %s", got)
	}
	op.As(u.photoz.ID).Revoke("album", "bob")
	u.clock.Advance(11 * time.Second)
	if got := get(t, c, http.MethodGet, u.url); got != "200" {
		t.Errorf("the RPT that was issued: %s, want 200 until it expires", got)
	}
	op.EndSessions("bob")
	u.clock.Advance(11 * time.Second)
	if got := get(t, c, http.MethodGet, u.url); got == "200" {
		t.Error("the RPT outlives bob's session")
	}
	if len(op.Violations()) != 0 {
		t.Errorf("violations %q", op.Violations())
	}
	op.AddUser("eve", nil)
	inside(t, op).LetProtect("eve", false)
	if !mayProtect(t, op, "bob", u.photoz) || mayProtect(t, op, "eve", u.photoz) {
		t.Error("a PAT does not depend on the role")
	}
}

// mayProtect reports whether a user's token for a client is a PAT.
func mayProtect(t *testing.T, op *middlewaretest.Server, user string, c gatehouse.Client) bool {
	t.Helper()
	req, err := http.NewRequestWithContext(t.Context(), http.MethodGet, endpoint(t, op, "resource_registration_endpoint"), nil)
	if err != nil {
		t.Fatal(err)
	}
	req.Header.Set("Authorization", "Bearer "+op.AccessToken(user, c, "profile"))
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	_ = resp.Body.Close()
	return resp.StatusCode == http.StatusOK
}

// TestUnquotedChallenges: a client can read what some resource servers write.
func TestUnquotedChallenges(t *testing.T) {
	op := middlewaretest.NewServer(t)
	u := newUMASite(t, op)
	op.As(u.photoz.ID).Share("album", "bob", "view")
	site := middlewaretest.NewApp(t, func(string) http.Handler {
		return unquotedChallenges(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			req, err := http.NewRequestWithContext(r.Context(), r.Method, u.url, nil)
			if err != nil {
				t.Error(err)
				return
			}
			req.Header = r.Header.Clone()
			resp, err := http.DefaultTransport.RoundTrip(req)
			if err != nil {
				t.Error(err)
				return
			}
			_ = resp.Body.Close()
			w.Header()["Www-Authenticate"] = resp.Header["Www-Authenticate"]
			w.WriteHeader(resp.StatusCode)
		}))
	})
	resp, err := http.Get(site)
	if err != nil {
		t.Fatal(err)
	}
	_ = resp.Body.Close()
	if got := resp.Header.Get("WWW-Authenticate"); !strings.HasPrefix(got, "UMA realm=") || strings.ContainsAny(got, `"`) || strings.Contains(got, ", ") {
		t.Errorf("challenge %s", got)
	}
	c := u.client(t, func() string { return op.IDToken("bob", u.shop) })
	if got := get(t, c, http.MethodGet, site); got != "200" {
		t.Errorf("bob: %s", got)
	}
}

// TestKeycloakOwner: a person's own PAT comes from her sign-in, without a
// special scope, and what she owns is hers.
func TestKeycloakOwner(t *testing.T) {
	op := middlewaretest.NewKeycloak(t)
	op.AddUser("ana", middlewaretest.Claims{"email": "ana@example.org"})
	var rs *gatehouse.ResourceServer
	url := middlewaretest.NewApp(t, func(base string) http.Handler {
		client := op.AddClient(base + "/auth/callback")
		grants, err := gatehouse.NewOwnerGrants(op.Provider(), gatehouse.OwnerGrantsConfig{Client: client})
		if err != nil {
			t.Fatal(err)
		}
		login, err := gatehouse.NewRelyingParty(op.Provider(), gatehouse.RelyingPartyConfig{Client: client, RedirectURL: base + "/auth/callback", OwnerGrants: grants})
		if err != nil {
			t.Fatal(err)
		}
		if rs, err = gatehouse.NewResourceServer(op.Provider(), gatehouse.ResourceServerConfig{Client: client, PAT: grants}); err != nil {
			t.Fatal(err)
		}
		mux := http.NewServeMux()
		mux.Handle("/auth/callback", login.CallbackHandler())
		mux.Handle("/albums", login.With(gatehouse.OwnerGrant()).RequireLogin(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			_, err := rs.Register(r.Context(), gatehouse.Resource{Owner: gatehouse.IdentityFrom(r.Context()).Subject, Name: "album", Scopes: []string{"view"}})
			if err != nil {
				http.Error(w, gatehouse.ErrorCode(err), http.StatusInternalServerError)
			}
		})))
		return mux
	})
	resp, err := op.Browser(t, "ana").Get(url + "/albums")
	if text := body(t, resp, err); resp.StatusCode != http.StatusOK {
		t.Fatalf("%s %s", resp.Status, text)
	}
	if got := op.As("ana").Resources(); len(got) != 1 || got[0] != "album" {
		t.Errorf("ana owns %q", got)
	}
	if len(op.Violations()) != 0 {
		t.Errorf("violations %q", op.Violations())
	}
}

// unquotedChallenges makes a resource server write its UMA challenges as some
// do, without quotation marks around values or a space after a comma. RFC 9110
// §11.2 forbids this for the characters in an as_uri, but clients should be
// able to read it.
func unquotedChallenges(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		next.ServeHTTP(&unquoting{ResponseWriter: w}, r)
	})
}

// unquoting changes the header before it is sent.
type unquoting struct {
	http.ResponseWriter
	began bool
}

func (u *unquoting) WriteHeader(status int) {
	if !u.began && status >= http.StatusOK {
		u.began = true
		lines := u.Header()["Www-Authenticate"]
		for i, line := range lines {
			if strings.HasPrefix(line, "UMA ") && !strings.Contains(line, `\`) {
				lines[i] = strings.ReplaceAll(strings.ReplaceAll(line, `"`, ""), ", ", ",")
			}
		}
	}
	u.ResponseWriter.WriteHeader(status)
}

func (u *unquoting) Write(b []byte) (int, error) {
	if !u.began {
		u.WriteHeader(http.StatusOK)
	}
	return u.ResponseWriter.Write(b)
}

// Unwrap lets http.ResponseController reach the real one.
func (u *unquoting) Unwrap() http.ResponseWriter { return u.ResponseWriter }
