package signin_test

import (
	"crypto/ecdsa"
	"crypto/rand"
	"crypto/rsa"
	"encoding/json"
	"fmt"
	"maps"
	"net/http"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/go-jose/go-jose/v4"

	"example.com/gatehouse/internal/e2e/world"
	"example.com/gatehouse/internal/keyset"
	"example.com/gatehouse/internal/testkit/opserver"
)

// The provider with its defaults: RS256, discovery of keys, and a rotation
// immediately before the token is signed (RP-K6).
func TestSignInKeyRotation(t *testing.T) {
	s := world.NewSite(t, func(o *world.SiteOptions) { o.Client = func(c *opserver.Client) { c.IDTokenAlg = string(jose.RS256) } })
	s.Visitor("ana").SignIn()
	ana := s.Visitor("ana")
	callback := ana.ToCallback("/notes/")
	s.RotateKeys()
	s.ResetCounts()
	ana.WantServed(ana.Visit(callback))
	if got := s.Count(opserver.EndpointJWKS); got != 1 {
		t.Errorf("%d key requests after the rotation, want 1", got)
	}
}

// by makes tokens under a kid with a key other than k1.
func (f *forger) by(alg jose.SignatureAlgorithm, key any, kid string) func(nonce string) string {
	return func(nonce string) string {
		return f.sign(alg, key, map[string]any{"kid": kid}, f.claims(nonce))
	}
}

// JK1: a new key signs at once, even between the authorization and the token
// request. It costs one fetch per replica. Tokens signed by k1 are accepted
// while k1 is published.
func TestJK1_RotationThroughTheCallback(t *testing.T) {
	f := newForger(t, world.TwoReplicas)
	k2 := world.NewSigner(t).Key
	k2.KeyID = "k2"
	for at := range f.Replicas {
		ana := f.Visitor("ana").On(at)
		f.gives(f.good())
		f.wantSignedIn(ana, ana.Get(f.callback(ana)))
	}
	had := f.fetches()
	began := [2]*world.Visitor{f.Visitor("ana").On(world.ReplicaA), f.Visitor("ana").On(world.ReplicaB)}
	callbacks := [2]string{f.callback(began[0]), f.callback(began[1])}
	f.setKeys(f.jwk(k2), f.jwk(f.k1)) // now, with the sign-ins under way
	f.gives(f.by(jose.ES256, k2.Key, "k2"))
	for at, ana := range began {
		f.wantSignedIn(ana, ana.Get(callbacks[at]))
	}
	if n := f.fetches() - had; n != 2 {
		t.Errorf("%d fetches by two replicas, want one each", n)
	}
	for range 20 {
		f.accept(f.by(jose.ES256, k2.Key, "k2"))
		f.accept(f.good())
	}
	if n := f.fetches() - had; n != 2 {
		t.Errorf("%d fetches after that, want none more", n-2)
	}
	// Once withdrawn, k1 is dead after the next fetch of the keys.
	f.setKeys(f.jwk(k2))
	f.Advance(11 * time.Minute)
	f.accept(f.by(jose.ES256, k2.Key, "k2"))
	f.ShutdownAll()
	f.gives(f.good())
	ana := f.Visitor("ana")
	f.WantRefusal(ana.Get(f.callback(ana)), http.StatusBadRequest)
	if f.LastCode() != "signature_invalid" {
		t.Errorf("code %q", f.LastCode())
	}
}

func (f *forger) wantSignedIn(b *world.Visitor, a *world.Page) {
	f.T.Helper()
	if a.Code != http.StatusSeeOther || a.Location() != "/notes/" || b.SessionName() == "" {
		f.T.Fatalf("got %v with code %q; want a session", a, f.LastCode())
	}
}

// JK2 with 1,000 tokens under random kids in a minute, 50 at once, and good
// ones among them: there are at most two fetches, every bad token is refused,
// and every good one is accepted. A quiet period before changes nothing.
func TestJK2_FloodThroughTheCallback(t *testing.T) {
	f := newForger(t)
	f.accept(f.good())
	f.gives(func(nonce string) string {
		if kid, bad := strings.CutPrefix(nonce, "flood-"); bad {
			return rawToken(`{"alg":"ES256","kid":"`+kid+`","typ":"JWT"}`, f.claims(nonce), strings.Repeat("A", 86))
		}
		return f.good()(nonce)
	})
	if n := f.flooded(20); n == 0 || n > 2 {
		t.Errorf("%d fetches in a minute, want at most 2", n)
	}
	if asked := len(f.CallsTo("token_endpoint")); asked != 20*51+1 {
		t.Errorf("%d token requests", asked)
	}
	f.Advance(9 * time.Minute)
	if n := f.flooded(4); n == 0 || n > 2 {
		t.Errorf("%d fetches in a minute after a quiet time", n)
	}
	f.wantNoVisits()
	f.ShutdownAll()
}

