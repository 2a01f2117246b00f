package session_test

import (
	"context"
	"slices"
	"strings"
	"testing"
	"time"

	"example.com/gatehouse/internal/session"
	"example.com/gatehouse/internal/testkit/orders"
)

// fault is a rule of decision 3 that a run leaves out, to see the proof find it.
type fault string

const (
	none          fault = ""
	overwrites    fault = "a login is created over what is there"
	bringsBack    fault = "a touch writes whatever has become of the record"
	answersFirst  fault = "a logout answers before it raises the mark"
	ignoresMarks  fault = "a request does not compare the marks with the record's numbers"
	goesOn        fault = "a callback that reads a new mark goes on"
	countsAgain   fault = "a logout token that comes again chooses another number"
	awaitsForever fault = "a token request is awaited past the end of the lease"
	leavesNoTrace fault = "a sign-out leaves nothing where a callback is about to store its session"
	createsLate   fault = "a login is created however long ago its marks were read"
	marksDie      fault = "a raised mark lives only as long as our own sessions"
	marksShrink   fault = "a mark is raised over whatever is there"
	sameNumber    fault = "a mark gets our time, even if that is not above its number"
	laysNoMark    fault = "a callback does not lay its sid's mark down"
	forgetsSoon   fault = "a sign-out of a sign-in under way is forgotten after a minute"
	forgetsStarts fault = "a sign-out is forgotten although a sign-in under way may start over"
	refusesAny    fault = "a sign-in fails whose session before was signed out, whenever it began"
	forgetsNext   fault = "what took the place of a session is forgotten after a minute"
	keepsTokens   fault = "new tokens are merged into whatever is there"
)

// find is what the store returns.
func (f fault) find(s *stepped, keys []string) [][]byte {
	values := s.shelf.find(keys)
	switch {
	case f == ignoresMarks && len(keys) == 3 && slices.Contains(s.p.records(), keys[0]):
		values[1], values[2] = nil, nil
	case f == countsAgain && keys[0] == tokenKey:
		values[0] = nil
	}
	return values
}

// swap changes what is in the store.
func (f fault) swap(ctx context.Context, s *stepped, key string, old, new []byte, expiry time.Time) bool {
	record, mark := slices.Contains(s.p.records(), key), isMark(key)
	number, _ := session.DecodeMark(new)
	before, _ := session.DecodeMark(old)
	blind := false
	switch f {
	case overwrites:
		blind = record && old == nil && strings.HasPrefix(orders.Who(ctx), string(callback))
	case bringsBack:
		blind = record && orders.Who(ctx) == string(touch)
	case keepsTokens:
		blind = record && orders.Who(ctx) == string(refresh)
	case countsAgain:
		if key == tokenKey {
			return true
		}
	case leavesNoTrace:
		if record && old == nil && orders.Who(ctx) == string(signOut) {
			return true
		}
	case forgetsNext:
		if key == s.p.old.Key && strings.HasPrefix(orders.Who(ctx), string(callback)) {
			expiry = s.now().Add(time.Minute)
		}
	case marksDie:
		if mark && number > before {
			expiry = s.now().Add(12*time.Hour + time.Minute)
			new = session.EncodeMark(number, expiry)
		}
	case laysNoMark:
		if key == sidKey && old == nil {
			return true
		}
	case sameNumber:
		if mark && number == before+1 {
			new = session.EncodeMark(before, expiry)
		}
	case marksShrink:
		blind = mark
	}
	if blind {
		s.put(key, new, expiry)
		return true
	}
	return s.shelf.swap(key, old, new, expiry)
}

// records are the keys of the sessions of this world.
func (p *proof) records() []string {
	keys := []string{p.old.Key}
	for _, t := range p.tabs {
		keys = append(keys, t.ref.Key)
	}
	return keys
}

// TestProof_FindsFaults: a protocol that leaves out one rule of decision 3 is
// found out. The trace says by which order.
func TestProof_FindsFaults(t *testing.T) {
	for _, c := range []struct {
		fault  fault
		budget orders.Search
		actors []kind
	}{
		{forgetsSoon, heldUp(1), []kind{signOut, callback}},
		{forgetsSoon, heldUp(1), []kind{signOutAlone, callback}},
		{forgetsStarts, heldUp(2), []kind{signOut, revokeAll, callback}},
		{forgetsNext, heldUp(1), []kind{signOutAlone, callback}},
		{refusesAny, heldUp(1), []kind{signOut, signIn}},
		{overwrites, orders.Search{}, []kind{signOut, callback}},
		{bringsBack, orders.Search{}, []kind{signOut, touch}},
		{answersFirst, orders.Search{}, []kind{revokeAll, list}},
		{ignoresMarks, orders.Search{}, []kind{backChannel, touch}},
		{goesOn, orders.Search{}, []kind{backChannel, callback}},
		{countsAgain, orders.Search{}, []kind{backChannel, repeat, callback}},
		{awaitsForever, orders.Search{Ticks: 1, Tick: leaseOver}, []kind{refresh, refresh}},
		{leavesNoTrace, orders.Search{}, []kind{signOut, callback}},
		{createsLate, orders.Search{Ticks: 1, Tick: 61 * time.Second, Anytime: true}, []kind{signOut, callback}},
		{marksDie, orders.Search{}, []kind{front, touch}},
		{marksShrink, orders.Search{}, []kind{revokeAll, backSubject}},
		{sameNumber, orders.Search{}, []kind{revokeAll, backSubject, callback}},
		{laysNoMark, orders.Search{}, []kind{front, callback}},
		{keepsTokens, orders.Search{}, []kind{signOut, refresh}},
	} {
		t.Run(string(c.fault), func(t *testing.T) {
			s := newScene(t, false)
			if c.fault == laysNoMark {
				s.items, s.empty = nil, true
			}
			s.held = c.budget == heldUp(c.budget.Ticks)
			f := s.search(t, c.budget, c.fault, c.actors...)
			if f.Broken == nil {
				t.Fatalf("not found in %.0f orders", f.Orders)
			}
			t.Logf("found in run %d: %v\n%s", f.Runs, f.Broken, strings.Join(f.Trace, "\n"))
		})
	}
}
