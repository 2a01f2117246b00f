// Package interop tests gatehouse against servers and a browser that nobody
// here wrote. It is a module of its own so that gatehouse does not require
// what it takes to drive them. The servers are in package servers, which
// installs them by name at first use; to do that ahead of time:
//
//	go run ./cmd/prepare
//	go test ./...
package interop
