package session_test

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"example.com/gatehouse/internal/attempt"
	"example.com/gatehouse/internal/lease"
	"example.com/gatehouse/internal/session"
	"example.com/gatehouse/internal/testkit/orders"
)

// The tests of this file prove the session protocol (docs/proof.md): they run the
// keepers of two replicas under every order of their store calls, with one death
// and one lost call anywhere.

var depth = flag.Int("proof", 1, "1: one death or one lost call, and triples without; 2: both at once, and triples with a death; 3: triples with both")

// proof is the world of one run: ana has a session, in a browser that is also
// about to sign in again, and two replicas have clocks a second apart.
type proof struct {
	*orders.Run
	scene
	fault  fault
	store  *stepped
	later  time.Duration // added to all clocks
	now    [2]func() time.Time
	k      [2]*session.Keeper
	judge  *session.Keeper
	names  []string
	kinds  []kind
	tabs   []*tab
	tell   []teller
	early  string
	told   map[string]time.Time // when a logout was answered
	sent   *attempt.Attempt     // one that begins when a sign-out is sent
	missed bool                 // a sign-in was answered before the front-channel logout began
	late   map[string]bool      // who wrote a session that was over by then
	at     provider
}

// teller is an actor that ends sessions.
type teller struct {
	name string
	what kind
}

// base is when each run begins.
var base = time.Date(2026, 3, 4, 5, 6, 7, 0, time.UTC)

// marked is a record of ana in the provider's session s1, or in one that it has
// not named.
func (s scene) marked(begin time.Time) *session.Record {
	sid := "s1"
	if s.bare {
		sid = ""
	}
	return &session.Record{
		Issuer: idServer, Subject: "ana", ClientID: "notes", SID: sid, Begin: begin, Seen: begin,
		Access: session.Token("at0"), Refresh: session.Token("rt0"), Requested: begin, Expires: begin.Add(3 * time.Hour),
		Marks: session.MarksOf(idServer, "ana", sid),
	}
}

// marks are those of all sessions of the scene.
func (s scene) marks() [2]session.Mark { return s.marked(base).Marks }

// scene is the store in which each run begins, and the session in it.
type scene struct {
	items map[string]shelved
	old   session.Ref
	fresh bool
	empty bool            // nobody is signed in, and there are no marks
	bare  bool            // the provider names no session
	ended bool            // the provider knows the refresh token no more
	grace bool            // the provider takes a used refresh token once more
	skews []time.Duration // how far the second clock is ahead
	held  bool            // callbacks may be held up for minutes before they are taken up
	end   func(*proof)    // sees the end of each order
}

// newScene makes a scene. In a fresh one the sid's mark lives long enough for the
// next session, so that a callback need not write it.
func newScene(t *testing.T, fresh bool) scene {
	return scene{fresh: fresh, skews: skews()}.signedIn(t)
}

// signedIn puts ana's session into the store.
func (s scene) signedIn(t *testing.T) scene {
	at := base.Add(-time.Hour)
	store := plain{&shelf{map[string]shelved{}, func() time.Time { return at }}}
	k := session.New(session.Config{Store: store, Lifetime: 12 * time.Hour, Idle: 4 * time.Hour, Now: store.now})
	rec := s.marked(at)
	_, err := k.ReadMarks(t.Context(), rec, at, carriesNone)
	ref := session.NewRef("home", [session.IDSize]byte{1}, rec.Marks)
	if s.fresh {
		_, err = session.New(session.Config{Store: store, Lifetime: 24 * time.Hour, Idle: -1, Now: store.now}).ReadMarks(t.Context(), rec, at, carriesNone)
	}
	err = errors.Join(err, k.Create(t.Context(), ref, rec, at))
	_, err1 := k.Enlist(t.Context(), ref, rec)
	if err = errors.Join(err, err1); err != nil {
		t.Fatal(err)
	}
	s.items, s.old = store.items, ref
	return s
}

