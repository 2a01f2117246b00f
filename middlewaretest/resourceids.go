package middlewaretest

import (
	"context"
	"errors"
	"fmt"
	"runtime"
	"strings"
	"testing"
	"time"

	"example.com/gatehouse"
)

// TestResourceIDs checks that a store meets the contract of
// [gatehouse.ResourceIDs]. Each part of the contract is a subtest, and a
// failure says what goes wrong with resources if the part does not hold. open
// opens the store once. Issuers are random, so the store need not be empty. Run
// it with the race detector.
func TestResourceIDs(t *testing.T, open func(t *testing.T) gatehouse.ResourceIDs, options ...StoreOption) {
	t.Helper()
	s := &idsRun{open(t), newSuite(options...)}
	check(t, s.suite, s, idsParts(), nil)
}

// longest is the size of names and ids that a store must accept
// (gatehouse.ResourceIDs).
const longest = 1024

// idsRun is one run of the suite.
type idsRun struct {
	gatehouse.ResourceIDs
	*suite
}

// slot is the place of one id.
type slot struct {
	ids                 gatehouse.ResourceIDs
	issuer, owner, name string
}

func (s *idsRun) slot(issuer, owner, name string) slot {
	return slot{s.ResourceIDs, issuer, owner, name}
}

// fresh is the place of a resource that is not registered.
func (s *idsRun) fresh() slot { return s.slot(s.issuer(), "alice", "album") }

// holds checks the stored id; "" means none.
func (p slot) holds(ctx context.Context, want string) error {
	got, err := p.ids.ID(ctx, p.issuer, p.owner, p.name)
	if err != nil {
		return fmt.Errorf("ID: %w", err)
	}
	if got != want {
		return fmt.Errorf("ID returns %.40q, want %.40q", got, want)
	}
	return nil
}

// puts expects PutIfAbsent to return the winner, and the winner to be stored.
func (p slot) puts(ctx context.Context, id, winner string) error {
	got, err := p.ids.PutIfAbsent(ctx, p.issuer, p.owner, p.name, id)
	if err != nil {
		return fmt.Errorf("calling PutIfAbsent: %w", err)
	}
	if got != winner {
		return fmt.Errorf("PutIfAbsent of %.40q returns %.40q, want %.40q", id, got, winner)
	}
	return p.holds(ctx, winner)
}

// drops checks what is stored after Drop.
func (p slot) drops(ctx context.Context, id, after string) error {
	if err := p.ids.Drop(ctx, p.issuer, p.owner, p.name, id); err != nil {
		return fmt.Errorf("calling Drop: %w", err)
	}
	return p.holds(ctx, after)
}

// idsParts lists the contract of gatehouse.ResourceIDs.
func idsParts() []part[*idsRun] {
	return []part[*idsRun]{
		{"absent", "a resource that is not registered has no id, and that is not an error", nil, noIDCase},
		{"the first stays", "what owners shared depends on the first id", nil, firstIDCase},
		{"drop", "a resource that the server has forgotten can be registered again", nil, dropCase},
		{"drop of another", "a replica that learns late of a stale id must not drop the new one", nil, dropOtherCase},
		{"resources apart", "the id of another's resource opens what is not shared", nil, placesCase},
		{"ids", "servers choose ids: their case matters, and some are addresses", nil, idFormsCase},
		{"many", "a service has thousands of resources", nil, thousandIDsCase},
		{"nothing expires", "a forgotten id is registered a second time, and what owners shared does not apply to it", hasClock, idAgeCase},
		{"one wins", "replicas that register at once must agree on one id, or each shows its own", nil, idWinnerCase},
		{"one wins after a drop", "a replica that registers again must not drop the id that another has just put", nil, idDropRaceCase},
		{"neighbours", "resources that are registered at the same moment must not undo each other", nil, idNeighboursCase},
		{"all at once", "all methods are called at the same time", nil, idRaceCase},
		{"cancelled context", "a request whose client has left must not wait", nil, func(ctx context.Context, s *idsRun) error {
			return steps(func() error { return s.endsWithContext(ctx, s.calls()) }, func() error { return s.fresh().puts(ctx, "r-1", "r-1") })
		}},
		{"the caller leaves", "an id outlives the request that registered its resource", nil, idLeavingCase},
		{"deadline", "the reply to a call that was given up must never be taken for that of the next", nil, idGiveUpCase},
		{"hang", "requests are answered 503 when the store hangs, and served when it is back", nil, func(ctx context.Context, s *idsRun) error {
			return s.hangs(ctx, s.calls(), func(ctx context.Context) error {
				p := s.fresh()
				return steps(func() error { return p.puts(ctx, "r-1", "r-1") }, func() error { return p.drops(ctx, "r-1", "") })
			})
		}},
		{"two processes", "replicas are processes", isShared, idProcessCase},
		{"at once on all", "a replica that does not see an id registers the resource once more", isShared, idAtOnceCase},
	}
}

