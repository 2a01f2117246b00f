package gatehouse_test

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
	"time"

	"example.com/gatehouse"
)

// recordKey is the store key of the visitor's session, a hash of the cookie's id
// (decision 2): base64url(SHA-256(domain ‖ value)).
func recordKey(t testing.TB, s *site, b *visitor) string {
	t.Helper()
	list, err := s.replicas[0].sessions.List(context.Background(), siteIssuer, b.user+"-1")
	if err != nil || len(list) != 1 {
		t.Fatalf("%d sessions, err %v", len(list), err)
	}
	return list[0].ID
}

func (s *site) overwrite(key string, change func([]byte) []byte) {
	s.t.Helper()
	ctx := context.Background()
	old, found, err := s.store.FindCtx(ctx, key)
	if err != nil || !found {
		s.t.Fatalf("no record under %s, err %v", key, err)
	}
	s.must(s.store.CommitCtx(ctx, key, change(slices.Clone(old)), s.Now().Add(time.Hour)))
}

// Garbage is "not signed in", with one warning (decision 7).
func TestSessionGarbageRecord(t *testing.T) {
	for name, change := range map[string]func([]byte) []byte{
		"empty":           func([]byte) []byte { return []byte{} },
		"text":            func(b []byte) []byte { return append(b[:18], "not a record at all, but long enough to be one"...) },
		"cut":             func(b []byte) []byte { return b[:len(b)-3] },
		"head only":       func(b []byte) []byte { return b[:10] },
		"unknown form":    func(b []byte) []byte { b[1] = 7; return b },
		"version zero":    func(b []byte) []byte { b[0] = 0; return b },
		"length too long": func(b []byte) []byte { return append(b, 1, 0xff, 0xff, 0xff, 0xff, 0x0f) },
	} {
		t.Run(name, func(t *testing.T) {
			s := newSite(t)
			ana := s.visitor("ana")
			ana.signIn()
			s.overwrite(recordKey(t, s, ana), change)
			ana.wantOut(ana.get("/notes/"))
			if got := s.logged("level=WARN"); got != 1 {
				t.Errorf("%d warnings, want 1", got)
			}
			ana.signIn()
		})
	}
}

// What a newer build or another key may read is 503, never "signed out" (decision 7).
func TestSessionUnreadableRecord(t *testing.T) {
	s := newSite(t)
	ana := s.visitor("ana")
	ana.signIn()
	key := recordKey(t, s, ana)
	s.overwrite(key, func(b []byte) []byte { b[0]++; return b })
	wantStoreTrouble(s, ana)
	s.overwrite(key, func(b []byte) []byte { b[0]--; return b })
	ana.wantServed(ana.get("/notes/"))
}

func TestSessionUnknownKey(t *testing.T) {
	s := newSite(t, keys("one"))
	ana := s.visitor("ana")
	ana.signIn()
	o := s.opts
	keys("two")(&o)
	s.addReplica(o)
	wantStoreTrouble(s, ana.on(replicaB))
	o.sessions = nil
	s.addReplica(o) // a process without keys
	wantStoreTrouble(s, ana.on(2))
	ana.wantServed(ana.get("/notes/"))
}

// wantStoreTrouble checks R10 for somebody who is signed in. The requests go out
// together, because a hanging store is waited for.
func wantStoreTrouble(s *site, b *visitor) {
	s.t.Helper()
	requests := []*http.Request{
		b.request(http.MethodGet, "/notes/", nil, navigation...),
		b.request(http.MethodGet, "/open", nil, navigation...),
		b.request(http.MethodPost, "/notes/", nil, "Sec-Fetch-Site", "same-origin", "Sec-Fetch-Mode", "navigate"),
		b.request(http.MethodPost, "/auth/logout", nil, "Sec-Fetch-Site", "same-origin"),
		b.request(http.MethodGet, "/notes/", nil, "Sec-Fetch-Mode", "cors"),
	}
	begin := time.Now()
	answers := make(chan *answer)
	for _, r := range requests {
		go func() { answers <- b.do(r) }()
	}
	for range requests {
		a := <-answers
		s.wantRefusal(a, http.StatusServiceUnavailable)
		if a.location() != "" || len(a.Result().Cookies()) != 0 {
			s.t.Errorf("%v: cookies %v with a 503", a, a.Result().Cookies())
		}
	}
	if took := time.Since(begin); took > 1500*time.Millisecond {
		s.t.Errorf("answered after %v", took)
	}
}

func key(name string) gatehouse.Secret {
	sum := sha256.Sum256([]byte(name))
	return gatehouse.NewSecret(string(sum[:]))
}

func keys(names ...string) func(*siteOptions) {
	return func(o *siteOptions) {
		o.sessions = func(c *gatehouse.SessionsConfig) {
			for _, n := range names {
				c.Keys = append(c.Keys, key(n))
			}
		}
	}
}

