package gatehouse

import (
	"cmp"
	"crypto"
	"encoding/json"
	"fmt"
	"slices"
	"strings"

	"github.com/go-jose/go-jose/v4"

	"example.com/gatehouse/internal/assertion"
	"example.com/gatehouse/internal/authresponse"
	"example.com/gatehouse/internal/possession"
)

// complete checks the client of a config. In the config's copy of it, it fills in
// Auth where there is no choice, and moves the key to where nothing prints it.
func (c *Client) complete(p *Provider) (wrong problems) {
	if c.Registration != nil {
		return c.completeRegistered(p)
	}
	public := c.Secret.IsZero() && c.SecretFunc == nil && c.Key == nil
	switch {
	case c.Auth != "":
	case c.Key != nil:
		c.Auth = AuthPrivateKeyJWT
	case public:
		c.Auth = AuthNone
	}
	if c.ID == "" {
		wrong.add("Client.ID", "empty")
	}
	if c.SecretFunc != nil && !c.Secret.IsZero() {
		wrong.add("Client.SecretFunc", "set, but there is a Client.Secret")
	}
	if c.Key != nil && (c.SecretFunc != nil || !c.Secret.IsZero()) {
		wrong.add("Client.Key", "set, but there is a secret")
	}
	wrong.auth(c, public)
	key := wrong.key(c)
	wrong.algorithm(c, key)
	wrong.audience(c, p)
	wrong.dpopKey(c)
	if len(wrong) == 0 && p != nil {
		c.prover = newProver(p, c, key)
	}
	return wrong
}

// completeRegistered is complete for a client that registers itself.
func (c *Client) completeRegistered(p *Provider) (wrong problems) {
	r := c.Registration
	switch {
	case !r.made():
		wrong.add("Client.Registration", "it was not made by NewRegistration")
		return wrong
	case p != nil && r.provider.issuer != p.issuer:
		wrong.add("Client.Registration", "it is at the issuer %q, not at %q", clip(r.provider.issuer), clip(p.issuer))
	case c.ID != "" || !c.Secret.IsZero() || c.SecretFunc != nil || c.Auth != "":
		wrong.add("Client.Registration", "set together with ID, Secret, SecretFunc or Auth, which the registration gives")
	}
	as := *c
	as.Auth = r.config.Metadata.TokenEndpointAuthMethod
	if (as.Auth == AuthPrivateKeyJWT) != (c.Key != nil) {
		wrong.add("Client.Key", "it goes with TokenEndpointAuthMethod private_key_jwt of the registration, which has %q", clip(string(as.Auth)))
	}
	switch alg := r.config.Metadata.TokenEndpointAuthAlg; { // no other may be used
	case alg == "":
	case c.Algorithm != "" && c.Algorithm != alg:
		wrong.add("Client.Algorithm", "%q, but TokenEndpointAuthAlg of the registration is %q", clip(c.Algorithm), clip(alg))
	default:
		c.Algorithm = alg
		if as.Auth == AuthSecretJWT || c.Key != nil {
			as.Algorithm = alg
		}
	}
	key := wrong.key(c)
	wrong.algorithm(&as, key)
	wrong.audience(&as, p)
	wrong.dpopKey(c)
	wrong.published(c, key, r.config.Metadata.JWKS)
	if len(wrong) == 0 && p != nil {
		c.prover = newProver(p, c, key)
	}
	return wrong
}

// audience checks that an assertion would be for somebody.
func (w *problems) audience(c *Client, p *Provider) {
	if asserts := c.Auth == AuthSecretJWT || c.Key != nil; asserts && c.AssertionAudience == "" && p != nil && p.tenants != nil {
		w.add("Client.AssertionAudience", "empty, but the issuer is a template, which is nobody's name: set it to the address of the token endpoint")
	}
}

// published checks that the keys which go along with a registration have that of
// the client.
func (w *problems) published(c *Client, key *assertion.Key, keys json.RawMessage) {
	var set jose.JSONWebKeySet
	if key == nil || len(keys) == 0 || json.Unmarshal(keys, &set) != nil {
		return
	}
	ours, ok := key.Public().(interface{ Equal(crypto.PublicKey) bool })
	if !slices.ContainsFunc(set.Key(c.KeyID), func(k jose.JSONWebKey) bool { return ok && k.IsPublic() && ours.Equal(k.Key) }) {
		w.add("Client.KeyID", "%q is no key in JWKS of the registration, or not this one", clip(c.KeyID))
	}
}

// auth checks whether the client has what it is to authenticate with.
func (w *problems) auth(c *Client, public bool) {
	switch c.Auth {
	case "": // the metadata of the provider decides
	case AuthBasic, AuthPost, AuthSecretJWT:
		switch {
		case c.Key != nil:
			w.add("Client.Auth", "%q, but there is a Client.Key", c.Auth)
		case public:
			w.add("Client.Secret", "empty, but Client.Auth is %q", c.Auth)
		}
	case AuthPrivateKeyJWT:
		if c.Key == nil {
			w.add("Client.Key", "nil, but Client.Auth is %q", c.Auth)
		}
	case AuthNone:
		switch {
		case c.Key != nil:
			w.add("Client.Auth", "%q, but there is a Client.Key", c.Auth)
		case !public:
			w.add("Client.Auth", "%q, but there is a Client.Secret", c.Auth)
		}
	default:
		w.add("Client.Auth", "%q is not one of client_secret_basic, client_secret_post, client_secret_jwt, private_key_jwt, none", clip(string(c.Auth)))
	}
}

