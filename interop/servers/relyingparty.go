package servers

import (
	"context"
	"fmt"
	"testing"
	"time"

	"example.com/gatehouse/internal/testkit/process"
)

// relyingPartyStart bounds the start of a relying party: Apache takes 0.1 s and
// Node 0.7 s on an idle machine.
const relyingPartyStart = 5 * time.Minute

// A RelyingPartyClient is a client registered at a provider, with
// client_secret_basic.
type RelyingPartyClient struct {
	Issuer, ID, Secret string
}

// A RelyingParty is a running site with one page behind sign-in, made of
// software that is not gatehouse.
type RelyingParty struct {
	// Base is http://127.0.0.1 with the port. The address itself is public.
	Base string
	// Private is the address of a page that requires sign-in. It is a JSON
	// object with the claims sub, from the ID Token, and email, from user info.
	Private string
	// SignOut is the address that signs out, both here and at the provider, and
	// then leads to SignedOut.
	SignOut, SignedOut string
	proc               *process.Process
}

// Log returns the end of what the server wrote.
func (rp *RelyingParty) Log() string {
	return rp.proc.Log(process.LogShown)
}

// startRelyingParty starts a server for the duration of the test. Register
// makes the client for a redirect URI, and is called once for each port that is
// tried.
func startRelyingParty(t testing.TB, name string, register func(redirectURI string) RelyingPartyClient,
	start func(ctx context.Context, port string, client RelyingPartyClient) (*process.Process, error)) *RelyingParty {
	t.Helper()
	ctx, cancel := context.WithTimeoutCause(t.Context(), relyingPartyStart, fmt.Errorf("%v have passed", relyingPartyStart))
	defer cancel()
	var base string
	_, proc, err := startOnPort(ctx, func(ctx context.Context, port string) (*process.Process, error) {
		base = "http://127.0.0.1:" + port
		return start(ctx, port, register(base+"/callback"))
	})
	if err != nil {
		t.Fatalf("%s: %v", name, err)
	}
	stopAfter(t, name, proc)
	return &RelyingParty{Base: base, Private: base + "/private", proc: proc}
}
