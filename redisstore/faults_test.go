package redisstore_test

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"

	"example.com/gatehouse/internal/testkit/backing"
	"example.com/gatehouse/redisstore"
)

const (
	// callTime is what the core gives a call to a store, and a little.
	callTime = 900 * time.Millisecond
	// answerTime is when a page has to be answered at the latest.
	answerTime = 1500 * time.Millisecond
	// recovery is how long a store may stay in trouble when Redis is back.
	recovery = time.Second
	// attempts is how often a fault or a call is repeated when it took longer. A
	// busy machine makes a good store late now and then; a bad one is late each
	// time.
	attempts = 4
)

// site is a store with a session under a key, an id and a grant.
type site struct {
	*redisstore.Store
	key    string
	server *backing.Redis
}

// reads are the calls that must say what is there.
func (s *site) reads() map[string]func(context.Context) error {
	is := func(got []byte, err error) error {
		if err == nil && string(got) != "old" {
			return fmt.Errorf("%w: %q", errWrong, got)
		}
		return err
	}
	return map[string]func(context.Context) error{
		"FindCtx": func(ctx context.Context) error {
			value, _, err := s.FindCtx(ctx, s.key)
			return is(value, err)
		},
		"FindManyCtx": func(ctx context.Context) error {
			values, err := s.FindManyCtx(ctx, []string{s.key, s.key})
			return is(append([][]byte{nil, nil}, values...)[len(values)+1], err)
		},
		"ID": func(ctx context.Context) error {
			id, err := s.ID(ctx, "issuer", "", s.key)
			return is([]byte(id), err)
		},
		"Grant": func(ctx context.Context) error { return is(s.Grant(ctx, "issuer", s.key)) },
	}
}

// errWrong is an answer that is not what is there.
var errWrong = errors.New("a wrong answer")

// writes are the calls that write. Each may do so more than once, and leaves
// what reads expects.
func (s *site) writes() map[string]func(context.Context) error {
	later := time.Now().Add(time.Hour)
	done := func(ok bool, err error) error {
		if err == nil && !ok {
			return fmt.Errorf("%w: not swapped", errWrong)
		}
		return err
	}
	return map[string]func(context.Context) error{
		"CommitCtx": func(ctx context.Context) error { return s.CommitCtx(ctx, s.key, []byte("old"), later) },
		"SwapCtx": func(ctx context.Context) error {
			return done(s.SwapCtx(ctx, s.key, []byte("old"), []byte("old"), later))
		},
		"SwapGrant": func(ctx context.Context) error {
			return done(s.SwapGrant(ctx, "issuer", s.key, []byte("old"), []byte("old")))
		},
		"PutIfAbsent": func(ctx context.Context) error {
			_, err := s.PutIfAbsent(ctx, "issuer", "", s.key+" "+fmt.Sprint(time.Now().UnixNano()), "id")
			return err
		},
	}
}

// deletes are the calls that delete, of something else.
func (s *site) deletes() map[string]func(context.Context) error {
	return map[string]func(context.Context) error{
		"DeleteCtx": func(ctx context.Context) error { return s.DeleteCtx(ctx, s.key+"x") },
		"Drop":      func(ctx context.Context) error { return s.Drop(ctx, "issuer", "", s.key, "another") },
	}
}

// fault is one way in which Redis fails.
type fault struct {
	name string
	// begin makes it fail, and mend ends that.
	begin, mend func(ctx context.Context, s *site) error
	// reads, writes and deletes are what the errors of the calls must have;
	// "" means that they work.
	reads, writes, deletes string
	// either says that some of the calls that fail may work.
	either bool
}

// anyError is in the text of every error.
const anyError = ":"

