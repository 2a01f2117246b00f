package redisstore_test

import (
	"context"
	"fmt"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"

	"example.com/gatehouse/internal/testkit/backing"
	"example.com/gatehouse/internal/testkit/line"
	"example.com/gatehouse/redisstore"
)

// foundWithin is how soon after a failover the store has to have found the new
// master. Before that go-redis may ask a node that is gone, for as long as its
// ReadTimeout, which is five seconds.
const foundWithin = 20 * time.Second

// finds waits until all keys are there.
func finds(t *testing.T, store *redisstore.Store, keys ...string) {
	t.Helper()
	took, err := until(foundWithin, func() error {
		for _, key := range keys {
			if err := holds(t.Context(), store, key, "old"); err != nil {
				return err
			}
			done, err := store.SwapCtx(t.Context(), key, []byte("old"), []byte("old"), time.Now().Add(time.Hour))
			if err != nil || !done {
				return fmt.Errorf("swapped %v, error %w", done, err)
			}
		}
		return nil
	})
	if err != nil {
		t.Errorf("%v after the failover: %v", took, err)
	}
}

// TestClusterFailover: a master is gone, and its replica takes its place. Nothing
// sends the client there, because the master says nothing more.
func TestClusterFailover(t *testing.T) {
	t.Parallel()
	for name, gone := range map[string]func(*backing.Redis){"hangs": (*backing.Redis).Pause, "ends": (*backing.Redis).Kill} {
		t.Run(name, func(t *testing.T) {
			cluster, p := startCluster(t, backing.RedisClusterConfig{Replicas: 1})
			store := p.open(t)
			keys := make([]string, 12) // some on each node
			for i := range keys {
				keys[i] = keyOf(t, i)
				if err := store.CommitCtx(t.Context(), keys[i], []byte("old"), time.Now().Add(time.Hour)); err != nil {
					t.Fatal(err)
				}
			}
			if err := cluster.Masters[0].Copied(t.Context(), 1); err != nil {
				t.Fatal(err)
			}
			gone(cluster.Masters[0])
			eventually(t, startup, func() error { return role(t.Context(), cluster.Replicas[0], "master") })
			finds(t, store, keys...)
		})
	}
}

// role checks what a server is.
func role(ctx context.Context, r *backing.Redis, want string) error {
	info, err := r.Do(ctx, "INFO", "replication")
	if err != nil || !strings.Contains(fmt.Sprint(info), "role:"+want) {
		return fmt.Errorf("%s is no %s (error: %v)", r.Addr, want, err)
	}
	return nil
}

// TestSentinelFailoverWithItsSentinel: the machine of the master hangs, and on it
// the Sentinel that the client has asked so far. The client has the settings that the
// README gives: with those of go-redis it asks that Sentinel for ever.
func TestSentinelFailoverWithItsSentinel(t *testing.T) {
	t.Parallel()
	s, _ := startSentinel(t, backing.RedisSentinelConfig{})
	store := opened(t, redis.NewFailoverClient(&redis.FailoverOptions{
		MasterName: s.Master, SentinelAddrs: s.Addrs[:1], ContextTimeoutEnabled: true,
		DialTimeout: 500 * time.Millisecond, ReadTimeout: 300 * time.Millisecond,
	}))
	key := keyOf(t, 0)
	// A busy machine may need longer than these settings allow.
	eventually(t, startup, func() error { return store.CommitCtx(t.Context(), key, []byte("old"), time.Now().Add(time.Hour)) })
	if err := s.Servers[0].Copied(t.Context(), 2); err != nil {
		t.Fatal(err)
	}
	defer hangs(s.Sentinels[0], s.Servers[0])()()
	eventually(t, startup, func() error {
		for _, r := range s.Servers[1:] {
			if role(t.Context(), r, "master") == nil {
				return nil
			}
		}
		return fmt.Errorf("no replica has become the master")
	})
	finds(t, store, key)
}

// opened is a store over a client that the test closes.
func opened(t *testing.T, client redis.UniversalClient) *redisstore.Store {
	t.Helper()
	t.Cleanup(func() { _ = client.Close() })
	store, err := redisstore.New(client, redisstore.Config{Prefix: "test:"})
	if err != nil {
		t.Fatal(err)
	}
	return store
}

// TestTLSBehindASilentLine: what is sent is lost, TLS handshakes too. The client has
// the DialTimeout that the README gives.
func TestTLSBehindASilentLine(t *testing.T) {
	server, p := startOne(t, backing.RedisConfig{TLS: true})
	between := line.New(t, server.Addr)
	roots := server.TLS.Clone()
	roots.ServerName = "127.0.0.1"
	store := opened(t, redis.NewClient(&redis.Options{
		Addr: between.Addr, TLSConfig: roots, ContextTimeoutEnabled: true, DialTimeout: 500 * time.Millisecond,
	}))
	key := keyOf(t, 0)
	if err := p.open(t).CommitCtx(t.Context(), key, []byte("old"), time.Now().Add(time.Hour)); err != nil {
		t.Fatal(err)
	}
	took := recovery + 1
	for n := 0; n < attempts && took > recovery; n++ {
		worksAgain(t, store, key)
		between.Silence(line.Both)
		end := time.Now().Add(3 * time.Second)
		var wg sync.WaitGroup
		for range 50 {
			wg.Go(func() {
				for time.Now().Before(end) {
					ctx, cancel := context.WithTimeout(t.Context(), 300*time.Millisecond)
					if holds(ctx, store, key, "old") == nil {
						t.Error("an answer comes over a silent line")
					}
					cancel()
					time.Sleep(10 * time.Millisecond)
				}
			})
		}
		wg.Wait()
		between.Silence(line.None)
		took = worksAgain(t, store, key)
	}
	if took > recovery {
		t.Errorf("the store works %v after the line does", took)
	}
}
