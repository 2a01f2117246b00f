package session_test

import (
	"bytes"
	"context"
	"errors"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"example.com/gatehouse/internal/lease"
	"example.com/gatehouse/internal/session"
)

// renewing is a renewer that does what a test wants.
type renewing struct {
	answer    func(sent *session.Record) (session.Tokens, error)
	asked     int
	discarded []string
}

func (r *renewing) Renew(_ context.Context, sent *session.Record) (session.Tokens, error) {
	r.asked++
	return r.answer(sent)
}

func (r *renewing) Discard(refresh string) { r.discarded = append(r.discarded, refresh) }

// loginWith makes a login after change has seen its record.
func (w *world) loginWith(t *testing.T, change func(*session.Record)) (*session.Record, session.Ref) {
	t.Helper()
	rec := w.record(w.clock)
	change(rec)
	ref := session.NewRef("home", session.NewID(), rec.Marks)
	if err := w.a.Create(t.Context(), ref, rec, w.clock); err != nil {
		t.Fatal(err)
	}
	return rec, ref
}

// What an answer leaves out stays as it was (RFC 6749 §6). Of the tokens, the session
// can do without a new ID Token that does not fit.
func TestRenewKeepsWhatTheAnswerLeavesOut(t *testing.T) {
	long := strings.Repeat("i", 59_990)
	for name, c := range map[string]struct {
		tokens                  session.Tokens
		refresh, scope, idToken string
	}{
		"all but the access token": {session.Tokens{}, "rt0", "openid email", "id0"},
		"nothing":                  {session.Tokens{Refresh: "rt1", IDToken: "id1", Scope: "openid", HasScope: true}, "rt1", "openid", "id1"},
		"each scope is taken away": {session.Tokens{HasScope: true}, "rt0", "", "id0"},
		"an ID Token too large":    {session.Tokens{Refresh: "rt1", IDToken: long}, "rt1", "openid email", ""},
	} {
		t.Run(name, func(t *testing.T) {
			w := newWorld(0)
			rec, ref := w.loginWith(t, func(r *session.Record) { r.Scope, r.IDToken = "openid email", session.Token("id0") })
			c.tokens.Access, c.tokens.Requested, c.tokens.Expires = "at1", w.clock, w.clock.Add(time.Hour)
			_, renewed, err := w.a.Renew(t.Context(), ref, rec, &renewing{answer: func(*session.Record) (session.Tokens, error) { return c.tokens, nil }})
			if err != nil || !renewed {
				t.Fatal(renewed, err)
			}
			now, err := w.b.Load(t.Context(), ref)
			if err != nil {
				t.Fatal(err)
			}
			r := now.Record
			if string(r.Access) != "at1" || string(r.Refresh) != c.refresh || r.Scope != c.scope || string(r.IDToken) != c.idToken || !r.Expires.Equal(c.tokens.Expires) {
				t.Errorf("access %s, refresh %s, scope %q, ID Token of %d bytes, expires %v", r.Access, r.Refresh, r.Scope, len(r.IDToken), r.Expires)
			}
		})
	}
}

// A holder stalls past its lease, and then learns that the server refuses. Another has
// the lease by then, and its result decides: the refusal may be about a token that it
// has just used.
func TestRefusalOfAHolderWhoLostTheLease(t *testing.T) {
	for _, spent := range []bool{true, false} {
		w := newWorld(0)
		rec, ref := w.login(t)
		second := &renewing{answer: func(*session.Record) (session.Tokens, error) { return session.Tokens{}, errors.New("no answer yet") }}
		first := &renewing{answer: func(*session.Record) (session.Tokens, error) {
			w.clock = w.clock.Add(lease.Life + time.Second)
			if _, renewed, err := w.b.Renew(t.Context(), ref, rec, second); renewed || errors.Is(err, session.ErrNone) || second.asked != 1 {
				t.Errorf("the second: renewed %v, %v", renewed, err)
			}
			return session.Tokens{}, &session.RefusedError{Spent: spent, Err: errors.New("refused")}
		}}
		if _, renewed, err := w.a.Renew(t.Context(), ref, rec, first); renewed || err != nil {
			t.Errorf("renewed %v, %v", renewed, err)
		}
		now, err := w.b.Load(t.Context(), ref)
		if err != nil || now.Record.Lease.Holder == "" || string(now.Record.Refresh) != "rt0" {
			t.Errorf("spent %v: the session is gone, its lease, or its refresh token: %v", spent, err)
		}
	}
}

