package middlewaretest

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"testing"
	"time"

	"example.com/gatehouse"
)

// TestGrantStore checks that a store meets the contract of
// [gatehouse.GrantStore]. Each part of the contract is a subtest, and a failure
// says what goes wrong with owners' grants if the part does not hold. open
// opens the store once. Issuers and owners are random, so the store need not be
// empty. Run it with the race detector.
func TestGrantStore(t *testing.T, open func(t *testing.T) gatehouse.GrantStore, options ...StoreOption) {
	t.Helper()
	s := &grantRun{open(t), newSuite(options...)}
	check(t, s.suite, s, grantParts(), nil)
}

// decades is longer than any session. A fact must outlast it.
const decades = 30 * 365 * 24 * time.Hour

// grantRun is one run of the suite.
type grantRun struct {
	gatehouse.GrantStore
	*suite
}

// cell is the grant of an owner.
func (s *grantRun) cell(issuer, owner string) cell { return grantCell(s.GrantStore, issuer, owner) }

func grantCell(store gatehouse.GrantStore, issuer, owner string) cell {
	return cell{
		func(ctx context.Context) ([]byte, error) { return store.Grant(ctx, issuer, owner) },
		func(ctx context.Context, old, new []byte) (bool, error) {
			return store.SwapGrant(ctx, issuer, owner, old, new)
		},
	}
}

func (s *suite) issuer() string { return "https://as.example.org/" + s.key() }

// fresh is the grant of an owner who has none.
func (s *grantRun) fresh() cell { return s.cell(s.issuer(), "owner") }

// grantParts lists the contract of gatehouse.GrantStore.
func grantParts() []part[*grantRun] {
	return []part[*grantRun]{
		{"absent", "an owner who has not agreed yet has no grant, and that is not an error", nil, noGrantCase},
		{"swap creates", "of two simultaneous sign-ins one creates the grant, and the other must see it", nil, newGrantCase},
		{"swap replaces", "a slow renewal must not overwrite the refresh token of a later one", nil, nextGrantCase},
		{"swap deletes", "deleting an old grant must not delete the one that a new sign-in has put there", nil, lostGrantCase},
		{"swap is repeated", "clients repeat a command when its reply was lost (false would throw away a good refresh token)", nil, sameGrantCase},
		{"owners apart", "one person's tokens must never act for another, nor at another server", nil, ownersCase},
		{"bytes", "grants are any bytes", nil, grantBytesCase},
		{"size", "some servers issue tokens of many kilobytes", nil, grantSizeCase},
		{"own copies", "a caller may change its slices afterwards", nil, grantCopiesCase},
		{"what was read stays", "a renewal compares the grant as it read it, minutes later", nil, grantReadCase},
		{"nothing expires", "an owner may be away for years", hasClock, grantAgeCase},
		{"one creates", "only one of many replicas holds the lease", nil, func(ctx context.Context, s *grantRun) error { return oneCreates(ctx, s.fresh) }},
		{"one replaces", "only one of many replicas renews a grant", nil, func(ctx context.Context, s *grantRun) error { return oneReplaces(ctx, s.fresh) }},
		{"one ends", "a person who forgets a grant must not delete a newer one, nor see it come back", nil, func(ctx context.Context, s *grantRun) error { return oneEnds(ctx, s.fresh) }},
		{"neighbours", "owners who agree at the same moment must not undo each other", nil, func(ctx context.Context, s *grantRun) error { return allStay(ctx, s.fresh) }},
		{"never away", "a replica that reads while another writes must not find that the owner has not agreed", nil,
			func(ctx context.Context, s *grantRun) error { return neverAway(ctx, s.fresh) }},
		{"no lost update", "a replica that loses must know it, or a rotating refresh token is sent twice", nil,
			func(ctx context.Context, s *grantRun) error { return s.noUpdateLost(ctx, s.fresh) }},
		{"no lost update with lost replies", "a repeated command neither fails nor counts twice", nil,
			func(ctx context.Context, s *grantRun) error { return noUpdateLostWithReplies(ctx, s.fresh) }},
		{"all at once", "all methods are called at the same time", nil, grantRaceCase},
		{"cancelled context", "a request whose client has left must not wait", nil, func(ctx context.Context, s *grantRun) error {
			return steps(func() error { return s.endsWithContext(ctx, s.calls()) }, func() error { return s.works(ctx) })
		}},
		{"the caller leaves", "a grant outlives the request that brought it", nil, func(ctx context.Context, s *grantRun) error { return outlivesCaller(ctx, s.fresh) }},
		{"deadline", "the reply to a call that was given up must never be taken for that of the next", nil,
			func(ctx context.Context, s *grantRun) error { return givesUp(ctx, s.fresh) }},
		{"hang", "strangers are answered 503 when the store hangs, and served when it is back", nil,
			func(ctx context.Context, s *grantRun) error { return s.hangs(ctx, s.calls(), s.works) }},
		{"two processes", "replicas are processes", isShared, grantProcessCase},
		{"at once on all", "a refresh token that one replica has used must not be sent by another", isShared, grantAtOnceCase},
		{"a process dies", "a replica that is killed in the middle of a renewal must leave neither a lock nor half a value behind", isShared, grantDeathCase},
	}
}

