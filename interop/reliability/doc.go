// Package reliability measures what a site with several replicas does while its
// store restarts or hangs, its provider is away, its replicas are replaced, and
// strangers drive it. The site is a program of its own (package replica) on a
// real Redis or PostgreSQL behind toxiproxy. The goals and their limits are in
// docs/reliability.md.
//
//	go run ./cmd/goals -run G1 -times 5
//
// runs a goal at its full scale. go test runs all of them at a twentieth of it.
package reliability
