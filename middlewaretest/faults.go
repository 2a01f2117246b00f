package middlewaretest

import "example.com/gatehouse/internal/opserver"

// Fault is something that the server does wrong while it is switched on; see
// [Server.Break]. Each is named after the rule it breaks.
type Fault string

// Faults of the OpenID provider.
const (
	WrongNonce             = Fault(opserver.WrongNonce)             // OpenID Connect Core §3.1.3.7 item 11
	MissingNonce           = Fault(opserver.MissingNonce)           // OpenID Connect Core §3.1.3.7 item 11
	WrongIssuer            = Fault(opserver.WrongIssuer)            // OpenID Connect Core §3.1.3.7 item 2
	WrongAudience          = Fault(opserver.WrongAudience)          // OpenID Connect Core §3.1.3.7 item 3
	WrongAuthorizedParty   = Fault(opserver.WrongAuthorizedParty)   // OpenID Connect Core §3.1.3.7 item 5
	WrongSignature         = Fault(opserver.WrongSignature)         // OpenID Connect Core §3.1.3.7 item 6
	UnsignedIDToken        = Fault(opserver.UnsignedIDToken)        // OpenID Connect Core §3.1.3.7 item 7: alg none
	ExpiredIDToken         = Fault(opserver.ExpiredIDToken)         // OpenID Connect Core §3.1.3.7 item 9
	MissingIssuedAt        = Fault(opserver.MissingIssuedAt)        // OpenID Connect Core §2: iat
	MissingSubject         = Fault(opserver.MissingSubject)         // OpenID Connect Core §2: sub
	OldAuthentication      = Fault(opserver.OldAuthentication)      // OpenID Connect Core §3.1.3.7 item 13: auth_time
	WrongAccessTokenHash   = Fault(opserver.WrongAccessTokenHash)   // OpenID Connect Core §3.1.3.8: at_hash
	MissingIDToken         = Fault(opserver.MissingIDToken)         // OpenID Connect Core §3.1.3.3
	RefreshOtherSubject    = Fault(opserver.RefreshOtherSubject)    // OpenID Connect Core §12.2: sub
	UserInfoWrongSubject   = Fault(opserver.UserInfoWrongSubject)   // OpenID Connect Core §5.3.2: sub
	MetadataIssuerMismatch = Fault(opserver.MetadataIssuerMismatch) // OpenID Connect Discovery §4.3
	WrongState             = Fault(opserver.WrongState)             // RFC 6749 §4.1.2; redeeming the code is a violation
	WrongResponseIssuer    = Fault(opserver.WrongResponseIssuer)    // RFC 9207 §2.4; redeeming the code is a violation
	MissingResponseIssuer  = Fault(opserver.MissingResponseIssuer)  // RFC 9207 §2.4; redeeming the code is a violation
	NoExpiresIn            = Fault(opserver.NoExpiresIn)            // RFC 6749 §5.1: only recommended
)

// Faults of the UMA authorization server.
const (
	SameTicketBack          = Fault(opserver.SameTicketBack)          // UMA Grant §3.3.6: a new ticket
	NeedInfoForever         = Fault(opserver.NeedInfoForever)         // UMA Grant §3.3.6: no claim is ever enough
	PartialGrant            = Fault(opserver.PartialGrant)            // UMA Grant §3.3.4: a part of what was asked, with 200
	PermissionExpired       = Fault(opserver.PermissionExpired)       // UMA Federated Authorization §5.1.1: exp
	PermissionNotYetValid   = Fault(opserver.PermissionNotYetValid)   // UMA Federated Authorization §5.1.1: nbf
	PermissionWithoutScopes = Fault(opserver.PermissionWithoutScopes) // UMA Federated Authorization §5.1.1: resource_scopes empty
	ScopesAtTopLevel        = Fault(opserver.ScopesAtTopLevel)        // UMA Federated Authorization §5.1.1: scope beside permissions
	LostPAT                 = Fault(opserver.LostPAT)                 // RFC 6750 §3.1: PATs given until now are unknown for good
	LostResource            = Fault(opserver.LostResource)            // UMA Federated Authorization §4.2: resources made until now are gone for good
)

// Faults that any endpoint can have; see [Server.BreakAt].
const (
	TokenEndpointDown        = Fault(opserver.TokenEndpointDown)        // RFC 9110 §15.6.1: 500 from the token endpoint
	IntrospectionDown        = Fault(opserver.IntrospectionDown)        // RFC 9110 §15.6.4: 503 from introspection
	EndpointDown             = Fault(opserver.EndpointDown)             // RFC 9110 §15.6.4: 503
	AuthorizationServerHangs = Fault(opserver.AuthorizationServerHangs) // no answer until the client leaves or the fault is mended
	HugeAnswer               = Fault(opserver.HugeAnswer)               // valid JSON behind 8 MiB of white space
	HTMLAnswer               = Fault(opserver.HTMLAnswer)               // 200 and a page where JSON belongs
)

// Break switches faults on.
func (s *Server) Break(faults ...Fault) {
	s.t.Helper()
	for _, f := range faults {
		s.check(s.op.SetFault(opserver.Fault(f), true))
	}
}

// BreakAt switches a fault of the last group on at the named endpoints alone;
// [Server.Count] lists the names.
func (s *Server) BreakAt(f Fault, endpoints ...string) {
	s.t.Helper()
	s.check(s.op.SetFaultAt(opserver.Fault(f), true, endpoints...))
}

// Mend switches faults off; without arguments, all of them.
func (s *Server) Mend(faults ...Fault) {
	s.t.Helper()
	if len(faults) == 0 {
		for _, f := range opserver.Faults() {
			faults = append(faults, Fault(f))
		}
	}
	for _, f := range faults {
		s.check(s.op.SetFault(opserver.Fault(f), false))
	}
}
