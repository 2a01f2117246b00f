package gatehouse

// Tested in internal/memstore, middlewaretest.

import "context"

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
