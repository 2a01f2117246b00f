package bounded

import (
	"encoding/binary"
	"math"
	"math/bits"
	"math/rand/v2"
	"sync/atomic"
)

// minSlots is the size of an empty table. Every size is a power of two.
const minSlots = 64

// table is a hash table with open addressing. Readers take no lock; there is one
// writer at a time. A slot is for one key: when its entry leaves, it is not used
// again, so a reader always finds the whole run of slots that a key may be in.
type table[V any] struct {
	seed  uint64 // odd, and known to nobody, so that no tokens can be made up that meet in one place
	shift int
	slots []slot[V]
	none  *entry[V] // stands where an entry has left
	live  int       // entries
	used  int       // slots of entries that are there or have left
}

type slot[V any] struct {
	hash  uint64 // written once, before entry
	entry atomic.Pointer[entry[V]]
}

func newTable[V any](size int) *table[V] {
	return &table[V]{
		seed: rand.Uint64() | 1, shift: 64 - bits.TrailingZeros(uint(size)),
		slots: make([]slot[V], size), none: &entry[V]{until: math.MinInt64},
	}
}

// hash takes eight bytes of the key, because every byte of a sum is as good as
// another.
func (t *table[V]) hash(key *Key) uint64 { return binary.LittleEndian.Uint64(key[:]) * t.seed }

// find returns the slot with that key and its entry. Otherwise the entry is nil,
// and the slot is the one for the key.
func (t *table[V]) find(key *Key) (*slot[V], *entry[V]) {
	h := t.hash(key)
	for i := h >> t.shift; ; i++ {
		s := &t.slots[i&uint64(len(t.slots)-1)]
		e := s.entry.Load()
		if e == nil || s.hash == h && e.key == *key {
			return s, e
		}
	}
}

// full reports whether another entry would need a larger table. Runs are short
// as long as a third of the slots is free.
func (t *table[V]) full() bool { return t.used >= len(t.slots)/3*2 }

// grown returns a table with the same entries, at most half full.
func (t *table[V]) grown() *table[V] {
	n := newTable[V](max(minSlots, 1<<bits.Len(uint(t.live*2))))
	for i := range t.slots {
		if e := t.slots[i].entry.Load(); e != t.none && e != nil {
			n.put(e)
		}
	}
	return n
}

// put adds an entry, or replaces the one with its key. The table is not full.
func (t *table[V]) put(e *entry[V]) {
	s, old := t.find(&e.key)
	if old == nil {
		s.hash = t.hash(&e.key)
		t.live++
		t.used++
	}
	s.entry.Store(e)
}

// drop removes the entry with that key, if its value is v.
func (t *table[V]) drop(key *Key, v *V) {
	if s, e := t.find(key); e != nil && &e.value == v {
		s.entry.Store(t.none)
		t.live--
	}
}
