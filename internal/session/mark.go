package session

import (
	"context"
	"encoding/base64"
	"encoding/binary"
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
	// markSize is the size of a stored mark: its header and its number.
	markSize = headSize + 8
)

// markName returns the short hash that names a mark.
func markName(kind string, parts ...string) string {
	sum := storekey.Sum("gatehouse/mark name/"+kind, parts...)
	return base64.RawURLEncoding.EncodeToString(sum[:markNameSize])
}

func markOfSubject(issuer, subject string) string { return markName("subject", issuer, subject) }

// MarksOf names the two marks that can end a session. The second is the
// person's. The first is that of the provider's session. If the provider named
// no session, the first covers all sessions of the person without one.
func MarksOf(issuer, subject, sid string) [2]Mark {
	second := Mark{Name: markOfSubject(issuer, subject)}
	if sid == "" {
		return [2]Mark{{Name: markName("no sid", issuer, subject)}, second}
	}
	return [2]Mark{{Name: markName("sid", issuer, sid)}, second}
}

func markKey(name string) string { return storekey.Of(markDomain, name) }

func encodeMark(number uint64) []byte {
	return binary.BigEndian.AppendUint64(newValue(markSize), number)
}

// decodeMark reads a mark's number. No value means 0.
func decodeMark(b []byte) (uint64, error) {
	if b == nil {
		return 0, nil
	}
	body, err := valueBody(b)
	if err == nil && len(body) != markSize-headSize {
		err = ErrGarbage
	}
	if err != nil {
		return 0, fmt.Errorf("%w: a mark: %w", ErrUnreadable, err)
	}
	return binary.BigEndian.Uint64(body), nil
}

// RevokeAll ends every session of the person at the issuer, on every replica,
// before it returns. It does so by raising the person's mark above its current
// number.
func (k *Keeper) RevokeAll(ctx context.Context, issuer, subject string) error {
	return k.writeMark(ctx, markOfSubject(issuer, subject), func(number uint64) uint64 {
		return max(number+1, uint64(k.now().UnixMilli()))
	})
}

// layMark creates a mark if there is none, and otherwise extends its life.
func (k *Keeper) layMark(ctx context.Context, name string) error {
	return k.writeMark(ctx, name, func(number uint64) uint64 { return number })
}

func (k *Keeper) writeMark(ctx context.Context, name string, next func(uint64) uint64) error {
	_, err := k.update(ctx, markKey(name), swap.Patience{}, func(old []byte) (*swap.Value, error) {
		number, err := decodeMark(old)
		if err != nil {
			return nil, err
		}
		return &swap.Value{Bytes: encodeMark(next(number)), Expiry: k.markExpiry()}, nil
	})
	return err
}

func (k *Keeper) markExpiry() time.Time { return k.now().Add(k.lifetime + markSlack) }

// ReadMarks puts the numbers of the marks into the record of a sign-in that
// began at begin. It reports whether the sign-in has to start over because a
// logout whose mark it does not carry may have come after it began. It creates
// the sid's mark before reading it, so that the front channel can raise it.
func (k *Keeper) ReadMarks(ctx context.Context, r *Record, begin time.Time, carries func(Mark) bool) (again bool, err error) {
	if r.SID != "" {
		if err := k.layMark(ctx, r.Marks[0].Name); err != nil {
			return false, err
		}
	}
	values, err := k.findMany(ctx, markKey(r.Marks[0].Name), markKey(r.Marks[1].Name))
	if err != nil {
		return false, err
	}
	for i := range r.Marks {
		if r.Marks[i].Number, err = decodeMark(values[i]); err != nil {
			return false, err
		}
		again = again || supersedes(r.Marks[i].Number, begin) && !carries(r.Marks[i])
	}
	return again, nil
}

// supersedes reports whether a mark's number may stand for a logout that came
// after an attempt began. The attempt then has to start over.
func supersedes(number uint64, begin time.Time) bool {
	return number > 0 && begin.UnixMilli() <= int64(number)+markSkew.Milliseconds()
}
