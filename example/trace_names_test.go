package main

import (
	"fmt"
	"regexp"
	"strings"

	"example.com/gatehouse/example/internal/sequence"
	"example.com/gatehouse/example/internal/wire"
)

// names gives random values in a trace a name that is the same every time:
// ports, shortened secrets, ids and times.
type names struct {
	places *strings.Replacer
	known  map[string]string // by the beginning that is shown
	count  map[string]int
}

func (s *stage) newNames() *names {
	var pairs []string
	for _, p := range []struct{ url, name string }{
		{s.photosURL, "photos"}, {s.shopURL, "printshop"}, {s.serverURL, "server"}, {s.malloryURL, "mallory"},
	} {
		pairs = append(pairs, strings.TrimPrefix(p.url, "http://"), p.name)
	}
	return &names{places: strings.NewReplacer(pairs...), known: map[string]string{}, count: map[string]int{}}
}

var (
	aboutWhom    = regexp.MustCompile(`^\S+… \(a JWT about (\S+) for (\S+)\)$`)
	shortened    = regexp.MustCompile(`^.{6}…$`)
	ticketInside = regexp.MustCompile(`ticket="([^"]+)"`)
	resourceID   = regexp.MustCompile(`r-[A-Z2-7]{16}`)
	seconds      = regexp.MustCompile(`"(exp|iat|nbf)":\d+`)
	errorID      = regexp.MustCompile(`^[A-Z2-7]{12}$`)
)

func (n *names) half(m wire.Message, h wire.Half) sequence.Half {
	out := sequence.Half{Line: n.text(h.Line)}
	for _, l := range h.Lines {
		out.Lines = append(out.Lines, sequence.Line{Name: l.Name, Value: n.value(m, l)})
	}
	return out
}

func (n *names) text(s string) string {
	s = resourceID.ReplaceAllStringFunc(s, func(id string) string { return n.name("r", id) })
	return n.places.Replace(seconds.ReplaceAllString(s, `"$1":"…"`))
}

func (n *names) value(m wire.Message, l wire.Line) string {
	if who := aboutWhom.FindStringSubmatch(l.Value); who != nil {
		return fmt.Sprintf("ID Token (%s at %s)", who[1], who[2])
	}
	switch l.Name {
	case "Authorization":
		if token, ok := strings.CutPrefix(l.Value, "Bearer "); ok {
			return "Bearer " + n.name(bearerKind(m), token)
		}
	case "WWW-Authenticate":
		return n.text(ticketInside.ReplaceAllStringFunc(l.Value, func(param string) string {
			return `ticket="` + n.name("ticket", ticketInside.FindStringSubmatch(param)[1]) + `"`
		}))
	case "id":
		if errorID.MatchString(l.Value) {
			return "…"
		}
	}
	if shortened.MatchString(l.Value) {
		return n.name(kindOf(m, l.Name), l.Value)
	}
	return n.text(l.Value)
}

// name is the name of a secret whose beginning is shown, by the order of
// appearance.
func (n *names) name(kind, begin string) string {
	if n.known[begin] == "" {
		n.count[kind]++
		n.known[begin] = fmt.Sprintf("%s-%d", kind, n.count[kind])
	}
	return n.known[begin]
}

// bearerKind is the kind of a token in an Authorization header.
func bearerKind(m wire.Message) string {
	switch {
	case m.To.ID == "photos":
		return "RPT"
	case m.Kind.Title == "Asks who has signed in":
		return "access-token"
	}
	return "PAT"
}

// kindOf is the kind of a secret in a member.
func kindOf(m wire.Message, name string) string {
	switch name {
	case "access_token":
		switch m.Kind.Title {
		case "Turns the code into a PAT", "Gets a token for itself":
			return "PAT"
		case "The ticket becomes a permission", "The permission grows":
			return "RPT"
		}
	case "token", "rpt":
		return "RPT"
	}
	return strings.ReplaceAll(name, "_", "-")
}
