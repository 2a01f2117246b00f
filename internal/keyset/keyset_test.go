package keyset_test

import (
	"context"
	"crypto"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/rsa"
	"crypto/x509"
	"encoding/base64"
	"encoding/json"
	"encoding/pem"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"example.com/gatehouse/internal/compact"
	"example.com/gatehouse/internal/keyset"
	"github.com/go-jose/go-jose/v4"
)

// All tests share these keys, because making RSA keys is slow under the race
// detector.
var keys = sync.OnceValue(func() map[string]crypto.Signer {
	m := map[string]crypto.Signer{}
	for _, name := range []string{"rsa1", "rsa2", "rsa3"} {
		m[name] = must(rsa.GenerateKey(rand.Reader, 2048))
	}
	m["p256"] = must(ecdsa.GenerateKey(elliptic.P256(), rand.Reader))
	m["p384"] = must(ecdsa.GenerateKey(elliptic.P384(), rand.Reader))
	m["p521"] = must(ecdsa.GenerateKey(elliptic.P521(), rand.Reader))
	_, ed, err := ed25519.GenerateKey(rand.Reader)
	m["ed"] = must(ed, err)
	return m
})

func must[T any](v T, err error) T {
	if err != nil {
		panic(err)
	}
	return v
}

const payload = `{"sub":"u1"}`

// sign makes a token. An empty kid leaves it out. Extra pairs go into the
// header.
func sign(t testing.TB, alg jose.SignatureAlgorithm, k any, kid string, extra ...any) string {
	t.Helper()
	opts := &jose.SignerOptions{}
	if kid != "" {
		opts.WithHeader("kid", kid)
	}
	for i := 0; i < len(extra); i += 2 {
		opts.WithHeader(jose.HeaderKey(extra[i].(string)), extra[i+1])
	}
	s, err := jose.NewSigner(jose.SigningKey{Algorithm: alg, Key: k}, opts)
	if err != nil {
		t.Fatal(err)
	}
	jws, err := s.Sign([]byte(payload))
	if err != nil {
		t.Fatal(err)
	}
	return must(jws.CompactSerialize())
}

func rs256(t testing.TB, name, kid string) string {
	t.Helper()
	return sign(t, jose.RS256, keys()[name], kid)
}

// jwk encodes a key's public half with some members changed; nil removes one.
func jwk(name, kid string, change ...any) string {
	data := must(json.Marshal(jose.JSONWebKey{Key: keys()[name].Public(), KeyID: kid, Use: "sig"}))
	m := map[string]any{}
	if err := json.Unmarshal(data, &m); err != nil {
		panic(err)
	}
	for i := 0; i < len(change); i += 2 {
		if change[i+1] == nil {
			delete(m, change[i].(string))
		} else {
			m[change[i].(string)] = change[i+1]
		}
	}
	return string(must(json.Marshal(m)))
}

// private encodes a whole key, which no issuer should publish.
func private(name, kid string) string {
	return string(must(json.Marshal(jose.JSONWebKey{Key: keys()[name], KeyID: kid, Use: "sig"})))
}

func b64(s string) string { return base64.RawURLEncoding.EncodeToString([]byte(s)) }

func jwks(entries ...string) string { return `{"keys":[` + strings.Join(entries, ",") + `]}` }

// clock is a clock that moves only when told to.
type clock struct {
	mu  sync.Mutex
	now time.Time
}

func (c *clock) Now() time.Time {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.now
}

func (c *clock) Add(d time.Duration) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.now = c.now.Add(d)
}

// issuer publishes keys and counts the requests for them.
type issuer struct {
	*httptest.Server
	clock *clock

	mu      sync.Mutex
	status  int
	body    string
	header  http.Header
	fetches int
	gate    chan struct{} // if not nil, answers wait for it
	asked   chan struct{} // receives one value for each request
}

func newIssuer(t *testing.T, body string) (*issuer, *keyset.Set) {
	t.Helper()
	is := &issuer{status: 200, body: body, clock: &clock{now: time.Unix(1_700_000_000, 0)}, asked: make(chan struct{}, 1000)}
	is.Server = httptest.NewServer(is)
	s := keyset.New(keyset.Config{
		URL: func(context.Context) (string, error) { return is.URL, nil },
		Now: is.clock.Now,
	})
	t.Cleanup(func() {
		if err := s.Wait(context.Background()); err != nil {
			t.Error(err)
		}
		is.Close()
	})
	return is, s
}

func (is *issuer) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	is.mu.Lock()
	is.fetches++
	gate, status, body, header := is.gate, is.status, is.body, is.header
	is.mu.Unlock()
	is.asked <- struct{}{}
	if gate != nil {
		select {
		case <-gate:
		case <-r.Context().Done():
		}
	}
	for k, v := range header {
		w.Header()[k] = v
	}
	w.WriteHeader(status)
	io.WriteString(w, body)
}

