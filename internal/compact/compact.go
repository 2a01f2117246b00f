// Package compact checks the outer form of signed tokens before anything
// expensive looks at them: JWS compact serialization and nothing else.
package compact

import (
	"encoding/base64"
	"encoding/json"
	"errors"
	"strings"

	"example.com/gatehouse/internal/strictjson"
)

var (
	// ErrTooLong is the error of a token longer than the caller allows.
	ErrTooLong = errors.New("compact: token too long")

	// ErrMalformed is the error of anything that is not a compact JWS with a
	// readable header.
	ErrMalformed = errors.New("compact: malformed token")
)

// Check reports whether raw is at most max bytes long and has the form of a
// compact JWS, three parts of base64url characters (RFC 7515 §7.1). go-jose
// takes JSON serialization and white space too; an unsigned token, whose last
// part is empty, is refused here.
func Check(raw string, max int) error {
	if len(raw) > max {
		return ErrTooLong
	}
	dots, part := 0, 0
	for i := range len(raw) {
		switch c := raw[i]; {
		case 'A' <= c && c <= 'Z', 'a' <= c && c <= 'z', '0' <= c && c <= '9', c == '-', c == '_':
			part++
		case c == '.' && part > 0 && dots < 2:
			dots++
			part = 0
		default:
			return ErrMalformed
		}
	}
	if dots != 2 || part == 0 {
		return ErrMalformed
	}
	return nil
}

// Header is what the header of a token says before anything is verified.
type Header struct {
	Alg string // never empty
	Kid string // empty if absent
	Typ string // as written, empty if absent

	// Crit is true if the header has "crit" in any form (RFC 7515 §4.1.11).
	Crit bool
	// B64 is true if the header has "b64" in any form (RFC 7797 §3).
	B64 bool
}

// ParseHeader decodes the header of a token that passed [Check]. The error is
// [ErrMalformed], also for a token without "alg" and for names given twice.
func ParseHeader(raw string) (Header, error) {
	part, _, ok := strings.Cut(raw, ".")
	if !ok {
		return Header{}, ErrMalformed
	}
	data, err := base64.RawURLEncoding.Strict().DecodeString(part)
	if err != nil || len(data) == 0 || data[0] != '{' {
		return Header{}, ErrMalformed
	}
	var h struct {
		Alg  string          `json:"alg"`
		Kid  string          `json:"kid"`
		Typ  string          `json:"typ"`
		Crit json.RawMessage `json:"crit"`
		B64  json.RawMessage `json:"b64"`
	}
	if err := strictjson.Unmarshal(data, &h); err != nil || h.Alg == "" { // RFC 7515 §4.1.1
		return Header{}, ErrMalformed
	}
	return Header{Alg: h.Alg, Kid: h.Kid, Typ: h.Typ, Crit: h.Crit != nil, B64: h.B64 != nil}, nil
}
