package navigation_test

import (
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"example.com/gatehouse/internal/navigation"
)

func TestWhereFrom(t *testing.T) {
	for _, c := range []struct{ to, origin, site, want string }{
		{"https://notes.test/a?b=c", "https://evil.test:8443", "cross-site", "Origin is https://evil.test:8443, Sec-Fetch-Site is cross-site, and the request came to https://notes.test"},
		{"http://app:8080/", "https://notes.test", "", "Origin is https://notes.test, Sec-Fetch-Site is absent, and the request came to http://app:8080"},
		{"http://app:8080/", "", "same-site", "Origin is absent, Sec-Fetch-Site is same-site, and the request came to http://app:8080"},
		{"http://app/", "null", "what?", "Origin is null, Sec-Fetch-Site is other (5 bytes), and the request came to http://app"},
		{"http://app/", "https://u:secret@evil.test/secret?secret", "", "Origin is https://evil.test, Sec-Fetch-Site is absent, and the request came to http://app"},
		{"http://app/", "a secret", "", "Origin is unreadable (8 bytes), Sec-Fetch-Site is absent, and the request came to http://app"},
		{"http://app/", "https://" + strings.Repeat("a", 101), "", "Origin is https://(101 bytes), Sec-Fetch-Site is absent, and the request came to http://app"},
	} {
		r := httptest.NewRequest(http.MethodPost, c.to, nil)
		r.Header.Set("Origin", c.origin)
		r.Header.Set("Sec-Fetch-Site", c.site)
		if got := navigation.WhereFrom(r); got != c.want {
			t.Errorf("got  %s\nwant %s", got, c.want)
		}
	}
}

func TestAskedHost(t *testing.T) {
	for _, c := range []struct{ forwardedHost, forwarded, want string }{
		{"", "", "inner"}, {"a:8443 , b", "host=c", "a:8443"}, {"", `For=x; Host="c:1";proto=https, host=d`, "c:1"}, {" ", "for=x", "inner"},
	} {
		r := httptest.NewRequest(http.MethodGet, "http://inner/", nil)
		r.Header.Set("X-Forwarded-Host", c.forwardedHost)
		r.Header.Set("Forwarded", c.forwarded)
		if got := navigation.AskedHost(r); got != c.want {
			t.Errorf("%+v: %q", c, got)
		}
	}
}
