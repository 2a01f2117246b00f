package api_test

import (
	"crypto"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/hmac"
	"crypto/rand"
	"crypto/rsa"
	"crypto/sha256"
	"encoding/base64"
	"fmt"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"testing"

	"example.com/gatehouse"
	"example.com/gatehouse/internal/e2e/world"
)

// forger makes tokens from texts, for an API that has accepted a good one.
type forger struct {
	*world.World
	t     *testing.T
	api   *gatehouse.ResourceServer
	h     http.Handler    // behind RequireToken of api
	rsa   *rsa.PrivateKey // published as rsaID
	ec    *ecdsa.PrivateKey
	ed    ed25519.PrivateKey
	rsaID string
	ecID  string
	edID  string
}

// signs makes the signature over header and payload.
type signs func(input string) []byte

func newForger(t *testing.T, change ...func(*gatehouse.ResourceServerConfig)) *forger {
	t.Helper()
	w := newWorld(t)
	f := &forger{World: w, t: t}
	f.restart(change...)
	for _, k := range world.Keys() {
		switch key := k.Key.(type) {
		case *rsa.PrivateKey:
			f.rsa, f.rsaID = key, k.KeyID
		case *ecdsa.PrivateKey:
			f.ec, f.ecID = key, k.KeyID
		case ed25519.PrivateKey:
			f.ed, f.edID = key, k.KeyID
		}
	}
	f.wantGood(f.good())
	return f
}

// restart makes another API, which knows nothing yet.
func (f *forger) restart(change ...func(*gatehouse.ResourceServerConfig)) {
	f.t.Helper()
	f.api = newAPI(f.t, f.World, change...)
	f.h = f.api.RequireToken(world.WhoAmI)
}

func byEC(key *ecdsa.PrivateKey) signs {
	return func(input string) []byte {
		sum := sha256.Sum256([]byte(input))
		r, s, err := ecdsa.Sign(rand.Reader, key, sum[:])
		if err != nil {
			panic(err)
		}
		out := make([]byte, 64)
		r.FillBytes(out[:32])
		s.FillBytes(out[32:])
		return out
	}
}

func byRSA(key *rsa.PrivateKey, hash crypto.Hash) signs {
	return func(input string) []byte {
		h := hash.New()
		h.Write([]byte(input))
		out, err := rsa.SignPKCS1v15(nil, key, hash, h.Sum(nil))
		if err != nil {
			panic(err)
		}
		return out
	}
}

func byHMAC(hash crypto.Hash, secret []byte) signs {
	return func(input string) []byte {
		m := hmac.New(hash.New, secret)
		m.Write([]byte(input))
		return m.Sum(nil)
	}
}

func fixed(signature []byte) signs { return func(string) []byte { return signature } }

var b64 = base64.RawURLEncoding

// token joins the parts of a token.
func token(header, payload string, sign signs) string {
	input := b64.EncodeToString([]byte(header)) + "." + b64.EncodeToString([]byte(payload))
	return input + "." + b64.EncodeToString(sign(input))
}

// header is that of a good token, with more members behind.
func (f *forger) header(more string) string {
	return `{"alg":"ES256","typ":"at+jwt","kid":"` + f.ecID + `"` + more + `}`
}

// claims are those of a good token. Each change is the text of a member, which
// takes the place of the one with that name.
func (f *forger) claims(change ...string) string {
	now := f.Now().Unix()
	members := []string{`"iss":"https://op.test/realm"`, `"sub":"ana-1"`, `"aud":"https://api.test"`, fmt.Sprintf(`"exp":%d`, now+300), fmt.Sprintf(`"iat":%d`, now), `"client_id":"shop"`}
	for _, c := range change {
		name, value, _ := strings.Cut(c, ":")
		members = slices.DeleteFunc(members, func(m string) bool { return strings.HasPrefix(m, name+":") })
		if value != "" {
			members = append(members, c)
		}
	}
	return "{" + strings.Join(members, ",") + "}"
}

// good is a good token with some claims changed.
func (f *forger) good(change ...string) string {
	return token(f.header(""), f.claims(change...), byEC(f.ec))
}

func (f *forger) wantGood(raw string) {
	f.t.Helper()
	if a := send(f.h, "GET", "/", "Bearer "+raw); a.Code != 200 {
		f.t.Fatalf("a good token: %d, %s", a.Code, lastCause(f.World))
	}
}

// judge checks that a signed token with the changes is accepted, or that it is
// refused without a fetch.
func (f *forger) judge(t *testing.T, ok bool, change ...string) {
	t.Helper()
	if raw := f.good(change...); ok {
		f.wantGood(raw)
	} else {
		f.refuse(t, raw, 0)
	}
}

// fetches counts the requests to the server.
func (f *forger) fetches() int { return len(f.Calls()) }

// refuse checks RS-401: the token is no good, the handler does not run, nothing
// of it is said, and nobody is asked more often than allowed.
func (f *forger) refuse(t *testing.T, raw string, fetches int) {
	t.Helper()
	f.Must(f.api.Shutdown(t.Context())) // what earlier requests have begun does not count
	before := f.fetches()
	a := send(f.h, "GET", "/", "Bearer "+raw)
	if a.Code != 401 || a.Header().Get("WWW-Authenticate") != `Bearer realm="api.test", error="invalid_token"`+metadata {
		t.Errorf("%d %v", a.Code, a.Header())
	}
	f.wantSilent(t, a, raw)
	if n := f.fetches() - before; n > fetches {
		t.Errorf("%d requests, want at most %d", n, fetches)
	}
}

// wantSilent checks that neither answer nor log shows a token or its signature.
func (f *forger) wantSilent(t *testing.T, a *httptest.ResponseRecorder, raw string) {
	t.Helper()
	said := a.Body.String() + fmt.Sprint(a.Header()) + f.Log()
	secrets := []string{raw}
	if parts := strings.Split(raw, "."); len(parts) == 3 {
		secrets = append(secrets, parts[2], parts[1])
	}
	for _, secret := range secrets {
		if len(secret) >= 16 && strings.Contains(said, secret) {
			t.Errorf("the token shows: %.60q", secret)
		}
	}
}
