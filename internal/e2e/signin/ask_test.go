package signin_test

import (
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"reflect"
	"strings"
	"testing"
	"time"

	"example.com/gatehouse"
	"example.com/gatehouse/internal/e2e/world"
	"example.com/gatehouse/internal/testkit/opserver"
)

// everything asks for all that a sign-in can ask for.
func everything() gatehouse.AuthRequest {
	return gatehouse.AuthRequest{
		Prompt: []string{"login", "consent"}, MaxAge: time.Hour, ACRValues: []string{"2", "1"}, LoginHint: "ana@example.org",
		UILocales: []string{"de-CH", "fr"}, ClaimsLocales: []string{"de"}, Display: "popup",
		Claims: gatehouse.ClaimsRequest{
			IDToken:  map[string]gatehouse.ClaimRequest{"acr": {Essential: true, Values: []any{"2", "3"}}, "auth_time": {Essential: true}},
			UserInfo: map[string]gatehouse.ClaimRequest{"email": {}, "dept": {Essential: true, Value: "finance"}},
		},
		Params: url.Values{"hd": {"example.org"}},
	}
}

// wantAsked compares parameters of an authorization request, each of which is
// there once. "" means that it is not there.
func wantAsked(t testing.TB, a *world.Page, want map[string]string) {
	t.Helper()
	q := world.QueryOf(t, a.Location())
	for name, value := range want {
		if got := strings.Join(q[name], "|"); got != value {
			t.Errorf("asked with %s=%q, want %q", name, got, value)
		}
	}
}

// asking is a site whose page /asks asks for more, and at which cleo works
// in finance.
func asking(t testing.TB, asks gatehouse.AuthRequest, change ...func(*gatehouse.RelyingPartyConfig)) *world.Site {
	t.Helper()
	s := world.NewSite(t, func(o *world.SiteOptions) {
		o.Party = func(c *gatehouse.RelyingPartyConfig) {
			for _, f := range change {
				f(c)
			}
		}
		o.Mount = func(mux *http.ServeMux, login *gatehouse.RelyingParty) {
			mux.Handle("/asks", login.With(gatehouse.Ask(asks)).RequireLogin(world.WhoAmI))
		}
	})
	s.Must(s.AddUser("cleo", world.SitePass, map[string]any{"sub": "cleo-1", "dept": "finance"}))
	return s
}

// A route asks for all of it, in the words of OpenID Connect Core §3.1.2.1 and
// §5.5. Others ask for none of it.
func TestAsk(t *testing.T) {
	s := asking(t, everything())
	ana := s.Visitor("cleo")
	a := ana.Get("/asks")
	wantAsked(t, a, map[string]string{
		"prompt": "login consent", "max_age": "0", "acr_values": "2 1", "login_hint": "ana@example.org", "ui_locales": "de-CH fr", "claims_locales": "de", "display": "popup", "hd": "example.org",
		"claims": `{"id_token":{"acr":{"essential":true,"values":["2","3"]},"auth_time":{"essential":true}},"userinfo":{"dept":{"essential":true,"value":"finance"},"email":null}}`,
	})
	ana.WantServed(ana.Follow(a, nil))
	ana.WantServed(ana.Get("/asks"))
	none := map[string]string{}
	for _, name := range []string{"prompt", "max_age", "acr_values", "login_hint", "ui_locales", "claims_locales", "display", "claims", "hd"} {
		none[name] = ""
	}
	for _, path := range []string{"/notes/", "/auth/login"} {
		wantAsked(t, s.Visitor("ben").Get(path), none)
	}
	// A stranger's query asks for nothing.
	stranger := url.Values{"prompt": {"login"}, "max_age": {"1"}, "acr_values": {"2"}, "login_hint": {"eve"}, "ui_locales": {"xx"}, "claims_locales": {"xx"}, "display": {"wap"}, "claims": {"{}"}, "hd": {"evil"}, "scope": {"admin"}}
	for _, path := range []string{"/notes/?", "/auth/login?"} {
		wantAsked(t, s.Visitor("ben").Get(path+stranger.Encode()), none)
	}
}

