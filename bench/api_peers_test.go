package bench

import (
	"context"
	"crypto"
	"crypto/sha256"
	"encoding/json"
	"net/http"
	"net/url"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/MicahParks/keyfunc/v3"
	jwtmiddleware "github.com/auth0/go-jwt-middleware/v2"
	"github.com/auth0/go-jwt-middleware/v2/jwks"
	"github.com/auth0/go-jwt-middleware/v2/validator"
	"github.com/coreos/go-oidc/v3/oidc"
	"github.com/go-jose/go-jose/v4"
	"github.com/golang-jwt/jwt/v5"
	capjwt "github.com/hashicorp/cap/jwt"
	"github.com/lestrrat-go/jwx/v3/jwk"
	jwxjwt "github.com/lestrrat-go/jwx/v3/jwt"
)

// The peers, each as middleware that its documentation shows or implies: the
// keys are there, and signature, issuer, audience and times are checked. What
// they read is put on the context.
const (
	peerGolangJWT = "golang-jwt + keyfunc"
	peerOIDC      = "go-oidc"
	peerJWX       = "jwx"
	peerAuth0     = "go-jwt-middleware"
	peerCap       = "hashicorp/cap"
)

type middleware = func(http.Handler) http.Handler

type claimsKey struct{}

// judged is the middleware of a function that returns the claims of a token.
func judged[C any](judge func(ctx context.Context, raw string) (C, error)) middleware {
	return func(next http.Handler) http.Handler {
		return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			raw, ok := strings.CutPrefix(r.Header.Get("Authorization"), "Bearer ")
			if !ok {
				w.WriteHeader(http.StatusUnauthorized)
				return
			}
			claims, err := judge(r.Context(), raw)
			if err != nil {
				w.WriteHeader(http.StatusUnauthorized)
				return
			}
			next.ServeHTTP(w, r.WithContext(context.WithValue(r.Context(), claimsKey{}, claims)))
		})
	}
}

// peer is one of them.
type peer struct {
	name       string
	middleware middleware
}

// peers are all of them, set up for one algorithm.
func (n *notary) peers(t testing.TB, alg jose.SignatureAlgorithm) []peer {
	t.Helper()
	return []peer{
		{peerGolangJWT, n.golangJWT(t, alg)}, {peerOIDC, n.goOIDC(t, alg)}, {peerJWX, n.jwx(t)},
		{peerAuth0, n.auth0(t, alg)}, {peerCap, n.cap(t, alg)},
	}
}

// scoped are the claims of an access token.
type scoped struct {
	jwt.RegisteredClaims
	Client string `json:"client_id"`
	Scope  string `json:"scope"`
}

func (n *notary) golangJWT(t testing.TB, alg jose.SignatureAlgorithm) middleware {
	t.Helper()
	keys, err := keyfunc.NewJWKSetJSON(n.setJSON(t))
	if err != nil {
		t.Fatal(err)
	}
	parser := jwt.NewParser(jwt.WithValidMethods([]string{string(alg)}), jwt.WithIssuer(n.server.URL), jwt.WithAudience(apiAudience),
		jwt.WithExpirationRequired(), jwt.WithIssuedAt())
	return judged(func(_ context.Context, raw string) (*scoped, error) {
		claims := new(scoped)
		_, err := parser.ParseWithClaims(raw, claims, keys.Keyfunc)
		return claims, err
	})
}

func (n *notary) goOIDC(t testing.TB, alg jose.SignatureAlgorithm) middleware {
	keys := oidc.NewRemoteKeySet(t.Context(), n.server.URL+"/keys")
	verifier := oidc.NewVerifier(n.server.URL, keys, &oidc.Config{ClientID: apiAudience, SupportedSigningAlgs: []string{string(alg)}})
	return judged(func(ctx context.Context, raw string) (*scoped, error) {
		token, err := verifier.Verify(ctx, raw)
		if err != nil {
			return nil, err
		}
		claims := new(scoped)
		return claims, token.Claims(claims)
	})
}

func (n *notary) jwx(t testing.TB) middleware {
	t.Helper()
	set, err := jwk.Parse(n.setJSON(t))
	if err != nil {
		t.Fatal(err)
	}
	return judged(func(_ context.Context, raw string) (jwxjwt.Token, error) {
		return jwxjwt.ParseString(raw, jwxjwt.WithKeySet(set), jwxjwt.WithIssuer(n.server.URL), jwxjwt.WithAudience(apiAudience))
	})
}

func (n *notary) auth0(t testing.TB, alg jose.SignatureAlgorithm) middleware {
	t.Helper()
	issuer, err := url.Parse(n.server.URL)
	if err != nil {
		t.Fatal(err)
	}
	v, err := validator.New(jwks.NewCachingProvider(issuer, time.Hour).KeyFunc, validator.SignatureAlgorithm(alg), n.server.URL, []string{apiAudience})
	if err != nil {
		t.Fatal(err)
	}
	return jwtmiddleware.New(v.ValidateToken).CheckJWT
}

func (n *notary) cap(t testing.TB, alg jose.SignatureAlgorithm) middleware {
	t.Helper()
	keys, err := capjwt.NewStaticKeySet([]crypto.PublicKey{n.keys[alg].Public()})
	if err != nil {
		t.Fatal(err)
	}
	v, err := capjwt.NewValidator(keys)
	if err != nil {
		t.Fatal(err)
	}
	want := capjwt.Expected{Issuer: n.server.URL, Audiences: []string{apiAudience}, SigningAlgorithms: []capjwt.Alg{capjwt.Alg(alg)}}
	return judged(func(ctx context.Context, raw string) (map[string]any, error) { return v.Validate(ctx, raw, want) })
}

func (n *notary) setJSON(t testing.TB) json.RawMessage {
	t.Helper()
	data, err := json.Marshal(n.set)
	if err != nil {
		t.Fatal(err)
	}
	return data
}

// shards of the floor's map, as many as let two cores work beside each other.
const shards = 64

// apiFloor is the least that an API with remembered tokens can cost: the
// SHA-256 of the token, a look-up in a sharded map, one value on the context.
func apiFloor(tokens []string) middleware {
	type part struct {
		mu    sync.RWMutex
		known map[[sha256.Size]byte]*scoped
	}
	var parts [shards]part
	for i := range parts {
		parts[i].known = map[[sha256.Size]byte]*scoped{}
	}
	for _, token := range tokens {
		key := sum(token)
		parts[key[0]%shards].known[key] = &scoped{}
	}
	return func(next http.Handler) http.Handler {
		return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			key := sum(strings.TrimPrefix(r.Header.Get("Authorization"), "Bearer "))
			part := &parts[key[0]%shards]
			part.mu.RLock()
			claims := part.known[key]
			part.mu.RUnlock()
			if claims == nil {
				w.WriteHeader(http.StatusUnauthorized)
				return
			}
			next.ServeHTTP(w, r.WithContext(context.WithValue(r.Context(), claimsKey{}, claims)))
		})
	}
}
