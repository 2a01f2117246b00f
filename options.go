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
	"unicode"

	"github.com/alexedwards/scs/v2"
	"github.com/go-jose/go-jose/v4"

	"example.com/gatehouse/internal/authresponse"
	"example.com/gatehouse/internal/keyset"
	"example.com/gatehouse/internal/memstore"
	"example.com/gatehouse/internal/navigation"
	"example.com/gatehouse/internal/outbound"
	"example.com/gatehouse/internal/seal"
)

// A constructor copies its config, so changing it afterwards has no effect.
// The zero value of every optional field is the safe default. Constructors do
// no I/O. They report all problems of their arguments in one error, each as
// "Field: reason".

// ProviderConfig holds the settings of NewProvider.
type ProviderConfig struct {
	// Transport carries the calls to the provider. nil means one like
	// http.DefaultTransport. Gatehouse adds its own limits: 1 MiB per
	// response, 10 s per call, no redirects, and https only (http on
	// loopback).
	Transport http.RoundTripper
	// Metadata, if not nil, is used instead of discovery, as far as it goes: a
	// UMATransport needs only a token endpoint. Its Issuer may be left empty. If
	// it is not, it must be the issuer.
	Metadata *Metadata
	// MetadataURL is the address of the provider's OpenID metadata, if that is
	// not to be fetched at the issuer: its address inside of a proxy, or that of
	// a provider whose issuer has none. The document must still name the issuer
	// byte for byte. It must be https, or http on loopback. Endpoints that it
	// names at the same scheme, host and port may be http then; the addresses
	// that browsers are sent to may not. uma2-configuration is fetched beside it
	// if it ends in "/.well-known/openid-configuration". No other address is
	// tried. It cannot be combined with Metadata.
	MetadataURL string
	// Tenants are the tenants whose tokens are accepted if the issuer is a
	// template: an address with "{tenantid}" as one segment of its path, such as
	// "https://login.microsoftonline.com/{tenantid}/v2.0". So Entra ID writes it
	// for those who let people of several organizations in. A token needs a claim
	// tid that is one of Tenants, and the issuer with tid in that place, byte for
	// byte. That is then the issuer of a session, and Identity.Issuer. A template
	// needs at least one tenant, and MetadataURL or Metadata, which name the
	// template itself. Write each as tid does: a GUID in lower case. UMA and
	// introspection have no tenants.
	Tenants []string
	// Dialect names the product if it deviates from UMA and Metadata does not
	// show it. Metadata from discovery shows it.
	Dialect Dialect
	// Keys, if not nil, are the provider's signing keys. Then none are
	// fetched. ParseKeys reads them from PEM or JSON.
	Keys []jose.JSONWebKey
	// KeysFile is a file with the provider's signing keys, in any form that
	// ParseKeys reads. It is read at the first token, every 10 minutes while
	// tokens arrive, and when a token names a key that is not in it, at most
	// twice a minute. While it cannot be read, the keys read last count, for a
	// day.
	KeysFile string
	// JWKSURI is the address of the provider's keys, instead of the one in its
	// metadata. At most one of Keys, KeysFile and JWKSURI may be set.
	JWKSURI string
	// SigningAlgorithms are the algorithms accepted for ID Tokens and access
	// tokens, out of RS256, RS384, RS512, PS256, PS384, PS512, ES256, ES384,
	// ES512 and EdDSA. nil means those that the metadata announces, and RS256
	// if it announces none. With Keys, KeysFile or JWKSURI, and without
	// Metadata, nil means all that a key fits, so no metadata is fetched for an
	// access token.
	SigningAlgorithms []string
	// Logger receives the log lines. nil means slog.Default.
	Logger *slog.Logger
	// Events, if not nil, is called for every event, in addition to the log.
	// It must be fast and safe for concurrent use.
	Events func(context.Context, Event)
	// Now is the clock. nil means time.Now.
	Now func() time.Time
	// InsecureLogoutTokens accepts logout tokens of providers that are older than
	// the final Back-Channel Logout specification: without typ or with the typ
	// JWT instead of logout+jwt, and without exp. Then only their claims tell
	// them from other tokens that the provider signs. A warning is logged once.
	InsecureLogoutTokens bool
	// InsecureHTTP allows http for the issuer and the endpoints on hosts other
	// than loopback. Anyone on the network path can then read and change
	// secrets and tokens. A warning is logged once.
	InsecureHTTP bool
}

