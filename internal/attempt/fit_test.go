package attempt_test

import (
	"slices"
	"strings"
	"testing"
	"time"

	"example.com/gatehouse/internal/attempt"
)

// tabs are attempts that a browser holds, oldest first, a second apart.
func tabs(t *testing.T, n, path, scopes int) (have []attempt.Sealed) {
	t.Helper()
	for i := range n {
		a := attempt.New(now.Add(time.Duration(i) * time.Second))
		a.From, a.Asked, a.ReturnTo = []byte("87654321"), []byte("12345678"), "/"+strings.Repeat("p", path-1)
		a.Scopes = strings.Repeat("s", scopes)
		s := attempt.Sealed{Name: "__Host-gh-12345678-" + a.State()[:8], Attempt: a}
		s.Binding = "b " + s.Name
		s.Value = a.Seal(ring(t, "k"), s.Binding)
		have = append(have, s)
	}
	return have
}

// Attempts are brought under a bound: what cannot be opened goes first, then the
// oldest lose their path, then their scopes, and then they go.
func TestFit(t *testing.T) {
	const room = 6 << 10
	for _, c := range []struct {
		name                  string
		n, path, scopes, dead int
		kept, paths, scoped   int // of the attempts, newest first
	}{
		{"eight whole", 8, 256, 0, 0, 8, 8, 0},
		{"eight with long scopes", 8, 256, 400, 0, 8, 8, 0}, // Seal has dropped the scopes
		{"eight with scopes", 8, 256, 150, 0, 8, 8, 8},
		{"two dozen", 24, 256, 0, 0, 24, 6, 0},
		{"two dozen with the longest paths", 24, 2000, 0, 0, 24, 0, 0},
		{"two dozen with scopes", 24, 40, 200, 0, 24, 0, 8},
		{"forty", 40, 256, 0, 0, 38, 0, 0},
		{"beside dead ones", 8, 256, 0, 20, 8, 8, 0},
		{"none", 0, 1, 0, 0, 0, 0, 0},
		{"dead ones alone", 0, 1, 0, 30, 0, 0, 0},
	} {
		t.Run(c.name, func(t *testing.T) {
			have := tabs(t, c.n, c.path, c.scopes)
			newest := slices.Clone(have)
			slices.Reverse(newest)
			for _, s := range tabs(t, c.dead, 256, 0) {
				have = append(have, attempt.Sealed{Name: s.Name, Value: s.Value})
			}
			slices.SortFunc(have, func(x, y attempt.Sealed) int { return strings.Compare(x.Name, y.Name) })
			all := len(have)
			changed, gone := attempt.Fit(ring(t, "k"), have, room)
			left, size := map[string]*attempt.Attempt{}, 0
			for _, s := range have {
				left[s.Name] = nil
			}
			for _, s := range gone {
				delete(left, s.Name)
			}
			values := map[string]string{}
			for _, s := range append(slices.Clone(have), changed...) {
				values[s.Name] = s.Value
			}
			for name := range left {
				size += attempt.Sealed{Name: name, Value: values[name]}.Size()
				left[name], _ = attempt.Open(ring(t, "k"), "b "+name, values[name])
			}
			if size > room || len(left)+len(gone) != all {
				t.Errorf("%d of %d are left, with %d bytes", len(left), all, size)
			}
			for i, s := range newest {
				got, has := left[s.Name]
				if has != (i < c.kept) {
					t.Fatalf("%d: is left %v", i, has)
				}
				if has && (got.State() != s.Attempt.State() || (got.ReturnTo != "") != (i < c.paths) || c.scopes < 300 && (got.Scopes != "") != (i < c.scoped)) {
					t.Errorf("%d: path of %d, scopes of %d", i, len(got.ReturnTo), len(got.Scopes))
				}
			}
		})
	}
}
