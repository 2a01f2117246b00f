package compact_test

import (
	"encoding/base64"
	"errors"
	"regexp"
	"strings"
	"testing"

	"example.com/gatehouse/internal/compact"
)

const limit = 16 << 10

func TestCheck(t *testing.T) {
	fit := "a." + strings.Repeat("b", limit-4) + ".c"
	tests := []struct {
		name string
		raw  string
		want error
	}{
		{"good", "eyJh-_9.QUJD.c2ln", nil},
		{"as long as allowed", fit, nil},
		{"one longer", fit + "c", compact.ErrTooLong},
		{"JW16: dots", strings.Repeat(".", 1<<20), compact.ErrTooLong},
		{"JW16: letters", strings.Repeat("A", 1<<20), compact.ErrTooLong},
		{"JW16: header of 300 KiB", strings.Repeat("A", 300<<10) + ".a.b", compact.ErrTooLong},
		{"JW16: two parts", "a.b", compact.ErrMalformed},
		{"dots", "..", compact.ErrMalformed},
		{"empty", "", compact.ErrMalformed},
		{"one part", "a", compact.ErrMalformed},
		{"JW1: no signature", "a.b.", compact.ErrMalformed},
		{"no payload", "a..c", compact.ErrMalformed},
		{"no header", ".b.c", compact.ErrMalformed},
		{"I14: five parts", "a.b.c.d.e", compact.ErrMalformed},
		{"trailing dot", "a.b.c.", compact.ErrMalformed},
		{"M4: space", "a.b .c", compact.ErrMalformed},
		{"M4: newline", "a.b.c\n", compact.ErrMalformed},
		{"M4: JSON", `{"protected":"a","payload":"b","signature":"c"}`, compact.ErrMalformed},
		{"padding", "a.b.c=", compact.ErrMalformed},
		{"base64, not base64url", "a.b+.c/", compact.ErrMalformed},
		{"not ASCII", "a.b.c\u00e9", compact.ErrMalformed},
		{"NUL", "a.b.c\x00", compact.ErrMalformed},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			if err := compact.Check(tt.raw, limit); !errors.Is(err, tt.want) {
				t.Errorf("error %v, want %v", err, tt.want)
			}
		})
	}
}

func TestParseHeader(t *testing.T) {
	tests := []struct {
		name   string
		header string
		want   compact.Header
		bad    bool
	}{
		{name: "all", header: `{"alg":"RS256","kid":"k1","typ":"at+jwt"}`,
			want: compact.Header{Alg: "RS256", Kid: "k1", Typ: "at+jwt"}},
		{name: "alg alone", header: `{"alg":"none"}`, want: compact.Header{Alg: "none"}},
		{name: "unknown members", header: `{"alg":"ES256","jku":"https://x","jwk":{"kty":"oct"}}`,
			want: compact.Header{Alg: "ES256", Other: true}},
		{name: "a certificate's sum", header: `{"alg":"ES256","kid":"k1","cty":"x","x5t":"a","x5t#S256":"b"}`,
			want: compact.Header{Alg: "ES256", Kid: "k1"}},
		{name: "crit", header: `{"alg":"RS256","crit":["exp"]}`, want: compact.Header{Alg: "RS256", Crit: true}},
		{name: "crit null", header: `{"alg":"RS256","crit":null}`, want: compact.Header{Alg: "RS256", Crit: true}},
		{name: "crit of another type", header: `{"alg":"RS256","crit":1}`, want: compact.Header{Alg: "RS256", Crit: true}},
		{name: "b64", header: `{"alg":"RS256","b64":false}`, want: compact.Header{Alg: "RS256", B64: true}},
		{name: "kid null", header: `{"alg":"RS256","kid":null}`, want: compact.Header{Alg: "RS256"}},
		{name: "no alg", header: `{"kid":"k1"}`, bad: true},
		{name: "empty alg", header: `{"alg":""}`, bad: true},
		{name: "ALG", header: `{"ALG":"RS256"}`, bad: true},
		{name: "alg twice", header: `{"alg":"RS256","alg":"none"}`, bad: true},
		{name: "alg and Alg", header: `{"alg":"RS256","Alg":"none"}`, want: compact.Header{Alg: "RS256", Other: true}},
		{name: "alg twice", header: `{"alg":"RS256","alg":"none"}`, bad: true},
		{name: "alg a list", header: `{"alg":["RS256"]}`, bad: true},
		{name: "kid a number", header: `{"alg":"RS256","kid":1}`, bad: true},
		{name: "array", header: `["RS256"]`, bad: true},
		{name: "null", header: `null`, bad: true},
		{name: "trailing", header: `{"alg":"RS256"}{}`, bad: true},
		{name: "empty", header: ``, bad: true},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			raw := base64.RawURLEncoding.EncodeToString([]byte(tt.header)) + ".e30.c2ln"
			got, err := compact.ParseHeader(raw)
			if (err != nil) != tt.bad || err != nil && !errors.Is(err, compact.ErrMalformed) || got != tt.want {
				t.Errorf("got %+v, %v", got, err)
			}
		})
	}
}