func (s *grantRun) calls() []call {
	c := s.fresh()
	return []call{
		{"Grant", func(ctx context.Context) error { _, err := c.read(ctx); return err }},
		{"SwapGrant", func(ctx context.Context) error { _, err := c.swap(ctx, nil, []byte("a")); return err }},
	}
}

// works expects a store to work again after it was in trouble.
func (s *grantRun) works(ctx context.Context) error {
	return s.fresh().swaps(ctx, nil, []byte("and the store works on"), true, []byte("and the store works on"))
}

func noGrantCase(ctx context.Context, s *grantRun) error {
	c := s.fresh()
	return steps(
		func() error { return c.holds(ctx, nil) },
		func() error { return c.swaps(ctx, []byte("old"), []byte("new"), false, nil) },
		func() error { return c.swaps(ctx, nil, nil, true, nil) },
		func() error { return c.swaps(ctx, []byte("old"), nil, true, nil) },
	)
}

func newGrantCase(ctx context.Context, s *grantRun) error {
	c := s.fresh()
	return steps(
		func() error { return c.swaps(ctx, nil, []byte("mine"), true, []byte("mine")) },
		func() error { return c.swaps(ctx, nil, []byte("yours"), false, []byte("mine")) },
		func() error { return c.swaps(ctx, nil, nil, false, []byte("mine")) },
		func() error { return c.swaps(ctx, []byte("mine"), []byte("theirs"), true, []byte("theirs")) },
		func() error { return c.swaps(ctx, nil, []byte("mine"), false, []byte("theirs")) }, // it was once
	)
}

func nextGrantCase(ctx context.Context, s *grantRun) error {
	c := s.fresh()
	return steps(
		func() error { return c.swaps(ctx, nil, []byte("a"), true, []byte("a")) },
		func() error { return c.swaps(ctx, []byte("x"), []byte("b"), false, []byte("a")) },
		func() error { return c.swaps(ctx, []byte("a "), []byte("b"), false, []byte("a")) },
		func() error { return c.swaps(ctx, []byte("A"), []byte("b"), false, []byte("a")) },
		func() error { return c.swaps(ctx, []byte("a"), []byte("b"), true, []byte("b")) },
		func() error { return c.swaps(ctx, []byte("a"), []byte("c"), false, []byte("b")) },
		func() error { return c.swaps(ctx, []byte("b"), []byte("c"), true, []byte("c")) },
		func() error { return c.swaps(ctx, []byte("a"), []byte("b"), false, []byte("c")) }, // it was once
	)
}

func lostGrantCase(ctx context.Context, s *grantRun) error {
	c := s.fresh()
	return steps(
		func() error { return c.swaps(ctx, nil, []byte("a"), true, []byte("a")) },
		func() error { return c.swaps(ctx, []byte("x"), nil, false, []byte("a")) },
		func() error { return c.swaps(ctx, []byte("a"), nil, true, nil) },
		func() error { return c.swaps(ctx, nil, []byte("b"), true, []byte("b")) },
		func() error { return c.swaps(ctx, []byte("a"), nil, false, []byte("b")) }, // it was once
	)
}

func sameGrantCase(ctx context.Context, s *grantRun) error {
	c := s.fresh()
	var all []func() error
	for _, step := range [][2][]byte{{nil, []byte("a")}, {[]byte("a"), []byte("b")}, {[]byte("another"), []byte("b")}, {[]byte("b"), nil}} {
		for range 2 {
			all = append(all, func() error { return c.swaps(ctx, step[0], step[1], true, step[1]) })
		}
	}
	return steps(all...)
}

// apart are pairs of texts that a store might confuse when they are joined,
// cut, folded, trimmed or normalised.
func (s *suite) apart() [][2]string {
	as, k := s.issuer(), s.key()
	pairs := [][2]string{{as, ""}, {as + "/", ""}, {as, "/"}, {as + "1", "2"}, {as, "12"}, {as + "12", ""}}
	for _, owner := range []string{"alice", "Alice", "alice ", " alice", "alice\n", "a:b", "a/b", "a b", "a|b", "é", "e\u0301", "alice'--", `"alice"`, "%61lice", "ali%", "a_ice", "*", "-", "0", "00", "1e0"} {
		pairs = append(pairs, [2]string{as, owner + k}, [2]string{as, k + owner})
	}
	long := k
	for len(long) < 255 {
		long += k
	}
	return append(pairs, [2]string{as, long[:255]}, [2]string{as, long[:254] + "!"}, [2]string{as, long[:254]})
}

