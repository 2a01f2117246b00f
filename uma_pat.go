package gatehouse

// Tested in internal/e2e/uma_rs.

import (
	"context"
	"errors"
	"fmt"
	"net/url"
	"slices"
	"time"

	"example.com/gatehouse/internal/backchannel"
)

const (
	// protectionScope is the scope of a PAT (UMA Federated Authorization §1.3).
	protectionScope = "uma_protection"
	// patBackoff is how long a failure is returned to all callers before the
	// server is asked again.
	patBackoff = time.Second
)

// PATSource provides the access tokens for the protection API (PAT, UMA
// Federated Authorization §1.3). Whoever authorized a token owns what is
// registered with it, so there is one token per owner.
type PATSource interface {
	// PAT returns the token of owner, which is the subject of a person at the
	// issuer, or "" for the service itself. If the server has just refused a
	// token, refused is that token. PAT then returns another one, or the same
	// one if it has no other.
	//
	// If the error is an *Error, it keeps its code. PAT must be safe for
	// concurrent use. Requests that share a registration or an introspection
	// wait for it, so it must return when ctx ends. Concurrent calls should
	// share one request to the server.
	PAT(ctx context.Context, owner string, refused Secret) (Secret, error)
}

// asksProtection reports whether to request the scope uma_protection. A server
// whose scopes_supported omits it refuses it (K1).
func (md *Metadata) asksProtection() bool {
	return len(md.ScopesSupported) == 0 || slices.Contains(md.ScopesSupported, protectionScope)
}

// servicePAT is the PATSource for the service's own resources. It obtains a
// token with client credentials, keeps it in memory, and makes one request for
// all who wait.
type servicePAT struct {
	provider *Provider
	token    *backchannel.Kept[string]
}

func newServicePAT(p *Provider, c Client) *servicePAT {
	return &servicePAT{p, p.keepServiceToken(&c, func(ctx context.Context) (*backchannel.Tokens, error) { return p.requestPAT(ctx, &c) })}
}

// PAT implements PATSource for the owner "".
func (s *servicePAT) PAT(ctx context.Context, owner string, refused Secret) (Secret, error) {
	if owner != "" {
		return Secret{}, errOwnerGrantMissing.because(errors.New("client credentials do not work for a person's resources: set PAT to an OwnerGrants"))
	}
	token, err := s.token.Instead(ctx, refused.Reveal())
	if err != nil {
		return Secret{}, asError(late(err, "protection API token", s.provider.knownEndpoint(tokenEndpoint)), errProviderUnavailable) // a refusal has its code already
	}
	return NewSecret(token), nil
}

func tokenEndpoint(md *Metadata) string { return md.TokenEndpoint }

func (p *Provider) requestPAT(ctx context.Context, c *Client) (*backchannel.Tokens, error) {
	md, err := p.umaMetadataWith(ctx, func(md *Metadata) string { return md.TokenEndpoint })
	if err != nil {
		return nil, err
	}
	form := url.Values{"grant_type": {"client_credentials"}} // RFC 6749 §4.4.2
	if md.asksProtection() {
		form.Set("scope", protectionScope)
	}
	a, err := p.requestToken(ctx, c, form)
	if err != nil {
		return nil, asError(fmt.Errorf("protection API token: %w", err), errClientRefused)
	}
	return a, nil
}
