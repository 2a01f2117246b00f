package gatehouse

// Tested in internal/e2e/signin.

// errRPTTicket is about a permission that nobody has asked for yet.
var errRPTTicket = kind{CodeRPTTicketRequired, 403, "This needs a permission that has not been asked for yet."}

// Failures of what a sign-in asks for, of a third-party start, and of a sign-out by
// hand.
var (
	errLogoutURL       = kind{"logout_url_refused", 500, "The sign-out of this site is not set up correctly."}
	errAuthRequest     = kind{"auth_request_refused", 500, "The sign-in of this site is not set up correctly."}
	errAuthRequestHook = kind{"auth_request_hook_failed", 503, "You cannot sign in right now."}
	errInteraction     = kind{CodeInteractionRequired, 403, "The sign-in service could not sign you in without asking you."}
	errClaims          = kind{"claims_mismatch", 403, "The sign-in service did not say of you what this page needs."}
	errStartIssuer     = kind{"start_issuer_unknown", 400, "This site does not sign people in at that service."}
	errStart           = kind{"start_malformed", 400, "This address does not say where to sign in."}
)
