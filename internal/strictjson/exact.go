package strictjson

import (
	"encoding"
	"encoding/json"
	"reflect"
	"strings"
)

// Decode decodes a document that [Unmarshal] would accept into v with
// encoding/json, for a caller whose types are made for that package, with
// json.Number for example. Members that no field names exactly are taken out
// first, because encoding/json would match them in any case.
func Decode(data []byte, v any) error {
	if p := reflect.ValueOf(v); p.Kind() == reflect.Pointer && p.Elem().Kind() == reflect.Interface {
		if inner := p.Elem().Elem(); inner.Kind() == reflect.Pointer && !inner.IsNil() { // encoding/json fills what it points to
			return Decode(data, inner.Interface())
		}
	}
	t := reflect.TypeOf(v)
	if t == nil || t.Kind() != reflect.Pointer || !folds(t.Elem(), nil) {
		return json.Unmarshal(data, v)
	}
	return json.Unmarshal(exact(data, t.Elem()), v)
}

// decodesItself reports whether encoding/json leaves a value of that type to a
// method of the type.
func decodesItself(t reflect.Type) bool {
	p := reflect.PointerTo(t)
	return p.Implements(reflect.TypeFor[json.Unmarshaler]()) || p.Implements(reflect.TypeFor[encoding.TextUnmarshaler]())
}

// folds reports whether a struct, whose fields match in any case, is in t.
// above holds the types that t is in, against types that hold themselves.
func folds(t reflect.Type, above []reflect.Type) bool {
	if decodesItself(t) {
		return false
	}
	switch t.Kind() {
	case reflect.Struct:
		return true
	case reflect.Pointer, reflect.Slice, reflect.Array, reflect.Map:
		for _, a := range above {
			if a == t {
				return false
			}
		}
		return folds(t.Elem(), append(above, t))
	}
	return false
}

// exact returns data without the members that t has no field for. What does not
// fit t is returned as it is: the decoder says what is wrong with it.
func exact(data json.RawMessage, t reflect.Type) json.RawMessage {
	if !folds(t, nil) {
		return data
	}
	switch t.Kind() {
	case reflect.Pointer:
		return exact(data, t.Elem())
	case reflect.Slice, reflect.Array:
		var list []json.RawMessage
		if json.Unmarshal(data, &list) != nil || list == nil {
			return data
		}
		for i := range list {
			list[i] = exact(list[i], t.Elem())
		}
		return written(list, data)
	}
	var members map[string]json.RawMessage
	if json.Unmarshal(data, &members) != nil || members == nil {
		return data
	}
	var fields map[string]reflect.Type
	if t.Kind() == reflect.Struct {
		fields = map[string]reflect.Type{}
		addFields(fields, t, nil)
	}
	for name, value := range members {
		of := t
		if fields == nil {
			of = t.Elem()
		} else if of = fields[name]; of == nil {
			delete(members, name)
			continue
		}
		members[name] = exact(value, of)
	}
	return written(members, data)
}

func written(v any, otherwise json.RawMessage) json.RawMessage {
	if b, err := json.Marshal(v); err == nil {
		return b
	}
	return otherwise
}

// addFields adds the names that encoding/json has for the fields of t, those of
// embedded structs too. The outer field of two wins.
func addFields(fields map[string]reflect.Type, t reflect.Type, above []reflect.Type) {
	for _, a := range above {
		if a == t {
			return
		}
	}
	above = append(above, t)
	var embedded []reflect.Type
	for i := range t.NumField() {
		f := t.Field(i)
		name, _, _ := strings.Cut(f.Tag.Get("json"), ",")
		inner := f.Type
		if inner.Kind() == reflect.Pointer {
			inner = inner.Elem()
		}
		switch {
		case f.Tag.Get("json") == "-":
		case f.Anonymous && name == "" && inner.Kind() == reflect.Struct:
			embedded = append(embedded, inner)
		case f.IsExported() || f.Anonymous && inner.Kind() == reflect.Struct:
			if name == "" {
				name = f.Name
			}
			if fields[name] == nil {
				fields[name] = f.Type
			}
		}
	}
	for _, e := range embedded {
		addFields(fields, e, above)
	}
}
