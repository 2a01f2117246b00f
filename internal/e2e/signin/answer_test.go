package signin_test

import (
	"fmt"
	"net/http"
	"net/http/httptest"
	"net/url"
	"slices"
	"strings"
	"testing"
	"time"

	"example.com/gatehouse"
	"example.com/gatehouse/internal/e2e/world"
	"example.com/gatehouse/internal/testkit/opserver"
)

// speaking asks for a type of answer in a mode.
func speaking(responseType, mode string, byPOST bool) func(*world.SiteOptions) {
	return func(o *world.SiteOptions) {
		o.Party = func(c *gatehouse.RelyingPartyConfig) {
			c.ResponseType, c.ResponseMode, c.AuthorizeByPOST = responseType, mode, byPOST
		}
	}
}

// fieldsOf is what the form or the address of an answer says.
func fieldsOf(t *testing.T, r *http.Request) url.Values {
	t.Helper()
	if r.Method == http.MethodPost {
		if err := r.ParseForm(); err != nil {
			t.Fatal(err)
		}
		return r.PostForm
	}
	q, err := url.ParseQuery(r.URL.RawQuery + r.URL.EscapedFragment())
	if err != nil {
		t.Fatal(err)
	}
	return q
}

// bring sends an answer to the callback as the browser does in that mode.
func bring(b *world.Visitor, mode string, v url.Values) *world.Page {
	switch mode {
	case "form_post":
		return b.PostAcross(b.Request(http.MethodPost, "/auth/callback", strings.NewReader(v.Encode()),
			append(slices.Clone(world.Navigation), "Content-Type", "application/x-www-form-urlencoded", "Origin", "null", "Sec-Fetch-Site", "cross-site")...))
	case "fragment":
		return b.PostAcross(b.Scripted(b.Get("/auth/callback#" + v.Encode())))
	}
	return b.Get("/auth/callback?" + v.Encode())
}

// Every type in every mode that it may have, by redirect and by a form: what is
// asked for, what comes back, and what stays at home. RP-A1, RP-A4, RP-C4.
func TestAnswerKinds(t *testing.T) {
	for _, c := range []struct {
		asked, sent, mode, param string // param is response_mode, "" for none
		tokens                   int    // requests
	}{
		{"", "code", "query", "", 1},
		{"code", "code", "form_post", "form_post", 1},
		{"code", "code", "fragment", "fragment", 1},
		{"id_token", "id_token", "", "", 0},
		{"id_token", "id_token", "form_post", "form_post", 0},
		{"token id_token", "id_token token", "", "", 0},
		{"id_token token", "id_token token", "form_post", "form_post", 0},
		{"id_token code", "code id_token", "fragment", "", 1},
		{"code id_token", "code id_token", "form_post", "form_post", 1},
	} {
		for _, byPOST := range []bool{false, true} {
			t.Run(fmt.Sprintf("%s by %s, %t", c.sent, c.mode, byPOST), func(t *testing.T) {
				s := world.NewSite(t, speaking(c.asked, c.mode, byPOST))
				ana := s.Visitor("ana")
				start := ana.Get("/notes/")
				var sent url.Values
				if byPOST {
					r := ana.Scripted(start)
					if at := s.Endpoint("authorization_endpoint"); r.URL.String() != at {
						t.Errorf("the form goes to %s", r.URL)
					}
					sent = fieldsOf(t, r)
				} else {
					sent = world.QueryOf(t, start.Location())
				}
				if sent.Get("response_type") != c.sent || sent.Get("response_mode") != c.param || len(sent["response_mode"]) > 1 {
					t.Errorf("asked for %v", sent)
				}
				if sent.Has("code_challenge") != strings.Contains(c.sent, "code") {
					t.Errorf("a code challenge without a code, or none with one: %v", sent)
				}
				cookie := start.Result().Cookies()[0]
				want := http.SameSiteLaxMode
				if c.mode == "form_post" {
					want = http.SameSiteNoneMode
				}
				if cookie.SameSite != want || !cookie.Secure || !cookie.HttpOnly || !strings.HasPrefix(cookie.Name, "__Host-gh-") {
					t.Errorf("attempt cookie %v", cookie)
				}
				ana.WantServed(ana.Follow(start, nil))
				if got := s.Count(opserver.EndpointToken); got != c.tokens {
					t.Errorf("%d token requests, want %d", got, c.tokens)
				}
				if got := s.Count(opserver.EndpointUserInfo); got != 1 && c.sent != "id_token" || got != 0 && c.sent == "id_token" {
					t.Errorf("%d user info requests", got)
				}
				if v := s.Violations(); len(v) != 0 {
					t.Errorf("the provider saw %q", v)
				}
				if names := ana.Attempts(); len(names) != 0 {
					t.Errorf("attempts %q are left", names)
				}
				if cookie := ana.SessionCookie(); cookie == "" {
					t.Error("no session cookie")
				}
				if warned := slices.Contains(s.EventsOf(gatehouse.EventInsecureOption), "token_through_browser"); warned != (c.sent == "id_token token") {
					t.Errorf("warned: %t", warned)
				}
				ana.Post("/auth/logout", nil)
				ana.Visit("/notes/")
				s.WantNoSession("nobody")
			})
		}
	}
}

