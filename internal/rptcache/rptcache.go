// Package rptcache keeps the requesting party tokens (RPT) of a UMA client, a
// few for each party, authorization server and origin, and it remembers which
// requests were denied a moment ago. It knows when a token may be used and who
// must not see it. It must not know how tokens are obtained: no HTTP, no
// challenges, no grants.
package rptcache

import (
	"container/list"
	"crypto/sha256"
	"hash/maphash"
	"slices"
	"strings"
	"sync"
	"time"
)

const (
	// maxRPTs bounds the tokens that are kept. At the usual 1 KiB each they
	// take 4 MiB. A party whose tokens are dropped pays for one more exchange.
	maxRPTs = 4096
	// maxPerKey bounds the tokens of one party at one origin. An authorization
	// server that does not upgrade tokens gives one for each resource, and a
	// client may go to and fro between a few.
	maxPerKey = 4
	// maxPaths bounds the paths of one key for which it is known which token
	// served them, 32 bytes each. The oldest is forgotten first, but before it
	// those below a path of the same token, such as the pictures of an album.
	maxPaths = 64
	// maxUpgrade is below the 4,000 characters over which Keycloak ignores an
	// rpt (K25). A token of this size is not offered, so that it stops growing.
	maxUpgrade = 3500
	// denialTime is how long a denied request is answered from memory, and a
	// token whose upgrade was refused is not offered again, so that a client
	// that repeats it does not hammer the owner's server.
	denialTime = 5 * time.Second
	// maxDenials bounds that memory. When it is full, denials are not
	// remembered.
	maxDenials = 1024
)

// Key identifies kept tokens: the party they are for, the server they are from,
// and the one origin that may see them.
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

// Sum is the hash of the method and the address.
func (r Request) Sum() [sha256.Size]byte { return r.sum }

// RequestWithSum makes the Request of a party whose Sum is known.
func RequestWithSum(key Key, sum [sha256.Size]byte) Request { return Request{key, sum} }

// Cache holds the newest tokens of each key and drops the keys that were least
// recently used. It also holds the denials of the last seconds. It is safe for
// concurrent use.
type Cache struct {
	now  func() time.Time
	seed maphash.Seed

	mu      sync.Mutex
	entries map[Key]*list.Element // of *entry
	recent  *list.List            // most recently used first
	count   int                   // tokens in all entries
	puts    uint64                // tokens stored so far
	denials map[Request]time.Time // denied until then
	writers map[*Writer]struct{}
}

// entry is what is kept for one key.
type entry struct {
	key    Key
	tokens []*held // newest first, never empty
	served []served
}

type held struct {
	token   string
	expires time.Time // zero if the server did not say: valid until refused
	put     uint64
	refused bool      // challenged where it had served: only its own paths get it
	rests   time.Time // until then it is not offered, because its upgrade was refused
}

// served says which token last served a path, and the first request that it
// served there. A hash suffices: two paths with the same hash cost at worst one
// exchange.
type served struct {
	path, method uint64
	by           *held
	below        bool // a prefix of the path had the same token
}

// New makes a Cache.
func New(now func() time.Time) *Cache {
	return &Cache{
		now:     now,
		seed:    maphash.MakeSeed(),
		entries: make(map[Key]*list.Element),
		recent:  list.New(),
		denials: make(map[Request]time.Time),
		writers: make(map[*Writer]struct{}),
	}
}

// Choice is a token for one request.
type Choice struct {
	Token string // "" if there is none
	known bool   // the token is known to serve the path
	puts  uint64 // tokens stored before
}

// Choose returns the token to send to the resource server: the one that last
// served the path or the longest prefix of it, and otherwise the newest.
func (c *Cache) Choose(key Key, path string) Choice {
	now := c.now()
	c.mu.Lock()
	defer c.mu.Unlock()
	e := c.living(key, now)
	if e == nil {
		return Choice{puts: c.puts}
	}
	c.recent.MoveToFront(c.entries[key])
	h, exact := c.choose(e, path)
	if h == nil {
		return Choice{puts: c.puts}
	}
	return Choice{Token: h.token, known: exact && !h.refused, puts: c.puts}
}

// Upgradable returns the token to offer for an upgrade, or "" (UMA Grant
// §3.3.1, rpt). It is the one that was sent, if it is still kept, and otherwise
// the one to send. A long token is not offered, nor one whose upgrade was
// refused within denialTime.
func (c *Cache) Upgradable(key Key, path, sent string) string {
	now := c.now()
	c.mu.Lock()
	defer c.mu.Unlock()
	e := c.living(key, now)
	if e == nil {
		return ""
	}
	h := e.find(sent)
	if h == nil {
		h, _ = c.choose(e, path)
	}
	if h == nil {
		h = e.tokens[0]
	}
	if len(h.token) >= maxUpgrade || now.Before(h.rests) {
		return ""
	}
	return h.token
}

// TooLong reports whether a token is so long that a server may refuse a header
// that holds it.
func TooLong(token string) bool { return len(token) > maxUpgrade }

// Newer returns the newest token if it was stored after the choice, and
// otherwise "".
func (c *Cache) Newer(key Key, than Choice) string {
	now := c.now()
	c.mu.Lock()
	defer c.mu.Unlock()
	if e := c.living(key, now); e != nil && e.tokens[0].put > than.puts {
		return e.tokens[0].token
	}
	return ""
}

