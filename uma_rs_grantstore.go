package gatehouse

import (
	"bytes"
	"context"
	"slices"
	"sync"
)

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

type grantKey struct{ issuer, owner string }

// memoryGrants is the GrantStore of one process. The zero value is ready to use.
type memoryGrants struct {
	mu     sync.Mutex
	grants map[grantKey][]byte
}

func (m *memoryGrants) Grant(_ context.Context, issuer, owner string) ([]byte, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.grants[grantKey{issuer, owner}], nil
}

func (m *memoryGrants) SwapGrant(_ context.Context, issuer, owner string, old, new []byte) (bool, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	key := grantKey{issuer, owner}
	kept := m.grants[key]
	switch {
	case sameGrant(kept, new):
		return true, nil
	case !sameGrant(kept, old):
		return false, nil
	case new == nil:
		delete(m.grants, key)
		return true, nil
	}
	if m.grants == nil {
		m.grants = make(map[grantKey][]byte)
	}
	m.grants[key] = slices.Clone(new)
	return true, nil
}

// sameGrant compares two values, of which nil is none at all.
func sameGrant(a, b []byte) bool { return (a == nil) == (b == nil) && bytes.Equal(a, b) }
