package session_test

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"example.com/gatehouse/internal/attempt"
	"example.com/gatehouse/internal/lease"
	"example.com/gatehouse/internal/session"
	"example.com/gatehouse/internal/testkit/orders"
)

// kind is what an actor does.
type kind string

const (
	refresh      kind = "refresh"
	touch        kind = "touch"
	signOut      kind = "sign-out"
	signOutAlone kind = "sign-out alone" // it does not know the sign-in under way
	callback     kind = "callback"
	signIn       kind = "sign-in" // it begins at any time, while the browser still has the cookie of the session
	revokeAll    kind = "RevokeAll"
	backChannel  kind = "back-channel logout"
	backSubject  kind = "back-channel logout by sub"
	repeat       kind = "back-channel logout, repeated"
	front        kind = "front-channel logout"
	list         kind = "list"
)

// logouts end sessions from outside or here. What is repeated is one logout.
var logouts = map[kind]kind{
	signOut: signOut, signOutAlone: signOutAlone, revokeAll: revokeAll, backChannel: backChannel, backSubject: backSubject, repeat: backChannel, front: front,
}

const (
	itIsDone = "done"
	itIsIn   = "in"
	wrong    = "wrong: "
)

// what an actor of a kind touches. New stands for the records of the callbacks.
const (
	oldRecord = "old"
	newRecord = "new"
)

var reads = map[kind][]string{
	refresh: {oldRecord, sidKey, personKey, atProvider}, touch: {oldRecord, sidKey, personKey}, signOut: {oldRecord, newRecord}, signOutAlone: {oldRecord, newRecord},
	callback: {oldRecord, newRecord, sidKey, personKey, indexKey}, signIn: {oldRecord, newRecord, sidKey, personKey, indexKey}, list: {oldRecord, newRecord, sidKey, personKey, indexKey},
	revokeAll: {personKey}, front: {sidKey},
	backChannel: {tokenKey, sidKey, noSIDKey}, repeat: {tokenKey, sidKey, noSIDKey}, backSubject: {subKey, personKey},
}

var writes = map[kind][]string{
	refresh: {oldRecord, atProvider}, touch: {oldRecord}, signOut: {oldRecord, newRecord}, signOutAlone: {oldRecord, newRecord},
	callback: {oldRecord, newRecord, sidKey, indexKey}, signIn: {oldRecord, newRecord, sidKey, indexKey}, list: {},
	revokeAll: {personKey}, front: {sidKey},
	backChannel: {tokenKey, sidKey, noSIDKey}, repeat: {tokenKey, sidKey, noSIDKey}, backSubject: {subKey, personKey},
}

// private reports whether a step commutes with all that others may do.
func (p *proof) private(ctx context.Context, write bool, keys ...string) bool {
	mine := orders.Who(ctx)
	for _, key := range keys {
		switch {
		case key == p.old.Key:
			key = oldRecord
		case slices.Contains(p.records(), key):
			key = newRecord
		case p.bare && key == noSIDKey: // it does for these sessions what the sid's mark does for others
			key = sidKey
		case p.bare && key == sidKey:
			key = noSIDKey
		}
		if write && !slices.Contains([]string{tokenKey, subKey, noSIDKey, indexKey, atProvider}, key) {
			return false // the rules see it
		}
		for i, k := range p.kinds {
			others := writes[k]
			if write {
				others = reads[k]
			}
			if p.names[i] != mine && slices.Contains(others, key) && !((k == callback || k == signIn) && key == sidKey && p.fresh) {
				return false
			}
		}
	}
	return true
}

