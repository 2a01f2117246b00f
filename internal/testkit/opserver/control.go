package opserver

import (
	"errors"
	"fmt"
	"maps"
	"net/http"
	"slices"
	"strings"
	"time"
)

// AddUser adds an account, or changes its password and claims. The subject is
// the claim sub if present, or else the name. preferred_username is the name
// unless the claims say otherwise. An email in the claims counts as verified
// unless they deny it.
func (s *Server) AddUser(name, password string, claims map[string]any) error {
	if name == "" {
		return errors.New("opserver: user without name")
	}
	u := &user{name: name, password: password, subject: name, claims: map[string]any{"preferred_username": name}}
	if claims["email"] != nil {
		u.claims["email_verified"] = true
	}
	maps.Copy(u.claims, claims)
	if sub, given := u.claims["sub"]; given {
		text, ok := sub.(string)
		if !ok || text == "" {
			return fmt.Errorf("opserver: user %q: sub is not a text", name)
		}
		u.subject = text
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if other := s.st.subjects[u.subject]; other != nil && other.name != name {
		return fmt.Errorf("opserver: users %q and %q have the same subject", name, other.name)
	}
	if before := s.st.users[name]; before != nil {
		if before.subject != u.subject {
			return fmt.Errorf("opserver: user %q keeps the subject %q", name, before.subject)
		}
		before.password, before.claims = u.password, u.claims
		return nil
	}
	s.st.users[name], s.st.subjects[u.subject] = u, u
	return nil
}

// HasUser reports whether there is an account with that name.
func (s *Server) HasUser(name string) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.st.users[name] != nil
}

// IDToken makes an ID Token of a user for a client, as a sign-in with the
// scopes openid, profile and email would.
func (s *Server) IDToken(userName, clientID string) (string, error) {
	s.mu.Lock()
	u, c := s.st.users[userName], s.st.clients[clientID]
	s.mu.Unlock()
	if u == nil || c == nil {
		return "", fmt.Errorf("opserver: user %q or client %q is not known", userName, clientID)
	}
	g := &grant{client: c.ID, user: u, scope: []string{"openid", "profile", "email"}, authTime: s.now(), acr: acrPassword}
	g.sid = s.speaks.openSession(u)
	return s.idToken(c, g, "", "", false)
}

// AccessToken makes an access token of a user for a client, as after a sign-in
// with a password just now. With the scope uma_protection it is a PAT. An empty
// user name stands for the client itself.
func (s *Server) AccessToken(userName, clientID string, scopes ...string) (string, error) {
	return s.AccessTokenFor(userName, clientID, nil, scopes...)
}

// AccessTokenFor is AccessToken for the given resources (RFC 8707), or for
// Audience of [AccessTokenOptions] without any.
func (s *Server) AccessTokenFor(userName, clientID string, resources []string, scopes ...string) (string, error) {
	return s.accessOf(userName, &grant{client: clientID, scope: scopes, resources: slices.Clone(resources)})
}

// accessOf makes an access token of a user from a grant.
func (s *Server) accessOf(userName string, g *grant) (string, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	u, c := s.st.users[userName], s.st.clients[g.client]
	if c == nil || (u == nil && userName != "") {
		return "", fmt.Errorf("opserver: user %q or client %q is not known", userName, g.client)
	}
	for _, scope := range g.scope {
		if scope == "" || strings.ContainsAny(scope, " \"\\") { // RFC 6749 §3.3
			return "", fmt.Errorf("opserver: %q is not one scope", scope)
		}
	}
	if u != nil {
		g.user, g.authTime, g.acr = u, s.now(), acrPassword
	}
	body := s.issue(c, g, g.scope, nil, false)
	value, _ := body["access_token"].(string)
	return value, nil
}

// SetCodeLifetime changes how long new codes work. The default is one minute, and
// specifications allow ten.
func (s *Server) SetCodeLifetime(d time.Duration) { s.set(func(st *state) { st.codeLife = d }) }

// SetTokenLifetime sets how long access tokens and RPTs live from now on.
func (s *Server) SetTokenLifetime(d time.Duration) { s.set(func(st *state) { st.tokenLife = d }) }

// SetIDTokenLifetime sets how long ID Tokens live from now on.
func (s *Server) SetIDTokenLifetime(d time.Duration) { s.set(func(st *state) { st.idTokenLife = d }) }

// SetTicketLifetime sets how long permission tickets live from now on.
func (s *Server) SetTicketLifetime(d time.Duration) { s.set(func(st *state) { st.ticketLife = d }) }

