package gatehouse

import (
	"context"
	"crypto/rand"
	"encoding/base64"
	"errors"
	"fmt"
	"maps"
	"slices"
	"sync"
	"time"

	"github.com/alexedwards/scs/v2"

	"example.com/gatehouse/internal/flight"
	"example.com/gatehouse/internal/seal"
)

const (
	defaultLifetime = 12 * time.Hour
	defaultIdle     = 30 * time.Minute
	maxLifetime     = 400 * 24 * time.Hour // no browser keeps a cookie longer
	minLifetime     = time.Minute          // shorter, and a slow sign-in would end before it began
	minIdle         = 10 * time.Second     // shorter, and loading a page would end the session
	minKey          = 32                   // bytes of a sealing key
	// idleParts is how many parts the idle interval has: a session is written
	// at most once in each.
	idleParts = 10
	// tombstoneLife is how long an ended record stands, so that slow writers
	// find it.
	tombstoneLife = time.Minute
	// keyLife is how long the generated key stays in the store.
	keyLife = 10 * 365 * 24 * time.Hour
	// sessionIDSize is the size of a session id: 256 random bits.
	sessionIDSize = 32
)

const (
	sessionDomain = "gatehouse/session"
	keyDomain     = "gatehouse/key"
	usedDomain    = "gatehouse/used"
	indexDomain   = "gatehouse/index"
)

// Sessions keeps who is signed in: the store, the keys, the limits and the
// cookie. Several relying parties of one origin may share it. It is safe for
// concurrent use. Call Shutdown before the process ends.
type Sessions struct {
	store    Store
	name     string
	named    bool // made by NewSessions: the cookie's name is of Name and origin
	lifetime time.Duration
	idle     time.Duration
	now      func() time.Time
	app      *scs.SessionManager

	given *seal.Ring // of SessionsConfig.Keys, seals records too

	keyFlight flight.Group[struct{}, *seal.Ring]
	refreshes flight.Group[string, stored]
	chores    flight.Group[string, struct{}] // revocations and the like

	mu      sync.Mutex
	made    *seal.Ring // of the key in the store
	readAt  time.Time  // when it was read
	origin  string
	parties map[partyKey]*RelyingParty
}

// NewSessions checks the config and makes a Sessions. It does no I/O.
func NewSessions(c SessionsConfig) (*Sessions, error) {
	var problems []error
	s := &Sessions{
		store: c.Store, name: c.Name, named: true, app: c.App, now: orNow(c.Now),
		lifetime: c.Lifetime, idle: c.IdleTimeout, parties: map[partyKey]*RelyingParty{},
	}
	if s.lifetime == 0 {
		s.lifetime = defaultLifetime
	}
	if s.lifetime < minLifetime || s.lifetime > maxLifetime {
		problems = append(problems, fmt.Errorf("field Lifetime: %v is not between %v and %v", c.Lifetime, minLifetime, maxLifetime))
	}
	if c.IdleTimeout > 0 && c.IdleTimeout < minIdle {
		problems = append(problems, fmt.Errorf("field IdleTimeout: %v is below %v", c.IdleTimeout, minIdle))
	}
	if s.idle == 0 {
		s.idle = min(defaultIdle, s.lifetime)
	}
	if s.store == nil {
		s.store = NewMemoryStore(s.now)
	}
	if len(c.Keys) > 0 {
		keys := make([][]byte, 0, len(c.Keys))
		for i, k := range c.Keys {
			if len(k.Reveal()) < minKey {
				problems = append(problems, fmt.Errorf("field Keys[%d] has %d bytes, fewer than %d", i, len(k.Reveal()), minKey))
			}
			keys = append(keys, []byte(k.Reveal()))
		}
		if len(problems) == 0 {
			ring, err := seal.NewRing(keys...)
			if err != nil {
				problems = append(problems, fmt.Errorf("field Keys: %w", err))
			}
			s.given = ring
		}
	}
	if err := invalid("NewSessions", problems); err != nil {
		return nil, err
	}
	return s, nil
}

