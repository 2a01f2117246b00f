package api_test

import (
	"fmt"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"example.com/gatehouse"
	"example.com/gatehouse/internal/e2e/world"
	"example.com/gatehouse/internal/testkit/opserver"
	"example.com/gatehouse/internal/testkit/proofkit"
	"example.com/gatehouse/middlewaretest"
)

// algs is what challenges say about the algorithms of proofs.
const algs = `algs="ES256 ES384 ES512 EdDSA RS256 RS384 RS512 PS256 PS384 PS512"`

// proving takes tokens that are bound to a key.
func proving(use gatehouse.DPoPUse) func(*gatehouse.ResourceServerConfig) {
	return func(c *gatehouse.ResourceServerConfig) {
		if use != gatehouse.DPoPOff {
			c.DPoP = gatehouse.DPoPConfig{Use: use, BaseURL: audience}
		}
	}
}

// bound is a token of Ana that is bound to a new key.
func bound(w *world.World, scopes ...string) (*middlewaretest.DPoPKey, string) {
	key := w.Kit.NewDPoPKey()
	raw := w.Kit.BoundAccessToken(key, "ana", shop, scopes...)
	w.Mint("bound access token", raw)
	return key, raw
}

// ask sends a request whose headers sign sets.
func ask(h http.Handler, method, target string, sign func(*http.Request)) *httptest.ResponseRecorder {
	r := httptest.NewRequest(method, target, nil)
	sign(r)
	a := httptest.NewRecorder()
	h.ServeHTTP(a, r)
	return a
}

// lastCause is the error of the last event.
func lastCause(w *world.World) string {
	events := w.Events()
	return fmt.Sprint(events[len(events)-1].Err)
}

