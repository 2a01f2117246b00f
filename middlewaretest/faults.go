package middlewaretest

import "example.com/gatehouse/internal/testkit/opserver"

// Fault is something that the server does wrong while the fault is switched on;
// see [Server.Break]. Each fault is named after the rule it breaks. A few break
// no rule but use a liberty that a relying party must tolerate; their comments
// say so.
//
// This table lists which faults test which behaviour of a relying party. The
// behaviours are grouped as in the conformance suite of the OpenID Foundation:
//
//	RP-D1   issuer ends with a slash         NewServerAt(t, "/"), MetadataIssuerSlash
//	RP-D2   issuer of the metadata           MetadataIssuerMismatch
//	RP-D3   metadata in trouble              at "metadata": EndpointGone, EndpointFails, EndpointDown, HTMLAnswer,
//	                                         TruncatedAnswer, HugeAnswer, RedirectingAnswer,
//	                                         AuthorizationServerHangs; Stop; InsecureEndpoint
//	RP-D4   odd metadata                     OddMetadata, with UnsignedIDToken
//	RP-D5   unusual paths                    always
//	RP-D6   PKCE not announced               NoChallengeMethods, PlainChallengeOnly
//	RP-A1   authorization request            always: the request is refused
//	RP-A2   fresh state, nonce, verifier     always: Violations
//	RP-A3   two tabs                         Browser.GetUntil twice in one Browser
//	RP-A4   login-state cookie               Browser
//	RP-A5   scopes and max_age               AddUser; OldAuthentication, MissingAuthTime
//	RP-A6   return address                   Browser
//	RP-C1   state                            WrongState, MissingState, Browser.GetUntil with two Browsers
//	RP-C2   replay, no sign-in, doubled      Browser.GetUntil, then Get twice; RepeatedCode, RepeatedState, MissingCode
//	RP-C3   error answers                    ErrorAnswer, ErrorWrongState
//	RP-C4   form_post                        Browser, with ResponseMode "form_post"
//	RP-C5   iss of the answer                MissingResponseIssuer, WrongResponseIssuer, NoResponseIssuer
//	RP-C6   another mode than asked          OtherResponseMode
//	RP-T1   credentials with odd characters  AddClient
//	RP-T2   in the body, or none             AddClient with Auth changed, AddPublicClient
//	RP-T4   token request                    always: the request is refused
//	RP-T5   token endpoint in trouble        CodeRefused, ClientRefused, ErrorAsSuccess, TokenEndpointDown; at "token":
//	                                         EndpointDown, HTMLAnswer, TruncatedAnswer, HugeAnswer, RedirectingAnswer,
//	                                         AuthorizationServerHangs
//	RP-T6   short answers                    OddTokenType, NoExpiresIn, NoScope
//	RP-T7   unusable answers                 UnknownTokenType, MissingTokenType, MissingAccessToken, MissingIDToken
//	RP-T8   mTLS aliases                     MTLSAliases
//	RP-I1   iss                              WrongIssuer, MissingIssuer, IssuerSlash
//	RP-I2   aud                              WrongAudience, MissingAudience, EmptyAudience
//	RP-I3   aud as array                     AudienceArray
//	RP-I4   azp                              SecondAudience, WrongAuthorizedParty
//	RP-I5   sub                              MissingSubject, EmptySubject, SubjectNotString
//	RP-I6   iat missing                      MissingIssuedAt
//	RP-I7   exp                              MissingExpiry, ExpiredIDToken, ExpiredWithinSkew
//	RP-I8   iat and nbf                      IssuedLongAgo, IssuedInFuture, NotYetValid
//	RP-I9   nonce                            WrongNonce, MissingNonce
//	RP-I10  alg none                         UnsignedIDToken, UnsignedOddCase, EmptySignature
//	RP-I11  another alg                      OtherAlgorithm
//	RP-I12  HS256                            HMACWithPublicKey, HMACWithSecret
//	RP-I13  signature                        WrongSignature
//	RP-I14  header and form                  UnknownCriticalHeader, KeyInHeader, KeyURLInHeader, WrongTokenType, HugeIDToken,
//	                                         FivePartIDToken, PaddedIDToken, JSONSerializedIDToken
//	RP-I15  c_hash                           WrongCodeHash, MissingCodeHash
//	RP-I16  at_hash                          WrongAccessTokenHash, MissingAccessTokenHash
//	RP-I17  two ID Tokens                    FrontOtherSubject
//	RP-K1   odd keys                         OddKeys
//	RP-K2   no kid, one key                  NoKeyID
//	RP-K3   no kid, three keys               NoKeyID with ThreeKeys
//	RP-K4   one kid, several keys            DecoyKeys
//	RP-K5   key for another use              EncryptionKey, OtherKeyAlgorithm
//	RP-K7   unknown kid, keys lost           UnknownKeyID, WithdrawnKey, EmptyKeySet, EndpointDown at "jwks"
//	RP-U1   user info request                always: Violations
//	RP-U2   user info in trouble             UserInfoWrongSubject, UserInfoMissingSubject, UserInfoRefused; at "userinfo":
//	                                         EndpointFails, EndpointDown, HTMLAnswer, TruncatedAnswer, HugeAnswer,
//	                                         RedirectingAnswer, AuthorizationServerHangs
//	RP-U4   claims that lie elsewhere        ClaimSources
//	RP-F2   nonces of proofs                 SetDPoP; NonceNeverTaken
//	RP-F3   proofs and bound tokens          SetDPoP, with Violations; UnboundToken
//	RP-S1   session after login and logout   Browser.Cookies
//	RP-S2   after any rejection              Mend, and sign in again
//	RP-L4   front channel                    SetLogout, EndSessions, Browser
//	RP-L6   back channel                     SetLogout, EndSessions, LogoutToken, SendLogout
//	RP-L8   logout token, alg                LogoutToken with UnsignedIDToken, HMACWithSecret, WrongSignature and others of RP-I10 to RP-I14
//	RP-L9   logout token, event and nonce    MissingLogoutEvent, WrongLogoutEvent, LogoutEventNoObject, LogoutNonce, LogoutNonceNull
//	RP-L10  logout token, other claims       MissingLogoutID, MissingLogoutPerson; LogoutToken with WrongIssuer, WrongAudience, ExpiredIDToken and others
//	RP-L11  no logout token, or once more    IDTokenForLogoutToken, OldLogoutType; SendLogout twice with one token
//	RG1     the answer to a registration     OtherRedirectURIs, MissingClientSecret, UnknownClientAuth, ClientManagedElsewhere,
//	                                         OtherClientName, each after SetRegistration
//	RG4     secrets that end                 SetRegistration with SecretLifetime
//	RG5     registration in trouble          at "register": EndpointGone, EndpointFails, EndpointDown, HTMLAnswer, TruncatedAnswer,
//	                                         HugeAnswer, RedirectingAnswer, AuthorizationServerHangs
//
// [Server.Violations] lists what a relying party did wrong although its
// requests succeeded.
//
// [Server.Token] puts faults of the claims, the form and the signature of an ID
// Token into one access token.
type Fault string

