package gatehouse

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"time"

	"github.com/alexedwards/scs/v2"
	"github.com/go-jose/go-jose/v4"

	"example.com/gatehouse/internal/challenge"
	"example.com/gatehouse/internal/keyset"
	"example.com/gatehouse/internal/memstore"
	"example.com/gatehouse/internal/navigation"
	"example.com/gatehouse/internal/outbound"
	"example.com/gatehouse/internal/seal"
)

// A config is copied by its constructor: changing it afterwards has no effect.
// The zero value of every field is the safe default. Constructors do no I/O and
// report all problems of their arguments in one error, each as "Field: reason".

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

// complete checks the settings and puts the defaults in.
func (c *ProviderConfig) complete(issuer string) error {
	var wrong problems
	u, err := outbound.CheckURL(issuer, c.InsecureHTTP)
	switch {
	case issuer == "":
		wrong.add("issuer", "empty")
	case err != nil:
		wrong.add("issuer", "%w", err)
	case u.RawQuery != "" || u.ForceQuery: // Discovery §3
		wrong.add("issuer", "it has a query")
	}
	if c.Keys != nil && len(c.Keys) == 0 {
		wrong.add("Keys", "empty but not nil: no token could ever be verified")
	}
	for _, alg := range c.SigningAlgorithms {
		if !keyset.Asymmetric(alg) {
			wrong.add("SigningAlgorithms", "%q is not an asymmetric signature algorithm", alg)
		}
	}
	c.Keys, c.SigningAlgorithms = slices.Clone(c.Keys), slices.Clone(c.SigningAlgorithms)
	if c.Metadata != nil {
		for _, err := range c.Metadata.checkEndpoints(c.InsecureHTTP) {
			wrong.wrap("Metadata", err)
		}
		md := *c.Metadata
		md.Issuer = issuer
		md.ScopesSupported = slices.Clone(md.ScopesSupported)
		md.IDTokenAlgorithms = slices.Clone(md.IDTokenAlgorithms)
		c.Metadata = &md
	}
	if c.Logger == nil {
		c.Logger = slog.Default()
	}
	c.Now = orNow(c.Now)
	return wrong.in("NewProvider")
}

// RelyingPartyConfig are the settings of NewRelyingParty.
type RelyingPartyConfig struct {
	// Client is who we are at the provider. Required.
	Client Client
	// RedirectURL is the address of CallbackHandler, exactly as registered at
	// the provider: https, or http on loopback. Required.
	RedirectURL string
	// Scopes are asked for beside "openid", for example "profile" and "email".
	Scopes []string
	// AuthParams are added to every authorization request, for example
	// "prompt", "acr_values", "login_hint", "ui_locales" or "audience". The
	// parameters that gatehouse sets itself are refused.
	AuthParams url.Values
	// Sessions keeps the sign-ins, nil for an own one in memory.
	Sessions *Sessions
	// LoginURL is the path where LoginHandler is mounted, if it is. The body of
	// a 401 names it, and it is never returned to after sign-in.
	LoginURL string
	// LogoutURL is the address of LogoutHandler as registered at the provider
	// for the way back (post_logout_redirect_uri). "" means the origin of
	// RedirectURL with the path at which LogoutHandler is asked.
	LogoutURL string
	// HomeURL is the path to go to after a sign-in that came from nowhere, and
	// the link on our pages; "" for "/".
	HomeURL string
	// LoggedOutURL is the path to go to after sign-out, "" for a small page of
	// our own.
	LoggedOutURL string
	// TrustedOrigins are other origins ("https://app.example.org") whose unsafe
	// requests are taken.
	TrustedOrigins []string
	// OwnerGrants takes the grants that the OwnerGrant requirement asks for.
	OwnerGrants *OwnerGrants
	// OnSignIn, if not nil, runs at every sign-in before the session exists: it
	// may link a local user, add claims to the identity (SetClaim), or refuse
	// by an error. An *Error is answered as it says, any other error with 503.
	// Other changes to the identity are ignored. The callback waits for it; ctx
	// ends after some seconds. It must be safe for concurrent use.
	OnSignIn func(ctx context.Context, id *Identity) error
	// ErrorHandler answers every request that we refuse, pages and JSON alike;
	// nil for plain answers of our own. Retry-After, Cache-Control and
	// WWW-Authenticate are set on w before; the status is e.Status unless the
	// handler sends another.
	ErrorHandler func(w http.ResponseWriter, r *http.Request, e *Error)
	// SkipUserInfo leaves out the user info request at sign-in. The claims are
	// then those of the ID Token alone.
	SkipUserInfo bool
}

