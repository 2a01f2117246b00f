package dpop_test

import (
	"testing"

	"example.com/gatehouse/internal/dpop"
)

// Two texts are one address if RFC 3986 §6.2.2 and §6.2.3 say so, and otherwise
// they are two.
func TestAddress(t *testing.T) {
	for name, c := range map[string]struct {
		base, path, htu string
		same            bool
	}{
		"as written":                  {"https://api.test", "/notes", "https://api.test/notes", true},
		"another path":                {"https://api.test", "/notes", "https://api.test/note", false},
		"slash at the end":            {"https://api.test", "/notes", "https://api.test/notes/", false},
		"case of the path":            {"https://api.test", "/notes", "https://api.test/Notes", false},
		"case of scheme and host":     {"https://API.test", "/notes", "HTTPS://api.TEST/notes", true},
		"default port":                {"https://api.test", "/notes", "https://api.test:443/notes", true},
		"default port of the base":    {"https://api.test:443", "/notes", "https://api.test/notes", true},
		"default port of http":        {"http://127.0.0.1:80", "/", "http://127.0.0.1/", true},
		"empty port":                  {"https://api.test", "/notes", "https://api.test:/notes", true},
		"another port":                {"https://api.test", "/notes", "https://api.test:80/notes", false},
		"another scheme":              {"https://api.test", "/notes", "http://api.test/notes", false},
		"no path":                     {"https://api.test", "/", "https://api.test", true},
		"no path, but one is asked":   {"https://api.test", "/notes", "https://api.test", false},
		"query of the request":        {"https://api.test", "/notes?a=1", "https://api.test/notes", true},
		"query of the proof":          {"https://api.test", "/notes", "https://api.test/notes?a=1", true},
		"other queries":               {"https://api.test", "/notes?a=1", "https://api.test/notes?b=2", true},
		"fragment":                    {"https://api.test", "/notes", "https://api.test/notes#a?b", true},
		"a slash in the query":        {"https://api.test", "/?/notes", "https://api.test/notes", false},
		"prefix":                      {"https://api.test/app", "/notes", "https://api.test/app/notes", true},
		"prefix with a slash":         {"https://api.test/app/", "/notes", "https://api.test/app/notes", true},
		"without the prefix":          {"https://api.test/app", "/notes", "https://api.test/notes", false},
		"encoded letter":              {"https://api.test", "/notes", "https://api.test/n%6Ftes", true},
		"encoded letter in a request": {"https://api.test", "/n%6ftes", "https://api.test/notes", true},
		"encoded slash":               {"https://api.test", "/a%2Fb", "https://api.test/a%2fb", true},
		"encoded slash is none":       {"https://api.test", "/a%2Fb", "https://api.test/a/b", false},
		"reserved, encoded":           {"https://api.test", "/a%3Bb", "https://api.test/a;b", false},
		"not ASCII":                   {"https://api.test", "/caf%C3%A9", "https://api.test/café", true},
		"not ASCII in capitals":       {"https://api.test", "/caf%c3%a9", "https://api.test/caf%C3%A9", true},
		"space":                       {"https://api.test", "/a%20b", "https://api.test/a b", true},
		"odd beside a slash":          {"https://api.test", "/a%2Fb%20c", "https://api.test/a%2Fb c", true},
		"odd beside an encoded slash": {"https://api.test", "/a/b%20c", "https://api.test/a%2Fb c", false},
		"odd beside a reserved one":   {"https://api.test", "/a;b%C3%A9", "https://api.test/a%3Bbé", false},
		"a quote beside it":           {"https://api.test", "/a\"b%3B", "https://api.test/a\"b%3b", true},
		"slash in a query alone":      {"https://api.test", "/", "https://api.test?/notes", true},
		"twice encoded":               {"https://api.test", "/a%2520b", "https://api.test/a%20b", false},
		"dot segments":                {"https://api.test", "/notes/7", "https://api.test/x/../notes/./7", true},
		"encoded dot segments":        {"https://api.test", "/notes/7", "https://api.test/x/%2E%2e/notes/7", true},
		"dot segment at the end":      {"https://api.test", "/notes/7/..", "https://api.test/notes/", true},
		"above the root":              {"https://api.test", "/notes", "https://api.test/../../notes", true},
		"above the prefix":            {"https://api.test/app", "/../notes", "https://api.test/notes", true},
		"two slashes":                 {"https://api.test", "//notes", "https://api.test/notes", false},
		"two slashes in both":         {"https://api.test", "//notes", "https://api.test//notes", true},
		"a host in the path":          {"https://api.test", "//evil.test/notes", "https://evil.test/notes", false},
		"dots in a name":              {"https://api.test", "/a..b/.c", "https://api.test/a..b/.c", true},
		"IPv6":                        {"http://[::1]:8080", "/notes", "http://[::1]:8080/notes", true},
		"user":                        {"https://api.test", "/notes", "https://api.test@evil.test/notes", false},
		"user of our host":            {"https://api.test", "/notes", "https://u@api.test/notes", false},
		"backslash":                   {"https://api.test", "/notes", `https://api.test\notes`, false},
		"relative":                    {"https://api.test", "/notes", "/notes", false},
		"without a scheme":            {"https://api.test", "/notes", "//api.test/notes", false},
		"opaque":                      {"https://api.test", "/notes", "https:api.test/notes", false},
		"no address":                  {"https://api.test", "/notes", "%", false},
		"empty":                       {"https://api.test", "/notes", "", false},
		"broken encoding":             {"https://api.test", "/a%zz", "https://api.test/a%zz", false},
		"asterisk":                    {"https://api.test", "*", "https://api.test*", false},
		"asterisk, and nothing":       {"https://api.test", "*", "", false},
		"host of CONNECT":             {"https://api.test", "evil.test:443", "https://evil.test", false},
	} {
		t.Run(name, func(t *testing.T) {
			a := dpop.NewAddress(base(t, c.base), c.path)
			if got := a.Is(c.htu); got != c.same {
				t.Errorf("%s is %s: %v", c.htu, a, got)
			}
		})
	}
}

// FuzzAddress: an address is the same as itself, and normalizing it changes
// nothing any more.
func FuzzAddress(f *testing.F) {
	for _, path := range []string{"/", "/a/b", "/a%2Fb/../c?x=1", "/%2e%2E/%41%zz", "//x/./", "/é\x00\x80", "/a/..", "/.", "/..", "/?", "/a#b"} {
		f.Add(path)
	}
	f.Fuzz(func(t *testing.T, path string) {
		b := base(t, "https://api.test")
		a := dpop.NewAddress(b, path)
		if a == "" {
			if path != "" && path[0] == '/' {
				t.Errorf("%q has no address", path)
			}
			return
		}
		if !a.Is(string(a)) {
			t.Errorf("%q: %q is not itself", path, a)
		}
		if again := dpop.NewAddress(b, string(a)[len("https://api.test"):]); again != a {
			t.Errorf("%q: %q becomes %q", path, a, again)
		}
	})
}
