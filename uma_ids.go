package gatehouse

import (
	"context"
	"sync"
)

// ResourceIDs keeps the ids that authorization servers gave to resources. They
// are durable facts: one that is lost is found again by listing at the server
// or, with a server that takes names twice, registered a second time, and then
// what owners shared does not apply to it. They belong in the database where
// the resources are, not in a session store.
//
// An id is kept under (issuer, owner, name); owner "" is the service itself.
// Every request with a token asks for an id, so ID should be fast. All methods
// are safe for concurrent use, and each has its effect at once for all
// replicas. An error means that nothing is known about the effect; requests
// that depend on it are answered with 503.
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

// errResourceIDs is trouble of the store of ids.
var errResourceIDs = kind{"resource_ids_unavailable", 503, "Permissions cannot be checked right now."}

type resourceKey struct{ issuer, owner, name string }

// memoryIDs is a ResourceIDs of one process. The zero value is ready to use.
type memoryIDs struct {
	mu  sync.RWMutex
	ids map[resourceKey]string
}

func (m *memoryIDs) ID(_ context.Context, issuer, owner, name string) (string, error) {
	m.mu.RLock()
	defer m.mu.RUnlock()
	return m.ids[resourceKey{issuer, owner, name}], nil
}

func (m *memoryIDs) PutIfAbsent(_ context.Context, issuer, owner, name, id string) (string, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	key := resourceKey{issuer, owner, name}
	if kept, ok := m.ids[key]; ok {
		return kept, nil
	}
	if m.ids == nil {
		m.ids = make(map[resourceKey]string)
	}
	m.ids[key] = shared(id)
	return id, nil
}

func (m *memoryIDs) Drop(_ context.Context, issuer, owner, name, id string) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	if key := (resourceKey{issuer, owner, name}); m.ids[key] == id {
		delete(m.ids, key)
	}
	return nil
}
