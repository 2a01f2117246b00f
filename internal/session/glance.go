package session

import (
	"context"
	"encoding/binary"
	"fmt"
	"time"

	"example.com/gatehouse/internal/storekey"
)

// A Glance is what most requests need of a live login. It is read like a
// [Record], with the same checks, but it has no tokens and makes no copies. It
// is a third of a record, and stands in the memory of its request. Many
// goroutines may read it.
type Glance struct {
	Issuer, Subject, ClientID, Scope string

	Claims []byte
	Asked  []byte    // digest of the requirements that this sign-in had to meet
	Read   time.Time // when it was judged, by our clock

	key   storekey.Key
	marks [2]Mark
	raw   []byte // as stored

	has                                                               uint64 // one bit for each tag that is set
	begin, seen, ends, authTime, expires, requested, retryAt, askedAt int64  // in milliseconds
}

// Party is who a login was made at. A Glance of such a login has these texts and
// no copies of them.
type Party struct{ Issuer, ClientID string }

// Glance reads the live login that a cookie names and its marks, in one round
// trip, into g, which is zero. It fails with ErrNone, ErrGarbage, ErrUnreadable
// or ErrStore.
func (k *Keeper) Glance(ctx context.Context, home, cookie string, whose Party, g *Glance) error {
	id, marks, ok := cutCookie(cookie)
	if !ok {
		return ErrNone
	}
	g.key = recordKey(home, id)
	return k.look(ctx, marks, whose, g)
}

// look is Glance for a login whose key is in g already.
func (k *Keeper) look(ctx context.Context, marks [2]string, whose Party, g *Glance) error {
	first, known := k.keys.of(marks[0])
	second, both := k.keys.of(marks[1])
	values, err := k.findLogin(ctx, [LoginKeys]storekey.Key{g.key, first, second})
	if err != nil {
		return err
	}
	err = k.judge(g, marks, whose, values)
	switch {
	case err == errRaised: // the first reader deletes it
		k.bury(ctx, g.Key(), g.raw)
	case err == nil && !(known && both):
		k.keys.keep(marks[0], first)
		k.keys.keep(marks[1], second)
	}
	return err
}

// Why there is no live login, for the log.
var (
	errRaised  = fmt.Errorf("%w: a revocation or a logout from outside ended it", ErrNone)
	errEnded   = fmt.Errorf("%w: it was signed out, revoked or replaced", ErrNone)
	errExpired = fmt.Errorf("%w: its time is over", ErrNone)
)

// judge decides whether the values are those of a live login.
func (k *Keeper) judge(g *Glance, marks [2]string, whose Party, values [LoginKeys][]byte) error {
	if g.raw = values[0]; g.raw == nil {
		return ErrNone
	}
	if err := k.read(g, marks, whose); err != nil {
		return err
	}
	if g.marks[0].Name != marks[0] || g.marks[1].Name != marks[1] {
		return ErrNone
	}
	for i := range g.marks {
		m, err := decodeMark(values[i+1])
		if err != nil {
			return err
		}
		if m.number > g.marks[i].Number {
			return errRaised
		}
	}
	if g.isSet(tagEnded) {
		return errEnded
	}
	if g.Read = k.now(); !k.lives(g.time(tagBegin, g.begin), g.time(tagEnds, g.ends), g.time(tagSeen, g.seen), g.Read) {
		return errExpired
	}
	return nil
}

// read reads the stored bytes.
func (k *Keeper) read(g *Glance, marks [2]string, whose Party) error {
	plain, err := k.open(g.key[:], g.raw)
	if err != nil {
		return err
	}
	if err := g.decode(plain, marks, whose); err != nil {
		return unreadable(err)
	}
	always := uint64(1<<tagIssuer | 1<<tagSubject | 1<<tagClientID | 1<<tagBegin | 1<<tagSeen | 1<<tagMark0 | 1<<tagMark1)
	if !g.isSet(tagEnded) && g.has&always != always {
		return errNotWhole
	}
	return nil
}

// isTime reports whether the value of a tag is a time.
func isTime(tag uint64) bool {
	times := uint64(1<<tagBegin | 1<<tagSeen | 1<<tagEnds | 1<<tagAuthTime | 1<<tagExpires | 1<<tagRequested | 1<<tagAskedAt |
		1<<tagLeaseUntil | 1<<tagRetryAt | 1<<tagEnded | 1<<tagRefused)
	return times>>tag&1 == 1
}

// isNumber reports whether the value of a tag is a number and no time.
func isNumber(tag uint64) bool {
	numbers := uint64(1<<tagNumber0 | 1<<tagNumber1 | 1<<tagTakeovers | 1<<tagWhy)
	return numbers>>tag&1 == 1
}

