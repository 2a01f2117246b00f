package gatehouse

import (
	"bytes"
	"context"
	"errors"
	"hash/maphash"
	"math"
	"time"

	"github.com/alexedwards/scs/v2"

	"example.com/gatehouse/internal/memstore"
	"example.com/gatehouse/internal/swap"
)

// Store keeps login records, marks and used states. It is the context-aware
// store of scs with two more methods, which make sessions safe on many
// replicas. Do not share it with an scs.SessionManager.
//
// A key is 43 characters of base64url. A value is at most 60,000 opaque bytes,
// which the store compares but never interprets. A value past its expiry
// counts as absent, whether or not the store has removed it yet. An expiry that
// is later than the store can keep means the latest that it can; its time zone
// means nothing. All methods must honour their context and be safe for
// concurrent use, also by several processes if they share the store: what one
// has written, each of them reads at once. An error means that the outcome is
// unknown. The context of a call ends within a second.
//
// Package middlewaretest tests an implementation against this contract.
type Store interface {
	scs.CtxStore

	// SwapCtx replaces the value under key with new if it equals old. A nil
	// old means that the key must be absent. A nil new deletes the key,
	// whatever expiry is.
	// SwapCtx reports whether the stored value is now new. That includes the
	// case that it was new already, because a client may repeat a command
	// whose reply was lost.
	SwapCtx(ctx context.Context, key string, old, new []byte, expiry time.Time) (swapped bool, err error)

	// FindManyCtx returns the values under keys, in the same order, in one
	// round trip. The value of an absent key is nil.
	FindManyCtx(ctx context.Context, keys []string) (values [][]byte, err error)
}

// NewMemoryStore returns a Store in the memory of this process. It is meant
// for tests and for applications of one process: its content is lost when the
// process ends. A nil now means time.Now. The Store starts no goroutine;
// writes remove expired values.
func NewMemoryStore(now func() time.Time) Store {
	return memstore.NewStore(orNow(now))
}

// SingleProcessStore turns any scs store into a Store for applications that
// run in one process only: it does compare-and-swap under a lock of this
// process. If a second process or a second SingleProcessStore uses the same
// data, a logout may be undone and a refresh token sent twice.
//
// A store that does not implement scs.CtxStore is called without a context. If
// it hangs, so does the request.
func SingleProcessStore(s scs.Store) Store {
	if isNil(s) {
		wire("SingleProcessStore", errors.New("the store is nil"))
	}
	p := &singleProcess{Store: s, seed: maphash.MakeSeed()}
	for i := range p.locks {
		p.locks[i] = make(chan struct{}, 1)
	}
	return p
}

// storeLocks is the number of locks that a SingleProcessStore spreads its keys
// over.
const storeLocks = 64

type singleProcess struct {
	scs.Store
	seed  maphash.Seed
	locks [storeLocks]chan struct{} // full while held: waiting on a channel can end with the context
}

// FindCtx and CommitCtx copy the value, because memstore of scs keeps and
// returns the caller's slice.
func (s *singleProcess) FindCtx(ctx context.Context, key string) (b []byte, found bool, err error) {
	if c, ok := s.Store.(scs.CtxStore); ok {
		b, found, err = c.FindCtx(ctx, key)
	} else {
		b, found, err = s.Find(key)
	}
	return bytes.Clone(b), found, err
}

func (s *singleProcess) CommitCtx(ctx context.Context, key string, b []byte, expiry time.Time) error {
	b, expiry = bytes.Clone(b), clampExpiry(expiry)
	if c, ok := s.Store.(scs.CtxStore); ok {
		return c.CommitCtx(ctx, key, b, expiry)
	}
	return s.Commit(key, b, expiry)
}

// clampExpiry brings an expiry into the range of time.Time.UnixNano, which
// stores of scs use. Beyond it, a time wraps round to another century.
func clampExpiry(t time.Time) time.Time {
	switch first, last := time.Unix(0, 0), time.Unix(0, math.MaxInt64); {
	case t.Before(first):
		return first
	case t.After(last):
		return last
	}
	return t
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

// ResourceIDs keeps the ids that an authorization server gave to resources.
// Keep them in the database that holds the resources, or in a store that keeps
// what does not expire, as those of redisstore, pgstore and sqlitestore do.
// A lost id is found again by listing the resources at the server.
//
// All processes of an application should share one. Otherwise two that begin at
// the same moment may register a resource twice; one of the two is deleted
// within 30 s, and what its owner shared on it no longer applies.
//
// An id is kept under (issuer, owner, name), where owner "" is the service
// itself. Names and ids have up to 1,024 bytes, and ids are printable ASCII.
// Every request with a token looks up an id, so ID should be fast.
//
// All methods must be safe for concurrent use and honour their context. Each
// takes effect at once on all replicas. An error means that the outcome is
// unknown; requests that depend on it are answered with 503. Package
// middlewaretest tests an implementation against this contract.
type ResourceIDs interface {
	// ID returns the id, or "" if none is kept.
	ID(ctx context.Context, issuer, owner, name string) (string, error)
	// PutIfAbsent keeps id if no id is kept yet. It returns the id that is
	// kept afterwards.
	PutIfAbsent(ctx context.Context, issuer, owner, name, id string) (winner string, err error)
	// Drop deletes id. If a different id or none is kept, it does nothing and
	// returns nil.
	Drop(ctx context.Context, issuer, owner, name, id string) error
}

// GrantStore keeps owners' grants: opaque values of up to 60,000 bytes under
// (issuer, owner). They do not expire. The values hold tokens, so protect the
// store like one that holds passwords.
//
// All methods must be safe for concurrent use and honour their context. Once
// SwapGrant has returned, Grant returns the new value on all replicas. An
// error means that the outcome is unknown. Package middlewaretest tests an
// implementation against this contract.
type GrantStore interface {
	// Grant returns the value, or nil if there is none. The caller does not
	// modify it.
	Grant(ctx context.Context, issuer, owner string) ([]byte, error)
	// SwapGrant atomically replaces old with new if exactly old is kept. A nil
	// old means that nothing may be kept yet. A nil new deletes the value.
	// SwapGrant reports whether new is kept now, or nothing if new is nil.
	// That includes the case that it was so already, because a client may
	// repeat a command whose reply was lost. The caller never passes the same
	// new value for two different changes.
	SwapGrant(ctx context.Context, issuer, owner string, old, new []byte) (swapped bool, err error)
}
