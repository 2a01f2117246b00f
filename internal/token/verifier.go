package token

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/coreos/go-oidc/v3/oidc"

	"example.com/gatehouse/internal/compact"
	"example.com/gatehouse/internal/keyset"
)

const (
	// ClockSkew is how far the issuer's clock may differ from ours, in either
	// direction (JW6: at most 60 s).
	ClockSkew = 60 * time.Second
	// maxToken bounds a token before anything parses it. Tokens of real servers
	// stay below 4 KiB.
	maxToken = 16 << 10
	// maxName is the longest name from an unsigned header that an error quotes.
	// Registered ones of algorithms and types have at most 20 characters.
	maxName = 20
	// maxQuoted is how much of a token's text an error may contain.
	maxQuoted = 200
)

// The reasons for rejecting a token. An error of a [Verifier] is one of them or
// wraps one. Any other error means that the token could not be judged: it is
// what Config.Algorithms returned, a [*keyset.UnavailableError], or the
// context's error if that ended before the keys came.
var (
	ErrMalformed  = errors.New("malformed token")               // not in compact form, or claims that are not strict JSON of the right types
	ErrAlgorithm  = errors.New("algorithm not accepted")        // signed in a way that is not allowed for this issuer
	ErrKind       = errors.New("token of another kind")         // for example, an access token in place of an ID Token
	ErrSignature  = errors.New("signature not valid")           // not signed by any key of the issuer
	ErrIssuer     = errors.New("another issuer")                // iss
	ErrAudience   = errors.New("another audience")              // aud, azp
	ErrSubject    = errors.New("wrong subject")                 // sub is empty, or differs from the expected person
	ErrNonce      = errors.New("wrong nonce")                   // made for another sign-in
	ErrExpired    = errors.New("expired")                       // exp has passed or is missing
	ErrClockSkew  = errors.New("times do not fit")              // made in the future, before it was requested, or no later than the one before
	ErrAuthTime   = errors.New("wrong time of authentication")  // auth_time is too old or missing
	ErrAccessHash = errors.New("made for another access token") // at_hash
	ErrCodeHash   = errors.New("made for another code")         // c_hash
	ErrOther      = errors.New("two ID Tokens that differ")     // iss or sub of the one from the browser and of the one for the code
	ErrBound      = errors.New("bound to its client")           // cnf: to something of which there is no proof here (RFC 7800 §3.1)
)

// Reasons are all of them.
func Reasons() []error {
	return []error{
		ErrMalformed, ErrAlgorithm, ErrKind, ErrSignature, ErrIssuer, ErrAudience, ErrSubject,
		ErrNonce, ErrExpired, ErrClockSkew, ErrAuthTime, ErrAccessHash, ErrCodeHash, ErrOther, ErrBound,
	}
}

// Config says which tokens a [Verifier] accepts. All fields but
// Tenants, UserInfoAlgorithms and OldLogout are required.
type Config struct {
	// Issuer is compared with iss byte for byte, unless there are Tenants.
	Issuer string

	// Tenants, if not nil, are the issuers that share the keys, each under what
	// the claim tid says in its tokens. iss is compared with the issuer of tid,
	// byte for byte. No token is of Issuer itself then.
	Tenants map[string]string

	// Keys are the issuer's keys.
	Keys *keyset.Set

	// Algorithms returns the algorithms that are configured or that the issuer
	// announces. It is called for each token. Only those in [keyset.Asymmetric]
	// count; if none of them is, RS256 is accepted (OpenID Connect Discovery
	// §3).
	Algorithms func(context.Context) ([]string, error)

	// UserInfoAlgorithms returns those that the issuer announces for user info
	// in addition. nil means none.
	UserInfoAlgorithms func(context.Context) ([]string, error)

	// OldLogout accepts logout tokens as providers sent them before their
	// specification was final: without typ or with JWT, and without exp.
	OldLogout bool

	// Now is the clock.
	Now func() time.Time
}

// Verifier verifies the tokens of one issuer. It is safe for concurrent use.
type Verifier struct {
	config Config
	owned  map[string]bool // the issuers of all tenants
}

// NewVerifier makes a Verifier. It does no I/O.
func NewVerifier(c Config) *Verifier {
	v := &Verifier{config: c, owned: make(map[string]bool, len(c.Tenants))}
	for _, issuer := range c.Tenants {
		v.owned[issuer] = true
	}
	return v
}

// issuerOf returns the issuer that a token has to name whose claim tid says
// tenant.
func (v *Verifier) issuerOf(tenant string) (string, error) {
	if v.config.Tenants == nil {
		return v.config.Issuer, nil
	}
	if issuer, ok := v.config.Tenants[tenant]; ok {
		return issuer, nil
	}
	return "", fmt.Errorf("%w: tid is %.*q, which is none of the tenants", ErrIssuer, maxQuoted, tenant)
}

// Owns reports whether tokens of that issuer may be accepted.
func (v *Verifier) Owns(issuer string) bool {
	if v.config.Tenants == nil {
		return issuer == v.config.Issuer
	}
	return v.owned[issuer]
}

