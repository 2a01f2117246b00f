// Package bounded keeps values in memory for a time, within a bound of bytes.
//
// It knows keys, sizes and times. It must not know what the values mean: its
// caller judges them again at each use.
package bounded

import (
	"crypto/sha256"
	"sync"
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

// shards is how many maps a Memory has. Requests on different cores seldom meet
// in one.
const shards = 64

// Memory is a bounded map. Expired values go first, then the oldest. It is safe
// for concurrent use. [New] makes one.
type Memory[V any] struct {
	limit  int // in bytes
	shards [shards]shard[V]

	mu    sync.Mutex  // taken before that of a shard
	queue []*entry[V] // oldest first; entries replaced or forgotten since are still in it
	bytes int         // of all entries in queue
}

// shard has the entries whose keys begin alike. Only look-ups are divided: the
// order and the bound are those of all.
type shard[V any] struct {
	mu    sync.RWMutex
	byKey map[Key]*entry[V]
	_     [32]byte // so that no two shards are in one line of a processor's cache
}

type entry[V any] struct {
	until time.Time
	value V
	key   Key
	size  int
}

// New makes a Memory of at most limit bytes.
func New[V any](limit int) *Memory[V] {
	m := &Memory[V]{limit: limit}
	for i := range m.shards {
		m.shards[i].byKey = make(map[Key]*entry[V])
	}
	return m
}

// of returns the shard of a key. Keys are sums, so any byte of them is as good
// as random.
func (m *Memory[V]) of(key *Key) *shard[V] { return &m.shards[key[0]%shards] }

// Get returns what is remembered under key and still counts now, or nil. Many
// callers share the value, so do not change it.
func (m *Memory[V]) Get(key Key, now time.Time) *V {
	s := m.of(&key)
	s.mu.RLock()
	e := s.byKey[key]
	s.mu.RUnlock()
	if e != nil && now.Before(e.until) {
		return &e.value
	}
	return nil
}

// Put remembers a value of that size until the given time. fill writes it at
// the place where it stays. Put drops expired values, then the oldest, until it
// fits. It returns what Get will return.
func (m *Memory[V]) Put(key Key, size int, now, until time.Time, fill func(*V)) *V {
	e := &entry[V]{until: until, key: key, size: size}
	fill(&e.value)
	m.mu.Lock()
	defer m.mu.Unlock()
	for len(m.queue) > 0 && (m.bytes+size > m.limit || !now.Before(m.queue[0].until)) {
		m.dropOldest()
	}
	m.of(&key).set(e)
	m.queue = append(m.queue, e)
	m.bytes += size
	return &e.value
}

// Forget forgets what is under key, if that is still v. It leaves the entry in
// the queue.
func (m *Memory[V]) Forget(key Key, v *V) {
	m.of(&key).drop(key, v)
}

func (m *Memory[V]) dropOldest() {
	old := m.queue[0]
	m.queue[0], m.queue = nil, m.queue[1:]
	m.bytes -= old.size
	m.of(&old.key).drop(old.key, &old.value)
}

func (s *shard[V]) set(e *entry[V]) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.byKey[e.key] = e
}

// drop removes what is under key, if that is v.
func (s *shard[V]) drop(key Key, v *V) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if e := s.byKey[key]; e != nil && &e.value == v {
		delete(s.byKey, key)
	}
}
