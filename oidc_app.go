package gatehouse

// Tested in internal/e2e/session.

import (
	"context"
	"errors"
	"net/http"
	"time"

	"github.com/alexedwards/scs/v2"

	"example.com/gatehouse/internal/session"
	"example.com/gatehouse/internal/storekey"
)

// This file keeps the application's own session (SessionsConfig.App) in step
// with the login.

// appOwner is the key, in the application's session, of a digest of the person
// that its data belongs to.
const appOwner = "gatehouse.owner"

// appWait bounds one call to the store of the application's sessions, if that
// heeds contexts, so that a page is answered within a second if it hangs (FA6).
const appWait = 900 * time.Millisecond

// appTurn is what a request knows of the application's session that it has loaded.
type appTurn struct {
	loaded bool
	err    error     // of the store's first failure: nobody waits for another one
	token  string    // that a sign-in has stored; it does not matter any more if scs cannot store it again
	expiry time.Time // of that
}

type appTurnKey struct{}

// appFor returns the application's session manager, or nil, with bounded calls to
// its store. It is a copy: the session on ctx is the same.
func (s *Sessions) appFor(ctx context.Context) *scs.SessionManager {
	if s.app == nil {
		return nil
	}
	app := *s.app
	turn, _ := ctx.Value(appTurnKey{}).(*appTurn)
	if turn == nil {
		turn = new(appTurn)
	}
	app.Store = appStore{s.app.Store, turn}
	return &app
}

// appStore is the store of the application's sessions for one request.
type appStore struct {
	scs.Store
	turn *appTurn
}

// FindCtx implements scs.CtxStore.
func (s appStore) FindCtx(ctx context.Context, token string) (b []byte, found bool, err error) {
	err = s.call(ctx, func(ctx context.Context, with scs.CtxStore) (err error) {
		if with == nil {
			b, found, err = s.Find(token)
			return err
		}
		b, found, err = with.FindCtx(ctx, token)
		return err
	})
	return b, found, err
}

// CommitCtx implements scs.CtxStore.
func (s appStore) CommitCtx(ctx context.Context, token string, b []byte, expiry time.Time) error {
	return s.call(ctx, func(ctx context.Context, with scs.CtxStore) error {
		if with == nil {
			return s.Commit(token, b, expiry)
		}
		return with.CommitCtx(ctx, token, b, expiry)
	})
}

// DeleteCtx implements scs.CtxStore.
func (s appStore) DeleteCtx(ctx context.Context, token string) error {
	return s.call(ctx, func(ctx context.Context, with scs.CtxStore) error {
		if with == nil {
			return s.Delete(token)
		}
		return with.DeleteCtx(ctx, token)
	})
}

// call makes a call. with is nil if the store knows no contexts.
func (s appStore) call(ctx context.Context, do func(ctx context.Context, with scs.CtxStore) error) error {
	if s.turn.err != nil {
		return s.turn.err
	}
	ctx, cancel := context.WithTimeout(ctx, appWait)
	defer cancel()
	with, _ := s.Store.(scs.CtxStore)
	s.turn.err = do(ctx, with)
	return s.turn.err
}

// withApp wraps next in LoadAndSave of the application's session manager,
// unless the application has done so already (M24). If the store fails, the
// answer is ours and not that of scs, which is 500.
func (rp *RelyingParty) withApp(next http.Handler) http.Handler {
	if rp.sessions.app == nil {
		return next
	}
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if rp.appLoaded(r.Context()) {
			next.ServeHTTP(w, r)
			return
		}
		turn := new(appTurn)
		r = r.WithContext(context.WithValue(r.Context(), appTurnKey{}, turn))
		app := rp.sessions.appFor(r.Context())
		app.ErrorFunc = func(w http.ResponseWriter, r *http.Request, err error) {
			switch {
			case !turn.loaded:
				rp.refuse(w, r, errStoreUnavailable.because(err))
			case turn.token != "": // the sign-in has succeeded, and the answer is on its way
				app.WriteSessionCookie(r.Context(), w, turn.token, turn.expiry)
			}
		}
		app.LoadAndSave(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			turn.loaded = true
			next.ServeHTTP(w, r)
		})).ServeHTTP(w, r)
	})
}

