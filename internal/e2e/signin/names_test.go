package signin_test

import (
	"context"
	"encoding/json"
	"log/slog"
	"net/http"
	"strings"
	"sync"
	"testing"

	"example.com/gatehouse"
	"example.com/gatehouse/internal/e2e/world"
)

// claimsSite answers /claims with the claims, and tells user info and ID Token
// what the test wants.
func claimsSite(t testing.TB, signed, told func(claims map[string]any), change ...func(*world.SiteOptions)) *world.Site {
	t.Helper()
	s := world.NewSite(t, append(change, func(o *world.SiteOptions) {
		o.Mount = func(mux *http.ServeMux, login *gatehouse.RelyingParty) {
			mux.Handle("/auth/session", login.SessionHandler())
			mux.Handle("/recent", login.With(gatehouse.MaxAge(1000*3600*1e9)).RequireLogin(world.WhoAmI))
			mux.Handle("/claims", login.RequireLogin(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
				var all map[string]any
				if err := gatehouse.IdentityFrom(r.Context()).Claims(&all); err != nil {
					t.Error(err)
				}
				for _, name := range []string{"nonce", "at_hash", "exp", "iat"} {
					delete(all, name) // the kit fails if a secret shows
				}
				_ = json.NewEncoder(w).Encode(all)
			})))
		}
	})...)
	k := world.NewSigner(t)
	s.SetWire(func(r *http.Request, next func(*http.Request) *http.Response) (*http.Response, error) {
		return world.RewriteJSON(t, next(r), func(m map[string]any) {
			if raw, ok := m["id_token"].(string); ok && signed != nil {
				claims := world.TokenClaims(t, raw)
				signed(claims)
				payload, err := json.Marshal(claims)
				s.Must(err)
				made := k.Sign(nil, payload)
				s.Mint("id_token", made)
				m["id_token"] = made
			}
			if keys, ok := m["keys"].([]any); ok {
				m["keys"] = append(keys, k.Key.Public())
			}
			if told != nil && strings.HasSuffix(s.Endpoint("userinfo_endpoint"), r.URL.Path) {
				told(m)
			}
		}), nil
	})
	return s
}

func claimsOf(t testing.TB, b *world.Visitor) map[string]any {
	t.Helper()
	a := b.Get("/claims")
	var all map[string]any
	if a.Code != http.StatusOK || json.Unmarshal(a.Body.Bytes(), &all) != nil {
		t.Fatalf("got %v", a)
	}
	return all
}

// M5: two names that differ in case are two names, also in the user info. But a
// name there that some reader takes for a signed or a protocol claim is
// dropped, and null is absence.
func TestM5_NamesOfUserInfo(t *testing.T) {
	s := claimsSite(t, func(c map[string]any) {
		c["Groups"], c["gone"], c["AUD"] = "signed", nil, "other"
	}, func(c map[string]any) {
		c["groups"], c["GROUPS"], c["acr"], c["AMR"], c["auth_time"], c["Sid"], c["SUB"], c["\u017fub"] = "told", "told", "high", "told", 1, "told", "ben-1", "ben-1"
		c["null"], c["gone"] = nil, "back"
		c["resource_access"] = map[string]any{"Portal": 1, "portal": 2}
		c["Color"], c["color"] = "blue", "red"
	})
	ana := s.Visitor("ana")
	ana.SignIn()
	got := claimsOf(t, ana)
	for name, want := range map[string]any{
		"sub": "ana-1", "Groups": "signed", "groups": nil, "GROUPS": nil, "acr": "1", "AMR": nil, "Sid": nil, "SUB": nil, "\u017fub": nil, "AUD": "other",
		"gone": "back", "Color": "blue", "color": "red", "email": "ana@example.org",
	} {
		if got[name] != want {
			t.Errorf("%s is %v, want %v", name, got[name], want)
		}
	}
	if got["auth_time"] == 1.0 {
		t.Error("auth_time comes from the user info")
	}
	if _, has := got["null"]; has {
		t.Error("null is a claim")
	}
	if access, ok := got["resource_access"].(map[string]any); !ok || access["Portal"] != 1.0 || access["portal"] != 2.0 {
		t.Errorf("resource_access %v", got["resource_access"])
	}
}

