package gatehouse

import (
	"context"
	"crypto/hmac"
	"crypto/sha256"
	"crypto/sha512"
	"encoding/base64"
	"errors"
	"fmt"
	"hash"
	"slices"
	"time"

	"github.com/coreos/go-oidc/v3/oidc"

	"example.com/gatehouse/internal/compact"
	"example.com/gatehouse/internal/keyset"
	"example.com/gatehouse/internal/strictjson"
)

const (
	// clockSkew is how far the provider's clock may differ from ours, on every
	// side (JW6: at most 60 s).
	clockSkew = 60 * time.Second
	// maxIDToken bounds an ID Token before anything looks at it.
	maxIDToken = 16 << 10
	// maxBackdate is how far before the sign-in iat may lie: Entra ID sets it
	// five minutes into the past. The nonce binds the token to the attempt.
	maxBackdate = 5 * time.Minute
)

// asymmetricAlgorithms are those we verify. HMAC is not among them: its key
// would be the client secret.
var asymmetricAlgorithms = []string{
	"RS256", "RS384", "RS512", "PS256", "PS384", "PS512", "ES256", "ES384", "ES512", "EdDSA",
}

func asymmetric(alg string) bool { return slices.Contains(asymmetricAlgorithms, alg) }

// idToken is a verified ID Token. Only verifyIDToken makes one.
type idToken struct {
	Issuer   string
	Subject  string
	Audience []string
	Party    *string  // azp
	Expires  *numeric // exp
	Issued   *numeric // iat
	Before   *numeric // nbf
	AuthTime *numeric
	Nonce    *string
	SID      string
	AtHash   string
	Events   bool // there is an "events" claim

	payload []byte
}

// UnmarshalJSON reads the claims by the rules of strictjson. A claim that is
// null is taken for absent.
func (t *idToken) UnmarshalJSON(payload []byte) error {
	return strictjson.Object(payload, func(name string, v strictjson.Value) error {
		if v.Null() {
			return nil
		}
		return t.setClaim(name, v)
	})
}

func (t *idToken) setClaim(name string, v strictjson.Value) (err error) {
	switch name {
	case "iss":
		t.Issuer, err = v.Text()
	case "sub":
		t.Subject, err = v.Text()
	case "aud":
		t.Audience, err = v.Texts() // RFC 7519 §4.1.3
	case "azp":
		t.Party, err = present(v.Text())
	case "exp":
		t.Expires, err = present(readNumeric(v))
	case "iat":
		t.Issued, err = present(readNumeric(v))
	case "nbf":
		t.Before, err = present(readNumeric(v))
	case "auth_time":
		t.AuthTime, err = present(readNumeric(v))
	case "nonce":
		t.Nonce, err = present(v.Text())
	case "sid":
		t.SID, err = v.Text()
	case "at_hash":
		t.AtHash, err = v.Text()
	case "events":
		if t.Events = v.Object(); !t.Events {
			err = strictjson.ErrType
		}
	}
	return err
}

// present is a claim that is there, in contrast to nil.
func present[T any](claim T, err error) (*T, error) { return &claim, err }

func (t *idToken) authTime() time.Time {
	if t.AuthTime == nil {
		return time.Time{}
	}
	return t.AuthTime.time()
}

// idTokenWant is what one ID Token is compared with.
type idTokenWant struct {
	nonce       string    // "" in a refresh, where the claim may be absent
	subject     string    // of the session, in a refresh
	issuedAfter time.Time // the attempt's begin
	authTime    bool      // auth_time must be there
	authAfter   time.Time
	original    string // the ID Token of the sign-in, in a refresh
}

// numeric is a NumericDate in seconds (RFC 7519 §2), possibly with a fraction.
type numeric float64

// maxNumericDate is the year 9999; past it, arithmetic would overflow (M6).
const maxNumericDate = 253402300799