// play sets up a run. The clock of the second replica differs by skew.
func (s scene) play(r *orders.Run, skew time.Duration, f fault, kinds []kind) {
	p := &proof{Run: r, fault: f, at: provider{valid: "rt0"}, scene: s, late: map[string]bool{}, told: map[string]time.Time{}, sent: attempt.New(base)}
	if s.ended {
		p.at.valid = ""
	}
	start := time.Now()
	for i := range p.now {
		p.now[i] = func() time.Time { return base.Add(time.Since(start) + p.later + time.Duration(i)*skew) }
	}
	p.store = &stepped{p, &shelf{copied(s.items), p.now[0]}}
	for i := range p.k {
		p.k[i] = session.New(session.Config{Store: p.store, Lifetime: 12 * time.Hour, Idle: 4 * time.Hour, Now: p.now[i]})
	}
	p.judge = session.New(session.Config{Store: onlyReads{p.store}, Lifetime: 12 * time.Hour, Idle: 4 * time.Hour, Now: p.now[0]})
	for key, name := range names {
		r.Name(key, name)
	}
	r.Name(p.old.Key, "the record")
	r.Rules(p.always, p.finally)
	for i, k := range kinds {
		p.add(k, i%2)
	}
}

func (p *proof) alive(ref session.Ref) bool {
	_, err := p.judge.Load(context.Background(), ref)
	return err == nil
}

// answered reports whether the actor has answered that all is done.
func (p *proof) answered(name string) bool {
	result, returned := p.Result(name)
	return returned && result == itIsDone || name == p.early
}

// always is what holds after each step.
func (p *proof) always() error {
	if n := p.Asking(asksForTokens); n > 1 {
		return fmt.Errorf("%d token requests at once", n)
	}
	for _, l := range p.tell {
		if !p.answered(l.name) {
			continue
		}
		if p.alive(p.old) {
			return fmt.Errorf("the session lives after the answer to the %s", l.name)
		}
		for _, t := range p.tabs {
			over := !t.began[l.what] || l.what == signOut
			if l.what == signOutAlone || l.what == signOut && t.first == nil { // what has not come through yet will not
				result, _ := p.Result(t.name)
				over = result == itIsIn && (t.first != nil || !t.began[l.what])
			}
			if over && p.alive(t.ref) {
				return fmt.Errorf("the session of the %s, begun before, lives after the answer to the %s", t.name, l.name)
			}
		}
	}
	return nil
}

// Disturbed reports whether a holder of the lease may have died or stalled, or
// may not know what became of its request.
func (p *proof) Disturbed() bool {
	return p.at.lost || p.holder(p.Died) || p.holder(p.Stalled)
}

func (p *proof) holder(is func(string) bool) bool {
	return slices.ContainsFunc(p.names, func(name string) bool { return strings.HasPrefix(name, string(refresh)) && is(name) })
}

// finally is what holds when everybody is done or dead.
func (p *proof) finally() error {
	if p.fault == awaitsForever {
		return nil // it must show that two requests are sent at once
	}
	for _, name := range p.names {
		result, returned := p.Result(name)
		if rest, bad := strings.CutPrefix(result, wrong); bad {
			return fmt.Errorf("the %s: %s", name, rest)
		}
		if spent := p.Spent(); returned && spent.Losses+spent.Ticks == 0 && !p.mayEnd(name, result) {
			return fmt.Errorf("the %s ends with %q though all went well", name, result)
		}
	}
	if p.end != nil {
		p.end(p)
	}
	for _, check := range []func() error{p.tokens, p.signedIn, p.marksOutlive, p.logoutsFoundMarks, p.later60, p.signInAfter} {
		if err := check(); err != nil {
			return err
		}
	}
	return nil
}

// mayEnd reports whether an actor may end like that if no call was lost.
func (p *proof) mayEnd(name, result string) bool {
	none := result == session.ErrNone.Error()
	switch ends := p.ended || len(p.tell) > 0 || len(p.tabs) > 0; kind(strings.TrimSuffix(name, " too")) {
	case refresh:
		return none && ends || strings.HasPrefix(result, "at") || p.Spent().Crashes > 0
	case touch:
		return none && ends || result == "<nil>"
	case list:
		return strings.HasPrefix(result, "listed")
	case front:
		return result == itIsDone || result == errNoMark.Error() && p.empty
	case callback, signIn:
		return result == itIsIn ||
			result == session.ErrSignedOut.Error() && slices.ContainsFunc(p.tell, func(l teller) bool { return l.what == signOut || l.what == signOutAlone }) ||
			result == attempt.ErrRestarts.Error() && len(p.tell) > 2
	}
	return result == itIsDone
}