// The function of the application has the last word for one request: over the
// route, which lies over AuthParams. The requirements of the guard stay.
func TestAskPerRequest(t *testing.T) {
	var seen []gatehouse.AuthRequest
	s := world.NewSite(t, func(o *world.SiteOptions) {
		o.Party = func(c *gatehouse.RelyingPartyConfig) {
			c.AuthParams = url.Values{"ui_locales": {"en"}, "prompt": {"consent"}, "audience": {"api"}}
			c.AuthRequest = func(r *http.Request, a *gatehouse.AuthRequest) error {
				seen = append(seen, *a)
				if r.URL.Path == "/asks" {
					a.UILocales, a.ACRValues, a.MaxAge = []string{"fr"}, []string{"1"}, 2*time.Hour
					a.Params = url.Values{"audience": {"other"}}
					a.Claims.UserInfo["phone_number"] = gatehouse.ClaimRequest{}
				}
				return nil
			}
		}
		o.Mount = func(mux *http.ServeMux, login *gatehouse.RelyingParty) {
			route := login.With(gatehouse.MaxAge(time.Hour), gatehouse.ACR("2"), gatehouse.Ask(gatehouse.AuthRequest{UILocales: []string{"de"}, Display: "page", ACRValues: []string{"7"},
				Claims: gatehouse.ClaimsRequest{UserInfo: map[string]gatehouse.ClaimRequest{"email": {}}}}))
			mux.Handle("/asks", route.RequireLogin(world.WhoAmI))
			mux.Handle("/route", route.With(gatehouse.Ask(gatehouse.AuthRequest{Display: "touch", MaxAge: time.Minute})).RequireLogin(world.WhoAmI))
		}
	})
	for range 2 { // what the function changes is gone at the next request
		wantAsked(t, s.Visitor("ana").Get("/asks"), map[string]string{"ui_locales": "fr", "display": "page", "acr_values": "2", "max_age": "3600", "prompt": "consent", "audience": "other",
			"claims": `{"userinfo":{"email":null,"phone_number":null}}`})
	}
	wantAsked(t, s.Visitor("ana").Get("/route"), map[string]string{"ui_locales": "de", "display": "touch", "acr_values": "2", "max_age": "60", "prompt": "consent", "audience": "api", "claims": `{"userinfo":{"email":null}}`})
	wantAsked(t, s.Visitor("ana").Get("/auth/login"), map[string]string{"ui_locales": "en", "display": "", "acr_values": "", "max_age": "", "prompt": "consent", "audience": "api", "claims": ""})
	if len(seen) != 4 || !reflect.DeepEqual(seen[0].UILocales, []string{"de"}) || !reflect.DeepEqual(seen[3], gatehouse.AuthRequest{}) {
		t.Errorf("the function saw %+v", seen)
	}
	ana := s.Visitor("ana")
	ana.WantServed(ana.Visit("/asks"))
}

