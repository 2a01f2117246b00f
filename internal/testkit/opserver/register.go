package opserver

import (
	"bytes"
	"crypto/subtle"
	"encoding/json"
	"io"
	"maps"
	"mime"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"time"

	"github.com/go-jose/go-jose/v4"
)

// RegistrationOptions say how the server registers clients. OpenID Connect
// Dynamic Client Registration 1.0, RFC 7591, RFC 7592.
type RegistrationOptions struct {
	InitialToken string        // who registers needs it, "" for nobody
	SecretLife   time.Duration // of the secrets; 0 for ever
	RenewOnRead  bool          // a read gives a new secret, with a new life; the old one ends at once
	RotateToken  bool          // a read or update gives a new registration access token; the old one ends at once
	Unmanaged    bool          // no address to read, change and delete the client
	// RenewOnUpdate is RenewOnRead for an update.
	RenewOnUpdate bool
	// Answer changes an answer before it is sent. What the server remembers is
	// not changed, but for the method of authentication.
	Answer func(answer map[string]any)
	// Refuse, if not nil, answers instead of the server if it returns true.
	Refuse func(w http.ResponseWriter, r *http.Request) bool
}

// SetRegistration lets clients register. nil no longer lets them, which is how a
// server begins.
func (s *Server) SetRegistration(o *RegistrationOptions) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.st.registration = o
}

func (s *Server) registration() *RegistrationOptions {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.st.registration
}

// Registered returns the ids of the clients that have registered themselves and
// are not deleted, in order.
func (s *Server) Registered() (ids []string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for id, c := range s.st.clients {
		if c.registered != nil {
			ids = append(ids, id)
		}
	}
	slices.Sort(ids)
	return ids
}

// Forget removes a client that has registered itself, as a server does that is
// set up anew.
func (s *Server) Forget(id string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	delete(s.st.clients, id)
}

// registered is what belongs to a client that has registered itself.
type registered struct {
	token    string // to manage it
	ends     time.Time
	issued   time.Time
	metadata map[string]any
	keysAt   string            // jwks_uri
	keys     []jose.JSONWebKey // that were there
}

// secretEnded reports whether the secret of a client no longer counts.
func (c *client) secretEnded(now time.Time) bool {
	return c.registered != nil && !c.registered.ends.IsZero() && !now.Before(c.registered.ends)
}

// setByServer are the members that a client must not send. RFC 7592 §2.2.
var setByServer = []string{"registration_access_token", "registration_client_uri", "client_secret_expires_at", "client_id_issued_at"}

// serveRegister is the registration endpoint. RFC 7591 §3.
func (s *Server) serveRegister(w http.ResponseWriter, r *http.Request) {
	o := s.registration()
	if o == nil {
		http.NotFound(w, r)
		return
	}
	if o.Refuse != nil && o.Refuse(w, r) {
		return
	}
	if o.InitialToken != "" {
		if token, ok := bearer(r); !ok || subtle.ConstantTimeCompare([]byte(token), []byte(o.InitialToken)) != 1 {
			writeError(w, bearerError(http.StatusUnauthorized, "invalid_token", "the initial access token is missing or unknown"))
			return
		}
	}
	metadata, bad := s.readMetadata(w, r)
	if bad == nil {
		for _, name := range append([]string{"client_id", "client_secret"}, setByServer...) {
			if _, has := metadata[name]; has {
				s.stats.violation("a registration has the member %s, which only the server sets", name)
				bad = badRequest("invalid_client_metadata", name+" is not for a client to choose")
			}
		}
	}
	var c *client
	if bad == nil {
		c, bad = s.clientOf(metadata)
	}
	if bad != nil {
		writeError(w, bad)
		return
	}
	c.ID = "reg-" + newSecret()
	c.registered.token, c.registered.issued = newSecret(), s.now()
	s.mu.Lock()
	s.giveSecret(c, o)
	s.st.clients[c.ID] = c
	s.mu.Unlock()
	s.answerClient(w, http.StatusCreated, c, o)
}

// giveSecret gives a client a new secret. The lock is held.
func (s *Server) giveSecret(c *client, o *RegistrationOptions) {
	if c.Auth == AuthNone || c.Auth == AuthPrivateKeyJWT {
		return
	}
	c.Secret, c.registered.ends = newSecret()+newSecret(), time.Time{} // long enough for HS256: Registration §3.1
	if o.SecretLife > 0 {
		c.registered.ends = s.now().Add(o.SecretLife).Truncate(time.Second)
	}
}

