package uma_rp_test

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"testing"

	"example.com/gatehouse"
	"example.com/gatehouse/internal/e2e/world"
)

func TestUMANeedInfo(t *testing.T) {
	idToken := `"required_claims":[{"name":"email","friendly_name":"your address","claim_type":"string","claim_token_format":["urn:saml","` +
		idTokenFormat + `"],"issuer":["https://idp.example.org"]}]`
	need := func(more ...string) world.ScriptAnswer {
		return world.Refused(403, "need_info", append([]string{`"ticket":"new-1"`}, more...)...)
	}
	saml := func(context.Context) (gatehouse.ClaimToken, error) {
		return gatehouse.ClaimToken{Token: gatehouse.NewSecret("saml"), Format: "urn:saml"}, nil
	}
	none := func(context.Context) (gatehouse.ClaimToken, error) { return gatehouse.ClaimToken{}, nil }
	full := gatehouse.RequiredClaim{Name: "email", FriendlyName: "your address", Type: "string",
		TokenFormats: []string{"urn:saml", idTokenFormat}, Issuers: []string{"https://idp.example.org"}}
	tests := map[string]struct {
		claims func(context.Context) (gatehouse.ClaimToken, error)
		answer world.ScriptAnswer
		pushed string                  // format; "" if not pushed
		want   gatehouse.NeedInfoError // when not pushed
	}{
		"pushed":              {world.ForBob().Claims, need(idToken), idTokenFormat, gatehouse.NeedInfoError{}},
		"pushed, none listed": {world.ForBob().Claims, need(`"redirect_user":"https://as.example.org/claims"`), idTokenFormat, gatehouse.NeedInfoError{}},
		"another format":      {saml, need(idToken), "urn:saml", gatehouse.NeedInfoError{}},
		"format not listed":   {saml, need(`"required_claims":[{"claim_token_format":["` + idTokenFormat + `"]}]`), "", gatehouse.NeedInfoError{Claims: []gatehouse.RequiredClaim{{TokenFormats: []string{idTokenFormat}}}}},
		"no Claims":           {nil, need(idToken), "", gatehouse.NeedInfoError{Claims: []gatehouse.RequiredClaim{full}}},
		"nothing to push":     {none, need(idToken), "", gatehouse.NeedInfoError{Claims: []gatehouse.RequiredClaim{full}}},
		"redirect_user":       {nil, need(`"redirect_user":"https://as.example.org/claims?x=1"`), "", gatehouse.NeedInfoError{RedirectUser: "https://as.example.org/claims?x=1"}},
		"Gluu's address":      {nil, need(`"redirect_user":"https://as.example.org/claims&client_id=1"`), "", gatehouse.NeedInfoError{RedirectUser: "https://as.example.org/claims&client_id=1"}},
		"redirect_user http":  {nil, need(`"redirect_user":"http://as.example.org/claims"`), "", gatehouse.NeedInfoError{}},
		"a script":            {nil, need(`"redirect_user":"javascript:alert(1)"`), "", gatehouse.NeedInfoError{}},
		"UMA 1's boolean":     {nil, need(`"redirect_user":true`), "", gatehouse.NeedInfoError{}},
		"claims of odd types": {nil, need(`"required_claims":[{"name":7,"issuer":"https://idp","claim_token_format":{}}]`), "", gatehouse.NeedInfoError{Claims: []gatehouse.RequiredClaim{{Issuers: []string{"https://idp"}}}}},
		"claims no array":     {nil, need(`"required_claims":"email"`), "", gatehouse.NeedInfoError{}},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			w := world.NewShopScript(t)
			w.Answer = func(n int, form url.Values) world.ScriptAnswer {
				if n == 1 {
					return tt.answer
				}
				return world.Granted("rpt1")
			}
			c := w.Client(world.WhenAsked(gatehouse.UMATransportConfig{Claims: tt.claims, Party: world.ForBob().Party}))
			_, _, err := world.Get(c, world.ShopScriptPhotos)
			w.WantNoSecret(err)
			got := w.Asked()
			if got[0].Has("claim_token") || got[0].Get("ticket") != "ticket-1" {
				t.Errorf("first: %v", got[0])
			}
			if tt.pushed != "" {
				if err != nil || len(got) != 2 || got[1].Get("claim_token_format") != tt.pushed ||
					got[1].Get("claim_token") == "" || got[1].Get("ticket") != "new-1" {
					t.Errorf("%v; asked %v", err, got)
				}
				return
			}
			e, ok := errors.AsType[*gatehouse.NeedInfoError](err)
			if !ok || len(got) != 1 {
				t.Fatalf("%v; %d token requests", err, len(got))
			}
			if e.Ticket.Reveal() != "new-1" || e.Issuer != world.ShopScriptIssuer || e.RedirectUser != tt.want.RedirectUser ||
				fmt.Sprint(e.Claims) != fmt.Sprint(tt.want.Claims) {
				t.Errorf("got %+v", e)
			}
			if codes := w.EventsOf(gatehouse.EventRPT); !slices.Equal(codes, []string{"need_info"}) {
				t.Errorf("grant events %q", codes)
			}
		})
	}
}

