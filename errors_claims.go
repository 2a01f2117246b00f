package gatehouse

// Tested in internal/e2e/uma_rp.

// Failures of a visit to an authorization server that asks a person for claims
// (UMA Grant §3.3.2, §3.3.3). What the browser brought is 400, even if the
// server made it bring that. What the server did wrong is 502.
var (
	errClaimsNeeded       = kind{"claims_needed", 403, "More has to be known about you first. Please open this page by itself."}
	errClaimsParty        = kind{"claims_party_mismatch", 403, "This was asked for by somebody other than the person signed in here."}
	errClaimsSent         = kind{"claims_already_asked", 409, "You are being asked about this already, perhaps in another window."}
	errClaimsEndpoint     = kind{"claims_endpoint_missing", 502, "The authorization server does not say where it asks."}
	errClaimsAddress      = kind{"claims_address_refused", 502, "The authorization server sends people to a place that this site does not trust."}
	errClaimsResponse     = kind{"claims_response_malformed", 400, "The answer of the authorization server could not be understood."}
	errClaimsStateMissing = kind{"claims_state_missing", 400, "This was not started here."}
	errClaimsStateUnknown = kind{"claims_state_unknown", 400, "This was not started in this browser, or it was started too long ago."}
	errClaimsExpired      = kind{"claims_expired", 400, "This took too long."}
	errClaimsStateUsed    = kind{"claims_state_used", 400, "This has already been completed."}
	errClaimsSession      = kind{"claims_session_changed", 403, "Somebody else is signed in now, or you have signed in again."}
	errClaimsNoTicket     = kind{"claims_ticket_missing", 400, "The authorization server did not say how to go on."}
	errClaimsTickets      = kind{"claims_ticket_repeated", 400, "The authorization server said in two ways how to go on."}
	errClaimsSameTicket   = kind{"claims_ticket_unchanged", 400, "The authorization server did not go on."}
	errClaimsNotGiven     = kind{"claims_not_given", 403, "The authorization server did not get to know what it needs."}
	errClaimsRefusedThere = kind{"claims_request_refused", 502, "The authorization server does not accept what this site asks for."}
	errClaimsSubmitted    = kind{"claims_submitted", 403, "The owner has been asked. Please try again later."}
)
