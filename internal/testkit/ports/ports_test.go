package ports

import (
	"net"
	"testing"
)

// TestFree: no port is given twice, and none that is taken.
func TestFree(t *testing.T) {
	taken, err := Listen()
	if err != nil {
		t.Fatal(err)
	}
	defer taken.Close()
	_, mine, err := net.SplitHostPort(taken.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	seen := map[string]bool{mine: true}
	for range 50 {
		port, err := Free()
		if err != nil {
			t.Fatal(err)
		}
		if seen[port] {
			t.Errorf("port %s again", port)
		}
		seen[port] = true
	}
	given.Add(^uint32(len(seen) - 1)) // the next one would be the one that is taken
	if port, err := Free(); err != nil || port == mine {
		t.Errorf("port %s, error %v, while somebody listens there", port, err)
	}
}
