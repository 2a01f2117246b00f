package gatehouse

// Tested in internal/e2e/signin, internal/e2e/uma_rs.

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"net/url"
	"slices"
	"strings"

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

// at returns the client's credentials for an endpoint for which that member of
// the metadata lists those methods (RFC 8414 §2). The methods are never tried in
// turn: a server may lock the client out, and the secret would be sent twice.
func (c Client) at(member string, listed []string) (backchannel.Credentials, error) {
	method := cmp.Or(c.Auth, AuthBasic)
	if c.Auth == "" && len(listed) > 0 && !slices.Contains(listed, string(AuthBasic)) {
		if !slices.Contains(listed, string(AuthPost)) {
			return backchannel.Credentials{}, errClientAuth.because(fmt.Errorf("%s lists only %q, and gatehouse can send a secret by client_secret_basic or client_secret_post", member, clip(strings.Join(listed, " "))))
		}
		method = AuthPost
	}
	return backchannel.NewCredentials(c.ID, c.Secret.Reveal(), backchannel.Method(method)), nil
}

// atIntrospection is at for the introspection endpoint. RFC 8414 §2 leaves open
// what no list means there; the token endpoint of the same server is the best
// guess.
func (c Client) atIntrospection(md *Metadata) (backchannel.Credentials, error) {
	if len(md.IntrospectionAuthMethods) > 0 {
		return c.at("introspection_endpoint_auth_methods_supported", md.IntrospectionAuthMethods)
	}
	return c.at(memberTokenAuth, md.TokenAuthMethods)
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
	who, err := c.at(memberTokenAuth, md.TokenAuthMethods)
	if err != nil {
		return nil, err
	}
	answer, err := p.channel.Token(ctx, md.TokenEndpoint, who, form)
	if err != nil {
		return nil, classify(err)
	}
	if answer.Defective != "" {
		p.emit(ctx, Event{Name: EventTrouble, Code: troubleAnswer, ClientID: c.ID, Err: fmt.Errorf("the token answer's %s: the value makes no sense and counts as absent", answer.Defective)})
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
// It does nothing if the provider has no revocation endpoint.
func (p *Provider) revoke(ctx context.Context, c Client, token, hint string) error {
	md, err := p.Metadata(ctx)
	if err != nil || md.RevocationEndpoint == "" {
		return err
	}
	who, err := c.at("revocation_endpoint_auth_methods_supported", md.RevocationAuthMethods)
	if err != nil {
		return err
	}
	err = p.channel.Revoke(ctx, md.RevocationEndpoint, who, token, hint)
	if errors.Is(err, backchannel.ErrCaller) {
		return errClientRefused.because(err)
	}
	return classify(err)
}
