package memstore

import (
	"context"
	"slices"
	"sync"

	"example.com/gatehouse/internal/swap"
)

// Grants keeps opaque bytes under an issuer and an owner. The zero value is
// ready to use and safe for concurrent use. Its errors are always nil.
type Grants struct {
	mu     sync.Mutex
	grants map[grantKey][]byte
}

type grantKey struct{ issuer, owner string }

// Grant returns the bytes, or nil if there are none. The caller must not change
// them.
func (m *Grants) Grant(_ context.Context, issuer, owner string) ([]byte, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.grants[grantKey{issuer, owner}], nil
}

// SwapGrant replaces old with new in one step if exactly old is stored. A nil
// old means that nothing may be stored; a nil new deletes. swapped is also true
// if new is already stored.
func (m *Grants) SwapGrant(_ context.Context, issuer, owner string, old, new []byte) (swapped bool, err error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	key := grantKey{issuer, owner}
	kept := m.grants[key]
	switch {
	case swap.Same(kept, new):
		return true, nil
	case !swap.Same(kept, old):
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
