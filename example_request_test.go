package gatehouse_test

import (
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"time"

	"example.com/gatehouse"
	"example.com/gatehouse/middlewaretest"
)

// tenant is a customer with a language and an identity provider of its own.
type tenant struct {
	Languages []string
	IdP       string
}

type tenantList map[string]tenant

func (l tenantList) Of(host string) (tenant, error) {
	if t, ok := l[host]; ok {
		return t, nil
	}
	return tenant{}, errors.New("no such tenant")
}

// A page that asks the provider for more: for a new authentication, and for a
// department. Who is not of one of them does not get in.
func ExampleAsk() {
	t := newExampleTB()
	defer t.end()
	op := middlewaretest.NewServer(t)
	op.AddUser("ana", middlewaretest.Claims{"email": "ana@example.org", "department": "audit"})
	op.AddUser("ben", middlewaretest.Claims{"email": "ben@example.org", "department": "sales"})
	base := middlewaretest.NewApp(t, func(base string) http.Handler {
		tenants := tenantList{base[len("http://"):]: {[]string{"de"}, "corp"}}
		login, err := gatehouse.NewRelyingParty(op.Provider(), gatehouse.RelyingPartyConfig{
			Client:      op.AddClient(base + "/auth/callback"),
			RedirectURL: base + "/auth/callback",
			Scopes:      []string{"email"},
			AuthRequest: func(r *http.Request, a *gatehouse.AuthRequest) error {
				tenant, err := tenants.Of(r.Host)
				a.UILocales, a.Params = tenant.Languages, url.Values{"kc_idp_hint": {tenant.IdP}}
				return err
			},
		})
		if err != nil {
			panic(err)
		}
		mux := http.NewServeMux()
		mux.Handle("/auth/", login.Handler())
		audit :=
			login.With(gatehouse.MaxAge(5*time.Minute), gatehouse.Ask(gatehouse.AuthRequest{
				Prompt:    []string{"login"},
				UILocales: []string{"de-CH", "de"},
				Claims: gatehouse.ClaimsRequest{IDToken: map[string]gatehouse.ClaimRequest{
					"department": {Essential: true, Values: []any{"finance", "audit"}},
				}},
			}))
		mux.Handle("/audit/", audit.RequireLogin(notes))
		return mux
	})
	show(op.Browser(t, "ana").Get(base + "/audit/7"))
	if resp, err := op.Browser(t, "ben").Get(base + "/audit/7"); err == nil {
		fmt.Println(resp.StatusCode)
	}
	// Output:
	// 200 /audit/7: notes of ana@example.org
	// 403
}
