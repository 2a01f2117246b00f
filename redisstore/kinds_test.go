package redisstore_test

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"
	"github.com/redis/go-redis/v9/logging"

	"example.com/gatehouse/internal/testkit/backing"
	"example.com/gatehouse/middlewaretest"
	"example.com/gatehouse/redisstore"
)

// otherProcess names the variable that makes the test binary a second process
// with the same store. It holds a place.
const otherProcess = "REDISSTORE_TEST_PLACE"

func TestMain(m *testing.M) {
	logging.Disable() // go-redis writes a line for each connection that fails, and these tests end servers
	text := os.Getenv(otherProcess)
	if text == "" {
		os.Exit(m.Run())
	}
	if err := serve(text); err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
}

func serve(text string) error {
	var p place
	if err := json.Unmarshal([]byte(text), &p); err != nil {
		return err
	}
	client, err := p.client()
	if err != nil {
		return err
	}
	store, err := redisstore.New(client, p.config())
	if err != nil {
		return err
	}
	return errors.Join(middlewaretest.ServeStore(context.Background(), store, os.Stdin, os.Stdout), client.Close())
}

// place is how a process reaches a Redis.
type place struct {
	Addrs       []string
	Master      string // at Sentinels
	Cluster     bool
	Ring        bool
	Password    string
	Certificate string
	Wait        int // replicas
}

func (p place) config() redisstore.Config {
	return redisstore.Config{Prefix: "test:", WaitReplicas: p.Wait}
}

// client makes the client that an application would make.
func (p place) client() (redis.UniversalClient, error) {
	if p.Ring {
		shards := map[string]string{}
		for i, addr := range p.Addrs {
			shards[fmt.Sprint("shard", i)] = addr
		}
		return redis.NewRing(&redis.RingOptions{Addrs: shards, ContextTimeoutEnabled: true}), nil
	}
	o := &redis.UniversalOptions{Addrs: p.Addrs, MasterName: p.Master, IsClusterMode: p.Cluster, Password: p.Password, ContextTimeoutEnabled: true}
	if p.Certificate != "" {
		text, err := os.ReadFile(p.Certificate)
		if err != nil {
			return nil, err
		}
		roots := x509.NewCertPool()
		if !roots.AppendCertsFromPEM(text) {
			return nil, fmt.Errorf("no certificate in %s", p.Certificate)
		}
		o.TLSConfig = &tls.Config{RootCAs: roots, MinVersion: tls.VersionTLS12}
	}
	return redis.NewUniversalClient(o), nil
}

// open opens a store there for the time of the test.
func (p place) open(t testing.TB) *redisstore.Store {
	t.Helper()
	store, _ := p.openWith(t, p.config())
	return store
}

func (p place) openWith(t testing.TB, c redisstore.Config) (*redisstore.Store, redis.UniversalClient) {
	t.Helper()
	client, err := p.client()
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := client.Close(); err != nil {
			t.Errorf("close: %v", err)
		}
	})
	store, err := redisstore.New(client, c)
	if err != nil {
		t.Fatal(err)
	}
	return store, client
}

// process is another process that opens a store there.
func (p place) process(t testing.TB) func(context.Context) *exec.Cmd {
	t.Helper()
	text, err := json.Marshal(p)
	if err != nil {
		t.Fatal(err)
	}
	return func(ctx context.Context) *exec.Cmd {
		cmd := exec.CommandContext(ctx, os.Args[0])
		cmd.Env = append(os.Environ(), otherProcess+"="+string(text))
		cmd.Stderr = t.Output()
		return cmd
	}
}

// startup bounds the start of servers on a busy machine.
const startup = 2 * time.Minute

// closer is what backing starts.
type closer interface{ Close() error }

// started ends a server with the test.
func started[S closer](t testing.TB, server S, err error) S {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := server.Close(); err != nil {
			t.Errorf("close: %v", err)
		}
	})
	return server
}

// startOne starts a single server and returns where it is.
func startOne(t testing.TB, c backing.RedisConfig) (*backing.Redis, place) {
	t.Helper()
	r, err := backing.StartRedis(t.Context(), c)
	started(t, r, err)
	return r, place{Addrs: []string{r.Addr}, Password: r.Password, Certificate: r.Certificate}
}

// startCopied starts a server with replicas.
func startCopied(t testing.TB, replicas int) (*backing.Redis, []*backing.Redis, place) {
	t.Helper()
	r, p := startOne(t, backing.RedisConfig{})
	var copies []*backing.Redis
	for range replicas {
		c, err := r.StartReplica(t.Context())
		copies = append(copies, started(t, c, err))
	}
	if err := r.Copied(t.Context(), replicas); err != nil {
		t.Fatal(err)
	}
	p.Wait = replicas
	return r, copies, p
}

func startSentinel(t testing.TB, c backing.RedisSentinelConfig) (*backing.RedisSentinel, place) {
	t.Helper()
	s, err := backing.StartRedisSentinel(t.Context(), c)
	started(t, s, err)
	return s, place{Addrs: s.Addrs, Master: s.Master, Password: c.Password}
}

func startCluster(t testing.TB, c backing.RedisClusterConfig) (*backing.RedisCluster, place) {
	t.Helper()
	s, err := backing.StartRedisCluster(t.Context(), c)
	started(t, s, err)
	return s, place{Addrs: s.Addrs, Cluster: true}
}

// hangs makes servers hang.
func hangs(servers ...*backing.Redis) func() (release func()) {
	return func() func() {
		for _, r := range servers {
			r.Pause()
		}
		return func() {
			for _, r := range servers {
				r.Resume()
			}
		}
	}
}
