package opserver

import (
	"crypto/subtle"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"slices"
	"strings"

	"github.com/go-jose/go-jose/v4"
)

// The ways in which a client authenticates. OpenID Connect Core §9.
const (
	AuthBasic = "client_secret_basic"
	AuthPost  = "client_secret_post"
	AuthNone  = "none"

	AuthSecretJWT     = "client_secret_jwt"
	AuthPrivateKeyJWT = "private_key_jwt"
)

// Client is a registered client.
type Client struct {
	ID, Secret   string
	Name         string   // for people; "" means the ID
	HomeURI      string   // start of its own pages, linked from the pages about it
	Auth         string   // "": either basic or post; none if Secret is empty
	RedirectURIs []string // compared as strings
	// PostLogoutRedirectURIs are compared as strings. PostLogoutOrigins are
	// origins (https://host:port) of which any address is accepted.
	PostLogoutRedirectURIs []string
	PostLogoutOrigins      []string
	BackchannelLogoutURI   string   // where logout tokens go, "" for nowhere
	FrontchannelLogoutURI  string   // what the page after logout shows in a frame, "" for nothing
	GrantTypes             []string // nil: all
	ResponseTypes          []string // nil: all
	Scopes                 []string // nil: all
	ClaimsRedirectURIs     []string // where the claims page sends people back to, compared as strings
	IDTokenAlg             string   // "": RS256; or another of RS, PS, ES and EdDSA

	Keys              []jose.JSONWebKey // public, each with an id, of AuthPrivateKeyJWT
	AssertionAlg      string            // "": any that fits
	AssertionAudience string            // "": the issuer, as one text
}

// AddClient registers a client, replacing one with the same ID.
func (s *Server) AddClient(c Client) error {
	if c.ID == "" {
		return errors.New("opserver: client without ID")
	}
	if c.Auth == "" && c.Secret == "" {
		c.Auth = AuthNone
	}
	if err := c.checkAuth(); err != nil {
		return err
	}
	if u, err := url.Parse(c.HomeURI); c.HomeURI != "" && (err != nil || u.Host == "" || (u.Scheme != "http" && u.Scheme != "https")) {
		return fmt.Errorf("opserver: client %q: HomeURI is not an http or https URL", c.ID)
	}
	alg, err := s.signsWith(c.IDTokenAlg)
	if err != nil {
		return err
	}
	reg := &client{Client: c, alg: alg}
	reg.RedirectURIs = slices.Clone(c.RedirectURIs)
	reg.PostLogoutRedirectURIs = slices.Clone(c.PostLogoutRedirectURIs)
	reg.PostLogoutOrigins = slices.Clone(c.PostLogoutOrigins)
	reg.Keys = slices.Clone(c.Keys)
	reg.ClaimsRedirectURIs = slices.Clone(c.ClaimsRedirectURIs)
	reg.GrantTypes, reg.Scopes, reg.ResponseTypes = slices.Clone(c.GrantTypes), slices.Clone(c.Scopes), slices.Clone(c.ResponseTypes)
	s.mu.Lock()
	defer s.mu.Unlock()
	s.st.clients[c.ID] = reg
	return nil
}

// signingAlg returns the asymmetric algorithm of that name, or RS256 for "".
func signingAlg(name string) (jose.SignatureAlgorithm, error) {
	switch alg := jose.SignatureAlgorithm(name); alg {
	case "":
		return jose.RS256, nil
	case jose.RS256, jose.RS384, jose.RS512, jose.PS256, jose.PS384, jose.PS512, jose.ES256, jose.ES384, jose.ES512, jose.EdDSA:
		return alg, nil
	}
	return "", fmt.Errorf("opserver: tokens cannot be signed with %q", name)
}

// signsWith is signingAlg for an algorithm from now on in use: its key is in the
// key set before the first token.
func (s *Server) signsWith(name string) (jose.SignatureAlgorithm, error) {
	alg, err := signingAlg(name)
	if err == nil && name != "" && !slices.Contains(firstAlgs(), name) {
		_, err = s.keys.signing(alg)
	}
	return alg, err
}

func (c *client) title() string {
	if c.Name != "" {
		return c.Name
	}
	return c.ID
}

// titleOf returns the name of a client for people, or "". The lock is held.
func (s *Server) titleOf(id string) string {
	if c := s.st.clients[id]; c != nil {
		return c.title()
	}
	return ""
}

// homeOf returns the start of a client's pages, or "" if it gave none. The lock
// is held.
func (s *Server) homeOf(id string) string {
	if c := s.st.clients[id]; c != nil {
		return c.HomeURI
	}
	return ""
}

func (c *client) mayUse(grantType string) bool {
	return c.GrantTypes == nil || contains(c.GrantTypes, grantType)
}

// mayAsk reports whether the client is registered for all of the scopes.
func (c *client) mayAsk(scopes []string) bool {
	return c.Scopes == nil || !slices.ContainsFunc(scopes, func(v string) bool { return !contains(c.Scopes, v) })
}

// takesBack reports whether a browser may be sent to the address after logout.
func (c *client) takesBack(address string) bool {
	if contains(c.PostLogoutRedirectURIs, address) { // RP-Initiated Logout §3
		return true
	}
	u, err := url.Parse(address)
	return err == nil && u.User == nil && u.Fragment == "" && contains(c.PostLogoutOrigins, u.Scheme+"://"+u.Host)
}

// authenticate finds the client of a request. RFC 6749 §2.3.
func (s *Server) authenticate(r *http.Request, form url.Values) (*client, *apiError) {
	header := r.Header.Get("Authorization")
	scheme, _, _ := strings.Cut(header, " ")
	basic := strings.EqualFold(scheme, "Basic")
	refused := &apiError{status: http.StatusUnauthorized, code: "invalid_client", desc: "client authentication failed"}
	if header != "" {
		refused.challenge = `Basic realm="opserver"` // RFC 6749 §5.2
	}
	id, secret, how := form.Get("client_id"), form.Get("client_secret"), AuthNone
	asserted := form.Has("client_assertion") || form.Has("client_assertion_type")
	switch {
	case basic && form.Has("client_secret"), asserted && (header != "" || form.Has("client_secret")):
		s.stats.violation("client %s authenticates in two ways at once", printable(id))
		return nil, badRequest("invalid_request", "more than one way of client authentication")
	case asserted:
		c, err := s.asserted(form)
		if err != nil {
			s.stats.violation("client %s: %v", printable(id), err)
			return nil, refused
		}
		return c, nil
	case basic:
		user, pass, ok := basicAuth(r)
		if !ok || (id != "" && id != user) {
			return nil, refused
		}
		id, secret, how = user, pass, AuthBasic
	case form.Has("client_secret"):
		how = AuthPost
	}
	s.mu.Lock()
	c := s.st.clients[id]
	s.mu.Unlock()
	if c == nil || id == "" {
		return nil, refused
	}
	if asserts(c.Auth) || c.Auth != how && (c.Auth != "" || how == AuthNone) {
		return nil, refused
	}
	if subtle.ConstantTimeCompare([]byte(c.Secret), []byte(secret)) != 1 || c.secretEnded(s.now()) {
		return nil, refused
	}
	return c, nil
}

// basicAuth reads client_secret_basic: both parts are form-encoded before they
// are joined. RFC 6749 §2.3.1.
func basicAuth(r *http.Request) (id, secret string, ok bool) {
	user, pass, ok := r.BasicAuth()
	if !ok {
		return "", "", false
	}
	id, err := url.QueryUnescape(user)
	if err != nil {
		return "", "", false
	}
	secret, err = url.QueryUnescape(pass)
	return id, secret, err == nil
}
