package gatehouse_test

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/go-jose/go-jose/v4"

	"example.com/gatehouse"
	"example.com/gatehouse/internal/storekey"
)

// fuzzParty returns a relying party that needs no network: its provider
// refuses every code.
func fuzzParty(f *testing.F) (*gatehouse.RelyingParty, *answering, *countingStore) {
	f.Helper()
	wire := &answering{status: http.StatusBadRequest, body: []byte(`{"error":"invalid_grant"}`)}
	store := &countingStore{Store: gatehouse.NewMemoryStore(nil)}
	p, err := gatehouse.NewProvider("https://op.test", &gatehouse.ProviderConfig{
		Metadata:  &gatehouse.Metadata{AuthorizationEndpoint: "https://op.test/az", TokenEndpoint: "https://op.test/tok", JWKSURI: "https://op.test/keys", ResponseIssuer: true},
		Transport: wire,
		Logger:    slog.New(slog.NewTextHandler(io.Discard, nil)),
	})
	if err != nil {
		f.Fatal(err)
	}
	sessions, err := gatehouse.NewSessions(gatehouse.SessionsConfig{Store: store})
	if err != nil {
		f.Fatal(err)
	}
	rp, err := gatehouse.NewRelyingParty(p, gatehouse.RelyingPartyConfig{Client: gatehouse.Client{ID: "notes"}, RedirectURL: "https://notes.test/cb", Sessions: sessions})
	if err != nil {
		f.Fatal(err)
	}
	return rp, wire, store
}

// countingStore counts writes.
type countingStore struct {
	gatehouse.Store
	written int
}

func (s *countingStore) SwapCtx(ctx context.Context, key string, old, new []byte, expiry time.Time) (bool, error) {
	ok, err := s.Store.SwapCtx(ctx, key, old, new, expiry)
	if ok {
		s.written++
	}
	return ok, err
}

// FuzzCallback checks that the callback answers any input of a stranger with
// 4xx, on a page that echoes nothing of it. Without a valid attempt nothing is
// stored or sent. With one, at most one used state is stored and one token
// request sent.
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
	session := "__Host-gh-" + storekey.Of("gatehouse/session cookie", storekey.Of("gatehouse/home", "", "https://notes.test"))[:8] // decision 6
	state, cookie := at.Query().Get("state"), begin.Result().Cookies()[0]
	for _, q := range []string{
		"", "state=" + state, "code=c&state=" + state, "code=c&state=" + state + "&iss=https://op.test", "error=access_denied&state=" + state,
		"state=a&state=b", "state=%zz", "code=c;state=d", strings.Repeat("state=x&", 100), "state=" + state + "&error=%3Cscript%3E",
		"code=&iss=https://op.test&state=" + state, "code=c&iss=https://op.test/&state=" + state, "code=c&code=d&iss=https://op.test&state=" + state,
	} {
		f.Add(q, cookie.Name, cookie.Value, "Accept")
		f.Add(q, cookie.Name, cookie.Value[:len(cookie.Value)-1]+"A", "Accept")
		f.Add(q, session, "..", "Sec-Fetch-Mode")
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

// FuzzFormAnswer checks the same for answers that are posted: by the provider's
// page, and by our own with what was in the fragment.
func FuzzFormAnswer(f *testing.F) {
	p, err := gatehouse.NewProvider("https://op.test", &gatehouse.ProviderConfig{
		Metadata: &gatehouse.Metadata{AuthorizationEndpoint: "https://op.test/az", JWKSURI: "https://op.test/keys"},
		Keys:     []jose.JSONWebKey{fuzzKey(f)}, Logger: slog.New(slog.NewTextHandler(io.Discard, nil)),
	})
	if err != nil {
		f.Fatal(err)
	}
	type way struct {
		handler       http.Handler
		cookie        *http.Cookie
		state, prefix string
	}
	var ways []way
	for mode, prefix := range map[string]string{"form_post": "", "fragment": "gatehouse_fragment="} {
		store := &countingStore{Store: gatehouse.NewMemoryStore(nil)}
		sessions, err := gatehouse.NewSessions(gatehouse.SessionsConfig{Store: store})
		if err != nil {
			f.Fatal(err)
		}
		rp, err := gatehouse.NewRelyingParty(p, gatehouse.RelyingPartyConfig{Client: gatehouse.Client{ID: "notes"}, RedirectURL: "https://notes.test/cb",
			Sessions: sessions, ResponseType: "id_token token", ResponseMode: mode})
		if err != nil {
			f.Fatal(err)
		}
		begin := httptest.NewRecorder()
		location, err := rp.AuthURL(begin, httptest.NewRequest(http.MethodGet, "https://notes.test/", nil), "/notes/")
		if err != nil {
			f.Fatal(err)
		}
		at, err := url.Parse(location)
		if err != nil {
			f.Fatal(err)
		}
		ways = append(ways, way{rp.CallbackHandler(), begin.Result().Cookies()[0], at.Query().Get("state"), prefix})
	}
	for _, answer := range []string{
		"", "state=S", "state=S&id_token=a.b.c&access_token=x&token_type=bearer", "state=S&id_token=e30.e30.e30&access_token=x&token_type=bearer&expires_in=9e9",
		"state=S&error=access_denied&error_description=%3Cscript%3E", "state=S&state=S", "state=%zz", "gatehouse_fragment=a&gatehouse_fragment=b", "state=S&gatehouse_fragment=state%3DS",
		strings.Repeat("id_token=x&", 100), "state=S&iss=https://op.test/&id_token=x",
	} {
		for _, target := range []string{"https://notes.test/cb", "https://notes.test/cb?state=S", "https://notes.test/cb?x=y"} {
			f.Add(answer, target, "application/x-www-form-urlencoded")
			f.Add(answer, target, "text/plain")
		}
	}
	f.Fuzz(func(t *testing.T, answer, target, kind string) {
		if at, err := url.Parse(target); err != nil || at.Host != "notes.test" || at.Path != "/cb" || strings.ContainsAny(target, " \r\n") {
			return
		}
		for _, way := range ways {
			body := strings.ReplaceAll(answer, "=S", "="+way.state)
			if way.prefix != "" {
				body = way.prefix + url.QueryEscape(body)
			}
			r := httptest.NewRequest(http.MethodPost, target, strings.NewReader(body))
			r.Header.Set("Content-Type", kind)
			r.Header.Set("Origin", "https://notes.test")
			r.AddCookie(way.cookie)
			w := httptest.NewRecorder()
			way.handler.ServeHTTP(w, r)
			if w.Code < 400 || w.Code >= 500 {
				t.Errorf("body %q: status %d", body, w.Code)
			}
			if len(answer) > 8 && strings.ContainsAny(answer, "<>\"'") && strings.Contains(w.Body.String(), answer) {
				t.Errorf("the page echoes %q", answer)
			}
			for _, c := range w.Result().Cookies() {
				if c.MaxAge >= 0 {
					t.Errorf("body %q sets the cookie %s", body, c.Name)
				}
			}
		}
	})
}

// fuzzKey is a public key with which nothing is signed.
func fuzzKey(f *testing.F) jose.JSONWebKey {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		f.Fatal(err)
	}
	return jose.JSONWebKey{Key: key.Public(), KeyID: "k", Algorithm: "ES256", Use: "sig"}
}

