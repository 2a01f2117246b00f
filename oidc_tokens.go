package gatehouse

// Tested in internal/e2e/signin, internal/e2e/session.

import (
	"context"
	"errors"
	"net/http"
	"strings"
	"time"

	"golang.org/x/oauth2"

	"example.com/gatehouse/internal/outbound"
	"example.com/gatehouse/internal/token"
)

// Token returns the access token of the session on ctx. An expired token is
// renewed first. A token that expires soon is returned and renewed in the
// background.
//
// Errors are *Error. The code is "login_required" if there is no session or it
// has ended, "no_token" if the provider issued no token that is still valid,
// and "token_unavailable" (503) if the token has expired and cannot be renewed
// now.
func (rp *RelyingParty) Token(ctx context.Context) (*oauth2.Token, error) {
	live, err := rp.liveFrom(ctx)
	if err != nil {
		return nil, err
	}
	rec, err := live.fresh(ctx)
	if err != nil {
		return nil, err
	}
	return &oauth2.Token{AccessToken: string(rec.Access), TokenType: "Bearer", Expiry: rec.Expires}, nil
}

func (rp *RelyingParty) liveFrom(ctx context.Context) (*liveSession, error) {
	id := IdentityFrom(ctx)
	if id == nil || id.session == nil || id.session.party.provider != rp.provider || id.session.party.client.ID != rp.client.ID {
		return nil, errLoginRequired.because(errors.New("no session of this relying party on the context"))
	}
	return id.session, nil
}

// HTTPClient returns an http.Client that sends the access token of the session
// on ctx to the given origins, such as "https://api.example.org", and to no
// others. The token is renewed when necessary. The client follows redirects
// and decides for each hop by its own origin. It works as long as the session
// lives. Calling HTTPClient without origins is an error.
func (rp *RelyingParty) HTTPClient(ctx context.Context, origins ...string) (*http.Client, error) {
	if _, err := rp.liveFrom(ctx); err != nil {
		return nil, err
	}
	t := &userTransport{party: rp, identity: IdentityFrom(ctx), origins: map[string]bool{}}
	var wrong problems
	for _, o := range origins {
		u, err := outbound.CheckURL(o, false)
		if err == nil && (strings.Trim(u.Path, "/") != "" || u.RawQuery != "") {
			err = errors.New("it has more than scheme, host and port")
		}
		if err != nil {
			wrong.add("origins", "%q: %w", clip(o), err)
			continue
		}
		t.origins[outbound.Origin(u)] = true
	}
	if len(origins) == 0 {
		wrong.add("origins", "none: the token would never be sent")
	}
	if err := wrong.in("HTTPClient"); err != nil {
		return nil, err
	}
	return &http.Client{Transport: t}, nil
}

type userTransport struct {
	party    *RelyingParty
	identity *Identity
	origins  map[string]bool
}

func (t *userTransport) RoundTrip(r *http.Request) (*http.Response, error) {
	if !t.origins[outbound.Origin(r.URL)] {
		return http.DefaultTransport.RoundTrip(r)
	}
	token, err := t.party.Token(WithIdentity(r.Context(), t.identity))
	if err != nil {
		if r.Body != nil {
			r.Body.Close()
		}
		return nil, err
	}
	r = r.Clone(r.Context())
	r.Header.Set("Authorization", "Bearer "+token.AccessToken) // RFC 6750 §2.1
	return http.DefaultTransport.RoundTrip(r)
}

// ClaimToken is a token that proves claims about the requesting party.
type ClaimToken struct {
	// Token is the token. The zero Secret means that there is none.
	Token Secret
	// Format is its claim_token_format. "" means an ID Token,
	// "http://openid.net/specs/openid-connect-core-1_0.html#IDToken".
	Format string
}

// ClaimToken returns the session's ID Token as a claim to push to an
// authorization server (UMA Grant §3.3.1). If the ID Token has expired, it is
// renewed first, provided that the provider issues a new one with a refresh.
// Use it as UMATransportConfig.Claims.
func (rp *RelyingParty) ClaimToken(ctx context.Context) (ClaimToken, error) {
	live, err := rp.liveFrom(ctx)
	if err != nil {
		return ClaimToken{}, err
	}
	rec, now := live.record(), rp.sessions.now()
	if expired(string(rec.IDToken), now) && len(rec.Refresh) > 0 {
		if err := live.refresh(ctx, rec); err != nil {
			return ClaimToken{}, stale(err)
		}
		rec = live.record()
	}
	if len(rec.IDToken) == 0 || expired(string(rec.IDToken), now) {
		return ClaimToken{}, errLoginRequired.because(errors.New("the ID Token has expired"))
	}
	return ClaimToken{Token: NewSecret(string(rec.IDToken))}, nil
}

// claimAhead is how long an ID Token must still be valid to be pushed as a
// claim. It is not the rule of lease.RenewAt, which renews tokens in use ahead
// of time: no ID Token is renewed for its own sake, and most providers send no
// new one. These seconds only last for the exchange that pushes it.
const claimAhead = 10 * time.Second

// expired reads exp of an ID Token that was verified when it was received.
func expired(raw string, now time.Time) bool {
	at, err := token.Expiry(raw)
	return err != nil || !now.Add(claimAhead).Before(at)
}
