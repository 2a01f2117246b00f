package opserver

import "slices"

// Fault is something that the server does wrong while the fault is switched on.
// Each fault is named after the rule it breaks. A few break no rule but use a
// liberty that a client must tolerate; their comments say so. RP-… are the rows
// of the behaviours of a relying party.
type Fault string

// Faults of the metadata. OpenID Connect Discovery §3, §4.
const (
	MetadataIssuerMismatch Fault = "metadata-issuer-mismatch" // Discovery §4.3: issuer is the one requested (RP-D2)
	MetadataIssuerSlash    Fault = "metadata-issuer-slash"    // Discovery §4.3: to the last byte (RP-D1)
	InsecureEndpoint       Fault = "insecure-endpoint"        // Discovery §3: the token endpoint uses https (RP-D3)
	OddMetadata            Fault = "odd-metadata"             // liberty: unknown members, another order of words, "none" among the algorithms (RP-D4)
	NoChallengeMethods     Fault = "no-challenge-methods"     // liberty: RFC 8414 §2 makes code_challenge_methods_supported optional (RP-D6)
	PlainChallengeOnly     Fault = "plain-challenge-only"     // RFC 7636 §4.2: servers support S256
	MTLSAliases            Fault = "mtls-aliases"             // liberty: RFC 8705 §5, only for clients with certificates (RP-T8)
)

// Faults of the answer that the browser brings. OpenID Connect Core §3.1.2.5.
const (
	WrongState            Fault = "wrong-state"             // RFC 6749 §4.1.2: state is the one sent (RP-C1)
	MissingState          Fault = "missing-state"           // RFC 6749 §4.1.2: state comes back (RP-C1)
	WrongResponseIssuer   Fault = "wrong-response-issuer"   // RFC 9207 §2.4: iss is the provider's (RP-C5)
	MissingResponseIssuer Fault = "missing-response-issuer" // RFC 9207 §2: iss is present when announced (RP-C5)
	NoResponseIssuer      Fault = "no-response-issuer"      // liberty: iss neither announced nor sent (RP-C5)
	RepeatedCode          Fault = "repeated-code"           // RFC 6749 §3.1: no parameter twice (RP-C2)
	RepeatedState         Fault = "repeated-state"          // RFC 6749 §3.1: no parameter twice (RP-C2)
	MissingCode           Fault = "missing-code"            // RFC 6749 §4.1.2: code is required
	ErrorAnswer           Fault = "error-answer"            // liberty: Core §3.1.2.6 login_required, with markup in its text (RP-C3)
	ErrorWrongState       Fault = "error-wrong-state"       // RFC 6749 §4.1.2.1: state is the one sent (RP-C3)
	OtherResponseMode     Fault = "other-response-mode"     // Multiple Response Types §2.1: the mode is the one asked for (RP-C6)

	MissingFrontIDToken     Fault = "missing-front-id-token"     // Core §3.2.2.5: id_token is there if asked for
	MissingFrontAccessToken Fault = "missing-front-access-token" // Core §3.2.2.5: access_token is there if asked for
	OtherFrontTokenType     Fault = "other-front-token-type"     // Core §3.2.2.5: token_type is Bearer
)

// Faults of the answer of the token endpoint. OpenID Connect Core §3.1.3.3.
const (
	CodeRefused        Fault = "code-refused"         // liberty: RFC 6749 §5.2 invalid_grant (RP-T5)
	ClientRefused      Fault = "client-refused"       // liberty: RFC 6749 §5.2 invalid_client with 401 (RP-T5)
	ErrorAsSuccess     Fault = "error-as-success"     // RFC 6749 §5.2: an error has status 400 (RP-T5)
	OddTokenType       Fault = "odd-token-type"       // liberty: RFC 6749 §5.1 token_type in any case (RP-T6)
	NoExpiresIn        Fault = "no-expires-in"        // liberty: RFC 6749 §5.1 expires_in is recommended (RP-T6)
	NoScope            Fault = "no-scope"             // liberty: RFC 6749 §5.1 scope is optional if it is as requested (RP-T6)
	UnknownTokenType   Fault = "unknown-token-type"   // Core §3.1.3.3: token_type is Bearer (RP-T7)
	MissingTokenType   Fault = "missing-token-type"   // RFC 6749 §5.1: token_type is required (RP-T7)
	MissingAccessToken Fault = "missing-access-token" // RFC 6749 §5.1: access_token is required
	MissingIDToken     Fault = "missing-id-token"     // Core §3.1.3.3: id_token is required (RP-T7)
)

