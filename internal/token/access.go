package token

import (
	"bytes"
	"context"
	"encoding/base64"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"example.com/gatehouse/internal/bounded"
	"example.com/gatehouse/internal/compact"
	"example.com/gatehouse/internal/confirmation"
	"example.com/gatehouse/internal/keyset"
	"example.com/gatehouse/internal/strictjson"
)

// AccessRules say which access tokens an API accepts.
type AccessRules struct {
	// Audience lists the names of the API. aud must have one of them.
	Audience []string
	// AnyAudience accepts any aud, and none.
	AnyAudience bool
	// Types are what typ may be besides at+jwt: "JWT", or "" if it is absent.
	Types []string
	// Subjects are the claims that may hold the subject, the first that is
	// there. Without any it is sub.
	Subjects []string
	// Scopes is the claim with the scopes. "" means scope, or scp if there is no
	// scope.
	Scopes string
}

// AccessToken is a verified access token. Only [Verifier.Access] makes one that
// is not empty. It is no proof of a sign-in, so it is a type of its own. It holds
// what a request needs side by side: with many tokens in memory, what a request
// costs is the reading of cold memory.
type AccessToken struct {
	subject, client   string
	key               string // the thumbprint of the one to which the token is bound
	scopes            []string
	expires, authTime int64 // in Unix milliseconds; authTime is 0 if it is not known
	payload           []byte
	issuer            string
}

// Issuer is who made the token: the configured issuer, or that of a tenant.
func (t *AccessToken) Issuer() string { return t.issuer }

// Subject is who the token is about. It is "" if the token does not say, as that
// of a service may not.
func (t *AccessToken) Subject() string { return t.subject }

// Client is the client that got the token, "" if the token does not say.
func (t *AccessToken) Client() string { return t.client }

// Scopes are the scopes of the token. Do not modify them.
func (t *AccessToken) Scopes() []string { return t.scopes }

// AuthTime is when the person authenticated. It is zero if the token does not
// say.
func (t *AccessToken) AuthTime() time.Time {
	if t.authTime == 0 {
		return time.Time{}
	}
	return time.UnixMilli(t.authTime)
}

// Thumbprint is that of the key to which the token is bound, "" if it is bound to
// none. A token that is bound is worth nothing without a proof (RFC 9449 §7.2).
func (t *AccessToken) Thumbprint() string { return t.key }

// Expires is when the token ends.
func (t *AccessToken) Expires() time.Time { return time.UnixMilli(t.expires) }

// Payload returns the claims as they were signed. Do not modify it.
func (t *AccessToken) Payload() []byte { return t.payload }

// Access verifies an access token in the form of a JWT (RFC 9068 §4). Its
// signature is checked with the key set itself: go-oidc's Verify would judge the
// claims as those of an ID Token.
func (v *Verifier) Access(ctx context.Context, raw string, rules *AccessRules) (*AccessToken, error) {
	parsed, err := compact.Parse(raw, maxToken)
	if err != nil {
		return nil, unlike(raw, maxToken, err)
	}
	header := parsed.Header()
	if err := v.checkAlgorithm(ctx, header.Alg); err != nil {
		return nil, err
	}
	declared := isAccessType(header.Typ)
	if !declared && !rules.admits(header.Typ) {
		return nil, fmt.Errorf("%w: typ %s, accepted are at+jwt and those of TokenTypes", ErrKind, nameOrNone(header.Typ))
	}
	payload, err := v.config.Keys.Verify(ctx, parsed)
	switch {
	case err != nil && aboutKeys(err):
		return nil, err
	case errors.Is(err, keyset.ErrUnknownKey):
		return nil, fmt.Errorf("%w: %w: kid is %.*q", ErrSignature, err, maxQuoted, header.Kid)
	case err != nil:
		return nil, fmt.Errorf("%w: %w", ErrSignature, err)
	}
	c := accessClaims{rules: rules}
	if err := c.read(payload); err != nil {
		return nil, err
	}
	issuer, err := v.issuerOf(c.tenant)
	if err != nil {
		return nil, err
	}
	if err := c.check(issuer, v.config.Now(), declared); err != nil {
		return nil, err
	}
	t := &AccessToken{subject: c.subject, client: c.client, scopes: c.scopes, expires: c.expires.time().UnixMilli(), payload: payload, key: c.key, issuer: issuer}
	if c.authTime != nil {
		t.authTime = c.authTime.time().UnixMilli()
	}
	return t, nil
}

const (
	// maxSeen bounds the memory of accepted access tokens, in bytes: over 100,000
	// of usual size.
	maxSeen = 128 << 20
	// seenOverhead is what a remembered token takes besides its claims: its
	// struct, and its share of the table and queue.
	seenOverhead = 400
)

// Size is roughly how many bytes of memory t takes in an [AccessMemory]. Its
// claims are there twice: as bytes, and as the text that its parts point to. Each
// scope is such a part.
func (t *AccessToken) Size() int {
	return seenOverhead + 2*len(t.payload) + 16*len(t.scopes)
}

