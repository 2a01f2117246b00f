//go:build unix

// Command example runs the photo site on replicas that share a Redis:
//
//	go run -C redisstore ./example -replicas 2
//
// It starts a redis-server for itself, or takes the one that -addr names.
package main

import (
	"context"
	"errors"
	"strings"

	"github.com/redis/go-redis/v9"
	"github.com/redis/go-redis/v9/logging"

	"example.com/gatehouse/example/replicas"
	"example.com/gatehouse/internal/testkit/backing"
	"example.com/gatehouse/redisstore"
)

func main() {
	replicas.Main(replicas.Kind{
		Name: "Redis",
		Addr: "a running Redis, as host:port or redis://user:password@host:port/0;\nempty starts a redis-server for the time of the example",
		Missing: "redis-server is not installed: install it (on Debian: apt-get install redis-server), " +
			"or name a running Redis with -addr host:port",
		Begin: begin,
		Open:  open,
	})
}

func begin(ctx context.Context) (addr string, end func(), err error) {
	server, err := backing.StartRedis(ctx, backing.RedisConfig{})
	if err != nil {
		return "", nil, err
	}
	return server.Addr, func() { _ = server.Close() }, nil
}

// open is what a program of yours does, too.
func open(_ context.Context, addr string) (replicas.Store, func(), error) {
	options := &redis.Options{Addr: addr}
	if strings.Contains(addr, "://") {
		var err error
		if options, err = redis.ParseURL(addr); err != nil {
			return nil, nil, errors.New("-addr is no URL of a Redis") // the error would show the password
		}
	}
	logging.Disable()                    // what fails reaches the log with the request that met it
	options.ContextTimeoutEnabled = true // every call ends with its request
	client := redis.NewClient(options)
	store, err := redisstore.New(client, redisstore.Config{Prefix: "photos:"})
	if err != nil {
		return nil, nil, err
	}
	return store, func() { _ = client.Close() }, nil
}
