package gatehouse

import (
	"context"
	"encoding/base64"
	"encoding/binary"
	"fmt"
	"time"

	"example.com/gatehouse/internal/attempt"
)

// A mark makes a logout from outside win at once, for any number of sessions:
// one number under (issuer, sid) or (issuer, subject). A record keeps the
// numbers that its callback read, and a higher one ends it. Numbers are times
// in ms, at least one above the old; no clock is compared with them afterwards
// but for the second of skew in supersedes.
type mark struct {
	name   string // 16 bytes, base64url: what cookie and record hold
	number uint64
}

const (
	markDomain = "gatehouse/mark"
	// markTries bounds the tries to raise a mark against others who raise it.
	markTries = 16
	// markSlack is how much longer than the longest session a mark lives.
	markSlack = time.Minute
	// markSkew is how far the clocks of two replicas may differ.
	markSkew = time.Second
	// markNameSize is the size of a mark's name: 128 bits of a hash.
	markNameSize = 16
)

// markName is the short hash that names a mark: 128 bits.
func markName(kind string, parts ...string) string {
	sum := storeHash("gatehouse/mark name/"+kind, parts...)
	return base64.RawURLEncoding.EncodeToString(sum[:markNameSize])
}

// carried is the mark as an attempt carries it.
func (m mark) carried() attempt.Mark { return attempt.Mark{Name: m.name, Number: m.number} }

func markOfSID(issuer, sid string) string         { return markName("sid", issuer, sid) }
func markOfSubject(issuer, subject string) string { return markName("subject", issuer, subject) }
func markOfNoSID(issuer, subject string) string   { return markName("no sid", issuer, subject) }

// marksOf names the two marks that end a session when one is raised (decision 3).
func marksOf(issuer, subject, sid string) [2]mark {
	second := mark{name: markOfSubject(issuer, subject)}
	if sid == "" {
		return [2]mark{{name: markOfNoSID(issuer, subject)}, second}
	}
	return [2]mark{{name: markOfSID(issuer, sid)}, second}
}

func markKey(name string) string { return storeKey(markDomain, name) }

func encodeMark(number uint64) []byte {
	return binary.BigEndian.AppendUint64(newValue(2+writeIDSize+8), number)
}

// decodeMark reads a mark's number; no value is 0.
func decodeMark(b []byte) (uint64, error) {
	if b == nil {
		return 0, nil
	}
	body, err := valueBody(b)
	if err != nil {
		return 0, err
	}
	if len(body) != 8 {
		return 0, errRecordGarbage
	}
	return binary.BigEndian.Uint64(body), nil
}

// raiseMark raises a mark to a number above the one it has, and returns when
// that is known.
func (s *Sessions) raiseMark(ctx context.Context, name string) error {
	key := markKey(name)
	for range markTries {
		old, err := s.find(ctx, key)
		if err != nil {
			return err
		}
		number, err := decodeMark(old)
		if err != nil {
			return errRecordUnreadable.because(err)
		}
		number = max(number+1, uint64(s.now().UnixMilli()))
		swapped, err := s.swap(ctx, key, old, encodeMark(number), s.markExpiry())
		if err != nil {
			return err
		}
		if swapped {
			return nil
		}
	}
	return errStoreUnavailable.because(fmt.Errorf("mark changed %d times while it was raised", markTries))
}

// layMark lays a mark down where there is none, and renews its life.
func (s *Sessions) layMark(ctx context.Context, name string) error {
	key := markKey(name)
	for range markTries {
		old, err := s.find(ctx, key)
		if err != nil {
			return err
		}
		number, err := decodeMark(old)
		if err != nil {
			return errRecordUnreadable.because(err)
		}
		swapped, err := s.swap(ctx, key, old, encodeMark(number), s.markExpiry())
		if err != nil || swapped {
			return err
		}
	}
	return errStoreUnavailable.because(fmt.Errorf("mark changed %d times while it was laid down", markTries))
}

func (s *Sessions) markExpiry() time.Time { return s.now().Add(s.lifetime + markSlack) }

// supersedes reports whether a mark's number may stand for a logout that came
// after an attempt began, so that the attempt has to start over.
func supersedes(number uint64, begin time.Time) bool {
	return number > 0 && begin.UnixMilli() <= int64(number)+markSkew.Milliseconds()
}

// validMarkName reports whether s can name a mark.
func validMarkName(s string) bool {
	return isBase64URL(s, markNameSize)
}