// Whatever an API takes, a token passes only under the scheme that fits it.
func TestDPoPSchemes(t *testing.T) {
	for _, jwt := range []bool{true, false} {
		w, _ := newOpaque(t)
		w.Must(w.SetAccessTokens(opserver.AccessTokenOptions{JWT: jwt, Algorithm: "ES256", Audience: []string{audience}}))
		key, raw := bound(w)
		free := accessToken(t, w, "ana")
		const bearer, both, proofs = `Bearer realm="api.test"`, `Bearer realm="api.test"` + metadata + `|DPoP realm="api.test", ` + algs + metadata, `DPoP realm="api.test"`
		const used = `DPoP realm="api.test", error="invalid_token", ` + algs + metadata + `|Bearer realm="api.test"` + metadata
		for name, c := range map[string]struct {
			use       gatehouse.DPoPUse
			sign      func(*http.Request)
			status    int
			challenge string
			cause     string
		}{
			"off, none":            {gatehouse.DPoPOff, func(*http.Request) {}, 401, bearer + metadata, ""},
			"off, bearer":          {gatehouse.DPoPOff, authorize("Bearer " + free), 200, "", ""},
			"off, bound as bearer": {gatehouse.DPoPOff, authorize("Bearer " + raw), 401, bearer + `, error="invalid_token"` + metadata, "bound to a key (cnf.jkt), and ResourceServerConfig.DPoP is off"},
			"off, bound":           {gatehouse.DPoPOff, func(r *http.Request) { key.Sign(r, raw) }, 401, bearer + `, error="invalid_token"` + metadata, "bound to a key (cnf.jkt), and ResourceServerConfig.DPoP is off"},
			"off, unbound":         {gatehouse.DPoPOff, func(r *http.Request) { key.Sign(r, free) }, 401, bearer + `, error="invalid_token"` + metadata, "the token is bound to no key"},

			"allowed, none":            {gatehouse.DPoPAllowed, func(*http.Request) {}, 401, both, ""},
			"allowed, bearer":          {gatehouse.DPoPAllowed, authorize("Bearer " + free), 200, "", ""},
			"allowed, bound as bearer": {gatehouse.DPoPAllowed, authorize("Bearer " + raw), 401, strings.Replace(both, `"api.test"`, `"api.test", error="invalid_token"`, 1), "bound to a key (cnf.jkt), but the scheme is not DPoP"},
			"allowed, bound":           {gatehouse.DPoPAllowed, func(r *http.Request) { key.Sign(r, raw) }, 200, "", ""},
			"allowed, unbound":         {gatehouse.DPoPAllowed, func(r *http.Request) { key.Sign(r, free) }, 401, used, "the token is bound to no key"},
			"allowed, no proof":        {gatehouse.DPoPAllowed, authorize("DPoP " + raw), 401, strings.Replace(used, "invalid_token", "invalid_dpop_proof", 1), "0 DPoP headers"},
			"allowed, odd case":        {gatehouse.DPoPAllowed, func(r *http.Request) { key.Sign(r, raw); r.Header.Set("Authorization", "dPoP "+raw) }, 200, "", ""},
			"allowed, proof beside":    {gatehouse.DPoPAllowed, func(r *http.Request) { key.Sign(r, free); r.Header.Set("Authorization", "Bearer "+free) }, 200, "", ""},
			"allowed, proof beside bound": {gatehouse.DPoPAllowed, func(r *http.Request) { key.Sign(r, raw); r.Header.Set("Authorization", "Bearer "+raw) }, 401,
				strings.Replace(both, `"api.test"`, `"api.test", error="invalid_token"`, 1), "the scheme is not DPoP"},
			"allowed, scheme alone":  {gatehouse.DPoPAllowed, authorize("DPoP"), 400, strings.Replace(used, "invalid_token", "invalid_request", 1), ""},
			"allowed, no token":      {gatehouse.DPoPAllowed, authorize("DPoP nonsense"), 401, used, ""},
			"allowed, two schemes":   {gatehouse.DPoPAllowed, func(r *http.Request) { key.Sign(r, raw); r.Header.Add("Authorization", "Bearer "+free) }, 400, strings.Replace(both, `"api.test"`, `"api.test", error="invalid_request"`, 1), ""},
			"allowed, other schemes": {gatehouse.DPoPAllowed, authorize("Basic YTpi"), 401, both, ""},

			"required, none":            {gatehouse.DPoPRequired, func(*http.Request) {}, 401, proofs + ", " + algs + metadata, ""},
			"required, bearer":          {gatehouse.DPoPRequired, authorize("Bearer " + free), 401, proofs + `, error="invalid_token", ` + algs + metadata, "ResourceServerConfig.DPoP requires that"},
			"required, bound as bearer": {gatehouse.DPoPRequired, authorize("Bearer " + raw), 401, proofs + `, error="invalid_token", ` + algs + metadata, "the scheme is not DPoP"},
			"required, bound":           {gatehouse.DPoPRequired, func(r *http.Request) { key.Sign(r, raw) }, 200, "", ""},
			"required, unbound":         {gatehouse.DPoPRequired, func(r *http.Request) { key.Sign(r, free) }, 401, proofs + `, error="invalid_token", ` + algs + metadata, "bound to no key"},
			"required, two headers":     {gatehouse.DPoPRequired, func(r *http.Request) { key.Sign(r, raw); r.Header.Add("Authorization", "Bearer "+free) }, 400, proofs + `, error="invalid_request", ` + algs + metadata, ""},
		} {
			t.Run(fmt.Sprintf("JWT %v, %s", jwt, name), func(t *testing.T) {
				api := newAPI(t, w, proving(c.use), func(rc *gatehouse.ResourceServerConfig) {
					rc.Client = gatehouse.Client{ID: "api", Secret: gatehouse.NewSecret("api-secret-1234567")}
				})
				a := ask(api.RequireToken(world.WhoAmI), "GET", audience+"/notes", c.sign)
				if a.Code != c.status || c.status == 200 && a.Body.String() != "served ana-1 by token" {
					t.Errorf("%d %q", a.Code, a.Body)
				}
				if got := strings.Join(a.Header()["Www-Authenticate"], "|"); got != c.challenge {
					t.Errorf("challenge\n%s, want\n%s", got, c.challenge)
				}
				if c.status != 200 && !strings.Contains(lastCause(w), c.cause) {
					t.Errorf("cause %q, want %q", lastCause(w), c.cause)
				}
			})
		}
	}
}

func authorize(value string) func(*http.Request) {
	return func(r *http.Request) { r.Header.Set("Authorization", value) }
}

