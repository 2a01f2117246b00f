package session_test

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/base64"
	"errors"
	"net/http"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"example.com/gatehouse"
	"example.com/gatehouse/internal/e2e/world"
)

// recordKey is the store key of the visitor's session, a hash of the cookie's
// id (decision 2): base64url(SHA-256(domain ‖ value)).
func recordKey(t testing.TB, s *world.Site, b *world.Visitor) string {
	t.Helper()
	list, err := s.Replicas[0].Sessions.List(context.Background(), world.SiteIssuer, b.User+"-1")
	if err != nil || len(list) != 1 {
		t.Fatalf("%d sessions, err %v", len(list), err)
	}
	return list[0].ID
}

func overwrite(s *world.Site, key string, change func([]byte) []byte) {
	s.T.Helper()
	ctx := context.Background()
	old, found, err := s.Store.FindCtx(ctx, key)
	if err != nil || !found {
		s.T.Fatalf("no record under %s, err %v", key, err)
	}
	s.Must(s.Store.CommitCtx(ctx, key, change(slices.Clone(old)), s.Now().Add(time.Hour)))
}

// What cannot be read means "not signed in", with one warning, unless it has
// the head and the length of a record of a newer version (decision 7).
func TestSessionGarbageRecord(t *testing.T) {
	for name, change := range map[string]func([]byte) []byte{
		"empty":           func([]byte) []byte { return []byte{} },
		"text":            func(b []byte) []byte { return append(b[:18], "not a record at all, but long enough to be one"...) },
		"only text":       func([]byte) []byte { return []byte("somebody else's value under our key") },
		"JSON":            func([]byte) []byte { return []byte(`{"user":"ana"}`) },
		"cut":             func(b []byte) []byte { return b[:len(b)-3] },
		"head only":       func(b []byte) []byte { return b[:10] },
		"unknown form":    func(b []byte) []byte { b[1] = 7; return b },
		"version zero":    func(b []byte) []byte { b[0] = 0; return b },
		"newer and short": func([]byte) []byte { return []byte{2, 0} },
		"newer, its form": func(b []byte) []byte { b[0], b[1] = 2, 7; return b },
		"newer and huge":  func(b []byte) []byte { b[0] = 2; return append(b, make([]byte, 60_000)...) },
		"length too long": func(b []byte) []byte { return append(b, 1, 0xff, 0xff, 0xff, 0xff, 0x0f) },
	} {
		t.Run(name, func(t *testing.T) {
			s := world.NewSite(t)
			ana := s.Visitor("ana")
			ana.SignIn()
			key := recordKey(t, s, ana)
			overwrite(s, key, change)
			for range 3 {
				ana.WantOut(ana.Get("/notes/"))
			}
			if got := s.Logged("level=WARN"); got != 1 {
				t.Errorf("%d warnings, want 1", got)
			}
			if a := ana.Post("/auth/logout", nil); a.Code != http.StatusSeeOther || ana.SessionName() != "" {
				t.Errorf("sign-out: %v, cookies %v", a, ana.Cookies())
			}
			ana.SignIn()
			overwrite(s, recordKey(t, s, ana), change)
			ana.SignIn()
			ana.WantServed(ana.Get("/notes/"))
		})
	}
}

// A record that was cut anywhere is none: each length gives one warning and
// nobody's page.
func TestSessionCutRecord(t *testing.T) {
	s := world.NewSite(t)
	ana := s.Visitor("ana")
	ana.SignIn()
	key := recordKey(t, s, ana)
	var whole []byte
	overwrite(s, key, func(b []byte) []byte { whole = slices.Clone(b); return b })
	for n := range whole {
		if n > 600 && n%50 > 0 && n < len(whole)-60 {
			continue // inside a token
		}
		overwrite(s, key, func([]byte) []byte { return whole[:n:n] })
		s.Replicas = nil // a process that has not warned yet
		s.AddReplica(s.Options)
		before := s.Logged("garbage_record")
		ana.WantOut(ana.Get("/notes/"))
		if got := s.Logged("garbage_record") - before; got != 1 {
			t.Errorf("%d of %d bytes: %d warnings", n, len(whole), got)
		}
	}
}

