package gatehouse

// Tested in internal/e2e/signin, internal/e2e/session.

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"net/http"
	"sync"
	"time"

	"golang.org/x/oauth2"

	"example.com/gatehouse/internal/backchannel"
	"example.com/gatehouse/internal/bearer"
	"example.com/gatehouse/internal/lease"
	"example.com/gatehouse/internal/session"
	"example.com/gatehouse/internal/token"
)

// Token returns the access token of the session on ctx. An expired token is
// renewed first. A token that expires soon is returned and renewed in the
// background.
//
// Errors are *Error. The code is "login_required" if there is no session or it
// has ended, "no_token" if the provider issued no token that is still valid,
// "token_ended" if the token came without a code (see ResponseType) and has
// ended, so that signing in again gives another (pass the error to Refuse),
// and "token_unavailable" (503) if the token has expired and cannot be renewed
// now. It is "token_unsendable" if the token has characters that no
// Authorization header can carry (RFC 6750 §2.1).
//
// With Client.DPoPKey the type of the token is DPoP, and an API takes it only
// with a proof of the key, which HTTPClient sends along.
func (rp *RelyingParty) Token(ctx context.Context) (*oauth2.Token, error) {
	live, err := rp.liveFrom(ctx)
	if err != nil {
		return nil, err
	}
	rec, err := live.fresh(ctx)
	if err != nil {
		return nil, err
	}
	if !bearer.Valid(string(rec.Access)) { // it would be another token, or several headers, at the API
		return nil, errTokenUnsendable.because(errors.New("the access token has characters that no Authorization header can carry (RFC 6750 §2.1)"))
	}
	return &oauth2.Token{AccessToken: string(rec.Access), TokenType: rp.client.tokenType(), Expiry: rec.Expires}, nil
}

func (rp *RelyingParty) liveFrom(ctx context.Context) (*liveSession, error) {
	id := IdentityFrom(ctx)
	if id == nil || id.session == nil || !rp.owns(id.session) {
		return nil, errLoginRequired.because(errors.New("no session of this relying party on the context"))
	}
	return id.session, nil
}

// owns reports whether a session is one of this relying party, or of another
// with the same provider, client and Sessions.
func (rp *RelyingParty) owns(l *liveSession) bool {
	return l.party.provider == rp.provider && l.party.client.lasting() == rp.client.lasting() && l.party.home == rp.home
}

// HTTPClient returns an http.Client that sends the access token of the session
// on ctx to the given origins, such as "https://api.example.org", and to no
// others. The token is renewed when necessary. The client follows redirects
// and decides for each hop by its own origin. After a hop at another origin it
// sends no token any more, because that origin chose where to go. It works as
// long as the session lives, and is safe for concurrent use. Its requests fail
// with the errors of Token, which ErrorCode finds. Without a session on ctx the
// error is "login_required". Calling HTTPClient without origins is an error.
//
// If an API answers 401 with the error invalid_token, the client calls Refused
// and repeats the request once, provided that its body can be sent again: there
// is none, or Request.GetBody is set. Otherwise the caller gets the 401.
//
// With Client.DPoPKey the client also proves with each request that it has the
// key, and repeats a request once, with the same condition, if the API demands a
// nonce.
func (rp *RelyingParty) HTTPClient(ctx context.Context, origins ...string) (*http.Client, error) {
	if _, err := rp.liveFrom(ctx); err != nil {
		return nil, err
	}
	identity := IdentityFrom(ctx)
	t, wrong := newTokenTransport(rp.config.APITransport, origins)
	t.holder = rp.client.holder()
	t.token = func(ctx context.Context) (string, error) {
		token, err := rp.Token(WithIdentity(ctx, identity))
		if err != nil {
			return "", err
		}
		return token.AccessToken, nil
	}
	t.refused = func(ctx context.Context, token string) error { return rp.Refused(WithIdentity(ctx, identity), token) }
	if err := wrong.in("HTTPClient"); err != nil {
		return nil, err
	}
	return &http.Client{Transport: t}, nil
}

// Refused says that an API did not accept the token of the session on ctx,
// although it has not expired: the provider may have revoked it. Refused renews
// the tokens if the session still has that token. Token then returns the new
// one. HTTPClient calls it for you.
//
// A session's tokens are renewed for this reason at most once in 30 seconds, so
// that an API that refuses everything does not drive the token endpoint. Errors
// are as for Token: "no_token" if there is no refresh token,
// "token_unavailable" if the tokens cannot be renewed now or were just renewed,
// and "login_required" if the session has ended.
func (rp *RelyingParty) Refused(ctx context.Context, token string) error {
	live, err := rp.liveFrom(ctx)
	if err != nil {
		return err
	}
	rec := live.record()
	switch {
	case token == "" || string(rec.Access) != token:
		return nil // another request has renewed it already
	case len(rec.Refresh) == 0:
		return rp.noRefresh(rec, errors.New("an API refused the access token, and there is no refresh token"))
	}
	next, err := rp.sessions.refreshes.Do(ctx, live.found.Key()+refusedFlight, lease.Flight, func(ctx context.Context) (session.Stored, error) {
		return live.renewRefused(ctx, rec)
	})
	if err != nil {
		return stale(err)
	}
	live.set(next)
	return nil
}

// refusedFlight is added to a session's key for the flight of renewRefused. All
// callers share it, so that none comes between a renewal and its note.
const refusedFlight = " refused"