// slowProvider answers a token request after the given time. It never answers
// a request for its keys.
type slowProvider struct{ takes time.Duration }

func (p slowProvider) RoundTrip(r *http.Request) (*http.Response, error) {
	if r.URL.Path == "/keys" {
		<-r.Context().Done()
		return nil, r.Context().Err()
	}
	time.Sleep(p.takes)
	body := `{"access_token":"at","token_type":"Bearer","id_token":"eyJhbGciOiJSUzI1NiJ9.e30.c2ln"}`
	return &http.Response{StatusCode: http.StatusOK, Proto: "HTTP/1.1", ProtoMajor: 1, ProtoMinor: 1, Request: r,
		Header: http.Header{"Content-Type": {"application/json"}}, Body: io.NopCloser(strings.NewReader(body))}, nil
}

// If the keys cannot be fetched in time, that says nothing about the ID Token.
// The provider counts as unavailable.
func TestCallbackKeysTooLate(t *testing.T) {
	for _, c := range []struct{ takes, answered time.Duration }{
		{time.Second, 6 * time.Second},     // fetching the keys takes at most five seconds
		{5 * time.Second, 9 * time.Second}, // the callback takes at most nine
	} {
		synctest.Test(t, func(t *testing.T) {
			p, err := gatehouse.NewProvider("https://op.test", &gatehouse.ProviderConfig{
				Metadata:  &gatehouse.Metadata{AuthorizationEndpoint: "https://op.test/az", TokenEndpoint: "https://op.test/tok", JWKSURI: "https://op.test/keys"},
				Transport: slowProvider{c.takes}, Logger: slog.New(slog.DiscardHandler),
			})
			if err != nil {
				t.Fatal(err)
			}
			rp, err := gatehouse.NewRelyingParty(p, gatehouse.RelyingPartyConfig{Client: gatehouse.Client{ID: "notes"}, RedirectURL: "https://notes.test/cb"})
			if err != nil {
				t.Fatal(err)
			}
			w := httptest.NewRecorder()
			location, err := rp.AuthURL(w, httptest.NewRequest(http.MethodGet, "https://notes.test/", nil), "/")
			if err != nil {
				t.Fatal(err)
			}
			at, err := url.Parse(location)
			if err != nil {
				t.Fatal(err)
			}
			r := httptest.NewRequest(http.MethodGet, "https://notes.test/cb?code=c&state="+at.Query().Get("state"), nil)
			r.AddCookie(w.Result().Cookies()[0])
			begin := time.Now()
			w = httptest.NewRecorder()
			rp.CallbackHandler().ServeHTTP(w, r)
			if w.Code != http.StatusServiceUnavailable || !strings.Contains(w.Body.String(), gatehouse.CodeProviderUnavailable) || w.Header().Get("Retry-After") == "" {
				t.Errorf("status %d, Retry-After %q, %s", w.Code, w.Header().Get("Retry-After"), w.Body)
			}
			if took := time.Since(begin); took != c.answered {
				t.Errorf("answered after %v, want %v", took, c.answered)
			}
			if err := rp.Sessions().Shutdown(t.Context()); err != nil {
				t.Error(err)
			}
		})
	}
}
