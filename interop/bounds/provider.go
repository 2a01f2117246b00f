package bounds

import (
	"crypto"
	"crypto/rand"
	"crypto/rsa"
	"crypto/sha256"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"math/big"
	"net/http"
	"strings"
	"sync"
	"time"
)

// The endpoints of a provider, by the names under which answers are measured.
const (
	discovery    = "discovery"
	umaDiscovery = "uma2-configuration"
	keySet       = "key set"
	codeGrant    = "token, authorization_code"
	refreshGrant = "token, refresh_token"
	clientGrant  = "token, client_credentials"
	ticketGrant  = "token, uma-ticket"
	userInfo     = "user info"
	introspect   = "introspection"
	permission   = "permission"
	listing      = "resource listing"
	registration = "resource registration"
	revocation   = "revocation"
)

// The secrets and names that the provider knows.
const (
	goodCode  = "the-code"
	goodToken = "the-token"
	ticket    = "the-ticket"
	clientID  = "notes"
	subject   = "ana"
)

// provider is the smallest OpenID provider and authorization server with which
// a person and a client get in. Every endpoint has one answer.
type provider struct {
	issuer string // its address
	key    *rsa.PrivateKey
	now    func() time.Time

	mu    sync.Mutex
	nonce string // of the sign-in under way
	// flood, if not nil, answers the requests to one endpoint.
	flooded string
	flood   http.HandlerFunc
}

// expect sets the nonce of the next ID Token.
func (p *provider) expect(nonce string) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.nonce = nonce
}

// drown makes a flood answer the requests to an endpoint.
func (p *provider) drown(endpoint string, flood http.HandlerFunc) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.flooded, p.flood = endpoint, flood
}

func (p *provider) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	endpoint := endpointOf(r)
	p.mu.Lock()
	flood, nonce := p.flood, p.nonce
	if endpoint != p.flooded {
		flood = nil
	}
	p.mu.Unlock()
	if flood != nil {
		flood(w, r)
		return
	}
	status, body := p.answer(endpoint, nonce, r)
	w.Header().Set("Content-Type", "application/json")
	w.WriteHeader(status)
	_ = json.NewEncoder(w).Encode(body) // the client is gone
}

// endpointOf names the endpoint of a request, "" for none.
func endpointOf(r *http.Request) string {
	switch r.URL.Path {
	case "/.well-known/openid-configuration":
		return discovery
	case "/.well-known/uma2-configuration":
		return umaDiscovery
	case "/token":
		grant := r.FormValue("grant_type")
		return "token, " + grant[strings.LastIndexByte(grant, ':')+1:]
	case "/resources":
		if r.Method == http.MethodGet {
			return listing
		}
		return registration
	}
	return map[string]string{"/keys": keySet, "/userinfo": userInfo, "/introspect": introspect,
		"/permission": permission, "/revoke": revocation}[r.URL.Path]
}

type object map[string]any

func (p *provider) answer(endpoint, nonce string, r *http.Request) (int, any) {
	switch endpoint {
	case discovery, umaDiscovery:
		return http.StatusOK, p.metadata()
	case keySet:
		return http.StatusOK, object{"keys": []any{p.jwk()}}
	case codeGrant:
		if r.FormValue("code") != goodCode {
			return http.StatusBadRequest, object{"error": "invalid_grant"}
		}
		return http.StatusOK, p.tokens(nonce)
	case refreshGrant:
		return http.StatusOK, p.tokens("")
	case clientGrant, ticketGrant:
		return http.StatusOK, object{"access_token": goodToken, "token_type": "Bearer", "expires_in": 3600}
	case userInfo:
		return http.StatusOK, object{"sub": subject, "email": "ana@example.org"}
	case introspect:
		return http.StatusOK, p.facts(r.FormValue("token"))
	case permission:
		return http.StatusCreated, object{"ticket": ticket}
	case listing:
		return http.StatusOK, []string{}
	case registration:
		return http.StatusCreated, object{"_id": "the-album"}
	case revocation:
		return http.StatusOK, object{}
	}
	return http.StatusNotFound, object{}
}

func (p *provider) metadata() object {
	return object{
		"issuer": p.issuer, "authorization_endpoint": p.issuer + "/authorize", "token_endpoint": p.issuer + "/token",
		"jwks_uri": p.issuer + "/keys", "userinfo_endpoint": p.issuer + "/userinfo", "revocation_endpoint": p.issuer + "/revoke",
		"introspection_endpoint": p.issuer + "/introspect", "permission_endpoint": p.issuer + "/permission",
		"resource_registration_endpoint":        p.issuer + "/resources",
		"id_token_signing_alg_values_supported": []string{"RS256"}, "response_types_supported": []string{"code"},
		"subject_types_supported": []string{"public"}, "code_challenge_methods_supported": []string{"S256"},
		"token_endpoint_auth_methods_supported": []string{"client_secret_basic"},
	}
}

func (p *provider) facts(token string) object {
	if token != goodToken {
		return object{"active": false}
	}
	return object{"active": true, "iss": p.issuer, "sub": subject, "client_id": "printshop", "exp": p.now().Add(time.Hour).Unix(),
		"permissions": []object{{"resource_id": "the-album", "resource_scopes": []string{"view"}}}}
}

func (p *provider) tokens(nonce string) object {
	now := p.now()
	claims := object{"iss": p.issuer, "sub": subject, "aud": clientID, "iat": now.Unix(), "exp": now.Add(time.Hour).Unix()}
	if nonce != "" {
		claims["nonce"] = nonce
	}
	return object{"access_token": "access", "refresh_token": "refresh", "token_type": "Bearer", "expires_in": 300,
		"id_token": p.sign(claims)}
}

// jwk is the public key. RFC 7518 §6.3.1.
func (p *provider) jwk() object {
	return object{"kty": "RSA", "use": "sig", "alg": "RS256", "kid": "one",
		"n": encode(p.key.N.Bytes()), "e": encode(big.NewInt(int64(p.key.E)).Bytes())}
}

// sign makes a compact RS256 token. RFC 7515 §7.1.
func (p *provider) sign(claims object) string {
	body, err := json.Marshal(claims)
	if err != nil {
		panic(fmt.Sprintf("claims of our own: %v", err))
	}
	signed := encode([]byte(`{"alg":"RS256","kid":"one"}`)) + "." + encode(body)
	sum := sha256.Sum256([]byte(signed))
	signature, err := rsa.SignPKCS1v15(rand.Reader, p.key, crypto.SHA256, sum[:])
	if err != nil {
		panic(fmt.Sprintf("a key of our own: %v", err))
	}
	return signed + "." + encode(signature)
}

func encode(b []byte) string { return base64.RawURLEncoding.EncodeToString(b) }
