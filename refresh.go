package gatehouse

import (
	"bytes"
	"context"
	"crypto/rand"
	"errors"
	"net"
	"net/url"
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
	// refreshTries bounds the tries to merge a result against other writers.
	refreshTries = 16
)

// Failures of a refresh that the caller of Token sees.
var (
	errSessionEnded = kind{"login_required", 401, "Your session has ended."}
	errNoToken      = kind{"no_token", 403, "The sign-in service gave no access token that is still valid."}
	errTokenStale   = kind{"token_unavailable", 503, "The access token has expired and cannot be renewed right now."}
)

// renewAt is when the access token should be renewed; false when it cannot be.
func (r *record) renewAt() (time.Time, bool) {
	if r.refresh == "" || r.expires.IsZero() {
		return time.Time{}, false
	}
	return r.expires.Add(-min(refreshAhead, r.expires.Sub(r.requested)/refreshPart)), true
}

// due reports whether a refresh should be tried now.
func (r *record) due(now time.Time) bool {
	at, ok := r.renewAt()
	return ok && !now.Before(at) && !now.Before(r.retryAt)
}

// renewDue renews the tokens in the course of a request. While the access token
// is valid it only starts the refresh; after that it waits, so that a person
// who was locked out at the provider does not go on with old claims (SE10).
// Trouble of the provider or store keeps the session serving.
func (l *liveSession) renewDue(ctx context.Context) error {
	now := l.sessions.now()
	rec := l.record()
	if !rec.due(now) {
		return nil
	}
	if now.Before(rec.expires) {
		l.sessions.refreshes.Start(l.key, refreshFlight, l.refreshFlight(rec))
		return nil
	}
	ctx, cancel := context.WithTimeout(ctx, refreshWait)
	defer cancel()
	next, err := l.sessions.refreshes.Do(ctx, l.key, refreshFlight, l.refreshFlight(rec))
	if ErrorCode(err) == errSessionEnded.code {
		return errLoginRequired.because(err)
	}
	if err == nil {
		l.set(nil, next)
	}
	return nil
}

// fresh returns the record with an access token that is valid at now.
func (l *liveSession) fresh(ctx context.Context, now time.Time) (*record, error) {
	rec := l.record()
	at, renewable := rec.renewAt()
	switch {
	case rec.access == "":
		return nil, errNoToken.because(nil)
	case !renewable && (rec.expires.IsZero() || now.Before(rec.expires)), renewable && now.Before(at):
		return rec, nil
	case !renewable:
		return nil, errNoToken.because(errors.New("it has expired and there is no refresh token"))
	}
	return l.renewed(ctx, now)
}

// renewed waits for a refresh. A token that is still valid does when the
// refresh fails.
func (l *liveSession) renewed(ctx context.Context, now time.Time) (*record, error) {
	rec := l.record()
	next, err := l.sessions.refreshes.Do(ctx, l.key, refreshFlight, l.refreshFlight(rec))
	switch {
	case err == nil:
		l.set(nil, next)
		return next, nil
	case ErrorCode(err) == errSessionEnded.code:
		return nil, asError(err, errSessionEnded)
	case now.Before(rec.expires):
		return rec, nil
	}
	return nil, errTokenStale.because(err)
}

// refreshFlight is one refresh of the session for all its waiters in this
// process. It runs outside any request.
func (l *liveSession) refreshFlight(seen *record) func(context.Context) (*record, error) {
	run := &refreshRun{sessions: l.sessions, party: l.party, key: l.key, seen: seen.access}
	return run.fly
}

type refreshRun struct {
	sessions *Sessions
	party    *RelyingParty
	key      string
	seen     string // the access token the caller knows
}

