package interop_test

import (
	"bytes"
	"context"
	"encoding/base64"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"example.com/gatehouse"
	"example.com/gatehouse/middlewaretest"
)

// umaServer is an authorization server of any kind: alice owns resources of
// photoz, bob and carol come through the print shop.
type umaServer struct {
	keycloak     bool
	issuer       string
	photoz, shop gatehouse.Client
	watch        *watch
	now          func() time.Time
	advance      func(time.Duration)
	owner        string                      // alice's subject
	pat          func(refused string) string // alice's, and another one if that was refused
	idToken      func(*testing.T, string) string
	access       func(*testing.T, string) string // an ordinary token for the shop
	share        func(t *testing.T, resource, who, scope string)
	takeBack     func(t *testing.T, resource, who, scope string)
	signOut      func(*testing.T, string)
	cut          func()
	mend         func(testing.TB)
	slow         bool // a real server that is not cut off, on a machine that may be busy

	mu     sync.Mutex
	scenes int
}

func newKitServer(t *testing.T) *umaServer {
	return kitServer(t, middlewaretest.NewServerAt(t, "/realms/test"), false)
}
func newKitKeycloak(t *testing.T) *umaServer {
	return kitServer(t, middlewaretest.NewKeycloak(t), true)
}

func kitServer(t *testing.T, op *middlewaretest.Server, keycloak bool) *umaServer {
	for _, name := range []string{"alice", "bob", "carol"} {
		op.AddUser(name, middlewaretest.Claims{"email": name + "@example.test"})
	}
	w := &umaServer{keycloak: keycloak, issuer: op.Issuer(), photoz: op.AddClient(), shop: op.AddClient(), watch: newWatch(t),
		now: op.Clock().Now, advance: op.Clock().Advance, owner: "alice", cut: op.Stop}
	w.pat = func(string) string { return op.AccessToken("alice", w.photoz, "uma_protection") }
	w.idToken = func(_ *testing.T, user string) string { return op.IDToken(user, w.shop) }
	w.access = func(_ *testing.T, user string) string { return op.AccessToken(user, w.shop, "view") }
	w.share = func(_ *testing.T, resource, who, scope string) { op.As("alice").Share(resource, who, scope) }
	w.takeBack = func(_ *testing.T, resource, who, scope string) { op.As("alice").Revoke(resource, who, scope) }
	w.signOut = func(_ *testing.T, user string) { op.EndSessions(user) }
	w.mend = func(testing.TB) { op.Start() }
	return w
}

// newRealKeycloak is reached through a line, which can be cut.
func newRealKeycloak(t *testing.T) *umaServer {
	kc, line := shared.Keycloak(t).Via(t)
	at := newCasesAt(t, kc)
	clock := &clock{}
	photoz := at.client("photoz").token(t, http.StatusOK, passwordGrant("alice"))
	w := &umaServer{keycloak: true, issuer: kc.Issuer("gatehouse"), photoz: clientOf("photoz"), shop: clientOf("printshop"), watch: newWatch(t),
		now: clock.now, advance: clock.advance, owner: subjectOf(t, photoz.IDToken), slow: true}
	w.cut = func() { w.slow = false; line.Cut() }
	w.mend = func(t testing.TB) { w.slow = true; line.Mend(t) }
	ids := map[string]string{} // a sign-in takes long
	pat := photoz.AccessToken
	w.pat = func(refused string) string {
		w.mu.Lock()
		defer w.mu.Unlock()
		if pat == refused {
			pat = at.tokens(t, "alice", "photoz").Access
		}
		return pat
	}
	w.idToken = func(t *testing.T, user string) string {
		w.mu.Lock()
		defer w.mu.Unlock()
		if ids[user] == "" {
			ids[user] = at.tokens(t, user, "printshop").ID
		}
		return ids[user]
	}
	w.access = func(t *testing.T, user string) string { return at.tokens(t, user, "printshop").Access }
	w.share = func(t *testing.T, resource, who, scope string) { at.share(t, resource, who, scope) }
	w.takeBack = func(t *testing.T, resource, who, scope string) { at.takeBack(t, resource, who, scope) }
	w.signOut = func(t *testing.T, user string) {
		at.signOut(t, user)
		w.mu.Lock()
		defer w.mu.Unlock()
		delete(ids, user)
	}
	return w
}

