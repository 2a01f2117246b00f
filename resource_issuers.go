package gatehouse

// Tested in internal/e2e/api.

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"slices"

	"example.com/gatehouse/internal/bearer"
	"example.com/gatehouse/internal/tenants"
	"example.com/gatehouse/internal/token"
	"example.com/gatehouse/internal/uncached"
)

// ByIssuer returns a guard for an API whose access tokens come from several
// issuers. The iss of a token, which nobody has verified yet, chooses one of
// apis, and that one judges the token. A token of any other issuer is refused,
// and no key is fetched for it. A token that is no JWT goes to the one api with
// ResourceServerConfig.Client, because a token is never shown to a second
// server. A request without a token gets the challenge of the first api.
//
// Each api has its own requirements: give each what the route needs by With.
// ByIssuer panics without apis, if one was not made by NewResourceServer or has no
// Audience, if two have one issuer, if two have a Client, and if they differ in
// TokenHeader or Schemes.
func ByIssuer(apis ...*ResourceServer) Guard {
	if len(apis) == 0 {
		wire("ByIssuer", errors.New("there are no resource servers"))
	}
	g := &byIssuer{first: apis[0], of: make(map[string]*ResourceServer, len(apis))}
	for _, api := range apis {
		wire("ByIssuer", api.checkMade())
		wire("ByIssuer", g.reads(api))
		for _, issuer := range api.provider.issuers() {
			if g.of[issuer] != nil {
				wire("ByIssuer", fmt.Errorf("two resource servers have the issuer %q", issuer))
			}
			g.of[issuer] = api
		}
		if api.asks && g.opaque != nil {
			wire("ByIssuer", errors.New("two resource servers have a Client, so nobody knows who judges a token that is no JWT"))
		}
		if api.asks {
			g.opaque = api
		}
	}
	return g
}

// reads checks that api finds a token where the first api finds it. Otherwise one
// token would be chosen by and another judged.
func (g *byIssuer) reads(api *ResourceServer) error {
	if !api.source.Equal(&g.first.source) {
		return fmt.Errorf("the resource server of %q has another TokenHeader or other Schemes than that of %q", api.provider.issuer, g.first.provider.issuer)
	}
	return nil
}

// ByIssuerFunc is ByIssuer for issuers that come and go, such as those of
// tenants. find returns the ResourceServer for an issuer, or nil if nobody has
// it. It should return the same one as long as an issuer stands, because that
// one keeps the keys. The requirements of first also apply to what find returns.
// first judges the tokens of its own issuer, answers a request without a token,
// and is the only one that judges tokens that are no JWTs.
//
// An answer of find counts for one minute, and nil for 5 seconds, for up to
// 1,000 issuers each. The context of find has no values of a request, and ends
// after the RequestBudget of first. find is asked once for all who wait, and
// about at most MaxTokenCalls unknown issuers at a time; what is more gets 503.
// If find returns an error, the answer is 503. A token never chooses an address:
// find decides which issuers there are. ByIssuerFunc panics if first was not made
// by NewResourceServer or if find is nil.
func ByIssuerFunc(first *ResourceServer, find func(ctx context.Context, issuer string) (*ResourceServer, error)) Guard {
	wire("ByIssuerFunc", first.checkMade())
	if find == nil {
		wire("ByIssuerFunc", errors.New("the function is nil"))
	}
	g := &byIssuer{first: first, of: map[string]*ResourceServer{}}
	for _, issuer := range first.provider.issuers() {
		g.of[issuer] = first
	}
	if first.asks {
		g.opaque = first
	}
	g.others = tenants.New(func(ctx context.Context, issuer string) (*ResourceServer, error) {
		api, err := first.provider.found(ctx, issuer, find)
		switch {
		case err != nil || api == nil:
			return nil, err
		case api.checkMade() != nil:
			return nil, errInternal.because(fmt.Errorf("ByIssuerFunc: what find returned for %q: %w", clip(issuer), api.checkMade()))
		case g.reads(api) != nil:
			return nil, errInternal.because(fmt.Errorf("ByIssuerFunc: %w", g.reads(api)))
		case !api.provider.tokens.Owns(issuer):
			return nil, errInternal.because(fmt.Errorf("ByIssuerFunc: find returned the issuer %q for %q", api.provider.issuer, clip(issuer)))
		}
		more, err := api.join(first.need)
		if err != nil {
			return nil, errInternal.because(fmt.Errorf("ByIssuerFunc: what find returned for %q: %w", clip(issuer), err))
		}
		return more, nil
	}, first.budget, first.tokens, first.provider.now)
	first.lookups.Add(g.others)
	return g
}

