package gatehouse

// Tested in internal/e2e/uma_rs.

import (
	"context"
	"errors"
	"net/http"
	"net/url"
	"slices"
	"sync/atomic"
	"time"

	"example.com/gatehouse/internal/bearer"
	"example.com/gatehouse/internal/deadline"
	"example.com/gatehouse/internal/introspection"
	"example.com/gatehouse/internal/live"
	"example.com/gatehouse/internal/memstore"
	"example.com/gatehouse/internal/tenants"
	"example.com/gatehouse/internal/token"
)

// ResourceServer protects an API whose tokens come from one authorization
// server. It is a Guard that lets a request pass with an access token. It is
// safe for concurrent use.
type ResourceServer struct {
	*resourceServer
	need []Requirement // set by With; never modified
}

// resourceServer is what a ResourceServer shares with those that With derives
// from it.
type resourceServer struct {
	provider *Provider
	client   Client
	rules    token.AccessRules
	seen     *token.AccessMemory
	source   bearer.Source
	asks     bool              // about tokens that are no JWTs
	proofs   *proofs           // of DPoP, nil if it is off
	roles    []string          // the path to the roles
	onward   http.RoundTripper // of HTTPClient
	resource *url.URL          // the address of the API, nil without one
	apiName  string            // that address as Audience has it (RFC 9728 §3.3)
	realm    string
	pats     PATSource
	ids      ResourceIDs
	lists    bool // ids is our own memory, which is refilled by listing
	idReads  *deadline.Shared
	onError  func(http.ResponseWriter, *http.Request, *Error)
	allowed  []string             // protocols that requests may be upgraded to
	facts    *introspection.Cache // about requesting party tokens
	opaque   *introspection.Cache // about access tokens that are not JWTs
	budget   time.Duration        // of one request
	tickets  int                  // calls for tickets and registrations at a time
	tokens   int                  // introspections at a time of tokens never seen active
	byPAT    atomic.Bool          // introspection requires the protection API token instead of client authentication
	registry registry
	lookups  tenants.Waits // of ByIssuerFunc
	live     live.Set      // contexts of Live
}

// NewResourceServer returns a ResourceServer for an API whose tokens come from
// p. It does no I/O, so the authorization server may be down when the process
// starts. Its error lists every problem of the arguments.
func NewResourceServer(p *Provider, c ResourceServerConfig) (*ResourceServer, error) {
	lists, proofs, err := c.complete(p)
	if err != nil {
		return nil, err
	}
	rs := &resourceServer{
		provider: p,
		client:   c.Client,
		rules: token.AccessRules{
			Audience: c.Audience, AnyAudience: c.InsecureAnyAudience, Types: c.TokenTypes,
			Subjects: c.SubjectClaims, Scopes: c.ScopeClaim,
		},
		seen:    token.NewAccessMemory(),
		source:  bearer.Source{Header: http.CanonicalHeaderKey(c.TokenHeader), Schemes: slices.Clone(c.Schemes)},
		proofs:  proofs,
		roles:   rolePath(c.RoleClaim),
		onward:  c.APITransport,
		realm:   c.Realm,
		pats:    c.PAT,
		ids:     c.ResourceIDs,
		lists:   lists,
		idReads: deadline.New(idsWait),
		onError: c.ErrorHandler,
		budget:  c.RequestBudget,
		tickets: c.MaxTicketCalls,
		tokens:  c.MaxTokenCalls,
		allowed: c.AllowUpgrades,
	}
	_, alone := c.PAT.(*servicePAT)
	rs.asks = c.Client.given() && !(c.Client.Auth == AuthNone && alone) // a public client cannot ask (RFC 7662 §2.1)
	rs.apiName, rs.resource = resourceOf(c.Audience)
	rs.registry.ended = make(chan struct{})
	if rs.ids == nil {
		rs.ids, rs.lists = &memstore.IDs{}, true
	}
	rs.facts, rs.opaque = introspection.NewCache(c.CacheTTL, p.now), introspection.NewCache(c.CacheTTL, p.now)
	if c.InsecureAnyAudience {
		p.emit(context.Background(), Event{
			Name: EventInsecureOption, Code: "insecure_any_audience",
			Err: errors.New("InsecureAnyAudience is set: an access token for any other API of the issuer is accepted here"),
		})
	}
	return &ResourceServer{resourceServer: rs}, nil
}

// checkMade implements madeGuard: as a guard it judges access tokens.
func (rs *ResourceServer) checkMade() error {
	switch err := rs.isMade(); {
	case err != nil:
		return err
	case len(rs.rules.Audience) == 0 && !rs.rules.AnyAudience:
		return errors.New("access tokens need ResourceServerConfig.Audience")
	}
	return nil
}

func (rs *ResourceServer) isMade() error {
	if rs == nil || rs.resourceServer == nil {
		return errors.New("the ResourceServer was not made by NewResourceServer")
	}
	return nil
}

// Shutdown waits until the calls that requests have started are done, or until
// ctx is done. It includes those of the Provider and of an OwnerGrants. It ends
// the contexts of Live, and the wait for duplicates (see ResourceServerConfig.ResourceIDs), but does not
// stop new calls, so shut down the HTTP server first.
func (rs *ResourceServer) Shutdown(ctx context.Context) error {
	if rs.isMade() != nil {
		return nil // it has started nothing
	}
	rs.endLive()
	errs := []error{rs.facts.Wait(ctx), rs.opaque.Wait(ctx), rs.lookups.Wait(ctx), rs.registry.shut(ctx), rs.client.prover.Shutdown(ctx)}
	switch pats := rs.pats.(type) { // the application shuts down a PATSource of its own
	case *servicePAT:
		errs = append(errs, pats.token.Shutdown(ctx))
	case *OwnerGrants:
		errs = append(errs, pats.Shutdown(ctx))
	}
	return errors.Join(append(errs, rs.provider.Shutdown(ctx))...)
}

// answer writes the response to a refused request.
func (rs *ResourceServer) answer(w http.ResponseWriter, r *http.Request, e *Error) {
	writeErrorHeader(w, e)
	if rs.onError != nil {
		handleError(rs.onError, w, r, e)
		return
	}
	writeJSON(w, e.Status, errorBody{Error: e.Code, Message: e.Message, ID: e.ID})
}