// RP-C6: an answer in another mode than asked for is refused, and not believed: the
// attempt stays, and the same answer in the right mode completes it.
func TestRPC6_AnswerMode(t *testing.T) {
	modes := []string{"query", "form_post", "fragment"}
	for _, asked := range modes {
		for _, c := range []struct {
			name string
			fail bool
		}{{"code", false}, {"error", true}} {
			s := world.NewSite(t, speaking("code", asked, false))
			ana := s.Visitor("ana")
			answer := fieldsOf(t, ana.ToAnswer("/notes/"))
			s.ResetCounts()
			if c.fail {
				answer.Del("code")
				answer.Set("error", "access_denied")
			}
			for _, came := range modes {
				if came == asked {
					continue
				}
				var a *world.Page
				if came == "fragment" && asked == "query" || came == "form_post" && asked == "query" {
					a = ana.PostAcross(ana.Request(http.MethodPost, "/auth/callback", strings.NewReader(answer.Encode()), "Content-Type", "application/x-www-form-urlencoded"))
					if a.Code != http.StatusMethodNotAllowed || a.Header().Get("Allow") != http.MethodGet {
						t.Errorf("%s for %s: %v", came, asked, a)
					}
					continue
				}
				if came == "fragment" { // the page of a mode that was not asked for is not there, but its form could be
					body := url.Values{"gatehouse_fragment": {answer.Encode()}}
					a = ana.Post("/auth/callback", body)
				} else {
					a = bring(ana, came, answer)
				}
				s.WantNo(ana, a, 0)
				if came == "form_post" { // without the cookie, which is Lax in the other modes
					if s.LastCode() != "state_unknown" {
						t.Errorf("%s for %s: code %q", came, asked, s.LastCode())
					}
					a = ana.Do( // some clients send it all the same
						ana.Request(http.MethodPost, "/auth/callback", strings.NewReader(answer.Encode()), "Content-Type", "application/x-www-form-urlencoded"))
					s.WantNo(ana, a, 0)
				}
				if s.LastCode() != "response_malformed" || !strings.Contains(s.Log(), "it came by "+came+", and "+asked+" was asked for") {
					t.Errorf("%s for %s: code %q", came, asked, s.LastCode())
				}
				if len(ana.Attempts()) != 1 {
					t.Errorf("%s for %s: the attempt is gone", came, asked)
				}
			}
			a := bring(ana, asked, answer)
			if c.fail {
				if s.LastCode() != "provider_refused" || a.Code != http.StatusForbidden || !strings.Contains(s.Log(), "access_denied") {
					t.Errorf("an error by %s: %v, %q", asked, a, s.LastCode())
				}
			} else {
				ana.WantServed(ana.Follow(a, nil))
			}
		}
	}
}

