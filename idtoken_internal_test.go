package gatehouse

import (
	"context"
	"errors"
	"net/http"
	"slices"
	"testing"
)

// A provider may announce algorithms that are not for ID Tokens from elsewhere:
// nothing symmetric or unsigned is ever among those that are accepted.
func TestIDTokenAlgorithmsAnnounced(t *testing.T) {
	for _, c := range []struct{ announced, want []string }{
		{[]string{"none", "HS256", "ES256", "XY999", "RS256"}, []string{"ES256", "RS256"}},
		{[]string{"HS256", "none"}, []string{"RS256"}},
		{nil, []string{"RS256"}},
	} {
		p, err := NewProvider("https://as.example.org", &ProviderConfig{Metadata: &Metadata{IDTokenAlgorithms: c.announced}})
		if err != nil {
			t.Fatal(err)
		}
		if got, err := p.algorithms(t.Context()); err != nil || !slices.Equal(got, c.want) {
			t.Errorf("%q announced: %q, %v; want %q", c.announced, got, err, c.want)
		}
	}
}

type roundTripper func(*http.Request) (*http.Response, error)

func (f roundTripper) RoundTrip(r *http.Request) (*http.Response, error) { return f(r) }

// Keys that do not come in time say nothing about the token.
func TestIDTokenKeysTooLate(t *testing.T) {
	stop := make(chan struct{})
	p, err := NewProvider("https://as.example.org", &ProviderConfig{
		Metadata: &Metadata{JWKSURI: "https://as.example.org/keys"},
		Transport: roundTripper(func(*http.Request) (*http.Response, error) {
			<-stop
			return nil, errors.New("closed")
		}),
	})
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	_, err = p.verifyIDToken(ctx, Client{ID: "notes"}, "eyJhbGciOiJSUzI1NiJ9.e30.c2ln", "", idTokenWant{})
	if ErrorCode(err) != errProviderUnavailable.code {
		t.Errorf("error %v, want %s", err, errProviderUnavailable.code)
	}
	close(stop)
	if err := p.wait(t.Context()); err != nil {
		t.Error(err)
	}
}