// partyKey names the relying party that a record belongs to.
type partyKey struct{ issuer, client string }

// attach joins a relying party to the Sessions: all must have one origin,
// because the session cookie's name is a hash over it (decision 6).
func (s *Sessions) attach(rp *RelyingParty) error {
	origin := rp.redirect.Scheme + "://" + rp.redirect.Host
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.origin != "" && s.origin != origin {
		return fmt.Errorf("Sessions is shared with a relying party at %s; RedirectURL has the origin %s", s.origin, origin)
	}
	s.origin = origin
	s.parties[partyKey{rp.provider.issuer, rp.client.ID}] = rp
	return nil
}

// partyOf is the relying party whose sign-in the record is: only its provider
// may see the record's tokens. nil when it is none of this process.
func (s *Sessions) partyOf(rec *record) *RelyingParty {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.parties[partyKey{rec.issuer, rec.clientID}]
}

// Shutdown waits until the work that requests left behind is done: refreshes,
// revocations, metadata and key fetches. It ends with the error of ctx if that
// is done first. Serve no requests any more when calling it.
func (s *Sessions) Shutdown(ctx context.Context) error {
	errs := []error{s.keyFlight.Wait(ctx), s.refreshes.Wait(ctx), s.chores.Wait(ctx)}
	s.mu.Lock()
	parties := slices.Collect(maps.Values(s.parties))
	s.mu.Unlock()
	for _, rp := range parties {
		errs = append(errs, rp.provider.wait(ctx))
	}
	return errors.Join(errs...)
}

// RevokeAll ends every session of the person at the issuer, on every replica,
// before it returns. A sign-in that began earlier does not survive either.
func (s *Sessions) RevokeAll(ctx context.Context, issuer, subject string) error {
	return s.raiseMark(ctx, markOfSubject(issuer, subject))
}

// The calls to the store, each bounded in time and with one kind of error.

func (s *Sessions) find(ctx context.Context, key string) ([]byte, error) {
	values, err := s.findMany(ctx, key)
	if err != nil {
		return nil, err
	}
	return values[0], nil
}

func (s *Sessions) findMany(ctx context.Context, keys ...string) ([][]byte, error) {
	if own, ok := s.store.(*memoryStore); ok { // which cannot hang
		return own.view(keys), nil
	}
	ctx, cancel := context.WithTimeout(ctx, storeWait)
	defer cancel()
	values, err := s.store.FindManyCtx(ctx, keys)
	if err == nil && len(values) != len(keys) {
		err = fmt.Errorf("store gave %d values for %d keys", len(values), len(keys))
	}
	if err != nil {
		return nil, errStoreUnavailable.because(err)
	}
	return values, nil
}

func (s *Sessions) swap(ctx context.Context, key string, old, new []byte, expiry time.Time) (bool, error) {
	if len(new) > maxValue {
		return false, errRecordTooLarge.because(fmt.Errorf("value of %d bytes", len(new)))
	}
	ctx, cancel := context.WithTimeout(ctx, storeWait)
	defer cancel()
	if new != nil && !s.now().Before(expiry) {
		new = nil // some stores keep a value for ever whose expiry has passed (M15)
	}
	swapped, err := s.store.SwapCtx(ctx, key, old, new, expiry)
	if err != nil {
		return false, errStoreUnavailable.because(err)
	}
	return swapped, nil
}

// ring returns the keys that seal cookies: the given ones or the one that is
// kept in the store, so that a site without a setting works too (decision 7).
func (s *Sessions) ring(ctx context.Context) (*seal.Ring, error) {
	if s.given != nil {
		return s.given, nil
	}
	s.mu.Lock()
	made := s.made
	s.mu.Unlock()
	if made != nil {
		return made, nil
	}
	ring, err := s.keyFlight.Do(ctx, struct{}{}, 2*storeWait, s.loadKey)
	if err != nil {
		return nil, asError(err, errStoreUnavailable)
	}
	return ring, nil
}

