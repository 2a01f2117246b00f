package users_test

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"encoding/base64"
	"encoding/json"
	"encoding/pem"
	"errors"
	"net/http"
	"net/http/httptest"
	"net/url"
	"slices"
	"strings"
	"testing"
	"time"

	"example.com/gatehouse"
	"example.com/gatehouse/example/itsyouonline/iyo"
	"example.com/gatehouse/example/itsyouonline/users"
	"github.com/go-jose/go-jose/v4"
)

const (
	member = "user:memberof:goraml"
	admin  = "user:memberof:goraml-admin"
)

// world is the API and the provider whose tokens it takes.
type world struct {
	api      http.Handler
	provider *iyo.Server
}

func newWorld(t *testing.T) *world {
	t.Helper()
	provider, err := iyo.New(map[string]iyo.App{
		"goramldir": {Secret: "s", GlobalID: "goraml", Scopes: []string{member, admin}},
		"other":     {Secret: "s", GlobalID: "other", Scopes: []string{member, admin}},
		"laptop":    {Secret: "s", Username: "ana", Scopes: []string{member}},
	})
	if err != nil {
		t.Fatal(err)
	}
	api, err := users.NewAPI(provider.PublicKey(), "goramldir", "laptop")
	if err != nil {
		t.Fatal(err)
	}
	return &world{api, provider}
}

// token gets a token for an application.
func (w *world) token(t *testing.T, app, scope string) string {
	t.Helper()
	form := url.Values{"grant_type": {"client_credentials"}, "client_id": {app}, "client_secret": {"s"}, "response_type": {"id_token"}, "scope": {scope}}
	r := httptest.NewRequest("POST", "/v1/oauth/access_token", strings.NewReader(form.Encode()))
	r.Header.Set("Content-Type", "application/x-www-form-urlencoded")
	rec := httptest.NewRecorder()
	w.provider.ServeHTTP(rec, r)
	if rec.Code != 200 {
		t.Fatal(rec.Code, rec.Body)
	}
	return rec.Body.String()
}

func send(h http.Handler, method, target, authorization string) *httptest.ResponseRecorder {
	body := ""
	if method == "POST" {
		body = `{"username":"ibnu","name":"Ibnu"}`
	}
	r := httptest.NewRequest(method, target, strings.NewReader(body))
	if authorization != "" {
		r.Header.Set("Authorization", authorization)
	}
	rec := httptest.NewRecorder()
	h.ServeHTTP(rec, r)
	return rec
}

// signed makes a token with another key or algorithm.
func signed(t *testing.T, alg jose.SignatureAlgorithm, key any, claims map[string]any) string {
	t.Helper()
	signer, err := jose.NewSigner(jose.SigningKey{Algorithm: alg, Key: key}, (&jose.SignerOptions{}).WithType("JWT"))
	if err != nil {
		t.Fatal(err)
	}
	payload, err := json.Marshal(claims)
	if err != nil {
		t.Fatal(err)
	}
	sig, err := signer.Sign(payload)
	if err != nil {
		t.Fatal(err)
	}
	raw, err := sig.CompactSerialize()
	if err != nil {
		t.Fatal(err)
	}
	return raw
}

// forgedClaims are what a stranger would like to be.
func forgedClaims(scope any) map[string]any {
	return map[string]any{"iss": iyo.Issuer, "aud": []string{"goramldir"}, "azp": "goramldir", "username": "mallory", "scope": scope, "exp": time.Now().Add(time.Hour).Unix()}
}