// What a provider does wrong with these types, and what the provider sees of the
// refusal. RP-C3, RP-C5, RP-C6, RP-I9, RP-I15, RP-I16, RP-I17.
func TestAnswerFaults(t *testing.T) {
	const hybrid, implicit, alone = "code id_token", "id_token token", "id_token"
	untested := opserver.FrontFaults()
	for _, c := range []struct {
		asked  string
		fault  opserver.Fault
		code   string
		tokens int // requests; 0 says that the check comes before
	}{
		{hybrid, opserver.WrongCodeHash, "c_hash_mismatch", 0},
		{hybrid, opserver.MissingCodeHash, "c_hash_mismatch", 0},
		{hybrid, opserver.FrontOtherSubject, "id_tokens_differ", 1},
		{hybrid, opserver.MissingFrontIDToken, "id_token_missing", 0},
		{hybrid, opserver.MissingCode, "response_malformed", 0},
		{hybrid, opserver.MissingIDToken, "id_token_missing", 1},
		{hybrid, opserver.MissingNonce, "nonce_mismatch", 0},
		{hybrid, opserver.WrongNonce, "nonce_mismatch", 0},
		{hybrid, opserver.WrongSignature, "signature_invalid", 0},
		{hybrid, opserver.WrongAudience, "audience_mismatch", 0},
		{hybrid, opserver.ExpiredIDToken, "id_token_expired", 0},
		{implicit, opserver.WrongAccessTokenHash, "at_hash_mismatch", 0},
		{implicit, opserver.MissingAccessTokenHash, "at_hash_mismatch", 0},
		{implicit, opserver.MissingFrontAccessToken, "response_malformed", 0},
		{implicit, opserver.OtherFrontTokenType, "token_type_unsupported", 0},
		{implicit, opserver.MissingNonce, "nonce_mismatch", 0},
		{implicit, opserver.UserInfoWrongSubject, "userinfo_subject_mismatch", 0},
		{alone, opserver.MissingNonce, "nonce_mismatch", 0},
		{alone, opserver.WrongNonce, "nonce_mismatch", 0},
		{alone, opserver.WrongIssuer, "id_token_issuer_mismatch", 0},
		{alone, opserver.UnsignedIDToken, "id_token_malformed", 0},
		{alone, opserver.IssuedLongAgo, "clock_skew", 0},
		{alone, opserver.SecondAudience, "audience_mismatch", 0},
		{alone, opserver.MissingFrontIDToken, "id_token_missing", 0},
		{alone, opserver.WrongState, "state_unknown", 0},
		{alone, opserver.WrongResponseIssuer, "issuer_mismatch", 0},
		{alone, opserver.RepeatedState, "response_malformed", 0},
		{alone, opserver.OtherResponseMode, "response_malformed", 0},
	} {
		untested = slices.DeleteFunc(untested, func(f opserver.Fault) bool { return f == c.fault })
		mode := "form_post"
		if len(c.fault)%2 == 0 { // each type in both modes
			mode = "fragment"
		}
		t.Run(fmt.Sprintf("%s %s %s", c.asked, mode, c.fault), func(t *testing.T) {
			s := world.NewSite(t, speaking(c.asked, mode, false))
			s.Break(c.fault)
			ana := s.Visitor("ana")
			a := ana.Visit("/notes/")
			s.WantNo(ana, a, c.tokens)
			if body := a.Body.String(); !strings.Contains(body, "That did not work") || strings.Contains(body, "saved") {
				t.Errorf("page %s", body)
			}
			if s.LastCode() != c.code {
				t.Errorf("code %q, want %q", s.LastCode(), c.code)
			}
			if v := s.Violations(); len(v) != 0 {
				t.Errorf("the provider saw %q", v)
			}
			s.WantNoSession("ana-1")
			s.Mend(c.fault)
			ana.WantServed(ana.Visit("/notes/"))
		})
	}
	if len(untested) != 0 {
		t.Errorf("no case for %q", untested)
	}
}

// RP-C5: a provider that announces iss may leave it to the ID Token of its answer,
// as oidc-provider does. An error has none, and one that was not asked for says
// nothing.
func TestRPC5_IssuerOfTheIDToken(t *testing.T) {
	for _, asked := range []string{"code id_token", "id_token token", "id_token", "code"} {
		t.Run(asked, func(t *testing.T) {
			s := world.NewSite(t, speaking(asked, "form_post", false))
			s.Break(opserver.MissingResponseIssuer)
			refused := func(change func(url.Values)) {
				t.Helper()
				ben := s.Visitor("ben")
				answer := fieldsOf(t, ben.ToAnswer("/notes/"))
				change(answer)
				s.ResetCounts()
				s.WantNo(ben, bring(ben, "form_post", answer), 0)
				if s.LastCode() != "issuer_mismatch" {
					t.Errorf("code %q, want issuer_mismatch", s.LastCode())
				}
			}
			refused(func(v url.Values) {
				for _, name := range []string{"code", "id_token", "access_token"} {
					v.Del(name)
				}
				v.Set("error", "access_denied")
			})
			refused(func(v url.Values) { v.Set("error", "access_denied") }) // nobody verifies the ID Token beside it
			if asked == "code" {
				refused(func(v url.Values) { v.Set("id_token", "e30.e30.AAAA") })
				return
			}
			ana := s.Visitor("ana")
			ana.WantServed(ana.Visit("/notes/"))
			if v := s.Violations(); len(v) != 0 {
				t.Errorf("the provider saw %q", v)
			}
		})
	}
}

