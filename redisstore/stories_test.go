package redisstore_test

import (
	"context"
	"crypto/rand"
	"testing"

	"example.com/gatehouse"
	"example.com/gatehouse/internal/e2e/stories"
	"example.com/gatehouse/internal/testkit/backing"
	"example.com/gatehouse/redisstore"
)

// The tests of this file run alone: pages have 0.9 s for a call to the store, and the
// contracts keep every processor busy.

// TestStories runs the stories of sessions over two replicas, each with a
// client of its own.
func TestStories(t *testing.T) {
	_, p := startOne(t, backing.RedisConfig{})
	stories.Run(t, p.storyOf)
}

// TestOutages: whatever Redis is in trouble with, nobody is signed out, and
// everybody is served again as soon as it works.
func TestOutages(t *testing.T) {
	// One of the outages is SIGKILL, which loses what is not on the disk yet.
	r, p := startOne(t, backing.RedisConfig{Settings: []string{"appendfsync always", "enable-debug-command yes"}})
	do := func(t testing.TB, args ...string) {
		t.Helper()
		if _, err := r.Do(context.Background(), args...); err != nil {
			t.Fatal(err)
		}
	}
	stories.Outages(t, p.storyOf,
		stories.Outage{Name: "hang", Begin: func(testing.TB) func() { r.Pause(); return r.Resume }},
		stories.Outage{Name: "down", Begin: func(t testing.TB) func() { r.Stop(); return func() { restart(t, r) } }},
		stories.Outage{Name: "killed", Begin: func(t testing.TB) func() { r.Kill(); return func() { restart(t, r) } }},
		stories.Outage{Name: "READONLY", ReadsWork: true, Begin: func(t testing.TB) func() {
			do(t, "REPLICAOF", "127.0.0.1", "1")
			return func() { do(t, "REPLICAOF", "NO", "ONE") }
		}},
		stories.Outage{Name: "OOM", ReadsWork: true, Begin: func(t testing.TB) func() {
			do(t, "CONFIG", "SET", "maxmemory-policy", "noeviction")
			do(t, "CONFIG", "SET", "maxmemory", "1")
			return func() { do(t, "CONFIG", "SET", "maxmemory", "0") }
		}},
		stories.Outage{Name: "WRONGTYPE", SignInsWork: true, Begin: func(t testing.TB) func() { return lists(t, r, do) }},
		stories.Outage{Name: "LOADING", Begin: func(t testing.TB) func() {
			at := &site{server: r}
			if err := loads(context.Background(), at, 10_000); err != nil {
				t.Fatal(err)
			}
			return func() {
				do(t, "CONFIG", "SET", "key-load-delay", "0")
				if err := loaded(context.Background(), at); err != nil {
					t.Fatal(err)
				}
			}
		}},
	)
}

// lists puts a list in the place of every value, and the values back at the
// end, with the time that they have left.
func lists(t testing.TB, r *backing.Redis, do func(t testing.TB, args ...string)) (end func()) {
	const aside = "aside:"
	names, err := (&site{server: r}).names(context.Background())
	if err != nil || len(names) == 0 {
		t.Fatalf("redis has the keys %q, %v", names, err)
	}
	for _, name := range names {
		do(t, "RENAME", name, aside+name)
		do(t, "RPUSH", name, "x")
	}
	return func() {
		for _, name := range names {
			do(t, "RENAME", aside+name, name)
		}
	}
}

// TestFA8_Restart restarts Redis under traffic.
func TestFA8_Restart(t *testing.T) {
	r, p := startOne(t, backing.RedisConfig{})
	stories.FA8Restart(t, p.storyOf, func(t testing.TB) {
		r.Stop()
		restart(t, r)
	})
}

func restart(t testing.TB, r *backing.Redis) {
	t.Helper()
	if err := r.Restart(context.Background()); err != nil {
		t.Fatal(err)
	}
}

// storyOf is a prefix of its own for one story.
func (p place) storyOf(t testing.TB) (connect func() gatehouse.Store) {
	prefix := rand.Text() + ":"
	return func() gatehouse.Store {
		store, _ := p.openWith(t, redisstore.Config{Prefix: prefix})
		return store
	}
}