// fly takes the lease, sends the refresh token and merges the answer; or waits
// until whoever holds the lease has done so (design decision 3).
func (f *refreshRun) fly(ctx context.Context) (*record, error) {
	if _, err := f.party.provider.Metadata(ctx); err != nil {
		return nil, err // before a lease is taken: nothing could be sent
	}
	for {
		raw, rec, err := f.read(ctx)
		if err != nil {
			return nil, err
		}
		now := f.sessions.now()
		if rec.access != f.seen || rec.refresh == "" {
			return rec, nil // another one was faster
		}
		if now.Before(rec.retryAt) {
			return nil, errProviderUnavailable.after(rec.retryAt.Sub(now), errors.New("the last refresh failed"))
		}
		if now.Before(rec.leaseUntil) {
			if err := pause(ctx, leasePoll); err != nil {
				return nil, errProviderUnavailable.because(err)
			}
			continue
		}
		leased, ok, err := f.lease(ctx, raw, rec, now)
		if err != nil {
			return nil, err
		}
		if ok {
			return f.renew(ctx, leased)
		}
	}
}

func pause(ctx context.Context, d time.Duration) error {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-ctx.Done():
		return ctx.Err()
	case <-t.C:
		return nil
	}
}

// read returns the live record as it is stored now.
func (f *refreshRun) read(ctx context.Context) ([]byte, *record, error) {
	raw, err := f.sessions.find(ctx, f.key)
	if err != nil {
		return nil, nil, err
	}
	if raw == nil {
		return nil, nil, errSessionEnded.because(nil)
	}
	rec, err := f.sessions.unpack(f.key, raw)
	if err != nil {
		return nil, nil, asError(err, errRecordUnreadable)
	}
	if !rec.ended.IsZero() {
		return nil, nil, errSessionEnded.because(nil)
	}
	return raw, rec, nil
}

// lease takes the right to refresh, counting a lease that ran out without an
// answer.
func (f *refreshRun) lease(ctx context.Context, raw []byte, rec *record, now time.Time) (*record, bool, error) {
	next := *rec
	if len(rec.leaseID) > 0 {
		next.takeovers++
	}
	next.leaseID = []byte(rand.Text())
	next.leaseUntil = now.Add(leaseLife)
	ok, err := f.sessions.swap(ctx, f.key, raw, f.sessions.pack(f.key, &next), f.sessions.expiry(&next))
	return &next, ok, err
}

// renew sends the refresh token, once, and stores what comes of it.
func (f *refreshRun) renew(ctx context.Context, rec *record) (*record, error) {
	rp, s := f.party, f.sessions
	send, cancel := context.WithTimeout(ctx, rec.leaseUntil.Add(-leaseMargin).Sub(s.now()))
	defer cancel()
	answer, err := rp.provider.requestToken(send, rp.client, url.Values{
		"grant_type": {"refresh_token"}, "refresh_token": {rec.refresh}, // RFC 6749 §6
	})
	refusal, refused := errors.AsType[*tokenRefusal](err)
	switch {
	case refused && refusal.code == "invalid_grant":
		return f.lost(ctx, rec, refusal)
	case refused || errors.Is(err, &Error{Code: errTokenType.code}):
		return nil, f.failed(ctx, rec, err)
	case err != nil:
		if answered(err) {
			return nil, f.failed(ctx, rec, err)
		}
		f.tell(ctx, rec, err) // no answer: the lease stays and is taken over
		return nil, asError(err, errProviderUnavailable)
	}
	token, err := f.checkIDToken(ctx, rec, answer)
	if err != nil {
		return nil, f.failed(ctx, rec, err)
	}
	return f.merge(ctx, rec, answer, token)
}

// answered reports whether the provider answered at all, or was never reached:
// then the fate of the refresh token is known.
func answered(err error) bool {
	if _, said := errors.AsType[*tokenTrouble](err); said {
		return true
	}
	if op, ok := errors.AsType[*net.OpError](err); ok && op.Op == "dial" {
		return true
	}
	return ErrorCode(err) != errProviderUnavailable.code
}

// checkIDToken verifies the ID Token of a refresh, if there is one: same
// issuer, person and audience (OpenID Connect Core §12.2).
func (f *refreshRun) checkIDToken(ctx context.Context, rec *record, answer *tokenAnswer) (*idToken, error) {
	if answer.idToken == "" {
		return nil, nil
	}
	return f.party.provider.verifyIDToken(ctx, f.party.client, answer.idToken, answer.access, idTokenWant{subject: rec.subject})
}

