package redisstore

import (
	"hash/maphash"
	"sync/atomic"
	"time"
)

// kinds remembers for some seconds what GET has said of keys, so that MGET can
// read them next. MGET is cheaper, but says of a list or a hash that nothing is
// there. Where GET has just found nothing, nothing is what MGET may find; where
// it found a value, GET has to look again.
type kinds struct {
	seed  maphash.Seed
	begin time.Time
	slots [kindSlots]atomic.Uint64
}

const (
	// kindSlots is enough for the keys of 10,000 people who are busy at the
	// same time. It takes 256 KB. More cost more GETs and nothing else.
	kindSlots = 1 << 15
	// kindWays is how many slots a key may have, so that two keys do not take
	// the place of each other all the time.
	kindWays = 2
	// kindFor is how long a key is remembered, at most twice that. A key that
	// was absent and gets another type counts as absent for so long.
	kindFor = 10 * time.Second
	// A slot has one bit that says absent, tickBits for the time, and the rest
	// for the key.
	tickBits = 24
)

func newKinds() *kinds { return &kinds{seed: maphash.MakeSeed(), begin: time.Now()} }

// tick is the time in units of kindFor. It begins with 2, so that an empty slot
// is too old.
func (k *kinds) tick() uint64 {
	return (uint64(time.Since(k.begin)/kindFor) + 2) & (1<<tickBits - 1)
}

// slot returns the place of a key, and the bits of it that the place keeps. If no
// place has the key, it is the one that was written first.
func (k *kinds) slot(key string) (place *atomic.Uint64, mine uint64) {
	sum := maphash.String(k.seed, key)
	mine = keyBits(sum)
	ways := k.slots[sum%(kindSlots/kindWays)*kindWays:][:kindWays]
	place = &ways[0]
	for i := range ways {
		kept := ways[i].Load()
		if keyBits(kept) == mine {
			return &ways[i], mine
		}
		if tickOf(kept) < tickOf(place.Load()) {
			place = &ways[i]
		}
	}
	return place, mine
}

func keyBits(kept uint64) uint64 { return kept &^ (1<<(tickBits+1) - 1) }

func tickOf(kept uint64) uint64 { return kept >> 1 & (1<<tickBits - 1) }

// maxKinds is how many keys may be read together: one bit for each.
const maxKinds = 64

// fresh reports whether all keys are remembered, and which of them were absent,
// the first in the lowest bit.
func (k *kinds) fresh(keys []string) (absent uint64, ok bool) {
	if len(keys) > maxKinds {
		return 0, false
	}
	now := k.tick()
	for i, key := range keys {
		place, mine := k.slot(key)
		kept := place.Load()
		if keyBits(kept) != mine || now-tickOf(kept) > 1 {
			return 0, false
		}
		absent |= kept & 1 << i
	}
	return absent, true
}

// note remembers what GET has said of a key.
func (k *kinds) note(key string, absent bool) {
	place, mine := k.slot(key)
	mine |= k.tick() << 1
	if absent {
		mine |= 1
	}
	place.Store(mine)
}
