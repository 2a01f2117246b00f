//go:build !race

package bench

import (
	"context"
	"net/http"
	"syscall"
	"testing"
	"time"

	"example.com/gatehouse"
	"example.com/gatehouse/bench/paired"
)

func TestLiveRatios(t *testing.T) { hold(t, liveSubjects(t), liveLimits(), bareFind) }

// What a connection holds in memory.
func TestLiveMemory(t *testing.T) {
	one, many := connections(t, 10_000, 1), connections(t, 10_000, 10_000)
	t.Logf("%.0f bytes for a connection of a session that has others, %.0f for the first of a session", one, many)
	if one > maxLiveBytes*paired.Slack || many > maxLiveSession*paired.Slack {
		t.Errorf("stated are at most %d and %d", maxLiveBytes, maxLiveSession)
	}
}

// A process with connections of 200 sessions, fifty each, reads each session once
// in an interval, four together. This is all that it costs: timers, goroutines and
// reads.
func TestLiveWhole(t *testing.T) {
	s := newSite(t)
	const each, intervals = 50, 3
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	h := s.login.RequireLogin(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) { gatehouse.Live(r.Context()) }))
	for i := range people * each {
		h.ServeHTTP(&writer{header: http.Header{}}, get(s.base+"/live", s.signedIn[i%people].cookie).WithContext(ctx))
	}
	spent := asleep(t, intervals*2*time.Second)
	cancel()
	spent -= asleep(t, intervals*2*time.Second) // what the process does anyway
	took := float64(spent.Nanoseconds()) / 1000 / (people * intervals)
	t.Logf("%.2f µs of the processor for each session and interval", took)
	if took > maxLiveMicros*paired.Slack {
		t.Errorf("stated are at most %d µs", maxLiveMicros)
	}
}

// asleep returns the processor time that the process takes meanwhile.
func asleep(t *testing.T, d time.Duration) time.Duration {
	t.Helper()
	before := processorTime(t)
	time.Sleep(d)
	return processorTime(t) - before
}

func processorTime(t *testing.T) time.Duration {
	t.Helper()
	var u syscall.Rusage
	if err := syscall.Getrusage(syscall.RUSAGE_SELF, &u); err != nil {
		t.Fatal(err)
	}
	return time.Duration(u.Utime.Nano() + u.Stime.Nano())
}
