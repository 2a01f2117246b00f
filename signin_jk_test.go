package gatehouse_test

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
	"time"

	"github.com/go-jose/go-jose/v4"
)

// by makes tokens under a kid with another key than k1.
func (f *forger) by(alg jose.SignatureAlgorithm, key any, kid string) func(nonce string) string {
	return func(nonce string) string {
		return f.sign(alg, key, map[string]any{"kid": kid}, f.claims(nonce))
	}
}

// JK1: a key that signs at once, also between the authorization and the token
// request. One fetch a replica; tokens by k1 are good while it is published.
func TestJK1_RotationThroughTheCallback(t *testing.T) {
	f := newForger(t, twoReplicas)
	k2 := newSigner(t).key
	k2.KeyID = "k2"
	for at := range f.replicas {
		ana := f.visitor("ana").on(at)
		f.gives(f.good())
		f.wantSignedIn(ana, ana.get(f.callback(ana)))
	}
	had := f.fetches()
	began := [2]*visitor{f.visitor("ana").on(replicaA), f.visitor("ana").on(replicaB)}
	callbacks := [2]string{f.callback(began[0]), f.callback(began[1])}
	f.setKeys(f.jwk(k2), f.jwk(f.k1)) // now, with the sign-ins under way
	f.gives(f.by(jose.ES256, k2.Key, "k2"))
	for at, ana := range began {
		f.wantSignedIn(ana, ana.get(callbacks[at]))
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
	// Withdrawn, k1 is dead once the keys are asked again.
	f.setKeys(f.jwk(k2))
	f.advance(11 * time.Minute)
	f.accept(f.by(jose.ES256, k2.Key, "k2"))
	f.shutdownAll()
	f.gives(f.good())
	ana := f.visitor("ana")
	f.wantRefusal(ana.get(f.callback(ana)), http.StatusBadRequest)
	if f.lastCode() != "signature_invalid" {
		t.Errorf("code %q", f.lastCode())
	}
}

func (f *forger) wantSignedIn(b *visitor, a *answer) {
	f.t.Helper()
	if a.Code != http.StatusSeeOther || a.location() != "/notes/" || b.sessionName() == "" {
		f.t.Fatalf("got %v with code %q; want a session", a, f.lastCode())
	}
}

// JK2 with 1,000 tokens under random kids in a minute, 50 at once, and good ones
// beside them: at most two fetches, every bad one refused, every good one taken.
// A quiet time before changes nothing.
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
	if asked := len(f.callsTo("token_endpoint")); asked != 20*51+1 {
		t.Errorf("%d token requests", asked)
	}
	f.advance(9 * time.Minute)
	if n := f.flooded(4); n == 0 || n > 2 {
		t.Errorf("%d fetches in a minute after a quiet time", n)
	}
	f.wantNoVisits()
	f.shutdownAll()
}

// flooded lets a minute pass with so many rounds of 50 bad tokens and a good one
// at once, and tells how many fetches they cost.
func (f *forger) flooded(rounds int) int {
	f.t.Helper()
	had := f.fetches()
	for round := range rounds {
		var wg sync.WaitGroup
		for i := range 50 {
			b := f.visitor("ana")
			callback := f.callback(b)
			f.flood(callback, fmt.Sprint("flood-", round, "-", i))
			wg.Go(func() {
				a := b.get(callback)
				if a.Code != http.StatusBadRequest || b.sessionName() != "" {
					f.t.Errorf("an unknown key: %v", a)
				}
			})
		}
		ana := f.visitor("ana")
		callback := f.callback(ana)
		wg.Go(func() {
			if a := ana.get(callback); a.Code != http.StatusSeeOther {
				f.t.Errorf("a good token amid the flood: %v", a)
			}
		})
		wg.Wait()
		f.advance(time.Minute / time.Duration(rounds))
	}
	return f.fetches() - had
}

// flood makes the code of a callback stand for another nonce, which asks for a
// token under an unknown kid.
func (f *forger) flood(callback, nonce string) {
	code := queryOf(f.t, callback).Get("code")
	f.mu.Lock()
	defer f.mu.Unlock()
	f.nonces[code] = nonce
}

// JK6: what a set may hold beside k1. Nothing of it verifies anything, k1 does,
// and of two entries with one kid each is tried.
func TestJK6_EntriesThroughTheCallback(t *testing.T) {
	weak, err := rsa.GenerateKey(rand.Reader, 1024)
	if err != nil {
		t.Fatal(err)
	}
	p256 := newSigner(t).key
	secret := []byte(strings.Repeat("k", 32))
	entry := func(k any, more map[string]any) string {
		j := jose.JSONWebKey{Key: k, KeyID: "bad"}
		m := map[string]any{}
		if err := json.Unmarshal([]byte(toJSON(t, j)), &m); err != nil {
			t.Fatal(err)
		}
		maps.Copy(m, more)
		return toJSON(t, m)
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
				f.must(err)
				e = f.jwk(jose.JSONWebKey{Key: second, KeyID: "k1"})
				f.setKeys(e, f.jwk(f.k1), e)
				f.accept(f.by(jose.RS256, second, "k1"))
			}
			f.setKeys(e, f.jwk(f.k1), e)
			f.accept(f.good())
			if c.forge == nil { // a certificate is not looked at: the key is good
				f.accept(f.by(jose.ES256, p256.Key, "bad"))
				return
			}
			f.refuse(c.forge(f), c.code, 1)
			f.accept(f.good())
		})
	}
}

// JK8: the key set is down for an hour. Known keys go on; a token under an
// unknown one is undecided, which is 503 and never a yes; a process that has no
// keys yet says 503 at once.
func TestJK8_KeysDownThroughTheCallback(t *testing.T) {
	f := newForger(t, twoReplicas)
	f.accept(f.good()) // replica A is warm
	f.keysDown()
	for range 12 {
		f.advance(5 * time.Minute)
		f.accept(f.good())
		f.shutdownAll()
	}
	unknown, ok := f.stranger.key.Key.(*ecdsa.PrivateKey)
	if !ok {
		t.Fatal("the stranger's key is no P-256 key")
	}
	undecided := func(at int, forge func(string) string) {
		t.Helper()
		f.gives(forge)
		b := f.visitor("ana").on(at)
		callback := f.callback(b)
		begin := time.Now()
		f.wantRefusal(b.get(callback), http.StatusServiceUnavailable) // with Retry-After
		if took := time.Since(begin); took > time.Second {
			t.Errorf("it took %v", took)
		}
		if b.sessionName() != "" || f.lastCode() != "provider_unavailable" {
			t.Errorf("session %q, code %q", b.sessionName(), f.lastCode())
		}
	}
	for range 3 {
		undecided(replicaA, f.by(jose.ES256, unknown, "k9"))
		undecided(replicaB, f.good()) // cold
		f.advance(time.Second)
	}
	f.accept(f.good()) // replica A, still
	// It comes back: the unknown key is decided, the cold replica warm.
	f.setKeys(f.jwk(f.k1))
	f.advance(30 * time.Second)
	f.refuse(f.by(jose.ES256, unknown, "k9"), "signature_invalid", 1)
	f.gives(f.good())
	ana := f.visitor("ana").on(replicaB)
	f.wantSignedIn(ana, ana.get(f.callback(ana)))
	// Beyond the stale limit of a day nothing is known any more.
	f.keysDown()
	f.advance(25 * time.Hour)
	undecided(replicaA, f.good())
}