func (is *issuer) set(status int, body string) {
	is.mu.Lock()
	defer is.mu.Unlock()
	is.status, is.body = status, body
}

// count returns the number of fetches since the last call.
func (is *issuer) count() int {
	is.mu.Lock()
	defer is.mu.Unlock()
	n := is.fetches
	is.fetches = 0
	return n
}

// verify parses a token, which involves no key, and verifies it.
func verify(ctx context.Context, s *keyset.Set, raw string) ([]byte, error) {
	parsed, err := compact.Parse(raw, 16<<10)
	if err != nil {
		return nil, fmt.Errorf("%w: %w", keyset.ErrMalformed, err)
	}
	return s.Verify(ctx, parsed)
}

func want(t *testing.T, s *keyset.Set, token string, target error) {
	t.Helper()
	got, err := verify(t.Context(), s, token)
	if !errors.Is(err, target) {
		t.Errorf("error %v, want %v", err, target)
	} else if target == nil && string(got) != payload || target != nil && got != nil {
		t.Errorf("payload %q with error %v", got, err)
	}
}

func wantUnavailable(t *testing.T, s *keyset.Set, token string, retryAfter time.Duration) *keyset.UnavailableError {
	t.Helper()
	_, err := verify(t.Context(), s, token)
	var ue *keyset.UnavailableError
	if !errors.As(err, &ue) || ue.RetryAfter != retryAfter {
		t.Fatalf("error %v (%+v), want unavailable for %v", err, ue, retryAfter)
	}
	return ue
}

func wantCount(t *testing.T, is *issuer, n int) {
	t.Helper()
	if got := is.count(); got != n {
		t.Fatalf("%d fetches, want %d", got, n)
	}
}

func TestAlgorithms(t *testing.T) {
	entries := make([]string, 0, len(keys()))
	for name := range keys() {
		entries = append(entries, jwk(name, name))
	}
	is, s := newIssuer(t, jwks(entries...))
	for alg, name := range map[jose.SignatureAlgorithm]string{
		jose.RS256: "rsa1", jose.RS384: "rsa1", jose.RS512: "rsa2", jose.PS256: "rsa1", jose.PS384: "rsa1", jose.PS512: "rsa3",
		jose.ES256: "p256", jose.ES384: "p384", jose.ES512: "p521", jose.EdDSA: "ed",
	} {
		token := sign(t, alg, keys()[name], name)
		want(t, s, token, nil)
		want(t, s, sign(t, alg, keys()[name], ""), nil) // no kid
		// RP-I13: the last bit that counts, whatever the algorithm
		flip := []byte(token)
		at := len(flip) - 10
		flip[at] = map[bool]byte{true: 'B', false: 'A'}[flip[at] == 'A']
		want(t, s, string(flip), keyset.ErrBadSignature)
	}
	wantCount(t, is, 1)
}

// The two numbers of an ECDSA signature have a fixed length (RFC 7518 §3.4),
// whatever their first bytes are. Another length is no signature.
func TestECDSANumbers(t *testing.T) {
	_, s := newIssuer(t, jwks(jwk("p256", "k1"), jwk("p521", "k2")))
	signer := must(jose.NewSigner(jose.SigningKey{Algorithm: jose.ES256, Key: jose.JSONWebKey{Key: keys()["p256"], KeyID: "k1"}}, nil))
	seen := map[string]bool{} // first bytes of r and s: zero, low, high
	kind := func(n []byte) string {
		switch {
		case n[0] == 0:
			return "zero"
		case n[0] < 0x80:
			return "low"
		}
		return "high"
	}
	for n := 0; len(seen) < 6; n++ {
		if n == 20_000 {
			t.Fatalf("no signature of each kind: %v", seen)
		}
		raw := must(must(signer.Sign([]byte(payload))).CompactSerialize())
		signature := must(base64.RawURLEncoding.DecodeString(raw[strings.LastIndexByte(raw, '.')+1:]))
		r, q := "r "+kind(signature[:32]), "s "+kind(signature[32:])
		if seen[r] && seen[q] {
			continue
		}
		seen[r], seen[q] = true, true
		want(t, s, raw, nil)
	}
	for alg, name := range map[jose.SignatureAlgorithm]string{jose.ES256: "p256", jose.ES512: "p521"} {
		good := sign(t, alg, keys()[name], map[string]string{"p256": "k1", "p521": "k2"}[name])
		cut := strings.LastIndexByte(good, '.') + 1
		signature := must(base64.RawURLEncoding.DecodeString(good[cut:]))
		half := len(signature) / 2
		for what, other := range map[string][]byte{
			"a byte less": signature[:len(signature)-1], "a byte more": append(slices.Clone(signature), 0), "one number": signature[:half],
			"zeros": make([]byte, len(signature)), "zero r": append(make([]byte, half), signature[half:]...), "a single byte": {1},
		} {
			if _, err := verify(t.Context(), s, good[:cut]+base64.RawURLEncoding.EncodeToString(other)); err != keyset.ErrBadSignature {
				t.Errorf("%s, %s: error %v", alg, what, err)
			}
		}
	}
}

