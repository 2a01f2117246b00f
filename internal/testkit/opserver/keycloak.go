package opserver

import (
	"crypto/rand"
	"crypto/sha256"
	"encoding/hex"
	"net/http"
	"net/url"
	"slices"
	"strings"

	"github.com/go-jose/go-jose/v4"
	"github.com/go-jose/go-jose/v4/json"
)

// ticketKeyBytes is the key size that HS512 requires. RFC 7518 §3.2.
const ticketKeyBytes = 64

// newTicketKey makes the secret that signs tickets.
func newTicketKey() []byte {
	key := make([]byte, ticketKeyBytes)
	rand.Read(key) // it never fails
	return key
}

// LetProtect gives a person the role uma_protection, or takes it away. The
// dialect Keycloak requires it of people who own resources (K1). At first
// everybody has it.
func (s *Server) LetProtect(userName string, on bool) {
	s.set(func(st *state) { st.noRole[userName] = !on })
}

func (keycloak) wrongMethod() *apiError {
	return &apiError{status: http.StatusMethodNotAllowed, code: "HTTP 405 Method Not Allowed"}
}

// umaMetadata implements K16: no profiles, no place for claims, no revocation,
// and Keycloak's own policy API, which is not served here.
func (s keycloak) umaMetadata(m map[string]any) string {
	delete(m, "revocation_endpoint")
	m["policy_endpoint"] = s.url(pathPermission) + "-policy"
	return "no-cache, must-revalidate, no-transform, no-store"
}

// knowsScope implements K1: a PAT depends on a role, not on a scope.
func (keycloak) knowsScope(name string) bool { return name != scopePAT }

func (s keycloak) isPAT(t *token) bool {
	return t.rights == nil && s.isResourceServer(t.grant.client) && (t.grant.user == nil || !s.st.noRole[t.grant.user.name])
}

// isResourceServer reports whether a client has authorization services. The
// lock is held.
func (s keycloak) isResourceServer(id string) bool {
	c := s.st.clients[id]
	return c != nil && c.Auth != AuthNone && c.mayAsk([]string{scopePAT})
}

// openSession: every ID Token has a session, and RPTs end with it (K22).
func (s keycloak) openSession(u *user) string {
	s.mu.Lock()
	defer s.mu.Unlock()
	now := s.now()
	made := &session{id: newSecret(), user: u, sid: newSecret(), authTime: now, acr: acrPassword, expires: now.Add(sessionLifetime)}
	s.st.sessions[made.id] = made
	s.put()
	return made.sid
}

// hasSession reports whether a session is live. The lock is held.
func (s keycloak) hasSession(sid string) bool {
	for _, v := range s.st.sessions {
		if v.sid == sid && s.now().Before(v.expires) {
			return true
		}
	}
	return false
}

// pat checks the PAT of a request. All refusals are 403 without a challenge
// (K1). The role is required for managing resources, but not for tickets.
func (s keycloak) pat(r *http.Request, role bool) (party, string, *apiError) {
	value, ok := bearer(r)
	if r.URL.Query().Has("access_token") {
		s.stats.violation("PAT in the URL of %s", r.URL.Path)
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	refusal := s.st.patRefusal
	if refusal == 0 {
		refusal = http.StatusForbidden
	}
	t := s.st.tokens[value]
	switch {
	case !ok && r.Header.Get("Authorization") != "":
		return party{}, "", &apiError{status: http.StatusUnauthorized, code: "HTTP 401 Unauthorized"}
	case !ok || t == nil || t.lost || !t.live(s.now()):
		return party{}, "", &apiError{status: refusal, code: "invalid_bearer_token", desc: "Could not obtain bearer access_token from request."}
	case !s.isResourceServer(t.grant.client):
		return party{}, "", &apiError{status: refusal, code: "invalid_clientId", desc: "the client is not registered as a resource server"}
	case role && !s.isPAT(t):
		return party{}, "", &apiError{status: refusal, code: "invalid_scope", desc: "Requires uma_protection scope."}
	}
	if t.grant.user != nil {
		return party{user: t.grant.user.name}, t.grant.client, nil
	}
	return party{client: t.grant.client}, t.grant.client, nil
}

// caller also accepts the requesting party's own access token in place of
// client authentication (K11). It then counts as the claim, whatever else was
// pushed.
func (s keycloak) caller(r *http.Request, form url.Values) (*client, *apiError) {
	if value, ok := bearer(r); ok && form.Get("grant_type") == grantUMA {
		s.mu.Lock()
		defer s.mu.Unlock()
		t := s.st.tokens[value]
		if t == nil || t.lost || !t.live(s.now()) || s.st.clients[t.grant.client] == nil {
			return nil, badRequest("invalid_grant", "Invalid bearer token")
		}
		form.Set("claim_token", value)
		form.Set("claim_token_format", formatIDToken)
		return s.st.clients[t.grant.client], nil
	}
	c, bad := s.authenticate(r, form)
	if bad != nil && bad.code == "invalid_client" {
		bad.challenge = ""
		if id, _, _ := basicAuth(r); s.knowsClient(id) || (form.Has("client_secret") && s.knowsClient(form.Get("client_id"))) {
			bad.code = "unauthorized_client" // K15: the secret is wrong
		}
	}
	return c, bad
}

func (s keycloak) knowsClient(id string) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.st.clients[id] != nil
}

