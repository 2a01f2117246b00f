package reliability

import (
	"context"
	"fmt"
	"sync/atomic"
	"time"

	"example.com/gatehouse/interop/reliability/site"
)

const (
	// floodPerSecond makes the million of the full scale in 10 minutes.
	floodPerSecond = 1_667
	// shortFloodPerSecond makes the short form shorter.
	shortFloodPerSecond = 4_000
	// loginsPerSecond are real sign-ins beside the flood. Each leaves four keys,
	// which count as well.
	loginsPerSecond = 2
)

// startFlood is G12: 1,000,000 sign-ins begin within 10 minutes and none goes
// on, while real people sign in.
func startFlood(ctx context.Context, r *Run) error {
	w, err := r.build(ctx, setting{store: onRedis, replicas: 2})
	if err != nil {
		return err
	}
	defer w.Close()
	if _, err := w.signInAll(ctx, 20, 0, "warm"); err != nil {
		return err
	}
	if _, err := w.flood(ctx, 1_000, shortFloodPerSecond); err != nil { // code and connections that are not there yet
		return err
	}
	before, resident, err := w.weight(ctx)
	if err != nil {
		return err
	}
	var failed atomic.Int64
	var took latencies
	stop := steady(ctx, loginsPerSecond, func(ctx context.Context, i int) {
		begin := time.Now()
		v, err := w.Visitor(fmt.Sprintf("real%d", i), 0)
		if err == nil {
			_, err = v.SignIn(ctx)
		}
		if err != nil {
			failed.Add(1)
			return
		}
		took.add(time.Since(begin))
	})
	defer stop()
	perSecond := floodPerSecond
	if !r.Full {
		perSecond = shortFloodPerSecond
	}
	n := r.of(1_000_000)
	begin := time.Now()
	refused, err := w.flood(ctx, n, perSecond)
	if err != nil {
		return err
	}
	r.show("starts", float64(n), "")
	r.show("per second", float64(int(float64(n)/time.Since(begin).Seconds())), "")
	stop()
	after, grown, err := w.weight(ctx)
	if err != nil {
		return err
	}
	most := 0.0
	for i := range grown {
		most = max(most, float64(grown[i]-resident[i])/(1<<20))
	}
	r.figures.add(Figure{Name: "more resident memory in one replica", Value: float64(int(most*10)) / 10, Unit: "MiB", Rule: AtMost, Limit: 32})
	r.count("more keys in the store", after-before, AtMost, 10_000)
	r.count("starts that did not lead to the provider", refused, Exactly, 0)
	r.show("real sign-ins", float64(took.len()), "")
	r.count("real sign-ins that failed", int(failed.Load()), Exactly, 0)
	r.took("real sign-in p99", took.percentile(99), 500*time.Millisecond)
	return nil
}

// floodWorkers hold one connection to each replica.
const floodWorkers = 32

// flood begins n sign-ins without cookies, at a rate that it does not exceed. It
// returns how many were not sent to the provider.
func (w *World) flood(ctx context.Context, n, perSecond int) (refused int, err error) {
	stranger, err := w.Visitor("stranger", 0)
	if err != nil {
		return 0, err
	}
	var next, bad atomic.Int64
	begin := time.Now()
	err = parallel(ctx, floodWorkers, floodWorkers, func(ctx context.Context, _ int) error {
		line := &wire{host: site.Public}
		defer line.close()
		for i := int(next.Add(1)); i <= n; i = int(next.Add(1)) {
			if early := time.Duration(float64(i)/float64(perSecond)*float64(time.Second)) - time.Since(begin); early > 0 {
				if err := pause(ctx, early); err != nil {
					return err
				}
			}
			a, err := line.get(ctx, w.Front.next().Addr, stranger, site.Login)
			if err != nil {
				return err
			}
			if a.Status/100 != 3 {
				bad.Add(1)
			}
		}
		return nil
	})
	return int(bad.Load()), err
}

// weight returns the keys in the store and the resident memory of each replica
// after a collection of garbage.
func (w *World) weight(ctx context.Context) (keys int, resident []int64, err error) {
	for _, one := range w.Front.Replicas() {
		if _, err := one.Stat(ctx); err != nil {
			return 0, nil, err
		}
		size, err := one.Resident()
		if err != nil {
			return 0, nil, err
		}
		resident = append(resident, size)
	}
	keys, err = w.Store.entries(ctx)
	return keys, resident, err
}