// flooded lets a minute pass with the given number of rounds, each with 50 bad
// tokens and a good one at once. It returns how many fetches they cost.
func (f *forger) flooded(rounds int) int {
	f.T.Helper()
	had := f.fetches()
	for round := range rounds {
		var wg sync.WaitGroup
		for i := range 50 {
			b := f.Visitor("ana")
			callback := f.callback(b)
			f.flood(callback, fmt.Sprint("flood-", round, "-", i))
			wg.Go(func() {
				a := b.Get(callback)
				if a.Code != http.StatusBadRequest || b.SessionName() != "" {
					f.T.Errorf("an unknown key: %v", a)
				}
			})
		}
		ana := f.Visitor("ana")
		callback := f.callback(ana)
		wg.Go(func() {
			if a := ana.Get(callback); a.Code != http.StatusSeeOther {
				f.T.Errorf("a good token amid the flood: %v", a)
			}
		})
		wg.Wait()
		f.Advance(time.Minute / time.Duration(rounds))
	}
	return f.fetches() - had
}

// flood makes the code of a callback stand for another nonce, which requests a
// token under an unknown kid.
func (f *forger) flood(callback, nonce string) {
	code := world.QueryOf(f.T, callback).Get("code")
	f.mu.Lock()
	defer f.mu.Unlock()
	f.nonces[code] = nonce
}

// JK6: what a set may contain besides k1. None of it verifies anything, k1
// still does, and of two entries with one kid each is tried.
func TestJK6_EntriesThroughTheCallback(t *testing.T) {
	weak, err := rsa.GenerateKey(rand.Reader, 1024)
	if err != nil {
		t.Fatal(err)
	}
	p256 := world.NewSigner(t).Key
	secret := []byte(strings.Repeat("k", 32))
	entry := func(k any, more map[string]any) string {
		j := jose.JSONWebKey{Key: k, KeyID: "bad"}
		m := map[string]any{}
		if err := json.Unmarshal([]byte(world.JSON(t, j)), &m); err != nil {
			t.Fatal(err)
		}
		maps.Copy(m, more)
		return world.JSON(t, m)
	}
	public := p256.Public().Key
	for name, c := range map[string]struct {
		entry string
		forge func(f *forger) func(nonce string) string
		code  string
	}{
		"oct":              {entry(secret, nil), func(f *forger) func(string) string { return f.by(jose.HS256, secret, "bad") }, "algorithm_refused"},
		"use enc":          {entry(public, map[string]any{"use": "enc"}), func(f *forger) func(string) string { return f.by(jose.ES256, p256.Key, "bad") }, "signature_invalid"},
		"RSA-1024":         {entry(&weak.PublicKey, nil), func(f *forger) func(string) string { return f.by(jose.RS256, weak, "bad") }, "signature_invalid"},
		"private d":        {entry(p256.Key, nil), func(f *forger) func(string) string { return f.by(jose.ES256, p256.Key, "bad") }, "signature_invalid"},
		"alg ES256K":       {entry(public, map[string]any{"alg": "ES256K"}), func(f *forger) func(string) string { return f.by(jose.ES256, p256.Key, "bad") }, "signature_invalid"},
		"P-192":            {`{"kty":"EC","crv":"P-192","kid":"bad","x":"AAAA","y":"AAAA"}`, func(f *forger) func(string) string { return f.by(jose.ES256, p256.Key, "bad") }, "signature_invalid"},
		"a number":         {`5`, func(f *forger) func(string) string { return f.by(jose.ES256, p256.Key, "bad") }, "signature_invalid"},
		"garbage x5c":      {entry(public, map[string]any{"x5c": []string{"garbage"}}), nil, ""},
		"two k1":           {strings.Replace(entry(public, nil), `"bad"`, `"k1"`, 1), func(f *forger) func(string) string { return f.by(jose.ES256, p256.Key, "bad") }, "signature_invalid"},
		"two k1, both RSA": {"", func(f *forger) func(string) string { return f.by(jose.RS256, weak, "k1") }, "signature_invalid"},
	} {
		t.Run(name, func(t *testing.T) {
			f := newForger(t)
			e := c.entry
			if e == "" {
				second, err := rsa.GenerateKey(rand.Reader, 2048)
				f.Must(err)
				e = f.jwk(jose.JSONWebKey{Key: second, KeyID: "k1"})
				f.setKeys(e, f.jwk(f.k1), e)
				f.accept(f.by(jose.RS256, second, "k1"))
			}
			f.setKeys(e, f.jwk(f.k1), e)
			f.accept(f.good())
			if c.forge == nil { // a certificate is ignored: the key is good
				f.accept(f.by(jose.ES256, p256.Key, "bad"))
				return
			}
			f.refuse(c.forge(f), c.code, 1)
			f.accept(f.good())
		})
	}
}

