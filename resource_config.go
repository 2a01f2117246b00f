package gatehouse

// Tested in internal/e2e/api.

import (
	"cmp"
	"fmt"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"time"

	"example.com/gatehouse/internal/bearer"
	"example.com/gatehouse/internal/challenge"
	"example.com/gatehouse/internal/dpop"
	"example.com/gatehouse/internal/memstore"
	"example.com/gatehouse/internal/outbound"
)

// ResourceServerConfig holds the settings of NewResourceServer.
type ResourceServerConfig struct {
	// Client introspects tokens and requests permission tickets. Unless PAT is
	// set, it also obtains the protection API token. RequireToken does not need
	// it. UMAProtect and UMAGuard panic without. A public client asks about
	// tokens only with a PAT; without, all access tokens have to be JWTs.
	Client Client
	// Audience lists the names of this API. The aud of an access token must have
	// one of them. If an answer about a requesting party token has an aud, that
	// must have one of them or Client.ID. Client.ID is otherwise no audience:
	// the ID Tokens of the same client have it. Required without Client, unless
	// InsecureAnyAudience is set.
	Audience []string
	// InsecureAnyAudience accepts access tokens for any audience, and for none.
	// It is for authorization servers that send no aud. A token that was meant
	// for another API of the issuer then opens this one.
	InsecureAnyAudience bool
	// TokenTypes are values of typ in the header of an access token that are
	// accepted besides "at+jwt" (RFC 9068 §2.1): "JWT", or "" for a header
	// without typ. Keycloak, Entra ID, Auth0 and Cognito need one of them. Such
	// a token is refused if a claim shows that it is another kind of token, such
	// as an ID Token.
	TokenTypes []string
	// Schemes are schemes of the Authorization header that are accepted besides
	// "Bearer", in any case, such as "token" for clients of itsyou.online.
	Schemes []string
	// TokenHeader is another header that holds the access token alone, set by a
	// proxy in front that has removed what clients send there. Authorization is
	// then ignored. "" means Authorization. UMAProtect always reads
	// Authorization.
	TokenHeader string
	// DPoP accepts access tokens that are bound to a key of their client, each
	// request with a proof (RFC 9449). The zero value refuses such tokens.
	DPoP DPoPConfig
	// RoleClaim is the path to the claim with the roles that Role requires, such
	// as "realm_access", "roles" at Keycloak. nil means "roles".
	RoleClaim []string
	// ScopeClaim is the claim with the scopes of an access token, a text with
	// spaces or a list. "" means "scope", or "scp" in a token without it.
	ScopeClaim string
	// SubjectClaims are the claims that may hold the subject of an access token;
	// the first that is there does. nil means "sub".
	SubjectClaims []string
	// Realm is the realm of challenges. "" means the host of the first
	// Audience if that is a URL, and otherwise Client.ID, or the first Audience
	// without a Client.
	Realm string
	// PAT provides the protection API tokens of owners. nil means client
	// credentials of Client, which work only for the owner "", the service
	// itself. An OwnerGrants must be of the same issuer and client. Any other
	// PATSource must be of the same issuer if it has a method Issuer() string.
	PAT PATSource
	// ResourceIDs keeps the ids that the authorization server gave to
	// resources. nil means memory, which is refilled by listing the resources
	// at the server. Several processes should share one. Without, two that
	// begin at the same moment may register a resource twice. Each lists again
	// once, 20 s after it has created one; then the smallest id wins, the other
	// is deleted, and what was shared on it is lost. Keycloak has no duplicates.
	ResourceIDs ResourceIDs
	// CacheTTL is how long the facts of a token are used before the server is
	// asked again. A permission that was taken back may still work for that
	// long. 0 means 10 s, the maximum is 30 s, and a negative value turns
	// caching off. Facts are never used past the token's expiry. A token that
	// the server calls inactive is refused for 2 s in any case.
	CacheTTL time.Duration
	// RequestBudget is how long one request may spend on the authorization
	// server in all. 0 means 1.7 s, so that a client has its answer within 2 s
	// even if the server hangs. It must be between 10 ms and one minute.
	RequestBudget time.Duration
	// MaxTicketCalls is how many calls for tickets and registrations run at a
	// time, and MaxTokenCalls how many introspections of tokens that were never
	// seen active. They bound how far strangers can drive the authorization
	// server. A request that would be one more gets 503 at once; Register waits
	// for its turn. Both count all resource servers of one Provider. Tokens that
	// were seen active, and JWTs with a good signature, are always looked up.
	// ByIssuerFunc has the same bound for unknown issuers. 0 means 32.
	MaxTicketCalls, MaxTokenCalls int
	// AllowUpgrades are protocols, besides "websocket", that a request behind
	// the guard may be upgraded to, as in RelyingPartyConfig.
	AllowUpgrades []string
	// APITransport carries the requests of ResourceServer.HTTPClient. nil means
	// http.DefaultTransport.
	APITransport http.RoundTripper
	// ErrorHandler, if not nil, answers every request that is refused. The
	// headers WWW-Authenticate, DPoP-Nonce, Warning, Retry-After and
	// Cache-Control are already set on w. The status is e.Status unless the
	// handler sends another. nil means a small JSON object.
	ErrorHandler func(w http.ResponseWriter, r *http.Request, e *Error)
}

