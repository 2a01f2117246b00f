package gatehouse

// Tested in internal/e2e/signin.

import (
	"net/http"
	"reflect"
	"slices"
	"time"
)

// Requirement is something a guard asks of an identity beyond being signed in.
// On a page an unmet requirement is met by signing in again where that can help
// (MaxAge, Scopes), otherwise it is 403.
type Requirement struct {
	name string
	met  func(r *http.Request, id *Identity, now time.Time) (bool, error)
	step stepUp
}

// stepUp is what a sign-in has to ask for so that a requirement can be met.
type stepUp struct {
	helps  bool // signing in again can help at all
	maxAge time.Duration
	aged   bool // maxAge is asked
	scopes []string
	grant  bool // the owner's grant for the protection API
}

// MaxAge requires that the person authenticated at the provider no longer than
// d ago (OpenID Connect Core §3.1.2.1, max_age).
//
// A d below one second, which no sign-in could meet, panics.
func MaxAge(d time.Duration) Requirement {
	if d < time.Second {
		panic("gatehouse: MaxAge: less than one second can never be met")
	}
	return Requirement{
		name: "max_age " + d.String(),
		met: func(_ *http.Request, id *Identity, now time.Time) (bool, error) {
			return !id.AuthTime.IsZero() && now.Before(id.AuthTime.Add(d)), nil
		},
		step: stepUp{helps: true, maxAge: d, aged: true},
	}
}

// Scopes requires that every one of the scopes was granted to the session.
func Scopes(scopes ...string) Requirement {
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

// Claim requires the claim of that name to equal one of values or, where the
// claim is an array, to hold one of them. Without values it must be there and
// not be null. Types count: the string "true" is not the boolean true.
func Claim(name string, values ...any) Requirement {
	values = slices.Clone(values)
	for i, v := range values {
		if n, ok := v.(int); ok {
			values[i] = float64(n) // what encoding/json makes of a number
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

// RequirementFunc requires f to return true. The name stands in the log. An
// error of f that is an *Error is answered as it says, any other with 503.
func RequirementFunc(name string, f func(r *http.Request, id *Identity) (bool, error)) Requirement {
	if f == nil {
		panic("gatehouse: RequirementFunc: the function is nil")
	}
	return Requirement{
		name: name,
		met:  func(r *http.Request, id *Identity, _ time.Time) (bool, error) { return f(r, id) },
	}
}

// OwnerGrant requires that the person granted this site access to the
// protection API of the authorization server, so that it can register what
// they own (UMA Federated Authorization §1.3). A page sends them for it. The
// relying party needs RelyingPartyConfig.OwnerGrants.
func OwnerGrant() Requirement {
	return Requirement{name: ownerGrantName, step: stepUp{helps: true, grant: true}}
}

const ownerGrantName = "owner_grant"
