package backchannel

import (
	"context"
	"net/http"
	"net/url"
	"strings"

	"example.com/gatehouse/internal/possession"
)

// Method is how a client authenticates (OpenID Connect Core §9).
type Method string

// The methods of authentication.
const (
	Basic Method = "client_secret_basic" // RFC 6749 §2.3.1; id and secret are form-urlencoded first
	Post  Method = "client_secret_post"  // RFC 6749 §2.3.1, in the body
	None  Method = "none"                // a public client: only the id

	SecretJWT     Method = "client_secret_jwt" // RFC 7523 §2.2, an assertion in the body
	PrivateKeyJWT Method = "private_key_jwt"   // RFC 7523 §2.2, an assertion in the body
)

// assertionType is the client_assertion_type of a JWT (RFC 7523 §2.2).
const assertionType = "urn:ietf:params:oauth:client-assertion-type:jwt-bearer"

// asserts reports whether the client sends an assertion instead of its secret.
func (m Method) asserts() bool { return m == SecretJWT || m == PrivateKeyJWT }

// Credentials are a client's id and how it authenticates. Printing or encoding
// them does not show the secret: it is behind a pointer, which fmt does not
// follow.
type Credentials struct {
	id     string
	secret *string // or the assertion of one call
	method Method
	prove  func(context.Context) (string, error) // what secret is, anew for each call; nil if it is known
	holder *possession.Holder                    // of the key to which tokens are to be bound, or nil
}

// NewCredentials makes Credentials. The secret is not used with None.
func NewCredentials(id, secret string, method Method) Credentials {
	return Credentials{id: id, secret: &secret, method: method}
}

// NewProof makes Credentials whose secret or assertion is made anew for each
// call. If prove fails, nothing is sent, and the call fails with that error.
func NewProof(id string, method Method, prove func(context.Context) (string, error)) Credentials {
	return Credentials{id: id, secret: new(string), method: method, prove: prove}
}

// Binding returns the credentials for asking for tokens that are bound to a key.
// They prove besides that we have it.
func (c Credentials) Binding(h *possession.Holder) Credentials {
	c.holder = h
	return c
}

// proved returns the credentials for one call.
func (c Credentials) proved(ctx context.Context) (Credentials, error) {
	if c.prove == nil {
		return c, nil
	}
	proof, err := c.prove(ctx)
	if err != nil {
		return Credentials{}, err
	}
	c.secret, c.prove = &proof, nil
	return c, nil
}

// authenticate adds the credentials to a form request to an endpoint other than
// the token endpoint. It changes header or form.
func (c Credentials) authenticate(header http.Header, form url.Values) {
	switch c.method {
	case Basic:
		r := http.Request{Header: header}
		r.SetBasicAuth(url.QueryEscape(c.id), url.QueryEscape(*c.secret))
	case Post:
		form.Set("client_id", c.id)
		form.Set("client_secret", *c.secret)
	case None:
		form.Set("client_id", c.id)
	case SecretJWT, PrivateKeyJWT:
		form.Set("client_id", c.id) // optional (RFC 7521 §4.2), but some servers look for the client by it
		form.Set("client_assertion_type", assertionType)
		form.Set("client_assertion", *c.secret)
	}
}

// sent says for an error how the client authenticated, and whether a secret
// was sent at all.
func (c Credentials) sent() string {
	switch {
	case c.method == None:
		return "client authentication none and no secret"
	case c.secret == nil || *c.secret == "":
		return "client authentication " + string(c.method) + " and an empty secret"
	case c.method.asserts():
		return "client authentication " + string(c.method) + " and an assertion"
	}
	return "client authentication " + string(c.method) + " and a secret"
}

// reveal returns the secret, or "".
func (c Credentials) reveal() string {
	if c.secret == nil {
		return ""
	}
	return *c.secret
}

// secretsIn lists the values of a call that its answer might repeat: the secret,
// and all of the form that is not public.
func secretsIn(form url.Values, secret string) (secrets []string) {
	if secret != "" {
		secrets = append(secrets, secret)
	}
	for name, values := range form {
		if !public(name) {
			secrets = append(secrets, values...)
		}
	}
	return secrets
}

// publicIn lists the other values of a call: the client's id, and the words in
// the parameters that are public.
func publicIn(form url.Values, client string) []string {
	words := []string{client}
	for name, values := range form {
		if public(name) {
			for _, value := range values {
				words = append(words, strings.Fields(value)...)
			}
		}
	}
	return words
}

// public reports whether the value of a parameter is no secret.
func public(name string) bool {
	switch name {
	case "grant_type", "client_id", "client_assertion_type", "scope", "token_type_hint", "claim_token_format", "audience", "resource", "redirect_uri":
		return true
	}
	return false
}