func faults(dir string) []fault {
	return []fault{
		{name: "READONLY", begin: command("REPLICAOF", "127.0.0.1", "1"), mend: command("REPLICAOF", "NO", "ONE"), writes: "READONLY", deletes: "READONLY", either: true},
		{name: "OOM", begin: command("CONFIG", "SET", "maxmemory", "1"), mend: command("CONFIG", "SET", "maxmemory", "0"), writes: "OOM"},
		{name: "MISCONF", begin: cannotSave(dir), mend: canSave(dir), writes: "MISCONF", deletes: "MISCONF", either: true},
		{name: "WRONGTYPE", begin: wrongTypes, mend: rightTypes, reads: "WRONGTYPE", writes: "WRONGTYPE", deletes: "WRONGTYPE", either: true},
		{name: "NOPERM", begin: command("ACL", "SETUSER", "default", "-get", "-mget", "-set", "-del", "-eval", "-evalsha"), mend: command("ACL", "SETUSER", "default", "+@all"), reads: "NOPERM", writes: "NOPERM", deletes: "NOPERM"},
		{name: "NOAUTH", begin: newPassword, mend: oldPassword, reads: "NOAUTH", writes: "NOAUTH", deletes: "NOAUTH"},
		{name: "no more clients", begin: noMoreClients, mend: func(ctx context.Context, s *site) error { return s.server.Restart(ctx) }, reads: anyError, writes: anyError, deletes: anyError},
		{name: "LOADING", begin: func(ctx context.Context, s *site) error { return loads(ctx, s, 3000) }, mend: loaded, reads: "LOADING", writes: "LOADING", deletes: "LOADING"},
		{name: "a hang", begin: func(_ context.Context, s *site) error { s.server.Pause(); return nil }, mend: func(_ context.Context, s *site) error { s.server.Resume(); return nil }, reads: anyError, writes: anyError, deletes: anyError},
		{name: "gone", begin: func(_ context.Context, s *site) error { s.server.Kill(); return nil }, mend: func(ctx context.Context, s *site) error { return s.server.Restart(ctx) }, reads: anyError, writes: anyError, deletes: anyError},
		{name: "started again meanwhile", begin: func(ctx context.Context, s *site) error { return s.server.Restart(ctx) }, mend: nothing},
		{name: "scripts forgotten", begin: command("SCRIPT", "FLUSH"), mend: nothing},
	}
}

func nothing(context.Context, *site) error { return nil }

func command(args ...string) func(context.Context, *site) error {
	return func(ctx context.Context, s *site) error {
		_, err := s.server.Do(ctx, args...)
		return err
	}
}

// cannotSave takes the directory away in which Redis saves its data. It stays
// in it, so only what it creates fails.
func cannotSave(dir string) func(context.Context, *site) error {
	return func(ctx context.Context, s *site) error {
		if err := os.Rename(dir, dir+".away"); err != nil {
			return err
		}
		if err := os.RemoveAll(dir + ".away"); err != nil {
			return err
		}
		return steps(ctx, s, command("CONFIG", "SET", "save", "3600 1000"), command("BGSAVE"), says("rdb_last_bgsave_status:err"))
	}
}

func canSave(string) func(context.Context, *site) error {
	return command("CONFIG", "SET", "save", "")
}

// says waits for a line of INFO.
func says(line string) func(context.Context, *site) error {
	return func(ctx context.Context, s *site) error {
		_, err := until(startup, func() error {
			info, err := s.server.Do(ctx, "INFO")
			if err != nil || !strings.Contains(fmt.Sprint(info), line) {
				return fmt.Errorf("redis does not say %s (error: %v)", line, err)
			}
			return nil
		})
		return err
	}
}

func steps(ctx context.Context, s *site, all ...func(context.Context, *site) error) error {
	for _, step := range all {
		if err := step(ctx, s); err != nil {
			return err
		}
	}
	return nil
}

// names returns the keys in Redis of what the store keeps.
func (s *site) names(ctx context.Context) ([]string, error) {
	answer, err := s.server.Do(ctx, "KEYS", "*")
	if err != nil {
		return nil, err
	}
	var names []string
	list, _ := answer.([]any)
	for _, name := range list {
		names = append(names, fmt.Sprint(name))
	}
	return names, nil
}

func wrongTypes(ctx context.Context, s *site) error {
	names, err := s.names(ctx)
	if err != nil {
		return err
	}
	for _, name := range names {
		if err := steps(ctx, s, command("DEL", name), command("RPUSH", name, "old")); err != nil {
			return err
		}
	}
	return nil
}

func rightTypes(ctx context.Context, s *site) error {
	names, err := s.names(ctx)
	if err != nil {
		return err
	}
	for _, name := range names {
		if err := command("SET", name, "old")(ctx, s); err != nil {
			return err
		}
	}
	return nil
}

func newPassword(ctx context.Context, s *site) error {
	if err := command("CONFIG", "SET", "requirepass", "secret")(ctx, s); err != nil {
		return err
	}
	s.server.Password = "secret"
	return command("CLIENT", "KILL", "TYPE", "normal", "SKIPME", "yes")(ctx, s)
}

func oldPassword(ctx context.Context, s *site) error {
	err := command("CONFIG", "SET", "requirepass", "")(ctx, s)
	s.server.Password = ""
	return err
}

