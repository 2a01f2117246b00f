package opserver_test

import (
	"html"
	"net/http"
	"net/url"
	"regexp"
	"strings"
	"testing"

	"example.com/gatehouse/internal/testkit/opserver"
)

var hidden = regexp.MustCompile(`<input type="hidden" name="([^"]*)" value="([^"]*)">`)

// came is an answer that the browser was given: the mode and the values.
func (w *world) came(a answer) (mode string, v url.Values) {
	w.t.Helper()
	if a.StatusCode == http.StatusOK && strings.Contains(a.body, `id="answer"`) {
		if !strings.Contains(a.body, `<form method="post" action="`+callback+`"`) || strings.Contains(a.Header.Get("Content-Security-Policy"), "unsafe") {
			w.t.Errorf("page with the answer: %s", a.body)
		}
		v = url.Values{}
		for _, m := range hidden.FindAllStringSubmatch(a.body, -1) {
			v.Add(m[1], html.UnescapeString(m[2]))
		}
		return "form_post", v
	}
	if a.StatusCode != http.StatusSeeOther {
		w.t.Fatalf("no answer: %d %s", a.StatusCode, a.body)
	}
	u, err := url.Parse(a.Header.Get("Location"))
	w.must(err)
	if u.RawQuery == "" {
		v, err = url.ParseQuery(u.EscapedFragment())
		w.must(err)
		return "fragment", v
	}
	return "query", u.Query()
}

// ask signs alice in with a request of that type and mode, "" for none.
func (w *world) ask(responseType, mode string, change ...string) (string, url.Values) {
	w.t.Helper()
	c := w.browser()
	change = append([]string{"response_type", responseType}, change...)
	if mode != "" {
		change = append(change, "response_mode", mode)
	}
	if !strings.Contains(responseType, "code") {
		change = append(change, "code_challenge", "-", "code_challenge_method", "-")
	}
	a := w.get(c, w.authorizeURL(change...))
	if strings.Contains(a.body, `id="sign-in"`) {
		a = w.submit(c, a, url.Values{"username": {"alice"}, "password": {"pw-alice"}})
	}
	return w.came(a)
}

// Each type brings what it names, in the default mode or in the one requested, and
// what it brings is bound together.
func TestResponseTypes(t *testing.T) {
	w := newWorld(t, "")
	for _, c := range []struct{ asked, mode, came, values string }{
		{"code", "", "query", "code"}, {"code", "query", "query", "code"}, {"code", "fragment", "fragment", "code"}, {"code", "form_post", "form_post", "code"},
		{"id_token", "", "fragment", "id_token"}, {"id_token", "form_post", "form_post", "id_token"},
		{"token id_token", "", "fragment", "id_token access_token"}, {"id_token token", "form_post", "form_post", "id_token access_token"},
		{"id_token code", "", "fragment", "code id_token"}, {"code id_token", "form_post", "form_post", "code id_token"},
	} {
		mode, v := w.ask(c.asked, c.mode)
		if mode != c.came {
			t.Errorf("%s by %s came by %s", c.asked, c.mode, mode)
		}
		for _, name := range []string{"code", "id_token", "access_token", "token_type", "expires_in"} {
			want := strings.Contains(" "+c.values+" ", " "+name+" ") || strings.HasPrefix(name, "t") && strings.Contains(c.values, "access") || name == "expires_in" && strings.Contains(c.values, "access")
			if v.Has(name) != want {
				t.Errorf("%s: %s is there: %t", c.asked, name, v.Has(name))
			}
		}
		if v.Get("iss") != w.Issuer() || v.Get("state") == "" || v.Has("refresh_token") {
			t.Errorf("%s: %v", c.asked, v)
		}
		if v.Has("id_token") {
			_, claims, _ := open(v.Get("id_token"))
			if (claims["c_hash"] != nil) != v.Has("code") || (claims["at_hash"] != nil) != v.Has("access_token") || str(claims["nonce"]) == "" {
				t.Errorf("%s: claims %v", c.asked, claims)
			}
		}
	}
	w.violations("")
}

