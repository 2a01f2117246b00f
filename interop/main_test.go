package interop_test

import (
	"fmt"
	"os"
	"testing"

	"example.com/gatehouse/interop/servers"
)

// shared holds the servers that all tests use together.
var shared servers.Pool

func TestMain(m *testing.M) {
	if path := os.Getenv(clientsFile); path != "" {
		if err := serveClients(path); err != nil {
			fmt.Fprintln(os.Stderr, err)
			os.Exit(1)
		}
		return
	}
	shared.Warm() // Keycloak takes 8 s; other tests run meanwhile
	code := m.Run()
	if err := shared.Stop(); err != nil {
		fmt.Fprintln(os.Stderr, "stop the shared servers:", err)
		code = 1
	}
	if err := removeExamples(); err != nil {
		fmt.Fprintln(os.Stderr, "remove the examples:", err)
		code = 1
	}
	os.Exit(code)
}
