package gatehouse

import (
	"context"
	"errors"
	"net/http"
	"runtime/debug"
	"sync"
	"time"

	"example.com/gatehouse/internal/lease"
	"example.com/gatehouse/internal/session"
)

// refreshWait is how long a page waits for a refresh that is overdue. A provider
// in trouble then delays a page no longer; it goes on without a live access
// token.
const refreshWait = 3 * time.Second

// liveSession is a login as one request sees it. Its record is replaced when
// the tokens are renewed.
type liveSession struct {
	sessions *Sessions
	party    *RelyingParty
	ref      session.Ref

	mu  sync.Mutex
	now session.Stored
}

func (l *liveSession) stored() session.Stored {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.now
}

func (l *liveSession) record() *session.Record { return l.stored().Record }

func (l *liveSession) set(now session.Stored) {
	l.mu.Lock()
	l.now = now
	l.mu.Unlock()
}

// load returns the login of the request's cookie. The error is session.ErrNone,
// or an *Error when that cannot be known now.
func (rp *RelyingParty) load(r *http.Request) (*liveSession, error) {
	ref, ok := rp.sessionRef(r)
	if !ok {
		return nil, session.ErrNone
	}
	now, err := rp.sessions.keeper.Load(r.Context(), ref)
	switch {
	case errors.Is(err, session.ErrGarbage):
		rp.provider.emit(r.Context(), Event{Name: EventTrouble, Code: troubleGarbage, ClientID: rp.client.ID, Err: err})
		return nil, session.ErrNone
	case errors.Is(err, session.ErrNone):
		return nil, err
	case err != nil:
		return nil, failure(err)
	case now.Record.Issuer != rp.provider.issuer || now.Record.ClientID != rp.client.ID:
		return nil, session.ErrNone
	}
	ref.ID = "" // printing an Identity must not show it (CF7)
	return &liveSession{sessions: rp.sessions, party: rp, ref: ref, now: now}, nil
}

// touch writes back that the session is in use.
func (l *liveSession) touch(ctx context.Context) {
	now, err := l.sessions.keeper.Touch(ctx, l.ref, l.stored())
	if err != nil {
		rec := l.record()
		l.party.provider.emit(ctx, Event{Name: EventTrouble, Code: troubleIdle, Subject: rec.Subject, ClientID: rec.ClientID, Err: err})
		return
	}
	l.set(now)
}

// renewDue renews the tokens in the course of a request. While the access token
// is valid it only starts the refresh; after that it waits, so that a person
// who was locked out at the provider does not go on with old claims (SE10).
// Trouble of the provider or store keeps the session serving.
func (l *liveSession) renewDue(ctx context.Context) error {
	now, rec := l.sessions.now(), l.record()
	if !rec.Due(now) {
		return nil
	}
	if rec.Serves(now) {
		l.startRefresh(rec)
		return nil
	}
	ctx, cancel := context.WithTimeout(ctx, refreshWait)
	defer cancel()
	if err := l.refresh(ctx, rec); ErrorCode(err) == CodeLoginRequired {
		return err
	}
	return nil
}

// fresh returns a record with an access token that can be used.
func (l *liveSession) fresh(ctx context.Context) (*session.Record, error) {
	now, rec := l.sessions.now(), l.record()
	switch {
	case len(rec.Access) == 0:
		return nil, errNoToken.because(nil)
	case rec.Serves(now):
		if rec.Due(now) {
			l.startRefresh(rec)
		}
		return rec, nil
	case len(rec.Refresh) == 0:
		return nil, errNoToken.because(errors.New("it has expired and there is no refresh token"))
	}
	if err := l.refresh(ctx, rec); err != nil {
		return nil, stale(err)
	}
	if rec = l.record(); !rec.Serves(l.sessions.now()) {
		return nil, errNoToken.because(errors.New("the renewed token has expired already"))
	}
	return rec, nil
}

// stale is what the caller of Token gets for a refresh that failed.
func stale(err error) error {
	if ErrorCode(err) == CodeLoginRequired {
		return err
	}
	e := errTokenStale.because(err)
	if cause, ok := errors.AsType[*Error](err); ok && cause.RetryAfter > 0 {
		e.RetryAfter = cause.RetryAfter
	}
	return e
}

// startRefresh begins a refresh unless one is under way, and does not wait.
func (l *liveSession) startRefresh(rec *session.Record) {
	l.sessions.refreshes.Start(l.ref.Key, lease.Flight, l.refreshOf(rec))
}

// refresh waits for a refresh: one for all waiters of this process, which runs
// outside any request. A session that has ended is errLoginRequired.
func (l *liveSession) refresh(ctx context.Context, rec *session.Record) error {
	next, err := l.sessions.refreshes.Do(ctx, l.ref.Key, lease.Flight, l.refreshOf(rec))
	if err != nil {
		return err
	}
	l.set(next)
	return nil
}

// refreshOf is one refresh of the session, for a caller who knows rec.
func (l *liveSession) refreshOf(rec *session.Record) func(context.Context) (session.Stored, error) {
	rp, keeper, ref, seen := l.party, l.sessions.keeper, l.ref, string(rec.Access)
	return func(ctx context.Context) (session.Stored, error) {
		defer func() {
			if p := recover(); p != nil { // perhaps nobody waits for it
				rp.provider.emitPanic(ctx, p, debug.Stack())
				panic(p)
			}
		}()
		if _, err := rp.provider.Metadata(ctx); err != nil {
			return session.Stored{}, err // before a lease is taken: nothing could be sent
		}
		now, renewed, err := keeper.Renew(ctx, ref, seen, renewer{rp})
		if errors.Is(err, session.ErrNone) {
			return session.Stored{}, errLoginRequired.because(err)
		}
		if err != nil {
			return session.Stored{}, asError(err, errProviderUnavailable)
		}
		if renewed {
			rp.provider.emit(ctx, Event{Name: EventRefresh, Subject: now.Record.Subject, ClientID: now.Record.ClientID})
		}
		return now, nil
	}
}