// heldTicket is a permission ticket. It is signed, readable and not stored, so
// it works any number of times until it expires (K10).
type heldTicket struct {
	Permissions []heldPermission `json:"permissions"`
	ID          string           `json:"jti"`
	Audience    string           `json:"aud"`
	Subject     string           `json:"sub"`
	Client      string           `json:"azp"`
	Issued      int64            `json:"iat"`
	Expires     int64            `json:"exp"`
}

// A heldPermission without Scopes asks for every available scope. One without
// Resource asks for any resource that has the scopes (K20).
type heldPermission struct {
	Scopes   []string `json:"scopes,omitempty"`
	Resource string   `json:"rsid,omitempty"`
}

func (s keycloak) signTicket(t heldTicket) (string, error) {
	payload, err := json.Marshal(t)
	if err != nil {
		return "", err
	}
	return jws{alg: jose.HS512, key: s.ticketKey, kid: "tickets", typ: "JWT"}.compact(payload)
}

// readTicket reports whether the ticket is one of ours and has not expired.
func (s keycloak) readTicket(raw string) (t heldTicket, ok bool) {
	signed, err := jose.ParseSignedCompact(raw, []jose.SignatureAlgorithm{jose.HS512})
	if err != nil {
		return t, false
	}
	payload, err := signed.Verify(s.ticketKey)
	if err != nil || json.Unmarshal(payload, &t) != nil {
		return t, false
	}
	return t, s.now().Unix() < t.Expires
}

// fingerprint is the jti of a token that is not a JWT.
func fingerprint(value string) string {
	sum := sha256.Sum256([]byte(value))
	return hex.EncodeToString(sum[:8])
}

// audienceOf lists who may introspect an ordinary token: the resource servers
// at which its person has a role, but not the client that the token was made
// for. The lock is held.
func (s keycloak) audienceOf(t *token) []string {
	out := []string{"account"}
	if t.grant.user == nil || s.st.noRole[t.grant.user.name] {
		return out
	}
	for id := range s.st.clients {
		if id != t.grant.client && s.isResourceServer(id) {
			out = append(out, id)
		}
	}
	slices.Sort(out)
	return out
}

// introspector implements K17: only client authentication is accepted.
func (s keycloak) introspector(r *http.Request, form url.Values) (string, *apiError) {
	refused := &apiError{status: http.StatusUnauthorized, code: "invalid_client"}
	if _, isBearer := bearer(r); isBearer {
		return "", refused
	}
	c, bad := s.authenticate(r, form)
	if bad != nil {
		bad.challenge = ""
		return "", bad
	}
	if c.Auth == AuthNone {
		return "", refused
	}
	return c.ID, nil
}

// introspect implements K17. What an RPT holds was decided when it was issued
// (K22).
func (s keycloak) introspect(form url.Values, asking string) map[string]any {
	inactive := map[string]any{"active": false}
	value := form.Get("token")
	t := s.st.tokens[value]
	if t == nil || t.lost || !t.live(s.now()) {
		return inactive
	}
	id, audience := t.id, []string(nil)
	if t.rights != nil {
		audience = t.rights.audience
	} else {
		id, audience = fingerprint(value), s.audienceOf(t)
	}
	if !contains(audience, asking) {
		return inactive
	}
	body := map[string]any{"active": true, "exp": t.exp.Unix(), "iat": t.iat.Unix(), "jti": id, "typ": "Bearer", "acr": "1", "aud": audience}
	if len(audience) == 1 {
		body["aud"] = audience[0]
	}
	if form.Get("token_type_hint") != "requesting_party_token" {
		return s.plainFacts(body, t)
	}
	if t.rights != nil {
		list := []map[string]any{}
		for _, p := range t.rights.permissions {
			list = append(list, map[string]any{"rsid": p.resource, "rsname": p.name, "resource_id": p.resource,
				"scopes": p.scopes, "resource_scopes": p.scopes})
		}
		body["permissions"] = list
	}
	return body
}

// plainFacts is the introspection answer for any access token without the hint.
func (s keycloak) plainFacts(body map[string]any, t *token) map[string]any {
	body["iss"], body["azp"], body["client_id"], body["token_type"] = s.issuer, t.grant.client, t.grant.client, "Bearer"
	body["scope"] = strings.Join(t.scope, " ")
	if t.rights != nil {
		body["scope"] = "email profile"
	}
	if u := t.grant.user; u != nil {
		body["sub"], body["username"] = u.subject, u.name
	} else {
		body["sub"], body["username"] = t.grant.client, "service-account-"+t.grant.client
	}
	return body
}
