package gatehouse

import (
	"context"
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
	raw []byte // as stored; nil when it was written since it was read
	rec *record
}

func (l *liveSession) record() *record {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.rec
}

func (l *liveSession) set(raw []byte, rec *record) {
	l.mu.Lock()
	l.raw, l.rec = raw, rec
	l.mu.Unlock()
}

// The session cookie is id "." mark "." mark: with the names of its marks a
// request reads record and marks in one round trip (design decision 3).
func cookieValue(id string, marks [2]mark) string {
	return id + "." + marks[0].name + "." + marks[1].name
}

func parseCookie(value string) (id string, marks [2]string, ok bool) {
	const idLen = 43 // base64url of sessionIDSize bytes
	id, rest, ok := strings.Cut(value, ".")
	if !ok || len(id) != idLen || strings.Trim(id, base64URL) != "" {
		return "", marks, false
	}
	marks[0], marks[1], ok = strings.Cut(rest, ".")
	return id, marks, ok && validMarkName(marks[0]) && validMarkName(marks[1])
}

const base64URL = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_"

// errNotSignedIn is inside: there is no live login.
var errNotSignedIn = errors.New("not signed in")

// load returns the login of the request's cookie. Errors: errNotSignedIn, or an
// *Error when that cannot be known now.
func (rp *RelyingParty) load(r *http.Request) (*liveSession, error) {
	cookie, err := r.Cookie(rp.cookie)
	if err != nil {
		return nil, errNotSignedIn
	}
	id, names, ok := parseCookie(cookie.Value)
	if !ok {
		return nil, errNotSignedIn
	}
	s := rp.sessions
	live := &liveSession{sessions: s, party: rp, key: sessionKey(id)}
	values, err := s.findMany(r.Context(), live.key, markKey(names[0]), markKey(names[1]))
	if err != nil {
		return nil, err
	}
	if values[0] == nil {
		return nil, errNotSignedIn
	}
	rec, err := s.unpack(live.key, values[0])
	if errors.Is(err, errRecordGarbage) {
		rp.provider.logger.WarnContext(r.Context(), "gatehouse: a login record is garbage", "issuer", rp.provider.issuer)
		return nil, errNotSignedIn
	}
	if err != nil {
		return nil, err
	}
	if rec.marks[0].name != names[0] || rec.marks[1].name != names[1] ||
		rec.issuer != rp.provider.issuer || rec.clientID != rp.client.ID {
		return nil, errNotSignedIn
	}
	live.set(values[0], rec)
	for i := range rec.marks {
		number, err := decodeMark(values[i+1])
		if err != nil {
			return nil, errRecordUnreadable.because(err)
		}
		if number > rec.marks[i].number { // ended from outside: whoever reads it deletes it
			s.bury(r.Context(), live.key, values[0])
			return nil, errNotSignedIn
		}
	}
	if !s.alive(rec, s.now()) {
		return nil, errNotSignedIn
	}
	return live, nil
}

// bury deletes a record that is over; that it fails does no harm.
func (s *Sessions) bury(ctx context.Context, key string, raw []byte) {
	_, _ = s.swap(context.WithoutCancel(ctx), key, raw, nil, time.Time{})
}

// touch writes back that the session is in use, at most once in a tenth of the
// idle interval, and only onto the record that was read: a login that ended
// meanwhile stays ended (M13).
func (l *liveSession) touch(ctx context.Context) {
	s, rec := l.sessions, l.record()
	now := s.now()
	if s.idle < 0 || now.Before(rec.seen.Add(s.idle/idleParts)) {
		return
	}
	next := *rec
	next.seen = now
	l.mu.Lock()
	raw := l.raw
	l.mu.Unlock()
	if raw == nil { // just renewed, and so just written
		return
	}
	packed := s.pack(l.key, &next)
	swapped, err := s.swap(context.WithoutCancel(ctx), l.key, raw, packed, s.expiry(&next))
	if err != nil {
		l.party.provider.logger.WarnContext(ctx, "gatehouse: idle limit not written back", "error", err)
		return
	}
	if swapped {
		l.set(packed, &next)
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
			s.bury(ctx, key, raw)
			return nil, nil
		}
		if err != nil {
			return nil, err
		}
		if !rec.ended.IsZero() {
			return nil, nil
		}
		now := s.now()
		grave := &record{issuer: rec.issuer, subject: rec.subject, clientID: rec.clientID, marks: rec.marks, ended: now}
		swapped, err := s.swap(ctx, key, raw, s.pack(key, grave), now.Add(tombstoneLife))
		if err != nil {
			return nil, err
		}
		if swapped {
			return rec, nil
		}
	}
	return nil, errStoreUnavailable.because(errors.New("the record kept changing while it was ended"))
}

// create stores a new login. It is never sent after deadline, by our clock, and
// an unknown outcome is read before it is tried again.
func (s *Sessions) create(ctx context.Context, key string, r *record, deadline time.Time) error {
	packed := s.pack(key, r)
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
// the last try to store the login (design decision 3).
const createWithin = 30 * time.Second
