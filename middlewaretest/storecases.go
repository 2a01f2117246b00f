package middlewaretest

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"slices"
)

// storeParts lists the contract of gatehouse.Store, without storeWaits.
func storeParts() []part[*storeRun] {
	return []part[*storeRun]{
		{"absent", "a person who is not signed in has no record, and that is not an error", nil, absentCase},
		{"commit find delete", "a record is the value written last", nil, commitCase},
		{"without context", "the methods of scs.Store are the same store", nil, plainCase},
		{"swap creates", "a state or jti belongs to whoever creates it first", nil, createCase},
		{"swap replaces", "a slow request must not bring back what a logout has changed", nil, replaceCase},
		{"swap deletes", "a record that has changed must not be deleted unseen", nil, deleteCase},
		{"swap is repeated", "clients repeat a command when its reply was lost (false would end a good session)", nil, repeatCase},
		{"swap to itself", "a writer that has nothing to change must not be told that it lost", nil, itselfCase},
		{"expiry is clamped", "no lifetime that a setting allows may be refused or wrap round to the past", nil, clampCase},
		{"expiry in the past", "a record written too late must be gone, not immortal", nil, pastCase},
		{"bytes", "sealed values are any bytes", nil, bytesCase},
		{"size", "a record with large tokens has up to 60,000 bytes", nil, sizeCase},
		{"keys", "keys are base64url: case matters, and some begin with a dash", nil, keysCase},
		{"keys by case", "two people's keys may differ in the case of one letter", nil, caseCase},
		{"find many", "a cookie's record and its marks are identified by their places", nil, manyCase},
		{"find very many", "a list of sessions is read at once, with records of any size", nil, veryManyCase},
		{"many keys", "a busy service has thousands of sessions", nil, thousandsCase},
		{"own copies", "a caller may change its slices afterwards", nil, copiesCase},
		{"what was read stays", "a request compares the record as it read it, although others write meanwhile", nil, readCase},
		{"one creates", "only one of many replicas uses a state", nil, winnerCase},
		{"one replaces", "only one of many replicas holds the lease of a renewal", nil, replacerCase},
		{"one ends", "a reader that removes an ended record must not remove the one after it", nil, endCase},
		{"neighbours", "people who sign in at the same moment must not undo each other", nil, neighboursCase},
		{"never away", "a request that reads while another writes must not find its session gone", nil, awayCase},
		{"no lost update", "a writer that loses must know it, or a refresh token is overwritten by a used one", nil, counterCase},
		{"no lost update with lost replies", "a repeated command neither fails nor counts twice", nil, lossyCase},
		{"all at once", "all methods are called at the same time", nil, raceCase},
		{"cancelled context", "a request whose browser has left must not wait", nil, cancelledCase},
		{"the caller leaves", "a session outlives the request that began it", nil, leavingCase},
		{"deadline", "the reply to a call that was given up must never be taken for that of the next", nil, giveUpCase},
		{"hang", "a page answers 503 within a second when the store hangs, and the site is back when the store is", nil, hangCase},
		{"two processes", "replicas are processes", isShared, processCase},
		{"at once on all", "who has signed out at one replica must not be served by another", isShared, atOnceCase},
		{"a process dies", "a replica that is killed in the middle of a change must leave neither a lock nor half a value behind", isShared, deathCase},
	}
}

// storeWaits lists those parts that let values expire.
func storeWaits() []part[*storeRun] {
	return []part[*storeRun]{
		{"expiry", "a session ends, and its key is free again", nil, expiryCase},
		{"expiry in other zones", "replicas, their store and this test may have different time zones", nil, zoneCase},
		{"expiry is kept", "a session may last 400 days, and a mark as long: without it, a logout is undone", hasClock, longCase},
		{"expiry is replaced", "a tombstone lives a minute, not as long as the session it stands for", nil, newExpiryCase},
		{"one creates over what has expired", "only one of many replicas uses a place that is free again", nil, reviveCase},
	}
}

func absentCase(ctx context.Context, s *storeRun) error {
	key := s.key()
	return steps(
		func() error { return s.holds(ctx, key, nil) },
		func() error { return s.DeleteCtx(ctx, key) },
		func() error { return s.swap(ctx, key, []byte("old"), []byte("new"), false, nil) },
		func() error { return s.swap(ctx, key, nil, nil, true, nil) },
	)
}

func commitCase(ctx context.Context, s *storeRun) error {
	key := s.key()
	return steps(
		func() error { return s.CommitCtx(ctx, key, []byte("one"), s.later()) },
		func() error { return s.holds(ctx, key, []byte("one")) },
		func() error { return s.CommitCtx(ctx, key, []byte("two, which is longer"), s.later()) },
		func() error { return s.holds(ctx, key, []byte("two, which is longer")) },
		func() error { return s.DeleteCtx(ctx, key) },
		func() error { return s.holds(ctx, key, nil) },
		func() error { return s.swap(ctx, key, nil, []byte("three"), true, []byte("three")) },
	)
}

