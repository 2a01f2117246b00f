package gatehouse

import (
	"context"
	"errors"
	"fmt"
	"net/url"
	"slices"
	"sync"
	"time"

	"example.com/gatehouse/internal/flight"
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
type servicePAT struct {
	provider *Provider
	client   Client
	flights  flight.Group[struct{}, Secret]

	mu      sync.Mutex
	token   Secret
	renewAt time.Time // zero: the server did not say how long it lives
	err     error
	retryAt time.Time
}

// PAT implements PATSource for the owner "".
func (s *servicePAT) PAT(ctx context.Context, owner string, refused Secret) (Secret, error) {
	if owner != "" {
		return Secret{}, errOwnerGrantMissing.because(errors.New("client credentials do not own a person's resources: set PAT to an OwnerGrants"))
	}
	if token, err := s.kept(refused); err != nil || !token.IsZero() {
		return token, err
	}
	return s.flights.Do(ctx, struct{}{}, outbound.Timeout, func(ctx context.Context) (Secret, error) {
		if token, err := s.kept(refused); err != nil || !token.IsZero() {
			return token, err
		}
		return s.renew(ctx)
	})
}

func (s *servicePAT) kept(refused Secret) (Secret, error) {
	now := s.provider.now()
	s.mu.Lock()
	defer s.mu.Unlock()
	switch {
	case s.err != nil && now.Before(s.retryAt):
		return Secret{}, s.err
	case s.token.IsZero(), !s.renewAt.IsZero() && !now.Before(s.renewAt), s.token.Reveal() == refused.Reveal():
		return Secret{}, nil
	}
	return s.token, nil
}

func (s *servicePAT) renew(ctx context.Context) (Secret, error) {
	a, err := s.request(ctx)
	now := s.provider.now()
	s.mu.Lock()
	defer s.mu.Unlock()
	if err != nil {
		s.err, s.retryAt = err, now.Add(patBackoff)
		return Secret{}, err
	}
	s.token, s.renewAt, s.err = NewSecret(a.access), lease.RenewAt(a.requested, a.expires), nil
	return s.token, nil
}

func (s *servicePAT) request(ctx context.Context) (*tokenAnswer, error) {
	md, err := s.provider.umaMetadata(ctx)
	if err != nil {
		return nil, err
	}
	form := url.Values{"grant_type": {"client_credentials"}} // RFC 6749 §4.4.2
	if md.asksProtection() {
		form.Set("scope", protectionScope)
	}
	a, err := s.provider.requestToken(ctx, s.client, form)
	if err != nil {
		return nil, asError(fmt.Errorf("protection API token: %w", err), errClientRefused)
	}
	return a, nil
}
