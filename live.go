package gatehouse

// Tested in internal/e2e/session, internal/e2e/api.

import (
	"context"
	"errors"
	"fmt"
	"runtime/debug"
	"slices"
	"time"

	"example.com/gatehouse/internal/live"
	"example.com/gatehouse/internal/session"
)

const (
	// liveWithin is how soon the context of Live ends when the session does, on
	// every replica, while the store answers.
	liveWithin = 5 * time.Second
	// liveEvery is how often a session with live connections is read. Two reads
	// fit into liveWithin, each with its time limit, so one of them may fail.
	liveEvery = liveWithin * 2 / 5
	// liveRead bounds one read, including what the store's own limit leaves.
	liveRead = time.Second
	// liveTrust is how long a connection goes on while nobody can tell whether its
	// session has ended. It is longer than a store takes to restart or to fail
	// over: otherwise all connections would come back at the same moment, to a
	// store that has just started.
	liveTrust = 15 * time.Second
	// liveBatch is how many sessions are read in one round trip.
	liveBatch = 64
)

// Live returns a context for a connection that outlives the check that let it
// in: a WebSocket, an event stream or a long poll. It is derived from ctx, the
// context of the request behind the guard, and ends when the identity on ctx is
// no longer good:
//
//   - A session: within 5 seconds of a sign-out, whether in this browser, by
//     Revoke or RevokeAll, or by the provider's logout, on every replica. The same
//     goes for a session that another sign-in in the browser has replaced, and
//     for one that has reached its idle or absolute limit.
//   - An access token or a requesting party token: when it expires
//     (Identity.Expires). A token that has no expiry ends nothing. That a token was
//     revoked before is not noticed, also not with NotRevoked.
//   - An identity that WithIdentity put there: at Identity.Expires, if that is
//     set.
//
// Without an identity, behind OptionalLogin for example, Live returns ctx.
//
// A handler has to stop when the context is done. context.Cause then says why,
// as an *Error: CodeLoginRequired, CodeTokenInvalid, CodeStoreUnavailable or
// CodeShuttingDown. A session that could not be read for another reason than the
// store has the code that a page would answer with. If ctx itself ended first, it is
// the cause of ctx.
//
// A live connection does not count as use of the session. If nothing else
// reaches a guard, the session ends at its idle limit, and so does the
// connection. What a person sends over a WebSocket counts if the page makes an
// ordinary request besides, at most one in a tenth of the idle limit.
//
// A session is read once in 2 seconds, however many connections it has in this
// process, and up to 64 sessions in one round trip. If that fails, each is read by
// itself, so that trouble with one of them is not that of the others. While the store
// fails or hangs, connections go on for 15 seconds, and then end with
// CodeStoreUnavailable. Sign-outs are refused in that time, too.
//
// Shutdown of Sessions, RelyingParty or ResourceServer ends their contexts, and
// those that Live returns afterwards, with CodeShuttingDown. The function
// Shutdown does so before it waits for the http.Server, which waits for event
// streams. A program that calls the server's own Shutdown registers it:
//
//	server.RegisterOnShutdown(func() { _ = login.Shutdown(ctx) })
//
// http.Server cancels the context of a hijacked connection when its handler
// returns. For a connection that goes on after that, pass a context of its own
// with the same values (context.WithoutCancel, and a cancel function to call at
// the end): what Live keeps for a connection goes when ctx ends. For the tunnel
// of a reverse proxy, pass the request on with the context of Live.
func Live(ctx context.Context) context.Context {
	id := IdentityFrom(ctx)
	switch {
	case id == nil:
		return ctx
	case id.session != nil:
		l := id.session
		return l.party.sessions.watched.Watch(ctx, l.found.Key(), watchedLogin{l.party, l.party.sessions.keeper.NewWatch(&l.found, session.Party{Issuer: id.Issuer, ClientID: id.ClientID})})
	case id.api != nil:
		return id.api.live.Until(ctx, deadlineOf(id, id.api.provider.now))
	case !id.Expires.IsZero():
		return (*live.Set)(nil).Until(ctx, deadlineOf(id, time.Now))
	}
	return ctx
}

func deadlineOf(id *Identity, now func() time.Time) live.Deadline {
	end := errTokenInvalid
	if id.Via == ViaSession {
		end = errLoginRequired
	}
	return live.Deadline{At: id.Expires, Now: now, Every: liveEvery, Cause: end.because(fmt.Errorf("it ended at %s", id.Expires.UTC().Format(time.RFC3339)))}
}

// watchedLogin is a session with live connections.
type watchedLogin struct {
	party *RelyingParty
	login *session.Watch
}

// newWatched returns what watches the sessions of s.
func (s *Sessions) newWatched() *live.Hub[watchedLogin] {
	return live.NewHub(live.Config[watchedLogin]{
		Every: liveEvery, Limit: liveRead, Trust: liveTrust, Batch: liveBatch, Judge: s.pulse,
		Late: errStoreUnavailable.because(errors.New("the store hangs")),
	})
}

// pulse judges sessions that have live connections.
func (s *Sessions) pulse(ctx context.Context, list []watchedLogin) (verdicts []live.Verdict) {
	defer func() {
		if p := recover(); p != nil { // in the store or the clock of the application
			list[0].party.provider.emitPanic(ctx, p, debug.Stack())
			verdicts = slices.Repeat([]live.Verdict{{Doubt: errInternal.because(panicked(p))}}, len(list))
		}
	}()
	logins := make([]*session.Watch, len(list))
	for i, w := range list {
		logins[i] = w.login
	}
	verdicts = make([]live.Verdict, len(list))
	for i, err := range s.keeper.Pulse(ctx, logins) {
		switch {
		case err == nil:
		case errors.Is(err, session.ErrNone), errors.Is(err, session.ErrGarbage):
			verdicts[i].Over = errLoginRequired.because(err)
		default:
			verdicts[i].Doubt = failure(err)
		}
	}
	return verdicts
}

// endLive ends the contexts of Live, because the process is about to end.
func (s *Sessions) endLive() {
	if s != nil && s.keeper != nil {
		s.watched.Close(errShuttingDown.because(nil))
	}
}

func (rp *RelyingParty) endLive() {
	if rp.checkMade() == nil {
		rp.sessions.endLive()
	}
}

func (l *Logins) endLive() {
	if l.checkMade() != nil {
		return
	}
	for _, rp := range l.members {
		rp.endLive()
	}
}

func (rs *ResourceServer) endLive() {
	if rs.isMade() == nil {
		rs.live.Close(errShuttingDown.because(nil))
	}
}
