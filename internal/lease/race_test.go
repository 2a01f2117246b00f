//go:build race

package lease_test

// raced means that the race detector makes everything ten times as slow.
const raced = true
