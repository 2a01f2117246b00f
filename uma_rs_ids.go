package gatehouse

import (
	"context"
	"crypto/sha256"
	"encoding/binary"
	"sync"
	"unique"
)

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

type resourceKey struct{ issuer, owner, name string }

// memoryIDs is a ResourceIDs of one process. The zero value is ready to use.
type memoryIDs struct {
	mu  sync.RWMutex
	ids map[idKey]keptID
}

// idKey is the hash of issuer, owner and name. With many resources every text
// that is compared comes from cold memory, and this takes less time than that.
type idKey [sha256.Size]byte

func newIDKey(issuer, owner, name string) idKey {
	var room [256]byte // of the stack; what is longer takes some of the heap
	b := room[:0]
	for _, text := range [...]string{issuer, owner, name} {
		b = binary.AppendUvarint(b, uint64(len(text))) // where one text ends and the next begins
		b = append(b, text...)
	}
	return sha256.Sum256(b)
}

// keptID is an id whose copy is the one that the grants of tokens have: see
// shared.
type keptID struct {
	id  string
	one unique.Handle[string]
}

func (m *memoryIDs) ID(_ context.Context, issuer, owner, name string) (string, error) {
	m.mu.RLock()
	defer m.mu.RUnlock()
	return m.ids[newIDKey(issuer, owner, name)].id, nil
}

func (m *memoryIDs) PutIfAbsent(_ context.Context, issuer, owner, name, id string) (string, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	key := newIDKey(issuer, owner, name)
	if kept, ok := m.ids[key]; ok {
		return kept.id, nil
	}
	if m.ids == nil {
		m.ids = make(map[idKey]keptID)
	}
	one := unique.Make(id)
	m.ids[key] = keptID{one.Value(), one}
	return id, nil
}

func (m *memoryIDs) Drop(_ context.Context, issuer, owner, name, id string) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	if key := newIDKey(issuer, owner, name); m.ids[key].id == id {
		delete(m.ids, key)
	}
	return nil
}
