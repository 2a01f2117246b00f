// Package interop tests gatehouse against servers and a browser that were
// written by others. It is a separate module, so that gatehouse does not
// require the modules that drive them. Package servers installs the servers by
// name at first use. To install them ahead of time:
//
//	go run ./cmd/prepare
//	go test ./...
package interop
