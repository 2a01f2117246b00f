package navigation_test

import (
	"net/url"
	"strings"
	"testing"

	"example.com/gatehouse/internal/navigation"
	"example.com/gatehouse/internal/testkit/returntargets"
)

// A path of this site is returned unchanged, byte for byte.
func TestLocalPath(t *testing.T) {
	for _, path := range []string{
		"/", "/notes/", "/notes/7?page=2&q=a%20b", "/n%C3%B6te?x=%2F%2Fy", "/a;b=c/d", "/notes/?next=https://elsewhere.example/", "/%7Eana/", "/a%2Fb", "/?", "/...", "/.well-known/x",
		"/" + strings.Repeat("a", navigation.MaxPath-1),
		"/wiki/L%E2%80%99Avare", "/%E0%A4%B9%E0%A4%BF%E0%A4%A8%E0%A5%8D%E0%A4%A6%E0%A5%80?q=%E0%A4%95", "/%F0%9F%91%A9%E2%80%8D%F0%9F%91%A7/x", "/a%5Cb", "/C:%5Cusers%5Cana", "/caf%E9", "/%E9tudes", "/100%25", "/a%2520b", "/a%2fb%2F",
		"/%c2%a0", "/a%7Fb", "/a%C2%85b", "/a//b", "/a%2F%2Fb", "/x?q=%0d%0a%00%5c//", "/x?a;b=%", "/%2Ex", "/..x/...", "/a%E2%80%8Bb", "/%C0%A9t%C1", "/why%3F../%C0%2F", "/wiki/..%3F", "/a/.%23", "/a/%E2%80%A6/b", "/~ana/!$&'()*+,;=:@[]",
	} {
		want := strings.TrimSuffix(path, "?")
		if got, ok := navigation.LocalPath(path); !ok || got != want {
			t.Errorf("%q: %q, %v", path, got, ok)
		}
	}
	for _, path := range []string{
		"", "notes", "?x", "#x", " /", "//", "//x", "/\\x", "/a\\b", "/%5cx", "/%2fx", "/%2f%2fx", "/\tx", "/%09x", "/\x00", "/\x7f", "/\u00a0", "/\u2028", "/\u200b", "/\u3000", "/\ufeff", "/a\u2044b", "/a?b\u202ec", "/a?b\\c", "/a?b\nc",
		"/%c2%a0/x", "/%e2%a0%80/x", "/%e3%85%a4/x", "/%e2%80%8b%2fx", "/%20/x", "/%7f/x", "/%c2%ad%5Cx", "/%ff/x", "/%c0%afx", "/%c1%9cx", "/%e0%80%afx", "/%252fx", "/%255Cx", "/%2509/x", "/%25e2%2580%258b/x", "%2f/x",
		"/a%0ab", "/a%00", "/a%250d", "/a/%252e%252e/b", "/a/%2e%2E", "/a%2F..%2Fb", "/a%5C..%5Cb", "/a/..;x/b", "/a/.%00/b", "/a/..%c0%2fb", "/a/%ef%bc%8e/b", "/a/%e2%80%a5/b", "/a/.%e2%80%8b./b",
		"/a/%c0%ae%c0%ae/b", "/a/%C0%AE.", "/a/%e0%80%ae/b", "/a/%f0%80%80%ae./b", "/a/%25c0%25ae%25c0%25ae/b", "/a%c0%af..%c1%9cb", "/a/.%ef%b9%92/b", "/a/%ef%b8%b0/b", "/a%ef%bc%8f..%ef%bc%bcb", "/a%c0%80",
		"/\xff", "/..", "/.", "/a/../b", "/a/./b", "/%2e%2e/b", "/a/%2E/b", "/..//x", "/%", "/%zz", "https://notes.test/", "http:x", "javascript:x",
		"/" + strings.Repeat("a", navigation.MaxPath), "/" + strings.Repeat("\u00f6", navigation.MaxPath/3),
	} {
		if got, ok := navigation.LocalPath(path); ok {
			t.Errorf("%q is accepted as %q", path, got)
		}
	}
}

// What an address cannot contain is encoded; the rest of it stays as it is.
func TestLocalPathEncodes(t *testing.T) {
	for path, want := range map[string]string{
		"/wiki/L\u2019Avare": "/wiki/L%E2%80%99Avare", "/\u0939\u093f\u0928\u094d\u200d/%2F": "/%E0%A4%B9%E0%A4%BF%E0%A4%A8%E0%A5%8D%E2%80%8D/%2F", "/a b?c d": "/a%20b?c%20d",
		"/x?q=\u00e9%E9": "/x?q=%C3%A9%E9", "/a#b": "/a", "/#/x": "/", "/a?b#c": "/a?b", "/\"<>^`{|}": "/%22%3C%3E%5E%60%7B%7C%7D", "/a??": "/a??",
	} {
		if got, ok := navigation.LocalPath(path); !ok || got != want {
			t.Errorf("%q: %q, %v, want %q", path, got, ok, want)
		}
	}
}

