package gatehouse

// Tested in internal/e2e/signin, internal/e2e/uma_rs.

import (
	"context"
	"crypto"
	"errors"
	"fmt"
	"net/url"
	"time"

	"example.com/gatehouse/internal/backchannel"
)

// Client is the identity of this application at a provider. One value serves
// sign-in, introspection, the protection API and the UMA client. At most one of
// Secret, SecretFunc and Key is set; without them the client is public.
//
// Printing a Client shows neither its secret nor its key. But fmt calls no method
// on an unexported field, so do not print a struct of yours that has a Client in
// one.
type Client struct {
	// ID is the client identifier. Required, unless there is a Registration.
	ID string
	// Secret is the client secret.
	Secret Secret
	// SecretFunc returns a secret that ends, such as the one that Apple wants,
	// and when that is; the zero time means never. Each part of this package
	// that is made with the Client calls it at first need and keeps the secret
	// until shortly before it ends. Requests wait up to 3 seconds for it, and
	// share one call. After an error it is called again a second later at the
	// earliest. ctx ends after 10 seconds. If SecretFunc fails, panics or
	// returns a secret that has ended, requests are answered with 503
	// (client_proof_failed), and nothing is sent.
	SecretFunc func(ctx context.Context) (secret Secret, expires time.Time, err error) `json:"-"`
	// Key signs an assertion for each request instead of sending a secret
	// (private_key_jwt): an RSA key of at least 2048 bits, ECDSA with P-256,
	// P-384 or P-521, or Ed25519. It may be a key service: Sign has 3 seconds,
	// must be safe for concurrent use, and is given the SignerOpts of the
	// algorithm. If it fails, hangs or panics, requests are answered with 503
	// (client_proof_failed), and nothing is sent.
	Key crypto.Signer `json:"-"`
	// KeyID is the key's id at the provider (kid). Required with Key. JWKSHandler
	// publishes the key under it.
	KeyID string
	// Algorithm is what assertions are signed with: RS256, RS384, RS512, PS256,
	// PS384, PS512, ES256, ES384, ES512 or EdDSA with a Key, HS256, HS384 or
	// HS512 with AuthSecretJWT. "" means the first that fits and that the
	// provider's metadata lists, RS256 and HS256 before others. If the metadata
	// lists algorithms without a usable one, nothing is sent.
	Algorithm string
	// AssertionAudience is whom assertions are for. "" means the issuer, which
	// is what servers of today want. Older ones want the address of their token
	// endpoint.
	AssertionAudience string
	// Auth is how the client authenticates, at every endpoint. "" means
	// AuthPrivateKeyJWT with a Key, and AuthNone without any secret. With a
	// secret it means what the provider's metadata lists for each endpoint,
	// AuthBasic before AuthPost before AuthSecretJWT, and AuthBasic if it lists
	// nothing.
	Auth AuthMethod
	// DPoPKey binds the tokens that this application calls APIs with to a key, so
	// that whoever steals one cannot use it (RFC 9449): an ECDSA key with P-256,
	// P-384 or P-521, Ed25519, or RSA of at least 2048 bits. P-256 is what all
	// servers know. It is for this alone, and not a Key. It may be a key service,
	// with the rules of Key; it signs once for each request to the token endpoint
	// and to an API. If the provider's metadata lists algorithms of proofs
	// without one that fits, or gives a token that is not bound, nothing is done
	// with it. Replicas share the key, because refresh tokens of a public client
	// are bound to it. With another key, sessions of a public client end at their
	// next refresh. nil means bearer tokens, which are also what the protection
	// API of UMA is called with.
	DPoPKey crypto.Signer `json:"-"`
	// Registration, if not nil, says who the client is: it registers itself, and
	// remembers that. Then ID, Secret, SecretFunc and Auth stay empty. A Key goes
	// with TokenEndpointAuthMethod private_key_jwt of its metadata.
	Registration *Registration

	prover *prover // of a constructor's copy
}

// AuthMethod is a token endpoint authentication method (OpenID Connect Core §9).
type AuthMethod string

// The supported authentication methods.
const (
	AuthBasic         AuthMethod = "client_secret_basic" // RFC 6749 §2.3.1: HTTP Basic with id and secret form-urlencoded
	AuthPost          AuthMethod = "client_secret_post"  // RFC 6749 §2.3.1: id and secret in the body
	AuthSecretJWT     AuthMethod = "client_secret_jwt"   // RFC 7523 §2.2: an assertion that is authenticated with the secret
	AuthPrivateKeyJWT AuthMethod = "private_key_jwt"     // RFC 7523 §2.2: an assertion that is signed with a key
	AuthNone          AuthMethod = "none"                // a public client: only the id, in the body
)

// umaGrant is the grant type of UMA Grant §3.3.1.
const umaGrant = "urn:ietf:params:oauth:grant-type:uma-ticket"

// requestToken sends one token request. The form holds grant_type and the
// parameters of that grant. It sends the request once and never retries, but as
// known.prove says.
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
	var answer *backchannel.Tokens
	err = who.prove(ctx, md.tokenAuth(), func(as backchannel.Credentials) (err error) {
		answer, err = p.channel.Token(ctx, md.TokenEndpoint, as, form)
		return err
	})
	if err != nil {
		return nil, classify(err)
	}
	if answer.Defective != "" {
		p.emit(ctx, Event{Name: EventTrouble, Code: troubleAnswer, ClientID: who.ID, Err: fmt.Errorf("the token answer's %s: the value makes no sense and counts as absent", answer.Defective)})
	}
	return answer, nil
}

// refusesGrant reports whether the server does not accept a refresh token (RFC 6749
// §5.2).
func refusesGrant(err error) bool {
	refusal, ok := errors.AsType[*backchannel.Refusal](err)
	return ok && refusal.Code == "invalid_grant"
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
	err = who.prove(ctx, md.revocationAuth(), func(as backchannel.Credentials) error {
		return p.channel.Revoke(ctx, md.RevocationEndpoint, as, token, hint)
	})
	if errors.Is(err, backchannel.ErrCaller) {
		return errClientRefused.because(err)
	}
	return classify(err)
}
