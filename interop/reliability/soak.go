package reliability

import (
	"context"
	"fmt"
	"math"
	"math/rand/v2"
	"net/http"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"example.com/gatehouse/interop/reliability/site"
)

const (
	soakPerSecond = 300
	soakVisitors  = 500
	// toxicEvery, restartEvery and rotateEvery are those of the full scale. A
	// short form has as many of each as the time allows.
	toxicEvery   = 20 * time.Second
	restartEvery = 5 * time.Minute
	rotateEvery  = 10 * time.Minute
	// heapSlope is how fast the heap of a replica may grow, in MiB an hour.
	heapSlope = 1
	// goroutineShare is by how much the number of goroutines may change.
	goroutineShare = 0.05
)

// soak is G13: 10 minutes of everything. One replica has the race detector and
// is restarted; the heap of the other one is watched.
func soak(ctx context.Context, r *Run) error {
	raced, err := r.Programs.Raced(ctx)
	if err != nil {
		return err
	}
	w, err := r.build(ctx, setting{store: onRedis, replicas: 1, api: true})
	if err != nil {
		return err
	}
	defer w.Close()
	steadyOne := w.Front.Replicas()[0]
	if _, err := w.Start(ctx, raced); err != nil {
		return err
	}
	s := &soaking{r: r, w: w, raced: raced, watched: steadyOne, full: r.during(10*time.Minute, 30*time.Second)}
	if s.token, err = w.Provider().Token(map[string]any{"sub": "service", "aud": site.Audience}); err != nil {
		return err
	}
	if s.visitors, err = w.signInAll(ctx, soakVisitors, 0, "visitor"); err != nil {
		return err
	}
	return s.run(ctx)
}

// soaking is one run of G13.
type soaking struct {
	r        *Run
	w        *World
	raced    string
	watched  *Replica
	visitors []*Visitor
	token    string
	full     time.Duration

	pages               tally
	bearerOdd, loginOdd atomic.Int64
	restarts, toxics    int
	rotations, unclean  int
	heap                []sample
	logs                strings.Builder // of replicas that have ended
}

// sample is the heap at a time.
type sample struct{ hours, mebibytes float64 }

func (s *soaking) run(ctx context.Context) error {
	warm := s.full / 6
	stop := steady(ctx, soakPerSecond, s.one)
	defer stop()
	if err := s.warm(ctx, warm); err != nil {
		return err
	}
	first, _, err := s.quiet(ctx, 30)
	if err != nil {
		return err
	}
	events, cancel := context.WithTimeout(ctx, s.full-warm)
	defer cancel()
	var wait sync.WaitGroup
	errs := make(chan error, 3)
	wait.Go(func() { errs <- s.disturb(events, ctx) })
	wait.Go(func() { errs <- s.replace(events, ctx) })
	wait.Go(func() { errs <- s.watch(events, ctx) })
	wait.Wait()
	for range 3 {
		if err := <-errs; err != nil {
			return err
		}
	}
	stop()
	last, _, err := s.quiet(ctx, 30)
	if err != nil {
		return err
	}
	after := &tally{}
	if err := s.w.readAll(ctx, s.visitors, after); err != nil {
		return err
	}
	return s.report(first, last, after)
}

// warm lets requests wait for the store once, so that the pools of connections
// are as large as they get.
func (s *soaking) warm(ctx context.Context, during time.Duration) error {
	if err := s.w.Store.Toxic.Add("latency", map[string]any{"latency": 200}); err != nil {
		return err
	}
	if err := pause(ctx, during/2); err != nil {
		return err
	}
	if err := s.w.Store.Toxic.Remove(ctx, "latency"); err != nil {
		return err
	}
	return pause(ctx, during/2)
}

// one is one request of the mix: 80% pages, 15% tokens, 5% sign-in, sign-out and
// UMA.
func (s *soaking) one(ctx context.Context, i int) {
	switch n := i % 20; {
	case s.w.Front.closed.Load(): // it is quiet
	case n < 16:
		v := s.visitors[rand.IntN(len(s.visitors))]
		a, err := v.Get(ctx, nil, site.Page)
		s.pages.add(v, a, err)
	case n < 19:
		a, err := s.bearer(ctx, site.JWT, s.token)
		if err == nil && a.Status == http.StatusOK && a.Body != "user=service" {
			s.bearerOdd.Add(1)
		}
	case i/20%2 == 0:
		_, _ = s.bearer(ctx, site.Album, "")
	default:
		s.comeAndGo(ctx, i)
	}
}

