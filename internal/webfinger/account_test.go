package webfinger_test

import (
	"errors"
	"net/url"
	"strings"
	"testing"

	"example.com/gatehouse/internal/webfinger"
)

// WF1: each form of an account has its host and its resource, as OpenID Connect
// Discovery §2.1.2 and the examples of §2.2 have them.
func TestWF1_Forms(t *testing.T) {
	for input, want := range map[string]webfinger.Account{
		// The examples of the specification.
		"joe@example.com":         {"acct:joe@example.com", "example.com"},
		"https://example.com/joe": {"https://example.com/joe", "example.com"},
		"example.com:8080":        {"https://example.com:8080/", "example.com:8080"},
		"acct:juliet%40capulet.example@shopping.example.com": {"acct:juliet%40capulet.example@shopping.example.com", "shopping.example.com"},
		// Those of WF1.
		"joe@example.test":         {"acct:joe@example.test", "example.test"},
		"acct:joe@example.test":    {"acct:joe@example.test", "example.test"},
		"https://example.test/joe": {"https://example.test/joe", "example.test"},
		"example.test:8443":        {"https://example.test:8443/", "example.test:8443"},

		"  joe@example.test\n":                {"acct:joe@example.test", "example.test"},
		"example.test":                        {"https://example.test/", "example.test"},
		"example.test/joe":                    {"https://example.test/joe", "example.test"},
		"example.test/@joe":                   {"https://example.test/@joe", "example.test"},
		"example.test:8443/joe?x=1":           {"https://example.test:8443/joe?x=1", "example.test:8443"},
		"example.test?x=1":                    {"https://example.test/?x=1", "example.test"},
		"example.test/joe#me":                 {"https://example.test/joe", "example.test"},
		"https://example.test/joe#":           {"https://example.test/joe", "example.test"},
		"acct:joe@example.test#me":            {"acct:joe@example.test", "example.test"},
		"joe@example.test#me":                 {"https://joe@example.test/", "example.test"}, // step 2: not without a fragment
		"joe@example.test:8443":               {"https://joe@example.test:8443/", "example.test:8443"},
		"joe@example.test/x":                  {"https://joe@example.test/x", "example.test"},
		"https://joe@example.test":            {"https://joe@example.test/", "example.test"},
		"HTTPS://Example.TEST/Joe":            {"https://Example.TEST/Joe", "example.test"},
		"ACCT:Joe@Example.TEST":               {"acct:Joe@Example.TEST", "example.test"},
		"joe+notes@example.test":              {"acct:joe+notes@example.test", "example.test"},
		"+491701234567@example.test":          {"acct:+491701234567@example.test", "example.test"},
		"o'brien&co@example.test":             {"acct:o'brien&co@example.test", "example.test"},
		"{a|b}@example.test":                  {"acct:%7Ba%7Cb%7D@example.test", "example.test"},
		"j\u00fcrgen@example.test":            {"acct:j%C3%BCrgen@example.test", "example.test"},
		"joe@xn--bcher-kva.example":           {"acct:joe@xn--bcher-kva.example", "xn--bcher-kva.example"},
		"joe@localhost":                       {"acct:joe@localhost", "localhost"},
		"localhost:8443":                      {"https://localhost:8443/", "localhost:8443"},
		"joe@192.0.2.1":                       {"acct:joe@192.0.2.1", "192.0.2.1"},
		"192.0.2.1:8443":                      {"https://192.0.2.1:8443/", "192.0.2.1:8443"},
		"[2001:db8::1]:8443":                  {"https://[2001:db8::1]:8443/", "[2001:db8::1]:8443"},
		"https://[2001:DB8::1]/joe":           {"https://[2001:DB8::1]/joe", "[2001:db8::1]"},
		"acct:joe@[2001:db8::1]":              {"acct:joe@[2001:db8::1]", "[2001:db8::1]"},
		"https://example.test/a?b=c&d=https:": {"https://example.test/a?b=c&d=https:", "example.test"},
		"https://example.test/\u00fc":         {"https://example.test/%C3%BC", "example.test"},
		"_sip.example.test":                   {"https://_sip.example.test/", "_sip.example.test"},
	} {
		if got, err := webfinger.Parse(input); err != nil || got != want {
			t.Errorf("%q: %+v, %v, want %+v", input, got, err, want)
		}
	}
}

