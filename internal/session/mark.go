package session

import (
	"context"
	"encoding/base64"
	"encoding/binary"
	"errors"
	"fmt"
	"time"

	"example.com/gatehouse/internal/storekey"
	"example.com/gatehouse/internal/swap"
)

// A Mark lets a logout from outside end any number of sessions at once. It is
// one number under (issuer, sid) or (issuer, subject). A record keeps the
// numbers that its callback read, and a higher number ends it. Numbers are
// times in milliseconds, each at least one above the last. After that they are
// not compared with any clock, except for the second of skew in supersedes.
//
// Marks are common to a store, and the keepers on it may have different
// lifetimes. So the stored mark carries its own end, and no write moves that
// back.
type Mark struct {
	Name   string // 16 bytes, base64url: the form in cookies and records
	Number uint64
}

const (
	markDomain = "gatehouse/mark"
	// markSlack is how much longer a mark lives than the longest session.
	markSlack = time.Minute
	// markSkew is how far apart the clocks of two replicas may be.
	markSkew = time.Second
	// markNameSize is the size of a mark's name: 128 bits of a hash.
	markNameSize = 16
	// markSize is the size of a stored mark: its header, its number and its end.
	// Older builds stored no end.
	markSize = headSize + 8 + 8
	// longestLife is the longest lifetime that any keeper on the store may have.
	// A mark that somebody raised has to outlive every session.
	longestLife = 400 * 24 * time.Hour
)

// markName returns the short hash that names a mark.
func markName(kind string, parts ...string) string {
	sum := storekey.Sum("gatehouse/mark name/"+kind, parts...)
	return base64.RawURLEncoding.EncodeToString(sum[:markNameSize])
}

func markOfSubject(issuer, subject string) string { return markName("subject", issuer, subject) }

func markOfSID(issuer, sid string) string { return markName("sid", issuer, sid) }

// markOfNoSID names the mark of a person's sessions for which the provider named
// no session of its own.
func markOfNoSID(issuer, subject string) string { return markName("no sid", issuer, subject) }

// MarksOf names the two marks that can end a session. The second is the
// person's. The first is that of the provider's session. If the provider named
// no session, the first covers all sessions of the person without one.
func MarksOf(issuer, subject, sid string) [2]Mark {
	second := Mark{Name: markOfSubject(issuer, subject)}
	if sid == "" {
		return [2]Mark{{Name: markOfNoSID(issuer, subject)}, second}
	}
	return [2]Mark{{Name: markOfSID(issuer, sid)}, second}
}

func markKey(name string) string { return storekey.Of(markDomain, name) }

// storedMark is a mark as it lies in the store.
type storedMark struct {
	number uint64
	end    time.Time // zero for a mark of an older build
}

func (m storedMark) encode() []byte {
	out := binary.BigEndian.AppendUint64(newValue(markSize), m.number)
	return binary.BigEndian.AppendUint64(out, uint64(m.end.UnixMilli()))
}

// decodeMark reads a mark. No value means the zero mark. The error is ErrGarbage
// or ErrUnreadable.
func decodeMark(b []byte) (m storedMark, err error) {
	if b == nil {
		return m, nil
	}
	body, err := valueBody(b)
	if errors.Is(err, errVersion) {
		return m, fmt.Errorf("%w: a mark: %w", ErrUnreadable, err)
	}
	withEnd := len(body) == markSize-headSize
	if err != nil || !withEnd && len(body) != 8 {
		return m, fmt.Errorf("%w: a mark", ErrGarbage)
	}
	m.number = binary.BigEndian.Uint64(body)
	if withEnd {
		at := binary.BigEndian.Uint64(body[8:])
		if at > latestTime {
			return m, fmt.Errorf("%w: a mark", ErrGarbage)
		}
		m.end = time.UnixMilli(int64(at))
	}
	return m, nil
}

