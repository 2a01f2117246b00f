package resource

import (
	"crypto/sha256"
	"sync"
)

// descriptionsKept bounds how many registered descriptions, and how many names,
// are remembered: about 20 MB each. They only save calls.
const descriptionsKept = 100_000

// Key identifies a resource.
type Key struct{ Issuer, Owner, Name string }

// Written is what the server was told.
type Written struct {
	Sum    [sha256.Size]byte // of the description
	ID     string            // at the server
	Policy string            // address of the page where the owner decides
	Unkept bool              // it is not known whether our store has the ID
}

// Named is what a list is searched for.
type Named struct{ Name, Type string }

// Memory remembers what the server has, as far as we know. The zero value is
// ready to use. A Memory is safe for concurrent use and must not be copied.
type Memory struct {
	mu      sync.Mutex // guards the fields below
	written map[Key]Written
	named   map[string]map[string]Named // by owner and id
	count   int                         // of ids in named
}

// Known returns what was remembered under key, if it is this description with
// this id.
func (m *Memory) Known(key Key, sum [sha256.Size]byte, id string) (Written, bool) {
	m.mu.Lock()
	defer m.mu.Unlock()
	w, ok := m.written[key]
	return w, ok && w.Sum == sum && w.ID == id
}

// Remember replaces what was remembered under key.
func (m *Memory) Remember(key Key, w Written) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.written == nil || len(m.written) >= descriptionsKept {
		m.written = make(map[Key]Written)
	}
	m.written[key] = w
}

// Unkept returns the id under key of which it is not known whether our store has
// it, or "".
func (m *Memory) Unkept(key Key) (id string) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if w := m.written[key]; w.Unkept {
		return w.ID
	}
	return ""
}

// Forget drops what is remembered under key and returns its policy page.
func (m *Memory) Forget(key Key) (policy string) {
	m.mu.Lock()
	defer m.mu.Unlock()
	policy = m.written[key].Policy
	delete(m.written, key)
	return policy
}

// NameOf returns what an id of the owner was found to be.
func (m *Memory) NameOf(owner, id string) (Named, bool) {
	m.mu.Lock()
	defer m.mu.Unlock()
	n, ok := m.named[owner][id]
	return n, ok
}

// SetName remembers what an id of the owner is. The zero Named means that the
// server does not show it.
func (m *Memory) SetName(owner, id string, n Named) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if _, known := m.named[owner][id]; !known {
		if m.named == nil || m.count >= descriptionsKept {
			m.named, m.count = make(map[string]map[string]Named), 0
		}
		m.count++
	}
	if m.named[owner] == nil {
		m.named[owner] = make(map[string]Named)
	}
	m.named[owner][id] = n
}

// ForgetHidden forgets the ids of the owner that the server did not show. It
// may list a resource before it shows it.
func (m *Memory) ForgetHidden(owner string) {
	m.mu.Lock()
	defer m.mu.Unlock()
	for id, n := range m.named[owner] {
		if n == (Named{}) {
			delete(m.named[owner], id)
			m.count--
		}
	}
}
