// Package redisstore keeps gatehouse's sessions, owners' grants, registered
// clients and ids of resources in Redis, for any number of replicas.
//
//	client := redis.NewClient(&redis.Options{Addr: "redis:6379", ContextTimeoutEnabled: true})
//	store, err := redisstore.New(client, redisstore.Config{Prefix: "notes:"})
//	sessions, err := gatehouse.NewSessions(gatehouse.SessionsConfig{Store: store, Keys: keys})
//
// A [Store] takes any client of go-redis v9: one server, Sentinel, Cluster or a
// ring, with TLS or without. Every change is a command or a script over one key.
//
// The README says what Redis must be configured to promise.
package redisstore
