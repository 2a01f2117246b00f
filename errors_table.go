package gatehouse

// Tested in internal/e2e/signin, internal/e2e/uma_rs, internal/e2e/uma_rp.

import (
	"example.com/gatehouse/internal/attempt"
	"example.com/gatehouse/internal/authresponse"
	"example.com/gatehouse/internal/backchannel"
	"example.com/gatehouse/internal/possession"
	"example.com/gatehouse/internal/session"
	"example.com/gatehouse/internal/token"
)

// The table of failures: the code, status and sentence of each. What a browser
// or client sent wrong is answered with 4xx. Our own failures and a peer's are
// answered with 503 (decision 13).

// Failures that can occur anywhere.
var (
	errProviderUnavailable = kind{CodeProviderUnavailable, 503, "The sign-in service cannot be reached right now."}
	errCertificate         = kind{"certificate_refused", 503, "The sign-in service cannot be reached safely right now."}
	errMetadataMissing     = kind{"metadata_missing", 503, "The sign-in service is not set up correctly."}
	errMetadataInvalid     = kind{"metadata_invalid", 503, "The sign-in service is not set up correctly."}
	errMetadataIssuer      = kind{"metadata_issuer_mismatch", 503, "The sign-in service is not set up correctly."}
	errClientRefused       = kind{"client_refused", 503, "The sign-in service does not accept this site right now."}
	errEndpoint            = kind{"endpoint_missing", 503, "The sign-in service is not set up correctly."}
	errKeys                = kind{"keys_unusable", 503, "The sign-in service is not set up correctly."}
	errResponseKind        = kind{"response_unsupported", 503, "The sign-in service is not set up correctly."} // no response of the type or mode that is asked for
	errClientAuth          = kind{"client_auth_unsupported", 503, "The sign-in service is not set up correctly."}
	errClientProof         = kind{"client_proof_failed", 503, "The sign-in service cannot be used right now."}
	errTokenType           = kind{"token_type_unsupported", 400, "The sign-in service answered in a way this site does not understand."} // a token type that we cannot use (RP-T7)
	errInternal            = kind{"internal", 500, "Something went wrong on our side."}

	errNotMounted     = kind{"callback_not_mounted", 500, "The sign-in of this site is not set up. RelyingParty.Handler (or CallbackHandler) has to be mounted at the path of RedirectURL, outside of every guard."}
	errNotFound       = kind{"not_found", 404, "There is nothing at this address."}
	errMethod         = kind{"method_not_allowed", 405, "This address does not accept that method."}
	errBodyTooLarge   = kind{"request_too_large", 413, "This request is too large."}
	errBodySlow       = kind{"request_timeout", 408, "This request took too long to arrive."}
	errHeaderTooLarge = kind{"header_too_large", 431, "Your browser sent too much at once. Deleting the cookies of this site helps."}
	errQueryTooLong   = kind{"query_too_long", 400, "This address is too long."}
	errShuttingDown   = kind{CodeShuttingDown, 503, "This service is restarting. Please connect again."}
)

// Failures to find the provider of an account. The person has entered the account
// and so chosen the host, so what that does wrong is none of our trouble.
var (
	errAccount          = kind{"account_malformed", 400, "This is not an account. Enter it like name@example.org."}
	errNotFoundProvider = kind{"provider_not_found", 404, "No sign-in service was found for this account."}
	errNotAllowed       = kind{"provider_not_allowed", 403, "This site does not accept the sign-in service of this account."}
	errFinderBusy       = kind{"finder_busy", 503, "Too many people look for their sign-in service at once. Please try again."}
)

// Failures of the session store. They are 503, because a failing store never
// means that nobody is signed in (R10).
var (
	errStoreUnavailable = kind{CodeStoreUnavailable, 503, "Your session cannot be read right now. You are not signed out."}
	errRecordUnreadable = kind{"record_unreadable", 503, "Your session cannot be read right now. You are not signed out."}
	errRecordTooLarge   = kind{"record_too_large", 503, "Your sign-in cannot be stored."}
)