// The key in the store is no key of any build, or one of a newer build. The
// first is replaced, with one warning: nobody could sign in any more. The second
// is 503.
func TestSessionGarbageKey(t *testing.T) {
	for name, change := range map[string]func([]byte) []byte{
		"empty":        func([]byte) []byte { return []byte{} },
		"text":         func([]byte) []byte { return []byte("somebody else's value under our key") },
		"cut":          func(b []byte) []byte { return b[:len(b)-1] },
		"longer":       func(b []byte) []byte { return append(b, 0) },
		"newer":        func(b []byte) []byte { b[0]++; return b },
		"newer, short": func(b []byte) []byte { return []byte{2, 0, 1} },
	} {
		t.Run(name, func(t *testing.T) {
			s := world.NewSite(t, world.Watched)
			ana := s.Visitor("ana")
			ana.ToCallback("/notes/")
			all := s.Watched().All()
			if len(all) != 1 {
				t.Fatalf("keys %q, want that of the key alone", all)
			}
			overwrite(s, all[0], change)
			const other = 1
			s.AddReplica(s.Options)
			if name == "newer" {
				s.WantRefusal(ana.On(other).Get("/notes/"), http.StatusServiceUnavailable)
				return
			}
			s.Advance(time.Minute) // the first process may read the key again
			for _, way := range [][2]int{{other, other}, {other, 0}, {0, other}} {
				ben := s.Visitor("ben")
				callback := ben.On(way[0]).ToCallback("/notes/")
				ben.WantServed(ben.Follow(ben.On(way[1]).Get(callback), nil))
			}
			if got := s.Logged("level=WARN"); got != 1 {
				t.Errorf("%d warnings, want 1", got)
			}
		})
	}
}

// What a newer build may be able to read gives 503, never "signed out"
// (decision 7). Sign-out ends it all the same.
func TestSessionUnreadableRecord(t *testing.T) {
	s := world.NewSite(t)
	ana := s.Visitor("ana")
	ana.SignIn()
	key := recordKey(t, s, ana)
	overwrite(s, key, func(b []byte) []byte { b[0]++; return b })
	wantUnreadable(s, ana)
	overwrite(s, key, func(b []byte) []byte { b[0]--; return b })
	ana.WantServed(ana.Get("/notes/"))
	overwrite(s, key, func(b []byte) []byte { b[0]++; return b })
	thief := s.Visitor("ana")
	thief.SetCookie(ana.SessionName(), ana.SessionCookie())
	if a := ana.Post("/auth/logout", nil); a.Code != http.StatusSeeOther || ana.SessionName() != "" {
		t.Errorf("sign-out: %v, cookies %v", a, ana.Cookies())
	}
	thief.WantOut(thief.Get("/notes/"))
}

// A record that our keys do not open is no session: nobody can say that we have
// written it.
func TestSessionUnknownKey(t *testing.T) {
	s := world.NewSite(t, keys("one"))
	ana := s.Visitor("ana")
	ana.SignIn()
	o := s.Options
	keys("two")(&o)
	s.AddReplica(o)
	o.Sessions = nil
	s.AddReplica(o) // a process without keys
	for _, at := range []int{1, 2} {
		ana.WantOut(ana.On(at).Get("/notes/"))
		ana.WantOut(ana.On(at).Get("/notes/"))
		if got := s.Logged("level=WARN"); got != at {
			t.Errorf("%d warnings of %d processes", got, at)
		}
	}
	ana.WantServed(ana.Get("/notes/"))
}

