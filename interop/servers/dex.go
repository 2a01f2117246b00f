package servers

import (
	"context"
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"testing"
	"time"

	"example.com/gatehouse/internal/testkit/process"
)

// dexStart bounds the start of Dex, should it hang. It takes 0.2 s on an idle
// machine.
const dexStart = 5 * time.Minute

// A DexClient is a client registered at Dex from its start.
type DexClient struct {
	ID           string   `json:"id"`
	Secret       string   `json:"secret"`
	RedirectURIs []string `json:"redirectURIs"`
	// TrustedPeers are clients that may get tokens for this one.
	TrustedPeers []string `json:"trustedPeers,omitempty"`
}

// StartDex starts a Dex for the duration of the test and returns its issuer. Its
// only person is alice@example.test with the password alice. There is no consent
// page.
func StartDex(t testing.TB, clients ...DexClient) (issuer string) {
	t.Helper()
	issuer, proc, err := startDex(t.Context(), clients)
	if err != nil {
		t.Fatalf("dex: %v", err)
	}
	t.Cleanup(func() {
		proc.Stop()
		if t.Failed() {
			t.Logf("end of the log of dex:\n%s", proc.Log(process.LogShown))
		}
	})
	return issuer
}

func startDex(ctx context.Context, clients []DexClient) (string, *process.Process, error) {
	dir, err := installDir()
	if err != nil {
		return "", nil, err
	}
	program, err := installDex(ctx, dir)
	if err != nil {
		return "", nil, err
	}
	settings, err := json.Marshal(clients)
	if err != nil {
		return "", nil, err
	}
	cmd := exec.Command(program)
	cmd.Env = append(os.Environ(), "DEX_CLIENTS="+string(settings))
	var said struct {
		Issuer string `json:"issuer"`
	}
	ctx, cancel := context.WithTimeoutCause(ctx, dexStart, fmt.Errorf("%v have passed", dexStart))
	defer cancel()
	proc, err := process.Start(ctx, "dex", cmd, func(line []byte) bool {
		return json.Unmarshal(line, &said) == nil && said.Issuer != ""
	})
	return said.Issuer, proc, err
}
