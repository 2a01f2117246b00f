package assertion

import (
	"crypto"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/rsa"
	_ "crypto/sha256" // the hashes of algorithms
	_ "crypto/sha512"
	"encoding/asn1"
	"errors"
	"fmt"
	"math/big"
	"reflect"
	"slices"
)

// family is how an algorithm computes.
type family int

const (
	familyHMAC family = iota
	familyPKCS1
	familyPSS
	familyECDSA
	familyEdDSA
)

// algorithm is a row of RFC 7518 §3.1 or RFC 8037 §3.1.
type algorithm struct {
	family family
	hash   crypto.Hash
	curve  elliptic.Curve // of ECDSA
}

var algorithms = map[string]algorithm{
	"HS256": {familyHMAC, crypto.SHA256, nil},
	"HS384": {familyHMAC, crypto.SHA384, nil},
	"HS512": {familyHMAC, crypto.SHA512, nil},
	"RS256": {familyPKCS1, crypto.SHA256, nil},
	"RS384": {familyPKCS1, crypto.SHA384, nil},
	"RS512": {familyPKCS1, crypto.SHA512, nil},
	"PS256": {familyPSS, crypto.SHA256, nil},
	"PS384": {familyPSS, crypto.SHA384, nil},
	"PS512": {familyPSS, crypto.SHA512, nil},
	"ES256": {familyECDSA, crypto.SHA256, elliptic.P256()},
	"ES384": {familyECDSA, crypto.SHA384, elliptic.P384()},
	"ES512": {familyECDSA, crypto.SHA512, elliptic.P521()},
	"EdDSA": {familyEdDSA, 0, nil},
}

// preferred is the order in which an algorithm is chosen. Servers know RS256 and
// HS256 first (OpenID Connect Core §15.1); of a curve there is one.
var preferred = []string{"HS256", "HS384", "HS512", "RS256", "PS256", "RS384", "PS384", "RS512", "PS512", "ES256", "ES384", "ES512", "EdDSA"}

// minRSA is the shortest RSA key, in bits (RFC 7518 §3.3).
const minRSA = 2048

// Known reports whether there is an algorithm of that name.
func Known(alg string) bool {
	_, ok := algorithms[alg]
	return ok
}

// FittingSecret lists the algorithms that a secret is long enough for, the
// preferred first: it must be as long as the hash (RFC 7518 §3.2).
func FittingSecret(secret string) (algs []string) {
	for _, name := range SecretAlgorithms() {
		if len(secret) >= algorithms[name].hash.Size() {
			algs = append(algs, name)
		}
	}
	return algs
}

// SecretAlgorithms lists the algorithms for a secret, the preferred first.
func SecretAlgorithms() []string {
	return slices.DeleteFunc(slices.Clone(preferred), func(name string) bool { return algorithms[name].family != familyHMAC })
}

// SecretLength is how many bytes the secret has to have for the algorithm. It is
// 0 if that is not for secrets.
func SecretLength(alg string) int {
	if a, ok := algorithms[alg]; ok && a.family == familyHMAC {
		return a.hash.Size()
	}
	return 0
}

// PublicOf returns the public key of a signer. Its error says why there is none.
func PublicOf(signer crypto.Signer) (public crypto.PublicKey, err error) {
	switch v := reflect.ValueOf(signer); v.Kind() {
	case reflect.Invalid:
		return nil, errors.New("nil")
	case reflect.Pointer, reflect.Slice, reflect.Map, reflect.Func, reflect.Chan:
		if v.IsNil() {
			return nil, errors.New("nil")
		}
	}
	defer func() {
		if recover() != nil { // such as an Ed25519 key that is too short
			public, err = nil, errors.New("its method Public panicked")
		}
	}()
	if public = signer.Public(); public == nil {
		return nil, errors.New("it has no public key")
	}
	return public, nil
}

// Fitting lists the algorithms of a public key, the preferred first. Its error
// says why there are none.
func Fitting(public crypto.PublicKey) (algs []string, err error) {
	if err := weak(public); err != nil {
		return nil, err
	}
	for _, name := range preferred {
		if algorithms[name].fits(public) {
			algs = append(algs, name)
		}
	}
	if len(algs) == 0 {
		return nil, fmt.Errorf("a key of type %T is none of RSA, ECDSA with P-256, P-384 or P-521, and Ed25519", public)
	}
	return algs, nil
}

