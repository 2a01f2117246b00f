package opserver

import (
	"html/template"
	"net/http"
	"net/url"
	"slices"
	"strconv"
	"strings"
)

// The response modes. OAuth 2.0 Multiple Response Type Encoding Practices §2.1,
// OAuth 2.0 Form Post Response Mode §2.
const (
	modeQuery    = "query"
	modeFragment = "fragment"
	modeFormPost = "form_post"
)

// responseTypes are those that we answer with, each with its words sorted. A type
// is a set of words.
func responseTypes() []string { return []string{"code", "id_token", "id_token token", "code id_token"} }

func sortedWords(s string) string {
	words := strings.Fields(s)
	slices.Sort(words)
	return strings.Join(words, " ")
}

// asks reports whether the request asks for one of the words.
func (r *authRequest) asks(word string) bool { return contains(r.types, word) }

// readResponse takes response_type and response_mode from a request. What cannot
// be answered in is answered in the default mode of the type.
func (r *authRequest) readResponse(v url.Values) {
	r.types = strings.Fields(v.Get("response_type"))
	r.mode = modeQuery
	if r.asks("id_token") || r.asks("token") {
		r.mode = modeFragment
	}
	if m := v.Get("response_mode"); m == modeFormPost || m == modeFragment || m == modeQuery && r.mode == modeQuery {
		r.mode = m
	}
}

// judgeResponse makes the checks on response_type and response_mode.
func (r *authRequest) judgeResponse(v url.Values) *authError {
	invalid := func(desc string) *authError { return &authError{code: "invalid_request", desc: desc} }
	asked := sortedWords(v.Get("response_type"))
	switch m := v.Get("response_mode"); {
	case asked == "" || !slices.ContainsFunc(responseTypes(), func(t string) bool { return sortedWords(t) == asked }):
		return &authError{code: "unsupported_response_type"}
	case r.client.ResponseTypes != nil && !slices.ContainsFunc(r.client.ResponseTypes, func(t string) bool { return sortedWords(t) == asked }):
		return &authError{code: "unauthorized_client", desc: "the client is not registered for this response type"}
	case v.Has("response_mode") && m != r.mode: // tokens never come in the query: Multiple Response Types §3.0
		return invalid("the response mode is not supported for this response type")
	case r.asks("code") && !r.client.mayUse(grantCode), r.asks("id_token") && !r.client.mayUse(grantImplicit):
		return &authError{code: "unauthorized_client"}
	case r.asks("id_token") && r.nonce == "": // Core §3.2.2.1
		return invalid("a nonce is required")
	case r.asks("code") && (v.Get("code_challenge_method") != "S256" || len(r.challenge) != 43): // RFC 7636 §4.2
		return invalid("a code challenge with S256 is required")
	}
	return nil
}

// answerAuth sends the browser back with what was asked for. RFC 6749 §4.1.2,
// OpenID Connect Core §3.2.2.5, §3.3.2.5.
func (s *Server) answerAuth(w http.ResponseWriter, r *http.Request, req *authRequest, current *session) {
	g := &grant{client: req.client.ID, user: current.user, scope: req.scope, nonce: req.nonce,
		authTime: current.authTime, sid: current.sid, acr: current.acr, resources: req.resources, asked: req.claims, proves: req.key}
	answer := url.Values{}
	var c *code
	if req.asks("code") {
		value := newSecret()
		answer.Set("code", value)
		s.mu.Lock()
		c = &code{redirectURI: req.redirectURI, challenge: req.challenge, expires: s.now().Add(s.st.codeLife), grant: g}
		s.st.codes[value] = c
		s.put()
		s.mu.Unlock()
	}
	if req.asks("token") {
		s.mu.Lock()
		body := s.issue(req.client, g, g.scope, nil, false) // no refresh token: Core §3.2.2.5
		s.mu.Unlock()
		answer.Set("access_token", body["access_token"].(string))
		answer.Set("token_type", body["token_type"].(string))
		answer.Set("scope", body["scope"].(string))
		answer.Set("expires_in", strconv.Itoa(body["expires_in"].(int)))
	}
	if req.asks("id_token") {
		signed, err := s.frontToken(req.client, g, answer.Get("access_token"), answer.Get("code"))
		if err != nil {
			s.redirectError(w, r, req, &authError{code: "server_error"})
			return
		}
		answer.Set("id_token", signed)
	}
	if req.state != "" {
		answer.Set("state", req.state)
	}
	answer.Set("iss", s.issuer) // RFC 9207 §2
	tainted := s.spoilAnswer(answer)
	mode := req.mode
	if s.wrong.has(OtherResponseMode) {
		tainted, mode = "another response mode", map[string]string{modeQuery: modeFormPost, modeFormPost: modeQuery, modeFragment: modeFormPost}[mode]
	}
	if c != nil {
		s.mu.Lock()
		c.tainted = tainted
		s.mu.Unlock()
	}
	s.respond(w, r, mode, req.redirectURI, answer)
}

// spoilFront changes the tokens of an answer as the faults say.
func (s *Server) spoilFront(answer url.Values) []taint {
	return []taint{
		{MissingFrontIDToken, "no ID Token", func() { answer.Del("id_token") }},
		{MissingFrontAccessToken, "no access token", func() { answer.Del("access_token") }},
		{OtherFrontTokenType, "another token type", func() {
			if answer.Has("token_type") {
				answer.Set("token_type", "mac")
			}
		}},
	}
}

// respond brings an answer to the client in one of the modes.
func (s *Server) respond(w http.ResponseWriter, r *http.Request, mode, to string, answer url.Values) {
	switch mode {
	case modeFormPost:
		s.show(w, r, http.StatusOK, "answer.html", frame{Title: "One moment", Script: newSecret(),
			Body: struct {
				Action template.URL // it is registered
				Fields url.Values
			}{template.URL(to), answer}}, originOf(to)...)
	case modeFragment:
		s.redirect(w, r, to, "#", answer)
	default:
		s.redirect(w, r, to, "?", answer)
	}
}
