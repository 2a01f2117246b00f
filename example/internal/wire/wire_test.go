package wire_test

import (
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"
	"testing"

	"example.com/gatehouse/example/internal/wire"
)

const (
	token = "TZ7FJE5AYZJS4QW2NDRKXB6MLO"
	other = "mF_9.B5f-4.1JqM_opaque0token"
	jwt   = "eyJhbGciOiJSUzI1NiJ9.eyJzdWIiOiJib2IiLCJhdWQiOiJwcmludHNob3AifQ.c2lnbmF0dXJlLXNpZ25hdHVyZQ"
)

// trip sends one request through a recorder and returns the record.
func trip(t *testing.T, r *http.Request, answer func(*http.Request) (*http.Response, error)) (wire.Message, *http.Response) {
	t.Helper()
	rec := wire.New(wire.Actor{ID: "printshop", Name: "Print shop"}, wire.Actor{ID: "server", Name: "Authorization server", Origin: "http://as.test"})
	var message wire.Message
	var resp *http.Response
	page := httptest.NewRequest(http.MethodGet, "/", nil)
	page.Header.Set("Accept", "text/html")
	rec.Handler("printshop", http.HandlerFunc(func(_ http.ResponseWriter, page *http.Request) {
		resp, _ = rec.Transport("printshop", round(answer)).RoundTrip(r.WithContext(page.Context()))
		steps := rec.Steps(page)
		if len(steps) != 1 || len(steps[0].Messages) != 1 {
			t.Fatalf("recorded %+v", steps)
		}
		message = steps[0].Messages[0]
	})).ServeHTTP(httptest.NewRecorder(), page)
	return message, resp
}

type round func(*http.Request) (*http.Response, error)

func (f round) RoundTrip(r *http.Request) (*http.Response, error) { return f(r) }

func answer(status int, header http.Header, body string) func(*http.Request) (*http.Response, error) {
	return func(r *http.Request) (*http.Response, error) {
		if r.Body != nil {
			if _, err := io.Copy(io.Discard, r.Body); err != nil {
				return nil, err
			}
		}
		if header == nil {
			header = http.Header{"Content-Type": {"application/json"}}
		}
		return &http.Response{StatusCode: status, Header: header, Body: io.NopCloser(strings.NewReader(body)), Request: r}, nil
	}
}

func form(values url.Values) *http.Request {
	r := httptest.NewRequest(http.MethodPost, "http://as.test/token", strings.NewReader(values.Encode()))
	r.Header.Set("Content-Type", "application/x-www-form-urlencoded")
	return r
}

