// Package house holds the tests that enforce the house rules: the exported
// surface, import directions, the order of the root's files, doc comments, and
// documents that match the code. It has no code of its own.
//
// After an intended change, rewrite the golden files with
//
//	go test ./internal/testkit/house -update
//
// and review their diff.
package house
