package redisstore

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"time"
	"unsafe"

	"github.com/redis/go-redis/v9"

	"example.com/gatehouse"
)

// Store keeps values in Redis. It is a [gatehouse.Store], a
// [gatehouse.ResourceIDs], a [gatehouse.GrantStore] and a
// [gatehouse.RegistrationStore], and safe for concurrent use by any number of
// processes. It starts no goroutine.
//
// Every call ends at the deadline of its context or after [Config].Timeout,
// whichever is first. A context that is canceled ends a call that waits for a
// connection, but not one that waits for an answer. An error means that the
// outcome is unknown. An answer of Redis that is not a value, such as WRONGTYPE,
// is an error and never "absent".
type Store struct {
	client redis.UniversalClient
	config Config

	// One of these is the client again.
	single  single
	cluster cluster
	ring    ring

	kinds *kinds // of keys on one server
	hang  hang
}

var (
	_ gatehouse.Store       = (*Store)(nil)
	_ gatehouse.ResourceIDs = (*Store)(nil)
	_ gatehouse.GrantStore  = (*Store)(nil)

	_ gatehouse.RegistrationStore = (*Store)(nil)
)

// within bounds a call. The caller calls the function in any case.
func (s *Store) within(ctx context.Context) (context.Context, context.CancelFunc) {
	// Most callers have a deadline that is early enough, and a second one costs.
	if end, ok := ctx.Deadline(); ok && time.Until(end) <= s.config.Timeout {
		return ctx, func() {}
	}
	return context.WithTimeout(ctx, s.config.Timeout)
}

// call makes a call of that name, bounded, and not while the one server hangs.
// Of several nodes the others work, and a call does not know which it needs.
func (s *Store) call(ctx context.Context, name string, f func(context.Context) error) error {
	if s.single != nil && !s.hang.passes() {
		return failed(name, errHangs)
	}
	ctx, cancel := s.within(ctx)
	defer cancel()
	err := f(ctx)
	if s.single != nil {
		s.hang.note(err)
	}
	if err != nil {
		s.look(ctx, err)
		return failed(name, err)
	}
	return nil
}

// look lets a Cluster's client ask who has which keys, if that may have changed. Of
// its own accord it asks once a minute, and goes on with a node that is gone until
// then. It asks in the background, and not more than a few times a second.
func (s *Store) look(ctx context.Context, err error) {
	if s.cluster != nil && passes(err) && !errors.Is(err, context.Canceled) {
		s.cluster.ReloadState(ctx)
	}
}

// failed says which call an error belongs to.
func failed(call string, err error) error { return fmt.Errorf("redisstore: %s: %w", call, err) }

// FindCtx returns the value under key.
func (s *Store) FindCtx(ctx context.Context, key string) (value []byte, found bool, err error) {
	value, err = s.get(ctx, "find", s.config.Prefix+key)
	return value, value != nil, err
}

// get returns the value under a name in Redis, or nil if there is none.
func (s *Store) get(ctx context.Context, call, name string) (value []byte, err error) {
	err = s.call(ctx, call, func(ctx context.Context) error {
		value, err = valueOf(s.client.Get(ctx, name))
		return err
	})
	return value, err
}

// valueOf returns the value that GET brought, or nil if there is none.
func valueOf(get *redis.StringCmd) ([]byte, error) {
	value, err := get.Bytes()
	switch {
	case errors.Is(err, redis.Nil):
		return nil, nil
	case err != nil:
		return nil, err
	case value == nil:
		return []byte{}, nil // there, and empty
	}
	return value, nil
}

// FindManyCtx returns the values under keys in the same order, nil where there
// is none, in one round trip. On one server it is one MGET if the keys were read
// a moment ago, else a GET for each key. On Cluster and on a ring it is a GET for
// each key, sent to all nodes at the same time.
func (s *Store) FindManyCtx(ctx context.Context, keys []string) (values [][]byte, err error) {
	if len(keys) == 0 {
		return nil, nil
	}
	values = make([][]byte, len(keys))
	err = s.call(ctx, "find", func(ctx context.Context) error { return s.getAll(ctx, keys, values) })
	if err != nil {
		return nil, err
	}
	return values, nil
}

// getAll reads the values of keys.
func (s *Store) getAll(ctx context.Context, keys []string, values [][]byte) error {
	if s.single != nil {
		if absent, fresh := s.kinds.fresh(keys); fresh {
			if certain, err := s.getTogether(ctx, keys, values, absent); certain || err != nil {
				return err
			}
		}
	}
	return s.getEach(ctx, keys, values)
}

