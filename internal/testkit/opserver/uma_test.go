package opserver_test

import (
	"encoding/json"
	"net/http"
	"net/url"
	"strings"
	"testing"
	"time"

	"example.com/gatehouse/internal/testkit/opserver"
	"github.com/go-jose/go-jose/v4"
)

// pat returns a PAT of a user for the client rp; "" is the client itself.
func (w *world) pat(user string) string {
	w.t.Helper()
	v, err := w.AccessToken(user, "rp", "uma_protection")
	w.must(err)
	return v
}

// rs sends a request of the resource server.
func (w *world) rs(pat, method, address, body string) answer {
	w.t.Helper()
	auth := ""
	if pat != "" {
		auth = "Bearer " + pat
	}
	return w.send(w.http, method, address, "application/json", body, auth)
}

const album = `{"name":"album","type":"http://photos/album","resource_scopes":["view","print","delete"]}`

// register makes alice's album and returns its id.
func (w *world) register(pat string) string {
	w.t.Helper()
	a := w.rs(pat, http.MethodPost, w.endpoint("resource_registration_endpoint")+"/", album)
	if a.StatusCode != http.StatusCreated {
		w.t.Fatalf("register: %d %s", a.StatusCode, a.body)
	}
	return str(a.json["_id"])
}

// ticket asks for scopes of a resource.
func (w *world) ticket(pat, id string, scopes ...string) string {
	w.t.Helper()
	b, err := json.Marshal([]map[string]any{{"resource_id": id, "resource_scopes": append([]string{}, scopes...)}})
	w.must(err)
	a := w.rs(pat, http.MethodPost, w.endpoint("permission_endpoint"), string(b))
	if a.StatusCode != http.StatusCreated || str(a.json["ticket"]) == "" {
		w.t.Fatalf("permission: %d %s", a.StatusCode, a.body)
	}
	return str(a.json["ticket"])
}

// exchange presents a ticket as the shop, with additional parameters.
func (w *world) exchange(ticket string, more ...string) answer {
	w.t.Helper()
	v := url.Values{"grant_type": {umaGrant}, "ticket": {ticket}}
	for i := 0; i < len(more); i += 2 {
		v.Set(more[i], more[i+1])
	}
	return w.token(shopAuth, v)
}

// claim returns the parameters that push somebody's ID Token.
func (w *world) claim(user string) []string {
	w.t.Helper()
	raw, err := w.IDToken(user, "shop")
	w.must(err)
	return []string{"claim_token", raw, "claim_token_format", idFormat}
}

func TestResourceRegistration(t *testing.T) {
	w := newWorld(t, "/uma")
	pat, at := w.pat("alice"), w.endpoint("resource_registration_endpoint")
	made := w.rs(pat, http.MethodPost, at+"/", album)
	id := str(made.json["_id"])
	if made.StatusCode != http.StatusCreated || made.Header.Get("Location") != at+"/"+id || id == "" {
		t.Fatalf("%d, Location %q, %s", made.StatusCode, made.Header.Get("Location"), made.body)
	}
	if !strings.HasPrefix(str(made.json["user_access_policy_uri"]), w.Issuer()) {
		t.Errorf("policy page %v", made.json["user_access_policy_uri"])
	}
	read := w.rs(pat, http.MethodGet, at+"/"+id, "")
	if read.json["name"] != "album" || read.json["_id"] != id || len(read.json["resource_scopes"].([]any)) != 3 {
		t.Errorf("read %s", read.body)
	}
	put := w.rs(pat, http.MethodPut, at+"/"+id, `{"resource_scopes":["view"],"name#de":"Album"}`)
	if put.StatusCode != http.StatusOK || put.json["_id"] != id {
		t.Errorf("update %d %s", put.StatusCode, put.body)
	}
	if read = w.rs(pat, http.MethodGet, at+"/"+id, ""); read.json["name"] != nil || read.json["name#de"] != "Album" {
		t.Errorf("an update replaces: %s", read.body)
	}
	if list := w.rs(pat, http.MethodGet, at+"/", ""); list.body != `["`+id+`"]` {
		t.Errorf("list %s", list.body)
	}
	if gone := w.rs(pat, http.MethodDelete, at+"/"+id, ""); gone.StatusCode != http.StatusNoContent {
		t.Errorf("delete %d", gone.StatusCode)
	}
	w.rs(pat, http.MethodGet, at+"/"+id, "").want(t, 404, "not_found")
	w.rs(pat, http.MethodPatch, at+"/"+id, "").want(t, 405, "unsupported_method_type")
	for _, bad := range []string{``, `[]`, `null`, `{}`, `{"resource_scopes":"view"}`, `{"resource_scopes":["a","a"]}`,
		`{"resource_scopes":[""]}`, `{"resource_scopes":[],"resource_scopes":[]}`, `{"resource_scopes":["a"],"name":1}`} {
		w.rs(pat, http.MethodPost, at, bad).want(t, 400, "invalid_request")
	}
	w.SetRelativeLocation(true)
	if made = w.rs(pat, http.MethodPost, at, album); !strings.HasPrefix(made.Header.Get("Location"), "/uma/ep/") {
		t.Errorf("Location %q", made.Header.Get("Location"))
	}
}

