package gatehouse

// Tested in internal/e2e/signin, internal/e2e/uma_rs.

import (
	"context"
	"errors"
	"net/http"
	"net/url"

	"example.com/gatehouse/internal/backchannel"
	"example.com/gatehouse/internal/outbound"
)

// Client is the identity of this application at a provider. One value serves
// sign-in, introspection, the protection API and the UMA client.
type Client struct {
	// ID is the client identifier. Required.
	ID string
	// Secret is the client secret. The zero value makes a public client.
	Secret Secret
	// Auth is how the client authenticates at the token endpoint. "" means
	// AuthBasic with a Secret and AuthNone without one.
	Auth AuthMethod
}

// AuthMethod is a token endpoint authentication method (OpenID Connect Core §9).
type AuthMethod string

// The supported authentication methods.
const (
	AuthBasic AuthMethod = "client_secret_basic" // RFC 6749 §2.3.1: HTTP Basic with id and secret form-urlencoded
	AuthPost  AuthMethod = "client_secret_post"  // RFC 6749 §2.3.1: id and secret in the body
	AuthNone  AuthMethod = "none"                // a public client: only the id, in the body
)

// complete checks the client and fills in Auth, for the configs that have one.
func (c *Client) complete() (wrong problems) {
	switch {
	case c.Auth != "":
	case c.Secret.IsZero():
		c.Auth = AuthNone
	default:
		c.Auth = AuthBasic
	}
	if c.ID == "" {
		wrong.add("Client.ID", "empty")
	}
	switch c.Auth {
	case AuthBasic, AuthPost:
		if c.Secret.IsZero() {
			wrong.add("Client.Secret", "empty, but Client.Auth is %q", c.Auth)
		}
	case AuthNone:
		if !c.Secret.IsZero() {
			wrong.add("Client.Auth", "%q, but there is a Client.Secret", c.Auth)
		}
	default:
		wrong.add("Client.Auth", "%q is not one of client_secret_basic, client_secret_post, none", c.Auth)
	}
	return wrong
}

// credentials returns the client's credentials for the calls it makes.
func (c Client) credentials() backchannel.Credentials {
	return backchannel.NewCredentials(c.ID, c.Secret.Reveal(), backchannel.Method(c.Auth))
}

// umaGrant is the grant type of UMA Grant §3.3.1.
const umaGrant = "urn:ietf:params:oauth:grant-type:uma-ticket"

// requestToken sends one token request. The form holds grant_type and the
// parameters of that grant. It sends the request once and never retries.
//
// If the endpoint refused the request, the error is a *backchannel.Refusal,
// whose meaning depends on the grant. Any other error is an *Error.
func (p *Provider) requestToken(ctx context.Context, c Client, form url.Values) (*backchannel.Tokens, error) {
	md, err := p.tokenMetadata(ctx, form.Get("grant_type"))
	if err != nil {
		return nil, err
	}
	answer, err := p.channel.Token(ctx, md.TokenEndpoint, c.credentials(), form)
	if err != nil {
		return nil, classify(err)
	}
	return answer, nil
}

func (p *Provider) tokenMetadata(ctx context.Context, grant string) (*Metadata, error) {
	get := p.Metadata
	if grant == umaGrant {
		get = p.umaMetadata
	}
	md, err := get(ctx)
	if status, ok := errors.AsType[*outbound.StatusError](err); ok && status.Code == http.StatusNotFound {
		md, err = p.umaMetadata(ctx) // a UMA server that is not an OpenID provider
	}
	if err != nil {
		return nil, err
	}
	if md.TokenEndpoint == "" {
		return nil, errMetadataInvalid.because(errors.New("no token_endpoint"))
	}
	return md, nil
}

// revoke tells the provider that a token is no longer needed (RFC 7009 §2.1).
// It does nothing if the provider has no revocation endpoint.
func (p *Provider) revoke(ctx context.Context, c Client, token, hint string) error {
	md, err := p.Metadata(ctx)
	if err != nil || md.RevocationEndpoint == "" {
		return err
	}
	return classify(p.channel.Revoke(ctx, md.RevocationEndpoint, c.credentials(), token, hint))
}
