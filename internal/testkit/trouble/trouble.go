// Package trouble makes every call of a store at once while what the store needs
// is in trouble. A call may fail. It may never say that what is kept is absent. How
// long it may take is judged too, in the modules of the stores, which have real
// servers.
package trouble

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"strings"
	"sync"
	"testing"
	"time"
)

// There is what Fill keeps, under the key "kept" and elsewhere.
const There = "a session"

// Store is all that a store of this project keeps.
type Store interface {
	Find(key string) (value []byte, found bool, err error)
	FindCtx(ctx context.Context, key string) (value []byte, found bool, err error)
	FindManyCtx(ctx context.Context, keys []string) (values [][]byte, err error)
	CommitCtx(ctx context.Context, key string, value []byte, expiry time.Time) error
	DeleteCtx(ctx context.Context, key string) error
	SwapCtx(ctx context.Context, key string, old, new []byte, expiry time.Time) (swapped bool, err error)
	Grant(ctx context.Context, issuer, owner string) ([]byte, error)
	SwapGrant(ctx context.Context, issuer, owner string, old, new []byte) (swapped bool, err error)
	Registration(ctx context.Context, name string) ([]byte, error)
	SwapRegistration(ctx context.Context, name string, old, new []byte) (swapped bool, err error)
	ID(ctx context.Context, issuer, owner, name string) (string, error)
	PutIfAbsent(ctx context.Context, issuer, owner, name, id string) (winner string, err error)
	Drop(ctx context.Context, issuer, owner, name, id string) error
}

// Call is a method with its arguments. None returns an error because of what it
// finds, unless that is wrong.
type Call struct {
	Name   string
	Writes bool
	Bound  bool // to a context
	Do     func(context.Context, Store) error
}

// errLost is the one thing that may never happen.
var errLost = errors.New("what is kept is lost")

// lost returns the error of a call that found something that it should not have.
func lost(err error, good bool, found any) error {
	if err == nil && !good {
		return fmt.Errorf("%w: found %v", errLost, found)
	}
	return err
}

// Calls are all methods. Those that read find what Fill keeps.
func Calls() []Call {
	later := func() time.Time { return time.Now().Add(time.Hour) }
	reads := func(name string, do func(context.Context, Store) error) Call { return Call{name, false, true, do} }
	writes := func(name string, do func(context.Context, Store) error) Call { return Call{name, true, true, do} }
	swap := func(key string, old, new []byte) func(context.Context, Store) error {
		return func(ctx context.Context, s Store) error {
			_, err := s.SwapCtx(ctx, key, old, new, later())
			return err
		}
	}
	return []Call{
		reads("FindCtx", func(ctx context.Context, s Store) error {
			value, found, err := s.FindCtx(ctx, "kept")
			return lost(err, found && string(value) == There, value)
		}),
		reads("FindManyCtx", func(ctx context.Context, s Store) error {
			values, err := s.FindManyCtx(ctx, []string{"none", "kept"})
			return lost(err, len(values) == 2 && values[0] == nil && string(values[1]) == There, values)
		}),
		{"Find", false, false, func(_ context.Context, s Store) error {
			value, found, err := s.Find("kept")
			return lost(err, found && string(value) == There, value)
		}},
		writes("CommitCtx", func(ctx context.Context, s Store) error {
			return s.CommitCtx(ctx, "other", bytes.Repeat([]byte("x"), 20_000), later())
		}),
		writes("DeleteCtx", func(ctx context.Context, s Store) error { return s.DeleteCtx(ctx, "another") }),
		writes("SwapCtx to create", swap("created", nil, []byte("x"))),
		writes("SwapCtx to replace", swap("replaced", []byte("x"), []byte("y"))),
		writes("SwapCtx to delete", swap("deleted", []byte("x"), nil)),
		reads("SwapCtx of nothing", func(ctx context.Context, s Store) error {
			absent, err := s.SwapCtx(ctx, "kept", nil, nil, time.Time{})
			return lost(err, !absent, "nothing")
		}),
		reads("Grant", func(ctx context.Context, s Store) error {
			value, err := s.Grant(ctx, "as", "ana")
			return lost(err, string(value) == There, value)
		}),
		writes("SwapGrant", func(ctx context.Context, s Store) error {
			_, err := s.SwapGrant(ctx, "as", "bob", nil, []byte("x"))
			return err
		}),
		reads("Registration", func(ctx context.Context, s Store) error {
			value, err := s.Registration(ctx, "notes")
			return lost(err, string(value) == There, value)
		}),
		writes("SwapRegistration", func(ctx context.Context, s Store) error {
			_, err := s.SwapRegistration(ctx, "shop", nil, []byte("x"))
			return err
		}),
		reads("ID", func(ctx context.Context, s Store) error {
			id, err := s.ID(ctx, "as", "ana", "album")
			return lost(err, id == There, id)
		}),
		writes("PutIfAbsent", func(ctx context.Context, s Store) error {
			_, err := s.PutIfAbsent(ctx, "as", "bob", "album", "1")
			return err
		}),
		writes("Drop", func(ctx context.Context, s Store) error { return s.Drop(ctx, "as", "bob", "book", "1") }),
	}
}

// Fill keeps what Calls reads.
func Fill(t testing.TB, s Store) {
	t.Helper()
	fill := func() error {
		_, grantErr := s.SwapGrant(t.Context(), "as", "ana", nil, []byte(There))
		_, clientErr := s.SwapRegistration(t.Context(), "notes", nil, []byte(There))
		_, idErr := s.PutIfAbsent(t.Context(), "as", "ana", "album", There)
		err := s.CommitCtx(t.Context(), "kept", []byte(There), time.Now().Add(time.Hour))
		return errors.Join(err, grantErr, clientErr, idErr)
	}
	begin, err := time.Now(), fill()
	for err != nil && time.Since(begin) < patience { // nothing is wrong yet but a busy machine
		err = fill()
	}
	if err != nil {
		t.Fatal(err)
	}
}

// Outcome makes all calls at once, and returns what each returned.
func Outcome(t testing.TB, s Store) map[string]error {
	t.Helper()
	var mu sync.Mutex
	var wg sync.WaitGroup
	out := map[string]error{}
	for _, c := range Calls() {
		wg.Go(func() {
			err := c.Do(context.Background(), s)
			mu.Lock()
			defer mu.Unlock()
			if out[c.Name] = err; errors.Is(err, errLost) {
				t.Errorf("%s: %v", c.Name, err)
			}
		})
	}
	wg.Wait()
	return out
}

// Failed expects an error of every call, or only of those that write. Each says a
// word, which may be empty.
func Failed(t testing.TB, outcome map[string]error, readsToo bool, word string) {
	t.Helper()
	for _, c := range Calls() {
		err := outcome[c.Name]
		if want := readsToo || c.Writes; (err != nil) != want || err != nil && !strings.Contains(err.Error(), word) {
			t.Errorf("%s returns %v; an error with %q: %v", c.Name, err, word, want)
		}
	}
}

// Errors returns the errors of an outcome as one, or nil.
func Errors(outcome map[string]error) error {
	var all []error
	for name, err := range outcome {
		if err != nil {
			all = append(all, fmt.Errorf("%s: %w", name, err))
		}
	}
	return errors.Join(all...)
}