// With keys, an unsealed record is not a session: whoever can write to the
// store could have made it. InsecureUnsealed reads both, for the change to the
// first key.
func TestSessionUnsealedRecord(t *testing.T) {
	s := world.NewSite(t)
	ana := s.Visitor("ana")
	ana.SignIn()
	key := recordKey(t, s, ana)
	o := s.Options
	keys("one")(&o)
	s.AddReplica(o)
	with := o.Sessions
	o.Sessions = func(c *gatehouse.SessionsConfig) { with(c); c.InsecureUnsealed = true }
	s.AddReplica(o)
	const strict, both = 1, 2
	warned := s.Logged("level=WARN") // InsecureUnsealed is on
	if warned != 1 || s.Logged("insecure_unsealed") != 1 {
		t.Errorf("%d warnings at start", warned)
	}
	for range 3 {
		ana.WantOut(ana.On(strict).Get("/notes/"))
	}
	if got := s.Logged("level=WARN") - warned; got != 1 || s.Logged("not sealed") != 1 {
		t.Errorf("%d warnings, want one that says why", got)
	}
	ana.WantServed(ana.On(both).Get("/notes/"))
	s.Advance(4 * time.Minute) // the next request writes, and so seals
	ana.WantServed(ana.On(both).Get("/notes/"))
	ana.WantServed(ana.On(strict).Get("/notes/"))
	value, _, err := s.Store.FindCtx(context.Background(), key)
	s.Must(err)
	if bytes.Contains(value, []byte("ana-1")) {
		t.Error("the record is still not sealed")
	}
}

// wantUnreadable checks that a person whose record a newer build may read gets
// an error and not an answer, and keeps the cookie.
func wantUnreadable(s *world.Site, b *world.Visitor) {
	s.T.Helper()
	for _, r := range []*http.Request{
		b.Request(http.MethodGet, "/notes/", nil, world.Navigation...),
		b.Request(http.MethodGet, "/open", nil, world.Navigation...),
		b.Request(http.MethodGet, "/notes/", nil, "Sec-Fetch-Mode", "cors"),
	} {
		a := b.Do(r)
		s.WantRefusal(a, http.StatusServiceUnavailable)
		if a.Location() != "" || len(a.Result().Cookies()) != 0 {
			s.T.Errorf("%v: cookies %v with a 503", a, a.Result().Cookies())
		}
	}
}

// wantStoreTrouble checks that a store in trouble gives a signed-in person an
// error and not an answer (R10), within a second of the bubble's clock. The
// requests are sent together, because each one waits for a hanging store.
func wantStoreTrouble(s *world.Site, b *world.Visitor) {
	s.T.Helper()
	requests := []*http.Request{
		b.Request(http.MethodGet, "/notes/", nil, world.Navigation...),
		b.Request(http.MethodGet, "/open", nil, world.Navigation...),
		b.Request(http.MethodPost, "/notes/", nil, "Sec-Fetch-Site", "same-origin", "Sec-Fetch-Mode", "navigate"),
		b.Request(http.MethodPost, "/auth/logout", nil, "Sec-Fetch-Site", "same-origin"),
		b.Request(http.MethodGet, "/notes/", nil, "Sec-Fetch-Mode", "cors"),
	}
	begin := time.Now()
	answers := make(chan *world.Page)
	for _, r := range requests {
		go func() { answers <- b.Do(r) }()
	}
	for range requests {
		a := <-answers
		s.WantRefusal(a, http.StatusServiceUnavailable)
		if a.Location() != "" || len(a.Result().Cookies()) != 0 {
			s.T.Errorf("%v: cookies %v with a 503", a, a.Result().Cookies())
		}
	}
	if took := time.Since(begin); took > time.Second {
		s.T.Errorf("answered after %v", took)
	}
}

func key(name string) gatehouse.Secret {
	sum := sha256.Sum256([]byte(name))
	return gatehouse.NewSecret(string(sum[:]))
}

func keys(names ...string) func(*world.SiteOptions) {
	return func(o *world.SiteOptions) {
		o.Sessions = func(c *gatehouse.SessionsConfig) {
			for _, n := range names {
				c.Keys = append(c.Keys, key(n))
			}
		}
	}
}

