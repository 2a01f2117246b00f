package gatehouse

// Tested in internal/e2e/registration.

// Failures of a client that registers itself. They are 503, because nothing that
// a stranger sends causes them.
var (
	errRegistrationRefused    = kind{"client_registration_refused", 503, "The sign-in service does not accept this site right now."}
	errRegistrationUnusable   = kind{"client_registration_unusable", 503, "The sign-in service is not set up correctly."}
	errRegistrationStore      = kind{"client_registration_store_unavailable", 503, "This site cannot find out right now how it is known to the sign-in service."}
	errRegistrationUnreadable = kind{"client_registration_unreadable", 503, "This site cannot find out right now how it is known to the sign-in service."}
	errRegistrationDeleted    = kind{"client_registration_deleted", 503, "This site is no longer known to the sign-in service."}
	errRegistrationNone       = kind{"client_registration_missing", 503, "This site is not known to the sign-in service, or cannot change how it is."}
)
