package introspection

import (
	"context"
	"crypto/sha256"
	"errors"
	"sync"
	"time"

	"example.com/gatehouse/internal/bounded"
	"example.com/gatehouse/internal/flight"
)

const (
	// maxGoodFacts bounds the memory of good tokens, in bytes: over 100,000 of
	// usual size, or some hundred of the largest. Facts live for seconds, so
	// more is a flood.
	maxGoodFacts = 128 << 20
	// maxBadFacts bounds the memory of refused tokens, in bytes: some 10,000
	// tokens.
	maxBadFacts = 4 << 20
	// factsOverhead is what an entry takes besides its strings and grants: its
	// structs, and its share of the map and queue.
	factsOverhead = 400
	// scopeSize is what a scope or an audience takes. Equal ones share their text.
	scopeSize = 16
	// grantSize is what a grant takes besides the name of its resource.
	grantSize = 48
	// inactiveTTL is how long a refused token is remembered, to slow a client
	// that repeats it. It is short, because the owner may agree meanwhile.
	inactiveTTL = 2 * time.Second
	// activeKept bounds how many keys of tokens seen active are remembered: at
	// least so many of the newest, at most twice as many, in some 10 MB. If it
	// matters who asks, a token has its own key and one for each asker.
	activeKept = 50_000
)

// Key identifies a token without holding it. If the answer depends on whose
// credentials asked, it identifies those too.
type Key = bounded.Key

// KeyOf makes the key of a token. asker is "" if everybody gets the same
// answer.
func KeyOf(token, asker string) Key {
	key := bounded.KeyOf(token)
	if asker == "" {
		return key
	}
	return sha256.Sum256(append(key[:], asker...)) // the token's part has a fixed length
}

// Cache remembers facts for a short time and asks once for all who wait.
// Refused tokens have their own memory, so that a flood of junk pushes out
// nothing good. A Cache is safe for concurrent use.
type Cache struct {
	ttl       time.Duration
	now       func() time.Time
	flights   flight.Group[Key, *Facts]
	strangers flight.Group[Key, look] // about tokens that nobody has seen active, whoever asks
	good      memory
	bad       memory
	active    keySet
}

// NewCache makes a Cache that uses facts for ttl, but never past the end of
// their token. With a negative ttl it remembers no good token.
func NewCache(ttl time.Duration, now func() time.Time) *Cache {
	return &Cache{ttl: ttl, now: now, good: newMemory(maxGoodFacts), bad: newMemory(maxBadFacts)}
}

// Known returns what is remembered under key and counts now, or nil.
func (c *Cache) Known(key Key, now time.Time) *Facts {
	if f := c.good.get(key, now); f != nil {
		return f
	}
	return c.bad.get(key, now)
}

// Get returns what is remembered under key, or else the result of ask. Parallel
// calls for one key share one call of ask, which has its own timeout and
// continues if callers leave. Facts are remembered, errors are not.
func (c *Cache) Get(ctx context.Context, key Key, timeout time.Duration, ask func(context.Context) (*Facts, error)) (*Facts, error) {
	return c.flights.Do(ctx, key, timeout, func(ctx context.Context) (*Facts, error) {
		if f := c.Known(key, c.now()); f != nil {
			return f, nil
		}
		asked := c.now()
		f, err := ask(ctx)
		if err != nil {
			return nil, err
		}
		return c.keep(key, f, asked), nil
	})
}

// GetAs is Get if the answer depends on who asks. own is the key of the token
// and the asker, and token that of the token alone. As long as nobody has seen
// the token active, it is asked about once for all, and what one asker learns
// of an inactive token holds for all for inactiveTTL. Otherwise strangers could
// have one token that they made up looked up as often as there are askers.
func (c *Cache) GetAs(ctx context.Context, own, token Key, timeout time.Duration, ask func(context.Context) (*Facts, error)) (*Facts, error) {
	for !c.active.has(token) {
		if f := c.bad.get(token, c.now()); f != nil {
			return f, nil
		}
		l, err := c.firstLook(ctx, own, token, timeout, ask)
		switch {
		case err != nil:
			return nil, err
		case l.own == own && (l.facts != nil || l.err != nil):
			return l.facts, l.err
		case l.facts != nil && !l.facts.Active:
			return l.facts, nil
		} // else another asker learned nothing that holds for this one
	}
	return c.Get(ctx, own, timeout, func(ctx context.Context) (*Facts, error) {
		was := c.active.has(own)
		f, err := ask(ctx)
		if err == nil && !f.Active && was { // it has ended
			c.active.drop(token)
		}
		return f, err
	})
}

// look is what one asker learned of a token.
type look struct {
	own   Key // of the token and the asker
	facts *Facts
	err   error // neither means that the token was seen active meanwhile
}

