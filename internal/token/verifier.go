package token

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/coreos/go-oidc/v3/oidc"

	"example.com/gatehouse/internal/compact"
	"example.com/gatehouse/internal/keyset"
)

const (
	// ClockSkew is how far the issuer's clock may differ from ours, on every
	// side (JW6: at most 60 s).
	ClockSkew = 60 * time.Second
	// maxToken bounds a token before anything looks at it. Those of real servers
	// stay below 4 KiB.
	maxToken = 16 << 10
	// maxQuoted is how much of what a token says may stand in an error.
	maxQuoted = 200
)

// The reasons for which a token is refused. An error of a [Verifier] wraps one of
// them, or is it where there is no more to say. Any other error says that the
// token could not be judged: what Config.Algorithms returned, a
// [*keyset.UnavailableError], or the context's error when that ended before the
// keys came.
var (
	ErrMalformed  = errors.New("malformed token")               // no compact form, or claims that are not strict JSON of the right types
	ErrAlgorithm  = errors.New("algorithm not accepted")        // signed in a way that this issuer's tokens may not be
	ErrKind       = errors.New("token of another kind")         // an access token for an ID Token, and the like
	ErrSignature  = errors.New("signature not valid")           // no key of the issuer has signed it
	ErrIssuer     = errors.New("another issuer")                // iss
	ErrAudience   = errors.New("another audience")              // aud, azp
	ErrSubject    = errors.New("wrong subject")                 // sub names nobody, or somebody else than before
	ErrNonce      = errors.New("wrong nonce")                   // made for another sign-in
	ErrExpired    = errors.New("expired")                       // exp is over or absent
	ErrClockSkew  = errors.New("times do not fit")              // made in the future, or before it was asked for
	ErrAuthTime   = errors.New("wrong time of authentication")  // auth_time is too old or absent
	ErrAccessHash = errors.New("made for another access token") // at_hash
)

// Config says whose tokens a [Verifier] takes. All fields are required.
type Config struct {
	// Issuer is compared with iss byte for byte.
	Issuer string

	// Keys are the issuer's.
	Keys *keyset.Set

	// Algorithms gives those that are configured or that the issuer announces.
	// It is asked for each token. Of its answer those count that
	// [keyset.Asymmetric] knows; where there is none of them, RS256 is accepted
	// (OpenID Connect Discovery §3).
	Algorithms func(context.Context) ([]string, error)

	// Now is the clock.
	Now func() time.Time
}

// Verifier verifies the tokens of one issuer. It is safe for concurrent use.
type Verifier struct{ config Config }

// NewVerifier makes a Verifier. It does no I/O.
func NewVerifier(c Config) *Verifier { return &Verifier{c} }

// verify makes the checks that are the same for all kinds of tokens, reads the
// claims into c and returns the header. typ judges the header's type.
func (v *Verifier) verify(ctx context.Context, raw string, typ func(string) bool, c *claims) (compact.Header, error) {
	parsed, err := compact.Parse(raw, maxToken)
	if err != nil {
		return compact.Header{}, fmt.Errorf("%w: %w", ErrMalformed, err)
	}
	header := parsed.Header()
	if err := v.checkAlgorithm(ctx, header.Alg); err != nil {
		return header, err
	}
	if !typ(header.Typ) { // RFC 8725 §3.11
		return header, fmt.Errorf("%w: typ %.*q", ErrKind, maxQuoted, header.Typ)
	}
	payload, err := v.checkSignature(ctx, parsed)
	if err != nil {
		return header, err
	}
	return header, c.read(payload)
}

// checkAlgorithm accepts no algorithm that is not asymmetric, whatever is
// announced: the key of HMAC would be the client's secret, and "none" has none.
func (v *Verifier) checkAlgorithm(ctx context.Context, alg string) error {
	listed, err := v.config.Algorithms(ctx)
	if err != nil {
		return err
	}
	if keyset.Asymmetric(alg) &&
		(slices.Contains(listed, alg) || alg == oidc.RS256 && !slices.ContainsFunc(listed, keyset.Asymmetric)) {
		return nil
	}
	return fmt.Errorf("%w: alg %.*q", ErrAlgorithm, maxQuoted, alg)
}

// checkSignature lets go-oidc verify with our key set. Its own checks of
// issuer, audience and expiry are off, because ours are stricter and run on the
// injected clock.
func (v *Verifier) checkSignature(ctx context.Context, t compact.Token) ([]byte, error) {
	seen := &seenPayload{keys: v.config.Keys, token: t}
	verifier := oidc.NewVerifier(v.config.Issuer, seen, &oidc.Config{
		SupportedSigningAlgs: []string{t.Header().Alg},
		SkipClientIDCheck:    true, SkipExpiryCheck: true, SkipIssuerCheck: true,
	})
	_, err := verifier.Verify(ctx, t.Raw())
	switch {
	case seen.err != nil && aboutKeys(seen.err):
		return nil, seen.err
	case seen.err != nil:
		return nil, fmt.Errorf("%w: %w", ErrSignature, seen.err)
	case err != nil:
		return nil, fmt.Errorf("%w: go-oidc refused it", ErrMalformed)
	}
	return seen.payload, nil
}

// aboutKeys reports whether an error says that the keys did not come in time,
// and so nothing about the token.
func aboutKeys(err error) bool {
	if _, ok := errors.AsType[*keyset.UnavailableError](err); ok {
		return true
	}
	return errors.Is(err, context.DeadlineExceeded) || errors.Is(err, context.Canceled)
}

// seenPayload keeps what the key set verified, so that our checks read the
// signed bytes and not another parser's idea of them.
type seenPayload struct {
	keys    *keyset.Set
	token   compact.Token
	payload []byte
	err     error
}

// VerifySignature implements oidc.KeySet. The token that it is asked for is the
// one that was parsed: Verify is given no other.
func (s *seenPayload) VerifySignature(ctx context.Context, _ string) ([]byte, error) {
	s.payload, s.err = s.keys.Verify(ctx, s.token)
	return s.payload, s.err
}
