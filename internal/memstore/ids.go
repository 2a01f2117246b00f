package memstore

import (
	"context"
	"sync"
)

// IDs keeps one id under an issuer, an owner and a name. The zero value is ready
// to use, and it is safe for concurrent use. Its errors are always nil.
type IDs struct {
	mu  sync.RWMutex
	ids map[idKey]string
}

type idKey struct{ issuer, owner, name string }

// ID returns the id, "" if none is kept.
func (m *IDs) ID(_ context.Context, issuer, owner, name string) (string, error) {
	m.mu.RLock()
	defer m.mu.RUnlock()
	return m.ids[idKey{issuer, owner, name}], nil
}

// PutIfAbsent keeps id unless another one is kept already. It returns the one
// that is kept now.
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

// Drop forgets id. Where another one is kept, or none, it does nothing.
func (m *IDs) Drop(_ context.Context, issuer, owner, name, id string) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	if key := (idKey{issuer, owner, name}); m.ids[key] == id {
		delete(m.ids, key)
	}
	return nil
}
