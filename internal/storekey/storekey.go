// Package storekey makes the keys of values in a store, and the short names
// that come from the same hash.
//
// A key is a hash of a domain and a value. It does not reveal the cookie or the
// person it stands for, and keys of two domains never collide.
package storekey

import (
	"crypto/sha256"
	"encoding/base64"
	"encoding/binary"
)

// Size is the length of a key: SHA-256 in base64url, which fits the columns of
// scs's documented SQL tables.
const Size = 43

// sumRoom is enough space for the hash input of one request, so that it needs
// no heap.
const sumRoom = 192

// Key is a key as bytes, which need no memory of their own.
type Key = [Size]byte

// Of returns the key of the parts in a domain: [Size] characters of base64url.
// Domains are constants of the program.
func Of(domain string, parts ...string) string {
	key := Make(domain, parts...)
	return string(key[:])
}

// Make is Of without an allocation.
func Make(domain string, parts ...string) (key Key) {
	sum := Sum(domain, parts...)
	base64.RawURLEncoding.Encode(key[:], sum[:])
	return key
}

// Sum returns the SHA-256 of the domain and the parts, with a zero byte before
// each part. A part with a zero byte could pass for two parts, so parts must
// not contain one.
func Sum(domain string, parts ...string) [sha256.Size]byte {
	in := make([]byte, 0, sumRoom)
	in = append(in, domain...)
	for _, p := range parts {
		in = append(append(in, 0), p...)
	}
	return sha256.Sum256(in)
}

// Place returns the SHA-256 of the domain and the parts, with its length before
// each. Unlike [Sum] it takes parts of any bytes.
func Place(domain string, parts ...string) [sha256.Size]byte {
	in := make([]byte, 0, sumRoom)
	for _, p := range append([]string{domain}, parts...) {
		in = binary.AppendUvarint(in, uint64(len(p)))
		in = append(in, p...)
	}
	return sha256.Sum256(in)
}