func TestOwnersAndResourceServersAreApart(t *testing.T) {
	w := newWorld(t, "")
	at := w.endpoint("resource_registration_endpoint")
	id := w.register(w.pat("alice"))
	foreign, err := w.AccessToken("alice", "shop", "uma_protection")
	w.must(err)
	for name, pat := range map[string]string{"bob": w.pat("bob"), "the client": w.pat(""), "alice at the shop": foreign} {
		t.Run(name, func(t *testing.T) {
			for _, method := range []string{http.MethodGet, http.MethodPut, http.MethodDelete} {
				w.rs(pat, method, at+"/"+id, album).want(t, 404, "not_found")
			}
			if list := w.rs(pat, http.MethodGet, at, ""); list.body != "[]" {
				t.Errorf("list %s", list.body)
			}
			w.rs(pat, http.MethodPost, w.endpoint("permission_endpoint"),
				`{"resource_id":"`+id+`","resource_scopes":["view"]}`).want(t, 400, "invalid_resource_id")
		})
	}
	w.rs(w.pat("alice"), http.MethodGet, at+"/"+id, "").want(t, 200, "")
	if a := w.rs(w.pat(""), http.MethodPost, at, album); a.json["user_access_policy_uri"] != nil {
		t.Error("a client has a page for its policy")
	}
}

func TestPATIsJudged(t *testing.T) {
	w := newWorld(t, "")
	weak, err := w.AccessToken("alice", "rp", "openid")
	w.must(err)
	for _, at := range []string{w.endpoint("resource_registration_endpoint"), w.endpoint("permission_endpoint")} {
		w.rs("", http.MethodPost, at, album).want(t, 401, "invalid_token")
		w.rs("guess", http.MethodPost, at, album).want(t, 401, "invalid_token")
		w.rs(weak, http.MethodPost, at, album).want(t, 403, "insufficient_scope")
	}
	w.must(w.SetPATRefusal(406))
	w.rs("guess", http.MethodPost, w.endpoint("permission_endpoint"), album).want(t, 406, "invalid_token")
	if w.SetPATRefusal(200) == nil {
		t.Error("200 refuses a PAT")
	}
	w.must(w.SetPATRefusal(401))
	cc := w.token(rpAuth, url.Values{"grant_type": {"client_credentials"}, "scope": {"uma_protection"}})
	w.rs(str(cc.json["access_token"]), http.MethodPost, w.endpoint("resource_registration_endpoint"), album).want(t, 201, "")
	code := w.tokens("alice", "scope", "openid uma_protection offline_access")
	w.rs(str(code["access_token"]), http.MethodPost, w.endpoint("resource_registration_endpoint"), album).want(t, 201, "")
	if got := w.Resources("alice"); len(got) != 1 || got[0].Name != "album" || got[0].Client != "rp" {
		t.Errorf("alice's resources %v", got)
	}
	w.ExpirePATs()
	w.rs(str(code["access_token"]), http.MethodGet, w.endpoint("resource_registration_endpoint"), "").want(t, 401, "invalid_token")
}

