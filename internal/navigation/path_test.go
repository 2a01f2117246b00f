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
	} {
		want := strings.TrimSuffix(path, "?")
		if got, ok := navigation.LocalPath(path); !ok || got != want {
			t.Errorf("%q: %q, %v", path, got, ok)
		}
	}
	for _, path := range []string{
		"", "notes", "?x", "#x", " /", "//", "//x", "/\\x", "/a\\b", "/%5cx", "/%2fx", "/%2f%2fx", "/\tx", "/%09x", "/\x00", "/\x7f", "/\u00a0", "/%c2%a0", "/\u2028", "/\u200b", "/\u3000", "/\ufeff",
		"/\xff", "/%ff", "/..", "/.", "/a/../b", "/a/./b", "/%2e%2e/b", "/a/%2E/b", "/..//x", "/%", "/%zz", "https://notes.test/", "http:x", "javascript:x",
		"/" + strings.Repeat("a", navigation.MaxPath), "/" + strings.Repeat("\u00f6", navigation.MaxPath/3),
	} {
		if got, ok := navigation.LocalPath(path); ok {
			t.Errorf("%q is accepted as %q", path, got)
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
		"/auth/callback", "/auth/callback?code=x", "/auth/callback/", "/auth//callback", "/auth/log%69n", "/%61uth/login?return_to=/", "/auth/login/", "/auth/logout", "/bye%20now", "/bye now",
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
