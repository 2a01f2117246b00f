// Package discovery reads the document that a server publishes about itself,
// member by member, so that a defect costs only the member that has it.
package discovery

import (
	"bytes"
	"encoding/json"
	"errors"
	"maps"
	"slices"
	"strings"

	"example.com/gatehouse/internal/outbound"
)

// The reasons for which a member is not used, beside those of
// [outbound.CheckURL].
var (
	errText  = errors.New("not a text")
	errList  = errors.New("not a list of texts")
	errEmpty = errors.New("empty")
	errHTTP  = errors.New("http, but the issuer is https")
)

// Defects are the members of a document that are not used, each with the
// reason. The reasons do not quote the document.
type Defects map[string]error

// Names returns the names of the members, sorted.
func (d Defects) Names() []string { return slices.Sorted(maps.Keys(d)) }

// Rules say which addresses a document may name.
type Rules struct {
	// HTTPS requires https of every address, also on loopback.
	HTTPS bool
	// InsecureHTTP allows http to hosts other than loopback.
	InsecureHTTP bool
	// Inner is the origin that the document was fetched from, if that is inside
	// of the proxy that the world sees. What we call there ourselves may have its
	// scheme, whatever HTTPS says. "" means none.
	Inner string
}

// Document is a document under reading. Its methods note what they find wrong
// and return the zero value for it. A member that is null counts as absent.
type Document struct {
	members map[string]json.RawMessage
	rules   Rules
	defects Defects
}

// New makes a Document of the members of a JSON object.
func New(members map[string]json.RawMessage, rules Rules) *Document {
	return &Document{members: members, rules: rules, defects: Defects{}}
}

// Defects returns what the calls so far have found.
func (d *Document) Defects() Defects { return d.defects }

// Text returns a member that is a text.
func (d *Document) Text(name string) string {
	var s string
	if raw, ok := d.present(name); ok && (raw[0] != '"' || json.Unmarshal(raw, &s) != nil) {
		d.defects[name] = errText
	}
	return s
}

// Endpoint returns a member that is the address of an endpoint that we call.
func (d *Document) Endpoint(name string) string { return d.address(name, d.rules.Inner) }

// Page returns a member that is an address to which browsers are sent. They come
// from outside, so nothing is different for it at the inner origin.
func (d *Document) Page(name string) string { return d.address(name, "") }

func (d *Document) address(name, inner string) string {
	s := d.Text(name)
	if s == "" {
		if _, ok := d.present(name); ok && d.defects[name] == nil {
			d.defects[name] = errEmpty
		}
		return ""
	}
	u, err := outbound.CheckURL(s, d.rules.InsecureHTTP)
	if err == nil && d.rules.HTTPS && u.Scheme != "https" && outbound.Origin(u) != inner {
		err = errHTTP
	}
	if err != nil {
		d.defects[name] = err
		return ""
	}
	return s
}

// List returns a member that is an array of texts.
func (d *Document) List(name string) []string {
	raw, ok := d.present(name)
	if !ok {
		return nil
	}
	var all []*string
	if json.Unmarshal(raw, &all) != nil || slices.Contains(all, nil) {
		d.defects[name] = errList
		return nil
	}
	list := make([]string, 0, len(all))
	for _, s := range all {
		list = append(list, *s)
	}
	return list
}

// Promised reports whether a member is there and anything but false. A server
// that meant to promise something is so held to it.
func (d *Document) Promised(name string) bool {
	raw, ok := d.members[name]
	return ok && strings.TrimSpace(string(raw)) != "false"
}

func (d *Document) present(name string) (json.RawMessage, bool) {
	raw := bytes.TrimSpace(d.members[name])
	return raw, len(raw) > 0 && string(raw) != "null"
}
