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

// Sign-ins outlive every replica, the command, and PostgreSQL itself.
func TestSignInsStay(t *testing.T) {
	server, err := backing.StartPostgres(t.Context(), backing.PostgresConfig{})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := server.Close(); err != nil {
			t.Error(err)
		}
	})
	replicastest.TestSignInsStay(t, server.DSN(), func() {
		server.Stop(backing.Fast)
		if err := server.Restart(t.Context()); err != nil {
			t.Fatal(err)
		}
	})
}

func TestMissing(t *testing.T) {
	for _, test := range []struct{ name, want, addr string }{
		{"nobody at the address", "PostgreSQL cannot be made ready", "postgres://notes:secret@127.0.0.1:1/notes"},
		{"no address", "PostgreSQL cannot be opened", "postgres://notes:secret@[::1/notes"},
	} {
		t.Run(test.name, func(t *testing.T) {
			said := replicastest.Refused(t, nil, "-addr", test.addr)
			if !strings.Contains(said, test.want) || strings.Contains(said, "secret") {
				t.Errorf("it says %q", said)
			}
		})
	}
}
