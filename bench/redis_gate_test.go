//go:build !race

package bench

import (
	"slices"
	"testing"
	"time"

	"example.com/gatehouse/bench/paired"
)

// TestRedisRatio: a signed-in request over Redis is little more than the one
// command that it sends.
func TestRedisRatio(t *testing.T) {
	s := newRedisSite(t)
	list := redisSubjects(t, s)
	mget := s.mget(t)
	all := append(subjects(t, list...), mget)
	hold(t, all, redisLimits(), redisMGet, redisSCS, redisEndless)
	var ratio float64
	for range tries {
		if ratio = elapsed(all[0], mget); ratio <= overMGet*paired.Slack {
			break
		}
	}
	t.Logf("%s takes %.3g times as long as %s", redisIdle, ratio, redisMGet)
	if ratio > overMGet*paired.Slack {
		t.Errorf("stated is at most %.3g times as long", overMGet)
	}
	for _, one := range list {
		one.check(t)
	}
}

// elapsed returns how much longer a takes than b, with what the server does: the
// median of many short slices in turn.
func elapsed(a, b paired.Subject) float64 {
	const turns, ops = 300, 30
	took := func(s paired.Subject) float64 {
		begin := time.Now()
		s.Run(new(paired.Watch), ops)
		return float64(time.Since(begin))
	}
	ratios := make([]float64, 0, turns)
	for range turns {
		ratios = append(ratios, took(a)/took(b))
	}
	slices.Sort(ratios)
	return ratios[turns/2]
}
