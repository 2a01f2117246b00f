// Package token verifies signed tokens of one issuer and says what they say.
//
// A [Verifier] reads a token in one order, whatever its kind: the grammar of the
// compact form, the algorithm and the type in its header, the signature, the
// claims by strict JSON, and last what this kind of token has to say here and
// now. Each kind has a type of its own that only the verifier makes, so that
// code which holds an [IDToken] holds one that was verified, and no other kind
// can stand in for it. A new kind is a type, a method of Verifier and its checks;
// grammar, signature and claims are shared.
//
// What was verified and stored is read again with [Expiry], which takes the
// signature for granted.
//
// The package knows keys, a clock and the specifications. It must not know
// sessions, HTTP handlers, or where keys and the list of algorithms come from.
package token