// Dialect is a product whose UMA deviates from the specifications.
type Dialect string

// Keycloak never asks for claims, asks owners unless told not to, and has forms
// of its own for introspection and registration.
const Keycloak Dialect = "keycloak"

// complete checks the settings and fills in the defaults. It reports whether the
// issuer is a name, from which no metadata can be fetched.
func (c *ProviderConfig) complete(issuer string) (name bool, err error) {
	var wrong problems
	name, err = issuerOf(issuer, c.InsecureHTTP)
	wrong.wrap("issuer", err)
	if name && c.Metadata == nil && c.MetadataURL == "" && !c.fixesKeys() {
		wrong.add("issuer", "it is no address from which metadata could be fetched: set MetadataURL, Keys, KeysFile, JWKSURI or Metadata")
	}
	wrong.metadata(c, issuer)
	wrong.tenants(c, issuer)
	wrong.keys(c)
	for _, alg := range c.SigningAlgorithms {
		if !keyset.Asymmetric(alg) {
			wrong.add("SigningAlgorithms", "%q is not an asymmetric signature algorithm", alg)
		}
	}
	if c.Dialect != "" && c.Dialect != Keycloak {
		wrong.add("Dialect", "%q is not one of keycloak", c.Dialect)
	}
	c.Keys, c.SigningAlgorithms = slices.Clone(c.Keys), slices.Clone(c.SigningAlgorithms)
	if len(c.SigningAlgorithms) == 0 && c.Metadata == nil && c.fixesKeys() {
		c.SigningAlgorithms = keyset.Algorithms()
	}
	if c.Metadata == nil && name && c.MetadataURL == "" {
		c.Metadata = &Metadata{}
	}
	if c.Metadata != nil {
		md := *c.Metadata
		md.Issuer = issuer
		md.ScopesSupported = slices.Clone(md.ScopesSupported)
		md.IDTokenAlgorithms = slices.Clone(md.IDTokenAlgorithms)
		md.ResponseTypes, md.ResponseModes = slices.Clone(md.ResponseTypes), slices.Clone(md.ResponseModes)
		md.UserInfoAlgorithms = slices.Clone(md.UserInfoAlgorithms)
		md.TokenAuthMethods = slices.Clone(md.TokenAuthMethods)
		md.RevocationAuthMethods = slices.Clone(md.RevocationAuthMethods)
		md.IntrospectionAuthMethods = slices.Clone(md.IntrospectionAuthMethods)
		md.TokenAuthAlgorithms = slices.Clone(md.TokenAuthAlgorithms)
		md.RevocationAuthAlgorithms = slices.Clone(md.RevocationAuthAlgorithms)
		md.IntrospectionAuthAlgorithms = slices.Clone(md.IntrospectionAuthAlgorithms)
		c.Metadata = &md
	}
	if c.Logger == nil {
		c.Logger = slog.Default()
	}
	c.Now = orNow(c.Now)
	return name, wrong.in("NewProvider")
}

// issuerOf checks an issuer. It may be a name instead of an address, such as
// "itsyouonline" (a StringOrURI in RFC 7519 §4.1.1).
func issuerOf(issuer string, insecureHTTP bool) (name bool, err error) {
	switch scheme, _, hasScheme := strings.Cut(issuer, ":"); {
	case issuer == "":
		return false, errors.New("empty")
	case hasScheme && strings.HasPrefix(strings.ToLower(scheme), "http"):
	case strings.ContainsFunc(issuer, func(c rune) bool { return unicode.IsSpace(c) || unicode.IsControl(c) }):
		return false, errors.New("it has a space or a control character")
	case !hasScheme && strings.Contains(issuer, "/"):
		return false, errors.New("it is neither an address, which begins with https://, nor a name")
	default:
		return true, nil
	}
	u, err := outbound.CheckURL(issuer, insecureHTTP)
	if err == nil && (u.RawQuery != "" || u.ForceQuery) { // Discovery §3
		err = errors.New("it has a query")
	}
	return false, err
}

// fixesKeys reports whether the keys come from elsewhere than the metadata.
func (c *ProviderConfig) fixesKeys() bool {
	return c.Keys != nil || c.KeysFile != "" || c.JWKSURI != ""
}

