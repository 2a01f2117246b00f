package opserver

import (
	"context"
	"crypto/sha256"
	"crypto/subtle"
	"encoding/base64"
	"net/http"
	"net/url"
	"strings"
)

// serveToken is the token endpoint. RFC 6749 §3.2.
func (s *Server) serveToken(w http.ResponseWriter, r *http.Request) {
	form, bad := s.readForm(w, r)
	if bad != nil {
		writeError(w, bad)
		return
	}
	kind := form.Get("grant_type")
	s.stats.grant(kind)
	c, bad := s.speaks.caller(r, form)
	if bad != nil {
		writeError(w, bad)
		return
	}
	serve := map[string]func(context.Context, *client, url.Values) (map[string]any, *apiError){
		grantCode: s.redeemCode, grantRefresh: s.refreshGrant, grantClient: s.clientGrant, grantUMA: s.speaks.umaGrant,
	}[kind]
	switch {
	case kind == "":
		bad = badRequest("invalid_request", "grant_type is missing")
	case serve == nil:
		bad = badRequest("unsupported_grant_type", "")
	case !c.mayUse(kind):
		bad = badRequest("unauthorized_client", "the client is not registered for this grant")
	default:
		ctx, wrong := s.withProof(w, r)
		if wrong != nil {
			writeError(w, wrong)
			return
		}
		var body map[string]any
		body, bad = serve(ctx, c, form)
		body, bad = s.spoilTokens(kind, body, bad)
		reply(w, http.StatusOK, body, bad)
		return
	}
	writeError(w, bad)
}

// spoilTokens changes a token answer as the faults say.
func (s *Server) spoilTokens(kind string, body map[string]any, bad *apiError) (map[string]any, *apiError) {
	if bad != nil {
		return body, bad
	}
	switch {
	case s.wrong.has(CodeRefused) && kind == grantCode:
		return nil, badRequest("invalid_grant", "the code is not valid")
	case s.wrong.has(ClientRefused):
		return nil, &apiError{status: http.StatusUnauthorized, code: "invalid_client", challenge: `Basic realm="opserver"`}
	case s.wrong.has(ErrorAsSuccess):
		return map[string]any{"error": "invalid_grant"}, nil
	}
	for _, one := range []spoiler{
		{OddTokenType, func() { body["token_type"] = oddCase(body["token_type"]) }},
		{UnknownTokenType, func() { body["token_type"] = "mac" }},
		{UnboundToken, func() { body["token_type"] = "Bearer" }},
		{MissingTokenType, func() { delete(body, "token_type") }},
		{NoExpiresIn, func() { delete(body, "expires_in") }},
		{NoScope, func() { delete(body, "scope") }},
		{MissingAccessToken, func() { delete(body, "access_token") }},
	} {
		if s.wrong.has(one.fault) {
			one.apply()
		}
	}
	return body, nil
}

// redeemCode implements RFC 6749 §4.1.3 with RFC 7636 §4.6.
func (s *Server) redeemCode(ctx context.Context, c *client, form url.Values) (map[string]any, *apiError) {
	g, bad := s.takeCode(c, form)
	if bad == nil && g.proves != "" && g.proves != provenKey(ctx) { // RFC 9449 §10
		bad = badRequest("invalid_dpop_proof", "the code is for another key")
	}
	if bad == nil {
		bad = g.checkResources(form["resource"])
	}
	if bad != nil {
		return nil, bad
	}
	s.mu.Lock()
	g.key = provenKey(ctx)
	body := s.issue(c, g, g.scope, form["resource"], contains(g.scope, "offline_access") || c.Auth != AuthNone)
	s.mu.Unlock()
	return s.withIDToken(body, c, g, g.nonce, false)
}

// takeCode uses up a code. A second use revokes what the code gave. RFC 6749
// §4.1.2.
func (s *Server) takeCode(c *client, form url.Values) (*grant, *apiError) {
	refused := badRequest("invalid_grant", "the code is not valid")
	s.mu.Lock()
	defer s.mu.Unlock()
	v := s.st.codes[form.Get("code")]
	if v == nil || v.grant.client != c.ID {
		return nil, refused
	}
	if v.used {
		s.stats.violation("client %s presented a code twice", c.ID)
		s.revokeGrants(func(g *grant) bool { return g == v.grant })
		return nil, refused
	}
	v.used = true
	if v.tainted != "" {
		s.stats.violation("client %s redeemed a code that came back with %s", c.ID, v.tainted)
	}
	sum := sha256.Sum256([]byte(form.Get("code_verifier")))
	proof := base64.RawURLEncoding.EncodeToString(sum[:])
	switch {
	case !s.now().Before(v.expires), v.grant.revoked:
		return nil, refused
	case v.redirectURI != form.Get("redirect_uri"):
		return nil, badRequest("invalid_grant", "redirect_uri is not that of the authorization request")
	case len(form.Get("code_verifier")) < 43 || len(form.Get("code_verifier")) > 128: // RFC 7636 §4.1
		return nil, badRequest("invalid_grant", "the code verifier has a wrong length")
	case subtle.ConstantTimeCompare([]byte(proof), []byte(v.challenge)) != 1:
		return nil, badRequest("invalid_grant", "the code verifier does not fit")
	}
	return v.grant, nil
}

