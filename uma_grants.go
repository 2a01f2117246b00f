package gatehouse

// Tested in internal/e2e/uma_rs.

import (
	"context"
	"errors"
	"fmt"
	"net/url"
	"slices"
	"strings"
	"time"

	"example.com/gatehouse/internal/backchannel"
	"example.com/gatehouse/internal/bearer"
	"example.com/gatehouse/internal/flight"
	"example.com/gatehouse/internal/grant"
	"example.com/gatehouse/internal/lease"
	"example.com/gatehouse/internal/swap"
)

// OwnerGrants is the PATSource for people's resources. A sign-in that asks for
// the scope uma_protection stores the owner's grant here (see
// RelyingPartyConfig.OwnerGrants). The grant is an authorization of its own:
// logout does not end it, so requests are answered while the owner is away.
// For the owner "" it uses client credentials. It is safe for concurrent use.
type OwnerGrants struct {
	provider *Provider
	client   Client
	store    GrantStore
	box      grant.Box
	service  *servicePAT
	flights  flight.Group[string, Secret]
	unread   firsts // owners whose grants could not be read
	rekeyed  rekeyed
}

// NewOwnerGrants returns an OwnerGrants for owners who sign in at p. It does
// no I/O. Its error lists every problem of the arguments.
func NewOwnerGrants(p *Provider, c OwnerGrantsConfig) (*OwnerGrants, error) {
	keys, err := c.complete(p)
	if err != nil {
		return nil, err
	}
	return &OwnerGrants{provider: p, client: c.Client, store: c.Store, box: grant.Box{Keys: keys}, service: newServicePAT(p, c.Client)}, nil
}

// Issuer returns the issuer of the provider at which the owners sign in.
func (g *OwnerGrants) Issuer() string {
	if !g.made() {
		return ""
	}
	return g.provider.issuer
}

// made reports whether NewOwnerGrants made g.
func (g *OwnerGrants) made() bool { return g != nil && g.provider != nil }

// fits returns an error if the grants are not those of the client at p. Their
// tokens would be of no use to another client, and not be meant for it.
func (g *OwnerGrants) fits(p *Provider, c *Client) error {
	switch {
	case !g.made():
		return errors.New("it was not made by NewOwnerGrants")
	case p != nil && g.provider.issuer != p.issuer:
		return fmt.Errorf("it is of the issuer %q, not of %q", g.provider.issuer, p.issuer)
	case g.client.lasting() != c.lasting():
		return fmt.Errorf("it is of the client %q, not of %q", g.client.lasting(), c.lasting())
	}
	return nil
}

// Shutdown waits until the renewals under way are done and stored, or until
// ctx is done. It includes the fetches of the Provider.
func (g *OwnerGrants) Shutdown(ctx context.Context) error {
	if !g.made() {
		return nil // it has started nothing
	}
	return errors.Join(g.flights.Wait(ctx), g.service.token.Shutdown(ctx), g.client.prover.Shutdown(ctx), g.provider.Shutdown(ctx))
}

// ownerGrant is the grant of an owner during a change.
type ownerGrant struct {
	grant.Grant
	over error // why the grant has ended; it is then deleted
}

// newOwnerGrant is the grant of an answer to the client with that id.
func newOwnerGrant(client string, a *backchannel.Tokens) ownerGrant {
	return ownerGrant{Grant: grant.Grant{Access: a.Access, Refresh: a.Refresh, Client: client, Expires: a.Expires, RenewAt: lease.RenewAt(a.Requested, a.Expires)}}
}

// PAT implements PATSource. If the owner has no grant, the error has the code
// "owner_grant_missing"; the owner must then sign in again and agree.
func (g *OwnerGrants) PAT(ctx context.Context, owner string, refused Secret) (Secret, error) {
	switch {
	case !g.made():
		return Secret{}, notMade("OwnerGrants")
	case owner == "":
		return g.service.PAT(ctx, "", refused)
	}
	had, err := g.cell(owner).Load(ctx)
	if err != nil {
		return Secret{}, err
	}
	if access := had.Fresh(g.provider.now(), refused.Reveal()); access != "" {
		if had.Plain || had.Stale && g.mayRekey(owner) {
			g.reseal(ctx, owner, had)
		}
		return NewSecret(access), nil
	}
	token, err := g.flights.Do(ctx, owner, lease.Flight, func(ctx context.Context) (Secret, error) {
		return g.renew(ctx, owner, refused)
	})
	if err != nil {
		return Secret{}, asError(late(err, "protection API token", g.provider.knownEndpoint(tokenEndpoint)), errProviderUnavailable)
	}
	return token, nil
}

