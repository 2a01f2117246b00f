package bounds

import (
	"fmt"
	"runtime/debug"
	"slices"
	"text/tabwriter"
	"time"

	"bytes"
	"cmp"
	"io"
)

// The limits of what one request without a session or token may cost, and one
// answer of a provider.
const (
	MaxCPU  = 20 * time.Millisecond
	MaxHeap = 1 << 20 // bytes, of the request
	MaxTime = 10 * time.Second
	// maxAnswerHeap bounds what is allocated for one answer, at both ends. An
	// object of small members takes some 40 times its own size. Without a cap
	// after decompression it would be hundreds of MiB.
	maxAnswerHeap = 64 << 20
	// memoryLimit is that of the Go runtime while everything runs (GOMEMLIMIT).
	memoryLimit = 256 << 20
)

// Effort says how often everything is done.
type Effort struct {
	Repeats int // requests of a kind, one after the other; at least 1
	Rounds  int // of these, of which the cheapest counts; at least 1
	// Slow adds answers that arrive byte by byte, which take as long as a call
	// may.
	Slow bool
}

// A Figure is what one kind of request or answer cost.
type Figure struct {
	Kind   string
	Result string // the status, or the error
	CPU    time.Duration
	Heap   int64 // bytes allocated
	// Read and Cap are bytes of an answer's body, after decompression; Cap is 0
	// for requests.
	Read, Cap int64
	Time      time.Duration // of an answer, from beginning to end
	Over      []string      // the limits that were not kept
}

// Figures are the result of a run.
type Figures struct {
	Requests, Answers []Figure
	// Memory is what the Go runtime had from the system at the end.
	Memory int64
}

// Run measures everything, with a memory limit for the whole process in the
// meantime. Other goroutines must be quiet, because they would be counted. An
// error means that measuring failed; figures over a limit are not an error.
func Run(e Effort) (*Figures, error) {
	defer debug.SetMemoryLimit(debug.SetMemoryLimit(memoryLimit))
	requests, err := measureRequests(e)
	if err != nil {
		return nil, err
	}
	answers, err := measureAnswers(e)
	if err != nil {
		return nil, err
	}
	return &Figures{Requests: requests, Answers: answers, Memory: memory()}, nil
}

// Over lists the figures that are over a limit.
func (f *Figures) Over() []string {
	var over []string
	for _, one := range slices.Concat(f.Requests, f.Answers) {
		for _, what := range one.Over {
			over = append(over, one.Kind+": "+what)
		}
	}
	if f.Memory > memoryLimit {
		over = append(over, fmt.Sprintf("%d MiB from the system, %d MiB allowed", f.Memory>>20, memoryLimit>>20))
	}
	return over
}

// WriteTo writes the tables, the most expensive first.
func (f *Figures) WriteTo(w io.Writer) (int64, error) {
	var b bytes.Buffer
	dear := func(x, y Figure) int { return cmp.Or(cmp.Compare(y.CPU, x.CPU), cmp.Compare(x.Kind, y.Kind)) }
	table := tabwriter.NewWriter(&b, 0, 0, 2, ' ', 0)
	fmt.Fprintf(table, "request\tresult\tCPU µs\theap KiB\tlimits %d µs, %d KiB\n", MaxCPU.Microseconds(), MaxHeap>>10)
	for _, one := range slices.SortedFunc(slices.Values(f.Requests), dear) {
		fmt.Fprintf(table, "%s\t%s\t%.1f\t%.1f\t%s\n", one.Kind, one.Result, micros(one.CPU), float64(one.Heap)/1024, verdict(one))
	}
	fmt.Fprintf(table, "\nanswer\tresult\tread KiB\tcap KiB\theap KiB\tms\n")
	for _, one := range f.Answers {
		fmt.Fprintf(table, "%s\t%s\t%.1f\t%d\t%.1f\t%d\t%s\n", one.Kind, one.Result, float64(one.Read)/1024, one.Cap>>10,
			float64(one.Heap)/1024, one.Time.Milliseconds(), verdict(one))
	}
	if err := table.Flush(); err != nil {
		return 0, err
	}
	fmt.Fprintf(&b, "\n%d MiB from the system at the end, limit %d MiB\n", f.Memory>>20, memoryLimit>>20)
	return b.WriteTo(w)
}

func micros(d time.Duration) float64 { return float64(d.Nanoseconds()) / 1000 }

func verdict(f Figure) string {
	if len(f.Over) > 0 {
		return "OVER"
	}
	return ""
}
