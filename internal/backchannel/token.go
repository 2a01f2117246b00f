package backchannel

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
	token, err := config.Token(context.WithValue(ctx, oauth2.HTTPClient, c.client))
	if err != nil {
		return nil, tokenError(err)
	}
	return readTokens(token, sent)
}

func readTokens(t *oauth2.Token, sent time.Time) (*Tokens, error) {
	// RFC 6749 §5.1: the client must understand the type; case does not matter.
	if !strings.EqualFold(t.TokenType, "bearer") {
		return nil, fmt.Errorf("%w: %q", ErrTokenType, outbound.Clip(t.TokenType))
	}
	a := &Tokens{Access: t.AccessToken, Refresh: t.RefreshToken, Requested: sent}
	a.IDToken, _ = t.Extra("id_token").(string)
	a.Scope, a.HasScope = t.Extra("scope").(string)
	// x/oauth2 computes Expiry from time.Now (M25); we use the injected clock.
	if seconds := secondsOf(t.Extra("expires_in")); seconds > 0 {
		a.Expires = sent.Add(time.Duration(min(seconds, maxExpiresIn)) * time.Second)
	}
	return a, nil
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
func tokenError(err error) error {
	var said *oauth2.RetrieveError
	if !errors.As(err, &said) || said.Response == nil {
		if errors.Is(err, context.Canceled) {
			return &Trouble{cause: context.Canceled}
		}
		return &Trouble{cause: ownWords("token endpoint", err)}
	}
	refusal := &Refusal{Status: said.Response.StatusCode, where: "token endpoint", body: said.Body}
	var body struct {
		Error string `json:"error"`
	}
	if json.Unmarshal(said.Body, &body) == nil {
		refusal.Code = outbound.Clip(body.Error)
	}
	if refusal.Status >= 400 && refusal.Status < 500 && refusal.Status != http.StatusTooManyRequests {
		return refusal
	}
	// This is trouble of the server, or a redirect, which is never followed
	// (M10). Some servers refuse with status 200 and an error member.
	return &Trouble{RetryAfter: outbound.RetryAfter(said.Response.Header), answered: true, cause: errors.New(refusal.Error())}
}

// ownWords keeps from a library's error only what our own client said, which is
// redacted. Otherwise it keeps only where the error happened, because the
// library's text may hold the body.
func ownWords(where string, err error) error {
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
