// Package world is where the stories of internal/e2e happen: an OpenID provider
// and UMA authorization server from middlewaretest, one clock, one log, the events,
// and the secrets that must never show. [Site] is a web site of several replicas
// that signs people in, [Visitor] a browser.
//
// It serves tests only. It knows what users of gatehouse know and the controls of
// the test provider; it knows nothing of the inside of gatehouse.
package world
