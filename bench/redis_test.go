package bench

import (
	"context"
	"sync"
	"testing"
	"time"

	scsredis "github.com/alexedwards/scs/redisstore"
	"github.com/gomodule/redigo/redis"
	goredis "github.com/redis/go-redis/v9"

	"example.com/gatehouse/bench/paired"
	"example.com/gatehouse/internal/testkit/backing"
	"example.com/gatehouse/redisstore"
)

// The subjects of a signed-in request over Redis.
const (
	redisIdle    = "gatehouse + redisstore"
	redisEndless = "gatehouse + redisstore without idle limit"
	redisMGet    = "bare MGET of the same three keys"
	redisSCS     = "scs + scs/redisstore + gob"
)

// overMGet is how much longer a signed-in request may take than one MGET.
const overMGet = 1.25

func redisLimits() []paired.Limit {
	return []paired.Limit{
		{Subject: redisIdle, Peer: redisSCS, AtMost: 0.6},
		{Subject: redisIdle, Peer: redisEndless, AtMost: 1.1},
	}
}

// redisSite is a service with its sessions in a Redis on loopback.
type redisSite struct {
	*site
	addr   string
	client *goredis.Client
	read   *reads
}

// redisPrefix begins the keys of gatehouse.
const redisPrefix = "bench:"

func newRedisSite(t *testing.T) *redisSite {
	t.Helper()
	server, err := backing.StartRedis(t.Context(), backing.RedisConfig{})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := server.Close(); err != nil {
			t.Error(err)
		}
	})
	client := goredis.NewClient(&goredis.Options{Addr: server.Addr, ContextTimeoutEnabled: true})
	t.Cleanup(func() { client.Close() })
	store, err := redisstore.New(client, redisstore.Config{Prefix: redisPrefix, Timeout: time.Minute})
	if err != nil {
		t.Fatal(err)
	}
	read := &reads{Store: store}
	return &redisSite{site: newSiteOn(t, read), addr: server.Addr, client: client, read: read}
}

// reads is the store. On request it remembers the keys that were read last.
type reads struct {
	*redisstore.Store
	mu    sync.Mutex
	watch bool
	last  []string
}

func (r *reads) FindManyCtx(ctx context.Context, keys []string) ([][]byte, error) {
	if r.watch {
		r.mu.Lock()
		r.last = keys
		r.mu.Unlock()
	}
	return r.Store.FindManyCtx(ctx, keys)
}

func redisSubjects(t *testing.T, s *redisSite) []*subject {
	t.Helper()
	own := requests(people, func(i int) string { return s.signedIn[i].cookie })
	pool := &redis.Pool{MaxIdle: 10, Dial: func() (redis.Conn, error) { return redis.Dial("tcp", s.addr) }}
	t.Cleanup(func() { pool.Close() })
	return []*subject{
		newSubject(redisIdle, s.login.RequireLogin, own),
		newSubject(redisEndless, s.endless.RequireLogin, own),
		scsSubjectOn(t, s.site, redisSCS, scsredis.New(pool)),
	}
}

// mget is the least that a signed-in request can cost: its three keys, and
// nothing else. It is the client that the store has.
func (s *redisSite) mget(t *testing.T) (once func()) {
	t.Helper()
	var keys [][]string
	s.read.watch = true
	one := newSubject("", s.login.RequireLogin, requests(people, func(i int) string { return s.signedIn[i].cookie }))
	for range people {
		one.once()
		if len(s.read.last) != 3 {
			t.Fatalf("a signed-in request reads %d keys, want 3", len(s.read.last))
		}
		var names []string
		for _, key := range s.read.last {
			names = append(names, redisPrefix+key)
		}
		keys = append(keys, names)
	}
	s.read.watch = false
	asked := 0
	return func() {
		values, err := s.client.MGet(context.Background(), keys[asked%people]...).Result()
		asked++
		if err != nil || len(values) != 3 || values[0] == nil {
			t.Errorf("MGET brings %d values, or no record: %v", len(values), err)
		}
	}
}

// TestRedisSubjects: what is measured works, also under the race detector and
// with several requests at once.
func TestRedisSubjects(t *testing.T) {
	s := newRedisSite(t)
	var wg sync.WaitGroup
	for range 4 {
		for _, one := range redisSubjects(t, s) {
			wg.Go(func() {
				for range one.requests {
					one.once()
				}
				one.check(t)
			})
		}
	}
	wg.Wait()
	ask := s.mget(t)
	for range people {
		ask()
	}
}
