package sqlitestore

import (
	"bytes"
	"context"
	"strings"
	"time"
)

// longest is how far in the future an expiry counts. A later one would overflow.
const longest = 100 * 365 * 24 * time.Hour

// at is an expiry in microseconds since 1970. One in the past is absent at once,
// however long past it is.
func (s *Store) at(expiry time.Time) int64 {
	now := s.now()
	return now.Add(min(max(expiry.Sub(now), -time.Second), longest)).UnixMicro()
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
// none, in one statement. Up to 32,000 keys
// can be asked for at once.
func (s *Store) FindManyCtx(ctx context.Context, keys []string) ([][]byte, error) {
	values := make([][]byte, len(keys))
	if len(keys) == 0 {
		return values, ctx.Err()
	}
	args := make([]any, len(keys))
	for i, key := range keys {
		args[i] = key
	}
	found, err := s.read(ctx, s.sql.find+strings.Repeat("?, ", len(keys)-1)+"?)", args...)
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
	value, at := bytes.Clone(value), s.at(expiry)
	_, err := s.change(ctx, func(now int64) (string, []any) { return s.sql.commit, []any{now, key, at, value} })
	return err
}

// DeleteCtx removes a value. It is not an error if there is none.
func (s *Store) DeleteCtx(ctx context.Context, key string) error {
	_, err := s.change(ctx, func(now int64) (string, []any) { return s.sql.delete, []any{now, key} })
	return err
}

// SwapCtx replaces old with new in one step if exactly old is stored. A nil old
// means that nothing may be stored; a nil new deletes. It reports whether new is
// stored now, also if it was before.
func (s *Store) SwapCtx(ctx context.Context, key string, old, new []byte, expiry time.Time) (swapped bool, err error) {
	old, new = bytes.Clone(old), bytes.Clone(new)
	at := s.at(expiry)
	var changed int64
	switch {
	case old == nil && new == nil:
		return s.isAbsent(ctx, s.sql.exists, key)
	case old == nil:
		changed, err = s.change(ctx, func(now int64) (string, []any) { return s.sql.create, []any{now, key, at, new} })
	case new == nil:
		return s.deleteOld(ctx, s.sql.deleteOld, s.sql.exists, key, old)
	default:
		changed, err = s.change(ctx, func(now int64) (string, []any) { return s.sql.replace, []any{now, key, old, new, at} })
	}
	return changed == 1 && err == nil, err
}

// deleteOld deletes a row with one statement. If that changes nothing, there may
// be another value, or none. Then a second statement looks: if there is none,
// it is as the caller wants it.
func (s *Store) deleteOld(ctx context.Context, text, exists string, place any, old []byte) (deleted bool, err error) {
	changed, err := s.change(ctx, func(now int64) (string, []any) { return text, []any{now, place, old} })
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
