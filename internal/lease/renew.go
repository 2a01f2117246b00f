// Package lease decides who may renew what many share, and when.
package lease

import "time"

const (
	// renewAhead is how long before its end a token is renewed: long enough for
	// a slow answer and for a call that is already under way with the old one.
	renewAhead = 60 * time.Second
	// renewPart is the part of its life in which a short-lived token is renewed:
	// the last quarter.
	renewPart = 4
)

// RenewAt is when something that was requested then and expires at that time is
// to be renewed: 60 s before it expires, or a quarter of its life before,
// whichever is shorter. It is the zero time if the expiry is not known.
func RenewAt(requested, expires time.Time) time.Time {
	if expires.IsZero() {
		return time.Time{}
	}
	return expires.Add(-min(renewAhead, expires.Sub(requested)/renewPart))
}
