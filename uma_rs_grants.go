package gatehouse

import (
	"bytes"
	"context"
	"crypto/rand"
	"encoding/json"
	"errors"
	"fmt"
	"net/url"
	"slices"
	"strings"
	"time"

	"example.com/gatehouse/internal/backchannel"
	"example.com/gatehouse/internal/flight"
	"example.com/gatehouse/internal/lease"
	"example.com/gatehouse/internal/memstore"
	"example.com/gatehouse/internal/outbound"
	"example.com/gatehouse/internal/swap"
)

const (
	// grantLease is how long one replica alone may renew a grant. It is longer
	// than a token request may take, so that a refresh token that rotates is
	// not sent by two.
	grantLease = outbound.Timeout + 2*time.Second
	// grantTimeout bounds a renewal, waiting for another replica's included.
	grantTimeout = grantLease + 3*time.Second
	// grantPoll is how often a replica looks whether the other one is done.
	grantPoll = 100 * time.Millisecond
	// grantTries bounds compare-and-swap loops: each lost round means that
	// somebody else has written.
	grantTries = 8
)

// OwnerGrants is the PATSource of people's resources. A sign-in that asks for
// the scope uma_protection leaves the owner's grant here (RelyingPartyConfig);
// it is an authorization of its own, which logout does not touch, so that
// strangers can be answered while the owner is away. For the owner "" it uses
// client credentials. It is safe for concurrent use.
type OwnerGrants struct {
	provider *Provider
	client   Client
	store    GrantStore
	service  *servicePAT
	flights  flight.Group[string, Secret]
}

// NewOwnerGrants makes an OwnerGrants. It does no I/O. The error lists every
// problem of the arguments at once.
func NewOwnerGrants(p *Provider, c OwnerGrantsConfig) (*OwnerGrants, error) {
	problems := c.Client.validate()
	if p == nil {
		problems = append(problems, errors.New("the Provider is nil"))
	}
	if err := invalid("NewOwnerGrants", problems); err != nil {
		return nil, err
	}
	g := &OwnerGrants{provider: p, client: c.Client, store: c.Store, service: newServicePAT(p, c.Client)}
	if g.store == nil {
		g.store = &memstore.Grants{}
	}
	return g, nil
}

// Shutdown waits until the renewals under way are over and stored, or ctx is.
func (g *OwnerGrants) Shutdown(ctx context.Context) error {
	return errors.Join(g.flights.Wait(ctx), g.service.token.Shutdown(ctx))
}

// ownerGrant is what the store keeps for an owner, as JSON.
type ownerGrant struct {
	Write   string    `json:"w"` // fresh in every value: a swap whose answer was lost is recognised
	Access  string    `json:"access,omitempty"`
	Refresh string    `json:"refresh,omitempty"`
	Expires time.Time `json:"expires,omitzero"`
	RenewAt time.Time `json:"renew_at,omitzero"`
	Lease   time.Time `json:"lease,omitzero"` // until when one replica renews it
}

func newOwnerGrant(a *backchannel.Tokens) *ownerGrant {
	return &ownerGrant{Access: a.Access, Refresh: a.Refresh, Expires: a.Expires, RenewAt: lease.RenewAt(a.Requested, a.Expires)}
}

// fresh is the token if it can be used and need not be renewed yet.
func (o *ownerGrant) fresh(now time.Time, refused Secret) Secret {
	if !o.RenewAt.IsZero() && !now.Before(o.RenewAt) {
		return Secret{}
	}
	return o.serving(now, refused)
}

// serving is the token if it can still be used.
func (o *ownerGrant) serving(now time.Time, refused Secret) Secret {
	if o.Access == "" || o.Access == refused.Reveal() || !o.Expires.IsZero() && !now.Before(o.Expires) {
		return Secret{}
	}
	return NewSecret(o.Access)
}

// PAT implements PATSource. Without a grant of the owner the error has the code
// "owner_grant_missing"; the owner has to sign in again and agree.
func (g *OwnerGrants) PAT(ctx context.Context, owner string, refused Secret) (Secret, error) {
	if owner == "" {
		return g.service.PAT(ctx, "", refused)
	}
	_, grant, err := g.read(ctx, owner)
	if err != nil {
		return Secret{}, err
	}
	if grant == nil {
		return Secret{}, missingGrant(nil)
	}
	if token := grant.fresh(g.provider.now(), refused); !token.IsZero() {
		return token, nil
	}
	return g.flights.Do(ctx, owner, grantTimeout, func(ctx context.Context) (Secret, error) {
		return g.renew(ctx, owner, refused)
	})
}

