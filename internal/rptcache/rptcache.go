// Package rptcache keeps the requesting party tokens (RPT) of a UMA client, one
// for each party, authorization server and origin, and it remembers which
// requests were denied a moment ago. It knows when a token may be used and who
// must not see it. It must not know how tokens are obtained: no HTTP, no
// challenges, no grants.
package rptcache

import (
	"container/list"
	"crypto/sha256"
	"sync"
	"time"
)

const (
	// maxRPTs bounds the tokens that are kept. At the usual 1 KiB each they
	// take 4 MiB. A party whose token is dropped pays for one more exchange.
	maxRPTs = 4096
	// denialTime is how long a denied request is answered from memory, so that
	// a client that repeats it does not hammer the owner's server.
	denialTime = 5 * time.Second
	// maxDenials bounds that memory. When it is full, denials are not
	// remembered.
	maxDenials = 1024
)

// Key identifies a kept token: the party it is for, the server it is from, and
// the one origin that may see it.
type Key struct{ Party, Issuer, Origin string }

// Request identifies one request of a party by a hash of its method and
// address.
type Request struct {
	key Key
	sum [sha256.Size]byte
}

// RequestOf makes the Request for a method and an address.
func RequestOf(key Key, method, address string) Request {
	return Request{key, sha256.Sum256([]byte(method + " " + address))}
}

// Cache holds at most one token for each key and drops the least recently used.
// It also holds the denials of the last seconds. It is safe for concurrent use.
type Cache struct {
	now func() time.Time

	mu      sync.Mutex
	entries map[Key]*list.Element // of *held
	recent  *list.List            // most recently used first
	denials map[Request]time.Time // denied until then
	writers map[*Writer]struct{}
}

type held struct {
	key     Key
	token   string
	expires time.Time // zero if the server did not say: valid until refused
	refused bool      // the resource server challenged it, so it may only be upgraded
}

// New makes a Cache.
func New(now func() time.Time) *Cache {
	return &Cache{
		now:     now,
		entries: make(map[Key]*list.Element),
		recent:  list.New(),
		denials: make(map[Request]time.Time),
		writers: make(map[*Writer]struct{}),
	}
}

// Usable returns the token to send to the resource server, or "".
func (c *Cache) Usable(key Key) string {
	now := c.now()
	c.mu.Lock()
	defer c.mu.Unlock()
	e := c.entries[key]
	if e == nil {
		return ""
	}
	c.recent.MoveToFront(e)
	h := e.Value.(*held)
	if h.refused || !h.expires.IsZero() && !now.Before(h.expires) {
		return ""
	}
	return h.token
}

// Last returns the token to offer for an upgrade, or "". The token may have
// expired or been refused (UMA Grant §3.3.1, rpt).
func (c *Cache) Last(key Key) string {
	c.mu.Lock()
	defer c.mu.Unlock()
	if e := c.entries[key]; e != nil {
		return e.Value.(*held).token
	}
	return ""
}

// Refuse records that the resource server challenged token. It is not sent
// there again unless the authorization server issues it again.
func (c *Cache) Refuse(key Key, token string) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if e := c.entries[key]; e != nil && e.Value.(*held).token == token {
		e.Value.(*held).refused = true
	}
}

// Drop removes token, unless another token has replaced it.
func (c *Cache) Drop(key Key, token string) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if e := c.entries[key]; e != nil && e.Value.(*held).token == token {
		c.remove(e)
	}
}

func (c *Cache) remove(e *list.Element) {
	c.recent.Remove(e)
	delete(c.entries, e.Value.(*held).key)
}

// Denied reports whether the request was denied a moment ago.
func (c *Cache) Denied(r Request) bool {
	now := c.now()
	c.mu.Lock()
	defer c.mu.Unlock()
	until, ok := c.denials[r]
	if ok && !now.Before(until) {
		delete(c.denials, r)
		return false
	}
	return ok
}

// Forget removes everything about a party. Writers that are open for the party
// store nothing from now on.
func (c *Cache) Forget(party string) {
	c.mu.Lock()
	defer c.mu.Unlock()
	for key, e := range c.entries {
		if key.Party == party {
			c.remove(e)
		}
	}
	for r := range c.denials {
		if r.key.Party == party {
			delete(c.denials, r)
		}
	}
	for w := range c.writers {
		if w.key.Party == party {
			w.void = true
		}
	}
}

// Writer stores the result of one exchange. Once its party is forgotten it
// stores nothing, so an exchange under way cannot bring the party back.
type Writer struct {
	cache *Cache
	key   Key
	void  bool // guarded by the cache's lock
}

// Begin opens a Writer for key. The caller calls End when the exchange is over.
func (c *Cache) Begin(key Key) *Writer {
	c.mu.Lock()
	defer c.mu.Unlock()
	w := &Writer{cache: c, key: key}
	c.writers[w] = struct{}{}
	return w
}

// End closes the writer.
func (w *Writer) End() {
	w.cache.mu.Lock()
	defer w.cache.mu.Unlock()
	delete(w.cache.writers, w)
}

// Put makes token the current one of the writer's key. A zero expires means
// that the server did not say when the token expires.
func (w *Writer) Put(token string, expires time.Time) {
	c := w.cache
	c.mu.Lock()
	defer c.mu.Unlock()
	if w.void {
		return
	}
	if e := c.entries[w.key]; e != nil {
		c.remove(e)
	}
	c.entries[w.key] = c.recent.PushFront(&held{key: w.key, token: token, expires: expires})
	if c.recent.Len() > maxRPTs {
		c.remove(c.recent.Back())
	}
}

// Deny remembers for a few seconds that the request was denied.
func (w *Writer) Deny(r Request) {
	c, now := w.cache, w.cache.now()
	c.mu.Lock()
	defer c.mu.Unlock()
	if w.void {
		return
	}
	if len(c.denials) >= maxDenials {
		for k, until := range c.denials {
			if !now.Before(until) {
				delete(c.denials, k)
			}
		}
	}
	if len(c.denials) < maxDenials {
		c.denials[r] = now.Add(denialTime)
	}
}
