package gatehouse

// Tested in internal/e2e/api.

import (
	"errors"
	"fmt"
	"net/http"
	"slices"

	"example.com/gatehouse/internal/bearer"
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
// ByIssuer panics without apis, if one was not made by NewResourceServer, if two
// have one issuer, and if two have a Client.
func ByIssuer(apis ...*ResourceServer) Guard {
	if len(apis) == 0 {
		wire("ByIssuer", errors.New("there are no resource servers"))
	}
	g := &byIssuer{first: apis[0], of: make(map[string]*ResourceServer, len(apis))}
	for _, api := range apis {
		wire("ByIssuer", api.checkMade())
		if g.of[api.provider.issuer] != nil {
			wire("ByIssuer", fmt.Errorf("two resource servers have the issuer %q", api.provider.issuer))
		}
		if api.client.ID != "" && g.opaque != nil {
			wire("ByIssuer", errors.New("two resource servers have a Client, so nobody knows who judges a token that is no JWT"))
		}
		if api.client.ID != "" {
			g.opaque = api
		}
		g.of[api.provider.issuer] = api
	}
	return g
}

// byIssuer is the guard of ByIssuer.
type byIssuer struct {
	first  *ResourceServer
	opaque *ResourceServer            // that asks about tokens that are no JWTs, nil if none does
	of     map[string]*ResourceServer // by issuer
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
	raw, ok, err := g.first.source.Unchecked(r.Header)
	if err != nil || !ok || !bearer.Valid(raw) {
		return g.first, nil
	}
	if g.opaque != nil && !token.IsJWT(raw) {
		return g.opaque, nil
	}
	issuer := token.UnverifiedIssuer(raw)
	if api := g.of[issuer]; api != nil {
		return api, nil
	}
	if issuer == "" {
		return nil, errTokenInvalid.because(errors.New("the token has no readable iss"))
	}
	return nil, errTokenInvalid.because(fmt.Errorf("no resource server has the issuer %q", clip(issuer)))
}

// Refuse implements Guard.
func (g *byIssuer) Refuse(w http.ResponseWriter, r *http.Request, err error) {
	uncached.Vary(w.Header(), "Authorization")
	by := g.first
	if chosen, ok := errors.AsType[issuerRefusal](err); ok {
		by, err = chosen.by, chosen.error
	}
	by.Refuse(w, r, err)
}

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
