package opserver_test

import (
	"encoding/base64"
	"html/template"
	"net/http"
	"net/http/httptest"
	"net/url"
	"regexp"
	"strings"
	"testing"
	"time"

	"example.com/gatehouse/internal/testkit/opserver"
)

// page loads a page of the provider, signing in if asked.
func (w *world) page(c *http.Client, address, name string) answer {
	w.t.Helper()
	a := w.get(c, address)
	if strings.Contains(a.body, `id="sign-in"`) {
		a = w.submit(c, a, url.Values{"username": {name}, "password": {"pw-" + name}})
		if a.StatusCode != http.StatusSeeOther {
			w.t.Fatalf("sign-in: %d %s", a.StatusCode, a.body)
		}
		to, err := url.Parse(address)
		w.must(err)
		to, err = to.Parse(a.Header.Get("Location"))
		w.must(err)
		a = w.get(c, to.String())
	}
	return a
}

func TestPagesAreGuarded(t *testing.T) {
	w := newWorld(t, "/realms/demo")
	page := w.get(w.http, w.authorizeURL())
	csp := page.Header.Get("Content-Security-Policy")
	for _, want := range []string{"default-src 'none'", "img-src data:", "frame-ancestors 'none'", "base-uri 'none'", "form-action 'self' http://rp.test"} {
		if !strings.Contains(csp, want) {
			t.Errorf("policy %q lacks %s", csp, want)
		}
	}
	if page.Header.Get("Cache-Control") != "no-store" || page.Header.Get("X-Frame-Options") != "DENY" {
		t.Error("a page may be cached or framed")
	}
	if strings.Contains(page.body, "<script") || regexp.MustCompile(`(src|href)="//`).MatchString(page.body) {
		t.Error("a script or something from outside")
	}
	style := regexp.MustCompile(`href="([^"]+\.css)"`).FindStringSubmatch(page.body)
	if css := w.get(w.http, style[1]); css.StatusCode != 200 || !strings.HasPrefix(css.Header.Get("Content-Type"), "text/css") {
		t.Errorf("style sheet %d", css.StatusCode)
	}
	for _, text := range []string{"<html lang=\"en\">", "<main>", "<h1>Sign in</h1>", "<label for=\"password\">", "<legend>", "The app"} {
		if !strings.Contains(page.body, text) {
			t.Errorf("the sign-in page lacks %s", text)
		}
	}
}

// Every page, including error pages, shows what the embedding program adds next
// to it. Without that, no page leaves room for it.
func TestAside(t *testing.T) {
	const beside = `<h2 id="panel-title">Beside</h2>`
	for _, aside := range []func(*http.Request) template.HTML{
		nil,
		func(r *http.Request) template.HTML { return template.HTML(beside + r.URL.EscapedPath()) },
	} {
		op, err := opserver.New(opserver.Config{Issuer: "http://op.test", Aside: aside})
		if err != nil {
			t.Fatal(err)
		}
		for _, at := range []string{"/ep/inbox-c8", "/ep/az-3f", "/ep/bye-4", "/ep/share-c7/none"} {
			w := httptest.NewRecorder()
			op.ServeHTTP(w, httptest.NewRequest(http.MethodGet, at, nil))
			page := w.Body.String()
			if shown := strings.Contains(page, beside+at); shown != (aside != nil) || strings.Contains(page, "<aside") != shown {
				t.Errorf("%s: %d, aside shown %v:\n%s", at, w.Code, shown, page)
			}
		}
	}
}