// Key rotation: add the new key last, deploy, then move it to the front. Nobody
// is signed out and no sign-in under way is lost while old and new processes
// run side by side.
func TestSessionKeyRotation(t *testing.T) {
	s := world.NewSite(t, keys("old"))
	before := s.Visitor("ana")
	before.SignIn()
	underWay := s.Visitor("ben")
	callback := underWay.ToCallback("/notes/")
	for i, generation := range [][]string{{"old", "new"}, {"new", "old"}} {
		o := s.Options
		keys(generation...)(&o)
		s.AddReplica(o)
		at := i + 1
		before.WantServed(before.On(at).Get("/notes/"))
		fresh := s.Visitor("ben").On(at)
		fresh.SignIn()
		for other := at - 1; other <= at; other++ { // the previous generation can read it too
			fresh.WantServed(fresh.On(other).Get("/notes/"))
		}
	}
	underWay.WantServed(underWay.On(2).Visit(callback))
	o := s.Options
	keys("new")(&o)
	s.AddReplica(o)
	underWay.WantServed(underWay.On(3).Get("/notes/"))
	before.WantOut(before.On(3).Get("/notes/")) // the old key was removed too early
}

// SE8: no key in the store reveals a cookie. With configured keys no value
// reveals a token.
func TestSE8_StoreHoldsNoSecrets(t *testing.T) {
	for _, sealed := range []bool{true, false} {
		s := world.NewSite(t, world.Watched, func(o *world.SiteOptions) {
			if sealed {
				keys("k")(o)
			}
		})
		ana := s.Visitor("ana")
		cookie := ana.SignIn()
		ctx := context.Background()
		tokens := 0
		for _, k := range s.Watched().All() {
			if raw, err := base64.RawURLEncoding.DecodeString(k); err != nil || len(raw) != sha256.Size {
				t.Errorf("key %q is not base64url of 32 bytes", k)
			}
			if strings.Contains(cookie, k) {
				t.Errorf("key %q is in the cookie", k)
			}
			value, _, err := s.Store.FindCtx(ctx, k)
			s.Must(err)
			if len(value) > 60_000 {
				t.Errorf("a value of %d bytes", len(value))
			}
			for secret, kind := range s.Secrets() {
				if kind == "cookie" && strings.Count(secret, ".") == 0 && len(secret) != 43 {
					continue // names of marks
				}
				if !bytes.Contains(value, []byte(secret)) {
					continue
				}
				if tokens++; sealed || !strings.Contains(kind, "token") && kind != "credentials" {
					t.Errorf("sealed %v: a %s is in a value", sealed, kind)
				}
			}
		}
		if !sealed && tokens == 0 {
			t.Error("no token in any plain value: the test looks in the wrong place")
		}
	}
}

// M21, and fresh write ids: two writes of the same record are never equal.
func TestSessionValuesAreUnique(t *testing.T) {
	s := world.NewSite(t)
	ana := s.Visitor("ana")
	ana.SignIn()
	key := recordKey(t, s, ana)
	ctx := context.Background()
	first, _, _ := s.Store.FindCtx(ctx, key)
	s.Advance(4 * time.Minute)
	ana.Get("/notes/")
	s.Shutdown(0)
	second, _, _ := s.Store.FindCtx(ctx, key)
	if len(first) < 18 || len(second) < 18 || bytes.Equal(first[2:18], second[2:18]) {
		t.Error("the write id did not change")
	}
}

// inABubble runs a test on virtual time.
func inABubble(test func(t *testing.T)) func(t *testing.T) {
	return func(t *testing.T) { synctest.Test(t, test) }
}

