// Package token verifies signed tokens of one issuer and returns what they say.
//
// A [Verifier] checks a token in one order, whatever its kind: the grammar of
// the compact form, the algorithm and type in its header, the signature, the
// claims by strict JSON, and last the rules of its kind. Each kind has its own
// type, which only the verifier makes. Code that holds an [IDToken] thus holds
// a verified one, and no other kind can stand in for it. A new kind needs a
// type, a method of Verifier and its checks; grammar, signature and claims are
// shared.
//
// A token that was verified and stored is read again with [Expiry], which does
// not check the signature.
//
// The package knows keys, a clock and the specifications. It must not know
// sessions, HTTP handlers, or where the keys and the list of algorithms come
// from.
package token
