package rptcache_test

import (
	"fmt"
	"strings"
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
	w.Put(token, expires, "")
}

func (c *cache) deny(key rptcache.Key, r rptcache.Request) {
	w := c.Begin(key)
	defer w.End()
	w.Deny(r)
}

var ana = rptcache.Key{Party: "ana", Issuer: "https://as.test", Origin: "https://photos.test"}

const path = "/albums/1"

// want checks the token for the path, and the one to offer for an upgrade.
func (c *cache) want(t *testing.T, what, chosen, offered string) {
	t.Helper()
	if got := c.Choose(ana, path).Token; got != chosen {
		t.Errorf("%s: chosen %q, want %q", what, got, chosen)
	}
	if got := c.Upgradable(ana, path, ""); got != offered {
		t.Errorf("%s: offered %q, want %q", what, got, offered)
	}
}

// serve records that the token served the path.
func (c *cache) serve(path, token string) { c.Served(ana, "GET", path, rptcache.Choice{Token: token}) }

// TestOneToken: the life of a token under one key.
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
	c.want(t, "at the end, the one before", "a", "a")
	c.Drop(ana, "a")
	c.want(t, "dropped", "", "")
	c.Refuse(ana, "GET", path, "a")
	c.Drop(ana, "a")
	c.Rest(ana, "a")
	c.serve(path, "a")
	c.want(t, "dropped twice", "", "")

	c.put(ana, "c", time.Time{})
	c.Refuse(ana, "GET", path, "b")
	c.want(t, "an unknown one is refused", "c", "c")
	c.Refuse(ana, "GET", path, "c")
	c.want(t, "refused where it has not served", "c", "c")
	c.serve("/other/1", "c")
	c.Refuse(ana, "GET", "/other/1", "c")
	c.want(t, "refused where it has served", "", "c")
	c.put(ana, "c", time.Time{})
	c.want(t, "given anew", "c", "c")
	c.serve(path, "c")
	c.Refuse(ana, "DELETE", path, "c")
	c.Refuse(ana, "GET", "/other/2", "c")
	if got := c.Choose(ana, "/other").Token; got != "c" {
		t.Errorf("other requests are refused: chosen %q", got)
	}
	c.Refuse(ana, "GET", path, "c")
	c.want(t, "refused, but it served this path", "c", "c")
	if got := c.Choose(ana, "/other").Token; got != "" {
		t.Errorf("refused: chosen %q for another path", got)
	}
	c.serve("/more", "c")
	if got := c.Choose(ana, "/other").Token; got != "c" {
		t.Errorf("served again: chosen %q for another path", got)
	}
	c.Refuse(ana, "GET", path, "c")
	for rest, token := range map[string]string{"/more": "c", "/more/a": "c", path + "/photos/1": "c", "/other": ""} {
		if got := c.Choose(ana, rest).Token; got != token {
			t.Errorf("refused once more: %s gets %q, want %q", rest, got, token)
		}
	}
	c.Rest(ana, "c")
	c.want(t, "its upgrade was refused", "c", "")
	c.now = c.now.Add(5 * time.Second)
	c.want(t, "five seconds later", "c", "c")
}

// TestFewTokens: of one key the newest four are kept, and a path gets the one
// that served it or the longest prefix.
func TestFewTokens(t *testing.T) {
	c := newCache()
	for i, p := range []string{"/", "/1", "/2/", "/3/a"} {
		c.put(ana, fmt.Sprint("t", i), time.Time{})
		c.serve(p, fmt.Sprint("t", i))
	}
	want := func(when string, paths map[string]string) {
		t.Helper()
		for path, token := range paths {
			if got := c.Choose(ana, path).Token; got != token {
				t.Errorf("%s: %s gets %q, want %q", when, path, got, token)
			}
		}
	}
	want("four", map[string]string{
		"/": "t0", "/1": "t1", "/1/x/y": "t1", "/1/": "t1", "/10": "t0", "/2": "t0", "/2/": "t2", "/2/x": "t2",
		"/3": "t0", "/3/a": "t3", "/3/a/b": "t3", "/3/b": "t0", "": "t3", "x": "t3",
	})
	c.serve("/2/x", "t1")
	want("the last that served counts", map[string]string{"/2/x": "t1", "/2/x/y": "t1", "/2/y": "t2"})
	c.put(ana, "t4", time.Time{})
	want("five", map[string]string{"/": "t4", "/9": "t4", "/1": "t1"})
	c.serve("/4", "t0")
	want("one that is gone serves nothing", map[string]string{"/4": "t4"})

	w := c.Begin(ana)
	w.Put("t5", c.now.Add(time.Minute), "t1")
	w.End()
	want("upgraded", map[string]string{"/1": "t5", "/2/x": "t5", "/2/": "t2", "/9": "t5"})
	if got := c.Upgradable(ana, "/2/", "t1"); got != "t2" {
		t.Errorf("after the upgrade %q is offered", got)
	}
	if got := c.Upgradable(ana, "/2/", "t5"); got != "t5" {
		t.Errorf("%q is offered, want the one that was sent", got)
	}
	c.now = c.now.Add(time.Minute)
	want("expired", map[string]string{"/1": "t4", "/2/": "t2"})
}

