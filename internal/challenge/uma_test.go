package challenge_test

import (
	"strings"
	"testing"

	"example.com/gatehouse/internal/challenge"
)

func TestFindUMA(t *testing.T) {
	const good = `UMA realm="r", as_uri="https://as.example.org", ticket="t1"`
	for name, c := range map[string]struct {
		lines []string
		found bool
		err   string
	}{
		"none":                   {nil, false, ""},
		"another scheme":         {[]string{`Bearer realm="r"`}, false, ""},
		"one":                    {[]string{good}, true, ""},
		"any case":               {[]string{strings.Replace(good, "UMA", "uma", 1)}, true, ""},
		"beside another":         {[]string{`Bearer realm="r"`, good}, true, ""},
		"two":                    {[]string{good, good}, false, "two UMA challenges"},
		"two in one line":        {[]string{good + ", " + good}, false, "two UMA challenges"},
		"no as_uri":              {[]string{`UMA ticket="t1"`}, false, "no as_uri"},
		"no ticket":              {[]string{`UMA as_uri="https://as.example.org"`}, false, "no ticket"},
		"unreadable, another's":  {[]string{`Bearer realm="`}, false, ""},
		"unreadable, perhaps us": {[]string{`UMA realm="`}, false, "malformed"},
		"a word that holds UMA":  {[]string{`SUMA realm="`}, false, ""},
	} {
		got, err := challenge.FindUMA(c.lines)
		if (got != nil) != c.found || (err == nil) != (c.err == "") || err != nil && !strings.Contains(err.Error(), c.err) {
			t.Errorf("%s: %+v, %v; want found %v, error %q", name, got, err, c.found, c.err)
		}
		if got != nil && *got != (challenge.UMA{Issuer: "https://as.example.org", Ticket: "t1"}) {
			t.Errorf("%s: %+v", name, got)
		}
	}
}