// Failures of a page's guard.
var (
	errLoginRequired   = kind{CodeLoginRequired, 401, "You need to sign in first."}
	errStepUp          = kind{CodeStepUpRequired, 403, "You need to sign in once more to do this."}
	errForbidden       = kind{CodeForbidden, 403, "You are not allowed to do this."}
	errRequirement     = kind{"requirement_failed", 503, "We cannot tell right now whether you may do this."}
	errIdentityHeader  = kind{"identity_header_refused", 403, "Your name cannot be passed on to this service."}
	errCrossOrigin     = kind{CodeCrossOrigin, 403, "This request came from another site."}
	errNoNavigation    = kind{"not_a_navigation", 403, "Sign-in has to be opened in a window of its own."}
	errNoToken         = kind{CodeNoToken, 403, "The sign-in service gave no access token that is still valid."}
	errTokenEnded      = kind{CodeTokenEnded, 401, "Your access has ended. You need to sign in again."}
	errTokenUnsendable = kind{"token_unsendable", 502, "The sign-in service gave an access token that cannot be used."}
	errTokenStale      = kind{CodeTokenUnavailable, 503, "The access token has expired and cannot be renewed right now."}
)

const (
	formNotSaved  = "You are no longer signed in, so what you sent was not saved."
	formNeedsMore = "You need to sign in once more to do this, so what you sent was not saved."
	noTicket      = "Nobody is asked for a permission for what is loaded in advance."
	noOrigin      = "This sign-out does not say which site it came from: it has neither Origin nor Sec-Fetch-Site."
)

// Failures of a callback. What the browser sent is answered with 400, even if
// the provider made it send that.
var (
	errStateMissing    = kind{"state_missing", 400, "This sign-in was not started here."}
	errStateUnknown    = kind{"state_unknown", 400, "This sign-in was not started in this browser, or it was started too long ago."}
	errAttemptExpired  = kind{"attempt_expired", 400, "This sign-in took too long."}
	errSessionTooShort = kind{"session_too_short", 400, "This sign-in took longer than you may stay signed in."}
	errStateUsed       = kind{"state_used", 400, "This sign-in has already been completed."}
	errResponse        = kind{"response_malformed", 400, "The answer of the sign-in service could not be understood."}
	errResponseIssuer  = kind{"issuer_mismatch", 400, "The answer came from another sign-in service."}
	errRefusedThere    = kind{CodeProviderRefused, 403, "The sign-in service did not sign you in."}
	errRequestRefused  = kind{"request_refused", 403, "The sign-in service does not accept what this site asks for."}
	errCodeRefused     = kind{"code_refused", 400, "The sign-in service did not accept this sign-in."}
	errUserInfo        = kind{"userinfo_unavailable", 503, "The sign-in service cannot tell who you are right now."}
	errUserInfoAccess  = kind{"userinfo_refused", 503, "The sign-in service does not tell this site who you are."}
	errUserInfoSub     = kind{"userinfo_subject_mismatch", 400, "The sign-in service gave contradicting answers."}
	errOnSignIn        = kind{"sign_in_hook_failed", 503, "We cannot sign you in right now."}
	errOnRefresh       = kind{"refresh_hook_refused", 403, "You need to sign in again."}
	errSuperseded      = kind{"login_superseded", 403, "A sign-out came in between. Please sign in again."}
	errOwnerRefused    = kind{"owner_grant_refused", 403, "You did not let this site ask for permissions on your behalf."}
	errGrantSubject    = kind{"grant_subject_mismatch", 403, "The grant was given by somebody other than the person signed in here."}
)

// Failures of a logout from outside. All that goes wrong at the back channel is
// 400 there, our own trouble too (Back-Channel Logout §2.8).
var (
	errLogoutRequest = kind{"logout_request_malformed", 400, "This is no form with exactly one logout token."}
	errLogoutToken   = kind{"logout_token_invalid", 400, "The logout token is not valid."}
)

