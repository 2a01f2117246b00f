package token

import (
	"context"
	"fmt"
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
	payload, said, err := v.statement(ctx, raw, maxToken, "")
	if err != nil {
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
