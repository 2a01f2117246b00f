package opserver

import (
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/rsa"
	"crypto/x509"
	_ "embed" // knownRSA
	"encoding/json"
	"encoding/pem"
	"errors"
	"net/http"
	"slices"
	"sync"

	"github.com/go-jose/go-jose/v4"
)

// rsaBits is the size of the RSA key. It is the least that RFC 7518 §3.3
// allows, because every server that signs needs a new key.
const rsaBits = 2048

// keyRing holds the signing keys and those of the previous rotation. There is
// one RSA, one P-256 and one Ed25519 key, made on first use because an RSA key
// takes about 50 ms. Those of other algorithms join them when they are first
// needed.
type keyRing struct {
	mu     sync.Mutex
	now    []jose.JSONWebKey
	before []jose.JSONWebKey
	alien  *jose.JSONWebKey // never published; see stranger
}

// MakeKeys makes a set of private keys, one for each algorithm that signs ID
// Tokens.
func MakeKeys() ([]jose.JSONWebKey, error) {
	r, err := rsa.GenerateKey(rand.Reader, rsaBits)
	if err != nil {
		return nil, err
	}
	return keysWith(r)
}

// knownRSA is a key that everybody knows.
//
//go:embed testdata/rsa.pem
var knownRSA []byte

// KnownKeys is [MakeKeys] for tests. It saves the time for an RSA key by taking
// one that stands in the repository, and so proves nothing to anybody.
func KnownKeys() ([]jose.JSONWebKey, error) {
	block, _ := pem.Decode(knownRSA)
	if block == nil {
		return nil, errors.New("opserver: the known key is no PEM")
	}
	r, err := x509.ParsePKCS1PrivateKey(block.Bytes)
	if err != nil {
		return nil, err
	}
	return keysWith(r)
}

func keysWith(r *rsa.PrivateKey) ([]jose.JSONWebKey, error) {
	e, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return nil, err
	}
	_, o, err := ed25519.GenerateKey(rand.Reader)
	if err != nil {
		return nil, err
	}
	return []jose.JSONWebKey{
		{Key: r, KeyID: newSecret()[:12], Algorithm: string(jose.RS256), Use: "sig"},
		{Key: e, KeyID: newSecret()[:12], Algorithm: string(jose.ES256), Use: "sig"},
		{Key: o, KeyID: newSecret()[:12], Algorithm: string(jose.EdDSA), Use: "sig"},
	}, nil
}

// firstAlgs are the algorithms of the keys that are always there.
func firstAlgs() []string {
	return []string{string(jose.RS256), string(jose.ES256), string(jose.EdDSA)}
}

// keyFor makes a key for an algorithm that is not among the first. RSA keys have
// one modulus for all of their algorithms, but each has a kid of its own, because
// a key is used with its alg alone (RFC 7517 §4.4).
func keyFor(alg jose.SignatureAlgorithm, have []jose.JSONWebKey) (jose.JSONWebKey, error) {
	made := jose.JSONWebKey{KeyID: newSecret()[:12], Algorithm: string(alg), Use: "sig"}
	var err error
	switch alg {
	case jose.RS384, jose.RS512, jose.PS256, jose.PS384, jose.PS512:
		for _, key := range have {
			if key.Algorithm == string(jose.RS256) {
				made.Key = key.Key
			}
		}
	case jose.ES384:
		made.Key, err = ecdsa.GenerateKey(elliptic.P384(), rand.Reader)
	case jose.ES512:
		made.Key, err = ecdsa.GenerateKey(elliptic.P521(), rand.Reader)
	}
	if err == nil && made.Key == nil {
		err = errors.New("opserver: no key for " + string(alg))
	}
	return made, err
}

// algs lists what the keys sign with.
func (k *keyRing) algs() []string {
	k.mu.Lock()
	defer k.mu.Unlock()
	out := firstAlgs()
	for _, key := range k.now {
		if !slices.Contains(out, key.Algorithm) {
			out = append(out, key.Algorithm)
		}
	}
	return out
}

