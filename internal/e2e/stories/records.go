package stories

import (
	"bytes"
	"context"
	"math/rand/v2"
	"net/http"
	"slices"
	"testing"
	"time"

	"example.com/gatehouse"
	"example.com/gatehouse/internal/e2e/world"
)

// What cannot be read means "not signed in", with one warning, unless it has
// the head and the length of a record of a newer version (decision 7).
func GarbageRecord(t *testing.T, on On) {
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
		for form, keys := range LeftKeys() {
			t.Run(name+", "+form, func(t *testing.T) { garbageRecord(t, on, keys, change) })
		}
	}
}

func garbageRecord(t *testing.T, on, keys On, change func([]byte) []byte) {
	s := world.NewSite(t, on, keys)
	ana, ben := s.Visitor("ana"), s.Visitor("ben")
	ana.SignIn()
	ben.SignIn()
	key := RecordKey(t, s, ana)
	Overwrite(s, key, change)
	for range 3 {
		ana.WantOut(ana.Get("/notes/"))
		ben.WantServed(ben.Get("/notes/"))
	}
	if got := s.Logged("level=WARN"); got != 1 {
		t.Errorf("%d warnings, want 1", got)
	}
	if a := ana.Post("/auth/logout", nil); a.Code != http.StatusSeeOther || ana.SessionName() != "" {
		t.Errorf("sign-out: %v, cookies %v", a, ana.Cookies())
	}
	ana.SignIn()
	Overwrite(s, RecordKey(t, s, ana), change)
	ana.SignIn()
	ana.WantServed(ana.Get("/notes/"))
	ben.WantServed(ben.Get("/notes/"))
}

// RandomRecord: random bytes are no session either, unless they begin as what a
// newer build or one with other keys writes.
func RandomRecord(t *testing.T, on On) {
	const seed, values = 12, 200
	for form, keys := range LeftKeys() {
		t.Run(form, func(t *testing.T) {
			s := world.NewSite(t, on, keys)
			ana, ben := s.Visitor("ana"), s.Visitor("ben")
			ana.SignIn()
			ben.SignIn()
			key := RecordKey(t, s, ana)
			random := rand.New(rand.NewPCG(seed, values))
			for range values {
				value := make([]byte, 2+random.IntN(300))
				for i := range value {
					value[i] = byte(random.Uint32())
				}
				if value[0] >= 1 && value[1] <= 1 {
					value[1] = 2
				}
				Overwrite(s, key, func([]byte) []byte { return value })
				ana.WantOut(ana.Get("/notes/"))
			}
			ben.WantServed(ben.Get("/notes/"))
			if got := s.Logged("garbage_record"); got != 1 {
				t.Errorf("%d warnings for one session, want 1", got)
			}
		})
	}
}