// Faults of the metadata. OpenID Connect Discovery §3, §4.
const (
	MetadataIssuerMismatch = Fault(opserver.MetadataIssuerMismatch) // Discovery §4.3: issuer is the one requested (RP-D2)
	MetadataIssuerSlash    = Fault(opserver.MetadataIssuerSlash)    // Discovery §4.3: to the last byte (RP-D1)
	InsecureEndpoint       = Fault(opserver.InsecureEndpoint)       // Discovery §3: the token endpoint uses https (RP-D3)
	OddMetadata            = Fault(opserver.OddMetadata)            // liberty: unknown members, another order of words, "none" among the algorithms (RP-D4)
	NoChallengeMethods     = Fault(opserver.NoChallengeMethods)     // liberty: RFC 8414 §2 makes code_challenge_methods_supported optional (RP-D6)
	PlainChallengeOnly     = Fault(opserver.PlainChallengeOnly)     // RFC 7636 §4.2: servers support S256
	MTLSAliases            = Fault(opserver.MTLSAliases)            // liberty: RFC 8705 §5, only for clients with certificates (RP-T8)
)

// Faults of the answer that the browser brings. OpenID Connect Core §3.1.2.5.
const (
	WrongState            = Fault(opserver.WrongState)            // RFC 6749 §4.1.2: state is the one sent (RP-C1)
	MissingState          = Fault(opserver.MissingState)          // RFC 6749 §4.1.2: state comes back (RP-C1)
	WrongResponseIssuer   = Fault(opserver.WrongResponseIssuer)   // RFC 9207 §2.4: iss is the provider's (RP-C5)
	MissingResponseIssuer = Fault(opserver.MissingResponseIssuer) // RFC 9207 §2: iss is present when announced (RP-C5)
	NoResponseIssuer      = Fault(opserver.NoResponseIssuer)      // liberty: iss neither announced nor sent (RP-C5)
	RepeatedCode          = Fault(opserver.RepeatedCode)          // RFC 6749 §3.1: no parameter twice (RP-C2)
	RepeatedState         = Fault(opserver.RepeatedState)         // RFC 6749 §3.1: no parameter twice (RP-C2)
	MissingCode           = Fault(opserver.MissingCode)           // RFC 6749 §4.1.2: code is required
	ErrorAnswer           = Fault(opserver.ErrorAnswer)           // liberty: Core §3.1.2.6 login_required, with markup in its text (RP-C3)
	ErrorWrongState       = Fault(opserver.ErrorWrongState)       // RFC 6749 §4.1.2.1: state is the one sent (RP-C3)
	OtherResponseMode     = Fault(opserver.OtherResponseMode)     // Multiple Response Types §2.1: the mode is the one asked for (RP-C6)

	MissingFrontIDToken     = Fault(opserver.MissingFrontIDToken)     // Core §3.2.2.5: id_token is there if asked for
	MissingFrontAccessToken = Fault(opserver.MissingFrontAccessToken) // Core §3.2.2.5: access_token is there if asked for
	OtherFrontTokenType     = Fault(opserver.OtherFrontTokenType)     // Core §3.2.2.5: token_type is Bearer
)

