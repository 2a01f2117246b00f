package token_test

import (
	"context"
	"errors"
	"net/http"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/go-jose/go-jose/v4"

	"example.com/gatehouse/internal/keyset"
	"example.com/gatehouse/internal/token"
)

// A provider may announce algorithms that it uses for other things than ID
// Tokens. Symmetric and unsigned ones are never accepted.
func TestIDTokenAlgorithmsAnnounced(t *testing.T) {
	hmac := sign(t, jose.HS256, []byte(strings.Repeat("k", 32)), nil, claims())
	none := "eyJhbGciOiJub25lIn0.e30.AAAA" // {"alg":"none"}
	for _, c := range []struct{ announced, accepted []string }{
		{[]string{"none", "HS256", "ES256", "XY999", "RS256"}, []string{"ES256", "RS256"}},
		{[]string{"HS256", "none"}, []string{"RS256"}},
		{[]string{"EdDSA"}, []string{"EdDSA"}},
		{nil, []string{"RS256"}},
	} {
		accepted := map[string]bool{}
		for _, alg := range c.accepted {
			accepted[alg] = true
		}
		v := verifier(c.announced...)
		for alg, key := range keys() {
			_, err := v.SignIn(t.Context(), sign(t, alg, key, nil, claims()), signIn())
			if (err == nil) != accepted[string(alg)] || err != nil && !errors.Is(err, token.ErrAlgorithm) {
				t.Errorf("%q announced, signed with %s: error %v", c.announced, alg, err)
			}
		}
		for _, raw := range []string{hmac, none} {
			if _, err := v.SignIn(t.Context(), raw, signIn()); !errors.Is(err, token.ErrAlgorithm) {
				t.Errorf("%q announced, %.20s…: error %v", c.announced, raw, err)
			}
		}
	}
}

// isReason reports whether an error says why a token was rejected.
func isReason(err error) bool {
	return slices.ContainsFunc(token.Reasons(), func(reason error) bool { return errors.Is(err, reason) })
}

// If the algorithms cannot be learned now, the error says nothing about the
// token.
func TestAlgorithmsUnknown(t *testing.T) {
	cause := errors.New("no metadata")
	v := token.NewVerifier(token.Config{
		Issuer: issuer, Keys: published(), Now: func() time.Time { return now },
		Algorithms: func(context.Context) ([]string, error) { return nil, cause },
	})
	_, err := v.SignIn(t.Context(), signed(t), signIn())
	if isReason(err) || !errors.Is(err, cause) {
		t.Errorf("error %v, want %v", err, cause)
	}
}

type roundTripper func(*http.Request) (*http.Response, error)

func (f roundTripper) RoundTrip(r *http.Request) (*http.Response, error) { return f(r) }

// fetching returns a verifier that fetches its keys.
func fetching(fetch roundTripper) (*token.Verifier, *keyset.Set) {
	set := keyset.New(keyset.Config{
		Client: &http.Client{Transport: fetch},
		URL:    func(context.Context) (string, error) { return issuer + "/keys", nil },
	})
	return token.NewVerifier(token.Config{
		Issuer: issuer, Keys: set, Now: func() time.Time { return now },
		Algorithms: func(context.Context) ([]string, error) { return []string{"ES256"}, nil },
	}), set
}

// If the keys do not arrive in time, the error says nothing about the token.
func TestIDTokenKeysTooLate(t *testing.T) {
	stop := make(chan struct{})
	v, set := fetching(func(*http.Request) (*http.Response, error) {
		<-stop
		return nil, errors.New("closed")
	})
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	_, err := v.SignIn(ctx, signed(t), signIn())
	if isReason(err) || !errors.Is(err, context.Canceled) {
		t.Errorf("error %v, want the context's", err)
	}
	close(stop)
	if err := set.Wait(t.Context()); err != nil {
		t.Error(err)
	}
}

// If the keys are unavailable, the error says nothing about the token, and it
// says when to try again.
func TestIDTokenKeysUnavailable(t *testing.T) {
	v, _ := fetching(func(*http.Request) (*http.Response, error) { return nil, errors.New("down") })
	_, err := v.SignIn(t.Context(), signed(t), signIn())
	if missing, ok := errors.AsType[*keyset.UnavailableError](err); isReason(err) || !ok || missing.RetryAfter <= 0 {
		t.Errorf("error %v (%T)", err, err)
	}
}

// An error clips what it quotes from a token.
func TestErrorsAreShort(t *testing.T) {
	long := strings.Repeat("x", 4<<10)
	for name, raw := range map[string]string{
		"iss": signed(t, "iss", long),
		"typ": sign(t, jose.ES256, keys()[jose.ES256], map[string]any{"typ": long}, claims()),
	} {
		if _, err := verifier("ES256").SignIn(t.Context(), raw, signIn()); err == nil || len(err.Error()) > 300 {
			t.Errorf("%s: error %v", name, err)
		}
	}
}
