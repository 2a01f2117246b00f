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
)

// FuzzLocalPath: no path that is taken leads a browser to another origin, as it
// stands, or decoded once by a server on the way.
func FuzzLocalPath(f *testing.F) {
	for _, s := range []string{
		"/", "/notes/7?page=2", "//evil.example", `/\evil.example`, "/%2f%2fevil.example", "/%5cevil.example", "/\t/evil.example",
		"/..//evil.example", "/%2e%2e//evil.example", "/a/..//evil.example", "https:evil.example", "javascript:alert(1)", "/ //x",
		"/%09/evil.example", "/a%2f..%2f/evil.example", "/;/../..//evil.example", "/?x=//evil.example", "/#//evil", "/%00/x", "/\u3000/x",
	} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, raw string) {
		out, ok := localPath(raw)
		if !ok {
			return
		}
		if len(out) > maxReturnPath || !strings.HasPrefix(out, "/") {
			t.Fatalf("%q gives %q", raw, out)
		}
		if strings.ContainsFunc(out, func(c rune) bool { return c < ' ' || c == 0x7f || c == '\\' }) {
			t.Errorf("%q gives %q, which has control characters or a backslash", raw, out)
		}
		if host := browserHost(out); host != "notes.test" {
			t.Errorf("%q gives %q, which leads to %q", raw, out, host)
		}
		path, _, _ := strings.Cut(out, "?")
		if decoded, err := url.PathUnescape(path); err == nil {
			if host := browserHost(decoded); host != "notes.test" {
				t.Errorf("%q gives %q, which decoded leads to %q", raw, out, host)
			}
		}
		again, ok := localPath(out)
		if !ok || again != out {
			t.Errorf("%q gives %q and that gives %q, %v", raw, out, again, ok)
		}
	})
}

// browserHost is where a browser on https://notes.test/ goes with a Location,
// after the WHATWG URL standard (basic URL parser) and not after net/url: spaces
// and controls around it are cut, tabs and line breaks dropped everywhere, a
// backslash is a slash, two slashes begin a host, dot segments go away.
func browserHost(location string) string {
	location = strings.TrimFunc(location, func(c rune) bool { return c <= ' ' })
	location = strings.NewReplacer("\t", "", "\n", "", "\r", "", `\`, "/").Replace(location)
	for i, c := range location { // a scheme
		letter := 'a' <= c|0x20 && c|0x20 <= 'z'
		if c == ':' && i > 0 {
			return "(" + location[:i] + ")"
		}
		if !letter && (i == 0 || !strings.ContainsRune("0123456789+-.", c)) {
			break
		}
	}
	if strings.HasPrefix(location, "//") {
		host := strings.TrimLeft(location, "/") // special schemes ignore further slashes
		if end := strings.IndexAny(host, "/?#"); end >= 0 {
			host = host[:end]
		}
		return host[strings.LastIndex(host, "@")+1:]
	}
	path, _, _ := strings.Cut(location, "?")
	path, _, _ = strings.Cut(path, "#")
	var kept []string // a server or proxy that cleans the path and redirects to it
	for seg := range strings.SplitSeq(strings.TrimPrefix(path, "/"), "/") {
		switch strings.ToLower(strings.ReplaceAll(strings.ToLower(seg), "%2e", ".")) {
		case ".":
		case "..":
			kept = kept[:max(0, len(kept)-1)]
		default:
			kept = append(kept, seg)
		}
	}
	if cleaned := "/" + strings.Join(kept, "/"); strings.HasPrefix(cleaned, "//") && len(strings.Trim(cleaned, "/")) > 0 {
		return strings.Trim(cleaned, "/")
	}
	return "notes.test"
}

// The oracle is held to the shapes that others fell for.
func TestBrowserHost(t *testing.T) {
	for location, want := range map[string]string{
		"/notes": "notes.test", "": "notes.test", "?x=//y": "notes.test", "/a/../b": "notes.test",
		"//evil.example/x": "evil.example", `/\evil.example`: "evil.example", "/\t/evil.example": "evil.example", " //evil.example": "evil.example",
		"///evil.example": "evil.example", "//me@evil.example": "evil.example", "/..//evil.example": "evil.example", "/a/%2E%2e//evil.example": "evil.example",
		"https://evil.example": "(https)", "javascript:x": "(javascript)",
	} {
		if got := browserHost(location); got != want {
			t.Errorf("%q leads to %q, want %q", location, got, want)
		}
	}
}

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
		if host := browserHost(location); host != "notes.test" {
			t.Errorf("sent to %q at %q", location, host)
		}
	})
}