// getTogether reads all values with one MGET. Those in the bits of absent were
// absent a moment ago. It is not certain of one that is gone since: it may have
// another type now.
func (s *Store) getTogether(ctx context.Context, keys []string, values [][]byte, absent uint64) (certain bool, err error) {
	args, names := make([]any, 1, 1+len(keys)), s.names(keys)
	args[0] = "mget"
	for _, name := range names { // as texts: hooks of the client look for them
		args = append(args, name)
	}
	get := redis.NewSliceCmd(ctx, args...)
	if err := s.client.Process(ctx, get); err != nil {
		return false, err
	}
	got := get.Val()
	if len(got) != len(keys) {
		return false, fmt.Errorf("%d values came for %d keys", len(got), len(keys))
	}
	for i, value := range got {
		wasAbsent := absent>>i&1 == 1
		switch text, ok := value.(string); {
		case ok:
			values[i] = bytesOf(text)
			if wasAbsent {
				s.kinds.note(keys[i], false)
			}
		case value != nil || !wasAbsent:
			return false, nil
		}
	}
	return true, nil
}

// names returns the names of keys in Redis. They are parts of one text.
func (s *Store) names(keys []string) []string {
	size := 0
	for _, key := range keys {
		size += len(s.config.Prefix) + len(key)
	}
	var all strings.Builder
	all.Grow(size)
	for _, key := range keys {
		all.WriteString(s.config.Prefix)
		all.WriteString(key)
	}
	names, rest := make([]string, len(keys)), all.String()
	for i, key := range keys {
		n := len(s.config.Prefix) + len(key)
		names[i], rest = rest[:n], rest[n:]
	}
	return names
}

// bytesOf returns a text that nobody else has as bytes, without a copy. It is
// what the client has read from the line.
func bytesOf(text string) []byte {
	if text == "" {
		return []byte{} // there, and empty
	}
	return unsafe.Slice(unsafe.StringData(text), len(text))
}

// getEach reads each value with a command of its own.
func (s *Store) getEach(ctx context.Context, keys []string, values [][]byte) error {
	pipe := s.client.Pipeline()
	gets := make([]*redis.StringCmd, len(keys))
	for i, name := range s.names(keys) {
		gets[i] = pipe.Get(ctx, name)
	}
	// Each command has its own error. The one of Exec is the first of them, and
	// may only mean that a key is absent.
	_, failure := pipe.Exec(ctx)
	for i, get := range gets {
		value, err := valueOf(get)
		if err != nil {
			return err
		}
		values[i] = value
	}
	if failure != nil && !errors.Is(failure, redis.Nil) {
		return failure
	}
	if s.single != nil {
		for i, key := range keys {
			s.kinds.note(key, values[i] == nil)
		}
	}
	return nil
}

// CommitCtx stores value under key until expiry, whatever is there.
func (s *Store) CommitCtx(ctx context.Context, key string, value []byte, expiry time.Time) error {
	if value == nil {
		value = []byte{}
	}
	return s.put(ctx, "commit", key, value, expiry)
}

// DeleteCtx deletes the value under key. It is not an error if there is none.
func (s *Store) DeleteCtx(ctx context.Context, key string) error {
	return s.put(ctx, "delete", key, nil, time.Time{})
}

// put stores a value whatever is there; nil deletes.
func (s *Store) put(ctx context.Context, call, key string, value []byte, expiry time.Time) error {
	name, life := s.config.Prefix+key, s.life(expiry)
	return s.call(ctx, call, func(ctx context.Context) error {
		switch {
		case s.config.WaitReplicas > 0:
			_, err := s.change(ctx, name, change{value: value, life: life, anyway: true})
			return err
		case value == nil || life == 0:
			return s.client.Del(ctx, name).Err()
		}
		return s.client.Set(ctx, name, value, time.Duration(life)*time.Millisecond).Err()
	})
}

// SwapCtx replaces old with value in one step if exactly old is there. A nil
// old means that nothing may be there; a nil value deletes. It reports whether
// value is there now, also if it was before.
func (s *Store) SwapCtx(ctx context.Context, key string, old, value []byte, expiry time.Time) (swapped bool, err error) {
	return s.swap(ctx, "swap", s.config.Prefix+key, change{old: old, value: value, life: s.life(expiry)})
}

// swap makes a change as a call of that name.
func (s *Store) swap(ctx context.Context, call, name string, c change) (swapped bool, err error) {
	err = s.call(ctx, call, func(ctx context.Context) error {
		swapped, err = s.change(ctx, name, c)
		return err
	})
	return swapped && err == nil, err
}

// Find is FindCtx without a context.
func (s *Store) Find(key string) (value []byte, found bool, err error) {
	return s.FindCtx(context.Background(), key)
}

// Commit is CommitCtx without a context.
func (s *Store) Commit(key string, value []byte, expiry time.Time) error {
	return s.CommitCtx(context.Background(), key, value, expiry)
}

// Delete is DeleteCtx without a context.
func (s *Store) Delete(key string) error { return s.DeleteCtx(context.Background(), key) }

// longest is the longest life of a value. Redis refuses lives that end after
// some 292 million years, and Go counts only 292 years.
const longest = 100 * 365 * 24 * time.Hour

// life returns for how many milliseconds Redis has to keep a value, and 0 if
// its time is over. A part of a millisecond counts as one.
func (s *Store) life(expiry time.Time) int64 {
	left := min(expiry.Sub(s.config.Now()), longest)
	if left <= 0 {
		return 0
	}
	return int64((left + time.Millisecond - 1) / time.Millisecond)
}
