package redisstore_test

import (
	"context"
	"crypto/sha256"
	"encoding/base64"
	"fmt"
	"testing"
	"time"

	"example.com/gatehouse/redisstore"
)

// keyOf returns a key of the test like those of gatehouse.
func keyOf(t testing.TB, i int) string {
	sum := sha256.Sum256(fmt.Appendf(nil, "%s %d", t.Name(), i))
	return base64.RawURLEncoding.EncodeToString(sum[:])
}

// holds checks the value under a key in both ways of reading; "" means none.
func holds(ctx context.Context, store *redisstore.Store, key, want string) error {
	got, found, err := store.FindCtx(ctx, key)
	if err != nil {
		return err
	}
	many, err := store.FindManyCtx(ctx, []string{key})
	if err != nil {
		return err
	}
	if string(got) != want || found != (want != "") || string(many[0]) != want || (many[0] != nil) != (want != "") {
		return fmt.Errorf("found %v %.20q, and %.20q among many, want %.20q", found, got, many[0], want)
	}
	return nil
}

// eventually repeats f until it succeeds. Within d it has to.
func eventually(t testing.TB, d time.Duration, f func() error) {
	t.Helper()
	if took, err := until(d, f); err != nil {
		t.Fatalf("after %v: %v", took, err)
	}
}

// until repeats f until it succeeds or d is over, and returns how long that
// took.
func until(d time.Duration, f func() error) (took time.Duration, err error) {
	begin := time.Now()
	for {
		err := f()
		took = time.Since(begin)
		if err == nil || took > d {
			return took, err
		}
		time.Sleep(5 * time.Millisecond)
	}
}