// What in the code flow may be absent is not required there: at_hash and c_hash
// (RP-I16).
func TestAnswerHashesWithCode(t *testing.T) {
	s := world.NewSite(t)
	s.Break(opserver.MissingAccessTokenHash)
	ana := s.Visitor("ana")
	ana.WantServed(ana.Visit("/notes/"))
}

// RP-C4: a form of the provider's site comes without Lax cookies. The session that
// it replaces ends all the same.
func TestRPC4_FormPostReplaces(t *testing.T) {
	s := world.NewSite(t, world.TwoReplicas, func(o *world.SiteOptions) {
		speaking("code", "form_post", false)(o)
	})
	ana := s.Visitor("ana")
	ana.SignIn()
	before := ana.SessionCookie()
	answer := ana.ToAnswer("/auth/login?return_to=/notes/")
	if answer.Header.Get("Sec-Fetch-Site") != "cross-site" {
		t.Fatal("the provider's form is not of another site")
	}
	ana.WantServed(ana.Follow(ana.On(1).PostAcross(answer), nil))
	if ana.SessionCookie() == before {
		t.Fatal("the session stayed")
	}
	old := s.Visitor("ana")
	old.SetCookie(ana.SessionName(), before)
	old.WantOut(old.Get("/notes/"))
	if !slices.Contains(s.EventsOf(gatehouse.EventLogout), "replaced") {
		t.Errorf("logout events %q", s.EventsOf(gatehouse.EventLogout))
	}
}

// A proxy may write each cookie of HTTP/2 into a line of its own (RFC 9113 §8.2.3
// has them joined). None of them is lost where others are restored.
func TestFormPostWithLinesOfCookies(t *testing.T) {
	s := world.NewSite(t, speaking("code", "form_post", false))
	ana := s.Visitor("ana")
	ana.SignIn()
	before := ana.SessionCookie()
	r := ana.ToAnswer("/auth/login?return_to=/notes/")
	for _, name := range append([]string{"theme"}, ana.Attempts()...) {
		r.Header.Add("Cookie", name+"="+ana.Cookies()[name])
	}
	w := httptest.NewRecorder()
	s.Replicas[0].Mux.ServeHTTP(w, r)
	if w.Code != http.StatusSeeOther || w.Header().Get("Location") != "/notes/" {
		t.Errorf("%d, %s, %s", w.Code, w.Header(), w.Body)
	}
	old := s.Visitor("ana")
	old.SetCookie(ana.SessionName(), before)
	old.WantOut(old.Get("/notes/"))
}

// Another site posts a start, without the cookies of the session here. The session
// that its sign-in replaces ends all the same, and people come to the target.
func TestFormPostAfterAThirdParty(t *testing.T) {
	for _, byPOST := range []bool{false, true} {
		s := world.NewSite(t, speaking("code", "form_post", byPOST))
		ana := s.Visitor("ana")
		ana.SignIn()
		before := ana.SessionCookie()
		params := url.Values{"iss": {world.SiteIssuer}, "target_link_uri": {"/notes/7"}, "login_hint": {"ana&x=y"}}
		start := ana.PostAcross(ana.Request(http.MethodPost, "/auth/login", strings.NewReader(params.Encode()),
			append(slices.Clone(world.Navigation), "Content-Type", "application/x-www-form-urlencoded", "Origin", "https://portal.example", "Sec-Fetch-Site", "cross-site")...))
		back := ana.Follow(start, nil)
		ana.WantServed(back)
		if back.URL.Path != "/notes/7" || ana.SessionCookie() == before {
			t.Errorf("came back to %s", back.URL)
		}
		old := s.Visitor("ana")
		old.SetCookie(ana.SessionName(), before)
		if a := old.Get("/notes/"); strings.Contains(a.Body.String(), "served") {
			t.Errorf("the session from before goes on: %v", a)
		}
	}
}