// scene is an album of alice's at a resource server of its own, and the shop.
type scene struct {
	t         *testing.T
	w         *umaServer
	resource  gatehouse.Resource
	provider  *gatehouse.Provider
	rs        *gatehouse.ResourceServer
	transport *gatehouse.UMATransport
	asks      bool // the shop lets a Keycloak ask the owner
	who       string
	wire      *wire // of the resource server and the shop to the authorization server
	base      string
	first     string   // the id at first
	shown     string   // the token that the resource server was shown last
	pats      *ownPATs // alice's
	seen      []string
}

// ownPATs supplies alice's PAT, and a new one when it is refused.
type ownPATs struct {
	w     *umaServer
	mu    sync.Mutex
	token string
}

// PAT implements gatehouse.PATSource.
func (p *ownPATs) PAT(_ context.Context, _ string, refused gatehouse.Secret) (gatehouse.Secret, error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.token == "" || p.token == refused.Reveal() {
		p.token = p.w.pat(refused.Reveal())
	}
	return gatehouse.NewSecret(p.token), nil
}

func newScene(t *testing.T, w *umaServer) *scene {
	t.Helper()
	w.scenes++
	s := &scene{t: t, w: w, who: "bob", wire: w.watch.wire(), pats: &ownPATs{w: w},
		resource: gatehouse.Resource{Owner: w.owner, Name: fmt.Sprint("scene ", w.scenes), Scopes: []string{"view", "print", "delete"}}}
	s.provider = must(gatehouse.NewProvider(w.issuer, &gatehouse.ProviderConfig{Transport: s.wire, Logger: w.watch.logger(), Now: w.now}))(t)
	photos := newSite(t)
	s.base = photos.base
	s.restart()
	photos.serve(http.HandlerFunc(func(rw http.ResponseWriter, r *http.Request) {
		s.shown = strings.TrimPrefix(r.Header.Get("Authorization"), "Bearer ")
		need := gatehouse.NeedFunc(func(r *http.Request) (gatehouse.Permission, error) {
			return s.resource.AllOf(map[string][]string{"GET": {"view"}, "PUT": {"print"}, "POST": {"view", "delete"}}[r.Method]...), nil
		})
		gatehouse.Require(s.rs.UMAGuard(need))(http.HandlerFunc(func(rw http.ResponseWriter, r *http.Request) {
			fmt.Fprint(rw, slices.Sorted(slices.Values(gatehouse.IdentityFrom(r.Context()).Granted)))
		})).ServeHTTP(rw, r)
	}))
	made := must(s.rs.Register(t.Context(), s.resource))(t)
	s.first = made.ID
	s.wire.take()
	return s
}

// tidy deletes what the scene has created at a Keycloak, because alice looks at
// her resources in other tests. The names begin alike.
func (s *scene) tidy() {
	if !s.w.keycloak {
		return
	}
	at := s.endpoint("resource_registration_endpoint")
	var ids []string
	query := url.Values{"name": {"scene "}, "max": {"-1"}} // a pattern: K7
	protection(s.t, http.MethodGet, at+"?"+query.Encode(), s.w.pat(""), "", http.StatusOK, &ids)
	for _, id := range ids {
		protection(s.t, http.MethodDelete, at+"/"+id, s.w.pat(""), "", http.StatusNoContent, nil)
	}
}

