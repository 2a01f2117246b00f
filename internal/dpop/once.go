package dpop

import (
	"context"
	"crypto/rand"
	"time"

	"example.com/gatehouse/internal/storekey"
)

const (
	// storeSlack is how much longer than the proof the store keeps its jti: the
	// clocks of replicas and of the store differ.
	storeSlack = time.Minute
	// useSize is the size of what marks one use, in bytes.
	useSize = 16
)

// Store is where a proof counts once. Replicas share one.
type Store interface {
	SwapCtx(ctx context.Context, key string, old, new []byte, expiry time.Time) (bool, error)
}

// Use reports whether the proof is used for the first time (§11.1). A jti belongs
// to the key that signed it, so nobody can use up that of another client. An
// error means that it is not known.
func (p *Proof) Use(ctx context.Context, s Store) (first bool, err error) {
	// The value is random: the store calls a swap done if the value is there
	// already, and that of an earlier use would be.
	var use [useSize]byte
	_, _ = rand.Read(use[:]) // never fails
	return s.SwapCtx(ctx, storekey.Of("dpop proof", p.thumbprint, p.id), nil, use[:], p.ends.Add(storeSlack))
}