// replace puts new keys in the place of the present ones, which it returns. The
// algorithms stay. The lock is held.
func (k *keyRing) replace(keys []jose.JSONWebKey) (before []jose.JSONWebKey) {
	before, k.now = k.now, slices.Clone(keys)
	for _, old := range before {
		alg := jose.SignatureAlgorithm(old.Algorithm)
		if slices.Contains(firstAlgs(), old.Algorithm) || slices.ContainsFunc(keys, func(key jose.JSONWebKey) bool { return key.Algorithm == old.Algorithm }) {
			continue
		}
		if key, err := keyFor(alg, k.now); err == nil {
			k.now = append(k.now, key)
		}
	}
	return before
}

// SetKeys signs with these keys, which come from [MakeKeys], from now on. The
// server forgets the previous keys.
func (s *Server) SetKeys(keys []jose.JSONWebKey) {
	s.keys.mu.Lock()
	defer s.keys.mu.Unlock()
	s.keys.replace(keys)
	s.keys.before = nil
}

// RotateTo is [Server.RotateKeys] with existing keys.
func (s *Server) RotateTo(keys []jose.JSONWebKey) {
	s.keys.mu.Lock()
	defer s.keys.mu.Unlock()
	s.keys.before = s.keys.replace(keys)
}

// current returns the keys that sign.
func (k *keyRing) current() ([]jose.JSONWebKey, error) {
	k.mu.Lock()
	defer k.mu.Unlock()
	if k.now == nil {
		made, err := MakeKeys()
		if err != nil {
			return nil, err
		}
		k.now = made
	}
	return k.now, nil
}

// public returns the keys that the jwks_uri shows: the signing keys and the
// previous ones.
func (k *keyRing) public() ([]jose.JSONWebKey, error) {
	signing, err := k.current()
	if err != nil {
		return nil, err
	}
	k.mu.Lock()
	defer k.mu.Unlock()
	all := slices.Concat(signing, k.before)
	out := make([]jose.JSONWebKey, 0, len(all))
	for _, key := range all {
		out = append(out, key.Public())
	}
	return out, nil
}

// rotate makes new keys. The present ones verify until the next rotation.
func (k *keyRing) rotate() error {
	made, err := MakeKeys()
	if err != nil {
		return err
	}
	k.mu.Lock()
	defer k.mu.Unlock()
	k.before = k.replace(made)
	return nil
}

// signing returns the key for an algorithm.
func (k *keyRing) signing(alg jose.SignatureAlgorithm) (jose.JSONWebKey, error) {
	keys, err := k.current()
	if err != nil {
		return jose.JSONWebKey{}, err
	}
	for _, key := range keys {
		if key.Algorithm == string(alg) {
			return key, nil
		}
	}
	k.mu.Lock()
	defer k.mu.Unlock()
	for _, key := range k.now {
		if key.Algorithm == string(alg) { // made meanwhile
			return key, nil
		}
	}
	made, err := keyFor(alg, k.now)
	if err == nil {
		k.now = append(slices.Clip(k.now), made)
	}
	return made, err
}

// stranger returns a key that is in no key set. It is always the same key.
func (k *keyRing) stranger() (jose.JSONWebKey, error) {
	k.mu.Lock()
	defer k.mu.Unlock()
	if k.alien == nil {
		made, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
		if err != nil {
			return jose.JSONWebKey{}, err
		}
		k.alien = &jose.JSONWebKey{Key: made, KeyID: newSecret()[:12], Algorithm: string(jose.ES256), Use: "sig"}
	}
	return *k.alien, nil
}

// sign makes a compact JWS over claims.
func (k *keyRing) sign(alg jose.SignatureAlgorithm, typ string, claims any) (string, error) {
	payload, err := json.Marshal(claims)
	if err != nil {
		return "", err
	}
	key, err := k.signing(alg)
	if err != nil {
		return "", err
	}
	return jws{alg: alg, key: key.Key, kid: key.KeyID, typ: typ}.compact(payload)
}

// RotateKeys makes new signing keys. The previous keys stay in the key set
// until the next rotation, so two rotations withdraw them.
func (s *Server) RotateKeys() error { return s.keys.rotate() }

func (s *Server) serveJWKS(w http.ResponseWriter, _ *http.Request) {
	keys, err := s.keys.public()
	if err != nil {
		http.Error(w, "no keys", http.StatusInternalServerError)
		return
	}
	entries, err := s.spoilKeys(keys)
	if err != nil {
		http.Error(w, "no keys", http.StatusInternalServerError)
		return
	}
	w.Header().Set("Cache-Control", "public, max-age=300")
	writeJSON(w, http.StatusOK, map[string]any{"keys": entries})
}
