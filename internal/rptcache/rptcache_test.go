package rptcache_test

import (
	"fmt"
	"sync"
	"testing"
	"time"

	"example.com/gatehouse/internal/rptcache"
)

// cache returns a Cache with a stopped clock.
type cache struct {
	*rptcache.Cache
	now time.Time
}

func newCache() *cache {
	c := &cache{now: time.Unix(1777636800, 0)}
	c.Cache = rptcache.New(func() time.Time { return c.now })
	return c
}

// put stores a token as an exchange does.
func (c *cache) put(key rptcache.Key, token string, expires time.Time) {
	w := c.Begin(key)
	defer w.End()
	w.Put(token, expires)
}

func (c *cache) deny(key rptcache.Key, r rptcache.Request) {
	w := c.Begin(key)
	defer w.End()
	w.Deny(r)
}

var ana = rptcache.Key{Party: "ana", Issuer: "https://as.test", Origin: "https://photos.test"}

func (c *cache) want(t *testing.T, what, usable, last string) {
	t.Helper()
	if got := c.Usable(ana); got != usable {
		t.Errorf("%s: usable %q, want %q", what, got, usable)
	}
	if got := c.Last(ana); got != last {
		t.Errorf("%s: last %q, want %q", what, got, last)
	}
}

// TestOneToken: the life of the token under one key.
func TestOneToken(t *testing.T) {
	c := newCache()
	c.want(t, "empty", "", "")
	c.put(ana, "a", time.Time{})
	c.want(t, "without an end", "a", "a")
	c.now = c.now.Add(1000 * time.Hour)
	c.want(t, "without an end, much later", "a", "a")
	c.put(ana, "b", c.now.Add(time.Minute))
	c.want(t, "another one", "b", "b")
	c.now = c.now.Add(time.Minute - 1)
	c.want(t, "just before the end", "b", "b")
	c.now = c.now.Add(1)
	c.want(t, "at the end", "", "b")

	c.put(ana, "c", time.Time{})
	c.Refuse(ana, "b")
	c.want(t, "an older one is refused", "c", "c")
	c.Refuse(ana, "c")
	c.want(t, "refused", "", "c")
	c.put(ana, "c", time.Time{})
	c.want(t, "given anew", "c", "c")
	c.Drop(ana, "b")
	c.want(t, "an older one is dropped", "c", "c")
	c.Drop(ana, "c")
	c.want(t, "dropped", "", "")
	c.Refuse(ana, "c")
	c.Drop(ana, "c")
	c.want(t, "dropped twice", "", "")
}

// TestKeysAreApart: a token is for one party, from one server, for one origin.
func TestKeysAreApart(t *testing.T) {
	c := newCache()
	c.put(ana, "a", time.Time{})
	denied := rptcache.RequestOf(ana, "GET", "/1")
	c.deny(ana, denied)
	for _, other := range []rptcache.Key{
		{Party: "bob", Issuer: ana.Issuer, Origin: ana.Origin},
		{Party: "", Issuer: ana.Issuer, Origin: ana.Origin},
		{Party: "ana", Issuer: "https://other.test", Origin: ana.Origin},
		{Party: "ana", Issuer: ana.Issuer, Origin: "http://photos.test"},
		{Party: "anahttps://as.test", Issuer: "", Origin: ana.Origin},
	} {
		if got := c.Usable(other) + c.Last(other); got != "" {
			t.Errorf("%v has the token %q", other, got)
		}
		if c.Denied(rptcache.RequestOf(other, "GET", "/1")) {
			t.Errorf("%v is denied", other)
		}
	}
	for _, r := range [][2]string{{"POST", "/1"}, {"GET", "/2"}, {"GET /1", ""}, {"", "GET /1"}} {
		if c.Denied(rptcache.RequestOf(ana, r[0], r[1])) {
			t.Errorf("%q is denied", r)
		}
	}
	if !c.Denied(denied) {
		t.Error("the denied request is not denied")
	}
}

// TestDenials: denials are remembered for five seconds, up to a limit.
func TestDenials(t *testing.T) {
	const maxDenials = 1024
	c := newCache()
	request := func(i int) rptcache.Request { return rptcache.RequestOf(ana, "GET", fmt.Sprint("/", i)) }
	for i := range maxDenials + 1 {
		c.deny(ana, request(i))
	}
	if !c.Denied(request(0)) || !c.Denied(request(maxDenials-1)) || c.Denied(request(maxDenials)) {
		t.Error("want the first 1024 remembered, and no more")
	}
	c.now = c.now.Add(5*time.Second - 1)
	if !c.Denied(request(0)) {
		t.Error("forgotten too early")
	}
	c.now = c.now.Add(1)
	if c.Denied(request(0)) {
		t.Error("remembered too long")
	}
	if c.deny(ana, request(maxDenials)); !c.Denied(request(maxDenials)) {
		t.Error("expired denials leave no room")
	}
}

// TestBound: the least recently used token is dropped.
func TestBound(t *testing.T) {
	const maxRPTs = 4096
	c := newCache()
	key := func(i int) rptcache.Key { return rptcache.Key{Party: fmt.Sprint(i), Issuer: "as", Origin: "rs"} }
	for i := range maxRPTs {
		c.put(key(i), "t", time.Time{})
	}
	c.Usable(key(0))
	c.put(key(maxRPTs), "t", time.Time{})
	if c.Usable(key(0)) == "" || c.Usable(key(1)) != "" || c.Usable(key(2)) == "" || c.Usable(key(maxRPTs)) == "" {
		t.Error("want the second token dropped: it is the least recently used")
	}
}

// TestForget: everything about one party is removed, and so is the result of
// its running exchanges.
func TestForget(t *testing.T) {
	c := newCache()
	bob := rptcache.Key{Party: "bob", Issuer: ana.Issuer, Origin: ana.Origin}
	elsewhere := rptcache.Key{Party: "ana", Issuer: ana.Issuer, Origin: "https://prints.test"}
	request := rptcache.RequestOf(ana, "GET", "/1")
	for _, key := range []rptcache.Key{ana, bob, elsewhere} {
		c.put(key, "t", time.Time{})
	}
	c.deny(ana, request)
	running := c.Begin(ana)
	c.Forget("ana")
	c.want(t, "forgotten", "", "")
	if c.Last(elsewhere) != "" || c.Denied(request) || c.Last(bob) != "t" {
		t.Error("something of the party is left, or the other party lost its token")
	}
	running.Put("late", time.Time{})
	running.Deny(request)
	running.End()
	c.want(t, "after the running exchange", "", "")
	if c.Denied(request) {
		t.Error("a running exchange brought a denial back")
	}
	c.put(ana, "new", time.Time{})
	c.want(t, "after a new exchange", "new", "new")
}

// TestParallel is for the race detector.
func TestParallel(t *testing.T) {
	c := newCache()
	var wg sync.WaitGroup
	for i := range 8 {
		wg.Go(func() {
			request := rptcache.RequestOf(ana, "GET", fmt.Sprint(i))
			for range 100 {
				c.put(ana, fmt.Sprint(i), time.Time{})
				c.deny(ana, request)
				c.Denied(request)
				c.Refuse(ana, c.Usable(ana))
				c.Drop(ana, c.Last(ana))
				c.Forget("ana")
			}
		})
	}
	wg.Wait()
	c.want(t, "at the end", "", "")
}
