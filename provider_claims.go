package gatehouse

// Tested in internal/e2e/signin.

import (
	"context"
	"crypto/x509"
	"errors"
	"fmt"
	"net/http"
	"net/netip"
	"net/url"
	"slices"
	"strings"

	"example.com/gatehouse/internal/backchannel"
	"example.com/gatehouse/internal/bearer"
	"example.com/gatehouse/internal/outbound"
	"example.com/gatehouse/internal/token"
)

// maxSourced caps what the endpoint of a claims provider may answer with, in
// bytes. That is one JWT, of which no more would be read.
const maxSourced = 16 << 10

// ClaimsProvider is somebody whom RelyingPartyConfig lets say claims about people:
// a bank, a school or a directory to which the OpenID provider refers (OpenID
// Connect Core §5.6.2).
type ClaimsProvider struct {
	// Provider is the issuer whose signature counts. Its keys come from its
	// metadata, or are those of its ProviderConfig. Required.
	Provider *Provider
	// Origins are where its claims may be fetched (distributed claims), such as
	// "https://claims.bank.example". nil means the origin of the issuer. An empty
	// list that is not nil means nowhere: only claims that come with the provider's
	// own (aggregated claims) count then.
	Origins []string
	// RootCAs are the authorities whose certificates count there. nil means those
	// of the system.
	RootCAs *x509.CertPool
	// InnerNetworks are networks, besides the public internet, in which Origins may
	// be, such as 10.1.0.0/16, or 127.0.0.0/8 in a test. They count only with
	// InsecureInnerAddresses.
	InnerNetworks []netip.Prefix
	// Transport carries the requests to Origins instead, through a proxy or in a
	// test. It decides itself where it connects to, so there is no guard. It counts
	// only with InsecureInnerAddresses, and without RootCAs and InnerNetworks.
	Transport http.RoundTripper
	// InsecureInnerAddresses lets InnerNetworks and Transport count. A name server
	// that lies about Origins can then lead this process to hosts inside. A warning
	// is logged once.
	InsecureInnerAddresses bool
}

// claimsProviders checks the list.
func (w *problems) claimsProviders(list []ClaimsProvider) {
	for i, c := range list {
		at := fmt.Sprintf("ClaimsProviders[%d].", i)
		for _, err := range made(c.Provider) {
			w.wrap(at+"Provider", err)
		}
		for _, other := range list[:i] {
			if c.Provider != nil && c.Provider.tokens != nil && other.Provider != nil && other.Provider.tokens != nil && slices.ContainsFunc(c.Provider.issuers(), other.Provider.owns) {
				w.add(at+"Provider", "the issuer %q is there twice", c.Provider.issuer)
			}
		}
		for _, origin := range c.Origins {
			if u, err := outbound.CheckURL(origin, false); err != nil {
				w.add(at+"Origins", "%q: %w", origin, err)
			} else if outbound.Origin(u) != origin {
				w.add(at+"Origins", "%q is no origin, such as %q", origin, outbound.Origin(u))
			}
		}
		w.guarded(at, c.RootCAs, c.InnerNetworks, c.Transport, c.InsecureInnerAddresses)
	}
}

// guarded checks how hosts are reached that others name.
func (w *problems) guarded(at string, roots *x509.CertPool, inner []netip.Prefix, transport http.RoundTripper, insecure bool) {
	w.transport(at+"Transport", transport)
	for i, network := range inner {
		if !network.IsValid() || network.Addr().Is4In6() {
			w.add(fmt.Sprintf("%sInnerNetworks[%d]", at, i), "%v is no network of IPv4 or IPv6", network)
		}
	}
	given := len(inner) > 0 || transport != nil
	switch {
	case given != insecure:
		w.add(at+"InsecureInnerAddresses", "it is set with InnerNetworks or Transport, and only then")
	case transport != nil && (len(inner) > 0 || roots != nil):
		w.add(at+"Transport", "it decides itself where it connects to, so RootCAs and InnerNetworks do not count")
	}
}

// guardedClient returns the client for such hosts.
func guardedClient(roots *x509.CertPool, inner []netip.Prefix, transport http.RoundTripper) *http.Client {
	if transport == nil {
		transport = outbound.NewGuarded(roots, slices.Clone(inner))
	}
	return outbound.NewClient(transport, false)
}

// claimsProvider is one whose claims count.
type claimsProvider struct {
	*Provider
	origins []string
	channel *backchannel.Channel
}

// newClaimsProviders returns those of a list that was checked.
func newClaimsProviders(list []ClaimsProvider) []claimsProvider {
	all := make([]claimsProvider, 0, len(list))
	for _, c := range list {
		origins := slices.Clone(c.Origins)
		if c.Origins == nil {
			for _, issuer := range c.Provider.issuers() {
				if u, err := url.Parse(issuer); err == nil && u.Host != "" { // an issuer may be a name
					origins = append(origins, outbound.Origin(u))
				}
			}
		}
		all = append(all, claimsProvider{c.Provider, origins, backchannel.New(guardedClient(c.RootCAs, c.InnerNetworks, c.Transport), c.Provider.now)})
	}
	return all
}

// sourced returns what a source says to the client with that id, if it is one of
// the list. What is fetched has to be signed by the provider at whose origin it
// was, so that nobody passes on what another one said.
func sourced(ctx context.Context, list []claimsProvider, s token.Source, client string) (*token.Sourced, error) {
	if s.JWT != "" {
		issuer := token.UnverifiedIssuer(s.JWT)
		if issuer == "" {
			return nil, errors.New("its JWT has no readable iss, or is longer than 16 KiB")
		}
		for _, p := range list {
			if p.owns(issuer) {
				return p.tokens.Sourced(ctx, s.JWT, client)
			}
		}
		return nil, fmt.Errorf("its JWT is of the issuer %q, which is none of ClaimsProviders", clip(issuer))
	}
	u, err := outbound.CheckURL(s.Endpoint, false)
	if err != nil {
		return nil, fmt.Errorf("its endpoint: %w", err)
	}
	origin := outbound.Origin(u)
	for _, p := range list {
		if slices.Contains(p.origins, origin) {
			raw, err := p.fetch(ctx, s)
			if err != nil {
				return nil, err
			}
			return p.tokens.Sourced(ctx, raw, client)
		}
	}
	return nil, fmt.Errorf("its endpoint is at %q, which is no origin of ClaimsProviders", clip(origin))
}

// fetch asks the endpoint of a source (OpenID Connect Core §5.6.2.2), with the
// source's own token if it has one (RFC 6750 §2.1). It follows no redirect.
func (p *claimsProvider) fetch(ctx context.Context, s token.Source) (string, error) {
	if s.Access != "" && !bearer.Valid(s.Access) {
		return "", errors.New("its access token has characters that no Authorization header can carry (RFC 6750 §2.1)")
	}
	a, err := p.channel.JWT(outbound.WithLimit(ctx, maxSourced), s.Endpoint, s.Access)
	if err != nil {
		return "", err
	}
	if a.Status != http.StatusOK {
		return "", a.Unexpected("claims")
	}
	return strings.TrimSpace(string(a.Body)), nil
}
