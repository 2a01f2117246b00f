package gatehouse

// Tested in internal/e2e/session.

import (
	"context"
	"net/http"

	"example.com/gatehouse/internal/session"
	"example.com/gatehouse/internal/storekey"
)

// This file keeps the application's own session (SessionsConfig.App) in step
// with the login.

// appOwner is the key, in the application's session, of a digest of the person
// that its data belongs to.
const appOwner = "gatehouse.owner"

// withApp wraps next in LoadAndSave of the application's session manager,
// unless the application has done so already (M24).
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

// appLoaded reports whether the application's session is on ctx. scs has no
// function for that, but its methods panic if the session is not there.
func (rp *RelyingParty) appLoaded(ctx context.Context) (loaded bool) {
	defer func() { loaded = recover() == nil }()
	rp.sessions.app.Status(ctx)
	return true
}

// renewApp gives the application's session a new token at sign-in, against
// session fixation (R5). Data from before the first sign-in is kept. So is the
// data of the replaced login if the same person signs in again. Data of a
// login that ended without a sign-out is cleared, so that it never passes to
// another person.
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
	app.SetDeadline(ctx, deadline) // RenewToken would extend its life (M17)
	app.Put(ctx, appOwner, mine)
	// scs would commit when the response is written, which is too late to undo
	// the sign-in.
	if _, _, err := app.Commit(ctx); err != nil {
		return errStoreUnavailable.because(err)
	}
	return nil
}

// destroyApp destroys the application's session at sign-out.
func (rp *RelyingParty) destroyApp(ctx context.Context) error {
	if rp.sessions.app == nil {
		return nil
	}
	if err := rp.sessions.app.Destroy(ctx); err != nil {
		return errStoreUnavailable.because(err)
	}
	return nil
}
