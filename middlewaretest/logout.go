package middlewaretest

import (
	"testing"

	"example.com/gatehouse"
	"example.com/gatehouse/internal/testkit/opserver"
)

// LogoutURIs are the addresses at which a client is told of logouts. "" means
// that it is not.
type LogoutURIs struct {
	// Backchannel gets logout tokens (OpenID Connect Back-Channel Logout 1.0).
	Backchannel string
	// Frontchannel is shown in a frame by the provider's page after logout
	// (OpenID Connect Front-Channel Logout 1.0).
	Frontchannel string
}

// SetLogout registers where a client is told of logouts:
//
//	op.SetLogout(client, middlewaretest.LogoutURIs{Backchannel: base + "/auth/backchannel-logout"})
//
// When a session at the provider ends, at the end session endpoint or by
// [Server.EndSessions], every client that signed the person in with it gets a
// logout token with sub and sid, before that is answered. The page after logout
// shows the frames; [Browser] loads them.
func (s *Server) SetLogout(c gatehouse.Client, l LogoutURIs) {
	s.t.Helper()
	s.check(s.op.SetLogoutURIs(c.ID, l.Backchannel, l.Frontchannel))
}

// LogoutToken returns one logout token made by hand, for a client that
// [Server.SetLogout] need not know. It has iss, aud, iat, exp, jti and events, and
// ends in two minutes. Name the person or the session, or both, in the claims:
// sub is what [gatehouse.Identity] calls Subject, and sid stands in the ID Token.
// The claims lie over the others. A nil takes one away, and a time.Time is
// written as the number that it stands for.
//
// Each fault breaks this token alone: those of a logout token, and those that
// [Server.Break] breaks ID Tokens with, as far as they fit. One that changes
// nothing fails the test. To send the same token twice, keep it.
func (s *Server) LogoutToken(t testing.TB, c gatehouse.Client, claims Claims, faults ...Fault) string {
	t.Helper()
	list := make([]opserver.Fault, 0, len(faults))
	for _, f := range faults {
		list = append(list, opserver.Fault(f))
	}
	token, err := s.op.LogoutToken(c.ID, claims, list...)
	if err != nil {
		t.Fatal("middlewaretest: LogoutToken: ", withoutPackage(err))
	}
	return token
}

// SendLogout sends a logout token to the address that [Server.SetLogout] has
// registered for the client, and returns the status of the answer.
func (s *Server) SendLogout(t testing.TB, c gatehouse.Client, token string) int {
	t.Helper()
	status, err := s.op.SendLogout(c.ID, token)
	if err != nil {
		t.Fatal("middlewaretest: SendLogout: ", withoutPackage(err))
	}
	return status
}
