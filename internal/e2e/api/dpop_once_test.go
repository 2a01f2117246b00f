package api_test

import (
	"errors"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"example.com/gatehouse"
	"example.com/gatehouse/internal/e2e/world"
	"example.com/gatehouse/internal/testkit/opserver"
	"example.com/gatehouse/middlewaretest"
)

// with changes the settings of DPoP.
func with(change func(*gatehouse.DPoPConfig)) func(*gatehouse.ResourceServerConfig) {
	return func(c *gatehouse.ResourceServerConfig) {
		proving(gatehouse.DPoPAllowed)(c)
		change(&c.DPoP)
	}
}

// withProof returns a request with the token and a proof.
func withProof(key *middlewaretest.DPoPKey, raw, method, target string, faults ...middlewaretest.ProofFault) *http.Request {
	r := httptest.NewRequest(method, target, nil)
	key.Sign(r, raw, faults...)
	return r
}

// deliver sends a request, perhaps one that was sent before.
func deliver(h http.Handler, r *http.Request) *httptest.ResponseRecorder {
	a := httptest.NewRecorder()
	h.ServeHTTP(a, r)
	return a
}

// A proof counts once, at whichever replica of those that share a store. It does
// not count again while it could be accepted.
func TestDPoPOnceAtAllReplicas(t *testing.T) {
	w := newWorld(t)
	store := world.Watch(gatehouse.NewMemoryStore(w.Now))
	var replicas []http.Handler
	for range 2 {
		replicas = append(replicas, newAPI(t, w, with(func(c *gatehouse.DPoPConfig) { c.Store = store })).RequireToken(world.WhoAmI))
	}
	key, raw := bound(w)
	r := withProof(key, raw, "GET", audience+"/notes")
	if a := deliver(replicas[0], r); a.Code != 200 {
		t.Fatalf("first: %d %q, %s", a.Code, a.Body, lastCause(w))
	}
	for _, d := range []time.Duration{0, 30 * time.Second, 29 * time.Second} {
		w.Advance(d)
		for i, replica := range replicas {
			if a := deliver(replica, r); a.Code != 401 || w.LastCode() != "dpop_proof_replayed" || !strings.Contains(a.Header().Get("WWW-Authenticate"), `error="invalid_dpop_proof"`) {
				t.Errorf("again at %d after %v: %d, %s", i, d, a.Code, w.LastCode())
			}
		}
	}
	w.Advance(time.Second)
	if a := deliver(replicas[1], r); a.Code != 401 || w.LastCode() != "dpop_proof_invalid" {
		t.Errorf("when it is old: %d, %s", a.Code, w.LastCode())
	}
	// A known token needs its proof too, and one from a clock that is ahead
	// counts once all the longer.
	w.Advance(-time.Minute)
	ahead := withProof(key, raw, "GET", audience+"/notes")
	w.Advance(time.Minute)
	for i, want := range []int{401, 200, 401} {
		if i == 1 {
			w.Advance(-2 * time.Minute)
		}
		if a := deliver(replicas[i%2], ahead); a.Code != want {
			t.Errorf("ahead %d: %d, %s", i, a.Code, lastCause(w))
		}
	}
	for name, expiry := range store.Keys() {
		if len(name) != 43 || expiry.Sub(w.Now()) > 4*time.Minute {
			t.Errorf("the store has %q until %v", name, expiry)
		}
	}
}

// Of many requests at once with one proof, one passes.
func TestDPoPOnceAtOnce(t *testing.T) {
	w := newWorld(t)
	store := gatehouse.NewMemoryStore(w.Now)
	var replicas []http.Handler
	for range 2 {
		replicas = append(replicas, newAPI(t, w, with(func(c *gatehouse.DPoPConfig) { c.Store = store })).RequireToken(world.WhoAmI))
	}
	key, raw := bound(w)
	header := withProof(key, raw, "GET", audience+"/notes").Header
	var all sync.WaitGroup
	var passed atomic.Int32
	for i := range 32 {
		all.Go(func() {
			r := httptest.NewRequest("GET", audience+"/notes", nil)
			r.Header = header.Clone()
			if a := deliver(replicas[i%2], r); a.Code == 200 {
				passed.Add(1)
			} else if a.Code != 401 {
				t.Errorf("%d %q", a.Code, a.Body)
			}
		})
	}
	all.Wait()
	if n := passed.Load(); n != 1 {
		t.Errorf("%d passed", n)
	}
}