func missingGrant(cause error) *Error {
	if cause == nil {
		cause = errors.New("no grant of the owner is stored")
	}
	return errOwnerGrantMissing.because(cause)
}

// renew returns a fresh token, which this replica or another one renews. Only
// one replica at a time sends the refresh token, as for a session (decision
// 4).
func (g *OwnerGrants) renew(ctx context.Context, owner string, refused Secret) (Secret, error) {
	r := &grantRenewal{g: g, owner: owner, refused: refused}
	now, merged, err := lease.Run(ctx, lease.Job[ownerGrant]{Cell: g.cell(owner), Now: g.provider.now, Done: r.done, Work: r.work})
	switch {
	case ErrorCode(err) == CodeOwnerGrantMissing && r.brought != nil: // Forget has deleted it meanwhile
		return Secret{}, errors.Join(err, g.revoke(context.WithoutCancel(ctx), r.brought))
	case err != nil:
		return Secret{}, asError(err, errProviderUnavailable)
	case merged && now.over != nil:
		err := missingGrant(now.over)
		g.provider.emit(ctx, Event{Name: EventDenial, Code: err.Code, Subject: owner, ClientID: g.client.told(), Err: now.over})
		return Secret{}, err
	}
	return NewSecret(now.Serving(g.provider.now(), refused.Reveal())), nil
}

// grantRenewal is one renewal of an owner's grant.
type grantRenewal struct {
	g       *OwnerGrants
	owner   string
	refused Secret
	brought *ownerGrant
}

// done reports whether the grant has a token that is good enough.
func (r *grantRenewal) done(o ownerGrant, busy bool) bool {
	now := r.g.provider.now()
	if busy || o.Refresh == "" {
		return o.Serving(now, r.refused.Reveal()) != ""
	}
	return o.Fresh(now, r.refused.Reveal()) != ""
}

// work sends the refresh token once.
func (r *grantRenewal) work(ctx context.Context, o ownerGrant) lease.Result[ownerGrant] {
	if o.Refresh == "" {
		return r.lose(o, errors.New("the access token has expired, and there is no refresh token"))
	}
	client, a, err := r.send(ctx, o)
	if errors.Is(err, errClientEnded) || refusesGrant(err) {
		return r.lose(o, err)
	}
	if err != nil {
		e := asError(err, errClientRefused)
		return lease.Result[ownerGrant]{Err: e, Known: backchannel.FateKnown(err), Wait: e.RetryAfter}
	}
	next := newOwnerGrant(client, a) // if the server sends no new refresh token, x/oauth2 returns the old one (RFC 6749 §6)
	r.brought = &next
	return lease.Result[ownerGrant]{Merge: func(now *ownerGrant) bool {
		if now.Refresh != o.Refresh || now.Access != o.Access && next.Refresh == o.Refresh {
			return false // a new sign-in has replaced it
		}
		*now = next
		return true
	}}
}

// send sends the refresh token as the client that it was issued to, and returns
// the id of that. If the id was not written down, a server refuses the others
// (RFC 6749 §5.2, invalid_grant), which ends no token.
func (r *grantRenewal) send(ctx context.Context, o ownerGrant) (client string, a *backchannel.Tokens, err error) {
	p := r.g.provider
	clients, err := p.whoMade(ctx, &r.g.client, o.Client)
	if err != nil {
		return "", nil, err
	}
	for _, who := range clients {
		a, err = p.requestTokenAs(ctx, who, url.Values{"grant_type": {"refresh_token"}, "refresh_token": {o.Refresh}})
		if !refusesGrant(err) {
			return who.ID, a, err
		}
	}
	return "", nil, err
}

