package gatehouse

// Tested in internal/e2e/uma_rs.

import (
	"context"
	"errors"
	"net/http"

	"example.com/gatehouse/internal/backchannel"
	"example.com/gatehouse/internal/bearer"
)

// withPAT makes a call that is authorized by a protection API token. If the
// server refuses the token, withPAT renews it and repeats the call, both once.
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
		return a, nil // the source has no other token, so the answer stands
	}
	if a, err = call(fresh); err != nil {
		return nil, classify(err)
	}
	return a, nil
}

func (rs *ResourceServer) pat(ctx context.Context, owner string, refused Secret) (Secret, error) {
	pat, err := rs.pats.PAT(ctx, owner, refused)
	if err == nil && pat.IsZero() {
		err = errors.New("the PATSource returned no token")
	}
	if err != nil {
		return Secret{}, asError(err, errPAT)
	}
	if !bearer.Valid(pat.Reveal()) {
		return Secret{}, errTokenUnsendable.because(errors.New("the protection API token has characters that no Authorization header can carry (RFC 6750 §2.1)"))
	}
	return pat, nil
}

// refusesPAT reports whether the answer may mean that the protection API token
// is no longer valid. Servers use 401, 403 (Keycloak, K1), 406 (Gluu), or a
// 400 whose code does not blame the request.
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

// callAPI makes one call of the protection API. If in is not nil, it is sent
// as JSON.
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