// metadata checks where the metadata of a provider comes from.
func (w *problems) metadata(c *ProviderConfig, issuer string) {
	if c.MetadataURL != "" {
		_, err := outbound.CheckURL(c.MetadataURL, c.InsecureHTTP)
		w.wrap("MetadataURL", err)
		if c.Metadata != nil {
			w.add("MetadataURL", "there is Metadata too")
		}
	}
	if c.Metadata == nil {
		return
	}
	for _, err := range c.Metadata.checkEndpoints(c.InsecureHTTP) {
		w.wrap("Metadata", err)
	}
	if c.Metadata.Issuer != "" && c.Metadata.Issuer != issuer { // Discovery §4.3: as in a document that is fetched
		w.add("Metadata", "it is of the issuer %q, not of %q", clip(c.Metadata.Issuer), issuer)
	}
}

// keys checks where the keys of a provider come from.
func (w *problems) keys(c *ProviderConfig) {
	if c.Keys != nil && len(c.Keys) == 0 {
		w.add("Keys", "empty but not nil: no token could ever be verified")
	}
	if bad := keyset.Unusable(c.Keys); len(bad) > 0 && len(bad) == len(c.Keys) {
		w.add("Keys", "none of them can verify: %s", bad[0].Reason)
	}
	if c.Keys != nil && c.KeysFile != "" || (c.Keys != nil || c.KeysFile != "") && c.JWKSURI != "" {
		w.add("Keys", "more than one of Keys, KeysFile and JWKSURI is set")
	}
	if c.JWKSURI != "" {
		_, err := outbound.CheckURL(c.JWKSURI, c.InsecureHTTP)
		w.wrap("JWKSURI", err)
	}
}