// A function that fails, panics or returns what only gatehouse sets, or what no
// provider understands, starts no sign-in. The log says what is wrong.
func TestAskRefused(t *testing.T) {
	secret := "s3cret-of-the-function-0123456789"
	for name, c := range map[string]struct {
		f      func(a *gatehouse.AuthRequest) error
		status int
		code   string
		log    string
	}{
		"fails": {func(*gatehouse.AuthRequest) error { return errors.New("no such tenant") }, 503, "auth_request_hook_failed", "no such tenant"},
		"own error": {func(*gatehouse.AuthRequest) error {
			return &gatehouse.Error{Code: "closed", Status: 451, Message: "Closed."}
		}, 451, "closed", "closed"},
		"panics":       {func(*gatehouse.AuthRequest) error { panic("lost") }, 500, "internal", "panic of type string"},
		"none and":     {func(a *gatehouse.AuthRequest) error { a.Prompt = []string{"none", "login"}; return nil }, 500, "auth_request_refused", "prompt: none stands alone"},
		"two words":    {func(a *gatehouse.AuthRequest) error { a.UILocales = []string{"de fr"}; return nil }, 500, "auth_request_refused", "UILocales"},
		"empty word":   {func(a *gatehouse.AuthRequest) error { a.ACRValues = []string{""}; return nil }, 500, "auth_request_refused", "ACRValues"},
		"display":      {func(a *gatehouse.AuthRequest) error { a.Display = "a page"; return nil }, 500, "auth_request_refused", "AuthRequest: display"},
		"age":          {func(a *gatehouse.AuthRequest) error { a.MaxAge = time.Millisecond; return nil }, 500, "auth_request_refused", "MaxAge"},
		"negative age": {func(a *gatehouse.AuthRequest) error { a.MaxAge = -time.Hour; return nil }, 500, "auth_request_refused", "MaxAge"},
		"hint":         {func(a *gatehouse.AuthRequest) error { a.LoginHint = strings.Repeat("x", 1001); return nil }, 500, "auth_request_refused", "login_hint has 1001 bytes"},
		"typed":        {func(a *gatehouse.AuthRequest) error { a.Params = url.Values{"claims": {"{}"}}; return nil }, 500, "auth_request_refused", "has a field of its own"},
		"too much": {func(a *gatehouse.AuthRequest) error {
			a.Params = url.Values{"x": {strings.Repeat("x", 9000)}}
			return nil
		}, 500, "auth_request_refused", "more than 8192"},
		"no JSON": {func(a *gatehouse.AuthRequest) error {
			a.Claims.IDToken = map[string]gatehouse.ClaimRequest{"x": {Value: func() {}}}
			return nil
		}, 500, "auth_request_refused", `Claims: id_token \"x\"`},
		"both": {func(a *gatehouse.AuthRequest) error {
			a.Claims.IDToken = map[string]gatehouse.ClaimRequest{"x": {Value: 1, Values: []any{2}}}
			return nil
		}, 500, "auth_request_refused", "Value and Values"},
		"too many": {func(a *gatehouse.AuthRequest) error {
			a.Claims.IDToken = map[string]gatehouse.ClaimRequest{}
			for i := range 12 {
				a.Claims.IDToken[fmt.Sprint("claim", i)] = gatehouse.ClaimRequest{Essential: true, Value: i}
			}
			return nil
		}, 500, "auth_request_refused", "ask for fewer"},
	} {
		t.Run(name, func(t *testing.T) {
			s := world.NewSite(t, func(o *world.SiteOptions) {
				o.Party = func(pc *gatehouse.RelyingPartyConfig) {
					pc.AuthRequest = func(_ *http.Request, a *gatehouse.AuthRequest) error { return c.f(a) }
				}
			})
			for _, path := range []string{"/notes/", "/auth/login"} {
				ana := s.Visitor("ana")
				a := ana.Get(path)
				s.WantRefusal(a, c.status)
				if s.LastCode() != c.code || s.Logged(c.log) == 0 || len(ana.Attempts()) != 0 || strings.Contains(a.Body.String(), c.log) {
					t.Errorf("code %q, %d attempts, %v\n%s", s.LastCode(), len(ana.Attempts()), a, s.Log())
				}
			}
		})
	}
	for _, name := range []string{"client_id", "redirect_uri", "response_type", "response_mode", "scope", "state", "nonce", "code_challenge", "code_challenge_method", "max_age", "request", "request_uri"} {
		s := world.NewSite(t, func(o *world.SiteOptions) {
			o.Party = func(pc *gatehouse.RelyingPartyConfig) {
				pc.AuthRequest = func(_ *http.Request, a *gatehouse.AuthRequest) error {
					a.Params = url.Values{name: {secret}}
					return nil
				}
			}
		})
		s.WantRefusal(s.Visitor("ana").Get("/notes/"), 500)
		if s.LastCode() != "auth_request_refused" || s.Logged(`\"`+name+`\" is set by gatehouse`) == 0 || s.Logged(secret) != 0 {
			t.Errorf("%s: code %q\n%s", name, s.LastCode(), s.Log())
		}
	}
}

