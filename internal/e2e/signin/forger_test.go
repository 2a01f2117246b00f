package signin_test

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
	"example.com/gatehouse/internal/e2e/world"
)

// forger is a site whose provider's token endpoint returns ID Tokens made by
// the test, and whose key set is the test's. Sign-ins skip the provider's
// pages: a code stands for a nonce.
type forger struct {
	*world.Site
	k1       jose.JSONWebKey // RSA, published as k1
	stranger *world.Signer   // P-256, published nowhere

	mu     sync.Mutex
	nonces map[string]string // by code
	make   func(nonce string) string
	keys   string // the key set's body, "" when the endpoint is down
	visits int    // of the listener
}

func newForger(t testing.TB, change ...func(*world.SiteOptions)) *forger {
	t.Helper()
	f := &forger{nonces: map[string]string{}, stranger: world.NewSigner(t)}
	f.Site = world.NewSite(t, append([]func(*world.SiteOptions){func(o *world.SiteOptions) {
		o.Party = func(c *gatehouse.RelyingPartyConfig) { c.SkipUserInfo = true }
	}}, change...)...)
	f.k1 = world.Keys()[0]
	f.k1.KeyID = "k1"
	f.setKeys(f.jwk(f.k1))
	f.SetWire(f.answer)
	return f
}

// listen starts a listener of the stranger that offers the stranger's key, and
// returns its address.
func (f *forger) listen() string {
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		f.mu.Lock()
		f.visits++
		f.mu.Unlock()
		_, _ = io.WriteString(w, `{"keys":[`+f.jwk(f.stranger.Key)+`]}`)
	}))
	f.T.Cleanup(server.Close)
	return server.URL
}

// jwk is the public half of a key as an entry of a key set.
func (f *forger) jwk(k jose.JSONWebKey) string { return world.JSON(f.T, k.Public()) }

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
	case at == f.Endpoint("jwks_uri") && keys == "":
		return world.Answer(r, http.StatusInternalServerError, ""), nil
	case at == f.Endpoint("jwks_uri"):
		return world.Answer(r, http.StatusOK, keys), nil
	case at != f.Endpoint("token_endpoint"):
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
		f.Mint(name, fmt.Sprint(answer[name]))
	}
	return world.Answer(r, http.StatusOK, world.JSON(f.T, answer)), nil
}

// gives sets the ID Token of the next sign-ins.
func (f *forger) gives(remake func(nonce string) string) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.make = remake
}

// callback begins a sign-in and returns the address that finishes it.
func (f *forger) callback(b *world.Visitor) string {
	f.T.Helper()
	q := world.QueryOf(f.T, b.Get("/auth/login?return_to=/notes/").Location())
	f.mu.Lock()
	code := fmt.Sprintf("code-number-%06d", len(f.nonces))
	f.nonces[code] = q.Get("nonce")
	f.mu.Unlock()
	return "/auth/callback?" + url.Values{"code": {code}, "state": {q.Get("state")}, "iss": {world.SiteIssuer}}.Encode()
}

// claims are those of a good ID Token, T{} in the table of cases, with changes
// given as pairs of name and value; nil removes one.
func (f *forger) claims(nonce string, change ...any) map[string]any {
	now := f.Now()
	c := map[string]any{"iss": world.SiteIssuer, "sub": "ana-1", "aud": "notes", "exp": now.Add(5 * time.Minute).Unix(), "iat": now.Unix(), "nonce": nonce}
	for i := 0; i+1 < len(change); i += 2 {
		name, ok := change[i].(string)
		if !ok {
			f.T.Fatalf("%v is not the name of a claim", change[i])
		}
		if c[name] = change[i+1]; change[i+1] == nil {
			delete(c, name)
		}
	}
	return c
}

// sign makes a compact token with any key.
func (f *forger) sign(alg jose.SignatureAlgorithm, key any, header map[string]any, claims map[string]any) string {
	f.T.Helper()
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
	f.Must(err)
	signed, err := s.Sign([]byte(world.JSON(f.T, claims)))
	f.Must(err)
	raw, err := signed.CompactSerialize()
	f.Must(err)
	return raw
}

// good is a token signed by k1 with some claims changed.
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

func (f *forger) fetches() int { return len(f.CallsTo("jwks_uri")) }

// accept checks that a sign-in with the token ends in a session.
func (f *forger) accept(remake func(nonce string) string) {
	f.T.Helper()
	f.gives(remake)
	b := f.Visitor("ana")
	if a := b.Get(f.callback(b)); a.Code != http.StatusSeeOther || a.Location() != "/notes/" {
		f.T.Fatalf("a good token was refused: %v, code %q", a, f.LastCode())
	}
	b.WantServed(b.Get("/notes/"))
}

// refuse checks CB-NO+1: 400, one token request, no session, the tokens
// dropped, no request anywhere else, and at most the given number of key set
// fetches. An existing session is untouched.
func (f *forger) refuse(remake func(nonce string) string, code string, fetches int) {
	f.T.Helper()
	f.gives(f.good())
	in := f.Visitor("ana")
	if a := in.Get(f.callback(in)); a.Code != http.StatusSeeOther {
		f.T.Fatalf("a good token was refused: %v, code %q", a, f.LastCode())
	}
	for _, b := range []*world.Visitor{f.Visitor("ana"), in} {
		cookie := b.SessionCookie()
		f.gives(remake)
		callback := f.callback(b)
		f.ShutdownAll()
		asked, had, revoked := len(f.CallsTo("token_endpoint")), f.fetches(), len(f.RevokedTokens())
		a := b.Get(callback)
		f.WantRefusal(a, http.StatusBadRequest)
		if got := f.LastCode(); got != code {
			f.T.Errorf("code %q, want %q", got, code)
		}
		if n := len(f.CallsTo("token_endpoint")) - asked; n != 1 {
			f.T.Errorf("%d token requests, want 1", n)
		}
		if n := f.fetches() - had; n > fetches {
			f.T.Errorf("%d fetches of the key set, want at most %d", n, fetches)
		}
		if b.SessionCookie() != cookie {
			f.T.Error("the session cookie changed")
		}
		f.ShutdownAll()
		if b != in {
			b.WantOut(b.Get("/notes/"))
			if n := len(f.RevokedTokens()) - revoked; n != 1 {
				f.T.Errorf("%d tokens revoked, want the one that nobody holds", n)
			}
		}
	}
	in.WantServed(in.Get("/notes/"))
	f.wantNoVisits()
}

// wantNoVisits checks that only the provider was asked.
func (f *forger) wantNoVisits() {
	f.T.Helper()
	f.mu.Lock()
	visits := f.visits
	f.mu.Unlock()
	for _, c := range f.Calls() {
		if !strings.HasPrefix(c.Address, "https://op.test/") {
			f.T.Errorf("a request went to %s", c.Address)
		}
	}
	if visits != 0 {
		f.T.Errorf("%d requests at the stranger's listener", visits)
	}
}