const (
	// defaultFactsTTL is short enough for an owner who takes a permission back
	// to see the effect, and long enough for a page of pictures to introspect
	// only once.
	defaultFactsTTL = 10 * time.Second
	// maxFactsTTL bounds CacheTTL, so that a revocation takes effect within 30
	// s (IN5).
	maxFactsTTL = 30 * time.Second
	// requestBudget is the default of RequestBudget. A client gets its answer
	// within 2 s even if the server hangs (UR3).
	requestBudget = 1700 * time.Millisecond
	// minBudget is the shortest RequestBudget in which a call can succeed.
	minBudget = 10 * time.Millisecond
	// maxBudget bounds RequestBudget: clients do not wait longer.
	maxBudget = time.Minute
	// strangersCalls is the default of MaxTicketCalls and MaxTokenCalls. It is
	// more than honest clients need at once, because a call takes
	// milliseconds.
	strangersCalls = 32
)

// complete checks the settings and fills in the defaults. It reports whether
// the ids are kept in our own memory.
func (c *ResourceServerConfig) complete(p *Provider) (lists bool, proofs *proofs, err error) {
	wrong := made(p)
	c.Client.DPoPKey = nil // the protection API takes bearer tokens, and introspection none
	if !c.Client.unset() {
		wrong = needed(p, &c.Client)
		wrong.noTenants(p, "what Client is for")
	}
	wrong.tokens(c)
	wrong.transport("APITransport", c.APITransport)
	c.Realm = cmp.Or(c.Realm, c.defaultRealm())
	if !challenge.Printable(c.Realm) {
		wrong.add("Realm", "%q has characters that are not allowed in a header", clip(c.Realm))
	}
	proofs = wrong.proofs(c, p)
	wrong.wrap("PAT", c.fits(p))
	if c.CacheTTL > maxFactsTTL {
		wrong.add("CacheTTL", "%v is longer than %v: a permission that was taken back would still work for that long", c.CacheTTL, maxFactsTTL)
	}
	wrong.bounds(c)
	c.AllowUpgrades = wrong.upgrades(c.AllowUpgrades)
	if err := wrong.in("NewResourceServer"); err != nil {
		return false, nil, err
	}
	c.Audience, c.TokenTypes, c.SubjectClaims = slices.Clone(c.Audience), slices.Clone(c.TokenTypes), slices.Clone(c.SubjectClaims)
	c.CacheTTL = cmp.Or(c.CacheTTL, defaultFactsTTL)
	if c.PAT == nil {
		c.PAT = newServicePAT(p, c.Client)
	}
	if c.ResourceIDs == nil {
		c.ResourceIDs, lists = &memstore.IDs{}, true
	}
	return lists, proofs, nil
}

// tokens checks which access tokens are accepted.
func (w *problems) tokens(c *ResourceServerConfig) {
	if !c.Client.given() && (c.PAT != nil || c.ResourceIDs != nil) {
		w.add("Client.ID", "empty, but PAT and ResourceIDs are for UMA, which needs it")
	}
	if !c.Client.given() && len(c.Audience) == 0 && !c.InsecureAnyAudience {
		w.add("Audience", "empty: no access token could be meant for this API")
	}
	if len(c.Audience) > 0 && c.InsecureAnyAudience {
		w.add("InsecureAnyAudience", "set, but there is an Audience")
	}
	for i, name := range c.Audience {
		if name == "" {
			w.add(fmt.Sprintf("Audience[%d]", i), "empty")
		}
	}
	for i, name := range c.SubjectClaims {
		if name == "" {
			w.add(fmt.Sprintf("SubjectClaims[%d]", i), "empty")
		}
	}
	for i, scheme := range c.Schemes {
		if !bearer.IsScheme(scheme) || strings.EqualFold(scheme, "Basic") || strings.EqualFold(scheme, "DPoP") {
			w.add(fmt.Sprintf("Schemes[%d]", i), "%q cannot be the scheme of an access token", clip(scheme))
		}
	}
	if c.TokenHeader != "" && (!headerName(c.TokenHeader) || strings.EqualFold(c.TokenHeader, "Authorization")) {
		w.add("TokenHeader", "%q is not the name of another header", clip(c.TokenHeader))
	}
	if c.TokenHeader != "" && len(c.Schemes) > 0 {
		w.add("Schemes", "set, but TokenHeader holds the token alone")
	}
	if slices.Contains(c.RoleClaim, "") {
		w.add("RoleClaim", "it has an empty name")
	}
	for i, typ := range c.TokenTypes {
		if typ != "" && !strings.EqualFold(typ, "JWT") {
			w.add(fmt.Sprintf("TokenTypes[%d]", i), "%q is neither \"JWT\" nor empty; at+jwt is always accepted", clip(typ))
		}
	}
}

