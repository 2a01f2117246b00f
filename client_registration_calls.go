package gatehouse

// Tested in internal/e2e/registration.

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"net/http"
	"net/url"
	"slices"

	"example.com/gatehouse/internal/assertion"
	"example.com/gatehouse/internal/backchannel"
	"example.com/gatehouse/internal/keyset"
	"example.com/gatehouse/internal/outbound"
	"example.com/gatehouse/internal/registration"
	"example.com/gatehouse/internal/storekey"
	"example.com/gatehouse/internal/swap"
)

// registrationLimit bounds the answer of a registration endpoint, in bytes. It
// repeats our metadata, with a key set at most.
const registrationLimit = 256 << 10

// clientRegistrar makes the calls of a registration at the provider.
type clientRegistrar struct {
	provider *Provider
	config   *RegistrationConfig
}

// Ask implements registration.Server.
func (s clientRegistrar) Ask(ctx context.Context) (registration.Ask, error) {
	md, err := s.provider.metadataFor(ctx, s.provider.hasClientRegistration)
	if err != nil {
		return registration.Ask{}, err
	}
	members, err := s.config.Metadata.wire()
	if err != nil {
		return registration.Ask{}, errInternal.because(err)
	}
	digest, err := json.Marshal(members)
	if err != nil {
		return registration.Ask{}, errInternal.because(err)
	}
	ask := registration.Ask{Digest: storekey.Of("gatehouse/registration", string(digest))}
	if s.config.Metadata.TokenEndpointAuthMethod == "" {
		method, err := chooseMethod(md)
		if err != nil {
			return ask, err
		}
		members = maps.Clone(members)
		members[memberAuthMethod] = quoted(string(method))
	}
	if s.config.SoftwareStatement != "" {
		members["software_statement"] = quoted(s.config.SoftwareStatement)
	}
	ask.Members, ask.Can, ask.Suffices = members, s.config.Metadata.canProve, s.suffices(md)
	ask.Verifies = func(algorithm string) bool {
		return keyset.Asymmetric(algorithm) && (len(s.provider.algs) == 0 || slices.Contains(s.provider.algs, algorithm))
	}
	ask.Trusts = func(address string) bool {
		there, err := outbound.CheckURL(address, s.provider.insecure)
		here, e := url.Parse(md.RegistrationEndpoint)
		return err == nil && e == nil && outbound.Origin(there) == outbound.Origin(here)
	}
	return ask, nil
}

// suffices returns whether a secret is long enough to sign an assertion that the
// token endpoint takes (RFC 7518 §3.2).
func (s clientRegistrar) suffices(md *Metadata) func(method, secret string) bool {
	listed := md.TokenAuthAlgorithms
	if alg := s.config.Metadata.TokenEndpointAuthAlg; alg != "" {
		listed = []string{alg}
	}
	return func(method, secret string) bool {
		return AuthMethod(method) != AuthSecretJWT || slices.ContainsFunc(assertion.FittingSecret(secret), func(alg string) bool {
			return len(listed) == 0 || slices.Contains(listed, alg)
		})
	}
}

const memberAuthMethod = "token_endpoint_auth_method"

func quoted(text string) json.RawMessage {
	value, _ := json.Marshal(text) // of a text, which never fails
	return value
}

// chooseMethod returns how a new client is to authenticate: what the token
// endpoint lists (RFC 8414 §2).
func chooseMethod(md *Metadata) (AuthMethod, error) {
	for _, method := range []AuthMethod{AuthBasic, AuthPost, AuthSecretJWT} {
		if len(md.TokenAuthMethods) == 0 || slices.Contains(md.TokenAuthMethods, string(method)) {
			return method, nil
		}
	}
	return "", errClientAuth.because(fmt.Errorf("%s lists no method that a registered client can do", memberTokenAuth))
}

