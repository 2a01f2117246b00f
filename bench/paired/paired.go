// Package paired compares the costs of operations. On a shared machine, the
// speed changes by a factor of two within a minute. So two figures that are
// taken one after the other say more about the machine than about the
// operations. Here every subject runs for a short slice in turn, round after
// round, and ratios are computed inside a round.
package paired

import (
	"errors"
	"fmt"
	"math"
	"runtime"
	"runtime/debug"
	"slices"
	"sync"
	"sync/atomic"
	"time"
)

const (
	// slice is how long one subject runs before the next one. It is long
	// compared with the clock's resolution, and short compared with changes of
	// the machine's speed.
	slice = 5 * time.Millisecond
	// minHeap is the smallest heap that Go collects.
	minHeap = 4 << 20
	// maxOps bounds the operations of a slice, in case a subject costs nothing.
	maxOps = 1 << 20
	// countOps is how many operations are run to count allocations.
	countOps = 200
	// MinRounds is the smallest number of rounds that has a spread.
	MinRounds = 5
)

// Subject is an operation to measure.
type Subject struct {
	Name string
	// Run does the operation n times. Only what it does between w.Start and
	// w.Stop counts; both may be called any number of times.
	Run func(w *Watch, n int)
}

// Loop is the subject that calls op and nothing else.
func Loop(name string, op func()) Subject {
	return Subject{Name: name, Run: func(w *Watch, n int) {
		w.Start()
		for range n {
			op()
		}
		w.Stop()
	}}
}

// Crowd is the subject that calls its ops at the same time, each in a goroutine
// of its own, n times in all.
func Crowd(name string, ops ...func()) Subject {
	return Subject{Name: name, Run: func(w *Watch, n int) {
		var left atomic.Int64
		left.Store(int64(n))
		var all sync.WaitGroup
		w.Start()
		for _, op := range ops {
			all.Go(func() {
				for left.Add(-1) >= 0 {
					op()
				}
			})
		}
		all.Wait()
		w.Stop()
	}}
}

// Watch measures the processor time of a subject, or counts its allocations. It
// reads to the microsecond. Every Start and Stop costs a system call, part of
// which is counted, so run operations shorter than some 50 µs in batches. It is
// for one goroutine at a time.
type Watch struct {
	counting bool
	running  bool

	began  time.Duration
	before runtime.MemStats

	spent          time.Duration
	objects, bytes uint64
}

// Start starts the watch.
func (w *Watch) Start() {
	w.running = true
	if w.counting {
		runtime.ReadMemStats(&w.before)
	}
	w.began = spent()
}

// Stop stops the watch. It has no effect on a watch that does not run.
func (w *Watch) Stop() {
	if !w.running {
		return
	}
	w.spent += spent() - w.began
	w.running = false
	if w.counting {
		var after runtime.MemStats
		runtime.ReadMemStats(&after)
		w.objects += after.Mallocs - w.before.Mallocs
		w.bytes += after.TotalAlloc - w.before.TotalAlloc
	}
}

// Pause stops a running watch and returns a function that starts it again.
// Around work that should not count, write: defer w.Pause()()
func (w *Watch) Pause() (resume func()) {
	if !w.running {
		return func() {}
	}
	w.Stop()
	return w.Start
}

// Measure runs the subjects in turn for a number of rounds, at least MinRounds,
// and returns what they cost. It takes over the whole process: in the meantime
// GOMAXPROCS is 1, the collector is off, and nothing else should run. Names
// must differ.
func Measure(rounds int, subjects ...Subject) (*Table, error) {
	if rounds < MinRounds {
		return nil, fmt.Errorf("paired: %d rounds, want at least %d", rounds, MinRounds)
	}
	defer runtime.GOMAXPROCS(runtime.GOMAXPROCS(1))
	t := &Table{rows: make([]Row, len(subjects))}
	ops := make([]int, len(subjects))
	for i, s := range subjects {
		if _, twice := t.row(s.Name); twice {
			return nil, fmt.Errorf("paired: two subjects are called %q", s.Name)
		}
		t.rows[i].Name = s.Name
		ops[i] = calibrate(s)
		n := min(ops[i], countOps)
		w := Watch{counting: true}
		s.Run(&w, n)
		t.rows[i].Allocs = math.Round(float64(w.objects) / float64(n))
		t.rows[i].Bytes = math.Round(float64(w.bytes) / float64(n))
	}
	defer debug.SetGCPercent(debug.SetGCPercent(-1))
	for round := range rounds {
		if err := t.round(subjects, ops, round%2 == 1); err != nil {
			return nil, err
		}
	}
	return t, nil
}