func TestKinds(t *testing.T) {
	uma := url.Values{"grant_type": {"urn:ietf:params:oauth:grant-type:uma-ticket"}, "ticket": {token}}
	jsonRequest := func(method, path, body string) *http.Request {
		r := httptest.NewRequest(method, "http://as.test"+path, strings.NewReader(body))
		r.Header.Set("Content-Type", "application/json")
		r.Header.Set("Authorization", "Bearer "+token)
		return r
	}
	get := httptest.NewRequest(http.MethodGet, "http://as.test/x", nil)
	tests := []struct {
		title  string
		r      *http.Request
		status int
		header http.Header
		body   string
	}{
		{"“Who is asking?”", form(uma), 403, nil, `{"error":"need_info","ticket":"` + other + `"}`},
		{"“I have asked the owner”", form(uma), 403, nil, `{"error":"request_submitted","ticket":"` + other + `"}`},
		{"“I have asked the owner”", form(uma), 403, nil, `{"error":"access_denied","error_description":"request_submitted"}`},
		{"“No”", form(uma), 403, nil, `{"error":"request_denied"}`},
		{"“No”", form(uma), 403, nil, `{"error":"access_denied","error_description":"not_authorized"}`},
		{"The ticket becomes a permission", form(uma), 200, nil, `{"access_token":"` + token + `"}`},
		{"The permission grows", form(uma), 200, nil, `{"access_token":"` + token + `","upgraded":true}`},
		{"The token endpoint refuses", form(uma), 400, nil, `{"error":"invalid_grant"}`},
		{"The token endpoint refuses", form(url.Values{"grant_type": {"refresh_token"}}), 400, nil, `{"error":"invalid_grant"}`},
		{"Turns the code into tokens", form(url.Values{"grant_type": {"authorization_code"}}), 200, nil, `{"scope":"openid"}`},
		{"Turns the code into a PAT", form(url.Values{"grant_type": {"authorization_code"}}), 200, nil, `{"scope":"openid uma_protection"}`},
		{"Renews a token", form(url.Values{"grant_type": {"refresh_token"}}), 200, nil, `{}`},
		{"Gets a token for itself", form(url.Values{"grant_type": {"client_credentials"}}), 200, nil, `{}`},
		{"Looks up what the token holds", form(url.Values{"token": {token}}), 200, nil, `{"active":true}`},
		{"The token is worth nothing", form(url.Values{"token": {token}}), 200, nil, `{"active":false}`},
		{"Revokes a token", form(url.Values{"token": {token}}), 200, nil, ``},
		{"Fetches the public keys", get, 200, nil, `{"keys":[]}`},
		{"Reads what the server offers", get, 200, nil, `{"issuer":"http://as.test","token_endpoint":"http://as.test/t"}`},
		{"Reads what the server offers for UMA", get, 200, nil, `{"issuer":"http://as.test","permission_endpoint":"http://as.test/p"}`},
		{"Asks for a ticket", jsonRequest("POST", "/perm", `[{"resource_id":"r"}]`), 201, nil, `{"ticket":"` + token + `"}`},
		{"Gets no ticket", jsonRequest("POST", "/perm", `[{"resource_id":"r"}]`), 400, nil, `{"error":"invalid_resource_id"}`},
		{"Puts the album under protection", jsonRequest("POST", "/r", `{"resource_scopes":["view"]}`), 201, nil, `{"_id":"r"}`},
		{"Updates the description", jsonRequest("PUT", "/r/1", `{"resource_scopes":["view"]}`), 200, nil, `{"_id":"r"}`},
		{"Takes the album out of protection", jsonRequest("DELETE", "/r/1", ``), 204, nil, ``},
		{"Looks up what is registered", jsonRequest("GET", "/r", ``), 200, nil, `["r"]`},
		{"Asks who has signed in", jsonRequest("GET", "/userinfo", ``), 200, nil, `{"sub":"bob"}`},
		{"“Not without permission”", get, 401, http.Header{"Www-Authenticate": {`UMA realm="x", as_uri="http://as.test", ticket="` + token + `"`}}, ``},
		{"“I cannot even ask”", get, 403, http.Header{"Warning": {`199 - "UMA Authorization Server Unreachable"`}}, ``},
		{"“I cannot look it up”", get, 503, http.Header{"Warning": {`199 - "UMA Authorization Server Unreachable"`}}, ``},
		{"That did not work", get, 500, nil, ``},
	}
	for _, test := range tests {
		m, _ := trip(t, test.r, answer(test.status, test.header, test.body))
		if m.Kind.Title != test.title {
			t.Errorf("%s %s answered %d %s is %q, want %q", test.r.Method, test.r.URL, test.status, test.body, m.Kind.Title, test.title)
		}
		if m.Kind.Text == "" {
			t.Errorf("%q explains nothing", test.title)
		}
	}
	if m, _ := trip(t, get, func(*http.Request) (*http.Response, error) { return nil, errors.New("refused") }); m.Kind.Title != "Nobody answers" {
		t.Errorf("no answer is %q", m.Kind.Title)
	}
}

