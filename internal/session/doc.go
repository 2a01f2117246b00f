// Package session keeps login records in a store. It has the record's codec and
// limits, the marks that end a login from outside, the tombstone of a login
// that ended here, the list of an owner's sessions, and the renewal of tokens
// under a lease.
//
// It declares the store that it needs. A [Keeper] holds no session: what a
// request has read is a [Stored], which belongs to that request.
//
// It must not know HTTP, OpenID Connect or any provider. To this package an
// issuer and a subject are strings, tokens are bytes, and a [Renewer] renews
// them.
package session
