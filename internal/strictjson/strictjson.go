// Package strictjson decodes JSON from other parties so that there is only one
// way to read it: member names are exact and unique, no data trails, and
// nesting is bounded.
package strictjson

import (
	"errors"
	"strconv"
	"strings"

	"github.com/go-jose/go-jose/v4/json"
)

// MaxDepth bounds the nesting of objects and arrays. The decoder recurses
// once per level; real documents of these protocols stay below ten.
const MaxDepth = 32

// The errors of [Unmarshal]. They do not quote the input, but that an object
// repeats a name is told with the name if it can be one that somebody chose.
var (
	ErrSyntax    = errors.New("strictjson: not one JSON value in UTF-8")
	ErrDuplicate = errors.New("strictjson: an object repeats a member name")
	ErrDepth     = errors.New("strictjson: nested too deeply")
	ErrType      = errors.New("strictjson: a value does not fit its target")
)

// repeated is an ErrDuplicate with the name.
type repeated struct{ name string }

func (e *repeated) Error() string { return ErrDuplicate.Error() + ", " + strconv.Quote(e.name) }

func (e *repeated) Is(target error) bool { return target == ErrDuplicate }

const (
	// maxName is the longest name that an error quotes. The longest that are
	// registered have about 60 bytes.
	maxName = 80
	// minRandom is the length from which a name with digits or capitals may be
	// a random value, and is not quoted.
	minRandom = 16
)

// repeats returns the error for a repeated name.
func repeats(name string) error {
	const lower, rest = "abcdefghijklmnopqrstuvwxyz_-.:/#", "ABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789"
	if len(name) > maxName || strings.Trim(name, lower+rest) != "" || len(name) >= minRandom && strings.ContainsAny(name, rest) {
		return ErrDuplicate
	}
	return &repeated{name}
}

// Without returns an error of this package without the name that it quotes, if
// that holds one of the secrets. Other errors are returned unchanged.
func Without(err error, secrets ...string) error {
	twice, ok := errors.AsType[*repeated](err)
	if !ok {
		return err
	}
	for _, secret := range secrets {
		if secret != "" && strings.Contains(strings.ToLower(twice.name), strings.ToLower(secret)) {
			return ErrDuplicate
		}
	}
	return err
}

// Check reports whether [Unmarshal] would accept the document.
func Check(data []byte) error {
	d := scanner{lexer: lexer{s: string(data)}}
	return d.document()
}

// Unmarshal decodes one JSON value into v as encoding/json does, but rejects
// input that two readers could understand differently: trailing data, bytes
// that are not UTF-8, nesting beyond [MaxDepth], and objects that repeat a
// member name. This holds at every depth, and also for raw messages and members
// that v does not have. Names are compared exactly (RFC 8259 §8.3): two that
// differ in case are two names, and struct fields are filled only from names
// that equal theirs. Unknown members are ignored.
//
// After an error the content of v is unspecified.
func Unmarshal(data []byte, v any) error {
	if err := Check(data); err != nil {
		return err
	}
	err := json.Unmarshal(data, v)
	if _, misuse := errors.AsType[*json.InvalidUnmarshalError](err); err == nil || misuse {
		return err // the caller's mistake; its text contains no input
	}
	// The decoder's own text may quote a number, a string or a name.
	return ErrType
}