// CutRecord: a record that was cut anywhere is none: each length gives one
// warning and nobody's page. Its many processes share a store, because a server
// does not take so many connections.
func CutRecord(t *testing.T, on On) {
	s := world.NewSite(t, on, world.Watched)
	ana := s.Visitor("ana")
	ana.SignIn()
	key := RecordKey(t, s, ana)
	var whole []byte
	Overwrite(s, key, func(b []byte) []byte { whole = slices.Clone(b); return b })
	for n := range whole {
		if n > 600 && n%50 > 0 && n < len(whole)-60 {
			continue // inside a token
		}
		Overwrite(s, key, func([]byte) []byte { return whole[:n:n] })
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
func GarbageKey(t *testing.T, on On) {
	for name, change := range map[string]func([]byte) []byte{
		"empty":        func([]byte) []byte { return []byte{} },
		"text":         func([]byte) []byte { return []byte("somebody else's value under our key") },
		"cut":          func(b []byte) []byte { return b[:len(b)-1] },
		"longer":       func(b []byte) []byte { return append(b, 0) },
		"newer":        func(b []byte) []byte { b[0]++; return b },
		"newer, short": func(b []byte) []byte { return []byte{2, 0, 1} },
	} {
		t.Run(name, func(t *testing.T) {
			s := world.NewSite(t, on, world.Watched)
			ana := s.Visitor("ana")
			ana.ToCallback("/notes/")
			all := s.Watched().All()
			if len(all) != 1 {
				t.Fatalf("keys %q, want that of the key alone", all)
			}
			Overwrite(s, all[0], change)
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
func UnreadableRecord(t *testing.T, on On) {
	s := world.NewSite(t, on)
	ana := s.Visitor("ana")
	ana.SignIn()
	key := RecordKey(t, s, ana)
	Overwrite(s, key, func(b []byte) []byte { b[0]++; return b })
	WantUnreadable(s, ana)
	Overwrite(s, key, func(b []byte) []byte { b[0]--; return b })
	ana.WantServed(ana.Get("/notes/"))
	Overwrite(s, key, func(b []byte) []byte { b[0]++; return b })
	thief := s.Visitor("ana")
	thief.SetCookie(ana.SessionName(), ana.SessionCookie())
	if a := ana.Post("/auth/logout", nil); a.Code != http.StatusSeeOther || ana.SessionName() != "" {
		t.Errorf("sign-out: %v, cookies %v", a, ana.Cookies())
	}
	thief.WantOut(thief.Get("/notes/"))
}

// UnknownKey: a record that is sealed with a key that this process does not have
// is 503, and the cookie stays: the process that has the key still serves it.
// Others notice nothing. Sign-out ends it all the same.
func UnknownKey(t *testing.T, on On) {
	s := world.NewSite(t, on, Keys("one"))
	ana, leaves := s.Visitor("ana"), s.Visitor("ana")
	ana.SignIn()
	leaves.SignIn()
	o := s.Options
	Keys("two")(&o)
	s.AddReplica(o)
	o.Sessions = nil
	s.AddReplica(o) // a process without keys
	ben := s.Visitor("ben").On(1)
	ben.SignIn()
	for _, at := range []int{1, 2} {
		for range 2 {
			WantUnreadable(s, ana.On(at))
		}
		ana.WantServed(ana.On(0).Get("/notes/"))
	}
	if s.LastCode() != "record_unreadable" || s.Logged("garbage_record") != 0 {
		t.Errorf("code %q", s.LastCode())
	}
	ben.WantServed(ben.Get("/notes/"))
	name, cookie := leaves.SessionName(), leaves.SessionCookie()
	if a := leaves.On(1).Post("/auth/logout", nil); a.Code != http.StatusSeeOther || leaves.SessionName() != "" {
		t.Errorf("sign-out: %v, cookies %v", a, leaves.Cookies())
	}
	leaves.SetCookie(name, cookie)
	leaves.WantOut(leaves.On(1).Get("/notes/"))
	s.WantRefusal(leaves.On(0).Get("/notes/"), http.StatusServiceUnavailable) // what says so is sealed too
	ana.WantServed(ana.On(0).Get("/notes/"))
}

// With keys, an unsealed record is not a session: whoever can write to the
// store could have made it. InsecureUnsealed reads both, for the change to the
// first key.
func UnsealedRecord(t *testing.T, on On) {
	s := world.NewSite(t, on)
	ana := s.Visitor("ana")
	ana.SignIn()
	key := RecordKey(t, s, ana)
	o := s.Options
	Keys("one")(&o)
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

// KeyRotation: add the new key last, deploy, move it to the front, deploy, and
// remove the old one once the sessions in use were written again. Nobody is
// signed out and no sign-in under way is lost while processes of two
// generations run side by side.
func KeyRotation(t *testing.T, on On) {
	s := world.NewSite(t, on, Keys("old"))
	s.SetTokenLifetime(24 * time.Hour)
	first := s.Visitor("ana")
	first.SignIn()
	all := []*world.Visitor{first}
	for i, generation := range [][]string{{"old", "new"}, {"new", "old"}, {"new"}} {
		underWay := s.Visitor("ben")
		callback := underWay.On(i).ToCallback("/notes/")
		o := s.Options
		Keys(generation...)(&o)
		s.AddReplica(o)
		now := i + 1
		back := s.Visitor("ben") // comes back to a process of the generation before
		backTo := ""
		if i < 2 { // the last generation has no key of the first
			backTo = back.On(now).ToCallback("/notes/")
		}
		underWay.WantServed(underWay.On(now).Visit(callback))
		all = append(all, underWay)
		if backTo != "" {
			back.WantServed(back.On(i).Visit(backTo))
			all = append(all, back)
		}
		for _, at := range []int{now, i, now} {
			for _, b := range all {
				b.WantServed(b.On(at).Get("/notes/"))
			}
		}
		s.Advance(4 * time.Minute) // a tenth of the idle limit: the next request writes
		for _, b := range all {
			b.WantServed(b.On(now).Get("/notes/"))
		}
		s.ShutdownAll()
	}
	if got := s.EventsOf(gatehouse.EventRefusal); len(got) != 0 {
		t.Errorf("refusals %q", got)
	}
	// A session that nobody used meanwhile is not lost: it waits for its key.
	o := s.Options
	Keys("other")(&o)
	s.AddReplica(o)
	s.WantRefusal(first.On(4).Get("/notes/"), http.StatusServiceUnavailable)
	first.WantServed(first.On(3).Get("/notes/"))
}
