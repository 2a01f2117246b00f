package api_test

import (
	"crypto/ecdsa"
	"crypto/rand"
	"crypto/rsa"
	_ "crypto/sha512" // SHA-384 and SHA-512
	"encoding/json"
	"fmt"
	"maps"
	"net/http"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/go-jose/go-jose/v4"

	"example.com/gatehouse/internal/e2e/world"
	"example.com/gatehouse/internal/keyset"
)

func keyFetches(w *world.World) int { return len(w.CallsTo("jwks_uri")) }

// JK1: a key that signs as soon as it is published costs one fetch per replica,
// and the token under the old key stays good.
func TestJK1_RequireToken(t *testing.T) {
	w := newWorld(t)
	replicas := []http.Handler{newAPI(t, w).RequireToken(world.WhoAmI), newAPI(t, w).RequireToken(world.WhoAmI)}
	old := accessToken(t, w, "ana")
	for _, h := range replicas {
		send(h, "GET", "/", "Bearer "+old)
	}
	w.Advance(time.Minute)
	w.RotateKeys()
	young, before := accessToken(t, w, "ana"), keyFetches(w)
	for range 20 {
		for _, h := range replicas {
			for what, raw := range map[string]string{"new": young, "old": old, "another new": accessToken(t, w, "ana")} {
				if a := send(h, "GET", "/", "Bearer "+raw); a.Code != 200 {
					t.Fatalf("%s: %d, %s", what, a.Code, lastCause(w))
				}
			}
		}
	}
	if n := keyFetches(w) - before; n != 2 {
		t.Errorf("%d fetches by two replicas, want one each", n)
	}
}

// G4: over 100 rotations without notice no good token is refused, neither the
// first of the new key nor the last of the old one. A key that was withdrawn is
// dead within ten minutes, also if no token says that there is another.
func TestG4_RequireTokenThroughRotations(t *testing.T) {
	w := newWorld(t)
	h := newAPI(t, w).RequireToken(world.WhoAmI)
	last := accessToken(t, w, "ana")
	for i := range 100 {
		w.RotateKeys()
		next := accessToken(t, w, "ana")
		for _, raw := range []string{last, next, last, next} {
			if a := send(h, "GET", "/", "Bearer "+raw); a.Code != 200 {
				t.Fatalf("rotation %d: %d, %s", i, a.Code, lastCause(w))
			}
		}
		last = next
		w.Advance(30 * time.Second)
	}
	w.SetTokenLifetime(time.Hour)
	last = accessToken(t, w, "ana")
	send(h, "GET", "/", "Bearer "+last)
	w.RotateKeys()
	w.RotateKeys() // last is signed by a key that is published no more
	w.Advance(keyset.MaxAge + time.Second)
	send(h, "GET", "/", "Bearer "+last) // notices that the keys have aged
	w.Must(newestKeys(t, w, h))
	if a := send(h, "GET", "/", "Bearer "+last); a.Code != 401 {
		t.Errorf("a withdrawn key: %d", a.Code)
	}
}

// newestKeys waits for a fetch of keys that runs behind a request.
func newestKeys(t *testing.T, w *world.World, h http.Handler) error {
	t.Helper()
	for deadline := time.Now().Add(10 * time.Second); ; {
		if a := send(h, "GET", "/", "Bearer "+accessToken(t, w, "ana")); a.Code == 200 {
			return nil
		} else if time.Now().After(deadline) {
			return fmt.Errorf("a good token: %d, %s", a.Code, lastCause(w))
		}
	}
}

// JK2, G3: 10,000 tokens that nobody has signed, of four kinds, cost no fetch of
// keys beyond two in a minute, and no other request. The good ones among them
// pass, and a quiet time before changes nothing.
func TestJK2_RequireTokenUnderAFlood(t *testing.T) {
	f := newForger(t)
	good := f.good()
	parts := strings.Split(good, ".")
	stranger := byEC(strangersKey(t))
	foreign := token(`{"alg":"ES256","typ":"at+jwt","kid":"theirs"}`, f.claims(`"iss":"https://evil.test"`), stranger)
	nameless := token(`{"alg":"ES256","typ":"at+jwt"}`, f.claims(), stranger)
	bad := func(i int) string {
		switch i % 4 {
		case 0: // a signature of another token
			return parts[0] + "." + b64.EncodeToString([]byte(f.claims(fmt.Sprintf(`"jti":"%d"`, i)))) + "." + parts[2]
		case 1: // an unknown kid
			return b64.EncodeToString(fmt.Appendf(nil, `{"alg":"ES256","typ":"at+jwt","kid":"k-%d"}`, i)) + "." + parts[1] + "." + parts[2]
		case 2:
			return nameless
		}
		return foreign
	}
	flood := func(n int) {
		t.Helper()
		before, calls := keyFetches(f.World), f.fetches()
		var all sync.WaitGroup
		const at = 4
		for part := range at {
			all.Go(func() {
				for i := part * n / at; i < (part+1)*n/at; i++ {
					if a := send(f.h, "GET", "/", "Bearer "+bad(i)); a.Code != 401 {
						t.Errorf("token %d: %d", i, a.Code)
					}
					if i%100 == 0 {
						if a := send(f.h, "GET", "/", "Bearer "+good); a.Code != 200 {
							t.Errorf("a good token: %d", a.Code)
						}
					}
				}
			})
		}
		all.Wait()
		keys := keyFetches(f.World) - before
		if others := f.fetches() - calls - keys; keys > 1 || others != 0 {
			t.Errorf("%d fetches of keys and %d other requests in half a minute", keys, others)
		}
	}
	flood(5000)
	f.Advance(30 * time.Second)
	flood(5000)
	f.Advance(9 * time.Minute)
	good = f.good()
	flood(400)
}