// decode reads the plain form of a record. It refuses what [decodeRecord]
// refuses, whether it keeps the field or not.
func (g *Glance) decode(b []byte, marks [2]string, whose Party) error {
	body, err := valueBody(b)
	if err != nil {
		return err
	}
	var subject, scope []byte
	for len(body) > 0 {
		var tag uint64
		var value []byte
		if end := shortField(body); end > 0 {
			tag, value, body = uint64(body[0]), body[2:end:end], body[end:]
		} else {
			var ok bool
			if tag, value, body, ok = cutField(body); !ok {
				return ErrGarbage
			}
		}
		if tag < tagIssuer || tag > tagLast {
			continue
		}
		bit, n := uint64(1)<<tag, uint64(0)
		g.has |= bit
		if at := isTime(tag); at || isNumber(tag) {
			var size int
			n, size = binary.Uvarint(value)
			if size != len(value) || at && n > latestTime {
				return ErrGarbage
			}
		} else if len(value) == 0 {
			g.has &^= bit
		}
		switch tag {
		case tagSubject:
			subject = value
		case tagScope:
			scope = value
		case tagIssuer:
			g.Issuer = textOf(value, whose.Issuer)
		case tagClientID:
			g.ClientID = textOf(value, whose.ClientID)
		case tagMark0:
			g.marks[0].Name = textOf(value, marks[0])
		case tagMark1:
			g.marks[1].Name = textOf(value, marks[1])
		case tagClaims:
			g.Claims = value
		case tagAsked:
			g.Asked = value
		case tagNumber0:
			g.marks[0].Number = n
		case tagNumber1:
			g.marks[1].Number = n
		default:
			if at := g.timeOf(tag); at != nil {
				*at = int64(n)
			}
		}
	}
	var room [subjectRoom]byte
	both := string(append(append(room[:0], subject...), scope...))
	g.Subject, g.Scope = both[:len(subject)], both[len(subject):]
	return nil
}

// subjectRoom is how many bytes an ordinary subject and its scopes have
// together. Longer ones cost an allocation more.
const subjectRoom = 192

// timeOf returns where the time of a tag belongs, or nil if it is not kept.
func (g *Glance) timeOf(tag uint64) *int64 {
	switch tag {
	case tagBegin:
		return &g.begin
	case tagSeen:
		return &g.seen
	case tagEnds:
		return &g.ends
	case tagAuthTime:
		return &g.authTime
	case tagExpires:
		return &g.expires
	case tagRequested:
		return &g.requested
	case tagRetryAt:
		return &g.retryAt
	case tagAskedAt:
		return &g.askedAt
	}
	return nil
}

// textOf returns the text of value, and that is known if they are equal.
func textOf(value []byte, known string) string {
	if string(value) == known {
		return known
	}
	return string(value)
}

func (g *Glance) isSet(tag uint64) bool { return g.has>>tag&1 == 1 }

func (g *Glance) time(tag uint64, at int64) time.Time {
	if !g.isSet(tag) {
		return time.Time{}
	}
	return time.UnixMilli(at)
}

// Key returns the key of the record in the store.
func (g *Glance) Key() string { return string(g.key[:]) }

// Ref names the login. It has no ID, so that whatever prints it shows no secret.
func (g *Glance) Ref() Ref {
	return Ref{Key: g.Key(), Marks: [2]string{g.marks[0].Name, g.marks[1].Name}}
}

// AuthTime is when the person last authenticated, if the provider said so.
func (g *Glance) AuthTime() time.Time { return g.time(tagAuthTime, g.authTime) }

// AskedAt is when the sign-in returned that had to meet Asked.
func (g *Glance) AskedAt() time.Time { return g.time(tagAskedAt, g.askedAt) }

// Due reports whether the tokens should be renewed now.
func (g *Glance) Due() bool {
	return g.isSet(tagRefresh) && g.isSet(tagExpires) &&
		renewable(g.time(tagRequested, g.requested), time.UnixMilli(g.expires), g.time(tagRetryAt, g.retryAt), g.Read)
}

// TouchDue reports whether Touch has something to write.
func (k *Keeper) TouchDue(g *Glance) bool { return k.touchable(g.time(tagSeen, g.seen), g.Read) }

// GlanceEnding is Ending of a Glance.
func (k *Keeper) GlanceEnding(g *Glance) time.Time {
	return k.ending(g.time(tagBegin, g.begin), g.time(tagEnds, g.ends))
}

// Whole returns the record of a Glance. It makes no call: it is what the Glance
// has read.
func (k *Keeper) Whole(g *Glance) (Stored, error) {
	r, err := k.unpack(g.Key(), g.raw)
	return Stored{r, g.raw}, err
}
