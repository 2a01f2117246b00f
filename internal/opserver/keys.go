package opserver

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/rsa"
	"encoding/json"
	"errors"
	"net/http"
	"slices"
	"sync"

	"github.com/go-jose/go-jose/v4"
)

// rsaBits is the size of the RSA key: the least that RFC 7518 §3.3 allows, since
// a key is made for every server that signs.
const rsaBits = 2048

// keyRing holds the signing keys: one RSA and one P-256 key, made at first need
// because an RSA key takes about 50 ms, and those of the rotation before.
type keyRing struct {
	mu     sync.Mutex
	now    []jose.JSONWebKey
	before []jose.JSONWebKey
}

func makeKeys() ([]jose.JSONWebKey, error) {
	r, err := rsa.GenerateKey(rand.Reader, rsaBits)
	if err != nil {
		return nil, err
	}
	e, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return nil, err
	}
	return []jose.JSONWebKey{
		{Key: r, KeyID: newSecret()[:12], Algorithm: string(jose.RS256), Use: "sig"},
		{Key: e, KeyID: newSecret()[:12], Algorithm: string(jose.ES256), Use: "sig"},
	}, nil
}

// current returns the keys that sign.
func (k *keyRing) current() ([]jose.JSONWebKey, error) {
	k.mu.Lock()
	defer k.mu.Unlock()
	if k.now == nil {
		made, err := makeKeys()
		if err != nil {
			return nil, err
		}
		k.now = made
	}
	return k.now, nil
}

// public returns what the jwks_uri shows: the keys that sign and those before.
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

// rotate makes new keys; the present ones verify until the next rotation.
func (k *keyRing) rotate() error {
	made, err := makeKeys()
	if err != nil {
		return err
	}
	k.mu.Lock()
	defer k.mu.Unlock()
	k.before, k.now = k.now, made
	return nil
}

// sign makes a compact JWS over claims.
func (k *keyRing) sign(alg jose.SignatureAlgorithm, typ string, claims any) (string, error) {
	payload, err := json.Marshal(claims)
	if err != nil {
		return "", err
	}
	keys, err := k.current()
	if err != nil {
		return "", err
	}
	for _, key := range keys {
		if key.Algorithm != string(alg) {
			continue
		}
		signer, err := jose.NewSigner(jose.SigningKey{Algorithm: alg, Key: key}, new(jose.SignerOptions).WithType(jose.ContentType(typ)))
		if err != nil {
			return "", err
		}
		signed, err := signer.Sign(payload)
		if err != nil {
			return "", err
		}
		return signed.CompactSerialize()
	}
	return "", errors.New("opserver: no key for " + string(alg))
}

// RotateKeys makes new signing keys. The keys before stay in the key set until
// the next rotation, so two rotations withdraw them.
func (s *Server) RotateKeys() error { return s.keys.rotate() }

func (s *Server) serveJWKS(w http.ResponseWriter, _ *http.Request) {
	keys, err := s.keys.public()
	if err != nil {
		http.Error(w, "no keys", http.StatusInternalServerError)
		return
	}
	w.Header().Set("Cache-Control", "public, max-age=300")
	writeJSON(w, http.StatusOK, jose.JSONWebKeySet{Keys: keys})
}