func strangersKey(t *testing.T) *ecdsa.PrivateKey {
	t.Helper()
	key, ok := world.NewSigner(t).Key.Key.(*ecdsa.PrivateKey)
	if !ok {
		t.Fatal("the stranger's key is no P-256 key")
	}
	return key
}

// onKeys answers every fetch of the key set; nil lets the server answer.
func onKeys(w *world.World, status int, body string) {
	w.SetWire(func(r *http.Request, next func(*http.Request) *http.Response) (*http.Response, error) {
		if !strings.HasSuffix(w.Endpoint("jwks_uri"), r.URL.Path) {
			return next(r), nil
		}
		return world.Answer(r, status, body), nil
	})
}

// JK6: what a key set may hold beside the good key verifies nothing, and does
// not stop the good one.
func TestJK6_RequireToken(t *testing.T) {
	weak, err := rsa.GenerateKey(rand.Reader, 1024)
	if err != nil {
		t.Fatal(err)
	}
	key := strangersKey(t)
	secret := []byte(strings.Repeat("k", 32))
	entry := func(k any, more map[string]any) string {
		m := map[string]any{}
		if err := json.Unmarshal([]byte(world.JSON(t, jose.JSONWebKey{Key: k, KeyID: "bad"})), &m); err != nil {
			t.Fatal(err)
		}
		maps.Copy(m, more)
		return world.JSON(t, m)
	}
	header := func(alg string) string { return `{"alg":"` + alg + `","typ":"at+jwt","kid":"bad"}` }
	for name, c := range map[string]struct {
		entry string
		alg   string
		sign  signs
		ok    bool
	}{
		"oct":                    {entry(secret, nil), "HS256", byHMAC(5, secret), false}, // crypto.SHA256
		"oct with an alg of RSA": {entry(secret, map[string]any{"alg": "RS256"}), "RS256", byHMAC(5, secret), false},
		"use enc":                {entry(&key.PublicKey, map[string]any{"use": "enc"}), "ES256", byEC(key), false},
		"key_ops of another use": {entry(&key.PublicKey, map[string]any{"key_ops": []string{"encrypt"}}), "ES256", byEC(key), false},
		"RSA-1024":               {entry(&weak.PublicKey, nil), "RS256", byRSA(weak, 5), false},
		"private d":              {entry(key, nil), "ES256", byEC(key), false},
		"alg ES256K":             {entry(&key.PublicKey, map[string]any{"alg": "ES256K"}), "ES256", byEC(key), false},
		"alg of another curve":   {entry(&key.PublicKey, map[string]any{"alg": "ES384"}), "ES256", byEC(key), false},
		"P-192":                  {`{"kty":"EC","crv":"P-192","kid":"bad","x":"AAAA","y":"AAAA"}`, "ES256", byEC(key), false},
		"off the curve":          {`{"kty":"EC","crv":"P-256","kid":"bad","x":"` + b64.EncodeToString(make([]byte, 32)) + `","y":"` + b64.EncodeToString(make([]byte, 32)) + `"}`, "ES256", byEC(key), false},
		"a number":               {`5`, "ES256", byEC(key), false},
		"null":                   {`null`, "ES256", byEC(key), false},
		"a list":                 {`[` + entry(&key.PublicKey, nil) + `]`, "ES256", byEC(key), false},
		"garbage x5c":            {entry(&key.PublicKey, map[string]any{"x5c": []string{"garbage"}}), "ES256", byEC(key), true},
		"another good one":       {entry(&key.PublicKey, nil), "ES256", byEC(key), true},
	} {
		t.Run(name, func(t *testing.T) {
			f := newForger(t)
			good := world.JSON(t, jose.JSONWebKey{Key: &f.ec.PublicKey, KeyID: f.ecID, Algorithm: "ES256", Use: "sig"})
			onKeys(f.World, 200, `{"keys":[`+c.entry+`,`+good+`,`+c.entry+`]}`)
			f.restart()
			f.wantGood(f.good())
			raw := token(header(c.alg), f.claims(), c.sign)
			if c.ok {
				f.wantGood(raw)
			} else {
				f.refuse(t, raw, 1)
			}
			f.wantGood(f.good())
		})
	}
}

