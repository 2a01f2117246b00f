package memstore

import (
	"context"
	"slices"
	"sync"

	"example.com/gatehouse/internal/swap"
)

// Grants keeps opaque bytes under an issuer and an owner. The zero value is ready
// to use, and it is safe for concurrent use. Its errors are always nil.
type Grants struct {
	mu     sync.Mutex
	grants map[grantKey][]byte
}

type grantKey struct{ issuer, owner string }

// Grant returns the bytes, nil if there are none. The caller does not change
// them.
func (m *Grants) Grant(_ context.Context, issuer, owner string) ([]byte, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.grants[grantKey{issuer, owner}], nil
}

// SwapGrant replaces old by new in one step if exactly old is kept. A nil old
// means that nothing may be kept, a nil new deletes. swapped is true as well when
// new is kept already.
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
