package gatehouse

import "fmt"

// redacted is what a Secret shows of itself.
const redacted = "[redacted]"

// Secret holds a client secret, a token or a key so that it cannot be printed
// by accident: fmt, log/slog, encoding/json, encoding/xml and text/template all
// show "[redacted]". The zero value holds nothing. A Secret is a struct around a
// pointer because fmt calls no method of what sits in an unexported field: it
// would print the text of a string type there, and prints the address of this.
//
// A Secret is immutable and safe for concurrent use.
type Secret struct{ text *string }

// NewSecret wraps text. An empty text gives the zero Secret.
func NewSecret(text string) Secret {
	if text == "" {
		return Secret{}
	}
	return Secret{text: &text}
}

// Reveal returns the text, "" for the zero Secret. Call it where the text is
// sent or compared, nowhere else.
func (s Secret) Reveal() string {
	if s.text == nil {
		return ""
	}
	return *s.text
}

// IsZero reports whether there is no text.
func (s Secret) IsZero() bool { return s.text == nil }

// Format writes "[redacted]" for every verb of fmt, and so for text/template.
func (s Secret) Format(f fmt.State, _ rune) { fmt.Fprint(f, redacted) }

// MarshalText returns "[redacted]", for every encoder that asks for text:
// encoding/json, encoding/xml and both handlers of log/slog among them.
func (s Secret) MarshalText() ([]byte, error) { return []byte(redacted), nil }
