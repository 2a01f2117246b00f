package gatehouse

import (
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
	"example.com/gatehouse/internal/navigation"
	"example.com/gatehouse/internal/outbound"
	"example.com/gatehouse/internal/seal"
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
		if !keyset.Asymmetric(alg) {
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

func (c *RelyingPartyConfig) validate() (*url.URL, []error) {
	problems := c.Client.validate()
	redirect, bad := checkOwnURL("RedirectURL", c.RedirectURL)
	problems = append(problems, bad...)
	if c.LogoutURL != "" {
		_, bad := checkOwnURL("LogoutURL", c.LogoutURL)
		problems = append(problems, bad...)
	}
	for _, s := range c.Scopes {
		if s == "" || strings.ContainsAny(s, " \t\r\n\"\\") {
			problems = append(problems, fmt.Errorf("Scopes: %q is not one scope", s))
		}
	}
	for _, name := range ownParams {
		if c.AuthParams.Has(name) {
			problems = append(problems, fmt.Errorf("AuthParams: %q is set by gatehouse", name))
		}
	}
	for _, f := range []struct{ name, path string }{
		{"LoginURL", c.LoginURL}, {"HomeURL", c.HomeURL}, {"LoggedOutURL", c.LoggedOutURL},
	} {
		if _, ok := navigation.LocalPath(f.path); f.path != "" && !ok {
			problems = append(problems, fmt.Errorf("%s %q is not a path of this site", f.name, f.path))
		}
	}
	return redirect, problems
}

func (c *RelyingPartyConfig) clone() RelyingPartyConfig {
	n := *c
	n.Scopes = slices.Clone(c.Scopes)
	n.TrustedOrigins = slices.Clone(c.TrustedOrigins)
	n.AuthParams = url.Values{}
	for k, v := range c.AuthParams {
		n.AuthParams[k] = slices.Clone(v)
	}
	if n.HomeURL == "" {
		n.HomeURL = "/"
	}
	return n
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
	// defaultFactsTTL is short enough that an owner who takes a permission back
	// sees it work, and long enough that a page of pictures asks once.
	defaultFactsTTL = 10 * time.Second
	// maxFactsTTL bounds CacheTTL (IN5: revocation is seen within 30 s).
	maxFactsTTL = 30 * time.Second
)

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

func (c *ResourceServerConfig) validate(p *Provider) error {
	var problems []error
	if p == nil {
		problems = append(problems, errors.New("the Provider is nil"))
	}
	problems = append(problems, c.Client.validate()...)
	if slices.Contains(c.Audience, "") {
		problems = append(problems, errors.New("an entry of Audience is empty"))
	}
	if !challenge.Printable(c.Realm) {
		problems = append(problems, errors.New("the Realm has characters that cannot stand in a header"))
	}
	if c.CacheTTL > maxFactsTTL {
		problems = append(problems, fmt.Errorf("CacheTTL %v is longer than %v: who loses a permission would keep it that long", c.CacheTTL, maxFactsTTL))
	}
	return invalid("NewResourceServer", problems)
}

func (c *ResourceServerConfig) realm() string {
	if c.Realm != "" {
		return c.Realm
	}
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

func (c *UMATransportConfig) validate(p *Provider) error {
	problems := c.Client.validate()
	if p == nil {
		problems = append(problems, errors.New("the Provider is nil"))
	}
	if c.MaxRounds < 0 {
		problems = append(problems, errors.New("MaxRounds is negative"))
	}
	if c.PushFirst && c.Claims == nil {
		problems = append(problems, errors.New("PushFirst is set, but there are no Claims to push"))
	}
	for _, s := range c.Scopes {
		if s == "" || strings.ContainsAny(s, " \t\r\n") {
			problems = append(problems, fmt.Errorf("Scopes: %q is not one scope", s))
		}
	}
	return invalid("NewUMATransport", problems)
}

// OwnerGrantsConfig are the settings of NewOwnerGrants.
type OwnerGrantsConfig struct {
	// Client is who the owners let in: the client of the sign-in. Required.
	Client Client
	// Store keeps the grants, nil for the memory of this process.
	Store GrantStore
}

// complete fills in the defaults and checks the rest. It returns the ring of the
// given keys, nil without.
func (c *SessionsConfig) complete() (*seal.Ring, error) {
	c.Now = orNow(c.Now)
	if c.Lifetime == 0 {
		c.Lifetime = defaultLifetime
	}
	var problems []error
	if c.Lifetime < minLifetime || c.Lifetime > maxLifetime {
		problems = append(problems, fmt.Errorf("field Lifetime: %v is not between %v and %v", c.Lifetime, minLifetime, maxLifetime))
	}
	if c.IdleTimeout > 0 && c.IdleTimeout < minIdle {
		problems = append(problems, fmt.Errorf("field IdleTimeout: %v is below %v", c.IdleTimeout, minIdle))
	}
	if c.IdleTimeout == 0 {
		c.IdleTimeout = min(defaultIdle, c.Lifetime)
	}
	if c.Store == nil {
		c.Store = NewMemoryStore(c.Now)
	}
	ring, bad := c.ring()
	return ring, invalid("NewSessions", append(problems, bad...))
}

// ring makes the ring of the given keys.
func (c *SessionsConfig) ring() (ring *seal.Ring, problems []error) {
	if len(c.Keys) == 0 {
		return nil, nil
	}
	keys := make([][]byte, 0, len(c.Keys))
	for i, k := range c.Keys {
		if len(k.Reveal()) < minKey {
			problems = append(problems, fmt.Errorf("field Keys[%d] has %d bytes, fewer than %d", i, len(k.Reveal()), minKey))
		}
		keys = append(keys, []byte(k.Reveal()))
	}
	if len(problems) > 0 {
		return nil, problems
	}
	ring, err := seal.NewRing(keys...)
	if err != nil {
		return nil, []error{fmt.Errorf("field Keys: %w", err)}
	}
	return ring, nil
}