func TestFormsAreGuarded(t *testing.T) {
	w := newWorld(t, "/realms/demo")
	page := w.get(w.http, w.authorizeURL())
	in := url.Values{"username": {"alice"}, "password": {"pw-alice"}}
	form := fill(page.body, in)
	at := action.FindStringSubmatch(page.body)[1]
	post := func(c *http.Client, v url.Values, header ...string) int {
		r, err := http.NewRequestWithContext(t.Context(), http.MethodPost, at, strings.NewReader(v.Encode()))
		w.must(err)
		r.Header.Set("Content-Type", "application/x-www-form-urlencoded")
		for i := 0; i < len(header); i += 2 {
			r.Header.Set(header[i], header[i+1])
		}
		return w.do(c, r).StatusCode
	}
	for name, got := range map[string]int{
		"another site, by Sec-Fetch-Site": post(w.http, form, "Sec-Fetch-Site", "cross-site"),
		"another site, by Origin":         post(w.http, form, "Origin", "http://evil.test"),
		"another browser":                 post(w.browser(), form),
		"no token":                        post(w.http, url.Values{"username": {"alice"}, "password": {"pw-alice"}, "next": form["next"]}),
		"wrong password":                  post(w.http, fill(page.body, url.Values{"username": {"alice"}, "password": {"x"}})),
		"unknown name":                    post(w.http, fill(page.body, url.Values{"username": {"eve"}, "password": {""}})),
	} {
		if got != http.StatusForbidden {
			t.Errorf("%s: %d", name, got)
		}
	}
	for _, next := range []string{"", "http://evil.test/ep/inbox-c8", "//evil.test/realms/demo/ep/inbox-c8", "/elsewhere",
		"/realms/demo/ep/share-c7/../../x", "/realms/demo/ep/share-c7/a%2fb", `/realms/demo/ep/share-c7/\evil.test`, "javascript:alert(1)",
		"/realms/demo/ep/az-3f?client_id=rp&redirect_uri=http://evil.test"} {
		in["next"] = []string{next}
		if got := post(w.http, fill(page.body, in)); got != http.StatusBadRequest {
			t.Errorf("next %q: %d", next, got)
		}
	}
	if got := post(w.http, form, "Sec-Fetch-Site", "same-origin"); got != http.StatusSeeOther {
		t.Errorf("the true form: %d", got)
	}
}

func TestManyAccountsAreNotListed(t *testing.T) {
	w := newWorld(t, "")
	if body := w.get(w.http, w.authorizeURL("login_hint", "bob")).body; !strings.Contains(body, `value="bob" required checked`) {
		t.Error("login_hint does not choose")
	}
	for _, n := range strings.Fields("a b c d e f g h i j k l m") {
		w.must(w.AddUser(n, "x", nil))
	}
	body := w.get(w.http, w.authorizeURL("login_hint", `"><b>`)).body
	if !strings.Contains(body, `<input id="username"`) || strings.Contains(body, `value="alice"`) || strings.Contains(body, "<b>") {
		t.Error("the page lists many accounts, or is not escaped")
	}
}

func TestPolicyPage(t *testing.T) {
	w := newWorld(t, "")
	id := w.register(w.pat("alice"))
	at := w.Resources("alice")[0].PolicyURI
	w.must(w.Share("alice", id, "bob", "view", "print"))
	page := w.page(w.http, at, "alice")
	if page.StatusCode != 200 || !strings.Contains(page.body, "Who may use album") || !strings.Contains(page.body, `aria-label="bob may view" checked`) ||
		strings.Contains(page.body, `aria-label="bob may delete" checked`) {
		t.Fatalf("%d %s", page.StatusCode, page.body)
	}
	cell := func(names ...string) string {
		for i, n := range names {
			names[i] = base64.RawURLEncoding.EncodeToString([]byte(n))
		}
		return strings.Join(names, ".")
	}
	// Bob keeps only print and carol is added, in one save.
	saved := w.submit(w.http, page, url.Values{"cell": {cell("bob", "print")}, "person": {" carol@example.org "}, "new": {"view", "fly"}})
	if saved.StatusCode != http.StatusSeeOther {
		t.Fatalf("save: %d %s", saved.StatusCode, saved.body)
	}
	got := w.Resources("alice")[0].Shares
	if len(got) != 2 || strings.Join(got["bob"], " ") != "print" || strings.Join(got["carol@example.org"], " ") != "view" {
		t.Fatalf("shares %v", got)
	}
	if body := w.get(w.http, saved.Header.Get("Location")).body; !strings.Contains(body, `role="status"`) {
		t.Error("the page does not say that it has saved")
	}
	for _, half := range []url.Values{{"person": {"dan"}}, {"new": {"view"}}} { // a half-filled row changes nothing
		a := w.submit(w.http, page, half)
		if a.StatusCode != http.StatusUnprocessableEntity || !strings.Contains(a.body, `role="alert"`) || len(w.Resources("alice")[0].Shares) != 2 {
			t.Errorf("%v: %d, shares %v", half, a.StatusCode, w.Resources("alice")[0].Shares)
		}
	}
	// An emptied row is removed. A row that was not on the page stays.
	w.must(w.Share("alice", id, "zoe", "view"))
	w.submit(w.http, page, url.Values{"row": {cell("bob"), cell("carol@example.org")}})
	if got = w.Resources("alice")[0].Shares; len(got) != 1 || got["zoe"] == nil {
		t.Errorf("shares %v", got)
	}
	w.must(w.SetFault(opserver.LostResource, true))
	if a := w.get(w.http, at); a.StatusCode != http.StatusForbidden || strings.Contains(a.body, "album") {
		t.Errorf("page of a lost resource: %d", a.StatusCode)
	}
	if a := w.submit(w.http, page, nil); a.StatusCode != http.StatusNotFound {
		t.Errorf("form of a lost resource: %d", a.StatusCode)
	}
}

