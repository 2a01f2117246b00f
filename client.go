package gatehouse

// Tested in internal/e2e/signin, internal/e2e/uma_rs.

import (
	"context"
	"errors"
	"fmt"
	"net/url"

	"example.com/gatehouse/internal/backchannel"
)

// Client is the identity of this application at a provider. One value serves
// sign-in, introspection, the protection API and the UMA client.
type Client struct {
	// ID is the client identifier. Required.
	ID string
	// Secret is the client secret. The zero value makes a public client.
	Secret Secret
	// Auth is how the client authenticates, at every endpoint. "" means AuthNone
	// without a Secret. With one it means what the provider's metadata lists
	// for each endpoint, AuthBasic before AuthPost, and AuthBasic if it lists
	// nothing.
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

// complete checks the client and fills in Auth if there is no Secret, for the configs that have one.
func (c *Client) complete() (wrong problems) {
	if c.Auth == "" && c.Secret.IsZero() {
		c.Auth = AuthNone
	}
	if c.ID == "" {
		wrong.add("Client.ID", "empty")
	}
	switch c.Auth {
	case "": // the metadata of the provider decides
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

// umaGrant is the grant type of UMA Grant §3.3.1.
const umaGrant = "urn:ietf:params:oauth:grant-type:uma-ticket"

// requestToken sends one token request. The form holds grant_type and the
// parameters of that grant. It sends the request once and never retries.
//
// If the endpoint refused the request, the error is a *backchannel.Refusal,
// whose meaning depends on the grant. Any other error is an *Error.
func (p *Provider) requestToken(ctx context.Context, c *Client, form url.Values) (*backchannel.Tokens, error) {
	who, err := p.who(ctx, c)
	if err != nil {
		return nil, err
	}
	return p.requestTokenAs(ctx, who, form)
}

// requestTokenAs is requestToken for a client that is known already.
func (p *Provider) requestTokenAs(ctx context.Context, who known, form url.Values) (*backchannel.Tokens, error) {
	md, err := p.tokenMetadata(ctx, form.Get("grant_type"))
	if err != nil {
		return nil, err
	}
	as, err := who.at(md.tokenAuth())
	if err != nil {
		return nil, err
	}
	answer, err := p.channel.Token(ctx, md.TokenEndpoint, as, form)
	if err != nil {
		return nil, classify(err)
	}
	if answer.Defective != "" {
		p.emit(ctx, Event{Name: EventTrouble, Code: troubleAnswer, ClientID: who.ID, Err: fmt.Errorf("the token answer's %s: the value makes no sense and counts as absent", answer.Defective)})
	}
	return answer, nil
}

func (p *Provider) tokenMetadata(ctx context.Context, grant string) (*Metadata, error) {
	get := func(ctx context.Context) (*Metadata, error) { return p.metadataFor(ctx, p.hasTokenEndpoint) }
	if grant == umaGrant {
		get = p.clientMetadata
	}
	md, err := get(ctx)
	if ErrorCode(err) == errMetadataMissing.code {
		md, err = p.umaMetadata(ctx) // a UMA server that is not an OpenID provider
	}
	if err != nil {
		return nil, err
	}
	return md, p.hasTokenEndpoint(md)
}

// revoke tells the provider that a token is no longer needed (RFC 7009 §2.1).
// It does nothing if the provider has no revocation endpoint. A server refuses
// what was issued to another client (§2.1).
func (p *Provider) revoke(ctx context.Context, who known, token, hint string) error {
	md, err := p.Metadata(ctx)
	if err != nil || md.RevocationEndpoint == "" {
		return err
	}
	as, err := who.at(md.revocationAuth())
	if err != nil {
		return err
	}
	err = p.channel.Revoke(ctx, md.RevocationEndpoint, as, token, hint)
	if errors.Is(err, backchannel.ErrCaller) {
		return errClientRefused.because(err)
	}
	return classify(err)
}
