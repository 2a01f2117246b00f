package keyset

import (
	"crypto"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/rsa"
	_ "crypto/sha256" // the hashes of the algorithms
	_ "crypto/sha512"
	"errors"
	"fmt"

	"example.com/gatehouse/internal/compact"
	"github.com/go-jose/go-jose/v4"
)

// token is a token that is parsed but not verified.
type token struct {
	kid                        string
	alg                        jose.SignatureAlgorithm
	signed, payload, signature []byte
}

func parse(t compact.Token) (token, error) {
	h := t.Header()
	alg := jose.SignatureAlgorithm(h.Alg)
	// We support no extensions, so crit is always an error (RFC 7515 §4.1.11),
	// and b64 is valid only together with crit (RFC 7797 §6).
	switch {
	case h.Crit || h.B64:
		return token{}, errExtension
	case !Asymmetric(h.Alg):
		return token{}, ErrMalformed
	}
	// We use no other member, but what go-jose rejects is no token either: a
	// private key in jwk, for example (RFC 7515 §4.1.3).
	if h.Other {
		if _, err := jose.ParseSignedCompact(t.Raw(), []jose.SignatureAlgorithm{alg}); err != nil {
			return token{}, errHeader
		}
	}
	signed, payload, signature, err := t.Parts()
	if err != nil {
		return token{}, errEncoding
	}
	return token{h.Kid, alg, signed, payload, signature}, nil
}

// What is wrong with a token for which no key could be good.
var (
	errExtension = fmt.Errorf("%w: its header has crit or b64, and no extension is supported", ErrMalformed)
	errHeader    = fmt.Errorf("%w: a member of its header is no good", ErrMalformed)
	errEncoding  = fmt.Errorf("%w: a part is not base64url", ErrMalformed)
)

// errUnfit means that a key is of another kind than the token's algorithm.
var errUnfit = errors.New("keyset: the key does not fit the algorithm")

// try verifies the token with one key.
func (t token) try(k key) ([]byte, error) {
	if k.alg != "" && k.alg != string(t.alg) || !fits(t.alg, k.public) {
		return nil, errUnfit
	}
	if !t.signedBy(k.public) {
		return nil, ErrBadSignature
	}
	return t.payload, nil
}

// signedBy checks the signature with the standard library (RFC 7518 §3, RFC 8037
// §3.1). The key fits the algorithm.
func (t token) signedBy(public any) bool {
	switch p := public.(type) {
	case ed25519.PublicKey:
		return ed25519.Verify(p, t.signed, t.signature)
	case *rsa.PublicKey:
		switch hash := hashOf(t.alg); t.alg {
		case jose.PS256, jose.PS384, jose.PS512:
			return rsa.VerifyPSS(p, hash, sum(hash, t.signed), t.signature, nil) == nil
		default:
			return rsa.VerifyPKCS1v15(p, hash, sum(hash, t.signed), t.signature) == nil
		}
	case *ecdsa.PublicKey:
		size := (p.Curve.Params().BitSize + 7) / 8
		if len(t.signature) != 2*size { // RFC 7518 §3.4
			return false
		}
		return ecdsa.VerifyASN1(p, sum(hashOf(t.alg), t.signed), toASN1(t.signature[:size], t.signature[size:]))
	}
	return false
}

// toASN1 encodes two numbers as the standard library wants them (RFC 3279
// §2.2.3), without the detour of ecdsa.Verify through big.Int.
func toASN1(r, s []byte) []byte {
	body := make([]byte, 0, 2*(len(r)+3))
	for _, n := range [][]byte{r, s} {
		for len(n) > 1 && n[0] == 0 {
			n = n[1:]
		}
		if n[0] < 0x80 {
			body = append(body, 0x02, byte(len(n))) // INTEGER
		} else {
			body = append(body, 0x02, byte(len(n)+1), 0) // or it would be negative
		}
		body = append(body, n...)
	}
	head := []byte{0x30, byte(len(body))} // SEQUENCE
	if len(body) >= 0x80 {
		head = []byte{0x30, 0x81, byte(len(body))} // its length has a byte of its own
	}
	return append(head, body...)
}

// hashOf returns the hash of an algorithm that has one.
func hashOf(alg jose.SignatureAlgorithm) crypto.Hash {
	switch alg {
	case jose.RS384, jose.PS384, jose.ES384:
		return crypto.SHA384
	case jose.RS512, jose.PS512, jose.ES512:
		return crypto.SHA512
	}
	return crypto.SHA256
}

func sum(hash crypto.Hash, data []byte) []byte {
	h := hash.New()
	h.Write(data)
	return h.Sum(nil)
}
