package dpop

import (
	"encoding/base64"
	"encoding/binary"
	"sync/atomic"
	"time"

	"example.com/gatehouse/internal/seal"
)

const (
	// nonceLife is how long a nonce serves.
	nonceLife = 5 * time.Minute
	// nonceFresh is the age from which a client is told the next one.
	nonceFresh = nonceLife / 2
	// nonceEvery is how long clients get the same nonce. It says only when it
	// was made, so they may share it, and no client drives how often the keys
	// seal (see seal.Ring.Seal).
	nonceEvery = time.Second
	// replicaSkew is how far the clocks of two replicas may differ.
	replicaSkew = time.Second
	// nonceSize is what is sealed, in bytes: the time in milliseconds.
	nonceSize = 8
	// nonceDomain separates them from what else the keys seal.
	nonceDomain = "dpop nonce"
)

// Nonces makes and judges nonces (§9). All replicas with the same keys and the
// same base accept the nonces of each other. Nothing is stored. It is safe for
// concurrent use.
type Nonces struct {
	ring *seal.Ring
	base []byte
	last atomic.Pointer[madeNonce]
}

type madeNonce struct {
	at   time.Time
	text string
}

// NewNonces makes the Nonces of an API.
func NewNonces(ring *seal.Ring, base Base) *Nonces {
	return &Nonces{ring: ring, base: []byte(base.String())}
}

// Make returns a fresh nonce.
func (n *Nonces) Make(now time.Time) string {
	if last := n.last.Load(); last != nil && !now.Before(last.at) && now.Before(last.at.Add(nonceEvery)) {
		return last.text
	}
	at := binary.BigEndian.AppendUint64(make([]byte, 0, nonceSize), uint64(now.UnixMilli()))
	made := &madeNonce{now, encode(n.ring.Seal(nonceDomain, n.base, at))}
	n.last.Store(made)
	return made.text
}

// Judge reports whether a nonce is good, and whether the client should get
// another one by now.
func (n *Nonces) Judge(nonce string, now time.Time) (good, aged bool) {
	if base64.RawURLEncoding.DecodedLen(len(nonce)) != nonceSize+seal.Overhead {
		return false, true
	}
	sealed, err := base64.RawURLEncoding.Strict().DecodeString(nonce)
	if err != nil {
		return false, true
	}
	at, err := n.ring.Open(nonceDomain, n.base, sealed)
	if err != nil || len(at) != nonceSize {
		return false, true
	}
	age := now.Sub(time.UnixMilli(int64(binary.BigEndian.Uint64(at))))
	return -replicaSkew <= age && age < nonceLife, age >= nonceFresh
}