// Who has no cookie of the attempt cannot complete it (CB3), and a form counts
// once (CB4).
func TestCB3_FormPost(t *testing.T) {
	s := world.NewSite(t, speaking("code id_token", "form_post", false))
	ana, ben := s.Visitor("ana"), s.Visitor("ben")
	answer := fieldsOf(t, ana.ToAnswer("/notes/"))
	s.WantNo(ben, bring(ben, "form_post", answer), 0)
	if s.LastCode() != "state_unknown" {
		t.Errorf("code %q", s.LastCode())
	}
	ben.ToAnswer("/notes/")
	s.WantNo(ben, bring(ben, "form_post", answer), 0)
	before := ana.Cookies()
	ana.WantServed(ana.Follow(bring(ana, "form_post", answer), nil))
	again := s.Visitor("ana")
	for name, value := range before {
		again.SetCookie(name, value)
	}
	a := again.Do(again.Request(http.MethodPost, "/auth/callback", strings.NewReader(answer.Encode()), "Content-Type", "application/x-www-form-urlencoded"))
	s.WantRefusal(a, http.StatusBadRequest)
	if s.LastCode() != "state_used" || s.Count(opserver.EndpointToken) != 1 {
		t.Errorf("second use: code %q, %d token requests", s.LastCode(), s.Count(opserver.EndpointToken))
	}
}

// Bodies that are no answer: none is believed, none is 5xx, and the attempt stays
// (RP-C2).
func TestRPC2_FormPostBodies(t *testing.T) {
	const form = "application/x-www-form-urlencoded"
	s := world.NewSite(t, speaking("code", "form_post", false))
	ana := s.Visitor("ana")
	answer := fieldsOf(t, ana.ToAnswer("/notes/"))
	s.ResetCounts()
	good := answer.Encode()
	for name, c := range map[string]struct {
		target, kind, body string
		status             int
		code               string
	}{
		"query and body":     {"/auth/callback?state=" + answer.Get("state"), form, good, 400, "response_malformed"},
		"code in the query":  {"/auth/callback?code=x", form, good, 400, "response_malformed"},
		"error in the query": {"/auth/callback?error=access_denied", form, good, 400, "response_malformed"},
		"state twice":        {"", form, good + "&state=" + answer.Get("state"), 400, "response_malformed"},
		"code twice":         {"", form, good + "&%63ode=x", 400, "response_malformed"},
		"id_token twice":     {"", form, good + "&id_token=a&id_token=b", 400, "response_malformed"},
		"malformed":          {"", form, good + "&error=%zz", 400, "response_malformed"},
		"JSON":               {"", "application/json", `{"code":"x"}`, 400, "response_malformed"},
		"multipart":          {"", "multipart/form-data; boundary=x", "--x--", 400, "response_malformed"},
		"text":               {"", "text/plain", good, 400, "response_malformed"},
		"empty":              {"", form, "", 400, "state_missing"},
		"no code":            {"", form, "state=" + answer.Get("state") + "&iss=" + url.QueryEscape(world.SiteIssuer), 400, "response_malformed"},
		"long code":          {"", form, "state=" + answer.Get("state") + "&iss=" + url.QueryEscape(world.SiteIssuer) + "&code=" + strings.Repeat("c", 9<<10), 400, "response_malformed"},
		"70 KiB":             {"", form, strings.Repeat("a=b&", 18<<10) + good, 413, "request_too_large"},
		"fragment beside":    {"", form, good + "&gatehouse_fragment=", 400, "response_malformed"},
		"fragment across":    {"", form, "gatehouse_fragment=" + url.QueryEscape(good), 403, "cross_origin"},
	} {
		target := c.target
		if target == "" {
			target = "/auth/callback"
		}
		a := ana.PostAcross(ana.Request(http.MethodPost, target, strings.NewReader(c.body),
			append(slices.Clone(world.Navigation), "Content-Type", c.kind, "Origin", "https://op.test", "Sec-Fetch-Site", "cross-site")...))
		s.WantRefusal(a, c.status)
		if s.LastCode() != c.code {
			t.Errorf("%s: code %q, want %q", name, s.LastCode(), c.code)
		}
		if a.Body.Len() > 4<<10 || strings.Contains(a.Body.String(), answer.Get("code")) {
			t.Errorf("%s: the page repeats what was sent", name)
		}
	}
	if s.Count(opserver.EndpointToken) != 0 {
		t.Error("a token request was made")
	}
	more := url.Values{"session_state": {"x", "y"}, "unknown": {"z"}}
	for name, values := range answer {
		more[name] = values
	}
	ana.WantServed(ana.Follow(bring(ana, "form_post", more), nil)) // unknown ones are ignored
}

