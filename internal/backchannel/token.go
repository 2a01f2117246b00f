package backchannel

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"mime"
	"net/http"
	"net/url"
	"strconv"
	"strings"
	"time"

	"golang.org/x/oauth2"
	"golang.org/x/oauth2/clientcredentials"

	"example.com/gatehouse/internal/outbound"
)

// maxExpiresIn bounds expires_in to ten years, so that arithmetic cannot
// overflow.
const maxExpiresIn = 10 * 365 * 24 * 3600

// Tokens is a successful answer of the token endpoint (RFC 6749 §5.1).
type Tokens struct {
	Access, Refresh, IDToken string
	// Scope is the scope in the answer. HasScope reports whether the answer has
	// one; without one, the scope is as requested.
	Scope    string
	HasScope bool
	// Upgraded is that of UMA Grant §3.3.5.
	Upgraded bool
	// Expires is by our clock. It is zero if the server did not say.
	Expires time.Time
	// Requested is when the request was sent.
	Requested time.Time
}

// Token sends one token request of any grant. form holds grant_type and the
// parameters of the grant. The error is a *Refusal, a *Trouble or ErrTokenType.
//
// Package clientcredentials of x/oauth2 can send any grant, because
// EndpointParams may set grant_type.
func (c *Channel) Token(ctx context.Context, endpoint string, who Credentials, form url.Values) (*Tokens, error) {
	style := oauth2.AuthStyleInParams
	if who.method == Basic {
		style = oauth2.AuthStyleInHeader
	}
	config := clientcredentials.Config{
		ClientID: who.id, ClientSecret: *who.secret,
		TokenURL: endpoint, EndpointParams: form,
		AuthStyle: style, // explicit, otherwise a failed code is sent twice (M9)
	}
	sent := c.now()
	client, seen := *c.client, &typedAnswer{base: c.client.Transport}
	client.Transport = seen
	token, err := config.Token(context.WithValue(ctx, oauth2.HTTPClient, &client))
	if err != nil {
		return nil, tokenError(err, endpoint, seen.kindWithout(who.secretsIn(form)), who, form)
	}
	return readTokens(token, sent)
}

// typedAnswer notes the media type of a token answer. RFC 6749 §5.1 allows only
// JSON, and x/oauth2 would read other types in its own way, so that is what it
// is given.
type typedAnswer struct {
	base http.RoundTripper
	kind string
}

// RoundTrip implements http.RoundTripper.
func (t *typedAnswer) RoundTrip(r *http.Request) (*http.Response, error) {
	base := t.base
	if base == nil {
		base = http.DefaultTransport
	}
	resp, err := base.RoundTrip(r)
	if err != nil || resp.StatusCode < 200 || resp.StatusCode > 299 {
		return resp, err
	}
	t.kind, _, err = mime.ParseMediaType(resp.Header.Get("Content-Type"))
	switch {
	case resp.Header.Get("Content-Type") == "":
		t.kind = "no type"
	case err != nil || len(t.kind) > maxMediaType:
		t.kind = "an unreadable type"
	}
	resp.Header = resp.Header.Clone()
	resp.Header.Set("Content-Type", "application/json")
	return resp, nil
}

// maxMediaType is the longest media type that an error names, in bytes.
const maxMediaType = 80

// kindWithout returns the type of the answer, unless it holds one of the values
// that were sent.
func (t *typedAnswer) kindWithout(secrets []string) string {
	for _, secret := range secrets {
		if secret != "" && strings.Contains(t.kind, strings.ToLower(secret)) {
			return "another type"
		}
	}
	return t.kind
}

func readTokens(t *oauth2.Token, sent time.Time) (*Tokens, error) {
	// RFC 6749 §5.1: the client must understand the type; case does not matter.
	if !strings.EqualFold(t.TokenType, "bearer") {
		return nil, fmt.Errorf("%w: %q", ErrTokenType, typeOf(t))
	}
	a := &Tokens{Access: t.AccessToken, Refresh: t.RefreshToken, Requested: sent}
	a.IDToken, _ = t.Extra("id_token").(string)
	a.Upgraded, _ = t.Extra("upgraded").(bool)
	a.Scope, a.HasScope = t.Extra("scope").(string)
	// x/oauth2 computes Expiry from time.Now (M25); we use the injected clock.
	if seconds := secondsOf(t.Extra("expires_in")); seconds > 0 {
		a.Expires = sent.Add(time.Duration(min(seconds, maxExpiresIn)) * time.Second)
	}
	return a, nil
}

// typeOf returns the type of a token, if it can be a name, as in "DPoP".
func typeOf(t *oauth2.Token) string {
	id, _ := t.Extra("id_token").(string)
	name := strings.ToLower(t.TokenType)
	word := outbound.NewSaid(name, "", strings.ToLower(t.AccessToken), strings.ToLower(t.RefreshToken), strings.ToLower(id)).Word()
	if word == name {
		return t.TokenType
	}
	return word
}

// secondsOf reads expires_in: a number, or a string as some servers send.
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

// tokenError converts an error of x/oauth2. Its RetrieveError prints the whole
// body (M11), so it is taken apart and dropped.
func tokenError(err error, endpoint, kind string, who Credentials, form url.Values) error {
	var said *oauth2.RetrieveError
	if !errors.As(err, &said) || said.Response == nil {
		if errors.Is(err, context.Canceled) {
			return &Trouble{cause: context.Canceled}
		}
		return &Trouble{cause: ownWords("token endpoint "+outbound.Address(endpoint), kind, err)}
	}
	var object map[string]json.RawMessage
	_ = json.Unmarshal(said.Body, &object) // what is not an object has no members
	status := said.Response.StatusCode
	code, t := call{outbound.Address(endpoint), who.sent(), who.secretsIn(form)}.tell("token endpoint answered", status, object)
	if status >= 400 && status < 500 && status != http.StatusTooManyRequests {
		return &Refusal{Status: status, Code: code, body: said.Body, told: t}
	}
	// This is trouble of the server, or a redirect, which is never followed
	// (M10). Some servers refuse with status 200 and an error member.
	return &Trouble{RetryAfter: outbound.RetryAfter(said.Response.Header), answered: true, cause: &t}
}

// ownWords keeps from a library's error only what our own client said, which is
// redacted. Otherwise it keeps only where the error happened, because the
// library's text may hold the body.
func ownWords(where, kind string, err error) error {
	if u, ok := errors.AsType[*url.Error](err); ok {
		return fmt.Errorf("%s: %w", where, outbound.Redact(u))
	}
	for _, known := range []error{outbound.ErrTooLarge, context.DeadlineExceeded, context.Canceled} {
		if errors.Is(err, known) {
			return fmt.Errorf("%s: %w", where, known)
		}
	}
	if kind == "" || kind == "application/json" {
		return fmt.Errorf("%s: the answer could not be read", where)
	}
	return fmt.Errorf("%s: the answer could not be read as JSON: it has the type %q", where, kind)
}