// Faults of the answer to a request with a proof. RFC 9449.
const (
	UnboundToken    Fault = "unbound-token"     // §5: token_type is DPoP; here Bearer (RP-F3)
	NonceNeverTaken Fault = "nonce-never-taken" // §8: the nonce that was given is taken; here each time another is wanted (RP-F2)
)

// Faults in the claims of the ID Token. OpenID Connect Core §2, §3.1.3.7.
const (
	WrongIssuer            Fault = "wrong-issuer"              // §3.1.3.7 item 2: iss (RP-I1)
	IssuerSlash            Fault = "issuer-slash"              // §3.1.3.7 item 2: iss to the last byte (RP-I1)
	MissingIssuer          Fault = "missing-issuer"            // §2: iss is required (RP-I1)
	WrongAudience          Fault = "wrong-audience"            // §3.1.3.7 item 3: aud holds the client (RP-I2)
	MissingAudience        Fault = "missing-audience"          // §2: aud is required (RP-I2)
	EmptyAudience          Fault = "empty-audience"            // §3.1.3.7 item 3: aud holds the client (RP-I2)
	AudienceArray          Fault = "audience-array"            // liberty: §2 aud may be an array of one (RP-I3)
	SecondAudience         Fault = "second-audience"           // §3.1.3.7 item 3: no untrusted audience (RP-I4)
	WrongAuthorizedParty   Fault = "wrong-authorized-party"    // §3.1.3.7 item 5: azp is the client (RP-I4)
	MissingSubject         Fault = "missing-subject"           // §2: sub is required (RP-I5)
	EmptySubject           Fault = "empty-subject"             // §2: sub names the person (RP-I5)
	SubjectNotString       Fault = "subject-not-string"        // §2: sub is a string (RP-I5)
	MissingIssuedAt        Fault = "missing-issued-at"         // §2: iat is required (RP-I6)
	MissingExpiry          Fault = "missing-expiry"            // §2: exp is required (RP-I7)
	ExpiredIDToken         Fault = "expired-id-token"          // §3.1.3.7 item 9: now is before exp; here six minutes past (RP-I7)
	ExpiredWithinSkew      Fault = "expired-within-skew"       // liberty: §3.1.3.7 item 9 allows for clock skew, 50 s here (RP-I7)
	IssuedLongAgo          Fault = "issued-long-ago"           // §3.1.3.7 item 10: iat is not too far away; here a week ago (RP-I8)
	IssuedInFuture         Fault = "issued-in-future"          // §3.1.3.7 item 10: iat is not too far away; here an hour ahead (RP-I8)
	NotYetValid            Fault = "not-yet-valid"             // RFC 7519 §4.1.5: now is after nbf; here an hour ahead (RP-I8)
	WrongNonce             Fault = "wrong-nonce"               // §3.1.3.7 item 11: nonce is the one sent (RP-I9)
	MissingNonce           Fault = "missing-nonce"             // §3.1.3.7 item 11: nonce is present (RP-I9)
	OldAuthentication      Fault = "old-authentication"        // §3.1.3.7 item 13: auth_time within max_age (RP-A5)
	MissingAuthTime        Fault = "missing-auth-time"         // §2: auth_time is required when max_age was requested (RP-A5)
	WrongAccessTokenHash   Fault = "wrong-access-token-hash"   // §3.1.3.8: at_hash matches the access token (RP-I16)
	MissingAccessTokenHash Fault = "missing-access-token-hash" // liberty: §3.1.3.6 at_hash is optional but beside an access token from the browser (RP-I16)
	WrongCodeHash          Fault = "wrong-code-hash"           // §3.3.2.10: c_hash matches the code beside the token (RP-I15)
	MissingCodeHash        Fault = "missing-code-hash"         // §3.3.2.11: c_hash is required beside a code (RP-I15)
	FrontOtherSubject      Fault = "front-other-subject"       // §3.3.3.6: the ID Token beside a code has the sub of the one for it (RP-I17)
	RepeatedClaim          Fault = "repeated-claim"            // RFC 7519 §4: claim names are unique
	OtherCaseClaim         Fault = "other-case-claim"          // RFC 7519 §4: names are case-sensitive
	LogoutEvent            Fault = "logout-event"              // Back-Channel Logout §2.4: events belongs to logout tokens
	RefreshOtherSubject    Fault = "refresh-other-subject"     // §12.2: sub stays the same
)

