package gatehouse

// Tested in internal/e2e/session, internal/e2e/signin.

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"net/http"
	"runtime/debug"
	"slices"
	"strings"
	"sync/atomic"
	"time"

	"example.com/gatehouse/internal/lease"
	"example.com/gatehouse/internal/navigation"
	"example.com/gatehouse/internal/session"
	"example.com/gatehouse/internal/token"
)

// refreshWait is how long a page waits for an overdue refresh. If the provider
// is in trouble, the page is then served without a valid access token.
const refreshWait = 3 * time.Second

// stuckFor is for how long a request does not try a refresh again, nor another
// write, after the store has failed one: whoever waits for one such call after
// another gets no answer within 1.5 s (FA6).
const stuckFor = time.Second

// liveSession is a login as one request sees it. When the tokens are renewed,
// it gets the new record. Whatever the request needs lies in it, so that it
// costs one allocation.
type liveSession struct {
	party *RelyingParty
	found session.Found
	asked []byte // what its sign-in had to meet, if that was just now

	renewDue, touchDue bool // the tokens are to be renewed, the use is to be written

	who    Identity
	scopes [usualScopes]string

	now atomic.Pointer[session.Stored] // nil until somebody asks for more than the glance had

	stuck *stuck // the store has just failed a write of this request; set by the check alone
}

// stuck is when and why.
type stuck struct {
	at  time.Time
	err error
}

// usualScopes is how many scopes an Identity has room for.
const usualScopes = 4

func (l *liveSession) stored() session.Stored {
	if now := l.now.Load(); now != nil {
		return *now
	}
	now, err := l.party.sessions.keeper.Whole(&l.found)
	if err != nil { // cannot be: a glance refuses what no record can be made of
		return session.Stored{Record: new(session.Record)}
	}
	if !l.now.CompareAndSwap(nil, &now) {
		return *l.now.Load()
	}
	return now
}

func (l *liveSession) record() *session.Record { return l.stored().Record }

func (l *liveSession) set(now session.Stored) { l.now.Store(&now) }

// load returns the login that the request's cookie names. The error is
// session.ErrNone if there is none, or an *Error if that cannot be determined
// now.
func (rp *RelyingParty) load(r *http.Request) (*liveSession, error) {
	cookie, found := navigation.Cookie(r, rp.cookie)
	if !found {
		return nil, session.ErrNone
	}
	var g session.Glance
	err := rp.sessions.keeper.Glance(r.Context(), rp.home, cookie, session.Party{Issuer: rp.provider.issuer, ClientID: rp.client.told()}, &g)
	switch {
	case err == nil:
		party, err := rp.ownerOf(r.Context(), g.Issuer, g.ClientID)
		switch {
		case err != nil:
			return nil, failure(err)
		case party == nil:
			return nil, session.ErrNone
		}
		return party.live(&g), nil
	case errors.Is(err, session.ErrGarbage):
		if !rp.sessions.unread.first(g.Key()) {
			return nil, session.ErrNone
		}
		rp.provider.emit(r.Context(), Event{Name: EventTrouble, Code: troubleGarbage, ClientID: rp.client.told(), Err: err})
		return nil, session.ErrNone
	case errors.Is(err, session.ErrNone):
		return nil, err
	}
	return nil, failure(err)
}

// live takes from a glance what lasts.
func (rp *RelyingParty) live(g *session.Glance) *liveSession {
	l := &liveSession{
		party: rp, found: g.Found, renewDue: g.Due(), touchDue: rp.sessions.keeper.TouchDue(g),
		who: Identity{
			Issuer: g.Issuer, Subject: string(g.Subject), ClientID: g.ClientID, Via: ViaSession, AuthTime: g.AuthTime(),
			Expires: g.Ends, claims: g.Claims,
		},
	}
	l.who.session = l
	if string(g.Scope) == rp.scope {
		l.who.Scopes = slices.Clip(append(l.scopes[:0], rp.scopes...))
	} else {
		l.who.Scopes = cutScope(string(g.Scope), l.scopes[:0])
	}
	if len(g.Asked) > 0 && g.Read.Before(g.AskedAt().Add(stepUpWithin)) {
		l.asked = g.Asked
	}
	return l
}

// ownerOf returns the relying party whose session it is, made at issuer for client:
// this one, or one that it stands for. It is nil if the session belongs to neither.
func (rp *RelyingParty) ownerOf(ctx context.Context, issuer, client string) (*RelyingParty, error) {
	if rp.others == nil {
		return rp.ifOwn(ctx, issuer, client)
	}
	for _, other := range rp.others {
		if owner, err := other.ifOwn(ctx, issuer, client); owner != nil || err != nil {
			return owner, err
		}
	}
	return nil, nil
}