// Claims are pushed once. A server that keeps asking for more needs an answer
// from a person.
func TestUMANeedInfoForever(t *testing.T) {
	w := world.NewShopScript(t)
	w.Answer = func(n int, _ url.Values) world.ScriptAnswer {
		return world.Refused(403, "need_info", fmt.Sprintf(`"ticket":"new-%d"`, n))
	}
	_, _, err := world.Get(w.Client(world.WhenAsked(world.ForBob())), world.ShopScriptPhotos)
	e, ok := errors.AsType[*gatehouse.NeedInfoError](err)
	if !ok || e.Ticket.Reveal() != "new-2" || len(w.Asked()) != 2 {
		t.Errorf("%v, %d token requests", err, len(w.Asked()))
	}
}

// Keycloak never asks for claims, and it bothers the owner unless told not to
// (K11, K14, K16).
func TestUMAKeycloak(t *testing.T) {
	tests := map[string]struct {
		keycloak bool
		config   gatehouse.UMATransportConfig
		pushed   bool
		submit   string
	}{
		"standard":                {false, world.ForBob(), true, ""},
		"standard, when asked":    {false, world.WhenAsked(world.ForBob()), false, ""},
		"Keycloak":                {true, world.ForBob(), true, "false"},
		"Keycloak, when asked":    {true, world.WhenAsked(world.ForBob()), true, "false"},
		"Keycloak, SubmitRequest": {true, with(world.ForBob(), func(c *gatehouse.UMATransportConfig) { c.SubmitRequest = true }), true, ""},
		"Keycloak, for itself":    {true, gatehouse.UMATransportConfig{}, false, "false"},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			w := world.NewShopScript(t)
			c := &http.Client{Transport: w.Shop(w.Told(tt.keycloak), tt.config)}
			w.WantPicture(c, world.ShopScriptPhotos)
			got := w.Asked()
			if len(got) != 1 || got[0].Has("claim_token") != tt.pushed || got[0].Get("submit_request") != tt.submit {
				t.Errorf("asked %v", got)
			}
			if tt.pushed && (got[0].Get("claim_token") != world.ShopScriptIDToken || got[0].Get("claim_token_format") != idTokenFormat) {
				t.Errorf("pushed %v", got[0])
			}
		})
	}
}

// A ticket that Keycloak ignores because of its length is named (K25).
func TestUMAKeycloakLongTicket(t *testing.T) {
	for name, tt := range map[string]struct {
		keycloak bool
		length   int
		answer   world.ScriptAnswer
		named    bool
	}{
		"too long":            {true, 4001, world.Refused(400, "invalid_request"), true},
		"just fits":           {true, 4000, world.Refused(400, "invalid_request"), false},
		"standard":            {false, 4001, world.Refused(400, "odd"), false},
		"the owner is asked":  {true, 4001, world.Refused(403, "access_denied", `"error_description":"request_submitted"`), false},
		"denied all the same": {true, 4001, world.Refused(403, "access_denied"), true},
	} {
		w := world.NewShopScript(t)
		w.Answer = func(int, url.Values) world.ScriptAnswer { return tt.answer }
		w.ServePhotos(func(rw http.ResponseWriter, r *http.Request) {
			rw.Header().Set("WWW-Authenticate", fmt.Sprintf("UMA as_uri=%q, ticket=%q", world.ShopScriptIssuer, strings.Repeat("t", tt.length)))
			rw.WriteHeader(401)
		})
		c := &http.Client{Transport: w.Shop(w.Told(tt.keycloak), gatehouse.UMATransportConfig{})}
		_, _, err := world.Get(c, world.ShopScriptPhotos)
		if err == nil || strings.Contains(err.Error(), "Keycloak ignores one of more than 4000") != tt.named {
			t.Errorf("%s: %v", name, err)
		}
		if strings.Contains(name, "owner") && !errors.As(err, new(*gatehouse.SubmittedError)) {
			t.Errorf("%s: %v", name, err)
		}
	}
}