// RelyingPartyConfig holds the settings of NewRelyingParty.
type RelyingPartyConfig struct {
	// Client is the identity of this application at the provider. Required.
	Client Client
	// RedirectURL is the address of CallbackHandler, exactly as it is
	// registered at the provider. It must be https, or http on loopback. A host
	// with other letters has the form that browsers send, "xn--…". Required.
	RedirectURL string
	// PathPrefix is what a proxy strips from the path of every request, such
	// as "/app" if browsers open "/app/notes" and this process is asked for
	// "/notes". Every other path and address of this config is what browsers
	// see, with the prefix. http.StripPrefix needs no PathPrefix.
	PathPrefix string
	// Scopes are requested in addition to "openid", for example "profile" and
	// "email". Each is requested once, also if it is there twice.
	Scopes []string
	// AuthParams are added to every authorization request, for example
	// "prompt", "acr_values", "login_hint", "ui_locales" or "audience".
	// Parameters that gatehouse sets itself are an error. With Ask on a route and
	// with AuthRequest, they can be different for some sign-ins; what they
	// promise is checked as AuthRequest says.
	AuthParams url.Values
	// AuthRequest, if not nil, runs when a sign-in begins, and changes what it
	// asks of the provider. a holds what Ask of the guard and the login_hint of a
	// third-party start say; AuthParams lie below it. r is the request that begins
	// the sign-in: a stranger may have written its address, so nothing of it
	// belongs into a unchecked.
	//
	// An error refuses the sign-in: an *Error is the answer, and any other error
	// is answered with 503. What no provider could understand, or only gatehouse
	// sets, is answered with 500 (auth_request_refused). It must be safe for
	// concurrent use.
	AuthRequest func(r *http.Request, a *AuthRequest) error
	// ProviderName is what people call the provider, on the page of Logins. ""
	// means the host of its issuer.
	ProviderName string
	// ResponseType is what the provider is asked to answer with: "code",
	// "id_token", "id_token token" or "code id_token", in any order of the words.
	// "" means "code", which suits every provider that offers it: no token then
	// passes through the browser.
	//
	// With "id_token" there is no access token at all. With "id_token token" one
	// comes through the browser, where others may get hold of it (RFC 9700 §2.1.2);
	// a warning is logged once. Without a code there is no refresh token either, so
	// a session outlives its access token: Token then fails with CodeTokenEnded,
	// and Refuse of that error signs the person in again.
	ResponseType string
	// ResponseMode is how the answer comes back: "query", "form_post" or
	// "fragment". "" means query for a code alone, and fragment for what has a
	// token in it, which never comes in the query.
	//
	// With "form_post" a page of the provider posts the answer to CallbackHandler,
	// so the cookies of a sign-in under way are SameSite=None and Secure, also
	// where RedirectURL is http on loopback. With "fragment" CallbackHandler serves
	// a page whose script posts what servers do not see.
	ResponseMode string
	// AuthorizeByPOST sends the person to the provider with a form instead of a
	// redirect, so that what is asked for stands in no address. LoginHandler and
	// Refuse then answer with a small page whose script submits it. AuthURL always
	// returns an address.
	AuthorizeByPOST bool
	// Sessions keeps the sign-ins. nil means one in memory, for this relying
	// party only.
	Sessions *Sessions
	// LoginURL is the path of LoginHandler, if it is mounted. The body of a
	// 401 names it. Nobody is sent back to it after sign-in. "" means the path
	// of RedirectURL with "login" as its last segment, if Handler serves it,
	// and otherwise none.
	LoginURL string
	// LogoutURL is the address of LogoutHandler, as registered at the provider
	// for redirecting back (post_logout_redirect_uri). "" means the origin of
	// RedirectURL with the path of the request to LogoutHandler. Handler then
	// serves it at the path of RedirectURL with "logout" as its last segment, and
	// that path counts if the request is to another relying party of Sessions.
	LogoutURL string
	// BackchannelLogoutURL is the path of BackchannelLogoutHandler, if Handler
	// is to serve it elsewhere. "" means the path of RedirectURL with
	// "backchannel-logout" as its last segment.
	BackchannelLogoutURL string
	// FrontchannelLogoutURL is the path of FrontchannelLogoutHandler, if Handler
	// is to serve it elsewhere. "" means the path of RedirectURL with
	// "frontchannel-logout" as its last segment.
	FrontchannelLogoutURL string
	// ClaimsRedirectURL is the path of ClaimsRedirectHandler, if Handler is to
	// serve it elsewhere or the handler is mounted alone. "" means the path of
	// RedirectURL with "claims" as its last segment.
	ClaimsRedirectURL string
	// HomeURL is the path to go to after a sign-in without a return path. It must
	// not be that of LoginHandler, because sign-ins would then never end. Our
	// own pages link to it. "" means "/", after PathPrefix.
	HomeURL string
	// LoggedOutURL is the path to go to after sign-out. "" means a small page
	// of our own.
	LoggedOutURL string
	// TrustedOrigins are other origins, such as "https://app.example.org",
	// whose unsafe requests are accepted. Those of RedirectURL's origin always
	// are, whatever Host a proxy sends.
	TrustedOrigins []string
	// AllowUpgrades are protocols, besides "websocket", that a request behind
	// a guard may be upgraded to. Any other Upgrade is removed from the
	// request. HTTP itself, such as "h2c", is an error: a tunnel of HTTP leads
	// past every guard.
	AllowUpgrades []string
	// OwnerGrants stores the grants that the OwnerGrant requirement asks for. It
	// must be of the same issuer and client.
	OwnerGrants *OwnerGrants
	// OnSignIn, if not nil, runs at every sign-in before the session exists.
	// It may link a local user, add claims to the identity with SetClaim, or
	// refuse the sign-in with an error. What it sets is kept when the tokens
	// are renewed. If the error is an *Error, it is the
	// answer. Any other error is answered with 503.
	//
	// Other changes to the identity are ignored. The callback waits for
	// OnSignIn, and ctx ends after some seconds. It must be safe for
	// concurrent use.
	OnSignIn func(ctx context.Context, id *Identity) error
	// OnRefresh, if not nil, runs after the tokens of a session were renewed and
	// its claims replaced by the provider's newest. What OnSignIn set with
	// SetClaim, or took away, lies on top of them; OnRefresh may set it anew.
	// An error ends the session, and the person has to sign in again. If the
	// store fails just then, the end is tried again for some seconds. Only an
	// *Error with a status of 500 or above is trouble: what the application
	// set before then stays until the next refresh.
	//
	// Other changes to the identity are ignored. Requests may wait for
	// OnRefresh, and ctx ends after some seconds. It must be safe for
	// concurrent use.
	OnRefresh func(ctx context.Context, id *Identity) error
	// ErrorHandler, if not nil, answers every request that the relying party
	// refuses, both pages and JSON, except those of BackchannelLogoutHandler.
	// Retry-After, Cache-Control and WWW-Authenticate are already set on w. The
	// status is e.Status unless the handler sends another. nil means simple
	// responses of our own.
	ErrorHandler func(w http.ResponseWriter, r *http.Request, e *Error)
	// APITransport carries the requests of HTTPClient. nil means
	// http.DefaultTransport.
	APITransport http.RoundTripper
	// TokenLifetime is how long an access token is believed if the provider
	// does not say when it expires. Then it is renewed. 0 means until the
	// session ends or an API refuses it (see Refused).
	TokenLifetime time.Duration
	// SkipUserInfo turns off the user info request at sign-in and after a
	// refresh. The claims are then only those of the ID Token.
	SkipUserInfo bool
	// ClaimsProviders are those whose claims count if the provider refers to them
	// (aggregated and distributed claims, OpenID Connect Core §5.6.2), in the ID Token
	// or the user info. nil means none: nothing is fetched, and the application gets
	// "_claim_names" and "_claim_sources" as they are.
	//
	// A claim that the provider names there, and that it does not say itself, is then
	// a claim like any other, also of UserInfo and after a refresh. It has to be in a
	// JWT that a listed issuer has signed. A distributed one is fetched from a listed
	// origin only: for 2 s, 16 KiB, and without redirects. "sub" and the protocol
	// claims are never taken. What cannot be had stays in "_claim_names", with an
	// EventTrouble "claim_source"; at a refresh it stays as it was. The sign-in goes
	// on. Up to 8 sources of one document are asked, side by side.
	ClaimsProviders []ClaimsProvider
	// RoleClaim is the path to the claim with the roles that Role requires, as in
	// ResourceServerConfig.
	RoleClaim []string
	// SessionProtocolClaims makes SessionHandler tell a script the protocol
	// claims as well ("nonce", "sid", "at_hash", "acr" and others that are about
	// the sign-in). Otherwise it leaves them out.
	SessionProtocolClaims bool
}

