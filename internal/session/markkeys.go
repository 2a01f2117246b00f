package session

import (
	"sync/atomic"

	"example.com/gatehouse/internal/storekey"
)

// markKeys remembers under which keys marks lie. A key is a hash of its mark's
// name and never changes, and two such hashes would be a fifth of a request.
type markKeys struct {
	table atomic.Pointer[[markSlots]atomic.Pointer[namedKey]] // nil until it is needed
}

// markSlots is enough for the marks of some 8,000 people who are busy at the same
// time. It takes 128 KB, and the names and keys 1.3 MB. The mark of somebody else
// may take a slot at any time.
const markSlots = 1 << 14

type namedKey struct {
	name [markNameText]byte // side by side with its key, in one line of the processor's cache
	key  storekey.Key
}

// of returns the key of a mark, and whether it was remembered.
func (m *markKeys) of(name string) (key storekey.Key, known bool) {
	if table := m.table.Load(); table != nil {
		if kept := table[slotOf(name)].Load(); kept != nil && string(kept.name[:]) == name {
			return kept.key, true
		}
	}
	return storekey.Make(markDomain, name), false
}

// keep remembers a key. Only names of a live login are worth it: anybody may
// send others.
func (m *markKeys) keep(name string, key storekey.Key) {
	table := m.table.Load()
	if table == nil {
		m.table.CompareAndSwap(nil, new([markSlots]atomic.Pointer[namedKey]))
		table = m.table.Load()
	}
	kept := &namedKey{key: key}
	copy(kept.name[:], name)
	table[slotOf(name)].Store(kept)
}

// slotOf returns the place of a name, which is base64url of a hash.
func slotOf(name string) uint32 {
	hash := uint32(2166136261) // FNV-1a
	for _, c := range []byte(name[:4]) {
		hash = (hash ^ uint32(c)) * 16777619
	}
	return hash % markSlots
}