func missingGrant(cause error) *Error {
	if cause == nil {
		cause = errors.New("no grant of the owner is kept")
	}
	return errOwnerGrantMissing.because(cause)
}

// renew gets a token that is fresh: its own or another replica's.
func (g *OwnerGrants) renew(ctx context.Context, owner string, refused Secret) (Secret, error) {
	for ctx.Err() == nil {
		raw, grant, err := g.read(ctx, owner)
		if err != nil {
			return Secret{}, err
		}
		if grant == nil {
			return Secret{}, missingGrant(nil)
		}
		now := g.provider.now()
		if token := grant.fresh(now, refused); !token.IsZero() {
			return token, nil
		}
		if now.Before(grant.Lease) { // another replica is at it
			if token := grant.serving(now, refused); !token.IsZero() {
				return token, nil
			}
			if err := swap.Pause(ctx, grantPoll); err != nil {
				return Secret{}, errProviderUnavailable.because(err)
			}
			continue
		}
		if grant.Refresh == "" {
			if token := grant.serving(now, refused); !token.IsZero() {
				return token, nil
			}
			return Secret{}, g.lose(ctx, owner, raw, errors.New("the token ended, and there is no refresh token"))
		}
		grant.Lease = now.Add(grantLease)
		leased, swapped, err := g.write(ctx, owner, raw, grant)
		if err != nil {
			return Secret{}, err
		}
		if !swapped {
			continue
		}
		token, err := g.refresh(ctx, owner, leased, grant)
		if err != nil || !token.IsZero() {
			return token, err
		}
	}
	return Secret{}, errProviderUnavailable.because(ctx.Err())
}

// refresh sends the refresh token once. It returns neither token nor error when
// the grant has changed meanwhile and has to be read again.
func (g *OwnerGrants) refresh(ctx context.Context, owner string, leased []byte, grant *ownerGrant) (Secret, error) {
	a, err := g.provider.requestToken(ctx, g.client, url.Values{"grant_type": {"refresh_token"}, "refresh_token": {grant.Refresh}})
	if err != nil {
		refusal, ok := errors.AsType[*backchannel.Refusal](err)
		if ok && refusal.Code == "invalid_grant" {
			raw, _, readErr := g.read(ctx, owner)
			if readErr != nil {
				return Secret{}, readErr
			}
			if !bytes.Equal(raw, leased) {
				return Secret{}, nil
			}
			return Secret{}, g.lose(ctx, owner, raw, err)
		}
		grant.Lease = time.Time{}
		if _, _, writeErr := g.write(ctx, owner, leased, grant); writeErr != nil {
			err = errors.Join(err, writeErr) // the lease runs out by itself
		}
		return Secret{}, asError(err, errClientRefused)
	}
	next := newOwnerGrant(a) // without a new refresh token x/oauth2 gives the old one (RFC 6749 §6)
	_, swapped, err := g.write(ctx, owner, leased, next)
	if err != nil {
		return Secret{}, err
	}
	if !swapped { // forgotten, or replaced by a new sign-in
		if raw, _, err := g.read(ctx, owner); err == nil && raw == nil {
			return Secret{}, errors.Join(missingGrant(nil), g.revoke(ctx, next))
		}
		return Secret{}, nil
	}
	return NewSecret(next.Access), nil
}

// lose deletes a grant that the server does not honour any more.
func (g *OwnerGrants) lose(ctx context.Context, owner string, raw []byte, cause error) error {
	if _, err := g.store.SwapGrant(ctx, g.provider.issuer, owner, raw, nil); err != nil {
		return errGrantStore.because(err)
	}
	err := missingGrant(cause)
	g.provider.emit(ctx, Event{Name: EventDenial, Code: err.Code, Subject: owner, ClientID: g.client.ID, Err: cause})
	return err
}

