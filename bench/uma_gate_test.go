//go:build !race

package bench

import (
	"testing"

	"example.com/gatehouse/bench/paired"
)

func TestUMARatios(t *testing.T) {
	list := hotSubjects(t)
	table := hold(t, subjects(t, list...), hotLimits(), hotFloor)
	for _, one := range list {
		one.check(t)
	}
	if row, err := table.Row(hotRules); err != nil || row.Allocs > maxHotAllocs {
		t.Errorf("%v allocations, %v; stated are at most %d", row.Allocs, err, maxHotAllocs)
	}
	hold(t, challengeSubjects(t), challengeLimits(), barePost)
	for _, group := range flatGroups() {
		t.Run(group.name, func(t *testing.T) {
			list, each := group.make(t, manyPhotos)
			hold(t, list, group.limits, group.peers...)
			t.Logf("%.0f bytes of the heap for each RPT (0: there are none)", each)
			if each > maxRPTBytes*paired.Slack {
				t.Errorf("%.0f bytes for each RPT, stated are at most %d", each, maxRPTBytes)
			}
		})
	}
}