func (s *idsRun) calls() []call {
	p := s.fresh()
	return []call{
		{"ID", func(ctx context.Context) error { _, err := p.ids.ID(ctx, p.issuer, p.owner, p.name); return err }},
		{"PutIfAbsent", func(ctx context.Context) error {
			_, err := p.ids.PutIfAbsent(ctx, p.issuer, p.owner, p.name, "r-1")
			return err
		}},
		{"Drop", func(ctx context.Context) error { return p.ids.Drop(ctx, p.issuer, p.owner, p.name, "r-1") }},
	}
}

func noIDCase(ctx context.Context, s *idsRun) error {
	p := s.fresh()
	return steps(
		func() error { return p.holds(ctx, "") },
		func() error { return p.drops(ctx, "r-1", "") },
		func() error { return p.puts(ctx, "r-1", "r-1") },
	)
}

func firstIDCase(ctx context.Context, s *idsRun) error {
	p := s.fresh()
	return steps(
		func() error { return p.puts(ctx, "r-1", "r-1") },
		func() error { return p.puts(ctx, "r-2", "r-1") },
		func() error { return p.puts(ctx, "r-1", "r-1") },
	)
}

func dropCase(ctx context.Context, s *idsRun) error {
	p := s.fresh()
	return steps(
		func() error { return p.puts(ctx, "r-1", "r-1") },
		func() error { return p.drops(ctx, "r-1", "") },
		func() error { return p.drops(ctx, "r-1", "") },
		func() error { return p.puts(ctx, "r-2", "r-2") },
		func() error { return p.puts(ctx, "r-1", "r-2") }, // it was once
		func() error { return p.drops(ctx, "r-1", "r-2") },
		func() error { return p.drops(ctx, "r-2", "") },
	)
}

func dropOtherCase(ctx context.Context, s *idsRun) error {
	p := s.fresh()
	return steps(
		func() error { return p.puts(ctx, "r-2", "r-2") },
		func() error { return p.drops(ctx, "r-1", "r-2") },
		func() error { return p.drops(ctx, "R-2", "r-2") },
		func() error { return p.drops(ctx, "r-2 ", "r-2") },
		func() error { return p.drops(ctx, "", "r-2") },
		func() error { return p.drops(ctx, "r-", "r-2") },
		func() error { return p.drops(ctx, "r-_", "r-2") },
		func() error { return p.drops(ctx, "%", "r-2") },
	)
}

func placesCase(ctx context.Context, s *idsRun) error {
	as, k := s.issuer(), s.key()
	var places []slot
	for _, p := range s.apart() {
		places = append(places, s.slot(p[0], p[1], k)) // owner "" is the service itself
		if p[1] != "" {
			places = append(places, s.slot(as, "bob", p[1]), s.slot(as, "", p[1]))
		}
	}
	long := strings.Repeat("n", longest-len(k)) + k
	places = append(places, s.slot(as, "a", long), s.slot(as, "a", long[1:]), s.slot(as, "a", long[:longest-1]))
	places = append(places, s.slot(as, "ab", "c"+k), s.slot(as, "a", "bc"+k), s.slot(as, k, "a"), s.slot(as, "a", k))
	for i, p := range places {
		if err := steps(func() error { return p.holds(ctx, "") }, func() error { return p.puts(ctx, fmt.Sprint("r-", i), fmt.Sprint("r-", i)) }); err != nil {
			return fmt.Errorf("issuer %q, owner %q, name %q: %w", p.issuer, p.owner, p.name, err)
		}
	}
	for i, p := range places {
		if err := p.holds(ctx, fmt.Sprint("r-", i)); err != nil {
			return fmt.Errorf("issuer %q, owner %q, name %q: %w", p.issuer, p.owner, p.name, err)
		}
	}
	return places[0].drops(ctx, "r-0", "")
}

func idFormsCase(ctx context.Context, s *idsRun) error {
	for _, id := range []string{
		"8c1f2b34-5a6d-4e7f-9a0b-1c2d3e4f5a6b", "R-1", "r-1", "0", "007", "1e3", "https://as.example.org/rsrc/7?x=%2F", "a b", "a'b", `a"b\c`, "a%b_c", "-1", "null", strings.Repeat("i", longest),
	} {
		if err := s.fresh().puts(ctx, id, id); err != nil {
			return err
		}
	}
	return nil
}

func thousandIDsCase(ctx context.Context, s *idsRun) error {
	const n = 2000
	as := s.issuer()
	at := func(i int) slot { return s.slot(as, fmt.Sprint("owner ", i%7), fmt.Sprint("photo ", i)) }
	for i := range n {
		if err := at(i).puts(ctx, fmt.Sprint("r-", i), fmt.Sprint("r-", i)); err != nil {
			return err
		}
	}
	for i := 0; i < n; i += 2 {
		if err := at(i).drops(ctx, fmt.Sprint("r-", i), ""); err != nil {
			return err
		}
	}
	for i := range n {
		want := fmt.Sprint("r-", i)
		if i%2 == 0 {
			want = ""
		}
		if err := at(i).holds(ctx, want); err != nil {
			return fmt.Errorf("resource %d of %d: %w", i, n, err)
		}
	}
	return nil
}