// Asymmetric knows exactly the algorithms that TestAlgorithms verifies with, by
// their exact names.
func TestAsymmetric(t *testing.T) {
	for _, alg := range []string{"RS256", "RS384", "RS512", "PS256", "PS384", "PS512", "ES256", "ES384", "ES512", "EdDSA"} {
		if !keyset.Asymmetric(alg) {
			t.Errorf("%s is not accepted", alg)
		}
	}
	for _, alg := range []string{"", "none", "None", "HS256", "HS384", "HS512", "rs256", "ES256K", "EDDSA", "RS1", "RSA-OAEP", "dir"} {
		if keyset.Asymmetric(alg) {
			t.Errorf("%q is accepted", alg)
		}
	}
}

func TestJW1_SymmetricAndNone(t *testing.T) {
	is, s := newIssuer(t, jwks(jwk("rsa1", "k1"), `{"kty":"oct","kid":"k1","k":"`+strings.Repeat("A", 43)+`"}`))
	want(t, s, rs256(t, "rsa1", "k1"), nil)
	wantCount(t, is, 1)
	der := must(x509.MarshalPKIXPublicKey(keys()["rsa1"].Public()))
	secrets := map[string][]byte{
		"pem": pem.EncodeToMemory(&pem.Block{Type: "PUBLIC KEY", Bytes: der}),
		"der": der, "jwk": []byte(jwk("rsa1", "k1")), "oct": make([]byte, 32),
	}
	for name, secret := range secrets {
		t.Run(name, func(t *testing.T) { want(t, s, sign(t, jose.HS256, secret, "k1"), keyset.ErrMalformed) })
	}
	for _, alg := range []string{"none", "None", "nOnE", "", "RS1", "rs256", "ES256K", "RSA-OAEP"} {
		head, body := b64(fmt.Sprintf(`{"alg":%q,"kid":"k1"}`, alg)), b64(payload)
		for _, sig := range []string{"", "AAAA"} {
			want(t, s, head+"."+body+"."+sig, keyset.ErrMalformed)
		}
	}
	wantCount(t, is, 0)
}

func TestJW2_HeaderKeysAreNotTrusted(t *testing.T) {
	is, s := newIssuer(t, jwks(jwk("rsa1", "k1")))
	var visits int
	evil := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		visits++
		io.WriteString(w, jwks(jwk("rsa2", "k1")))
	}))
	defer evil.Close()
	own := jose.JSONWebKey{Key: keys()["rsa2"].Public(), KeyID: "k1"}
	for name, header := range map[string]any{"jwk": own, "jku": evil.URL, "x5u": evil.URL, "x5c": []string{"MIIB"}} {
		t.Run(name, func(t *testing.T) {
			_, err := verify(t.Context(), s, sign(t, jose.RS256, keys()["rsa2"], "k1", name, header))
			if !errors.Is(err, keyset.ErrBadSignature) && !errors.Is(err, keyset.ErrMalformed) {
				t.Errorf("error %v", err)
			}
		})
	}
	if visits != 0 || is.count() > 1 {
		t.Errorf("%d visits to the stranger's server", visits)
	}
}

func TestMalformed(t *testing.T) {
	is, s := newIssuer(t, jwks(jwk("rsa1", "k1")))
	good := rs256(t, "rsa1", "k1")
	part := strings.Split(good, ".")
	tests := map[string]string{
		"JW16: dots":    strings.Repeat(".", 1<<20),
		"JW16: letters": strings.Repeat("A", 1<<20),
		"JW16: header":  strings.Repeat("A", 300<<10) + "." + part[1] + "." + part[2],
		"JW16: two":     part[0] + "." + part[1],
		"I14: five":     good + ".a.b",
		"empty":         "",
		"M4: space":     part[0] + " ." + part[1] + "." + part[2],
		"M4: JSON":      fmt.Sprintf(`{"protected":%q,"payload":%q,"signature":%q}`, part[0], part[1], part[2]),
		"I14: base64":   part[0] + "." + part[1] + ".a",
		"I14: bits":     good[:len(good)-1] + other(good[len(good)-1]), // left over after the last byte
		"private jwk":   sign(t, jose.RS256, keys()["rsa1"], "k1", "jwk", json.RawMessage(private("p256", "k1"))),
		"crit":          sign(t, jose.RS256, keys()["rsa1"], "k1", "crit", []string{"exp"}, "exp", 1),
		"b64":           sign(t, jose.RS256, keys()["rsa1"], "k1", "b64", true),
	}
	for name, raw := range tests {
		t.Run(name, func(t *testing.T) { want(t, s, raw, keyset.ErrMalformed) })
	}
	for name, says := range map[string]string{"crit": "crit or b64", "b64": "crit or b64", "private jwk": "member of its header", "I14: bits": "not base64url"} {
		if _, err := verify(t.Context(), s, tests[name]); err == nil || !strings.Contains(err.Error(), says) {
			t.Errorf("%s: %v does not say %q", name, err, says)
		}
	}
	wantCount(t, is, 0)
}

