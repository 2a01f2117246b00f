package redisstore_test

import (
	"testing"
	"time"

	"example.com/gatehouse"
	"example.com/gatehouse/internal/testkit/backing"
	"example.com/gatehouse/middlewaretest"
	"example.com/gatehouse/redisstore"
)

// contracts runs the three contracts on a store. hang makes its servers hang.
func contracts(t *testing.T, p place, hang func() (release func())) {
	store, shared := contract(t, p, hang), middlewaretest.StoreProcess(p.process(t))
	t.Run("GrantStore", func(t *testing.T) {
		middlewaretest.TestGrantStore(t, func(*testing.T) gatehouse.GrantStore { return store }, middlewaretest.StoreHang(hang), shared)
	})
	t.Run("RegistrationStore", func(t *testing.T) {
		middlewaretest.TestRegistrationStore(t, func(*testing.T) gatehouse.RegistrationStore { return store }, middlewaretest.StoreHang(hang), shared)
	})
	t.Run("ResourceIDs", func(t *testing.T) {
		middlewaretest.TestResourceIDs(t, func(*testing.T) gatehouse.ResourceIDs { return store }, middlewaretest.StoreHang(hang), shared)
	})
}

// contract is the one of sessions alone.
func contract(t *testing.T, p place, hang func() (release func())) *redisstore.Store {
	store := p.open(t)
	t.Run("Store", func(t *testing.T) {
		middlewaretest.TestStore(t, func(*testing.T) gatehouse.Store { return store },
			middlewaretest.StoreHang(hang), middlewaretest.StoreProcess(p.process(t)))
	})
	return store
}

func TestSingle(t *testing.T) {
	t.Parallel()
	r, p := startOne(t, backing.RedisConfig{})
	contracts(t, p, hangs(r))
}

func TestTLSAndPassword(t *testing.T) {
	t.Parallel()
	r, p := startOne(t, backing.RedisConfig{TLS: true, Password: "a password"})
	contracts(t, p, hangs(r))
}

// patient keeps servers that hang for a part of the contract from being taken
// for dead.
const patient = 20 * time.Second

func TestSentinel(t *testing.T) {
	t.Parallel()
	s, p := startSentinel(t, backing.RedisSentinelConfig{Password: "password", DownAfter: patient})
	contracts(t, p, hangs(append(s.Sentinels, s.Servers...)...))
}

// TestSentinelAfterFailover is the contract on the server that was a replica.
// The client knew the old master.
func TestSentinelAfterFailover(t *testing.T) {
	t.Parallel()
	s, p := startSentinel(t, backing.RedisSentinelConfig{})
	store := p.open(t)
	key := keyOf(t, 0)
	if err := store.CommitCtx(t.Context(), key, []byte("before"), time.Now().Add(time.Hour)); err != nil {
		t.Fatal(err)
	}
	if err := s.Servers[0].Copied(t.Context(), 2); err != nil {
		t.Fatal(err)
	}
	s.Servers[0].Kill()
	now, err := s.Failover(t.Context(), s.Servers[0])
	if err != nil {
		t.Fatal(err)
	}
	eventually(t, startup, func() error { return holds(t.Context(), store, key, "before") })
	// From here on a hang is no death.
	for _, sentinel := range s.Sentinels {
		if _, err := sentinel.Do(t.Context(), "SENTINEL", "SET", s.Master, "down-after-milliseconds", "20000"); err != nil {
			t.Fatal(err)
		}
	}
	contracts(t, p, hangs(now))
}

func TestCluster(t *testing.T) {
	t.Parallel()
	s, p := startCluster(t, backing.RedisClusterConfig{Settings: []string{"cluster-node-timeout 20000"}})
	contracts(t, p, hangs(s.Masters...))
}

func TestRing(t *testing.T) {
	t.Parallel()
	one, p := startOne(t, backing.RedisConfig{})
	two, q := startOne(t, backing.RedisConfig{})
	contract(t, place{Addrs: append(p.Addrs, q.Addrs...), Ring: true}, hangs(one, two))
}

// TestReplicas is the contract of a store that waits for two replicas.
func TestReplicas(t *testing.T) {
	t.Parallel()
	r, _, p := startCopied(t, 2)
	contracts(t, p, hangs(r))
}

// TestClusterReplicas is that of one on a Cluster, which has to know the node
// of a key.
func TestClusterReplicas(t *testing.T) {
	t.Parallel()
	s, p := startCluster(t, backing.RedisClusterConfig{Replicas: 1, Settings: []string{"cluster-node-timeout 20000"}})
	p.Wait = 1
	contract(t, p, hangs(s.Masters...))
}
