// Package strictjson decodes JSON from other parties so that there is only one
// way to read it: member names are exact and unique, no data trails, and
// nesting is bounded.
package strictjson

import (
	"errors"

	"github.com/go-jose/go-jose/v4/json"
)

// MaxDepth bounds the nesting of objects and arrays. The decoder recurses
// once per level; real documents of these protocols stay below ten.
const MaxDepth = 32

// The errors of [Unmarshal]. They do not quote the input.
var (
	ErrSyntax    = errors.New("strictjson: not one JSON value in UTF-8")
	ErrDuplicate = errors.New("strictjson: an object repeats a member name")
	ErrDepth     = errors.New("strictjson: nested too deeply")
	ErrType      = errors.New("strictjson: a value does not fit its target")
)

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
	d := scanner{lexer: lexer{s: string(data)}}
	if err := d.document(); err != nil {
		return err
	}
	err := json.Unmarshal(data, v)
	if _, misuse := errors.AsType[*json.InvalidUnmarshalError](err); err == nil || misuse {
		return err // the caller's mistake; its text contains no input
	}
	// The decoder's own text may quote a number, a string or a name.
	return ErrType
}
