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
	"example.com/gatehouse/internal/seal"
	"example.com/gatehouse/internal/session"
)

// Sessions keeps who is signed in: the store, the keys, the limits and the
// cookie. Several relying parties of one origin may share it. It is safe for
// concurrent use. Call Shutdown before the process ends.
type Sessions struct {
	keeper *session.Keeper
	name   string
	named  bool // made by NewSessions: the cookie's name is of Name and origin
	now    func() time.Time
	app    *scs.SessionManager

	refreshes flight.Group[string, session.Stored]
	chores    flight.Group[string, struct{}] // revocations and the like

	mu      sync.Mutex
	origin  string
	parties map[partyKey]*RelyingParty
}

// NewSessions checks the config and makes a Sessions. It does no I/O.
func NewSessions(c SessionsConfig) (*Sessions, error) {
	ring, err := c.complete()
	if err != nil {
		return nil, err
	}
	return &Sessions{
		keeper: session.New(session.Config{
			Store: c.Store, Keys: ring, Name: c.Name, Lifetime: c.Lifetime, Idle: c.IdleTimeout, Now: c.Now,
		}),
		name: c.Name, named: true, now: c.Now, app: c.App, parties: map[partyKey]*RelyingParty{},
	}, nil
}

// partyKey names the relying party that a record belongs to.
type partyKey struct{ issuer, client string }

// siteOf is where a relying party is mounted, as its RedirectURL writes it.
func siteOf(u *url.URL) string { return u.Scheme + "://" + u.Host }

// admits reports why a relying party at that origin cannot join.
func (s *Sessions) admits(origin string) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.clash(origin)
}

// clash is admits for those who hold the lock.
func (s *Sessions) clash(origin string) error {
	if s.origin == "" || s.origin == origin {
		return nil
	}
	return fmt.Errorf("shared with a relying party at %s; RedirectURL has the origin %s", s.origin, origin)
}

// attach joins a relying party to the Sessions: all must have one origin,
// because the session cookie's name is a hash over it (decision 6).
func (s *Sessions) attach(rp *RelyingParty) error {
	origin := siteOf(rp.redirect)
	s.mu.Lock()
	defer s.mu.Unlock()
	if err := s.clash(origin); err != nil {
		return err
	}
	s.origin = origin
	s.parties[partyKey{rp.provider.issuer, rp.client.ID}] = rp
	return nil
}

// partyOf is the relying party whose sign-in the record is: only its provider
// may see the record's tokens. nil when it is none of this process.
func (s *Sessions) partyOf(rec *session.Record) *RelyingParty {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.parties[partyKey{rec.Issuer, rec.ClientID}]
}

// Shutdown waits until the work that requests left behind is done: refreshes,
// revocations, metadata and key fetches. It ends with the error of ctx if that
// is done first. Serve no requests any more when calling it.
func (s *Sessions) Shutdown(ctx context.Context) error {
	errs := []error{s.keeper.Wait(ctx), s.refreshes.Wait(ctx), s.chores.Wait(ctx)}
	s.mu.Lock()
	parties := slices.Collect(maps.Values(s.parties))
	s.mu.Unlock()
	for _, rp := range parties {
		errs = append(errs, rp.provider.Shutdown(ctx))
	}
	return errors.Join(errs...)
}

// RevokeAll ends every session of the person at the issuer, on every replica,
// before it returns. A sign-in that began earlier does not survive either.
func (s *Sessions) RevokeAll(ctx context.Context, issuer, subject string) error {
	return failure(s.keeper.RevokeAll(ctx, issuer, subject))
}

// SessionInfo is one session in a list for its owner.
type SessionInfo struct {
	ID       string    // names the session for Revoke; not the cookie
	Began    time.Time // when its sign-in began
	LastSeen time.Time // to a tenth of the idle interval
	Ends     time.Time // the absolute limit
}

// List returns the live sessions of a person, newest first, at most 100. It is
// for display: no decision is made by it, and a session that was just created
// may be missing.
func (s *Sessions) List(ctx context.Context, issuer, subject string) ([]SessionInfo, error) {
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

// Revoke ends the session with that SessionInfo.ID, if it is one of the person's.
// A session that is gone is no error.
func (s *Sessions) Revoke(ctx context.Context, issuer, subject, id string) error {
	ended, err := s.keeper.Revoke(ctx, issuer, subject, id)
	if err != nil || ended == nil {
		return failure(err)
	}
	if owner := s.partyOf(ended); owner != nil {
		owner.ended(ctx, ended, "revoked")
	}
	return nil
}

// ring returns the keys that seal cookies.
func (s *Sessions) ring(ctx context.Context) (*seal.Ring, error) {
	ring, err := s.keeper.Ring(ctx)
	if err != nil {
		return nil, asError(err, errStoreUnavailable)
	}
	return ring, nil
}

// reread looks whether the store has another key by now.
func (s *Sessions) reread(ctx context.Context) (*seal.Ring, bool) { return s.keeper.Reread(ctx) }