// ownParams are the parameters of an authorization request that nobody else
// may set.
var ownParams = []string{
	"client_id", "redirect_uri", "response_type", "response_mode", "scope", "state", "nonce",
	"code_challenge", "code_challenge_method", "max_age", "request", "request_uri",
}

// complete checks the settings and puts the defaults in, but for Sessions.
func (c *RelyingPartyConfig) complete(p *Provider) (redirect *url.URL, cross *http.CrossOriginProtection, err error) {
	wrong := needed(p, c.Client)
	redirect = wrong.ownURL("RedirectURL", c.RedirectURL)
	if c.LogoutURL != "" {
		wrong.ownURL("LogoutURL", c.LogoutURL)
	}
	wrong.scopes(c.Scopes)
	for _, name := range ownParams {
		if c.AuthParams.Has(name) {
			wrong.add("AuthParams", "%q is set by gatehouse", name)
		}
	}
	if c.HomeURL == "" {
		c.HomeURL = "/"
	}
	wrong.ownPath("LoginURL", c.LoginURL)
	wrong.ownPath("HomeURL", c.HomeURL)
	wrong.ownPath("LoggedOutURL", c.LoggedOutURL)
	cross = http.NewCrossOriginProtection()
	for _, o := range c.TrustedOrigins {
		if err := cross.AddTrustedOrigin(o); err != nil {
			wrong.add("TrustedOrigins", "%w", err)
		}
	}
	if c.Sessions != nil && redirect != nil {
		wrong.wrap("Sessions", c.Sessions.admits(siteOf(redirect)))
	}
	c.Scopes, c.TrustedOrigins = slices.Clone(c.Scopes), slices.Clone(c.TrustedOrigins)
	params := url.Values{}
	for name, values := range c.AuthParams {
		params[name] = slices.Clone(values)
	}
	c.AuthParams = params
	return redirect, cross, wrong.in("NewRelyingParty")
}

// SessionsConfig are the settings of NewSessions.
type SessionsConfig struct {
	// Store keeps the login records, nil for NewMemoryStore. For more than one
	// process it has to be one that they share.
	Store Store
	// Keys seal cookies and, when given, the records at rest. Each has at least
	// 32 random bytes. The first seals, all open: to rotate, add the new key
	// last, deploy, then move it first. Without keys a random one is made at
	// first need and kept in the store; records are then not sealed.
	Keys []Secret
	// Name tells the session cookies of several Sessions on one origin apart.
	Name string
	// Lifetime ends a session however busy it is, counted from the begin of
	// the sign-in; 0 for 12 hours, at least a minute and at most 400 days.
	Lifetime time.Duration
	// IdleTimeout ends a session that no request used for so long; 0 for 30
	// minutes, negative for no idle limit, otherwise at least 10 seconds. It is
	// written back at most once in a tenth of its time.
	IdleTimeout time.Duration
	// App is the application's own session manager, on a store of its own: its
	// token is renewed at sign-in. Its data is destroyed at sign-out; where a
	// login ended otherwise (its time was over, or it was revoked), the next
	// sign-in of that browser clears it, whoever it is, so that it never passes
	// to another person. What was there before the first sign-in stays, and what
	// is there when the same person signs in once more.
	App *scs.SessionManager
	// Now is the clock, nil for time.Now.
	Now func() time.Time
}

const (
	defaultLifetime = 12 * time.Hour
	defaultIdle     = 30 * time.Minute
	maxLifetime     = 400 * 24 * time.Hour // no browser keeps a cookie longer
	minLifetime     = time.Minute          // shorter, and a slow sign-in would end before it began
	minIdle         = 10 * time.Second     // shorter, and loading a page would end the session
	minKey          = 32                   // bytes of a sealing key
)

