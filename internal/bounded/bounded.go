// Package bounded keeps values in memory for a time, within a bound of bytes.
//
// It knows keys, sizes and times. It must not know what the values mean: its
// caller judges them again at each use.
package bounded

import (
	"crypto/sha256"
	"sync"
	"sync/atomic"
	"time"
)

// Key identifies a token without holding it.
type Key [sha256.Size]byte

// KeyOf is the SHA-256 of a token. It works in pieces, so that a request does
// not copy its token to the heap.
func KeyOf(token string) (sum Key) {
	h := sha256.New()
	var piece [512]byte
	for token != "" {
		n := copy(piece[:], token)
		h.Write(piece[:n])
		token = token[n:]
	}
	h.Sum(sum[:0])
	return sum
}

// Memory is a bounded map. Expired values go first, then the oldest. It is safe
// for concurrent use, and reading takes no lock. [New] makes one.
type Memory[V any] struct {
	limit int // in bytes
	table atomic.Pointer[table[V]]

	mu    sync.Mutex  // of those who change something
	queue []*entry[V] // oldest first; entries replaced or forgotten since are still in it
	bytes int         // of all entries in queue
}

// entry is never modified. What is compared comes first, so that it is in one
// line of a processor's cache.
type entry[V any] struct {
	key   Key
	until int64 // in Unix milliseconds
	size  int
	value V
}

// New makes a Memory of at most limit bytes.
func New[V any](limit int) *Memory[V] {
	m := &Memory[V]{limit: limit}
	m.table.Store(newTable[V](minSlots))
	return m
}

// Get returns what is remembered under key and still counts now, or nil. Many
// callers share the value, so do not change it.
func (m *Memory[V]) Get(key Key, now time.Time) *V {
	if _, e := m.table.Load().find(&key); e != nil && now.UnixMilli() < e.until {
		return &e.value
	}
	return nil
}

// Put remembers a value of that size until the given time. fill writes it at
// the place where it stays. Put drops expired values, then the oldest, until it
// fits. It returns what Get will return.
func (m *Memory[V]) Put(key Key, size int, now, until time.Time, fill func(*V)) *V {
	e := &entry[V]{until: until.UnixMilli(), key: key, size: size}
	fill(&e.value)
	m.mu.Lock()
	defer m.mu.Unlock()
	for len(m.queue) > 0 && (m.bytes+size > m.limit || now.UnixMilli() >= m.queue[0].until) {
		m.dropOldest()
	}
	t := m.table.Load()
	if t.full() {
		t = t.grown()
		m.table.Store(t)
	}
	t.put(e)
	m.queue = append(m.queue, e)
	m.bytes += size
	return &e.value
}

// Forget forgets what is under key, if that is still v. It leaves the entry in
// the queue.
func (m *Memory[V]) Forget(key Key, v *V) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.table.Load().drop(&key, v)
}

func (m *Memory[V]) dropOldest() {
	old := m.queue[0]
	m.queue[0], m.queue = nil, m.queue[1:]
	m.bytes -= old.size
	m.table.Load().drop(&old.key, &old.value)
}