// An absolute address of our own origin becomes its path. Any other stays what
// it is, and so is none.
func TestOwnPath(t *testing.T) {
	for _, c := range []struct{ origin, wish, want string }{
		{"https://notes.test", "https://notes.test/a?b#c", "/a?b#c"}, {"https://notes.test", "HTTPS://Notes.Test/a", "/a"}, {"https://notes.test", "https://notes.test:443/a", "/a"},
		{"https://notes.test:443", "https://notes.test/a", "/a"}, {"https://notes.test:443", "https://notes.test:443", "/"}, {"http://[::1]", "http://[::1]:80/a", "/a"},
		{"https://notes.test:8443", "https://notes.test:8443?x", "/?x"}, {"https://notes.test", "https://notes.test//evil.example", "//evil.example"}, {"https://notes.test", "/a", "/a"}, {"https://notes.test", "", ""},
		{"https://notes.test", "https://notes.test@evil.example/", ""}, {"https://notes.test", "https://notes.test.evil.example/", ""}, {"https://notes.test", `https://notes.test\evil.example/`, ""},
		{"https://notes.test", "https://notes.test:4431/", ""}, {"https://notes.test", "http://notes.test/", ""}, {"https://notes.test", "https://notes.test:/", ""}, {"https://notes.test", "//notes.test/", ""},
		{"https://notes.test:8443", "https://notes.test/", ""}, {"https://notes.test", " https://notes.test/", ""}, {"http://notes.test", "http://notes.test:443/", ""},
	} {
		if got := navigation.OwnPath(c.wish, c.origin); got != c.want && (c.want != "" || got != c.wish) {
			t.Errorf("%q at %s: %q, want %q", c.wish, c.origin, got, c.want)
		}
	}
}

// RT4: of all targets known to have caused an open redirect, in every spelling,
// no accepted one leads a browser to another site.
func TestLocalPathTargets(t *testing.T) {
	for _, target := range returntargets.All() {
		for _, spelling := range returntargets.Spellings(target) {
			if got, ok := navigation.LocalPath(spelling); ok && returntargets.BrowserHost(got) != returntargets.Own {
				t.Errorf("%q is accepted as %q, which leads to %q", spelling, got, returntargets.BrowserHost(got))
			}
		}
	}
}

// RT6: nobody is sent back to one of our own handlers, however it is spelled.
func TestReturnPath(t *testing.T) {
	handlers := []string{"https://notes.test/auth/callback", "/auth/login", "", "/auth/logout?x=y", "https://notes.test/bye%20now"}
	for _, path := range []string{
		"/auth/callback", "/auth/callback?code=x", "/auth/callback/", "/auth//callback", "/auth/log%69n", "/%61uth/login?return_to=/", "/auth/login/", "/auth/logout", "/bye%20now", "/bye now", "/auth%2flogin", "/auth%5Clogin", "/auth%5c%5clogin", "/auth/log%2569n",
		"//evil.example", "",
	} {
		if got, ok := navigation.ReturnPath(path, handlers...); ok {
			t.Errorf("%q is accepted as %q", path, got)
		}
	}
	for _, path := range []string{"/", "/auth/loginx", "/auth", "/AUTH/login", "/auth/login/more", "/x?to=/auth/login"} {
		if got, ok := navigation.ReturnPath(path, handlers...); !ok || got != path {
			t.Errorf("%q: %q, %v", path, got, ok)
		}
	}
}

// FuzzLocalPath: no accepted path leads a browser to another origin, neither as
// it stands nor after a server on the way has decoded it once.
func FuzzLocalPath(f *testing.F) {
	for _, s := range []string{
		"/", "/notes/7?page=2", "//evil.example", `/\evil.example`, "/%2f%2fevil.example", "/%5cevil.example", "/\t/evil.example",
		"/..//evil.example", "/%2e%2e//evil.example", "/a/..//evil.example", "https:evil.example", "javascript:alert(1)", "/ //x",
		"/%09/evil.example", "/a%2f..%2f/evil.example", "/;/../..//evil.example", "/?x=//evil.example", "/#//evil", "/%00/x", "/\u3000/x",
	} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, raw string) {
		out, ok := navigation.LocalPath(raw)
		if !ok {
			return
		}
		if len(out) > navigation.MaxPath || !strings.HasPrefix(out, "/") {
			t.Fatalf("%q gives %q", raw, out)
		}
		if strings.ContainsFunc(out, func(c rune) bool { return c < ' ' || c == 0x7f || c == '\\' }) {
			t.Errorf("%q gives %q, which has control characters or a backslash", raw, out)
		}
		if host := returntargets.BrowserHost(out); host != returntargets.Own {
			t.Errorf("%q gives %q, which leads to %q", raw, out, host)
		}
		path, _, _ := strings.Cut(out, "?")
		if decoded, err := url.PathUnescape(path); err == nil {
			if host := returntargets.BrowserHost(decoded); host != returntargets.Own {
				t.Errorf("%q gives %q, which decoded leads to %q", raw, out, host)
			}
		}
		again, ok := navigation.LocalPath(out)
		if !ok || again != out {
			t.Errorf("%q gives %q and that gives %q, %v", raw, out, again, ok)
		}
	})
}

// What a stranger sends is judged by its length before it is decoded and
// cleaned.
func TestServedByLength(t *testing.T) {
	for _, test := range []struct {
		address string
		served  bool
	}{
		{"/auth/callback?code=" + strings.Repeat("a", 100_000), true},
		{strings.Repeat("/", 7_000) + "auth/callback", true},
		{strings.Repeat("/", 9_000) + "auth/callback", false},
		{strings.Repeat("/.", 1<<19) + "/auth/callback", false},
	} {
		if got := navigation.ServedBy(test.address, "/auth/callback"); got != test.served {
			t.Errorf("%d bytes: served by the handler %v, want %v", len(test.address), got, test.served)
		}
	}
}