// Nobody knows whether new tokens were stored, so they are not revoked.
func TestTokensOfUnknownFateAreKept(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(0)
		w.clock = time.Now()
		rec, ref := w.login(t)
		store := &failing{Store: w.store.Store}
		server := &renewing{answer: func(*session.Record) (session.Tokens, error) {
			store.failing = true
			return session.Tokens{Access: "at1", Refresh: "rt1", Requested: w.clock, Expires: w.clock.Add(time.Hour)}, nil
		}}
		k := session.New(session.Config{Store: store, Lifetime: 12 * time.Hour, Idle: -1, Now: func() time.Time { return w.clock }})
		if _, renewed, err := k.Renew(t.Context(), ref, rec, server); renewed || !errors.Is(err, session.ErrStore) {
			t.Errorf("renewed %v, %v", renewed, err)
		}
		if len(server.discarded) != 0 {
			t.Errorf("revoked %q", server.discarded)
		}
		now, err := w.b.Load(t.Context(), ref)
		if err != nil || string(now.Record.Refresh) != "rt1" {
			t.Errorf("the tokens are not stored, %v", err)
		}
	})
}

// failing is a store that loses the reply to each swap once it fails.
type failing struct {
	session.Store
	failing bool
}

func (s *failing) SwapCtx(ctx context.Context, key string, old, new []byte, expiry time.Time) (bool, error) {
	swapped, err := s.Store.SwapCtx(ctx, key, old, new, expiry)
	if s.failing {
		return false, errors.New("the reply is lost")
	}
	return swapped, err
}

// The refresh token was lost after a take-over. Who has seen the record before asks
// for nothing, and the session ends with its access token, but no later than before.
func TestSessionWithoutARefreshToken(t *testing.T) {
	for name, c := range map[string]struct{ serves, ends time.Duration }{
		"the token ends first": {time.Hour, time.Hour}, "the session ends first": {13 * time.Hour, 12 * time.Hour},
	} {
		t.Run(name, func(t *testing.T) {
			w := newWorld(0)
			begin := w.clock
			rec, ref := w.loginWith(t, func(r *session.Record) { r.Lease.Takeovers, r.Expires = 1, w.clock.Add(c.serves) })
			if _, _, err := w.a.Renew(t.Context(), ref, rec, refusing{spent: true}); err != nil {
				t.Fatal(err)
			}
			other := &renewing{answer: func(*session.Record) (session.Tokens, error) { return session.Tokens{}, errors.New("asked") }}
			if now, renewed, err := w.b.Renew(t.Context(), ref, rec, other); renewed || err != nil || other.asked != 0 || !bytes.Equal(now.Record.Access, rec.Access) {
				t.Errorf("renewed %v, %v, asked %d times", renewed, err, other.asked)
			}
			longer := session.New(session.Config{Store: w.store, Lifetime: 24 * time.Hour, Idle: -1, Now: func() time.Time { return w.clock }})
			for after, lives := range map[time.Duration]bool{c.ends - time.Millisecond: true, c.ends: false} {
				if w.clock = begin.Add(after); signedIn(t, longer, ref) != lives {
					t.Errorf("after %v: signed in %v", after, !lives)
				}
			}
		})
	}
}

// Claims that were asked for with an access token are stored beside that token only.
func TestAmendBesideARenewal(t *testing.T) {
	w := newWorld(0)
	_, ref := w.login(t)
	for _, c := range []struct{ access, want string }{{"another", ""}, {"at0", "{}"}} {
		_, err := w.a.Amend(t.Context(), ref, session.Token(c.access), func(r *session.Record) { r.Claims = []byte("{}") })
		stored, err1 := w.b.Load(t.Context(), ref)
		if err = errors.Join(err, err1); err != nil || string(stored.Record.Claims) != c.want {
			t.Errorf("%s: claims %q, %v", c.access, stored.Record.Claims, err)
		}
	}
}
