package session_test

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"strings"
	"time"

	"example.com/gatehouse/internal/session"
	"example.com/gatehouse/internal/swap"
	"example.com/gatehouse/internal/testkit/orders"
)

// shelf is a store in memory that can be copied.
type shelf struct {
	items map[string]shelved
	now   func() time.Time
}

type shelved struct {
	value  []byte // never modified
	expiry time.Time
}

func (s *shelf) live(key string) []byte {
	if it, ok := s.items[key]; ok && s.now().Before(it.expiry) {
		return it.value
	}
	return nil
}

func (s *shelf) find(keys []string) [][]byte {
	values := make([][]byte, len(keys))
	for i, k := range keys {
		values[i] = s.live(k)
	}
	return values
}

func (s *shelf) swap(key string, old, new []byte, expiry time.Time) bool {
	switch current := s.live(key); {
	case swap.Same(current, new):
		return true
	case !swap.Same(current, old):
		return false
	}
	s.put(key, new, expiry)
	return true
}

func (s *shelf) put(key string, value []byte, expiry time.Time) {
	if s.items[key] = (shelved{value, expiry}); value == nil {
		delete(s.items, key)
	}
}

// plain is a shelf as a store.
type plain struct{ *shelf }

func (s plain) FindManyCtx(_ context.Context, keys []string) ([][]byte, error) {
	return s.find(keys), nil
}

func (s plain) SwapCtx(_ context.Context, key string, old, new []byte, expiry time.Time) (bool, error) {
	return s.swap(key, old, new, expiry), nil
}

// stepped is a shelf on which each call of an actor is a step.
type stepped struct {
	p *proof
	*shelf
}

func (s *stepped) FindManyCtx(ctx context.Context, keys []string) (values [][]byte, err error) {
	err = s.p.Do(ctx, orders.Step{Name: "reads", Keys: keys, Private: s.p.private(ctx, false, keys...), Do: func() (string, bool) {
		values = s.p.fault.find(s, keys)
		seen := make([]byte, len(values))
		for i, v := range values {
			if seen[i] = '+'; v == nil {
				seen[i] = '-'
			}
		}
		return string(seen), false
	}})
	return values, err
}

func (s *stepped) SwapCtx(ctx context.Context, key string, old, new []byte, expiry time.Time) (swapped bool, err error) {
	err = s.p.Do(ctx, orders.Step{Name: "swaps", Keys: []string{key}, Write: true, Private: s.p.private(ctx, true, key), Do: func() (string, bool) {
		before := s.live(key)
		swapped = s.p.fault.swap(ctx, s, key, old, new, expiry)
		after := s.live(key)
		changed := !swap.Same(before, after)
		switch {
		case changed && isMark(key):
			s.p.watch(before, after, s.items[key].expiry)
		case changed && key == s.p.old.Key && s.p.grace:
			s.p.watchTokens(before, after)
		}
		return fmt.Sprint(swapped), changed
	}})
	if who := orders.Who(ctx); strings.HasPrefix(who, string(refresh)) && key == s.p.old.Key {
		s.p.Look(ctx, func() string {
			if swap.Same(s.live(key), new) && !s.p.alive(s.p.old) && s.p.raised() {
				s.p.late[who] = true
				return "late"
			}
			return ""
		})
	}
	return swapped && err == nil, err
}

// raised reports whether a logout from outside has ended the session.
func (p *proof) raised() bool {
	record, err := session.DecodeRecord(p.store.live(p.old.Key))
	return err == nil && record.Ended.IsZero()
}

var (
	tokenOfSession = session.Logout{Issuer: idServer, Subject: "ana", SID: "s1", ID: "j1", IssuedAt: base}
	tokenBySub     = session.Logout{Issuer: idServer, Subject: "ana", ID: "j2", IssuedAt: base}
	tokenKey       = session.LogoutKey(tokenOfSession)
	noSIDKey       = session.MarkKey(session.MarksOf(idServer, "ana", "")[0].Name)
	subKey         = session.LogoutKey(tokenBySub)
	sidKey         = session.MarkKey(session.MarksOf(idServer, "ana", "s1")[0].Name)
	personKey      = session.MarkKey(session.MarksOf(idServer, "ana", "s1")[1].Name)
	indexKey       = session.IndexKey("", idServer, "ana")
)