// key checks the key and what is said about it.
func (w *problems) key(c *Client) *assertion.Key {
	if c.Key == nil {
		if c.KeyID != "" {
			w.add("Client.KeyID", "set, but there is no Client.Key")
		}
		return nil
	}
	if strings.TrimSpace(c.KeyID) == "" {
		w.add("Client.KeyID", "empty, but there is a Client.Key, which the provider finds by it")
	}
	key, err := assertion.NewKey(c.Key, c.KeyID)
	w.wrap("Client.Key", err)
	return key
}

// dpopKey checks the key to which tokens are to be bound.
func (w *problems) dpopKey(c *Client) {
	if c.DPoPKey != nil {
		_, err := possession.New(c.DPoPKey, nil)
		w.wrap("Client.DPoPKey", err)
	}
}

// algorithm checks Algorithm and AssertionAudience. key is nil if there is none
// that can be used.
func (w *problems) algorithm(c *Client, key *assertion.Key) {
	asserts := c.Auth == AuthSecretJWT || c.Key != nil
	if c.AssertionAudience != "" && !asserts {
		w.add("Client.AssertionAudience", "set, but the client makes no assertions: Client.Auth is %q", c.Auth)
	}
	switch {
	case c.Algorithm == "":
		if c.Auth == AuthSecretJWT {
			w.wrap("Client.Secret", fitting(c, assertion.SecretAlgorithms()[0]))
		}
	case !assertion.Known(c.Algorithm):
		w.add("Client.Algorithm", "%q is none of RS256, RS384, RS512, PS256, PS384, PS512, ES256, ES384, ES512, EdDSA, HS256, HS384, HS512", clip(c.Algorithm))
	case !asserts:
		w.add("Client.Algorithm", "set, but the client makes no assertions: Client.Auth is %q", c.Auth)
	case c.Key != nil:
		if key != nil && !key.Signs(c.Algorithm) {
			w.add("Client.Algorithm", "%q does not fit the key, which is for %s", c.Algorithm, strings.Join(key.Algorithms(), ", "))
		}
	case assertion.SecretLength(c.Algorithm) == 0:
		w.add("Client.Algorithm", "%q needs a Client.Key", c.Algorithm)
	default:
		w.wrap("Client.Secret", fitting(c, c.Algorithm))
	}
}

// fitting returns an error if the secret is too short for the algorithm.
func fitting(c *Client, alg string) error {
	if n, least := len(c.Secret.Reveal()), assertion.SecretLength(alg); !c.Secret.IsZero() && n < least {
		return fmt.Errorf("it has %d bytes, and %s needs %d", n, alg, least)
	}
	return nil
}

// Format implements fmt.Formatter. It writes neither the secret nor the key.
func (c Client) Format(f fmt.State, _ rune) {
	fmt.Fprintf(f, "{ID:%q Auth:%q KeyID:%q Algorithm:%q AssertionAudience:%q", c.ID, string(c.Auth), c.KeyID, c.Algorithm, c.AssertionAudience)
	for _, held := range []struct {
		name string
		has  bool
	}{{"Secret", !c.Secret.IsZero()}, {"SecretFunc", c.SecretFunc != nil}, {"Key", c.Key != nil}, {"DPoPKey", c.DPoPKey != nil}} {
		if held.has {
			fmt.Fprintf(f, " %s:%s", held.name, redacted)
		}
	}
	fmt.Fprint(f, "}")
}

// registers checks that what a relying party needs is registered. A list that is
// empty is not sent, so nobody knows what the provider makes of it.
func (w *problems) registers(c *RelyingPartyConfig) {
	r := c.Client.Registration
	if !r.made() {
		return
	}
	m := &r.config.Metadata
	if !slices.Contains(m.RedirectURIs, c.RedirectURL) {
		w.add("RedirectURL", "%q is none of the RedirectURIs of Client.Registration", clip(c.RedirectURL))
	}
	if c.LogoutURL != "" && !slices.Contains(m.PostLogoutRedirectURIs, c.LogoutURL) {
		w.add("LogoutURL", "%q is none of the PostLogoutRedirectURIs of Client.Registration", clip(c.LogoutURL))
	}
	kind, err := authresponse.Parse(cmp.Or(c.ResponseType, "code"))
	if err != nil {
		return // ResponseType is wrong already
	}
	if len(m.ResponseTypes) > 0 && kind.Offered(m.ResponseTypes, nil) != nil {
		w.add("ResponseType", "%q is none of the ResponseTypes of Client.Registration, which are %q: add it there", kind.Type(), m.ResponseTypes)
	}
	for _, grant := range grantTypesOf(kind.Type()) {
		if grant != grantTypeRefresh {
			w.granted(r, "ResponseType", grant)
		}
	}
}

// granted checks that a registered client may use a grant type.
func (w *problems) granted(r *Registration, field, grant string) {
	if r.made() && len(r.config.Metadata.GrantTypes) > 0 && !slices.Contains(r.config.Metadata.GrantTypes, grant) {
		w.add(field, "it needs the grant type %s, which the GrantTypes of Client.Registration lack: add it there", grant)
	}
}