// The form_post callback is the only address that takes a POST of another site.
func TestFormPostLetsNothingElseIn(t *testing.T) {
	s := world.NewSite(t, speaking("code", "form_post", false))
	ana := s.Visitor("ana")
	ana.SignIn()
	for _, target := range []string{"/auth/login", "/auth/logout", "/notes/"} {
		a := ana.Do(ana.Request(http.MethodPost, target, strings.NewReader("a=b"),
			append(slices.Clone(world.Navigation), "Content-Type", "application/x-www-form-urlencoded", "Origin", "https://op.test", "Sec-Fetch-Site", "cross-site")...))
		if a.Code != http.StatusForbidden || s.LastCode() != "cross_origin" {
			t.Errorf("%s: %v, %q", target, a, s.LastCode())
		}
	}
	for _, method := range []string{http.MethodHead, http.MethodPut, http.MethodOptions} {
		if a := ana.Do(ana.Request(method, "/auth/callback", nil)); a.Code != http.StatusMethodNotAllowed || a.Header().Get("Allow") != "GET, POST" {
			t.Errorf("%s: %v", method, a)
		}
	}
}

// With http on loopback, the cookie of the attempt alone is Secure, because None
// needs it.
func TestFormPostOnLoopback(t *testing.T) {
	s := world.NewSite(t, func(o *world.SiteOptions) {
		speaking("code", "form_post", false)(o)
		o.Origin = "http://127.0.0.1:8080"
	})
	ana := s.Visitor("ana")
	cookie := ana.Get("/notes/").Result().Cookies()[0]
	if !cookie.Secure || cookie.SameSite != http.SameSiteNoneMode || !strings.HasPrefix(cookie.Name, "gh-") {
		t.Errorf("attempt cookie %v", cookie)
	}
}

// The page for the fragment: nothing of the answer is in it, only its own script
// runs, it says what to do without scripts, and it stores nothing.
func TestFragmentPage(t *testing.T) {
	s := world.NewSite(t, world.Watched, speaking("id_token", "", false))
	ana := s.Visitor("ana")
	answer := ana.ToAnswer("/notes/")
	writes := s.Watched().Writes()
	a := ana.Do(answer)
	body, policy := a.Body.String(), a.Header().Get("Content-Security-Policy")
	if a.Code != http.StatusOK || a.Header().Get("Cache-Control") != "no-store" || len(a.Result().Cookies()) != 0 {
		t.Fatalf("got %v, %v", a, a.Header())
	}
	other := ana.Get("/auth/callback")
	nonce := func(p *world.Page) string {
		_, rest, _ := strings.Cut(p.Body.String(), `<script nonce="`)
		n, _, _ := strings.Cut(rest, `"`)
		return n
	}
	if n := nonce(a); len(n) < 22 || n == nonce(other) || !strings.Contains(policy, "script-src 'nonce-"+n+"'") || strings.Contains(policy, "unsafe") {
		t.Errorf("nonce %q, policy %q", n, policy)
	}
	if strings.ReplaceAll(body, nonce(a), "") != strings.ReplaceAll(other.Body.String(), nonce(other), "") {
		t.Error("the page depends on the answer")
	}
	for _, want := range []string{"default-src 'none'", "base-uri 'none'", "frame-ancestors 'none'", "form-action 'self' https:"} {
		if !strings.Contains(policy, want) {
			t.Errorf("no %s in %q", want, policy)
		}
	}
	if strings.Contains(body, " on") && strings.Contains(body, "onload=") || strings.Count(body, "<script") != 1 || !strings.Contains(body, "<noscript><p>This sign-in needs JavaScript") {
		t.Errorf("page %s", body)
	}
	if more := s.Watched().Writes() - writes; more != 0 {
		t.Errorf("%d writes to the store", more)
	}
}

