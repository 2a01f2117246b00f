package redisstore_test

import (
	"strings"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"

	"example.com/gatehouse/redisstore"
)

// foreign hides the options of its client.
type foreign struct{ redis.UniversalClient }

// traced is how applications add to a client.
type traced struct{ *redis.Client }

// TestNew: which clients are taken, and what the error says of the others. The
// store calls none of these addresses.
func TestNew(t *testing.T) {
	const addr = "127.0.0.1:1"
	set, stale := "set ContextTimeoutEnabled to true", "may show a session after its logout"
	const never, forever, endless = -2, -1, "set no ReadTimeout and no WriteTimeout below -1"
	cluster := func(o redis.ClusterOptions) *redis.ClusterClient {
		o.Addrs, o.ContextTimeoutEnabled = []string{addr}, true
		return redis.NewClusterClient(&o)
	}
	ring := func(o redis.RingOptions) *redis.Ring {
		o.Addrs, o.ContextTimeoutEnabled = map[string]string{"a": addr}, true
		return redis.NewRing(&o)
	}
	failover := func(on bool) *redis.FailoverOptions {
		return &redis.FailoverOptions{MasterName: "m", SentinelAddrs: []string{addr}, ContextTimeoutEnabled: on}
	}
	plain := redis.NewClient(&redis.Options{Addr: addr, ContextTimeoutEnabled: true})
	for name, c := range map[string]struct {
		client redis.UniversalClient
		config redisstore.Config
		want   []string // parts of the error; none for success
	}{
		"one server":                    {client: plain},
		"one server, no timeouts":       {client: redis.NewClient(&redis.Options{Addr: addr}), want: []string{set, "redis.Options"}},
		"cluster":                       {client: cluster(redis.ClusterOptions{})},
		"cluster, no timeouts":          {client: redis.NewClusterClient(&redis.ClusterOptions{Addrs: []string{addr}}), want: []string{set, "redis.ClusterOptions"}},
		"ring":                          {client: ring(redis.RingOptions{})},
		"ring, no timeouts":             {client: redis.NewRing(&redis.RingOptions{Addrs: map[string]string{"a": addr}}), want: []string{set, "redis.RingOptions"}},
		"sentinel":                      {client: redis.NewFailoverClient(failover(true))},
		"sentinel, no timeouts":         {client: redis.NewFailoverClient(failover(false)), want: []string{set, "redis.FailoverOptions"}},
		"sentinel cluster":              {client: redis.NewFailoverClusterClient(failover(true))},
		"sentinel cluster, no timeouts": {client: redis.NewFailoverClusterClient(failover(false)), want: []string{set}},
		"universal":                     {client: redis.NewUniversalClient(&redis.UniversalOptions{Addrs: []string{addr}, ContextTimeoutEnabled: true})},
		"universal, no timeouts":        {client: redis.NewUniversalClient(&redis.UniversalOptions{Addrs: []string{addr}}), want: []string{set}},
		"embedded":                      {client: traced{plain}},
		"embedded, no timeouts":         {client: traced{redis.NewClient(&redis.Options{Addr: addr})}, want: []string{set}},
		"no deadlines":                  {client: redis.NewClient(&redis.Options{Addr: addr, ContextTimeoutEnabled: true, ReadTimeout: never}), want: []string{endless}},
		"no deadlines to write":         {client: redis.NewClient(&redis.Options{Addr: addr, ContextTimeoutEnabled: true, WriteTimeout: never}), want: []string{endless}},
		"the context's alone":           {client: redis.NewClient(&redis.Options{Addr: addr, ContextTimeoutEnabled: true, ReadTimeout: forever, WriteTimeout: forever})},
		"cluster, no deadlines":         {client: cluster(redis.ClusterOptions{ReadTimeout: never}), want: []string{endless}},
		"cluster, none to write":        {client: cluster(redis.ClusterOptions{WriteTimeout: never}), want: []string{endless}},
		"cluster, the context's alone":  {client: cluster(redis.ClusterOptions{ReadTimeout: forever, WriteTimeout: forever})},
		"ring, no deadlines":            {client: ring(redis.RingOptions{ReadTimeout: never}), want: []string{endless}},
		"ring, none to write":           {client: ring(redis.RingOptions{WriteTimeout: never}), want: []string{endless}},
		"ring, the context's alone":     {client: ring(redis.RingOptions{ReadTimeout: forever, WriteTimeout: forever})},
		"sentinel, no deadlines": {
			client: redis.NewFailoverClient(&redis.FailoverOptions{MasterName: "m", SentinelAddrs: []string{addr}, ContextTimeoutEnabled: true, ReadTimeout: never}),
			want:   []string{endless},
		},
		"reads from replicas":    {client: cluster(redis.ClusterOptions{ReadOnly: true}), want: []string{stale}},
		"reads from the nearest": {client: cluster(redis.ClusterOptions{RouteByLatency: true}), want: []string{stale}},
		"reads from any":         {client: cluster(redis.ClusterOptions{RouteRandomly: true}), want: []string{stale}},
		"reads from a cache": {
			client: redis.NewClient(&redis.Options{Addr: addr, Protocol: 3, ContextTimeoutEnabled: true, ClientSideCacheConfig: &redis.ClientSideCacheConfig{}}),
			want:   []string{stale},
		},
		"nil":          {client: nil, want: []string{"client: it is nil"}},
		"nil client":   {client: (*redis.Client)(nil), want: []string{"client: it is nil"}},
		"nil cluster":  {client: (*redis.ClusterClient)(nil), want: []string{"client: it is nil"}},
		"nil ring":     {client: (*redis.Ring)(nil), want: []string{"client: it is nil"}},
		"without view": {client: foreign{plain}, want: []string{"redisstore_test.foreign does not show its options"}},
		"settings":     {client: plain, config: redisstore.Config{Prefix: "a:", WaitReplicas: 2, Timeout: time.Minute, Now: time.Now}},
		"every problem at once": {
			client: redis.NewClient(&redis.Options{Addr: addr}),
			config: redisstore.Config{WaitReplicas: -1, Timeout: -time.Second},
			want:   []string{set, "WaitReplicas: -1 is less than 0", "Timeout: -1s is less than 0"},
		},
	} {
		t.Run(name, func(t *testing.T) {
			if ring, ok := c.client.(*redis.Ring); ok && ring != nil { // it looks for its servers for ever
				defer ring.Close()
			}
			store, err := redisstore.New(c.client, c.config)
			if (err != nil) != (c.want != nil) || (store == nil) != (err != nil) {
				t.Fatalf("store %v, error %v, want %q", store, err, c.want)
			}
			for _, part := range c.want {
				if !strings.Contains(err.Error(), part) {
					t.Errorf("error %q, want %q in it", err, part)
				}
			}
		})
	}
}
