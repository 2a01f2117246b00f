// Package seal encrypts and authenticates small values with a ring of keys.
package seal

import (
	"bytes"
	"crypto/aes"
	"crypto/cipher"
	"crypto/hkdf"
	"crypto/sha256"
	"encoding/base64"
	"errors"
	"fmt"
	"strings"
	"sync"
)

const (
	version = 1 // the first byte of a sealed value

	idSize  = 4                  // of the key id after the version byte
	header  = 1 + idSize         // version and key id
	aeadAdd = 12 + aes.BlockSize // random nonce before it, tag after it

	// Overhead is how much longer a sealed value is than its plaintext.
	Overhead = header + aeadAdd

	// MinKey is the least length of a key in bytes: as strong as AES-256.
	MinKey = 32
)

var (
	// ErrUnknownKey means that a value was sealed with a key that is not in the
	// ring.
	ErrUnknownKey = errors.New("seal: unknown key")

	// ErrVersion means that a value has a newer version.
	ErrVersion = errors.New("seal: sealed by a newer version")

	// ErrGarbage is the error in all other cases: the value is too short, was
	// changed, or was sealed for another domain or with other additional data.
	ErrGarbage = errors.New("seal: not a sealed value")
)

// Ring is a list of keys. The first one seals, and all of them open. It is safe
// for concurrent use.
type Ring struct {
	keys []*key
}

type key struct {
	id  [idSize]byte
	prk []byte // HKDF's extracted key; the original key is not kept

	aeads sync.Map // domain → cipher.AEAD
}

// NewRing makes a ring of keys of at least [MinKey] random bytes each. Keys are
// used through HKDF, so their bytes may have any form. The slices are not kept.
// The error names a bad key by its position.
func NewRing(keys ...[]byte) (*Ring, error) {
	if len(keys) == 0 {
		return nil, errors.New("seal: no key")
	}
	r := &Ring{keys: make([]*key, 0, len(keys))}
	for i, k := range keys {
		if len(k) < MinKey {
			return nil, fmt.Errorf("seal: key %d has %d bytes, want at least %d", i+1, len(k), MinKey)
		}
		prk, err := hkdf.Extract(sha256.New, k, []byte("gatehouse seal v1")) // RFC 5869 §2.2
		if err != nil {
			return nil, fmt.Errorf("seal: key %d: %w", i+1, err)
		}
		made := &key{prk: prk}
		// The id is derived from the key with another label, so it reveals
		// nothing about the subkeys.
		id, err := hkdf.Expand(sha256.New, prk, "id", idSize)
		if err != nil {
			return nil, fmt.Errorf("seal: key %d: %w", i+1, err)
		}
		copy(made.id[:], id)
		for j, other := range r.keys {
			if bytes.Equal(other.prk, prk) {
				return nil, fmt.Errorf("seal: key %d repeats key %d", i+1, j+1)
			}
		}
		r.keys = append(r.keys, made)
	}
	return r, nil
}

// Seal encrypts plaintext with the first key and authenticates ad with it.
// [Ring.Open] needs the same domain and ad. Domains name uses, such as "session
// record". They are constants of the program, never input, because a subkey is
// kept for each.
//
// Nonces are random, so a subkey must not seal more than 2^32 values (NIST SP
// 800-38D §8.3). At one value a second that takes 136 years; at higher rates,
// add a key in time.
func (r *Ring) Seal(domain string, ad, plaintext []byte) []byte {
	k := r.keys[0]
	out := make([]byte, header, len(plaintext)+Overhead)
	out[0] = version
	copy(out[1:], k.id[:])
	return k.aead(domain).Seal(out, nil, plaintext, fullAD(out, ad))
}

// Open returns the plaintext of a sealed value. The error is [ErrVersion],
// [ErrUnknownKey] or [ErrGarbage]. The first two depend only on how the value
// begins, which anybody can write.
func (r *Ring) Open(domain string, ad, sealed []byte) ([]byte, error) {
	switch {
	case len(sealed) < Overhead || sealed[0] == 0:
		return nil, ErrGarbage
	case sealed[0] > version:
		return nil, ErrVersion
	}
	known := false
	for _, k := range r.keys {
		if !bytes.Equal(k.id[:], sealed[1:header]) {
			continue
		}
		known = true
		plain, err := k.aead(domain).Open(nil, nil, sealed[header:], fullAD(sealed[:header], ad))
		if err == nil {
			return plain, nil
		}
	}
	if !known {
		return nil, ErrUnknownKey
	}
	return nil, ErrGarbage
}

// SealText is [Ring.Seal] for what travels as text, such as the value of a cookie.
func (r *Ring) SealText(domain, ad string, plaintext []byte) string {
	return base64.RawURLEncoding.EncodeToString(r.Seal(domain, []byte(ad), plaintext))
}

// OpenText is [Ring.Open] for what [Ring.SealText] returned. A value has one text:
// any other is [ErrGarbage].
func (r *Ring) OpenText(domain, ad, text string) ([]byte, error) {
	sealed, err := base64.RawURLEncoding.Strict().DecodeString(text)
	if err != nil || strings.ContainsAny(text, "\r\n") { // which the decoder passes over
		return nil, ErrGarbage
	}
	return r.Open(domain, []byte(ad), sealed)
}

// First reports whether the first key sealed a value that [Ring.Open] has
// opened.
func (r *Ring) First(sealed []byte) bool {
	return len(sealed) >= header && bytes.Equal(sealed[1:header], r.keys[0].id[:])
}

// fullAD adds the header to the authenticated data.
func fullAD(head, ad []byte) []byte {
	return append(append(make([]byte, 0, header+len(ad)), head[:header]...), ad...)
}

// aead returns AES-256-GCM under the domain's subkey.
func (k *key) aead(domain string) cipher.AEAD {
	if a, ok := k.aeads.Load(domain); ok {
		return a.(cipher.AEAD)
	}
	a, _ := k.aeads.LoadOrStore(domain, k.derive(domain))
	return a.(cipher.AEAD)
}

// derive cannot fail, because its sizes are constants that fit.
func (k *key) derive(domain string) cipher.AEAD {
	sub, err := hkdf.Expand(sha256.New, k.prk, "aes-256-gcm "+domain, 32) // RFC 5869 §2.3
	if err != nil {
		panic("seal: " + err.Error())
	}
	block, err := aes.NewCipher(sub)
	if err != nil {
		panic("seal: " + err.Error())
	}
	a, err := cipher.NewGCMWithRandomNonce(block)
	if err != nil {
		panic("seal: " + err.Error())
	}
	return a
}
