package outbound_test

import (
	"net/url"
	"testing"

	"example.com/gatehouse/internal/outbound"
)

func TestAddresses(t *testing.T) {
	for _, c := range []struct{ endpoint, id, want string }{
		{"https://as.test/rs", "a", "https://as.test/rs/a"},
		{"https://as.test/rs/", "a b/c", "https://as.test/rs/a%20b%2Fc"},
		{"https://as.test/rs?x=1", "a", "https://as.test/rs/a?x=1"},
	} {
		got := outbound.WithSegment(c.endpoint, c.id)
		if got != c.want {
			t.Errorf("WithSegment(%q, %q) = %q, want %q", c.endpoint, c.id, got, c.want)
		}
		if back := outbound.LastSegment(got); back != c.id {
			t.Errorf("LastSegment(%q) = %q, want %q", got, back, c.id)
		}
	}
	for endpoint, want := range map[string]string{"https://as.test/rs": "https://as.test/rs?a=1", "https://as.test/rs?x=1": "https://as.test/rs?x=1&a=1"} {
		if got := outbound.WithQuery(endpoint, url.Values{"a": {"1"}}); got != want {
			t.Errorf("WithQuery(%q) = %q, want %q", endpoint, got, want)
		}
	}
	for address, want := range map[string]string{"": "", "/": "", "/rs/7": "7", "rs/7/": "7", "://": "", "/rs/%zz": ""} {
		if got := outbound.LastSegment(address); got != want {
			t.Errorf("LastSegment(%q) = %q, want %q", address, got, want)
		}
	}
}
