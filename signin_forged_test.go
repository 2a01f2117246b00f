package gatehouse_test

import (
	"encoding/base64"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/go-jose/go-jose/v4"

	"example.com/gatehouse"
)

// forger is a site whose provider's token endpoint gives ID Tokens of the test's
// making, and whose key set is the test's. Sign-ins skip the provider's pages: a
// code stands for a nonce.
type forger struct {
	*site
	k1       jose.JSONWebKey // RSA, published as k1
	stranger *signer         // P-256, published nowhere
	listener *httptest.Server

	mu     sync.Mutex
	nonces map[string]string // by code
	make   func(nonce string) string
	keys   string // the key set's body, "" when the endpoint is down
	visits int    // of the listener
}

func newForger(t testing.TB, change ...func(*siteOptions)) *forger {
	t.Helper()
	f := &forger{nonces: map[string]string{}, stranger: newSigner(t)}
	f.site = newSite(t, append([]func(*siteOptions){func(o *siteOptions) {
		o.party = func(c *gatehouse.RelyingPartyConfig) { c.SkipUserInfo = true }
	}}, change...)...)
	f.k1 = providerKeys()[0]
	f.k1.KeyID = "k1"
	f.setKeys(f.jwk(f.k1))
	f.listener = httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		f.mu.Lock()
		f.visits++
		f.mu.Unlock()
		_, _ = io.WriteString(w, `{"keys":[`+f.jwk(f.stranger.key)+`]}`)
	}))
	t.Cleanup(f.listener.Close)
	f.setWire(f.answer)
	return f
}

// jwk is the public half of a key as an entry of a set.
func (f *forger) jwk(k jose.JSONWebKey) string { return toJSON(f.t, k.Public()) }

func (f *forger) setKeys(entries ...string) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.keys = `{"keys":[` + strings.Join(entries, ",") + `]}`
}

func (f *forger) keysDown() {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.keys = ""
}

// answer is the wire to the provider.
func (f *forger) answer(r *http.Request, next func(*http.Request) *http.Response) (*http.Response, error) {
	at := r.URL.Scheme + "://" + r.URL.Host + r.URL.Path
	f.mu.Lock()
	keys := f.keys
	f.mu.Unlock()
	switch {
	case at == f.endpoint["jwks_uri"] && keys == "":
		return response(r, http.StatusInternalServerError, ""), nil
	case at == f.endpoint["jwks_uri"]:
		return response(r, http.StatusOK, keys), nil
	case at != f.endpoint["token_endpoint"]:
		return next(r), nil
	}
	if err := r.ParseForm(); err != nil {
		return nil, err
	}
	code := r.PostForm.Get("code")
	f.mu.Lock()
	made := f.make(f.nonces[code])
	f.mu.Unlock()
	answer := map[string]any{"access_token": "access-of-" + code, "refresh_token": "refresh-of-" + code, "token_type": "Bearer", "expires_in": 300, "id_token": made}
	for _, name := range []string{"access_token", "refresh_token", "id_token"} {
		f.mint(name, fmt.Sprint(answer[name]))
	}
	return response(r, http.StatusOK, toJSON(f.t, answer)), nil
}

// gives says what ID Token the next sign-ins get.
func (f *forger) gives(remake func(nonce string) string) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.make = remake
}

// callback begins a sign-in and returns the address that finishes it.
func (f *forger) callback(b *visitor) string {
	f.t.Helper()
	q := queryOf(f.t, b.get("/auth/login?return_to=/notes/").location())
	f.mu.Lock()
	code := fmt.Sprintf("code-number-%06d", len(f.nonces))
	f.nonces[code] = q.Get("nonce")
	f.mu.Unlock()
	return "/auth/callback?" + url.Values{"code": {code}, "state": {q.Get("state")}, "iss": {siteIssuer}}.Encode()
}

// claims are those of a good ID Token, T{} in the table of cases, with changes:
// pairs of a name and a value, nil for none.
func (f *forger) claims(nonce string, change ...any) map[string]any {
	now := f.Now()
	c := map[string]any{"iss": siteIssuer, "sub": "ana-1", "aud": "notes", "exp": now.Add(5 * time.Minute).Unix(), "iat": now.Unix(), "nonce": nonce}
	for i := 0; i+1 < len(change); i += 2 {
		name, ok := change[i].(string)
		if !ok {
			f.t.Fatalf("%v is no name of a claim", change[i])
		}
		if c[name] = change[i+1]; change[i+1] == nil {
			delete(c, name)
		}
	}
	return c
}

