// Package session is the protocol of a login record over a store, keys and a
// clock: its codec, its limits, the marks that end it from outside, the tombstone
// of one that ended here, the list for its owner, and the renewal of its tokens
// under a lease.
//
// It declares the store that it needs. A [Keeper] holds no session: what a
// request saw is a [Stored], which belongs to the request.
//
// It must not know HTTP, OpenID Connect or any provider: to it an issuer and a
// subject are texts, tokens are bytes, and whoever renews them is a [Renewer].
package session