// merge puts the new tokens into the record, as long as that still holds the
// refresh token that was sent.
func (f *refreshRun) merge(ctx context.Context, sent *record, answer *tokenAnswer, token *idToken) (*record, error) {
	var next record
	done, err := f.update(ctx, func(rec *record) bool {
		if rec.refresh != sent.refresh {
			return false
		}
		rec.access, rec.expires, rec.requested = answer.access, answer.expires, answer.requested
		if answer.refresh != "" {
			rec.refresh = answer.refresh
		}
		if token != nil {
			rec.idToken = answer.idToken
		}
		if answer.hasScope {
			rec.scope = answer.scope
		}
		rec.leaseID, rec.leaseUntil, rec.takeovers, rec.retryAt = nil, time.Time{}, 0, time.Time{}
		next = *rec
		return true
	})
	if ErrorCode(err) == errSessionEnded.code { // logout won
		f.party.revokeLater(answer.refresh)
		return nil, err
	}
	if err != nil {
		return nil, err
	}
	if !done { // another result is there
		_, rec, err := f.read(ctx)
		return rec, err
	}
	f.party.provider.emit(ctx, Event{Name: EventRefresh, Subject: next.subject, ClientID: next.clientID})
	return &next, nil
}

// lost ends the session: the provider does not know the refresh token any more.
// After a take-over that may be our own doing, so the access token then serves
// until it expires.
func (f *refreshRun) lost(ctx context.Context, sent *record, refusal *tokenRefusal) (*record, error) {
	f.tell(ctx, sent, refusal)
	if sent.takeovers == 0 {
		if _, err := f.sessions.end(ctx, f.key); err != nil {
			return nil, err
		}
		return nil, errSessionEnded.because(refusal)
	}
	var next record
	done, err := f.update(ctx, func(rec *record) bool {
		if rec.refresh != sent.refresh {
			return false
		}
		rec.refresh, rec.ends = "", rec.expires
		rec.leaseID, rec.leaseUntil = nil, time.Time{}
		next = *rec
		return true
	})
	switch {
	case err != nil:
		return nil, err
	case !done:
		_, rec, err := f.read(ctx)
		return rec, err
	case !f.sessions.alive(&next, f.sessions.now()):
		return nil, errSessionEnded.because(refusal)
	}
	return &next, nil
}

// failed gives the lease back and leaves a pause, so that a provider in trouble
// is not asked at every request.
func (f *refreshRun) failed(ctx context.Context, sent *record, cause error) error {
	f.tell(ctx, sent, cause)
	var jitter [1]byte
	rand.Read(jitter[:])
	retry := f.sessions.now().Add(refreshRetry + refreshRetry*time.Duration(jitter[0])/256)
	_, err := f.update(ctx, func(rec *record) bool {
		if !bytes.Equal(rec.leaseID, sent.leaseID) {
			return false
		}
		rec.leaseID, rec.leaseUntil, rec.retryAt = nil, time.Time{}, retry
		return true
	})
	if err != nil {
		return err
	}
	return errProviderUnavailable.because(cause)
}

func (f *refreshRun) tell(ctx context.Context, rec *record, cause error) {
	e := asError(cause, errProviderUnavailable)
	f.party.provider.emit(ctx, Event{Name: EventRefresh, Code: e.Code, Subject: rec.subject, ClientID: rec.clientID, Err: cause})
}

// update changes the stored record by change, until the swap succeeds or change
// declines.
func (f *refreshRun) update(ctx context.Context, change func(*record) bool) (bool, error) {
	ctx = context.WithoutCancel(ctx)
	var last error
	for range refreshTries {
		raw, rec, err := f.read(ctx)
		if err != nil {
			if ErrorCode(err) == errSessionEnded.code {
				return false, err
			}
			last = err
			continue
		}
		if !change(rec) {
			return false, nil
		}
		swapped, err := f.sessions.swap(ctx, f.key, raw, f.sessions.pack(f.key, rec), f.sessions.expiry(rec))
		if swapped {
			return true, nil
		}
		if err != nil {
			last = err
		}
	}
	return false, asError(last, errStoreUnavailable)
}
