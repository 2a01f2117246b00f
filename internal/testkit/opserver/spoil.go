package opserver

import (
	"encoding/base64"
	"strings"
	"time"
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

// spoilClaims breaks the claims of an ID Token as the faults say, in the order
// of the table. If two affect the same claim, the later one wins.
func (s *Server) spoilClaims(claims map[string]any, c *client, refreshed bool) {
	for _, table := range [][]spoiler{s.spoilNames(claims, c), s.spoilTimes(claims), s.spoilRest(claims, refreshed)} {
		for _, one := range table {
			if s.wrong.has(one.fault) {
				one.apply()
			}
		}
	}
}

// spoilNames changes iss, aud, azp and sub.
func (s *Server) spoilNames(claims map[string]any, c *client) []spoiler {
	return []spoiler{
		{WrongIssuer, func() { claims["iss"] = s.issuer + "1" }},
		{IssuerSlash, func() { claims["iss"] = s.otherSlash() }},
		{MissingIssuer, func() { delete(claims, "iss") }},
		{WrongAudience, func() { claims["aud"] = c.ID + "-other" }},
		{MissingAudience, func() { delete(claims, "aud") }},
		{EmptyAudience, func() { claims["aud"] = []string{} }},
		{AudienceArray, func() { claims["aud"] = []string{c.ID} }},
		{SecondAudience, func() { claims["aud"] = []string{c.ID, "other"} }},
		{WrongAuthorizedParty, func() { claims["aud"], claims["azp"] = []string{c.ID, "other"}, "other" }},
		{MissingSubject, func() { delete(claims, "sub") }},
		{EmptySubject, func() { claims["sub"] = "" }},
		{SubjectNotString, func() { claims["sub"] = 4711 }},
	}
}

// spoilTimes changes iat, exp, nbf and auth_time.
func (s *Server) spoilTimes(claims map[string]any) []spoiler {
	at := func(d time.Duration) int64 { return s.now().Add(d).Unix() }
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
func (s *Server) spoilRest(claims map[string]any, refreshed bool) []spoiler {
	subject, _ := claims["sub"].(string)
	nonce, asked := claims["nonce"].(string)
	table := []spoiler{
		{MissingNonce, func() { delete(claims, "nonce") }},
		{WrongAccessTokenHash, func() { claims["at_hash"] = base64.RawURLEncoding.EncodeToString(make([]byte, 16)) }},
		{MissingAccessTokenHash, func() { delete(claims, "at_hash") }},
		{LogoutEvent, func() {
			claims["events"] = map[string]any{"http://schemas.openid.net/event/backchannel-logout": map[string]any{}}
		}},
		{ClaimSources, func() { s.addClaimSources(claims) }},
		{HugeIDToken, func() { claims["padding"] = strings.Repeat("x", hugeClaim) }},
	}
	if asked {
		table = append(table, spoiler{WrongNonce, func() { claims["nonce"] = nonce + "x" }})
	}
	if refreshed {
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