// Faults in the form and signature of the ID Token. RFC 7515, RFC 8725.
const (
	UnsignedIDToken       Fault = "unsigned-id-token"       // Core §3.1.3.7 item 7: alg is the registered one; here none (RP-I10)
	UnsignedOddCase       Fault = "unsigned-odd-case"       // RFC 8725 §3.2: nor in another spelling; here None (RP-I10)
	EmptySignature        Fault = "empty-signature"         // Core §3.1.3.7 item 6: there is a signature (RP-I10)
	OtherAlgorithm        Fault = "other-algorithm"         // Core §3.1.3.7 item 7: alg is the registered one; key and signature are good (RP-I11)
	HMACWithPublicKey     Fault = "hmac-with-public-key"    // RFC 8725 §2.1: a public key is not a secret (RP-I12)
	HMACWithSecret        Fault = "hmac-with-secret"        // Core §3.1.3.7 item 7: HS256 is not the registered alg (RP-I12)
	WrongSignature        Fault = "wrong-signature"         // Core §3.1.3.7 item 6: the signature verifies (RP-I13)
	UnknownCriticalHeader Fault = "unknown-critical-header" // RFC 7515 §4.1.11: critical extensions are understood (RP-I14)
	KeyInHeader           Fault = "key-in-header"           // RFC 8725 §3.10: jwk is not trusted (RP-I14)
	KeyURLInHeader        Fault = "key-url-in-header"       // RFC 8725 §3.10: jku and x5u are not followed (RP-I14)
	WrongTokenType        Fault = "wrong-token-type"        // RFC 8725 §3.11: typ is not that of another kind of token (RP-I14)
	FivePartIDToken       Fault = "five-part-id-token"      // RFC 7515 §3.1: three parts (RP-I14)
	PaddedIDToken         Fault = "padded-id-token"         // RFC 7515 §2: base64url without padding (RP-I14)
	JSONSerializedIDToken Fault = "json-serialized"         // RFC 7519 §1: JWTs are compact (RP-I14)
	HugeIDToken           Fault = "huge-id-token"           // no rule: half a megabyte, signed (RP-I14)
	NoKeyID               Fault = "no-key-id"               // liberty: RFC 7515 §4.1.4 kid is optional (RP-K2, RP-K3)
	UnknownKeyID          Fault = "unknown-key-id"          // Core §10.1: kid names a key of the set (RP-K7)
)

// Faults of a logout token. Back-Channel Logout §2.4.
const (
	LogoutNonce           Fault = "logout-nonce"           // §2.4: there is no nonce (RP-L9)
	LogoutNonceNull       Fault = "logout-nonce-null"      // §2.4: nor one that is null (RP-L9)
	MissingLogoutEvent    Fault = "missing-logout-event"   // §2.4: events has the event (RP-L9)
	WrongLogoutEvent      Fault = "wrong-logout-event"     // §2.4: under its exact name (RP-L9)
	LogoutEventNoObject   Fault = "logout-event-no-object" // §2.4: whose value is an object (RP-L9)
	MissingLogoutID       Fault = "missing-logout-id"      // §2.4: jti is required (RP-L10)
	MissingLogoutPerson   Fault = "missing-logout-person"  // §2.4: sub or sid is there (RP-L10)
	OldLogoutType         Fault = "old-logout-type"        // §2.4: typ is logout+jwt; here JWT, as before the specification was final
	IDTokenForLogoutToken Fault = "id-token-for-logout"    // §2.6: an ID Token is no logout token (RP-L11)
)

// Faults of the key set. RFC 7517.
const (
	OddKeys           Fault = "odd-keys"            // liberty: RFC 7517 §5 unknown content is skipped (RP-K1)
	ThreeKeys         Fault = "three-keys"          // liberty: several keys of one kind, the right one last (RP-K3)
	DecoyKeys         Fault = "decoy-keys"          // liberty: one kid on keys of several kinds (RP-K4)
	EncryptionKey     Fault = "encryption-key"      // RFC 7517 §4.2: a key with use enc signs nothing (RP-K5)
	OtherKeyAlgorithm Fault = "other-key-algorithm" // RFC 7517 §4.4: a key is used with its alg (RP-K5)
	WithdrawnKey      Fault = "withdrawn-key"       // Core §10.1.1: the signing key is in the set (RP-K7)
	EmptyKeySet       Fault = "empty-key-set"       // Core §10.1: the set has the signing key (RP-K7)
)