// appLoaded reports whether the application's session is on ctx. scs has no
// function for that, but its methods panic if the session is not there.
func (rp *RelyingParty) appLoaded(ctx context.Context) (loaded bool) {
	defer func() { loaded = recover() == nil }()
	rp.sessions.app.Status(ctx)
	return true
}

// withoutApp returns ctx without the session of the application that a
// LoadAndSave around us has put there: that of a form without cookies, which is
// empty. Everything else stays.
func (rp *RelyingParty) withoutApp(ctx context.Context) context.Context {
	if rp.sessions.app == nil || !rp.appLoaded(ctx) {
		return ctx
	}
	asked := &askedKey{Context: ctx}
	rp.appLoaded(asked) // scs tells nobody under which key it keeps its session
	return without{ctx, asked.key}
}

// askedKey is a context that notes for which value it is asked.
type askedKey struct {
	context.Context
	key any
}

func (c *askedKey) Value(key any) any { c.key = key; return nil }

// without is a context without one of its values.
type without struct {
	context.Context
	key any
}

func (c without) Value(key any) any {
	if key == c.key {
		return nil
	}
	return c.Context.Value(key)
}

// settle ends the browser's old session, adds the new one to the person's list
// and renews the application's session. The old session ends first, so that it
// does not count when the list is full.
func (c *callback) settle(ctx context.Context) error {
	rp := c.rp
	old, err := rp.replaceOld(ctx, c)
	if err != nil {
		return err
	}
	rp.enlist(ctx, c.ref, c.record)
	return rp.renewApp(ctx, c.ref, c.record, old)
}

// renewApp gives the application's session a new token at sign-in, against
// session fixation (R5). Data from before the first sign-in is kept. So is the
// data of the replaced login if the same person signs in again. Data of a
// login that ended without a sign-out is cleared, so that it never passes to
// another person.
//
// The login's record keeps the new token, so that a sign-out that comes before
// the browser has it destroys that session too. If the sign-out came first,
// renewApp destroys it and fails.
func (rp *RelyingParty) renewApp(ctx context.Context, ref session.Ref, rec, replaced *session.Record) error {
	app := rp.sessions.appFor(ctx)
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
	token, expiry, err := app.Commit(ctx)
	if err != nil {
		return errStoreUnavailable.because(err)
	}
	_, err = rp.sessions.keeper.Amend(ctx, ref, rec.Access, func(r *session.Record) { r.App = session.Token(token) })
	if errors.Is(err, session.ErrNone) {
		return failure(errors.Join(session.ErrSignedOut, app.Destroy(ctx)))
	}
	if turn, ok := ctx.Value(appTurnKey{}).(*appTurn); ok && err == nil {
		turn.token, turn.expiry = token, expiry
	}
	return failure(err)
}

// recheckApp destroys the application's session if the login ended before the
// response was written: scs has committed it once more with the response. The
// response itself cannot change any more.
func (rp *RelyingParty) recheckApp(ctx context.Context, ref session.Ref) {
	app := rp.sessions.appFor(ctx)
	if app == nil || ref.Key == "" {
		return
	}
	if _, err := rp.sessions.keeper.Load(ctx, ref); errors.Is(err, session.ErrNone) {
		_ = rp.destroyOther(ctx, app.Token(ctx)) // nobody can be told any more
	}
}

// destroyApp destroys the application's session at sign-out, and those that
// the sign-ins that ended with it have made.
func (rp *RelyingParty) destroyApp(ctx context.Context, ended []*session.Record) error {
	app := rp.sessions.appFor(ctx)
	if app == nil {
		return nil
	}
	for _, rec := range ended {
		if token := string(rec.App); token != "" && token != app.Token(ctx) {
			if err := rp.destroyOther(ctx, token); err != nil {
				return err
			}
		}
	}
	if err := app.Destroy(ctx); err != nil {
		return errStoreUnavailable.because(err)
	}
	return nil
}

// destroyOther destroys the application's session with that token, which is
// not that of the request.
func (rp *RelyingParty) destroyOther(ctx context.Context, token string) error {
	app := rp.sessions.appFor(ctx)
	other, err := app.Load(apart{ctx}, token)
	if err == nil {
		err = app.Destroy(other)
	}
	if err != nil {
		return errStoreUnavailable.because(err)
	}
	return nil
}

// apart is a context without values, so that scs loads another session into it.
type apart struct{ context.Context }

func (apart) Value(any) any { return nil }
