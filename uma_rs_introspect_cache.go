package gatehouse

import (
	"crypto/sha256"
	"encoding/binary"
	"sync"
	"time"
)

const (
	// maxGoodFacts bounds the memory of good tokens, in bytes: more than 100,000
	// of usual size, or some hundred of the greatest. Facts live for seconds, so
	// more is a flood.
	maxGoodFacts = 128 << 20
	// maxBadFacts bounds the memory of refused tokens, in bytes: some 10,000.
	maxBadFacts = 4 << 20
	// factsOverhead is what an entry takes beside its texts and grants: its struct,
	// and its share of map and queue.
	factsOverhead = 400
	// grantSize is what a grant takes beside the name of its resource.
	grantSize = 48
)

// factsKey names a token without holding it, and whose protection API token
// asked, where the answer depends on that.
type factsKey [sha256.Size]byte

func newFactsKey(token, owner string) factsKey {
	key := hashText(token)
	if owner == "" {
		return key
	}
	return sha256.Sum256(append(key[:], owner...)) // the token's part has one length
}

// hashText is the SHA-256 of s, without a copy of all of it on the heap.
func hashText(s string) (sum factsKey) {
	h := sha256.New()
	var part [512]byte
	for s != "" {
		n := copy(part[:], s)
		h.Write(part[:n])
		s = s[n:]
	}
	h.Sum(sum[:0])
	return sum
}

// factsCache remembers facts for a short time. It is bounded: what is expired
// goes first, then the oldest. The zero value is ready to use.
type factsCache struct {
	mu    sync.RWMutex
	byKey map[uint64]*rptFacts // by the first bytes of the key: see get
	queue []*rptFacts          // oldest first; those replaced since are still in it
	bytes int                  // of all in queue
}

// get looks in a small map that names tokens by 8 bytes of their hash, and
// compares all of it with the one found. Two tokens that share those 8 bytes
// push each other out, and that is all they do.
func (c *factsCache) get(key factsKey, now time.Time) *rptFacts {
	c.mu.RLock()
	defer c.mu.RUnlock()
	if f := c.byKey[key.short()]; f != nil && f.key == key && now.Before(f.until) {
		return f
	}
	return nil
}

func (k *factsKey) short() uint64 { return binary.LittleEndian.Uint64(k[:]) }

// put remembers f, which nobody else has yet, and forgets what is expired, and
// the oldest until at most limit bytes are left.
func (c *factsCache) put(key factsKey, f *rptFacts, now, until time.Time, limit int) {
	f.key, f.until = key, until
	size := f.size()
	c.mu.Lock()
	defer c.mu.Unlock()
	for len(c.queue) > 0 && (c.bytes+size > limit || !now.Before(c.queue[0].until)) {
		c.drop()
	}
	if c.byKey == nil {
		c.byKey = make(map[uint64]*rptFacts)
	}
	c.byKey[key.short()] = f
	c.queue = append(c.queue, f)
	c.bytes += size
}

// forget makes the next look at the token ask the server. It stays in queue.
func (c *factsCache) forget(f *rptFacts) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if k := f.key.short(); c.byKey[k] == f {
		delete(c.byKey, k)
	}
}

// drop forgets the oldest facts.
func (c *factsCache) drop() {
	old := c.queue[0]
	c.queue[0], c.queue = nil, c.queue[1:]
	c.bytes -= old.size()
	if c.byKey[old.key.short()] == old {
		delete(c.byKey, old.key.short())
	}
}

// size is about how many bytes f takes in the cache.
func (f *rptFacts) size() int {
	n := factsOverhead + len(f.subject) + len(f.claims) + cap(f.grants)*grantSize
	for i := range f.grants {
		n += len(f.grants[i].resource)
	}
	return n
}
