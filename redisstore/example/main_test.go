//go:build unix

package main

import (
	"strings"
	"testing"

	"example.com/gatehouse/internal/testkit/backing"
	"example.com/gatehouse/internal/testkit/replicastest"
)

func TestMain(m *testing.M) { replicastest.Main(m, main) }

func TestReplicas(t *testing.T) { replicastest.TestReplicas(t) }

// Sign-ins outlive every replica, the command, and Redis itself.
func TestSignInsStay(t *testing.T) {
	server, err := backing.StartRedis(t.Context(), backing.RedisConfig{Password: "secret"})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := server.Close(); err != nil {
			t.Error(err)
		}
	})
	replicastest.TestSignInsStay(t, "redis://:secret@"+server.Addr+"/0", func() {
		if err := server.Restart(t.Context()); err != nil {
			t.Fatal(err)
		}
	})
}

func TestMissing(t *testing.T) {
	replica, err := backing.StartRedis(t.Context(), backing.RedisConfig{Settings: []string{"replicaof 127.0.0.1 1"}})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := replica.Close(); err != nil {
			t.Error(err)
		}
	})
	for _, test := range []struct {
		name, want        string
		environment, args []string
	}{
		{"no server", "redis-server is not installed", []string{"PATH="}, nil},
		{"nobody at the address", "Redis does not answer", nil, []string{"-addr", "127.0.0.1:1"}},
		{"a replica of another Redis", "Redis takes no changes: redisstore: swap: READONLY", nil, []string{"-addr", replica.Addr}},
		{"no address", "Redis cannot be opened", nil, []string{"-addr", "redis://:secret@[::1/0"}},
	} {
		t.Run(test.name, func(t *testing.T) {
			said := replicastest.Refused(t, test.environment, test.args...)
			if !strings.Contains(said, test.want) || strings.Contains(said, "secret") {
				t.Errorf("it says %q", said)
			}
		})
	}
}