// Each check of RFC 9449 §4.3 refuses a proof by itself, and the log names it.
func TestDPoPProofFaults(t *testing.T) {
	w := newWorld(t)
	h := newAPI(t, w, proving(gatehouse.DPoPAllowed)).RequireToken(world.WhoAmI)
	key, raw := bound(w)
	causes := map[middlewaretest.ProofFault]string{
		middlewaretest.ProofMissing: "0 DPoP headers", middlewaretest.ProofTwice: "2 DPoP headers", middlewaretest.ProofJoined: "no compact JWS",
		middlewaretest.ProofGarbage: "no compact JWS", middlewaretest.ProofPadded: "no compact JWS", middlewaretest.ProofRepeatedClaim: "strict JSON",
		middlewaretest.ProofNoType: "typ", middlewaretest.ProofWrongType: "typ", middlewaretest.ProofUnsigned: "no compact JWS", middlewaretest.ProofSymmetric: "alg is none of",
		middlewaretest.ProofWrongSignature: "signature", middlewaretest.ProofCritical: "crit", middlewaretest.ProofNoKey: "no jwk", middlewaretest.ProofPrivateKey: "private",
		middlewaretest.ProofOtherKey: "not the key to which the token is bound", middlewaretest.ProofNoMethod: "htm", middlewaretest.ProofWrongMethod: "htm", middlewaretest.ProofOtherCase: "htm",
		middlewaretest.ProofNoAddress: "htu", middlewaretest.ProofWrongAddress: "htu", middlewaretest.ProofWrongHost: "htu", middlewaretest.ProofNoTime: "no iat",
		middlewaretest.ProofOld: "iat is", middlewaretest.ProofEarly: "iat is", middlewaretest.ProofNoID: "jti", middlewaretest.ProofNoHash: "ath", middlewaretest.ProofWrongHash: "ath",
	}
	for _, f := range proofkit.Faults() {
		fault := middlewaretest.ProofFault(f)
		a := ask(h, "GET", audience+"/notes", func(r *http.Request) {
			key.Sign(r, raw, fault)
			for _, proof := range r.Header.Values("DPoP") {
				w.Mint("proof", proof)
			}
		})
		w.Show(a.Body.String(), fmt.Sprint(a.Header()))
		challenge := a.Header().Get("WWW-Authenticate")
		if a.Code != 401 || !strings.HasPrefix(challenge, `DPoP realm="api.test", error="invalid_dpop_proof", algs=`) || w.LastCode() != "dpop_proof_invalid" ||
			causes[fault] == "" || !strings.Contains(lastCause(w), causes[fault]) {
			t.Errorf("%s: %d %q, %s", fault, a.Code, challenge, lastCause(w))
		}
	}
	if a := ask(h, "GET", audience+"/notes", func(r *http.Request) { key.Sign(r, raw) }); a.Code != 200 {
		t.Errorf("good: %d %q, %s", a.Code, a.Body, lastCause(w))
	}
	if a := ask(h, "GET", audience+"/notes", func(r *http.Request) { key.Sign(r, raw, middlewaretest.ProofSameID) }); a.Code != 401 || w.LastCode() != "dpop_proof_replayed" {
		t.Errorf("replayed: %d %q", a.Code, a.Body)
	}
}

// Guards inside one another judge one request, so its proof counts for all, also
// if a guard between them hides whose request it is.
func TestDPoPNestedGuards(t *testing.T) {
	s := world.NewSite(t)
	w := s.World
	w.Must(w.AddClient(opserver.Client{ID: shop.ID, Secret: shop.Secret.Reveal()}))
	w.Must(w.SetAccessTokens(opserver.AccessTokenOptions{JWT: true, Algorithm: "ES256", Audience: []string{audience}}))
	login := s.Replicas[0].Login
	api := newAPI(t, w, proving(gatehouse.DPoPAllowed))
	key, raw := bound(w, "read")
	inner := api.With(gatehouse.Scopes("read")).RequireToken(world.WhoAmI)
	nobody := http.HandlerFunc(func(rw http.ResponseWriter, r *http.Request) {
		inner.ServeHTTP(rw, r.WithContext(gatehouse.WithIdentity(r.Context(), nil)))
	})
	own := http.HandlerFunc(func(rw http.ResponseWriter, r *http.Request) {
		id, err := api.Check(r)
		if err != nil {
			api.Refuse(rw, r, err)
			return
		}
		inner.ServeHTTP(rw, r.WithContext(gatehouse.WithIdentity(r.Context(), id)))
	})
	for name, h := range map[string]http.Handler{
		"middleware of one's own": own, "required": api.RequireToken(inner), "optional": api.OptionalToken(inner), "behind a page for anybody": api.RequireToken(login.OptionalLogin(inner)),
		"behind nobody": api.RequireToken(nobody), "behind several": gatehouse.Require(gatehouse.ByIssuer(api))(login.OptionalLogin(api.OptionalToken(nobody))),
	} {
		if a := ask(h, "GET", audience+"/notes", func(r *http.Request) { key.Sign(r, raw) }); a.Code != 200 {
			t.Errorf("%s: %d %q", name, a.Code, a.Body)
		}
		if a := ask(h, "GET", audience+"/notes", func(r *http.Request) { key.Sign(r, raw, middlewaretest.ProofSameID) }); a.Code != 401 || w.LastCode() != "dpop_proof_replayed" {
			t.Errorf("%s, replayed: %d %q", name, a.Code, a.Body)
		}
	}
}
