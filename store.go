package gatehouse

import (
	"bytes"
	"context"
	"hash/maphash"
	"time"

	"github.com/alexedwards/scs/v2"

	"example.com/gatehouse/internal/memstore"
	"example.com/gatehouse/internal/swap"
)

// Store keeps login records, marks and used states. It is the context-aware
// store of scs with two methods more, which make sessions safe on many
// replicas. Do not share it with an scs.SessionManager.
//
// Keys are 43 characters of base64url, values at most 60,000 opaque bytes that
// the store compares and never reads. A value past its expiry is absent; when
// the store really removes it is its own affair. All methods are safe for
// concurrent use, by several processes where the store is shared, and honour
// their context. An error means that the outcome is unknown.
//
// The package middlewaretest holds the contract as a test suite.
type Store interface {
	scs.CtxStore

	// SwapCtx replaces the value under key if it equals old. A nil old means
	// that the key must be absent, a nil new deletes. It reports whether the
	// stored value is now new: true as well when it was already, because a
	// client may repeat a command whose reply was lost.
	SwapCtx(ctx context.Context, key string, old, new []byte, expiry time.Time) (swapped bool, err error)

	// FindManyCtx returns the values under keys in their order, nil where there
	// is none, in one round trip.
	FindManyCtx(ctx context.Context, keys []string) (values [][]byte, err error)
}

// NewMemoryStore returns a Store in the memory of this process, for one process
// and for tests: what it holds is gone when the process ends. A nil now means
// time.Now. It starts no goroutine; what has expired is removed while others
// write.
func NewMemoryStore(now func() time.Time) Store {
	return memstore.NewStore(orNow(now))
}

// SingleProcessStore makes a Store of any scs store for programs that run in
// one process only: compare-and-swap is done under a lock of this process.
// With a second process, or a second SingleProcessStore on the same data, a
// logout may be undone and a refresh token sent twice. A store without the
// methods of scs.CtxStore is called without a context, and a hanging one then
// hangs the request.
func SingleProcessStore(s scs.Store) Store {
	if s == nil {
		panic("gatehouse: SingleProcessStore needs a store")
	}
	p := &singleProcess{Store: s, seed: maphash.MakeSeed()}
	for i := range p.locks {
		p.locks[i] = make(chan struct{}, 1)
	}
	return p
}

// storeLocks spreads the locks of a SingleProcessStore over keys.
const storeLocks = 64

type singleProcess struct {
	scs.Store
	seed  maphash.Seed
	locks [storeLocks]chan struct{} // full while held, so that a wait can end with its context
}

// FindCtx and CommitCtx copy: memstore keeps and gives the slice itself.
func (s *singleProcess) FindCtx(ctx context.Context, key string) (b []byte, found bool, err error) {
	if c, ok := s.Store.(scs.CtxStore); ok {
		b, found, err = c.FindCtx(ctx, key)
	} else {
		b, found, err = s.Find(key)
	}
	return bytes.Clone(b), found, err
}

func (s *singleProcess) CommitCtx(ctx context.Context, key string, b []byte, expiry time.Time) error {
	b = bytes.Clone(b)
	if c, ok := s.Store.(scs.CtxStore); ok {
		return c.CommitCtx(ctx, key, b, expiry)
	}
	return s.Commit(key, b, expiry)
}

func (s *singleProcess) DeleteCtx(ctx context.Context, key string) error {
	if c, ok := s.Store.(scs.CtxStore); ok {
		return c.DeleteCtx(ctx, key)
	}
	return s.Delete(key)
}

func (s *singleProcess) FindManyCtx(ctx context.Context, keys []string) ([][]byte, error) {
	values := make([][]byte, len(keys))
	for i, key := range keys {
		b, found, err := s.FindCtx(ctx, key)
		if err != nil {
			return nil, err
		}
		if found {
			values[i] = b
		}
	}
	return values, nil
}

func (s *singleProcess) SwapCtx(ctx context.Context, key string, old, new []byte, expiry time.Time) (bool, error) {
	lock := s.locks[maphash.String(s.seed, key)%storeLocks]
	select {
	case lock <- struct{}{}:
		defer func() { <-lock }()
	case <-ctx.Done():
		return false, ctx.Err()
	}
	current, found, err := s.FindCtx(ctx, key)
	if err != nil {
		return false, err
	}
	if !found {
		current = nil
	}
	switch {
	case swap.Same(current, new):
		return true, nil
	case !swap.Same(current, old):
		return false, nil
	case new == nil:
		err = s.DeleteCtx(ctx, key)
	default:
		err = s.CommitCtx(ctx, key, new, expiry)
	}
	return err == nil, err
}

// ResourceIDs keeps the ids that authorization servers gave to resources. They
// are durable facts: one that is lost is found again by listing at the server
// or, with a server that takes names twice, registered a second time, and then
// what owners shared does not apply to it. They belong in the database where
// the resources are, not in a session store.
//
// An id is kept under (issuer, owner, name); owner "" is the service itself.
// Every request with a token asks for an id, so ID should be fast. All methods
// are safe for concurrent use and honour their context, and each has its effect
// at once for all replicas. An error means that nothing is known about the
// effect; requests that depend on it are answered with 503. Names and ids have up
// to 1,024 bytes, and ids are printable ASCII. The package middlewaretest holds
// the contract as a test suite.
type ResourceIDs interface {
	// ID returns the id, "" if none is kept.
	ID(ctx context.Context, issuer, owner, name string) (string, error)
	// PutIfAbsent keeps id unless another is kept already. It returns the one
	// that is kept now.
	PutIfAbsent(ctx context.Context, issuer, owner, name, id string) (winner string, err error)
	// Drop forgets id. Where another one, or none, is kept it does nothing and
	// returns nil.
	Drop(ctx context.Context, issuer, owner, name, id string) error
}

// GrantStore keeps owners' grants: opaque bytes under (issuer, owner). They are
// durable facts, not sessions: nothing expires. The bytes hold tokens, so guard
// the store like one of passwords. It takes values of up to 60,000 bytes.
//
// All methods are safe for concurrent use and honour their context. What
// SwapGrant has written is what Grant reads, on all replicas. An error means that
// the effect is not known. The package middlewaretest holds the contract as a
// test suite.
type GrantStore interface {
	// Grant returns the bytes, nil if there are none. The caller does not
	// change them.
	Grant(ctx context.Context, issuer, owner string) ([]byte, error)
	// SwapGrant replaces old by new in one step if exactly old is kept. A nil
	// old means that nothing may be kept, a nil new deletes. swapped is true
	// also when new is kept already, or nothing is when new is nil, because
	// clients repeat a command whose answer was lost; every new value is fresh.
	SwapGrant(ctx context.Context, issuer, owner string, old, new []byte) (swapped bool, err error)
}
