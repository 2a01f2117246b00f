package gatehouse

// Tested in internal/e2e/session.

import (
	"context"
	"net/http"

	"example.com/gatehouse/internal/session"
	"example.com/gatehouse/internal/storekey"
)

// The application's own session manager (SessionsConfig.App): its data goes with
// the login.

// appOwner is the key in the application's session under which the login that
// its data belongs to is kept.
const appOwner = "gatehouse.owner"

// withApp runs LoadAndSave of the application's session manager around next
// when nobody did (M24).
func (rp *RelyingParty) withApp(next http.Handler) http.Handler {
	app := rp.sessions.app
	if app == nil {
		return next
	}
	wrapped := app.LoadAndSave(next)
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if rp.appLoaded(r.Context()) {
			next.ServeHTTP(w, r)
			return
		}
		wrapped.ServeHTTP(w, r)
	})
}

// appLoaded asks scs whether its session is on ctx; it has no other way to tell
// than to panic.
func (rp *RelyingParty) appLoaded(ctx context.Context) (loaded bool) {
	defer func() { loaded = recover() == nil }()
	rp.sessions.app.Status(ctx)
	return true
}

// renewApp gives the application's session a new token at sign-in (R5). It keeps
// what was there before any sign-in and, where the same person signs in once
// more, what belongs to the login replaced. Data of a login that ended
// otherwise than by sign-out is cleared, so that it passes to nobody.
func (rp *RelyingParty) renewApp(ctx context.Context, rec, replaced *session.Record) error {
	app := rp.sessions.app
	if app == nil {
		return nil
	}
	mine := storekey.Of("gatehouse/app owner", rec.Issuer, rec.Subject)
	if had := app.GetString(ctx, appOwner); had != "" && (had != mine || replaced == nil) {
		if err := app.Clear(ctx); err != nil {
			return errStoreUnavailable.because(err)
		}
	}
	deadline := app.Deadline(ctx)
	if err := app.RenewToken(ctx); err != nil {
		return errStoreUnavailable.because(err)
	}
	app.SetDeadline(ctx, deadline) // RenewToken would begin its life anew (M17)
	app.Put(ctx, appOwner, mine)
	// scs commits when the answer is written, too late to undo the sign-in.
	if _, _, err := app.Commit(ctx); err != nil {
		return errStoreUnavailable.because(err)
	}
	return nil
}

// destroyApp ends the application's session with the login.
func (rp *RelyingParty) destroyApp(ctx context.Context) error {
	if rp.sessions.app == nil {
		return nil
	}
	if err := rp.sessions.app.Destroy(ctx); err != nil {
		return errStoreUnavailable.because(err)
	}
	return nil
}