// Served records that the token of a choice served the path. That costs
// nothing if it is known.
func (c *Cache) Served(key Key, method, path string, by Choice) {
	if by.known {
		return
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	found := c.entries[key]
	if found == nil {
		return
	}
	e := found.Value.(*entry)
	h := e.find(by.Token)
	if h == nil {
		return
	}
	h.refused = false
	sum := maphash.String(c.seed, path)
	e.served = slices.DeleteFunc(e.served, func(s served) bool { return s.path == sum })
	if len(e.served) == maxPaths {
		i := max(slices.IndexFunc(e.served, func(s served) bool { return s.below }), 0)
		e.served = slices.Delete(e.served, i, i+1)
	}
	prefix := c.prefix(e, path)
	e.served = append(e.served, served{sum, maphash.String(c.seed, method), h, prefix != nil && prefix.by == h})
}

// choose returns the token for a path, and whether it last served exactly that
// path. It returns nil if only the newest could be meant and that was refused.
func (c *Cache) choose(e *entry, path string) (h *held, exact bool) {
	if s := e.serves(maphash.String(c.seed, path)); s != nil {
		return s.by, true
	}
	if len(e.tokens) > 1 || e.tokens[0].refused { // else it makes no difference
		if s := c.prefix(e, path); s != nil {
			return s.by, false
		}
	}
	if e.tokens[0].refused {
		return nil, false
	}
	return e.tokens[0], false
}

// prefix returns what is known of the longest prefix of a path, or nil.
func (c *Cache) prefix(e *entry, path string) *served {
	for rest := range prefixes(path) {
		if s := e.serves(maphash.String(c.seed, rest)); s != nil {
			return s
		}
	}
	return nil
}

// prefixes yields what precedes each slash of a path, with and without the
// slash, the longest first.
func prefixes(path string) func(yield func(string) bool) {
	return func(yield func(string) bool) {
		for i := strings.LastIndexByte(path, '/'); i >= 0; i = strings.LastIndexByte(path[:i], '/') {
			if !yield(path[:i+1]) || i > 0 && !yield(path[:i]) {
				return
			}
		}
	}
}

// living returns the entry of a key without the tokens that have expired, or
// nil if nothing is left. The lock is held.
func (c *Cache) living(key Key, now time.Time) *entry {
	found := c.entries[key]
	if found == nil {
		return nil
	}
	e := found.Value.(*entry)
	for i := len(e.tokens) - 1; i >= 0; i-- {
		if h := e.tokens[i]; !h.expires.IsZero() && !now.Before(h.expires) {
			c.drop(found, h)
		}
	}
	if len(e.tokens) == 0 {
		return nil
	}
	return e
}

func (e *entry) find(token string) *held {
	for _, h := range e.tokens {
		if h.token == token {
			return h
		}
	}
	return nil
}

func (e *entry) serves(path uint64) *served {
	for i := range e.served {
		if e.served[i].path == path {
			return &e.served[i]
		}
	}
	return nil
}

// Refuse records that the resource server challenged token. If the token has
// served this very request, it has lost something: until it serves again, or is
// issued again, it is chosen only for the paths that it served. A challenge to
// another method or elsewhere says nothing about third paths.
func (c *Cache) Refuse(key Key, method, path, token string) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if found := c.entries[key]; found != nil {
		s := found.Value.(*entry).serves(maphash.String(c.seed, path))
		if s != nil && s.by.token == token && s.method == maphash.String(c.seed, method) {
			s.by.refused = true
		}
	}
}

// Rest records that the authorization server has just refused to upgrade token.
func (c *Cache) Rest(key Key, token string) {
	until := c.now().Add(denialTime)
	c.mu.Lock()
	defer c.mu.Unlock()
	if found := c.entries[key]; found != nil {
		if h := found.Value.(*entry).find(token); h != nil {
			h.rests = until
		}
	}
}

// hand gives the paths of one token to another.
func (e *entry) hand(from, to *held) {
	for i := range e.served {
		if e.served[i].by == from {
			e.served[i].by = to
		}
	}
}

// Drop removes a token.
func (c *Cache) Drop(key Key, token string) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if found := c.entries[key]; found != nil {
		if h := found.Value.(*entry).find(token); h != nil {
			c.drop(found, h)
		}
	}
}

// drop removes a token, and its entry if it was the last one there.
func (c *Cache) drop(found *list.Element, h *held) {
	e := found.Value.(*entry)
	e.tokens = slices.DeleteFunc(e.tokens, func(other *held) bool { return other == h })
	e.served = slices.DeleteFunc(e.served, func(s served) bool { return s.by == h })
	c.count--
	if len(e.tokens) == 0 {
		c.recent.Remove(found)
		delete(c.entries, e.key)
	}
}

func (c *Cache) remove(found *list.Element) {
	e := found.Value.(*entry)
	c.count -= len(e.tokens)
	c.recent.Remove(found)
	delete(c.entries, e.key)
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
	for key, found := range c.entries {
		if key.Party == party {
			c.remove(found)
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

// Put makes token the newest one of the writer's key. A zero expires means that
// the server did not say when the token expires. If it upgrades another token,
// it takes over the paths of that token, which is dropped (UMA Grant §3.3.5).
func (w *Writer) Put(token string, expires time.Time, upgrades string) {
	c := w.cache
	c.mu.Lock()
	defer c.mu.Unlock()
	if w.void {
		return
	}
	found := c.entries[w.key]
	if found == nil {
		found = c.recent.PushFront(&entry{key: w.key})
		c.entries[w.key] = found
	}
	c.recent.MoveToFront(found)
	e := found.Value.(*entry)
	c.puts++
	h := &held{token: token, expires: expires, put: c.puts}
	e.tokens = slices.Insert(e.tokens, 0, h)
	c.count++
	for i := len(e.tokens) - 1; i > 0; i-- {
		if old := e.tokens[i]; old.token == token || old.token == upgrades {
			e.hand(old, h)
			c.drop(found, old)
		}
	}
	if len(e.tokens) > maxPerKey {
		c.drop(found, e.tokens[maxPerKey])
	}
	for c.count > maxRPTs {
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