// The request is https, at the host, with the resource and the relation.
func TestWF1_Request(t *testing.T) {
	for input, want := range map[string]string{
		"joe@example.com":         "https://example.com/.well-known/webfinger?resource=acct%3Ajoe%40example.com&rel=http%3A%2F%2Fopenid.net%2Fspecs%2Fconnect%2F1.0%2Fissuer",
		"https://example.com/joe": "https://example.com/.well-known/webfinger?resource=https%3A%2F%2Fexample.com%2Fjoe&rel=http%3A%2F%2Fopenid.net%2Fspecs%2Fconnect%2F1.0%2Fissuer",
		"example.com:8080":        "https://example.com:8080/.well-known/webfinger?resource=https%3A%2F%2Fexample.com%3A8080%2F&rel=http%3A%2F%2Fopenid.net%2Fspecs%2Fconnect%2F1.0%2Fissuer",
		"acct:juliet%40capulet.example@shopping.example.com": "https://shopping.example.com/.well-known/webfinger?resource=acct%3Ajuliet%2540capulet.example%40shopping.example.com&rel=http%3A%2F%2Fopenid.net%2Fspecs%2Fconnect%2F1.0%2Fissuer",
		"joe&rel=x#y@example.com":                            "",
		"a&b=c@example.com":                                  "https://example.com/.well-known/webfinger?resource=acct%3Aa%26b%3Dc%40example.com&rel=http%3A%2F%2Fopenid.net%2Fspecs%2Fconnect%2F1.0%2Fissuer",
	} {
		got, err := webfinger.Parse(input)
		if want == "" {
			if err == nil && got.Host == "example.com" {
				t.Errorf("%q is at %s", input, got.Host)
			}
			continue
		}
		if err != nil || got.Address() != want {
			t.Errorf("%q: %s, %v", input, got.Address(), err)
		}
	}
}

func TestNoAccount(t *testing.T) {
	for _, input := range []string{
		"", " ", "\u00a0", "=joe", "@joe", "!joe", "@example.test", "joe@", "joe@@example.test", "a@b@example.test",
		"joe joe@example.test", "joe@example.test joe", "joe\x00@example.test", "joe\n@example.test", "joe@exam\tple.test", "joe\u202e@example.test", "\xff@example.test",
		"http://example.test/joe", "http:example.test", "https:example.test", "https:/example.test", "https://", "https:///joe", "https://@example.test",
		"mailto:joe@example.test", "tel:+491701234567", "javascript:alert(1)", "data:text/html,x", "file:///etc/passwd", "ftp://example.test", "urn:example:joe", "gopher://example.test:70/",
		"joe:secret@example.test", "https://joe:secret@example.test/", "acct:joe:secret@example.test", "acct:example.test", "acct:@example.test", "acct:", "acct://joe@example.test",
		"acct:joe@example.test:8443", "acct:joe@example.test/x", "acct:joe@example.test?x=1", "acct:joe/x@example.test",
		"example.test:", "example.test:0", "example.test:65536", "example.test:99999999999999999999", "example.test:+1", "example.test:-1", "example.test:8443x", "example.test:84:43",
		"exa mple.test", "example..test", ".example.test", "example.test.", "-x.test", "x-.test", "ex%61mple.test", "example.test\\@evil.test", "https://example.test\\@evil.test",
		"joe@b\u00fccher.example", "joe@\u212aelvin.example", "joe@example\u3002test", "joe@\u2488example.test",
		"127.1", "0x7f.0.0.1", "0177.0.0.1", "2130706433", "joe@2130706433", "1.2.3.4.5", "256.1.1.1", "192.0.2.1.", "example.123", "example.0x7f",
		"::1", "[::1", "::1]", "[::1]x", "[::1]:x", "[fe80::1%25eth0]", "[fe80::1%eth0]:8443", "[127.0.0.1]", "[]", "joe@[evil.test]",
		"joe%@example.test", "joe%4@example.test", "joe%zz@example.test", "https://example.test/%", strings.Repeat("a", 64) + ".test", strings.Repeat("a.", 127) + "test",
		strings.Repeat("j", 512) + "@example.test", "joe@" + strings.Repeat("e", 1<<20),
	} {
		got, err := webfinger.Parse(input)
		if !errors.Is(err, webfinger.ErrAccount) || got != (webfinger.Account{}) {
			t.Errorf("%.60q: %+v, %v", input, got, err)
		}
		if err != nil && len(input) > 5 && strings.Contains(err.Error(), input) {
			t.Errorf("%.60q is quoted", input)
		}
	}
}