// If the configured proof is missing, nothing is sent in the client's own name.
func TestUMAClaimsFail(t *testing.T) {
	cause := &gatehouse.Error{Code: "login_required", Status: 401}
	tests := map[string]struct {
		keycloak bool
		token    string
		err      error
		answer   world.ScriptAnswer
		code     string
		asked    int
	}{
		"Keycloak, no token":      {true, "", nil, world.Granted("rpt1"), "claims_unavailable", 0},
		"Keycloak, error":         {true, "", errors.New("no session"), world.Granted("rpt1"), "claims_unavailable", 0},
		"Keycloak, our error":     {true, "", cause, world.Granted("rpt1"), "login_required", 0},
		"Keycloak, session ended": {true, world.ShopScriptIDToken, nil, world.Refused(400, "unauthorized_client"), "uma_claims_refused", 1},
		"Keycloak, expired":       {true, world.ShopScriptIDToken, nil, world.Refused(400, "invalid_claim_token"), "uma_claims_refused", 1},
		"Keycloak, wrong secret":  {true, world.ShopScriptIDToken, nil, world.Refused(401, "unauthorized_client"), "client_refused", 1},
		"standard, no token":      {false, "", nil, world.Granted("rpt1"), "claims_unavailable", 0},
		"standard, error":         {false, "", errors.New("no session"), world.Granted("rpt1"), "claims_unavailable", 0},
		"asked for, error":        {false, "", errors.New("no session"), world.Refused(403, "need_info", `"ticket":"new-1"`), "claims_unavailable", 1},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			w := world.NewShopScript(t)
			w.Answer = func(int, url.Values) world.ScriptAnswer { return tt.answer }
			config := world.ForBob()
			config.ClaimsWhenAsked = tt.asked == 1 && !tt.keycloak
			config.Claims = func(context.Context) (gatehouse.ClaimToken, error) {
				return gatehouse.ClaimToken{Token: gatehouse.NewSecret(tt.token)}, tt.err
			}
			w.WantCode(&http.Client{Transport: w.Shop(w.Told(tt.keycloak), config)}, world.ShopScriptPhotos, tt.code)
			if len(w.Asked()) != tt.asked {
				t.Errorf("%d token requests", len(w.Asked()))
			}
		})
	}
}

