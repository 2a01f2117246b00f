package challenge_test

import (
	"errors"
	"reflect"
	"strings"
	"testing"

	"example.com/gatehouse/internal/challenge"
)

type params = map[string]string

func one(scheme string, p params) []challenge.Challenge {
	return []challenge.Challenge{{Scheme: scheme, Params: p}}
}

func TestParse(t *testing.T) {
	jwt := strings.Repeat("eyJhbGciOiJIUzUxMiJ9.", 140)
	tests := []struct {
		name   string
		values []string
		want   []challenge.Challenge
	}{
		{"nothing", nil, nil},
		{"empty line", []string{"", " , ,"}, nil},
		{"scheme alone", []string{"Basic"}, one("Basic", params{})},
		{"UMA grant §3.2.1", []string{`UMA realm="example",as_uri="https://as.example.com",ticket="016f84e8-f9b9-11e0-bd6f-0021cc6004de"`},
			one("UMA", params{"realm": "example", "as_uri": "https://as.example.com", "ticket": "016f84e8-f9b9-11e0-bd6f-0021cc6004de"})},
		{"unquoted URL and padding", []string{`UMA realm=x,as_uri=https://as.example.com/a?b=c,ticket=abc==`},
			one("UMA", params{"realm": "x", "as_uri": "https://as.example.com/a?b=c", "ticket": "abc=="})},
		{"unquoted padding first", []string{`UMA ticket=abc==`}, one("UMA", params{"ticket": "abc=="})},
		{"long ticket", []string{`UMA ticket="` + jwt + `", host_id="h"`}, one("UMA", params{"ticket": jwt, "host_id": "h"})},
		{"case and space", []string{"uma  Realm = \"X\"\t,\tAS_URI=y ,TICKET = z"},
			one("uma", params{"realm": "X", "as_uri": "y", "ticket": "z"})},
		{"escapes", []string{`A b="say \"hi\" \\ \c, d=e"`}, one("A", params{"b": `say "hi" \ c, d=e`})},
		{"empty quoted", []string{`A b=""`}, one("A", params{"b": ""})},
		{"token68", []string{"Negotiate abc-._~+/=="}, []challenge.Challenge{{Scheme: "Negotiate", Params: params{}, Token68: "abc-._~+/=="}}},
		{"RFC 9110 §11.6.1", []string{`Basic realm="simple", Newauth realm="apps", type=1, title="Login to \"apps\""`},
			[]challenge.Challenge{
				{Scheme: "Basic", Params: params{"realm": "simple"}},
				{Scheme: "Newauth", Params: params{"realm": "apps", "type": "1", "title": `Login to "apps"`}},
			}},
		{"mixed", []string{`Negotiate, Bearer error="invalid_token" , NTLM abc=, UMA ticket="t"`, `Basic realm=x`},
			[]challenge.Challenge{
				{Scheme: "Negotiate", Params: params{}},
				{Scheme: "Bearer", Params: params{"error": "invalid_token"}},
				{Scheme: "NTLM", Params: params{}, Token68: "abc="},
				{Scheme: "UMA", Params: params{"ticket": "t"}},
				{Scheme: "Basic", Params: params{"realm": "x"}},
			}},
		{"xticket is not ticket", []string{`UMA xticket="a", ticket="b"`}, one("UMA", params{"xticket": "a", "ticket": "b"})},
		{"same parameter in two challenges", []string{`UMA ticket=a, UMA ticket=b`},
			[]challenge.Challenge{{Scheme: "UMA", Params: params{"ticket": "a"}}, {Scheme: "UMA", Params: params{"ticket": "b"}}}},
		{"obs-text", []string{"A b=\"caf\xc3\xa9\""}, one("A", params{"b": "caf\u00e9"})},
		{"tab in quotes", []string{"A b=\"x\ty\""}, one("A", params{"b": "x\ty"})},
		{"empty elements", []string{`, A b=c,, d=e ,`}, one("A", params{"b": "c", "d": "e"})},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			got, err := challenge.Parse(tt.values)
			if err != nil || !reflect.DeepEqual(got, tt.want) {
				t.Errorf("got  %+v, %v\nwant %+v", got, err, tt.want)
			}
		})
	}
}

