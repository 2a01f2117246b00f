package gatehouse

// Tested in internal/e2e/signin, internal/e2e/uma_rs.

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"example.com/gatehouse/internal/assertion"
	"example.com/gatehouse/internal/backchannel"
	"example.com/gatehouse/internal/possession"
)

// known is who we are at a provider now: the one answer to that question. It is
// asked for at each use, because it may change while the process runs.
type known struct {
	ID     string
	secret Secret
	auth   AuthMethod
	prover *prover
	// Of a registered client: what is known of all of its clients, and whether it
	// may be any of them, because what it does belongs to none.
	registration *Registration
	registered   *registered
	free         bool
}

// who returns who we are at p now. For a client that is configured it does no
// I/O and allocates nothing.
func (p *Provider) who(ctx context.Context, c *Client) (known, error) {
	if c.Registration != nil {
		who, err := p.whoSince(ctx, c, p.now())
		who.free = true
		return who, err
	}
	return known{ID: c.ID, secret: c.Secret, auth: c.Auth, prover: c.prover}, nil
}

// whoSince returns who we are in a sign-in that began at a time. A code belongs to
// the client that asked for it, also if there is a new one meanwhile.
func (p *Provider) whoSince(ctx context.Context, c *Client, began time.Time) (known, error) {
	if c.Registration == nil {
		return p.who(ctx, c)
	}
	who, err := c.Registration.who(ctx, began)
	who.prover = c.prover
	return who, err
}

// whoWas returns who we were when something was made for the client id: a
// session, or a token in it. That client renews and revokes it.
func (p *Provider) whoWas(ctx context.Context, c *Client, id string) (known, error) {
	if c.Registration == nil {
		return p.who(ctx, c)
	}
	who, err := c.Registration.was(ctx, id)
	who.prover = c.prover
	return who, err
}

// whoMade returns who we were when something was made for the client id that is
// kept for long, such as an owner's grant. If the id was not written down, as in
// earlier builds, it may have been any client that still serves: they come the
// oldest first. If it was a client that is none of ours or whose secret has ended,
// the error is errClientEnded.
func (p *Provider) whoMade(ctx context.Context, c *Client, id string) ([]known, error) {
	if c.Registration == nil {
		if id != "" && id != c.ID {
			return nil, errClientEnded
		}
		who, err := p.who(ctx, c)
		return []known{who}, err
	}
	if id != "" {
		who, err := p.whoWas(ctx, c, id)
		return []known{who}, err
	}
	all, err := c.Registration.serving(ctx)
	for i := range all {
		all[i].prover = c.prover
	}
	return all, err
}

// owns reports whether what was made for the client id, such as a session, is
// ours.
func (c *Client) owns(ctx context.Context, id string) (bool, error) {
	if c.Registration != nil {
		return c.Registration.owns(ctx, id)
	}
	return c.ID == id, nil
}

// lasts lists the ids of the client for which a token may be, the newest first:
// those too whose secrets have ended. again says that none of those known so far
// has fitted; then the list is empty if nothing can have come since.
func (c *Client) lasts(ctx context.Context, again bool) ([]string, error) {
	switch {
	case c.Registration != nil:
		return c.Registration.lasts(ctx, again)
	case again:
		return nil, nil
	}
	return []string{c.ID}, nil
}

// told is the client's id as far as it is known without I/O, for events.
func (c *Client) told() string {
	if c.Registration != nil {
		return c.Registration.told()
	}
	return c.ID
}

// lasting is a text that names the client and does not change while it is
// configured as it is: for names of cookies and for comparing.
func (c *Client) lasting() string {
	if c.Registration != nil {
		return "registration " + c.Registration.config.Name
	}
	return c.ID
}

// given reports whether there is a client at all.
func (c *Client) given() bool { return c.ID != "" || c.Registration != nil }

// holder has the key to which tokens of the client are bound, nil if there is
// none. It is known once the client is complete.
func (c *Client) holder() *possession.Holder {
	if c.prover == nil {
		return nil
	}
	return c.prover.holder
}

// binds reports whether tokens of the client are bound to a key.
func (c *Client) binds() bool { return c.DPoPKey != nil || c.holder() != nil }

// tokenType is what the access tokens of the client are (RFC 6749 §7.1).
func (c *Client) tokenType() string {
	if c.binds() {
		return "DPoP" // RFC 9449 §5
	}
	return "Bearer"
}

// unset reports whether c is the zero Client, which cannot be compared.
func (c *Client) unset() bool {
	return c.ID == "" && c.Secret.IsZero() && c.Auth == "" && c.SecretFunc == nil && c.Key == nil && c.KeyID == "" && c.Algorithm == "" && c.AssertionAudience == "" && c.DPoPKey == nil && c.Registration == nil
}

// authList is how clients authenticate at an endpoint, as the metadata says (RFC
// 8414 §2).
type authList struct {
	member     string // of the metadata, for errors
	methods    []string
	algorithms []string // of assertions
	binds      bool     // what it answers may be bound to a key
	proofs     []string // algorithms of the proofs of that key (RFC 9449 §5.1)
}

func (md *Metadata) tokenAuth() authList {
	return authList{member: memberTokenAuth, methods: md.TokenAuthMethods, algorithms: md.TokenAuthAlgorithms, binds: true, proofs: md.DPoPAlgorithms}
}

// revocationAuth has the algorithms of the token endpoint if it has none of its
// own: RFC 8414 §2 leaves open what that means.
func (md *Metadata) revocationAuth() authList {
	return authList{member: "revocation_endpoint_auth_methods_supported", methods: md.RevocationAuthMethods, algorithms: orList(md.RevocationAuthAlgorithms, md.TokenAuthAlgorithms)}
}