// What these types may not have is refused, in the mode in which the answer would
// have come.
func TestResponseTypesAreJudged(t *testing.T) {
	w := newWorld(t, "")
	for _, c := range []struct {
		asked, mode string
		change      []string
		came, code  string
	}{
		{"id_token", "query", nil, "fragment", "invalid_request"},
		{"id_token", "", []string{"nonce", "-"}, "fragment", "invalid_request"},
		{"code id_token", "form_post", []string{"code_challenge", "-"}, "form_post", "invalid_request"},
		{"token", "", nil, "fragment", "unsupported_response_type"},
		{"code token", "form_post", nil, "form_post", "unsupported_response_type"},
		{"code id_token token", "", nil, "fragment", "unsupported_response_type"},
		{"code", "form_post", []string{"prompt", "none"}, "form_post", "login_required"},
	} {
		mode, v := w.ask(c.asked, c.mode, c.change...)
		if mode != c.came || v.Get("error") != c.code || v.Get("state") == "" {
			t.Errorf("%s by %s: %s, %v", c.asked, c.mode, mode, v)
		}
	}
	w.must(w.AddClient(opserver.Client{ID: "rp", Secret: rpSecret, RedirectURIs: []string{callback}, ResponseTypes: []string{"token id_token"}}))
	if _, v := w.ask("id_token token", ""); v.Get("access_token") == "" {
		t.Errorf("registered, but %v", v)
	}
	if _, v := w.ask("id_token", ""); v.Get("error") != "unauthorized_client" {
		t.Errorf("not registered, but %v", v)
	}
}

// TestFrontFaults switches each fault on and off again.
func TestFrontFaults(t *testing.T) {
	w := newWorld(t, "")
	claims := func(v url.Values) map[string]any { _, c, _ := open(v.Get("id_token")); return c }
	shows := map[opserver.Fault]func(mode string, v url.Values) bool{
		opserver.OtherResponseMode:       func(mode string, _ url.Values) bool { return mode != "fragment" },
		opserver.MissingFrontIDToken:     func(_ string, v url.Values) bool { return !v.Has("id_token") },
		opserver.MissingFrontAccessToken: func(_ string, v url.Values) bool { return !v.Has("access_token") },
		opserver.OtherFrontTokenType:     func(_ string, v url.Values) bool { return v.Get("token_type") == "mac" },
		opserver.WrongCodeHash:           func(_ string, v url.Values) bool { return strings.HasPrefix(str(claims(v)["c_hash"]), "AAAA") },
		opserver.MissingCodeHash:         func(_ string, v url.Values) bool { return claims(v)["c_hash"] == nil },
		opserver.FrontOtherSubject:       func(_ string, v url.Values) bool { return strings.HasSuffix(str(claims(v)["sub"]), "-other") },
	}
	for _, fault := range opserver.FrontFaults() {
		asked := "id_token token"
		if fault == opserver.WrongCodeHash || fault == opserver.MissingCodeHash || fault == opserver.FrontOtherSubject {
			asked = "code id_token"
		}
		for _, on := range []bool{true, false} {
			w.must(w.SetFault(fault, on))
			mode, v := w.ask(asked, "")
			if check := shows[fault]; check == nil || check(mode, v) != on {
				t.Errorf("%s on %v: %s, %v", fault, on, mode, v)
			}
		}
	}
	w.must(w.SetFault(opserver.WrongCodeHash, true))
	at := w.authorizeURL("response_type", "code id_token")
	c := w.browser()
	_, v := w.came(w.submit(c, w.get(c, at), url.Values{"username": {"alice"}, "password": {"pw-alice"}}))
	w.redeem(at, v)
	w.violations("a wrong c_hash")
}