// renewRefused renews the tokens unless that was just tried for the same reason.
func (l *liveSession) renewRefused(ctx context.Context, rec *session.Record) (session.Stored, error) {
	refused, token, now := l.party.refused, string(rec.Access), l.party.sessions.now()
	left := rec.Refused.Add(refusedEvery).Sub(now) // on whatever replica
	if left <= 0 {
		left = refused.wait(l.found.Key(), token, now)
	}
	if left > 0 {
		return session.Stored{}, errTokenStale.after(left, errors.New("an API refused the access token, and one was renewed for that reason a moment ago"))
	}
	next, err := l.party.sessions.refreshes.Do(ctx, l.found.Key(), lease.Flight, l.refreshOf(rec, true))
	if err != nil || string(next.Record.Access) == token { // some servers send the old one again
		refused.failed(l.found.Key())
	}
	return next, err
}

const (
	// refusedEvery is the least time between two renewals of a session's tokens
	// that an API caused. The record says when the last one was, for all replicas.
	// What failed there, each replica remembers by itself.
	refusedEvery = 30 * time.Second
	// maxRefused is how many sessions are remembered for that. If there are
	// more, no API causes a renewal for another session.
	maxRefused = 4096
)

// refusals remembers which sessions had their tokens renewed because an API
// refused one. It is safe for concurrent use.
type refusals struct {
	mu   sync.Mutex
	last map[string]refusedToken // by the session's key; guarded by mu
}

type refusedToken struct {
	at     time.Time
	digest string // of the token
	failed bool   // it could not be renewed, or is the same again
}

// wait returns 0 if the tokens of a session may be renewed now, and notes that
// they are. Otherwise it returns how long to wait. Requests that had the same
// token refused share one renewal.
func (s *refusals) wait(key, token string, now time.Time) time.Duration {
	s.mu.Lock()
	defer s.mu.Unlock()
	mine := refusedToken{at: now, digest: string(digest("refused", token))}
	if last, ok := s.last[key]; ok && now.Before(last.at.Add(refusedEvery)) {
		if last.digest == mine.digest && !last.failed {
			return 0
		}
		return last.at.Add(refusedEvery).Sub(now)
	}
	if len(s.last) >= maxRefused {
		maps.DeleteFunc(s.last, func(_ string, r refusedToken) bool { return !now.Before(r.at.Add(refusedEvery)) })
	}
	if len(s.last) >= maxRefused {
		return refusedEvery
	}
	if s.last == nil {
		s.last = map[string]refusedToken{}
	}
	s.last[key] = mine
	return 0
}

// failed notes that the renewal did not succeed.
func (s *refusals) failed(key string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	r := s.last[key]
	r.failed = true
	s.last[key] = r
}

// noRefresh returns the error for an access token that has ended and cannot be
// renewed. If it came through the browser, that is how such sessions are, and
// signing in again gives another one (OpenID Connect Core §3.2). But not if the
// last sign-in was just now: a page that asks again would sign in for ever.
func (rp *RelyingParty) noRefresh(rec *session.Record, cause error) error {
	if rp.asked.Token && !rp.sessions.now().Before(rec.Requested.Add(stepUpWithin)) {
		return errTokenEnded.because(cause)
	}
	return errNoToken.because(cause)
}

// expiry returns when the access token of an answer expires. If the provider
// does not say, the configuration does.
func (rp *RelyingParty) expiry(t *backchannel.Tokens) time.Time {
	if t.Expires.IsZero() && rp.config.TokenLifetime > 0 {
		return t.Requested.Add(rp.config.TokenLifetime)
	}
	return t.Expires
}

// ClaimToken is a token that proves claims about the requesting party.
type ClaimToken struct {
	// Token is the token. The zero Secret means that there is none.
	Token Secret
	// Format is its claim_token_format. "" means an ID Token,
	// "http://openid.net/specs/openid-connect-core-1_0.html#IDToken".
	Format string
}

// ClaimToken returns the session's ID Token as a claim to push to an
// authorization server (UMA Grant §3.3.1). If the ID Token has expired, it is
// renewed first, provided that the provider issues a new one with a refresh.
// Use it as UMATransportConfig.Claims.
//
// Errors are *Error: "login_required" if there is no session, or it has no ID
// Token that is still valid, and "token_unavailable" (503) if it cannot be renewed
// now.
func (rp *RelyingParty) ClaimToken(ctx context.Context) (ClaimToken, error) {
	live, err := rp.liveFrom(ctx)
	if err != nil {
		return ClaimToken{}, err
	}
	rec, now := live.record(), rp.sessions.now()
	if claimExpired(string(rec.IDToken), now) != nil && len(rec.Refresh) > 0 {
		if err := live.refresh(ctx, rec); err != nil {
			return ClaimToken{}, stale(err)
		}
		rec = live.record()
	}
	if err := claimExpired(string(rec.IDToken), now); err != nil {
		return ClaimToken{}, errLoginRequired.because(err)
	}
	return ClaimToken{Token: NewSecret(string(rec.IDToken))}, nil
}

// claimAhead is how long an ID Token must still be valid to be pushed as a
// claim. It is not the rule of lease.RenewAt, which renews tokens in use ahead
// of time: no ID Token is renewed for its own sake, and most providers send no
// new one. These seconds only last for the exchange that pushes it.
const claimAhead = 10 * time.Second

// claimExpired reads exp of an ID Token that was verified when it was received.
// It returns an error if there is none, or if it cannot be pushed any more.
func claimExpired(raw string, now time.Time) error {
	if raw == "" {
		return errors.New("there is no ID Token")
	}
	switch at, err := token.Expiry(raw); {
	case err != nil:
		return err
	case !now.Add(claimAhead).Before(at):
		return fmt.Errorf("the ID Token has %s", ended(at, now))
	}
	return nil
}