// lose ends a grant that the server no longer accepts, or whose client has ended.
// An access token that is still valid is kept if the client has ended, and after a
// take-over of the lease: then the cause may be that two of our replicas sent the
// refresh token.
func (r *grantRenewal) lose(o ownerGrant, cause error) lease.Result[ownerGrant] {
	return lease.Result[ownerGrant]{Merge: func(now *ownerGrant) bool {
		if now.Refresh != o.Refresh || now.Lease.Holder != o.Lease.Holder {
			return false
		}
		if (now.Lease.Takeovers > 0 || errors.Is(cause, errClientEnded)) && now.Serving(r.g.provider.now(), r.refused.Reveal()) != "" {
			now.Refresh, now.RenewAt = "", time.Time{}
			return true
		}
		now.over = cause
		return true
	}}
}

// take stores the grant of a sign-in at the client with that id. If the owner did
// not grant anything, it returns an error, because asking again would never end.
func (g *OwnerGrants) take(ctx context.Context, owner, client string, a *backchannel.Tokens) error {
	if err := g.keep(ctx, owner, client, a); err != nil {
		return asError(err, errStoreUnavailable)
	}
	has, err := g.Has(ctx, owner)
	if err != nil {
		return asError(err, errStoreUnavailable)
	}
	if !has {
		return errOwnerRefused.because(nil)
	}
	return nil
}

// keep stores the grant of a sign-in. If the owner did not agree to
// uma_protection, it stores nothing and returns nil.
func (g *OwnerGrants) keep(ctx context.Context, owner, client string, a *backchannel.Tokens) error {
	if owner == "" {
		return errInternal.because(errors.New("a grant needs an owner"))
	}
	md, err := g.provider.Metadata(ctx)
	if err != nil {
		return err
	}
	// If the response has no scope, it is the one requested (RFC 6749 §5.1).
	if a.HasScope && md.asksProtection() && !slices.Contains(strings.Fields(a.Scope), protectionScope) {
		return nil
	}
	cell := g.cell(owner)
	_, err = cell.update(ctx, grantPatience(), func(old []byte) (*swap.Value, error) {
		next := newOwnerGrant(client, a)
		had, err := cell.decode(ctx, old)
		if err != nil && ErrorCode(err) != CodeOwnerGrantMissing {
			return nil, err
		}
		if next.Refresh == "" && had.Refresh != "" {
			next.Refresh, next.Client = had.Refresh, had.Client
		}
		return cell.encode(next)
	})
	return err
}

// Put stores a refresh token that the application has already, for example from
// oxd, as the grant of owner. It replaces a grant with another token. owner is
// the subject of the person at the issuer. The token must have been issued to
// the client of this OwnerGrants, with the scope uma_protection where the
// server has it. If the client registered itself, it may be any of its clients
// whose secret serves.
//
// Put asks nobody whether the token is good. The first need of a PAT exchanges
// it; if the server refuses it then, the grant is deleted and the owner has to
// agree as usual. From Put on the token is ours: servers that rotate refresh
// tokens end the whole grant if it is used elsewhere too. So put each token
// once and not at every start, when a newer one may be stored. Errors are
// *Error: "internal" for an empty owner and for a token that is empty or longer
// than 16 KiB, "grant_store_unavailable" if the store fails.
func (g *OwnerGrants) Put(ctx context.Context, owner string, refreshToken Secret) error {
	switch n := len(refreshToken.Reveal()); {
	case !g.made():
		return notMade("OwnerGrants")
	case owner == "":
		return errInternal.because(errors.New("a grant needs an owner"))
	case n == 0 || n > bearer.MaxToken:
		return errInternal.because(fmt.Errorf("a refresh token of %d bytes: it must have 1 to %d", n, bearer.MaxToken))
	}
	cell := g.cell(owner)
	_, err := cell.update(ctx, grantPatience(), func(old []byte) (*swap.Value, error) {
		had, err := cell.decode(ctx, old)
		switch {
		case err != nil && ErrorCode(err) != CodeOwnerGrantMissing: // perhaps of a newer version: keep it
			return nil, err
		case had.Refresh == refreshToken.Reveal() && !had.Stale:
			return nil, nil
		case had.Refresh != refreshToken.Reveal():
			had = ownerGrant{Grant: grant.Grant{Refresh: refreshToken.Reveal()}}
		}
		return cell.encode(had)
	})
	return err
}

