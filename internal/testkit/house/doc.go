// Package house holds the tests that guard the house rules: the exported
// surface, who may import whom, the order of the root's files, doc comments, and
// the documents against the code. It has no code of its own.
//
// After a change that is meant to be seen, rewrite the golden files with
//
//	go test ./internal/testkit/house -update
//
// and read their diff as a reviewer would.
package house