// Faults of user info. OpenID Connect Core §5.3.
const (
	UserInfoWrongSubject   Fault = "userinfo-wrong-subject"   // §5.3.2: sub is that of the ID Token (RP-U2)
	UserInfoMissingSubject Fault = "userinfo-missing-subject" // §5.3.2: sub is required (RP-U2)
	UserInfoRefused        Fault = "userinfo-refused"         // §5.3.3: the token is good, but the answer is 401 (RP-U2)
	ClaimSources           Fault = "claim-sources"            // liberty: §5.6.2 claims that are elsewhere, in the ID Token too (RP-U4)
)

// Faults of an answer about a client that registers itself. RFC 7591 §3.2.1.
const (
	OtherRedirectURIs      Fault = "other-redirect-uris"      // Registration §3.2: redirect_uris are those that were sent
	MissingClientSecret    Fault = "missing-client-secret"    // Registration §3.2: client_secret is there if the client authenticates with it
	UnknownClientAuth      Fault = "unknown-client-auth"      // liberty: token_endpoint_auth_method may be another; here tls_client_auth
	ClientManagedElsewhere Fault = "client-managed-elsewhere" // RFC 7592 §3 does not say where; here at another origin
	OtherClientName        Fault = "other-client-name"        // liberty: other metadata may be replaced
)

// Faults of UMA.
const (
	SameTicketBack          Fault = "same-ticket-back"          // Grant §3.3.6: the ticket is new
	NeedInfoForever         Fault = "need-info-forever"         // Grant §3.3.6: need_info asks for what is missing
	TokenEndpointElsewhere  Fault = "token-endpoint-elsewhere"  // liberty: RFC 8414 §2, an endpoint may be on another host; localhost for 127.0.0.1
	NeedInfoNoHint          Fault = "need-info-no-hint"         // Grant §3.3.6: required_claims or redirect_user is present
	RedirectUserMalformed   Fault = "redirect-user-malformed"   // Grant §3.3.6: redirect_user is a URI to which parameters can be added
	ClaimsElsewhere         Fault = "claims-elsewhere"          // no rule: redirect_user leads to another origin
	ClaimsWrongState        Fault = "claims-wrong-state"        // Grant §3.3.3: state is the one sent
	ClaimsNoState           Fault = "claims-no-state"           // Grant §3.3.3: state comes back
	ClaimsTwoStates         Fault = "claims-two-states"         // RFC 6749 §3.1: no parameter twice
	ClaimsNoTicket          Fault = "claims-no-ticket"          // Grant §3.3.3: ticket is required
	ClaimsTwoTickets        Fault = "claims-two-tickets"        // RFC 6749 §3.1: no parameter twice
	TicketWithPadding       Fault = "ticket-with-padding"       // liberty: a ticket is any string, here with == at its end
	LongTicket              Fault = "long-ticket"               // liberty: a ticket is any string, here of 8 KiB
	PartialGrant            Fault = "partial-grant"             // Grant §3.3.4: less than requested may be granted
	PermissionExpired       Fault = "permission-expired"        // Federated Authorization §5.1.1: exp of a permission
	PermissionNotYetValid   Fault = "permission-not-yet-valid"  // Federated Authorization §5.1.1: nbf of a permission
	PermissionWithoutScopes Fault = "permission-without-scopes" // Federated Authorization §5.1.1: resource_scopes may be empty
	ScopesAtTopLevel        Fault = "scopes-at-top-level"       // Federated Authorization §5.1.1: no scope member
	LostPAT                 Fault = "lost-pat"                  // RFC 6750 §3.1: PATs issued before the fault are unknown
	LostResource            Fault = "lost-resource"             // Federated Authorization §4.1: resources registered before the fault are unknown
)

// Faults that any endpoint can have. Except for the first two they affect every
// endpoint, unless they are set with [Server.SetFaultAt].
const (
	TokenEndpointDown        Fault = "token-endpoint-down"        // RFC 9110 §15.6.1: 500 from the token endpoint
	IntrospectionDown        Fault = "introspection-down"         // RFC 9110 §15.6.4: 503 from introspection
	EndpointDown             Fault = "endpoint-down"              // RFC 9110 §15.6.4: 503
	EndpointFails            Fault = "endpoint-fails"             // RFC 9110 §15.6.1: 500
	EndpointGone             Fault = "endpoint-gone"              // RFC 9110 §15.5.5: 404
	AuthorizationServerHangs Fault = "authorization-server-hangs" // no answer until the client leaves or the fault ends
	HugeAnswer               Fault = "huge-answer"                // a valid answer behind 8 MiB of white space
	HTMLAnswer               Fault = "html-answer"                // 200 with a page instead of JSON
	TruncatedAnswer          Fault = "truncated-answer"           // the connection ends in the middle of an answer
	RedirectingAnswer        Fault = "redirecting-answer"         // RFC 9110 §15.4.8: 307; following it with secrets is a violation
)

