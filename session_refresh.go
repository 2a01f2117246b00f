package gatehouse

import (
	"context"
	"errors"
	"time"
)

const (
	// refreshAhead and refreshPart: tokens are renewed 60 s or a quarter of
	// their life before they expire, whichever is shorter.
	refreshAhead = 60 * time.Second
	refreshPart  = 4
	// leaseLife is how long one replica has for a refresh. It is never renewed.
	leaseLife = 12 * time.Second
	// leaseMargin is left between the end of a token request and that of the
	// lease: replicas' clocks agree within 1 s.
	leaseMargin = 2 * time.Second
	// leasePoll is how often a replica looks whether another one is done.
	leasePoll = 150 * time.Millisecond
	// refreshFlight bounds one flight: waiting for another replica's lease,
	// then an own one.
	refreshFlight = 2*leaseLife + time.Second
	// refreshWait is how long a page waits for a refresh that is overdue. A
	// provider in trouble then delays a page no longer; it goes on without a
	// live access token.
	refreshWait = 3 * time.Second
	// refreshRetry is the pause after a provider in trouble, with up to as much
	// again at random.
	refreshRetry = 10 * time.Second
	// mergePause and mergePauseMax space the tries to store what a refresh
	// brought while the store is in trouble, mergeTime ends them: a restart of
	// the store loses no login.
	mergePause    = 50 * time.Millisecond
	mergePauseMax = time.Second
	mergeTime     = 10 * time.Second
)

// renewAt is when the access token should be renewed; false when it cannot be.
func (r *record) renewAt() (time.Time, bool) {
	if len(r.refresh) == 0 || r.expires.IsZero() {
		return time.Time{}, false
	}
	return r.expires.Add(-min(refreshAhead, r.expires.Sub(r.requested)/refreshPart)), true
}

// due reports whether a refresh should be tried now.
func (r *record) due(now time.Time) bool {
	at, ok := r.renewAt()
	return ok && !now.Before(at) && !now.Before(r.retryAt)
}

// serves reports whether the access token can be used.
func (r *record) serves(now time.Time) bool {
	return len(r.access) > 0 && (r.expires.IsZero() || now.Before(r.expires))
}

// renewDue renews the tokens in the course of a request. While the access token
// is valid it only starts the refresh; after that it waits, so that a person
// who was locked out at the provider does not go on with old claims (SE10).
// Trouble of the provider or store keeps the session serving.
func (l *liveSession) renewDue(ctx context.Context) error {
	now, rec := l.sessions.now(), l.record()
	if !rec.due(now) {
		return nil
	}
	if rec.serves(now) {
		l.startRefresh(rec)
		return nil
	}
	ctx, cancel := context.WithTimeout(ctx, refreshWait)
	defer cancel()
	err := l.refresh(ctx, rec)
	if ErrorCode(err) == errLoginRequired.code {
		return errLoginRequired.because(err)
	}
	return nil
}

// fresh returns a record with an access token that can be used.
func (l *liveSession) fresh(ctx context.Context) (*record, error) {
	now, rec := l.sessions.now(), l.record()
	switch {
	case len(rec.access) == 0:
		return nil, errNoToken.because(nil)
	case rec.serves(now):
		if rec.due(now) {
			l.startRefresh(rec)
		}
		return rec, nil
	case len(rec.refresh) == 0:
		return nil, errNoToken.because(errors.New("it has expired and there is no refresh token"))
	}
	if err := l.refresh(ctx, rec); err != nil {
		return nil, l.stale(err)
	}
	if rec = l.record(); !rec.serves(l.sessions.now()) {
		return nil, errNoToken.because(errors.New("the renewed token has expired already"))
	}
	return rec, nil
}

// stale is what the caller of Token gets for a refresh that failed.
func (l *liveSession) stale(err error) error {
	if ErrorCode(err) == errLoginRequired.code {
		return asError(err, errLoginRequired)
	}
	e := errTokenStale.because(err)
	if cause, ok := errors.AsType[*Error](err); ok && cause.RetryAfter > 0 {
		e.RetryAfter = cause.RetryAfter
	}
	return e
}

// startRefresh begins a refresh unless one is under way, and does not wait.
func (l *liveSession) startRefresh(rec *record) {
	l.sessions.refreshes.Start(l.key, refreshFlight, l.newRefresh(rec).fly)
}

// refresh waits for a refresh: one for all waiters of this process, which runs
// outside any request.
func (l *liveSession) refresh(ctx context.Context, rec *record) error {
	next, err := l.sessions.refreshes.Do(ctx, l.key, refreshFlight, l.newRefresh(rec).fly)
	if err == nil {
		l.set(next)
	}
	return err
}

func (l *liveSession) newRefresh(rec *record) *refreshRun {
	return &refreshRun{
		sessions: l.sessions, party: l.party, key: l.key, seen: string(rec.access),
		marks: [2]string{rec.marks[0].name, rec.marks[1].name},
	}
}