func TestPermissionRequests(t *testing.T) {
	w := newWorld(t, "")
	pat := w.pat("alice")
	id := w.register(pat)
	one := `{"resource_id":"` + id + `","resource_scopes":["view"]}`
	for _, tc := range []struct {
		body   string
		status int
		code   string
	}{
		{one, 201, ""},
		{"[" + one + "]", 201, ""},
		{"[" + one + "," + one + "]", 201, ""},
		{`{"resource_id":"` + id + `","resource_scopes":[]}`, 201, ""},
		{`{"resource_id":"x","resource_scopes":["view"]}`, 400, "invalid_resource_id"},
		{`{"resource_id":"` + id + `","resource_scopes":["fly"]}`, 400, "invalid_scope"},
		{`{"resource_id":"` + id + `"}`, 400, "invalid_request"},
		{`{"resource_scopes":["view"]}`, 400, "invalid_request"},
		{`[]`, 400, "invalid_request"},
		{`"x"`, 400, "invalid_request"},
		{`{`, 400, "invalid_request"},
	} {
		w.rs(pat, http.MethodPost, w.endpoint("permission_endpoint"), tc.body).want(t, tc.status, tc.code)
	}
}

// TestNeedInfo asks without a claim. The server wants to know who it is, and
// issues a new ticket.
func TestNeedInfo(t *testing.T) {
	w := newWorld(t, "/as")
	pat := w.pat("alice")
	id := w.register(pat)
	w.must(w.Share("alice", id, "bob@example.org", "view"))
	t1 := w.ticket(pat, id, "view")
	ask := w.exchange(t1)
	ask.want(t, 403, "need_info")
	t2 := str(ask.json["ticket"])
	required := ask.json["required_claims"].([]any)[0].(map[string]any)
	if t2 == "" || t2 == t1 || required["claim_token_format"].([]any)[0] != idFormat || required["issuer"].([]any)[0] != w.Issuer() {
		t.Fatalf("need_info %s", ask.body)
	}
	got := w.exchange(t2, w.claim("bob")...)
	got.want(t, 200, "")
	if got.json["scope"] != nil || got.json["upgraded"] != nil || got.Header.Get("Cache-Control") != "no-store" {
		t.Errorf("answer %s", got.body)
	}
	rpt := str(got.json["access_token"])
	facts := w.introspect(rpt, "Bearer "+pat)
	if facts["active"] != true || facts["scope"] != nil || facts["sub"] != "b-0815" || facts["client_id"] != "shop" || permissions(facts) != id+":view" {
		t.Errorf("introspection %v", facts)
	}
	w.violations("")
}

// TestAskingTheOwner starts with a permission that is too weak, goes through
// the owner's inbox to an upgraded one, and ends when the owner takes it back.
func TestAskingTheOwner(t *testing.T) {
	w := newWorld(t, "")
	pat := w.pat("alice")
	id := w.register(pat)
	w.must(w.Share("alice", id, "bob", "view"))
	rpt := str(w.exchange(w.ticket(pat, id, "view"), w.claim("bob")...).json["access_token"])
	t3 := w.ticket(pat, id, "delete")
	wait := w.exchange(t3, append(w.claim("bob"), "rpt", rpt)...)
	wait.want(t, 403, "request_submitted")
	if wait.json["interval"] != float64(5) || str(wait.json["ticket"]) == t3 {
		t.Errorf("request_submitted %s", wait.body)
	}
	inbox := w.Pending("alice")
	if len(inbox) != 1 || inbox[0].Who != "bob" || inbox[0].Scopes[0] != "delete" || inbox[0].Client != "shop" {
		t.Fatalf("inbox %v", inbox)
	}
	w.clock.advance(5 * time.Second)
	again := w.exchange(str(wait.json["ticket"]), "rpt", rpt)
	again.want(t, 403, "request_submitted")
	if len(w.Pending("alice")) != 1 {
		t.Error("polling fills the inbox")
	}
	w.must(w.Approve("alice", inbox[0].ID))
	w.clock.advance(5 * time.Second)
	up := w.exchange(str(again.json["ticket"]), "rpt", rpt)
	up.want(t, 200, "")
	if up.json["upgraded"] != true || w.introspect(rpt, "Bearer "+pat)["active"] != false {
		t.Errorf("upgrade %s", up.body)
	}
	wide := str(up.json["access_token"])
	if got := permissions(w.introspect(wide, "Bearer "+pat)); got != id+":delete,view" {
		t.Errorf("the upgraded RPT holds %s", got)
	}

	// Alice changes her mind. It takes effect at once, and bob's next request
	// is not filed.
	w.must(w.Unshare("alice", id, "bob"))
	if w.introspect(wide, "Bearer "+pat)["active"] != false {
		t.Error("the RPT survives")
	}
	w.exchange(w.ticket(pat, id, "view"), w.claim("bob")...).want(t, 403, "request_denied")
	if len(w.Pending("alice")) != 0 {
		t.Error("bob is filed again")
	}
	if w.TicketChain() != 3 {
		t.Errorf("longest chain %d", w.TicketChain())
	}
	w.violations("")
}

