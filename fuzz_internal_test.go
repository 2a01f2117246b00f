package gatehouse

import (
	"context"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"
	"testing"
	"time"

	"example.com/gatehouse/internal/testkit/returntargets"
)

// fuzzParty is a relying party that never needs the network: the provider
// refuses every code.
func fuzzParty(f *testing.F) (*RelyingParty, *answering, *countingStore) {
	f.Helper()
	wire := &answering{status: http.StatusBadRequest, body: []byte(`{"error":"invalid_grant"}`)}
	store := &countingStore{Store: NewMemoryStore(nil)}
	p, err := NewProvider("https://op.test", &ProviderConfig{
		Metadata:  &Metadata{AuthorizationEndpoint: "https://op.test/az", TokenEndpoint: "https://op.test/tok", ResponseIssuer: true},
		Transport: wire,
		Logger:    slog.New(slog.NewTextHandler(io.Discard, nil)),
	})
	if err != nil {
		f.Fatal(err)
	}
	sessions, err := NewSessions(SessionsConfig{Store: store})
	if err != nil {
		f.Fatal(err)
	}
	rp, err := NewRelyingParty(p, RelyingPartyConfig{Client: Client{ID: "notes"}, RedirectURL: "https://notes.test/cb", Sessions: sessions})
	if err != nil {
		f.Fatal(err)
	}
	return rp, wire, store
}

// countingStore counts what was written.
type countingStore struct {
	Store
	written int
}

func (s *countingStore) SwapCtx(ctx context.Context, key string, old, new []byte, expiry time.Time) (bool, error) {
	ok, err := s.Store.SwapCtx(ctx, key, old, new, expiry)
	if ok {
		s.written++
	}
	return ok, err
}

// FuzzCallback: what a stranger sends to the callback is 4xx, on a page that
// repeats nothing of it. Without a valid attempt it costs nothing; with one a
// used-state entry and at most one token request, once.
func FuzzCallback(f *testing.F) {
	rp, wire, store := fuzzParty(f)
	h := rp.CallbackHandler()
	begin := httptest.NewRecorder()
	location, err := rp.AuthURL(begin, httptest.NewRequest(http.MethodGet, "https://notes.test/", nil), "/notes/")
	if err != nil {
		f.Fatal(err)
	}
	at, err := url.Parse(location)
	if err != nil {
		f.Fatal(err)
	}
	state, cookie := at.Query().Get("state"), begin.Result().Cookies()[0]
	for _, q := range []string{
		"", "state=" + state, "code=c&state=" + state, "code=c&state=" + state + "&iss=https://op.test", "error=access_denied&state=" + state,
		"state=a&state=b", "state=%zz", "code=c;state=d", strings.Repeat("state=x&", 100), "state=" + state + "&error=%3Cscript%3E",
		"code=&iss=https://op.test&state=" + state, "code=c&iss=https://op.test/&state=" + state, "code=c&code=d&iss=https://op.test&state=" + state,
	} {
		f.Add(q, cookie.Name, cookie.Value, "Accept")
		f.Add(q, cookie.Name, cookie.Value[:len(cookie.Value)-1]+"A", "Accept")
		f.Add(q, rp.cookie, "..", "Sec-Fetch-Mode")
	}
	f.Fuzz(func(t *testing.T, query, name, value, header string) {
		r := httptest.NewRequest(http.MethodGet, "https://notes.test/cb", nil)
		r.URL.RawQuery = query
		r.Header["Cookie"] = []string{name + "=" + value}
		if header = http.CanonicalHeaderKey(header); header != "Cookie" {
			r.Header[header] = []string{value}
		}
		store.written, wire.asked = 0, nil
		w := httptest.NewRecorder()
		h.ServeHTTP(w, r)
		if w.Code < 400 || w.Code >= 500 {
			t.Errorf("query %q, cookie %q=%q: status %d", query, name, value, w.Code)
		}
		if len(query) > 8 && strings.ContainsAny(query, "<>\"'") && strings.Contains(w.Body.String(), query) {
			t.Errorf("the page echoes %q", query)
		}
		valid := name == cookie.Name && value == cookie.Value && r.URL.Query().Get("state") == state
		if n := store.written; n > 1 || n == 1 && !valid {
			t.Errorf("query %q, cookie %q=%q: %d writes", query, name, value, n)
		}
		if len(wire.asked) > store.written {
			t.Errorf("query %q: %q was asked with %d states used up", query, wire.asked, store.written)
		}
		for _, c := range w.Result().Cookies() {
			if c.MaxAge >= 0 {
				t.Errorf("query %q sets the cookie %s", query, c.Name)
			}
		}
	})
}

// FuzzRequest: no request to a guarded page or to the login, logout and callback
// handlers panics or is our fault, and no Location leaves site and provider.
func FuzzRequest(f *testing.F) {
	rp, _, _ := fuzzParty(f)
	handlers := []http.Handler{
		rp.RequireLogin(http.NotFoundHandler()), rp.LoginHandler(), rp.LogoutHandler(), rp.CallbackHandler(),
		Require(Either(rp, rp))(http.NotFoundHandler()),
	}
	f.Add(uint8(0), "GET", "/notes/", "return_to=//evil.example", "https://evil.example/", "navigate", "document")
	f.Add(uint8(1), "GET", "/login", "return_to=%2F%2Fevil.example", "", "navigate", "iframe")
	f.Add(uint8(2), "POST", "//evil.example", "", "https://notes.test/", "", "")
	f.Add(uint8(2), "GET", `/\evil.example`, "state=x", "null", "cors", "empty")
	f.Add(uint8(4), "PUT", "/%2f%2fevil.example", "", "", "websocket", "")
	f.Fuzz(func(t *testing.T, which uint8, method, path, query, from, mode, dest string) {
		r := &http.Request{Method: method, URL: &url.URL{Path: path, RawQuery: query}, RequestURI: path + "?" + query,
			Host: "notes.test", Header: http.Header{}, Body: http.NoBody, Proto: "HTTP/1.1", ProtoMajor: 1, ProtoMinor: 1}
		for name, v := range map[string]string{"Origin": from, "Referer": from, "Sec-Fetch-Mode": mode, "Sec-Fetch-Dest": dest, "Accept": "text/html"} {
			if v != "" {
				r.Header.Set(name, v)
			}
		}
		if mode == "" && from == "" {
			r.Header.Set("Sec-Fetch-Site", "same-origin")
		}
		w := httptest.NewRecorder()
		handlers[int(which)%len(handlers)].ServeHTTP(w, r)
		if w.Code >= 500 {
			t.Errorf("status %d", w.Code)
		}
		location := w.Header().Get("Location")
		if location == "" || strings.HasPrefix(location, "https://op.test/az?") {
			return
		}
		if host := returntargets.BrowserHost(location); host != "notes.test" {
			t.Errorf("sent to %q at %q", location, host)
		}
	})
}
