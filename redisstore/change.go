package redisstore

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/redis/go-redis/v9"
)

// A change is compare-and-swap of one value.
type change struct {
	old, value []byte // nil for absent
	life       int64  // milliseconds; 0 if it is over
	forever    bool   // the value has no expiry
	anyway     bool   // whatever is there
}

// swapScript makes a change. It has one key, so it runs on Cluster too.
//
// Whoever repeats the script because its reply was lost finds the new value,
// and is told that it was swapped. With "w" the script then writes once more:
// WAIT counts the replicas that have what its own connection wrote, and the
// repetition may come over another one. So does a deletion of what is absent.
//
// With "x" the new value is over already: where it would be written, nothing is
// left. That nothing was there before does not mean that it was swapped.
var swapScript = redis.NewScript(`
local mode, life = ARGV[1], ARGV[4]
local function has(letter) return string.find(mode, letter, 1, true) end
local current = redis.call('GET', KEYS[1])
local old = has('o') and ARGV[2] or false
local new = has('n') and ARGV[3] or false
if not has('a') and current ~= old then
	if current ~= new then return 0 end
	if not has('w') then return 1 end
end
if has('x') then
	if current == new then return 1 end
	new = false
end
if new then
	if life == '' then
		redis.call('SET', KEYS[1], new)
	else
		redis.call('SET', KEYS[1], new, 'PX', life)
	end
else
	if has('w') and not current then redis.call('SET', KEYS[1], '', 'PX', 1) end
	redis.call('DEL', KEYS[1])
end
return 1
`)

// change makes a change to the value under a name in Redis.
func (s *Store) change(ctx context.Context, name string, c change) (done bool, err error) {
	mode := make([]byte, 0, 5)
	if c.life == 0 && !c.forever && c.value != nil {
		mode = append(mode, 'x') // a value whose time is over must not be there
	}
	if c.old != nil {
		mode = append(mode, 'o')
	}
	if c.value != nil {
		mode = append(mode, 'n')
	}
	if c.anyway {
		mode = append(mode, 'a')
	}
	if s.config.WaitReplicas > 0 {
		mode = append(mode, 'w')
	}
	var life any = c.life
	if c.forever {
		life = ""
	}
	answer, err := s.run(ctx, swapScript, name, mode, c.old, c.value, life)
	if err != nil {
		return false, err
	}
	switch answer {
	case int64(0):
		return false, nil
	case int64(1):
		return true, nil
	}
	return false, fmt.Errorf("the script answered %.20v", answer)
}

// run runs a script that writes at most one key.
func (s *Store) run(ctx context.Context, script *redis.Script, name string, args ...any) (any, error) {
	if s.config.WaitReplicas == 0 {
		return script.Run(ctx, s.client, []string{name}, args...).Result()
	}
	w := &write{script: script, names: []string{name}, args: args, replicas: s.config.WaitReplicas}
	switch {
	case s.cluster != nil:
		return w.onCluster(ctx, s.cluster)
	case s.ring != nil:
		node, err := s.ring.GetShardClientForKey(name)
		if err != nil {
			return nil, err
		}
		return w.on(ctx, node)
	}
	return w.on(ctx, s.single)
}

// A write is a script and a WAIT, both over one connection.
type write struct {
	script   *redis.Script
	names    []string
	args     []any
	replicas int
	asking   bool // the node takes the key from another one and is asked by name
}

// waitMargin is what WAIT leaves of a call's time, so that its answer comes in
// time. It may be late: Redis looks ten times a second whether a wait is over.
const waitMargin = 150 * time.Millisecond

// on sends the write to one server. A Pipeline uses one connection.
func (w *write) on(ctx context.Context, node single) (any, error) {
	answer, err := w.send(ctx, node, func(pipe redis.Pipeliner) *redis.Cmd {
		return pipe.EvalSha(ctx, w.script.Hash(), w.names, w.args...)
	})
	if redis.HasErrorPrefix(err, "NOSCRIPT") {
		answer, err = w.send(ctx, node, func(pipe redis.Pipeliner) *redis.Cmd { return w.script.Eval(ctx, pipe, w.names, w.args...) })
	}
	return answer, err
}

