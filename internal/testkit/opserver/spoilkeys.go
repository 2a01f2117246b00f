package opserver

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/rsa"
	"encoding/json"
	"math/big"
	"strings"

	"github.com/go-jose/go-jose/v4"
)

// spoilKeys changes the key set as the faults say.
func (s *Server) spoilKeys(keys []jose.JSONWebKey) ([]any, error) {
	if s.wrong.has(EmptyKeySet) {
		return []any{}, nil
	}
	var out []any
	if s.wrong.has(OddKeys) {
		out = append(out, oddKeys()...)
	}
	for _, key := range keys {
		decoys, err := s.decoys(key)
		if err != nil {
			return nil, err
		}
		out = append(out, decoys...)
		if s.wrong.has(WithdrawnKey) {
			continue
		}
		if s.wrong.has(EncryptionKey) {
			key.Use = "enc"
		}
		if s.wrong.has(OtherKeyAlgorithm) {
			key.Algorithm = otherAlg(key.Algorithm)
		}
		out = append(out, key)
	}
	return out, nil
}

// otherAlg is an algorithm that a key of alg is not for.
func otherAlg(alg string) string {
	switch other := map[string]string{"RS256": "RS512", "ES256": "ES384", "EdDSA": "ES256"}[alg]; {
	case other != "":
		return other
	case strings.HasPrefix(alg, "ES"):
		return "ES256"
	}
	return "RS256"
}

// decoys are keys that come before a key. They are keys of other kinds with its
// kid, two more RSA keys or, if the key itself is withdrawn, one of its kind
// under another kid.
func (s *Server) decoys(key jose.JSONWebKey) (out []any, err error) {
	if s.wrong.has(DecoyKeys) {
		curve, err := ecdsa.GenerateKey(elliptic.P384(), rand.Reader)
		if err != nil {
			return nil, err
		}
		out = append(out, jose.JSONWebKey{Key: &curve.PublicKey, KeyID: key.KeyID, Algorithm: "ES384", Use: "sig"})
		if key.Algorithm != string(jose.RS256) {
			decoy, err := decoyRSA(key.KeyID)
			if err != nil {
				return nil, err
			}
			out = append(out, decoy)
		}
	}
	n := 0
	if s.wrong.has(ThreeKeys) && key.Algorithm == string(jose.RS256) {
		n = 2
	}
	if s.wrong.has(WithdrawnKey) {
		n = 1
	}
	for range n {
		decoy, err := decoyRSA(newSecret()[:12])
		if err != nil {
			return nil, err
		}
		out = append(out, decoy)
	}
	return out, nil
}

// decoyRSA makes an RSA key that verifies nothing, because nobody knows the
// factors of its modulus. Unlike a real key it takes no time to make.
func decoyRSA(kid string) (jose.JSONWebKey, error) {
	n, err := rand.Int(rand.Reader, new(big.Int).Lsh(big.NewInt(1), rsaBits))
	if err != nil {
		return jose.JSONWebKey{}, err
	}
	n.SetBit(n, rsaBits-1, 1)
	n.SetBit(n, 0, 1)
	return jose.JSONWebKey{Key: &rsa.PublicKey{N: n, E: 65537}, KeyID: kid, Algorithm: string(jose.RS256), Use: "sig"}, nil
}

// oddKeys are entries that a client may not understand and must skip. RFC 7517
// §5.
func oddKeys() []any {
	const x = "AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA" // 32 bytes
	var out []any
	for _, entry := range []string{
		`{"kty":"EC","crv":"secp256k1","kid":"odd-1","use":"sig","alg":"ES256K","x":"` + x + `","y":"` + x + `"}`,
		`{"kty":"OKP","crv":"Ed448","kid":"odd-2","use":"sig","x":"` + x + x[:33] + `"}`,
		`{"kty":"OKP","crv":"X25519","kid":"odd-3","use":"enc","x":"` + x + `"}`,
		`{"kty":"oct","kid":"odd-4","alg":"HS256","k":"` + x + `"}`,
		`{"kty":"AKP","kid":"odd-5","alg":"ML-DSA-44","pub":"` + x + `"}`,
		`{"kty":"RSA","kid":"odd-6","use":"sig","n":"***","e":"AQAB"}`,
		`{"kty":"EC","crv":"P-256","kid":"odd-7","use":"sig","x":"` + x + `","y":"AA"}`,
		`{"kid":"odd-8"}`,
	} {
		out = append(out, json.RawMessage(entry))
	}
	return out
}
