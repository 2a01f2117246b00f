package reliability

import (
	"context"
	"sync"
	"sync/atomic"
	"time"

	"example.com/gatehouse/interop/reliability/site"
)

// parallel calls work for 0 to n−1, some at a time. After the first error it
// begins no more, and returns that error.
func parallel(ctx context.Context, n, atOnce int, work func(ctx context.Context, i int) error) error {
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	var next atomic.Int64
	var wait sync.WaitGroup
	for range min(n, atOnce) {
		wait.Go(func() {
			for {
				i := int(next.Add(1)) - 1
				if i >= n || ctx.Err() != nil {
					return
				}
				if err := work(ctx, i); err != nil {
					cancel(err)
				}
			}
		})
	}
	wait.Wait()
	return context.Cause(ctx)
}

// counter counts. It is safe for concurrent use.
type counter = atomic.Int64

// tally counts answers by verdict. It is safe for concurrent use.
type tally struct {
	counts  [odd + 1]atomic.Int64
	cleared atomic.Int64
	all     atomic.Int64
	took    latencies
	first   atomic.Pointer[string] // the first answer that was neither right nor trouble

	mu          sync.Mutex
	lastTrouble time.Time // when the last answer came that was not right
}

// add judges an answer.
func (t *tally) add(v *Visitor, a *Answer, err error) verdict {
	t.all.Add(1)
	kind := v.judge(a, err)
	t.counts[kind].Add(1)
	if a != nil {
		t.took.add(a.Took)
		if a.Clears {
			t.cleared.Add(1)
		}
	}
	if kind != right {
		t.mu.Lock()
		t.lastTrouble = time.Now()
		t.mu.Unlock()
	}
	if kind != right && kind != trouble {
		text := ""
		if err != nil {
			text = err.Error()
		} else {
			text = (&answerError{v.User, a}).Error()
		}
		t.first.CompareAndSwap(nil, &text)
	}
	return kind
}

func (t *tally) of(kind verdict) int { return int(t.counts[kind].Load()) }

// since returns how long after a moment the last answer came that was not right.
func (t *tally) since(moment time.Time) time.Duration {
	t.mu.Lock()
	defer t.mu.Unlock()
	return max(0, t.lastTrouble.Sub(moment))
}

// strange returns the first answer that was neither right nor 503, or "".
func (t *tally) strange() string {
	if text := t.first.Load(); text != nil {
		return *text
	}
	return ""
}

// mostUnderWay bounds the requests of a load that wait for their answers.
const mostUnderWay = 4096

// load asks for the pages of visitors at a steady rate, whatever the answers,
// until stop is called, which waits for the answers to come.
func load(ctx context.Context, perSecond int, visitors []*Visitor, t *tally) (stop func()) {
	return steady(ctx, perSecond, func(ctx context.Context, i int) {
		v := visitors[i%len(visitors)]
		a, err := v.Get(ctx, nil, site.Page)
		t.add(v, a, err)
	})
}

// steady calls work at a steady rate, however long it takes, until stop is
// called, which waits for what has begun.
func steady(ctx context.Context, perSecond int, work func(ctx context.Context, i int)) (stop func()) {
	done := make(chan struct{})
	var wait sync.WaitGroup
	places := make(chan struct{}, mostUnderWay)
	wait.Go(func() {
		begin := time.Now()
		tick := time.NewTicker(2 * time.Millisecond)
		defer tick.Stop()
		for i := 0; ; {
			select {
			case <-done:
				return
			case <-ctx.Done():
				return
			case <-tick.C:
			}
			for due := int(time.Since(begin).Seconds() * float64(perSecond)); i < due; i++ {
				select {
				case places <- struct{}{}:
				case <-done:
					return
				case <-ctx.Done():
					return
				}
				wait.Go(func() {
					defer func() { <-places }()
					work(ctx, i)
				})
			}
		}
	})
	return sync.OnceFunc(func() {
		close(done)
		wait.Wait()
	})
}
