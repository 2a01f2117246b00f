// Package compact checks the outer form of signed tokens before anything
// expensive examines them. It accepts only JWS compact serialization.
package compact

import (
	"encoding/base64"
	"errors"
	"fmt"
	"strings"

	"example.com/gatehouse/internal/strictjson"
)

var (
	// ErrTooLong means that a token is longer than the caller allows.
	ErrTooLong = errors.New("compact: token too long")

	// ErrMalformed means that the input is not a compact JWS with a readable
	// header.
	ErrMalformed = errors.New("compact: malformed token")
)

// Check returns nil if raw is at most max bytes long and has the form of a
// compact JWS: three parts of base64url characters (RFC 7515 §7.1). go-jose
// also accepts JSON serialization and white space. An unsigned token, whose
// last part is empty, is rejected here.
func Check(raw string, max int) error {
	if len(raw) > max {
		return ErrTooLong
	}
	chars := base64url()
	i := 0
	for part := range 3 {
		begin := i
		for i < len(raw) && chars.has(raw[i]) {
			i++
		}
		if i == begin {
			return ErrMalformed
		}
		if part < 2 {
			if i == len(raw) || raw[i] != '.' {
				return ErrMalformed
			}
			i++
		}
	}
	if i != len(raw) {
		return ErrMalformed
	}
	return nil
}

// charset has a bit for each byte.
type charset [4]uint64

func (s *charset) has(c byte) bool { return s[c>>6]>>(c&63)&1 != 0 }

// base64url is the alphabet of RFC 4648 §5.
func base64url() charset {
	return charset{
		1<<('9'+1) - 1<<'0' | 1<<'-',
		1<<('Z'+1-64) - 1<<('A'-64) | 1<<('z'+1-64) - 1<<('a'-64) | 1<<('_'-64),
	}
}

// Header is the content of a token's header before anything is verified.
type Header struct {
	Alg string // never empty
	Kid string // empty if absent
	Typ string // as written, empty if absent

	// Crit reports whether the header has "crit" in any form (RFC 7515
	// §4.1.11).
	Crit bool
	// B64 reports whether the header has "b64" in any form (RFC 7797 §3).
	B64 bool
	// Other reports whether it has any member besides these, cty and the names of
	// a certificate's sum.
	Other bool
}

// Token is a token that passed [Check], with its header. Only [Parse] makes one
// that is not empty.
type Token struct {
	raw    string
	header Header
}

// Parse makes both checks on a token of at most max bytes. The error is
// [ErrTooLong] or [ErrMalformed].
func Parse(raw string, max int) (Token, error) {
	if err := Check(raw, max); err != nil {
		return Token{}, err
	}
	h, err := ParseHeader(raw)
	if err != nil {
		return Token{}, err
	}
	return Token{raw, h}, nil
}

// Raw returns the token as it was written.
func (t Token) Raw() string { return t.raw }

// Header returns the content of its header.
func (t Token) Header() Header { return t.header }

// Parts returns the bytes that were signed, the payload that they encode, and
// the signature. The error is [ErrMalformed].
func (t Token) Parts() (signed, payload, signature []byte, err error) {
	signed = []byte(t.raw)
	second := strings.LastIndexByte(t.raw, '.')
	first := strings.IndexByte(t.raw, '.')
	if payload, err = decode(t.raw[first+1 : second]); err != nil {
		return nil, nil, nil, err
	}
	if signature, err = decode(t.raw[second+1:]); err != nil {
		return nil, nil, nil, err
	}
	return signed[:second], payload, signature, nil
}

// decode decodes base64url without padding, whose bits after the last byte are
// zero (RFC 4648 §3.5).
func decode(part string) ([]byte, error) {
	data, err := base64.RawURLEncoding.DecodeString(part)
	if err != nil || !canonical(part) {
		return nil, ErrMalformed
	}
	return data, nil
}

// canonical is what base64.Encoding.Strict checks, which makes a copy of the
// whole encoding each time.
func canonical(part string) bool {
	const alphabet = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_"
	unused := 0
	switch len(part) % 4 {
	case 0:
		return true
	case 2:
		unused = 1<<4 - 1
	case 3:
		unused = 1<<2 - 1
	}
	return strings.IndexByte(alphabet, part[len(part)-1])&unused == 0
}

// ParseHeader decodes the header of a token that passed [Check]. It returns
// [ErrMalformed] also for a token without "alg" and for repeated names.
func ParseHeader(raw string) (Header, error) {
	part, _, ok := strings.Cut(raw, ".")
	if !ok {
		return Header{}, ErrMalformed
	}
	data, err := decode(part)
	if err != nil {
		return Header{}, err
	}
	var h Header
	err = strictjson.Object(data, func(name string, v strictjson.Value) (err error) {
		switch name {
		case "alg":
			h.Alg, err = v.Text()
		case "kid":
			h.Kid, err = optional(v)
		case "typ":
			h.Typ, err = optional(v)
		case "crit":
			h.Crit = true
		case "b64":
			h.B64 = true
		case "cty", "x5t", "x5t#S256":
		default:
			h.Other = true
		}
		return err
	})
	switch {
	case errors.Is(err, strictjson.ErrDuplicate):
		return Header{}, fmt.Errorf("%w: %w", ErrMalformed, err)
	case err != nil || h.Alg == "": // RFC 7515 §4.1.1
		return Header{}, ErrMalformed
	}
	return h, nil
}

// optional reads a string, with "" for null.
func optional(v strictjson.Value) (string, error) {
	if v.Null() {
		return "", nil
	}
	return v.Text()
}
