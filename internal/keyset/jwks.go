package keyset

import (
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	"crypto/rsa"
	"encoding/json"
	"slices"

	"example.com/gatehouse/internal/strictjson"
	"github.com/go-jose/go-jose/v4"
)

const (
	// maxKeys bounds the entries of a set that are examined. Two or three are
	// usual, and a token without kid may try several.
	maxKeys = 64

	// RSA keys outside these sizes are skipped. Below 2048 bits they are weak
	// (RFC 7518 §3.3); above 8192 each check takes milliseconds.
	minRSABits = 2048
	maxRSABits = 8192
)

// key is a public key that may verify signatures.
type key struct {
	id     string
	alg    string // empty: any algorithm that fits the key
	public any    // *rsa.PublicKey, *ecdsa.PublicKey or ed25519.PublicKey
}

// document is a JWK Set (RFC 7517 §5). Its entries are decoded one by one, so
// that an unusable entry does not affect the others (RP-K1).
type document struct {
	Keys []json.RawMessage `json:"keys"`
}

func (d document) usable() []key {
	var keys []key
	for _, entry := range d.Keys[:min(len(d.Keys), maxKeys)] {
		if k, ok := parseEntry(entry); ok {
			keys = append(keys, k)
		}
	}
	return keys
}

// entry holds the members of a JWK that verification needs. Certificates and
// URLs are left out: the key is trusted because it is in the issuer's set.
type entry struct {
	Kty    string   `json:"kty"`
	Kid    string   `json:"kid,omitempty"`
	Alg    string   `json:"alg,omitempty"`
	Use    string   `json:"use,omitempty"`
	KeyOps []string `json:"key_ops,omitempty"`
	Crv    string   `json:"crv,omitempty"`
	N      string   `json:"n,omitempty"`
	E      string   `json:"e,omitempty"`
	X      string   `json:"x,omitempty"`
	Y      string   `json:"y,omitempty"`

	// Anybody can sign with a private key that is published.
	D json.RawMessage `json:"d,omitempty"`
	P json.RawMessage `json:"p,omitempty"`
	K json.RawMessage `json:"k,omitempty"`
}

func parseEntry(data []byte) (key, bool) {
	var e entry
	if strictjson.Unmarshal(data, &e) != nil || e.D != nil || e.P != nil || e.K != nil {
		return key{}, false
	}
	if e.KeyOps != nil && !slices.Contains(e.KeyOps, "verify") { // RFC 7517 §4.3
		return key{}, false
	}
	e.KeyOps = nil
	public, err := json.Marshal(e)
	if err != nil {
		return key{}, false
	}
	var j jose.JSONWebKey
	if j.UnmarshalJSON(public) != nil {
		return key{}, false
	}
	return fromJWK(j)
}

// fromJWK returns the public key of j if it may verify signatures.
func fromJWK(j jose.JSONWebKey) (key, bool) {
	if !j.Valid() || j.Use != "" && j.Use != "sig" { // RFC 7517 §4.2
		return key{}, false
	}
	if !j.IsPublic() {
		j = j.Public() // for a symmetric key this is the zero value
	}
	k := key{id: j.KeyID, alg: j.Algorithm, public: j.Key}
	if k.alg != "" && !fits(jose.SignatureAlgorithm(k.alg), k.public) {
		return key{}, false
	}
	switch p := k.public.(type) {
	case *rsa.PublicKey:
		bits := p.N.BitLen()
		return k, bits >= minRSABits && bits <= maxRSABits && p.E >= 3 && p.E%2 == 1
	case *ecdsa.PublicKey:
		return k, p.Curve == elliptic.P256() || p.Curve == elliptic.P384() || p.Curve == elliptic.P521()
	case ed25519.PublicKey:
		return k, len(p) == ed25519.PublicKeySize
	}
	return key{}, false
}

// keyFor returns the test for keys of an algorithm, or nil for an algorithm
// that we do not accept (RFC 7518 §3.1, RFC 8037 §3.1). It is the only list of
// algorithms. It has no symmetric algorithm and not "none": the key of an HMAC
// would be the client's secret, or a public key.
func keyFor(alg jose.SignatureAlgorithm) func(public any) bool {
	switch alg {
	case jose.RS256, jose.RS384, jose.RS512, jose.PS256, jose.PS384, jose.PS512:
		return isRSA
	case jose.ES256:
		return func(public any) bool { return onCurve(public, elliptic.P256()) }
	case jose.ES384:
		return func(public any) bool { return onCurve(public, elliptic.P384()) }
	case jose.ES512:
		return func(public any) bool { return onCurve(public, elliptic.P521()) }
	case jose.EdDSA:
		return isEd25519
	}
	return nil
}

// Asymmetric reports whether alg is a signature algorithm that we accept: RS,
// PS and ES of RFC 7518, and EdDSA.
func Asymmetric(alg string) bool { return keyFor(jose.SignatureAlgorithm(alg)) != nil }

// fits reports whether we accept alg and public is a key for it.
func fits(alg jose.SignatureAlgorithm, public any) bool {
	is := keyFor(alg)
	return is != nil && is(public)
}

func isRSA(public any) bool {
	_, ok := public.(*rsa.PublicKey)
	return ok
}

func onCurve(public any, c elliptic.Curve) bool {
	p, ok := public.(*ecdsa.PublicKey)
	return ok && p.Curve == c
}

func isEd25519(public any) bool {
	_, ok := public.(ed25519.PublicKey)
	return ok
}
