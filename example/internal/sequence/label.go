package sequence

import (
	"encoding/json"
	"strings"
)

// What is shown below the first line of a request or an answer: the members on
// which the protocol depends, the most important first. The rest is in the
// trace.

var ofRequest = []struct {
	name string
	say  func(string) string
}{
	{"ticket", plain}, {"claim_token", plain}, {"rpt", named("rpt")}, {"code", plain},
	{"token", plain}, {"", permissions}, {"resource_scopes", list}, {"name", quoted},
	{"person", plain}, {"new", plain}, {"decision", plain},
	{"Authorization", credentials},
}

var ofAnswer = []struct {
	name string
	say  func(string) string
}{
	{"WWW-Authenticate", param("UMA ", "ticket")}, {"WWW-Authenticate", param("as_uri ", "as_uri")}, {"Warning", warning}, {"error", plain}, {"ticket", plain},
	{"access_token", plain}, {"id_token", plain}, {"upgraded", named("upgraded")}, {"active", named("active")},
	{"permissions", permissions}, {"_id", named("_id")}, {"interval", named("interval")},
	{"scope", named("scope")}, {"Location", named("→")}, {"required_claims", wanted}, {"Retry-After", named("Retry-After")}, {"issuer", named("issuer")},
	{"keys", plain}, {"sub", named("sub")},
}

// details lists what to show of a half.
func details(h Half, answer bool) []string {
	rules := ofRequest
	if answer {
		rules = ofAnswer
	}
	var out []string
	for _, rule := range rules {
		for _, l := range h.Lines {
			if l.Name != rule.name {
				continue
			}
			if text := rule.say(l.Value); text != "" {
				out = append(out, text)
			}
		}
	}
	return out
}

func plain(value string) string { return value }

func quoted(value string) string { return "“" + value + "”" }

func named(name string) func(string) string {
	return func(value string) string { return name + " " + value }
}

func list(value string) string {
	var items []string
	if json.Unmarshal([]byte(value), &items) != nil {
		return ""
	}
	return strings.Join(items, ", ")
}

// credentials shows a token. It does not show that a client authenticates,
// which is usual.
func credentials(value string) string {
	token, _ := strings.CutPrefix(value, "Bearer ")
	if token == value {
		return ""
	}
	return "Bearer " + token
}

// param shows a parameter of a UMA challenge (Grant §3.2.1).
func param(before, name string) func(string) string {
	return func(challenge string) string {
		_, rest, _ := strings.Cut(challenge, name+`="`)
		value, _, ok := strings.Cut(rest, `"`)
		if !ok {
			return ""
		}
		return before + value
	}
}

// warning shows the code. Its text is always the same (Grant §3.2.2).
func warning(value string) string {
	code, _, _ := strings.Cut(value, " ")
	return "Warning " + code
}

// permissions writes "r-1: view, print" for each permission.
func permissions(value string) string {
	var items []struct {
		ID     string   `json:"resource_id"`
		Scopes []string `json:"resource_scopes"`
	}
	if json.Unmarshal([]byte(value), &items) != nil {
		return ""
	}
	var out []string
	for _, p := range items {
		if p.ID != "" {
			out = append(out, p.ID+": "+strings.Join(p.Scopes, ", "))
		}
	}
	return strings.Join(out, "; ")
}

// wanted shows what a server asks for with need_info.
func wanted(value string) string {
	if strings.Contains(value, "#IDToken") {
		return "wants an ID Token"
	}
	return "wants claims"
}
