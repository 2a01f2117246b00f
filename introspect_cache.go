package gatehouse

import (
	"crypto/sha256"
	"sync"
	"time"
)

// factsKept bounds the tokens whose facts are remembered: about 10 MB for
// tokens of usual size. Facts live for seconds, so more is a flood.
const factsKept = 10_000

// factsKey names a token without holding it. The owner is set only where the
// answer depends on whose protection API token asked.
type factsKey struct {
	sum   [sha256.Size]byte
	owner string
}

func newFactsKey(token, owner string) factsKey {
	return factsKey{sum: sha256.Sum256([]byte(token)), owner: owner}
}

// factsCache remembers facts for a short time. It is bounded: what is expired
// goes first, then the oldest. The zero value is ready to use.
type factsCache struct {
	mu    sync.RWMutex
	byKey map[factsKey]*cachedFacts
	queue []*cachedFacts // oldest first; those replaced since are still in it
}

type cachedFacts struct {
	key   factsKey
	facts *rptFacts
	until time.Time
}

func (c *factsCache) get(key factsKey, now time.Time) *rptFacts {
	c.mu.RLock()
	defer c.mu.RUnlock()
	if e := c.byKey[key]; e != nil && now.Before(e.until) {
		return e.facts
	}
	return nil
}

func (c *factsCache) put(key factsKey, f *rptFacts, now, until time.Time) {
	c.mu.Lock()
	defer c.mu.Unlock()
	for len(c.queue) > 0 && (len(c.queue) >= factsKept || !now.Before(c.queue[0].until)) {
		old := c.queue[0]
		c.queue[0], c.queue = nil, c.queue[1:]
		if c.byKey[old.key] == old {
			delete(c.byKey, old.key)
		}
	}
	if c.byKey == nil {
		c.byKey = make(map[factsKey]*cachedFacts)
	}
	e := &cachedFacts{key, f, until}
	c.byKey[key] = e
	c.queue = append(c.queue, e)
}
