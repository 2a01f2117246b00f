package possession_test

import (
	"crypto"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/rsa"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"net/url"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/go-jose/go-jose/v4"

	"example.com/gatehouse/internal/dpop"
	"example.com/gatehouse/internal/possession"
	"example.com/gatehouse/internal/testkit/proofkit"
)

var noon = time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC)

func ecKey(t testing.TB, curve elliptic.Curve) *ecdsa.PrivateKey {
	t.Helper()
	key, err := ecdsa.GenerateKey(curve, rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	return key
}

func holder(t testing.TB, key crypto.Signer) *possession.Holder {
	t.Helper()
	h, err := possession.New(key, func() time.Time { return noon })
	if err != nil {
		t.Fatal(err)
	}
	return h
}

func address(t testing.TB, text string) *url.URL {
	t.Helper()
	u, err := url.Parse(text)
	if err != nil {
		t.Fatal(err)
	}
	return u
}

// claimsOf decodes a part of a proof.
func claimsOf(t testing.TB, proof string, at int) (m map[string]any) {
	t.Helper()
	text, err := base64.RawURLEncoding.DecodeString(strings.Split(proof, ".")[at])
	if err == nil {
		err = json.Unmarshal(text, &m)
	}
	if err != nil {
		t.Fatal(err)
	}
	return m
}

// one makes one proof.
func one(t testing.TB, h *possession.Holder, c possession.Call) (proof string) {
	t.Helper()
	if err := h.Do(t.Context(), c, func(p string) (possession.Answer, error) { proof = p; return possession.Answer{}, nil }); err != nil {
		t.Fatal(err)
	}
	return proof
}

// RP-F3: the proof of every kind of key is good for our own API and for a check by
// go-jose, and the thumbprint is that of RFC 7638.
func TestRPF3_ProofOfEveryKey(t *testing.T) {
	rsaKey, err := rsa.GenerateKey(rand.Reader, 2048)
	if err != nil {
		t.Fatal(err)
	}
	_, edKey, err := ed25519.GenerateKey(rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	for alg, key := range map[string]crypto.Signer{
		"ES256": ecKey(t, elliptic.P256()), "ES384": ecKey(t, elliptic.P384()), "ES512": ecKey(t, elliptic.P521()), "EdDSA": edKey, "RS256": rsaKey,
	} {
		h := holder(t, key)
		sum, err := (&jose.JSONWebKey{Key: key.Public()}).Thumbprint(crypto.SHA256)
		if err != nil || h.Thumbprint() != base64.RawURLEncoding.EncodeToString(sum) {
			t.Errorf("%s: thumbprint %s, %v", alg, h.Thumbprint(), err)
		}
		proof := one(t, h, possession.Call{Method: "PUT", Address: address(t, "https://api.test/notes/7"), Token: "tok"})
		if got := claimsOf(t, proof, 0)["alg"]; got != alg {
			t.Errorf("%s: alg %v", alg, got)
		}
		_, err = dpop.Verify([]string{proof}, dpop.Request{
			Method: "PUT", Address: dpop.NewAddress(dpop.NewBase(address(t, "https://api.test")), "/notes/7"), Token: "tok", Thumbprint: h.Thumbprint(), Now: noon,
		})
		if err != nil {
			t.Errorf("%s: %v", alg, err)
		}
		if alg == "ES512" { // the check below knows the others
			continue
		}
		if checked, err := proofkit.Check(proof, "PUT", "https://api.test/notes/7", noon); err != nil || checked.Thumbprint != h.Thumbprint() || checked.Hash != proofkit.Hash("tok") {
			t.Errorf("%s: %+v, %v", alg, checked, err)
		}
	}
}

// RP-F3: htu is the address without query and fragment, as the server knows it.
func TestRPF3_Address(t *testing.T) {
	h := holder(t, ecKey(t, elliptic.P256()))
	for at, want := range map[string]string{
		"https://api.test/notes?page=2&x=%2F#top": "https://api.test/notes",
		"https://api.test":                        "https://api.test/",
		"https://api.test?x":                      "https://api.test/",
		"https://api.test:8443/a%2Fb/c%20d":       "https://api.test:8443/a%2Fb/c%20d",
		"https://user:secret@api.test/x":          "https://api.test/x",
		"http://[::1]:80/":                        "http://[::1]:80/",
	} {
		if got := claimsOf(t, one(t, h, possession.Call{Method: "GET", Address: address(t, at), Token: "t"}), 1)["htu"]; got != want {
			t.Errorf("%s: htu %v, want %s", at, got, want)
		}
	}
	call := possession.Call{Method: "GET", Address: address(t, "https://10.0.0.7/x"), Host: "api.test", Token: "t"}
	if got := claimsOf(t, one(t, h, call), 1)["htu"]; got != "https://api.test/x" {
		t.Errorf("another Host: htu %v", got)
	}
	for _, bad := range []*url.URL{{}, {Host: "api.test"}, {Scheme: "https"}, {Scheme: "https", Opaque: "//api.test/x"}, {Scheme: "https", Host: "api.test", Path: "x"}} {
		err := h.Do(t.Context(), possession.Call{Method: "GET", Address: bad, Token: "t"}, func(string) (possession.Answer, error) {
			t.Errorf("%+v was sent", bad)
			return possession.Answer{}, nil
		})
		if !errors.Is(err, possession.ErrProof) {
			t.Errorf("%+v: %v", bad, err)
		}
	}
}

// RP-F2: one more try with the nonce that was given, and no third. Without a nonce
// that can be sent, or with the same one, there is no second either. What else an
// answer says about nonces is kept for the next call.
func TestRPF2_OneMoreTry(t *testing.T) {
	demand := func(nonces ...string) possession.Answer { return possession.Answer{Nonces: nonces, Demanded: true} }
	for name, c := range map[string]struct {
		answers []possession.Answer
		sent    []string // nonces
		next    string   // of the next call
	}{
		"none":               {[]possession.Answer{{}}, []string{""}, ""},
		"demanded":           {[]possession.Answer{demand("n1"), {}}, []string{"", "n1"}, "n1"},
		"demanded, and next": {[]possession.Answer{demand("n1"), {Nonces: []string{"n2"}}}, []string{"", "n1"}, "n2"},
		"for ever":           {[]possession.Answer{demand("n1"), demand("n2")}, []string{"", "n1"}, "n2"},
		"given":              {[]possession.Answer{{Nonces: []string{"n1"}}}, []string{""}, "n1"},
		"none with it":       {[]possession.Answer{demand()}, []string{""}, ""},
		"two":                {[]possession.Answer{demand("n1", "n2")}, []string{""}, ""},
		"empty":              {[]possession.Answer{demand("")}, []string{""}, ""},
		"no text":            {[]possession.Answer{demand("n\r\nX: y")}, []string{""}, ""},
		"a quote":            {[]possession.Answer{demand(`n"1`)}, []string{""}, ""},
		"not ASCII":          {[]possession.Answer{demand("né")}, []string{""}, ""},
		"too long":           {[]possession.Answer{demand(strings.Repeat("n", 1025))}, []string{""}, ""},
		"long":               {[]possession.Answer{demand(strings.Repeat("n", 1024)), {}}, []string{"", strings.Repeat("n", 1024)}, strings.Repeat("n", 1024)},
		"the same":           {[]possession.Answer{demand("n0"), demand("n0")}, []string{"", "n0"}, "n0"},
	} {
		h := holder(t, ecKey(t, elliptic.P256()))
		call := possession.Call{Method: "POST", Address: address(t, "https://op.test/token")}
		var sent []string
		var ids []any
		err := h.Do(t.Context(), call, func(proof string) (possession.Answer, error) {
			if len(sent) == len(c.answers) {
				t.Fatalf("%s: a try too many", name)
			}
			claims := claimsOf(t, proof, 1)
			nonce, _ := claims["nonce"].(string)
			sent, ids = append(sent, nonce), append(ids, claims["jti"])
			return c.answers[len(sent)-1], nil
		})
		if err != nil || !slices.Equal(sent, c.sent) || len(ids) == 2 && ids[0] == ids[1] {
			t.Errorf("%s: sent %q with %v, %v", name, sent, ids, err)
		}
		next, _ := claimsOf(t, one(t, h, call), 1)["nonce"].(string)
		if next != c.next {
			t.Errorf("%s: next nonce %q, want %q", name, next, c.next)
		}
	}
	// A nonce that is given again is of no use.
	h := holder(t, ecKey(t, elliptic.P256()))
	n := 0
	for range 2 {
		_ = h.Do(t.Context(), possession.Call{Method: "GET", Address: address(t, "https://api.test/"), Token: "t"}, func(string) (possession.Answer, error) {
			n++
			return demand("stays"), nil
		})
	}
	if n != 3 {
		t.Errorf("%d tries, want 2 and 1", n)
	}
	// The error of the last try is the one that counts.
	failed := errors.New("failed")
	if err := h.Do(t.Context(), possession.Call{Method: "GET", Address: address(t, "https://api.test/"), Token: "t"}, func(string) (possession.Answer, error) {
		return possession.Answer{}, failed
	}); err != failed {
		t.Errorf("error %v", err)
	}
}

// RP-F2: each server has its nonces, and a token endpoint others than an API at
// its origin. The oldest goes when there are too many.
func TestRPF2_NoncesOfServers(t *testing.T) {
	h := holder(t, ecKey(t, elliptic.P256()))
	give := func(c possession.Call, nonce string) (had string) {
		t.Helper()
		if err := h.Do(t.Context(), c, func(proof string) (possession.Answer, error) {
			had, _ = claimsOf(t, proof, 1)["nonce"].(string)
			return possession.Answer{Nonces: []string{nonce}}, nil
		}); err != nil {
			t.Fatal(err)
		}
		return had
	}
	at := func(address_, token string) possession.Call {
		return possession.Call{Method: "GET", Address: address(t, address_), Token: token}
	}
	token, info := at("https://op.test/token", ""), at("https://op.test/me", "t")
	give(token, "of-the-token-endpoint")
	if had := give(info, "of-the-user-info"); had != "" {
		t.Errorf("the user info got %q", had)
	}
	if had := give(at("HTTPS://OP.test/other", "u"), "newer"); had != "of-the-user-info" {
		t.Errorf("another address of the origin got %q", had)
	}
	for i := range 63 {
		if had := give(at(fmt.Sprintf("https://api-%d.test/", i), "t"), "x"); had != "" {
			t.Errorf("api-%d got %q", i, had)
		}
		if had := give(info, "kept-in-use"); had == "" {
			t.Fatal("a nonce in use is gone")
		}
	}
	if had := give(token, "again"); had != "" { // 65 servers are one too many
		t.Errorf("the silent one still has %q", had)
	}
}

// The algorithm is one that the server lists, or nothing is signed.
func TestChoose(t *testing.T) {
	rsaKey, err := rsa.GenerateKey(rand.Reader, 2048)
	if err != nil {
		t.Fatal(err)
	}
	h := holder(t, rsaKey)
	for _, c := range []struct {
		listed []string
		alg    string // "": none
	}{
		{nil, "RS256"}, {[]string{"ES256", "PS256"}, "PS256"}, {nil, "PS256"}, {[]string{"PS512", "RS256"}, "RS256"}, {[]string{"ES256", "EdDSA", "none", "HS256"}, ""},
	} {
		err := h.Choose(c.listed)
		if (err == nil) != (c.alg != "") || err != nil && !errors.Is(err, possession.ErrAlgorithm) {
			t.Errorf("%q: %v", c.listed, err)
		}
		if got := claimsOf(t, one(t, h, possession.Call{Method: "GET", Address: address(t, "https://api.test/"), Token: "t"}), 0)["alg"]; c.alg != "" && got != c.alg {
			t.Errorf("%q: alg %v, want %s", c.listed, got, c.alg)
		}
	}
}

// A key that cannot be used is refused when it is given.
func TestKeysThatCannotBeUsed(t *testing.T) {
	small, err := rsa.GenerateKey(rand.Reader, 1024)
	if err == nil {
		if _, err := possession.New(small, nil); err == nil {
			t.Error("a short RSA key is taken")
		}
	}
	for name, key := range map[string]crypto.Signer{
		"nil": nil, "P-224": ecKey(t, elliptic.P224()), "no private part": &ecdsa.PrivateKey{PublicKey: ecKey(t, elliptic.P256()).PublicKey}, "short": ed25519.PrivateKey{1, 2},
	} {
		if _, err := possession.New(key, nil); err == nil {
			t.Errorf("%s: taken", name)
		}
	}
}
