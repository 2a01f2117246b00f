package servers

import (
	"context"
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"strings"
	"testing"
	"time"

	"github.com/chromedp/chromedp"

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
// page. It knows all types of answers.
func StartDex(t testing.TB, clients ...DexClient) (issuer string) {
	t.Helper()
	issuer, proc, err := startDex(t.Context(), clients)
	if err != nil {
		t.Fatalf("dex: %v", err)
	}
	stopAfter(t, "dex", proc)
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

// DexSignIn fills in the login page of Dex and returns when the browser has left
// it. The browser is at that page, or on the way to it.
func DexSignIn(t testing.TB, browser *Chromium, issuer string) {
	t.Helper()
	browser.Run(t, "sign in at dex",
		chromedp.SendKeys(chromedp.CSS(`#login`), "alice@example.test"),
		chromedp.SendKeys(chromedp.CSS(`#password`), "alice"),
		chromedp.Click(chromedp.CSS(`#submit-login`)),
	)
	browser.WaitOutside(t, strings.TrimSuffix(issuer, "/dex"))
}
