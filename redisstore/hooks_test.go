package redisstore_test

import (
	"context"
	"strings"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"

	"example.com/gatehouse/internal/testkit/backing"
	"example.com/gatehouse/redisstore"
)

// tenant is a hook as applications have them: it puts a name before each key.
type tenant struct{ redis.Hook }

const tenantPrefix = "tenant:"

func (tenant) DialHook(next redis.DialHook) redis.DialHook { return next }

func (tenant) ProcessHook(next redis.ProcessHook) redis.ProcessHook {
	return func(ctx context.Context, cmd redis.Cmder) error { prefixKeys(cmd); return next(ctx, cmd) }
}

func (tenant) ProcessPipelineHook(next redis.ProcessPipelineHook) redis.ProcessPipelineHook {
	return func(ctx context.Context, cmds []redis.Cmder) error {
		for _, cmd := range cmds {
			prefixKeys(cmd)
		}
		return next(ctx, cmds)
	}
}

// prefixKeys knows the commands of the store. A command comes here again if it is
// repeated.
func prefixKeys(cmd redis.Cmder) {
	args, keys := cmd.Args(), []any(nil)
	switch cmd.Name() {
	case "get", "set", "del":
		keys = args[1:2]
	case "mget":
		keys = args[1:]
	case "eval", "evalsha":
		keys = args[3:4]
	}
	for i := range keys {
		if key := keys[i].(string); !strings.HasPrefix(key, tenantPrefix) {
			keys[i] = tenantPrefix + key
		}
	}
}

// TestHooks: a hook of the client finds the keys as it finds those of all others.
func TestHooks(t *testing.T) {
	r, p := startOne(t, backing.RedisConfig{})
	client, err := p.client()
	if err != nil {
		t.Fatal(err)
	}
	defer client.Close()
	client.AddHook(tenant{})
	store, err := redisstore.New(client, p.config())
	if err != nil {
		t.Fatal(err)
	}
	at := &site{Store: store, key: keyOf(t, 0)}
	lay(t, store, at.key)
	at.mustWork(t)
	if err := store.CommitCtx(t.Context(), at.key, []byte("there"), time.Now().Add(time.Hour)); err != nil {
		t.Fatal(err)
	}
	for range 3 { // by GET, and then by MGET
		values, err := store.FindManyCtx(t.Context(), []string{at.key, keyOf(t, 1)})
		if err != nil || string(values[0]) != "there" || values[1] != nil {
			t.Errorf("%q, %v", values, err)
		}
	}
	names, err := r.Do(t.Context(), "KEYS", "*")
	if err != nil {
		t.Fatal(err)
	}
	for _, name := range names.([]any) {
		if !strings.HasPrefix(name.(string), tenantPrefix) {
			t.Errorf("the hook has not seen the key %q", name)
		}
	}
}