// answerClient sends the client information response. RFC 7591 §3.2.1.
func (s *Server) answerClient(w http.ResponseWriter, status int, c *client, o *RegistrationOptions) {
	s.mu.Lock()
	answer := maps.Clone(c.registered.metadata)
	answer["client_id"], answer["client_id_issued_at"] = c.ID, c.registered.issued.Unix()
	if c.Secret != "" {
		answer["client_secret"], answer["client_secret_expires_at"] = c.Secret, 0
		if !c.registered.ends.IsZero() {
			answer["client_secret_expires_at"] = c.registered.ends.Unix()
		}
	}
	if !o.Unmanaged {
		answer["registration_client_uri"] = s.url(pathRegister) + "/" + c.ID
		answer["registration_access_token"] = c.registered.token
	}
	s.mu.Unlock()
	for _, one := range s.spoilRegistered(answer) {
		if s.wrong.has(one.fault) {
			one.apply()
		}
	}
	if o.Answer != nil {
		o.Answer(answer)
		if method, ok := answer["token_endpoint_auth_method"].(string); ok {
			s.mu.Lock()
			c.Auth = method
			s.mu.Unlock()
		}
	}
	w.Header().Set("Cache-Control", "no-store")
	writeJSON(w, status, answer)
}

// spoilRegistered is the table of the faults of an answer about a client. What the
// server remembers stays as it is.
func (s *Server) spoilRegistered(answer map[string]any) []spoiler {
	return []spoiler{
		{OtherRedirectURIs, func() { answer["redirect_uris"] = []string{"https://rp.invalid/callback"} }},
		{MissingClientSecret, func() { delete(answer, "client_secret") }},
		{UnknownClientAuth, func() { answer["token_endpoint_auth_method"] = "tls_client_auth" }}, // RFC 8705 §2.1.1
		{ClientManagedElsewhere, func() {
			if _, has := answer["registration_client_uri"]; has {
				answer["registration_client_uri"] = "https://op.invalid" + s.prefix + pathRegister // a reserved name: RFC 6761 §6.4
			}
		}},
		{OtherClientName, func() { answer["client_name"] = "Another name" }},
	}
}

// serveClient is the client configuration endpoint. RFC 7592 §2.
func (s *Server) serveClient(w http.ResponseWriter, r *http.Request) {
	o := s.registration()
	if o == nil || o.Unmanaged {
		http.NotFound(w, r)
		return
	}
	if o.Refuse != nil && o.Refuse(w, r) {
		return
	}
	token, _ := bearer(r)
	s.mu.Lock()
	c := s.st.clients[r.PathValue("id")]
	known := c != nil && c.registered != nil && subtle.ConstantTimeCompare([]byte(token), []byte(c.registered.token)) == 1
	s.mu.Unlock()
	if !known { // RFC 7592 §2.1: also if the client does not exist
		writeError(w, bearerError(http.StatusUnauthorized, "invalid_token", "the registration access token is unknown"))
		return
	}
	switch r.Method {
	case http.MethodDelete:
		s.Forget(c.ID)
		w.WriteHeader(http.StatusNoContent)
		return
	case http.MethodPut:
		next, bad := s.replaced(w, r, c)
		if bad != nil {
			writeError(w, bad)
			return
		}
		c = next
	}
	s.mu.Lock()
	next := *c // what others hold is never modified
	reg := *c.registered
	next.registered = &reg
	if o.RotateToken {
		reg.token = newSecret()
	}
	if o.RenewOnRead && r.Method == http.MethodGet || o.RenewOnUpdate && r.Method == http.MethodPut {
		s.giveSecret(&next, o)
	}
	s.st.clients[next.ID] = &next
	s.mu.Unlock()
	s.answerClient(w, http.StatusOK, &next, o)
}

// replaced returns the client with the metadata of an update. RFC 7592 §2.2: it
// names the client, and the secret if it names one, and replaces all.
func (s *Server) replaced(w http.ResponseWriter, r *http.Request, c *client) (*client, *apiError) {
	metadata, bad := s.readMetadata(w, r)
	if bad != nil {
		return nil, bad
	}
	for _, name := range setByServer {
		if _, has := metadata[name]; has {
			s.stats.violation("an update has the member %s, which only the server sets", name)
			return nil, badRequest("invalid_client_metadata", name+" is not for a client to choose")
		}
	}
	secret, has := metadata["client_secret"]
	if metadata["client_id"] != c.ID || has && secret != c.Secret {
		return nil, badRequest("invalid_client_metadata", "client_id or client_secret is not that of the client")
	}
	delete(metadata, "client_id")
	delete(metadata, "client_secret")
	next, bad := s.clientOf(metadata)
	if bad != nil {
		return nil, bad
	}
	if next.ID = c.ID; next.Auth != AuthNone && next.Auth != AuthPrivateKeyJWT {
		next.Secret = c.Secret
	}
	next.registered.token, next.registered.ends, next.registered.issued = c.registered.token, c.registered.ends, c.registered.issued
	return next, nil
}

