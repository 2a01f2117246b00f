// Package jsonvalue compares values of Go with JSON, without rounding a number
// and without taking one type for another.
package jsonvalue

import (
	"bytes"
	"encoding/json"
	"fmt"
	"math"
	"reflect"
	"strconv"
	"strings"
)

// maxDigits and maxExponent bound the numbers that are compared. Beyond them a
// number equals none: nobody counts so far, and a stranger could otherwise
// choose how long a comparison takes.
const (
	maxDigits   = 40
	maxExponent = 2 // digits of an exponent
)

// number is a decimal in its only form: no zeros around the digits, and none
// for zero itself.
type number struct {
	negative bool
	digits   string
	exponent int // of the last digit
}

// Of returns v in the form that [Any] compares: a string, a boolean, a number,
// or a []any or map[string]any of those. Its error says that the type of v can
// never equal a JSON value.
func Of(v any) (any, error) {
	if list, ok := v.([]any); ok {
		out := make([]any, 0, len(list))
		for _, e := range list {
			o, err := Of(e)
			if err != nil {
				return nil, err
			}
			out = append(out, o)
		}
		return out, nil
	}
	if object, ok := v.(map[string]any); ok {
		out := make(map[string]any, len(object))
		for name, e := range object {
			o, err := Of(e)
			if err != nil {
				return nil, err
			}
			out[name] = o
		}
		return out, nil
	}
	if n, ok := v.(json.Number); ok {
		return numberOf(string(n), v)
	}
	switch r := reflect.ValueOf(v); r.Kind() {
	case reflect.String:
		return r.String(), nil
	case reflect.Bool:
		return r.Bool(), nil
	case reflect.Int, reflect.Int8, reflect.Int16, reflect.Int32, reflect.Int64:
		return numberOf(strconv.FormatInt(r.Int(), 10), v)
	case reflect.Uint, reflect.Uint8, reflect.Uint16, reflect.Uint32, reflect.Uint64, reflect.Uintptr:
		return numberOf(strconv.FormatUint(r.Uint(), 10), v)
	case reflect.Float32, reflect.Float64:
		if f := r.Float(); math.IsNaN(f) || math.IsInf(f, 0) {
			break
		}
		return numberOf(strconv.FormatFloat(r.Float(), 'e', -1, r.Type().Bits()), v)
	}
	return nil, fmt.Errorf("a value of type %T can never equal a claim", v)
}

func numberOf(literal string, v any) (any, error) {
	if !json.Valid([]byte(literal)) || strings.Trim(literal, "0123456789+-.eE") != "" {
		return nil, fmt.Errorf("a value of type %T that is no number can never equal a claim", v)
	}
	n, ok := parse(literal)
	if !ok {
		return nil, nil // too long to equal anything
	}
	return n, nil
}

// Any reports whether the JSON value raw, or an element of it if it is an
// array, equals one of wanted, which [Of] has returned.
func Any(raw json.RawMessage, wanted []any) bool {
	d := json.NewDecoder(bytes.NewReader(raw))
	d.UseNumber()
	var have any
	if d.Decode(&have) != nil {
		return false
	}
	list, ok := have.([]any)
	if !ok {
		list = []any{have}
	}
	for _, h := range list {
		for _, w := range wanted {
			if equal(h, w) {
				return true
			}
		}
	}
	return false
}

// equal compares a decoded value with one of [Of]. Null equals nothing.
func equal(have, want any) bool {
	switch have := have.(type) {
	case json.Number:
		w, ok := want.(number)
		n, fits := parse(string(have))
		return ok && fits && n == w
	case []any:
		w, ok := want.([]any)
		if !ok || len(have) != len(w) {
			return false
		}
		for i := range have {
			if !equal(have[i], w[i]) {
				return false
			}
		}
		return true
	case map[string]any:
		w, ok := want.(map[string]any)
		if !ok || len(have) != len(w) {
			return false
		}
		for name := range have {
			if v, has := w[name]; !has || !equal(have[name], v) {
				return false
			}
		}
		return true
	case nil:
		return false
	}
	return have == want // a string or a boolean
}

// parse reads a number literal of JSON. It returns false if that is longer than
// the bounds.
func parse(literal string) (number, bool) {
	var n number
	literal, n.negative = strings.CutPrefix(literal, "-")
	mantissa, exponent := literal, ""
	if i := strings.IndexAny(literal, "eE"); i >= 0 {
		mantissa, exponent = literal[:i], literal[i+1:]
	}
	whole, fraction, _ := strings.Cut(mantissa, ".")
	if len(whole)+len(fraction) > maxDigits || len(strings.TrimLeft(exponent, "+-")) > maxExponent {
		return number{}, false
	}
	if exponent != "" {
		e, err := strconv.Atoi(exponent)
		if err != nil {
			return number{}, false
		}
		n.exponent = e
	}
	n.exponent -= len(fraction)
	digits := strings.TrimLeft(whole+fraction, "0")
	n.digits = strings.TrimRight(digits, "0")
	n.exponent += len(digits) - len(n.digits)
	if n.digits == "" {
		return number{}, true
	}
	return n, true
}