func TestParseHeaderEncoding(t *testing.T) {
	for _, raw := range []string{
		"", "e30", "!!!.e30.c2ln", "e.e30.c2ln",
		"eyJhbGciOiJSUzI1NiJ9=.e30.c2ln",              // padding
		"eyJhbGciOiJub25lIiB9Cg.e30.c2ln"[:21] + "/.", // not base64url
		"eyJhbGciOiJYIn1.e30.c2ln",                    // bits left over
	} {
		if h, err := compact.ParseHeader(raw); !errors.Is(err, compact.ErrMalformed) {
			t.Errorf("%q: %+v, %v", raw, h, err)
		}
	}
}

func TestParse(t *testing.T) {
	const good = "eyJhbGciOiJSUzI1NiIsImtpZCI6ImsxIn0.e30.c2ln"
	got, err := compact.Parse(good, len(good))
	if want := (compact.Header{Alg: "RS256", Kid: "k1"}); err != nil || got.Raw() != good || got.Header() != want {
		t.Errorf("%q, %+v, %v", got.Raw(), got.Header(), err)
	}
	for raw, want := range map[string]error{
		good + "g":         compact.ErrTooLong,
		good[:40] + ".":    compact.ErrMalformed,
		"e30.e30.c2ln":     compact.ErrMalformed, // no alg
		"!" + good[:20]:    compact.ErrMalformed,
		good[:35] + "..aa": compact.ErrMalformed,
	} {
		if got, err := compact.Parse(raw, len(good)); !errors.Is(err, want) || got != (compact.Token{}) {
			t.Errorf("%q: %q, %v, want %v", raw, got.Raw(), err, want)
		}
	}
}

func TestParts(t *testing.T) {
	const head = "eyJhbGciOiJSUzI1NiIsImtpZCI6ImsxIn0"
	for rest, want := range map[string][2]string{
		".e30.c2ln": {"{}", "sig"}, ".eA.eHk": {"x", "xy"}, ".____.-_8": {"\xff\xff\xff", "\xfb\xff"},
		".eB.c2ln": {}, ".e30.eHl": {}, ".e30.c": {}, ".e30e3.c2ln": {}, // bits left over
	} {
		token, err := compact.Parse(head+rest, limit)
		if err != nil {
			t.Fatal(err)
		}
		signed, payload, signature, err := token.Parts()
		if want[0] == "" {
			if !errors.Is(err, compact.ErrMalformed) {
				t.Errorf("%s: %q, %q, %v", rest, payload, signature, err)
			}
			continue
		}
		if err != nil || string(payload) != want[0] || string(signature) != want[1] || string(signed)+"."+strings.Split(rest, ".")[2] != head+rest {
			t.Errorf("%s: %q, %q, %q, %v", rest, signed, payload, signature, err)
		}
	}
}

func FuzzToken(f *testing.F) {
	for _, s := range []string{
		"eyJhbGciOiJSUzI1NiIsImtpZCI6ImsxIn0.e30.c2ln", "eyJhbGciOiJub25lIn0.e30.", "a.b.c.d.e", "..", "", "{}",
		"eyJhbGciOiJYIiwiY3JpdCI6W119.a.b", "a.b .c", "e30.e30.e30",
	} {
		f.Add(s)
	}
	grammar := regexp.MustCompile(`\A[A-Za-z0-9_-]+(\.[A-Za-z0-9_-]+){2}\z`)
	f.Fuzz(func(t *testing.T, raw string) {
		err := compact.Check(raw, limit)
		if want := grammar.MatchString(raw) && len(raw) <= limit; (err == nil) != want {
			t.Fatalf("Check(%q) = %v, the grammar says %v", raw, err, want)
		}
		if h, err := compact.ParseHeader(raw); err == nil && h.Alg == "" {
			t.Fatalf("ParseHeader(%q) returns no algorithm", raw)
		}
	})
}
