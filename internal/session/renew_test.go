package session_test

import (
	"context"
	"errors"
	"testing"
	"testing/synctest"
	"time"

	"example.com/gatehouse/internal/lease"
	"example.com/gatehouse/internal/session"
)

// refusing is a renewer whose server refuses.
type refusing struct{ spent bool }

func (r refusing) Renew(context.Context, *session.Record) (session.Tokens, error) {
	return session.Tokens{}, &session.RefusedError{Spent: r.spent, Err: errors.New("refused")}
}

func (refusing) Discard(string) {}

// A refusal ends the session at once. Only after a take-over, and only if the
// server does not know the refresh token, the access token serves as long as it
// says itself.
func TestRenewRefused(t *testing.T) {
	for name, c := range map[string]struct {
		takeovers uint64
		spent     bool
		expires   time.Duration // of the access token, 0 if unknown
		lives     bool
	}{
		"at once":                           {0, true, time.Minute, false},
		"after a take-over":                 {1, true, time.Minute, true},
		"after a take-over, not spent":      {1, false, time.Minute, false},
		"after a take-over, expired":        {1, true, -time.Minute, false},
		"after a take-over, without an end": {1, true, 0, false},
	} {
		t.Run(name, func(t *testing.T) {
			w := newWorld(0)
			rec := w.record(w.clock)
			rec.Expires, rec.Lease.Takeovers = time.Time{}, c.takeovers
			if c.expires != 0 {
				rec.Expires = w.clock.Add(c.expires)
			}
			ref := session.NewRef("home", session.NewID(), rec.Marks)
			if err := w.a.Create(t.Context(), ref, rec, w.clock); err != nil {
				t.Fatal(err)
			}
			now, renewed, err := w.a.Renew(t.Context(), ref, rec, refusing{c.spent})
			if renewed || errors.Is(err, session.ErrNone) == c.lives || signedIn(t, w.b, ref) != c.lives {
				t.Fatalf("renewed %v, %v; signed in %v, want %v", renewed, err, !c.lives, c.lives)
			}
			if !c.lives {
				return
			}
			if len(now.Record.Refresh) != 0 {
				t.Error("the refresh token is kept")
			}
			if w.clock = rec.Expires; signedIn(t, w.b, ref) {
				t.Error("the session outlives the access token")
			}
		})
	}
}

// repeating is a renewer whose server sends the same access token each time.
type repeating struct{ issuer }

func (r *repeating) Renew(ctx context.Context, sent *session.Record) (session.Tokens, error) {
	tokens, err := r.issuer.Renew(ctx, sent)
	tokens.Access, tokens.Requested = "at0", sent.Requested.Add(5*time.Minute)
	return tokens, err
}

// Who waited for a renewal does not ask once more, although the server has sent
// the same access token.
func TestRenewSameAccessToken(t *testing.T) {
	w, server := newWorld(0), &repeating{}
	rec, ref := w.login(t)
	seen := rec
	for i, k := range []*session.Keeper{w.a, w.b, w.a} {
		now, renewed, err := k.Renew(t.Context(), ref, rec, server)
		if err != nil || renewed != (i == 0) || string(now.Record.Refresh) != "rt1" || server.answers != 1 {
			t.Fatalf("%d: renewed %v, %v, %d requests, holding %s", i, renewed, err, server.answers, now.Record.Refresh)
		}
		seen = now.Record
	}
	if _, renewed, err := w.b.Renew(t.Context(), ref, seen, server); err != nil || !renewed || server.answers != 2 {
		t.Errorf("later: renewed %v, %v, %d requests", renewed, err, server.answers)
	}
}

// losing is a store that loses the reply to one swap of a record and lets
// somebody else write before the next call.
type losing struct {
	session.Store
	key    string
	swaps  int    // of the record, until the one whose reply is lost
	beside func() // what comes between
}

func (s *losing) SwapCtx(ctx context.Context, key string, old, new []byte, expiry time.Time) (bool, error) {
	swapped, err := s.Store.SwapCtx(ctx, key, old, new, expiry)
	if key != s.key {
		return swapped, err
	}
	if s.swaps--; s.swaps != 0 {
		return swapped, err
	}
	s.beside()
	return false, errors.New("the reply is lost")
}

// The reply to a swap of a renewal is lost, and a touch on another replica
// changes the record before the renewal reads it again. It knows its lease and its
// tokens all the same: it goes on at once, and nobody counts a take-over.
func TestRenewLostReplyBesideATouch(t *testing.T) {
	for name, swaps := range map[string]int{"of the lease": 1, "of the tokens": 2} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				w := newWorld(0)
				rec, ref := w.login(t)
				w.clock = w.clock.Add(6 * time.Minute)
				store := &losing{Store: w.store, key: ref.Key, swaps: swaps, beside: func() { touchOnce(t.Context(), w.b, ref) }}
				a := session.New(session.Config{Store: store, Lifetime: 12 * time.Hour, Idle: 30 * time.Minute, Now: func() time.Time { return w.clock }})
				ctx, cancel := context.WithTimeout(t.Context(), lease.Flight)
				defer cancel()
				begin := time.Now()
				now, renewed, err := a.Renew(ctx, ref, rec, &w.issuer)
				if err != nil || !renewed || w.issuer.answers != 1 || string(now.Record.Access) != "at1" || time.Since(begin) > time.Second {
					t.Fatalf("after %v: renewed %v, %v, %d requests", time.Since(begin), renewed, err, w.issuer.answers)
				}
				stored, err := w.b.Load(t.Context(), ref)
				if err != nil || stored.Record.Lease != (lease.Lease{}) || !stored.Record.Seen.Equal(w.clock) {
					t.Errorf("%v, the lease is %+v, last seen %v", err, stored.Record.Lease, stored.Record.Seen)
				}
			})
		})
	}
}