// TestPolicyPageOfAnother visits Alice's page as Bob. The page offers to sign
// in as its owner and does not reveal whether there is such a resource.
func TestPolicyPageOfAnother(t *testing.T) {
	w := newWorld(t, "")
	w.register(w.pat("alice"))
	at := w.Resources("alice")[0].PolicyURI
	theirs := w.browser()
	sameAs := strings.NewReplacer(at[strings.LastIndex(at, "/")+1:], "ID", "NOBODYS", "ID")
	other := w.page(theirs, at, "bob")
	if other.StatusCode != http.StatusForbidden || strings.Contains(other.body, "album") ||
		!strings.Contains(other.body, "You are signed in here as bob. Sign in as the owner to go on.") {
		t.Fatalf("bob at alice's page: %d %s", other.StatusCode, other.body)
	}
	nobodys := w.get(theirs, at[:strings.LastIndex(at, "/")+1]+"NOBODYS")
	if nobodys.StatusCode != http.StatusForbidden || sameAs.Replace(nobodys.body) != sameAs.Replace(other.body) {
		t.Errorf("a resource that does not exist: %d %s", nobodys.StatusCode, nobodys.body)
	}
	in := w.submit(theirs, other, url.Values{"username": {"alice"}, "password": {"pw-alice"}})
	if page := w.get(theirs, w.base+in.Header.Get("Location")); page.StatusCode != 200 || !strings.Contains(page.body, "Who may use album") {
		t.Errorf("signed in as the owner: %d %s", page.StatusCode, page.body)
	}
}

func TestPagesLeadBackToTheClient(t *testing.T) {
	w := newWorld(t, "")
	w.register(w.pat("alice"))
	at := w.Resources("alice")[0].PolicyURI
	policy := w.page(w.http, at, "alice").body
	if strings.Contains(policy, "Back to") || !strings.Contains(policy, "what you decide here, The app never learns") {
		t.Errorf("without a home: %s", policy)
	}
	w.must(w.AddClient(opserver.Client{ID: "rp", Secret: rpSecret, Name: "The app", RedirectURIs: []string{callback}, HomeURI: "http://rp.test/albums"}))
	link := `<a href="http://rp.test/albums">Back to The app</a>`
	if policy = w.get(w.http, at).body; !strings.Contains(policy, link) {
		t.Errorf("policy page: %s", policy)
	}
	inbox := w.page(w.http, w.get(w.http, w.Issuer()+"/").Header.Get("Location"), "alice").body
	if !strings.Contains(inbox, `kept by <a href="http://rp.test/albums">The app</a>`) || strings.Count(inbox, link) != 1 {
		t.Errorf("inbox: %s", inbox)
	}
}

