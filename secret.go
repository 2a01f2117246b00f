package gatehouse

import "fmt"

// redacted is the text that every Secret prints as.
const redacted = "[redacted]"

// Secret holds a client secret, a token or a key so that it cannot be printed
// by accident: fmt, log/slog, encoding/json, encoding/xml and text/template
// all show "[redacted]". The zero value holds nothing.
//
// A Secret is immutable and safe for concurrent use.
type Secret struct{ text *string } // a pointer: fmt calls no methods on unexported fields, but prints only an address

// NewSecret returns a Secret that holds text. For an empty text it returns the
// zero Secret.
func NewSecret(text string) Secret {
	if text == "" {
		return Secret{}
	}
	return Secret{text: &text}
}

// Reveal returns the text, or "" for the zero Secret. Call it only where the
// text is sent or compared.
func (s Secret) Reveal() string {
	if s.text == nil {
		return ""
	}
	return *s.text
}

// IsZero reports whether the Secret holds no text.
func (s Secret) IsZero() bool { return s.text == nil }

// Format implements fmt.Formatter. It writes "[redacted]" for every verb, also
// when text/template prints through fmt.
func (s Secret) Format(f fmt.State, _ rune) { fmt.Fprint(f, redacted) }

// MarshalText implements encoding.TextMarshaler. It returns "[redacted]",
// which encoding/json, encoding/xml and both handlers of log/slog then write.
func (s Secret) MarshalText() ([]byte, error) { return []byte(redacted), nil }