// add adds an actor on a replica.
func (p *proof) add(k kind, replica int) {
	name := string(k)
	for _, taken := range p.names {
		if taken == name {
			name += " too"
		}
	}
	p.names, p.kinds = append(p.names, name), append(p.kinds, k)
	keeper := p.k[replica]
	switch k {
	case refresh:
		p.Actor(name, func(ctx context.Context) string { return p.refresh(ctx, name, keeper) })
	case touch:
		p.Actor(name, func(ctx context.Context) string {
			have, err := keeper.Load(ctx, p.old)
			if err == nil {
				_, err = keeper.Touch(ctx, p.old, have)
			}
			return textOf(err)
		})
	case list:
		p.addList(name, keeper)
	case callback, signIn:
		t := &tab{name: name, ref: session.NewRef("home", [session.IDSize]byte{2, byte(len(p.tabs))}, p.marks())}
		if k == callback {
			t.first = attempt.New(p.now[replica]())
		}
		p.Name(t.ref.Key, "the new record")
		p.tabs = append(p.tabs, t)
		p.Actor(name, func(ctx context.Context) string { return p.callback(ctx, t, keeper, p.now[replica]) })
	default:
		p.tell = append(p.tell, teller{name, logouts[k]})
		defer func() {
			if k == front && p.empty {
				p.Opening(name, func() string {
					p.missed = slices.ContainsFunc(p.tabs, func(t *tab) bool { result, _ := p.Result(t.name); return result == itIsIn })
					return fmt.Sprint(p.missed)
				})
			}
		}()
		p.Actor(name, func(ctx context.Context) string {
			if p.fault == answersFirst {
				p.Look(ctx, func() string { p.early = name; return "early" })
			}
			if p.held {
				if err := p.waits(ctx, takenUp); err != nil {
					return textOf(err)
				}
			}
			if err := p.logout(ctx, k, keeper); err != nil {
				return textOf(err)
			}
			if p.held {
				p.Look(ctx, func() string { p.told[name] = p.now[0](); return p.told[name].String() })
			}
			return itIsDone
		})
	}
}

func (p *proof) logout(ctx context.Context, k kind, keeper *session.Keeper) (err error) {
	switch k {
	case signOutAlone:
		_, err = keeper.SignOutSession(ctx, p.old.Key, p.until(p.sent))
	case signOut:
		_, err = keeper.SignOutSession(ctx, p.old.Key, p.until(p.sent))
		for i := 0; i < len(p.tabs) && err == nil; i++ {
			if t := p.tabs[i]; t.first != nil {
				_, err = keeper.SignOutUntil(ctx, t.ref.Key, p.until(t.first))
			}
		}
	case revokeAll:
		err = keeper.RevokeAll(ctx, idServer, "ana")
	case backChannel, repeat:
		err = keeper.LogoutToken(ctx, tokenOfSession)
	case backSubject:
		err = keeper.LogoutToken(ctx, tokenBySub)
	case front:
		var found bool
		if found, err = keeper.LogoutFront(ctx, idServer, "s1"); err == nil && !found {
			err = errNoMark
		}
	}
	return err
}

// until is when no callback of an attempt can come any more. The proof of callbacks
// that come at once makes do with the minute that a tombstone lives anyway.
func (p *proof) until(a *attempt.Attempt) time.Time {
	switch {
	case !p.held || p.fault == forgetsSoon:
		return time.Time{}
	case p.fault == forgetsStarts:
		return a.Ends().Add(callbackTime + time.Second)
	}
	return a.Latest(0, callbackTime).Add(time.Second)
}

const takenUp = "is taken up"

// callbackTime bounds all the work of a callback.
const callbackTime = 9 * time.Second

var errNoMark = errors.New("there was no mark")

// textOf tells the errors apart that the rules know.
func textOf(err error) string {
	for _, known := range []error{session.ErrNone, session.ErrSignedOut, attempt.ErrExpired, attempt.ErrRestarts, errNoMark} {
		if errors.Is(err, known) {
			return known.Error()
		}
	}
	return fmt.Sprint(err)
}

// refresh renews the tokens of the old session.
func (p *proof) refresh(ctx context.Context, name string, k *session.Keeper) string {
	run := &renewer{p: p}
	now, renewed, err := k.Renew(ctx, p.old, p.marked(base.Add(-time.Hour)), run)
	_, waits := errors.AsType[*lease.WaitError](err)
	switch gone := errors.Is(err, session.ErrNone); {
	case gone && run.got != "" && !slices.Contains(run.discarded, run.got):
		return wrong + "tokens of a session that is over are kept"
	case p.late[name] && p.Spent().Losses == 0 && run.got != "" && !slices.Contains(run.discarded, run.got):
		return wrong + "tokens that came when the session was over are kept"
	case !gone && len(run.discarded) > 0:
		return wrong + "tokens of a session that lives are revoked"
	case err == nil && run.got != "" && string(now.Record.Refresh) != run.got && !p.Disturbed():
		return wrong + "new tokens are lost"
	case waits:
		return "waits"
	case err != nil:
		return textOf(err)
	}
	return fmt.Sprint(string(now.Record.Access), renewed)
}

