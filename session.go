package gatehouse

// Tested in internal/e2e/session.

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"net/url"
	"slices"
	"sync"
	"time"

	"github.com/alexedwards/scs/v2"

	"example.com/gatehouse/internal/flight"
	"example.com/gatehouse/internal/live"
	"example.com/gatehouse/internal/outbound"
	"example.com/gatehouse/internal/session"
)

// Sessions keeps the sign-ins. It holds the store, the keys, the time limits
// and the cookie name. Several relying parties of one origin may share it. A
// browser has one session in it, of whichever signed it in last, so do not put
// the guard of one of them inside that of another. It is safe for concurrent
// use. Call Shutdown before the process ends.
type Sessions struct {
	keeper *session.Keeper
	name   string
	// unsealed means that records of before the first key are read too.
	unsealed bool
	named    bool // made by the application: the cookie is named after Name and the origin
	now      func() time.Time
	app      *scs.SessionManager

	refreshes flight.Group[string, session.Stored]
	chores    flight.Group[string, struct{}] // revocations
	watched   *live.Hub[watchedLogin]        // of Live

	mu      sync.Mutex
	origin  string
	unread  firsts // keys of records that could not be read
	parties map[partyKey]*RelyingParty
	waits   map[*Provider]bool       // of all relying parties, also of two with one partyKey
	doors   map[string]*RelyingParty // by the prefix of their attempts: every one, also two of one client
}

// NewSessions returns a Sessions for the config. It does no I/O. Its error
// lists every problem of the config.
func NewSessions(c SessionsConfig) (*Sessions, error) {
	ring, err := c.complete()
	if err != nil {
		return nil, err
	}
	s := &Sessions{
		keeper: session.New(session.Config{
			Store: c.Store, Keys: ring, Unsealed: c.InsecureUnsealed, Name: c.Name, Lifetime: c.Lifetime, Idle: c.IdleTimeout, Now: c.Now,
		}),
		name: c.Name, named: true, unsealed: c.InsecureUnsealed, now: c.Now, app: c.App, parties: map[partyKey]*RelyingParty{}, waits: map[*Provider]bool{}, doors: map[string]*RelyingParty{},
	}
	s.watched = s.newWatched()
	return s, nil
}

// partyKey identifies the relying party that a record belongs to.
type partyKey struct{ issuer, client string }

// siteOf returns the origin of a relying party as its RedirectURL writes it.
func siteOf(u *url.URL) string { return u.Scheme + "://" + u.Host }