// readMetadata reads the body of a registration or an update: one JSON object.
func (s *Server) readMetadata(w http.ResponseWriter, r *http.Request) (map[string]any, *apiError) {
	if kind, _, err := mime.ParseMediaType(r.Header.Get("Content-Type")); err != nil || kind != "application/json" {
		return nil, badRequest("invalid_request", "the body must be JSON")
	}
	body, err := io.ReadAll(http.MaxBytesReader(w, r.Body, maxBody))
	if err != nil {
		return nil, badRequest("invalid_request", "the body cannot be read")
	}
	if r.URL.RawQuery != "" {
		s.stats.violation("request to %s with parameters in its URL", r.URL.Path)
	}
	var metadata map[string]any
	d := json.NewDecoder(bytes.NewReader(body))
	if d.Decode(&metadata) != nil || metadata == nil || d.More() {
		return nil, badRequest("invalid_client_metadata", "the body is not one JSON object")
	}
	return metadata, nil
}

// clientOf makes a client of its metadata.
func (s *Server) clientOf(metadata map[string]any) (*client, *apiError) {
	wrong := func(name string) *apiError { return badRequest("invalid_client_metadata", name) }
	lists := map[string][]string{}
	for _, name := range []string{"redirect_uris", "post_logout_redirect_uris", "grant_types", "response_types"} {
		list, ok := texts(metadata[name])
		if !ok {
			return nil, wrong(name)
		}
		lists[name] = list
	}
	if lists["grant_types"] == nil {
		lists["grant_types"] = []string{grantCode} // RFC 7591 §2
	}
	text := func(name string) string { t, _ := metadata[name].(string); return t }
	c := &client{Client: Client{
		Name: text("client_name"), Auth: text("token_endpoint_auth_method"), RedirectURIs: lists["redirect_uris"],
		PostLogoutRedirectURIs: lists["post_logout_redirect_uris"], GrantTypes: lists["grant_types"],
		BackchannelLogoutURI: text("backchannel_logout_uri"), FrontchannelLogoutURI: text("frontchannel_logout_uri"),
		IDTokenAlg: text("id_token_signed_response_alg"), AssertionAlg: text("token_endpoint_auth_signing_alg"),
		ResponseTypes: lists["response_types"],
	}, registered: &registered{metadata: metadata}}
	if c.Auth == "" {
		c.Auth = AuthBasic // RFC 7591 §2
	}
	if c.ResponseTypes == nil {
		c.ResponseTypes = []string{"code"} // RFC 7591 §2
	}
	if scope := text("scope"); scope != "" {
		c.Scopes = strings.Fields(scope)
	}
	alg, err := s.signsWith(c.IDTokenAlg)
	switch {
	case err != nil:
		return nil, wrong("id_token_signed_response_alg")
	case !slices.Contains([]string{AuthBasic, AuthPost, AuthNone, AuthSecretJWT, AuthPrivateKeyJWT}, c.Auth):
		return nil, wrong("token_endpoint_auth_method")
	case c.readKeys() != nil:
		return nil, wrong(c.readKeys().Error())
	case !c.typesFit():
		return nil, wrong("response_types")
	case len(c.RedirectURIs) == 0 && slices.Contains(c.GrantTypes, grantCode):
		return nil, badRequest("invalid_redirect_uri", "there is none")
	}
	for _, address := range c.RedirectURIs {
		u, err := url.Parse(address)
		if err != nil || !u.IsAbs() || u.Fragment != "" || strings.Contains(address, "*") {
			return nil, badRequest("invalid_redirect_uri", "")
		}
	}
	c.alg = alg
	return c, nil
}

// typesFit reports whether the response types are some that we answer with, and
// the grant types those that go with them. OpenID Connect Registration §2.
func (c *client) typesFit() bool {
	return !slices.ContainsFunc(c.ResponseTypes, func(t string) bool {
		words := sortedWords(t)
		known := slices.ContainsFunc(responseTypes(), func(one string) bool { return sortedWords(one) == words })
		return !known || contains(strings.Fields(words), "code") && !c.mayUse(grantCode) || words != "code" && !c.mayUse(grantImplicit)
	})
}

// texts returns a list of texts, or nil if there is none.
func texts(value any) (list []string, ok bool) {
	if value == nil {
		return nil, true
	}
	all, ok := value.([]any)
	list = make([]string, 0, len(all)) // a list without members is one
	for _, one := range all {
		text, is := one.(string)
		if !is {
			return nil, false
		}
		list = append(list, text)
	}
	return list, ok
}