// Faults of the answer of the token endpoint. OpenID Connect Core §3.1.3.3.
const (
	CodeRefused        = Fault(opserver.CodeRefused)        // liberty: RFC 6749 §5.2 invalid_grant (RP-T5)
	ClientRefused      = Fault(opserver.ClientRefused)      // liberty: RFC 6749 §5.2 invalid_client with 401 (RP-T5)
	ErrorAsSuccess     = Fault(opserver.ErrorAsSuccess)     // RFC 6749 §5.2: an error has status 400 (RP-T5)
	OddTokenType       = Fault(opserver.OddTokenType)       // liberty: RFC 6749 §5.1 token_type in any case (RP-T6)
	NoExpiresIn        = Fault(opserver.NoExpiresIn)        // liberty: RFC 6749 §5.1 expires_in is recommended (RP-T6)
	NoScope            = Fault(opserver.NoScope)            // liberty: RFC 6749 §5.1 scope is optional if it is as requested (RP-T6)
	UnknownTokenType   = Fault(opserver.UnknownTokenType)   // Core §3.1.3.3: token_type is Bearer (RP-T7)
	MissingTokenType   = Fault(opserver.MissingTokenType)   // RFC 6749 §5.1: token_type is required (RP-T7)
	MissingAccessToken = Fault(opserver.MissingAccessToken) // RFC 6749 §5.1: access_token is required
	MissingIDToken     = Fault(opserver.MissingIDToken)     // Core §3.1.3.3: id_token is required (RP-T7)
)