var names = map[string]string{
	sidKey: "the sid's mark", personKey: "ana's mark", noSIDKey: "ana's mark without a sid",
	tokenKey: "the token's number", subKey: "the other token's number", indexKey: "the list",
}

func isMark(key string) bool { return key == sidKey || key == personKey || key == noSIDKey }

// watch sees each change of a mark: its number and its end never move back, and
// it outlives the sessions that it may end.
func (p *proof) watch(old, new []byte, expiry time.Time) {
	n0, err0 := session.DecodeMark(old)
	n1, err1 := session.DecodeMark(new)
	e0, err2 := session.MarkEnd(old)
	e1, err3 := session.MarkEnd(new)
	life := 12 * time.Hour
	if n1 > n0 {
		life = 400 * 24 * time.Hour
	}
	switch {
	case errors.Join(err0, err1, err2, err3) != nil:
		p.Break(errors.New("a mark cannot be read"))
	case n1 < n0:
		p.Break(errors.New("a mark shrank"))
	case e1.Before(e0) || !expiry.Equal(e1):
		p.Break(fmt.Errorf("a mark dies earlier than before: %v, was %v", e1, e0))
	case e1.Before(p.now[0]().Add(life)):
		p.Break(fmt.Errorf("a mark dies before the sessions that it ends: %v", e1))
	}
}

// watchTokens sees each change of the record: no newer token gives way to an
// older one.
func (p *proof) watchTokens(old, new []byte) {
	was, err0 := session.DecodeRecord(old)
	is, err1 := session.DecodeRecord(new)
	if err0 != nil || err1 != nil || len(is.Refresh) > 0 && string(is.Refresh) < string(was.Refresh) {
		p.Break(fmt.Errorf("%s gives way to %s (%v, %v)", was.Refresh, is.Refresh, err0, err1))
	}
}

// onlyReads is a store for somebody who looks and leaves no trace.
type onlyReads struct{ *stepped }

func (s onlyReads) SwapCtx(context.Context, string, []byte, []byte, time.Time) (bool, error) {
	return true, nil
}

// provider gives tokens. It takes a refresh token once, and if one comes twice,
// it ends the grant.
type provider struct {
	valid  string // the refresh token that it takes
	asked  int
	given  int
	reused bool
	lost   bool // an answer
}

// renewer is one replica that asks the provider.
type renewer struct {
	p         *proof
	got       string
	discarded []string
}

func (n *renewer) Renew(ctx context.Context, sent *session.Record) (tokens session.Tokens, err error) {
	if n.p.fault == awaitsForever {
		ctx = context.WithoutCancel(ctx)
	}
	if ctx.Err() != nil {
		return tokens, &session.TroubleError{Err: ctx.Err()}
	}
	v, granted, came := &n.p.at, false, false
	err = n.p.Do(ctx, orders.Step{Name: asksForTokens, Keys: []string{atProvider}, Write: true, Long: true, Private: n.p.private(ctx, true, atProvider) && n.p.Ticks() == 0, Do: func() (string, bool) {
		came = true
		v.asked++
		if granted = string(sent.Refresh) == v.valid || n.p.grace; !granted {
			v.valid, v.reused = "", !n.p.ended || v.asked > 1
			return "invalid_grant", true
		}
		v.given++
		v.valid = fmt.Sprint("rt", v.given)
		tokens = session.Tokens{Access: fmt.Sprint("at", v.given), Refresh: v.valid, Requested: n.p.now[0](), Expires: n.p.now[0]().Add(3 * time.Hour)}
		return v.valid, true
	}})
	switch {
	case errors.Is(err, orders.ErrTrouble) && !came: // the connection was refused
		return tokens, &session.TroubleError{Err: err}
	case err != nil:
		v.lost = true
		return tokens, err
	case !granted:
		return tokens, &session.RefusedError{Spent: true, Err: errors.New("invalid_grant")}
	}
	n.got = tokens.Refresh
	return tokens, nil
}

func (n *renewer) Discard(refresh string) { n.discarded = append(n.discarded, refresh) }

const (
	asksForTokens = "asks for tokens"
	atProvider    = "of the provider"
)

func copied(items map[string]shelved) map[string]shelved {
	all := make(map[string]shelved, len(items)+4)
	maps.Copy(all, items)
	return all
}
