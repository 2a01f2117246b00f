package opserver

import (
	"maps"
	"net/http"
	"net/url"
	"strings"
	"time"
)

// serveIntrospect implements RFC 7662 §2 with Federated Authorization §5. The
// caller is a client, or a resource server with a PAT.
func (s *Server) serveIntrospect(w http.ResponseWriter, r *http.Request) {
	form, bad := s.readForm(w, r)
	if bad != nil {
		writeError(w, bad)
		return
	}
	asking, bad := s.speaks.introspector(r, form)
	if bad != nil {
		writeError(w, bad)
		return
	}
	if form.Get("token") == "" {
		writeError(w, badRequest("invalid_request", "token is missing"))
		return
	}
	s.stats.introspected(form.Get("token"))
	s.mu.Lock()
	body := s.speaks.introspect(form, asking)
	s.mu.Unlock()
	s.spoilIntrospection(body)
	reply(w, http.StatusOK, body, nil)
}

// introspector finds the caller by PAT or by client authentication.
func (s standard) introspector(r *http.Request, form url.Values) (clientID string, bad *apiError) {
	if r.Header.Get("Authorization") == "" || !strings.HasPrefix(strings.ToLower(r.Header.Get("Authorization")), "bearer ") {
		c, bad := s.authenticate(r, form)
		if bad != nil {
			return "", bad
		}
		if c.Auth == AuthNone { // RFC 7662 §2.1: the endpoint must not serve token scanners
			return "", &apiError{status: http.StatusUnauthorized, code: "invalid_client", desc: "a public client may not introspect"}
		}
		return c.ID, nil
	}
	_, clientID, bad = s.pat(r)
	return clientID, bad
}

// introspect answers for one token. The lock is held.
func (s standard) introspect(form url.Values, asking string) map[string]any {
	inactive := map[string]any{"active": false} // RFC 7662 §2.2: nothing else
	t := s.st.tokens[form.Get("token")]
	if t == nil || t.lost || !t.live(s.now()) {
		return inactive
	}
	if t.minted != nil {
		body := maps.Clone(t.minted)
		body["active"], body["token_type"] = true, "Bearer"
		if body["cnf"] != nil {
			body["token_type"] = "DPoP"
		}
		return body
	}
	body := map[string]any{
		"active": true, "iss": s.issuer, "client_id": t.grant.client, "token_type": t.tokenType(),
		"iat": t.iat.Unix(), "exp": t.exp.Unix(),
	}
	if t.grant.user != nil {
		body["sub"], body["username"] = t.grant.user.subject, t.grant.user.name
	} else {
		body["sub"] = t.grant.client
	}
	if t.rights == nil {
		t.bind(body)
		body["scope"] = strings.Join(t.scope, " ")
		if aud := s.audienceOf(t); len(aud) > 0 {
			body["aud"] = aud
		}
		if !t.grant.authTime.IsZero() {
			body["auth_time"], body["acr"] = t.grant.authTime.Unix(), t.grant.acr
		}
		return body
	}
	// Federated Authorization §5.1.1: permissions, and no scope.
	held := s.livePermissions(t.rights, asking)
	if len(held) == 0 {
		return inactive // it no longer holds anything of this resource server
	}
	if p := t.rights.person; p != nil && p.user == nil {
		body["sub"] = p.subject
	}
	body["aud"] = asking
	list := make([]map[string]any, 0, len(held))
	for _, p := range held {
		list = append(list, map[string]any{"resource_id": p.resource, "resource_scopes": p.scopes,
			"iat": t.iat.Unix(), "exp": t.exp.Unix()})
	}
	body["permissions"] = list
	return body
}

// spoilIntrospection breaks an answer as the faults say.
func (s *Server) spoilIntrospection(body map[string]any) {
	list, _ := body["permissions"].([]map[string]any)
	if list == nil {
		return
	}
	now := s.now()
	for _, p := range list {
		if s.wrong.has(PermissionExpired) {
			p["exp"] = now.Add(-time.Minute).Unix()
		}
		if s.wrong.has(PermissionNotYetValid) {
			p["nbf"] = now.Add(10 * time.Minute).Unix()
		}
		if s.wrong.has(ScopesAtTopLevel) {
			scopes, _ := p["resource_scopes"].([]string)
			body["scope"] = strings.Join(scopes, " ")
		}
		if s.wrong.has(PermissionWithoutScopes) || s.wrong.has(ScopesAtTopLevel) {
			p["resource_scopes"] = []string{}
		}
	}
}

// serveRevoke implements RFC 7009 §2. Revoking a refresh token revokes the
// whole grant.
func (s *Server) serveRevoke(w http.ResponseWriter, r *http.Request) {
	form, bad := s.readForm(w, r)
	if bad != nil {
		writeError(w, bad)
		return
	}
	c, bad := s.authenticate(r, form)
	if bad != nil {
		writeError(w, bad)
		return
	}
	value := form.Get("token")
	if value == "" {
		writeError(w, badRequest("invalid_request", "token is missing"))
		return
	}
	s.mu.Lock()
	if t := s.st.tokens[value]; t != nil && t.grant.client == c.ID {
		t.revoked = true
	}
	if t := s.st.refresh[value]; t != nil && t.grant.client == c.ID {
		s.revokeGrants(func(g *grant) bool { return g == t.grant })
	}
	s.mu.Unlock()
	w.Header().Set("Cache-Control", "no-store")
	w.WriteHeader(http.StatusOK) // RFC 7009 §2.2: even for an unknown token
}