// round gives every subject its slice, in their order or against it.
func (t *Table) round(subjects []Subject, ops []int, backwards bool) error {
	spentOn := make([]time.Duration, len(subjects))
	var collector float64 // ns for each byte allocated, summed up over the round
	for k := range subjects {
		i := k
		if backwards { // so that no subject always runs after the same one
			i = len(subjects) - 1 - k
		}
		collector += collect()
		var w Watch
		subjects[i].Run(&w, ops[i])
		if w.running || w.spent <= 0 {
			return fmt.Errorf("paired: %q did not start its watch and stop it", subjects[i].Name)
		}
		spentOn[i] = w.spent
	}
	for i := range subjects {
		row := &t.rows[i]
		own := float64(spentOn[i]) / float64(ops[i])
		row.nanos = append(row.nanos, own+row.Bytes*collector/float64(len(subjects)))
	}
	return nil
}

// collect frees unused memory, and returns what the collector costs for each
// byte that is allocated. With Go's default (GOGC=100), a collection comes when
// the heap has doubled, or has reached minHeap.
func collect() float64 {
	began := spent()
	runtime.GC()
	took := spent() - began
	var after runtime.MemStats
	runtime.ReadMemStats(&after)
	return float64(took) / float64(max(after.HeapAlloc, minHeap))
}

// calibrate finds how many operations fill a slice, including the time that the
// watch leaves out. The quicker of two tries counts, because something may have
// interrupted the other.
func calibrate(s Subject) int {
	for n := 1; ; n *= 2 {
		took := min(effort(s, n), effort(s, n))
		if took > slice/2 || n >= maxOps {
			return min(max(1, int(float64(n)*float64(slice)/float64(took))), maxOps)
		}
	}
}

func effort(s Subject, n int) time.Duration {
	began := spent()
	s.Run(new(Watch), n)
	return max(spent()-began, time.Nanosecond)
}

// Limit is a stated ratio: Subject costs at most AtMost times what Peer costs.
type Limit struct {
	Subject, Peer string
	AtMost        float64
}

// Slack is how far a ratio may exceed the stated one before Hold reports it:
// figures differ between machines.
const Slack = 1.25

// Hold measures until all limits hold within Slack. After a run in which one
// does not, it tries again, tries times in all and each time with twice the
// rounds. The error names the limits that the last run broke. The table is that
// of the last run.
func Hold(rounds, tries int, subjects []Subject, limits []Limit) (*Table, error) {
	for {
		t, err := Measure(rounds, subjects...)
		if err != nil {
			return nil, err
		}
		broken := t.broken(limits)
		if tries--; broken == nil || tries <= 0 {
			return t, broken
		}
		rounds *= 2
	}
}

func (t *Table) broken(limits []Limit) error {
	var errs []error
	for _, l := range limits {
		got, err := t.Ratio(l.Subject, l.Peer)
		if err == nil && !(got.Median <= l.AtMost*Slack) {
			err = fmt.Errorf("paired: %s costs %s times %s, stated is at most %.3g", l.Subject, got, l.Peer, l.AtMost)
		}
		errs = append(errs, err)
	}
	return errors.Join(errs...)
}

// Spread is the median of the rounds, with its quartiles.
type Spread struct{ Low, Median, High float64 }

func spread(x []float64) Spread {
	sorted := slices.Sorted(slices.Values(x))
	at := func(q float64) float64 { return sorted[int(q*float64(len(sorted)-1)+0.5)] }
	return Spread{at(.25), at(.5), at(.75)}
}

// String writes the median and the quartiles to three digits.
func (s Spread) String() string { return fmt.Sprintf("%.3g (%.3g–%.3g)", s.Median, s.Low, s.High) }
