package gatehouse

// Tested in internal/e2e/signin.

// Failures of what a sign-in asks for, and of a third-party start.
var (
	errAuthRequest     = kind{"auth_request_refused", 500, "The sign-in of this site is not set up correctly."}
	errAuthRequestHook = kind{"auth_request_hook_failed", 503, "You cannot sign in right now."}
	errInteraction     = kind{CodeInteractionRequired, 403, "The sign-in service could not sign you in without asking you."}
	errClaims          = kind{"claims_mismatch", 403, "The sign-in service did not say of you what this page needs."}
	errStartIssuer     = kind{"start_issuer_unknown", 400, "This site does not sign people in at that service."}
	errStart           = kind{"start_malformed", 400, "This address does not say where to sign in."}
)