// restart gives the resource server an empty memory.
func (s *scene) restart() {
	s.rs = must(gatehouse.NewResourceServer(s.provider, gatehouse.ResourceServerConfig{Client: s.w.photoz, Realm: "photoz", PAT: s.pats}))(s.t)
	rs := s.rs
	s.t.Cleanup(func() { _ = rs.Shutdown(context.Background()) })
}

// fresh is another resource, not registered yet.
func (s *scene) fresh() { s.resource.Name += " again" }

// note records what was seen, with the requests that it took.
func (s *scene) note(text string) {
	var calls []string
	for _, c := range s.wire.take() {
		if name := plainName(c.name); name != "" {
			calls = append(calls, name)
		}
	}
	slices.Sort(calls)
	reads := slices.Index(calls, "GET resource")
	for reads >= 0 && reads+1 < len(calls) && calls[reads+1] == "GET resource" { // as many as alice has resources
		calls = slices.Delete(calls, reads, reads+1)
	}
	s.seen = append(s.seen, fmt.Sprintf("%s [%s]", text, strings.Join(calls, ", ")))
}

// plainName is the name of a request, the same at every server, and "" for one
// that is not counted.
func plainName(name string) string {
	method, rest, _ := strings.Cut(name, " ")
	switch {
	case strings.Contains(rest, "perm"):
		return "ticket"
	case strings.Contains(rest, "resource_set"), strings.Contains(rest, "ep/rs-"):
		return method + " resource"
	case strings.Contains(rest, "introspect"), strings.Contains(rest, "ep/look-"):
		return "introspect"
	case name == "token uma-ticket":
		return name
	}
	return ""
}

func (s *scene) stranger() { s.method(http.MethodGet) }

// method sends a request without a token, bearer one with it.
func (s *scene) method(method string) { s.note(s.read(s.fetch(method))) }
func (s *scene) bearer(token string) {
	s.note(s.read(s.fetch(http.MethodGet, "Authorization", "Bearer "+token)))
}

// fetch sends a request, until a server that may be slow is quick enough for it.
func (s *scene) fetch(method string, headers ...string) answer {
	try := func() answer { return fetch(s.t, nil, method, s.base, headers...) }
	if !s.w.slow {
		return try()
	}
	return insist(s.t, []*wire{s.wire}, try)
}

func (s *scene) read(a answer) string {
	switch {
	case a.status == http.StatusUnauthorized && strings.HasPrefix(a.header.Get("WWW-Authenticate"), `UMA realm="photoz", as_uri="`+s.w.issuer+`", ticket="`):
		return "challenged"
	case a.status == http.StatusForbidden && a.header.Get("Warning") == `199 - "UMA Authorization Server Unreachable"`:
		return "unreachable"
	}
	return fmt.Sprint(a.status)
}

func (s *scene) bob(method string) { s.party("bob", method) }

// party sends a request through the shop for somebody.
func (s *scene) party(who, method string) {
	s.who = who
	if s.transport == nil {
		s.transport = must(gatehouse.NewUMATransport(s.provider, gatehouse.UMATransportConfig{Client: s.w.shop, SubmitRequest: s.asks,
			Party: func(context.Context) string { return s.who },
			Claims: func(context.Context) (gatehouse.ClaimToken, error) {
				return gatehouse.ClaimToken{Token: gatehouse.NewSecret(s.w.idToken(s.t, s.who))}, nil
			}}))(s.t)
	}
	resp, err := s.viaShop(method)
	if submitted, ok := errors.AsType[*gatehouse.SubmittedError](err); ok {
		s.note(fmt.Sprintf("request_submitted, ticket %t", !submitted.Ticket.IsZero()))
		return
	}
	if err != nil {
		s.note(gatehouse.ErrorCode(err))
		return
	}
	body := must(readAll(resp.Body))(s.t)
	s.note(fmt.Sprintf("%d %s", resp.StatusCode, body))
}