func ownersCase(ctx context.Context, s *grantRun) error {
	pairs := s.apart()
	for i, p := range pairs {
		value := fmt.Appendf(nil, "grant %d", i)
		if err := s.cell(p[0], p[1]).swaps(ctx, nil, value, true, value); err != nil {
			return fmt.Errorf("issuer %q, owner %q: %w", p[0], p[1], err)
		}
	}
	for i, p := range pairs {
		if err := s.cell(p[0], p[1]).holds(ctx, fmt.Appendf(nil, "grant %d", i)); err != nil {
			return fmt.Errorf("issuer %q, owner %q: %w", p[0], p[1], err)
		}
	}
	return nil
}

func grantBytesCase(ctx context.Context, s *grantRun) error {
	every := make([]byte, 0, 256)
	for i := range 256 {
		every = append(every, byte(i))
	}
	c := s.fresh()
	var last []byte
	for _, value := range [][]byte{every, {0}, {0, 'a'}, {'a', 0}, []byte("\xff\xfe"), []byte(`'"\%_`), []byte("{}"), []byte(`{ "a":1}`), []byte(`{"a":1}`), []byte(" a ")} {
		if err := c.swaps(ctx, last, value, true, value); err != nil {
			return err
		}
		if err := c.swaps(ctx, append(bytes.Clone(value), 0), []byte("x"), false, value); err != nil {
			return fmt.Errorf("with an extra zero byte: %w", err)
		}
		last = value
	}
	return nil
}

func grantSizeCase(ctx context.Context, s *grantRun) error {
	c := s.fresh()
	large := bytes.Repeat([]byte{0xff, 0, 'a'}, storeLimit/3)
	other := bytes.Clone(large)
	other[len(other)-1]++
	return steps(
		func() error { return c.swaps(ctx, nil, large, true, large) },
		func() error { return c.swaps(ctx, other, []byte("x"), false, large) },
		func() error { return c.swaps(ctx, large, other, true, other) },
		func() error { return c.swaps(ctx, other, nil, true, nil) }, // some stores read all that they keep at each call
	)
}

func grantCopiesCase(ctx context.Context, s *grantRun) error {
	c := s.fresh()
	created, old, swapped := []byte("one"), []byte("one"), []byte("two")
	return steps(
		func() error { return c.swaps(ctx, nil, created, true, []byte("one")) },
		func() error { spoil(created); return c.holds(ctx, []byte("one")) },
		func() error { return c.swaps(ctx, old, swapped, true, []byte("two")) },
		func() error {
			if string(old) != "one" || string(swapped) != "two" {
				return errors.New("SwapGrant writes to its arguments")
			}
			spoil(swapped)
			return c.holds(ctx, []byte("two"))
		},
	)
}

func grantReadCase(ctx context.Context, s *grantRun) error {
	c := s.fresh()
	var read []byte
	return steps(
		func() error { return c.swaps(ctx, nil, []byte("one"), true, []byte("one")) },
		func() (err error) { read, err = c.read(ctx); return err },
		func() error { return c.swaps(ctx, []byte("one"), []byte("two"), true, []byte("two")) },
		func() error {
			if string(read) != "one" {
				return fmt.Errorf("the result of Grant is %s after a swap, it was %q", brief(read), "one")
			}
			return nil
		},
	)
}

func grantAgeCase(ctx context.Context, s *grantRun) error {
	c := s.fresh()
	return steps(
		func() error { return c.swaps(ctx, nil, []byte("a"), true, []byte("a")) },
		func() error { return s.pass(ctx, decades) },
		func() error { return c.holds(ctx, []byte("a")) },
	)
}

func grantRaceCase(ctx context.Context, s *grantRun) error {
	cells := []cell{s.fresh(), s.fresh(), s.fresh()}
	return together(racers, func(i int) error {
		for n := range counts {
			c, value := cells[(i+n)%len(cells)], fmt.Appendf(nil, "%d.%d", i, n)
			if n%10 == 0 {
				value = nil
			}
			old, err := c.read(ctx)
			_, swapErr := c.swap(ctx, old, value)
			if err := errors.Join(err, swapErr); err != nil {
				return err
			}
		}
		return nil
	})
}