// scopes returns the additional scopes that a sign-in asks for to obtain a
// grant.
func (g *OwnerGrants) scopes(ctx context.Context) []string {
	md, err := g.provider.Metadata(ctx)
	if err != nil {
		return []string{protectionScope}
	}
	var scopes []string
	if md.asksProtection() {
		scopes = append(scopes, protectionScope)
	}
	if slices.Contains(md.ScopesSupported, "offline_access") { // OpenID Connect Core §11
		scopes = append(scopes, "offline_access")
	}
	return scopes
}

// Has reports whether a usable grant of the owner is stored. The authorization
// server may have ended it without our knowledge. With OwnerGrantsConfig.Keys it
// also seals the grant with the first key. Errors are *Error:
// "grant_store_unavailable" and "grant_unreadable".
func (g *OwnerGrants) Has(ctx context.Context, owner string) (bool, error) {
	if !g.made() {
		return false, notMade("OwnerGrants")
	}
	had, err := g.cell(owner).Load(ctx)
	if ErrorCode(err) == CodeOwnerGrantMissing {
		return false, nil
	}
	if err != nil {
		return false, err
	}
	g.reseal(ctx, owner, had)
	return had.Refresh != "" || had.Serving(g.provider.now(), "") != "", nil
}

// Forget deletes the owner's grant and revokes its tokens at the authorization
// server (RFC 7009). If the tokens cannot be revoked, it returns an error, but
// the grant is deleted nevertheless.
func (g *OwnerGrants) Forget(ctx context.Context, owner string) error {
	if !g.made() {
		return notMade("OwnerGrants")
	}
	var had ownerGrant
	cell := g.cell(owner)
	changed, err := cell.update(ctx, grantPatience(), func(old []byte) (_ *swap.Value, err error) {
		if old == nil {
			return nil, nil
		}
		if had, err = cell.decode(ctx, old); ErrorCode(err) == CodeOwnerGrantMissing { // garbage: there is nothing to revoke
			err = nil
		}
		return &swap.Value{}, err
	})
	if err != nil || !changed {
		return err
	}
	return g.revoke(ctx, &had)
}

// revoke revokes the tokens at the server. The refresh token comes first,
// because most servers then end the access tokens too (RFC 7009 §2.1).
func (g *OwnerGrants) revoke(ctx context.Context, had *ownerGrant) error {
	clients, err := g.provider.whoMade(ctx, &g.client, had.Client)
	if errors.Is(err, errClientEnded) && g.client.Registration != nil {
		return nil // nobody can use its refresh token, nor revoke anything
	}
	problems := []error{err}
	for _, t := range []struct{ hint, token string }{{"refresh_token", had.Refresh}, {"access_token", had.Access}} {
		if t.token != "" && err == nil {
			problems = append(problems, g.revokeAs(ctx, clients, t.token, t.hint))
		}
	}
	if err := errors.Join(problems...); err != nil {
		if e := mistake(err); e != nil {
			return also(e, errors.New("the grant is deleted here but not revoked"))
		}
		return errProviderUnavailable.because(fmt.Errorf("the grant is deleted here but not revoked: %w", err))
	}
	return nil
}

// revokeAs revokes a token of one of the clients. If it is not known which, each of
// them tries: a server refuses the others, or does nothing (RFC 7009 §2.1).
func (g *OwnerGrants) revokeAs(ctx context.Context, clients []known, token, hint string) error {
	var problems []error
	for _, who := range clients {
		if err := g.provider.revoke(ctx, who, token, hint); err != nil {
			problems = append(problems, err)
		}
	}
	if len(problems) < len(clients) {
		return nil
	}
	return errors.Join(problems...)
}