// permissions formats the permissions of an introspection answer as
// id:scope,scope.
func permissions(facts map[string]any) string {
	list, _ := facts["permissions"].([]any)
	var out []string
	for _, one := range list {
		p := one.(map[string]any)
		var scopes []string
		for _, s := range p["resource_scopes"].([]any) {
			scopes = append(scopes, str(s))
		}
		out = append(out, str(p["resource_id"])+":"+strings.Join(scopes, ","))
	}
	return strings.Join(out, " ")
}

func TestTicketsAreUsedOnce(t *testing.T) {
	w := newWorld(t, "")
	pat := w.pat("alice")
	id := w.register(pat)
	w.must(w.Share("alice", id, "bob", "view"))
	used := w.ticket(pat, id, "view")
	rpt := str(w.exchange(used, w.claim("bob")...).json["access_token"])
	w.violations("")
	w.exchange(used, w.claim("bob")...).want(t, 400, "invalid_grant")
	w.violations("presented a ticket twice")
	if w.introspect(rpt, rpAuth)["active"] != false {
		t.Error("the RPT of a ticket used twice lives on")
	}
	old := w.ticket(pat, id, "view")
	w.clock.advance(5 * time.Minute)
	w.exchange(old, w.claim("bob")...).want(t, 400, "invalid_grant")
	w.exchange("guess").want(t, 400, "invalid_grant")
	w.exchange("").want(t, 400, "invalid_request")
	w.exchange("x", "claim_token", "y").want(t, 400, "invalid_request")
	w.exchange("x", "claim_token", "y", "claim_token_format", "https"+idFormat[4:]).want(t, 400, "invalid_request")
	w.violations("")
}

func TestImpatientClient(t *testing.T) {
	w := newWorld(t, "")
	pat := w.pat("alice")
	id := w.register(pat)
	first := w.exchange(w.ticket(pat, id, "view"), w.claim("bob")...)
	first.want(t, 403, "request_submitted")
	w.clock.advance(4 * time.Second)
	w.exchange(str(first.json["ticket"])).want(t, 403, "request_submitted")
	w.violations("polls faster")
}

