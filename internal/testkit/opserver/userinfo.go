package opserver

import (
	"net/http"
)

// serveUserInfo implements OpenID Connect Core §5.3.
func (s *Server) serveUserInfo(w http.ResponseWriter, r *http.Request) {
	if r.URL.Query().Has("access_token") {
		s.stats.violation("user info asked with an access token in the URL") // RFC 6750 §2.3
	}
	value, wrong := s.presented(w, r)
	if wrong != nil {
		writeError(w, wrong)
		return
	}
	if value == "" {
		w.Header().Set("WWW-Authenticate", `Bearer realm="opserver"`) // RFC 6750 §3: no error code
		w.WriteHeader(http.StatusUnauthorized)
		return
	}
	s.mu.Lock()
	t := s.st.tokens[value]
	var bad *apiError
	var claims map[string]any
	switch {
	case t == nil || !t.live(s.now()) || t.lost || t.rights != nil || t.grant.user == nil:
		bad = bearerError(http.StatusUnauthorized, "invalid_token", "the access token is not valid")
	case !contains(t.scope, "openid"):
		bad = bearerError(http.StatusForbidden, "insufficient_scope", "openid is missing")
	default:
		claims = withAsked(claimsOf(t.grant.user, t.scope), t.grant.user, t.grant.asked.userInfo)
	}
	s.mu.Unlock()
	if claims != nil && s.wrong.has(UserInfoRefused) {
		claims, bad = nil, bearerError(http.StatusUnauthorized, "invalid_token", "the access token is not valid")
	}
	if claims != nil {
		s.spoilUserInfo(claims)
	}
	reply(w, http.StatusOK, claims, bad)
}

// spoilUserInfo changes a person's claims as the faults say.
func (s *Server) spoilUserInfo(claims map[string]any) {
	if s.wrong.has(UserInfoWrongSubject) {
		claims["sub"] = "someone-else"
	}
	if s.wrong.has(UserInfoMissingSubject) {
		delete(claims, "sub")
	}
	if s.wrong.has(ClaimSources) {
		s.addClaimSources(claims)
	}
}