// noMoreClients: the one client that may connect is already there.
func noMoreClients(ctx context.Context, s *site) error {
	if err := steps(ctx, s, command("CLIENT", "KILL", "TYPE", "normal", "SKIPME", "yes")); err != nil {
		return err
	}
	other := redis.NewClient(&redis.Options{Addr: s.server.Addr, MaxRetries: -1})
	context.AfterFunc(ctx, func() { other.Close() })
	if err := other.Ping(ctx).Err(); err != nil {
		return err
	}
	return other.ConfigSet(ctx, "maxclients", "1").Err()
}

// loads makes Redis take a time for reading its data, in milliseconds, and waits
// until it serves with an error. It looks for requests after each thousand bytes.
func loads(ctx context.Context, s *site, time int) error {
	err := steps(ctx, s,
		command("CONFIG", "SET", "rdbcompression", "no"), command("DEBUG", "POPULATE", "1000", "filling", "1000"),
		command("CONFIG", "SET", "key-load-delay", fmt.Sprint(time)), command("CONFIG", "SET", "loading-process-events-interval-bytes", "1024"),
		command("BGREWRITEAOF"), says("aof_rewrite_in_progress:0"), says("aof_rewrite_scheduled:0"))
	if err != nil {
		return err
	}
	go func() {
		// DEBUG LOADAOF reads the data again, as at a start.
		_, _ = s.server.Do(ctx, "DEBUG", "LOADAOF")
	}()
	_, err = until(startup, func() error {
		_, err := s.server.Do(ctx, "GET", "a")
		if err == nil || !strings.Contains(err.Error(), "LOADING") {
			return fmt.Errorf("redis does not load: %v", err)
		}
		return nil
	})
	return err
}

func loaded(ctx context.Context, s *site) error { return says("\nloading:0")(ctx, s) }

// TestFaults: whatever Redis answers or does not, each call returns within its
// deadline, and none says that something is absent or was not swapped. The store
// works again within a second, and leaves no goroutine.
func TestFaults(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "data")
	for _, f := range faults(dir) {
		t.Run(f.name, func(t *testing.T) {
			server, p := startOne(t, backing.RedisConfig{Dir: dir, Settings: []string{"enable-debug-command yes", "appendfsync always"}})
			s := &site{p.open(t), keyOf(t, 0), server}
			lay(t, s.Store, s.key)
			for range 4 {
				s.mustWork(t)
			}
			before := goroutines()
			var took time.Duration
			for range attempts {
				if took = s.fails(t, f); took <= recovery {
					break
				}
			}
			if took > recovery {
				t.Errorf("the store works %v after Redis does", took)
			}
			eventually(t, startup, func() error {
				if now := goroutines(); len(now) > len(before) {
					return fmt.Errorf("%d goroutines of go-redis before, now:\n%s", len(before), strings.Join(now, "\n\n"))
				}
				return nil
			})
		})
	}
}

// mustWork makes all calls.
func (s *site) mustWork(t *testing.T) {
	t.Helper()
	for _, calls := range []map[string]func(context.Context) error{s.reads(), s.writes(), s.deletes()} {
		for name, call := range calls {
			if err := call(t.Context()); err != nil {
				t.Errorf("%s: %v", name, err)
			}
		}
	}
}

// fails makes Redis fail, makes all calls, and mends Redis. It returns how long
// it took until all calls worked again.
func (s *site) fails(t *testing.T, f fault) time.Duration {
	t.Helper()
	if err := f.begin(t.Context(), s); err != nil {
		t.Fatal(err)
	}
	s.tries(t, s.reads(), f.reads, f.either)
	s.tries(t, s.writes(), f.writes, f.either)
	s.tries(t, s.deletes(), f.deletes, f.either)
	if err := f.mend(t.Context(), s); err != nil {
		t.Fatal(err)
	}
	took, err := until(startup, func() error {
		for _, calls := range []map[string]func(context.Context) error{s.reads(), s.writes(), s.deletes()} {
			for name, call := range calls {
				if err := call(t.Context()); err != nil {
					return fmt.Errorf("%s: %w", name, err)
				}
			}
		}
		return nil
	})
	if err != nil {
		t.Fatalf("the store does not work again: %v", err)
	}
	return took
}