// Failures of an ID Token (OpenID Connect Core §3.1.3.7). The browser gets
// 400, because sending the same response again would not help.
var (
	errIDTokenMissing   = kind{"id_token_missing", 400, "The sign-in service did not say who you are."}
	errIDTokenMalformed = kind{"id_token_malformed", 400, badToken}
	errSignature        = kind{"signature_invalid", 400, badToken}
	errAlgorithm        = kind{"algorithm_refused", 400, badToken}
	errIssuer           = kind{"id_token_issuer_mismatch", 400, badToken}
	errAudience         = kind{"audience_mismatch", 400, badToken}
	errSubject          = kind{"subject_missing", 400, badToken}
	errNonce            = kind{"nonce_mismatch", 400, badToken}
	errTokenExpired     = kind{"id_token_expired", 400, badToken}
	errClockSkew        = kind{"clock_skew", 400, "The clocks of this site and of the sign-in service differ too much."}
	errAuthTime         = kind{"auth_time_too_old", 400, "The sign-in service did not ask you to sign in again."}
	errTokenKind        = kind{"token_type_confused", 400, badToken}
	errAccessTokenHash  = kind{"at_hash_mismatch", 400, badToken}
	errCodeHash         = kind{"c_hash_mismatch", 400, badToken}
	errIDTokensDiffer   = kind{"id_tokens_differ", 400, badToken}
)

const badToken = "The sign-in service gave an answer that cannot be trusted."

// Failures of a resource server. A missing permission is answered with a
// ticket, or with 403 if no ticket can be obtained (UMA Grant §3.2.2).
var (
	errTokenRequired     = kind{CodeTokenRequired, 401, "This needs an access token."}
	errTokenInvalid      = kind{CodeTokenInvalid, 401, "The access token of this request is not valid."} // RFC 6750 §3.1, invalid_token
	errTokenScope        = kind{"insufficient_scope", 403, "The access token does not allow this."}
	errTokenStepUp       = kind{"insufficient_authentication", 401, "The sign-in behind the access token is not enough for this."} // RFC 9470 §3
	errIssuerLookup      = kind{"issuer_lookup_failed", 503, "Nobody can tell right now who issued the access token of this request."}
	errBearer            = kind{"bearer_malformed", 400, "The access token of this request cannot be read."} // RFC 6750 §3.1, invalid_request
	errPath              = kind{"path_refused", 400, "This address has characters that are not allowed here."}
	errNoRule            = kind{"no_rule", 403, "Nothing here may be reached this way."}
	errNeed              = kind{"permission_unknown", 503, "The permission for this cannot be looked up right now."}
	errNeedInvalid       = kind{"permission_invalid", 500, "Something went wrong on our side."}
	errPermission        = kind{CodePermissionRequired, 401, "This needs the owner's permission."}
	errTicket            = kind{CodeTicketUnavailable, 403, "A permission for this cannot be asked for right now."}
	errTicketMistake     = kind{"ticket_misconfigured", 403, "A permission for this cannot be asked for. This service is not set up correctly."}
	errBusy              = kind{"authorization_server_busy", 503, "Too many requests ask for permission at once. Please try again."}
	errIntrospection     = kind{"introspection_unavailable", 503, "The permission of this request cannot be checked right now."}
	errResourceInvalid   = kind{"resource_invalid", 500, "Something went wrong on our side."}
	errRegistration      = kind{"registration_failed", 503, "The resource cannot be registered right now."}
	errResourceIDs       = kind{"resource_ids_unavailable", 503, "Permissions cannot be checked right now."}
	errPAT               = kind{"pat_unavailable", 503, "Permissions cannot be asked for right now."}
	errOwnerGrantMissing = kind{CodeOwnerGrantMissing, 403, "The owner has not let this site ask for permissions."}
	errGrantStore        = kind{"grant_store_unavailable", 503, "Permissions cannot be asked for right now."}
	errGrantUnreadable   = kind{"grant_unreadable", 503, "Permissions cannot be asked for right now."}
	errGrantTooLarge     = kind{"grant_too_large", 503, "Permissions cannot be asked for. The authorization server issued tokens that are too large."}
)

