package bench

import (
	"context"
	"log/slog"
	"maps"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"
	"testing"
	"time"

	jwtmiddleware "github.com/auth0/go-jwt-middleware/v2"
	"github.com/auth0/go-jwt-middleware/v2/jwks"
	"github.com/auth0/go-jwt-middleware/v2/validator"
	"github.com/coreos/go-oidc/v3/oidc"
	"github.com/go-jose/go-jose/v4"
	"github.com/lestrrat-go/httprc/v3"
	"github.com/lestrrat-go/jwx/v3/jwk"
	"github.com/lestrrat-go/jwx/v3/jwt"

	"example.com/gatehouse"
)

// An API as the documentation of each library builds it, and the same API with
// gatehouse. docs/api.md shows them, and says what each answers.

func beforeGoJWTMiddleware(issuer string, list http.Handler) (http.Handler, error) {
	mux := http.NewServeMux()
	issuerURL, err := url.Parse(issuer)
	if err != nil {
		return nil, err
	}
	keys := jwks.NewCachingProvider(issuerURL, 5*time.Minute)
	v, err := validator.New(keys.KeyFunc, validator.RS256, issuer, []string{"https://api.example.org"},
		validator.WithCustomClaims(func() validator.CustomClaims { return &scopeClaim{} }))
	if err != nil {
		return nil, err
	}
	check := jwtmiddleware.New(v.ValidateToken)
	mux.Handle("GET /v1/notes", check.CheckJWT(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		claims := r.Context().Value(jwtmiddleware.ContextKey{}).(*validator.ValidatedClaims)
		if !claims.CustomClaims.(*scopeClaim).has("notes:read") {
			w.WriteHeader(http.StatusForbidden)
			return
		}
		list.ServeHTTP(w, r)
	})))
	return mux, nil
}

type scopeClaim struct {
	Scope string `json:"scope"`
}

func (c *scopeClaim) Validate(context.Context) error { return nil }

func (c *scopeClaim) has(scope string) bool {
	for s := range strings.FieldsSeq(c.Scope) {
		if s == scope {
			return true
		}
	}
	return false
}

func beforeGoOIDC(ctx context.Context, issuer string, list http.Handler) (http.Handler, error) {
	mux := http.NewServeMux()
	provider, err := oidc.NewProvider(ctx, issuer)
	if err != nil {
		return nil, err
	}
	verifier := provider.Verifier(&oidc.Config{ClientID: "https://api.example.org"})
	mux.HandleFunc("GET /v1/notes", func(w http.ResponseWriter, r *http.Request) {
		raw, found := strings.CutPrefix(r.Header.Get("Authorization"), "Bearer ")
		token, err := verifier.Verify(r.Context(), raw)
		var claims scopeClaim
		if !found || err != nil || token.Claims(&claims) != nil {
			w.WriteHeader(http.StatusUnauthorized)
			return
		}
		if !claims.has("notes:read") {
			w.WriteHeader(http.StatusForbidden)
			return
		}
		list.ServeHTTP(w, r)
	})
	return mux, nil
}

func beforeJWX(ctx context.Context, issuer, keysURL string, list http.Handler) (http.Handler, error) {
	mux := http.NewServeMux()
	cache, err := jwk.NewCache(ctx, httprc.NewClient())
	if err != nil {
		return nil, err
	}
	if err := cache.Register(ctx, keysURL); err != nil {
		return nil, err
	}
	keys, err := cache.CachedSet(keysURL)
	if err != nil {
		return nil, err
	}
	mux.HandleFunc("GET /v1/notes", func(w http.ResponseWriter, r *http.Request) {
		token, err := jwt.ParseRequest(r, jwt.WithKeySet(keys), jwt.WithIssuer(issuer), jwt.WithAudience("https://api.example.org"))
		if err != nil {
			w.WriteHeader(http.StatusUnauthorized)
			return
		}
		var scope string
		if token.Get("scope", &scope) != nil || !(&scopeClaim{scope}).has("notes:read") {
			w.WriteHeader(http.StatusForbidden)
			return
		}
		list.ServeHTTP(w, r)
	})
	return mux, nil
}

