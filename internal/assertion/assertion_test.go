package assertion_test

import (
	"context"
	"crypto"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/rsa"
	"encoding/json"
	"errors"
	"io"
	"math/big"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/go-jose/go-jose/v4"

	"example.com/gatehouse/internal/assertion"
)

var claims = assertion.Claims{Client: "notes", Audience: "https://id.example.org", Now: time.Unix(1_790_000_000, 999)}

// keys makes one key of each kind that signs.
func keys(t *testing.T) map[string]crypto.Signer {
	t.Helper()
	all := map[string]crypto.Signer{}
	var err error
	all["RSA"], err = rsa.GenerateKey(rand.Reader, 2048)
	if err != nil {
		t.Fatal(err)
	}
	for name, curve := range map[string]elliptic.Curve{"P-256": elliptic.P256(), "P-384": elliptic.P384(), "P-521": elliptic.P521()} {
		if all[name], err = ecdsa.GenerateKey(curve, rand.Reader); err != nil {
			t.Fatal(err)
		}
	}
	_, all["Ed25519"], err = ed25519.GenerateKey(rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	return all
}

// check reads an assertion as a server does, with another library, and returns
// its jti.
func check(t *testing.T, text, alg, kid string, key any) string {
	t.Helper()
	parsed, err := jose.ParseSignedCompact(text, []jose.SignatureAlgorithm{jose.SignatureAlgorithm(alg)})
	if err != nil {
		t.Fatal(err)
	}
	if h := parsed.Signatures[0].Header; h.KeyID != kid || h.ExtraHeaders["typ"] != "JWT" {
		t.Errorf("header %+v", h)
	}
	body, err := parsed.Verify(key)
	if err != nil {
		t.Fatalf("%s: %v", alg, err)
	}
	var got map[string]any
	if err := json.Unmarshal(body, &got); err != nil {
		t.Fatal(err)
	}
	id, _ := got["jti"].(string)
	delete(got, "jti")
	want := map[string]any{"iss": "notes", "sub": "notes", "aud": "https://id.example.org", "iat": 1_790_000_000.0, "exp": 1_790_000_060.0}
	if len(got) != len(want) {
		t.Errorf("claims %v", got)
	}
	for name, value := range want {
		if got[name] != value {
			t.Errorf("%s is %v, want %v", name, got[name], value)
		}
	}
	return id
}

// RP-T3: every algorithm signs what another library verifies, with a new id at
// each try (RFC 7523 §3, RFC 7518 §3).
func TestAssertions(t *testing.T) {
	all := keys(t)
	for kind, want := range map[string][]string{
		"RSA": {"RS256", "PS256", "RS384", "PS384", "RS512", "PS512"}, "P-256": {"ES256"}, "P-384": {"ES384"}, "P-521": {"ES512"}, "Ed25519": {"EdDSA"},
	} {
		signer := all[kind]
		key, err := assertion.NewKey(signer, "k1")
		if err != nil {
			t.Fatal(err)
		}
		if got := key.Algorithms(); !slices.Equal(got, want) {
			t.Errorf("%s signs with %v, want %v", kind, got, want)
		}
		ids := map[string]bool{}
		for _, alg := range want {
			for range 2 {
				text, err := key.Assert(t.Context(), alg, claims)
				if err != nil {
					t.Fatal(err)
				}
				ids[check(t, text, alg, "k1", signer.Public())] = true
				if strings.HasPrefix(alg, "PS") {
					saltedAsHash(t, text, alg, signer.Public().(*rsa.PublicKey))
				}
			}
		}
		if len(ids) != 2*len(want) {
			t.Errorf("%s: an id was used twice: %v", kind, ids)
		}
		if _, err := key.Assert(t.Context(), "HS256", claims); err == nil {
			t.Errorf("%s signs with HS256", kind)
		}
		if err := key.Wait(t.Context()); err != nil {
			t.Error(err)
		}
	}
}

// saltedAsHash checks the length of the salt, which RFC 7518 §3.5 fixes and
// strict servers check.
func saltedAsHash(t *testing.T, text, alg string, key *rsa.PublicKey) {
	t.Helper()
	hash := map[string]crypto.Hash{"PS256": crypto.SHA256, "PS384": crypto.SHA384, "PS512": crypto.SHA512}[alg]
	parsed, err := jose.ParseSignedCompact(text, []jose.SignatureAlgorithm{jose.SignatureAlgorithm(alg)})
	if err != nil {
		t.Fatal(err)
	}
	h := hash.New()
	h.Write([]byte(text[:strings.LastIndex(text, ".")]))
	if err := rsa.VerifyPSS(key, hash, h.Sum(nil), parsed.Signatures[0].Signature, &rsa.PSSOptions{SaltLength: rsa.PSSSaltLengthEqualsHash}); err != nil {
		t.Errorf("%s: %v", alg, err)
	}
}

// A secret authenticates only with the algorithms that it is long enough for
// (OpenID Connect Core §10.1, RFC 7518 §3.2).
func TestAssertionsWithSecret(t *testing.T) {
	secret := strings.Repeat("s", 48)
	if got := assertion.FittingSecret(secret); !slices.Equal(got, []string{"HS256", "HS384"}) {
		t.Errorf("48 bytes fit %v", got)
	}
	for _, alg := range []string{"HS256", "HS384"} {
		text, err := assertion.WithSecret(alg, secret, claims)
		if err != nil {
			t.Fatal(err)
		}
		check(t, text, alg, "", []byte(secret))
	}
	if _, err := assertion.WithSecret("HS512", secret, claims); !errors.Is(err, assertion.ErrSecret) || strings.Contains(err.Error(), "sss") {
		t.Errorf("HS512 with 48 bytes: %v", err)
	}
	for _, alg := range []string{"RS256", "none", ""} {
		if text, err := assertion.WithSecret(alg, secret, claims); err == nil {
			t.Errorf("%q: %s", alg, text)
		}
	}
}

// signer is what a key service may do.
type signer struct {
	public crypto.PublicKey
	sign   func() ([]byte, error)
}

func (s *signer) Public() crypto.PublicKey { return s.public }

func (s *signer) Sign(io.Reader, []byte, crypto.SignerOpts) ([]byte, error) { return s.sign() }

// value is a signer that is no pointer.
type value struct{ public crypto.PublicKey }

func (v value) Public() crypto.PublicKey { return v.public }

func (v value) Sign(io.Reader, []byte, crypto.SignerOpts) ([]byte, error) { return nil, nil }

// function is a signer of another kind.
type function func() crypto.PublicKey

func (f function) Public() crypto.PublicKey { return f() }

func (f function) Sign(io.Reader, []byte, crypto.SignerOpts) ([]byte, error) { return nil, nil }

// What cannot sign is told before anything has to be signed.
func TestKeysThatCannotSign(t *testing.T) {
	weak, err := rsa.GenerateKey(rand.Reader, 1024)
	if err != nil {
		t.Fatal(err)
	}
	all := keys(t)
	other, err := ecdsa.GenerateKey(elliptic.P224(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	for name, c := range map[string]struct {
		signer crypto.Signer
		want   string
	}{
		"nil":                   {nil, "nil"},
		"nil RSA":               {(*rsa.PrivateKey)(nil), "nil"},
		"nil ECDSA":             {(*ecdsa.PrivateKey)(nil), "nil"},
		"nil of a service":      {(*signer)(nil), "nil"},
		"nil Ed25519":           {ed25519.PrivateKey(nil), "nil"},
		"short Ed25519":         {ed25519.PrivateKey{1}, "panicked"},
		"empty RSA":             {&rsa.PrivateKey{}, "modulus"},
		"empty ECDSA":           {&ecdsa.PrivateKey{}, "curve"},
		"no point":              {&ecdsa.PrivateKey{PublicKey: ecdsa.PublicKey{Curve: elliptic.P256()}}, "point"},
		"no public key":         {&signer{}, "no public key"},
		"public key of no kind": {value{"text"}, "type string"},
		"short public key":      {value{ed25519.PublicKey{1}}, "Ed25519 key of 1 byte"},
		"even exponent":         {value{&rsa.PublicKey{N: new(big.Int).Lsh(big.NewInt(1), 2047), E: 2}}, "exponent"},
		"weak RSA":              {weak, "1024 bits"},
		"nil of a function":     {function(nil), "nil"},
		"half of RSA":           {&rsa.PrivateKey{PublicKey: *all["RSA"].Public().(*rsa.PublicKey)}, "private part"},
		"half of ECDSA":         {&ecdsa.PrivateKey{PublicKey: *all["P-256"].Public().(*ecdsa.PublicKey)}, "private part"},
		"P-224":                 {other, "none of RSA"},
	} {
		if _, err := assertion.NewKey(c.signer, "k1"); err == nil || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%s: %v, want %q", name, err, c.want)
		}
	}
}

// A signer that fails, panics, or signs with another key gives an error that
// says so, and no assertion.
func TestSignersThatFail(t *testing.T) {
	all := keys(t)
	for name, c := range map[string]struct {
		kind, alg string
		sign      func() ([]byte, error)
		want      error
	}{
		"fails":       {"P-256", "ES256", func() ([]byte, error) { return nil, errors.New("no quota") }, assertion.ErrSigner},
		"panics":      {"P-256", "ES256", func() ([]byte, error) { panic("the private key") }, assertion.ErrSigner},
		"no ASN.1":    {"P-256", "ES256", func() ([]byte, error) { return make([]byte, 64), nil }, assertion.ErrSigner},
		"nothing":     {"RSA", "RS256", func() ([]byte, error) { return nil, nil }, assertion.ErrSignature},
		"other bytes": {"RSA", "PS256", func() ([]byte, error) { return make([]byte, 256), nil }, assertion.ErrSignature},
		"short":       {"Ed25519", "EdDSA", func() ([]byte, error) { return make([]byte, 3), nil }, assertion.ErrSignature},
		"other curve": {"P-256", "ES256", func() ([]byte, error) {
			return all["P-521"].Sign(rand.Reader, make([]byte, 64), crypto.SHA512)
		}, assertion.ErrSigner},
		"other key": {"P-384", "ES384", func() ([]byte, error) {
			return all["P-256"].Sign(rand.Reader, make([]byte, 32), crypto.SHA256)
		}, assertion.ErrSignature},
	} {
		key, err := assertion.NewKey(&signer{all[c.kind].Public(), c.sign}, "k1")
		if err != nil {
			t.Fatal(err)
		}
		text, err := key.Assert(t.Context(), c.alg, claims)
		if text != "" || !errors.Is(err, c.want) || strings.Contains(err.Error(), "private key") {
			t.Errorf("%s: %q, %v, want %v", name, text, err, c.want)
		}
	}
}

// A signer that hangs holds a caller for 3 seconds, and 64 goroutines however
// many ask.
func TestSignerThatHangs(t *testing.T) {
	public := keys(t)["P-256"].Public()
	synctest.Test(t, func(t *testing.T) {
		var inside atomic.Int32
		open := make(chan struct{})
		key, err := assertion.NewKey(&signer{public, func() ([]byte, error) {
			inside.Add(1)
			<-open
			return nil, errors.New("too late")
		}}, "k1")
		if err != nil {
			t.Fatal(err)
		}
		begin := time.Now()
		var failed atomic.Int32
		for range 200 {
			go func() {
				if _, err := key.Assert(context.Background(), "ES256", claims); errors.Is(err, assertion.ErrSigner) && errors.Is(err, context.DeadlineExceeded) {
					failed.Add(1)
				}
			}()
		}
		time.Sleep(3*time.Second + time.Millisecond)
		synctest.Wait()
		if failed.Load() != 200 || inside.Load() != 64 || time.Since(begin) > 4*time.Second {
			t.Errorf("%d callers were told, %d are inside of the signer", failed.Load(), inside.Load())
		}
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		if err := key.Wait(ctx); !errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("Wait does not wait for the signer: %v", err)
		}
		close(open)
		if err := key.Wait(t.Context()); err != nil {
			t.Error(err)
		}
		short, end := context.WithCancel(t.Context())
		end()
		if _, err := key.Assert(short, "ES256", claims); !errors.Is(err, context.Canceled) || inside.Load() != 64 {
			t.Errorf("a caller that is gone: %v, %d calls", err, inside.Load())
		}
	})
}
