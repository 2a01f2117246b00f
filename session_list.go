package gatehouse

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"
)

// SessionInfo is one session in a list for its owner.
type SessionInfo struct {
	ID       string    // names the session for Revoke; not the cookie
	Began    time.Time // when its sign-in began
	LastSeen time.Time // to a tenth of the idle interval
	Ends     time.Time // the absolute limit
}

// maxIndexed is how many sessions of a person List knows: the newest.
const maxIndexed = 100

// indexEntrySize is the size of a store key.
const indexEntrySize = 43

func indexKey(issuer, subject string) string { return storeKey(indexDomain, issuer, subject) }

// List returns the live sessions of a person, newest first, at most 100. It is
// for display: no decision is made by it, and a session that was just created
// may be missing.
func (s *Sessions) List(ctx context.Context, issuer, subject string) ([]SessionInfo, error) {
	raw, err := s.find(ctx, indexKey(issuer, subject))
	if err != nil || raw == nil {
		return nil, err
	}
	keys, err := decodeIndex(raw)
	if err != nil || len(keys) == 0 {
		return nil, err
	}
	values, err := s.findMany(ctx, keys...)
	if err != nil {
		return nil, err
	}
	var live []*record
	var list []SessionInfo
	marks := []string{markKey(markOfSubject(issuer, subject))}
	for i, raw := range values {
		if raw == nil {
			continue
		}
		rec, err := s.unpack(keys[i], raw)
		if err != nil || rec.issuer != issuer || rec.subject != subject || !s.alive(rec, s.now()) {
			continue
		}
		live, marks = append(live, rec), append(marks, markKey(rec.marks[0].name))
		list = append(list, SessionInfo{ID: keys[i], Began: rec.begin, LastSeen: rec.seen, Ends: s.ending(rec)})
	}
	return s.unmarked(ctx, list, live, marks)
}

// unmarked leaves out the sessions that a mark has ended: marks holds the key
// of the subject's, then one for each record.
func (s *Sessions) unmarked(ctx context.Context, list []SessionInfo, live []*record, marks []string) ([]SessionInfo, error) {
	values, err := s.findMany(ctx, marks...)
	if err != nil {
		return nil, err
	}
	numbers := make([]uint64, len(values))
	for i, v := range values {
		if numbers[i], err = decodeMark(v); err != nil {
			return nil, errRecordUnreadable.because(err)
		}
	}
	kept := list[:0]
	for i, rec := range live {
		if numbers[i+1] <= rec.marks[0].number && numbers[0] <= rec.marks[1].number {
			kept = append(kept, list[i])
		}
	}
	return kept, nil
}

// Revoke ends the session with that SessionInfo.ID, if it is one of the person's.
// A session that is gone is no error.
func (s *Sessions) Revoke(ctx context.Context, issuer, subject, id string) error {
	raw, err := s.find(ctx, id)
	if err != nil || raw == nil {
		return err
	}
	rec, err := s.unpack(id, raw)
	if errors.Is(err, errRecordGarbage) {
		return nil
	}
	if err != nil {
		return err
	}
	if rec.issuer != issuer || rec.subject != subject {
		return nil
	}
	ended, err := s.end(ctx, id)
	if owner := s.partyOf(rec); err == nil && ended != nil && owner != nil {
		owner.ended(ctx, ended, "revoked")
	}
	return err
}

// index puts a new session in front of its owner's list.
func (s *Sessions) index(ctx context.Context, rec *record, key string) error {
	at := indexKey(rec.issuer, rec.subject)
	for range markTries {
		old, err := s.find(ctx, at)
		if err != nil {
			return err
		}
		keys, err := decodeIndex(old)
		if err != nil {
			return err
		}
		keys = slices.Insert(keys, 0, key)
		if len(keys) > maxIndexed {
			keys = keys[:maxIndexed]
		}
		swapped, err := s.swap(ctx, at, old, encodeIndex(keys), s.markExpiry())
		if err != nil || swapped {
			return err
		}
	}
	return fmt.Errorf("index changed %d times while it was written", markTries)
}

func encodeIndex(keys []string) []byte {
	out := newValue(2 + writeIDSize + len(keys)*indexEntrySize)
	for _, k := range keys {
		out = append(out, k...)
	}
	return out
}

func decodeIndex(b []byte) ([]string, error) {
	if b == nil {
		return nil, nil
	}
	body, err := valueBody(b)
	if err != nil || len(body)%indexEntrySize != 0 {
		return nil, errRecordUnreadable.because(errRecordGarbage)
	}
	keys := make([]string, 0, len(body)/indexEntrySize)
	for e := range slices.Chunk(body, indexEntrySize) {
		keys = append(keys, string(e))
	}
	return keys, nil
}
