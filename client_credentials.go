package gatehouse

// Tested in internal/e2e/api.

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"net/http"
	"net/url"
	"slices"
	"strings"

	"golang.org/x/oauth2"

	"example.com/gatehouse/internal/backchannel"
	"example.com/gatehouse/internal/bearer"
	"example.com/gatehouse/internal/lease"
	"example.com/gatehouse/internal/outbound"
)

// ClientCredentials is the access token of an application itself, for calls on
// behalf of nobody (RFC 6749 §4.4). The token is obtained on first use, kept in
// memory and renewed before it expires, by one request for all who wait. It is
// an oauth2.TokenSource. It is safe for concurrent use.
type ClientCredentials struct {
	provider *Provider
	client   Client
	form     url.Values // of the token request; never modified
	token    *backchannel.Kept[string]
}

// ClientCredentials returns the token of client with those scopes, none for what
// the server gives by default. It does no I/O. Its error lists every problem of
// the arguments. The client must have a secret or a key.
func (p *Provider) ClientCredentials(client Client, scopes ...string) (*ClientCredentials, error) {
	wrong := needed(p, &client)
	if client.Auth == AuthNone {
		wrong.add("Client.Secret", "empty: a public client has no token of its own")
	}
	wrong.granted(client.Registration, "Client.Registration", grantTypeCredentials)
	wrong.scopes(scopes)
	if err := wrong.in("ClientCredentials"); err != nil {
		return nil, err
	}
	form := url.Values{"grant_type": {"client_credentials"}} // RFC 6749 §4.4.2
	if len(scopes) > 0 {
		form.Set("scope", strings.Join(scopes, " "))
	}
	return p.clientCredentials(client, form), nil
}

// WithParams returns a ClientCredentials whose token requests also have these
// parameters, such as the resource of RFC 8707, or the audience of Auth0. Its
// token is another one, and s does not change. It panics if a parameter is one
// that gatehouse sets: grant_type, scope, or one that authenticates the client.
func (s *ClientCredentials) WithParams(params url.Values) *ClientCredentials {
	if s == nil || s.provider == nil {
		wire("WithParams", errUnmade)
	}
	form := maps.Clone(s.form)
	for name, values := range params {
		if slices.Contains([]string{"grant_type", "scope", "client_id", "client_secret", "client_assertion", "client_assertion_type"}, name) {
			wire("WithParams", fmt.Errorf("%q is set by gatehouse", name))
		}
		form[name] = slices.Clone(values)
	}
	return s.provider.clientCredentials(s.client, form)
}

func (p *Provider) clientCredentials(client Client, form url.Values) *ClientCredentials {
	s := &ClientCredentials{provider: p, client: client, form: form}
	s.token = p.keepServiceToken(&s.client, func(ctx context.Context) (*backchannel.Tokens, error) {
		a, err := p.requestToken(ctx, &s.client, form)
		if err != nil {
			return nil, asError(fmt.Errorf("client credentials: %w", err), errClientRefused)
		}
		return a, nil
	})
	return s
}

// keepServiceToken keeps the token that request obtains.
func (p *Provider) keepServiceToken(c *Client, request func(context.Context) (*backchannel.Tokens, error)) *backchannel.Kept[string] {
	return backchannel.NewKept(backchannel.KeptConfig[string]{
		Fetch: func(ctx context.Context) (string, backchannel.Life, error) {
			a, err := request(ctx)
			if err != nil {
				return "", backchannel.Life{}, err
			}
			return a.Access, backchannel.Life{RenewAt: lease.RenewAt(a.Requested, a.Expires), Expires: a.Expires}, nil
		},
		Failed: func(ctx context.Context, err error) {
			p.emit(ctx, Event{Name: EventTrouble, Code: troubleOf(err, troubleServiceToken, troubleServiceClient), ClientID: c.told(), Err: err})
		},
		Now: p.now, Timeout: outbound.Timeout, Pause: patBackoff, MaxPause: patBackoff,
	})
}

// Token implements oauth2.TokenSource. It waits at most ten seconds. Errors are
// *Error. With Client.DPoPKey the type of the token is DPoP, and an API takes it
// only with a proof of the key, which HTTPClient sends along.
func (s *ClientCredentials) Token() (*oauth2.Token, error) {
	ctx, cancel := context.WithTimeout(context.Background(), outbound.Timeout)
	defer cancel()
	return s.TokenFor(ctx)
}

// TokenFor is Token for a caller that waits as long as ctx lasts.
func (s *ClientCredentials) TokenFor(ctx context.Context) (*oauth2.Token, error) {
	access, err := s.instead(ctx, "")
	if err != nil {
		return nil, err
	}
	t := &oauth2.Token{AccessToken: access, TokenType: s.client.tokenType()}
	if kept, life := s.token.Held(); kept == access {
		t.Expiry = life.Expires
	} else {
		t.Expiry = s.provider.now() // it was replaced meanwhile, so whoever keeps it has to ask again
	}
	return t, nil
}

var errUnmade = errors.New("the ClientCredentials was not made by Provider.ClientCredentials")

// instead returns the token, or another one than refused.
func (s *ClientCredentials) instead(ctx context.Context, refused string) (string, error) {
	if s == nil || s.token == nil {
		return "", errInternal.because(errUnmade)
	}
	access, err := s.token.Instead(ctx, refused)
	if err != nil {
		return "", asError(err, errProviderUnavailable)
	}
	if !bearer.Valid(access) {
		return "", errTokenUnsendable.because(errors.New("the access token has characters that no Authorization header can carry (RFC 6750 §2.1)"))
	}
	return access, nil
}

// HTTPClient returns an http.Client that sends the token to the given origins,
// such as "https://api.example.org", and to no others, as
// RelyingParty.HTTPClient does. If an API answers 401, the client obtains another
// token and repeats the request once, provided that its body can be sent again:
// there is none, or Request.GetBody is set. It does not if the API names another
// error than invalid_token, such as insufficient_user_authentication. If an
// origin refuses the other token too, the next one is obtained 30 seconds later
// at the earliest, so that an API that refuses everything does not drive the
// token endpoint.
//
// The client's Transport is the http.RoundTripper to build other clients on.
// Calling HTTPClient without origins is an error. base carries the requests; nil
// is http.DefaultTransport. With Client.DPoPKey it proves with each request that it
// has the key, as RelyingParty.HTTPClient does.
func (s *ClientCredentials) HTTPClient(base http.RoundTripper, origins ...string) (*http.Client, error) {
	t, wrong := newTokenTransport(base, origins)
	if err := wrong.in("HTTPClient"); err != nil {
		return nil, err
	}
	t.token = func(ctx context.Context) (string, error) { return s.instead(ctx, "") }
	t.refused = func(ctx context.Context, access string) error {
		_, err := s.instead(ctx, access)
		return err
	}
	t.refuses, t.now, t.holder = mayRefuseToken, s.provider.now, s.client.holder()
	return &http.Client{Transport: t}, nil
}

// Shutdown waits until no request for a token is under way, or until ctx is
// done.
func (s *ClientCredentials) Shutdown(ctx context.Context) error {
	if s == nil || s.token == nil {
		return nil // it has started nothing
	}
	return errors.Join(s.token.Shutdown(ctx), s.client.prover.Shutdown(ctx))
}