// The fragment's tampering: whoever can change it, such as a script of another
// extension, gains nothing.
func TestFragmentTampered(t *testing.T) {
	for name, c := range map[string]struct {
		asked  string
		change func(v url.Values)
		code   string
	}{
		"id_token of nobody":   {"id_token", func(v url.Values) { v.Set("id_token", "a.b.c") }, "id_token_malformed"},
		"id_token cut":         {"id_token", func(v url.Values) { v.Set("id_token", v.Get("id_token")[:40]) }, "id_token_malformed"},
		"signature changed":    {"id_token", func(v url.Values) { v.Set("id_token", flip(v.Get("id_token"))) }, "signature_invalid"},
		"id_token twice":       {"id_token", func(v url.Values) { v.Add("id_token", "x") }, "response_malformed"},
		"id_token of 20 KiB":   {"id_token", func(v url.Values) { v.Set("id_token", strings.Repeat("x", 20<<10)) }, "response_malformed"},
		"state of somebody":    {"id_token", func(v url.Values) { v.Set("state", "AAAAAAAAAAAAAAAAAAAAAA") }, "state_unknown"},
		"no state":             {"id_token", func(v url.Values) { v.Del("state") }, "state_missing"},
		"other issuer":         {"id_token", func(v url.Values) { v.Set("iss", "https://op2.test") }, "issuer_mismatch"},
		"other access token":   {"id_token token", func(v url.Values) { v.Set("access_token", "stolen-token") }, "at_hash_mismatch"},
		"other type of token":  {"id_token token", func(v url.Values) { v.Set("token_type", "DPoP") }, "token_type_unsupported"},
		"other code":           {"code id_token", func(v url.Values) { v.Set("code", "stolen-code") }, "c_hash_mismatch"},
		"code and no id_token": {"code id_token", func(v url.Values) { v.Del("id_token") }, "id_token_missing"},
		"nothing":              {"id_token", func(v url.Values) { clear(v) }, "state_missing"},
	} {
		t.Run(name, func(t *testing.T) {
			s := world.NewSite(t, speaking(c.asked, "", false))
			ana := s.Visitor("ana")
			answer := fieldsOf(t, ana.ToAnswer("/notes/"))
			s.ResetCounts()
			c.change(answer)
			s.WantNo(ana, bring(ana, "fragment", answer), 0)
			if s.LastCode() != c.code {
				t.Errorf("code %q, want %q", s.LastCode(), c.code)
			}
			s.WantNoSession("ana-1")
		})
	}
}

// What was not asked for is not taken: an access token that somebody adds is
// none, and neither is a code.
func TestFragmentAddition(t *testing.T) {
	s := world.NewSite(t, tokenPage(new(string)), speakingToo("id_token"))
	ana := s.Visitor("ana")
	answer := fieldsOf(t, ana.ToAnswer("/notes/"))
	answer.Set("access_token", "planted-token")
	answer.Set("token_type", "Bearer")
	answer.Set("code", "planted-code")
	ana.WantServed(ana.Follow(bring(ana, "fragment", answer), nil))
	if a := ana.Get("/token"); a.Code != http.StatusForbidden || s.LastCode() != "no_token" || s.Count(opserver.EndpointToken) != 0 {
		t.Errorf("got %v, %q", a, s.LastCode())
	}
}

func speakingToo(responseType string) func(*world.SiteOptions) {
	return speaking(responseType, "", false)
}

// flip changes one bit of the signature of a token.
func flip(raw string) string {
	at := strings.LastIndex(raw, ".") + 5
	c := byte('A')
	if raw[at] == c {
		c = 'B'
	}
	return raw[:at] + string(c) + raw[at+1:]
}

// tokenPage is a page that needs the access token, and signs the person in again
// if that is what it takes.
func tokenPage(got *string) func(*world.SiteOptions) {
	return func(o *world.SiteOptions) {
		o.Mount = func(mux *http.ServeMux, login *gatehouse.RelyingParty) {
			mux.Handle("/token", login.RequireLogin(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
				token, err := login.Token(r.Context())
				if err != nil {
					login.Refuse(w, r, err)
					return
				}
				*got = token.AccessToken
				fmt.Fprint(w, "has a token")
			})))
		}
	}
}