// A server that refuses the format of the claims gets one more ticket without
// them. Where it may be Keycloak nothing is sent without them, because it would
// give the client's own permission.
func TestUMAFormatOfClaimsRefused(t *testing.T) {
	again, refused := []bool{true, false}, []bool{true}
	tests := map[string]struct {
		status int
		code   string
		md     gatehouse.Metadata
		pushed []bool // for each token request
		want   string
	}{
		"invalid_request":            {400, "invalid_request", world.ShopScriptMetadata(false), again, ""},
		"Gluu":                       {400, "invalid_claim_token_format", world.ShopScriptMetadata(false), again, ""},
		"another word":               {403, "unsupported_claim_token_format", world.ShopScriptMetadata(false), again, ""},
		"the token is refused":       {400, "invalid_claim_token", world.ShopScriptMetadata(false), refused, "uma_claims_refused"},
		"the person is refused":      {403, "request_denied", world.ShopScriptMetadata(false), refused, "uma_denied"},
		"Keycloak":                   {400, "invalid_request", world.ShopScriptMetadata(true), refused, "uma_grant_refused"},
		"perhaps Keycloak (by hand)": {400, "invalid_request", gatehouse.Metadata{TokenEndpoint: world.ShopScriptMetadata(false).TokenEndpoint}, refused, "uma_grant_refused"},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			w := world.NewShopScript(t)
			w.Answer = func(n int, f url.Values) world.ScriptAnswer {
				if f.Has("claim_token") {
					return world.Refused(tt.status, tt.code)
				}
				return world.Granted(fmt.Sprintf("rpt%d", n))
			}
			c := &http.Client{Transport: w.Shop(w.Provider(func(c *gatehouse.ProviderConfig) { c.Metadata = &tt.md }), world.ForBob())}
			if tt.want == "" {
				w.WantPicture(c, world.ShopScriptPhotos)
			} else {
				w.WantCode(c, world.ShopScriptPhotos, tt.want)
			}
			var pushed []bool
			for _, form := range w.Asked() {
				pushed = append(pushed, form.Has("claim_token"))
			}
			if !slices.Equal(pushed, tt.pushed) {
				t.Errorf("claims in the token requests: %v, want %v", pushed, tt.pushed)
			}
		})
	}

	// The next ticket may bring a question, which is the application's.
	w := world.NewShopScript(t)
	w.Answer = func(_ int, f url.Values) world.ScriptAnswer {
		if f.Has("claim_token") {
			return world.Refused(400, "invalid_request")
		}
		return world.Refused(403, "need_info", `"ticket":"new-1"`)
	}
	_, _, err := world.Get(w.Client(world.ForBob()), world.ShopScriptPhotos)
	if need, ok := errors.AsType[*gatehouse.NeedInfoError](err); !ok || need.Ticket.Reveal() != "new-1" || len(w.Asked()) != 2 {
		t.Errorf("%v after %d token requests", err, len(w.Asked()))
	}
}

// Hand-written metadata serve as far as they go: a client needs a token
// endpoint and nothing else. Dialect says what they cannot.
func TestUMAMetadataByHand(t *testing.T) {
	only := gatehouse.Metadata{TokenEndpoint: world.ShopScriptMetadata(false).TokenEndpoint}
	for name, tt := range map[string]struct {
		dialect gatehouse.Dialect
		pushed  bool
		submit  string
	}{
		"standard": {"", false, ""},
		"Keycloak": {gatehouse.Keycloak, true, "false"},
	} {
		t.Run(name, func(t *testing.T) {
			w := world.NewShopScript(t)
			p := w.Provider(func(c *gatehouse.ProviderConfig) { c.Metadata, c.Dialect = &only, tt.dialect })
			c := &http.Client{Transport: w.Shop(p, world.WhenAsked(world.ForBob()))}
			w.WantPicture(c, world.ShopScriptPhotos) // the kit complains about any other address
			got := w.Asked()
			if len(got) != 1 || got[0].Has("claim_token") != tt.pushed || got[0].Get("submit_request") != tt.submit {
				t.Errorf("asked %v", got)
			}
		})
	}
}

// A failure of Claims after a question leaves the question to the application.
func TestUMAClaimsFailAfterAQuestion(t *testing.T) {
	w := world.NewShopScript(t)
	w.Answer = func(int, url.Values) world.ScriptAnswer { return world.Refused(403, "need_info", `"ticket":"new-1"`) }
	config := world.WhenAsked(world.ForBob())
	config.Claims = func(context.Context) (gatehouse.ClaimToken, error) {
		return gatehouse.ClaimToken{}, errors.New("no session")
	}
	_, _, err := world.Get(w.Client(config), world.ShopScriptPhotos)
	need, ok := errors.AsType[*gatehouse.NeedInfoError](err)
	if gatehouse.ErrorCode(err) != "claims_unavailable" || !ok || need.Ticket.Reveal() != "new-1" {
		t.Errorf("%v", err)
	}
	if codes := w.EventsOf(gatehouse.EventRPT); !slices.Equal(codes, []string{"claims_unavailable"}) {
		t.Errorf("grant events %q", codes)
	}
}

// A panic in the application's Claims is an error of this request.
func TestUMAClaimsPanic(t *testing.T) {
	w := world.NewShopScript(t)
	config := world.ForBob()
	config.Claims = func(context.Context) (gatehouse.ClaimToken, error) { panic("SECRET") }
	_, _, err := world.Get(w.Client(config), world.ShopScriptPhotos)
	if gatehouse.ErrorCode(err) != "internal" || strings.Contains(err.Error(), "SECRET") {
		t.Errorf("%v", err)
	}
}
