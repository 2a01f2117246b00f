package token

import (
	"context"
	"fmt"
	"strings"

	"example.com/gatehouse/internal/compact"
)

// Sourced are verified claims of a claims provider (OpenID Connect Core §5.6.2).
// Only [Verifier.Sourced] makes one that is not empty. They prove no sign-in, and
// do not say whom they are about: the provider that refers to them does. So they
// are a type of their own.
type Sourced struct{ payload []byte }

// Sourced verifies what the issuer, as a claims provider, says of a person to
// client. iss has to be there, because it says whose key counts. aud, exp and nbf
// are checked if they are present. sub names the person at the claims provider and
// is compared with nothing (§5.6.2).
func (v *Verifier) Sourced(ctx context.Context, raw, client string) (*Sourced, error) {
	parsed, err := compact.Parse(raw, maxToken)
	if err != nil {
		return nil, unlike(raw, maxToken, err)
	}
	header := parsed.Header()
	if err := v.checkUserInfoAlgorithm(ctx, header.Alg); err != nil {
		return nil, err
	}
	if header.Typ != "" && !strings.EqualFold(header.Typ, "JWT") { // RFC 8725 §3.11
		return nil, fmt.Errorf("%w: typ %s", ErrKind, nameOf(header.Typ))
	}
	payload, err := v.config.Keys.Verify(ctx, parsed)
	switch {
	case err != nil && aboutKeys(err):
		return nil, err
	case err != nil:
		return nil, fmt.Errorf("%w: %w", ErrSignature, err)
	}
	var said userInfoClaims
	if err := readClaims(payload, said.set); err != nil {
		return nil, err
	}
	if said.issuer == nil {
		return nil, fmt.Errorf("%w: no iss", ErrIssuer)
	}
	if err := said.checkParties(v.Owns, client); err != nil {
		return nil, err
	}
	if err := said.checkTimes(v.config.Now()); err != nil {
		return nil, err
	}
	return &Sourced{payload}, nil
}