func TestInboxPage(t *testing.T) {
	w := newWorld(t, "")
	pat := w.pat("alice")
	id := w.register(pat)
	for _, scope := range []string{"view", "print"} {
		w.exchange(w.ticket(pat, id, scope), w.claim("bob")...).want(t, 403, "request_submitted")
	}
	home := w.get(w.http, w.Issuer()+"/")
	page := w.page(w.http, home.Header.Get("Location"), "alice")
	for _, text := range []string{"<strong>bob</strong> asks for <code>view</code>, <code>print</code>", "through shop", `aria-label="Approve: bob on album"`, w.Resources("alice")[0].PolicyURI} {
		if !strings.Contains(page.body, text) {
			t.Errorf("the inbox lacks %s:\n%s", text, page.body)
		}
	}
	request := w.Pending("alice")[0].ID
	bobs := w.browser()
	theirs := w.page(bobs, home.Header.Get("Location"), "bob")
	if a := w.submit(bobs, theirs, url.Values{"request": {request}, "decision": {"approve"}}); a.StatusCode != http.StatusNotFound {
		t.Errorf("bob approves for himself: %d", a.StatusCode)
	}
	if a := w.submit(w.http, page, url.Values{"decision": {"perhaps"}}); a.StatusCode != http.StatusBadRequest {
		t.Errorf("unknown decision: %d", a.StatusCode)
	}
	if a := w.submit(w.http, page, url.Values{"decision": {"approve"}}); a.StatusCode != http.StatusSeeOther {
		t.Errorf("approve: %d %s", a.StatusCode, a.body)
	}
	w.exchange(w.ticket(pat, id, "view", "print"), w.claim("bob")...).want(t, 200, "")
	w.exchange(w.ticket(pat, id, "delete"), w.claim("bob")...).want(t, 403, "request_submitted")
	page = w.get(w.http, home.Header.Get("Location"))
	w.submit(w.http, page, url.Values{"decision": {"deny"}})
	w.exchange(w.ticket(pat, id, "delete"), w.claim("bob")...).want(t, 403, "request_denied")
	w.submit(w.http, page, url.Values{"decision": {"takes"}})
	w.must(w.AddUser("eve", "x", nil))
	w.exchange(w.ticket(pat, id, "view"), w.claim("eve")...).want(t, 403, "request_denied")
}

// A request goes with the share of its person, and with its resource.
func TestInboxFollowsTheShare(t *testing.T) {
	w := newWorld(t, "")
	pat := w.pat("alice")
	id := w.register(pat)
	asks := func(scope string) {
		t.Helper()
		w.exchange(w.ticket(pat, id, scope), w.claim("bob")...).want(t, 403, "request_submitted")
	}
	want := func(when string, n int) {
		t.Helper()
		if got := w.Pending("alice"); len(got) != n {
			t.Errorf("%s: %+v in the inbox, want %d", when, got, n)
		}
	}
	w.must(w.Share("alice", id, "bob", "view", "print"))
	asks("delete")
	want("he wants more", 1)
	w.must(w.Unshare("alice", id, "bob", "view"))
	want("a part is taken back", 1)
	w.must(w.Unshare("alice", id, "bob", "print"))
	want("the share is gone", 0)
	asks("delete")
	want("he asks again", 1)
	w.must(w.SetFault(opserver.LostResource, true))
	want("the resource is gone", 0)
}

// A link to the inbox may say for whom it is meant.
func TestInboxOfTheRightPerson(t *testing.T) {
	w := newWorld(t, "")
	bobs := w.browser()
	inbox := w.get(bobs, w.Issuer()+"/").Header.Get("Location")
	w.page(bobs, inbox, "bob")
	to := w.get(bobs, w.Issuer()+"/?user=alice").Header.Get("Location")
	if to != inbox+"?user=alice" {
		t.Errorf("the address is %s", to)
	}
	page := w.get(bobs, to)
	if page.StatusCode != http.StatusForbidden || !strings.Contains(page.body, "You are signed in here as bob. Sign in as alice") ||
		!strings.Contains(page.body, `value="alice" required checked`) {
		t.Errorf("%d %s", page.StatusCode, page.body)
	}
	if page := w.get(bobs, inbox+"?user=bob"); page.StatusCode != http.StatusOK {
		t.Errorf("bob himself: %d", page.StatusCode)
	}
}

