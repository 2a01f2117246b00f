package lease

import "time"

const (
	// renewAhead is how long before its expiry a token is renewed. It leaves
	// time for a slow answer and for a call already under way with the old
	// token.
	renewAhead = 60 * time.Second
	// renewPart sets how early a short-lived token is renewed: in the last
	// quarter of its life.
	renewPart = 4
)

// RenewAt is when to renew something requested and expiring at the given times:
// 60 s before it expires, or a quarter of its life before, whichever is
// shorter. It is the zero time if the expiry is unknown.
func RenewAt(requested, expires time.Time) time.Time {
	if expires.IsZero() {
		return time.Time{}
	}
	return expires.Add(-min(renewAhead, expires.Sub(requested)/renewPart))
}