// SignWith sets the algorithm of all ID Tokens from now on, one of RS, PS, ES and
// EdDSA; "" goes back to what each client is registered for.
func (s *Server) SignWith(alg string) error {
	if alg == "" {
		s.set(func(st *state) { st.signWith = "" })
		return nil
	}
	found, err := s.signsWith(alg)
	if err == nil {
		s.set(func(st *state) { st.signWith = found })
	}
	return err
}

// SetRPT sets the form of RPTs from now on.
func (s *Server) SetRPT(o RPTOptions) { s.set(func(st *state) { st.rpt = o }) }

// SetRelativeLocation makes the Location of a new resource relative, or
// absolute again. RFC 9110 §10.2.2 allows both.
func (s *Server) SetRelativeLocation(on bool) { s.set(func(st *state) { st.relativeLocation = on }) }

// SetResourceIDs sets the function that makes the ids of resources; nil makes
// random ones again. Two servers that give the same ids show whether a client
// confuses them. next is called with the server locked and must return each id
// only once.
func (s *Server) SetResourceIDs(next func() string) {
	s.set(func(st *state) { st.resourceID = next })
}

// newResourceID makes an id. The lock is held.
func (s *Server) newResourceID() string {
	if s.st.resourceID != nil {
		return s.st.resourceID()
	}
	return "r-" + newSecret()[:16]
}

// SetResourceLifetime makes resources expire that long after registration, as
// on some servers (J2). 0 keeps them until they are deleted.
func (s *Server) SetResourceLifetime(d time.Duration) {
	s.set(func(st *state) { st.resourceLife = d })
}

// expireResources removes resources that are past their lifetime.
func (s *Server) expireResources() {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.st.resourceLife <= 0 {
		return
	}
	for _, v := range s.st.resources {
		v.lost = v.lost || !s.now().Before(v.made.Add(s.st.resourceLife))
	}
}

// SetPATRefusal sets the status of the answer to a bad PAT: 401 as RFC 6750
// says, or one that other servers use (400, 403, 406).
func (s *Server) SetPATRefusal(status int) error {
	if status < http.StatusBadRequest || status >= http.StatusInternalServerError {
		return fmt.Errorf("opserver: status %d is not a refusal", status)
	}
	s.set(func(st *state) { st.patRefusal = status })
	return nil
}

func (s *Server) set(change func(*state)) {
	s.mu.Lock()
	defer s.mu.Unlock()
	change(&s.st)
}

// RevokeToken revokes an access token, a refresh token with its family, or an
// RPT. It reports whether the token was known.
func (s *Server) RevokeToken(value string) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	if t := s.st.tokens[value]; t != nil {
		t.revoked = true
		return true
	}
	if t := s.st.refresh[value]; t != nil {
		s.revokeGrants(func(g *grant) bool { return g == t.grant })
		return true
	}
	return false
}

// RevokeRPTs ends all RPTs.
func (s *Server) RevokeRPTs() {
	s.expire(func(t *token) bool { return t.rights != nil })
}

// ExpirePATs ends all PATs; the grants they came from stay.
func (s *Server) ExpirePATs() {
	s.expire(func(t *token) bool { return s.speaks.isPAT(t) })
}

func (s *Server) expire(which func(*token) bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, t := range s.st.tokens {
		if which(t) {
			t.revoked = true
		}
	}
}

// RevokeGrants revokes everything that a person has allowed clients, including
// offline access and PATs. A refresh gets invalid_grant from now on.
func (s *Server) RevokeGrants(userName string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.revokeGrants(func(g *grant) bool { return g.user != nil && g.user.name == userName })
}

// EndSessions signs a person out of the provider everywhere, as an
// administrator would, and sends logout tokens.
func (s *Server) EndSessions(userName string) {
	ended := map[*session][]*client{}
	s.mu.Lock()
	for _, v := range s.st.sessions {
		if v.user.name == userName {
			ended[v] = s.end(v)
		}
	}
	s.mu.Unlock()
	for v, clients := range ended {
		s.tell(v, clients)
	}
}

// ForgetResource deletes a resource without telling the resource server. It
// reports whether there was one.
func (s *Server) ForgetResource(id string) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.st.resources[id] == nil {
		return false
	}
	s.drop(id)
	return true
}

// forget is the effect of switching on LostPAT or LostResource: what was issued
// before is no longer known.
func (s *Server) forget(f Fault) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if f == LostPAT {
		for _, t := range s.st.tokens {
			t.lost = t.lost || s.speaks.isPAT(t)
		}
		return
	}
	for _, v := range s.st.resources {
		v.lost = true
	}
}