// Wherever a secret appears, it is never kept whole, but enough of it is kept
// to recognise it.
func TestSecretsAreShortened(t *testing.T) {
	withHeader := func(name, value string) *http.Request {
		r := form(url.Values{"grant_type": {"refresh_token"}})
		r.Header.Set(name, value)
		return r
	}
	secret := "s3cret-of-the-client"
	basic := httptest.NewRequest(http.MethodGet, "/", nil)
	basic.SetBasicAuth("printshop", secret)
	ok := answer(200, nil, `{}`)
	tests := []struct {
		name   string
		r      *http.Request
		answer func(*http.Request) (*http.Response, error)
		secret string
		shown  string
	}{
		{"bearer", withHeader("Authorization", "Bearer "+token), ok, token, "Bearer TZ7FJE…"},
		{"basic", withHeader("Authorization", basic.Header.Get("Authorization")), ok, secret, "Basic (printshop : •••)"},
		{"basic, encoded", withHeader("Authorization", basic.Header.Get("Authorization")), ok, strings.Fields(basic.Header.Get("Authorization"))[1], ""},
		{"basic, unreadable", withHeader("Authorization", "Basic "+token), ok, token, "Basic"},
		{"form", form(url.Values{"grant_type": {"refresh_token"}, "refresh_token": {other}}), ok, other, "mF_9.B…"},
		{"short", form(url.Values{"grant_type": {"x"}, "code": {"123456"}}), answer(400, nil, ``), "123456", "•••"},
		{"password", form(url.Values{"grant_type": {"password"}, "password": {"correct horse battery"}}), answer(400, nil, ``), "correct", "•••"},
		{"unknown name", form(url.Values{"grant_type": {"x"}, "brand_new": {token}}), answer(400, nil, ``), token, "TZ7FJE…"},
		{"JWT", form(url.Values{"grant_type": {"refresh_token"}, "claim_token": {jwt}}), ok, jwt, "eyJhbG… (a JWT about bob for printshop)"},
		{"answer", form(url.Values{"grant_type": {"refresh_token"}}), answer(200, nil, `{"access_token":"`+token+`"}`), token, "TZ7FJE…"},
		{"nested", form(url.Values{"grant_type": {"x"}}), answer(400, nil, `{"a":[{"b":{"ticket":"`+token+`"}}]}`), token, "TZ7FJE…"},
		{"as a key", form(url.Values{"grant_type": {"x"}}), answer(400, nil, `{"a":{"`+token+`":1}}`), token, "TZ7FJE…"},
		{"in a sentence", form(url.Values{"grant_type": {"x"}}), answer(400, nil, `{"error_description":"the token `+token+` is bad"}`), token, "TZ7FJE…"},
		{"challenge", form(nil), answer(401, http.Header{"Www-Authenticate": {`UMA realm="x", as_uri="http://as.test", ticket="` + token + `"`}}, ``), token, `ticket="TZ7FJE…"`},
		{"query", httptest.NewRequest("GET", "http://as.test/x?token="+token+"&q="+other, nil), answer(500, nil, ``), token, "TZ7FJE…"},
		{"query, unknown name", httptest.NewRequest("GET", "http://as.test/x?q="+other, nil), answer(500, nil, ``), other, "mF_9.B…"},
		{"path", httptest.NewRequest("GET", "http://as.test/x/"+token, nil), answer(500, nil, ``), token, "TZ7FJE…"},
		{"location", form(nil), answer(500, http.Header{"Location": {"http://rp.test/cb?code=" + token + "&state=" + other}}, ``), token, "TZ7FJE…"},
		{"location, in an address", form(nil), answer(500, http.Header{"Location": {"http://rp.test/cb?next=" + url.QueryEscape("http://x.test/?code="+token)}}, ``), token, "TZ7FJE…"},
		{"location, in a fragment", form(nil), answer(500, http.Header{"Location": {"http://rp.test/cb#access_token=" + token}}, ``), token, ""},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			m, _ := trip(t, test.r, test.answer)
			text := fmt.Sprintf("%+v", m)
			if strings.Contains(text, test.secret) {
				t.Errorf("a whole secret is kept: %s", text)
			}
			if !strings.Contains(text, test.shown) {
				t.Errorf("no %q in %s", test.shown, text)
			}
		})
	}
}

// What is recorded passes through unchanged.
func TestBodiesPassThrough(t *testing.T) {
	for _, size := range []int{0, 1, 64 << 10, 64<<10 + 1, 1 << 20} {
		sent, got := strings.Repeat("s", size), ""
		r := httptest.NewRequest(http.MethodPost, "http://as.test/x", strings.NewReader(sent))
		_, resp := trip(t, r, func(r *http.Request) (*http.Response, error) {
			b, err := io.ReadAll(r.Body)
			got = string(b)
			return &http.Response{StatusCode: 500, Header: http.Header{}, Body: io.NopCloser(strings.NewReader(sent))}, err
		})
		back, err := io.ReadAll(resp.Body)
		if err != nil || got != sent || string(back) != sent {
			t.Errorf("%d bytes: sent on %d, brought back %d, error %v", size, len(got), len(back), err)
		}
	}
}

