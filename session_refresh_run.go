package gatehouse

import (
	"bytes"
	"context"
	"crypto/rand"
	"errors"
	"net"
	"net/url"
	"runtime/debug"
	"slices"
	"time"

	signed "example.com/gatehouse/internal/token"
)

// refreshRun is one refresh of one session: it takes the lease, sends the
// refresh token and merges the answer; or waits until whoever holds the lease
// has done so, so that the token is sent once (decision 4).
type refreshRun struct {
	sessions *Sessions
	party    *RelyingParty
	key      string
	marks    [2]string
	seen     string // the access token that the caller knows
}

func (f *refreshRun) fly(ctx context.Context) (stored, error) {
	defer func() {
		if p := recover(); p != nil { // perhaps nobody waits for it
			f.party.logStack(ctx, p, debug.Stack())
			panic(p)
		}
	}()
	if _, err := f.party.provider.Metadata(ctx); err != nil {
		return stored{}, err // before a lease is taken: nothing could be sent
	}
	for {
		have, err := f.read(ctx)
		if err != nil {
			return stored{}, err
		}
		rec, now := have.rec, f.sessions.now()
		switch {
		case string(rec.access) != f.seen || len(rec.refresh) == 0:
			return have, nil // another one was faster
		case now.Before(rec.retryAt):
			return stored{}, errProviderUnavailable.after(rec.retryAt.Sub(now), errors.New("the last refresh failed"))
		case now.Before(rec.leaseUntil):
			if err := pause(ctx, leasePoll); err != nil {
				return stored{}, errProviderUnavailable.because(err)
			}
			continue
		}
		leased, ok, err := f.lease(ctx, have, now)
		if err != nil {
			return stored{}, err
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

// read returns the live record as it is stored now. One that has ended, here or
// from outside, is errLoginRequired.
func (f *refreshRun) read(ctx context.Context) (stored, error) {
	have, err := f.sessions.read(ctx, f.key, f.marks)
	if errors.Is(err, errNotSignedIn) {
		return stored{}, errLoginRequired.because(nil)
	}
	if err != nil {
		return stored{}, asError(err, errRecordUnreadable)
	}
	return have, nil
}

// lease takes the right to refresh, counting a lease that ran out without an
// answer.
func (f *refreshRun) lease(ctx context.Context, have stored, now time.Time) (*record, bool, error) {
	next := *have.rec
	if len(next.leaseID) > 0 {
		next.takeovers++
	}
	next.leaseID = []byte(rand.Text())
	next.leaseUntil = now.Add(leaseLife)
	packed := f.sessions.pack(f.key, &next)
	var ok bool
	var err error
	for range 2 { // an unknown outcome would leave a lease that nobody serves
		if ok, err = f.sessions.swap(ctx, f.key, have.raw, packed, f.sessions.expiry(&next)); err == nil {
			break
		}
	}
	return &next, ok, err
}

// renew sends the refresh token, once, and stores what comes of it.
func (f *refreshRun) renew(ctx context.Context, sent *record) (stored, error) {
	rp, s := f.party, f.sessions
	send, cancel := context.WithTimeout(ctx, sent.leaseUntil.Add(-leaseMargin).Sub(s.now()))
	defer cancel()
	answer, err := rp.provider.requestToken(send, rp.client, url.Values{
		"grant_type": {"refresh_token"}, "refresh_token": {string(sent.refresh)}, // RFC 6749 §6
	})
	if err != nil {
		return f.failed(ctx, sent, err)
	}
	token, err := f.checkIDToken(ctx, sent, answer)
	if err != nil { // another person or issuer: Core §12.2
		rp.revokeLater(answer.refresh)
		return f.lost(ctx, sent, err)
	}
	if !token {
		answer.idToken = "" // the one of before stays
	}
	return f.merge(ctx, sent, answer)
}

// checkIDToken verifies the ID Token of a refresh, if there is one: same
// issuer, person and audience (OpenID Connect Core §12.2). It reports whether
// there is one to keep. When the provider's keys cannot be had now, the answer
// is taken without it, as long as its claims name the same: the refresh token
// that came with it has replaced the one sent.
func (f *refreshRun) checkIDToken(ctx context.Context, sent *record, answer *tokenAnswer) (keep bool, err error) {
	if answer.idToken == "" {
		return false, nil
	}
	tokens := f.party.provider.tokens
	want := signed.Refresh{Client: f.party.client.ID, Subject: sent.subject, First: string(sent.idToken), Access: answer.access}
	_, err = tokens.Refresh(ctx, answer.idToken, want)
	if err == nil {
		return true, nil
	}
	if e := tokenFailure(err); e.Status < 500 {
		return false, e
	}
	if tokens.Plausible(answer.idToken, want) != nil {
		return false, errIDTokenMalformed.because(errors.New("the ID Token of a refresh names somebody else"))
	}
	return false, nil
}

// merge puts the new tokens into the record, as long as that still holds the
// refresh token that was sent.
func (f *refreshRun) merge(ctx context.Context, sent *record, answer *tokenAnswer) (stored, error) {
	next, done, err := f.update(ctx, func(rec *record) bool {
		if !bytes.Equal(rec.refresh, sent.refresh) || !bytes.Equal(rec.access, sent.access) {
			return false
		}
		rec.access, rec.expires, rec.requested = token(answer.access), answer.expires, answer.requested
		if answer.refresh != "" {
			rec.refresh = token(answer.refresh)
		}
		if answer.idToken != "" {
			rec.idToken = token(answer.idToken)
		}
		if answer.hasScope {
			rec.scope = answer.scope
		}
		rec.leaseID, rec.leaseUntil, rec.takeovers, rec.retryAt = nil, time.Time{}, 0, time.Time{}
		return true
	})
	if err == nil && done {
		// A mark raised between reading and writing ends the session as well.
		_, err = f.read(ctx)
		if ErrorCode(err) != errLoginRequired.code {
			err = nil
		}
	}
	switch {
	case ErrorCode(err) == errLoginRequired.code: // logout won
		f.party.revokeLater(answer.refresh)
		return stored{}, err
	case err != nil:
		return stored{}, err
	case !done: // another result is there
		return f.read(ctx)
	}
	f.party.provider.emit(ctx, Event{Name: EventRefresh, Subject: next.rec.subject, ClientID: next.rec.clientID})
	return next, nil
}

// finalRefusals are the errors after which a refresh token is worth nothing
// any more: RFC 6749 §5.2 and OpenID Connect Core §3.1.2.6, which some
// providers answer a refresh with.
var finalRefusals = []string{"invalid_grant", "interaction_required", "login_required", "consent_required", "account_selection_required"}

// failed handles a token request without tokens.
func (f *refreshRun) failed(ctx context.Context, sent *record, cause error) (stored, error) {
	refusal, refused := errors.AsType[*tokenRefusal](cause)
	if refused && slices.Contains(finalRefusals, refusal.code) || errors.Is(cause, &Error{Code: errTokenType.code}) {
		return f.lost(ctx, sent, cause)
	}
	return stored{}, f.putOff(ctx, sent, cause, refused || answered(cause))
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

// lost ends the session: the refresh token is worth nothing any more. After a
// take-over that may be our own doing, so the access token then serves until it
// expires. A result that another replica has stored meanwhile stands.
func (f *refreshRun) lost(ctx context.Context, sent *record, cause error) (stored, error) {
	f.tell(ctx, sent, cause)
	ended := false
	next, done, err := f.update(ctx, func(rec *record) bool {
		if !bytes.Equal(rec.refresh, sent.refresh) || !bytes.Equal(rec.leaseID, sent.leaseID) {
			return false
		}
		ended = rec.takeovers == 0 || !rec.serves(f.sessions.now())
		if ended {
			*rec = *rec.tombstone(f.sessions.now())
			return true
		}
		rec.refresh, rec.ends = nil, rec.expires
		rec.leaseID, rec.leaseUntil = nil, time.Time{}
		return true
	})
	switch {
	case err != nil:
		return stored{}, err
	case !done:
		return f.read(ctx)
	case ended:
		return stored{}, errLoginRequired.because(cause)
	}
	return next, nil
}

// putOff leaves a pause, so that a provider in trouble is not asked at every
// request. The lease is given back if the fate of the refresh token is known;
// otherwise it stays, to be taken over.
func (f *refreshRun) putOff(ctx context.Context, sent *record, cause error, known bool) error {
	f.tell(ctx, sent, cause)
	e := *asError(cause, errProviderUnavailable)
	var jitter [1]byte
	rand.Read(jitter[:])
	wait := max(refreshRetry, e.RetryAfter) + refreshRetry*time.Duration(jitter[0])/256
	_, _, err := f.update(ctx, func(rec *record) bool {
		if !bytes.Equal(rec.leaseID, sent.leaseID) {
			return false
		}
		rec.retryAt = f.sessions.now().Add(wait)
		if known {
			rec.leaseID, rec.leaseUntil = nil, time.Time{}
		}
		return true
	})
	if err != nil {
		return err
	}
	return errProviderUnavailable.after(wait, cause)
}

func (f *refreshRun) tell(ctx context.Context, rec *record, cause error) {
	e := asError(cause, errClientRefused)
	f.party.provider.emit(ctx, Event{Name: EventRefresh, Code: e.Code, Subject: rec.subject, ClientID: rec.clientID, Err: cause})
}

// update changes the stored record by change, until the swap succeeds or change
// declines. While the store is in trouble it goes on for mergeTime.
func (f *refreshRun) update(ctx context.Context, change func(*record) bool) (stored, bool, error) {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), mergeTime)
	defer cancel()
	wait := mergePause
	for {
		next, settled, done, err := f.updateOnce(ctx, change)
		if settled || ErrorCode(err) == errLoginRequired.code {
			return next, done, err
		}
		if err != nil {
			if pause(ctx, wait) != nil {
				return stored{}, false, asError(err, errStoreUnavailable)
			}
			wait = min(2*wait, mergePauseMax)
		}
	}
}

// updateOnce makes one try. It is settled when change declined or the swap
// succeeded; otherwise the record changed meanwhile, or err says what happened.
func (f *refreshRun) updateOnce(ctx context.Context, change func(*record) bool) (next stored, settled, done bool, err error) {
	have, err := f.read(ctx)
	if err != nil {
		return stored{}, false, false, err
	}
	rec := *have.rec
	if !change(&rec) {
		return stored{}, true, false, nil
	}
	expiry := f.sessions.expiry(&rec)
	if !rec.ended.IsZero() {
		expiry = rec.ended.Add(tombstoneLife)
	}
	packed := f.sessions.pack(f.key, &rec)
	swapped, err := f.sessions.swap(ctx, f.key, have.raw, packed, expiry)
	return stored{packed, &rec}, swapped, swapped, err
}
