package bench

import (
	"slices"
	"sync"
	"testing"

	"example.com/gatehouse/internal/paired"
)

// TestSubjects: what is measured does what it says, also under the race detector
// and with several requests at once.
func TestSubjects(t *testing.T) {
	s := newSite(t)
	const copies = 4
	var wg sync.WaitGroup
	for range copies {
		for _, one := range slices.Concat(sessionSubjects(t, s), optionalSubjects(s), hotSubjects(t)) {
			wg.Go(func() {
				for range one.requests {
					one.once()
				}
				one.check(t)
			})
		}
	}
	wg.Wait()
	flat, _ := flatSubjects(t, 2*fewPhotos)
	for _, one := range slices.Concat(signInSubjects(t, s), challengeSubjects(t), flat) {
		one.Run(new(paired.Watch), 3)
	}
	if v := s.op.Violations(); len(v) != 0 {
		t.Errorf("the provider saw %q", v)
	}
}