// complete checks the settings, puts the defaults in and returns the keys, nil
// where none are given.
func (c *SessionsConfig) complete() (*seal.Ring, error) {
	var wrong problems
	c.Now = orNow(c.Now)
	if c.Lifetime == 0 {
		c.Lifetime = defaultLifetime
	}
	if c.Lifetime < minLifetime || c.Lifetime > maxLifetime {
		wrong.add("Lifetime", "%v is not between %v and %v", c.Lifetime, minLifetime, maxLifetime)
	}
	if c.IdleTimeout > 0 && c.IdleTimeout < minIdle {
		wrong.add("IdleTimeout", "%v is below %v", c.IdleTimeout, minIdle)
	}
	if c.IdleTimeout == 0 {
		c.IdleTimeout = min(defaultIdle, c.Lifetime)
	}
	if c.Store == nil {
		c.Store = NewMemoryStore(c.Now)
	}
	before, keys := len(wrong), make([][]byte, 0, len(c.Keys))
	for i, k := range c.Keys {
		if n := len(k.Reveal()); n < minKey {
			wrong.add(fmt.Sprintf("Keys[%d]", i), "it has %d bytes, fewer than %d", n, minKey)
		}
		keys = append(keys, []byte(k.Reveal()))
	}
	var ring *seal.Ring
	if len(keys) > 0 && len(wrong) == before {
		var err error
		ring, err = seal.NewRing(keys...)
		wrong.wrap("Keys", err)
	}
	return ring, wrong.in("NewSessions")
}

// ResourceServerConfig are the settings of NewResourceServer.
type ResourceServerConfig struct {
	// Client introspects tokens, asks for permission tickets and, unless PAT is
	// set, gets the protection API token. Required.
	Client Client
	// Audience are the names of this API. A token's aud, where the server tells
	// one, must hold one of them or Client.ID.
	Audience []string
	// Realm is the realm of challenges, "" for the host of the first Audience
	// that is a URL, else Client.ID.
	Realm string
	// PAT gives the protection API tokens, by owner. nil means client
	// credentials of Client, which serve the owner "" only: the service itself.
	PAT PATSource
	// ResourceIDs keeps the ids that the authorization server gave to resources.
	// nil means memory, which fills itself again by listing at the server.
	ResourceIDs ResourceIDs
	// CacheTTL is how long the facts of a token are used before the server is
	// asked again; it is also how long a permission that was taken back may
	// still open. 0 means 10 s, negative means not at all; at most 30 s. Facts
	// are never used past the token's expiry.
	CacheTTL time.Duration
	// ErrorHandler, if not nil, writes the answer to every request that is
	// refused, with e.Status. The headers that matter to clients
	// (WWW-Authenticate, Warning, Retry-After, Cache-Control) are set before.
	// nil answers with a small JSON object.
	ErrorHandler func(w http.ResponseWriter, r *http.Request, e *Error)
}

const (
	// defaultFactsTTL is short enough that an owner who takes a permission back
	// sees it work, and long enough that a page of pictures asks once.
	defaultFactsTTL = 10 * time.Second
	// maxFactsTTL bounds CacheTTL (IN5: revocation is seen within 30 s).
	maxFactsTTL = 30 * time.Second
)

// complete checks the settings and puts the defaults in.
func (c *ResourceServerConfig) complete(p *Provider) error {
	wrong := needed(p, c.Client)
	for i, name := range c.Audience {
		if name == "" {
			wrong.add(fmt.Sprintf("Audience[%d]", i), "empty")
		}
	}
	if !challenge.Printable(c.Realm) {
		wrong.add("Realm", "it has characters that cannot stand in a header")
	}
	if c.CacheTTL > maxFactsTTL {
		wrong.add("CacheTTL", "%v is longer than %v: who loses a permission would keep it that long", c.CacheTTL, maxFactsTTL)
	}
	if err := wrong.in("NewResourceServer"); err != nil {
		return err
	}
	c.Audience = slices.Clone(c.Audience)
	c.Realm = cmp.Or(c.Realm, c.defaultRealm())
	c.CacheTTL = cmp.Or(c.CacheTTL, defaultFactsTTL)
	if c.PAT == nil {
		c.PAT = newServicePAT(p, c.Client)
	}
	return nil
}

func (c *ResourceServerConfig) defaultRealm() string {
	if len(c.Audience) > 0 {
		if u, err := url.Parse(c.Audience[0]); err == nil && u.Host != "" {
			return u.Host
		}
	}
	return c.Client.ID
}