func plainCase(ctx context.Context, s *storeRun) error {
	key := s.key()
	return steps(
		func() error { return s.Commit(key, []byte("one"), s.later()) },
		func() error { return s.holds(ctx, key, []byte("one")) },
		func() error {
			if b, found, err := s.Find(key); err != nil || !found || string(b) != "one" {
				return fmt.Errorf("without a context Find returns %s (found: %v, error: %v)", brief(b), found, err)
			}
			return nil
		},
		func() error { return s.Delete(key) },
		func() error { return s.holds(ctx, key, nil) },
	)
}

func createCase(ctx context.Context, s *storeRun) error {
	key := s.key()
	return steps(
		func() error { return s.swap(ctx, key, nil, []byte("mine"), true, []byte("mine")) },
		func() error { return s.swap(ctx, key, nil, []byte("yours"), false, []byte("mine")) },
		func() error { return s.swap(ctx, key, []byte("mine"), []byte("theirs"), true, []byte("theirs")) },
		func() error { return s.swap(ctx, key, nil, []byte("mine"), false, []byte("theirs")) }, // it was once
	)
}

func replaceCase(ctx context.Context, s *storeRun) error {
	key := s.key()
	return steps(
		func() error { return s.CommitCtx(ctx, key, []byte("a"), s.later()) },
		func() error { return s.swap(ctx, key, []byte("x"), []byte("b"), false, []byte("a")) },
		func() error { return s.swap(ctx, key, []byte("a "), []byte("b"), false, []byte("a")) },
		func() error { return s.swap(ctx, key, []byte("A"), []byte("b"), false, []byte("a")) },
		func() error { return s.swap(ctx, key, []byte("a"), []byte("b"), true, []byte("b")) },
		func() error { return s.swap(ctx, key, []byte("a"), []byte("c"), false, []byte("b")) },
		func() error { return s.swap(ctx, key, []byte("b"), []byte("c"), true, []byte("c")) },
		func() error { return s.swap(ctx, key, []byte("a"), []byte("b"), false, []byte("c")) }, // it was once
	)
}

func deleteCase(ctx context.Context, s *storeRun) error {
	key := s.key()
	return steps(
		func() error { return s.CommitCtx(ctx, key, []byte("a"), s.later()) },
		func() error { return s.swap(ctx, key, []byte("x"), nil, false, []byte("a")) },
		func() error { return s.swap(ctx, key, []byte("a"), nil, true, nil) },
		func() error { return s.swap(ctx, key, nil, []byte("b"), true, []byte("b")) },
		func() error { return s.swap(ctx, key, []byte("a"), nil, false, []byte("b")) }, // it was once
	)
}

func repeatCase(ctx context.Context, s *storeRun) error {
	key := s.key()
	var all []func() error
	for _, step := range [][2][]byte{{nil, []byte("a")}, {[]byte("a"), []byte("b")}, {[]byte("b"), nil}} {
		for range 2 {
			all = append(all, func() error { return s.swap(ctx, key, step[0], step[1], true, step[1]) })
		}
	}
	all = append(all,
		func() error { return s.CommitCtx(ctx, key, []byte("c"), s.later()) },
		func() error { return s.swap(ctx, key, []byte("another"), []byte("c"), true, []byte("c")) },
	)
	return steps(all...)
}

func itselfCase(ctx context.Context, s *storeRun) error {
	key := s.key()
	return steps(
		func() error { return s.swap(ctx, key, nil, []byte("a"), true, []byte("a")) },
		func() error { return s.swap(ctx, key, []byte("a"), []byte("a"), true, []byte("a")) },
		func() error { return s.swap(ctx, key, []byte("b"), []byte("b"), false, []byte("a")) },
		func() error { return s.swap(ctx, key, []byte("a"), []byte("b"), true, []byte("b")) },
	)
}

func bytesCase(ctx context.Context, s *storeRun) error {
	every := make([]byte, 0, 256)
	for i := range 256 {
		every = append(every, byte(i))
	}
	var last []byte
	key := s.key()
	for _, value := range [][]byte{every, {}, {0}, {0, 0}, {0, 'a'}, {'a', 0}, []byte("\xff\xfe"), []byte(`'"\%_`), []byte("\r\n"), []byte("{}"), []byte(" a "), []byte("é"), []byte("e\u0301")} {
		if err := s.swap(ctx, key, last, value, true, value); err != nil {
			return err
		}
		if err := s.swap(ctx, key, nil, []byte("x"), false, value); err != nil {
			return err
		}
		if err := s.swap(ctx, key, append(bytes.Clone(value), 0), []byte("x"), false, value); err != nil {
			return fmt.Errorf("with an extra zero byte: %w", err)
		}
		if len(value) > 1 {
			if err := s.swap(ctx, key, value[:len(value)-1], []byte("x"), false, value); err != nil {
				return fmt.Errorf("without the last byte: %w", err)
			}
		}
		last = value
	}
	return nil
}

