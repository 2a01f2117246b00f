// Package iyo is a provider on this machine that answers as itsyou.online did:
// the tokens are JWTs of ES384 and typ JWT, from the issuer "itsyouonline",
// which is no address. aud lists the application's id first, azp is that id too,
// and there is no sub and no iat. Who the token is about stands in username, or
// in globalid if it is an organization.
package iyo

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/subtle"
	"crypto/x509"
	"encoding/json"
	"encoding/pem"
	"net/http"
	"slices"
	"strings"
	"time"

	"github.com/go-jose/go-jose/v4"
)

// Issuer is the iss of every token.
const Issuer = "itsyouonline"

const (
	tokenLife = 24 * time.Hour // as at itsyou.online
	maxForm   = 8 << 10        // of a token request, in bytes: its parameters are short
)

// App is an application that may get tokens.
type App struct {
	Secret string
	// Username is the person who made the API key, or GlobalID the organization
	// that did.
	Username, GlobalID string
	Scopes             []string // all that its tokens may have
}

// Server is the provider. It is an http.Handler and safe for concurrent use.
type Server struct {
	mux    http.ServeMux
	apps   map[string]App
	signer jose.Signer
	public []byte
}

// New makes a provider with a new key for these applications, by id.
func New(apps map[string]App) (*Server, error) {
	key, err := ecdsa.GenerateKey(elliptic.P384(), rand.Reader)
	if err != nil {
		return nil, err
	}
	der, err := x509.MarshalPKIXPublicKey(key.Public())
	if err != nil {
		return nil, err
	}
	signer, err := jose.NewSigner(jose.SigningKey{Algorithm: jose.ES384, Key: key}, (&jose.SignerOptions{}).WithType("JWT"))
	if err != nil {
		return nil, err
	}
	s := &Server{apps: apps, signer: signer, public: pem.EncodeToMemory(&pem.Block{Type: "PUBLIC KEY", Bytes: der})}
	s.mux.HandleFunc("POST /v1/oauth/access_token", s.accessToken)
	return s, nil
}

// PublicKey returns the key of the tokens in PEM. itsyou.online publishes it on
// a page, and nowhere for programs.
func (s *Server) PublicKey() []byte { return slices.Clone(s.public) }

// ServeHTTP implements http.Handler.
func (s *Server) ServeHTTP(w http.ResponseWriter, r *http.Request) { s.mux.ServeHTTP(w, r) }

// accessToken is the token address. With response_type=id_token, which the
// clients of go-raml send, the body is the bare JWT.
func (s *Server) accessToken(w http.ResponseWriter, r *http.Request) {
	r.Body = http.MaxBytesReader(w, r.Body, maxForm)
	if err := r.ParseForm(); err != nil || r.Form.Get("grant_type") != "client_credentials" {
		http.Error(w, "Bad Request", http.StatusBadRequest)
		return
	}
	id := r.Form.Get("client_id")
	app, found := s.apps[id]
	if !found || subtle.ConstantTimeCompare([]byte(app.Secret), []byte(r.Form.Get("client_secret"))) != 1 {
		http.Error(w, "Bad Request", http.StatusBadRequest) // as itsyou.online says it
		return
	}
	scopes := app.Scopes
	if asked := split(r.Form.Get("scope")); len(asked) > 0 { // fewer, if the client wants fewer
		for _, scope := range asked {
			if !slices.Contains(app.Scopes, scope) {
				http.Error(w, "Unauthorized", http.StatusUnauthorized)
				return
			}
		}
		scopes = asked
	}
	token, err := s.sign(id, app, scopes, split(r.Form.Get("aud")))
	if err != nil {
		http.Error(w, "Internal Server Error", http.StatusInternalServerError)
		return
	}
	w.Header().Set("Cache-Control", "no-store")
	if r.Form.Get("response_type") == "id_token" {
		w.Header().Set("Content-Type", "application/jwt")
		_, _ = w.Write([]byte(token)) // a client that is gone needs no answer
		return
	}
	w.Header().Set("Content-Type", "application/json")
	_ = json.NewEncoder(w).Encode(map[string]any{"access_token": token, "token_type": "bearer", "expires_in": int(tokenLife / time.Second)})
}

// sign makes a token for an application, with further audiences.
func (s *Server) sign(id string, app App, scopes, audience []string) (string, error) {
	claims := map[string]any{
		"iss": Issuer, "aud": append([]string{id}, audience...), "azp": id,
		"scope": scopes, "exp": time.Now().Add(tokenLife).Unix(),
	}
	if app.Username != "" {
		claims["username"] = app.Username
	} else {
		claims["globalid"] = app.GlobalID
	}
	payload, err := json.Marshal(claims)
	if err != nil {
		return "", err
	}
	signed, err := s.signer.Sign(payload)
	if err != nil {
		return "", err
	}
	return signed.CompactSerialize()
}

// split reads a list with spaces or commas in between.
func split(list string) []string {
	return strings.FieldsFunc(list, func(c rune) bool { return c == ' ' || c == ',' })
}