func TestParseRefuses(t *testing.T) {
	tests := []struct {
		name   string
		values []string
		want   error
	}{
		{"parameter twice", []string{`UMA ticket=a, ticket=b`}, challenge.ErrMalformed},
		{"parameter twice in other case", []string{`UMA ticket="a",Ticket="b"`}, challenge.ErrMalformed},
		{"parameter without a challenge", []string{`ticket="a"`}, challenge.ErrMalformed},
		{"parameter after token68", []string{`A abc==, b=c`}, challenge.ErrMalformed},
		{"second line goes on", []string{`UMA ticket=a`, `as_uri=b`}, challenge.ErrMalformed},
		{"one bad line", []string{`UMA ticket=a`, `"`}, challenge.ErrMalformed},
		{"open quote", []string{`UMA ticket="a`}, challenge.ErrMalformed},
		{"open escape", []string{`UMA ticket="a\`}, challenge.ErrMalformed},
		{"text after a quote", []string{`UMA ticket="a"b`}, challenge.ErrMalformed},
		{"no comma", []string{`UMA a="b" c="d"`}, challenge.ErrMalformed},
		{"no value", []string{`UMA a=b, ticket=`}, challenge.ErrMalformed},
		{"no name", []string{`UMA ="a"`}, challenge.ErrMalformed},
		{"two words", []string{`UMA a b`}, challenge.ErrMalformed},
		{"quote in a token", []string{`UMA a=b"c"`}, challenge.ErrMalformed},
		{"backslash in a token", []string{`UMA a=b\c`}, challenge.ErrMalformed},
		{"line break", []string{"UMA a=\"b\r\nc\""}, challenge.ErrMalformed},
		{"escaped line break", []string{"UMA a=\"b\\\nc\""}, challenge.ErrMalformed},
		{"NUL", []string{"UMA a=\"\x00\""}, challenge.ErrMalformed},
		{"bad scheme", []string{`(UMA) a=b`}, challenge.ErrMalformed},
		{"scheme and tab", []string{"UMA\ta=b"}, challenge.ErrMalformed},
		{"too long", []string{"A b=" + strings.Repeat("c", challenge.MaxHeader/2), "A b=" + strings.Repeat("c", challenge.MaxHeader/2)}, challenge.ErrTooLong},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			got, err := challenge.Parse(tt.values)
			if got != nil || !errors.Is(err, tt.want) {
				t.Errorf("got %+v, %v", got, err)
			}
		})
	}
}

func TestFormat(t *testing.T) {
	tests := []struct {
		name   string
		scheme string
		params []string
		want   string // empty: an error
	}{
		{"alone", "Basic", nil, `Basic`},
		{"several", "UMA", []string{"realm", "photos", "as_uri", "https://as.example.org", "ticket", "a=="},
			`UMA realm="photos", as_uri="https://as.example.org", ticket="a=="`},
		{"escapes", "A", []string{"b", `"\,`}, `A b="\"\\,"`},
		{"not ASCII", "A", []string{"b", "caf\u00e9"}, "A b=\"caf\u00e9\""},
		{"odd", "A", []string{"b"}, ""},
		{"empty scheme", "", nil, ""},
		{"bad scheme", "A b", nil, ""},
		{"empty name", "A", []string{"", "x"}, ""},
		{"bad name", "A", []string{"b c", "x"}, ""},
		{"name twice", "A", []string{"b", "x", "B", "y"}, ""},
		{"line break", "A", []string{"b", "x\r\nSet-Cookie: y"}, ""},
		{"tab", "A", []string{"b", "x\ty"}, ""},
		{"delete", "A", []string{"b", "\x7f"}, ""},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			got, err := challenge.Format(tt.scheme, tt.params...)
			if got != tt.want || (err != nil) != (tt.want == "") {
				t.Errorf("got %q, %v", got, err)
			}
		})
	}
}

// Whatever is parsed has valid parts, and formatting it preserves its meaning.
func FuzzParse(f *testing.F) {
	for _, s := range []string{
		`UMA realm="a",as_uri="https://as.example.org",ticket="t"`, `UMA realm=x,as_uri=https://x/,ticket=abc==`,
		`Negotiate abc==`, `Basic, Bearer error="x\"y\\", scope="a b"`, `A b = "c" ,, D`, `A b="`, "A \t,B", "A b=\"\xff\"",
	} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, line string) {
		all, err := challenge.Parse([]string{line})
		if err != nil {
			if all != nil {
				t.Fatalf("%q: challenges beside an error", line)
			}
			return
		}
		for _, c := range all {
			if c.Scheme == "" || c.Params == nil || c.Token68 != "" && len(c.Params) > 0 {
				t.Fatalf("%q gives %+v", line, c)
			}
			if c.Token68 != "" || strings.Contains(line, "\t") {
				continue // Format writes neither a token68 nor tabs
			}
			var pairs []string
			for name, value := range c.Params {
				pairs = append(pairs, name, value)
			}
			text, err := challenge.Format(c.Scheme, pairs...)
			if err != nil {
				t.Fatalf("%q: %+v cannot be written: %v", line, c, err)
			}
			again, err := challenge.Parse([]string{text})
			if len(text) <= challenge.MaxHeader && (err != nil || len(again) != 1 || !reflect.DeepEqual(again[0], c)) {
				t.Fatalf("%q: %+v written as %q reads %+v, %v", line, c, text, again, err)
			}
		}
	})
}

func FuzzFormat(f *testing.F) {
	f.Add("realm", `a "quoted" \ value`)
	f.Add("ticket", "abc==")
	f.Add("b c", "x\n")
	f.Fuzz(func(t *testing.T, name, value string) {
		text, err := challenge.Format("UMA", name, value)
		if err != nil || len(text) > challenge.MaxHeader {
			return
		}
		got, err := challenge.Parse([]string{text})
		want := one("UMA", params{strings.ToLower(name): value})
		if err != nil || !reflect.DeepEqual(got, want) {
			t.Fatalf("%q reads %+v, %v", text, got, err)
		}
	})
}

func TestPrintable(t *testing.T) {
	for s, want := range map[string]bool{"": true, " a~\"\\": true, "a\x7f": false, "a\n": false, "\x1f": false, "ä": false, "\xff": false} {
		if got := challenge.Printable(s); got != want {
			t.Errorf("%q: %v", s, got)
		}
	}
}
