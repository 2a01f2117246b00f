package gatehouse

import (
	"container/list"
	"sync"
	"time"
)

const (
	// maxRPTs bounds the tokens a UMATransport keeps. At the usual 1 KiB that
	// is 4 MiB; whose token falls out pays one exchange.
	maxRPTs = 4096
	// maxRPT is the longest token that is kept: what a resource server of ours
	// reads from an Authorization header.
	maxRPT = 16 << 10
	// denialTime is how long a denied request is answered from memory, so that
	// a client that repeats itself does not hammer the owner's server.
	denialTime = 5 * time.Second
	// maxDenials bounds that memory; beyond it denials are not remembered.
	maxDenials = 1024
)

// rptKey is what a requesting party token is kept under: for whom, from whom,
// and the one origin that may see it.
type rptKey struct{ party, issuer, origin string }

// requestKey names one request: method, host and address, hashed.
type requestKey struct {
	rptKey
	sum [32]byte
}

// rptCache holds at most one requesting party token per key, the least recently
// used out, and the denials of the last seconds. It is safe for concurrent use.
type rptCache struct {
	mu      sync.Mutex
	entries map[rptKey]*list.Element // of *heldRPT
	recent  *list.List               // most recently used first
	denials map[requestKey]time.Time // until when
	writers map[*rptWriter]struct{}
}

type heldRPT struct {
	key     rptKey
	token   Secret
	expires time.Time // zero: the server did not say; valid until refused
	refused bool      // the resource server challenged it: only to be upgraded
}

// rptWriter is one running exchange; forgetting its party makes its writes void.
type rptWriter struct {
	key  rptKey
	void bool
}

func newRPTCache() *rptCache {
	return &rptCache{
		entries: make(map[rptKey]*list.Element),
		recent:  list.New(),
		denials: make(map[requestKey]time.Time),
		writers: make(map[*rptWriter]struct{}),
	}
}

// usable returns the token to send to the resource server, "" for none.
func (c *rptCache) usable(key rptKey, now time.Time) string {
	c.mu.Lock()
	defer c.mu.Unlock()
	e := c.entries[key]
	if e == nil {
		return ""
	}
	c.recent.MoveToFront(e)
	held := e.Value.(*heldRPT)
	if held.refused || !held.expires.IsZero() && !now.Before(held.expires) {
		return ""
	}
	return held.token.Reveal()
}

// last returns the token to offer for an upgrade, also one that expired or was
// refused (UMA Grant §3.3.1, rpt), "" for none.
func (c *rptCache) last(key rptKey) string {
	c.mu.Lock()
	defer c.mu.Unlock()
	if e := c.entries[key]; e != nil {
		return e.Value.(*heldRPT).token.Reveal()
	}
	return ""
}

// refuse says that the resource server challenged token: it is not sent there
// again unless the authorization server gives it anew.
func (c *rptCache) refuse(key rptKey, token string) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if e := c.entries[key]; e != nil && e.Value.(*heldRPT).token.Reveal() == token {
		e.Value.(*heldRPT).refused = true
	}
}

// drop removes token, unless another one took its place.
func (c *rptCache) drop(key rptKey, token string) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if e := c.entries[key]; e != nil && e.Value.(*heldRPT).token.Reveal() == token {
		c.remove(e)
	}
}

func (c *rptCache) remove(e *list.Element) {
	c.recent.Remove(e)
	delete(c.entries, e.Value.(*heldRPT).key)
}

// begin opens an exchange for key; end closes it.
func (c *rptCache) begin(key rptKey) *rptWriter {
	c.mu.Lock()
	defer c.mu.Unlock()
	w := &rptWriter{key: key}
	c.writers[w] = struct{}{}
	return w
}

func (c *rptCache) end(w *rptWriter) {
	c.mu.Lock()
	defer c.mu.Unlock()
	delete(c.writers, w)
}

// put makes token the current one of w's key.
func (c *rptCache) put(w *rptWriter, token Secret, expires time.Time) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if w.void {
		return
	}
	if e := c.entries[w.key]; e != nil {
		c.remove(e)
	}
	c.entries[w.key] = c.recent.PushFront(&heldRPT{key: w.key, token: token, expires: expires})
	if c.recent.Len() > maxRPTs {
		c.remove(c.recent.Back())
	}
}

// deny remembers until denialTime from now that the request was denied.
func (c *rptCache) deny(w *rptWriter, request requestKey, now time.Time) {
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
		c.denials[request] = now.Add(denialTime)
	}
}

// denied reports whether the request was denied a moment ago.
func (c *rptCache) denied(request requestKey, now time.Time) bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	until, ok := c.denials[request]
	if ok && !now.Before(until) {
		delete(c.denials, request)
		return false
	}
	return ok
}

// forget removes everything about party, and what its running exchanges bring.
func (c *rptCache) forget(party string) {
	c.mu.Lock()
	defer c.mu.Unlock()
	for key, e := range c.entries {
		if key.party == party {
			c.remove(e)
		}
	}
	for key := range c.denials {
		if key.party == party {
			delete(c.denials, key)
		}
	}
	for w := range c.writers {
		if w.key.party == party {
			w.void = true
		}
	}
}