// Register implements registration.Server (RFC 7591 §3.1).
func (s clientRegistrar) Register(ctx context.Context, a registration.Ask) ([]byte, error) {
	md, err := s.provider.metadataFor(ctx, s.provider.hasClientRegistration)
	if err != nil {
		return nil, err
	}
	return s.call(ctx, "registration endpoint", http.MethodPost, md.RegistrationEndpoint, s.config.InitialAccessToken.Reveal(), a.Members)
}

// Read implements registration.Server (RFC 7592 §2.1).
func (s clientRegistrar) Read(ctx context.Context, c registration.Client) ([]byte, error) {
	return s.call(ctx, "reading the client", http.MethodGet, c.Manage, c.Token, nil)
}

// Update implements registration.Server (RFC 7592 §2.2). What the provider sets
// itself, such as client_secret_expires_at, must not be sent.
func (s clientRegistrar) Update(ctx context.Context, c registration.Client, a registration.Ask) ([]byte, error) {
	members := maps.Clone(a.Members)
	delete(members, "software_statement")
	members["client_id"] = quoted(c.ID)
	if c.Secret != "" {
		members["client_secret"] = quoted(c.Secret)
	}
	return s.call(ctx, "updating the client", http.MethodPut, c.Manage, c.Token, members, c.Secret)
}

// Delete implements registration.Server (RFC 7592 §2.3).
func (s clientRegistrar) Delete(ctx context.Context, c registration.Client) error {
	_, err := s.call(ctx, "deleting the client", http.MethodDelete, c.Manage, c.Token, nil)
	if f, ok := errors.AsType[*registration.Failure](err); ok && f.Gone {
		return nil
	}
	return err
}

// call makes one call and returns the body of an answer that grants it.
func (s clientRegistrar) call(ctx context.Context, what, method, address, token string, members map[string]json.RawMessage, hidden ...string) ([]byte, error) {
	var body backchannel.Body
	if members != nil {
		var err error
		if body, err = backchannel.JSON(members, hidden...); err != nil {
			return nil, errInternal.because(err)
		}
	}
	a, err := s.provider.channel.AsBearer(outbound.WithLimit(ctx, registrationLimit), method, address, token, body)
	if err != nil {
		e := asError(err, errProviderUnavailable)
		f := &registration.Failure{Err: e, Code: e.Code, Unknown: !backchannel.FateKnown(err)}
		if trouble, ok := errors.AsType[*backchannel.Trouble](err); ok {
			f.Wait, f.Body = trouble.RetryAfter, trouble.Read()
		}
		return nil, f
	}
	switch a.Status {
	case http.StatusOK, http.StatusCreated, http.StatusNoContent:
		return a.Body, nil
	}
	kind := errRegistrationRefused
	if err := a.Unexpected(what + ": status"); errors.Is(err, backchannel.ErrMissing) && method == http.MethodPost {
		kind = errEndpoint
	}
	return nil, &registration.Failure{
		Err: kind.because(a.Unexpected(what)), Code: kind.code, Lasting: true,
		Gone: method != http.MethodPost && (a.Status == http.StatusUnauthorized || a.Status == http.StatusNotFound || a.Status == http.StatusGone),
	}
}

// registrationCell is the place of a registration in its store.
type registrationCell struct {
	store RegistrationStore
	name  string
}

// Find implements swap.Cell.
func (c registrationCell) Find(ctx context.Context) ([]byte, error) {
	ctx, cancel := context.WithTimeout(ctx, registrationStoreWait)
	defer cancel()
	raw, err := c.store.Registration(ctx, c.name)
	if err != nil {
		return nil, errRegistrationStore.because(err)
	}
	return raw, nil
}

// Swap implements swap.Cell.
func (c registrationCell) Swap(ctx context.Context, old []byte, next swap.Value) (bool, error) {
	ctx, cancel := context.WithTimeout(ctx, registrationStoreWait)
	defer cancel()
	swapped, err := c.store.SwapRegistration(ctx, c.name, old, next.Bytes)
	if err != nil {
		return false, errRegistrationStore.because(err)
	}
	return swapped, nil
}
