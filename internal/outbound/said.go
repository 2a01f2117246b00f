package outbound

import (
	"net/url"
	"slices"
	"strconv"
	"strings"
	"unicode"
)

const (
	// maxWord is the longest error code that is quoted. The registered codes
	// of OAuth and OpenID Connect have at most 26 characters.
	maxWord = 40
	// minSecret is the length from which a value counts as a secret that a
	// longer text may hold. Shorter ones are part of ordinary words.
	minSecret = 4
	// minPart is the length from which a word that is part of a secret is
	// redacted: a server may quote the beginning of a code.
	minPart = 6
	// minRandom is the length, in bytes, from which a word with digits,
	// capitals or signs in it is taken for a random value, and redacted.
	minRandom = 16
)

// redacted stands in a text for what was taken out.
const redacted = "[redacted]"

// Said is what a peer says in place of an answer: an error code and perhaps a
// description (RFC 6749 §4.1.2.1, §5.2). Both are free text of a stranger, who
// may quote what we sent.
type Said struct {
	word   string
	detail func() string // a function, so that no formatting shows what it holds
}

// NewSaid makes a Said. secrets are the values that we sent or were sent, and
// that must not be repeated.
func NewSaid(code, description string, secrets ...string) *Said {
	return &Said{word(code, secrets), func() string { return redact(description, secrets) }}
}

// Apart returns s for a call that also sent values which are no secrets, such as
// its scopes. A code that holds one of them, as a word or as several, is not
// shown either, unless it is registered.
func (s *Said) Apart(values ...string) *Said {
	if slices.Contains(registered, s.word) {
		return s
	}
	for _, value := range values {
		if value != "" && strings.Contains("_"+s.word+"_", "_"+strings.ToLower(value)+"_") {
			return &Said{other(s.word), s.detail}
		}
	}
	return s
}

// registered are the codes of RFC 6749 §4.1.2.1 and §5.2, OpenID Connect Core
// §3.1.2.6, RFC 6750 §3.1 and UMA Grant §3.3.6 that have an ordinary word in
// them, which a parameter may have too, as in prompt=login.
var registered = []string{
	"invalid_request", "invalid_client", "invalid_grant", "invalid_scope", "invalid_token", "invalid_target", "insufficient_scope",
	"unauthorized_client", "unsupported_grant_type", "unsupported_response_type", "access_denied", "server_error", "temporarily_unavailable",
	"interaction_required", "login_required", "account_selection_required", "consent_required",
	"invalid_request_uri", "invalid_request_object", "request_not_supported", "request_uri_not_supported", "registration_not_supported",
	"need_info", "request_denied", "request_submitted",
}

// Error returns the code as [Said.Word] does.
func (s *Said) Error() string {
	if s.word == "" {
		return "error without a code"
	}
	return "error " + s.word
}

// Word is the code, if it is one: at most 40 of a-z and _, holding no secret.
// Of anything else it is "other" with its length. It is "" if there is no code.
func (s *Said) Word() string { return s.word }

// Detail is the description, redacted and shortened. It is for debugging: no
// redaction of free text is certain.
func (s *Said) Detail() string { return s.detail() }

// Detailed is an error that can say more than belongs into every log.
type Detailed interface {
	error
	Detail() string
}

func word(code string, secrets []string) string {
	if code == "" {
		return ""
	}
	plain := len(code) <= maxWord && strings.IndexFunc(code, func(c rune) bool { return c != '_' && (c < 'a' || c > 'z') }) < 0
	if !plain || slices.ContainsFunc(secrets, func(s string) bool { return holds(code, strings.ToLower(s)) }) {
		return other(code)
	}
	return code
}

func other(code string) string { return "other (" + strconv.Itoa(len(code)) + " bytes)" }

// holds reports whether a code holds a secret, or is a long part of one. A very
// short secret counts only as a whole word.
func holds(code, secret string) bool {
	switch {
	case code == secret, len(code) >= minRandom && strings.Contains(secret, code):
		return true
	case len(secret) < minSecret:
		return len(secret) == minSecret-1 && slices.Contains(strings.Split(code, "_"), secret)
	}
	return strings.Contains(code, secret)
}

// redact takes out of a text the secrets, in clear or percent-encoded, parts of
// them, addresses of people, and all that looks random.
func redact(text string, secrets []string) string {
	text = without(text, secrets)
	var out strings.Builder
	for text != "" {
		end := strings.IndexFunc(text, func(c rune) bool { return !inValue(c) })
		switch {
		case end < 0:
			end = len(text)
		case end == 0:
			end = len(text) - len(strings.TrimLeftFunc(text, func(c rune) bool { return !inValue(c) }))
		}
		part := text[:end]
		if isValue(part, secrets) { // with what hangs on it, such as the other parts of a signed token
			part = redacted
			if end = strings.IndexFunc(text, func(c rune) bool { return unicode.IsSpace(c) || strings.ContainsRune("\"'`<>(){}[],;&", c) }); end < 0 {
				end = len(text)
			}
		}
		out.WriteString(part)
		text = text[end:]
	}
	return Clip(out.String())
}

func without(text string, secrets []string) string {
	for _, s := range secrets {
		if len(s) < minSecret {
			continue
		}
		for _, form := range []string{s, url.QueryEscape(s), url.PathEscape(s)} {
			text = strings.ReplaceAll(text, form, redacted)
		}
	}
	// What is encoded in another way, or in another case, takes the text with it.
	plain := strings.ToLower(text)
	for range 3 {
		for _, s := range secrets {
			if len(s) >= minSecret && strings.Contains(plain, strings.ToLower(s)) {
				return redacted
			}
		}
		plain = decoded(plain)
	}
	return text
}

// decoded takes one layer of percent-encoding off, wherever there is one.
func decoded(text string) string {
	var out strings.Builder
	for {
		before, after, found := strings.Cut(text, "%")
		out.WriteString(before)
		if !found {
			return strings.ToLower(out.String())
		}
		if c, err := strconv.ParseUint(after[:min(2, len(after))], 16, 8); err == nil && len(after) >= 2 {
			out.WriteByte(byte(c))
			after = after[2:]
		} else {
			out.WriteByte('%')
		}
		text = after
	}
}

// Quote returns an address that a peer named, as an error may show it: scheme,
// host and path, shortened, without the secrets.
func Quote(raw string, secrets ...string) string { return Clip(without(Address(raw), secrets)) }

// inValue reports whether a character may be in a token or in an address of a
// person.
func inValue(c rune) bool {
	return c == '-' || c == '_' || c == '~' || c == '+' || c == '=' || c == '%' || c == '@' || unicode.IsLetter(c) || unicode.IsDigit(c)
}

func isValue(part string, secrets []string) bool {
	switch {
	case strings.Contains(part, "@"):
		return true
	case len(part) >= minPart && slices.ContainsFunc(secrets, func(s string) bool { return strings.Contains(s, part) }):
		return true
	}
	return len(part) >= minRandom && strings.IndexFunc(part[1:], func(c rune) bool { return c != '_' && (!unicode.IsLetter(c) || unicode.IsUpper(c)) }) >= 0
}
