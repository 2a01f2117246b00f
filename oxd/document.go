package oxd

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"strings"

	"example.com/gatehouse/internal/strictjson"
)

var (
	errNoJSON = errors.New("it is not one JSON value in UTF-8")
	errDepth  = errors.New("it is nested too deeply")
)

// A kind is the type of a JSON value.
type kind string

const (
	object kind = "an object"
	array  kind = "an array"
	text   kind = "a string"
	number kind = "a number"
	truth  kind = "true or false"
	null   kind = "null"
)

// A node is one value of the document, with its place.
type node struct {
	place string
	kind  kind
	text  string   // of a string
	names []string // of an object's members, parallel to their values
	items []*node  // the values of an object or array
}

// parse reads the document as a tree. It checks only the form.
func parse(doc []byte) (*node, error) {
	if len(doc) > maxDocument {
		return nil, fmt.Errorf("it has more than %d bytes", maxDocument)
	}
	var whole any
	err := strictjson.Unmarshal(doc, &whole)
	switch {
	case errors.Is(err, strictjson.ErrSyntax):
		return nil, syntax(doc)
	case errors.Is(err, strictjson.ErrDepth):
		return nil, errDepth
	case errors.Is(err, strictjson.ErrType):
		return nil, errors.New("it has a number out of range")
	}
	// The strict reader knows whether a name is repeated; this one knows where.
	d := json.NewDecoder(bytes.NewReader(doc))
	d.UseNumber()
	root, walkErr := walk(d, "", 0)
	if walkErr != nil {
		return nil, walkErr
	}
	if err != nil {
		return nil, errors.New("an object repeats the name of a member")
	}
	return root, nil
}

// syntax says where the document stops being JSON.
func syntax(doc []byte) error {
	var whole json.RawMessage
	var at *json.SyntaxError
	if err := json.Unmarshal(doc, &whole); !errors.As(err, &at) {
		return errNoJSON
	}
	before := doc[:min(max(int(at.Offset)-1, 0), len(doc))]
	line := bytes.Count(before, []byte("\n")) + 1
	column := len(before) - bytes.LastIndexByte(before, '\n')
	return fmt.Errorf("line %d, byte %d: no JSON; comments and remarks such as <- REQUIRED must go", line, column)
}

// walk reads one value. A repeated name, in any case, is an error.
func walk(d *json.Decoder, place string, depth int) (*node, error) {
	if depth > strictjson.MaxDepth {
		return nil, errDepth
	}
	token, err := d.Token()
	if err != nil {
		return nil, errNoJSON
	}
	n := &node{place: place}
	switch v := token.(type) {
	case string:
		n.kind, n.text = text, v
	case json.Number:
		n.kind = number
	case bool:
		n.kind = truth
	case nil:
		n.kind = null
	case json.Delim:
		if v == '{' {
			n.kind = object
			return n, n.members(d, depth)
		}
		n.kind = array
		for i := 0; d.More(); i++ {
			item, err := walk(d, fmt.Sprintf("%s[%d]", place, i), depth+1)
			if err != nil {
				return nil, err
			}
			n.items = append(n.items, item)
		}
		_, err = d.Token()
	}
	return n, err
}

// members reads the rest of an object.
func (n *node) members(d *json.Decoder, depth int) error {
	seen := map[string]bool{}
	for d.More() {
		token, err := d.Token()
		name, ok := token.(string)
		if err != nil || !ok {
			return errNoJSON
		}
		place := join(n.place, name)
		folded := strings.ToLower(name)
		if seen[folded] {
			return fmt.Errorf("%s: the member occurs twice", place)
		}
		seen[folded] = true
		item, err := walk(d, place, depth+1)
		if err != nil {
			return err
		}
		n.names, n.items = append(n.names, name), append(n.items, item)
	}
	_, err := d.Token()
	return err
}

// join adds a member to a place.
func join(place, name string) string {
	if strings.IndexFunc(name, func(c rune) bool { return c <= ' ' || c > '~' || strings.ContainsRune(`.[]"`, c) }) >= 0 || name == "" {
		name = fmt.Sprintf("%q", clip(name))
	}
	if place == "" {
		return clip(name)
	}
	return place + "." + clip(name)
}

// clip bounds what an error quotes of the document.
func clip(s string) string {
	if len(s) > maxQuoted {
		return strings.ToValidUTF8(s[:maxQuoted], "") + "…"
	}
	return s
}

// problems collects what is wrong with a document.
type problems struct {
	list []error
	more int // those not listed
}

func (p *problems) add(place, format string, args ...any) {
	if len(p.list) == maxProblems {
		p.more++
		return
	}
	err := fmt.Errorf(format, args...)
	if place != "" {
		err = fmt.Errorf("%s: %w", place, err)
	}
	p.list = append(p.list, err)
}

func (p *problems) err() error {
	if len(p.list) == 0 {
		return nil
	}
	list := p.list
	if p.more > 0 {
		list = append(list, fmt.Errorf("and %d more", p.more))
	}
	return fmt.Errorf("oxd: protection document: %w", errors.Join(list...))
}