// keyReread is how often a cookie under an unknown key makes us look whether
// the store has another one, because it lost the first.
const keyReread = 30 * time.Second

// reread reads the key in the store again, unless that was done just now.
func (s *Sessions) reread(ctx context.Context) (*seal.Ring, bool) {
	s.mu.Lock()
	fresh := s.given != nil || s.now().Before(s.readAt.Add(keyReread))
	s.mu.Unlock()
	if fresh {
		return nil, false
	}
	ring, err := s.keyFlight.Do(ctx, struct{}{}, 2*storeWait, s.loadKey)
	return ring, err == nil
}

func (s *Sessions) loadKey(ctx context.Context) (*seal.Ring, error) {
	key := storeKey(keyDomain, s.name)
	value, err := s.find(ctx, key)
	if err != nil {
		return nil, err
	}
	if value == nil {
		var random [minKey]byte
		rand.Read(random[:])
		mine := append(newValue(2+writeIDSize+minKey), random[:]...)
		swapped, err := s.swap(ctx, key, nil, mine, s.now().Add(keyLife))
		if err != nil {
			return nil, err
		}
		if swapped {
			value = mine
		} else if value, err = s.find(ctx, key); err != nil { // another was first
			return nil, err
		}
	}
	body, err := valueBody(value)
	if err != nil || len(body) != minKey {
		return nil, errRecordUnreadable.because(errors.New("the key record in the store cannot be read"))
	}
	ring, err := seal.NewRing(body)
	if err != nil {
		return nil, errRecordUnreadable.because(err)
	}
	s.mu.Lock()
	s.made, s.readAt = ring, s.now()
	s.mu.Unlock()
	return ring, nil
}

// pack is the stored form of a record: sealed if there are given keys.
func (s *Sessions) pack(key string, r *record) []byte {
	plain := r.encode()
	if s.given == nil {
		return plain
	}
	return append([]byte{recordVersion, formSealed}, s.given.Seal(sessionDomain, []byte(key), plain)...)
}

// unpack reads the stored form. Its errors are errRecordGarbage, or an *Error
// for a record that another key or build may well read.
func (s *Sessions) unpack(key string, b []byte) (*record, error) {
	if len(b) > 2 && b[0] == recordVersion && b[1] == formSealed {
		if s.given == nil {
			return nil, errRecordUnreadable.because(errors.New("the record is sealed, but SessionsConfig.Keys is empty"))
		}
		plain, err := s.given.Open(sessionDomain, []byte(key), b[2:])
		if errors.Is(err, seal.ErrUnknownKey) || errors.Is(err, seal.ErrVersion) {
			return nil, errRecordUnreadable.because(err)
		}
		if err != nil {
			return nil, errRecordGarbage
		}
		b = plain
	}
	r, err := decodeRecord(b)
	if errors.Is(err, errRecordVersion) {
		return nil, errRecordUnreadable.because(err)
	}
	return r, err
}

// newSessionID returns 256 random bits as 43 characters.
func newSessionID() string {
	var b [sessionIDSize]byte
	rand.Read(b[:])
	return base64.RawURLEncoding.EncodeToString(b[:])
}

func sessionKey(id string) string { return storeKey(sessionDomain, id) }

// expiry is when the store may forget a record: the limits in the record decide.
func (s *Sessions) expiry(r *record) time.Time { return s.ending(r).Add(time.Minute) }

// ending is when the session ends at the latest, however busy.
func (s *Sessions) ending(r *record) time.Time {
	end := r.begin.Add(s.lifetime)
	if !r.ends.IsZero() && r.ends.Before(end) {
		end = r.ends
	}
	return end
}

// alive reports whether the limits of the record still hold.
func (s *Sessions) alive(r *record, now time.Time) bool {
	if !r.ended.IsZero() || !now.Before(s.ending(r)) {
		return false
	}
	return s.idle < 0 || now.Before(r.seen.Add(s.idle))
}