func (s *soaking) bearer(ctx context.Context, path, token string) (*Answer, error) {
	at := s.w.Front.next()
	if at == nil {
		return nil, errNoReplica
	}
	r, err := http.NewRequestWithContext(ctx, http.MethodGet, "http://"+at.Addr+path, nil)
	if err != nil {
		return nil, err
	}
	if token != "" {
		r.Header.Set("Authorization", "Bearer "+token)
	}
	return s.w.Front.fetch(r)
}

// comeAndGo signs somebody in and out again. Trouble of the store or the
// provider may come in between; a session that lives after its end may not.
func (s *soaking) comeAndGo(ctx context.Context, i int) {
	v, err := s.w.Visitor(fmt.Sprintf("guest%d", i), 0)
	if err != nil {
		return
	}
	if _, err := v.SignIn(ctx); err != nil {
		return
	}
	old := v.Clone()
	a, err := v.Post(ctx, nil, site.Logout)
	if err != nil || a.Status >= 400 {
		return
	}
	if a, err := old.Get(ctx, nil, site.Page); old.judge(a, err) == right {
		s.loginOdd.Add(1)
	}
}

// disturb puts a random toxic between the site and the store or the provider.
func (s *soaking) disturb(events, ctx context.Context) error {
	kinds := []struct {
		kind       string
		attributes map[string]any
	}{
		{"latency", map[string]any{"latency": 50, "jitter": 50}},
		{"timeout", map[string]any{"timeout": 0}},
		{"reset_peer", map[string]any{"timeout": 100}},
		{"slicer", map[string]any{"average_size": 64, "size_variation": 32, "delay": 100}},
		{"bandwidth", map[string]any{"rate": 200}},
		{"limit_data", map[string]any{"bytes": 4096}},
		{"slow_close", map[string]any{"delay": 500}},
	}
	every := s.pace(toxicEvery, 3*time.Second)
	for pause(events, every/2) == nil {
		one := kinds[rand.IntN(len(kinds))]
		at := s.w.Store.Toxic
		if rand.IntN(3) == 0 {
			at = s.w.Provider().Toxic
		}
		if err := at.Add(one.kind, one.attributes); err != nil {
			return err
		}
		s.toxics++
		_ = pause(events, every/2)
		if err := at.Remove(ctx, one.kind); err != nil {
			return err
		}
	}
	return nil
}

// pace returns how often something happens in this run that happens every so
// often at the full scale.
func (s *soaking) pace(every, least time.Duration) time.Duration {
	return max(time.Duration(float64(every)*s.full.Minutes()/10), least)
}

// replace restarts the replica with the race detector, and rotates the
// provider's keys.
func (s *soaking) replace(events, ctx context.Context) error {
	every := s.pace(restartEvery, 12*time.Second) * 2 / 3 // two of them end within the time
	for pause(events, every/2) == nil {
		if err := s.w.Provider().RotateKeys(); err != nil { // at least as often as rotateEvery
			return err
		}
		token, err := s.w.Provider().Token(map[string]any{"sub": "service", "aud": site.Audience})
		if err != nil {
			return err
		}
		_ = token // the one of the key before goes on to be good
		s.rotations++
		if pause(events, every/2) != nil {
			return nil
		}
		var old *Replica
		for _, one := range s.w.Front.Replicas() {
			if one != s.watched {
				old = one
			}
		}
		if _, err := old.Drain(); err != nil {
			s.unclean++
			s.r.note("G13: %v", err)
		}
		s.logs.WriteString(old.process.Log(1 << 20))
		s.restarts++
		if _, err := s.w.Start(ctx, s.raced); err != nil {
			return err
		}
	}
	return nil
}