// addList adds somebody who looks at the list of sessions.
func (p *proof) addList(name string, k *session.Keeper) {
	var before []string // the logouts that were answered before
	p.Actor(name, func(ctx context.Context) string {
		all, err := k.List(ctx, idServer, "ana")
		if err != nil {
			return textOf(err)
		}
		text := "listed"
		for _, l := range all {
			if l.Key == p.old.Key && len(before) > 0 {
				return wrong + "the list shows a session that was over before"
			}
			text += " " + l.Key[:2]
		}
		return text
	})
	p.Opening(name, func() string {
		for _, l := range p.tell {
			if p.answered(l.name) {
				before = append(before, l.name)
			}
		}
		return strings.Join(before, "+")
	})
}

// tab is a callback under way, in the browser that has the session.
type tab struct {
	name  string
	ref   session.Ref
	first *attempt.Attempt // as the sign-out knows it; nil if it began when the sign-out had been sent
	again bool             // it has started over
	began map[kind]bool    // the logouts that had begun when its attempt began
	ended map[kind]bool    // and those that had been answered
	long  map[kind]bool    // and those for so long that the clocks agree on it
}

// callback does what a callback does to sessions.
func (p *proof) callback(ctx context.Context, t *tab, k *session.Keeper, now func() time.Time) string {
	a := attempt.New(now())
	if t.first == nil {
		if err := p.waits(ctx, "begins a sign-in"); err != nil {
			return textOf(err)
		}
		a = attempt.New(now())
		p.Look(ctx, func() string { return p.begins(t) })
	}
	for {
		if p.held {
			if err := p.waits(ctx, takenUp); err != nil {
				return textOf(err)
			}
			if !now().Before(a.Ends()) {
				return textOf(attempt.ErrExpired)
			}
		}
		rec, readAt := p.marked(a.Begin), now()
		again, err := k.ReadMarks(ctx, rec, a.Begin, func(m session.Mark) bool { return a.Carries(attempt.Mark(m)) })
		if err == nil && again && p.fault != goesOn {
			if a, err = a.Again(now(), attempt.Mark(rec.Marks[0]), attempt.Mark(rec.Marks[1])); err == nil {
				p.Look(ctx, func() string { t.again = true; return p.begins(t) })
				continue
			}
		}
		if err != nil {
			return textOf(err)
		}
		if p.fault == createsLate {
			readAt = now().Add(time.Hour)
		}
		err = k.Create(ctx, t.ref, rec, readAt)
		if err == nil {
			first := a.FirstBegin()
			if p.fault == refusesAny {
				first = time.Time{}
			}
			_, err = k.Replace(ctx, p.old.Key, t.ref.Key, first)
		}
		if err != nil {
			if _, e := k.End(ctx, t.ref.Key); e != nil {
				_, _ = k.EndAnyway(ctx, t.ref.Key)
			}
			return textOf(err)
		}
		_, _ = k.Enlist(ctx, t.ref, rec)
		return itIsIn
	}
}

// waits is a step before which much time may pass: nothing of the actor is under way.
func (p *proof) waits(ctx context.Context, name string) error {
	return p.Do(ctx, orders.Step{Name: name, Long: true, Do: func() (string, bool) { return "", false }})
}

// begins notes which logouts had begun, and which had been answered, when the attempt
// of the tab began, or began anew.
func (p *proof) begins(t *tab) string {
	t.began, t.ended, t.long = map[kind]bool{}, map[kind]bool{}, map[kind]bool{}
	for _, l := range p.tell {
		t.began[l.what] = t.began[l.what] || p.Began(l.name)
		t.ended[l.what] = t.ended[l.what] || p.answered(l.name)
		at, known := p.told[l.name]
		t.long[l.what] = t.long[l.what] || known && p.now[0]().Sub(at) > 2*time.Second
	}
	text := "["
	for _, l := range p.tell {
		text += fmt.Sprintf("%t%t%t ", t.began[l.what], t.ended[l.what], t.long[l.what])
	}
	return text
}
