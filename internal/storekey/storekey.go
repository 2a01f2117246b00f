// Package storekey makes the keys under which values lie in a store, and the
// short names that come from the same hash.
//
// A key is a hash of a domain and a value. So no key reveals the cookie or the
// person it stands for, and keys of two domains never meet.
package storekey

import (
	"crypto/sha256"
	"encoding/base64"
)

// Size is the length of a key: SHA-256 in base64url, which fits the columns of
// scs's documented SQL tables.
const Size = 43

// sumRoom is room for what one request hashes, so that it needs no heap.
const sumRoom = 192

// Of returns the key of the parts in a domain: [Size] characters of base64url.
// Domains are constants of the program.
func Of(domain string, parts ...string) string {
	sum := Sum(domain, parts...)
	var key [Size]byte
	base64.RawURLEncoding.Encode(key[:], sum[:])
	return string(key[:])
}

// Sum returns SHA-256 over the domain and the parts, each with a zero byte in
// front. A part that holds a zero byte could stand for two, so parts come from
// texts that hold none.
func Sum(domain string, parts ...string) [sha256.Size]byte {
	in := make([]byte, 0, sumRoom)
	in = append(in, domain...)
	for _, p := range parts {
		in = append(append(in, 0), p...)
	}
	return sha256.Sum256(in)
}
