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
	crowds, list := s.crowds(t)
	hold(t, crowds, redisLimits(), redisMGet, redisSCS, redisEndless)
	alone := append(subjects(t, list[:3]...), paired.Loop(redisMGet, s.mget(t))) // one request at a time
	hold(t, alone, redisLimits(), redisMGet, redisSCS, redisEndless)
	var ratio float64
	for range tries {
		if ratio = elapsed(paired.Loop(redisIdle, list[0].once), paired.Loop(redisMGet, s.mget(t))); ratio <= overMGet*paired.Slack {
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

// crowds makes the subjects with several requests at the same time. Of one at a
// time the processor would mostly fall asleep and wake up.
func (s *redisSite) crowds(t *testing.T) (crowds []paired.Subject, list []*subject) {
	const atOnce = 4
	var names []string
	ops := map[string][]func(){}
	add := func(name string, op func()) {
		if ops[name] == nil {
			names = append(names, name)
		}
		ops[name] = append(ops[name], op)
	}
	for range atOnce {
		for _, one := range redisSubjects(t, s) {
			subjects(t, one) // has answered all its requests
			list = append(list, one)
			add(one.name, one.once)
		}
		add(redisMGet, s.mget(t))
	}
	for _, name := range names {
		crowds = append(crowds, paired.Crowd(name, ops[name]...))
	}
	return crowds, list
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