func sizeCase(ctx context.Context, s *storeRun) error {
	key := s.key()
	large := bytes.Repeat([]byte{0xff, 0, 'a'}, storeLimit/3)
	other := bytes.Clone(large)
	other[len(other)-1]++
	first, middle := bytes.Clone(large), bytes.Clone(large)
	first[0]++
	middle[len(middle)/2]++
	return steps(
		func() error { return s.swap(ctx, key, nil, large, true, large) },
		func() error { return s.swap(ctx, key, first, []byte("x"), false, large) },
		func() error { return s.swap(ctx, key, middle, []byte("x"), false, large) },
		func() error { return s.swap(ctx, key, other, []byte("x"), false, large) },
		func() error { return s.swap(ctx, key, large, other, true, other) },
		func() error { return s.CommitCtx(ctx, key, large, s.later()) },
		func() error { return s.holds(ctx, key, large) },
	)
}

func keysCase(ctx context.Context, s *storeRun) error {
	tail := s.key()[5:]
	keys := []string{"-----" + tail, "_____" + tail, "aaaaa" + tail, "AAAAA" + tail, "aAaAa" + tail, "00000" + tail}
	for _, key := range keys {
		if err := s.swap(ctx, key, nil, []byte("of "+key), true, []byte("of "+key)); err != nil {
			return fmt.Errorf("key %s: %w", key, err)
		}
	}
	for _, key := range keys {
		if err := s.holds(ctx, key, []byte("of "+key)); err != nil {
			return fmt.Errorf("key %s: %w", key, err)
		}
	}
	return nil
}

// caseCase uses two keys that differ in the case of one letter, at each place.
func caseCase(ctx context.Context, s *storeRun) error {
	for i := range len(s.key()) {
		key := []byte(s.key())
		key[i] = 'k'
		lower := string(key)
		key[i] = 'K'
		upper := string(key)
		if err := steps(
			func() error { return s.swap(ctx, lower, nil, []byte("lower"), true, []byte("lower")) },
			func() error { return s.swap(ctx, upper, nil, []byte("upper"), true, []byte("upper")) },
			func() error { return s.finds(ctx, []string{upper, lower}, [][]byte{[]byte("upper"), []byte("lower")}) },
			func() error { return s.DeleteCtx(ctx, upper) },
			func() error { return s.finds(ctx, []string{upper, lower}, [][]byte{nil, []byte("lower")}) },
		); err != nil {
			return fmt.Errorf("keys %s and %s: %w", lower, upper, err)
		}
	}
	return nil
}

// veryManyCase reads a thousand keys at once: absent ones, large ones, all of
// them twice.
func veryManyCase(ctx context.Context, s *storeRun) error {
	const n, large = 1000, 20
	keys, want := make([]string, n), make([][]byte, n)
	for i := range keys {
		keys[i] = s.key()
		switch {
		case i%(n/large) == 0:
			want[i] = bytes.Repeat([]byte{byte(i), 0xff}, storeLimit/2)
		case i%4 != 0:
			want[i] = []byte(keys[i])
		default:
			continue
		}
		if err := s.CommitCtx(ctx, keys[i], want[i], s.later()); err != nil {
			return err
		}
	}
	absent := []string{s.key(), s.key(), s.key()}
	return steps(
		func() error { return s.finds(ctx, append(keys, keys...), append(want, want...)) },
		func() error { return s.finds(ctx, absent, make([][]byte, len(absent))) },
		func() error {
			return s.finds(ctx, []string{keys[1], keys[1], keys[1]}, [][]byte{want[1], want[1], want[1]})
		},
		func() error { return s.finds(ctx, []string{}, nil) },
	)
}

func manyCase(ctx context.Context, s *storeRun) error {
	var keys []string
	var want [][]byte
	for i := range 100 { // a list of sessions
		key := s.key()
		var value []byte
		if i%3 != 1 {
			value = fmt.Appendf(nil, "value %d", i)
			if err := s.CommitCtx(ctx, key, value, s.later()); err != nil {
				return err
			}
		}
		keys, want = append(keys, key), append(want, value)
	}
	keys, want = append(keys, keys[0], keys[1], keys[0]), append(want, want[0], want[1], want[0])
	if err := s.finds(ctx, keys, want); err != nil {
		return err
	}
	for i, j := 0, len(keys)-1; i < j; i, j = i+1, j-1 {
		keys[i], keys[j], want[i], want[j] = keys[j], keys[i], want[j], want[i]
	}
	if err := s.finds(ctx, keys, want); err != nil {
		return fmt.Errorf("in reverse: %w", err)
	}
	return s.finds(ctx, nil, nil)
}

