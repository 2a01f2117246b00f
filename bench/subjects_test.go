package bench

import (
	"slices"
	"sync"
	"testing"

	"github.com/go-jose/go-jose/v4"

	"example.com/gatehouse/bench/paired"
)

// TestSubjects: what is measured works, also under the race detector and with
// several requests at once.
func TestSubjects(t *testing.T) {
	s, n := newSite(t), newNotary(t)
	const copies = 4
	var wg sync.WaitGroup
	for range copies {
		for _, one := range slices.Concat(sessionSubjects(t, s), optionalSubjects(s), hotSubjects(t), n.seenSubjects(t, jose.ES256, true), n.hitSubjects(t)) {
			wg.Go(func() {
				for range one.requests {
					one.once()
				}
				one.check(t)
			})
		}
	}
	wg.Wait()
	list := slices.Concat(signInSubjects(t, s), liveSubjects(t), idTokenSubjects(t), challengeSubjects(t), n.firstSubjects(t, jose.EdDSA, false),
		n.missSubjects(t), n.dpopSubjects(t), n.coresSubjects(t, jose.EdDSA))
	many, _ := n.manySubjects(t, 2*fewPhotos)
	list = append(list, many...)
	for _, group := range flatGroups() {
		flat, _ := group.make(t, 2*fewPhotos)
		list = append(list, flat...)
	}
	for _, one := range list {
		one.Run(new(paired.Watch), 3)
	}
	if v := s.op.Violations(); len(v) != 0 {
		t.Errorf("the provider saw %q", v)
	}
}