func TestLogout(t *testing.T) {
	type send struct{ hint, client, back, state string }
	for _, tc := range []struct {
		name   string
		send   send // hint "alice" and "bob" stand for their ID Tokens
		status int
		to     string
		ended  bool
	}{
		{"hint and address", send{"alice", "", "http://rp.test/bye", "s 1"}, 303, "http://rp.test/bye?state=s+1", true},
		{"hint alone", send{"alice", "", "", ""}, 200, "", true},
		{"origin is enough", send{"alice", "rp", "http://other.test/any?x=1", "s"}, 303, "http://other.test/any?state=s&x=1", true},
		{"address not registered", send{"alice", "", "http://rp.test/bye/", ""}, 400, "", false},
		{"address of nobody", send{"", "", "http://rp.test/bye", ""}, 400, "", false},
		{"other client than the hint", send{"alice", "shop", "http://rp.test/bye", ""}, 400, "", false},
		{"junk hint", send{"e30.e30.e30", "", "", ""}, 400, "", false},
		{"no hint", send{"", "rp", "http://rp.test/bye", "s"}, 200, "", false},
		{"hint of another person", send{"bob", "", "http://rp.test/bye", ""}, 200, "", false},
	} {
		t.Run(tc.name, func(t *testing.T) {
			w := newWorld(t, "")
			u := w.authorizeURL("scope", "openid")
			tok := w.redeem(u, w.signIn(w.http, u, "alice")).json
			v := url.Values{}
			for name, value := range map[string]string{"client_id": tc.send.client, "post_logout_redirect_uri": tc.send.back, "state": tc.send.state, "id_token_hint": tc.send.hint} {
				if value != "" {
					v.Set(name, value)
				}
			}
			switch tc.send.hint {
			case "alice":
				v.Set("id_token_hint", str(tok["id_token"]))
			case "bob":
				v.Set("id_token_hint", str(w.tokens("bob")["id_token"]))
			}
			a := w.get(w.http, w.endpoint("end_session_endpoint")+"?"+v.Encode())
			if a.StatusCode != tc.status || a.Header.Get("Location") != tc.to {
				t.Fatalf("%d to %q: %s", a.StatusCode, a.Header.Get("Location"), a.body)
			}
			if ended := w.get(w.http, w.authorizeURL()).StatusCode == http.StatusOK; ended != tc.ended {
				t.Errorf("session ended: %v", ended)
			}
			if alive := w.introspect(str(tok["access_token"]), rpAuth)["active"] == true; alive == tc.ended {
				t.Errorf("the access token is active: %v", alive)
			}
			if tc.status == 200 && !tc.ended { // the person confirms
				a = w.submit(w.http, a, nil)
				if a.StatusCode != 303 || !strings.HasPrefix(a.Header.Get("Location"), "http://rp.test/bye") {
					t.Errorf("confirmed: %d to %q", a.StatusCode, a.Header.Get("Location"))
				}
				if w.get(w.http, w.authorizeURL()).StatusCode != http.StatusOK {
					t.Error("confirmed, but still signed in")
				}
			}
		})
	}
}

func TestLogoutOfNobody(t *testing.T) {
	w := newWorld(t, "")
	at := w.endpoint("end_session_endpoint") + "?client_id=rp&post_logout_redirect_uri=" + url.QueryEscape("http://rp.test/bye")
	if a := w.get(w.http, at); a.StatusCode != 200 || a.Header.Get("Location") != "" {
		t.Errorf("without hint and session: %d to %q", a.StatusCode, a.Header.Get("Location"))
	}
	hint := str(w.tokens("alice")["id_token"])
	w.clock.advance(time.Hour) // an expired hint is still a hint
	if a := w.get(w.http, at+"&id_token_hint="+hint); a.Header.Get("Location") != "http://rp.test/bye" {
		t.Errorf("without session: %d to %q", a.StatusCode, a.Header.Get("Location"))
	}
	w.must(w.SetFault(opserver.WrongIssuer, true))
	hint = str(w.tokens("alice")["id_token"])
	if a := w.get(w.http, at+"&id_token_hint="+hint); a.StatusCode != http.StatusBadRequest {
		t.Errorf("hint of another issuer: %d", a.StatusCode)
	}
}