// sign makes a compact token by any key.
func (f *forger) sign(alg jose.SignatureAlgorithm, key any, header map[string]any, claims map[string]any) string {
	f.t.Helper()
	o := &jose.SignerOptions{}
	for name, v := range map[string]any{"kid": "k1", "typ": "JWT"} {
		if _, ok := header[name]; !ok {
			o = o.WithHeader(jose.HeaderKey(name), v)
		}
	}
	for name, v := range header {
		if v != nil {
			o = o.WithHeader(jose.HeaderKey(name), v)
		}
	}
	s, err := jose.NewSigner(jose.SigningKey{Algorithm: alg, Key: key}, o)
	f.must(err)
	signed, err := s.Sign([]byte(toJSON(f.t, claims)))
	f.must(err)
	raw, err := signed.CompactSerialize()
	f.must(err)
	return raw
}

// good is a token by k1 with changed claims.
func (f *forger) good(change ...any) func(nonce string) string {
	return func(nonce string) string { return f.sign(jose.RS256, f.k1.Key, nil, f.claims(nonce, change...)) }
}

// raw joins parts without signing.
func rawToken(header string, claims map[string]any, signature string) string {
	payload, err := json.Marshal(claims)
	if err != nil {
		panic(err)
	}
	enc := base64.RawURLEncoding.EncodeToString
	return enc([]byte(header)) + "." + enc(payload) + "." + signature
}

func (f *forger) fetches() int { return len(f.callsTo("jwks_uri")) }

// accept checks that a sign-in with the token ends in a session.
func (f *forger) accept(remake func(nonce string) string) {
	f.t.Helper()
	f.gives(remake)
	b := f.visitor("ana")
	if a := b.get(f.callback(b)); a.Code != http.StatusSeeOther || a.location() != "/notes/" {
		f.t.Fatalf("a good token was refused: %v, code %q", a, f.lastCode())
	}
	b.wantServed(b.get("/notes/"))
}

// refuse checks CB-NO+1: 400, one token request, no session, the tokens dropped,
// no request anywhere else, and at most so many fetches of the key set. A
// session that is there already is untouched.
func (f *forger) refuse(remake func(nonce string) string, code string, fetches int) {
	f.t.Helper()
	f.gives(f.good())
	in := f.visitor("ana")
	if a := in.get(f.callback(in)); a.Code != http.StatusSeeOther {
		f.t.Fatalf("a good token was refused: %v, code %q", a, f.lastCode())
	}
	for _, b := range []*visitor{f.visitor("ana"), in} {
		cookie := b.sessionCookie()
		f.gives(remake)
		callback := f.callback(b)
		f.shutdownAll()
		asked, had, revoked := len(f.callsTo("token_endpoint")), f.fetches(), len(f.revokedTokens())
		a := b.get(callback)
		f.wantRefusal(a, http.StatusBadRequest)
		if got := f.lastCode(); got != code {
			f.t.Errorf("code %q, want %q", got, code)
		}
		if n := len(f.callsTo("token_endpoint")) - asked; n != 1 {
			f.t.Errorf("%d token requests, want 1", n)
		}
		if n := f.fetches() - had; n > fetches {
			f.t.Errorf("%d fetches of the key set, want at most %d", n, fetches)
		}
		if b.sessionCookie() != cookie {
			f.t.Error("the session cookie changed")
		}
		f.shutdownAll()
		if b != in {
			b.wantOut(b.get("/notes/"))
			if n := len(f.revokedTokens()) - revoked; n != 1 {
				f.t.Errorf("%d tokens revoked, want the one that nobody holds", n)
			}
		}
	}
	in.wantServed(in.get("/notes/"))
	f.wantNoVisits()
}

// wantNoVisits checks that nobody but the provider was asked.
func (f *forger) wantNoVisits() {
	f.t.Helper()
	f.mu.Lock()
	visits := f.visits
	f.mu.Unlock()
	f.site.mu.Lock()
	defer f.site.mu.Unlock()
	for _, c := range f.calls {
		if !strings.HasPrefix(c.path, "https://op.test/") {
			f.t.Errorf("a request went to %s", c.path)
		}
	}
	if visits != 0 {
		f.t.Errorf("%d requests at the stranger's listener", visits)
	}
}