// Nobody without a good token and a good proof for it makes the store work.
func TestDPoPStoresNothingForStrangers(t *testing.T) {
	w := newWorld(t)
	store := world.Watch(gatehouse.NewMemoryStore(w.Now))
	w.Must(w.AddClient(opserver.Client{ID: "api", Secret: "api-secret-1234567"}))
	h := newAPI(t, w, with(func(c *gatehouse.DPoPConfig) { c.Store, c.Keys = store, nonceKeys("a") }), func(c *gatehouse.ResourceServerConfig) {
		c.Client = gatehouse.Client{ID: "api", Secret: gatehouse.NewSecret("api-secret-1234567")}
	})
	guarded := h.With(gatehouse.NotRevoked()).RequireToken(world.WhoAmI)
	key, raw := bound(w)
	stranger, _ := bound(w)
	revoked := w.Kit.BoundAccessToken(key, "ana", shop)
	w.RevokeGrants("ana")
	for name, r := range map[string]*http.Request{
		"a token of another client": withProof(stranger, raw, "GET", audience+"/"),
		"no good token":             withProof(key, raw[:len(raw)-8]+"AAAAAAAA", "GET", audience+"/"),
		"a bad proof":               withProof(key, raw, "GET", audience+"/", middlewaretest.ProofWrongSignature),
		"no nonce":                  withProof(key, raw, "GET", audience+"/"),
		"a token that was revoked":  withProof(key, revoked, "GET", audience+"/"),
		"an unbound token":          withProof(key, accessToken(t, w, "ana"), "GET", audience+"/"),
	} {
		if a := deliver(guarded, r); a.Code != 401 {
			t.Errorf("%s: %d", name, a.Code)
		}
	}
	if reads, writes := store.Counts(); reads+writes != 0 {
		t.Errorf("%d reads and %d writes", reads, writes)
	}
}

// While the store fails or hangs nobody passes with a proof, and nobody is told
// that it is bad. Others pass.
func TestDPoPStoreTrouble(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		store := world.Watch(gatehouse.NewMemoryStore(w.Now))
		h := newAPI(t, w, with(func(c *gatehouse.DPoPConfig) { c.Store = store })).RequireToken(world.WhoAmI)
		key, raw := bound(w)
		for _, hang := range []bool{false, true} {
			store.Fail(errors.New("db: away"), hang)
			begin := time.Now()
			a := deliver(h, withProof(key, raw, "GET", audience+"/"))
			if a.Code != 503 || a.Header().Get("Retry-After") == "" || a.Header().Get("WWW-Authenticate") != "" || w.LastCode() != "dpop_store_unavailable" {
				t.Errorf("hangs %v: %d %v", hang, a.Code, a.Header())
			}
			if d := time.Since(begin); d > time.Second {
				t.Errorf("hangs %v: answered after %v", hang, d)
			}
			if a := send(h, "GET", "/", "Bearer "+accessToken(t, w, "ana")); a.Code != 200 {
				t.Errorf("a token without a proof: %d", a.Code)
			}
		}
		store.Fail(nil, false)
		if a := deliver(h, withProof(key, raw, "GET", audience+"/")); a.Code != 200 {
			t.Errorf("afterwards: %d", a.Code)
		}
	})
}

// nonceKeys are keys that seal nonces.
func nonceKeys(names ...string) (keys []gatehouse.Secret) {
	for _, name := range names {
		keys = append(keys, gatehouse.NewSecret(strings.Repeat(name, 32)))
	}
	return keys
}

