// Package replicas runs the photo site of the example on several replicas over
// one store. The commands of the store modules are built on it:
//
//	go run -C redisstore ./example -replicas 2
//
// One process has the front, the authorization server and the print shop. Each
// replica of the photo site is a process of its own, the same program again.
// The front passes requests to the replicas in turn. Sign-ins, grants, ids of
// resources and albums are all in the store, so a replica can end and start at
// any time and nobody notices.
package replicas