// firstLook asks about a token that nobody has seen active, once for all
// askers.
func (c *Cache) firstLook(ctx context.Context, own, token Key, timeout time.Duration, ask func(context.Context) (*Facts, error)) (look, error) {
	return c.strangers.Do(ctx, token, timeout, func(ctx context.Context) (look, error) {
		asked := c.now()
		if f := c.bad.get(token, asked); f != nil || c.active.has(token) {
			return look{own: own, facts: f}, nil
		}
		f, err := ask(ctx)
		switch {
		case err != nil:
			return look{own: own, err: err}, nil
		case !f.Active:
			c.active.drop(own)
			return look{own: own, facts: c.bad.put(token, f, asked, asked.Add(inactiveTTL))}, nil
		}
		c.active.add(token)
		return look{own: own, facts: c.keep(own, f, asked)}, nil
	})
}

// keep remembers what the server answered at the given time. It returns the facts
// as they are remembered.
func (c *Cache) keep(key Key, f *Facts, asked time.Time) *Facts {
	if !f.Active {
		c.active.drop(key)
		return c.bad.put(key, f, asked, asked.Add(inactiveTTL))
	}
	c.active.add(key)
	if c.ttl < 0 {
		return f
	}
	until := asked.Add(c.ttl)
	if expires := f.Expires.Time(); expires.Before(until) && !expires.IsZero() {
		until = expires
	}
	return c.good.put(key, f, asked, until)
}

// Told says what the server answered at the given time to a question that was
// asked without Get. Nothing is remembered of a token that is active but that it
// was; one that is not is refused from now on.
func (c *Cache) Told(key Key, f *Facts, asked time.Time) {
	if f.Active {
		c.active.add(key)
		return
	}
	if known := c.good.get(key, asked); known != nil {
		c.good.forget(key, known)
	}
	c.keep(key, f, asked)
}

// WasActive reports whether a token under key was ever active, and has not been
// refused since. The oldest are forgotten first.
func (c *Cache) WasActive(key Key) bool { return c.active.has(key) }

// Forget makes the next Get for key ask again, if what is remembered there is
// still f. Refused tokens stay in memory for their two seconds.
func (c *Cache) Forget(key Key, f *Facts) { c.good.forget(key, f) }

// Wait returns when no call is under way, or with the error of ctx.
func (c *Cache) Wait(ctx context.Context) error {
	return errors.Join(c.strangers.Wait(ctx), c.flights.Wait(ctx))
}

// keySet is a bounded set of keys. When the newer half is full, the older half
// is dropped. Only tokens that are active get in, so strangers push out nothing.
type keySet struct {
	mu           sync.Mutex
	newer, older map[Key]struct{}
}

func (s *keySet) has(key Key) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	_, is := s.newer[key]
	_, was := s.older[key]
	return is || was
}

func (s *keySet) add(key Key) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.newer == nil || len(s.newer) >= activeKept {
		s.newer, s.older = make(map[Key]struct{}), s.newer
	}
	s.newer[key] = struct{}{}
}

func (s *keySet) drop(key Key) {
	s.mu.Lock()
	defer s.mu.Unlock()
	delete(s.newer, key)
	delete(s.older, key)
}

// remembered keeps the first grants beside the facts, so that a usual token is
// read from one place in memory.
type remembered struct {
	facts Facts
	room  [2]Grant
}

// memory is a bounded memory of facts.
type memory struct{ *bounded.Memory[remembered] }

func newMemory(limit int) memory { return memory{bounded.New[remembered](limit)} }

func (m memory) get(key Key, now time.Time) *Facts {
	if r := m.Get(key, now); r != nil {
		return &r.facts
	}
	return nil
}

// put remembers f until the given time. It returns the facts that get will
// return.
func (m memory) put(key Key, f *Facts, now, until time.Time) *Facts {
	return &m.Put(key, f.Size(), now, until, func(r *remembered) {
		r.facts = *f
		if len(f.Grants) <= len(r.room) {
			r.facts.Grants = r.room[:copy(r.room[:], f.Grants)]
		}
	}).facts
}

// forget forgets what is under key, if that is still f.
func (m memory) forget(key Key, f *Facts) {
	if r := m.Get(key, time.Time{}); r != nil && &r.facts == f {
		m.Forget(key, r)
	}
}

// Size is roughly how many bytes of memory f takes in the cache.
func (f *Facts) Size() int {
	n := factsOverhead + len(f.Subject) + len(f.Claims) + cap(f.Grants)*grantSize
	for i := range f.Grants {
		n += len(f.Grants[i].Resource)
	}
	if f.Access != nil {
		n += (len(f.Access.Scopes) + len(f.Access.Audience)) * scopeSize
	}
	return n
}