// A recorder of many browsers and clicks keeps the latest.
func TestBounds(t *testing.T) {
	rec := wire.New(wire.Actor{ID: "photos", Name: "Photo site"}, wire.Actor{ID: "server", Origin: "http://as.test"})
	fail := rec.Transport("photos", round(func(*http.Request) (*http.Response, error) { return nil, errors.New("refused") }))
	h := rec.Handler("photos", http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
		for range 45 {
			req, err := http.NewRequestWithContext(r.Context(), http.MethodGet, "http://as.test/"+strings.Repeat("x", 2_000), nil)
			if err != nil {
				t.Error(err)
				return
			}
			if _, err := fail.RoundTrip(req); err == nil {
				t.Error("no error")
			}
		}
	}))
	visit := func(c *http.Cookie) (*http.Request, *http.Cookie) {
		r := httptest.NewRequest(http.MethodGet, "/", nil)
		r.Header.Set("Accept", "text/html")
		if c != nil {
			r.AddCookie(c)
		}
		w := httptest.NewRecorder()
		h.ServeHTTP(w, r)
		if set := w.Result().Cookies(); len(set) > 0 {
			c = set[0]
			r.AddCookie(c)
		}
		return r, c
	}
	first, c := visit(nil)
	for range 20 {
		visit(c)
	}
	steps := rec.Steps(first)
	if len(steps) == 0 || len(steps) > 6 {
		t.Fatalf("%d steps are kept", len(steps))
	}
	for _, s := range steps {
		if n := len(s.Messages); n == 0 || n > 40 {
			t.Errorf("%d messages are kept", n)
		}
		if n := len(s.Messages[0].Request.Line); n > 1000 {
			t.Errorf("a line of %d bytes is kept", n)
		}
	}
	for range 70 {
		visit(nil)
	}
	if steps := rec.Steps(first); len(steps) != 0 {
		t.Error("a browser that was away longest is still remembered")
	}
}

// One browser does not see what another one caused, and a made-up cookie gives
// access to nothing.
func TestBrowsersApart(t *testing.T) {
	rec := wire.New(wire.Actor{ID: "photos", Name: "Photo site"}, wire.Actor{ID: "server", Origin: "http://as.test"})
	fail := rec.Transport("photos", round(func(*http.Request) (*http.Response, error) { return nil, errors.New("refused") }))
	h := rec.Handler("photos", http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
		req, err := http.NewRequestWithContext(r.Context(), http.MethodGet, "http://as.test/"+r.URL.Path[1:], nil)
		if err != nil {
			t.Error(err)
			return
		}
		_, _ = fail.RoundTrip(req)
	}))
	page := func(path string, header ...string) *http.Request {
		r := httptest.NewRequest(http.MethodGet, path, nil)
		r.Header.Set("Accept", "text/html")
		for i := 0; i < len(header); i += 2 {
			r.Header.Set(header[i], header[i+1])
		}
		w := httptest.NewRecorder()
		h.ServeHTTP(w, r)
		for _, c := range w.Result().Cookies() {
			r.AddCookie(c)
		}
		return r
	}
	alice := page("/for-alice")
	bob := page("/for-bob")
	if html := string(rec.Panel(alice, nil)); !strings.Contains(html, "for-alice") || strings.Contains(html, "for-bob") {
		t.Errorf("Alice sees %s", html)
	}
	for _, r := range []*http.Request{bob, page("/x", "Cookie", "gatehouse-example-panel=made-up"), page("/y", "Traceparent", "00-"+strings.Repeat("a", 32)+"-0-01")} {
		if html := string(rec.Panel(r, nil)); strings.Contains(html, "for-alice") {
			t.Errorf("somebody else sees %s", html)
		}
	}
}

func TestPanelEscapes(t *testing.T) {
	m, _ := trip(t, form(url.Values{"grant_type": {"<script>alert(1)</script>"}}), answer(400, nil, `{"error":"<b>bold</b>"}`))
	if m.Kind.Title == "" {
		t.Fatal("not recorded")
	}
	rec := wire.New(wire.Actor{ID: "photos", Name: "Photo site"}, wire.Actor{ID: "server", Origin: "http://as.test"})
	page := httptest.NewRequest(http.MethodGet, "/", nil)
	page.Header.Set("Accept", "text/html")
	rec.Handler("photos", http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
		_, _ = rec.Transport("photos", round(answer(400, nil, `{"error":"<b>bold</b>"}`))).RoundTrip(form(url.Values{"grant_type": {"<script>"}}).WithContext(r.Context()))
		html := string(rec.Panel(r, &wire.Switch{Running: true, Action: "/switch"}))
		if strings.Contains(html, "<script>") || strings.Contains(html, "<b>") || !strings.Contains(html, "&lt;b&gt;bold") {
			t.Errorf("not escaped: %s", html)
		}
		if !strings.Contains(html, `action="/switch"`) {
			t.Error("no button")
		}
	})).ServeHTTP(httptest.NewRecorder(), page)
}