// What no provider could understand is told when the program starts.
func TestAskWiring(t *testing.T) {
	essential := gatehouse.AuthRequest{Claims: gatehouse.ClaimsRequest{UserInfo: map[string]gatehouse.ClaimRequest{"dept": {Essential: true, Value: "x"}}}}
	s := world.NewSite(t, func(o *world.SiteOptions) { o.Party = func(c *gatehouse.RelyingPartyConfig) { c.SkipUserInfo = true } })
	api, err := gatehouse.NewResourceServer(s.Replicas[0].Provider, gatehouse.ResourceServerConfig{Audience: []string{"api"}})
	s.Must(err)
	for want, f := range map[string]func(){
		"gatehouse: Ask: prompt: none stands alone":                                                 func() { gatehouse.Ask(gatehouse.AuthRequest{Prompt: []string{"login", "none"}}) },
		`gatehouse: Ask: Params: "state" is set by gatehouse`:                                       func() { gatehouse.Ask(gatehouse.AuthRequest{Params: url.Values{"state": {"x"}}}) },
		"gatehouse: With: an essential claim of the user info has a value, but SkipUserInfo is set": func() { s.Replicas[0].Login.With(gatehouse.Ask(essential)) },
		"gatehouse: With: Ask is for pages: it says what a sign-in asks of the provider":            func() { api.With(gatehouse.Ask(gatehouse.AuthRequest{Display: "page"})) },
		"gatehouse: Ask: Claims: id_token \"x\": a value of type struct {} can never equal a claim": func() {
			gatehouse.Ask(gatehouse.AuthRequest{Claims: gatehouse.ClaimsRequest{IDToken: map[string]gatehouse.ClaimRequest{"x": {Value: struct{}{}}}}})
		},
	} {
		func() {
			defer func() {
				if got := fmt.Sprint(recover()); got != want {
					t.Errorf("got %q, want %q", got, want)
				}
			}()
			f()
		}()
	}
	alone := world.NewSite(t, speaking("id_token", "", false)) // without an access token there is no user info
	func() {
		defer func() {
			if got, want := fmt.Sprint(recover()), `gatehouse: With: an essential claim of the user info has a value, but ResponseType "id_token" brings no access token`; got != want {
				t.Errorf("got %q, want %q", got, want)
			}
		}()
		alone.Replicas[0].Login.With(gatehouse.Ask(essential))
	}()
	if _, err := gatehouse.NewRelyingParty(s.Replicas[0].Provider, gatehouse.RelyingPartyConfig{Client: gatehouse.Client{ID: "notes"}, RedirectURL: "https://notes.test/cb", ResponseType: "id_token",
		AuthParams: url.Values{"claims": {`{"userinfo":{"dept":{"essential":true,"value":"x"}}}`}}}); err == nil || !strings.Contains(err.Error(), "AuthParams: an essential claim of the user info has a value, but ResponseType") {
		t.Error(err)
	}
	for want, params := range map[string]url.Values{
		"AuthParams: claims: it is not one JSON object":     {"claims": {"[]"}},
		"AuthParams: prompt is there 2 times":               {"prompt": {"login", "consent"}},
		"AuthParams: prompt: none stands alone":             {"prompt": {"none login"}},
		"AuthParams: an essential claim of the user info":   {"claims": {`{"userinfo":{"dept":{"essential":true,"value":"x"}}}`}},
		"AuthParams: claims: id_token is no object":         {"claims": {`{"id_token":7}`}},
		`AuthParams: claims: id_token "a": it has value an`: {"claims": {`{"id_token":{"a":{"value":1,"values":[1]}}}`}},
	} {
		_, err := gatehouse.NewRelyingParty(s.Replicas[0].Provider, gatehouse.RelyingPartyConfig{Client: gatehouse.Client{ID: "notes"}, RedirectURL: "https://notes.test/cb", AuthParams: params, SkipUserInfo: true})
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%v: %v", params, err)
		}
	}
}

