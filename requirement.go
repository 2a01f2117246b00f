package gatehouse

// Tested in internal/e2e/signin.

import (
	"errors"
	"fmt"
	"net/http"
	"slices"
	"strings"
	"time"

	"example.com/gatehouse/internal/challenge"
	"example.com/gatehouse/internal/jsonvalue"
	"example.com/gatehouse/internal/token"
)

// Requirement is a condition that a guard checks in addition to sign-in or the
// access token. If it is not met and signing in again can help (MaxAge, ACR,
// Scopes, AnyScope, OwnerGrant), a page sends the person to sign in again.
// Otherwise the answer is 403. An API answers as RequireToken says.
type Requirement struct {
	name string
	met  func(r *http.Request, id *Identity, now time.Time) (bool, error)
	step stepUp
	// fresh means that the authorization server is asked about the access token
	// at each request.
	fresh bool
	// ask is what a sign-in asks for besides; nil except for Ask.
	ask *AuthRequest
}

// stepUp is what a sign-in must ask for to meet a requirement.
type stepUp struct {
	helps  bool // signing in again can help
	maxAge time.Duration
	aged   bool     // maxAge is set
	acr    []string // one of them, the most wanted first
	scopes []string
	grant  bool // the owner's grant for the protection API
	claims bool // claims with values, which come only if they are asked for
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

// ACR requires that the person authenticated in one of the ways that the values
// name, the most wanted first: acr is exactly one of them (acr_values in OpenID
// Connect Core §3.1.2.1 and RFC 9470 §3). Which there are, the provider says in
// acr_values_supported of its metadata. ACR panics without values, and if one is
// empty or has a space or a character that no header can carry.
func ACR(values ...string) Requirement {
	if len(values) == 0 {
		wire("ACR", errors.New("there are none, so every authentication would do"))
	}
	for _, v := range values {
		if v == "" || strings.Contains(v, " ") || !challenge.Printable(v) {
			wire("ACR", fmt.Errorf("%q is not one value of acr", v))
		}
	}
	values = slices.Clone(values)
	return Requirement{
		name: "acr " + strings.Join(values, " "),
		met: func(_ *http.Request, id *Identity, _ time.Time) (bool, error) {
			acr := id.ACR()
			return acr != "" && slices.Contains(values, acr), nil
		},
		step: stepUp{helps: true, acr: values},
	}
}

// acrOf returns the values of acr that meet all of the requirements, in the
// order of the first that asks for one, and whether any does ask.
func acrOf(need []Requirement) (values []string, asks bool) {
	for _, q := range need {
		switch {
		case len(q.step.acr) == 0:
		case !asks:
			values, asks = slices.Clone(q.step.acr), true
		default:
			values = slices.DeleteFunc(values, func(v string) bool { return !slices.Contains(q.step.acr, v) })
		}
	}
	return values, asks
}

// checkNeed finds requirements that nobody could meet together.
func checkNeed(need []Requirement) error {
	if values, asks := acrOf(need); asks && len(values) == 0 {
		return errors.New("no acr is among the values of every ACR")
	}
	return nil
}

// Scopes requires that all of the scopes were granted to the session or the
// access token. It panics without scopes, and if one is not a valid scope (RFC
// 6749 §3.3).
func Scopes(scopes ...string) Requirement {
	return scopesOf("Scopes", "scopes", scopes, func(has func(string) bool, scopes []string) bool {
		return !slices.ContainsFunc(scopes, func(s string) bool { return !has(s) })
	})
}

// AnyScope requires that at least one of the scopes was granted to the session
// or the access token. It panics like Scopes.
func AnyScope(scopes ...string) Requirement {
	return scopesOf("AnyScope", "any scope", scopes, func(has func(string) bool, scopes []string) bool {
		return slices.ContainsFunc(scopes, has)
	})
}

func scopesOf(caller, name string, scopes []string, enough func(has func(string) bool, scopes []string) bool) Requirement {
	if len(scopes) == 0 {
		wire(caller, errors.New("there are none, so every session would do"))
	}
	for _, s := range scopes {
		wire(caller, checkScope(s))
	}
	scopes = slices.Clone(scopes)
	return Requirement{
		name: name + " " + strings.Join(scopes, " "),
		met: func(_ *http.Request, id *Identity, _ time.Time) (bool, error) {
			return enough(func(s string) bool { return slices.Contains(id.Scopes, s) }, scopes), nil
		},
		step: stepUp{helps: true, scopes: scopes},
	}
}

// Claim requires the claim of that name to equal one of values. If the claim
// is an array, one of its elements must. Without values the claim must exist
// and not be null. A name is one name, whatever dots are in it; ClaimAt reaches
// into objects.
//
// Types must match: the string "true" is not the boolean true. Numbers of every
// Go type are compared by value, without rounding. A number of more than 40
// digits, or with an exponent of three, equals none. Claim panics if the name is
// empty, and if the type of a value can never match, such as a struct, nil or
// []string.
func Claim(name string, values ...any) Requirement {
	if name == "" {
		wire("Claim", errors.New("the name is empty"))
	}
	return claimAt("Claim", "claim "+name, []string{name}, values)
}

// ClaimAt is Claim for a claim inside other claims. The path goes from name to
// name through objects, such as "realm_access", "roles". It panics if the path
// is empty.
func ClaimAt(path []string, values ...any) Requirement {
	if len(path) == 0 {
		wire("ClaimAt", errors.New("the path is empty"))
	}
	return claimAt("ClaimAt", fmt.Sprintf("claim %q", path), slices.Clone(path), values)
}

func claimAt(caller, name string, path []string, values []any) Requirement {
	wanted := make([]any, 0, len(values))
	for _, v := range values {
		w, err := jsonvalue.Of(v)
		wire(caller, err)
		wanted = append(wanted, w)
	}
	return Requirement{
		name: name,
		met: func(_ *http.Request, id *Identity, _ time.Time) (bool, error) {
			raw := id.claim(path)
			if raw == nil || token.IsNull(raw) {
				return false, nil
			}
			return len(wanted) == 0 || jsonvalue.Any(raw, wanted), nil
		},
	}
}

// Role requires one of the roles. They are in the claim that RoleClaim of
// ResourceServerConfig or RelyingPartyConfig names, a list or one text. Role
// panics without roles, and if one is empty.
func Role(roles ...string) Requirement {
	if len(roles) == 0 {
		wire("Role", errors.New("there are none, so everybody would do"))
	}
	wanted := make([]any, 0, len(roles))
	for _, role := range roles {
		if role == "" {
			wire("Role", errors.New("a role is empty"))
		}
		w, err := jsonvalue.Of(role)
		wire("Role", err)
		wanted = append(wanted, w)
	}
	return Requirement{
		name: "role " + strings.Join(roles, " "),
		met: func(_ *http.Request, id *Identity, _ time.Time) (bool, error) {
			raw := id.claim(id.rolePath())
			return raw != nil && !token.IsNull(raw) && jsonvalue.Any(raw, wanted), nil
		},
	}
}

// rolePath returns the path to the roles of an identity, as its guard is
// configured.
func (id *Identity) rolePath() []string {
	switch {
	case id.api != nil:
		return id.api.roles
	case id.session != nil:
		return rolePath(id.session.party.config.RoleClaim)
	}
	return rolePath(nil)
}

func rolePath(configured []string) []string {
	if len(configured) == 0 {
		return []string{"roles"}
	}
	return slices.Clone(configured)
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
