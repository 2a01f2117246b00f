package redisstore_test

import (
	"crypto/rand"
	"testing"

	"example.com/gatehouse"
	"example.com/gatehouse/internal/e2e/stories"
	"example.com/gatehouse/internal/testkit/backing"
	"example.com/gatehouse/redisstore"
)

// TestStories runs the stories of sessions over two replicas, each with a
// client of its own.
func TestStories(t *testing.T) {
	t.Parallel()
	_, p := startOne(t, backing.RedisConfig{})
	stories.Run(t, p.storyOf)
}

// storyOf is a prefix of its own for one story.
func (p place) storyOf(t testing.TB) (connect func() gatehouse.Store) {
	prefix := rand.Text() + ":"
	return func() gatehouse.Store {
		store, _ := p.openWith(t, redisstore.Config{Prefix: prefix})
		return store
	}
}
