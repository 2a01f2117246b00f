// Package process starts the servers that tests and examples run against, and
// ends them with whatever they started, even if this program is killed. It knows
// no server.
package process
