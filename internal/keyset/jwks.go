package keyset

import (
	"crypto"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	"crypto/rsa"
	"encoding/json"
	"fmt"
	"slices"

	"example.com/gatehouse/internal/outbound"
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

func (k key) equals(other key) bool {
	public, ok := k.public.(interface{ Equal(crypto.PublicKey) bool })
	return ok && k.id == other.id && k.alg == other.alg && public.Equal(other.public)
}

// document is a JWK Set (RFC 7517 §5). Its entries are decoded one by one, so
// that an unusable entry does not affect the others (RP-K1).
type document struct {
	Keys []json.RawMessage `json:"keys"`
}

// Skipped is an entry of a set that is not used.
type Skipped struct {
	Place  int    // in the set, from 0
	Kid    string // shortened; "" if there is none or it cannot be read
	Reason string
	// Other means that the key is good, but meant for something else, such as
	// encryption.
	Other bool
}

// skip is why an entry is not used.
type skip struct {
	reason string
	other  bool
}

func (d document) usable() (keys []key, skipped []Skipped) {
	for i, entry := range d.Keys {
		if i == maxKeys {
			return keys, append(skipped, Skipped{Place: i, Reason: "this and all that follow: too many keys"})
		}
		if k, kid, why := parseEntry(entry); why == nil {
			keys = append(keys, k)
		} else {
			skipped = append(skipped, Skipped{i, outbound.Clip(kid), why.reason, why.other})
		}
	}
	return keys, skipped
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

func parseEntry(data []byte) (k key, kid string, why *skip) {
	var e entry
	if strictjson.Unmarshal(data, &e) != nil {
		kid, reason := unreadable(data)
		return key{}, kid, &skip{reason: reason}
	}
	if e.D != nil || e.P != nil || e.K != nil {
		return key{}, e.Kid, &skip{reason: "it is not a public key"}
	}
	if e.KeyOps != nil && !slices.Contains(e.KeyOps, "verify") { // RFC 7517 §4.3
		return key{}, e.Kid, &skip{"key_ops has no verify", true}
	}
	e.KeyOps = nil
	public, err := json.Marshal(e)
	if err != nil {
		return key{}, e.Kid, &skip{reason: "it cannot be read"}
	}
	var j jose.JSONWebKey
	if j.UnmarshalJSON(public) != nil {
		if e.Use != "" && e.Use != "sig" {
			return key{}, e.Kid, &skip{"use is not sig", true}
		}
		return key{}, e.Kid, &skip{reason: "kty, crv or a number is missing, wrong or not supported"}
	}
	k, why = fromJWK(j)
	return k, e.Kid, why
}

// unreadable says what is wrong with an entry that does not fit the type, and
// which one it is.
func unreadable(data []byte) (kid, reason string) {
	reason = "it is not an object"
	err := strictjson.Object(data, func(name string, v strictjson.Value) error {
		alone := fmt.Sprintf("{%q:%s}", name, v) // name is one of those that an entry has, if it does not fit
		if strictjson.Unmarshal([]byte(alone), new(entry)) != nil {
			reason = name + " has the wrong type"
		} else if name == "kid" {
			kid, _ = v.Text()
		}
		return nil
	})
	if err != nil {
		kid = ""
	}
	return kid, reason
}

// fromJWK returns the public key of j if it may verify signatures.
func fromJWK(j jose.JSONWebKey) (key, *skip) {
	if j.Use != "" && j.Use != "sig" { // RFC 7517 §4.2
		return key{}, &skip{"use is not sig", true}
	}
	if !j.Valid() {
		return key{}, &skip{reason: "its numbers do not make a key"}
	}
	if !j.IsPublic() {
		j = j.Public() // for a symmetric key this is the zero value
	}
	k := key{id: j.KeyID, alg: j.Algorithm, public: j.Key}
	if k.alg != "" && !fits(jose.SignatureAlgorithm(k.alg), k.public) {
		return key{}, &skip{reason: "alg is not one that we accept for this kind of key"}
	}
	good := false
	switch p := k.public.(type) {
	case *rsa.PublicKey:
		bits := p.N.BitLen()
		if bits < minRSABits || bits > maxRSABits {
			return key{}, &skip{reason: fmt.Sprintf("RSA with %d bits, which is not between %d and %d", bits, minRSABits, maxRSABits)}
		}
		good = p.E >= 3 && p.E%2 == 1
	case *ecdsa.PublicKey:
		good = p.Curve == elliptic.P256() || p.Curve == elliptic.P384() || p.Curve == elliptic.P521()
	case ed25519.PublicKey:
		good = len(p) == ed25519.PublicKeySize
	}
	if !good {
		return key{}, &skip{reason: "not a public key of a kind that we accept"}
	}
	return k, nil
}

// Algorithms lists the algorithms that we accept.
func Algorithms() []string {
	return []string{"RS256", "RS384", "RS512", "PS256", "PS384", "PS512", "ES256", "ES384", "ES512", "EdDSA"}
}

// keyFor returns the test for keys of an algorithm, or nil for an algorithm
// that we do not accept (RFC 7518 §3.1, RFC 8037 §3.1). It has no symmetric algorithm and not "none": the key of an HMAC
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