// tokens checks what became of them.
func (p *proof) tokens() error {
	if p.Disturbed() {
		return nil
	}
	if p.at.reused {
		return errors.New("a refresh token was sent twice")
	}
	s, err := p.judge.Load(context.Background(), p.old)
	switch {
	case err != nil:
		return nil
	case p.ended && p.at.asked > 0:
		return errors.New("the session lives, and the provider knows its refresh token no more")
	case !p.ended && string(s.Record.Refresh) != p.at.valid:
		return fmt.Errorf("the record holds %s, and the provider takes %s", s.Record.Refresh, p.at.valid)
	case s.Record.Lease.Takeovers > 0 || s.Record.Lease.Holder != "":
		return fmt.Errorf("nobody failed, and the record has the lease %+v", s.Record.Lease)
	}
	return nil
}

// marksOutlive checks that the mark which a sign-in lays down lives as long as each
// session that it may end.
func (p *proof) marksOutlive() error {
	if p.bare || p.fault == laysNoMark {
		return nil
	}
	until, err := session.MarkEnd(p.store.live(sidKey))
	for _, t := range p.tabs {
		s, dead := p.judge.Load(context.Background(), t.ref)
		if result, _ := p.Result(t.name); dead != nil || result != itIsIn {
			continue
		}
		if end := p.judge.Ending(s.Record); err != nil || until.Before(end) {
			return fmt.Errorf("the session of the %s ends %v, and its mark %v (%v)", t.name, end, until, err)
		}
	}
	return nil
}

// signedIn checks that nobody is signed out without a reason, and that a session
// which began after every logout lives and is listed.
func (p *proof) signedIn() error {
	if len(p.tell)+len(p.tabs) == 0 && !p.empty && !p.ended && !p.alive(p.old) {
		return errors.New("the session is gone, and nobody ended it")
	}
	for _, t := range p.tabs {
		result, returned := p.Result(t.name)
		before := !slices.ContainsFunc(p.tell, func(l teller) bool {
			return !t.ended[l.what] || (l.what == signOut || l.what == signOutAlone) && !t.long[l.what]
		})
		if before && !t.again && result == session.ErrSignedOut.Error() {
			return fmt.Errorf("the %s fails, though it began after every sign-out", t.name)
		}
		if !returned || result != itIsIn || !before {
			continue
		}
		if !p.alive(t.ref) {
			return fmt.Errorf("the session of the %s is gone, though it began after every logout", t.name)
		}
		listed, err := p.judge.List(context.Background(), idServer, "ana")
		if err == nil && p.Spent().Losses == 0 && !slices.ContainsFunc(listed, func(l session.Listed) bool { return l.Key == t.ref.Key }) {
			return fmt.Errorf("the session of the %s is not listed", t.name)
		}
	}
	return nil
}

// later60 checks that a minute later a session that lives can be renewed, or
// serves on if its refresh token was lost.
func (p *proof) later60() error {
	if !p.alive(p.old) {
		return nil
	}
	p.later += time.Minute
	now, err := p.judge.Load(context.Background(), p.old)
	if err == nil {
		_, _, err = p.k[1].Renew(context.Background(), p.old, now.Record, &renewer{p: p})
	}
	if errors.Is(err, session.ErrNone) && (p.ended || p.at.reused && p.holder(p.Stalled)) {
		return nil // the provider has ended the grant, perhaps because a holder woke up too late
	}
	if err != nil || !p.alive(p.old) {
		return fmt.Errorf("a minute later the session is not renewed: %w", err)
	}
	return nil
}

// logoutsFoundMarks checks that a front-channel logout which came after a sign-in
// had been answered did not miss its mark.
func (p *proof) logoutsFoundMarks() error {
	if !p.missed {
		return nil
	}
	if result, _ := p.Result(string(front)); result == errNoMark.Error() {
		return errors.New("the front-channel logout finds no mark of a session that stands")
	}
	return nil
}