// UMATransportConfig are the settings of NewUMATransport.
type UMATransportConfig struct {
	// Client is who we are at the authorization server. Required.
	Client Client
	// Base carries the requests to the resource servers, nil for
	// http.DefaultTransport.
	Base http.RoundTripper
	// Claims gives what proves who the requesting party is, pushed when the
	// authorization server asks for it; nil pushes nothing. RelyingParty has a
	// method that fits. It is called with the values of the context of the
	// request that needs it, and may outlive that request.
	Claims func(ctx context.Context) (ClaimToken, error)
	// Party names on whose behalf a request is made; tokens of one party never
	// serve another. nil means the issuer and the subject of IdentityFrom, with
	// a space between, and "" where there is none. "" is the client itself; with
	// Claims set it is refused.
	Party func(ctx context.Context) string
	// Scopes are asked for in addition to those of the ticket (UMA Grant
	// §3.3.1). The client must be registered for them.
	Scopes []string
	// MaxRounds is how many tickets one request turns in at most; 0 means 3.
	// Whatever it is, a request causes at most 8 in all.
	MaxRounds int
	// SubmitRequest lets Keycloak ask the owner when permission is missing. It
	// does so unless told not to, and we tell it not to. Other servers decide
	// for themselves.
	SubmitRequest bool
	// PushFirst pushes Claims with the first exchange instead of waiting to be
	// asked. With Claims set this is always so at a Keycloak, which never asks
	// and would take the client for the requesting party.
	PushFirst bool
}

// ClaimToken is what proves claims about the requesting party.
type ClaimToken struct {
	// Token is the token. The zero Secret says that there is none.
	Token Secret
	// Format is its claim_token_format. "" means an ID Token,
	// "http://openid.net/specs/openid-connect-core-1_0.html#IDToken".
	Format string
}

// defaultRounds is how many tickets one call turns in: the first, one for a
// token that turned out too weak, and one to spare.
const defaultRounds = 3

// complete checks the settings and puts the defaults in.
func (c *UMATransportConfig) complete(p *Provider) error {
	wrong := needed(p, c.Client)
	wrong.scopes(c.Scopes)
	if c.MaxRounds < 0 {
		wrong.add("MaxRounds", "negative")
	}
	if c.PushFirst && c.Claims == nil {
		wrong.add("PushFirst", "there are no Claims to push")
	}
	c.Scopes = slices.Clone(c.Scopes)
	c.MaxRounds = cmp.Or(c.MaxRounds, defaultRounds)
	if c.Base == nil {
		c.Base = http.DefaultTransport
	}
	if c.Party == nil {
		c.Party = identityParty
	}
	return wrong.in("NewUMATransport")
}

// OwnerGrantsConfig are the settings of NewOwnerGrants.
type OwnerGrantsConfig struct {
	// Client is who the owners let in: the client of the sign-in. Required.
	Client Client
	// Store keeps the grants, nil for the memory of this process.
	Store GrantStore
}

// complete checks the settings and puts the defaults in.
func (c *OwnerGrantsConfig) complete(p *Provider) error {
	wrong := needed(p, c.Client)
	if c.Store == nil {
		c.Store = &memstore.Grants{}
	}
	return wrong.in("NewOwnerGrants")
}

// problems are what is wrong with the arguments of a constructor, each as
// "Field: reason".
type problems []error

func (w *problems) add(field, reason string, args ...any) {
	*w = append(*w, fmt.Errorf("%s: %w", field, fmt.Errorf(reason, args...)))
}

// wrap adds err, unless it is nil.
func (w *problems) wrap(field string, err error) {
	if err != nil {
		w.add(field, "%w", err)
	}
}

// in makes the one error of a constructor, nil when there is no problem.
func (w problems) in(constructor string) error {
	if len(w) == 0 {
		return nil
	}
	return fmt.Errorf("gatehouse: %s: %w", constructor, errors.Join(w...))
}

// needed checks what most constructors take.
func needed(p *Provider, c Client) problems {
	var wrong problems
	if p == nil {
		wrong.add("provider", "nil")
	}
	return append(wrong, c.validate()...)
}

// ownURL checks an address of this site: absolute, https or http on loopback,
// no fragment, no wildcard.
func (w *problems) ownURL(field, raw string) *url.URL {
	u, err := outbound.CheckURL(raw, false)
	switch {
	case raw == "":
		w.add(field, "empty")
	case err != nil:
		w.add(field, "%w", err)
	case strings.Contains(raw, "*"):
		w.add(field, "it has a wildcard; it must be the one exact address")
	default:
		return u
	}
	return nil
}

// ownPath checks a path of this site, "" for none.
func (w *problems) ownPath(field, path string) {
	if _, ok := navigation.LocalPath(path); path != "" && !ok {
		w.add(field, "%q is not a path of this site", path)
	}
}

// scopes checks that each is one (RFC 6749 §3.3).
func (w *problems) scopes(scopes []string) {
	for _, s := range scopes {
		if s == "" || strings.ContainsAny(s, " \t\r\n\"\\") {
			w.add("Scopes", "%q is not one scope", s)
		}
	}
}

func orNow(now func() time.Time) func() time.Time {
	if now == nil {
		return time.Now
	}
	return now
}