// Faults of the answer to a request with a proof. RFC 9449.
const (
	UnboundToken    = Fault(opserver.UnboundToken)    // §5: token_type is DPoP; here Bearer (RP-F3)
	NonceNeverTaken = Fault(opserver.NonceNeverTaken) // §8: the nonce that was given is taken; here each time another is wanted (RP-F2)
)

// Faults in the claims of the ID Token. OpenID Connect Core §2, §3.1.3.7.
const (
	WrongIssuer            = Fault(opserver.WrongIssuer)            // §3.1.3.7 item 2: iss (RP-I1)
	IssuerSlash            = Fault(opserver.IssuerSlash)            // §3.1.3.7 item 2: iss to the last byte (RP-I1)
	MissingIssuer          = Fault(opserver.MissingIssuer)          // §2: iss is required (RP-I1)
	WrongAudience          = Fault(opserver.WrongAudience)          // §3.1.3.7 item 3: aud holds the client (RP-I2)
	MissingAudience        = Fault(opserver.MissingAudience)        // §2: aud is required (RP-I2)
	EmptyAudience          = Fault(opserver.EmptyAudience)          // §3.1.3.7 item 3: aud holds the client (RP-I2)
	AudienceArray          = Fault(opserver.AudienceArray)          // liberty: §2 aud may be an array of one (RP-I3)
	SecondAudience         = Fault(opserver.SecondAudience)         // §3.1.3.7 item 3: no untrusted audience (RP-I4)
	WrongAuthorizedParty   = Fault(opserver.WrongAuthorizedParty)   // §3.1.3.7 item 5: azp is the client (RP-I4)
	MissingSubject         = Fault(opserver.MissingSubject)         // §2: sub is required (RP-I5)
	EmptySubject           = Fault(opserver.EmptySubject)           // §2: sub names the person (RP-I5)
	SubjectNotString       = Fault(opserver.SubjectNotString)       // §2: sub is a string (RP-I5)
	MissingIssuedAt        = Fault(opserver.MissingIssuedAt)        // §2: iat is required (RP-I6)
	MissingExpiry          = Fault(opserver.MissingExpiry)          // §2: exp is required (RP-I7)
	ExpiredIDToken         = Fault(opserver.ExpiredIDToken)         // §3.1.3.7 item 9: now is before exp; here six minutes past (RP-I7)
	ExpiredWithinSkew      = Fault(opserver.ExpiredWithinSkew)      // liberty: §3.1.3.7 item 9 allows for clock skew, 50 s here (RP-I7)
	IssuedLongAgo          = Fault(opserver.IssuedLongAgo)          // §3.1.3.7 item 10: iat is not too far away; here a week ago (RP-I8)
	IssuedInFuture         = Fault(opserver.IssuedInFuture)         // §3.1.3.7 item 10: iat is not too far away; here an hour ahead (RP-I8)
	NotYetValid            = Fault(opserver.NotYetValid)            // RFC 7519 §4.1.5: now is after nbf; here an hour ahead (RP-I8)
	WrongNonce             = Fault(opserver.WrongNonce)             // §3.1.3.7 item 11: nonce is the one sent (RP-I9)
	MissingNonce           = Fault(opserver.MissingNonce)           // §3.1.3.7 item 11: nonce is present (RP-I9)
	OldAuthentication      = Fault(opserver.OldAuthentication)      // §3.1.3.7 item 13: auth_time within max_age (RP-A5)
	MissingAuthTime        = Fault(opserver.MissingAuthTime)        // §2: auth_time is required when max_age was requested (RP-A5)
	WrongAccessTokenHash   = Fault(opserver.WrongAccessTokenHash)   // §3.1.3.8: at_hash matches the access token (RP-I16)
	MissingAccessTokenHash = Fault(opserver.MissingAccessTokenHash) // liberty: §3.1.3.6 at_hash is optional but beside an access token from the browser (RP-I16)
	WrongCodeHash          = Fault(opserver.WrongCodeHash)          // §3.3.2.10: c_hash matches the code beside the token (RP-I15)
	MissingCodeHash        = Fault(opserver.MissingCodeHash)        // §3.3.2.11: c_hash is required beside a code (RP-I15)
	FrontOtherSubject      = Fault(opserver.FrontOtherSubject)      // §3.3.3.6: the ID Token beside a code has the sub of the one for it (RP-I17)
	RepeatedClaim          = Fault(opserver.RepeatedClaim)          // RFC 7519 §4: claim names are unique
	OtherCaseClaim         = Fault(opserver.OtherCaseClaim)         // RFC 7519 §4: names are case-sensitive
	LogoutEvent            = Fault(opserver.LogoutEvent)            // Back-Channel Logout §2.4: events belongs to logout tokens
	RefreshOtherSubject    = Fault(opserver.RefreshOtherSubject)    // §12.2: sub stays the same
)