// signInAfter checks that a sign-in that begins now comes through, and lives.
func (p *proof) signInAfter() error {
	t := &tab{name: "sign-in after all", ref: session.NewRef("home", [session.IDSize]byte{3}, p.marks())}
	for i, now := range p.now {
		begin, carried := now().Truncate(time.Millisecond), [2]session.Mark{}
		for starts := 0; ; starts++ {
			rec := p.marked(begin)
			again, err := p.k[i].ReadMarks(context.Background(), rec, begin, func(m session.Mark) bool { return m == carried[0] || m == carried[1] })
			if err != nil || starts > 2 {
				return fmt.Errorf("the %s: starts over %d times, %w", t.name, starts, err)
			}
			if carried = rec.Marks; again {
				continue
			}
			if t.ref = session.NewRef("home", [session.IDSize]byte{3, byte(i)}, rec.Marks); p.k[i].Create(context.Background(), t.ref, rec, now()) != nil || !p.alive(t.ref) {
				return fmt.Errorf("the %s is not signed in", t.name)
			}
			break
		}
	}
	return nil
}

// search goes through all orders of the actors, with both signs of the skew.
func (s scene) search(t *testing.T, budget orders.Search, f fault, kinds ...kind) (found orders.Found) {
	budget.Most = 5_000_000
	if budget.Tick == 0 {
		budget.Tick = 31 * time.Second
	}
	synctest.Test(t, func(t *testing.T) {
		for _, skew := range s.skews {
			one := budget.All(func(r *orders.Run) { s.play(r, skew, f, kinds) })
			found.Orders, found.States, found.Runs = found.Orders+one.Orders, found.States+one.States, found.Runs+one.Runs
			if one.Broken != nil {
				found.Broken, found.Trace = fmt.Errorf("%v, the second clock %v: %w", kinds, skew, one.Broken), one.Trace
				return
			}
		}
	})
	return found
}

// allKinds is what may happen to a session at once.
var allKinds = []kind{refresh, touch, signOut, callback, revokeAll, backChannel, front, list}

// budgets says what may go wrong beside the order: one death or one lost call, or
// both at once while time may pass besides.
func budgets() []orders.Search {
	if *depth > 1 {
		return []orders.Search{{Crashes: 1, Losses: 1, Ticks: 1}}
	}
	return apart()
}

// apart is one death or one lost call, and never both.
func apart() []orders.Search {
	if raced {
		return []orders.Search{{}}
	}
	return []orders.Search{{Crashes: 1}, {Losses: 1}}
}

// skews says how far the second clock is ahead. The longer proofs try both.
func skews() []time.Duration {
	if *depth > 1 {
		return []time.Duration{time.Second, -time.Second}
	}
	return []time.Duration{time.Second}
}

// prove fails the test if an order breaks a rule, and adds to the sum.
func (s scene) prove(t *testing.T, sum *orders.Found, kinds []kind, budgets ...orders.Search) {
	t.Helper()
	var f orders.Found
	for _, b := range budgets {
		one := s.search(t, b, none, kinds...)
		if f.Add(one); one.Broken != nil {
			t.Fatalf("%v\n%s", one.Broken, strings.Join(one.Trace, "\n"))
		}
	}
	t.Logf("%v: %v", kinds, f)
	sum.Add(f)
}

// TestProof_Pairs: every pair of what may happen to a session at once.
func TestProof_Pairs(t *testing.T) {
	sum := orders.Found{}
	for _, fresh := range []bool{true, false} {
		s := newScene(t, fresh)
		for i, a := range allKinds {
			for _, b := range allKinds[:i+1] {
				if withCallback := a == callback || b == callback; fresh || withCallback && (a != b && b == callback || *depth > 1) { // otherwise callbacks write one mark more
					s.prove(t, &sum, []kind{a, b}, budgets()...)
				}
			}
		}
	}
	t.Logf("in all: %v", sum)
}

// TestProof_Triples: every triple of a refresh, a sign-out, a callback and a
// back-channel logout, and those in which two logouts meet a callback.
func TestProof_Triples(t *testing.T) {
	s, sum := newScene(t, true), orders.Found{}
	for _, kinds := range [][]kind{
		{refresh, signOut, callback}, {refresh, signOut, backChannel}, {refresh, callback, backChannel}, {signOut, callback, backChannel},
		{backChannel, repeat, callback}, {revokeAll, backSubject, callback}, {backSubject, revokeAll, callback}, {front, backChannel, callback},
	} {
		if raced && kinds[0] == refresh {
			continue
		}
		s.prove(t, &sum, kinds, [][]orders.Search{{{}}, {{Crashes: 1}}, {{Crashes: 1, Losses: 1}}}[*depth-1]...)
	}
	t.Logf("in all: %v", sum)
}

