// Package bearer reads the access token of a request.
package bearer

import (
	"errors"
	"fmt"
	"net/http"
	"slices"
	"strings"
)

// MaxToken bounds a token. Tickets and tokens of real servers have up to 3 KiB,
// and net/http bounds the whole header only at 1 MiB.
const MaxToken = 16 << 10

// ErrMalformed means that the header with the token is ambiguous or violates the
// grammar. The answer is 400 invalid_request (RFC 6750 §3.1). Errors wrap it and
// say what is wrong.
var ErrMalformed = errors.New("the header with the token is malformed")

// ErrCharacters is the [ErrMalformed] for a token that is not [Valid].
var ErrCharacters = fmt.Errorf("%w: the token has a character that none may have, such as a space or a comma", ErrMalformed)

var (
	errSeveral = fmt.Errorf("%w: there are several", ErrMalformed)
	errNone    = fmt.Errorf("%w: it has no token", ErrMalformed)
	errLong    = fmt.Errorf("%w: the token has more than %d bytes", ErrMalformed, MaxToken)
)

// Unchecked returns the token of an Authorization header whose scheme is Bearer
// in any case (RFC 6750 §2.1, RFC 9110 §11.4). Without such a header, or with
// another scheme, ok is false and err is nil. Two Authorization headers, or
// Bearer without a token of at most [MaxToken] bytes, are [ErrMalformed].
//
// It does not check the characters of the token. It is for a caller that first
// compares the token with others that were [Valid], and calls Valid before it
// does anything else with the token.
//
// It ignores tokens in a form or in the query.
func Unchecked(h http.Header) (token string, ok bool, err error) {
	values := h["Authorization"]
	switch len(values) {
	case 0:
		return "", false, nil
	case 1:
	default:
		return "", false, errSeveral
	}
	rest, usual := strings.CutPrefix(values[0], "Bearer")
	if !usual || rest != "" && rest[0] != ' ' && isSchemeByte(rest[0]) {
		var scheme string
		if scheme, rest = cutScheme(values[0]); !strings.EqualFold(scheme, "Bearer") {
			return "", false, nil
		}
	}
	if token, err = cutToken(rest); err != nil {
		return "", false, err
	}
	return token, true, nil
}

// cutToken returns what stands behind a scheme (RFC 9110 §11.4): credentials =
// auth-scheme [ 1*SP ( token68 / #auth-param ) ]
func cutToken(rest string) (string, error) {
	token := strings.TrimLeft(rest, " ")
	switch {
	case token == "":
		return "", errNone
	case len(token) == len(rest):
		return "", ErrCharacters
	case len(token) > MaxToken:
		return "", errLong
	}
	return token, nil
}

// A Source says where an API looks for the token of a request. The zero value is
// the Authorization header with the scheme Bearer or DPoP.
type Source struct {
	// Header is another header that holds the token alone, "" for
	// Authorization.
	Header string
	// Schemes are accepted besides Bearer and DPoP, in lower case.
	Schemes []string
}

// Equal reports whether both look in the same place.
func (s *Source) Equal(other *Source) bool {
	accepts := func(a, b []string) bool {
		return !slices.ContainsFunc(a, func(scheme string) bool {
			return !slices.ContainsFunc(b, func(own string) bool { return strings.EqualFold(own, scheme) })
		})
	}
	return s.Header == other.Header && accepts(s.Schemes, other.Schemes) && accepts(other.Schemes, s.Schemes)
}

// Scheme is how a token came.
type Scheme uint8

// The values of Scheme.
const (
	None   Scheme = iota // there is no token
	Bearer               // by itself: as Bearer, under one of Source.Schemes, or in a header of its own
	DPoP                 // under DPoP, with a proof in another header (RFC 9449 §7.1)
)

// Unchecked is [Unchecked] for a source. A header of its own has one value, the
// token; Authorization is then ignored.
func (s *Source) Unchecked(h http.Header) (token string, came Scheme, err error) {
	if s.Header != "" {
		switch values := h[s.Header]; {
		case len(values) == 0:
			return "", None, nil
		case len(values) > 1:
			return "", None, errSeveral
		case values[0] == "":
			return "", None, errNone
		case len(values[0]) > MaxToken:
			return "", None, errLong
		default:
			return values[0], Bearer, nil
		}
	}
	token, ok, err := Unchecked(h)
	if ok {
		return token, Bearer, nil
	}
	if err != nil || len(h["Authorization"]) == 0 {
		return "", None, err
	}
	scheme, rest := cutScheme(h["Authorization"][0])
	switch {
	case strings.EqualFold(scheme, dpop):
		came = DPoP
	case slices.ContainsFunc(s.Schemes, func(own string) bool { return strings.EqualFold(own, scheme) }):
		came = Bearer
	default:
		return "", None, nil
	}
	if token, err = cutToken(rest); err != nil {
		return "", None, err
	}
	return token, came, nil
}

// IsDPoP reports whether the Authorization header has the scheme DPoP, in any
// case (RFC 9449 §7.1).
func IsDPoP(h http.Header) bool {
	values := h["Authorization"]
	if len(values) != 1 {
		return false
	}
	scheme, _ := cutScheme(values[0])
	return strings.EqualFold(scheme, dpop)
}

const dpop = "DPoP"

// IsScheme reports whether s can be the scheme of an Authorization header (RFC
// 9110 §11.1).
func IsScheme(s string) bool {
	scheme, rest := cutScheme(s)
	return scheme != "" && rest == ""
}

// cutScheme cuts after the leading token characters. Whatever follows "Bearer",
// for example a comma or a tab, is then seen as a malformed rest.
func cutScheme(v string) (scheme, rest string) {
	i := 0
	for i < len(v) && isSchemeByte(v[i]) {
		i++
	}
	return v[:i], v[i:]
}

// isSchemeByte reports whether c is a tchar (RFC 9110 §5.6.2).
func isSchemeByte(c byte) bool {
	return isAlnum(c) || strings.IndexByte("!#$%&'*+-.^_`|~", c) >= 0
}

// Valid reports whether token is a token68 (RFC 9110 §11.2): 1*( ALPHA / DIGIT
// / "-" / "." / "_" / "~" / "+" / "/" ) *"=".
func Valid(s string) bool {
	s = strings.TrimRight(s, "=")
	chars := token68()
	for i := range len(s) {
		if chars[s[i]>>6]>>(s[i]&63)&1 == 0 {
			return false
		}
	}
	return s != ""
}

// token68 has a bit for each byte that may be in a token: on the way of every
// token that is new, comparing costs more than all other checks of its form.
func token68() [4]uint64 {
	return [4]uint64{
		1<<('9'+1) - 1<<'0' | 1<<'-' | 1<<'.' | 1<<'+' | 1<<'/',
		1<<('Z'+1-64) - 1<<('A'-64) | 1<<('z'+1-64) - 1<<('a'-64) | 1<<('_'-64) | 1<<('~'-64),
	}
}

func isAlnum(c byte) bool {
	return 'A' <= c && c <= 'Z' || 'a' <= c && c <= 'z' || '0' <= c && c <= '9'
}