// other returns the next character of base64url, which has the same first bits if
// c is the last of a signature of 256 bytes.
func other(c byte) string {
	const alphabet = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_"
	at := strings.IndexByte(alphabet, c)
	return alphabet[at+1 : at+2]
}

func TestStatic(t *testing.T) {
	small := must(rsa.GenerateKey(rand.Reader, 1024))
	s := keyset.New(keyset.Config{Static: []jose.JSONWebKey{
		{}, {Key: &rsa.PublicKey{}}, {Key: []byte("a secret of more than 32 bytes, really"), KeyID: "oct"},
		{Key: &small.PublicKey, KeyID: "small"},
		{Key: keys()["rsa2"].Public(), KeyID: "enc", Use: "enc"},
		{Key: keys()["rsa1"], KeyID: "k1"}, // private: its public half verifies
	}})
	want(t, s, rs256(t, "rsa1", "k1"), nil)
	want(t, s, rs256(t, "rsa1", ""), nil)
	want(t, s, rs256(t, "rsa2", "k1"), keyset.ErrBadSignature)
	want(t, s, rs256(t, "rsa2", "enc"), keyset.ErrUnknownKey)
	want(t, s, sign(t, jose.RS256, small, "small"), keyset.ErrUnknownKey)
	var skipped []int
	for _, k := range keyset.Unusable([]jose.JSONWebKey{{}, {Key: keys()["rsa1"].Public()}, {Key: keys()["rsa2"].Public(), KeyID: "enc", Use: "enc"}}) {
		skipped = append(skipped, k.Place)
	}
	if len(skipped) != 2 || skipped[0] != 0 || skipped[1] != 2 {
		t.Errorf("skipped %v", skipped)
	}
	nameless := keyset.New(keyset.Config{Static: []jose.JSONWebKey{{Key: keys()["rsa2"].Public(), KeyID: "k2"}, {Key: keys()["rsa1"].Public()}}})
	want(t, nameless, rs256(t, "rsa1", "any"), nil) // RFC 7517 §4.5
	want(t, nameless, rs256(t, "rsa3", "any"), keyset.ErrBadSignature)
	want(t, keyset.New(keyset.Config{Static: []jose.JSONWebKey{}}), rs256(t, "rsa1", "k1"), keyset.ErrUnknownKey)
}

func FuzzVerify(f *testing.F) {
	s := keyset.New(keyset.Config{Static: []jose.JSONWebKey{{Key: keys()["p256"].Public(), KeyID: "k1"}}})
	good := sign(f, jose.ES256, keys()["p256"], "k1")
	f.Add(good)
	f.Add(rs256(f, "rsa1", "k1"))
	f.Add("eyJhbGciOiJFUzI1NiIsImtpZCI6ImsxIn0.e30." + strings.Repeat("A", 86)) // r = s = 0
	f.Add("eyJhbGciOiJub25lIn0.e30.")
	f.Fuzz(func(t *testing.T, raw string) {
		got, err := verify(t.Context(), s, raw)
		if err == nil && string(got) != payload {
			t.Fatalf("%q verifies with the payload %q", raw, got)
		}
	})
}

// The hot path compared with its lower bound, go-jose alone.
func BenchmarkVerify(b *testing.B) {
	s := keyset.New(keyset.Config{Static: []jose.JSONWebKey{{Key: keys()["rsa1"].Public(), KeyID: "k1"}}})
	token := rs256(b, "rsa1", "k1")
	b.Run("set", func(b *testing.B) {
		b.ReportAllocs()
		for b.Loop() {
			if _, err := verify(b.Context(), s, token); err != nil {
				b.Fatal(err)
			}
		}
	})
	b.Run("go-jose", func(b *testing.B) {
		b.ReportAllocs()
		for b.Loop() {
			jws, err := jose.ParseSignedCompact(token, []jose.SignatureAlgorithm{jose.RS256})
			if err != nil {
				b.Fatal(err)
			}
			if _, err := jws.Verify(keys()["rsa1"].Public()); err != nil {
				b.Fatal(err)
			}
		}
	})
}
