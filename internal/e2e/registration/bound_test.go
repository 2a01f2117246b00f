package registration_test

import (
	"net/http"
	"testing"

	"example.com/gatehouse"
	"example.com/gatehouse/internal/e2e/world"
	"example.com/gatehouse/internal/testkit/opserver"
)

// RP-F2, RP-F3: a client that registered itself binds its tokens to a key as any
// other does. A proof that the provider does not take says nothing about the
// registration: nobody registers anew, and the next sign-in works.
func TestRPF3_RegisteredClientBindsTokens(t *testing.T) {
	s := newSite(t, opserver.RegistrationOptions{}, 0)
	key := signingKey(t, "").Key
	s.Options.Party = func(pc *gatehouse.RelyingPartyConfig) { pc.Client.DPoPKey = key }
	s.AddReplica(s.Options)
	s.SetDPoP(opserver.DPoPOptions{Required: true, Nonce: true})
	ana := s.Visitor("ana")
	ana.SignIn()
	s.Advance(world.Past)
	ana.WantServed(ana.Get("/notes/"))
	if s.Refreshes() == 0 {
		t.Error("no refresh")
	}
	for _, call := range s.CallsTo("token_endpoint") {
		if len(call.Proofs) != 1 {
			t.Errorf("a token request with %d proofs", len(call.Proofs))
		}
	}
	s.WantQuiet()
	s.Reset()
	s.Break(opserver.NonceNeverTaken)
	ben := s.Visitor("ben")
	s.WantRefusal(ben.Do(ben.ToAnswer("/notes/")), http.StatusServiceUnavailable)
	if s.LastCode() != "client_refused" || s.Count(opserver.EndpointToken) != 2 || s.Count(opserver.EndpointRegister) != 0 {
		t.Errorf("%s after %d token requests and %d registrations", s.LastCode(), s.Count(opserver.EndpointToken), s.Count(opserver.EndpointRegister))
	}
	s.Mend(opserver.NonceNeverTaken)
	s.Visitor("ben").SignIn()
	s.wantClients(1)
}