// complete checks the settings and fills in the defaults.
func (c *RelyingPartyConfig) complete(p *Provider) (redirect *url.URL, cross *http.CrossOriginProtection, err error) {
	wrong := needed(p, &c.Client)
	redirect = wrong.ownURL("RedirectURL", c.RedirectURL)
	wrong.registers(c)
	if c.LogoutURL != "" {
		wrong.ownURL("LogoutURL", c.LogoutURL)
	}
	wrong.scopes(c.Scopes)
	wrong.response(c)
	if c.TokenLifetime < 0 {
		wrong.add("TokenLifetime", "negative")
	}
	asking := wrong.authParams(c.AuthParams)
	if asking.Essential.NeedsUserInfo() {
		wrong.wrap("AuthParams", c.noUserInfo())
	}
	if c.ProviderName == "" && p != nil {
		c.ProviderName = p.issuer
		if u, err := url.Parse(p.issuer); err == nil && u.Host != "" {
			c.ProviderName = u.Host
		}
	}
	wrong.ownPath("LoginURL", c.LoginURL)
	wrong.ownPath("BackchannelLogoutURL", c.BackchannelLogoutURL)
	wrong.ownPath("FrontchannelLogoutURL", c.FrontchannelLogoutURL)
	wrong.ownPath("ClaimsRedirectURL", c.ClaimsRedirectURL)
	if strings.Contains(c.ClaimsRedirectURL, "?") {
		wrong.add("ClaimsRedirectURL", "%q has a query", c.ClaimsRedirectURL)
	}
	c.PathPrefix = strings.TrimSuffix(c.PathPrefix, "/")
	wrong.ownPath("PathPrefix", c.PathPrefix)
	if strings.Contains(c.PathPrefix, "?") {
		wrong.add("PathPrefix", "%q has a query", c.PathPrefix)
	}
	if c.HomeURL == "" {
		c.HomeURL = c.PathPrefix + "/"
	}
	wrong.ownPath("HomeURL", c.HomeURL)
	if strings.HasPrefix(c.LoginURL, "/") && navigation.ServedBy(c.HomeURL, c.LoginURL) {
		wrong.add("HomeURL", homeBegins, c.HomeURL)
	}
	wrong.ownPath("LoggedOutURL", c.LoggedOutURL)
	cross = http.NewCrossOriginProtection()
	for _, o := range c.TrustedOrigins {
		if err := cross.AddTrustedOrigin(o); err != nil {
			wrong.add("TrustedOrigins", "%w", err)
		}
	}
	if c.OwnerGrants != nil {
		wrong.wrap("OwnerGrants", c.OwnerGrants.fits(p, &c.Client))
		if c.Client.binds() {
			wrong.add("OwnerGrants", "set, but tokens that are bound to Client.DPoPKey cannot call the protection API: give owners a relying party without it")
		}
	}
	wrong.transport("APITransport", c.APITransport)
	wrong.claimsProviders(c.ClaimsProviders)
	c.AllowUpgrades = wrong.upgrades(c.AllowUpgrades)
	if slices.Contains(c.RoleClaim, "") {
		wrong.add("RoleClaim", "it has an empty name")
	}
	c.RoleClaim = slices.Clone(c.RoleClaim)
	if redirect != nil { // what the browser calls this site (RFC 6454 §6.1)
		if err := cross.AddTrustedOrigin(outbound.Origin(redirect)); err != nil {
			wrong.add("RedirectURL", "%w", err)
		}
	}
	switch {
	case c.Sessions != nil:
		wrong.wrap("Sessions", c.Sessions.admits(redirect))
	case len(wrong) == 0:
		own, err := NewSessions(SessionsConfig{Now: p.clock})
		if err != nil {
			return nil, nil, err
		}
		own.named, c.Sessions = false, own
	}
	c.Scopes, c.TrustedOrigins, c.ClaimsProviders = slices.Clone(c.Scopes), slices.Clone(c.TrustedOrigins), slices.Clone(c.ClaimsProviders)
	c.AuthParams = url.Values(http.Header(c.AuthParams).Clone())
	return redirect, cross, wrong.in("NewRelyingParty")
}