// introspectionAuth falls back to the lists of the token endpoint. RFC 8414 §2
// leaves open what no list means at the introspection endpoint; the token
// endpoint of the same server is the best guess.
func (md *Metadata) introspectionAuth() authList {
	algorithms := orList(md.IntrospectionAuthAlgorithms, md.TokenAuthAlgorithms)
	if len(md.IntrospectionAuthMethods) == 0 {
		return authList{member: memberTokenAuth, methods: md.TokenAuthMethods, algorithms: algorithms}
	}
	return authList{member: "introspection_endpoint_auth_methods_supported", methods: md.IntrospectionAuthMethods, algorithms: algorithms}
}

func orList(list, otherwise []string) []string {
	if len(list) == 0 {
		return otherwise
	}
	return list
}

// at returns the client's credentials for an endpoint. The metadata chooses the
// method and the algorithms. They are never tried in turn: a server may lock the
// client out, and the secret would be sent twice.
func (k known) at(listed authList) (backchannel.Credentials, error) {
	as, err := k.proof(listed)
	if h := k.prover.holder; err == nil && h != nil && listed.binds {
		if err := h.Choose(listed.proofs); err != nil {
			return backchannel.Credentials{}, errClientAuth.because(fmt.Errorf("Client.DPoPKey: %w, and %s lists %q", err, memberDPoP, clip(strings.Join(listed.proofs, " "))))
		}
		as = as.Binding(h)
	}
	return as, err
}

// proof returns what proves who we are at an endpoint.
func (k known) proof(listed authList) (backchannel.Credentials, error) {
	method, err := k.method(listed)
	if err != nil {
		return backchannel.Credentials{}, err
	}
	switch {
	case method == AuthPrivateKeyJWT && k.prover.key == nil: // a server may say so of a client that it registered
		return backchannel.Credentials{}, errClientAuth.because(errors.New("the client has to authenticate by private_key_jwt, and has no key"))
	case (method == AuthPrivateKeyJWT || method == AuthSecretJWT) && k.prover.audience == "": // the same
		return backchannel.Credentials{}, errClientAuth.because(fmt.Errorf("the client has to authenticate by %s, and nobody knows whom assertions are for: set Client.AssertionAudience", method))
	case method == AuthPrivateKeyJWT || method == AuthSecretJWT:
		alg, err := k.algorithm(method, listed)
		if err != nil {
			return backchannel.Credentials{}, err
		}
		return backchannel.NewProof(k.ID, backchannel.Method(method), func(ctx context.Context) (string, error) {
			if method == AuthPrivateKeyJWT {
				return k.prover.signed(ctx, k.ID, alg)
			}
			return k.prover.sealed(ctx, k.ID, alg, k.secret)
		}), nil
	case method != AuthNone && k.prover.secret != nil:
		return backchannel.NewProof(k.ID, backchannel.Method(method), k.prover.sent), nil
	}
	return backchannel.NewCredentials(k.ID, k.secret.Reveal(), backchannel.Method(method)), nil
}

// prove makes a call with the client's credentials for an endpoint. If the server
// refuses who calls, and the secret of a registered client has been renewed since,
// it makes the call once more: the first one had no effect (RFC 6749 §5.2). If the
// provider does not know the client any more, a call that belongs to no client in
// particular is made as the one that was registered instead. Every call as a
// client goes through here.
func (k known) prove(ctx context.Context, listed authList, call func(backchannel.Credentials) error) error {
	as, err := k.at(listed)
	if err != nil {
		return err
	}
	err = call(as)
	next, ok := k.instead(ctx, err)
	if !ok {
		return err
	}
	if as, err = next.at(listed); err != nil {
		return err
	}
	return call(as)
}

// method returns how the client authenticates.
func (k known) method(listed authList) (AuthMethod, error) {
	if k.auth != "" {
		return k.auth, nil
	}
	if len(listed.methods) == 0 {
		return AuthBasic, nil
	}
	usable := func(m AuthMethod) bool {
		return m != AuthSecretJWT || k.prover.audience != "" && len(k.secretAlgorithms()) > 0
	}
	methods := [...]AuthMethod{AuthBasic, AuthPost, AuthSecretJWT} // with a secret, the simplest first
	for _, m := range methods {
		if slices.Contains(listed.methods, string(m)) && usable(m) {
			return m, nil
		}
	}
	can := slices.DeleteFunc(methods[:], func(m AuthMethod) bool { return !usable(m) })
	return "", errClientAuth.because(fmt.Errorf("%s lists only %q, and the secret of this client can be sent by %q", listed.member, clip(strings.Join(listed.methods, " ")), can))
}

// algorithm returns what an assertion is signed with.
func (k known) algorithm(method AuthMethod, listed authList) (string, error) {
	var can []string
	switch {
	case k.prover.alg != "":
		can = []string{k.prover.alg}
	case method == AuthPrivateKeyJWT:
		can = k.prover.key.Algorithms()
	default:
		can = k.secretAlgorithms()
	}
	if len(can) == 0 {
		return "", errClientProof.because(fmt.Errorf("%s: %w for every algorithm", method, assertion.ErrSecret))
	}
	if len(listed.algorithms) == 0 {
		return can[0], nil
	}
	for _, alg := range can {
		if slices.Contains(listed.algorithms, alg) {
			return alg, nil
		}
	}
	return "", errClientAuth.because(fmt.Errorf("the metadata lists only %q as algorithms of assertions, and this client can sign with %q", clip(strings.Join(listed.algorithms, " ")), can))
}

// secretAlgorithms lists what the secret is long enough for. How long that of
// SecretFunc is, is not known before it is needed.
func (k known) secretAlgorithms() []string {
	if k.prover.secret != nil {
		return assertion.SecretAlgorithms()
	}
	return assertion.FittingSecret(k.secret.Reveal())
}
