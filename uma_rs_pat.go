package gatehouse

// Tested in internal/e2e/uma_rs.

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"slices"
	"time"

	"example.com/gatehouse/internal/backchannel"
	"example.com/gatehouse/internal/lease"
	"example.com/gatehouse/internal/outbound"
)

const (
	// protectionScope is the scope of a PAT (UMA Federated Authorization §1.3).
	protectionScope = "uma_protection"
	// patBackoff is how long a failure is told to others before the server is
	// asked again.
	patBackoff = time.Second
)

// PATSource gives the tokens for the protection API (PAT) of UMA Federated
// Authorization §1.3. Whoever authorized the token owns what is registered with
// it, so there is one per owner.
type PATSource interface {
	// PAT returns the token of owner, which is the subject of a person at the
	// issuer or "" for the service itself. refused is the token that the server
	// has just refused, zero otherwise: the source then gives another one, or
	// the same one if it has no other. Errors that are an *Error keep their
	// code. PAT must be safe for concurrent use, should share one request
	// between all who wait, and must return when ctx ends.
	PAT(ctx context.Context, owner string, refused Secret) (Secret, error)
}

// asksProtection reports whether the scope has to be asked for: a server whose
// scopes_supported leaves it out refuses it (K1).
func (md *Metadata) asksProtection() bool {
	return len(md.ScopesSupported) == 0 || slices.Contains(md.ScopesSupported, protectionScope)
}

// servicePAT is the PATSource of the service's own resources: client
// credentials, kept in memory, one request for all who wait.
type servicePAT struct{ token *backchannel.Kept[string] }

func newServicePAT(p *Provider, c Client) *servicePAT {
	return &servicePAT{backchannel.NewKept(backchannel.KeptConfig[string]{
		Fetch: func(ctx context.Context) (string, backchannel.Life, error) {
			a, err := p.requestPAT(ctx, c)
			if err != nil {
				return "", backchannel.Life{}, err
			}
			return a.Access, backchannel.Life{RenewAt: lease.RenewAt(a.Requested, a.Expires), Expires: a.Expires}, nil
		},
		Failed: func(ctx context.Context, err error) {
			p.emit(ctx, Event{Name: EventTrouble, Code: troubleServiceToken, ClientID: c.ID, Err: err})
		},
		Now: p.now, Timeout: outbound.Timeout, Pause: patBackoff, MaxPause: patBackoff,
	})}
}

// PAT implements PATSource for the owner "".
func (s *servicePAT) PAT(ctx context.Context, owner string, refused Secret) (Secret, error) {
	if owner != "" {
		return Secret{}, errOwnerGrantMissing.because(errors.New("client credentials do not own a person's resources: set PAT to an OwnerGrants"))
	}
	token, err := s.token.Instead(ctx, refused.Reveal())
	if err != nil {
		return Secret{}, asError(err, errClientRefused)
	}
	return NewSecret(token), nil
}

func (p *Provider) requestPAT(ctx context.Context, c Client) (*backchannel.Tokens, error) {
	md, err := p.umaMetadata(ctx)
	if err != nil {
		return nil, err
	}
	form := url.Values{"grant_type": {"client_credentials"}} // RFC 6749 §4.4.2
	if md.asksProtection() {
		form.Set("scope", protectionScope)
	}
	a, err := p.requestToken(ctx, c, form)
	if err != nil {
		return nil, asError(fmt.Errorf("protection API token: %w", err), errClientRefused)
	}
	return a, nil
}

// withPAT makes a call that a protection API token authorizes. A token that the
// server refuses is renewed once and the call repeated once.
func (rs *ResourceServer) withPAT(ctx context.Context, owner string, call func(pat Secret) (*backchannel.Answer, error)) (*backchannel.Answer, error) {
	pat, err := rs.pat(ctx, owner, Secret{})
	if err != nil {
		return nil, err
	}
	a, err := call(pat)
	if err != nil {
		return nil, classify(err)
	}
	if !refusesPAT(a) {
		return a, nil
	}
	fresh, err := rs.pat(ctx, owner, pat)
	if err != nil {
		return nil, err
	}
	if fresh.Reveal() == pat.Reveal() {
		return a, nil // the source has no other: the answer stands
	}
	if a, err = call(fresh); err != nil {
		return nil, classify(err)
	}
	return a, nil
}

func (rs *ResourceServer) pat(ctx context.Context, owner string, refused Secret) (Secret, error) {
	pat, err := rs.pats.PAT(ctx, owner, refused)
	if err == nil && pat.IsZero() {
		err = errors.New("the PATSource gave no token")
	}
	if err != nil {
		return Secret{}, asError(err, errClientRefused)
	}
	return pat, nil
}

// refusesPAT reports an answer that may mean that the protection API token is
// no longer good. Servers say that with 401, 403 (Keycloak, K1), 406 (Gluu) or
// a 400 of some other kind than a refused request.
func refusesPAT(a *backchannel.Answer) bool {
	switch a.Status {
	case http.StatusUnauthorized, http.StatusForbidden, http.StatusNotAcceptable:
		return true
	case http.StatusBadRequest:
		switch a.ErrorCode() {
		case "invalid_resource_id", "invalid_scope", "invalid_request":
			return false
		}
		return true
	}
	return false
}

// callAPI makes one call of the protection API; in, if not nil, is sent as JSON.
func (rs *ResourceServer) callAPI(ctx context.Context, owner, method, address string, in any) (*backchannel.Answer, error) {
	var body backchannel.Body
	if in != nil {
		var err error
		if body, err = backchannel.JSON(in); err != nil {
			return nil, errInternal.because(err)
		}
	}
	return rs.withPAT(ctx, owner, func(pat Secret) (*backchannel.Answer, error) {
		return rs.provider.channel.AsBearer(ctx, method, address, pat.Reveal(), body)
	})
}