// viaShop sends a request through the shop, until a server that may be slow is
// quick enough for the resource server.
func (s *scene) viaShop(method string) (resp *http.Response, err error) {
	try := func() answer {
		req := must(http.NewRequestWithContext(s.t.Context(), method, s.base, nil))(s.t)
		if resp, err = (&http.Client{Transport: s.transport}).Do(req); err != nil {
			return answer{}
		}
		body := must(readAll(resp.Body))(s.t)
		resp.Body = io.NopCloser(bytes.NewReader(body))
		return answer{resp.StatusCode, resp.Header, string(body)}
	}
	if s.w.slow {
		insist(s.t, []*wire{s.wire}, try)
	} else {
		try()
	}
	return resp, err
}

func (s *scene) share(who, scope string)    { s.w.share(s.t, s.id(), who, scope) }
func (s *scene) takeBack(who, scope string) { s.w.takeBack(s.t, s.id(), who, scope) }
func (s *scene) later(d time.Duration)      { s.w.advance(d) }

// id is that of the resource at the authorization server.
func (s *scene) id() string { return s.first }

// register registers, and reports whether the id is the first one.
func (s *scene) register() {
	made, err := s.rs.Register(s.t.Context(), s.resource)
	switch {
	case err != nil:
		s.note(gatehouse.ErrorCode(err))
	case made.ID == s.first:
		s.note("registered, the same")
	default:
		s.note("registered, another")
	}
}

// deleteRemotely, change and endPAT use alice's PAT, but not the resource
// server.
func (s *scene) deleteRemotely() {
	protection(s.t, http.MethodDelete, s.endpoint("resource_registration_endpoint")+"/"+s.first, s.w.pat(""), "", http.StatusNoContent, nil)
}

func (s *scene) change(scopes string) {
	status := http.StatusOK
	if s.w.keycloak {
		status = http.StatusNoContent // its answer to an update (K3)
	}
	protection(s.t, http.MethodPut, s.endpoint("resource_registration_endpoint")+"/"+s.first, s.w.pat(""),
		fmt.Sprintf(`{"name":%q,"resource_scopes":%s,"ownerManagedAccess":true}`, s.resource.Name, scopes), status, nil)
}

func (s *scene) endPAT() {
	s.pats.mu.Lock()
	defer s.pats.mu.Unlock()
	s.end(s.pats.token, s.w.photoz)
}

// revoke ends a token of the shop.
func (s *scene) revoke(token string) { s.end(token, s.w.shop) }

func (s *scene) end(token string, c gatehouse.Client) {
	req := must(http.NewRequestWithContext(s.t.Context(), http.MethodPost, s.endpoint("revocation_endpoint"),
		strings.NewReader(url.Values{"token": {token}}.Encode())))(s.t)
	req.SetBasicAuth(url.QueryEscape(c.ID), url.QueryEscape(c.Secret.Reveal())) // RFC 6749 §2.3.1
	req.Header.Set("Content-Type", "application/x-www-form-urlencoded")
	resp := must(http.DefaultClient.Do(req))(s.t)
	resp.Body.Close()
	if resp.StatusCode != http.StatusOK {
		s.t.Fatalf("revocation: %s", resp.Status)
	}
}

func (s *scene) endpoint(name string) string {
	for _, document := range []string{"uma2-configuration", "openid-configuration"} {
		var found map[string]any
		getJSON(s.t, s.w.issuer+"/.well-known/"+document, &found)
		if at, _ := found[name].(string); at != "" {
			return at
		}
	}
	s.t.Fatalf("the metadata has no %s", name)
	return ""
}

// subjectOf reads the subject of an ID Token.
func subjectOf(t testing.TB, raw string) string {
	t.Helper()
	parts := strings.Split(raw, ".")
	if len(parts) != 3 {
		t.Fatal("no ID Token came")
	}
	payload := must(base64.RawURLEncoding.DecodeString(parts[1]))(t)
	return member(string(payload), "sub")
}