// A claim that makes no sense costs only itself, and the log names it.
func TestDefectiveClaims(t *testing.T) {
	for name, c := range map[string]struct {
		claim  string
		value  any
		logged bool
	}{
		"sid a number":         {"sid", 7, true},
		"auth_time a text":     {"auth_time", "yesterday", true},
		"auth_time negative":   {"auth_time", -1, true},
		"auth_time far ahead":  {"auth_time", 4102444800, true},
		"events of the issuer": {"events", []any{"party"}, false},
	} {
		t.Run(name, func(t *testing.T) {
			var mu sync.Mutex
			var log strings.Builder
			s := claimsSite(t, func(m map[string]any) { m[c.claim] = c.value }, nil, func(o *world.SiteOptions) {
				o.Provider = func(p *gatehouse.ProviderConfig) {
					p.Logger = slog.New(slog.NewTextHandler(lockedWriter{&mu, &log}, nil))
				}
			})
			ana := s.Visitor("ana")
			ana.SignIn()
			if got := claimsOf(t, ana); (got[c.claim] == nil) != c.logged {
				t.Errorf("%s is %v", c.claim, got[c.claim])
			}
			mu.Lock()
			defer mu.Unlock()
			if said := strings.Contains(log.String(), "code=defective_claim") && strings.Contains(log.String(), c.claim); said != c.logged {
				t.Errorf("logged %v, want %v: %s", said, c.logged, log.String())
			}
		})
	}
}

type lockedWriter struct {
	mu *sync.Mutex
	to *strings.Builder
}

func (w lockedWriter) Write(b []byte) (int, error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.to.Write(b)
}

// An auth_time in the future meets no MaxAge, for which it has to be asked.
func TestMaxAgeOfTheFuture(t *testing.T) {
	s := claimsSite(t, func(m map[string]any) { m["auth_time"] = 4102444800 }, nil)
	ana := s.Visitor("ana")
	ana.SignIn()
	ana.WantServed(ana.Get("/notes/"))
	if a := ana.Fetch(http.MethodGet, "/recent"); a.Code != http.StatusForbidden {
		t.Errorf("got %v", a)
	}
	s.WantRefusal(ana.Visit("/recent"), http.StatusBadRequest)
}

// A script is not told what is about the sign-in, unless the site wants it.
func TestProtocolClaimsOfSessionHandler(t *testing.T) {
	for _, asked := range []bool{false, true} {
		s := claimsSite(t, func(m map[string]any) { m["acr"], m["amr"], m["sid"] = "high", []any{"pwd"}, "s1" }, nil, func(o *world.SiteOptions) {
			o.Party = func(c *gatehouse.RelyingPartyConfig) { c.SessionProtocolClaims = asked }
		})
		ana := s.Visitor("ana")
		ana.SignIn()
		var body struct {
			Claims map[string]any `json:"claims"`
		}
		a := ana.Fetch(http.MethodGet, "/auth/session")
		if err := json.Unmarshal(a.Body.Bytes(), &body); err != nil {
			t.Fatal(err)
		}
		for name, want := range map[string]bool{
			"sub": true, "email": true, "acr": asked, "amr": asked, "sid": asked, "nonce": asked, "iss": asked, "aud": asked, "exp": asked, "iat": asked,
		} {
			if _, has := body.Claims[name]; has != want {
				t.Errorf("asked %v: %s is there: %v, want %v", asked, name, has, want)
			}
		}
	}
}