// finds checks FindManyCtx.
func (s *storeRun) finds(ctx context.Context, keys []string, want [][]byte) error {
	asked := slices.Clone(keys)
	got, err := s.FindManyCtx(ctx, keys)
	if err != nil {
		return fmt.Errorf("FindManyCtx: %w", err)
	}
	if !slices.Equal(keys, asked) {
		return errors.New("FindManyCtx writes to its arguments")
	}
	if len(got) != len(want) {
		return fmt.Errorf("FindManyCtx returns %d values for %d keys", len(got), len(keys))
	}
	for i := range want {
		if (got[i] == nil) != (want[i] == nil) || !bytes.Equal(got[i], want[i]) {
			return fmt.Errorf("FindManyCtx returns %s at place %d, want %s", brief(got[i]), i, brief(want[i]))
		}
	}
	return nil
}

func thousandsCase(ctx context.Context, s *storeRun) error {
	const n = 2000
	keys := make([]string, n)
	for i := range keys {
		keys[i] = s.key()
		if err := s.CommitCtx(ctx, keys[i], []byte(keys[i]), s.later()); err != nil {
			return err
		}
	}
	for i := 0; i < n; i += 2 {
		if err := s.DeleteCtx(ctx, keys[i]); err != nil {
			return err
		}
	}
	for i, key := range keys {
		b, found, err := s.FindCtx(ctx, key)
		if err != nil {
			return err
		}
		if found != (i%2 == 1) || found && string(b) != key {
			return fmt.Errorf("key %d of %d: found %v, %s", i, n, found, brief(b))
		}
	}
	return nil
}

func copiesCase(ctx context.Context, s *storeRun) error {
	key := s.key()
	committed, old, swapped := []byte("one"), []byte("one"), []byte("two")
	return steps(
		func() error { return s.CommitCtx(ctx, key, committed, s.later()) },
		func() error {
			if string(committed) != "one" {
				return errors.New("CommitCtx writes to its arguments")
			}
			spoil(committed)
			return s.holds(ctx, key, []byte("one"))
		},
		func() error { b, _, err := s.FindCtx(ctx, key); spoil(b); return err },
		func() error { return s.holds(ctx, key, []byte("one")) },
		func() error { many, err := s.FindManyCtx(ctx, []string{key}); spoil(first(many)); return err },
		func() error { return s.holds(ctx, key, []byte("one")) },
		func() error { return s.ownEach(ctx, key) },
		func() error { return s.swap(ctx, key, old, swapped, true, []byte("two")) },
		func() error {
			if string(old) != "one" || string(swapped) != "two" {
				return errors.New("SwapCtx writes to its arguments")
			}
			spoil(swapped)
			return s.holds(ctx, key, []byte("two"))
		},
	)
}

// ownEach changes one of several values that were read at once, and what lies
// behind its end.
func (s *storeRun) ownEach(ctx context.Context, key string) error {
	other := s.key()
	if err := s.CommitCtx(ctx, other, []byte("two"), s.later()); err != nil {
		return err
	}
	many, err := s.FindManyCtx(ctx, []string{key, other, key})
	if err != nil || len(many) != 3 {
		return fmt.Errorf("FindManyCtx returns %d values for 3 keys (error: %v)", len(many), err)
	}
	spoil(append(many[0], "a long tail"...))
	spoil(many[0])
	if string(many[1]) != "two" || string(many[2]) != "one" {
		return fmt.Errorf("after a change of the first value the others are %s and %s, they were %q and %q", brief(many[1]), brief(many[2]), "two", "one")
	}
	return nil
}

func readCase(ctx context.Context, s *storeRun) error {
	key := s.key()
	var read []byte
	var many [][]byte
	return steps(
		func() error { return s.swap(ctx, key, nil, []byte("one"), true, []byte("one")) },
		func() (err error) { read, _, err = s.FindCtx(ctx, key); return err },
		func() (err error) { many, err = s.FindManyCtx(ctx, []string{key, key}); return err },
		func() error { return s.swap(ctx, key, []byte("one"), []byte("two"), true, []byte("two")) },
		func() error {
			for _, b := range append(many, read) {
				if string(b) != "one" {
					return fmt.Errorf("what was read is %s after a swap, it was %q", brief(b), "one")
				}
			}
			return nil
		},
	)
}