// A session without a refresh token: when its access token ends, Token says so,
// and the page signs in again. A script gets 401 with the address of LoginHandler.
func TestTokenEnded(t *testing.T) {
	var token string
	s := world.NewSite(t, tokenPage(&token), speakingToo("id_token token"))
	ana := s.Visitor("ana")
	if a := ana.Visit("/token"); a.Body.String() != "has a token" {
		t.Fatalf("got %v", a)
	}
	first, cookie := token, ana.SessionCookie()
	s.Advance(world.Past)
	ana.WantServed(ana.Get("/notes/")) // the session goes on
	if a := ana.Fetch(http.MethodGet, "/token"); a.Code != http.StatusUnauthorized || !strings.Contains(a.Body.String(), `"error":"token_ended"`) ||
		!strings.Contains(a.Body.String(), `"login_url":"/auth/login"`) || a.Header().Get("WWW-Authenticate") == "" {
		t.Errorf("a script got %v", a)
	}
	start := ana.Get("/token")
	ana.WantOut(start)
	if a := ana.Follow(start, nil); a.Body.String() != "has a token" || token == first || ana.SessionCookie() == cookie {
		t.Errorf("got %v with token %q", a, token)
	}
	if s.Refreshes() != 0 || s.Count(opserver.EndpointToken) != 0 {
		t.Errorf("%d token requests", s.Count(opserver.EndpointToken))
	}
	if a := ana.Post("/token", url.Values{"a": {"b"}}); a.Body.String() != "has a token" {
		t.Errorf("a form got %v", a)
	}
	s.Advance(world.Past)
	if a := ana.Post("/token", url.Values{"a": {"b"}}); a.Code != http.StatusUnauthorized || !strings.Contains(a.Body.String(), `href="/auth/login?return_to=`) {
		t.Errorf("a form got %v", a)
	}
}

// A token that lives for less than the way back does not send the browser to and
// fro for ever.
func TestTokenEndedAtOnce(t *testing.T) {
	var token string
	s := world.NewSite(t, tokenPage(&token), speakingToo("id_token token"))
	s.SetTokenLifetime(time.Second)
	ana := s.Visitor("ana")
	ana.SignIn()
	s.Advance(2 * time.Second)
	if a := ana.Get("/token"); a.Code != http.StatusForbidden || s.LastCode() != "no_token" {
		t.Errorf("got %v, %q", a, s.LastCode())
	}
	s.Advance(time.Minute)
	ana.WantOut(ana.Get("/token"))
}

// What the provider lists is compared before the sign-in begins, as sets of words
// (RP-D4). A provider that lists nothing is believed.
func TestAnswerOffered(t *testing.T) {
	for name, c := range map[string]struct {
		asked, mode  string
		types, modes any
		good         bool
	}{
		"nothing listed":        {"code id_token", "form_post", nil, nil, true},
		"another order":         {"code id_token", "form_post", []string{"code", "id_token code"}, []string{"form_post"}, true},
		"type not listed":       {"id_token token", "", []string{"code", "id_token"}, nil, false},
		"a part is not it":      {"id_token", "", []string{"code id_token"}, nil, false},
		"mode not listed":       {"code", "form_post", []string{"code"}, []string{"query", "fragment"}, false},
		"code not listed":       {"", "", []string{"id_token"}, nil, false},
		"empty list":            {"", "", []string{}, nil, false},
		"no list, but a number": {"code", "form_post", 4, 5, true},
	} {
		s := world.NewSite(t, speaking(c.asked, c.mode, false))
		s.SetWire(func(r *http.Request, next func(*http.Request) *http.Response) (*http.Response, error) {
			return world.RewriteJSON(t, next(r), func(m map[string]any) {
				if m["authorization_endpoint"] == nil {
					return
				}
				for member, value := range map[string]any{"response_types_supported": c.types, "response_modes_supported": c.modes} {
					if m[member] = value; value == nil {
						delete(m, member)
					}
				}
			}), nil
		})
		ana := s.Visitor("ana")
		if c.good {
			ana.WantServed(ana.Visit("/notes/"))
			continue
		}
		s.WantRefusal(ana.Get("/notes/"), http.StatusServiceUnavailable)
		if s.LastCode() != "response_unsupported" || len(ana.Attempts()) != 0 {
			t.Errorf("%s: code %q", name, s.LastCode())
		}
	}
}

// A logout in between, or a provider that asks for another try, starts over by the
// same way.
func TestAnswerStartsOver(t *testing.T) {
	for _, byPOST := range []bool{false, true} {
		for _, mode := range []string{"form_post", "fragment"} {
			s := world.NewSite(t, speaking("id_token", mode, byPOST))
			ana := s.Visitor("ana")
			answer := fieldsOf(t, ana.ToAnswer("/notes/"))
			a := bring(ana, mode, url.Values{"state": answer["state"], "iss": answer["iss"], "error": {"temporarily_unavailable"}})
			if (a.Location() == "") != byPOST {
				t.Errorf("got %v", a)
			}
			ana.WantServed(ana.Follow(a, nil))
		}
	}
}