func TestLogoutLeavesOfflineGrants(t *testing.T) {
	w := newWorld(t, "")
	u := w.authorizeURL("scope", "openid offline_access uma_protection")
	tok := w.redeem(u, w.signIn(w.http, u, "alice")).json
	a := w.postForm(w.http, w.endpoint("end_session_endpoint"), url.Values{"id_token_hint": {str(tok["id_token"])}}, "")
	if a.StatusCode != 200 || !strings.Contains(a.body, "signed out") {
		t.Fatalf("%d %s", a.StatusCode, a.body)
	}
	refresh := url.Values{"grant_type": {"refresh_token"}, "refresh_token": {str(tok["refresh_token"])}}
	next := w.token(rpAuth, refresh)
	next.want(t, 200, "")
	w.RevokeGrants("alice")
	refresh.Set("refresh_token", str(next.json["refresh_token"]))
	w.token(rpAuth, refresh).want(t, 400, "invalid_grant")
	w.violations("")
}

func TestEndSessions(t *testing.T) {
	w := newWorld(t, "")
	w.signIn(w.http, w.authorizeURL(), "alice")
	w.EndSessions("alice")
	if w.get(w.http, w.authorizeURL()).StatusCode != http.StatusOK {
		t.Error("alice is still signed in")
	}
}

func TestControlErrors(t *testing.T) {
	w := newWorld(t, "")
	id := w.register(w.pat("alice"))
	_, noUser := w.IDToken("eve", "rp")
	_, noClient := w.AccessToken("alice", "nobody")
	for name, err := range map[string]error{
		"user without name":      w.AddUser("", "x", nil),
		"same subject":           w.AddUser("bob2", "x", map[string]any{"sub": "b-0815"}),
		"subject is a number":    w.AddUser("eve", "x", map[string]any{"sub": 1}),
		"another subject":        w.AddUser("alice", "x", map[string]any{"sub": "new"}),
		"client without ID":      w.AddClient(opserver.Client{}),
		"unknown authentication": w.AddClient(opserver.Client{ID: "x", Secret: "y", Auth: "tls"}),
		"public with a secret":   w.AddClient(opserver.Client{ID: "x", Secret: "y", Auth: opserver.AuthNone}),
		"basic without a secret": w.AddClient(opserver.Client{ID: "x", Auth: opserver.AuthBasic}),
		"home of a script":       w.AddClient(opserver.Client{ID: "x", Secret: "y", HomeURI: "javascript:alert(1)"}),
		"HS256":                  w.AddClient(opserver.Client{ID: "x", Secret: "y", IDTokenAlg: "HS256"}),
		"share of nobody":        w.Share("eve", id, "bob", "view"),
		"share of another":       w.Share("bob", id, "bob", "view"),
		"share nothing":          w.Share("alice", id, "bob"),
		"share with nobody":      w.Share("alice", id, "", "view"),
		"unknown scope":          w.Share("alice", id, "bob", "fly"),
		"unshare another's":      w.Unshare("bob", id, "bob"),
		"unshare nobody":         w.Unshare("alice", id, ""),
		"no such request":        w.Approve("alice", "x"),
		"no such owner":          w.Deny("eve", "x"),
		"no such inbox":          w.AcceptRequests("eve", true),
		"ID Token of nobody":     noUser,
		"token of no client":     noClient,
	} {
		if err == nil {
			t.Errorf("%s: no error", name)
		}
	}
	if w.RevokeToken("x") || w.ForgetResource("x") || w.Pending("eve") != nil || w.Resources("eve") != nil {
		t.Error("something is known about an unknown user")
	}
	w.must(w.AddUser("alice", "new", map[string]any{"email": "a2@example.org"}))
	if raw, err := w.IDToken("alice", "rp"); err != nil || claims(t, raw)["email"] != "a2@example.org" {
		t.Errorf("changed claims do not show: %v", err)
	}
}