func readNumeric(v strictjson.Value) (numeric, error) {
	f, err := v.Number()
	if err != nil || f < 0 || f > maxNumericDate {
		return 0, errors.New("a time is not a NumericDate")
	}
	return numeric(f), nil
}

func (n numeric) time() time.Time { return time.UnixMilli(int64(float64(n) * 1000)) }

// verifyIDToken makes all the checks of OpenID Connect Core §3.1.3.7, and those
// that the libraries leave out (M3 to M6). access, if not empty, is compared
// with at_hash.
func (p *Provider) verifyIDToken(ctx context.Context, c Client, raw, access string, want idTokenWant) (*idToken, error) {
	parsed, err := compact.Parse(raw, maxIDToken)
	if err != nil {
		return nil, errIDTokenMalformed.because(err)
	}
	header := parsed.Header()
	algorithms, err := p.algorithms(ctx)
	if err != nil {
		return nil, err
	}
	if !slices.Contains(algorithms, header.Alg) {
		return nil, errAlgorithm.because(fmt.Errorf("alg %q", clip(header.Alg)))
	}
	if !idTokenType(header.Typ) { // RFC 8725 §3.11
		return nil, errTokenKind.because(fmt.Errorf("typ %q", clip(header.Typ)))
	}
	payload, err := p.checkSignature(ctx, parsed)
	if err != nil {
		return nil, err
	}
	t := &idToken{payload: payload}
	if err := t.UnmarshalJSON(payload); err != nil {
		return nil, errIDTokenMalformed.because(errors.New("claims are not strict JSON of the right types"))
	}
	if err := t.check(p, c, want); err != nil {
		return nil, err
	}
	if err := t.checkAccessHash(header.Alg, access); err != nil {
		return nil, err
	}
	return t, nil
}