func TestAPI(t *testing.T) {
	w := newWorld(t)
	all, some, person, foreign := w.token(t, "goramldir", ""), w.token(t, "goramldir", member), w.token(t, "laptop", ""), w.token(t, "other", "")
	stranger, err := ecdsa.GenerateKey(elliptic.P384(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	none := base64.RawURLEncoding.EncodeToString([]byte(`{"alg":"none","typ":"JWT"}`)) + "." + strings.Split(all, ".")[1] + "."
	for _, c := range []struct {
		name, method, target, authorization string
		status                              int
		challenge                           string
	}{
		{"scheme token", "GET", "/users", "token " + all, 200, ""},
		{"scheme Bearer", "GET", "/users", "Bearer " + all, 200, ""},
		{"a person", "GET", "/users", "token " + person, 200, ""},
		{"no token", "GET", "/users", "", 401, `Bearer realm="goramldir"`},
		{"in the query", "GET", "/users?access_token=" + all, "", 401, `Bearer realm="goramldir"`},
		{"another application's", "GET", "/users", "token " + foreign, 401, `Bearer realm="goramldir", error="invalid_token"`},
		{"an admin adds", "POST", "/users", "token " + all, 201, ""},
		{"a member does not", "POST", "/users", "token " + some, 403, `Bearer realm="goramldir", error="insufficient_scope", scope="` + admin + `"`},
		{"any one scope: member", "GET", "/users/ibnu", "token " + some, 200, ""},
		{"any one scope: both", "GET", "/users/ibnu", "token " + all, 200, ""},
		{"forged", "POST", "/users", "token " + signed(t, jose.ES384, stranger, forgedClaims([]string{admin})), 401, `Bearer realm="goramldir", error="invalid_token"`},
		{"signed with the public key", "POST", "/users", "token " + signed(t, jose.HS256, w.provider.PublicKey(), forgedClaims([]string{admin})), 401, `Bearer realm="goramldir", error="invalid_token"`},
		{"not signed", "POST", "/users", "token " + none, 401, `Bearer realm="goramldir", error="invalid_token"`},
		{"cut off", "POST", "/users", "token " + all[:len(all)-4], 401, `Bearer realm="goramldir", error="invalid_token"`},
		{"two tokens", "GET", "/users", "token " + all + " " + all, 400, `Bearer realm="goramldir", error="invalid_request"`},
	} {
		t.Run(c.name, func(t *testing.T) {
			a := send(w.api, c.method, c.target, c.authorization)
			if got := a.Header().Get("WWW-Authenticate"); a.Code != c.status || got != c.challenge {
				t.Errorf("%d %s %s; want %d %s", a.Code, got, a.Body, c.status, c.challenge)
			}
		})
	}
}

// Scopes are a list or a text with spaces. Any one of them is enough.
func TestScopes(t *testing.T) {
	key, err := ecdsa.GenerateKey(elliptic.P384(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	der, err := x509.MarshalPKIXPublicKey(key.Public())
	if err != nil {
		t.Fatal(err)
	}
	api, err := users.NewAPI(pem.EncodeToMemory(&pem.Block{Type: "PUBLIC KEY", Bytes: der}), "goramldir")
	if err != nil {
		t.Fatal(err)
	}
	for name, c := range map[string]struct {
		scope  any
		status int
	}{
		"a list":             {[]string{"user:name", admin}, 201},
		"a text":             {"user:name " + admin, 201},
		"one scope":          {admin, 201},
		"a text with commas": {"user:name," + admin, 403},
		"begins alike":       {admin + "s", 403},
		"none":               {nil, 403},
		"an empty list":      {[]string{}, 403},
	} {
		if a := send(api, "POST", "/users", "token "+signed(t, jose.ES384, key, forgedClaims(c.scope))); a.Code != c.status {
			t.Errorf("%s: %d, want %d", name, a.Code, c.status)
		}
	}
}

// The tutorial's key is one that can be used as it stands there.
func TestTutorialKey(t *testing.T) {
	keys, err := gatehouse.ParseKeys([]byte(users.PublicKey))
	if err != nil || len(keys) != 1 {
		t.Fatal(keys, err)
	}
	if key, ok := keys[0].Key.(*ecdsa.PublicKey); !ok || key.Curve != elliptic.P384() {
		t.Errorf("%T", keys[0].Key)
	}
	if _, err := users.NewAPI([]byte(users.PublicKey), "goramldir"); err != nil {
		t.Error(err)
	}
}

// getJWTScopes is get_jwt_scopes of the tutorial, which calls jwt.decode(token,
// iyo_pub_key, verify=False): the key is there, and nothing is checked with it.
func getJWTScopes(token string) ([]string, error) {
	token, found := strings.CutPrefix(token, "token ")
	parts := strings.Split(token, ".")
	if !found || len(parts) != 3 {
		return nil, errors.New("invalid token")
	}
	payload, err := base64.RawURLEncoding.DecodeString(parts[1])
	if err != nil {
		return nil, err
	}
	var claims struct {
		Scope []string `json:"scope"`
	}
	err = json.Unmarshal(payload, &claims)
	return claims.Scope, err
}

// original is the tutorial's middleware: it lets in who has any one of the
// scopes, or anybody with a token if there are none.
func original(next http.Handler, allowed ...string) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		token := r.Header.Get("Authorization")
		if token == "" {
			w.WriteHeader(http.StatusUnauthorized)
			return
		}
		scopes, err := getJWTScopes(token)
		if err != nil { // an exception
			w.WriteHeader(http.StatusInternalServerError)
			return
		}
		if len(allowed) > 0 && !slices.ContainsFunc(scopes, func(s string) bool { return slices.Contains(allowed, s) }) {
			w.WriteHeader(http.StatusForbidden)
			return
		}
		next.ServeHTTP(w, r)
	})
}

// Whoever can write JSON is an admin at the tutorial's server, and nobody at
// this one.
func TestForgedToken(t *testing.T) {
	w := newWorld(t)
	stranger, err := ecdsa.GenerateKey(elliptic.P384(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	forged := "token " + signed(t, jose.ES384, stranger, forgedClaims([]string{admin}))
	expired := forgedClaims([]string{admin})
	expired["exp"] = time.Now().Add(-time.Hour).Unix()
	old := "token " + signed(t, jose.ES384, stranger, expired)
	served := original(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(http.StatusCreated) }), admin)
	for name, authorization := range map[string]string{"forged": forged, "forged and expired": old} {
		if a := send(served, "POST", "/users", authorization); a.Code != 201 {
			t.Errorf("%s: the tutorial's server answers %d, want 201", name, a.Code)
		}
		if a := send(w.api, "POST", "/users", authorization); a.Code != 401 {
			t.Errorf("%s: %d, want 401", name, a.Code)
		}
	}
	if a, b := send(served, "POST", "/users", "token "+w.token(t, "laptop", "")), send(w.api, "POST", "/users", "token "+w.token(t, "laptop", "")); a.Code != 403 || b.Code != 403 {
		t.Errorf("a member: %d and %d", a.Code, b.Code)
	}
	good := "token " + w.token(t, "goramldir", admin)
	if a, b := send(served, "POST", "/users", good), send(w.api, "POST", "/users", good); a.Code != 201 || b.Code != 201 {
		t.Errorf("an admin: %d and %d", a.Code, b.Code)
	}
}
