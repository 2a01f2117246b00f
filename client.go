package gatehouse

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"strconv"
	"strings"
	"time"

	"golang.org/x/oauth2"
	"golang.org/x/oauth2/clientcredentials"

	"example.com/gatehouse/internal/outbound"
	"example.com/gatehouse/internal/strictjson"
)

// Client is who we are at a provider. One value serves sign-in, introspection,
// the protection API and the UMA client.
type Client struct {
	// ID is the client identifier. Required.
	ID string
	// Secret is the client secret; the zero value makes a public client.
	Secret Secret
	// Auth is how the client authenticates at the token endpoint. "" means
	// AuthBasic with a Secret and AuthNone without.
	Auth AuthMethod
}

// AuthMethod is a token endpoint authentication method (OpenID Connect Core §9).
type AuthMethod string

// The methods of authentication.
const (
	AuthBasic AuthMethod = "client_secret_basic" // RFC 6749 §2.3.1, id and secret form-urlencoded first
	AuthPost  AuthMethod = "client_secret_post"  // RFC 6749 §2.3.1, in the body
	AuthNone  AuthMethod = "none"                // a public client: the id alone
)

func (c Client) method() AuthMethod {
	switch {
	case c.Auth != "":
		return c.Auth
	case c.Secret.IsZero():
		return AuthNone
	}
	return AuthBasic
}

func (c Client) validate() []error {
	var problems []error
	if c.ID == "" {
		problems = append(problems, errors.New("Client.ID is empty"))
	}
	switch c.method() {
	case AuthBasic, AuthPost:
		if c.Secret.IsZero() {
			problems = append(problems, fmt.Errorf("Client.Auth is %q, but Client.Secret is empty", c.Auth))
		}
	case AuthNone:
		if !c.Secret.IsZero() {
			problems = append(problems, errors.New(`Client.Auth is "none", but there is a Client.Secret`))
		}
	default:
		problems = append(problems, fmt.Errorf("Client.Auth %q is not one of client_secret_basic, client_secret_post, none", c.Auth))
	}
	return problems
}

// authenticate puts the client's credentials on a form request to an endpoint
// other than the token endpoint (RFC 7662 §2.1, RFC 7009 §2.1). It changes form
// or header.
func (c Client) authenticate(header http.Header, form url.Values) {
	switch c.method() {
	case AuthBasic:
		r := http.Request{Header: header}
		r.SetBasicAuth(url.QueryEscape(c.ID), url.QueryEscape(c.Secret.Reveal()))
	case AuthPost:
		form.Set("client_id", c.ID)
		form.Set("client_secret", c.Secret.Reveal())
	case AuthNone:
		form.Set("client_id", c.ID)
	}
}

// tokenAnswer is a successful answer of the token endpoint (RFC 6749 §5.1).
type tokenAnswer struct {
	access    string
	refresh   string
	idToken   string
	scope     string
	hasScope  bool
	expires   time.Time // by our clock; zero when the server did not say
	upgraded  bool      // UMA Grant §3.3.5
	pct       string    // UMA Grant §3.3.5
	requested time.Time // when the request was sent
}

// tokenRefusal is what the token endpoint said no with (RFC 6749 §5.2).
type tokenRefusal struct {
	status int
	code   string // clipped, "" when the body was not an OAuth error
	body   []byte // for the members of need_info; never shown
}

func (e *tokenRefusal) Error() string {
	if e.code == "" {
		return fmt.Sprintf("token endpoint answered %d", e.status)
	}
	return fmt.Sprintf("token endpoint answered %d %s", e.status, e.code)
}

// members decodes the JSON body of the refusal, for tickets above all: names
// count as they are, and once (M5).
func (e *tokenRefusal) members(v any) error { return strictjson.Unmarshal(e.body, v) }

// requestToken sends one token request of any grant: form holds grant_type and
// the parameters of the grant. It sends once and never repeats. Errors:
// *tokenRefusal when the endpoint said no with a 4xx; otherwise an *Error of
// kind errProviderUnavailable or of the metadata.
//
// clientcredentials is the door of x/oauth2 that sends any grant: it lets
// EndpointParams set grant_type.
func (p *Provider) requestToken(ctx context.Context, c Client, form url.Values) (*tokenAnswer, error) {
	md, err := p.tokenMetadata(ctx, form.Get("grant_type"))
	if err != nil {
		return nil, err
	}
	style := oauth2.AuthStyleInParams
	if c.method() == AuthBasic {
		style = oauth2.AuthStyleInHeader
	}
	config := clientcredentials.Config{
		ClientID: c.ID, ClientSecret: c.Secret.Reveal(),
		TokenURL: md.TokenEndpoint, EndpointParams: form,
		AuthStyle: style, // explicit: else a failed code is sent twice (M9)
	}
	sent := p.now()
	token, err := config.Token(p.library(ctx))
	if err != nil {
		return nil, tokenError(err)
	}
	return p.readAnswer(token, sent)
}

