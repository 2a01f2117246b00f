// Package challenge reads and writes WWW-Authenticate headers.
package challenge

import (
	"errors"
	"strings"
)

// MaxHeader bounds all header lines together. Real challenges carry a ticket of
// up to 3 KiB.
const MaxHeader = 16 << 10

var (
	// ErrTooLong means that the header lines together are longer than
	// [MaxHeader].
	ErrTooLong = errors.New("challenge: header too long")

	// ErrMalformed means that a line is not a list of challenges.
	ErrMalformed = errors.New("challenge: malformed header")
)

// Challenge is one challenge of a WWW-Authenticate header. It has parameters
// or a token68, or neither.
type Challenge struct {
	Scheme  string            // as written; compare with strings.EqualFold
	Params  map[string]string // names in lower case, values unquoted; never nil
	Token68 string
}

// Parse reads the lines of a WWW-Authenticate header (RFC 9110 §11.6.1), each
// of which is a list of challenges. If one line is malformed, or a challenge
// repeats a parameter, the whole header is an error: a guess could pair one
// challenge's ticket with another's server.
//
// Parse is more lenient than the grammar in one way. It accepts characters in
// unquoted values that only quoted ones may have, as in `UMA
// realm=x,as_uri=https://as.example.org`.
func Parse(values []string) ([]Challenge, error) {
	total := 0
	for _, v := range values {
		total += len(v)
	}
	if total > MaxHeader {
		return nil, ErrTooLong
	}
	var all []Challenge
	for _, v := range values {
		p := parser{rest: v}
		found, ok := p.line()
		if !ok {
			return nil, ErrMalformed
		}
		all = append(all, found...)
	}
	return all, nil
}

// parser consumes rest from the front. Its methods report whether they found
// what they are named after.
type parser struct{ rest string }

// line reads challenges and their parameters. Commas separate both. A name
// followed by "=" is a parameter, and any other token is a scheme.
func (p *parser) line() ([]Challenge, bool) {
	var all []Challenge
	for {
		p.skip(" \t,") // empty list elements are allowed, RFC 9110 §5.6.1.2
		if p.rest == "" {
			return all, true
		}
		word := p.token()
		if word == "" {
			return nil, false
		}
		after := parser{strings.TrimLeft(p.rest, " \t")}
		if strings.HasPrefix(after.rest, "=") {
			if len(all) == 0 || all[len(all)-1].Token68 != "" || !p.param(&all[len(all)-1], word) {
				return nil, false
			}
		} else {
			all = append(all, Challenge{Scheme: word, Params: map[string]string{}})
			if !p.credentials(&all[len(all)-1]) {
				return nil, false
			}
		}
		if !p.ended() {
			return nil, false
		}
	}
}

// credentials reads what follows a scheme: a token68, the first parameter, or
// nothing.
func (p *parser) credentials(c *Challenge) bool {
	if !strings.HasPrefix(p.rest, " ") {
		return true // line checks what follows
	}
	p.skip(" \t")
	start := *p
	if word := p.token68(); word != "" && p.ended() {
		c.Token68 = word
		return true
	}
	*p = start
	name := p.token()
	if name == "" {
		return true // nothing; ended rejects anything else
	}
	return p.param(c, name)
}

// param reads `= value` for the parameter name, which is already consumed.
func (p *parser) param(c *Challenge, name string) bool {
	p.skip(" \t")
	if !strings.HasPrefix(p.rest, "=") {
		return false
	}
	p.rest = p.rest[1:]
	p.skip(" \t")
	value, ok := p.value()
	if !ok {
		return false
	}
	name = strings.ToLower(name)
	if _, twice := c.Params[name]; twice { // RFC 9110 §11.2
		return false
	}
	c.Params[name] = value
	return true
}

func (p *parser) value() (string, bool) {
	if strings.HasPrefix(p.rest, `"`) {
		return p.quoted()
	}
	// A token or, leniently, any visible characters up to the next comma.
	v := p.while(func(c byte) bool { return c > ' ' && c < 0x7f && c != ',' && c != '"' && c != '\\' })
	return v, v != ""
}

// quoted reads a quoted-string (RFC 9110 §5.6.4).
func (p *parser) quoted() (string, bool) {
	var b strings.Builder
	for i := 1; i < len(p.rest); i++ {
		c := p.rest[i]
		if c == '"' {
			p.rest = p.rest[i+1:]
			return b.String(), true
		}
		if c == '\\' {
			i++
			if i == len(p.rest) {
				return "", false
			}
			c = p.rest[i]
		}
		if isControl(c) && c != '\t' {
			return "", false
		}
		b.WriteByte(c)
	}
	return "", false
}

// ended reports whether a list element ends here.
func (p *parser) ended() bool {
	rest := strings.TrimLeft(p.rest, " \t")
	return rest == "" || rest[0] == ','
}

func (p *parser) token() string { return p.while(isTokenByte) }

func (p *parser) token68() string {
	head := p.while(func(c byte) bool { return isAlnum(c) || strings.IndexByte("-._~+/", c) >= 0 })
	if head == "" {
		return ""
	}
	return head + p.while(func(c byte) bool { return c == '=' })
}

func (p *parser) skip(set string) { p.rest = strings.TrimLeft(p.rest, set) }

func (p *parser) while(is func(byte) bool) string {
	i := 0
	for i < len(p.rest) && is(p.rest[i]) {
		i++
	}
	v := p.rest[:i]
	p.rest = p.rest[i:]
	return v
}

// isTokenByte reports whether c is a tchar (RFC 9110 §5.6.2).
func isTokenByte(c byte) bool {
	return isAlnum(c) || strings.IndexByte("!#$%&'*+-.^_`|~", c) >= 0
}

func isAlnum(c byte) bool {
	return 'A' <= c && c <= 'Z' || 'a' <= c && c <= 'z' || '0' <= c && c <= '9'
}

func isControl(c byte) bool { return c < ' ' || c == 0x7f }