func (w *write) send(ctx context.Context, node single, command func(redis.Pipeliner) *redis.Cmd) (any, error) {
	wait := patience(ctx, node.Options().ReadTimeout)
	pipe := node.Pipeline()
	if w.asking {
		pipe.Do(ctx, "asking")
	}
	written := command(pipe)
	count := pipe.Do(ctx, "wait", w.replicas, wait.Milliseconds())
	_, failure := pipe.Exec(ctx)
	answer, err := written.Result()
	if err != nil || answer == int64(0) { // nothing was written
		return answer, err
	}
	acknowledged, err := count.Int64()
	switch {
	case err != nil:
		return nil, err
	case failure != nil:
		return nil, failure
	case acknowledged < int64(w.replicas):
		return nil, fmt.Errorf("%w: %d of %d within %v; whether the write stays is not known", errTooFew, acknowledged, w.replicas, wait)
	}
	return answer, nil
}

// errTooFew is a write that too few replicas have acknowledged.
var errTooFew = errors.New("too few replicas have acknowledged the write")

// patience is how long WAIT may wait. It is at least a millisecond, because 0
// would be for ever.
func patience(ctx context.Context, readTimeout time.Duration) time.Duration {
	left := defaultTimeout
	if end, ok := ctx.Deadline(); ok {
		left = time.Until(end)
	}
	if readTimeout > 0 {
		left = min(left, readTimeout)
	}
	return max(left-waitMargin, left/4, time.Millisecond)
}

const (
	// clusterTries is how often a write looks for the node of its key. While
	// keys move, a node may send it away, and the map of nodes comes later.
	clusterTries = 6
	// clusterPause is the first pause before the next try. It doubles.
	clusterPause = 10 * time.Millisecond
)

// onCluster sends the write to the node that has its key. Repeating it is safe,
// as swapScript says.
func (w *write) onCluster(ctx context.Context, c cluster) (answer any, err error) {
	pause := clusterPause
	var asked string // the address of a node that takes the key over
	for range clusterTries {
		var node *redis.Client
		if node, err = w.find(ctx, c, asked); err == nil {
			answer, err = w.on(ctx, node)
		}
		if err == nil {
			return answer, nil
		}
		c.ReloadState(ctx) // in the background, and not more than a few times a second
		if asked, w.asking = redis.IsAskError(err); w.asking {
			continue
		}
		if !passes(err) {
			return nil, err
		}
		timer := time.NewTimer(pause)
		select {
		case <-timer.C:
			pause *= 2
		case <-ctx.Done():
			timer.Stop()
			return nil, err
		}
	}
	return nil, err
}

// find returns the node of the key, or the one at the address asked.
func (w *write) find(ctx context.Context, c cluster, asked string) (node *redis.Client, err error) {
	if asked == "" {
		return c.MasterForKey(ctx, w.names[0])
	}
	found := make(chan *redis.Client, 1)
	err = c.ForEachMaster(ctx, func(_ context.Context, each *redis.Client) error {
		if each.Options().Addr == asked {
			select {
			case found <- each:
			default:
			}
		}
		return nil
	})
	select {
	case node = <-found:
		return node, nil
	default:
		return nil, errors.Join(fmt.Errorf("the node at %s is not known yet", asked), err)
	}
}

// passes reports whether another try may succeed: a node is gone or is not the
// one for the key.
func passes(err error) bool {
	if errors.Is(err, errTooFew) {
		return false
	}
	if _, moved := redis.IsMovedError(err); moved {
		return true
	}
	var answer redis.Error
	return !errors.As(err, &answer) || redis.IsReadOnlyError(err) || redis.IsLoadingError(err) ||
		redis.IsTryAgainError(err) || redis.IsClusterDownError(err) || redis.IsMasterDownError(err)
}
