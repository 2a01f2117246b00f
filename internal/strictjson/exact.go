package strictjson

import (
	"encoding"
	"encoding/json"
	"reflect"
	"strings"
	"unicode"
)

// Decode decodes a document that [Unmarshal] would accept into v with
// encoding/json, for a caller whose types are made for that package, with
// json.Number for example. Members that no field names exactly are taken out
// first, because encoding/json would match them in any case.
func Decode(data []byte, v any) error {
	into := reflect.ValueOf(v)
	if into.Kind() != reflect.Pointer || into.IsNil() {
		return json.Unmarshal(data, v)
	}
	at := place{into.Type().Elem(), into.Elem()}
	if !at.folds(0) {
		return json.Unmarshal(data, v)
	}
	return json.Unmarshal(at.exact(data), v)
}

// place is where a value of the document goes: a type, and what is there
// already, which is the zero Value if nothing is.
type place struct {
	t reflect.Type
	v reflect.Value
}

// target follows pointers, and interfaces that hold one: encoding/json fills
// what they point to.
func (p place) target() place {
	for range MaxDepth {
		switch p.t.Kind() {
		case reflect.Pointer:
			p = place{p.t.Elem(), inside(p.v)}
			continue
		case reflect.Interface:
			if held := inside(p.v); held.IsValid() && held.Kind() == reflect.Pointer && !held.IsNil() {
				p = place{held.Type(), held}
				continue
			}
		}
		break
	}
	return p
}

// inside returns what a pointer or interface holds.
func inside(v reflect.Value) reflect.Value {
	if !v.IsValid() || v.IsNil() {
		return reflect.Value{}
	}
	return v.Elem()
}

// item returns the place of an element of a slice or array.
func (p place) item(i int) place {
	if p.v.IsValid() && i < p.v.Len() {
		return place{p.t.Elem(), p.v.Index(i)}
	}
	return place{t: p.t.Elem()}
}

// decodesItself reports whether encoding/json leaves a value of that type to a
// method of the type.
func decodesItself(t reflect.Type) bool {
	p := reflect.PointerTo(t)
	return p.Implements(reflect.TypeFor[json.Unmarshaler]()) || p.Implements(reflect.TypeFor[encoding.TextUnmarshaler]())
}

// folds reports whether a struct, whose fields match in any case, is in p, as
// deep as a document can be.
func (p place) folds(depth int) bool {
	if p = p.target(); depth > MaxDepth || decodesItself(p.t) {
		return false
	}
	switch p.t.Kind() {
	case reflect.Struct:
		return true
	case reflect.Map:
		return place{t: p.t.Elem()}.folds(depth + 1)
	case reflect.Slice, reflect.Array:
		if (place{t: p.t.Elem()}).folds(depth + 1) {
			return true
		}
		for i := 0; p.v.IsValid() && i < p.v.Len(); i++ {
			if p.item(i).folds(depth + 1) {
				return true
			}
		}
	}
	return false
}

// exact returns data without the members that p has no field for. What does not
// fit is returned as it is: the decoder says what is wrong with it.
func (p place) exact(data json.RawMessage) json.RawMessage {
	p = p.target()
	if decodesItself(p.t) {
		return data
	}
	switch p.t.Kind() {
	case reflect.Slice, reflect.Array:
		var list []json.RawMessage
		if json.Unmarshal(data, &list) != nil || list == nil {
			return data
		}
		for i := range list {
			list[i] = p.item(i).exact(list[i])
		}
		return written(list, data)
	case reflect.Struct, reflect.Map:
	default:
		return data
	}
	var members map[string]json.RawMessage
	if json.Unmarshal(data, &members) != nil || members == nil {
		return data
	}
	var fields map[string]field
	if p.t.Kind() == reflect.Struct {
		fields = fieldsOf(p.t)
	}
	for name, value := range members {
		of := place{}
		if fields == nil {
			of.t = p.t.Elem()
		} else if f, ok := fields[name]; ok && !f.hidden {
			of.t = f.t
			if p.v.IsValid() {
				of.v, _ = p.v.FieldByIndexErr(f.index) // of an embedded pointer that is nil, nothing is there
			}
		} else {
			delete(members, name)
			continue
		}
		members[name] = of.exact(value)
	}
	return written(members, data)
}

func written(v any, otherwise json.RawMessage) json.RawMessage {
	if b, err := json.Marshal(v); err == nil {
		return b
	}
	return otherwise
}

// field is a field of a struct or of one that is embedded in it.
type field struct {
	t      reflect.Type
	index  []int
	tagged bool // its name is that of a tag
	hidden bool // two of one depth have the name, so encoding/json fills neither
}

// fieldsOf returns the names that encoding/json has for the fields of a struct.
// Of several with one name the outermost counts, and of those the one with a
// tag.
func fieldsOf(t reflect.Type) map[string]field {
	fields, seen := map[string]field{}, map[reflect.Type]bool{}
	for level := []field{{t: t}}; len(level) > 0; {
		here := map[string]field{}
		var next []field
		for _, of := range level {
			if seen[of.t] {
				continue
			}
			seen[of.t] = true
			for i := range of.t.NumField() {
				f, embedded, ok := readField(of.t.Field(i), append(of.index[:len(of.index):len(of.index)], i))
				switch had, twice := here[f.name]; {
				case !ok:
				case embedded:
					next = append(next, f.field)
				case !twice || f.tagged && !had.tagged:
					here[f.name] = f.field
				case f.tagged == had.tagged:
					had.hidden = true
					here[f.name] = had
				}
			}
		}
		for name, f := range here {
			if _, outer := fields[name]; !outer {
				fields[name] = f
			}
		}
		level = next
	}
	return fields
}

type namedField struct {
	field
	name string
}

// readField reads a field as encoding/json does. The fields of an embedded
// struct without a name of its own count as those of the outer one.
func readField(s reflect.StructField, index []int) (f namedField, embedded, ok bool) {
	tag := s.Tag.Get("json")
	inner := s.Type
	if inner.Kind() == reflect.Pointer && inner.Name() == "" {
		inner = inner.Elem()
	}
	isStruct := inner.Kind() == reflect.Struct
	if tag == "-" || !s.IsExported() && !(s.Anonymous && isStruct) {
		return f, false, false
	}
	name, _, _ := strings.Cut(tag, ",")
	if strings.ContainsFunc(name, func(c rune) bool {
		return !strings.ContainsRune("!#$%&()*+-./:;<=>?@[]^_{|}~ ", c) && !unicode.IsLetter(c) && !unicode.IsDigit(c)
	}) {
		name = "" // not one that encoding/json takes
	}
	if name == "" && s.Anonymous && isStruct {
		return namedField{field: field{t: inner, index: index}}, true, true
	}
	f = namedField{field{t: s.Type, index: index, tagged: name != ""}, name}
	if name == "" {
		f.name = s.Name
	}
	return f, false, true
}