// response checks what the provider is asked to answer with.
func (w *problems) response(c *RelyingPartyConfig) {
	asked, err := authresponse.Parse(cmp.Or(c.ResponseType, "code"))
	if err != nil {
		w.wrap("ResponseType", err)
		return
	}
	_, err = asked.In(c.ResponseMode)
	w.wrap("ResponseMode", err)
	if c.Client.binds() && asked.Token {
		w.add("ResponseType", "it brings an access token through the browser, which is bound to no key, but there is a Client.DPoPKey")
	}
	if c.OwnerGrants != nil && !asked.Code {
		w.add("OwnerGrants", "the grant of an owner needs a ResponseType with code, because it lasts beyond its first token")
	}
}

// noUserInfo says why a sign-in never has user info, in which an essential claim
// could be. It is nil if it may have some.
func (c *RelyingPartyConfig) noUserInfo() error {
	const claim = "an essential claim of the user info has a value, but "
	switch asked, err := authresponse.Parse(cmp.Or(c.ResponseType, "code")); {
	case c.SkipUserInfo:
		return errors.New(claim + "SkipUserInfo is set")
	case err == nil && !asked.Code && !asked.Token: // OpenID Connect Core §5.4: only an access token gives user info
		return fmt.Errorf(claim+"ResponseType %q brings no access token", asked.Type())
	}
	return nil
}