func (p *Provider) tokenMetadata(ctx context.Context, grant string) (*Metadata, error) {
	get := p.Metadata
	if grant == umaGrant {
		get = p.umaMetadata
	}
	md, err := get(ctx)
	if status, ok := errors.AsType[*outbound.StatusError](err); ok && status.Code == http.StatusNotFound {
		md, err = p.umaMetadata(ctx) // a UMA server that is no OpenID provider
	}
	if err != nil {
		return nil, err
	}
	if md.TokenEndpoint == "" {
		return nil, errMetadataInvalid.because(errors.New("no token_endpoint"))
	}
	return md, nil
}

func (p *Provider) readAnswer(t *oauth2.Token, sent time.Time) (*tokenAnswer, error) {
	// RFC 6749 §5.1: the client must understand the type; case does not matter.
	if !strings.EqualFold(t.TokenType, "bearer") {
		return nil, errTokenType.because(fmt.Errorf("token_type %q", clip(t.TokenType)))
	}
	a := &tokenAnswer{access: t.AccessToken, refresh: t.RefreshToken, requested: sent}
	a.idToken, _ = t.Extra("id_token").(string)
	a.scope, a.hasScope = t.Extra("scope").(string)
	a.upgraded, _ = t.Extra("upgraded").(bool)
	a.pct, _ = t.Extra("pct").(string)
	// x/oauth2 reckons Expiry by time.Now (M25); ours is the injected clock.
	if seconds := secondsOf(t.Extra("expires_in")); seconds > 0 {
		a.expires = sent.Add(time.Duration(min(seconds, maxExpiresIn)) * time.Second)
	}
	return a, nil
}

// secondsOf reads expires_in: a number, or a string of some servers.
func secondsOf(v any) float64 {
	switch v := v.(type) {
	case float64:
		return v
	case int64:
		return float64(v)
	case string:
		f, err := strconv.ParseFloat(v, 64)
		if err == nil {
			return f
		}
	}
	return 0
}

// maxExpiresIn bounds expires_in so that arithmetic cannot overflow: ten years.
const maxExpiresIn = 10 * 365 * 24 * 3600

// tokenError classifies what x/oauth2 failed with. Its RetrieveError prints the
// whole body (M11), so it is taken apart and dropped.
func tokenError(err error) error {
	var said *oauth2.RetrieveError
	if !errors.As(err, &said) || said.Response == nil {
		if errors.Is(err, context.Canceled) {
			return errProviderUnavailable.because(context.Canceled)
		}
		return errProviderUnavailable.because(outboundCause("token endpoint", err))
	}
	refusal := &tokenRefusal{status: said.Response.StatusCode, body: said.Body}
	var body struct {
		Error string `json:"error"`
	}
	if json.Unmarshal(said.Body, &body) == nil {
		refusal.code = clip(body.Error)
	}
	if refusal.status >= 400 && refusal.status < 500 && refusal.status != http.StatusTooManyRequests {
		return refusal
	}
	// Its own trouble, or a redirect, which is never followed (M10). Some
	// servers say no with 200 and an error member.
	e := errProviderUnavailable.because(&tokenTrouble{refusal.Error()})
	if wait := outbound.RetryAfter(said.Response.Header); wait > 0 {
		e.RetryAfter = wait
	}
	return e
}

// tokenTrouble is an answer of the token endpoint that says nothing about the
// request: the server is in trouble.
type tokenTrouble struct{ text string }

func (e *tokenTrouble) Error() string { return e.text }

// outboundCause keeps of a library's error what our own client said, which is
// redacted, and otherwise only where it happened: its text may hold the body.
func outboundCause(where string, err error) error {
	if u, ok := errors.AsType[*url.Error](err); ok {
		return fmt.Errorf("%s: %w", where, outbound.Redact(u))
	}
	for _, known := range []error{outbound.ErrTooLarge, context.DeadlineExceeded, context.Canceled} {
		if errors.Is(err, known) {
			return fmt.Errorf("%s: %w", where, known)
		}
	}
	return fmt.Errorf("%s: the answer could not be read", where)
}

// umaGrant is the grant type of UMA Grant §3.3.1.
const umaGrant = "urn:ietf:params:oauth:grant-type:uma-ticket"