// verify makes the checks shared by all kinds of tokens, reads the claims into
// c and returns the header. typ judges the type in the header.
func (v *Verifier) verify(ctx context.Context, raw string, typ func(string) bool, c *claims) (compact.Header, error) {
	parsed, err := compact.Parse(raw, maxToken)
	if err != nil {
		return compact.Header{}, unlike(raw, maxToken, err)
	}
	header := parsed.Header()
	if err := v.checkAlgorithm(ctx, header.Alg); err != nil {
		return header, err
	}
	if !typ(header.Typ) { // RFC 8725 §3.11
		return header, fmt.Errorf("%w: typ %s", ErrKind, nameOf(header.Typ))
	}
	payload, err := v.checkSignature(ctx, parsed)
	if err != nil {
		return header, err
	}
	return header, c.read(payload)
}

// TooLong reports whether a token was refused for its length alone, before
// anything else was looked at.
func TooLong(err error) bool { return errors.Is(err, compact.ErrTooLong) }

// unlike returns an ErrMalformed. It says how a token differs from a signed one in
// compact form, as far as that is a common mistake.
func unlike(raw string, max int, err error) error {
	how := "its header cannot be read"
	switch parts := strings.Count(raw, ".") + 1; {
	case errors.Is(err, compact.ErrTooLong):
		return fmt.Errorf("%w: %w: %d bytes, more than %d", ErrMalformed, err, len(raw), max)
	case parts == 5: // RFC 7516 §7.1
		how = "it is encrypted"
	case parts != 3:
		how = fmt.Sprintf("not three parts, but %d", parts)
	default:
		if h, err := compact.ParseHeader(raw); err == nil {
			how = "alg " + nameOf(h.Alg) + ", and a part that is empty or not base64url"
		}
	}
	return fmt.Errorf("%w: %s", ErrMalformed, how)
}

// nameOf returns a member of a header that nobody has signed, if it can
// be a name such as "none" or "at+jwt".
func nameOf(s string) string {
	if len(s) > maxName || strings.Trim(s, "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789+-./") != "" {
		return fmt.Sprintf("other (%d bytes)", len(s))
	}
	return s
}

// checkAlgorithm accepts only asymmetric algorithms, whatever is announced. The
// key of an HMAC would be the client's secret, and "none" has no key.
func (v *Verifier) checkAlgorithm(ctx context.Context, alg string) error {
	listed, err := v.config.Algorithms(ctx)
	if err != nil {
		return err
	}
	if keyset.Asymmetric(alg) &&
		(slices.Contains(listed, alg) || alg == oidc.RS256 && !slices.ContainsFunc(listed, keyset.Asymmetric)) {
		return nil
	}
	return &wrongAlgorithm{alg, listed}
}

// checkRegistered compares an algorithm with the only one that the client is
// registered for, "" for any.
func checkRegistered(alg, only string) error {
	if only != "" && alg != only {
		return &wrongAlgorithm{alg, []string{only}}
	}
	return nil
}

// wrongAlgorithm is an ErrAlgorithm. It is put into words only for those who read
// it, because anybody can send such tokens.
type wrongAlgorithm struct {
	alg    string
	listed []string
}

func (e *wrongAlgorithm) Error() string {
	return fmt.Sprintf("%v: alg %s, accepted are %.*q", ErrAlgorithm, nameOf(e.alg), maxQuoted, strings.Join(e.listed, " "))
}

func (e *wrongAlgorithm) Unwrap() error { return ErrAlgorithm }

// checkSignature lets go-oidc verify the signature with our key set. Its own
// checks of issuer, audience and expiry are off, because ours are stricter and
// use the injected clock.
func (v *Verifier) checkSignature(ctx context.Context, t compact.Token) ([]byte, error) {
	seen := &seenPayload{keys: v.config.Keys, token: t}
	verifier := oidc.NewVerifier(v.config.Issuer, seen, &oidc.Config{
		SupportedSigningAlgs: []string{t.Header().Alg},
		SkipClientIDCheck:    true, SkipExpiryCheck: true, SkipIssuerCheck: true,
	})
	_, err := verifier.Verify(ctx, t.Raw())
	// go-oidc matches claims in any case and refuses the types of some that
	// nobody needs. Our key set decides about the signature, and our reading of
	// the signed bytes about the rest.
	if err != nil && !seen.asked {
		_, _ = seen.VerifySignature(ctx, t.Raw())
	}
	switch {
	case seen.err != nil && aboutKeys(seen.err):
		return nil, seen.err
	case seen.err != nil:
		return nil, fmt.Errorf("%w: %w", ErrSignature, seen.err)
	}
	return seen.payload, nil
}

// aboutKeys reports whether an error means that the keys did not arrive in
// time. Such an error says nothing about the token.
func aboutKeys(err error) bool {
	if _, ok := errors.AsType[*keyset.UnavailableError](err); ok {
		return true
	}
	return errors.Is(err, context.DeadlineExceeded) || errors.Is(err, context.Canceled)
}

// seenPayload keeps the payload that the key set verified. Our checks then read
// the signed bytes, not another parser's reading of them.
type seenPayload struct {
	keys    *keyset.Set
	token   compact.Token
	asked   bool
	payload []byte
	err     error
}

// VerifySignature implements oidc.KeySet. The token it is called with is the
// one that was parsed, because Verify is given no other.
func (s *seenPayload) VerifySignature(ctx context.Context, _ string) ([]byte, error) {
	s.asked = true
	s.payload, s.err = s.keys.Verify(ctx, s.token)
	return s.payload, s.err
}
