//go:build !race

package bench

import (
	"flag"
	"testing"

	"example.com/gatehouse/bench/paired"
)

var rounds = flag.Int("rounds", 40, "rounds of a measurement; a limit that does not hold is tried again with more")

// tries is how often a limit may fail before the test does.
const tries = 3

// These ratios mean nothing under the race detector; TestSubjects runs there.
func TestRatios(t *testing.T) {
	s := newSite(t)
	for _, group := range []struct {
		list   []*subject
		limits []paired.Limit
		peers  []string
	}{
		{sessionSubjects(t, s), sessionLimits(), []string{scsGob, decodedMap, withoutIdle}},
		{optionalSubjects(s), optionalLimits(), []string{bare}},
	} {
		table := hold(t, subjects(t, group.list...), group.limits, group.peers...)
		if table == nil {
			continue
		}
		if row, err := table.Row(withIdle); err == nil && row.Allocs > maxSignedInAllocs {
			t.Errorf("a signed-in request has %v allocations; stated are at most %d", row.Allocs, maxSignedInAllocs)
		}
		for _, one := range group.list {
			one.check(t)
		}
	}
	hold(t, signInSubjects(t, s), signInLimits(), signature)
}

func TestIDTokenRatio(t *testing.T) {
	hold(t, idTokenSubjects(t), idTokenLimits(), bareVerify)
}

func hold(t *testing.T, list []paired.Subject, limits []paired.Limit, peers ...string) *paired.Table {
	t.Helper()
	table, err := paired.Hold(*rounds, tries, list, limits)
	if table != nil {
		t.Log("\n" + table.Markdown(peers...))
	}
	if err != nil {
		t.Error(err)
	}
	return table
}