// ifOwn returns the relying party if the session is its own, and nil otherwise.
func (rp *RelyingParty) ifOwn(ctx context.Context, issuer, client string) (*RelyingParty, error) {
	if !rp.provider.tokens.Owns(issuer) {
		return nil, nil
	}
	if ours, err := rp.client.owns(ctx, client); err != nil || !ours {
		return nil, err
	}
	return rp, nil
}

// identity returns the identity of the session. It is called once.
func (l *liveSession) identity() *Identity {
	if now := l.now.Load(); now != nil { // it may have been renewed
		l.who = *identityOf(now.Record, l.party.sessions.keeper.Ending(now.Record))
		l.who.session = l
	}
	return &l.who
}

// identityOf returns the identity of a login record, without the session.
func identityOf(rec *session.Record, ends time.Time) *Identity {
	return &Identity{
		Issuer: rec.Issuer, Subject: rec.Subject, ClientID: rec.ClientID, Via: ViaSession, AuthTime: rec.AuthTime,
		Scopes: cutScope(rec.Scope, nil), Expires: ends, claims: rec.Claims,
	}
}

// cutScope appends the scopes of a text to list: scope-token *( SP scope-token ),
// RFC 6749 §3.3.
func cutScope(text string, list []string) []string {
	for text != "" {
		one, rest, _ := strings.Cut(text, " ")
		if text = rest; one != "" {
			list = append(list, one)
		}
	}
	return slices.Clip(list)
}

// touch records in the store that the session is in use.
func (l *liveSession) touch(ctx context.Context) {
	if !l.touchDue {
		return
	}
	var now session.Stored
	var err error
	if l.stuck != nil {
		err = l.stuck.err
	} else {
		now, err = l.party.sessions.keeper.Touch(ctx, l.found.Ref(), l.stored())
	}
	if err != nil {
		if l.stuck == nil && errors.Is(err, session.ErrStore) {
			l.stuck = &stuck{l.party.sessions.now(), err}
		}
		rec := l.record()
		l.party.provider.emit(ctx, Event{Name: EventTrouble, Code: troubleIdle, Subject: rec.Subject, ClientID: rec.ClientID, Err: err})
		return
	}
	l.set(now)
}

// renew renews the tokens if they are due. While the access token is valid,
// it only starts the refresh. After that it waits, so that a person who was
// locked out at the provider does not continue with old claims (SE10). If the
// provider or the store fails, the session continues.
func (l *liveSession) renew(ctx context.Context) error {
	if !l.renewDue {
		return nil
	}
	now, rec := l.party.sessions.now(), l.record()
	if rec.Serves(now) {
		l.startRefresh(rec)
		return nil
	}
	ctx, cancel := context.WithTimeout(ctx, refreshWait)
	defer cancel()
	switch err := l.refresh(ctx, rec); ErrorCode(err) {
	case CodeLoginRequired:
		return err
	case CodeStoreUnavailable:
		l.stuck = &stuck{l.party.sessions.now(), err}
	}
	return nil
}

// fresh returns a record with a valid access token.
func (l *liveSession) fresh(ctx context.Context) (*session.Record, error) {
	now, rec := l.party.sessions.now(), l.record()
	switch {
	case len(rec.Access) == 0:
		return nil, errNoToken.because(errors.New("the provider gave no access token"))
	case rec.Serves(now):
		if rec.Due(now) {
			l.startRefresh(rec)
		}
		return rec, nil
	case len(rec.Refresh) == 0:
		return nil, l.party.noRefresh(rec, fmt.Errorf("the access token %s, and there is no refresh token", ended(rec.Expires, now)))
	}
	if err := l.refresh(ctx, rec); err != nil {
		return nil, stale(err)
	}
	if rec, now = l.record(), l.party.sessions.now(); !rec.Serves(now) {
		return nil, errNoToken.because(fmt.Errorf("the renewed token %s", ended(rec.Expires, now)))
	}
	return rec, nil
}

// ended says when something expired, for the log.
func ended(at, now time.Time) string {
	return "expired at " + at.UTC().Format(time.RFC3339) + ", and now it is " + now.UTC().Format(time.RFC3339)
}

// stale returns the error of Token for a refresh that failed.
func stale(err error) error {
	if ErrorCode(err) == CodeLoginRequired {
		return err
	}
	if e := mistake(err); e != nil {
		return e
	}
	e := errTokenStale.because(err)
	if cause, ok := errors.AsType[*Error](err); ok && cause.RetryAfter > 0 {
		e.RetryAfter = cause.RetryAfter
	}
	return e
}

// startRefresh starts a refresh, unless one is under way, and does not wait
// for it.
func (l *liveSession) startRefresh(rec *session.Record) {
	l.party.sessions.refreshes.Start(l.found.Key(), lease.Flight, l.refreshOf(rec, false))
}