// SessionsConfig holds the settings of NewSessions.
type SessionsConfig struct {
	// Store keeps the login records. nil means NewMemoryStore. Several
	// processes need a store that they share.
	Store Store
	// Keys seal cookies and login records. Each needs at least 32 random
	// bytes. The first key seals, and all keys open. To rotate, add the new
	// key last, deploy, then move it first.
	//
	// To make a key, run "openssl rand -base64 32" and pass its output as it
	// is, from wherever your deployment keeps secrets:
	//
	//	Keys: []gatehouse.Secret{gatehouse.NewSecret(os.Getenv("SESSION_KEY"))},
	//
	// Without Keys, a random key is made on first use and kept in the store.
	// It seals only cookies; records are then not sealed. With Keys, a record
	// that is not sealed is not a session, because anybody who can write to
	// the store could have made it.
	//
	// So adding the first key signs everybody out, once. To avoid that, deploy
	// every replica with Keys and InsecureUnsealed. A replica that does not
	// have the key yet answers 503 for a sealed record, so replace all
	// replicas in one step, or send each person to one replica. After one
	// Lifetime, deploy without InsecureUnsealed.
	//
	// A record under a key that is not in Keys is 503 (record_unreadable), and
	// the person keeps the cookie: put the key back. So take an old key away
	// only when one Lifetime has passed since the new one came first.
	Keys []Secret
	// InsecureUnsealed accepts records that are not sealed although there are
	// Keys. It is for the change to the first key, as described there. Whoever
	// can write to the store can sign in as anybody until it is off again. A
	// warning is logged once.
	InsecureUnsealed bool
	// Name distinguishes several Sessions on one origin or in one store. A
	// cookie of one is worth nothing at another. Name and origin are part of
	// the key of every record and of the name of the session cookie, so
	// changing either signs everybody out.
	Name string
	// Lifetime is how long a session lasts at most, from the start of its
	// sign-in. 0 means 12 hours. It must be between one minute and 400 days. A
	// session that has begun ends at its end of then, or sooner if Lifetime is
	// shorter now.
	Lifetime time.Duration
	// IdleTimeout ends a session that no request has used for that long. 0
	// means 30 minutes, or Lifetime if that is shorter. A negative value means
	// no idle limit. Otherwise it must be at least 10 seconds. Use of a
	// session is written to the store at most once per tenth of IdleTimeout.
	IdleTimeout time.Duration
	// App is the application's own session manager, which needs a store of its
	// own. Its token is renewed at sign-in, and its data is destroyed at
	// sign-out.
	//
	// If a login ends in another way (it expired or was revoked), the next
	// sign-in in that browser clears the data, so that it never passes to
	// another person. Data from before the first sign-in is kept. So is the
	// data of a session that the same person replaces by signing in again.
	App *scs.SessionManager
	// Now is the clock. nil means time.Now.
	Now func() time.Time
}

const (
	defaultLifetime = 12 * time.Hour
	defaultIdle     = 30 * time.Minute
	maxLifetime     = 400 * 24 * time.Hour // browsers do not keep a cookie longer
	minLifetime     = time.Minute          // the time of the sign-in itself counts, and people may be slow
	minIdle         = 10 * time.Second     // a session must outlast the loading of a page
)

// complete checks the settings and fills in the defaults. It returns the given
// keys, or nil if there are none.
func (c *SessionsConfig) complete() (ring *seal.Ring, err error) {
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
	ring = wrong.ring("Keys", c.Keys)
	return ring, wrong.in("NewSessions")
}

// UMATransportConfig holds the settings of NewUMATransport.
type UMATransportConfig struct {
	// Client is the identity of this application at the authorization server.
	// Required.
	Client Client
	// Base carries the requests to the resource servers. nil means
	// http.DefaultTransport.
	Base http.RoundTripper
	// Claims returns the proof of who the requesting party is. It is pushed
	// with the first exchange. If it returns nothing or fails, the exchange
	// fails with claims_unavailable; an *Error keeps its own code. If the
	// server refuses the format, one more ticket is tried without claims, but
	// never at Keycloak. nil pushes nothing. RelyingParty.ClaimToken has this
	// type. The context has the values of the request that needs the claims,
	// but Claims may outlive that request.
	Claims func(ctx context.Context) (ClaimToken, error)
	// ClaimsWhenAsked pushes Claims only when the authorization server asks
	// for them. Keycloak gets them with the first exchange all the same,
	// because it never asks and would treat the client as the requesting
	// party. If Metadata of the provider is written by hand, say in
	// ProviderConfig.Dialect that it is a Keycloak.
	ClaimsWhenAsked bool
	// Party returns on whose behalf a request is made. Tokens of one party are
	// never used for another. "" means the client itself, which is an error if
	// Claims is set. A nil Party means the issuer and the subject of
	// IdentityFrom, joined with a space, or "" if there is no identity. For an
	// identity from a requesting party token (ViaUMA), "uma " precedes them.
	Party func(ctx context.Context) string
	// Scopes are requested in addition to those of the ticket (UMA Grant
	// §3.3.1). The client must be registered for them.
	Scopes []string
	// MaxRounds is how many tickets one request redeems at most. 0 means 3. In
	// any case one request sends at most 8 requests to the resource server and
	// the token endpoint together.
	MaxRounds int
	// SubmitRequest lets Keycloak ask the owner if permission is missing. By
	// default we tell it not to. Other servers decide that themselves.
	SubmitRequest bool
	// Login is the relying party whose ClaimsRedirectHandler people come back to
	// from the authorization server (see RelyingParty.ClaimsRedirect). It and the
	// provider may have different issuers. nil means that nobody is sent there.
	// It keeps the UMATransport, so make one when the program starts. Party is
	// asked there with the identity of the session on the context, and must
	// return what it returned for the request.
	Login *RelyingParty
	// ClaimsOrigins are origins, such as "https://ask.example.org", to which the
	// authorization server may send people, besides those of its issuer and of
	// its token, authorization and claims interaction endpoints.
	ClaimsOrigins []string
}

