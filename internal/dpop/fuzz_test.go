package dpop_test

import (
	"encoding/base64"
	"encoding/json"
	"errors"
	"net/url"
	"strings"
	"testing"

	"github.com/go-jose/go-jose/v4"

	"example.com/gatehouse/internal/dpop"
)

// FuzzProof: whatever comes in a DPoP header is refused as a proof, or go-jose
// verifies it with the key in its own header, and an ordinary reader reads in it
// the method, address, token and time of the request.
func FuzzProof(f *testing.F) {
	good := sign(f, jose.ES256, nil, nil)
	parts := strings.Split(good, ".")
	for _, raw := range []string{
		good, sign(f, jose.EdDSA, nil, nil), sign(f, jose.RS256, nil, nil), sign(f, jose.ES256, nil, map[string]any{"htm": "POST"}), "", "..", parts[0] + "..",
		good + ", " + good, parts[0] + "." + parts[1] + ".AAAA", base64.RawURLEncoding.EncodeToString([]byte(`{"alg":"none","typ":"dpop+jwt"}`)) + "." + parts[1] + ".AA",
	} {
		f.Add(raw)
	}
	w := want(f, jose.ES256)
	f.Fuzz(func(t *testing.T, raw string) {
		_, err := dpop.Verify([]string{raw}, w)
		if err == nil && !ordinaryProof(raw) {
			t.Errorf("%q passes", raw)
		}
		if err != nil && !errors.Is(err, dpop.ErrProof) {
			t.Errorf("%q: error %v", raw, err)
		}
	})
}

// FuzzProofParts: whatever a client signs as header and claims is judged as an
// ordinary reader would.
func FuzzProofParts(f *testing.F) {
	raw := sign(f, jose.ES256, nil, nil)
	parts := strings.Split(raw, ".")
	payload, err := base64.RawURLEncoding.DecodeString(parts[1])
	if err != nil {
		f.Fatal(err)
	}
	for _, change := range [][2]string{
		{"", ""}, {`"GET"`, `"get"`}, {`"GET"`, `null`}, {`/notes`, `/n%6ftes?q`}, {`/notes`, `/x/../notes`}, {`1777636800`, `1777636859.5`}, {`1777636800`, `1e300`},
		{`1777636800`, `-1`}, {`"jti"`, `"JTI"`}, {`{`, `{"htm":"POST",`}, {`}`, `}x`}, {`}`, `,"nonce":5}`}, {`}`, `,"exp":1}`}, {`"the-first-jti"`, `""`},
	} {
		f.Add(strings.Replace(string(payload), change[0], change[1], 1))
	}
	w := want(f, jose.ES256)
	f.Fuzz(func(t *testing.T, payload string) {
		raw := signBytes(t, jose.ES256, keys()[jose.ES256], nil, []byte(payload))
		_, err := dpop.Verify([]string{raw}, w)
		if err == nil && !ordinaryProof(raw) {
			t.Errorf("%q passes", payload)
		}
		if err != nil && !errors.Is(err, dpop.ErrProof) {
			t.Errorf("%q: error %v", payload, err)
		}
	})
}

// ordinaryProof judges a proof for want with go-jose, encoding/json and net/url
// alone.
func ordinaryProof(raw string) bool {
	parsed, err := jose.ParseSignedCompact(raw, []jose.SignatureAlgorithm{jose.ES256})
	if err != nil {
		return false
	}
	h := parsed.Signatures[0].Protected
	if h.JSONWebKey == nil || !h.JSONWebKey.IsPublic() || h.ExtraHeaders["typ"] != "dpop+jwt" {
		return false
	}
	payload, err := parsed.Verify(h.JSONWebKey)
	if err != nil {
		return false
	}
	var m map[string]any
	if json.Unmarshal(payload, &m) != nil {
		return false
	}
	htu, _ := m["htu"].(string)
	u, err := url.Parse(htu)
	if err != nil {
		return false
	}
	at := u.JoinPath(".").Path
	if strings.HasSuffix(at, "/") && at != "/" {
		at = strings.TrimSuffix(at, "/")
	}
	iat, _ := m["iat"].(float64)
	jti, _ := m["jti"].(string)
	age := float64(now.Unix()) - iat
	return m["htm"] == "GET" && strings.EqualFold(u.Scheme, "https") && strings.EqualFold(u.Hostname(), "api.test") && at == "/notes" &&
		jti != "" && len(jti) <= 256 && m["ath"] == dpop.Hash(token) && age < 60.001 && age > -60.001 // iat is read to the millisecond
}
