package gatehouse

import (
	"context"
	"encoding/base64"
	"errors"
	"net/http"
	"strings"
	"sync"
	"time"
)

// liveSession is a login as one request sees it. Its record is replaced when
// the tokens are renewed.
type liveSession struct {
	sessions *Sessions
	party    *RelyingParty
	key      string // in the store

	mu  sync.Mutex
	now stored
}

// stored is a record beside its bytes in the store.
type stored struct {
	raw []byte
	rec *record
}

func (l *liveSession) stored() stored {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.now
}

func (l *liveSession) record() *record { return l.stored().rec }

func (l *liveSession) set(now stored) {
	l.mu.Lock()
	l.now = now
	l.mu.Unlock()
}

// The session cookie is id "." mark "." mark: with the names of its marks a
// request reads record and marks in one round trip (decision 3).
func cookieValue(id string, marks [2]mark) string {
	return id + "." + marks[0].name + "." + marks[1].name
}

func parseCookie(value string) (id string, marks [2]string, ok bool) {
	id, rest, ok := strings.Cut(value, ".")
	if !ok || !isBase64URL(id, sessionIDSize) {
		return "", marks, false
	}
	marks[0], marks[1], ok = strings.Cut(rest, ".")
	return id, marks, ok && validMarkName(marks[0]) && validMarkName(marks[1])
}

// isBase64URL reports whether s is base64url of size bytes, at most
// sessionIDSize. Decoding is quicker than looking at each character.
func isBase64URL(s string, size int) bool {
	var b [sessionIDSize]byte
	if len(s) != base64.RawURLEncoding.EncodedLen(size) {
		return false
	}
	_, err := base64.RawURLEncoding.Decode(b[:], []byte(s))
	return err == nil
}

// errNotSignedIn is inside: there is no live login.
var errNotSignedIn = errors.New("not signed in")

// load returns the login of the request's cookie. Errors: errNotSignedIn, or an
// *Error when that cannot be known now.
func (rp *RelyingParty) load(r *http.Request) (*liveSession, error) {
	value, found := sentCookie(r, rp.cookie)
	if !found {
		return nil, errNotSignedIn
	}
	id, names, ok := parseCookie(value)
	if !ok {
		return nil, errNotSignedIn
	}
	live := &liveSession{sessions: rp.sessions, party: rp, key: sessionKey(id)}
	now, err := rp.sessions.read(r.Context(), live.key, names)
	if errors.Is(err, errRecordGarbage) {
		rp.provider.logger.WarnContext(r.Context(), "gatehouse: a login record is garbage", "issuer", rp.provider.issuer)
		return nil, errNotSignedIn
	}
	if err != nil {
		return nil, err
	}
	if now.rec.issuer != rp.provider.issuer || now.rec.clientID != rp.client.ID {
		return nil, errNotSignedIn
	}
	live.set(now)
	return live, nil
}

// read reads a live record and its marks in one round trip. names are those
// that the caller expects the record to have. Errors: errNotSignedIn,
// errRecordGarbage, or an *Error when it cannot be known.
func (s *Sessions) read(ctx context.Context, key string, names [2]string) (stored, error) {
	values, err := s.findMany(ctx, key, markKey(names[0]), markKey(names[1]))
	if err != nil {
		return stored{}, err
	}
	if values[0] == nil {
		return stored{}, errNotSignedIn
	}
	rec, err := s.unpack(key, values[0])
	if err != nil {
		return stored{}, err
	}
	if rec.marks[0].name != names[0] || rec.marks[1].name != names[1] {
		return stored{}, errNotSignedIn
	}
	for i := range rec.marks {
		number, err := decodeMark(values[i+1])
		if err != nil {
			return stored{}, errRecordUnreadable.because(err)
		}
		if number > rec.marks[i].number { // ended from outside: whoever reads it deletes it
			s.bury(ctx, key, values[0])
			return stored{}, errNotSignedIn
		}
	}
	if !s.alive(rec, s.now()) {
		return stored{}, errNotSignedIn
	}
	return stored{values[0], rec}, nil
}

// bury deletes a record that is over; that it fails does no harm. Its refresh
// token is not revoked here: the person may be on the way back through the
// provider's own session, which some servers would end with it.
func (s *Sessions) bury(ctx context.Context, key string, raw []byte) {
	_, _ = s.swap(context.WithoutCancel(ctx), key, raw, nil, time.Time{})
}

// touch writes back that the session is in use, at most once in a tenth of the
// idle interval, and only onto the record that was read: a login that ended
// meanwhile stays ended (M13).
func (l *liveSession) touch(ctx context.Context) {
	s, have := l.sessions, l.stored()
	now := s.now()
	if s.idle < 0 || now.Before(have.rec.seen.Add(s.idle/idleParts)) {
		return
	}
	next := *have.rec
	next.seen = now
	packed := s.pack(l.key, &next)
	swapped, err := s.swap(context.WithoutCancel(ctx), l.key, have.raw, packed, s.expiry(&next))
	if err != nil {
		l.party.provider.logger.WarnContext(ctx, "gatehouse: idle limit not written back", "error", err)
		return
	}
	if swapped {
		l.set(stored{packed, &next})
	}
}

// end swaps the record for a tombstone, whatever others write meanwhile, and
// returns the record that ended. A record that is gone or ended is no error.
func (s *Sessions) end(ctx context.Context, key string) (*record, error) {
	for range markTries {
		raw, err := s.find(ctx, key)
		if err != nil || raw == nil {
			return nil, err
		}
		rec, err := s.unpack(key, raw)
		if errors.Is(err, errRecordGarbage) {
			_, err = s.swap(ctx, key, raw, nil, time.Time{})
			return nil, err
		}
		if err != nil {
			return nil, err
		}
		if !rec.ended.IsZero() {
			return nil, nil
		}
		now := s.now()
		swapped, err := s.swap(ctx, key, raw, s.pack(key, rec.tombstone(now)), now.Add(tombstoneLife))
		if err != nil {
			return nil, err
		}
		if swapped {
			return rec, nil
		}
	}
	return nil, errStoreUnavailable.because(errors.New("the record kept changing while it was ended"))
}

// tombstone is what stands for a minute where the record was, so that slow
// writers find that it has ended.
func (r *record) tombstone(now time.Time) *record {
	return &record{issuer: r.issuer, subject: r.subject, clientID: r.clientID, marks: r.marks, ended: now}
}

// create stores a new login. It is never sent after deadline, by our clock. An
// unknown outcome is settled by sending the same value again: its write id makes
// a swap that has happened answer true.
func (s *Sessions) create(ctx context.Context, key string, r *record, deadline time.Time) error {
	if !s.alive(r, s.now()) {
		return errAttemptExpired.because(errors.New("the session would be over already"))
	}
	packed := s.pack(key, r)
	if _, err := s.unpack(key, packed); err != nil { // else a login that nobody can read: a loop
		return errInternal.because(err)
	}
	var err error
	for range 3 {
		if !s.now().Before(deadline) {
			return errStoreUnavailable.because(errors.New("storing the login took too long"))
		}
		var swapped bool
		if swapped, err = s.swap(ctx, key, nil, packed, s.expiry(r)); err == nil {
			if !swapped {
				return errStoreUnavailable.because(errors.New("the key of a new login is taken"))
			}
			return nil
		}
		if ctx.Err() != nil {
			break
		}
	}
	return err
}

// createWithin bounds the time between a callback's reading of the marks and
// the last try to store the login: later they might be gone (decision 3).
const createWithin = 30 * time.Second