// FA6, R10: a store that fails or hangs.
func TestFA6_StoreDown(t *testing.T) {
	for name, hang := range map[string]bool{"error": false, "hang": true} {
		t.Run(name, inABubble(func(t *testing.T) {
			s := world.NewSite(t, world.Watched)
			ana := s.Visitor("ana")
			ana.SignIn()
			late := s.Visitor("ben")
			callback := late.ToCallback("/notes/")
			s.Watched().Fail(errors.New("marker-of-the-store: connection refused"), hang)
			wantStoreTrouble(s, ana)
			stranger := s.Visitor("ana")
			if a := stranger.Get("/open"); a.Code != http.StatusOK {
				t.Errorf("a public page for a stranger: %v", a)
			}
			s.ResetCounts()
			s.WantRefusal(late.Get(callback), http.StatusServiceUnavailable)
			if late.SessionName() != "" {
				t.Error("a cookie of a session that was not stored")
			}
			for _, page := range s.Shown() {
				if strings.Contains(page, "marker-of-the-store") {
					t.Error("the store's error is on a page")
				}
			}
			s.Watched().Fail(nil, false)
			ana.WantServed(ana.Get("/notes/"))
			late.WantServed(late.Visit("/notes/"))
		}))
	}
}

// A process that has never seen its key cannot start a sign-in without the
// store.
func TestFA6_StoreDownAtStart(t *testing.T) {
	s := world.NewSite(t, world.Watched)
	s.Watched().Fail(errors.New("refused"), false)
	ana := s.Visitor("ana")
	s.WantRefusal(ana.Get("/notes/"), http.StatusServiceUnavailable)
	s.WantRefusal(ana.Get("/auth/login"), http.StatusServiceUnavailable)
	if len(ana.Cookies()) != 0 {
		t.Errorf("cookies %v", ana.Cookies())
	}
	s.Watched().Fail(nil, false)
	ana.SignIn()
}

// If the store fails at the nth call of a callback, the browser gets no
// session, and the next sign-in works.
func TestFA6_StoreFailsDuringCallback(t *testing.T) {
	t.Parallel() // it waits
	for n := 0; ; n++ {
		s := world.NewSite(t, world.Watched)
		s.Visitor("ben").SignIn()
		ana := s.Visitor("ana")
		callback := ana.ToCallback("/notes/")
		reached := interrupt(s, n, func() { s.Watched().Fail(errors.New("refused"), false) })
		a := ana.Get(callback)
		s.Watched().Fail(nil, false)
		if !reached() {
			if n < 5 {
				t.Errorf("a callback made %d store calls", n)
			}
			return
		}
		switch a.Code {
		case http.StatusServiceUnavailable:
			s.WantRefusal(a, http.StatusServiceUnavailable)
			if ana.SessionName() != "" {
				t.Errorf("call %d: a session cookie with the 503", n)
			}
		case http.StatusSeeOther: // only the list of sessions was not written
			ana.WantServed(ana.Get("/notes/"))
		default:
			t.Errorf("call %d: %v", n, a)
		}
		ana.WantServed(ana.Visit("/notes/"))
	}
}

// The store fails after the new session is stored, when the one that the browser
// had is to end. The sign-in fails, the old session goes on, and the new one,
// which nobody has, ends as soon as the store works again.
func TestFA6_StoreFailsAfterTheSessionIsStored(t *testing.T) {
	t.Parallel() // it waits
	ghosts := 0
	for n := 0; ; n++ {
		s := world.NewSite(t, world.Watched)
		ana := s.Visitor("ana")
		callback := ana.ToCallback("/notes/")
		other := ana.ToCallback("/notes/")
		ana.WantServed(ana.Visit(callback))
		sessions := func() (stored int) { // listed or not
			for _, key := range s.Watched().All() {
				if v, _, _ := s.Store.FindCtx(t.Context(), key); bytes.Contains(v, []byte("ana@example.org")) {
					stored++
				}
			}
			return stored
		}
		reached := interrupt(s, n, func() { s.Watched().Fail(errors.New("refused"), false) })
		a := ana.Get(other)
		if !reached() {
			break
		}
		s.Watched().Fail(nil, false)
		if a.Code == http.StatusServiceUnavailable && sessions() == 2 {
			ghosts++
		}
		s.ShutdownAll()
		if got := sessions(); got != 1 {
			t.Errorf("call %d: %d sessions are stored after %v", n, got, a)
		}
		ana.WantServed(ana.Get("/notes/"))
	}
	if ghosts == 0 {
		t.Error("the store never failed at that moment, so nothing is tested")
	}
}
