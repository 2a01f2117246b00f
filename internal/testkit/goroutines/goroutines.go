// Package goroutines counts what a part of a test has started and not ended.
package goroutines

import (
	"bytes"
	"context"
	"crypto/rand"
	"runtime/pprof"
	"strconv"
	"strings"
)

// label marks the goroutines of one call of [Mark].
const label = "testkit"

// Mark is a name that goroutines carry, and all that they start. So what other
// tests do at the same time is not counted.
type Mark string

// New makes a mark.
func New() Mark { return Mark(rand.Text()) }

// Do runs f under the mark.
func (m Mark) Do(ctx context.Context, f func(ctx context.Context)) {
	pprof.Do(ctx, pprof.Labels(label, string(m)), f)
}

// Left counts the goroutines that have the mark. The profile has a line "2 @ …"
// for two with the same stack and labels, and then a line of their labels.
func (m Mark) Left() (n int, err error) {
	var profile bytes.Buffer
	if err := pprof.Lookup("goroutine").WriteTo(&profile, 1); err != nil {
		return 0, err
	}
	group := 0
	for line := range strings.Lines(profile.String()) {
		if count, _, ok := strings.Cut(line, " @ "); ok {
			if group, err = strconv.Atoi(count); err != nil {
				return 0, err
			}
		}
		if strings.HasPrefix(line, "# labels:") && strings.Contains(line, strconv.Quote(string(m))) {
			n += group
		}
	}
	return n, nil
}