// DPoPUse says which access tokens an API takes. It is not about the requesting
// party tokens of UMAProtect: those pass as Bearer, and never if they are bound.
type DPoPUse int

// The values of DPoPUse.
const (
	DPoPOff      DPoPUse = iota // none that is bound to a key
	DPoPAllowed                 // those that are bound to a key, with a proof, and all others as Bearer
	DPoPRequired                // only those that are bound to a key, with a proof
)

// DPoPConfig says how an API takes access tokens that are bound to a key of
// their client (RFC 9449).
type DPoPConfig struct {
	// Use turns it on.
	Use DPoPUse
	// BaseURL is the address by which clients call this process: scheme, host,
	// and the path that a proxy in front strips, if it does. A proof must name
	// BaseURL and the path with which the request came, whatever Host and
	// X-Forwarded-… say. http.StripPrefix and routers need nothing here. It must
	// be https, or http on loopback. Required if Use is on.
	BaseURL string
	// Store remembers proofs, so that each counts once: some 60 bytes for up to
	// three minutes. Nothing is stored for a request without a good token and a
	// good proof. While it fails, requests with a proof get 503. nil means the
	// memory of this process. Several processes need a store that they share. It
	// may be that of SessionsConfig.
	Store Store
	// Keys, if set, make clients prove that they have the key now, and not when
	// they made the proofs: each proof needs a nonce that is not older than five
	// minutes (RFC 9449 §9). Clients get nonces in the header DPoP-Nonce. Nonces
	// are sealed with Keys and stored nowhere. Each key needs at least 32 random
	// bytes; all replicas need the same. The first key seals and all open, as
	// those of SessionsConfig, which may be the same.
	Keys []Secret
}

// proofs checks the settings of DPoP. It returns nil if it is off.
func (w *problems) proofs(c *ResourceServerConfig, p *Provider) *proofs {
	d := &c.DPoP
	if d.Use < DPoPOff || d.Use > DPoPRequired {
		w.add("DPoP.Use", "%d is not one of DPoPOff, DPoPAllowed and DPoPRequired", d.Use)
	}
	if d.Use == DPoPOff {
		if d.BaseURL != "" || d.Store != nil || len(d.Keys) > 0 {
			w.add("DPoP.Use", "DPoPOff, but there are other settings of DPoP")
		}
		return nil
	}
	if c.TokenHeader != "" {
		w.add("DPoP.Use", "on, but TokenHeader holds the token without the scheme that says whether there is a proof")
	}
	before := len(*w)
	u, err := outbound.CheckURL(d.BaseURL, false)
	switch {
	case d.BaseURL == "":
		w.add("DPoP.BaseURL", "empty: a proof names the address by which the client calls the API")
	case err != nil:
		w.wrap("DPoP.BaseURL", err)
	case u.RawQuery != "" || u.ForceQuery:
		w.add("DPoP.BaseURL", "it has a query")
	}
	if d.Store != nil && isNil(d.Store) {
		w.add("DPoP.Store", "nil inside of the interface")
	}
	ring := w.ring("DPoP.Keys", d.Keys)
	if len(*w) > before {
		return nil
	}
	made := &proofs{use: d.Use, base: dpop.NewBase(u), store: d.Store}
	if made.store == nil && p != nil {
		made.store = NewMemoryStore(p.clock)
	}
	if ring != nil {
		made.nonces = dpop.NewNonces(ring, made.base)
	}
	return made
}

// bounds checks the bounds of calls and fills in their defaults.
func (w *problems) bounds(c *ResourceServerConfig) {
	c.RequestBudget = cmp.Or(c.RequestBudget, requestBudget)
	if c.RequestBudget < minBudget || c.RequestBudget > maxBudget {
		w.add("RequestBudget", "%v is not between %v and %v", c.RequestBudget, minBudget, maxBudget)
	}
	for _, calls := range []struct {
		field string
		n     *int
	}{{"MaxTicketCalls", &c.MaxTicketCalls}, {"MaxTokenCalls", &c.MaxTokenCalls}} {
		if *calls.n < 0 {
			w.add(calls.field, "negative")
		}
		*calls.n = cmp.Or(*calls.n, strangersCalls)
	}
}

// fits returns an error if PAT is of another authorization server or client.
func (c *ResourceServerConfig) fits(p *Provider) error {
	switch pats := c.PAT.(type) {
	case *OwnerGrants:
		return pats.fits(p, &c.Client)
	case interface{ Issuer() string }:
		if issuer := pats.Issuer(); p != nil && issuer != p.issuer {
			return fmt.Errorf("the PATSource is of the issuer %q, not of %q", issuer, p.issuer)
		}
	}
	return nil
}

func (c *ResourceServerConfig) defaultRealm() string {
	if len(c.Audience) > 0 {
		if u, err := url.Parse(c.Audience[0]); err == nil && u.Host != "" {
			return u.Host
		}
	}
	return cmp.Or(c.Client.lasting(), append(c.Audience, "api")[0])
}