// Failures of the proof that belongs to a token, and of a token that has one
// (RFC 9449 §7.1, §9, §11.1).
var (
	errProof      = kind{"dpop_proof_invalid", 401, "The proof that belongs to the access token of this request is not valid."}
	errProofUsed  = kind{"dpop_proof_replayed", 401, "The proof that belongs to the access token of this request was used before."}
	errProofNonce = kind{"dpop_nonce_required", 401, "The proof that belongs to the access token of this request needs a new nonce."}
	errProofStore = kind{"dpop_store_unavailable", 503, "The proof that belongs to the access token of this request cannot be checked right now."}
	errTokenBound = kind{"token_bound", 403, "The access token of this request cannot be used at another service."}
)

// Failures of the UMA client. The person behind the application gets 403 if
// they lack permission. A peer that violates the protocol is 502.
var (
	errUntrustedAS         = kind{CodeUntrustedAS, 502, "The other service relies on an authorization server that this site does not trust."}
	errAmbiguousChallenge  = kind{"ambiguous_challenge", 502, "The other service answered in a way this site does not understand."}
	errInsecureOrigin      = kind{"insecure_origin", 502, "The other service cannot be reached safely."}
	errRedirectedChallenge = kind{"redirected_challenge", 502, "The other service sent this site somewhere else for permission."}
	errUMADenied           = kind{CodeUMADenied, 403, "You have not been given access to this."}
	errTooManyRounds       = kind{"too_many_rounds", 403, "The access you have been given is not enough for this."}
	errPartyMissing        = kind{"uma_party_missing", 401, "You need to sign in first."}
	errClaimsUnavailable   = kind{"claims_unavailable", 503, "We cannot prove right now who is asking."}
	errClaimsRefused       = kind{"uma_claims_refused", 403, "The authorization server does not accept the proof of who is asking. Signing in again may help."}
	errTicketReused        = kind{"ticket_reused", 502, "The authorization server answered in a way this site does not understand."}
	errTicketRefused       = kind{"ticket_refused", 502, "The authorization server does not accept the permission ticket."}
	errRPTRefused          = kind{"rpt_refused", 502, "The authorization server does not accept the token it gave."}
	errRPTUnusable         = kind{"rpt_unusable", 502, "The authorization server answered in a way this site does not understand."}
	errGrantRefused        = kind{"uma_grant_refused", 502, "The authorization server refused the request of this site."}
	errBodyNotReplayable   = kind{"body_not_replayable", 503, "Please send this again."}
	errASUnavailable       = kind{CodeASUnavailable, 503, "The authorization server cannot be reached right now."}
)

// engineFailures maps the errors of the engines to kinds of failures. An error
// that wraps one of them counts as well. The engines below internal/ know
// neither codes nor sentences.
var engineFailures = []struct {
	is   error
	kind kind
}{
	{attempt.ErrUnknown, errStateUnknown},
	{attempt.ErrExpired, errAttemptExpired},
	{attempt.ErrRestarts, errSuperseded},

	{session.ErrStore, errStoreUnavailable},
	{session.ErrSignedOut, errSuperseded},
	{session.ErrUnreadable, errRecordUnreadable},
	{session.ErrTooLarge, errRecordTooLarge},
	{session.ErrOver, errSessionTooShort},
	{token.ErrMalformed, errIDTokenMalformed},
	{token.ErrAlgorithm, errAlgorithm},
	{token.ErrKind, errTokenKind},
	{token.ErrSignature, errSignature},
	{token.ErrIssuer, errIssuer},
	{token.ErrAudience, errAudience},
	{token.ErrSubject, errSubject},
	{token.ErrNonce, errNonce},
	{token.ErrExpired, errTokenExpired},
	{token.ErrClockSkew, errClockSkew},
	{token.ErrAuthTime, errAuthTime},
	{token.ErrAccessHash, errAccessTokenHash},
	{token.ErrCodeHash, errCodeHash},
	{token.ErrOther, errIDTokensDiffer},
	{authresponse.ErrMalformed, errResponse},
	{authresponse.ErrMode, errResponse},
	{authresponse.ErrNoIDToken, errIDTokenMissing},
	{authresponse.ErrTokenType, errTokenType},
	{backchannel.ErrTokenType, errTokenType},
	{backchannel.ErrEndpoint, errMetadataInvalid},
	{possession.ErrProof, errClientProof},
	{backchannel.ErrMissing, errEndpoint},
}
