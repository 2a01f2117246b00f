package bounds

import (
	"fmt"
	"net/http"
	"net/http/httptest"
	"runtime"
	"runtime/metrics"
	"syscall"
	"time"
)

// spent is the processor time of this process.
func spent() (time.Duration, error) {
	var use syscall.Rusage
	if err := syscall.Getrusage(syscall.RUSAGE_SELF, &use); err != nil {
		return 0, err
	}
	return time.Duration(use.Utime.Nano() + use.Stime.Nano()), nil
}

// allocated is how much this process has allocated so far, in bytes.
func allocated() int64 {
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	return int64(m.TotalAlloc)
}

// memory is how much memory the Go runtime has from the system and has not
// returned.
func memory() int64 {
	samples := []metrics.Sample{{Name: "/memory/classes/total:bytes"}, {Name: "/memory/classes/heap/released:bytes"}}
	metrics.Read(samples)
	return int64(samples[0].Value.Uint64() - samples[1].Value.Uint64())
}

// cost is the cost of a piece of work.
type cost struct {
	cpu  time.Duration
	heap int64
}

// measure does the work.
func measure(work func()) (cost, error) {
	heap := allocated()
	cpu, err := spent()
	if err != nil {
		return cost{}, err
	}
	work()
	after, err := spent()
	return cost{after - cpu, allocated() - heap}, err
}

// A shot is one request that is ready to be sent to a handler.
type shot struct {
	handler http.Handler
	request *http.Request
}

// A requestCase is a kind of request. Make is called for each request, because
// attempts are used up and tokens are remembered.
type requestCase struct {
	kind string
	make func() (shot, error)
	// want lists the right statuses. If it is empty, any below 500 is right.
	want []int
}

// nothing is the floor: the cost of making an answer without a handler.
var nothing = http.HandlerFunc(func(http.ResponseWriter, *http.Request) {})

// fire measures the requests of one kind. It returns the cost of one request in
// the cheapest round, and its status.
func (c requestCase) fire(e Effort) (cost, int, error) {
	runtime.GC() // the garbage of other kinds is not ours
	var best cost
	status := 0
	for round := range e.Rounds + 1 { // the first is not counted: it warms up
		shots := make([]shot, e.Repeats)
		for i := range shots {
			var err error
			if shots[i], err = c.make(); err != nil {
				return cost{}, 0, fmt.Errorf("%s: %w", c.kind, err)
			}
		}
		got, err := measure(func() {
			for _, s := range shots {
				w := httptest.NewRecorder()
				s.handler.ServeHTTP(w, s.request)
				status = w.Code
			}
		})
		if err != nil {
			return cost{}, 0, err
		}
		got.cpu /= time.Duration(e.Repeats)
		got.heap /= int64(e.Repeats)
		switch round {
		case 0:
		case 1:
			best = got
		default:
			best.cpu, best.heap = min(best.cpu, got.cpu), min(best.heap, got.heap)
		}
	}
	return best, status, nil
}
