package gatehouse

// Tested in internal/e2e/uma_rs.

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"time"

	"example.com/gatehouse/internal/backchannel"
	"example.com/gatehouse/internal/introspection"
	"example.com/gatehouse/internal/outbound"
)

const (
	// introspectionTimeout ends an introspection before those who wait give up,
	// so that they learn why, and the next request begins a new one.
	introspectionTimeout = requestBudget - 100*time.Millisecond
	// introspectionLimit caps an introspection answer. Real ones have 1 to 8
	// KiB; a permission costs about 200 bytes.
	introspectionLimit = 256 << 10
)

// factsOf returns what the server says about token: what it said within the last
// seconds, or what one introspection says now for all who wait. owner is who
// owns the resource. Errors are of kind errIntrospection.
func (rs *ResourceServer) factsOf(ctx context.Context, key introspection.Key, token, owner string) (*introspection.Facts, error) {
	f, err := rs.facts.Get(ctx, key, introspectionTimeout, func(ctx context.Context) (*introspection.Facts, error) {
		return rs.introspect(ctx, token, owner)
	})
	if err != nil {
		e := errIntrospection.because(err)
		if cause, ok := errors.AsType[*Error](err); ok && cause.RetryAfter > 0 {
			e.RetryAfter = cause.RetryAfter
		}
		return nil, e
	}
	return f, nil
}

// asksByPAT reports how this server wants to be asked: UMA Federated
// Authorization §5 says with the protection API token, most servers take our
// client's authentication (RFC 7662 §2.1), Keycloak takes nothing else (K17).
func (rs *ResourceServer) asksByPAT() bool {
	return rs.client.method() == AuthNone || rs.byPAT.Load()
}

// factsKey is the key of what the server says about token now, when asked about
// a resource of owner. The owner counts only where the owner's protection API
// token asks.
func (rs *ResourceServer) factsKey(token, owner string) introspection.Key {
	if !rs.asksByPAT() {
		owner = ""
	}
	return introspection.KeyOf(token, owner)
}

func (rs *ResourceServer) introspect(ctx context.Context, token, owner string) (*introspection.Facts, error) {
	md, err := rs.provider.umaMetadata(ctx)
	if err != nil {
		return nil, err
	}
	if md.IntrospectionEndpoint == "" {
		return nil, errMetadataInvalid.because(errors.New("no introspection_endpoint"))
	}
	ctx = outbound.WithLimit(ctx, introspectionLimit)
	form := url.Values{"token": {token}, "token_type_hint": {"access_token"}}
	if md.isKeycloak() {
		form.Set("token_type_hint", "requesting_party_token") // K17: selects the UMA form
	}
	a, err := rs.askAbout(ctx, md, form, owner)
	if err != nil {
		return nil, err
	}
	if a.Status != http.StatusOK {
		return nil, classify(a.Unexpected("introspection"))
	}
	f, err := introspection.Read(a.Body, rs.provider.issuer, rs.audience)
	if err != nil {
		return nil, fmt.Errorf("introspection: %w", err)
	}
	return f, nil
}

// askAbout sends the introspection request as our client, and with a protection
// API token where the server wants that.
func (rs *ResourceServer) askAbout(ctx context.Context, md *Metadata, form url.Values, owner string) (*backchannel.Answer, error) {
	if md.isKeycloak() || !rs.asksByPAT() {
		a, err := rs.provider.channel.AsClient(ctx, md.IntrospectionEndpoint, rs.client.credentials(), form)
		if err != nil {
			return nil, classify(err)
		}
		if md.isKeycloak() || !a.RefusesCaller() {
			return a, nil
		}
	}
	a, err := rs.withPAT(ctx, owner, func(pat Secret) (*backchannel.Answer, error) {
		return rs.provider.channel.AsBearer(ctx, http.MethodPost, md.IntrospectionEndpoint, pat.Reveal(), backchannel.Form(form))
	})
	if err == nil && a.Status == http.StatusOK {
		rs.byPAT.Store(true)
	}
	return a, err
}
