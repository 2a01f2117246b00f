package introspection

import (
	"fmt"
	"time"
)

// Why says why the token opens nothing now, for the log. It returns "" if the
// token is usable.
func (f *Facts) Why(now Seconds) string {
	switch {
	case f.Usable(now):
		return ""
	case !f.Active && f.Refused == OtherIssuer:
		return fmt.Sprintf("issuer: the token is of another issuer, %q", f.Claims)
	case !f.Active && f.Refused == OtherAudience:
		return fmt.Sprintf("audience: the token is meant for %q", f.Claims)
	case !f.Active && f.Refused == BadTimes:
		return fmt.Sprintf("inactive: %s of the token is not a time", f.Claims)
	case !f.Active && f.Refused == Bound:
		return "bound: the token is bound to its client (cnf), and a requesting party token has no proof"
	case !f.Active && f.Refused == OtherKind:
		return fmt.Sprintf("kind: it is no access token but %q", f.Claims)
	case !f.Active:
		return "inactive: the server says that the token is not active"
	case now >= f.Expires:
		return "expired: the token ended at " + clock(f.Expires, now)
	case f.Starts > now:
		return "not yet: the token begins at " + clock(f.Starts+leeway, now)
	}
	return "the token has no permissions: it is an ordinary access token"
}

// Opens reports whether the token is an access token that is good now.
func (f *Facts) Opens(now Seconds) bool {
	return f.Active && f.Access != nil && f.Starts <= now && now < f.Expires
}

// WhyShut says why the token is no access token that is good now, for the log.
func (f *Facts) WhyShut(now Seconds) string {
	if f.Active && f.Access == nil {
		return "kind: it is a requesting party token"
	}
	return f.Why(now)
}

// WhyNot says why the token does not give scope on the resource now.
func (f *Facts) WhyNot(resource, scope string, now Seconds) string {
	why := "missing"
	for i := range f.Grants {
		g := &f.Grants[i]
		switch {
		case g.Resource != resource || g.Scope != scope:
		case now >= g.Expires:
			why = "expired at " + clock(g.Expires, now)
		case g.Starts > now:
			why = "not before " + clock(g.Starts+leeway, now)
		}
	}
	if f.Cut && why == "missing" {
		why = fmt.Sprintf("not among the first %d scopes of the token; the others are not read", MaxGrants)
	}
	return why
}

// clock formats a time, and how far it is from now.
func clock(t, now Seconds) string {
	at := t.Time().UTC().Format(time.RFC3339)
	if t > now {
		return fmt.Sprintf("%s, in %d s", at, t-now)
	}
	return fmt.Sprintf("%s, %d s ago", at, now-t)
}
