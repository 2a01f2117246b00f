package middlewaretest

import (
	"time"

	"example.com/gatehouse/internal/testkit/opserver"
)

// RegistrationOptions say how a Server registers clients; see
// [Server.SetRegistration].
type RegistrationOptions struct {
	// InitialAccessToken is what a registration has to bring (RFC 7591 §3). ""
	// means that everybody may register.
	InitialAccessToken string
	// SecretLifetime is how long a secret lasts. 0 means for ever. Advance the
	// [Clock] to see it end.
	SecretLifetime time.Duration
	// RenewOnRead and RenewOnUpdate make the server give a client a new secret
	// when it is read or updated. The old one ends at once. Without either, a
	// client whose secret ends has to register anew.
	RenewOnRead, RenewOnUpdate bool
	// RotateToken makes the server give a new registration access token with
	// each read and update. The old one ends at once.
	RotateToken bool
	// Unmanaged makes the server give no address at which a client can be read,
	// updated and deleted.
	Unmanaged bool
}

// SetRegistration lets clients register themselves from now on, as
// [gatehouse.NewRegistration] does (OpenID Connect Dynamic Client Registration
// 1.0, RFC 7591), and read, update and delete themselves (RFC 7592). Without it
// the server registers nobody and its metadata has no registration_endpoint, so
// call it before the first request of the application.
//
//	op := middlewaretest.NewServer(t)
//	op.SetRegistration(middlewaretest.RegistrationOptions{InitialAccessToken: "let-me-in"})
//
// The server is strict: redirect URIs and response types are those that were
// registered, grant types go with response types, and private_key_jwt needs jwks
// or a jwks_uri, which is fetched. A registered client may return after logout to
// its PostLogoutRedirectURIs alone. The faults of a [Fault] such as
// [OtherRedirectURIs] make the server lie in its answers. [Server.BreakAt] with
// the endpoint "register" makes it fail, hang or send something else.
// [Server.OnRequest] with "register" holds a request, and [Server.Count] counts.
func (s *Server) SetRegistration(o RegistrationOptions) {
	s.op.SetRegistration(&opserver.RegistrationOptions{
		InitialToken: o.InitialAccessToken, SecretLife: o.SecretLifetime, RenewOnRead: o.RenewOnRead,
		RenewOnUpdate: o.RenewOnUpdate, RotateToken: o.RotateToken, Unmanaged: o.Unmanaged,
	})
}

// Registered returns the ids of the clients that have registered themselves and
// are not deleted, in order.
func (s *Server) Registered() []string { return s.op.Registered() }

// ForgetClient removes a client that has registered itself, as a server does that
// was set up anew. An unknown id fails the test.
func (s *Server) ForgetClient(id string) {
	s.t.Helper()
	for _, had := range s.op.Registered() {
		if had == id {
			s.op.Forget(id)
			return
		}
	}
	s.t.Fatalf("middlewaretest: no client %q has registered itself", id)
}
