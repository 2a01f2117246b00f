package dpop

import (
	"crypto"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	"crypto/rsa"
	"crypto/sha256"
	"crypto/sha512"
	"encoding/base64"
	"errors"
	"math/big"
	"slices"
	"strings"

	"example.com/gatehouse/internal/strictjson"
)

const (
	// RSA keys outside these sizes are refused, as those of issuers are. Below
	// 2048 bits they are weak (RFC 7518 §3.3); above 8192 each check takes
	// milliseconds.
	minRSABits = 2048
	maxRSABits = 8192
	// maxExponent bounds the public exponent of an RSA key, as crypto/rsa does.
	maxExponent = 1<<31 - 1
)

// Algorithms are the values of alg that a proof may have, for the parameter algs
// of a challenge (§5.1) and for metadata. All are asymmetric (§4.3, item 5).
func Algorithms() []string {
	return []string{"ES256", "ES384", "ES512", "EdDSA", "RS256", "RS384", "RS512", "PS256", "PS384", "PS512"}
}

// header is what counts in the header of a proof.
type header struct {
	alg string
	key *key
}

// readHeader reads and judges the header (§4.3, items 2 to 5 and 7).
func readHeader(data []byte) (header, error) {
	var h header
	var typ string
	var jwk strictjson.Value
	extended := false
	err := strictjson.Object(data, func(name string, v strictjson.Value) (err error) {
		switch name {
		case "alg":
			h.alg, err = v.Text()
		case "typ":
			typ, err = v.Text()
		case "jwk":
			jwk = v
		case "crit", "b64": // RFC 7515 §4.1.11: we know no extension
			extended = true
		}
		return err
	})
	switch {
	case err != nil:
		return header{}, refuse("its header is not strict JSON of the right types: %w", err)
	case typ != "dpop+jwt":
		return header{}, refuse("typ is not dpop+jwt")
	case !slices.Contains(Algorithms(), h.alg):
		return header{}, refuse("alg is none of %q", Algorithms())
	case extended:
		return header{}, refuse("it has crit or b64")
	case !jwk.Object():
		return header{}, refuse("it has no jwk")
	}
	h.key, err = readKey(jwk, h.alg)
	return h, err
}

// key is a public key with the members that its thumbprint is made of.
type key struct {
	public crypto.PublicKey // *ecdsa.PublicKey, ed25519.PublicKey or *rsa.PublicKey
	text   string           // RFC 7638 §3
}

// thumbprint is the SHA-256 of the key (RFC 7638 §3).
func (k *key) thumbprint() string {
	sum := sha256.Sum256([]byte(k.text))
	return base64.RawURLEncoding.EncodeToString(sum[:])
}

// jwk holds the members of a JWK that count (RFC 7517 §4, RFC 7518 §6.2, §6.3,
// RFC 8037 §2).
type jwk struct {
	kty, crv, alg, use string
	x, y, n, e         []byte
	private            bool // it has a member of a private or symmetric key
	verifies           bool // key_ops is absent or has "verify"
}

// readKey reads the public key for an algorithm. Its numbers are those of the
// text: a thumbprint of other numbers would be that of another key.
func readKey(v strictjson.Value, alg string) (*key, error) {
	j := jwk{verifies: true}
	if err := strictjson.Object([]byte(v), j.set); err != nil {
		return nil, refuse("its jwk is not strict JSON of the right types: %w", err)
	}
	switch {
	case j.private:
		return nil, refuse("its jwk is private or symmetric")
	case j.alg != "" && j.alg != alg: // RFC 7517 §4.4
		return nil, refuse("its jwk is for another alg")
	case j.use != "" && j.use != "sig", !j.verifies: // RFC 7517 §4.2, §4.3
		return nil, refuse("its jwk is not for signatures")
	}
	var k *key
	switch {
	case j.kty == "EC" && j.crv == curveOf(alg):
		k = j.ec()
	case j.kty == "OKP" && j.crv == "Ed25519" && alg == "EdDSA":
		k = j.ed25519()
	case j.kty == "RSA" && (alg[:2] == "RS" || alg[:2] == "PS"):
		k = j.rsa()
	}
	if k == nil {
		return nil, refuse("its jwk is no public key for its alg")
	}
	return k, nil
}

func (j *jwk) set(name string, v strictjson.Value) (err error) {
	switch name {
	case "kty":
		j.kty, err = v.Text()
	case "crv":
		j.crv, err = v.Text()
	case "alg":
		j.alg, err = v.Text()
	case "use":
		j.use, err = v.Text()
	case "key_ops":
		var ops []string
		ops, err = v.Texts()
		j.verifies = slices.Contains(ops, "verify")
	case "x":
		j.x, err = octets(v)
	case "y":
		j.y, err = octets(v)
	case "n":
		j.n, err = octets(v)
	case "e":
		j.e, err = octets(v)
	case "d", "p", "q", "dp", "dq", "qi", "oth", "k", "priv":
		j.private = true
	}
	return err
}