// checkSignature lets go-oidc verify with our key set. Its own checks of
// issuer, audience and expiry are off, because ours are stricter and run on the
// injected clock.
func (p *Provider) checkSignature(ctx context.Context, t compact.Token) ([]byte, error) {
	seen := &seenPayload{keys: p.keys, token: t}
	verifier := oidc.NewVerifier(p.issuer, seen, &oidc.Config{
		SupportedSigningAlgs: []string{t.Header().Alg},
		SkipClientIDCheck:    true, SkipExpiryCheck: true, SkipIssuerCheck: true,
	})
	_, err := verifier.Verify(ctx, t.Raw())
	switch {
	case seen.err != nil:
		if missing, ok := errors.AsType[*keyset.UnavailableError](seen.err); ok {
			return nil, errProviderUnavailable.after(missing.RetryAfter, missing)
		}
		if errors.Is(seen.err, context.DeadlineExceeded) || errors.Is(seen.err, context.Canceled) {
			return nil, errProviderUnavailable.because(seen.err) // the keys did not come in time
		}
		return nil, errSignature.because(seen.err)
	case err != nil:
		return nil, errIDTokenMalformed.because(errors.New("go-oidc refused it"))
	}
	return seen.payload, nil
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

// algorithms are those an ID Token may be signed with: configured, else those
// announced that we know, else RS256 (OpenID Connect Discovery §3). "none" is
// never among them.
func (p *Provider) algorithms(ctx context.Context) ([]string, error) {
	if len(p.algs) > 0 {
		return p.algs, nil
	}
	md, err := p.Metadata(ctx)
	if err != nil {
		return nil, err
	}
	var known []string
	for _, alg := range md.IDTokenAlgorithms {
		if asymmetric(alg) {
			known = append(known, alg)
		}
	}
	if len(known) == 0 {
		known = []string{oidc.RS256}
	}
	return known, nil
}

// idTokenType refuses the types of other tokens; ID Tokens have "JWT" or none.
func idTokenType(typ string) bool { return typ == "" || typ == "JWT" || typ == "jwt" }

// check compares the claims; the numbers are those of §3.1.3.7.
func (t *idToken) check(p *Provider, c Client, want idTokenWant) error {
	switch {
	case t.Issuer != p.issuer: // 2
		return errIssuer.because(fmt.Errorf("iss is %q", clip(t.Issuer)))
	case !slices.Contains(t.Audience, c.ID): // 3
		return errAudience.because(errors.New("our client is not in aud"))
	case len(t.Audience) > 1 && t.Party == nil: // 3, 4: others are trusted only if azp says it is ours
		return errAudience.because(errors.New("several audiences and no azp"))
	case t.Party != nil && *t.Party != c.ID: // 5
		return errAudience.because(errors.New("azp is another client"))
	case t.Subject == "" || len(t.Subject) > 255: // §2
		return errSubject.because(fmt.Errorf("sub of %d bytes", len(t.Subject)))
	case want.subject != "" && t.Subject != want.subject: // §12.2
		return errSubject.because(errors.New("sub is another person"))
	case t.Events: // a logout token (Back-Channel Logout §2.4)
		return errTokenKind.because(errors.New("it has an events claim"))
	case want.nonce != "" && (t.Nonce == nil || !hmac.Equal([]byte(*t.Nonce), []byte(want.nonce))): // 11
		return errNonce.because(nil)
	}
	if err := t.checkOriginal(want.original); err != nil {
		return err
	}
	return t.checkTimes(p.now(), want)
}

// checkOriginal compares the ID Token of a refresh with the first one: nonce
// and auth_time, where they are there (§12.2).
func (t *idToken) checkOriginal(raw string) error {
	if raw == "" {
		return nil
	}
	var first idToken
	if err := readPayload(raw, &first); err != nil {
		return nil // nothing to compare with
	}
	switch {
	case t.Nonce != nil && first.Nonce != nil && *t.Nonce != *first.Nonce:
		return errNonce.because(errors.New("nonce is not that of the sign-in"))
	case t.AuthTime != nil && first.AuthTime != nil && *t.AuthTime < *first.AuthTime:
		return errAuthTime.because(errors.New("auth_time is before that of the sign-in"))
	}
	return nil
}

func (t *idToken) checkTimes(now time.Time, want idTokenWant) error {
	switch {
	case t.Expires == nil:
		return errTokenExpired.because(errors.New("no exp"))
	case t.Issued == nil:
		return errIDTokenMalformed.because(errors.New("no iat"))
	case t.Issued.time().After(now.Add(clockSkew)): // 10
		return errClockSkew.because(errors.New("iat is in the future"))
	case t.Before != nil && t.Before.time().After(now.Add(clockSkew)): // RFC 7519 §4.1.5
		return errClockSkew.because(errors.New("nbf is in the future"))
	case !want.issuedAfter.IsZero() && t.Issued.time().Before(want.issuedAfter.Add(-maxBackdate-clockSkew-time.Second)):
		return errClockSkew.because(errors.New("iat is before the sign-in began"))
	case !now.Before(t.Expires.time().Add(clockSkew)): // 9
		return errTokenExpired.because(nil)
	case want.authTime && t.AuthTime == nil: // 13
		return errAuthTime.because(errors.New("max_age was asked, but auth_time is missing"))
	case want.authTime && t.AuthTime.time().Before(want.authAfter.Add(-clockSkew-time.Second)):
		return errAuthTime.because(nil)
	}
	return nil
}

// checkAccessHash compares at_hash, where there is one (§3.1.3.8).
func (t *idToken) checkAccessHash(alg, access string) error {
	if t.AtHash == "" || access == "" {
		return nil
	}
	var h hash.Hash
	switch alg[len(alg)-3:] {
	case "256":
		h = sha256.New()
	case "384":
		h = sha512.New384()
	default: // 512 and EdDSA with Ed25519
		h = sha512.New()
	}
	h.Write([]byte(access))
	half := h.Sum(nil)[:h.Size()/2]
	if !hmac.Equal([]byte(t.AtHash), []byte(base64.RawURLEncoding.EncodeToString(half))) {
		return errAccessTokenHash.because(nil)
	}
	return nil
}
