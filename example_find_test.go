package gatehouse_test

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"net/netip"

	"example.com/gatehouse"
)

// A provider behind a proxy is reached at its inner address. Browsers and tokens
// know its issuer.
func ExampleProviderConfig_metadataURL() {
	provider, err := gatehouse.NewProvider("https://id.example.org/realms/staff", &gatehouse.ProviderConfig{
		MetadataURL: "https://keycloak.internal:8443/realms/staff/.well-known/openid-configuration",
	})
	if err != nil {
		panic(err)
	}
	fmt.Println(provider.Issuer())
	// Output: https://id.example.org/realms/staff
}

// Entra ID lets people of several organizations in. Each is a tenant with an
// issuer of its own; the common metadata names a template for all of them.
func ExampleProviderConfig_tenants() {
	provider, err := gatehouse.NewProvider("https://login.microsoftonline.com/{tenantid}/v2.0", &gatehouse.ProviderConfig{
		MetadataURL: "https://login.microsoftonline.com/organizations/v2.0/.well-known/openid-configuration",
		Tenants: []string{ // whose people may sign in
			"72f988bf-86f1-41af-91ab-2d7cd011db47",
			"9188040d-6c67-4c5b-b112-36a304b66dad",
		},
	})
	if err != nil {
		panic(err)
	}
	fmt.Println(provider.Issuer())
	// Output: https://login.microsoftonline.com/{tenantid}/v2.0
}

// A person enters an account on the page that asks where to sign in, and signs in at
// the provider that the host of the account names.
func ExampleFinder() {
	corp, err := gatehouse.NewProvider("https://id.example.org", nil)
	if err != nil {
		panic(err)
	}
	partner, err := gatehouse.NewProvider("https://id.example.com", nil)
	if err != nil {
		panic(err)
	}
	sessions, err := gatehouse.NewSessions(gatehouse.SessionsConfig{})
	if err != nil {
		panic(err)
	}
	login := func(p *gatehouse.Provider, name string) *gatehouse.RelyingParty {
		rp, err := gatehouse.NewRelyingParty(p, gatehouse.RelyingPartyConfig{
			Client:      gatehouse.Client{ID: "notes", Secret: gatehouse.NewSecret("…")},
			RedirectURL: "https://notes.example.net/auth/" + name + "/callback",
			Sessions:    sessions,
		})
		if err != nil {
			panic(err)
		}
		return rp
	}
	atCorp, atPartner := login(corp, "corp"), login(partner, "partner")

	finder, err := gatehouse.NewFinder(gatehouse.FinderConfig{}, corp, partner)
	if err != nil {
		panic(err)
	}
	at := map[*gatehouse.Provider]*gatehouse.RelyingParty{corp: atCorp, partner: atPartner}
	logins, err := gatehouse.NewLogins(gatehouse.LoginsConfig{
		Account: func(ctx context.Context, account string) (*gatehouse.RelyingParty, error) {
			provider, err := finder.FindProvider(ctx, account)
			return at[provider], err
		},
	}, atCorp, atPartner)
	if err != nil {
		panic(err)
	}
	http.Handle("/auth/", logins.Handler())
	http.Handle("/notes/", logins.RequireLogin(http.NotFoundHandler()))
}

// start answers a form of the application's own, with the field "account".
func start(finder *gatehouse.Finder, at map[*gatehouse.Provider]*gatehouse.RelyingParty) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		provider, err := finder.FindProvider(r.Context(), r.PostFormValue("account"))
		if e, ok := errors.AsType[*gatehouse.Error](err); ok {
			slog.Info("no provider for an account", "error", e)
			http.Error(w, e.Message, e.Status) // or the form once more, with the sentence
			return
		}
		address, err := at[provider].AuthURL(w, r, "/notes/")
		if err != nil {
			http.Error(w, "Sign-in cannot start right now.", http.StatusServiceUnavailable)
			return
		}
		http.Redirect(w, r, address, http.StatusSeeOther)
	}
}

// With one relying party for each provider, a form can start the sign-in.
func ExampleFinder_FindProvider() {
	corp, err := gatehouse.NewProvider("https://id.example.org", nil)
	if err != nil {
		panic(err)
	}
	finder, err := gatehouse.NewFinder(gatehouse.FinderConfig{}, corp)
	if err != nil {
		panic(err)
	}
	http.HandleFunc("POST /start", start(finder, map[*gatehouse.Provider]*gatehouse.RelyingParty{}))
}

// In an intranet the hosts of accounts are inside.
func ExampleFinderConfig() {
	corp, err := gatehouse.NewProvider("https://id.example.org", nil)
	if err != nil {
		panic(err)
	}
	finder, err := gatehouse.NewFinder(gatehouse.FinderConfig{
		InnerNetworks:          []netip.Prefix{netip.MustParsePrefix("10.1.0.0/16")},
		InsecureInnerAddresses: true,
	}, corp)
	if err != nil {
		panic(err)
	}
	_ = finder
}

// The provider refers to a bank for some claims about a person.
func ExampleClaimsProvider() {
	provider, err := gatehouse.NewProvider("https://id.example.org", nil)
	if err != nil {
		panic(err)
	}
	bank, err := gatehouse.NewProvider("https://bank.example", nil)
	if err != nil {
		panic(err)
	}
	login, err := gatehouse.NewRelyingParty(provider, gatehouse.RelyingPartyConfig{
		Client:      gatehouse.Client{ID: "notes", Secret: gatehouse.NewSecret("…")},
		RedirectURL: "https://notes.example.net/auth/callback",
		ClaimsProviders: []gatehouse.ClaimsProvider{
			{Provider: bank, Origins: []string{"https://claims.bank.example"}},
		},
	})
	if err != nil {
		panic(err)
	}
	http.Handle("/auth/", login.Handler())
	http.Handle("/loans/", login.With(gatehouse.Claim("credit_rating", "good")).RequireLogin(http.NotFoundHandler()))
}
