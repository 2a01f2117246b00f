package gatehouse

// Tested in internal/e2e/signin.

import (
	"errors"
	"net/http"
	"reflect"
	"slices"
	"time"
)

// Requirement is a condition that a guard checks in addition to sign-in. If it
// is not met and signing in again can help (MaxAge, Scopes, OwnerGrant), a
// page sends the person to sign in again. Otherwise the answer is 403.
type Requirement struct {
	name string
	met  func(r *http.Request, id *Identity, now time.Time) (bool, error)
	step stepUp
}

// stepUp is what a sign-in must ask for to meet a requirement.
type stepUp struct {
	helps  bool // signing in again can help
	maxAge time.Duration
	aged   bool // maxAge is set
	scopes []string
	grant  bool // the owner's grant for the protection API
}

// MaxAge requires that the person authenticated at the provider at most d ago
// (max_age in OpenID Connect Core §3.1.2.1). It panics if d is less than one
// second, because no sign-in could meet that.
func MaxAge(d time.Duration) Requirement {
	if d < time.Second {
		wire("MaxAge", errors.New("no sign-in can meet less than one second"))
	}
	return Requirement{
		name: "max_age " + d.String(),
		met: func(_ *http.Request, id *Identity, now time.Time) (bool, error) {
			return !id.AuthTime.IsZero() && now.Before(id.AuthTime.Add(d)), nil
		},
		step: stepUp{helps: true, maxAge: d, aged: true},
	}
}

// Scopes requires that all of the scopes were granted to the session. It
// panics without scopes, and if one is not a valid scope (RFC 6749 §3.3).
func Scopes(scopes ...string) Requirement {
	if len(scopes) == 0 {
		wire("Scopes", errors.New("there are none, so every session would do"))
	}
	for _, s := range scopes {
		wire("Scopes", checkScope(s))
	}
	scopes = slices.Clone(scopes)
	return Requirement{
		name: "scopes",
		met: func(_ *http.Request, id *Identity, _ time.Time) (bool, error) {
			for _, s := range scopes {
				if !slices.Contains(id.Scopes, s) {
					return false, nil
				}
			}
			return true, nil
		},
		step: stepUp{helps: true, scopes: scopes},
	}
}

// Claim requires the claim of that name to equal one of values. If the claim
// is an array, one of its elements must. Without values the claim must exist
// and not be null. Types must match: the string "true" is not the boolean
// true. Claim panics if the name is empty.
func Claim(name string, values ...any) Requirement {
	if name == "" {
		wire("Claim", errors.New("the name is empty"))
	}
	values = slices.Clone(values)
	for i, v := range values {
		if n, ok := v.(int); ok {
			values[i] = float64(n) // the type that encoding/json decodes numbers to
		}
	}
	return Requirement{
		name: "claim " + name,
		met: func(_ *http.Request, id *Identity, _ time.Time) (bool, error) {
			have := id.claim(name)
			if len(values) == 0 {
				return have != nil, nil
			}
			list, ok := have.([]any)
			if !ok {
				list = []any{have}
			}
			return slices.ContainsFunc(list, func(h any) bool {
				return slices.ContainsFunc(values, func(v any) bool { return h != nil && reflect.DeepEqual(h, v) })
			}), nil
		},
	}
}

// RequirementFunc requires f to return true. The name appears in the log. If f
// returns an *Error, that is the answer. Any other error is answered with 503.
// RequirementFunc panics if f is nil.
func RequirementFunc(name string, f func(r *http.Request, id *Identity) (bool, error)) Requirement {
	if f == nil {
		wire("RequirementFunc", errors.New("the function is nil"))
	}
	return Requirement{
		name: name,
		met:  func(r *http.Request, id *Identity, _ time.Time) (bool, error) { return f(r, id) },
	}
}

// OwnerGrant requires that the person has granted this site access to the
// protection API of the authorization server, so that it can register their
// resources (UMA Federated Authorization §1.3). If they have not, a page sends
// them there to do so. The relying party needs RelyingPartyConfig.OwnerGrants.
func OwnerGrant() Requirement {
	return Requirement{name: ownerGrantName, step: stepUp{helps: true, grant: true}}
}

const ownerGrantName = "owner_grant"