func TestWhoIsLetIn(t *testing.T) {
	w := newWorld(t, "")
	pat := w.pat("alice")
	id := w.register(pat)
	ask := func(user string, scopes ...string) answer {
		var more []string
		if user != "" {
			more = w.claim(user)
		}
		return w.exchange(w.ticket(pat, id, scopes...), more...)
	}
	ask("alice", "view", "delete").want(t, 200, "") // her own
	w.must(w.AcceptRequests("alice", false))
	ask("", "view").want(t, 403, "request_denied") // nobody could be let in
	ask("bob", "view").want(t, 403, "request_denied")
	if len(w.Pending("alice")) != 0 {
		t.Error("alice takes no requests, yet there is one")
	}
	w.must(w.Share("alice", id, "b-0815", "view")) // bob by subject
	ask("", "view").want(t, 403, "need_info")
	ask("bob", "view").want(t, 200, "")
	ask("bob", "view", "print").want(t, 403, "request_denied")
	ask("bob").want(t, 403, "request_denied") // no scope requested, none granted
	w.must(w.Share("alice", id, "shop", "view"))
	ask("", "view").want(t, 200, "") // the client for itself
	w.must(w.Unshare("alice", id, "bob", "view"))
	ask("bob", "view").want(t, 403, "request_denied")
	w.must(w.Share("alice", id, "bob", "view", "print"))
	got := w.exchange(w.ticket(pat, id, "view"), append(w.claim("bob"), "scope", "print")...)
	if p := permissions(w.introspect(str(got.json["access_token"]), rpAuth)); p != id+":view,print" {
		t.Errorf("asked for print as well, got %s", p)
	}
	w.exchange(w.ticket(pat, id, "view"), append(w.claim("bob"), "scope", "fly")...).want(t, 400, "invalid_scope")
}

func TestServiceOwnsResources(t *testing.T) {
	w := newWorld(t, "")
	pat := w.pat("")
	id := w.register(pat)
	w.exchange(w.ticket(pat, id, "view"), w.claim("bob")...).want(t, 403, "request_denied") // no inbox by default
	w.must(w.AcceptRequests("rp", true))
	w.exchange(w.ticket(pat, id, "view"), w.claim("bob")...).want(t, 403, "request_submitted")
	w.must(w.Deny("rp", w.Pending("rp")[0].ID))
	w.exchange(w.ticket(pat, id, "view"), w.claim("bob")...).want(t, 403, "request_denied")
	w.must(w.Share("rp", id, "bob", "view"))
	w.exchange(w.ticket(pat, id, "view"), w.claim("bob")...).want(t, 200, "")
}

func TestClaimTokensAreVerified(t *testing.T) {
	w := newWorld(t, "")
	pat := w.pat("alice")
	id := w.register(pat)
	w.must(w.Share("alice", id, "bob", "view"))
	good, err := w.IDToken("bob", "shop")
	w.must(err)
	other, err := w.IDToken("bob", "rp")
	w.must(err)
	w.must(w.SetFault(opserver.UnsignedIDToken, true))
	unsigned, err := w.IDToken("bob", "shop")
	w.must(err)
	w.must(w.SetFault(opserver.UnsignedIDToken, false))
	parts := strings.Split(good, ".")
	for name, tok := range map[string]string{
		"of another client": other,
		"alg none":          unsigned,
		"signature changed": parts[0] + "." + parts[1] + "." + strings.Repeat("A", len(parts[2])),
		"payload changed":   parts[0] + "." + strings.Split(other, ".")[1] + "." + parts[2],
		"not a JWT":         "x",
	} {
		t.Run(name, func(t *testing.T) {
			a := w.exchange(w.ticket(pat, id, "view"), "claim_token", tok, "claim_token_format", idFormat)
			a.want(t, 403, "need_info")
			if a.json["error_description"] == nil || a.json["ticket"] == nil {
				t.Errorf("answer %s", a.body)
			}
		})
	}
	w.clock.advance(5 * time.Minute)
	w.exchange(w.ticket(w.pat("alice"), id, "view"), "claim_token", good, "claim_token_format", idFormat).want(t, 403, "need_info")
}

func TestUpgradeBelongsToOneParty(t *testing.T) {
	w := newWorld(t, "")
	pat := w.pat("alice")
	id := w.register(pat)
	w.must(w.Share("alice", id, "bob", "view"))
	bobs := str(w.exchange(w.ticket(pat, id, "view"), w.claim("bob")...).json["access_token"])
	a := w.exchange(w.ticket(pat, id, "print"), append(w.claim("alice"), "rpt", bobs)...)
	if a.StatusCode != 200 || a.json["upgraded"] != nil || permissions(w.introspect(str(a.json["access_token"]), rpAuth)) != id+":print" {
		t.Errorf("alice got bob's permissions: %s", a.body)
	}
	if w.introspect(bobs, rpAuth)["active"] != true {
		t.Error("bob lost his RPT")
	}
	w.clock.advance(6 * time.Minute)
	w.must(w.Share("alice", id, "bob", "print"))
	if a = w.exchange(w.ticket(w.pat("alice"), id, "print"), append(w.claim("bob"), "rpt", bobs)...); a.json["upgraded"] != true {
		t.Errorf("an expired RPT is not upgraded: %s", a.body)
	}
}