// Core §3.1.2.1: prompt=login asks for a new authentication, and auth_time has to
// show one: by a route, by the function and by AuthParams.
func TestAskPromptLogin(t *testing.T) {
	login := gatehouse.AuthRequest{Prompt: []string{"login"}}
	for name, change := range map[string]func(c *gatehouse.RelyingPartyConfig){
		"route": func(*gatehouse.RelyingPartyConfig) {},
		"function": func(c *gatehouse.RelyingPartyConfig) {
			c.AuthRequest = func(_ *http.Request, a *gatehouse.AuthRequest) error { a.Prompt = login.Prompt; return nil }
		},
		"AuthParams": func(c *gatehouse.RelyingPartyConfig) { c.AuthParams = url.Values{"prompt": {"login"}} },
	} {
		t.Run(name, func(t *testing.T) {
			asks := gatehouse.AuthRequest{}
			if name == "route" {
				asks = login
			}
			s := asking(t, asks, change)
			ana := s.Visitor("ana")
			a := ana.Get("/asks")
			wantAsked(t, a, map[string]string{"prompt": "login", "max_age": "0"})
			ana.WantServed(ana.Follow(a, nil))
			for what, at := range map[string]func(claims map[string]any){
				"old":     func(claims map[string]any) { claims["auth_time"] = s.Now().Add(-2 * time.Minute).Unix() },
				"missing": func(claims map[string]any) { delete(claims, "auth_time") },
				"no time": func(claims map[string]any) { claims["auth_time"] = "now" },
			} {
				s.Retoken(t, func(_, claims map[string]any) { at(claims) })
				ben := s.Visitor("ben")
				s.WantRefusal(ben.Visit("/asks"), http.StatusBadRequest)
				if s.LastCode() != "auth_time_too_old" || ben.SessionName() != "" {
					t.Errorf("%s: code %q", what, s.LastCode())
				}
			}
		})
	}
	// MaxAge of the function is checked too, and of two the shorter counts.
	s := asking(t, gatehouse.AuthRequest{MaxAge: time.Hour}, func(c *gatehouse.RelyingPartyConfig) {
		c.AuthRequest = func(_ *http.Request, a *gatehouse.AuthRequest) error { a.MaxAge /= 2; return nil }
	})
	s.Retoken(t, func(_, claims map[string]any) { claims["auth_time"] = s.Now().Add(-45 * time.Minute).Unix() })
	ana := s.Visitor("ana")
	s.WantRefusal(ana.Visit("/asks"), http.StatusBadRequest)
	if s.LastCode() != "auth_time_too_old" {
		t.Errorf("code %q", s.LastCode())
	}
	ana.WantServed(ana.Visit("/notes/"))
}

// Core §3.1.2.6: a silent sign-in shows nothing. Where the provider needs the
// person, that is told, and nothing begins by itself.
func TestAskPromptNone(t *testing.T) {
	s := asking(t, gatehouse.AuthRequest{Prompt: []string{"none"}})
	ana := s.Visitor("ana")
	a := ana.Get("/asks")
	wantAsked(t, a, map[string]string{"prompt": "none", "max_age": ""})
	s.ResetCounts()
	a = ana.Follow(a, nil)
	s.WantRefusal(a, http.StatusForbidden)
	if s.LastCode() != gatehouse.CodeInteractionRequired || s.Count(opserver.EndpointAuthorize) != 1 || !strings.Contains(a.Body.String(), `href="/auth/login?return_to=%2Fasks"`) {
		t.Errorf("code %q after %d requests: %v", s.LastCode(), s.Count(opserver.EndpointAuthorize), a)
	}
	back := ana.Follow(ana.Get("/auth/login?return_to=%2Fasks"), nil) // the link of that page
	ana.WantServed(back)
	if back.URL.Path != "/asks" {
		t.Errorf("came back to %s", back.URL.Path)
	}
	for _, c := range ana.Jar.Cookies(&url.URL{Scheme: "https", Host: "notes.test", Path: "/"}) {
		ana.SetCookie(c.Name, "") // the session here is lost, that at the provider is not
	}
	ana.WantServed(ana.Visit("/asks"))
	for _, code := range []string{"login_required", "interaction_required", "consent_required", "account_selection_required", "access_denied"} {
		for path, want := range map[string]string{"/asks": gatehouse.CodeInteractionRequired, "/notes/": gatehouse.CodeProviderRefused} {
			if code == "access_denied" {
				want = gatehouse.CodeProviderRefused
			}
			ben := s.Visitor("ben")
			start := ben.Get(path)
			state := world.QueryOf(t, start.Location()).Get("state")
			s.ResetCounts()
			answer := "/auth/callback?" + url.Values{"error": {code}, "state": {state}, "iss": {world.SiteIssuer}}.Encode()
			s.WantRefusal(ben.Get(answer), http.StatusForbidden)
			if s.LastCode() != want || s.Count(opserver.EndpointAuthorize) != 0 {
				t.Errorf("%s at %s: %q", code, path, s.LastCode())
			}
		}
	}
}