// Requirements on numbers are exact, and reach nested claims.
func TestClaimRequirements(t *testing.T) {
	id := &gatehouse.Identity{}
	for name, value := range map[string]any{
		"big": json.Number("9007199254740993"), "a.b": "dots", "realm_access": map[string]any{"roles": []string{"admin"}, "Roles": "x"}, "roles": "outer",
	} {
		if err := id.SetClaim(name, value); err != nil {
			t.Fatal(err)
		}
	}
	s := world.NewSite(t, func(o *world.SiteOptions) {
		o.Party = func(c *gatehouse.RelyingPartyConfig) {
			c.OnSignIn = func(_ context.Context, own *gatehouse.Identity) error {
				var all map[string]json.RawMessage
				if err := id.Claims(&all); err != nil {
					return err
				}
				for name, value := range all {
					if err := own.SetClaim(name, value); err != nil {
						return err
					}
				}
				return nil
			}
		}
		o.Mount = func(mux *http.ServeMux, login *gatehouse.RelyingParty) {
			for path, q := range map[string]gatehouse.Requirement{
				"/yes/big":    gatehouse.Claim("big", int64(9007199254740993)),
				"/yes/dots":   gatehouse.Claim("a.b", "dots"),
				"/yes/nested": gatehouse.ClaimAt([]string{"realm_access", "roles"}, "user", "admin"),
				"/yes/there":  gatehouse.ClaimAt([]string{"realm_access", "roles"}),
				"/no/big":     gatehouse.Claim("big", int64(9007199254740992)),
				"/no/float":   gatehouse.Claim("big", float64(9007199254740992)),
				"/no/dots":    gatehouse.ClaimAt([]string{"a", "b"}, "dots"),
				"/no/whole":   gatehouse.Claim("realm_access.roles", "admin"),
				"/no/case":    gatehouse.ClaimAt([]string{"Realm_access", "roles"}, "admin"),
				"/no/deeper":  gatehouse.ClaimAt([]string{"roles", "roles"}),
				"/no/none":    gatehouse.Claim("ROLES"),
			} {
				mux.Handle(path, login.With(q).RequireLogin(world.WhoAmI))
			}
		}
	})
	ana := s.Visitor("ana")
	ana.SignIn()
	for _, path := range []string{
		"/yes/big", "/yes/dots", "/yes/nested", "/yes/there", "/no/big", "/no/float", "/no/dots", "/no/whole", "/no/case", "/no/deeper", "/no/none",
	} {
		want := http.StatusForbidden
		if strings.HasPrefix(path, "/yes") {
			want = http.StatusOK
		}
		if a := ana.Fetch(http.MethodGet, path); a.Code != want {
			t.Errorf("%s: %v, want %d", path, a, want)
		}
	}
}

// An access token that no header can carry never goes into one. The sign-in
// fails only where user info is needed.
func TestUnsendableToken(t *testing.T) {
	for _, skip := range []bool{true, false} {
		var code string
		s := world.NewSite(t, func(o *world.SiteOptions) {
			o.Party = func(c *gatehouse.RelyingPartyConfig) { c.SkipUserInfo = skip }
			o.Mount = func(mux *http.ServeMux, login *gatehouse.RelyingParty) {
				mux.Handle("/token", login.RequireLogin(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
					_, err := login.Token(r.Context())
					code = gatehouse.ErrorCode(err)
				})))
			}
		})
		k := world.NewSigner(t)
		s.SetWire(func(r *http.Request, next func(*http.Request) *http.Response) (*http.Response, error) {
			return world.RewriteJSON(t, next(r), func(m map[string]any) {
				if raw, ok := m["id_token"].(string); ok {
					claims := world.TokenClaims(t, raw)
					delete(claims, "at_hash")
					payload, err := json.Marshal(claims)
					s.Must(err)
					m["id_token"], m["access_token"] = k.Sign(nil, payload), "two words\n"
				}
				if keys, ok := m["keys"].([]any); ok {
					m["keys"] = append(keys, k.Key.Public())
				}
			}), nil
		})
		ana := s.Visitor("ana")
		a := ana.Visit("/token")
		if skip && (a.Code != http.StatusOK || code != "token_unsendable") {
			t.Errorf("without user info: %v, code %q", a, code)
		}
		if !skip && (a.Code != http.StatusServiceUnavailable || code != "") {
			t.Errorf("with user info: %v, code %q", a, code)
		}
	}
}
