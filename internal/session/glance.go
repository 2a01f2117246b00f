package session

import (
	"context"
	"encoding/binary"
	"fmt"
	"time"

	"example.com/gatehouse/internal/storekey"
)

// Found is a live login as it was found in the store. It is what a request keeps
// of it, beside what it takes from the [Glance].
type Found struct {
	key   storekey.Key
	names [2]string // of the marks
	raw   []byte    // as stored
}

// Key returns the key of the record in the store.
func (f *Found) Key() string { return string(f.key[:]) }

// Ref names the login. It has no ID, so that whatever prints it shows no secret.
func (f *Found) Ref() Ref { return Ref{Key: f.Key(), Marks: f.names} }

// Whole returns the record of a login that was found. It makes no call: it reads
// once more what was read.
func (k *Keeper) Whole(f *Found) (Stored, error) {
	r, err := k.unpack(f.Key(), f.raw)
	return Stored{r, f.raw}, err
}

// A Glance is what most requests need of a live login. It is read like a
// [Record], with the same checks, but it has no tokens and makes no copies: its
// slices are of the stored value, which nobody changes. It needs no memory of the
// heap, and what has to last is taken from it.
type Glance struct {
	Found

	Issuer, ClientID       string
	Subject, Scope, Claims []byte

	Asked []byte    // digest of the requirements that this sign-in had to meet
	Ends  time.Time // the session, however busy it is
	Read  time.Time // when it was judged, by our clock

	marks   [2]string           // as the record names them
	has     uint64              // one bit for each tag that is set
	numbers [tagLast + 1]uint64 // by tag; times are in milliseconds
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
	g.key, g.names = recordKey(home, id), marks
	return k.look(ctx, whose, g)
}

// look is Glance for a login of which g has the key and the names of its marks.
func (k *Keeper) look(ctx context.Context, whose Party, g *Glance) error {
	first, known := k.keys.of(g.names[0])
	second, both := k.keys.of(g.names[1])
	values, err := k.findLogin(ctx, [LoginKeys]storekey.Key{g.key, first, second}, &g.Read)
	if err != nil {
		return err
	}
	err = k.judge(g, whose, values)
	switch {
	case err == errRaised: // the first reader deletes it
		k.bury(ctx, g.Key(), g.raw)
	case err == nil && !(known && both):
		k.keys.keep(g.names[0], first)
		k.keys.keep(g.names[1], second)
	}
	return err
}

// Why there is no live login, for the log.
var (
	errRaised  = fmt.Errorf("%w: a revocation or a logout from outside ended it", ErrNone)
	errEnded   = fmt.Errorf("%w: it was signed out, revoked or replaced", ErrNone)
	errExpired = fmt.Errorf("%w: its time is over", ErrNone)
)

// judge decides whether the values are those of a live login, at the time that g
// was read.
func (k *Keeper) judge(g *Glance, whose Party, values [LoginKeys][]byte) error {
	if g.raw = values[0]; g.raw == nil {
		return ErrNone
	}
	if err := k.read(g, whose); err != nil {
		return err
	}
	if g.marks != g.names {
		return ErrNone
	}
	for i, tag := range [2]uint64{tagNumber0, tagNumber1} {
		m, err := decodeMark(values[i+1])
		if err != nil {
			return err
		}
		if m.number > g.numbers[tag] {
			return errRaised
		}
	}
	if g.isSet(tagEnded) {
		return errEnded
	}
	if !k.lives(g.Ends, g.time(tagSeen), g.Read) {
		return errExpired
	}
	return nil
}

// read reads the stored bytes.
func (k *Keeper) read(g *Glance, whose Party) error {
	plain, err := k.open(g.key[:], g.raw)
	if err != nil {
		return err
	}
	if err := g.decode(plain, whose); err != nil {
		return unreadable(err)
	}
	always := uint64(1<<tagIssuer | 1<<tagSubject | 1<<tagClientID | 1<<tagBegin | 1<<tagSeen | 1<<tagMark0 | 1<<tagMark1)
	if !g.isSet(tagEnded) && g.has&always != always {
		return errNotWhole
	}
	g.Ends = k.ending(g.time(tagBegin), g.time(tagEnds))
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
func (g *Glance) decode(b []byte, whose Party) error {
	body, err := valueBody(b)
	if err != nil {
		return err
	}
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
		g.has |= 1 << tag
		if at := isTime(tag); at || isNumber(tag) {
			n, size := binary.Uvarint(value)
			if size != len(value) || at && n > latestTime {
				return ErrGarbage
			}
			g.numbers[tag] = n
			continue
		}
		if len(value) == 0 {
			g.has &^= 1 << tag
		}
		switch tag {
		case tagSubject:
			g.Subject = value
		case tagScope:
			g.Scope = value
		case tagIssuer:
			g.Issuer = textOf(value, whose.Issuer)
		case tagClientID:
			g.ClientID = textOf(value, whose.ClientID)
		case tagMark0:
			g.marks[0] = textOf(value, g.names[0])
		case tagMark1:
			g.marks[1] = textOf(value, g.names[1])
		case tagClaims:
			g.Claims = value
		case tagAsked:
			g.Asked = value
		}
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

// time returns the time of a tag, or the zero time.
func (g *Glance) time(tag uint64) time.Time {
	if !g.isSet(tag) {
		return time.Time{}
	}
	return time.UnixMilli(int64(g.numbers[tag]))
}

// AuthTime is when the person last authenticated, if the provider said so.
func (g *Glance) AuthTime() time.Time { return g.time(tagAuthTime) }

// AskedAt is when the sign-in returned that had to meet Asked.
func (g *Glance) AskedAt() time.Time { return g.time(tagAskedAt) }

// Due reports whether the tokens should be renewed now.
func (g *Glance) Due() bool {
	return g.isSet(tagRefresh) && g.isSet(tagExpires) &&
		renewable(g.time(tagRequested), g.time(tagExpires), g.time(tagRetryAt), g.Read)
}

// TouchDue reports whether Touch has something to write.
func (k *Keeper) TouchDue(g *Glance) bool { return k.touchable(g.time(tagSeen), g.Read) }
