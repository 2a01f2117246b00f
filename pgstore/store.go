package pgstore

import (
	"bytes"
	"context"
	"time"
)

// longest is how far in the future an expiry counts. A later one would overflow
// the database's times.
const longest = 100 * 365 * 24 * time.Hour

// life is how long from now an expiry is, in microseconds. One in the past is
// absent at once, however long past it is.
func (s *Store) life(expiry time.Time) int64 {
	return min(max(expiry.Sub(s.now()), -time.Second), longest).Microseconds()
}

// FindCtx returns the value under key.
func (s *Store) FindCtx(ctx context.Context, key string) (value []byte, found bool, err error) {
	values, err := s.FindManyCtx(ctx, []string{key})
	if err != nil {
		return nil, false, err
	}
	return values[0], values[0] != nil, nil
}

// FindManyCtx returns the values under keys in the same order, nil where there is
// none, in one round trip.
func (s *Store) FindManyCtx(ctx context.Context, keys []string) ([][]byte, error) {
	values := make([][]byte, len(keys))
	if len(keys) == 0 {
		return values, ctx.Err()
	}
	found := make(map[string][]byte, len(keys))
	err := s.read(ctx, s.sql.find, func() { clear(found) }, func(key string, value []byte) { found[key] = value }, keys)
	if err != nil {
		return nil, err
	}
	for i, key := range keys {
		if value, ok := found[key]; ok {
			values[i], found[key] = value, bytes.Clone(value) // a repeated key gets a slice of its own
		}
	}
	return values, nil
}

// CommitCtx stores a value, whatever was there. A nil value deletes.
func (s *Store) CommitCtx(ctx context.Context, key string, value []byte, expiry time.Time) error {
	if value == nil {
		return s.DeleteCtx(ctx, key)
	}
	_, err := s.exec(ctx, s.sql.commit, key, value, s.life(expiry))
	return err
}

// DeleteCtx removes a value. It is not an error if there is none.
func (s *Store) DeleteCtx(ctx context.Context, key string) error {
	_, err := s.exec(ctx, s.sql.delete, key)
	return err
}

// SwapCtx replaces old with new in one step if exactly old is stored. A nil old
// means that nothing may be stored; a nil new deletes. It reports whether new is
// stored now, also if it was before.
func (s *Store) SwapCtx(ctx context.Context, key string, old, new []byte, expiry time.Time) (swapped bool, err error) {
	var changed int64
	switch {
	case old == nil && new == nil:
		return s.isAbsent(ctx, s.sql.exists, key)
	case old == nil:
		changed, err = s.exec(ctx, s.sql.create, key, new, s.life(expiry))
	case new == nil:
		return s.deleteOld(ctx, s.sql.deleteOld, s.sql.exists, key, old)
	default:
		changed, err = s.exec(ctx, s.sql.replace, key, old, new, s.life(expiry))
	}
	return changed == 1 && err == nil, err
}

// deleteOld deletes a row with one statement. If that changes nothing, there may
// be another value, or none. Then a second statement looks: if there is none,
// it is as the caller wants it. One statement could not tell, because it does not
// see what others remove while it waits for them.
func (s *Store) deleteOld(ctx context.Context, sql, exists string, place any, old []byte) (deleted bool, err error) {
	changed, err := s.exec(ctx, sql, place, old)
	if err != nil || changed == 1 {
		return err == nil, err
	}
	return s.isAbsent(ctx, exists, place)
}

func (s *Store) isAbsent(ctx context.Context, exists string, place any) (bool, error) {
	value, err := s.readOne(ctx, exists, place)
	return err == nil && value == nil, err
}

// Find is FindCtx without a context, for scs.
func (s *Store) Find(key string) (value []byte, found bool, err error) {
	return s.FindCtx(context.Background(), key)
}

// Commit is CommitCtx without a context, for scs.
func (s *Store) Commit(key string, value []byte, expiry time.Time) error {
	return s.CommitCtx(context.Background(), key, value, expiry)
}

// Delete is DeleteCtx without a context, for scs.
func (s *Store) Delete(key string) error { return s.DeleteCtx(context.Background(), key) }