// Faults in the form and signature of the ID Token. RFC 7515, RFC 8725.
const (
	UnsignedIDToken       = Fault(opserver.UnsignedIDToken)       // Core §3.1.3.7 item 7: alg is the registered one; here none (RP-I10)
	UnsignedOddCase       = Fault(opserver.UnsignedOddCase)       // RFC 8725 §3.2: nor in another spelling; here None (RP-I10)
	EmptySignature        = Fault(opserver.EmptySignature)        // Core §3.1.3.7 item 6: there is a signature (RP-I10)
	OtherAlgorithm        = Fault(opserver.OtherAlgorithm)        // Core §3.1.3.7 item 7: alg is the registered one; key and signature are good (RP-I11)
	HMACWithPublicKey     = Fault(opserver.HMACWithPublicKey)     // RFC 8725 §2.1: a public key is not a secret (RP-I12)
	HMACWithSecret        = Fault(opserver.HMACWithSecret)        // Core §3.1.3.7 item 7: HS256 is not the registered alg (RP-I12)
	WrongSignature        = Fault(opserver.WrongSignature)        // Core §3.1.3.7 item 6: the signature verifies (RP-I13)
	UnknownCriticalHeader = Fault(opserver.UnknownCriticalHeader) // RFC 7515 §4.1.11: critical extensions are understood (RP-I14)
	KeyInHeader           = Fault(opserver.KeyInHeader)           // RFC 8725 §3.10: jwk is not trusted (RP-I14)
	KeyURLInHeader        = Fault(opserver.KeyURLInHeader)        // RFC 8725 §3.10: jku and x5u are not followed (RP-I14)
	WrongTokenType        = Fault(opserver.WrongTokenType)        // RFC 8725 §3.11: typ is not that of another kind of token (RP-I14)
	FivePartIDToken       = Fault(opserver.FivePartIDToken)       // RFC 7515 §3.1: three parts (RP-I14)
	PaddedIDToken         = Fault(opserver.PaddedIDToken)         // RFC 7515 §2: base64url without padding (RP-I14)
	JSONSerializedIDToken = Fault(opserver.JSONSerializedIDToken) // RFC 7519 §1: JWTs are compact (RP-I14)
	HugeIDToken           = Fault(opserver.HugeIDToken)           // no rule: half a megabyte, signed (RP-I14)
	NoKeyID               = Fault(opserver.NoKeyID)               // liberty: RFC 7515 §4.1.4 kid is optional (RP-K2, RP-K3)
	UnknownKeyID          = Fault(opserver.UnknownKeyID)          // Core §10.1: kid names a key of the set (RP-K7)
)

