// Package replicastest has the stories with which each store module tests its
// command: a real process, its replicas and its store, seen from a browser.
package replicastest