// clientGrant implements RFC 6749 §4.4: the client acts for itself. With the
// scope uma_protection the token is its PAT.
func (s *Server) clientGrant(ctx context.Context, c *client, form url.Values) (map[string]any, *apiError) {
	if c.Auth == AuthNone {
		return nil, badRequest("unauthorized_client", "a public client has no grant of its own")
	}
	scope := strings.Fields(form.Get("scope"))
	if !s.mayAsk(c, scope) || contains(scope, "openid") || contains(scope, "offline_access") {
		return nil, badRequest("invalid_scope", "")
	}
	g := &grant{client: c.ID, scope: scope, key: provenKey(ctx)}
	if bad := g.checkResources(form["resource"]); bad != nil {
		return nil, bad
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.issue(c, g, scope, form["resource"], false), nil
}

// refreshGrant implements RFC 6749 §6. Every use gives a new refresh token, and
// a used one ends the whole family (R9700 §4.14.2).
func (s *Server) refreshGrant(ctx context.Context, c *client, form url.Values) (map[string]any, *apiError) {
	s.mu.Lock()
	v, bad := s.takeRefresh(c, form.Get("refresh_token"))
	if bad == nil && c.Auth == AuthNone && v.key != provenKey(ctx) { // RFC 9449 §5
		bad = badRequest("invalid_grant", "the refresh token is bound to another key")
	}
	if bad == nil {
		bad = v.grant.checkResources(form["resource"])
	}
	if bad != nil {
		s.mu.Unlock()
		return nil, bad
	}
	scope := v.scope
	if form.Has("scope") {
		scope = strings.Fields(form.Get("scope"))
		for _, one := range scope {
			if !contains(v.grant.scope, one) {
				s.mu.Unlock()
				return nil, badRequest("invalid_scope", "a refresh does not widen the scope")
			}
		}
	}
	if v.rights != nil {
		body, bad := s.speaks.refreshRPT(c, v)
		s.mu.Unlock()
		return body, bad
	}
	v.grant.key = provenKey(ctx)
	body := s.issue(c, v.grant, scope, form["resource"], true)
	s.mu.Unlock()
	if !contains(v.grant.scope, "openid") {
		return body, nil
	}
	return s.withIDToken(body, c, v.grant, "", true) // OpenID Connect Core §12.2: no nonce
}

// takeRefresh uses up a refresh token. The lock is held.
func (s *Server) takeRefresh(c *client, value string) (*refreshToken, *apiError) {
	refused := badRequest("invalid_grant", "the refresh token is not valid")
	v := s.st.refresh[value]
	if v == nil || v.grant.client != c.ID {
		return nil, refused
	}
	if v.used {
		s.stats.violation("client %s presented a refresh token twice", c.ID)
		s.revokeGrants(func(g *grant) bool { return g == v.grant })
		return nil, refused
	}
	if v.revoked || v.grant.revoked || !s.now().Before(v.expires) {
		return nil, refused
	}
	v.used = true
	return v, nil
}

// issue makes an access token for resources or, without any, for those of the
// grant, and, if requested, a refresh token. The lock is held.
func (s *Server) issue(c *client, g *grant, scope, resources []string, refresh bool) map[string]any {
	now := s.now()
	t := &token{grant: g, scope: scope, iat: now, exp: now.Add(s.st.tokenLife), resources: resources, key: g.key}
	access := s.newAccess(g, t)
	s.st.tokens[access] = t
	s.put()
	body := map[string]any{"access_token": access, "token_type": t.tokenType(),
		"expires_in": int(s.st.tokenLife.Seconds()), "scope": strings.Join(scope, " ")}
	if refresh && c.mayUse(grantRefresh) {
		body["refresh_token"] = s.issueRefresh(g, scope, nil)
	}
	return body
}

func (s *Server) issueRefresh(g *grant, scope []string, of *rights) string {
	value := newSecret()
	s.st.refresh[value] = &refreshToken{grant: g, scope: scope, expires: s.now().Add(refreshLifetime), rights: of, key: g.key}
	s.put()
	return value
}

// revokeGrants ends grants, and everything issued from them. The lock is held.
func (s *Server) revokeGrants(which func(*grant) bool) {
	for _, v := range s.st.codes {
		if which(v.grant) {
			v.grant.revoked = true
		}
	}
	for _, v := range s.st.tokens {
		if which(v.grant) {
			v.grant.revoked = true
		}
	}
	for _, v := range s.st.refresh {
		if which(v.grant) {
			v.grant.revoked = true
		}
	}
}
