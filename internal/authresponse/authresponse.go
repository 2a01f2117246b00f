// Package authresponse says what an authorization response has to be: which
// values a provider is asked for, how the browser brings them, and what is taken
// from what it brought.
//
// It knows names and texts. It must not know requests, sign-ins or tokens: its
// caller decides which response belongs to which sign-in, and verifies what is
// in it.
package authresponse

import (
	"errors"
	"fmt"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"time"
)

// Mode is how a response comes back (OAuth 2.0 Multiple Response Type Encoding
// Practices §2.1, OAuth 2.0 Form Post Response Mode §2).
type Mode string

// The modes.
const (
	Query    Mode = "query"
	FormPost Mode = "form_post"
	Fragment Mode = "fragment"
)

const (
	// maxCode bounds the authorization code, in bytes.
	maxCode = 8 << 10
	// maxToken bounds each token, in bytes, before anybody parses it. Tokens of
	// real servers stay below 4 KiB.
	maxToken = 16 << 10
	// maxExpiresIn bounds expires_in to ten years, so that arithmetic cannot
	// overflow.
	maxExpiresIn = 10 * 365 * 24 * time.Hour
)

// The reasons for which a response cannot be used.
var (
	ErrMalformed = errors.New("malformed response")                  // a value is missing, too long or there twice
	ErrNoIDToken = errors.New("no id_token in the response")         // although one was asked for
	ErrTokenType = errors.New("token type that is not understood")   // of the access token (OpenID Connect Core §3.2.2.5)
	ErrMode      = errors.New("response in another mode than asked") // which nobody who answers honestly does
)

// Kind is what a provider is asked for. The zero value is nothing; see [Parse].
type Kind struct {
	Code, IDToken, Token bool
	Mode                 Mode
}

// Usual is the code in the query.
func Usual() Kind { return Kind{Code: true, Mode: Query} }

// Parse reads a response type, whose words may come in any order (OAuth 2.0
// Multiple Response Type Encoding Practices §3). The mode is the default of the
// type. An access token alone, "none" and the types with a code and an access
// token are errors: the first proves nothing about a person, and nobody needs the
// last, because the code gives a token that no browser has seen.
func Parse(responseType string) (Kind, error) {
	var k Kind
	for _, word := range strings.Fields(responseType) {
		switch {
		case word == "code" && !k.Code:
			k.Code = true
		case word == "id_token" && !k.IDToken:
			k.IDToken = true
		case word == "token" && !k.Token:
			k.Token = true
		default:
			return Kind{}, unknownType(responseType)
		}
	}
	if k.Token && (!k.IDToken || k.Code) || !k.Code && !k.IDToken {
		return Kind{}, unknownType(responseType)
	}
	k.Mode = k.usual()
	return k, nil
}

func unknownType(s string) error {
	return fmt.Errorf("%q is not one of code, id_token, id_token token, code id_token", s)
}

// In returns the kind with a mode; "" means the default. Tokens never come in the
// query, which logs and other sites see (OAuth 2.0 Multiple Response Type Encoding
// Practices §3.0, §5).
func (k Kind) In(mode string) (Kind, error) {
	switch m := Mode(mode); {
	case m == "":
	case m != Query && m != FormPost && m != Fragment:
		return k, fmt.Errorf("%q is not one of query, form_post, fragment", mode)
	case m == Query && k.IDToken:
		return k, fmt.Errorf("query cannot carry an ID Token: %q needs form_post or fragment", k.Type())
	default:
		k.Mode = m
	}
	return k, nil
}

// usual is the mode of a type for which none is requested.
func (k Kind) usual() Mode {
	if k.IDToken || k.Token {
		return Fragment
	}
	return Query
}

// Type is the response_type, spelled as it is registered.
func (k Kind) Type() string {
	var words []string
	for _, w := range []struct {
		asked bool
		word  string
	}{{k.Code, "code"}, {k.IDToken, "id_token"}, {k.Token, "token"}} {
		if w.asked {
			words = append(words, w.word)
		}
	}
	return strings.Join(words, " ")
}

// Requested is the response_mode to request, "" for the default of the type,
// which is not to be requested (OAuth 2.0 Multiple Response Type Encoding
// Practices §2.1).
func (k Kind) Requested() string {
	if k.Mode == k.usual() {
		return ""
	}
	return string(k.Mode)
}