func (g *OwnerGrants) read(ctx context.Context, owner string) ([]byte, *ownerGrant, error) {
	raw, err := g.store.Grant(ctx, g.provider.issuer, owner)
	if err != nil {
		return nil, nil, errGrantStore.because(err)
	}
	if raw == nil {
		return nil, nil, nil
	}
	var grant ownerGrant
	if err := json.Unmarshal(raw, &grant); err != nil {
		// Not deleted: it may be of a newer version of this package.
		return nil, nil, errGrantStore.because(errors.New("the stored grant cannot be read"))
	}
	return raw, &grant, nil
}

// write swaps old for grant. A swap that failed with an error is tried again:
// it may or may not have happened, and the store tells by the fresh value.
func (g *OwnerGrants) write(ctx context.Context, owner string, old []byte, grant *ownerGrant) (raw []byte, swapped bool, err error) {
	grant.Write = rand.Text()
	if raw, err = json.Marshal(grant); err != nil {
		return nil, false, errInternal.because(err)
	}
	for range 3 { // a refresh token that rotated must not be lost to a hiccup
		if swapped, err = g.store.SwapGrant(ctx, g.provider.issuer, owner, old, raw); err == nil {
			return raw, swapped, nil
		}
	}
	return nil, false, errGrantStore.because(err)
}

// keep stores what a sign-in of owner brought. An answer that says that the
// owner did not agree to uma_protection stores nothing and is no error.
func (g *OwnerGrants) keep(ctx context.Context, owner string, a *backchannel.Tokens) error {
	if owner == "" {
		return errInternal.because(errors.New("a grant needs an owner"))
	}
	md, err := g.provider.Metadata(ctx)
	if err != nil {
		return err
	}
	// RFC 6749 §5.1: without scope it is what was asked for.
	if a.HasScope && md.asksProtection() && !slices.Contains(strings.Fields(a.Scope), protectionScope) {
		return nil
	}
	for range grantTries {
		old, had, err := g.read(ctx, owner)
		if err != nil {
			return err
		}
		next := newOwnerGrant(a)
		if had != nil && next.Refresh == "" {
			next.Refresh = had.Refresh
		}
		_, swapped, err := g.write(ctx, owner, old, next)
		if err != nil || swapped {
			return err
		}
	}
	return errGrantStore.because(errors.New("the grant changes too fast"))
}

// scopes is what a sign-in asks for in addition, so that it brings a grant.
func (g *OwnerGrants) scopes(ctx context.Context) []string {
	md, err := g.provider.Metadata(ctx)
	if err != nil {
		return []string{protectionScope}
	}
	var scopes []string
	if md.asksProtection() {
		scopes = append(scopes, protectionScope)
	}
	if slices.Contains(md.ScopesSupported, "offline_access") { // Core §11
		scopes = append(scopes, "offline_access")
	}
	return scopes
}

// Has reports whether a grant of the owner is kept that can still be used, to
// our knowledge: the authorization server may have ended it.
func (g *OwnerGrants) Has(ctx context.Context, owner string) (bool, error) {
	_, grant, err := g.read(ctx, owner)
	if err != nil || grant == nil {
		return false, err
	}
	return grant.Refresh != "" || !grant.serving(g.provider.now(), Secret{}).IsZero(), nil
}

// Forget deletes the owner's grant and revokes its tokens at the authorization
// server (RFC 7009). It is deleted also when the error says that it could not
// be revoked.
func (g *OwnerGrants) Forget(ctx context.Context, owner string) error {
	for range grantTries {
		raw, grant, err := g.read(ctx, owner)
		if err != nil || raw == nil {
			return err
		}
		swapped, err := g.store.SwapGrant(ctx, g.provider.issuer, owner, raw, nil)
		if err != nil {
			return errGrantStore.because(err)
		}
		if swapped {
			return g.revoke(ctx, grant)
		}
	}
	return errGrantStore.because(errors.New("the grant changes too fast"))
}

// revoke ends the tokens at the server, the refresh token first: with it most
// servers end the access tokens too (RFC 7009 §2.1).
func (g *OwnerGrants) revoke(ctx context.Context, grant *ownerGrant) error {
	var problems []error
	for _, t := range []struct{ hint, token string }{{"refresh_token", grant.Refresh}, {"access_token", grant.Access}} {
		if t.token != "" {
			problems = append(problems, g.provider.revoke(ctx, g.client, t.token, t.hint))
		}
	}
	if err := errors.Join(problems...); err != nil {
		return errProviderUnavailable.because(fmt.Errorf("the grant is forgotten here but not revoked: %w", err))
	}
	return nil
}
