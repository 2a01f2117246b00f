package session

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"math"
	"slices"
	"time"

	"example.com/gatehouse/internal/storekey"
	"example.com/gatehouse/internal/swap"
)

const indexDomain = "gatehouse/index"

// maxListed is how many live sessions a person may have. A new one beyond it
// ends the oldest.
const maxListed = 100

// Listed is a live session in the list of its owner.
type Listed struct {
	Key    string // of the record in the store
	Record *Record
}

func (k *Keeper) indexKey(issuer, subject string) string {
	return storekey.Of(indexDomain, k.name, issuer, subject)
}

// Enlist puts a new session at the front of its owner's list. If the list is
// full, what has ended leaves it, and if it is still full, the oldest session
// leaves it. Enlist returns the keys of those, which the caller has to end.
// Until the list is full, it looks at no session.
func (k *Keeper) Enlist(ctx context.Context, ref Ref, r *Record) (over []string, err error) {
	_, err = k.update(ctx, k.indexKey(r.Issuer, r.Subject), swap.Patience{}, func(old []byte) (*swap.Value, error) {
		over = nil
		keys, end, err := decodeIndex(old)
		if err != nil && !errors.Is(err, ErrGarbage) {
			return nil, err
		}
		if len(keys) >= maxListed {
			live, newer, err := k.living(ctx, r.Issuer, r.Subject, keys)
			if err != nil {
				return nil, err
			}
			keys = slices.DeleteFunc(keys, func(key string) bool {
				return !slices.Contains(newer, key) && !slices.ContainsFunc(live, func(l Listed) bool { return l.Key == key })
			})
		}
		keys = slices.Insert(keys, 0, ref.Key)
		if len(keys) > maxListed {
			over = slices.Clone(keys[maxListed:])
			keys = keys[:maxListed]
		}
		end = later(end, k.now().Add(k.lifetime+markSlack))
		return &swap.Value{Bytes: encodeIndex(keys, end), Expiry: end}, nil
	})
	if err != nil {
		return nil, err
	}
	return over, nil
}

// List returns the live sessions of a person, newest first. It is for display
// only: no decision depends on it, and a session created just now may be
// missing.
func (k *Keeper) List(ctx context.Context, issuer, subject string) ([]Listed, error) {
	raw, err := k.find(ctx, k.indexKey(issuer, subject))
	if err != nil || raw == nil {
		return nil, err
	}
	keys, _, err := decodeIndex(raw)
	if errors.Is(err, ErrGarbage) { // the next sign-in begins a new one
		return nil, nil
	}
	if err != nil || len(keys) == 0 {
		return nil, err
	}
	live, _, err := k.living(ctx, issuer, subject, keys)
	return live, err
}

// living returns those of the sessions under keys that are alive, and the keys
// of those that only a newer build can judge.
func (k *Keeper) living(ctx context.Context, issuer, subject string, keys []string) (live []Listed, newer []string, err error) {
	values, err := k.findMany(ctx, keys...)
	if err != nil {
		return nil, nil, err
	}
	for i, raw := range values {
		if raw == nil {
			continue
		}
		r, err := k.unpack(keys[i], raw)
		if errors.Is(err, ErrUnreadable) {
			newer = append(newer, keys[i])
		}
		if err != nil || r.Issuer != issuer || r.Subject != subject || !k.alive(r, k.now()) {
			continue
		}
		live = append(live, Listed{keys[i], r})
	}
	live, err = k.unmarked(ctx, live, markOfSubject(issuer, subject))
	return live, newer, err
}

// unmarked leaves out sessions that a mark has ended, whether the person's mark
// or the record's own.
func (k *Keeper) unmarked(ctx context.Context, live []Listed, person string) ([]Listed, error) {
	marks := []string{markKey(person)}
	for _, s := range live {
		marks = append(marks, markKey(s.Record.Marks[0].Name))
	}
	values, err := k.findMany(ctx, marks...)
	if err != nil {
		return nil, err
	}
	numbers := make([]uint64, len(values))
	for i, v := range values {
		m, err := decodeMark(v)
		if err != nil && !errors.Is(err, ErrGarbage) {
			return nil, err
		}
		if numbers[i] = m.number; err != nil { // no session passes a mark that cannot be read
			numbers[i] = math.MaxUint64
		}
	}
	kept := live[:0]
	for i, s := range live {
		if numbers[i+1] <= s.Record.Marks[0].Number && numbers[0] <= s.Record.Marks[1].Number {
			kept = append(kept, s)
		}
	}
	return kept, nil
}

// Revoke ends the session under key if it belongs to the person, and returns
// the record that ended. A session that is already gone is not an error.
func (k *Keeper) Revoke(ctx context.Context, issuer, subject, key string) (*Record, error) {
	raw, err := k.find(ctx, key)
	if err != nil || raw == nil {
		return nil, err
	}
	r, err := k.unpack(key, raw)
	if errors.Is(err, ErrGarbage) {
		return nil, nil
	}
	if err != nil || r.Issuer != issuer || r.Subject != subject {
		return nil, err
	}
	return k.end(ctx, key, swap.Patience{}, k.firmGrave)
}

// encodeIndex returns the stored form of a list. Like a mark, it carries its own
// end, because sessions of one name may have different lifetimes at different
// origins.
func encodeIndex(keys []string, end time.Time) []byte {
	out := binary.BigEndian.AppendUint64(newValue(headSize+8+len(keys)*storekey.Size), uint64(end.UnixMilli()))
	for _, k := range keys {
		out = append(out, k...)
	}
	return out
}

func decodeIndex(b []byte) (keys []string, end time.Time, err error) {
	if b == nil {
		return nil, end, nil
	}
	body, err := valueBody(b)
	if errors.Is(err, errVersion) {
		return nil, end, fmt.Errorf("%w: a list of sessions: %w", ErrUnreadable, err)
	}
	if err != nil || len(body)%storekey.Size != 8 || binary.BigEndian.Uint64(body) > latestTime {
		return nil, end, fmt.Errorf("%w: a list of sessions", ErrGarbage)
	}
	end = time.UnixMilli(int64(binary.BigEndian.Uint64(body)))
	for e := range slices.Chunk(body[8:], storekey.Size) {
		keys = append(keys, string(e))
	}
	return keys, end, nil
}
