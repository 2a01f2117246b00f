package gatehouse

// Tested in internal/e2e/session, internal/e2e/signin.

import (
	"context"
	"encoding/json"
	"errors"
	"net/http"
	"net/url"
	"runtime/debug"
	"slices"
	"sync"
	"time"

	"example.com/gatehouse/internal/backchannel"
	"example.com/gatehouse/internal/lease"
	"example.com/gatehouse/internal/session"
	"example.com/gatehouse/internal/token"
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

// renewer renews tokens at the provider of a relying party.
type renewer struct{ party *RelyingParty }

// finalRefusals are the errors after which a refresh token is worth nothing
// any more: RFC 6749 §5.2 and OpenID Connect Core §3.1.2.6, which some
// providers answer a refresh with.
var finalRefusals = []string{"invalid_grant", "interaction_required", "login_required", "consent_required", "account_selection_required"}

// Renew implements session.Renewer: it sends the refresh token, once (RFC 6749
// §6).
func (n renewer) Renew(ctx context.Context, sent *session.Record) (session.Tokens, error) {
	rp := n.party
	answer, err := rp.provider.requestToken(ctx, rp.client, url.Values{
		"grant_type": {"refresh_token"}, "refresh_token": {string(sent.Refresh)},
	})
	if err != nil {
		n.tell(ctx, sent, err)
		return session.Tokens{}, n.judge(err)
	}
	keep, err := n.checkIDToken(ctx, sent, answer)
	if err != nil { // another person or issuer: OpenID Connect Core §12.2
		rp.revokeLater(answer.Refresh)
		n.tell(ctx, sent, err)
		return session.Tokens{}, &session.RefusedError{Err: err}
	}
	t := session.Tokens{
		Access: answer.Access, Refresh: answer.Refresh, Expires: answer.Expires, Requested: answer.Requested,
		Scope: answer.Scope, HasScope: answer.HasScope,
	}
	if keep {
		t.IDToken = answer.IDToken
	}
	return t, nil
}

// Discard implements session.Renewer.
func (n renewer) Discard(refresh string) { n.party.revokeLater(refresh) }

// judge says what a token request without tokens means for the refresh token.
func (n renewer) judge(err error) error {
	refusal, refused := errors.AsType[*backchannel.Refusal](err)
	if refused && slices.Contains(finalRefusals, refusal.Code) || errors.Is(err, backchannel.ErrTokenType) {
		return &session.RefusedError{Err: err}
	}
	if backchannel.FateKnown(err) {
		return &session.TroubleError{Err: err, Wait: asError(err, errProviderUnavailable).RetryAfter}
	}
	return err
}

func (n renewer) tell(ctx context.Context, rec *session.Record, cause error) {
	e := asError(cause, errClientRefused)
	n.party.provider.emit(ctx, Event{Name: EventRefresh, Code: e.Code, Subject: rec.Subject, ClientID: rec.ClientID, Err: cause})
}

// checkIDToken verifies the ID Token of a refresh, if there is one: same
// issuer, person and audience (OpenID Connect Core §12.2). It reports whether
// there is one to keep. When the provider's keys cannot be had now, the answer
// is taken without it, as long as its claims name the same: the refresh token
// that came with it has replaced the one sent.
func (n renewer) checkIDToken(ctx context.Context, sent *session.Record, answer *backchannel.Tokens) (keep bool, err error) {
	if answer.IDToken == "" {
		return false, nil
	}
	tokens := n.party.provider.tokens
	want := token.Refresh{Client: n.party.client.ID, Subject: sent.Subject, First: string(sent.IDToken), Access: answer.Access}
	_, err = tokens.Refresh(ctx, answer.IDToken, want)
	if err == nil {
		return true, nil
	}
	if e := tokenFailure(err); e.Status < 500 {
		return false, e
	}
	if tokens.Plausible(answer.IDToken, want) != nil {
		return false, errIDTokenMalformed.because(errors.New("the ID Token of a refresh names somebody else"))
	}
	return false, nil
}

// sessionAnswer is what SessionHandler says.
type sessionAnswer struct {
	SignedIn bool            `json:"signed_in"`
	Issuer   string          `json:"issuer,omitempty"`
	Subject  string          `json:"subject,omitempty"`
	Claims   json.RawMessage `json:"claims,omitempty"`
	Expires  time.Time       `json:"expires,omitzero"` // the session ends then at the latest
	IdleEnds time.Time       `json:"idle_ends,omitzero"`
	LoginURL string          `json:"login_url,omitempty"`
}

// SessionHandler tells a single-page application by JSON who is signed in and
// until when:
//
//	{"signed_in":true,"issuer":"…","subject":"…","claims":{…},"expires":"…","idle_ends":"…"}
//	{"signed_in":false,"login_url":"/auth/login"}
//
// The answer is 200 in both cases. Asking does not count as activity: an
// application that asks every minute does not keep a session from its idle
// limit. Tokens are never in it. When the store is in trouble the answer is
// 503. It takes GET and HEAD.
func (rp *RelyingParty) SessionHandler() http.Handler {
	return rp.ownHandler(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.Method != http.MethodGet && r.Method != http.MethodHead {
			w.Header().Set("Allow", "GET, HEAD")
			rp.refuse(w, r, errMethod.because(nil))
			return
		}
		live, err := rp.load(r)
		switch {
		case errors.Is(err, session.ErrNone):
			writeJSON(w, http.StatusOK, sessionAnswer{LoginURL: rp.config.LoginURL})
		case err != nil:
			rp.refuse(w, r, err)
		default:
			writeJSON(w, http.StatusOK, live.answer())
		}
	}))
}

func (l *liveSession) answer() sessionAnswer {
	s, rec := l.sessions, l.record()
	a := sessionAnswer{
		SignedIn: true, Issuer: rec.Issuer, Subject: rec.Subject,
		Claims: rec.Claims, Expires: s.keeper.Ending(rec).UTC(),
	}
	if end := s.keeper.IdleEnding(rec); !end.IsZero() {
		a.IdleEnds = end.UTC()
	}
	return a
}
