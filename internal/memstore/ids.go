package memstore

import (
	"context"
	"sync"
	"unique"
)

// IDs keeps one id under an issuer, an owner and a name. The zero value is
// ready to use and safe for concurrent use. Its errors are always nil.
type IDs struct {
	mu  sync.RWMutex
	ids map[party]map[string]string // by name
}

type party struct{ issuer, owner string }

// ID returns the id, or "" if none is stored.
func (m *IDs) ID(_ context.Context, issuer, owner, name string) (string, error) {
	m.mu.RLock()
	defer m.mu.RUnlock()
	return m.ids[party{issuer, owner}][name], nil
}

// PutIfAbsent stores id unless another id is stored already. It returns the id
// that is stored now.
func (m *IDs) PutIfAbsent(_ context.Context, issuer, owner, name, id string) (winner string, err error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	p := party{issuer, owner}
	if kept, ok := m.ids[p][name]; ok {
		return kept, nil
	}
	if m.ids == nil {
		m.ids = make(map[party]map[string]string)
	}
	if m.ids[p] == nil {
		m.ids[p] = make(map[string]string)
	}
	// The same copy of the text as in the facts of tokens. Two equal strings at
	// one address compare without a look at their bytes.
	m.ids[p][name] = unique.Make(id).Value()
	return id, nil
}

// Drop removes id. It does nothing if another id or none is stored.
func (m *IDs) Drop(_ context.Context, issuer, owner, name, id string) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	p := party{issuer, owner}
	if kept, ok := m.ids[p][name]; !ok || kept != id {
		return nil
	}
	delete(m.ids[p], name)
	if len(m.ids[p]) == 0 {
		delete(m.ids, p)
	}
	return nil
}
