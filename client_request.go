package gatehouse

// Tested in internal/e2e/signin.

import (
	"maps"
	"net/http"
	"net/url"
	"slices"
	"time"

	"example.com/gatehouse/internal/authrequest"
)

// AuthRequest is what a sign-in asks of the provider besides what gatehouse asks
// by itself (OpenID Connect Core §3.1.2.1). A field with its zero value asks for
// nothing. Ask makes a guard that asks for it, and the function AuthRequest of
// RelyingPartyConfig changes it for one request.
//
// What the provider answers is checked as far as it promises something: with
// Prompt "login" and with MaxAge the time of the authentication, and the values of
// essential claims. Everything else is a hint, which a provider may ignore: what
// has to be so is a Requirement, such as ACR.
type AuthRequest struct {
	// Prompt is what the provider shows: "login" makes the person authenticate
	// anew, "consent" and "select_account" ask once more, and "none" shows
	// nothing, which fails with the code interaction_required unless the person
	// is signed in there. "none" stands alone.
	Prompt []string
	// MaxAge is how long ago the person may have authenticated when this sign-in
	// begins. It is at least a second, and less than a second is left out. Unlike
	// the requirement MaxAge, it says nothing about a session that exists.
	MaxAge time.Duration
	// ACRValues are wishes, the most wanted first. The values of a requirement
	// ACR take their place.
	ACRValues []string
	// LoginHint is what the person may sign in as, such as an address.
	LoginHint string
	// UILocales and ClaimsLocales are languages as BCP 47 tags, the most wanted
	// first, for the pages of the provider and for claims.
	UILocales, ClaimsLocales []string
	// Display is "page", "popup", "touch" or "wap".
	Display string
	// Claims are single claims (OpenID Connect Core §5.5).
	Claims ClaimsRequest
	// Params are parameters of the provider's own, such as "hd" or
	// "kc_idp_hint". One that has a field here, or that only gatehouse sets, is an
	// error.
	Params url.Values
}

// ClaimsRequest asks for single claims, by name: in the ID Token, and in the user
// info.
type ClaimsRequest struct {
	// IDToken are claims for the ID Token.
	IDToken map[string]ClaimRequest
	// UserInfo are claims for the user info.
	UserInfo map[string]ClaimRequest
}

// ClaimRequest says how a claim is asked for. The zero value asks for the claim
// and leaves it to the provider.
type ClaimRequest struct {
	// Essential says that the sign-in is of no use without the claim. A sign-in
	// without one of its values, if there are any, is refused.
	Essential bool
	// Value is what the claim has to be, of a type that has a JSON form; nil
	// means anything. The claim must equal it as a whole.
	Value any
	// Values are several such, of which one suffices. There is no Value then.
	Values []any
}

// over lays the request over parameters and judges the result.
func (a AuthRequest) over(base url.Values) (authrequest.Asking, error) {
	params, err := authrequest.Request{
		Prompt: a.Prompt, MaxAge: a.MaxAge, ACRValues: a.ACRValues, LoginHint: a.LoginHint, UILocales: a.UILocales,
		ClaimsLocales: a.ClaimsLocales, Display: a.Display, Claims: a.Claims.engine(), Params: a.Params,
	}.Over(base)
	if err != nil {
		return authrequest.Asking{}, err
	}
	return authrequest.Read(params)
}

func (c ClaimsRequest) engine() authrequest.Claims {
	all := func(m map[string]ClaimRequest) map[string]authrequest.Claim {
		out := make(map[string]authrequest.Claim, len(m))
		for name, claim := range m {
			out[name] = authrequest.Claim(claim)
		}
		return out
	}
	return authrequest.Claims{IDToken: all(c.IDToken), UserInfo: all(c.UserInfo)}
}

// join returns a with what b asks for on top.
func (a AuthRequest) join(b AuthRequest) AuthRequest {
	a, b = a.clone(), b.clone()
	over := func(to *[]string, from []string) {
		if len(from) > 0 {
			*to = from
		}
	}
	over(&a.Prompt, b.Prompt)
	over(&a.ACRValues, b.ACRValues)
	over(&a.UILocales, b.UILocales)
	over(&a.ClaimsLocales, b.ClaimsLocales)
	if b.MaxAge != 0 && (a.MaxAge == 0 || b.MaxAge < a.MaxAge) {
		a.MaxAge = b.MaxAge
	}
	if b.LoginHint != "" {
		a.LoginHint = b.LoginHint
	}
	if b.Display != "" {
		a.Display = b.Display
	}
	a.Claims.IDToken = joined(a.Claims.IDToken, b.Claims.IDToken)
	a.Claims.UserInfo = joined(a.Claims.UserInfo, b.Claims.UserInfo)
	a.Params = joined(a.Params, b.Params)
	return a
}

func joined[M ~map[string]V, V any](a, b M) M {
	if a == nil {
		return b
	}
	maps.Copy(a, b)
	return a
}

func (a AuthRequest) clone() AuthRequest {
	a.Prompt, a.ACRValues = slices.Clone(a.Prompt), slices.Clone(a.ACRValues)
	a.UILocales, a.ClaimsLocales = slices.Clone(a.UILocales), slices.Clone(a.ClaimsLocales)
	a.Claims = ClaimsRequest{maps.Clone(a.Claims.IDToken), maps.Clone(a.Claims.UserInfo)}
	a.Params = url.Values(http.Header(a.Params).Clone())
	return a
}