// Rotation: add the new key last, deploy, then move it first. Nobody is signed
// out, and no sign-in under way is lost, with old and new processes side by side.
func TestSessionKeyRotation(t *testing.T) {
	s := newSite(t, keys("old"))
	before := s.visitor("ana")
	before.signIn()
	underWay := s.visitor("ben")
	callback := underWay.toCallback("/notes/")
	for i, generation := range [][]string{{"old", "new"}, {"new", "old"}} {
		o := s.opts
		keys(generation...)(&o)
		s.addReplica(o)
		at := i + 1
		before.wantServed(before.on(at).get("/notes/"))
		fresh := s.visitor("ben").on(at)
		fresh.signIn()
		for other := at - 1; other <= at; other++ { // the generation before reads it too
			fresh.wantServed(fresh.on(other).get("/notes/"))
		}
	}
	underWay.wantServed(underWay.on(2).visit(callback))
	o := s.opts
	keys("new")(&o)
	s.addReplica(o)
	underWay.wantServed(underWay.on(3).get("/notes/"))
	wantStoreTrouble(s, before.on(3)) // the old key was taken away too early
}

// SE8: no key of the store tells a cookie; with keys given, no value tells a token.
func TestSE8_StoreHoldsNoSecrets(t *testing.T) {
	for _, sealed := range []bool{true, false} {
		s := newSite(t, watched, func(o *siteOptions) {
			if sealed {
				keys("k")(o)
			}
		})
		ana := s.visitor("ana")
		cookie := ana.signIn()
		ctx := context.Background()
		tokens := 0
		for _, k := range s.watched().all() {
			if raw, err := base64.RawURLEncoding.DecodeString(k); err != nil || len(raw) != sha256.Size {
				t.Errorf("key %q is not base64url of 32 bytes", k)
			}
			if strings.Contains(cookie, k) {
				t.Errorf("key %q is in the cookie", k)
			}
			value, _, err := s.store.FindCtx(ctx, k)
			s.must(err)
			if len(value) > 60_000 {
				t.Errorf("a value of %d bytes", len(value))
			}
			s.mu.Lock()
			for secret, kind := range s.secrets {
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
			s.mu.Unlock()
		}
		if !sealed && tokens == 0 {
			t.Error("no token in any plain value: the test looks in the wrong place")
		}
	}
}

// M21, and fresh write ids: two writes of the same record are never equal.
func TestSessionValuesAreUnique(t *testing.T) {
	s := newSite(t)
	ana := s.visitor("ana")
	ana.signIn()
	key := recordKey(t, s, ana)
	ctx := context.Background()
	first, _, _ := s.store.FindCtx(ctx, key)
	s.advance(4 * time.Minute)
	ana.get("/notes/")
	s.shutdown(0)
	second, _, _ := s.store.FindCtx(ctx, key)
	if len(first) < 18 || len(second) < 18 || bytes.Equal(first[2:18], second[2:18]) {
		t.Error("the write id did not change")
	}
}

// FA6, R10: a store that fails or hangs.
func TestFA6_StoreDown(t *testing.T) {
	for name, hang := range map[string]bool{"error": false, "hang": true} {
		t.Run(name, func(t *testing.T) {
			s := newSite(t, watched)
			ana := s.visitor("ana")
			ana.signIn()
			late := s.visitor("ben")
			callback := late.toCallback("/notes/")
			s.watched().fail(errors.New("marker-of-the-store: connection refused"), hang)
			wantStoreTrouble(s, ana)
			stranger := s.visitor("ana")
			if a := stranger.get("/open"); a.Code != http.StatusOK {
				t.Errorf("a public page for a stranger: %v", a)
			}
			s.ResetCounts()
			s.wantRefusal(late.get(callback), http.StatusServiceUnavailable)
			if late.sessionName() != "" {
				t.Error("a cookie of a session that was not stored")
			}
			for _, page := range s.shown {
				if strings.Contains(page, "marker-of-the-store") {
					t.Error("the store's error is on a page")
				}
			}
			s.watched().fail(nil, false)
			ana.wantServed(ana.get("/notes/"))
			late.wantServed(late.visit("/notes/"))
		})
	}
}

// A process that has never seen its key cannot start a sign-in without the store.
func TestFA6_StoreDownAtStart(t *testing.T) {
	s := newSite(t, watched)
	s.watched().fail(errors.New("refused"), false)
	ana := s.visitor("ana")
	s.wantRefusal(ana.get("/notes/"), http.StatusServiceUnavailable)
	s.wantRefusal(ana.get("/auth/login"), http.StatusServiceUnavailable)
	if len(ana.cookies()) != 0 {
		t.Errorf("cookies %v", ana.cookies())
	}
	s.watched().fail(nil, false)
	ana.signIn()
}

// A store that fails at the nth call of a callback leaves no session that the
// browser has, and the next sign-in works.
func TestFA6_StoreFailsDuringCallback(t *testing.T) {
	for n := 0; ; n++ {
		s := newSite(t, watched)
		s.visitor("ben").signIn()
		ana := s.visitor("ana")
		callback := ana.toCallback("/notes/")
		reached := s.interrupt(n, func() { s.watched().fail(errors.New("refused"), false) })
		a := ana.get(callback)
		s.watched().fail(nil, false)
		if !reached() {
			if n < 5 {
				t.Errorf("a callback made %d store calls", n)
			}
			return
		}
		switch a.Code {
		case http.StatusServiceUnavailable:
			s.wantRefusal(a, http.StatusServiceUnavailable)
			if ana.sessionName() != "" {
				t.Errorf("call %d: a session cookie with the 503", n)
			}
		case http.StatusSeeOther: // only the list of sessions was not written
			ana.wantServed(ana.get("/notes/"))
		default:
			t.Errorf("call %d: %v", n, a)
		}
		ana.wantServed(ana.visit("/notes/"))
	}
}