// JK6: of two keys with one kid each is tried, whatever comes first.
func TestJK6_RequireTokenTwoKeysOfOneName(t *testing.T) {
	f := newForger(t)
	other := strangersKey(t)
	entry := func(key *ecdsa.PrivateKey) string {
		return world.JSON(t, jose.JSONWebKey{Key: &key.PublicKey, KeyID: f.ecID, Algorithm: "ES256", Use: "sig"})
	}
	onKeys(f.World, 200, `{"keys":[`+entry(other)+`,`+entry(f.ec)+`]}`)
	f.restart()
	f.wantGood(f.good())
	f.wantGood(token(f.header(""), f.claims(), byEC(other)))
	f.refuse(t, token(f.header(""), f.claims(), byEC(strangersKey(t))), 0)
}

// A key set that is none is trouble of the server, and says nothing about a
// token.
func TestRequireTokenWithoutKeys(t *testing.T) {
	for name, c := range map[string]struct {
		status int
		body   string
	}{
		"not there": {404, ""}, "broken": {500, "oops"}, "a page": {200, "<html>"}, "no keys": {200, `{"keys":[]}`}, "not a set": {200, `{"keys":{}}`}, "null": {200, `null`},
		"twice": {200, `{"keys":[],"keys":[]}`}, "a name twice": {200, `{"keys":[{"kid":"a","kid":"b"}]}`}, "2 MiB": {200, `{"keys":[],"x":"` + strings.Repeat("a", 2<<20) + `"}`}, "cut": {200, `{"keys":[`}, "elsewhere": {302, ""},
	} {
		t.Run(name, func(t *testing.T) {
			f := newForger(t)
			onKeys(f.World, c.status, c.body)
			cold := newAPI(t, f.World).RequireToken(world.WhoAmI)
			for range 3 {
				a := send(cold, "GET", "/", "Bearer "+f.good())
				if a.Code != 503 || a.Header().Get("WWW-Authenticate") != "" {
					t.Errorf("%d %v", a.Code, a.Header())
				}
				f.wantSilent(t, a, f.good())
			}
			f.wantGood(f.good()) // the other replica has its keys
			f.SetWire(nil)
			f.Advance(time.Minute)
			if a := send(cold, "GET", "/", "Bearer "+f.good()); a.Code != 200 {
				t.Errorf("afterwards: %d, %s", a.Code, lastCause(f.World))
			}
		})
	}
}

// JK8: the keys cannot be had for an hour. Known ones go on until they are too
// old. Nobody decides about a token under another one, and nobody is let in.
func TestJK8_RequireToken(t *testing.T) {
	for name, c := range map[string]struct{ down, up func(*forger) }{
		"the keys":   {func(f *forger) { onKeys(f.World, 500, "") }, func(f *forger) { f.SetWire(nil) }},
		"the server": {func(f *forger) { f.SetDown(true) }, func(f *forger) { f.SetDown(false) }},
	} {
		t.Run(name, func(t *testing.T) { testKeysDown(t, c.down, c.up) })
	}
}

func testKeysDown(t *testing.T, down, up func(*forger)) {
	f := newForger(t)
	down(f)
	unknown := func() string { return token(`{"alg":"ES256","typ":"at+jwt","kid":"k9"}`, f.claims(), byEC(f.ec)) }
	undecided := func(h http.Handler, raw string) {
		t.Helper()
		if a := send(h, "GET", "/", "Bearer "+raw); a.Code != 503 || a.Header().Get("Retry-After") == "" || a.Header().Get("WWW-Authenticate") != "" {
			t.Errorf("%d %v", a.Code, a.Header())
		}
	}
	cold := newAPI(t, f.World).RequireToken(world.WhoAmI)
	for range 12 {
		f.Advance(5 * time.Minute)
		f.wantGood(f.good())
		undecided(f.h, unknown())
		undecided(cold, f.good())
	}
	f.Advance(keyset.StaleLimit)
	undecided(f.h, f.good())
	up(f)
	f.Advance(time.Minute)
	f.wantGood(f.good())
	f.refuse(t, unknown(), 1)
}
