package redisstore_test

import (
	"context"
	"fmt"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"example.com/gatehouse/internal/testkit/backing"
	"example.com/gatehouse/redisstore"
)

// TestHangOpensFewConnections: while Redis hangs, only a few calls try it, so that
// it has few dead connections to work through when it is back. Without that each
// call leaves one.
func TestHangOpensFewConnections(t *testing.T) {
	server, p := startOne(t, backing.RedisConfig{})
	s := &site{p.open(t), keyOf(t, 0), server}
	lay(t, s.Store, s.key)
	before := connections(t, server)
	server.Pause()
	const (
		callers = 50
		hanging = 5 * time.Second
		patient = 300 * time.Millisecond
	)
	// A second and a half as ever, then ten a second.
	most := func(hung time.Duration) int { return callers*6 + 10*int(hung.Seconds()) }
	var calls atomic.Int64
	var wg sync.WaitGroup
	begin := time.Now()
	goOn := func() bool { // a busy machine needs longer for calls enough to tell
		hung := time.Since(begin)
		return hung < hanging || calls.Load() < int64(2*most(hung)) && hung < startup
	}
	for range callers {
		wg.Go(func() {
			for goOn() {
				ctx, cancel := context.WithTimeout(t.Context(), patient)
				if err := holds(ctx, s.Store, s.key, "old"); err == nil {
					t.Error("Redis answers while it hangs")
				}
				cancel()
				calls.Add(1)
				time.Sleep(20 * time.Millisecond)
			}
		})
	}
	wg.Wait()
	hung := time.Since(begin)
	server.Resume()
	eventually(t, startup, func() error { return holds(t.Context(), s.Store, s.key, "old") })
	if made := connections(t, server) - before; made > most(hung) {
		t.Errorf("%d calls made %d connections, want at most %d", calls.Load(), made, most(hung))
	}
	if n := calls.Load(); n < int64(2*most(hung)) {
		t.Errorf("%d calls were made in %v, too few to tell", n, hung)
	}
}

// TestHangIsOver: one answer ends it for everybody, and a refused connection is
// no hang.
func TestHangIsOver(t *testing.T) {
	server, p := startOne(t, backing.RedisConfig{})
	s := &site{p.open(t), keyOf(t, 0), server}
	lay(t, s.Store, s.key)
	took := recovery + 1
	for n := 0; n < attempts && took > recovery; n++ {
		took = hangsOnce(t, s)
	}
	if took > recovery {
		t.Errorf("the store works for everybody %v after Redis does", took)
	}
	server.Kill()
	for range 40 {
		if err := holds(t.Context(), s.Store, s.key, "old"); err == nil || strings.Contains(err.Error(), "no answer comes") {
			t.Fatalf("nobody listens, and the error is: %v", err)
		}
	}
}

// hangsOnce lets many callers meet a hang, and returns how long after it a hundred
// calls have worked, one after the other.
func hangsOnce(t *testing.T, s *site) time.Duration {
	t.Helper()
	s.server.Pause()
	end := time.Now().Add(3 * time.Second)
	var wg sync.WaitGroup
	for range 50 {
		wg.Go(func() {
			for time.Now().Before(end) {
				ctx, cancel := context.WithTimeout(t.Context(), 100*time.Millisecond)
				_ = holds(ctx, s.Store, s.key, "old")
				cancel()
				time.Sleep(10 * time.Millisecond)
			}
		})
	}
	wg.Wait()
	s.server.Resume()
	return worksAgain(t, s.Store, s.key)
}

// worksAgain returns how long it takes until a hundred calls for the keys in turn
// have worked, one after the other.
func worksAgain(t *testing.T, store *redisstore.Store, keys ...string) time.Duration {
	t.Helper()
	took, err := until(startup, func() error {
		for i := range 100 {
			if err := holds(t.Context(), store, keys[i%len(keys)], "old"); err != nil {
				return err
			}
		}
		return nil
	})
	if err != nil {
		t.Fatalf("the store does not work again: %v", err)
	}
	return took
}

// connections is how many the server has taken.
func connections(t *testing.T, r *backing.Redis) int {
	t.Helper()
	info, err := r.Do(t.Context(), "INFO", "stats")
	if err != nil {
		t.Fatal(err)
	}
	_, after, _ := strings.Cut(fmt.Sprint(info), "total_connections_received:")
	number, _, _ := strings.Cut(after, "\r")
	n, err := strconv.Atoi(number)
	if err != nil {
		t.Fatal(err)
	}
	return n
}

// TestHangOfOneNode: one node of a cluster hangs, and more calls need it than a
// client has connections. What is on the others is read as ever, and all of it
// soon after the hang.
func TestHangOfOneNode(t *testing.T) {
	cluster, p := startCluster(t, backing.RedisClusterConfig{Settings: []string{"cluster-require-full-coverage no", "cluster-node-timeout 20000"}})
	store := p.open(t)
	keys := make([]string, 12)
	for i := range keys {
		keys[i] = keyOf(t, i)
		if err := store.CommitCtx(t.Context(), keys[i], []byte("old"), time.Now().Add(time.Hour)); err != nil {
			t.Fatal(err)
		}
	}
	took := recovery + 1
	for n := 0; n < attempts && took > recovery; n++ {
		took = nodeHangs(t, store, keys, hangs(cluster.Masters[1]))
	}
	if took > recovery {
		t.Errorf("the store works for everybody %v after the node does", took)
	}
}

// nodeHangs lets one node hang, and returns how long after it the store works.
func nodeHangs(t *testing.T, store *redisstore.Store, keys []string, hang func() (release func())) time.Duration {
	t.Helper()
	release := sync.OnceFunc(hang())
	defer release()
	var there, away []string
	for _, key := range keys {
		ctx, cancel := context.WithTimeout(t.Context(), 300*time.Millisecond)
		if holds(ctx, store, key, "old") == nil {
			there = append(there, key)
		} else {
			away = append(away, key)
		}
		cancel()
	}
	if len(there) == 0 || len(away) == 0 {
		t.Fatalf("%d keys are there, %d are not, want some of both", len(there), len(away))
	}
	ctx, stop := context.WithCancel(t.Context())
	var wg sync.WaitGroup
	for i := range 200 {
		wg.Go(func() {
			for ctx.Err() == nil {
				ctx, cancel := context.WithTimeout(ctx, 300*time.Millisecond)
				_ = holds(ctx, store, away[i%len(away)], "old")
				cancel()
			}
		})
	}
	time.Sleep(2 * time.Second)
	for _, key := range there { // while the others go on
		if err := holds(t.Context(), store, key, "old"); err != nil {
			t.Errorf("on a node that works: %v", err)
		}
	}
	stop()
	wg.Wait()
	release()
	return worksAgain(t, store, keys...)
}
