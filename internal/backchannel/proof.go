package backchannel

import (
	"context"
	"net/http"
	"net/url"
	"slices"
	"strings"

	"example.com/gatehouse/internal/challenge"
	"example.com/gatehouse/internal/possession"
)

// The headers of a proof and of a nonce (RFC 9449 §4.1, §8), as net/http writes
// them.
const (
	HeaderProof = "Dpop"
	HeaderNonce = "Dpop-Nonce"
)

// codeNonce is the error of a server that demands a nonce (RFC 9449 §8, §9).
const codeNonce = "use_dpop_nonce"

// AsHolder is AsBearer for a token that is bound to the key of h (RFC 9449 §7.1).
// The call is sent once more if the server demands a nonce. A nil h has no key.
// The error is a *Trouble, ErrEndpoint or possession.ErrProof.
func (c *Channel) AsHolder(ctx context.Context, h *possession.Holder, method, address, token string, body Body) (a *Answer, err error) {
	if h == nil {
		return c.AsBearer(ctx, method, address, token, body)
	}
	u, err := url.Parse(address)
	if err != nil {
		return nil, ErrEndpoint
	}
	err = h.Do(ctx, possession.Call{Method: method, Address: u, Token: token}, func(proof string) (told possession.Answer, err error) {
		header := http.Header{}
		SetBound(header, token, proof)
		if a, err = c.call(ctx, method, address, header, body); err != nil {
			return told, err
		}
		a.call.sent, a.call.form, a.call.secret = "a token that is bound to a key", body.form, token
		return possession.Answer{Nonces: a.Header[HeaderNonce], Demanded: DemandsNonce(a.Status, a.Header)}, nil
	})
	if err != nil {
		return nil, err
	}
	return a, nil
}

// SetBound puts a token and the proof of its key into the header of a call to an
// API (RFC 9449 §7.1).
func SetBound(h http.Header, token, proof string) {
	h.Set("Authorization", "DPoP "+token)
	h[HeaderProof] = []string{proof}
}

// DemandsNonce reports whether an API refuses a call because of the nonce of its
// proof (RFC 9449 §9).
func DemandsNonce(status int, h http.Header) bool {
	if status != http.StatusUnauthorized {
		return false
	}
	return slices.ContainsFunc(h.Values("WWW-Authenticate"), func(line string) bool { // one that cannot be read hides no other
		challenges, err := challenge.Parse([]string{line})
		return err == nil && slices.ContainsFunc(challenges, func(c challenge.Challenge) bool {
			return strings.EqualFold(c.Scheme, "DPoP") && c.Params["error"] == codeNonce // RFC 9110 §11.1: schemes in any case
		})
	})
}