// AccessMemory remembers the access tokens that were accepted, so that each is
// verified once. It is for one verifier and one set of rules. It is safe for
// concurrent use.
type AccessMemory struct{ kept *bounded.Memory[seenAccess] }

// NewAccessMemory makes an AccessMemory.
func NewAccessMemory() *AccessMemory { return &AccessMemory{bounded.New[seenAccess](maxSeen)} }

// seenAccess is a token that was accepted, and how many keys had been withdrawn
// before. The first scopes lie beside the token.
type seenAccess struct {
	withdrawals int
	token       AccessToken
	room        [4]string
}

// Recall returns the token with that key if m remembers it and [Verifier.Access]
// would still accept it now, or nil. A token has to be verified again if a key of
// its issuer was withdrawn since.
func (v *Verifier) Recall(key bounded.Key, m *AccessMemory, now time.Time) *AccessToken {
	s := m.kept.Get(key, now)
	if s == nil {
		return nil
	}
	if withdrawals, standing := v.config.Keys.Standing(now); !standing || s.withdrawals != withdrawals {
		return nil
	}
	return &s.token
}

// AccessOnce is [Verifier.Access] for a caller that remembers what it accepted,
// under the token's key, and has asked Recall before.
func (v *Verifier) AccessOnce(ctx context.Context, raw string, key bounded.Key, rules *AccessRules, m *AccessMemory) (*AccessToken, error) {
	now := v.config.Now()
	withdrawals, _ := v.config.Keys.Standing(now) // before the token is verified
	t, err := v.Access(ctx, raw, rules)
	if err != nil {
		return nil, err
	}
	return &m.kept.Put(key, t.Size(), now, t.Expires().Add(ClockSkew), func(s *seenAccess) {
		s.withdrawals, s.token = withdrawals, *t
		if n := len(t.scopes); n <= len(s.room) {
			s.token.scopes = s.room[:copy(s.room[:], t.scopes):n]
		}
	}).token, nil
}

// isAccessType reports whether typ declares an access token (RFC 9068 §2.1). The
// case of a media type does not count (RFC 7515 §4.1.9).
func isAccessType(typ string) bool {
	return strings.EqualFold(typ, "at+jwt") || strings.EqualFold(typ, "application/at+jwt")
}

func (r *AccessRules) admits(typ string) bool {
	return slices.ContainsFunc(r.Types, func(t string) bool {
		return typ == "" && t == "" || typ != "" && strings.EqualFold(t, typ)
	})
}

func nameOrNone(typ string) string {
	if typ == "" {
		return "absent"
	}
	return nameOf(typ)
}

// accessClaims holds what the checks read from an access token. A claim that is
// null counts as absent.
type accessClaims struct {
	rules    *AccessRules
	issuer   string
	tenant   string // tid, "" if it is no text
	subject  string
	place    int // of the subject's claim in rules.Subjects, from 1
	client   string
	party    string // azp
	audience []string
	scopes   []string
	scp      []string
	expires  *numeric
	issued   *numeric
	before   *numeric
	authTime *numeric
	foreign  string // a claim that shows a token of another kind
	sayBound bool   // typ is DPoP, as Keycloak writes into an access token that is bound to a key
	key      string // of the client, to which the token is bound: cnf.jkt
	unproven error  // why nobody can prove to what it is bound
	payload  []byte
}

// read takes the claims from payload in one pass. It does not judge them.
func (c *accessClaims) read(payload []byte) error {
	c.payload = payload
	return readClaims(payload, c.set)
}

func (c *accessClaims) set(name string, v strictjson.Value) (err error) {
	if err := c.setNamed(name, v); err != nil {
		return err
	}
	switch name {
	case "iss":
		c.issuer, err = v.Text()
	case "tid":
		c.tenant, _ = v.Text()
	case "aud":
		c.audience, err = v.Texts() // RFC 7519 §4.1.3
	case "exp":
		c.expires, err = present(readNumeric(v))
	case "iat":
		c.issued, err = present(readNumeric(v))
	case "nbf":
		c.before, err = present(readNumeric(v))
	case "auth_time":
		if c.authTime, err = present(readNumeric(v)); err != nil { // meets no limit on its age
			c.authTime, err = nil, nil
		}
	case "client_id": // RFC 9068 §2.2
		c.client, err = v.Text()
	case "azp":
		c.party, err = v.Text()
	case "cnf": // RFC 7800 §3.1
		c.key, c.unproven = confirmation.Thumbprint(v)
	case "nonce", "at_hash", "c_hash", "s_hash", "events", "authorization":
		c.foreign = name
	case "token_use", "typ":
		use, e := v.Text()
		c.sayBound = c.sayBound || name == "typ" && use == "DPoP"
		if e != nil || use != "access" && use != "Bearer" && !(name == "typ" && use == "DPoP") {
			c.foreign = name
		}
	}
	return err
}