func TestKindsOfRPT(t *testing.T) {
	w := newWorld(t, "")
	pat := w.pat("alice")
	id := w.register(pat)
	w.must(w.Share("alice", id, "bob", "view", "print"))
	w.SetRPT(opserver.RPTOptions{JWT: true, Refresh: true})
	a := w.exchange(w.ticket(pat, id, "view"), w.claim("bob")...)
	rpt := str(a.json["access_token"])
	w.verifies(rpt, jose.RS256)
	c := claims(t, rpt)
	if c["sub"] != "b-0815" || c["client_id"] != "shop" || c["aud"].([]any)[0] != "rp" || permissions(c) != id+":view" {
		t.Errorf("claims %v", c)
	}
	fresh := w.token(shopAuth, url.Values{"grant_type": {"refresh_token"}, "refresh_token": {str(a.json["refresh_token"])}})
	if fresh.StatusCode != 200 || permissions(w.introspect(str(fresh.json["access_token"]), rpAuth)) != id+":view" || fresh.json["id_token"] != nil {
		t.Errorf("refreshed RPT %s", fresh.body)
	}
	w.SetRPT(opserver.RPTOptions{KeepOnUpgrade: true})
	old := str(w.exchange(w.ticket(pat, id, "view"), w.claim("bob")...).json["access_token"])
	up := w.exchange(w.ticket(pat, id, "print"), append(w.claim("bob"), "rpt", old)...)
	if up.json["upgraded"] != true || up.json["access_token"] != old || permissions(w.introspect(old, rpAuth)) != id+":print,view" {
		t.Errorf("upgrade that keeps the string: %s", up.body)
	}
	w.RevokeRPTs()
	if w.introspect(old, rpAuth)["active"] != false {
		t.Error("a revoked RPT is active")
	}
}

func TestIntrospectionIsForResourceServers(t *testing.T) {
	w := newWorld(t, "")
	pat := w.pat("alice")
	id := w.register(pat)
	rpt := str(w.exchange(w.ticket(pat, id, "view"), w.claim("alice")...).json["access_token"])
	at := w.endpoint("introspection_endpoint")
	form := url.Values{"token": {rpt}}
	if got := w.introspect(rpt, shopAuth); got["active"] != false || len(got) != 1 {
		t.Errorf("the client itself sees %v", got) // nothing of this RPT belongs to the caller
	}
	w.postForm(w.http, at, form, "").want(t, 401, "invalid_client")
	w.postForm(w.http, at, url.Values{"token": {rpt}, "client_id": {"spa"}}, "").want(t, 401, "invalid_client")
	w.postForm(w.http, at, form, "Bearer guess").want(t, 401, "invalid_token")
	w.postForm(w.http, at, url.Values{}, rpAuth).want(t, 400, "invalid_request")
	if got := w.introspect("guess", rpAuth); got["active"] != false || len(got) != 1 {
		t.Errorf("unknown token: %v", got)
	}
	plain, err := w.AccessToken("bob", "shop", "read", "write")
	w.must(err)
	if got := w.introspect(plain, rpAuth); got["scope"] != "read write" || got["sub"] != "b-0815" || got["username"] != "bob" || got["permissions"] != nil {
		t.Errorf("plain token: %v", got)
	}
	own, err := w.AccessToken("", "shop", "read")
	w.must(err)
	if got := w.introspect(own, rpAuth); got["sub"] != "shop" || got["username"] != nil {
		t.Errorf("token of a client: %v", got)
	}
	w.ForgetResource(id)
	if w.introspect(rpt, rpAuth)["active"] != false {
		t.Error("an RPT for a resource that is gone is active")
	}
}