// Faults of the key set. RFC 7517.
const (
	OddKeys           = Fault(opserver.OddKeys)           // liberty: RFC 7517 §5 unknown content is skipped (RP-K1)
	ThreeKeys         = Fault(opserver.ThreeKeys)         // liberty: several keys of one kind, the right one last (RP-K3)
	DecoyKeys         = Fault(opserver.DecoyKeys)         // liberty: one kid on keys of several kinds (RP-K4)
	EncryptionKey     = Fault(opserver.EncryptionKey)     // RFC 7517 §4.2: a key with use enc signs nothing (RP-K5)
	OtherKeyAlgorithm = Fault(opserver.OtherKeyAlgorithm) // RFC 7517 §4.4: a key is used with its alg (RP-K5)
	WithdrawnKey      = Fault(opserver.WithdrawnKey)      // Core §10.1.1: the signing key is in the set (RP-K7)
	EmptyKeySet       = Fault(opserver.EmptyKeySet)       // Core §10.1: the set has the signing key (RP-K7)
)

// Faults of a logout token; see [Server.LogoutToken]. Back-Channel Logout §2.4.
const (
	LogoutNonce           = Fault(opserver.LogoutNonce)           // §2.4: there is no nonce (RP-L9)
	LogoutNonceNull       = Fault(opserver.LogoutNonceNull)       // §2.4: nor one that is null (RP-L9)
	MissingLogoutEvent    = Fault(opserver.MissingLogoutEvent)    // §2.4: events has the event (RP-L9)
	WrongLogoutEvent      = Fault(opserver.WrongLogoutEvent)      // §2.4: under its exact name (RP-L9)
	LogoutEventNoObject   = Fault(opserver.LogoutEventNoObject)   // §2.4: whose value is an object (RP-L9)
	MissingLogoutID       = Fault(opserver.MissingLogoutID)       // §2.4: jti is required (RP-L10)
	MissingLogoutPerson   = Fault(opserver.MissingLogoutPerson)   // §2.4: sub or sid is there (RP-L10)
	OldLogoutType         = Fault(opserver.OldLogoutType)         // §2.4: typ is logout+jwt; here JWT, as before the specification was final
	IDTokenForLogoutToken = Fault(opserver.IDTokenForLogoutToken) // §2.6: an ID Token is no logout token (RP-L11)
)

// Faults of user info. OpenID Connect Core §5.3.
const (
	UserInfoWrongSubject   = Fault(opserver.UserInfoWrongSubject)   // §5.3.2: sub is that of the ID Token (RP-U2)
	UserInfoMissingSubject = Fault(opserver.UserInfoMissingSubject) // §5.3.2: sub is required (RP-U2)
	UserInfoRefused        = Fault(opserver.UserInfoRefused)        // §5.3.3: the token is good, but the answer is 401 (RP-U2)
	ClaimSources           = Fault(opserver.ClaimSources)           // liberty: §5.6.2 claims that are elsewhere, in the ID Token too (RP-U4)
)

// Faults of an answer about a client that registers itself; see
// [Server.SetRegistration]. RFC 7591 §3.2.1.
const (
	OtherRedirectURIs      = Fault(opserver.OtherRedirectURIs)      // Registration §3.2: redirect_uris are those that were sent (RG1)
	MissingClientSecret    = Fault(opserver.MissingClientSecret)    // Registration §3.2: client_secret is there if the client authenticates with it (RG1)
	UnknownClientAuth      = Fault(opserver.UnknownClientAuth)      // liberty: token_endpoint_auth_method may be another; here tls_client_auth (RG1)
	ClientManagedElsewhere = Fault(opserver.ClientManagedElsewhere) // RFC 7592 §3 does not say where; here at another origin (RG1)
	OtherClientName        = Fault(opserver.OtherClientName)        // liberty: other metadata may be replaced (RG1)
)

