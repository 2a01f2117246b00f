// Package redisstore keeps gatehouse's sessions, owners' grants and ids of
// resources in Redis, so that many replicas share them.
//
// A [Store] takes any client of go-redis: one server, Sentinel, Cluster, with
// TLS or without. What Redis has to be configured to promise is in the README
// of this module.
package redisstore