// setNamed reads the claims whose names are settings.
func (c *accessClaims) setNamed(name string, v strictjson.Value) (err error) {
	switch {
	case c.rules.Scopes != "":
		if name == c.rules.Scopes {
			c.scopes, err = scopesOf(v)
		}
	case name == "scope":
		c.scopes, err = scopesOf(v)
	case name == "scp":
		c.scp, err = scopesOf(v)
	}
	if err != nil {
		return err
	}
	place := 1
	if len(c.rules.Subjects) > 0 {
		if place = 1 + slices.Index(c.rules.Subjects, name); place == 0 {
			return nil
		}
	} else if name != "sub" {
		return nil
	}
	if c.place == 0 || place < c.place {
		c.subject, err = v.Text()
		c.place = place
	}
	return err
}

// scopesOf reads scopes as one text with spaces between them (RFC 8693 §4.2), or
// as a list with one in each text.
func scopesOf(v strictjson.Value) ([]string, error) {
	if text, err := v.Text(); err == nil {
		return strings.FieldsFunc(text, func(c rune) bool { return c == ' ' }), nil
	}
	return v.Texts()
}

// check judges the claims (RFC 9068 §4). Unless declared, the token does not say
// in its header that it is an access token, so nothing in it may show another
// kind.
func (c *accessClaims) check(issuer string, now time.Time, declared bool) error {
	if c.scopes == nil {
		c.scopes = c.scp
	}
	if c.client == "" {
		c.client = c.party
	}
	if c.sayBound && c.key == "" && c.unproven == nil {
		c.unproven = confirmation.ErrMissing
	}
	switch {
	case !declared && c.foreign != "": // an ID Token, a logout token, a permission token
		return fmt.Errorf("%w: it has no typ of an access token, and the claim %s of another kind", ErrKind, c.foreign)
	case c.issuer != issuer:
		return fmt.Errorf("%w: iss is %.*q, not %q", ErrIssuer, maxQuoted, c.issuer, issuer)
	case !c.rules.AnyAudience && len(c.audience) == 0:
		return fmt.Errorf("%w: there is no aud, which only InsecureAnyAudience accepts", ErrAudience)
	case !c.rules.AnyAudience && !slices.ContainsFunc(c.audience, func(name string) bool { return slices.Contains(c.rules.Audience, name) }):
		return fmt.Errorf("%w: aud is %.*q, without one of Audience: %.*q", ErrAudience, maxQuoted, strings.Join(c.audience, " "), maxQuoted, strings.Join(c.rules.Audience, " "))
	case len(c.subject) > maxSubject:
		return fmt.Errorf("%w: the subject has %d bytes, more than %d", ErrSubject, len(c.subject), maxSubject)
	case c.unproven != nil:
		return fmt.Errorf("%w: %w", ErrBound, c.unproven)
	}
	return c.checkTimes(now)
}

func (c *accessClaims) checkTimes(now time.Time) error {
	switch {
	case c.expires == nil:
		return fmt.Errorf("%w: no exp", ErrExpired)
	case c.issued != nil && c.issued.time().After(now.Add(ClockSkew)):
		return fmt.Errorf("%w: iat is %s, but now it is %s", ErrClockSkew, c.issued, stamp(now))
	case c.before != nil && c.before.time().After(now.Add(ClockSkew)):
		return fmt.Errorf("%w: nbf is %s, but now it is %s", ErrClockSkew, c.before, stamp(now))
	case !now.Before(c.expires.time().Add(ClockSkew)):
		return fmt.Errorf("%w: exp is %s, but now it is %s", ErrExpired, c.expires, stamp(now))
	}
	if c.authTime != nil && c.authTime.time().After(now.Add(ClockSkew)) { // it would meet every limit on its age
		c.authTime = nil
	}
	return nil
}

// IsJWT reports whether an access token is meant to be a JWT: three parts, or five
// if it is encrypted (RFC 7516 §7.1), of which the first is a JSON object. It may
// be no good all the same, without a signature for example. If it is none, only
// its issuer can read it.
func IsJWT(raw string) bool {
	if dots := strings.Count(raw, "."); dots != 2 && dots != 4 {
		return false
	}
	header, _, _ := strings.Cut(raw, ".")
	data, err := base64.RawURLEncoding.DecodeString(header)
	return err == nil && bytes.HasPrefix(bytes.TrimLeft(data, " \t\r\n"), []byte("{")) // RFC 7515 §4
}

// UnverifiedIssuer returns the iss of a token that nobody has verified, or "" if
// it cannot be read. It may only choose who verifies the token: that one
// compares iss again.
func UnverifiedIssuer(raw string) string {
	if compact.Check(raw, maxToken) != nil {
		return ""
	}
	_, rest, _ := strings.Cut(raw, ".")
	payload, _, _ := strings.Cut(rest, ".")
	data, err := base64.RawURLEncoding.Strict().DecodeString(payload)
	if err != nil {
		return ""
	}
	issuer := ""
	err = strictjson.Object(data, func(name string, v strictjson.Value) (err error) {
		if name == "iss" {
			issuer, err = v.Text()
		}
		return err
	})
	if err != nil {
		return ""
	}
	return issuer
}
