//go:build !race

package session_test

// raced means that the race detector makes everything ten times as slow.
const raced = false