// RevokeAll ends every session of the person at the issuer, on every replica,
// before it returns. It does so by raising the person's mark above its current
// number.
func (k *Keeper) RevokeAll(ctx context.Context, issuer, subject string) error {
	return k.raiseMark(ctx, markOfSubject(issuer, subject))
}

// raiseMark ends every login that carries the mark. It then lives as long as
// any session that the store may hold: those of another keeper may live longer
// than ours.
func (k *Keeper) raiseMark(ctx context.Context, name string) error {
	return k.writeMark(ctx, name, k.raised)
}

// raised gives a mark the next number: our time, and at least one above the
// last.
func (k *Keeper) raised(m storedMark) (number uint64, life time.Duration) {
	return max(m.number+1, uint64(k.now().UnixMilli())), longestLife
}

// layMark creates a mark if there is none, and otherwise extends its life to
// that of our own sessions. Nobody knows for how long an older build raised
// one, so that counts as the longest life. A mark that outlives the session
// anyway is left alone, so that many tabs do not wait for each other.
func (k *Keeper) layMark(ctx context.Context, name string, session time.Time) error {
	return k.writeMark(ctx, name, func(m storedMark) (uint64, time.Duration) {
		switch {
		case m.end.After(session.Add(markSkew)):
			return m.number, 0
		case m.number > 0 && m.end.IsZero():
			return m.number, longestLife
		}
		return m.number, k.lifetime
	})
}

// writeMark changes a mark in the store.
func (k *Keeper) writeMark(ctx context.Context, name string, next nextMark) error {
	_, err := k.update(ctx, markKey(name), swap.Patience{}, k.markChange(next))
	return err
}

// nextMark returns the number that a mark gets, and how long it lives from now
// at least.
type nextMark func(storedMark) (number uint64, life time.Duration)

// markChange writes nothing if the mark has that number and lives that long
// already. A mark that cannot be read may have stood for a logout, so it counts
// as raised just now.
func (k *Keeper) markChange(next nextMark) swap.Change {
	return func(old []byte) (*swap.Value, error) {
		m, err := decodeMark(old)
		if errors.Is(err, ErrGarbage) {
			m, err = storedMark{number: uint64(k.now().UnixMilli())}, nil
		}
		if err != nil {
			return nil, err
		}
		number, life := next(m)
		if old != nil && number == m.number && life == 0 {
			return nil, nil
		}
		m = storedMark{number, later(m.end, k.now().Add(life+markSlack))}
		return &swap.Value{Bytes: m.encode(), Expiry: m.end}, nil
	}
}

func later(a, b time.Time) time.Time {
	if a.After(b) {
		return a
	}
	return b
}

// ReadMarks puts the numbers of the marks into the record of a sign-in that
// began at begin. It reports whether the sign-in has to start over because a
// logout whose mark it does not carry may have come after it began. It creates
// the sid's mark before reading it, so that the front channel can raise it.
func (k *Keeper) ReadMarks(ctx context.Context, r *Record, begin time.Time, carries func(Mark) bool) (again bool, err error) {
	if r.SID != "" {
		if err := k.layMark(ctx, r.Marks[0].Name, k.Ending(r)); err != nil {
			return false, err
		}
	}
	values, err := k.findMany(ctx, markKey(r.Marks[0].Name), markKey(r.Marks[1].Name))
	if err != nil {
		return false, err
	}
	for i := range r.Marks {
		m, err := decodeMark(values[i])
		if errors.Is(err, ErrGarbage) { // raised, it can be read in the next round
			again, err = true, k.raiseMark(ctx, r.Marks[i].Name)
		}
		if err != nil {
			return false, err
		}
		r.Marks[i].Number = m.number
		again = again || supersedes(r.Marks[i].Number, begin) && !carries(r.Marks[i])
	}
	return again, nil
}

// supersedes reports whether a mark's number may stand for a logout that came
// after an attempt began. The attempt then has to start over.
func supersedes(number uint64, begin time.Time) bool {
	return number > 0 && begin.UnixMilli() <= int64(number)+markSkew.Milliseconds()
}
