package memstore

import (
	"context"
	"sync"
)

// IDs keeps one id under an issuer, an owner and a name. The zero value is
// ready to use and safe for concurrent use. Its errors are always nil.
type IDs struct {
	mu  sync.RWMutex
	ids map[idKey]string
}

type idKey struct{ issuer, owner, name string }

// ID returns the id, or "" if none is stored.
func (m *IDs) ID(_ context.Context, issuer, owner, name string) (string, error) {
	m.mu.RLock()
	defer m.mu.RUnlock()
	return m.ids[idKey{issuer, owner, name}], nil
}

// PutIfAbsent stores id unless another id is stored already. It returns the id
// that is stored now.
func (m *IDs) PutIfAbsent(_ context.Context, issuer, owner, name, id string) (winner string, err error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	key := idKey{issuer, owner, name}
	if kept, ok := m.ids[key]; ok {
		return kept, nil
	}
	if m.ids == nil {
		m.ids = make(map[idKey]string)
	}
	m.ids[key] = id
	return id, nil
}

// Drop removes id. It does nothing if another id or none is stored.
func (m *IDs) Drop(_ context.Context, issuer, owner, name, id string) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	if key := (idKey{issuer, owner, name}); m.ids[key] == id {
		delete(m.ids, key)
	}
	return nil
}