// Why a key is not used is in the log, once for each, however often the set is
// fetched. One that is meant for something else is no warning.
func TestSkippedKeysInTheLog(t *testing.T) {
	s := world.NewSite(t)
	s.SetWire(func(r *http.Request, next func(*http.Request) *http.Response) (*http.Response, error) {
		if !strings.HasSuffix(s.Endpoint("jwks_uri"), r.URL.Path) {
			return next(r), nil
		}
		return world.RewriteJSON(t, next(r), func(m map[string]any) {
			keys, _ := m["keys"].([]any)
			for _, entry := range []string{`{"kty":"OKP","crv":"X448","x":"AA"}`, `{"kty":"OKP","crv":"X448","x":"AA"}`, `{"kty":"RSA","kid":"e","use":"enc","n":"AA","e":"AQAB"}`,
				`{"kty":"RSA","kid":"w","n":"gAAAAAAAAAAAAAAAAAAAAA","e":"AQAB"}`, `{"kid":"t","kty":5}`} {
				keys = append(keys, json.RawMessage(entry))
			}
			m["keys"] = keys
		}), nil
	})
	for range 2 {
		s.Visitor("ana").SignIn()
		s.Shutdown(0)
		s.Advance(keyset.MaxAge + time.Hour)
	}
	s.Visitor("ana").SignIn()
	s.Shutdown(0)
	log := strings.ReplaceAll(s.Log(), `\"`, `"`)
	for want, times := range map[string]int{
		`code=skipped_key error="key `: 4, `code=other_key_use error="key `: 1, `kid "": kty, crv or a number`: 2,
		`kid "e": use is not sig`: 1, `kid "w": RSA with 128 bits`: 1, `kid "t": kty has the wrong type`: 1,
		`level=WARN msg="gatehouse: trouble"`: 4, `level=INFO msg="gatehouse: trouble"`: 1,
	} {
		if got := strings.Count(log, want); got != times {
			t.Errorf("%d lines with %s, want %d", got, want, times)
		}
	}
	if t.Failed() {
		t.Log(log)
	}
}

// JK8: the key set is down for an hour. Known keys still work. A token under an
// unknown key is undecided, which gives 503 and never a success. A process that
// has no keys yet answers 503 at once.
func TestJK8_KeysDownThroughTheCallback(t *testing.T) { synctest.Test(t, testKeysDown) }

func testKeysDown(t *testing.T) {
	f := newForger(t, world.TwoReplicas)
	f.accept(f.good()) // replica A is warm
	f.keysDown()
	for range 12 {
		f.Advance(5 * time.Minute)
		f.accept(f.good())
		f.ShutdownAll()
	}
	unknown, ok := f.stranger.Key.Key.(*ecdsa.PrivateKey)
	if !ok {
		t.Fatal("the stranger's key is not a P-256 key")
	}
	undecided := func(at int, forge func(string) string) {
		t.Helper()
		f.gives(forge)
		b := f.Visitor("ana").On(at)
		callback := f.callback(b)
		begin := time.Now()
		f.WantRefusal(b.Get(callback), http.StatusServiceUnavailable) // with Retry-After
		if took := time.Since(begin); took > time.Second {            // of the bubble
			t.Errorf("it took %v", took)
		}
		if b.SessionName() != "" || f.LastCode() != "provider_unavailable" {
			t.Errorf("session %q, code %q", b.SessionName(), f.LastCode())
		}
	}
	for range 3 {
		undecided(world.ReplicaA, f.by(jose.ES256, unknown, "k9"))
		undecided(world.ReplicaB, f.good()) // cold
		f.Advance(time.Second)
	}
	f.accept(f.good()) // replica A, still
	// The key set comes back: the unknown key is decided, and the cold replica
	// is warm.
	f.setKeys(f.jwk(f.k1))
	f.Advance(30 * time.Second)
	f.refuse(f.by(jose.ES256, unknown, "k9"), "signature_invalid", 1)
	f.gives(f.good())
	ana := f.Visitor("ana").On(world.ReplicaB)
	f.wantSignedIn(ana, ana.Get(f.callback(ana)))
	// Beyond the stale limit of a day every key is forgotten.
	f.keysDown()
	f.Advance(25 * time.Hour)
	undecided(world.ReplicaA, f.good())
}
