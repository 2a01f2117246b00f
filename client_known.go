package gatehouse

// Tested in internal/e2e/signin, internal/e2e/uma_rs.

import (
	"cmp"
	"context"
	"fmt"
	"slices"
	"strings"

	"example.com/gatehouse/internal/backchannel"
)

// known is who we are at a provider now: the one answer to that question. It is
// asked for at each use, because it may change while the process runs.
type known struct {
	ID     string
	secret Secret
	auth   AuthMethod
}

// who returns who we are at p now. For a client that is configured it does no
// I/O and allocates nothing.
func (p *Provider) who(_ context.Context, c *Client) (known, error) {
	return known{ID: c.ID, secret: c.Secret, auth: c.Auth}, nil
}

// whoWas returns who we were when something was made for the client id: a
// session, or a token in it. That client renews and revokes it.
func (p *Provider) whoWas(ctx context.Context, c *Client, id string) (known, error) {
	return p.who(ctx, c)
}

// owns reports whether what was made for the client id, such as a session, is
// ours.
func (k *known) owns(id string) bool { return k.ID == id }

// told is the client's id as far as it is known without I/O, for events.
func (c *Client) told() string { return c.ID }

// is reports, without I/O, whether the client is or was known by the id.
func (c *Client) is(id string) bool { return c.ID == id }

// lasting is a text that names the client and does not change while it is
// configured as it is: for names of cookies and for comparing.
func (c *Client) lasting() string { return c.ID }

// given reports whether there is a client at all.
func (c *Client) given() bool { return c.ID != "" }

// unset reports whether c is the zero Client, which cannot be compared.
func (c *Client) unset() bool {
	return c.ID == "" && c.Secret.IsZero() && c.Auth == ""
}

// authList is how clients authenticate at an endpoint, as the metadata says (RFC
// 8414 §2).
type authList struct {
	member  string // of the metadata, for errors
	methods []string
}

func (md *Metadata) tokenAuth() authList { return authList{memberTokenAuth, md.TokenAuthMethods} }

func (md *Metadata) revocationAuth() authList {
	return authList{"revocation_endpoint_auth_methods_supported", md.RevocationAuthMethods}
}

// introspectionAuth falls back to the list of the token endpoint. RFC 8414 §2
// leaves open what no list means at the introspection endpoint; the token
// endpoint of the same server is the best guess.
func (md *Metadata) introspectionAuth() authList {
	if len(md.IntrospectionAuthMethods) == 0 {
		return md.tokenAuth()
	}
	return authList{"introspection_endpoint_auth_methods_supported", md.IntrospectionAuthMethods}
}

// at returns the client's credentials for an endpoint. The methods are never
// tried in turn: a server may lock the client out, and the secret would be sent
// twice.
func (k known) at(listed authList) (backchannel.Credentials, error) {
	method := cmp.Or(k.auth, AuthBasic)
	if k.auth == "" && len(listed.methods) > 0 && !slices.Contains(listed.methods, string(AuthBasic)) {
		if !slices.Contains(listed.methods, string(AuthPost)) {
			return backchannel.Credentials{}, errClientAuth.because(fmt.Errorf("%s lists only %q, and gatehouse can send a secret by client_secret_basic or client_secret_post", listed.member, clip(strings.Join(listed.methods, " "))))
		}
		method = AuthPost
	}
	return backchannel.NewCredentials(k.ID, k.secret.Reveal(), backchannel.Method(method)), nil
}