// admits returns an error if a relying party with that RedirectURL cannot
// join. A RedirectURL that is nil has been reported already.
func (s *Sessions) admits(redirect *url.URL) error {
	switch {
	case s.parties == nil:
		return errors.New("it was not made by NewSessions")
	case redirect == nil:
		return nil
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.clash(outbound.Origin(redirect))
}

// clash is admits for callers that hold s.mu.
func (s *Sessions) clash(origin string) error {
	if s.origin == "" || s.origin == origin {
		return nil
	}
	return fmt.Errorf("shared with a relying party at %s; RedirectURL has the origin %s", s.origin, origin)
}

// attach registers a relying party with the Sessions. All of them must have
// the same origin, because the name of the session cookie is a hash of it
// (decision 6).
func (s *Sessions) attach(rp *RelyingParty) error {
	origin := outbound.Origin(rp.redirect)
	s.mu.Lock()
	err, first := s.clash(origin), s.origin == ""
	if err == nil {
		s.origin, s.waits[rp.provider] = origin, true
		for _, issuer := range rp.provider.issuers() {
			s.parties[partyKey{issuer, rp.client.lasting()}] = rp
		}
		s.doors[rp.attemptPrefix] = rp
	}
	s.mu.Unlock()
	if err == nil && first && s.unsealed { // a Sessions has no log of its own
		rp.provider.emit(context.Background(), Event{
			Name: EventInsecureOption, Code: "insecure_unsealed",
			Err: errors.New("InsecureUnsealed is set: whoever can write to the session store can sign in as anybody"),
		})
	}
	return err
}

// partyOf returns the relying party that the record belongs to, or nil if this
// process has none. Only the provider of that relying party may see the tokens
// in the record. The client of the record may be one that another replica has
// registered a moment ago, so a store may be asked.
func (s *Sessions) partyOf(ctx context.Context, rec *session.Record) *RelyingParty {
	s.mu.Lock()
	rp := s.parties[partyKey{rec.Issuer, rec.ClientID}]
	var register []*RelyingParty
	for key, other := range s.parties {
		if rp == nil && key.issuer == rec.Issuer && other.client.Registration != nil {
			register = append(register, other)
		}
	}
	s.mu.Unlock()
	for _, other := range register {
		if ours, err := other.client.owns(ctx, rec.ClientID); err == nil && ours {
			return other
		}
	}
	return rp
}

// allDoors returns the relying parties at which a sign-in may be under way.
func (s *Sessions) allDoors() []*RelyingParty {
	s.mu.Lock()
	defer s.mu.Unlock()
	return slices.Collect(maps.Values(s.doors))
}

// Shutdown ends the contexts of Live, and waits until the work that requests left
// behind is done: refreshes, revocations, and fetches of metadata and keys. If
// ctx is done first, it returns the error of ctx. Stop serving requests before
// calling it, or see Live.
func (s *Sessions) Shutdown(ctx context.Context) error {
	if s == nil || s.keeper == nil {
		return nil // it has started nothing
	}
	s.endLive()
	errs := []error{s.watched.Wait(ctx), s.refreshes.Wait(ctx), s.chores.Wait(ctx), s.keeper.Wait(ctx)} // each may start work of those behind it
	s.mu.Lock()
	providers := slices.Collect(maps.Keys(s.waits))
	s.mu.Unlock()
	for _, p := range providers {
		errs = append(errs, p.Shutdown(ctx))
	}
	return errors.Join(errs...)
}

// RevokeAll ends every session of the person at the issuer, on every replica,
// before it returns. A sign-in that is under way does not survive either: it
// begins again. RevokeAll ends those of every Sessions on the same store. It
// does not sign the person out at the provider, and revokes no tokens there.
//
// Errors are *Error: "store_unavailable" if the store fails, when the sessions
// may have ended or not, so call it again; "record_unreadable" if a newer
// release has written the mark.
func (s *Sessions) RevokeAll(ctx context.Context, issuer, subject string) error {
	if s == nil || s.keeper == nil {
		return notMade("Sessions")
	}
	return failure(s.keeper.RevokeAll(ctx, issuer, subject))
}

// SessionInfo describes one session to its owner.
type SessionInfo struct {
	ID       string    // identifies the session for Revoke; not the cookie's value
	Began    time.Time // when its sign-in began
	LastSeen time.Time // accurate to a tenth of SessionsConfig.IdleTimeout
	Ends     time.Time // when the session ends at the latest
}

// List returns the live sessions of a person, newest first. It works in a
// process without a RelyingParty too. A person has at most 100; one more ends
// the oldest. Use it for display only: a session that was just created may be
// missing. Errors are *Error, such as "store_unavailable".
func (s *Sessions) List(ctx context.Context, issuer, subject string) ([]SessionInfo, error) {
	if s == nil || s.keeper == nil {
		return nil, notMade("Sessions")
	}
	live, err := s.keeper.List(ctx, issuer, subject)
	if err != nil {
		return nil, failure(err)
	}
	list := make([]SessionInfo, 0, len(live))
	for _, l := range live {
		list = append(list, SessionInfo{ID: l.Key, Began: l.Record.Begin, LastSeen: l.Record.Seen, Ends: s.keeper.Ending(l.Record)})
	}
	return list, nil
}

// Revoke ends the session with the given SessionInfo.ID if it belongs to the
// person, on every replica, before it returns. Its tokens are revoked at the
// provider in the background, if this process has the relying party of the
// session. Revoke returns nil if the session has already ended or is not the
// person's. Other errors are *Error: "store_unavailable" if the store fails, when
// the session may have ended or not, and "record_unreadable".
func (s *Sessions) Revoke(ctx context.Context, issuer, subject, id string) error {
	if s == nil || s.keeper == nil {
		return notMade("Sessions")
	}
	ended, err := s.keeper.Revoke(ctx, issuer, subject, id)
	if err != nil || ended == nil {
		return failure(err)
	}
	if owner := s.partyOf(ctx, ended); owner != nil {
		owner.ended(ctx, ended, logoutRevoked)
	}
	return nil
}