func idAgeCase(ctx context.Context, s *idsRun) error {
	p := s.fresh()
	return steps(
		func() error { return p.puts(ctx, "r-1", "r-1") },
		func() error { return s.pass(ctx, decades) },
		func() error { return p.holds(ctx, "r-1") },
	)
}

// idGiveUpCase is givesUp for ids.
func idGiveUpCase(ctx context.Context, s *idsRun) error {
	other := s.fresh()
	if err := other.puts(ctx, "another's", "another's"); err != nil {
		return err
	}
	return together(racers/2, func(i int) error {
		for n := range raceRounds {
			p, id := s.fresh(), fmt.Sprintf("r-%d-%d", i, n)
			short, cancel := context.WithTimeout(ctx, time.Duration(n)*shortLife)
			winner, err := p.ids.PutIfAbsent(short, p.issuer, p.owner, p.name, id)
			read, readErr := other.ids.ID(short, other.issuer, other.owner, other.name)
			cancel()
			switch {
			case err == nil && winner != id:
				return fmt.Errorf("PutIfAbsent returns %.40q, although nobody else puts an id there", winner)
			case readErr == nil && read != "another's":
				return fmt.Errorf("ID returns %.40q, want %.40q", read, "another's")
			}
			if err := p.puts(ctx, id, id); err != nil {
				return fmt.Errorf("after calls whose contexts have ended: %w", err)
			}
		}
		return nil
	})
}

// race runs prepare, then lets racers put one id each, and expects them to
// agree.
func (p slot) race(ctx context.Context, prepare func() error) error {
	winners := make([]string, racers)
	if err := together(racers, func(i int) (err error) {
		if err := prepare(); err != nil {
			return err
		}
		runtime.Gosched() // lets others run in between
		winners[i], err = p.ids.PutIfAbsent(ctx, p.issuer, p.owner, p.name, fmt.Sprint("of racer ", i))
		return err
	}); err != nil {
		return err
	}
	for i, w := range winners {
		if w != winners[0] || w == "" {
			return fmt.Errorf("racer %d was told that %q is stored, racer 0 that %q is", i, w, winners[0])
		}
	}
	return p.holds(ctx, winners[0])
}

func idWinnerCase(ctx context.Context, s *idsRun) error {
	for range raceRounds {
		if err := s.fresh().race(ctx, func() error { return nil }); err != nil {
			return err
		}
	}
	return nil
}

func idDropRaceCase(ctx context.Context, s *idsRun) error {
	for range 4 * raceRounds {
		p := s.fresh()
		if err := p.puts(ctx, "stale", "stale"); err != nil {
			return err
		}
		if err := p.race(ctx, func() error { return p.ids.Drop(ctx, p.issuer, p.owner, p.name, "stale") }); err != nil {
			return err
		}
	}
	return nil
}

func idNeighboursCase(ctx context.Context, s *idsRun) error {
	for range raceRounds / 5 { // each puts many ids
		as := s.issuer()
		at := func(i int) slot { return s.slot(as, "alice", fmt.Sprint("photo ", i)) }
		if err := together(racers, func(i int) error { return at(i).puts(ctx, fmt.Sprint("r-", i), fmt.Sprint("r-", i)) }); err != nil {
			return err
		}
		for i := range racers {
			if err := at(i).holds(ctx, fmt.Sprint("r-", i)); err != nil {
				return fmt.Errorf("after others have been put elsewhere: %w", err)
			}
		}
	}
	return nil
}

func idLeavingCase(ctx context.Context, s *idsRun) error {
	p := s.fresh()
	return steps(
		func() error {
			return leaving(ctx, func(ctx context.Context) error { return p.puts(ctx, "r-1", "r-1") })
		},
		func() error { return stays(func() error { return p.holds(ctx, "r-1") }) },
	)
}

func idRaceCase(ctx context.Context, s *idsRun) error {
	places := []slot{s.fresh(), s.fresh(), s.fresh()}
	return together(racers, func(i int) error {
		for n := range counts {
			p, id := places[(i+n)%len(places)], fmt.Sprint("r-", i, ".", n)
			kept, err := p.ids.PutIfAbsent(ctx, p.issuer, p.owner, p.name, id)
			_, idErr := p.ids.ID(ctx, p.issuer, p.owner, p.name)
			var dropErr error
			if n%10 == 0 {
				dropErr = p.ids.Drop(ctx, p.issuer, p.owner, p.name, kept)
			}
			if err := errors.Join(err, idErr, dropErr); err != nil {
				return err
			}
		}
		return nil
	})
}