// A client without a nonce gets one, tries again, and gets the next before its
// own ends. All replicas with the keys accept it; nothing is stored.
func TestDPoPNonce(t *testing.T) {
	w := newWorld(t)
	replica := func(keys ...string) http.Handler {
		return newAPI(t, w, with(func(c *gatehouse.DPoPConfig) { c.Keys = nonceKeys(keys...) })).RequireToken(world.WhoAmI)
	}
	one, two := replica("a"), replica("a")
	key, raw := bound(w)
	ask := func(h http.Handler, faults ...middlewaretest.ProofFault) *httptest.ResponseRecorder {
		return deliver(h, withProof(key, raw, "GET", audience+"/notes", faults...))
	}
	demands := func(what string, a *httptest.ResponseRecorder) string {
		t.Helper()
		nonce := a.Header().Get("DPoP-Nonce")
		if a.Code != 401 || w.LastCode() != "dpop_nonce_required" || len(nonce) < 40 || a.Header().Get("Cache-Control") != "no-store" ||
			!strings.HasPrefix(a.Header().Get("WWW-Authenticate"), `DPoP realm="api.test", error="use_dpop_nonce", `+algs) {
			t.Errorf("%s: %d %v", what, a.Code, a.Header())
		}
		return nonce
	}
	first := demands("none", ask(one))
	key.SetNonce(first)
	for _, h := range []http.Handler{one, two, one} {
		if a := ask(h); a.Code != 200 || a.Header().Get("DPoP-Nonce") != "" {
			t.Errorf("with it: %d %v", a.Code, a.Header())
		}
	}
	for fault, cause := range map[middlewaretest.ProofFault]string{middlewaretest.ProofNoNonce: "no nonce", middlewaretest.ProofWrongNonce: "not one of DPoPConfig.Keys"} {
		if demands(string(fault), ask(two, fault)); !strings.Contains(lastCause(w), cause) {
			t.Errorf("%s: %s", fault, lastCause(w))
		}
	}
	if a := ask(one, middlewaretest.ProofWrongSignature); a.Code != 401 || a.Header().Get("DPoP-Nonce") != "" || w.LastCode() != "dpop_proof_invalid" {
		t.Errorf("a bad proof: %d %v", a.Code, a.Header())
	}
	w.Advance(2*time.Minute + 30*time.Second)
	a := ask(two)
	next := a.Header().Get("DPoP-Nonce")
	if a.Code != 200 || next == "" || next == first || a.Header().Get("Cache-Control") != "no-store" {
		t.Errorf("after half of its life: %d %v", a.Code, a.Header())
	}
	w.Advance(2*time.Minute + 30*time.Second)
	raw = w.Kit.BoundAccessToken(key, "ana", shop)
	demands("old", ask(one))
	key.SetNonce(next)
	if a := ask(one); a.Code != 200 {
		t.Errorf("the next: %d", a.Code)
	}
	// The new key is added, then it seals, then the old one goes.
	both, swapped, gone := replica("a", "b"), replica("b", "a"), replica("b")
	key.SetNonce("")
	old := demands("both", ask(both))
	sealed := demands("swapped", ask(swapped))
	for _, c := range []struct {
		name   string
		nonce  string
		at     http.Handler
		status int
	}{{"old at old", old, one, 200}, {"old at both", old, both, 200}, {"old at swapped", old, swapped, 200}, {"new at both", sealed, both, 200}, {"new at gone", sealed, gone, 200}, {"old at gone", old, gone, 401}} {
		key.SetNonce(c.nonce)
		if a := ask(c.at); a.Code != c.status {
			t.Errorf("%s: %d", c.name, a.Code)
		}
	}
}

// Without Keys nobody needs a nonce, and one that comes all the same is ignored.
func TestDPoPWithoutNonce(t *testing.T) {
	w := newWorld(t)
	h := newAPI(t, w, proving(gatehouse.DPoPRequired)).RequireToken(world.WhoAmI)
	key, raw := bound(w)
	key.SetNonce("made-up")
	if a := deliver(h, withProof(key, raw, "GET", audience+"/")); a.Code != 200 || a.Header().Get("DPoP-Nonce") != "" {
		t.Errorf("%d %v", a.Code, a.Header())
	}
}
