package gatehouse_test

import (
	"fmt"
	"net/http"
	"testing"
	"time"

	"example.com/gatehouse"
)

// TestWiring: what an application forgot shows when the program starts, and the
// panic says what is missing.
func TestWiring(t *testing.T) {
	provider, err := gatehouse.NewProvider("https://id.example.org", nil)
	if err != nil {
		t.Fatal(err)
	}
	client := gatehouse.Client{ID: "notes", Secret: gatehouse.NewSecret("secret")}
	login, err := gatehouse.NewRelyingParty(provider, gatehouse.RelyingPartyConfig{Client: client, RedirectURL: "https://notes.example.org/callback"})
	if err != nil {
		t.Fatal(err)
	}
	api, err := gatehouse.NewResourceServer(provider, gatehouse.ResourceServerConfig{Client: client})
	if err != nil {
		t.Fatal(err)
	}
	view := gatehouse.Resource{Name: "albums", Scopes: []string{"view"}}.AllOf("view")
	name := func(id *gatehouse.Identity) string { return id.Subject }
	var noLogin *gatehouse.RelyingParty
	var noAPI *gatehouse.ResourceServer
	for what, c := range map[string]struct {
		wire func()
		want string // after "gatehouse: "
	}{
		"no guard":               {func() { gatehouse.Require(nil) }, "Require: the guard is nil"},
		"typed nil guard":        {func() { gatehouse.Require(noLogin) }, "Require: the RelyingParty was not made by NewRelyingParty"},
		"zero guard":             {func() { gatehouse.Require(&gatehouse.RelyingParty{}) }, "Require: the RelyingParty was not made by NewRelyingParty"},
		"no handler":             {func() { gatehouse.Require(login)(nil) }, "Require: the handler is nil"},
		"nil function":           {func() { gatehouse.Require(login)(http.HandlerFunc(nil)) }, "Require: the handler is nil"},
		"no page":                {func() { gatehouse.Either(nil, login) }, "Either, page: the guard is nil"},
		"no API":                 {func() { gatehouse.Either(login, nil) }, "Either, api: the guard is nil"},
		"zero page":              {func() { gatehouse.Either(noLogin, login) }, "Either, page: the RelyingParty was not made by NewRelyingParty"},
		"login without handler":  {func() { login.RequireLogin(nil) }, "RequireLogin: the handler is nil"},
		"nil login":              {func() { noLogin.RequireLogin(http.NotFoundHandler()) }, "RequireLogin: the RelyingParty was not made by NewRelyingParty"},
		"option without handler": {func() { login.OptionalLogin(nil) }, "OptionalLogin: the handler is nil"},
		"zero option":            {func() { new(gatehouse.RelyingParty).OptionalLogin(http.NotFoundHandler()) }, "OptionalLogin: the RelyingParty was not made by NewRelyingParty"},
		"stricter than nobody":   {func() { noLogin.With() }, "With: the RelyingParty was not made by NewRelyingParty"},
		"zero requirement":       {func() { login.With(gatehouse.Requirement{}) }, "With: the Requirement is the zero value, which requires nothing"},
		"no owners":              {func() { login.With(gatehouse.OwnerGrant()) }, "With: OwnerGrant needs RelyingPartyConfig.OwnerGrants"},
		"no age":                 {func() { gatehouse.MaxAge(time.Second - 1) }, "MaxAge: less than one second can never be met"},
		"no requirement":         {func() { gatehouse.RequirementFunc("owner", nil) }, "RequirementFunc: the function is nil"},
		"headers, no handler":    {func() { gatehouse.IdentityHeaders(nil)(nil) }, "IdentityHeaders: the handler is nil"},
		"headers, all at once": {func() {
			gatehouse.IdentityHeaders(map[string]func(*gatehouse.Identity) string{"X-User": name, "x_user": name, "X-Name": name, "x-name": name, "X-None": nil, "": name})
		}, "IdentityHeaders: \"\" is not the name of a header\n\"X-None\" has no function\n\"X-Name\" and \"x-name\" are spellings of one header\n\"x_user\" is not the name of a header"},
		"UMA without need":    {func() { api.UMAProtect(nil) }, "UMAProtect: the Need is nil: give Rules, a Permission or a NeedFunc"},
		"UMA without handler": {func() { api.UMAProtect(view)(nil) }, "UMAProtect: the handler is nil"},
		"guard without need":  {func() { api.UMAGuard(nil) }, "UMAGuard: the Need is nil: give Rules, a Permission or a NeedFunc"},
		"no rules":            {func() { api.UMAGuard(gatehouse.Rules{}) }, "UMAGuard: the Rules are empty: nothing could ever be reached"},
		"nil NeedFunc":        {func() { api.UMAGuard(gatehouse.NeedFunc(nil)) }, "UMAGuard: the NeedFunc is nil"},
		"empty permission":    {func() { api.UMAGuard(gatehouse.Permission{}) }, "UMAGuard: the permission is empty; Public() lets everybody pass"},
		"rules, all at once": {func() {
			api.UMAGuard(gatehouse.Rules{"GET /a": nil, "GET /b": view, "GET /c": gatehouse.Rules{"GET /d": gatehouse.Permission{}}})
		}, "UMAGuard: Rules[\"GET /a\"]: the rule is nil\nRules[\"GET /c\"]: Rules[\"GET /d\"]: the permission is empty; Public() lets everybody pass"},
		"nil API":  {func() { noAPI.UMAProtect(view) }, "UMAProtect: the ResourceServer was not made by NewResourceServer"},
		"zero API": {func() { new(gatehouse.ResourceServer).UMAGuard(view) }, "UMAGuard: the ResourceServer was not made by NewResourceServer"},
	} {
		t.Run(what, func(t *testing.T) {
			defer func() {
				if got := fmt.Sprint(recover()); got != "gatehouse: "+c.want {
					t.Errorf("panic %q,\nwant %q", got, "gatehouse: "+c.want)
				}
			}()
			c.wire()
		})
	}
}