// OpenIDFaults lists the faults of the OpenID provider in the order above.
func OpenIDFaults() []Fault {
	return []Fault{
		MetadataIssuerMismatch, MetadataIssuerSlash, InsecureEndpoint, OddMetadata, NoChallengeMethods,
		PlainChallengeOnly, MTLSAliases,
		WrongState, MissingState, WrongResponseIssuer, MissingResponseIssuer, NoResponseIssuer, RepeatedCode,
		RepeatedState, MissingCode, ErrorAnswer, ErrorWrongState,
		CodeRefused, ClientRefused, ErrorAsSuccess, OddTokenType, NoExpiresIn, NoScope, UnknownTokenType,
		MissingTokenType, MissingAccessToken, MissingIDToken,
		WrongIssuer, IssuerSlash, MissingIssuer, WrongAudience, MissingAudience, EmptyAudience, AudienceArray,
		SecondAudience, WrongAuthorizedParty, MissingSubject, EmptySubject, SubjectNotString, MissingIssuedAt,
		MissingExpiry, ExpiredIDToken, ExpiredWithinSkew, IssuedLongAgo, IssuedInFuture, NotYetValid, WrongNonce,
		MissingNonce, OldAuthentication, MissingAuthTime, WrongAccessTokenHash, MissingAccessTokenHash,
		RepeatedClaim, OtherCaseClaim, LogoutEvent, RefreshOtherSubject,
		UnsignedIDToken, UnsignedOddCase, EmptySignature, OtherAlgorithm, HMACWithPublicKey, HMACWithSecret,
		WrongSignature, UnknownCriticalHeader, KeyInHeader, KeyURLInHeader, WrongTokenType, FivePartIDToken,
		PaddedIDToken, JSONSerializedIDToken, HugeIDToken, NoKeyID, UnknownKeyID,
		OddKeys, ThreeKeys, DecoyKeys, EncryptionKey, OtherKeyAlgorithm, WithdrawnKey, EmptyKeySet,
		UserInfoWrongSubject, UserInfoMissingSubject, UserInfoRefused, ClaimSources,
	}
}

// FrontFaults lists the faults of an answer that has more than a code, or another
// mode, in the order above. They show only in such answers.
func FrontFaults() []Fault {
	return []Fault{OtherResponseMode, MissingFrontIDToken, MissingFrontAccessToken, OtherFrontTokenType,
		WrongCodeHash, MissingCodeHash, FrontOtherSubject}
}

// Faults lists all faults in the order above.
func Faults() []Fault {
	return slices.Concat(OpenIDFaults(), FrontFaults(), ProofFaults(), LogoutFaults(), RegistrationFaults(), []Fault{
		SameTicketBack, NeedInfoForever, NeedInfoNoHint, RedirectUserMalformed, ClaimsElsewhere,
		ClaimsWrongState, ClaimsNoState, ClaimsTwoStates, ClaimsNoTicket, ClaimsTwoTickets, TicketWithPadding, LongTicket,
		TokenEndpointElsewhere, PartialGrant, PermissionExpired, PermissionNotYetValid,
		PermissionWithoutScopes, ScopesAtTopLevel, LostPAT, LostResource,
	}, EndpointFaults())
}

// ProofFaults lists the faults of an answer to a request with a proof. They show
// only in such answers.
func ProofFaults() []Fault { return []Fault{UnboundToken, NonceNeverTaken} }

// LogoutFaults lists the faults of a logout token in the order above.
func LogoutFaults() []Fault {
	return []Fault{LogoutNonce, LogoutNonceNull, MissingLogoutEvent, WrongLogoutEvent, LogoutEventNoObject, MissingLogoutID,
		MissingLogoutPerson, OldLogoutType, IDTokenForLogoutToken}
}

// RegistrationFaults lists the faults of an answer about a client in the order
// above.
func RegistrationFaults() []Fault {
	return []Fault{OtherRedirectURIs, MissingClientSecret, UnknownClientAuth, ClientManagedElsewhere, OtherClientName}
}

// EndpointFaults lists the faults that any endpoint can have, in the order
// above.
func EndpointFaults() []Fault {
	return []Fault{TokenEndpointDown, IntrospectionDown, EndpointDown, EndpointFails, EndpointGone,
		AuthorizationServerHangs, HugeAnswer, HTMLAnswer, TruncatedAnswer, RedirectingAnswer}
}
