package attempt

import (
	"slices"
	"time"

	"example.com/gatehouse/internal/seal"
)

// Sealed is an attempt as a browser brings it: a value under a name.
type Sealed struct {
	Name, Value string
	Binding     string   // that of [Attempt.Seal]
	Attempt     *Attempt // nil if it was not opened or cannot be
}

// Size is what it takes in a Cookie header, in bytes.
func (s Sealed) Size() int { return len(s.Name) + len("=") + len(s.Value) + len("; ") }

// begin is the zero time for what cannot be opened, so that it counts as the
// oldest.
func (s Sealed) begin() time.Time {
	if s.Attempt == nil {
		return time.Time{}
	}
	return s.Attempt.Begin
}

// Fit brings the opened attempts of a browser down to room bytes. What cannot be
// opened goes first. Then the oldest lose their return path, and their scopes,
// acr_values and parameters if that is not enough, and then they go.
func Fit(ring *seal.Ring, have []Sealed, room int) (changed, gone []Sealed) {
	slices.SortStableFunc(have, func(x, y Sealed) int { return y.begin().Compare(x.begin()) })
	size, opened := 0, 0 // opened: of those that can be
	for _, s := range have {
		if size += s.Size(); s.Attempt != nil {
			opened++
		}
	}
	for ; size > room && len(have) > opened; have = have[:len(have)-1] {
		size -= have[len(have)-1].Size()
		gone = append(gone, have[len(have)-1])
	}
	shorter := make([]bool, len(have))
	for range 2 {
		for i := opened - 1; i >= 0 && size > room; i-- {
			before := have[i].Size()
			if have[i].shorten(ring) {
				size, shorter[i] = size-before+have[i].Size(), true
			}
		}
	}
	for ; size > room && len(have) > 0; have = have[:len(have)-1] {
		size -= have[len(have)-1].Size()
		gone = append(gone, have[len(have)-1])
	}
	for i := range have {
		if shorter[i] {
			changed = append(changed, have[i])
		}
	}
	return changed, gone
}

// shorten leaves out the return path, or the scopes, acr_values and parameters if
// there is no path any more. It reports whether that has made the value shorter.
func (s *Sealed) shorten(ring *seal.Ring) bool {
	less := *s.Attempt
	if less.ReturnTo != "" {
		less.ReturnTo = ""
	} else {
		less.Params, less.Scopes, less.ACR = "", "", ""
	}
	value := less.Seal(ring, s.Binding)
	if len(value) >= len(s.Value) {
		return false
	}
	s.Value, s.Attempt = value, &less
	return true
}