// octets reads base64url without padding, line breaks or anything else (RFC 7515
// §2).
func octets(v strictjson.Value) ([]byte, error) {
	text, err := v.Text()
	switch {
	case err != nil:
		return nil, err
	case strings.ContainsAny(text, "\r\n"): // which Go skips
		return nil, errors.New("a line break in base64url")
	}
	return base64.RawURLEncoding.Strict().DecodeString(text)
}

func curveOf(alg string) string {
	switch alg {
	case "ES256":
		return "P-256"
	case "ES384":
		return "P-384"
	case "ES512":
		return "P-521"
	}
	return "" // no curve of a JWK
}

func curve(name string) elliptic.Curve {
	switch name {
	case "P-256":
		return elliptic.P256()
	case "P-384":
		return elliptic.P384()
	}
	return elliptic.P521()
}

// ec returns nil unless both coordinates have the full size (RFC 7518 §6.2.1.2)
// and make a point of the curve.
func (j *jwk) ec() *key {
	c := curve(j.crv)
	size := (c.Params().BitSize + 7) / 8
	if len(j.x) != size || len(j.y) != size {
		return nil
	}
	public, err := ecdsa.ParseUncompressedPublicKey(c, slices.Concat([]byte{4}, j.x, j.y))
	if err != nil {
		return nil
	}
	return &key{public, `{"crv":"` + j.crv + `","kty":"EC","x":"` + encode(j.x) + `","y":"` + encode(j.y) + `"}`}
}

// PublicJWK returns a public key as a JWK with no members but those of its
// thumbprint (RFC 7638 §3), and that thumbprint. The key is one that [Algorithms]
// has an algorithm for; of another both are "".
func PublicJWK(public crypto.PublicKey) (text, thumbprint string) {
	var j jwk
	var k *key
	switch public := public.(type) {
	case *ecdsa.PublicKey:
		point, err := public.Bytes() // 4, x, y
		if err != nil {
			return "", ""
		}
		half := (len(point) - 1) / 2
		j.crv, j.x, j.y = public.Curve.Params().Name, point[1:1+half], point[1+half:]
		if !slices.Contains([]string{"P-256", "P-384", "P-521"}, j.crv) {
			return "", ""
		}
		k = j.ec()
	case ed25519.PublicKey:
		j.x = public
		k = j.ed25519()
	case *rsa.PublicKey:
		j.n, j.e = public.N.Bytes(), big.NewInt(int64(public.E)).Bytes()
		k = j.rsa()
	}
	if k == nil {
		return "", ""
	}
	return k.text, k.thumbprint()
}

func (j *jwk) ed25519() *key {
	if len(j.x) != ed25519.PublicKeySize {
		return nil
	}
	return &key{ed25519.PublicKey(j.x), `{"crv":"Ed25519","kty":"OKP","x":"` + encode(j.x) + `"}`}
}

func (j *jwk) rsa() *key {
	n, e := new(big.Int).SetBytes(j.n), new(big.Int).SetBytes(j.e)
	if n.BitLen() < minRSABits || n.BitLen() > maxRSABits || n.Bit(0) == 0 ||
		!e.IsInt64() || e.Int64() < 3 || e.Int64() > maxExponent || e.Bit(0) == 0 {
		return nil
	}
	return &key{&rsa.PublicKey{N: n, E: int(e.Int64())}, `{"e":"` + encode(e.Bytes()) + `","kty":"RSA","n":"` + encode(n.Bytes()) + `"}`}
}

func encode(b []byte) string { return base64.RawURLEncoding.EncodeToString(b) }

// verify reports whether signature is one of the key over signed (RFC 7518 §3.3
// to §3.5, RFC 8037 §3.1). alg fits the key.
func (k *key) verify(alg string, signed string, signature []byte) bool {
	if public, ok := k.public.(ed25519.PublicKey); ok {
		return ed25519.Verify(public, []byte(signed), signature)
	}
	hash, sum := digest(alg, signed)
	switch public := k.public.(type) {
	case *ecdsa.PublicKey:
		size := (public.Curve.Params().BitSize + 7) / 8
		if len(signature) != 2*size {
			return false
		}
		r, s := new(big.Int).SetBytes(signature[:size]), new(big.Int).SetBytes(signature[size:])
		return ecdsa.Verify(public, sum, r, s)
	case *rsa.PublicKey:
		if alg[:2] == "PS" {
			return rsa.VerifyPSS(public, hash, sum, signature, &rsa.PSSOptions{SaltLength: rsa.PSSSaltLengthEqualsHash}) == nil
		}
		return rsa.VerifyPKCS1v15(public, hash, sum, signature) == nil
	}
	return false
}

// digest hashes with the function that the digits of alg name.
func digest(alg, signed string) (crypto.Hash, []byte) {
	switch alg[2:] {
	case "384":
		sum := sha512.Sum384([]byte(signed))
		return crypto.SHA384, sum[:]
	case "512":
		sum := sha512.Sum512([]byte(signed))
		return crypto.SHA512, sum[:]
	}
	sum := sha256.Sum256([]byte(signed))
	return crypto.SHA256, sum[:]
}
