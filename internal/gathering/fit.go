package gathering

import (
	"slices"
	"time"
)

// Sealed is a visit as a browser brings it: a value under a name.
type Sealed struct {
	Name, Value string
	Gathering   *Gathering // nil if it cannot be opened
}

// size is what it takes in a Cookie header, in bytes.
func (s Sealed) size() int { return len(s.Name) + len("=") + len(s.Value) + len("; ") }

// begin is the zero time for what cannot be opened, so that it counts as the
// oldest.
func (s Sealed) begin() time.Time {
	if s.Gathering == nil {
		return time.Time{}
	}
	return s.Gathering.begin
}

// Follow makes g the next visit after those for the same request that ended well
// a moment ago, if there are any. It returns them, because g counts them.
func (g *Gathering) Follow(have []Sealed, now time.Time) (counted []Sealed) {
	for _, s := range have {
		before := s.Gathering
		if before == nil || !before.Done || !before.same(g) {
			continue
		}
		counted = append(counted, s)
		if now.Before(before.begin.Add(Linger)) {
			g.Rounds = max(g.Rounds, before.Rounds+1)
		}
	}
	return counted
}

// Fit returns which visits of a browser have to go, the oldest first, so that the
// new one fits within [Room].
func Fit(have []Sealed, add Sealed) (gone []Sealed) {
	have = slices.Clone(have)
	slices.SortStableFunc(have, func(x, y Sealed) int { return y.begin().Compare(x.begin()) })
	size := add.size()
	for _, s := range have {
		size += s.size()
	}
	for ; size > Room && len(have) > 0; have = have[:len(have)-1] {
		last := have[len(have)-1]
		size -= last.size()
		gone = append(gone, last)
	}
	return gone
}