// refresh waits for a refresh. All callers in this process share one, which
// runs outside any request. If the session has ended, the error is
// errLoginRequired.
func (l *liveSession) refresh(ctx context.Context, rec *session.Record) error {
	if s := l.stuck; s != nil && l.party.sessions.now().Before(s.at.Add(stuckFor)) {
		return s.err
	}
	next, err := l.party.sessions.refreshes.Do(ctx, l.found.Key(), lease.Flight, l.refreshOf(rec, false))
	if err != nil {
		return err
	}
	l.set(next)
	return nil
}

// refreshOf returns a function that makes one refresh of the session for a
// caller who has seen rec. refused says that an API did not accept its token.
func (l *liveSession) refreshOf(rec *session.Record, refused bool) func(context.Context) (session.Stored, error) {
	rp, keeper, ref := l.party, l.party.sessions.keeper, l.found.Ref()
	return func(ctx context.Context) (session.Stored, error) {
		defer func() {
			if p := recover(); p != nil { // report it here, as perhaps nobody waits for the result
				rp.provider.emitPanic(ctx, p, debug.Stack())
				panic(p)
			}
		}()
		if _, err := rp.provider.Metadata(ctx); err != nil {
			return session.Stored{}, err // do not take a lease if nothing can be sent
		}
		run := &renewer{party: rp, refused: refused}
		now, renewed, err := keeper.Renew(ctx, ref, rec, run)
		if errors.Is(err, session.ErrNone) {
			return session.Stored{}, errLoginRequired.because(err)
		}
		if err != nil {
			return session.Stored{}, asError(err, errProviderUnavailable)
		}
		if renewed {
			rp.provider.emit(ctx, Event{Name: EventRefresh, Subject: now.Record.Subject, ClientID: now.Record.ClientID})
			return run.renewClaims(ctx, ref, now)
		}
		return now, nil
	}
}

// sessionAnswer is the JSON body of SessionHandler.
type sessionAnswer struct {
	SignedIn bool            `json:"signed_in"`
	Issuer   string          `json:"issuer,omitempty"`
	Subject  string          `json:"subject,omitempty"`
	Claims   json.RawMessage `json:"claims,omitempty"`
	Expires  time.Time       `json:"expires,omitzero"` // when the session ends at the latest
	IdleEnds time.Time       `json:"idle_ends,omitzero"`
	LoginURL string          `json:"login_url,omitempty"`
}

// SessionHandler tells a single-page application who is signed in and until
// when. It answers GET and HEAD with JSON:
//
//	{"signed_in":true,"issuer":"…","subject":"…","claims":{…},"expires":"…","idle_ends":"…"}
//	{"signed_in":false,"login_url":"/auth/login"}
//
// The status is 200 in both cases. If the store fails, it is 503. The response
// never holds tokens, nor "_claim_sources", which may have some. It holds
// protocol claims such as "nonce" and "sid" only with
// RelyingPartyConfig.SessionProtocolClaims. Requests to this handler do not count
// as activity, so an application that polls it does not keep a session past its
// idle limit.
func (rp *RelyingParty) SessionHandler() http.Handler {
	wire("SessionHandler", rp.checkMade())
	return rp.ownHandler(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.Method != http.MethodGet && r.Method != http.MethodHead {
			w.Header().Set("Allow", "GET, HEAD")
			rp.refuse(w, r, errMethod.because(nil))
			return
		}
		live, err := rp.load(r)
		switch {
		case errors.Is(err, session.ErrNone):
			writeJSON(w, http.StatusOK, sessionAnswer{LoginURL: rp.loginURL()})
		case err != nil:
			rp.refuse(w, r, err)
		default:
			writeJSON(w, http.StatusOK, live.answer())
		}
	}))
}

// scriptClaims returns the claims that a script is told.
func (rp *RelyingParty) scriptClaims(claims []byte) json.RawMessage {
	var all map[string]json.RawMessage
	if json.Unmarshal(claims, &all) != nil {
		return nil
	}
	maps.DeleteFunc(all, func(name string, _ json.RawMessage) bool {
		return token.HoldsTokens(name) || !rp.config.SessionProtocolClaims && token.IsProtocolClaim(name)
	})
	told, err := json.Marshal(all)
	if err != nil {
		return nil
	}
	return told
}

func (l *liveSession) answer() sessionAnswer {
	s, rec := l.party.sessions, l.record()
	a := sessionAnswer{
		SignedIn: true, Issuer: rec.Issuer, Subject: rec.Subject,
		Claims: l.party.scriptClaims(rec.Claims), Expires: s.keeper.Ending(rec).UTC(),
	}
	if end := s.keeper.IdleEnding(rec); !end.IsZero() {
		a.IdleEnds = end.UTC()
	}
	return a
}