// A silent sign-in that starts over stays silent, and a request that does not fit
// into the cookie is asked for once more as far as it can be.
func TestAskStartsOver(t *testing.T) {
	long := strings.Repeat("x", 500)
	for name, asks := range map[string]gatehouse.AuthRequest{
		"fits": {Prompt: []string{"none"}, UILocales: []string{"de"}},
		"long": {Prompt: []string{"none"}, UILocales: []string{"de"}, Params: url.Values{"x": {long}}},
	} {
		s := asking(t, asks)
		ana := s.Visitor("ana")
		start := ana.Get("/asks")
		state := world.QueryOf(t, start.Location()).Get("state")
		again := ana.Get("/auth/callback?" + url.Values{"error": {"temporarily_unavailable"}, "state": {state}, "iss": {world.SiteIssuer}}.Encode())
		want := map[string]string{"prompt": "none", "ui_locales": "de"}
		if name == "long" {
			want["ui_locales"] = ""
		}
		wantAsked(t, again, want)
		s.WantRefusal(ana.Follow(again, nil), http.StatusForbidden)
		if s.LastCode() != gatehouse.CodeInteractionRequired {
			t.Errorf("%s: %q", name, s.LastCode())
		}
	}
	// What has to be checked is never forgotten: then nothing starts over.
	s := asking(t, gatehouse.AuthRequest{Claims: everything().Claims, Params: url.Values{"x": {long}}})
	ana := s.Visitor("cleo")
	s.WantRefusal(ana.Get(answerWith(t, ana.ToCallback("/asks"), "temporarily_unavailable")), http.StatusForbidden)
	s = asking(t, gatehouse.AuthRequest{Claims: gatehouse.ClaimsRequest{UserInfo: everything().Claims.UserInfo}})
	ana = s.Visitor("cleo")
	again := ana.Get(answerWith(t, ana.ToCallback("/asks"), "temporarily_unavailable"))
	wantAsked(t, again, map[string]string{"claims": `{"userinfo":{"dept":{"essential":true,"value":"finance"},"email":null}}`})
	ana.WantServed(ana.Follow(again, nil))
	for _, name := range ana.Attempts() {
		if c := ana.Cookies()[name]; len(name)+len(c) > 512 {
			t.Errorf("a cookie of %d bytes", len(name)+len(c))
		}
	}
}

