package servers

import (
	"context"
	"errors"
	"fmt"
	"net"
	"testing"
	"time"

	"example.com/gatehouse/internal/testkit/process"
)

// relyingPartyStart bounds the start of a relying party: Apache takes 0.1 s and
// Node 0.7 s on an idle machine.
const relyingPartyStart = 5 * time.Minute

// portTries is how often a server is started again because its port was taken.
// After a free port is chosen, somebody else may get it before the server does.
const portTries = 3

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
	var failures error
	for range portTries {
		port, err := process.FreePort()
		if err != nil {
			t.Fatalf("%s: %v", name, err)
		}
		base := "http://127.0.0.1:" + port
		proc, err := start(ctx, port, register(base+"/callback"))
		if err == nil {
			t.Cleanup(func() {
				proc.Stop()
				if t.Failed() {
					t.Logf("end of the log of %s:\n%s", name, proc.Log(process.LogShown))
				}
			})
			return &RelyingParty{Base: base, Private: base + "/private", proc: proc}
		}
		failures = errors.Join(failures, err)
		if !taken(port) {
			break
		}
	}
	t.Fatalf("%s: %v", name, failures)
	return nil
}

// taken reports whether somebody listens at a port.
func taken(port string) bool {
	l, err := net.Listen("tcp", "127.0.0.1:"+port)
	if err != nil {
		return true
	}
	_ = l.Close() // nobody has connected
	return false
}