// weak returns an error about a key that must not be used.
func weak(public crypto.PublicKey) error {
	switch key := public.(type) {
	case *rsa.PublicKey:
		if key == nil || key.N == nil {
			return errors.New("an RSA key without a modulus")
		}
		if n := key.N.BitLen(); n < minRSA {
			return fmt.Errorf("an RSA key of %d bits, and %d are the least", n, minRSA)
		}
		if key.E < 3 || key.E%2 == 0 {
			return errors.New("an RSA key with an exponent that is none")
		}
	case *ecdsa.PublicKey:
		if key == nil || key.Curve == nil {
			return errors.New("an ECDSA key without a curve")
		}
		if slices.Contains([]elliptic.Curve{elliptic.P256(), elliptic.P384(), elliptic.P521()}, key.Curve) && !hasPoint(key) {
			return errors.New("an ECDSA key whose point is not on its curve")
		}
	case ed25519.PublicKey:
		if len(key) != ed25519.PublicKeySize {
			return fmt.Errorf("an Ed25519 key of %d bytes", len(key))
		}
	}
	return nil
}

// hasPoint reports whether the key has a point on its curve.
func hasPoint(key *ecdsa.PublicKey) (ok bool) {
	defer func() { _ = recover() }() // without coordinates the standard library panics
	_, err := key.ECDH()
	return err == nil
}

// whole returns an error if a private key of the standard library lacks its
// private part, or has one that is none.
func whole(signer crypto.Signer) (err error) {
	defer func() {
		if recover() != nil {
			err = errors.New("its private part is not there, or is none")
		}
	}()
	switch key := signer.(type) {
	case *rsa.PrivateKey:
		err = key.Validate()
	case *ecdsa.PrivateKey:
		_, err = key.ECDH()
	}
	if err != nil { // the text of the library is about numbers
		err = errors.New("its private part is not there, or is none")
	}
	return err
}

func (a algorithm) fits(public crypto.PublicKey) bool {
	switch key := public.(type) {
	case *rsa.PublicKey:
		return a.family == familyPKCS1 || a.family == familyPSS
	case *ecdsa.PublicKey:
		return a.family == familyECDSA && a.curve == key.Curve
	case ed25519.PublicKey:
		return a.family == familyEdDSA
	}
	return false
}

// sign returns the signature of input in the form of RFC 7518 §3. The package
// cryptosigner of go-jose is not used: it makes PSS signatures with the longest
// salt, where §3.5 asks for one as long as the hash, and panics on what a broken
// signer may return.
func (a algorithm) sign(signer crypto.Signer, input []byte) ([]byte, error) {
	if a.family == familyEdDSA {
		return signer.Sign(rand.Reader, input, crypto.Hash(0)) // RFC 8037 §3.1
	}
	var options crypto.SignerOpts = a.hash
	if a.family == familyPSS {
		options = &rsa.PSSOptions{SaltLength: rsa.PSSSaltLengthEqualsHash, Hash: a.hash}
	}
	signature, err := signer.Sign(rand.Reader, a.sum(input), options)
	if err != nil || a.family != familyECDSA {
		return signature, err
	}
	return a.joined(signature)
}

func (a algorithm) sum(input []byte) []byte {
	h := a.hash.New()
	h.Write(input)
	return h.Sum(nil)
}

// joined turns the ASN.1 form of an ECDSA signature into the two numbers of
// RFC 7518 §3.4.
func (a algorithm) joined(der []byte) ([]byte, error) {
	var parts struct{ R, S *big.Int }
	size := a.size()
	rest, err := asn1.Unmarshal(der, &parts)
	if err != nil || len(rest) > 0 {
		return nil, errors.New("it is no ECDSA signature in ASN.1")
	}
	out := make([]byte, 2*size)
	for i, n := range []*big.Int{parts.R, parts.S} {
		if n.Sign() <= 0 || n.BitLen() > 8*size {
			return nil, errors.New("it is no ECDSA signature of this curve")
		}
		n.FillBytes(out[i*size : (i+1)*size])
	}
	return out, nil
}

// size is the length of one number of a signature, in bytes.
func (a algorithm) size() int { return (a.curve.Params().BitSize + 7) / 8 }

func (a algorithm) verifies(public crypto.PublicKey, input, signature []byte) bool {
	switch key := public.(type) {
	case *rsa.PublicKey:
		if a.family == familyPSS {
			return rsa.VerifyPSS(key, a.hash, a.sum(input), signature, &rsa.PSSOptions{SaltLength: rsa.PSSSaltLengthEqualsHash}) == nil
		}
		return rsa.VerifyPKCS1v15(key, a.hash, a.sum(input), signature) == nil
	case *ecdsa.PublicKey:
		half := a.size()
		return ecdsa.Verify(key, a.sum(input), new(big.Int).SetBytes(signature[:half]), new(big.Int).SetBytes(signature[half:]))
	case ed25519.PublicKey:
		return ed25519.Verify(key, input, signature)
	}
	return false
}