// TestNewer: a token that came after a choice, and no other.
func TestNewer(t *testing.T) {
	c := newCache()
	none := c.Choose(ana, path)
	c.put(ana, "a", time.Time{})
	if got := c.Newer(ana, none); got != "a" {
		t.Errorf("newer than nothing: %q", got)
	}
	first := c.Choose(ana, path)
	if got := c.Newer(ana, first); got != "" {
		t.Errorf("newer than itself: %q", got)
	}
	c.put(rptcache.Key{Party: "bob"}, "b", time.Time{})
	if got := c.Newer(ana, first); got != "" {
		t.Errorf("newer, but for bob: %q", got)
	}
}

// TestPathsAreBounded: the oldest path is forgotten.
func TestPathsAreBounded(t *testing.T) {
	const maxPaths = 64
	c := newCache()
	c.put(ana, "a", time.Time{})
	for i := range maxPaths + 1 {
		c.serve(fmt.Sprint("/", i), "a")
	}
	c.put(ana, "b", time.Time{})
	for i, want := range map[int]string{0: "b", 1: "a", maxPaths: "a"} {
		if got := c.Choose(ana, fmt.Sprint("/", i)).Token; got != want {
			t.Errorf("path %d gets %q, want %q", i, got, want)
		}
	}
}

// TestManyPathsBelowOne: an album with more pictures than paths are kept does
// not lose its token.
func TestManyPathsBelowOne(t *testing.T) {
	c := newCache()
	for _, album := range []string{"/1", "/2"} {
		c.put(ana, "token of "+album, time.Time{})
		c.serve(album, "token of "+album)
		for i := range 200 {
			c.serve(fmt.Sprint(album, "/photos/", i), "token of "+album)
		}
	}
	c.put(ana, "newest", time.Time{})
	for _, album := range []string{"/1", "/2"} {
		for _, path := range []string{"", "/photos/0", "/photos/199", "/photos/new"} {
			if got := c.Choose(ana, album+path).Token; got != "token of "+album {
				t.Errorf("%s gets %q", album+path, got)
			}
		}
	}
}

// TestLongTokens: they are used and not offered.
func TestLongTokens(t *testing.T) {
	for size, offered := range map[int]bool{3499: true, 3500: false} {
		c := newCache()
		token := strings.Repeat("a", size)
		c.put(ana, token, time.Time{})
		if got := c.Choose(ana, path).Token; got != token {
			t.Errorf("%d bytes: not chosen", size)
		}
		if got := c.Upgradable(ana, path, token); (got == token) != offered {
			t.Errorf("%d bytes: offered %v", size, got != "")
		}
	}
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
		if got := c.Choose(other, path).Token + c.Upgradable(other, path, "a"); got != "" {
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
	has := func(i int) bool { return c.Choose(key(i), path).Token != "" }
	has(0)
	c.put(key(maxRPTs), "t", time.Time{})
	if !has(0) || has(1) || !has(2) || !has(maxRPTs) {
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
	if c.Choose(elsewhere, path).Token != "" || c.Denied(request) || c.Choose(bob, path).Token != "t" {
		t.Error("something of the party is left, or the other party lost its token")
	}
	running.Put("late", time.Time{}, "")
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
				c.Refuse(ana, "GET", path, c.Choose(ana, path).Token)
				c.Served(ana, "GET", path, c.Choose(ana, path))
				c.Drop(ana, c.Upgradable(ana, path, ""))
				c.Forget("ana")
			}
		})
	}
	wg.Wait()
	c.want(t, "at the end", "", "")
}
