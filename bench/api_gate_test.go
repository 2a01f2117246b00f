//go:build !race

package bench

import (
	"flag"
	"runtime"
	"testing"
	"time"

	"github.com/go-jose/go-jose/v4"

	"example.com/gatehouse/bench/paired"
)

var allPeers = flag.Bool("peers", false, "measure the APIs with access tokens beside every peer, also those without a limit")

// TestAPISeenRatios: a request with a token that was accepted before.
func TestAPISeenRatios(t *testing.T) {
	n := newNotary(t)
	for _, alg := range algorithms {
		t.Run(string(alg), func(t *testing.T) {
			list := n.seenSubjects(t, alg, *allPeers)
			table := hold(t, subjects(t, list...), seenLimits(alg), apiFloorName, peerGolangJWT)
			for _, one := range list {
				one.check(t)
			}
			if row, err := table.Row(apiSeen); err != nil || row.Allocs > maxSeenAllocs {
				t.Errorf("%v allocations, %v; stated are at most %d", row.Allocs, err, maxSeenAllocs)
			}
		})
	}
}

// TestAPICoresRatios: the same on two cores at once.
func TestAPICoresRatios(t *testing.T) {
	n := newNotary(t)
	for _, alg := range algorithms {
		t.Run(string(alg), func(t *testing.T) {
			hold(t, n.coresSubjects(t, alg), seenLimits(alg), apiFloorName, peerGolangJWT)
		})
	}
}

// TestAPIManyRatios: many tokens cost little more than one.
func TestAPIManyRatios(t *testing.T) {
	list, each := newNotary(t).manySubjects(t, manyHolders)
	hold(t, list, manyLimits(), apiOne, apiFloorMany, apiFloorOne)
	t.Logf("%.0f bytes of the heap for each token", each)
	if each > maxTokenBytes {
		t.Errorf("%.0f bytes for each token, stated are at most %d", each, maxTokenBytes)
	}
}

// TestAPIFirstRatios: a token that was never seen before, and one that is no
// good.
func TestAPIFirstRatios(t *testing.T) {
	n := newNotary(t)
	for _, alg := range algorithms {
		t.Run(string(alg), func(t *testing.T) {
			table := hold(t, n.firstSubjects(t, alg, *allPeers), firstLimits(alg), bareSignature, peerGolangJWT)
			if alg == jose.RS256 && table != nil {
				checkBearerCost(t, table)
			}
		})
	}
}

// checkBearerCost holds G10: what one access token of RS256 costs at first sight,
// and one that is malformed. The times are wide bounds for any machine of today.
func checkBearerCost(t *testing.T, table *paired.Table) {
	t.Helper()
	for _, g10 := range []struct {
		subject string
		allocs  float64
		micros  float64
	}{{apiFirst, 60, 120}, {checkMalform, 60, 10}} {
		row, err := table.Row(g10.subject)
		if err != nil || row.Allocs > g10.allocs || row.Micros().Median > g10.micros {
			t.Errorf("G10, %s: %v allocations, %v µs, %v; promised are at most %v and %v µs", g10.subject, row.Allocs, row.Micros(), err, g10.allocs, g10.micros)
		}
	}
}

// TestAPIOpaqueRatios: tokens that only the authorization server can read.
func TestAPIOpaqueRatios(t *testing.T) {
	n := newNotary(t)
	hold(t, n.missSubjects(t), missLimits(), bareForm)
	list := n.hitSubjects(t)
	hold(t, subjects(t, list...), hitLimits(), bareAPI)
	for _, one := range list {
		one.check(t)
	}
}

// TestAPIDPoPRatios: a token that is bound to a key, with its proof.
func TestAPIDPoPRatios(t *testing.T) {
	hold(t, newNotary(t).dpopSubjects(t), dpopLimits(), dpopFloor)
}

// TestAPIFlood: bad tokens on one core leave the slowest of the good requests on
// the other nearly as quick as bare signature checks there do.
func TestAPIFlood(t *testing.T) {
	f := newNotary(t).flood(t, badTokens)
	defer runtime.GOMAXPROCS(runtime.GOMAXPROCS(2))
	const blocks = 20
	for try := 1; ; try++ {
		var calm, flooded []time.Duration
		for range blocks {
			calm = append(calm, f.beside(badTokens/blocks, f.check)...)
			flooded = append(flooded, f.beside(badTokens/blocks, f.bad.once)...)
		}
		ratio := float64(p99(flooded)) / float64(p99(calm))
		t.Logf("p99 of good requests: %v beside bare signature checks, %v beside %d bad tokens, %.2f times", p99(calm), p99(flooded), badTokens, ratio)
		if ratio <= floodCost {
			break
		}
		if try == tries {
			t.Errorf("%.2f times, stated is at most %d", ratio, floodCost)
			break
		}
	}
	if f.bad.served > 0 {
		t.Errorf("%d bad tokens were accepted", f.bad.served)
	}
	f.good.check(t)
}