func afterwards(issuer string, list http.Handler) (http.Handler, error) {
	mux := http.NewServeMux()
	provider, err := gatehouse.NewProvider(issuer, &gatehouse.ProviderConfig{Logger: slog.New(slog.DiscardHandler)})
	if err != nil {
		return nil, err
	}
	api, err := gatehouse.NewResourceServer(provider, gatehouse.ResourceServerConfig{
		Audience: []string{"https://api.example.org"},
	})
	if err != nil {
		return nil, err
	}
	mux.Handle("GET /v1/notes", api.With(gatehouse.Scopes("notes:read")).RequireToken(list))
	return mux, nil
}

// The table of docs/api.md, row by row: what each API answers.
func TestComingFrom(t *testing.T) {
	n := newNotary(t)
	list := http.HandlerFunc(func(http.ResponseWriter, *http.Request) {})
	build := func(h http.Handler, err error) http.Handler {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
		return h
	}
	apis := []http.Handler{
		build(beforeGoJWTMiddleware(n.issuer, list)), build(beforeGoOIDC(t.Context(), n.issuer, list)),
		build(beforeJWX(t.Context(), n.issuer, n.issuer+"/keys", list)), build(afterwards(n.issuer, list)),
	}
	good := n.token(t, jose.RS256, 1)
	for _, row := range []struct {
		request       string
		authorization []string
		want          [4]int // go-jwt-middleware, go-oidc, jwx, gatehouse
	}{
		{"a good token", []string{"Bearer " + good}, [4]int{200, 200, 200, 200}},
		{"an ID Token whose aud is the API's name", []string{"Bearer " + n.typed(t, "JWT", map[string]any{"nonce": "n", "at_hash": "h", "scope": "notes:read"})}, [4]int{200, 200, 200, 401}},
		{"a logout token, with a scope", []string{"Bearer " + n.typed(t, "logout+jwt", map[string]any{"events": map[string]any{}})}, [4]int{200, 200, 200, 401}},
		{"a token that never ends", []string{"Bearer " + n.typed(t, "at+jwt", map[string]any{"exp": nil})}, [4]int{200, 401, 200, 401}},
		{"a token that is bound to a key, without proof", []string{"Bearer " + n.typed(t, "at+jwt", map[string]any{"cnf": map[string]any{"jkt": "x"}})}, [4]int{200, 200, 200, 401}},
		{"two headers", []string{"Bearer " + good, "Bearer " + good}, [4]int{200, 200, 200, 400}},
		{"no token", nil, [4]int{400, 401, 401, 401}},
		{"a scope is missing", []string{"Bearer " + n.typed(t, "at+jwt", map[string]any{"scope": "x"})}, [4]int{403, 403, 403, 403}},
	} {
		var got [4]int
		for i, api := range apis {
			r := httptest.NewRequest("GET", "/v1/notes", nil)
			r.Header["Authorization"] = row.authorization
			rec := httptest.NewRecorder()
			api.ServeHTTP(rec, r)
			got[i] = rec.Code
			if challenge := rec.Header().Get("WWW-Authenticate"); rec.Code >= 400 && (challenge != "") != (i == 3) {
				t.Errorf("%s at %d: challenge %q", row.request, i, challenge)
			}
		}
		if got != row.want {
			t.Errorf("%s: %v, want %v", row.request, got, row.want)
		}
	}
}

// typed is the token of person 1 with this typ and these claims, of which nil is
// left out.
func (n *notary) typed(t *testing.T, typ string, change map[string]any) string {
	t.Helper()
	signer, err := jose.NewSigner(jose.SigningKey{Algorithm: jose.RS256, Key: jose.JSONWebKey{Key: n.keys[jose.RS256], KeyID: "key-rs256"}},
		(&jose.SignerOptions{}).WithType(jose.ContentType(typ)))
	if err != nil {
		t.Fatal(err)
	}
	claims := map[string]any{"iss": n.issuer, "aud": apiAudience, "sub": "1", "scope": "notes:read", "iat": n.began.Unix(), "exp": n.began.Add(time.Hour).Unix()}
	maps.Copy(claims, change)
	maps.DeleteFunc(claims, func(_ string, v any) bool { return v == nil })
	return signed(t, signer, claims)
}
