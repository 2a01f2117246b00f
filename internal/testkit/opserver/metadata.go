package opserver

import (
	"net/http"
	"strings"
)

// The grant types of the token endpoint.
const (
	grantCode     = "authorization_code"
	grantRefresh  = "refresh_token"
	grantClient   = "client_credentials"
	grantImplicit = "implicit"                                    // OpenID Connect Registration §2: of the authorization endpoint
	grantUMA      = "urn:ietf:params:oauth:grant-type:uma-ticket" // UMA Grant §3.3.1
)

// scopePAT makes an access token a PAT. Federated Authorization §1.3.
const scopePAT = "uma_protection"

// metadata holds what the two documents share. RFC 8414 §2.
func (s *Server) metadata() map[string]any {
	return map[string]any{
		"issuer":                                s.issuer,
		"authorization_endpoint":                s.url(pathAuthorize),
		"token_endpoint":                        s.url(pathToken),
		"jwks_uri":                              s.url(pathJWKS),
		"introspection_endpoint":                s.url(pathIntrospect),
		"revocation_endpoint":                   s.url(pathRevoke),
		"scopes_supported":                      s.scopes(),
		"response_types_supported":              responseTypes(),
		"response_modes_supported":              []string{modeQuery, modeFragment, modeFormPost},
		"grant_types_supported":                 []string{grantCode, grantImplicit, grantRefresh, grantClient, grantUMA},
		"token_endpoint_auth_methods_supported": []string{AuthBasic, AuthPost, AuthNone, AuthSecretJWT, AuthPrivateKeyJWT},
		"token_endpoint_auth_signing_alg_values_supported": assertionAlgs(),
		"code_challenge_methods_supported":                 []string{"S256"},
		"authorization_response_iss_parameter_supported":   true, // RFC 9207 §3
	}
}

// serveOpenIDMetadata answers OpenID Connect Discovery and RFC 8414 with one
// document.
func (s *Server) serveOpenIDMetadata(w http.ResponseWriter, _ *http.Request) {
	m := s.metadata()
	m["userinfo_endpoint"] = s.url(pathUserInfo)
	m["dpop_signing_alg_values_supported"] = []string{"ES256", "ES384", "ES512", "EdDSA", "RS256", "PS256"} // RFC 9449 §5.1
	m["end_session_endpoint"] = s.url(pathEndSession)
	for _, channel := range []string{"backchannel", "frontchannel"} { // Back-Channel Logout §2.1, Front-Channel Logout §3
		m[channel+"_logout_supported"], m[channel+"_logout_session_supported"] = true, true
	}
	if s.registration() != nil {
		m["registration_endpoint"] = s.url(pathRegister)
	}
	m["subject_types_supported"] = []string{"public"}
	m["id_token_signing_alg_values_supported"] = s.keys.algs()
	m["acr_values_supported"] = []string{acrPassword, acrStronger}
	m["prompt_values_supported"] = promptValues
	m["display_values_supported"] = displayValues
	m["claims_supported"] = []string{"sub", "iss", "aud", "exp", "iat", "auth_time", "nonce", "acr", "amr", "sid",
		"at_hash", "c_hash", "name", "preferred_username", "email", "email_verified"}
	m["claims_parameter_supported"] = true
	m["request_parameter_supported"] = false
	m["request_uri_parameter_supported"] = false
	m["service_documentation"] = s.url("/")
	s.spoilMetadata(m)
	w.Header().Set("Cache-Control", "public, max-age=300")
	writeJSON(w, http.StatusOK, m)
}

// serveUMAMetadata answers UMA Grant §2 and Federated Authorization §2.
func (s *Server) serveUMAMetadata(w http.ResponseWriter, _ *http.Request) {
	m := s.metadata()
	m["permission_endpoint"] = s.url(pathPermission)
	m["resource_registration_endpoint"] = s.url(pathResource)
	w.Header().Set("Cache-Control", s.speaks.umaMetadata(m))
	s.spoilMetadata(m)
	writeJSON(w, http.StatusOK, m)
}

// spoilMetadata changes a document as the faults say.
func (s *Server) spoilMetadata(m map[string]any) {
	for _, one := range []spoiler{
		{MetadataIssuerMismatch, func() { m["issuer"] = s.issuer + "/other" }},
		{MetadataIssuerSlash, func() { m["issuer"] = s.otherSlash() }},
		// The host name is reserved (RFC 6761 §6.4) and not loopback.
		{InsecureEndpoint, func() { m["token_endpoint"] = "http://op.invalid" + s.prefix + pathToken }},
		{TokenEndpointElsewhere, func() {
			m["token_endpoint"] = strings.Replace(s.url(pathToken), "//127.0.0.1", "//localhost", 1)
		}},
		{OddMetadata, func() { s.addOddMetadata(m) }},
		{NoChallengeMethods, func() { delete(m, "code_challenge_methods_supported") }},
		{PlainChallengeOnly, func() { m["code_challenge_methods_supported"] = []string{"plain"} }},
		{NoResponseIssuer, func() { delete(m, "authorization_response_iss_parameter_supported") }},
		{MTLSAliases, func() { // RFC 8705 §5
			alias := s.url(pathTrap) + trapMTLS
			m["mtls_endpoint_aliases"] = map[string]any{"token_endpoint": alias, "userinfo_endpoint": alias, "introspection_endpoint": alias}
		}},
	} {
		if s.wrong.has(one.fault) {
			one.apply()
		}
	}
}

// addOddMetadata adds what a client must skip: unknown members, and values that
// it does not use.
func (s *Server) addOddMetadata(m map[string]any) {
	m["urn:example:odd"] = map[string]any{"issuer": "https://odd.invalid", "list": []any{1, nil, "x"}}
	m["response_types_supported"] = []string{"token id_token", "id_token code", "code"}
	m["id_token_signing_alg_values_supported"] = []string{"none", "RS256", "HS256", "XY999", "ES256", "EdDSA"}
	m["scopes_supported"] = append([]string{"odd scope"}, s.scopes()...)
	m["userinfo_signing_alg_values_supported"] = []string{"none"}
}

// otherSlash is the issuer with one slash more or less at its end.
func (s *Server) otherSlash() string {
	if cut, had := strings.CutSuffix(s.issuer, "/"); had {
		return cut
	}
	return s.issuer + "/"
}
