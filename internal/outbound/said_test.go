package outbound_test

import (
	"fmt"
	"strings"
	"testing"

	"example.com/gatehouse/internal/outbound"
)

// Only what can be an error code is quoted, and never a value that was sent.
func TestSaidWord(t *testing.T) {
	for _, c := range []struct{ code, secret, want string }{
		{"access_denied", "state-1", "access_denied"},
		{strings.Repeat("a", 40), "", strings.Repeat("a", 40)},
		{strings.Repeat("a", 41), "", "other (41 bytes)"},
		{"Access_denied", "", "other (13 bytes)"},
		{"access denied", "", "other (13 bytes)"},
		{"invalid_grant\nlevel=INFO", "", "other (24 bytes)"},
		{"täter", "", "other (6 bytes)"},
		{"code1", "", "other (5 bytes)"},
		{"bad_opensesame_code", "opensesame", "other (19 bytes)"},
		{"abc", "abc", "other (3 bytes)"},
		{"access_denied", "acc", "access_denied"}, // too short to be a secret
		{"access_denied", "", "access_denied"},
		{"bad_opensesame", "OpenSesame", "other (14 bytes)"},
		{"code_abc_is_bad", "abc", "other (15 bytes)"},
		{"abcdefghijklmnop", "xx-abcdefghijklmnopqrstuvwxyz", "other (16 bytes)"}, // the beginning of one
		{"invalid_grant", "is_invalid_grant_a_word", "invalid_grant"},
		{"", "x", ""},
	} {
		s := outbound.NewSaid(c.code, "", c.secret)
		if whole := s.Error(); s.Word() != c.want || whole != "error "+c.want && (c.code != "" || whole != "error without a code") {
			t.Errorf("%q beside %q: %q, %q", c.code, c.secret, s.Word(), s.Error())
		}
	}
}

// Values of the call that are no secrets are not shown as a code either, but the
// registered codes may have a word of theirs.
func TestSaidApart(t *testing.T) {
	values := []string{"login", "photo_site", "Notes", "a", ""}
	for code, want := range map[string]string{
		"login_required":   "login_required",
		"invalid_grant":    "invalid_grant",
		"photo_site":       "other (10 bytes)",
		"bad_photo_site":   "other (14 bytes)",
		"photo_sites":      "photo_sites",
		"notes":            "other (5 bytes)",
		"the_notes_client": "other (16 bytes)",
		"login":            "other (5 bytes)",
		"not a word":       "other (10 bytes)",
		"":                 "",
	} {
		s := outbound.NewSaid(code, "why").Apart(values...)
		if s.Word() != want || s.Detail() != "why" {
			t.Errorf("%q: %q, %q, want %q", code, s.Word(), s.Detail(), want)
		}
	}
}

// A description loses what was sent, whole, in part or encoded, and what looks
// like a value.
func TestSaidDetail(t *testing.T) {
	secrets := []string{"hidden/code+1", "abcdefghijklmnopqrstuvwxyz", "x"}
	for in, want := range map[string]string{
		"Code not valid":                        "Code not valid",
		"the redirect_uri is not registered":    "the redirect_uri is not registered",
		"unsupported authorization_code":        "unsupported authorization_code",
		"code hidden/code+1 expired":            "code [redacted] expired",
		"code=hidden%2Fcode%2B1.":               "code=[redacted].",
		"code=hidden%2fcode%2b1":                "[redacted]",
		"code %68idden/code%2B1 is bad":         "[redacted]",
		"code hidden%252Fcode%252B1 is bad":     "[redacted]",
		"code HIDDEN/CODE+1 is bad":             "[redacted]",
		"100% of them":                          "100% of them",
		"(token 0123456789abcdef/x) is bad":     "(token [redacted]) is bad",
		"code abcdefgh… is used":                "code [redacted] is used",
		"token eyJhbGciOiJFUzI1NiJ9.eyJzdWIi.x": "token [redacted]",
		"no user ana@example.org here":          "no user [redacted] here",
		"":                                      "",
		"session 1b9d6bcd-bbfd-4b2d is over":    "session [redacted] is over",
		"value-of-somebody-else":                "[redacted]",
		"Authentifizierung fehlgeschlagen":      "Authentifizierung fehlgeschlagen",
		strings.Repeat("a ", 200):               strings.Repeat("a ", 100) + "…",
	} {
		s := outbound.NewSaid("x", in, secrets...)
		if got := s.Detail(); got != want {
			t.Errorf("%q: got %q, want %q", in, got, want)
		}
		if shown := fmt.Sprintf("%v %+v %#v", s, s, s); strings.Contains(shown, "hidden") {
			t.Errorf("formatting shows %s", shown)
		}
	}
}

func TestQuote(t *testing.T) {
	for in, want := range map[string]string{
		"https://u:p@id.example/realms/a?code=x#y":       "https://id.example/realms/a",
		"https://id.example/hidden-code/x":               "https://id.example/[redacted]/x",
		"https://id.example/%68idden-code/x":             "[redacted]",
		"https://HIDDEN-CODE.example/x":                  "[redacted]",
		"hidden-code":                                    "(unreadable URL)",
		"https://id.example/" + strings.Repeat("a", 300): "https://id.example/" + strings.Repeat("a", 181) + "…",
	} {
		if got := outbound.Quote(in, "hidden-code", "abc"); got != want {
			t.Errorf("%s: %s", in, got)
		}
	}
}
