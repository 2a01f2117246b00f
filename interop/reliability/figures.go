package reliability

import (
	"math"
	"slices"
	"sync"
	"time"
)

// figures collects the figures of a run. It is safe for concurrent use.
type figures struct {
	mu  sync.Mutex
	all []Figure
}

func (f *figures) add(one Figure) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.all = append(f.all, one)
}

func (f *figures) list() []Figure {
	f.mu.Lock()
	defer f.mu.Unlock()
	return slices.Clone(f.all)
}

// count adds a number that has a limit.
func (r *Run) count(name string, value int, rule Rule, limit int) {
	r.figures.add(Figure{Name: name, Value: float64(value), Rule: rule, Limit: float64(limit)})
}

// took adds a time that may not be longer.
func (r *Run) took(name string, value, limit time.Duration) {
	r.figures.add(Figure{Name: name, Value: milliseconds(value), Unit: "ms", Rule: AtMost, Limit: milliseconds(limit)})
}

// show adds a figure without a limit.
func (r *Run) show(name string, value float64, unit string) {
	r.figures.add(Figure{Name: name, Value: value, Unit: unit})
}

func milliseconds(d time.Duration) float64 {
	return math.Round(float64(d)/float64(time.Millisecond)*100) / 100
}

// latencies collects how long answers took. It is safe for concurrent use.
type latencies struct {
	mu  sync.Mutex
	all []time.Duration
}

func (l *latencies) add(d time.Duration) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.all = append(l.all, d)
}

func (l *latencies) len() int {
	l.mu.Lock()
	defer l.mu.Unlock()
	return len(l.all)
}

// percentile returns the time that p of 100 answers did not exceed. 100 is the
// slowest.
func (l *latencies) percentile(p float64) time.Duration {
	return percentile(l.inOrder(), p)
}

// typical is percentile for what usually happens: that of every few answers that
// came one after the other, and of these the middle one. A moment in which the
// machine stands still is in one of them, whatever it does to percentile.
func (l *latencies) typical(p float64, few int) time.Duration {
	var each []time.Duration
	for part := range slices.Chunk(l.inOrder(), few) {
		if len(part) == few || len(each) == 0 {
			each = append(each, percentile(part, p))
		}
	}
	return percentile(each, 50)
}

// inOrder returns a copy of the times in the order of the answers.
func (l *latencies) inOrder() []time.Duration {
	l.mu.Lock()
	defer l.mu.Unlock()
	return slices.Clone(l.all)
}

// percentile sorts all.
func percentile(all []time.Duration, p float64) time.Duration {
	if len(all) == 0 {
		return 0
	}
	slices.Sort(all)
	i := int(math.Ceil(p/100*float64(len(all)))) - 1
	return all[max(0, min(i, len(all)-1))]
}