// Core §5.5.1: an essential claim with a value has to have it, in the ID Token or
// in the user info, as it was asked for. What is voluntary, or has no value, need
// not come.
func TestAskClaims(t *testing.T) {
	one := func(c gatehouse.ClaimRequest) map[string]gatehouse.ClaimRequest {
		return map[string]gatehouse.ClaimRequest{"dept": c}
	}
	essential := gatehouse.ClaimRequest{Essential: true, Value: "finance"}
	for name, c := range map[string]struct {
		asks gatehouse.ClaimRequest
		has  any // nil for none
		ok   bool
	}{
		"equal":             {essential, "finance", true},
		"another":           {essential, "sales", false},
		"longer":            {essential, "finance ", false},
		"other case":        {essential, "Finance", false},
		"missing":           {essential, nil, false},
		"a list of it":      {essential, []any{"finance"}, false},
		"one of":            {gatehouse.ClaimRequest{Essential: true, Values: []any{"law", "finance"}}, "finance", true},
		"none of":           {gatehouse.ClaimRequest{Essential: true, Values: []any{"law", "sales"}}, "finance", false},
		"number":            {gatehouse.ClaimRequest{Essential: true, Value: 7}, 7.0, true},
		"another number":    {gatehouse.ClaimRequest{Essential: true, Value: 7}, 7.5, false},
		"number and text":   {gatehouse.ClaimRequest{Essential: true, Value: 7}, "7", false},
		"true":              {gatehouse.ClaimRequest{Essential: true, Value: true}, true, true},
		"false":             {gatehouse.ClaimRequest{Essential: true, Value: false}, true, false},
		"object":            {gatehouse.ClaimRequest{Essential: true, Value: map[string]any{"a": 1, "b": []any{"x"}}}, map[string]any{"b": []any{"x"}, "a": 1}, true},
		"another object":    {gatehouse.ClaimRequest{Essential: true, Value: map[string]any{"a": 1}}, map[string]any{"a": 1, "b": 2}, false},
		"voluntary":         {gatehouse.ClaimRequest{Value: "finance"}, "sales", true},
		"without a value":   {gatehouse.ClaimRequest{Essential: true}, nil, true},
		"asked for, absent": {gatehouse.ClaimRequest{}, nil, true},
	} {
		for member, claims := range map[string]gatehouse.ClaimsRequest{"id_token": {IDToken: one(c.asks)}, "userinfo": {UserInfo: one(c.asks)}} {
			t.Run(name+" "+member, func(t *testing.T) {
				s := asking(t, gatehouse.AuthRequest{Claims: claims})
				has := map[string]any{"sub": "dora-1"}
				if c.has != nil {
					has["dept"] = c.has
				}
				s.Must(s.AddUser("dora", world.SitePass, has))
				ana := s.Visitor("dora")
				a := ana.Visit("/asks")
				if c.ok {
					ana.WantServed(a)
					return
				}
				s.WantRefusal(a, http.StatusForbidden)
				if s.LastCode() != "claims_mismatch" || ana.SessionName() != "" || s.Logged("finance") > 0 {
					t.Errorf("code %q\n%s", s.LastCode(), s.Log())
				}
			})
		}
	}
}

// A claim of the user info does not stand in for one of the ID Token, nor the
// other way round.
func TestAskClaimsOfTheOtherSource(t *testing.T) {
	for member, claims := range map[string]gatehouse.ClaimsRequest{
		"id_token": {IDToken: map[string]gatehouse.ClaimRequest{"dept": {Essential: true, Value: "finance"}}},
		"userinfo": {UserInfo: map[string]gatehouse.ClaimRequest{"dept": {Essential: true, Value: "finance"}}},
	} {
		s := asking(t, gatehouse.AuthRequest{Claims: claims})
		s.Retoken(t, func(_, c map[string]any) {
			if member == "id_token" {
				c["dept"] = "sales"
			}
		})
		if member == "userinfo" {
			s.SetWire(func(r *http.Request, next func(*http.Request) *http.Response) (*http.Response, error) {
				if !strings.HasSuffix(s.Endpoint("userinfo_endpoint"), r.URL.Path) {
					return next(r), nil
				}
				return world.RewriteJSON(t, next(r), func(m map[string]any) { delete(m, "dept") }), nil
			})
		}
		ana := s.Visitor("cleo")
		s.WantRefusal(ana.Visit("/asks"), http.StatusForbidden)
		if s.LastCode() != "claims_mismatch" || s.Logged(member) == 0 {
			t.Errorf("%s: code %q\n%s", member, s.LastCode(), s.Log())
		}
	}
}