// TestProof_Grace: a provider that takes a used refresh token once more. A holder
// that wakes up late does not overwrite the newer tokens.
func TestProof_Grace(t *testing.T) {
	s, sum := newScene(t, true), orders.Found{}
	s.grace = true
	// After the tick the request is over, and so is the lease by a clock that is ahead.
	s.prove(t, &sum, []kind{refresh, refresh}, orders.Search{Ticks: 1, Tick: leaseOver})
}

// leaseOver is just after the end of a lease by a clock that is a second ahead.
const leaseOver = lease.Life - time.Second + 10*time.Millisecond

// TestProof_GrantEnded: a provider that knows the refresh token no more. The session
// ends at once, unless the cause may be a request of our own whose holder died.
func TestProof_GrantEnded(t *testing.T) {
	s, sum := newScene(t, true), orders.Found{}
	s.ended = true
	for _, other := range []kind{refresh, touch, list} {
		s.prove(t, &sum, []kind{refresh, other}, apart()...)
	}
	t.Logf("in all: %v", sum)
}

// TestProof_WithoutSID: a provider that names no session. A logout token that names
// one and the person ends her sessions without a name, too.
func TestProof_WithoutSID(t *testing.T) {
	s, sum := scene{bare: true, fresh: true, skews: skews()}.signedIn(t), orders.Found{}
	for _, kinds := range [][]kind{{backChannel, refresh}, {backChannel, touch}, {backChannel, callback}, {backChannel, list}, {backSubject, callback}} {
		s.prove(t, &sum, kinds, budgets()...)
	}
	s.prove(t, &sum, []kind{backChannel, repeat, callback}, orders.Search{})
	t.Logf("in all: %v", sum)
}

// TestProof_SignOutAlone: a sign-out that does not know the sign-in under way in its
// browser, because that began when the sign-out had been sent. It ends the session
// that the sign-in came from, and so the sign-in, or what has come of it.
func TestProof_SignOutAlone(t *testing.T) {
	s, sum := newScene(t, true), orders.Found{}
	s.prove(t, &sum, []kind{signOutAlone, callback}, budgets()...)
	s.prove(t, &sum, []kind{signOutAlone, callback, callback}, []orders.Search{{}, {Crashes: 1}}[min(*depth, 2)-1])
	t.Logf("in all: %v", sum)
}

// TestProof_Stall: a replica stalls for longer than a tombstone lives, or for almost as
// long as it may wait before it stores a login.
func TestProof_Stall(t *testing.T) {
	s, sum := newScene(t, false), orders.Found{}
	for _, kinds := range [][]kind{{signOut, callback}, {backChannel, callback}} {
		for _, tick := range []time.Duration{29 * time.Second, 61 * time.Second} {
			s.prove(t, &sum, kinds, orders.Search{Ticks: 1, Tick: tick, Anytime: true})
		}
	}
	t.Logf("in all: %v", sum)
}

// TestProof_FrontChannelFindsNoMark: the one exception. Nobody signs a
// front-channel logout, so it raises only a mark that a sign-in has laid down. One
// that comes before finds none, and the sign-in under way survives it. Whoever is
// signed in when it comes does not.
func TestProof_FrontChannelFindsNoMark(t *testing.T) {
	s, lost, survived, won := newScene(t, false), 0, 0, 0
	s.items, s.empty = nil, true
	s.end = func(p *proof) {
		result, _ := p.Result(string(front))
		in, _ := p.Result(string(callback))
		switch {
		case result == errNoMark.Error() && in == itIsIn && p.alive(p.tabs[0].ref):
			survived++
			fallthrough
		case result == errNoMark.Error():
			lost++
		case result == itIsDone && in == itIsIn:
			won++
		}
	}
	sum := orders.Found{}
	s.prove(t, &sum, []kind{front, callback}, orders.Search{Crashes: 1, Losses: 1})
	if t.Logf("%d ends in which the logout found no mark, %d of them with a session; %d in which it found one", lost, survived, won); survived == 0 || won == 0 {
		t.Error("the exception does not show")
	}
}