// found calls find. A panic of it becomes its error.
func (p *Provider) found(ctx context.Context, issuer string, find func(context.Context, string) (*ResourceServer, error)) (api *ResourceServer, err error) {
	err = p.safely(ctx, func(ctx context.Context) (err error) {
		api, err = find(ctx, issuer)
		return err
	})
	return api, err
}

// byIssuer is the guard of ByIssuer and ByIssuerFunc.
type byIssuer struct {
	first  *ResourceServer
	opaque *ResourceServer                    // that asks about tokens that are no JWTs, nil if none does
	of     map[string]*ResourceServer         // by issuer
	others *tenants.Directory[ResourceServer] // of ByIssuerFunc, or nil
}

// issuerRefusal is an error with the resource server that answers it.
type issuerRefusal struct {
	by *ResourceServer
	error
}

func (e issuerRefusal) Unwrap() error { return e.error }

// Check implements Guard.
func (g *byIssuer) Check(r *http.Request) (*Identity, error) {
	api, err := g.choose(r)
	if err != nil {
		return nil, err
	}
	id, err := api.Check(r)
	if err != nil {
		return nil, issuerRefusal{api, err}
	}
	return id, nil
}

// choose returns the resource server for the token. Only the first one judges
// what is no token at all.
func (g *byIssuer) choose(r *http.Request) (*ResourceServer, error) {
	raw, came, err := g.first.source.Unchecked(r.Header)
	if err != nil || came == bearer.None || !bearer.Valid(raw) {
		return g.first, nil
	}
	if g.opaque != nil && !token.IsJWT(raw) {
		return g.opaque, nil
	}
	issuer := token.UnverifiedIssuer(raw)
	if api := g.of[issuer]; api != nil {
		return api, nil
	}
	if !token.IsJWT(raw) {
		return nil, errTokenInvalid.because(errNotAsked)
	}
	if issuer == "" {
		return nil, errTokenInvalid.because(errors.New("the token has no readable iss"))
	}
	if g.others != nil {
		switch api, err := g.others.Of(r.Context(), issuer); {
		case errors.Is(err, tenants.ErrBusy):
			return nil, errBusy.after(0, fmt.Errorf("%d unknown issuers are being looked up, as many as may be", g.first.tokens))
		case err != nil:
			return nil, asError(err, errIssuerLookup)
		case api != nil:
			return api, nil
		}
	}
	return nil, errTokenInvalid.because(fmt.Errorf("no resource server has the issuer %q", clip(issuer)))
}

// Refuse implements Guard.
func (g *byIssuer) Refuse(w http.ResponseWriter, r *http.Request, err error) {
	uncached.Vary(w.Header(), g.tokenHeader())
	by := g.first
	if chosen, ok := errors.AsType[issuerRefusal](err); ok {
		by, err = chosen.by, chosen.error
	}
	by.Refuse(w, r, err)
}

// tokenHeader implements tokenReader.
func (g *byIssuer) tokenHeader() string { return g.first.tokenHeader() }

// upgrades implements upgrader: which one judges the request is not known before
// its token is read.
func (g *byIssuer) upgrades() (both []string) {
	for _, protocol := range g.first.upgrades() {
		all := true
		for _, api := range g.of {
			all = all && slices.Contains(api.upgrades(), protocol)
		}
		if all {
			both = append(both, protocol)
		}
	}
	return both
}
