package gatehouse

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"net/url"
	"strings"
	"time"

	"github.com/go-jose/go-jose/v4"

	"example.com/gatehouse/internal/outbound"
)

// A config is copied by its constructor: changing it afterwards has no effect.
// The zero value of every field is the safe default. Constructors do no I/O and
// report all problems of a config in one error.

// ProviderConfig are the settings of NewProvider.
type ProviderConfig struct {
	// Transport carries the calls to the provider, nil for one like
	// http.DefaultTransport. Gatehouse adds its own limits on top: 1 MiB an
	// answer, 10 s a call, no redirects, https only (http on loopback).
	Transport http.RoundTripper
	// Metadata, if not nil, is used instead of discovery. Its Issuer is ignored.
	Metadata *Metadata
	// Keys, if not nil, are the provider's signing keys; none are fetched then.
	Keys []jose.JSONWebKey
	// SigningAlgorithms are those accepted for ID Tokens. nil means what the
	// metadata announces of RS256, RS384, RS512, PS256, PS384, PS512, ES256,
	// ES384, ES512 and EdDSA, and RS256 where it announces nothing.
	SigningAlgorithms []string
	// Logger takes the log lines, nil for slog.Default.
	Logger *slog.Logger
	// Events, if not nil, is called for every event, beside the log. It must be
	// fast and safe for concurrent use.
	Events func(context.Context, Event)
	// Now is the clock, nil for time.Now.
	Now func() time.Time
	// InsecureHTTP allows an http issuer and http endpoints on other hosts than
	// loopback. Everyone on the way then reads secrets and tokens, and may
	// change them. It is logged once.
	InsecureHTTP bool
}

func (c *ProviderConfig) validate(issuer string) error {
	var problems []error
	u, err := outbound.CheckURL(issuer, c.InsecureHTTP)
	switch {
	case issuer == "":
		problems = append(problems, errors.New("issuer is empty"))
	case err != nil:
		problems = append(problems, fmt.Errorf("issuer: %w", err))
	case u.RawQuery != "" || u.ForceQuery: // Discovery §3
		problems = append(problems, errors.New("issuer has a query"))
	}
	if c.Keys != nil && len(c.Keys) == 0 {
		problems = append(problems, errors.New("field Keys is empty but not nil: no token could ever be verified"))
	}
	for _, alg := range c.SigningAlgorithms {
		if !asymmetric(alg) {
			problems = append(problems, fmt.Errorf("SigningAlgorithms: %q is not an asymmetric signature algorithm", alg))
		}
	}
	if c.Metadata != nil {
		if err := c.Metadata.checkEndpoints(c.InsecureHTTP); err != nil {
			problems = append(problems, fmt.Errorf("Metadata: %w", err))
		}
	}
	return invalid("NewProvider", problems)
}

// invalid makes the one error of a constructor, nil when there is no problem.
func invalid(constructor string, problems []error) error {
	if len(problems) == 0 {
		return nil
	}
	return fmt.Errorf("gatehouse: %s: %w", constructor, errors.Join(problems...))
}

func orNow(now func() time.Time) func() time.Time {
	if now == nil {
		return time.Now
	}
	return now
}

// checkOwnURL checks an address of this site: absolute, https or http on
// loopback, no fragment, no wildcard.
func checkOwnURL(field, raw string) (*url.URL, []error) {
	if raw == "" {
		return nil, []error{fmt.Errorf("%s is empty", field)}
	}
	u, err := outbound.CheckURL(raw, false)
	if err != nil {
		return nil, []error{fmt.Errorf("%s: %w", field, err)}
	}
	if strings.ContainsAny(raw, "*") {
		return nil, []error{fmt.Errorf("%s has a wildcard; it must be the one exact address", field)}
	}
	return u, nil
}