// Core §3.1.2.2: who is asked for by sub has to sign in. acr and auth_time are
// claims like others.
func TestAskProtocolClaims(t *testing.T) {
	sub := gatehouse.ClaimsRequest{IDToken: map[string]gatehouse.ClaimRequest{"sub": {Value: "ben-1"}}}
	s := asking(t, gatehouse.AuthRequest{Claims: sub})
	ana := s.Visitor("ana")
	s.WantRefusal(ana.Visit("/asks"), http.StatusForbidden)
	if s.LastCode() != gatehouse.CodeProviderRefused {
		t.Errorf("code %q of a provider that keeps to it", s.LastCode())
	}
	ben := s.Visitor("ben")
	ben.WantServed(ben.Visit("/asks"))
	s.Retoken(t, func(_, c map[string]any) { c["sub"] = "eve-1" }) // a provider that does not
	s.WantRefusal(s.Visitor("ben").Visit("/asks"), http.StatusForbidden)
	if s.LastCode() != "claims_mismatch" {
		t.Errorf("code %q of one that does not", s.LastCode())
	}

	acr := gatehouse.ClaimsRequest{IDToken: map[string]gatehouse.ClaimRequest{"acr": {Essential: true, Values: []any{"2"}}}}
	s = asking(t, gatehouse.AuthRequest{Claims: acr})
	ana = s.Visitor("ana")
	ana.WantServed(ana.Visit("/asks"))
	s.Retoken(t, func(_, c map[string]any) { c["acr"] = "1" })
	ben = s.Visitor("ben")
	s.WantRefusal(ben.Visit("/asks"), http.StatusForbidden)
	if s.LastCode() != "claims_mismatch" {
		t.Errorf("code %q", s.LastCode())
	}
}

// A session that lacks an essential claim is asked for it, once. Two guards around
// one page that want different claims do not ask in turn for ever.
func TestAskClaimsOfASession(t *testing.T) {
	ask := func(name string) gatehouse.Requirement {
		return gatehouse.Ask(gatehouse.AuthRequest{Claims: gatehouse.ClaimsRequest{IDToken: map[string]gatehouse.ClaimRequest{name: {Essential: true, Value: "x"}}}})
	}
	s := world.NewSite(t, func(o *world.SiteOptions) {
		o.Mount = func(mux *http.ServeMux, login *gatehouse.RelyingParty) {
			mux.Handle("/a", login.With(ask("a")).RequireLogin(world.WhoAmI))
			mux.Handle("/both", login.With(ask("a")).RequireLogin(login.With(ask("b")).RequireLogin(world.WhoAmI)))
			mux.Handle("/one", login.With(ask("a"), ask("b")).RequireLogin(world.WhoAmI))
		}
	})
	var sent []string // claims that the provider puts into the ID Token because they were asked for
	s.Retoken(t, func(_, c map[string]any) {
		for _, name := range sent {
			c[name] = "x"
		}
	})
	ana := s.Visitor("ana")
	ana.SignIn()
	a := ana.Get("/a")
	wantAsked(t, a, map[string]string{"claims": `{"id_token":{"a":{"essential":true,"value":"x"}}}`})
	s.WantRefusal(ana.Follow(a, nil), http.StatusForbidden)
	ana.WantServed(ana.Get("/notes/")) // the session from before stays
	sent = []string{"a"}
	ana.WantServed(ana.Visit("/a"))
	a = ana.Get("/both")
	for range 10 {
		if a.Location() == "" {
			break
		}
		sent = sent[:0]
		for _, name := range []string{"a", "b"} {
			if strings.Contains(world.QueryOf(t, a.Location()).Get("claims"), `"`+name+`"`) {
				sent = append(sent, name)
			}
		}
		ana.Get(ana.AnswerOf(a))
		a = ana.Get("/both")
	}
	s.WantRefusal(a, http.StatusForbidden)
	if s.LastCode() != gatehouse.CodeForbidden {
		t.Errorf("code %q", s.LastCode())
	}
	sent = []string{"a", "b"}
	ana.WantServed(ana.Visit("/one"))
}