// defaultRounds is how many tickets one call redeems: one at first, one if the
// token turns out too weak, and one to spare.
const defaultRounds = 3

// complete checks the settings and fills in the defaults.
func (c *UMATransportConfig) complete(p *Provider) error {
	wrong := needed(p, &c.Client)
	if c.Client.binds() {
		wrong.add("Client.DPoPKey", "set, but requesting party tokens are bearer tokens: leave it out here")
	}
	wrong.scopes(c.Scopes)
	wrong.noTenants(p, "UMA")
	if c.MaxRounds < 0 {
		wrong.add("MaxRounds", "negative")
	}
	if c.ClaimsWhenAsked && c.Claims == nil {
		wrong.add("ClaimsWhenAsked", "there are no Claims to push")
	}
	if c.Login != nil {
		wrong.wrap("Login", c.Login.checkMade())
	}
	if len(c.ClaimsOrigins) > 0 {
		_, bad := newTokenTransport(nil, c.ClaimsOrigins)
		wrong.wrap("ClaimsOrigins", errors.Join(bad...))
	}
	c.ClaimsOrigins = slices.Clone(c.ClaimsOrigins)
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

// OwnerGrantsConfig holds the settings of NewOwnerGrants.
type OwnerGrantsConfig struct {
	// Client is the client that owners grant access to, which is that of the
	// sign-in. Required.
	Client Client
	// Store keeps the grants. nil means the memory of this process.
	Store GrantStore
	// Keys seal the grants before Store sees them, so that who reads the store
	// gets no tokens. Each needs at least 32 random bytes (see
	// SessionsConfig.Keys, which may be the same). The first key seals, and all
	// keys open. A grant is bound to its issuer and owner.
	//
	// A grant that is not sealed, or not with the first key, is read and written
	// again with the first key: at the next PAT, Has or renewal. PAT does so with
	// one that another key seals once in 10 minutes, so that replicas do not write
	// by turns while keys rotate. So Keys may be added at any time; a process
	// without them answers 503 for grants that are sealed (grant_unreadable) and
	// leaves them as they are. To rotate, add the new key last, deploy, then move
	// it first. When all replicas have it first, and before you remove the old
	// key, call Has for every owner: a grant that no key opens is 503 as well,
	// until its key is back.
	//
	// Keys do not keep out who can write to the store: a grant that is not
	// sealed is still taken.
	Keys []Secret
}

// complete checks the settings and fills in the defaults.
func (c *OwnerGrantsConfig) complete(p *Provider) (keys *seal.Ring, err error) {
	c.Client.DPoPKey = nil // the protection API takes bearer tokens
	wrong := needed(p, &c.Client)
	wrong.noTenants(p, "UMA")
	if c.Store == nil {
		c.Store = &memstore.Grants{}
	}
	keys = wrong.ring("Keys", c.Keys)
	return keys, wrong.in("NewOwnerGrants")
}

// needed checks the arguments that most constructors take.
func needed(p *Provider, c *Client) problems { return append(made(p), c.complete(p)...) }

// made checks the provider.
func made(p *Provider) (wrong problems) {
	switch {
	case p == nil:
		wrong.add("provider", "nil")
	case p.channel == nil:
		wrong.add("provider", "it was not made by NewProvider")
	}
	return wrong
}

// homeBegins says why LoginHandler cannot be at HomeURL.
const homeBegins = "%q is the path of LoginHandler, so the end of each sign-in would begin another"

func orNow(now func() time.Time) func() time.Time {
	if now == nil {
		return time.Now
	}
	return now
}