// tries makes calls at the same time. want is in the error of each, or of some if
// either; "" means that they work.
func (s *site) tries(t *testing.T, calls map[string]func(context.Context) error, want string, either bool) {
	t.Helper()
	var failed atomic.Int32
	var wg sync.WaitGroup
	for name, call := range calls {
		wg.Go(func() {
			took, err := inTime(t, call, want == "")
			if took > answerTime {
				t.Errorf("%s takes %v", name, took)
			}
			if err != nil {
				failed.Add(1)
			}
			switch {
			case errors.Is(err, errWrong):
				t.Errorf("%s: %v", name, err)
			case want == "" && err != nil:
				t.Errorf("%s: %v, want it to work", name, err)
			case want != "" && err == nil && !either, err != nil && !strings.Contains(err.Error(), want):
				t.Errorf("%s: error %v, want %s", name, err, want)
			}
		})
	}
	wg.Wait()
	if want != "" && failed.Load() == 0 {
		t.Errorf("nothing fails, want %s", want)
	}
}

// inTime makes a call, again if it comes too late. A call that works may be late
// in its context too.
func inTime(t *testing.T, call func(context.Context) error, works bool) (took time.Duration, err error) {
	t.Helper()
	for range attempts {
		ctx, cancel := context.WithTimeout(t.Context(), callTime)
		begin := time.Now()
		err = call(ctx)
		took = time.Since(begin)
		cancel()
		if took <= answerTime && !(works && errors.Is(err, context.DeadlineExceeded)) {
			break
		}
	}
	return took, err
}

// TestClusterNodeGone: one of three nodes has ended. What is on the others is
// there, what was on it is an error, and nothing is absent. When it is back, all
// is there again.
func TestClusterNodeGone(t *testing.T) {
	cluster, p := startCluster(t, backing.RedisClusterConfig{Settings: []string{"cluster-require-full-coverage no", "appendfsync always"}})
	store := p.open(t)
	keys := make([]string, 12)
	for i := range keys {
		keys[i] = keyOf(t, i)
		if err := store.CommitCtx(t.Context(), keys[i], []byte("old"), time.Now().Add(time.Hour)); err != nil {
			t.Fatal(err)
		}
	}
	before := goroutines()
	gone := cluster.Masters[1]
	gone.Kill()
	var there, failed int
	many := func(ctx context.Context) error { _, err := store.FindManyCtx(ctx, keys); return err }
	if took, err := inTime(t, many, false); err == nil || took > answerTime {
		t.Errorf("many keys: error %v after %v, want one in time", err, took)
	}
	for _, key := range keys {
		ctx, cancel := context.WithTimeout(t.Context(), callTime)
		_, found, err := store.FindCtx(ctx, key)
		cancel()
		switch {
		case err != nil:
			failed++
		case found:
			there++
		default:
			t.Errorf("%s is absent", key)
		}
	}
	if there == 0 || failed == 0 {
		t.Errorf("%d keys are there, %d are errors, want some of both", there, failed)
	}
	if err := gone.Restart(t.Context()); err != nil {
		t.Fatal(err)
	}
	eventually(t, startup, func() error {
		values, err := store.FindManyCtx(t.Context(), keys)
		if err != nil {
			return err
		}
		for i, value := range values {
			if string(value) != "old" {
				return fmt.Errorf("key %d: %q", i, value)
			}
		}
		return nil
	})
	eventually(t, startup, func() error {
		if now := goroutines(); len(now) > len(before) {
			return fmt.Errorf("%d goroutines of go-redis before, now:\n%s", len(before), strings.Join(now, "\n\n"))
		}
		return nil
	})
}

// TestSentinelsHang: nobody answers, neither the Sentinels, of whom a new
// connection has to ask for the master, nor the servers.
func TestSentinelsHang(t *testing.T) {
	s, p := startSentinel(t, backing.RedisSentinelConfig{DownAfter: patient})
	for _, warm := range []bool{true, false} {
		store := p.open(t)
		at := &site{Store: store, key: keyOf(t, 0)}
		if warm {
			lay(t, store, at.key)
			at.mustWork(t)
		}
		release := hangs(append(s.Sentinels, s.Servers...)...)()
		at.tries(t, at.reads(), anyError, false)
		at.tries(t, at.writes(), anyError, false)
		at.tries(t, at.deletes(), anyError, false)
		release()
		eventually(t, startup, func() error { return holds(t.Context(), store, at.key, "old") })
	}
}

// goroutines returns the stacks of those that go-redis and the store run.
func goroutines() (stacks []string) {
	all := make([]byte, 1<<20)
	all = all[:runtime.Stack(all, true)]
	for _, stack := range strings.Split(string(all), "\n\n") {
		if strings.Contains(stack, "go-redis/") || strings.Contains(stack, "gatehouse/redisstore.") {
			stacks = append(stacks, stack)
		}
	}
	return stacks
}