// Offered compares the kind with what a provider says that it supports. A list
// that is nil says nothing. Types are sets of words (RP-D4).
func (k Kind) Offered(types, modes []string) error {
	same := func(listed string) bool {
		words := strings.Fields(listed)
		slices.Sort(words)
		mine := strings.Fields(k.Type())
		slices.Sort(mine)
		return slices.Equal(slices.Compact(words), mine)
	}
	switch {
	case types != nil && !slices.ContainsFunc(types, same):
		return fmt.Errorf("response_types_supported has no %q", k.Type())
	case modes != nil && !slices.Contains(modes, string(k.Mode)):
		return fmt.Errorf("response_modes_supported has no %q", k.Mode)
	}
	return nil
}

const (
	packedCode = 1 << iota
	packedIDToken
	packedToken
	packedFormPost
	packedFragment
)

// Pack returns the kind as a short text, which is "" for the usual one.
func (k Kind) Pack() string {
	if k == Usual() {
		return ""
	}
	var b byte
	for _, f := range []struct {
		on  bool
		bit byte
	}{{k.Code, packedCode}, {k.IDToken, packedIDToken}, {k.Token, packedToken}, {k.Mode == FormPost, packedFormPost}, {k.Mode == Fragment, packedFragment}} {
		if f.on {
			b |= f.bit
		}
	}
	return string([]byte{b})
}

// Unpack reads what [Kind.Pack] returned. It reports whether the text is valid.
func Unpack(s string) (Kind, bool) {
	if s == "" {
		return Usual(), true
	}
	b := s[0]
	k := Kind{Code: b&packedCode != 0, IDToken: b&packedIDToken != 0, Token: b&packedToken != 0, Mode: Query}
	switch {
	case b&packedFormPost != 0:
		k.Mode = FormPost
	case b&packedFragment != 0:
		k.Mode = Fragment
	}
	return k, k.Pack() == s
}

// Names are the parameters of a response that are read. Others are ignored (RFC
// 6749 §4.1.2).
func Names() []string {
	return []string{"state", "code", "iss", "error", "error_description", "error_uri",
		"id_token", "access_token", "token_type", "expires_in", "scope"}
}

// Once returns an error if one of the parameters occurs more than once (RFC 6749
// §3.1).
func Once(v url.Values) error {
	for _, name := range Names() {
		if n := len(v[name]); n > 1 {
			return fmt.Errorf("%w: %s occurs %d times", ErrMalformed, name, n)
		}
	}
	return nil
}

// Any reports whether one of the parameters is there.
func Any(v url.Values) bool {
	return slices.ContainsFunc(Names(), func(name string) bool { return v.Has(name) })
}

// Values are what a response brought. Nothing of it is verified.
type Values struct {
	Code, IDToken, Access string
	Scope                 string
	HasScope              bool
	ExpiresIn             time.Duration // 0 if the response does not say, or nothing that makes sense
}

// Take returns the values that were asked for. What was not asked for is left
// out, so an access token that somebody added to a response is none.
func (k Kind) Take(v url.Values) (Values, error) {
	var got Values
	if k.Code {
		if got.Code = v.Get("code"); got.Code == "" || len(got.Code) > maxCode {
			return Values{}, fmt.Errorf("%w: code of %d bytes", ErrMalformed, len(got.Code))
		}
	}
	if k.IDToken {
		switch got.IDToken = v.Get("id_token"); {
		case got.IDToken == "":
			return Values{}, ErrNoIDToken
		case len(got.IDToken) > maxToken:
			return Values{}, fmt.Errorf("%w: id_token of %d bytes", ErrMalformed, len(got.IDToken))
		}
	}
	if !k.Token {
		return got, nil
	}
	switch got.Access = v.Get("access_token"); {
	case got.Access == "" || len(got.Access) > maxToken:
		return Values{}, fmt.Errorf("%w: access_token of %d bytes", ErrMalformed, len(got.Access))
	case !strings.EqualFold(v.Get("token_type"), "bearer"): // RFC 6749 §7.1: case does not matter
		return Values{}, ErrTokenType
	}
	got.Scope, got.HasScope = v.Get("scope"), v.Has("scope")
	if n, err := strconv.ParseUint(v.Get("expires_in"), 10, 63); err == nil {
		got.ExpiresIn = time.Duration(min(n, uint64(maxExpiresIn/time.Second))) * time.Second
	}
	return got, nil
}
