package gatehouse

// Tested in internal/e2e/signin.

import (
	"context"
	"crypto/x509"
	"errors"
	"fmt"
	"net/http"
	"net/netip"
	"slices"

	"example.com/gatehouse/internal/webfinger"
)

// FinderConfig holds the settings of NewFinder.
type FinderConfig struct {
	// RootCAs are the authorities whose certificates count when the host of an
	// account is asked. nil means those of the system.
	RootCAs *x509.CertPool
	// InnerNetworks are networks, besides the public internet, in which the host of
	// an account may be, such as 10.1.0.0/16 of an intranet. They count only with
	// InsecureInnerAddresses.
	InnerNetworks []netip.Prefix
	// Transport carries the requests instead, through a proxy or in a test. It
	// decides itself where it connects to, so there is no guard. It counts only with
	// InsecureInnerAddresses, and without RootCAs and InnerNetworks.
	Transport http.RoundTripper
	// InsecureInnerAddresses lets InnerNetworks and Transport count. Strangers can
	// then make this process send requests to hosts inside, whose answers they do
	// not see. A warning is logged once.
	InsecureInnerAddresses bool
}

func (c *FinderConfig) complete(providers []*Provider) error {
	var wrong problems
	for i, p := range providers {
		for _, err := range made(p) {
			wrong.wrap(fmt.Sprintf("providers[%d]", i), err)
		}
		for _, other := range providers[:i] {
			if p != nil && other != nil && slices.ContainsFunc(p.issuers(), other.owns) {
				wrong.add(fmt.Sprintf("providers[%d]", i), "the issuer %q is there twice", p.issuer)
			}
		}
	}
	wrong.guarded("", c.RootCAs, c.InnerNetworks, c.Transport, c.InsecureInnerAddresses)
	return wrong.in("NewFinder")
}

// Finder finds the provider of an account by WebFinger (OpenID Connect Discovery
// §2). The host of the account names the issuer, and only an issuer that is on the
// list counts. A Finder is safe for concurrent use. Make it with NewFinder.
type Finder struct {
	providers []*Provider
	asker     *webfinger.Asker // nil without providers
}

// NewFinder returns a Finder of these providers, and of no others. Without any, no
// account has a provider. It does no I/O.
//
// Whoever sends an account chooses a host that this process sends a request to.
// Only addresses on the public internet are dialled: not loopback, private,
// link-local, shared, multicast or unspecified ones, and none that lead there through
// NAT64 or IPv4-mapped addresses. The address is judged that is dialled, after the
// name was resolved. No proxy is used. The request is https, follows up to three
// redirects to https, and ends after 4 s. Its answer has at most 64 KiB.
func NewFinder(config FinderConfig, providers ...*Provider) (*Finder, error) {
	if err := config.complete(providers); err != nil {
		return nil, err
	}
	f := &Finder{providers: slices.Clone(providers)}
	if len(providers) == 0 {
		return f, nil // nobody is asked
	}
	f.asker = webfinger.New(guardedClient(config.RootCAs, config.InnerNetworks, config.Transport), providers[0].now)
	if config.InsecureInnerAddresses {
		providers[0].emit(context.Background(), Event{Name: EventInsecureOption, Code: "insecure_inner_addresses", Err: errors.New("InsecureInnerAddresses is set: accounts that strangers enter may lead to hosts inside")})
	}
	return f, nil
}

// FindProvider returns the provider of an account as a person enters it:
// name@example.org, acct:name@example.org, https://example.org/name,
// example.org/name or example.org:8443. It sends one request to the host of the
// account, and one more for each redirect, and none to the provider.
//
// An account without such a form is 400 "account_malformed". If its host names no
// issuer, cannot be asked, or has no public address, the error is 404
// "provider_not_found", with RetryAfter if it may differ later: a host that failed is
// left alone for 10 s at least. An issuer of no provider of this Finder is 403
// "provider_not_allowed". 503 "finder_busy" means that too many hosts are being asked.
// The error is an *Error, and its Message is for the person.
func (f *Finder) FindProvider(ctx context.Context, account string) (*Provider, error) {
	if f == nil {
		return nil, notMade("Finder")
	}
	who, err := webfinger.Parse(account)
	if err != nil {
		return nil, errAccount.because(err)
	}
	if f.asker == nil {
		return nil, errNotFoundProvider.because(errors.New("the Finder has no providers"))
	}
	issuers, err := f.asker.Ask(ctx, who)
	if err != nil {
		return nil, findFailure(ctx, who, err)
	}
	chosen := webfinger.Choose(issuers, func(issuer string) bool { return f.of(issuer) != nil })
	if chosen == "" {
		return nil, errNotAllowed.because(fmt.Errorf("%s names the issuer %q, which is none of the Finder's", who.Host, clip(issuers[0])))
	}
	return f.of(chosen), nil
}

// of returns the provider of an issuer, compared byte for byte, or nil.
func (f *Finder) of(issuer string) *Provider {
	for _, p := range f.providers {
		if p.owns(issuer) {
			return p
		}
	}
	return nil
}

// owns reports whether tokens of that issuer are accepted: its own, or those of its
// tenants.
func (p *Provider) owns(issuer string) bool { return p.tokens.Owns(issuer) }

// findFailure returns the *Error for an account without a provider. All that a host
// does wrong, and all that keeps us from it, looks the same from outside: strangers
// choose the host, and must not learn what is inside.
func findFailure(ctx context.Context, who webfinger.Account, err error) error {
	failure, failed := errors.AsType[*webfinger.Failure](err)
	switch {
	case errors.Is(err, webfinger.ErrBusy):
		return errFinderBusy.because(err)
	case failed:
		return errNotFoundProvider.after(failure.After, err)
	case errors.Is(err, webfinger.ErrNone):
		return errNotFoundProvider.because(fmt.Errorf("%s: %w", who.Host, err))
	case ctx.Err() != nil:
		return errNotFoundProvider.because(late(err, "answer", who.Address()))
	}
	return asError(err, errInternal)
}

// Shutdown waits until no host is asked any more, or until ctx is done.
func (f *Finder) Shutdown(ctx context.Context) error {
	if f == nil || f.asker == nil {
		return nil // it has started nothing
	}
	return f.asker.Wait(ctx)
}
