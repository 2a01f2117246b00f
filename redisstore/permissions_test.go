package redisstore_test

import (
	"testing"
	"time"

	"github.com/redis/go-redis/v9"

	"example.com/gatehouse/internal/testkit/backing"
	"example.com/gatehouse/redisstore"
)

// TestPermissions: a user who may do no more than the README lists can be the
// store's.
func TestPermissions(t *testing.T) {
	const name, password = "store", "secret"
	lone, copies, _ := startCopied(t, 1)
	sentinel, _ := startSentinel(t, backing.RedisSentinelConfig{})
	cluster, _ := startCluster(t, backing.RedisClusterConfig{Replicas: 1})
	for _, s := range sentinel.Sentinels {
		if _, err := s.Do(t.Context(), "ACL", "SETUSER", name, "reset", "on", ">"+password, "+sentinel|get-master-addr-by-name", "+sentinel|sentinels",
			"+subscribe", "&+switch-master", "&+replica-reconf-done"); err != nil {
			t.Fatal(err)
		}
	}
	for _, c := range []struct {
		name    string
		servers []*backing.Redis
		more    []string // rules beside those for every Redis
		client  redis.UniversalClient
	}{
		{"one server", append(copies, lone), nil, redis.NewClient(&redis.Options{Addr: lone.Addr, Username: name, Password: password, ContextTimeoutEnabled: true})},
		{"ring", []*backing.Redis{lone}, []string{"+ping"}, redis.NewRing(&redis.RingOptions{
			Addrs: map[string]string{"a": lone.Addr}, Username: name, Password: password, ContextTimeoutEnabled: true,
			HeartbeatFrequency: time.Millisecond, // soon takes a shard for dead that does not answer PING
		})},
		{"cluster", append(cluster.Masters, cluster.Replicas...), []string{"+cluster|slots", "+asking"},
			redis.NewClusterClient(&redis.ClusterOptions{Addrs: cluster.Addrs, Username: name, Password: password, ContextTimeoutEnabled: true})},
		{"sentinel", sentinel.Servers, nil, redis.NewFailoverClient(&redis.FailoverOptions{
			MasterName: sentinel.Master, SentinelAddrs: sentinel.Addrs, SentinelUsername: name, SentinelPassword: password,
			Username: name, Password: password, ContextTimeoutEnabled: true,
		})},
	} {
		for _, wait := range []int{0, 1} {
			rules := append([]string{"ACL", "SETUSER", name, "reset", "on", ">" + password, "~test:*", "+get", "+mget", "+set", "+del", "+eval", "+evalsha"}, c.more...)
			if wait > 0 {
				rules = append(rules, "+wait")
			}
			for _, server := range c.servers {
				if _, err := server.Do(t.Context(), rules...); err != nil {
					t.Fatal(err)
				}
			}
			store, err := redisstore.New(c.client, redisstore.Config{Prefix: "test:", WaitReplicas: wait})
			if err != nil {
				t.Fatal(err)
			}
			at := &site{Store: store, key: keyOf(t, wait) + c.name}
			eventually(t, startup, func() error { return store.DeleteCtx(t.Context(), at.key) }) // a ring asks first whether its shards are there
			lay(t, store, at.key)
			for range 3 {
				at.mustWork(t)
			}
		}
		if err := c.client.Close(); err != nil {
			t.Error(err)
		}
	}
	for _, s := range sentinel.Sentinels { // go-redis goes on without what it may not do there
		if denied, err := s.Do(t.Context(), "ACL", "LOG"); err != nil || len(denied.([]any)) > 0 {
			t.Errorf("a Sentinel has denied %v (%v)", denied, err)
		}
	}
}
