package redisstore

import (
	"context"
	"errors"
	"fmt"
	"reflect"
	"time"

	"github.com/redis/go-redis/v9"
)

const (
	// defaultPrefix keeps the keys of gatehouse apart from others in the
	// same Redis.
	defaultPrefix = "gatehouse:"
	// defaultTimeout lets a page answer 503 within 1.5 s when Redis hangs.
	defaultTimeout = time.Second
)

// Config is the settings of a Store. The zero value is ready to use.
type Config struct {
	// Prefix begins every key. Applications that share a Redis need different
	// ones; replicas of one application need the same. If it is empty, it is
	// "gatehouse:".
	Prefix string

	// WaitReplicas is how many replicas have to have a write before the call
	// that wrote it returns. If too few have it in time, the call returns an
	// error, and whether the write stays is not known. 0 does not wait: a
	// failover may then undo the last writes, logouts among them.
	WaitReplicas int

	// Timeout bounds each call, also one whose context would allow more. If it
	// is 0, it is one second.
	Timeout time.Duration

	// Now is the clock with which expiries were made. If it is nil, it is
	// time.Now. Redis counts the time until an expiry with its own clock.
	Now func() time.Time
}

// complete fills in the defaults. Its error lists every problem.
func (c *Config) complete() error {
	var errs []error
	if c.WaitReplicas < 0 {
		errs = append(errs, fmt.Errorf("WaitReplicas: %d is less than 0", c.WaitReplicas))
	}
	if c.Timeout < 0 {
		errs = append(errs, fmt.Errorf("%s: %v is less than 0", "Timeout", c.Timeout))
	}
	if c.Prefix == "" {
		c.Prefix = defaultPrefix
	}
	if c.Timeout == 0 {
		c.Timeout = defaultTimeout
	}
	if c.Now == nil {
		c.Now = time.Now
	}
	return errors.Join(errs...)
}

// New returns a Store that uses the client. It does no I/O. The client stays
// the caller's, who closes it after the last use of the Store.
//
// New refuses a client that would break what a Store promises: one without
// ContextTimeoutEnabled, or with a ReadTimeout or WriteTimeout of -2, whose
// calls outlast their context; one that reads from replicas or from a cache of
// its own, which show a session after its logout; and one whose options it
// cannot see. Its error says what to set. The README has what else to set, on
// Sentinel and with TLS above all.
func New(client redis.UniversalClient, c Config) (*Store, error) {
	s := &Store{client: client, kinds: newKinds(), hang: hang{begin: time.Now()}}
	err := errors.Join(s.connect(), c.complete())
	if err != nil {
		return nil, fmt.Errorf("redisstore: %w", err)
	}
	s.config = c
	return s, nil
}

// The three kinds of client, by what the Store needs of them. So a type that
// embeds a client of go-redis is as good as that client.
type (
	single interface {
		Pipeline() redis.Pipeliner
		Options() *redis.Options
	}
	cluster interface {
		Options() *redis.ClusterOptions
		MasterForKey(ctx context.Context, key string) (*redis.Client, error)
		ForEachMaster(ctx context.Context, f func(context.Context, *redis.Client) error) error
		ReloadState(ctx context.Context)
	}
	ring interface {
		Options() *redis.RingOptions
		GetShardClientForKey(key string) (*redis.Client, error)
	}
)

// connect learns what kind of client it has, and checks its options.
func (s *Store) connect() error {
	if v := reflect.ValueOf(s.client); !v.IsValid() || v.Kind() == reflect.Pointer && v.IsNil() {
		return errors.New("client: it is nil")
	}
	var timeouts, endless, stale bool
	var where string
	switch c := s.client.(type) {
	case single:
		s.single = c
		o := c.Options()
		timeouts, where = o.ContextTimeoutEnabled, "redis.Options, redis.FailoverOptions"
		endless = o.ReadTimeout < 0 || o.WriteTimeout < 0
		stale = o.ClientSideCache != nil || o.ClientSideCacheConfig != nil
	case cluster:
		s.cluster = c
		o := c.Options()
		timeouts, where = o.ContextTimeoutEnabled, "redis.ClusterOptions, redis.FailoverOptions"
		endless = o.ReadTimeout < 0 || o.WriteTimeout < 0
		stale = o.ReadOnly || o.RouteByLatency || o.RouteRandomly
	case ring:
		s.ring = c
		o := c.Options()
		timeouts, where = o.ContextTimeoutEnabled, "redis.RingOptions"
		endless = o.ReadTimeout < -1 || o.WriteTimeout < -1 // as they were given, where -1 has no effect on deadlines
	default:
		return fmt.Errorf("client: %T does not show its options: it must be a *redis.Client, *redis.ClusterClient or *redis.Ring, or embed one", c)
	}
	var errs []error
	if !timeouts {
		errs = append(errs, fmt.Errorf("client: set ContextTimeoutEnabled to true in its %s or redis.UniversalOptions; without it a call outlasts its context", where))
	}
	if endless {
		errs = append(errs, errors.New("client: set no ReadTimeout and no WriteTimeout below -1; with it go-redis sets no deadlines, and a call outlasts its context"))
	}
	if stale {
		errs = append(errs, errors.New("client: unset ReadOnly, RouteByLatency, RouteRandomly, ClientSideCache and ClientSideCacheConfig; a replica or a cache may show a session after its logout"))
	}
	return errors.Join(errs...)
}