// watch measures the heap of the replica that is not restarted, each time when
// nobody asks it for anything.
func (s *soaking) watch(events, ctx context.Context) error {
	begin := time.Now()
	for pause(events, max(s.full/40, 3*time.Second)) == nil {
		_, heap, err := s.quiet(ctx, 5)
		if err != nil {
			return err
		}
		s.heap = append(s.heap, sample{time.Since(begin).Hours(), heap})
	}
	return nil
}

// quiet returns the goroutines and the heap of the watched replica when nobody
// asks it for anything: without connections of ours, and with the work of others
// done.
func (s *soaking) quiet(ctx context.Context, looks int) (goroutines int, mebibytes float64, err error) {
	s.w.Front.closed.Store(true)
	defer s.w.Front.closed.Store(false)
	goroutines, mebibytes = math.MaxInt, math.MaxFloat64
	for range looks {
		s.w.Front.client.CloseIdleConnections()
		if err := pause(ctx, 100*time.Millisecond); err != nil {
			return 0, 0, err
		}
		stat, err := s.watched.Stat(ctx)
		if err != nil {
			return 0, 0, err
		}
		goroutines, mebibytes = min(goroutines, stat.Goroutines), min(mebibytes, float64(stat.Heap)/(1<<20))
	}
	return goroutines, mebibytes, nil
}

func (s *soaking) report(first, last int, after *tally) error {
	r := s.r
	for _, one := range s.w.Front.Replicas() {
		s.logs.WriteString(one.process.Log(1 << 20))
	}
	logs := s.logs.String()
	for _, t := range []*tally{&s.pages, after} {
		if what := t.strange(); what != "" {
			r.note("G13: %s", what)
		}
	}
	slope, least := slopeOf(s.heap)
	r.show("minutes", s.full.Minutes(), "")
	r.show("pages", float64(s.pages.all.Load()), "")
	r.show("503", float64(s.pages.of(trouble)), "")
	r.show("toxics", float64(s.toxics), "")
	r.show("restarts", float64(s.restarts), "")
	r.show("key rotations", float64(s.rotations), "")
	r.count("panics", strings.Count(logs, "panic"), Exactly, 0)
	r.count("races", strings.Count(logs, "DATA RACE"), Exactly, 0)
	r.count("ends that were not clean", s.unclean, Exactly, 0)
	r.count("for the wrong person", s.pages.of(wrong)+after.of(wrong)+int(s.bearerOdd.Load()), Exactly, 0)
	r.count("anonymous", s.pages.of(anonymous), Exactly, 0)
	r.count("sessions lost", len(s.visitors)-after.of(right), Exactly, 0)
	r.count("sessions that came back", int(s.loginOdd.Load()), Exactly, 0)
	r.show("heap slope", math.Round(slope*100)/100, "MiB/h")
	r.figures.add(Figure{Name: "heap slope, the least that the samples allow", Value: math.Round(least*100) / 100, Unit: "MiB/h", Rule: AtMost, Limit: heapSlope})
	change := math.Abs(float64(last-first)) / float64(first)
	r.figures.add(Figure{Name: "change of goroutines", Value: math.Round(change*1000) / 10, Unit: "%", Rule: AtMost, Limit: goroutineShare * 100})
	return nil
}

// slopeOf fits a line through samples. It returns its slope, and the least slope
// that their scatter allows with a confidence of 95%.
func slopeOf(all []sample) (slope, least float64) {
	n := float64(len(all))
	if n < 3 {
		return 0, 0
	}
	var x, y float64
	for _, s := range all {
		x += s.hours / n
		y += s.mebibytes / n
	}
	var xx, xy float64
	for _, s := range all {
		xx += (s.hours - x) * (s.hours - x)
		xy += (s.hours - x) * (s.mebibytes - y)
	}
	slope = xy / xx
	var rest float64
	for _, s := range all {
		d := s.mebibytes - y - slope*(s.hours-x)
		rest += d * d
	}
	scatter := max(math.Sqrt(rest/(n-2)), heapScatter)
	return slope, slope - student*scatter/math.Sqrt(xx)
}

// student is the 97.5% quantile of Student's distribution for six samples, the
// fewest that there are.
const student = 2.78

// heapScatter is how far two measurements of the same heap are apart at least, in
// MiB: pools of connections shrink and grow with each fault.
const heapScatter = 0.25
