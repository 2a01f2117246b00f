package session

import (
	"crypto/rand"
	"encoding/base64"

	"example.com/gatehouse/internal/storekey"
)

const (
	sessionDomain = "gatehouse/session"
	// idSize is the size of a session id: 256 random bits.
	idSize = 32
	// idText and markNameText are the lengths of an id and of a mark's name in
	// base64url.
	idText       = (idSize*8 + 5) / 6
	markNameText = (markNameSize*8 + 5) / 6
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

// cutCookie divides the text of a session cookie. Nothing else parses it. Each
// part has one length.
func cutCookie(cookie string) (id string, marks [2]string, ok bool) {
	first, second := idText+1, idText+1+markNameText+1
	if len(cookie) != second+markNameText || cookie[first-1] != '.' || cookie[second-1] != '.' {
		return "", marks, false
	}
	id, marks = cookie[:first-1], [2]string{cookie[first : second-1], cookie[second:]}
	if !isBase64URL(id) || !isBase64URL(marks[0]) || !isBase64URL(marks[1]) {
		return "", marks, false
	}
	return id, marks, true
}

func recordKey(home, id string) storekey.Key { return storekey.Make(sessionDomain, home, id) }

// isBase64URL reports whether s has only characters of base64url. It has no branches
// on what a character is: those of a random text cannot be predicted, and cost
// more than all the rest.
func isBase64URL(s string) bool {
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
