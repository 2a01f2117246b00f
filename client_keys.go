package gatehouse

import (
	"bytes"
	"crypto"
	"crypto/sha256"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"net/http"
	"strconv"
	"strings"
	"time"

	"github.com/go-jose/go-jose/v4"

	"example.com/gatehouse/internal/assertion"
)

// JWKSHandler serves the public keys of the clients as a JWK Set (RFC 7517), at
// the address that is registered as jwks_uri. Only Key, KeyID and Algorithm of a
// Client count here. It answers GET and HEAD.
//
// To replace a key, first publish the next one beside it,
// JWKSHandler(client, next), on all replicas. Providers keep a set for a while:
// this one says an hour. After that, give the next one to the constructors, and
// publish the old one as long as replicas may still use it.
//
// It panics if a Client has no Key that can be used, or no KeyID, or if two
// different keys have one KeyID.
func JWKSHandler(clients ...Client) http.Handler {
	body, err := jwks("JWKSHandler", clients)
	if err != nil {
		panic(err.Error())
	}
	sum := sha256.Sum256(body)
	tag := strconv.Quote(base64.RawURLEncoding.EncodeToString(sum[:]))
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		leaveBody(w, r)
		if r.Method != http.MethodGet && r.Method != http.MethodHead {
			w.Header().Set("Allow", "GET, HEAD")
			refuseAlone(w, r, errMethod.because(nil))
			return
		}
		h := w.Header()
		h.Set("Content-Type", "application/jwk-set+json") // RFC 7517 §8.5.2
		h.Set("X-Content-Type-Options", "nosniff")
		h.Set("Cache-Control", "public, max-age="+strconv.Itoa(int(keysAge/time.Second)))
		h.Set("ETag", tag)
		http.ServeContent(w, r, "", time.Time{}, bytes.NewReader(body))
	})
}

// JWKS returns what JWKSHandler serves. It is for ClientMetadata.JWKS, where the
// provider cannot fetch the keys from this application. To replace a key then,
// register it with the next one beside it, by Registration.Register.
//
// Its error lists every problem of the clients.
func JWKS(clients ...Client) (json.RawMessage, error) { return jwks("JWKS", clients) }

func jwks(name string, clients []Client) (json.RawMessage, error) {
	set, err := publicKeys(name, clients)
	if err != nil {
		return nil, err
	}
	body, err := json.Marshal(set)
	if err != nil {
		return nil, fmt.Errorf("gatehouse: %s: %w", name, err)
	}
	return body, nil
}

// keysAge is how long caches may keep our keys. Providers fetch them again for a
// kid that they do not know, so it only bounds how long an old key is believed.
const keysAge = time.Hour

// publicKeys returns the public keys of the clients.
func publicKeys(name string, clients []Client) (set jose.JSONWebKeySet, err error) {
	var wrong problems
	for _, c := range clients {
		key := wrong.key(&c)
		switch {
		case c.Key == nil:
			wrong.add("Client.Key", "nil: there is nothing to publish")
		case key != nil && c.Algorithm != "" && !key.Signs(c.Algorithm):
			wrong.add("Client.Algorithm", "%q does not fit the key, which is for %s", clip(c.Algorithm), strings.Join(key.Algorithms(), ", "))
		case key != nil:
			next := publicKey(key, c.KeyID, c.Algorithm)
			if same := set.Key(c.KeyID); len(same) == 0 {
				set.Keys = append(set.Keys, next)
			} else if had, ok := same[0].Key.(interface{ Equal(crypto.PublicKey) bool }); !ok || !had.Equal(next.Key) {
				wrong.add("Client.KeyID", "%q is that of two keys", clip(c.KeyID))
			}
		}
	}
	if len(clients) == 0 {
		wrong.add("clients", "none: no provider could find a key")
	}
	return set, wrong.in(name)
}

// publicKey returns the public part of a key. The algorithm is left out if the
// key may be used with several (RFC 7517 §4.4).
func publicKey(key *assertion.Key, id, alg string) jose.JSONWebKey {
	if algs := key.Algorithms(); len(algs) == 1 {
		alg = algs[0]
	}
	return jose.JSONWebKey{Key: key.Public(), KeyID: id, Algorithm: alg, Use: "sig"}
}
