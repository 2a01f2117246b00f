package opserver

import (
	"encoding/base64"
	"slices"
	"strings"
	"time"

	"github.com/go-jose/go-jose/v4"
)

// How far the times of a spoiled ID Token are off.
const (
	pastExpiry   = 6 * time.Minute    // more than any sensible skew (RP-I7)
	withinSkew   = 50 * time.Second   // just inside the minute that clients allow each other (RP-I7)
	longAgo      = 7 * 24 * time.Hour // a week (RP-I8)
	farAhead     = time.Hour          // no clock is that wrong (RP-I8)
	longSignedIn = 24 * time.Hour     // above every max_age of a test
)

// spoiler holds what a fault changes.
type spoiler struct {
	fault Fault
	apply func()
}

// maker makes one signed token with the faults in it.
type maker struct {
	*Server
	has       func(Fault) bool
	alg       jose.SignatureAlgorithm
	typ       string
	audience  string // whom the token is for
	secret    string // of the client that gets it
	refreshed bool   // it is the ID Token of a refresh
	hybrid    bool   // with a code beside it
}

// spoilClaims breaks the claims of a token as the faults say, in the order of
// the table. If two affect the same claim, the later one wins.
func (m maker) spoilClaims(claims map[string]any) {
	for _, one := range m.spoilers(claims) {
		if m.has(one.fault) {
			one.apply()
		}
	}
}

// spoilers is the table of the faults in claims.
func (m maker) spoilers(claims map[string]any) []spoiler {
	return slices.Concat(m.spoilNames(claims), m.spoilTimes(claims), m.spoilRest(claims))
}

// spoilNames changes iss, aud, azp and sub.
func (m maker) spoilNames(claims map[string]any) []spoiler {
	s := m.Server
	return []spoiler{
		{WrongIssuer, func() { claims["iss"] = s.issuer + "1" }},
		{IssuerSlash, func() { claims["iss"] = s.otherSlash() }},
		{MissingIssuer, func() { delete(claims, "iss") }},
		{WrongAudience, func() { claims["aud"] = m.audience + "-other" }},
		{MissingAudience, func() { delete(claims, "aud") }},
		{EmptyAudience, func() { claims["aud"] = []string{} }},
		{AudienceArray, func() { claims["aud"] = []string{m.audience} }},
		{SecondAudience, func() { claims["aud"] = []string{m.audience, "other"} }},
		{WrongAuthorizedParty, func() { claims["aud"], claims["azp"] = []string{m.audience, "other"}, "other" }},
		{MissingSubject, func() { delete(claims, "sub") }},
		{EmptySubject, func() { claims["sub"] = "" }},
		{SubjectNotString, func() { claims["sub"] = 4711 }},
	}
}

// spoilTimes changes iat, exp, nbf and auth_time.
func (m maker) spoilTimes(claims map[string]any) []spoiler {
	at := func(d time.Duration) int64 { return m.now().Add(d).Unix() }
	return []spoiler{
		{MissingIssuedAt, func() { delete(claims, "iat") }},
		{IssuedLongAgo, func() { claims["iat"] = at(-longAgo) }},
		{IssuedInFuture, func() { claims["iat"], claims["exp"] = at(farAhead), at(2*farAhead) }},
		{NotYetValid, func() { claims["nbf"], claims["exp"] = at(farAhead), at(2*farAhead) }},
		{MissingExpiry, func() { delete(claims, "exp") }},
		{ExpiredIDToken, func() { claims["exp"] = at(-pastExpiry) }},
		{ExpiredWithinSkew, func() { claims["exp"] = at(-withinSkew) }},
		{OldAuthentication, func() { claims["auth_time"] = at(-longSignedIn) }},
		{MissingAuthTime, func() { delete(claims, "auth_time") }},
	}
}

// spoilRest changes what binds the token to its sign-in and its kind.
func (m maker) spoilRest(claims map[string]any) []spoiler {
	subject, _ := claims["sub"].(string)
	nonce, asked := claims["nonce"].(string)
	table := []spoiler{
		{MissingNonce, func() { delete(claims, "nonce") }},
		{WrongAccessTokenHash, func() { claims["at_hash"] = base64.RawURLEncoding.EncodeToString(make([]byte, 16)) }},
		{MissingAccessTokenHash, func() { delete(claims, "at_hash") }},
		{LogoutEvent, func() {
			claims["events"] = map[string]any{"http://schemas.openid.net/event/backchannel-logout": map[string]any{}}
		}},
		{ClaimSources, func() { m.addClaimSources(claims) }},
		{HugeIDToken, func() { claims["padding"] = strings.Repeat("x", hugeClaim) }},
	}
	if asked {
		table = append(table, spoiler{WrongNonce, func() { claims["nonce"] = nonce + "x" }})
	}
	if m.hybrid {
		table = append(table,
			spoiler{WrongCodeHash, func() { claims["c_hash"] = base64.RawURLEncoding.EncodeToString(make([]byte, 16)) }},
			spoiler{MissingCodeHash, func() { delete(claims, "c_hash") }},
			spoiler{FrontOtherSubject, func() { claims["sub"] = subject + "-other" }})
	}
	if m.refreshed {
		table = append(table, spoiler{RefreshOtherSubject, func() { claims["sub"] = subject + "-other" }})
	}
	return table
}

// hugeClaim is the size that [HugeIDToken] adds. It is less than a token answer
// may hold, and far more than an ID Token has reason to be.
const hugeClaim = 512 << 10

// addClaimSources adds a distributed claim whose source is the trap. OpenID
// Connect Core §5.6.2.2.
func (s *Server) addClaimSources(claims map[string]any) {
	claims["_claim_names"] = map[string]any{"credit_score": "src1"}
	claims["_claim_sources"] = map[string]any{"src1": map[string]any{"endpoint": s.url(pathTrap) + trapClaims, "access_token": "lure"}}
}
