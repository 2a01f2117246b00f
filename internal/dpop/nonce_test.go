package dpop_test

import (
	"crypto/rand"
	"encoding/base64"
	"strings"
	"testing"
	"time"

	"example.com/gatehouse/internal/dpop"
	"example.com/gatehouse/internal/seal"
)

func ring(t *testing.T, keys ...string) *seal.Ring {
	t.Helper()
	var all [][]byte
	for _, k := range keys {
		all = append(all, []byte(strings.Repeat(k, seal.MinKey)))
	}
	r, err := seal.NewRing(all...)
	if err != nil {
		t.Fatal(err)
	}
	return r
}

// A nonce serves for five minutes, and from half of them on the client should
// get the next.
func TestNonceAge(t *testing.T) {
	n := dpop.NewNonces(ring(t, "a"), base(t, "https://api.test"))
	nonce := n.Make(now)
	for _, c := range []struct {
		age        time.Duration
		good, aged bool
	}{
		{-2 * time.Second, false, false}, {-time.Second, true, false}, {0, true, false}, {149 * time.Second, true, false}, {150 * time.Second, true, true},
		{299 * time.Second, true, true}, {300 * time.Second, false, true}, {24 * time.Hour, false, true},
	} {
		if good, aged := n.Judge(nonce, now.Add(c.age)); good != c.good || aged != c.aged {
			t.Errorf("at %v: good %v, aged %v", c.age, good, aged)
		}
	}
	if strings.Trim(nonce, "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_") != "" { // RFC 9449 §8.1
		t.Errorf("nonce %q", nonce)
	}
	// All clients of one second share one.
	if n.Make(now.Add(999*time.Millisecond)) != nonce || n.Make(now.Add(time.Second)) == nonce {
		t.Error("not one nonce a second")
	}
	if back := n.Make(now); back == nonce || n.Make(now) != back {
		t.Error("a clock that was set back")
	}
}

// Only those who have the keys make nonces, each for its own API.
func TestNonceIsSealed(t *testing.T) {
	api := base(t, "https://api.test")
	n := dpop.NewNonces(ring(t, "a"), api)
	nonce := n.Make(now)
	changed := []byte(nonce)
	changed[len(changed)-3] ^= 1
	for name, other := range map[string]string{
		"empty": "", "made up": "made-up", "changed": string(changed), "shorter": nonce[:len(nonce)-1], "longer": nonce + "A", "with padding": nonce + "=",
		"random": base64.RawURLEncoding.EncodeToString(random(t, len(nonce)*3/4)), "of another key": dpop.NewNonces(ring(t, "b"), api).Make(now),
		"of another API":           dpop.NewNonces(ring(t, "a"), base(t, "https://other.test")).Make(now),
		"sealed for another thing": base64.RawURLEncoding.EncodeToString(ring(t, "a").Seal("session record", []byte("https://api.test"), make([]byte, 8))),
	} {
		if good, _ := n.Judge(other, now); good {
			t.Errorf("%s: good", name)
		}
	}
	if good, _ := n.Judge(nonce, now); !good {
		t.Error("the nonce itself is no good")
	}
	// Keys are rotated: first the new one is added, then it seals, then the old
	// one goes.
	added, first, gone := dpop.NewNonces(ring(t, "a", "b"), api), dpop.NewNonces(ring(t, "b", "a"), api), dpop.NewNonces(ring(t, "b"), api)
	for name, c := range map[string]struct {
		makes, judges *dpop.Nonces
		good          bool
	}{
		"old by added": {n, added, true}, "added by old": {added, n, true}, "added by first": {added, first, true}, "first by added": {first, added, true},
		"first by gone": {first, gone, true}, "gone by first": {gone, first, true}, "old by gone": {n, gone, false},
	} {
		if good, _ := c.judges.Judge(c.makes.Make(now), now); good != c.good {
			t.Errorf("%s: good %v", name, good)
		}
	}
}

func random(t *testing.T, n int) []byte {
	t.Helper()
	b := make([]byte, n)
	if _, err := rand.Read(b); err != nil {
		t.Fatal(err)
	}
	return b
}
