package session

import (
	"crypto/rand"
	"encoding/base64"
	"strings"

	"example.com/gatehouse/internal/storekey"
)

const (
	sessionDomain = "gatehouse/session"
	// idSize is the size of a session id: 256 random bits.
	idSize = 32
)

// Ref names one login: the key of its record and the names of the two marks
// that may end it. A request gets it from its cookie.
type Ref struct {
	ID    string // of the session: the secret in the cookie; no store call needs it
	Key   string // of the record in the store
	Marks [2]string
}

// Home says where sessions belong: to the Sessions of that name at that origin.
// It is part of the key of every record, and so of its seal. A cookie of one
// home names no session of another.
func Home(name, origin string) string { return storekey.Of("gatehouse/home", name, origin) }

// NewID returns 256 random bits.
func NewID() (id [idSize]byte) {
	rand.Read(id[:])
	return id
}

// NewRef makes the Ref of a new login. The id is secret and random.
func NewRef(home string, id [idSize]byte, marks [2]Mark) Ref {
	text := base64.RawURLEncoding.EncodeToString(id[:])
	key := recordKey(home, text)
	return Ref{ID: text, Key: string(key[:]), Marks: [2]string{marks[0].Name, marks[1].Name}}
}

// KeyOf returns the key of the record that a login with that id has, whether it
// exists already or not.
func KeyOf(home string, id [idSize]byte) string {
	key := recordKey(home, base64.RawURLEncoding.EncodeToString(id[:]))
	return string(key[:])
}

// Cookie is the text of the session cookie: id "." mark "." mark. The names of
// the marks let a request read the record and its marks in one round trip.
func (r Ref) Cookie() string { return r.ID + "." + r.Marks[0] + "." + r.Marks[1] }

// ParseRef reads the text of a session cookie.
func ParseRef(home, cookie string) (r Ref, ok bool) {
	id, marks, ok := cutCookie(cookie)
	if !ok {
		return Ref{}, false
	}
	key := recordKey(home, id)
	return Ref{ID: id, Key: string(key[:]), Marks: marks}, true
}

// cutCookie divides the text of a session cookie. Nothing else parses it.
func cutCookie(cookie string) (id string, marks [2]string, ok bool) {
	id, rest, ok := strings.Cut(cookie, ".")
	if !ok || !isBase64URL(id, idSize) {
		return "", marks, false
	}
	first, second, ok := strings.Cut(rest, ".")
	if !ok || !isBase64URL(first, markNameSize) || !isBase64URL(second, markNameSize) {
		return "", marks, false
	}
	return id, [2]string{first, second}, true
}

func recordKey(home, id string) storekey.Key { return storekey.Make(sessionDomain, home, id) }

// isBase64URL reports whether s is base64url of size bytes. It has no branches
// on what a character is: those of a random text cannot be predicted, and cost
// more than all the rest.
func isBase64URL(s string, size int) bool {
	if len(s) != base64.RawURLEncoding.EncodedLen(size) {
		return false
	}
	digits, letters := uint64(1<<'-'|(1<<10-1)<<'0'), uint64(1<<('_'-64)|(1<<26-1)<<('A'-64)|(1<<26-1)<<('a'-64))
	good, all := uint64(1), byte(0)
	for i := range len(s) {
		c := s[i]
		of := digits
		if c&64 != 0 {
			of = letters
		}
		good &= of >> (c & 63)
		all |= c
	}
	return good&1 == 1 && all < 128
}