// Faults of UMA.
const (
	SameTicketBack          = Fault(opserver.SameTicketBack)          // Grant §3.3.6: the ticket is new
	NeedInfoForever         = Fault(opserver.NeedInfoForever)         // Grant §3.3.6: need_info asks for what is missing
	TokenEndpointElsewhere  = Fault(opserver.TokenEndpointElsewhere)  // liberty: RFC 8414 §2, an endpoint may be on another host; localhost for 127.0.0.1
	NeedInfoNoHint          = Fault(opserver.NeedInfoNoHint)          // Grant §3.3.6: required_claims or redirect_user is present
	RedirectUserMalformed   = Fault(opserver.RedirectUserMalformed)   // Grant §3.3.6: redirect_user is a URI to which parameters can be added
	ClaimsElsewhere         = Fault(opserver.ClaimsElsewhere)         // no rule: redirect_user leads to another origin
	ClaimsWrongState        = Fault(opserver.ClaimsWrongState)        // Grant §3.3.3: state is the one sent
	ClaimsNoState           = Fault(opserver.ClaimsNoState)           // Grant §3.3.3: state comes back
	ClaimsTwoStates         = Fault(opserver.ClaimsTwoStates)         // RFC 6749 §3.1: no parameter twice
	ClaimsNoTicket          = Fault(opserver.ClaimsNoTicket)          // Grant §3.3.3: ticket is required
	ClaimsTwoTickets        = Fault(opserver.ClaimsTwoTickets)        // RFC 6749 §3.1: no parameter twice
	TicketWithPadding       = Fault(opserver.TicketWithPadding)       // liberty: a ticket is any string, here with == at its end
	LongTicket              = Fault(opserver.LongTicket)              // liberty: a ticket is any string, here of 8 KiB
	PartialGrant            = Fault(opserver.PartialGrant)            // Grant §3.3.4: less than requested may be granted
	PermissionExpired       = Fault(opserver.PermissionExpired)       // Federated Authorization §5.1.1: exp of a permission
	PermissionNotYetValid   = Fault(opserver.PermissionNotYetValid)   // Federated Authorization §5.1.1: nbf of a permission
	PermissionWithoutScopes = Fault(opserver.PermissionWithoutScopes) // Federated Authorization §5.1.1: resource_scopes may be empty
	ScopesAtTopLevel        = Fault(opserver.ScopesAtTopLevel)        // Federated Authorization §5.1.1: no scope member
	LostPAT                 = Fault(opserver.LostPAT)                 // RFC 6750 §3.1: PATs issued before the fault are unknown
	LostResource            = Fault(opserver.LostResource)            // Federated Authorization §4.1: resources registered before the fault are unknown
)

// Faults that any endpoint can have. Except for the first two they affect every
// endpoint, unless they are set with [Server.BreakAt].
const (
	TokenEndpointDown        = Fault(opserver.TokenEndpointDown)        // RFC 9110 §15.6.1: 500 from the token endpoint
	IntrospectionDown        = Fault(opserver.IntrospectionDown)        // RFC 9110 §15.6.4: 503 from introspection
	EndpointDown             = Fault(opserver.EndpointDown)             // RFC 9110 §15.6.4: 503
	EndpointFails            = Fault(opserver.EndpointFails)            // RFC 9110 §15.6.1: 500
	EndpointGone             = Fault(opserver.EndpointGone)             // RFC 9110 §15.5.5: 404
	AuthorizationServerHangs = Fault(opserver.AuthorizationServerHangs) // no answer until the client leaves or the fault ends
	HugeAnswer               = Fault(opserver.HugeAnswer)               // a valid answer behind 8 MiB of white space
	HTMLAnswer               = Fault(opserver.HTMLAnswer)               // 200 with a page instead of JSON
	TruncatedAnswer          = Fault(opserver.TruncatedAnswer)          // the connection ends in the middle of an answer
	RedirectingAnswer        = Fault(opserver.RedirectingAnswer)        // RFC 9110 §15.4.8: 307; following it with secrets is a violation
)

// Break switches faults on.
func (s *Server) Break(faults ...Fault) {
	s.t.Helper()
	for _, f := range faults {
		s.check(s.op.SetFault(opserver.Fault(f), true))
	}
}

// BreakAt switches a fault of the last group on at the named endpoints only.
// [Server.Count] lists the names.
func (s *Server) BreakAt(f Fault, endpoints ...string) {
	s.t.Helper()
	s.check(s.op.SetFaultAt(opserver.Fault(f), true, endpoints...))
}

// Mend switches faults off. Without arguments it switches off all of them.
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
