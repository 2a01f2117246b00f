package wire

import (
	"bytes"
	"encoding/json"
	"fmt"
	"net/http"
	"net/url"
	"slices"
	"strings"
)

const (
	// maxMembers is how many members of one body are shown. Metadata has more;
	// the important ones come first.
	maxMembers = 9
	// maxValue is how much of one value is shown.
	maxValue = 220
)

// Message is one request and its answer, as the panel shows it.
type Message struct {
	From, To Actor
	Kind     Kind
	Number   int // in its step, in the order in which requests were sent
	Request  Half
	Response Half
	// Inner are the messages that it took to answer this one.
	Inner []Message
	// Again are the first lines of requests right after that went the same way.
	Again []string
}

// Half is a request or an answer: its first line and what matters of the rest.
type Half struct {
	Line  string
	Lines []Line
}

// Line is a header or a member of a body.
type Line struct {
	Name, Value string
	Header      bool
}

// exchange is what was seen of one request and its answer.
type exchange struct {
	from, to       Actor
	method         string
	url            *url.URL
	requestHeader  http.Header
	requestBody    []byte
	status         int
	responseHeader http.Header
	responseBody   []byte
	failed         bool // there was no answer

	form   url.Values     // of the request, by facts
	sent   any            // JSON of the request
	answer map[string]any // JSON object of the answer
}

// facts reads the bodies.
func (x *exchange) facts() {
	kind := x.requestHeader.Get("Content-Type")
	switch {
	case strings.HasPrefix(kind, "application/x-www-form-urlencoded"):
		if form, err := url.ParseQuery(string(x.requestBody)); err == nil {
			x.form = form
		}
	case strings.HasPrefix(kind, "application/json"):
		_ = json.Unmarshal(x.requestBody, &x.sent) // what cannot be read is not shown
	}
	if x.responseHeader != nil {
		_ = json.Unmarshal(x.responseBody, &x.answer)
	}
}

// message is what is kept: the kind, and the important parts with every secret
// shortened.
func (x exchange) message() Message {
	x.facts()
	m := Message{From: x.from, To: x.to, Kind: x.kind()}
	m.Request.Line = x.method + " " + shownPath(x.url)
	m.Request.Lines = append(formLines(x.url.Query()), headerLines(x.requestHeader, "Authorization")...)
	m.Request.Lines = append(m.Request.Lines, formLines(x.form)...)
	m.Request.Lines = append(m.Request.Lines, jsonLines(x.sent)...)
	if x.failed {
		m.Response.Line = "no answer"
		return m
	}
	m.Response.Line = fmt.Sprintf("%d %s", x.status, http.StatusText(x.status))
	m.Response.Lines = headerLines(x.responseHeader, "Www-Authenticate", "Warning", "Retry-After", "Location")
	if x.answer != nil {
		m.Response.Lines = append(m.Response.Lines, jsonLines(x.answer)...)
	}
	return m
}

func headerLines(h http.Header, names ...string) []Line {
	var out []Line
	for _, name := range names {
		for _, value := range h[name] {
			shown := value
			switch name {
			case "Authorization":
				shown = shownCredentials(value)
			case "Www-Authenticate":
				name, shown = "WWW-Authenticate", shownChallenge(value)
			case "Location":
				out = append(out, locationLines(value)...)
				continue
			default:
				shown = shownText(value)
			}
			out = append(out, Line{Name: name, Value: clip(shown), Header: true})
		}
	}
	return out
}

// locationLines shows where a browser is sent, with the parameters below.
func locationLines(value string) []Line {
	address, query, _ := strings.Cut(value, "?")
	out := []Line{{Name: "Location", Value: clip(shownLocation(address)), Header: true}}
	if values, err := url.ParseQuery(query); err == nil {
		out = append(out, formLines(values)...)
	}
	return out
}

func formLines(form url.Values) []Line {
	var out []Line
	for _, name := range ordered(form) {
		for _, value := range form[name] {
			if value != "" && len(out) < maxMembers {
				out = append(out, Line{Name: name, Value: clip(shownMember(name, value))})
			}
		}
	}
	return out
}

// jsonLines shows an object member by member, and anything else in one line.
func jsonLines(v any) []Line {
	object, ok := v.(map[string]any)
	if !ok {
		if v == nil {
			return nil
		}
		return []Line{{Value: clip(compact(shownJSON("", v)))}}
	}
	var out []Line
	long := len(object) > maxMembers
	for _, name := range ordered(object) {
		if long && (len(out) == maxMembers || !slices.Contains(first, name)) {
			return append(out, Line{Name: "…", Value: fmt.Sprintf("and %d more", len(object)-len(out))})
		}
		value := shownJSON(name, object[name])
		if list, ok := object[name].([]any); ok && name == "keys" {
			value = fmt.Sprintf("%d public keys", len(list))
		}
		text, ok := value.(string)
		if !ok {
			text = compact(value)
		}
		out = append(out, Line{Name: name, Value: clip(text)})
	}
	return out
}

// first lists the most interesting names, in the order of interest.
var first = []string{
	"error", "error_description", "grant_type", "response_type", "active", "permissions", "ticket", "claim_token", "claim_token_format",
	"required_claims", "interval", "resource_id", "resource_scopes", "_id", "user_access_policy_uri", "name", "type",
	"access_token", "upgraded", "expires_in", "scope", "refresh_token", "id_token", "rpt", "code", "sub", "token",
	"token_type_hint", "issuer", "permission_endpoint", "resource_registration_endpoint", "token_endpoint",
	"introspection_endpoint", "authorization_endpoint", "client_id", "code_challenge_method", "code_challenge", "state", "nonce", "redirect_uri",
	"iss",
}

// ordered lists the names of a body, the interesting ones first.
func ordered[V any](members map[string]V) []string {
	rank := func(name string) int {
		if i := slices.Index(first, name); i >= 0 {
			return i
		}
		return len(first)
	}
	names := make([]string, 0, len(members))
	for name := range members {
		if name != "form_token" { // belongs to the page, not to the protocol
			names = append(names, name)
		}
	}
	slices.SortFunc(names, func(a, b string) int {
		if d := rank(a) - rank(b); d != 0 {
			return d
		}
		return strings.Compare(a, b)
	})
	return names
}

// compact is JSON as it stands on the wire, without escapes for HTML.
func compact(v any) string {
	var b bytes.Buffer
	enc := json.NewEncoder(&b)
	enc.SetEscapeHTML(false)
	if err := enc.Encode(v); err != nil {
		return ""
	}
	return strings.TrimSpace(b.String())
}

func clip(s string) string {
	runes := []rune(s)
	if len(runes) > maxValue {
		return string(runes[:maxValue]) + "…"
	}
	return s
}