// FuzzAccount: whatever a stranger enters, the request goes by https to a plain
// host, to one path, with two parameters, and holds no password.
func FuzzAccount(f *testing.F) {
	for _, seed := range []string{
		"joe@example.test", "acct:joe@example.test", "https://example.test/joe", "example.test:8443", "[2001:db8::1]:8443/x", "joe%40a@b.test", "192.0.2.1", "a@b@c", "https://a:b@c/",
		"//example.test", "example.test\\x", "jo\u00fc@x.test/?#", "acct:a@b:1", "localhost:1", "=x", "x:1/2", "https://x.test:443?y", "a&resource=b@c.test", "K\u212a@\u212a.test", "https:443",
	} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, input string) {
		a, err := webfinger.Parse(input)
		if err != nil {
			if !errors.Is(err, webfinger.ErrAccount) || a != (webfinger.Account{}) {
				t.Fatalf("%q: %+v, %v", input, a, err)
			}
			return
		}
		u, err := url.Parse(a.Address())
		if err != nil || u.Scheme != "https" || u.User != nil || u.Host != a.Host || u.Path != "/.well-known/webfinger" || u.Fragment != "" || strings.Contains(a.Address(), "#") {
			t.Fatalf("%q: %s, %v", input, a.Address(), err)
		}
		q, err := url.ParseQuery(u.RawQuery)
		if err != nil || len(q) != 2 || len(q["resource"]) != 1 || q.Get("resource") != a.Resource || len(q["rel"]) != 1 || q.Get("rel") != webfinger.Rel {
			t.Fatalf("%q: query %v, %v", input, q, err)
		}
		if strings.Trim(strings.ToLower(a.Host), "abcdefghijklmnopqrstuvwxyz0123456789-_.:[]") != "" || strings.ContainsAny(a.Resource, "#\\ \"<>") {
			t.Fatalf("%q: host %q, resource %q", input, a.Host, a.Resource)
		}
		// What a URL says to another reader is what was asked.
		r, err := url.Parse(a.Resource)
		switch {
		case err != nil && strings.HasPrefix(a.Resource, "https:"):
			t.Fatalf("%q: resource %q: %v", input, a.Resource, err)
		case err == nil && r.Scheme == "https" && (!strings.EqualFold(r.Host, a.Host) || r.Path == ""):
			t.Fatalf("%q: resource %q, but host %q", input, a.Resource, a.Host)
		case err == nil && r.User != nil:
			if _, has := r.User.Password(); has {
				t.Fatalf("%q: a password in %q", input, a.Resource)
			}
		}
		// The normal form is its own.
		if again, err := webfinger.Parse(a.Resource); err != nil || again != a {
			t.Fatalf("%q: %+v, then %+v, %v", input, a, again, err)
		}
	})
}
