package opserver

import (
	"cmp"
	"io"
	"net/http"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"time"
)

// Authentication context classes. The second is given to anybody who signs in
// while it is requested. Nothing but the sign-in itself supports it.
const (
	acrPassword = "1"
	acrStronger = "2"
)

// What the authorization endpoint understands. prompt=consent shows the sign-in
// page, because there is no other page on which a person could agree.
var (
	promptValues  = []string{"none", "login", "consent", "select_account"}
	displayValues = []string{"page", "popup", "touch", "wap"}
)

// minSecret is the least length of a text with 128 bits: 22 characters of
// base64url.
const minSecret = 22

// authRequest is a validated authorization request. OpenID Connect Core
// §3.1.2.1.
type authRequest struct {
	client      *client
	redirectURI string
	state       string
	nonce       string
	challenge   string
	scope       []string
	prompt      []string
	maxAge      time.Duration // negative if not requested
	loginHint   string
	acr         string // the requested class, "" if none that we know
	subject     string // who has to sign in: of the id_token_hint, or by the claims parameter
	claims      claimsParam
	resources   []string // RFC 8707
	key         string   // dpop_jkt, RFC 9449 §10
	query       string   // the request itself
	types       []string // the words of response_type
	mode        string   // in which the answer goes
}

// authError is a refusal of an authorization request. If the request does not
// name a client and its redirect URI, the refusal is shown and never redirected
// (RFC 6749 §4.1.2.1).
type authError struct {
	code, desc string
	shown      bool
}

func (s *Server) serveAuthorize(w http.ResponseWriter, r *http.Request) {
	values, ok := authorizeValues(w, r)
	if !ok {
		s.problem(w, r, http.StatusBadRequest, "The authorization request cannot be read.")
		return
	}
	req, bad := s.parseAuth(values)
	if bad != nil && bad.shown {
		s.problem(w, r, http.StatusBadRequest, bad.desc)
		return
	}
	if bad != nil {
		s.redirectError(w, r, req, bad)
		return
	}
	s.noteRequest(req, s.browser(w, r))
	if s.wrong.has(ErrorAnswer) || s.wrong.has(ErrorWrongState) {
		s.redirectError(w, r, req, &authError{code: "login_required", desc: `<b>nobody</b> is signed in <script src="//evil.invalid"></script>`})
		return
	}
	current := s.session(r)
	switch {
	case !s.mustSignIn(req, current):
		s.answerAuth(w, r, req, current)
	case contains(req.prompt, "none"): // OpenID Connect Core §3.1.2.6
		s.redirectError(w, r, req, &authError{code: "login_required", desc: "nobody is signed in"})
	default:
		s.signInPage(w, r, http.StatusOK, signInData{
			Next:   s.prefix + pathAuthorize + "?" + req.query,
			Client: req.client.title(), User: req.loginHint, target: req.redirectURI,
		})
	}
}

// authorizeValues reads the parameters from the query or, for POST, from the
// body.
func authorizeValues(w http.ResponseWriter, r *http.Request) (url.Values, bool) {
	raw := r.URL.RawQuery
	if r.Method == http.MethodPost {
		b, err := io.ReadAll(http.MaxBytesReader(w, r.Body, maxBody))
		if err != nil || raw != "" {
			return nil, false
		}
		raw = string(b)
	}
	values, err := url.ParseQuery(raw)
	return values, err == nil
}

// parseAuth validates an authorization request. If the error is not to be
// shown, the returned request knows where the answer goes.
func (s *Server) parseAuth(v url.Values) (*authRequest, *authError) {
	shown := func(desc string) *authError { return &authError{code: "invalid_request", desc: desc, shown: true} }
	if len(v["client_id"]) != 1 || len(v["redirect_uri"]) != 1 {
		return nil, shown("The request does not name one client and one address to return to.")
	}
	s.mu.Lock()
	c := s.st.clients[v.Get("client_id")]
	s.mu.Unlock()
	if c == nil {
		return nil, shown("The site that sent you here is not registered.")
	}
	if !contains(c.RedirectURIs, v.Get("redirect_uri")) { // R9700 §2.1: exact string
		return nil, shown("The address to return to is not registered for this site.")
	}
	req := &authRequest{
		client: c, redirectURI: v.Get("redirect_uri"), state: v.Get("state"), nonce: v.Get("nonce"),
		challenge: v.Get("code_challenge"), scope: strings.Fields(v.Get("scope")), prompt: strings.Fields(v.Get("prompt")),
		maxAge: -1, loginHint: v.Get("login_hint"), resources: v["resource"], key: v.Get("dpop_jkt"), query: v.Encode(),
	}
	for _, class := range strings.Fields(v.Get("acr_values")) {
		if req.acr == "" && (class == acrPassword || class == acrStronger) {
			req.acr = class
		}
	}
	req.readResponse(v)
	return req, s.judgeAuth(req, v)
}

// judgeAuth makes the checks whose failures are answered by redirect.
func (s *Server) judgeAuth(req *authRequest, v url.Values) *authError {
	invalid := func(desc string) *authError { return &authError{code: "invalid_request", desc: desc} }
	if name, twice := repeated(v); twice {
		return invalid("a parameter is sent twice: " + name)
	}
	switch {
	case v.Has("request"):
		return &authError{code: "request_not_supported"}
	case v.Has("request_uri"):
		return &authError{code: "request_uri_not_supported"}
	case !contains(req.scope, "openid"):
		return &authError{code: "invalid_scope", desc: "openid is missing"}
	case !s.mayAsk(req.client, req.scope):
		return &authError{code: "invalid_scope", desc: "a scope is not registered for the client"}
	case contains(req.prompt, "none") && len(req.prompt) > 1:
		return invalid("prompt none stands alone")
	case slices.ContainsFunc(req.prompt, func(p string) bool { return !contains(promptValues, p) }):
		return invalid("a value of prompt is not supported")
	case v.Has("display") && !contains(displayValues, v.Get("display")):
		return invalid("the display is not supported")
	}
	if bad := req.judgeResponse(v); bad != nil {
		return bad
	}
	if !areResources(req.resources) {
		return &authError{code: "invalid_target"}
	}
	if v.Has("max_age") {
		n, err := strconv.ParseUint(v.Get("max_age"), 10, 31)
		if err != nil {
			return invalid("max_age is not a number of seconds")
		}
		req.maxAge = time.Duration(n) * time.Second
	}
	if hint := v.Get("id_token_hint"); hint != "" {
		claims, err := s.ownToken(hint)
		if err != nil {
			return invalid("the id_token_hint is not ours")
		}
		req.subject, _ = claims["sub"].(string)
	}
	if v.Has("claims") {
		return s.judgeClaims(req, v.Get("claims"))
	}
	return nil
}

// mustSignIn reports whether the session is not enough for a request.
func (s *Server) mustSignIn(req *authRequest, current *session) bool {
	switch {
	case current == nil, contains(req.prompt, "login"), contains(req.prompt, "select_account"), contains(req.prompt, "consent"):
		return true
	case req.maxAge >= 0 && s.now().Sub(current.authTime) > req.maxAge:
		return true
	case req.subject != "" && req.subject != current.user.subject:
		return true
	}
	return req.acr == acrStronger && current.acr != acrStronger
}

// noteRequest records a request that repeats a part of another one. A browser
// that loads the same request again breaks no rule.
func (s *Server) noteRequest(req *authRequest, browser string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	now := s.now()
	for _, part := range [][2]string{{"state", req.state}, {"nonce", req.nonce}, {"code challenge", req.challenge}} {
		kind, value := part[0], part[1]
		if kind == "code challenge" && !req.asks("code") {
			continue
		}
		if value == "" {
			s.stats.violation("authorization request of %s without %s", req.client.ID, kind)
			continue
		}
		if len(value) < minSecret {
			s.stats.violation("authorization request of %s with a %s too short for 128 bits", req.client.ID, kind)
		}
		key := req.client.ID + "\x00" + kind + "\x00" + value
		before, known := s.st.seen[key]
		if known && now.Before(before.expires) && (before.whole != req.query || before.browser != browser) {
			s.stats.violation("authorization request of %s repeats the %s of another one", req.client.ID, kind)
		}
		s.st.seen[key] = seenRequest{whole: req.query, browser: browser, expires: now.Add(memoryOfUsed)}
		s.put()
	}
}

func (s *Server) redirectError(w http.ResponseWriter, r *http.Request, req *authRequest, e *authError) {
	answer := url.Values{"error": {e.code}, "iss": {s.issuer}}
	if e.desc != "" {
		answer.Set("error_description", e.desc)
	}
	if req.state != "" {
		answer.Set("state", req.state)
	}
	if s.wrong.has(ErrorWrongState) {
		answer.Set("state", req.state+"x")
	}
	if s.wrong.has(NoResponseIssuer) {
		answer.Del("iss")
	}
	s.respond(w, r, req.mode, req.redirectURI, answer)
}

// taint is a fault of an answer, and why the client must not redeem its code.
type taint struct {
	fault   Fault
	tainted string
	apply   func()
}

// spoilAnswer changes an authorization answer as the faults say. It returns why
// the client must not redeem the code, or "" if it may.
func (s *Server) spoilAnswer(answer url.Values) (tainted string) {
	state, noIssuer := answer.Get("state"), "no issuer"
	if answer.Has("id_token") { // which has one
		noIssuer = ""
	}
	if s.wrong.has(NoResponseIssuer) { // not announced either, so nothing is wrong
		answer.Del("iss")
	}
	for _, one := range append(s.spoilFront(answer), []taint{
		{WrongState, "a changed state", func() { answer.Set("state", state+"x") }},
		{MissingState, "no state", func() { answer.Del("state") }},
		{WrongResponseIssuer, "another issuer", func() { answer.Set("iss", s.issuer+"/other") }},
		{MissingResponseIssuer, noIssuer, func() { answer.Del("iss") }},
		{RepeatedCode, "a second code", func() { answer.Add("code", newSecret()) }},
		{RepeatedState, "a second state", func() { answer.Add("state", state+"x") }},
		{MissingCode, "no code", func() { answer.Del("code") }},
		{WrongCodeHash, "a wrong c_hash", func() {}},
		{MissingCodeHash, "no c_hash", func() {}},
	}...) {
		if s.wrong.has(one.fault) {
			one.apply()
			tainted = cmp.Or(one.tainted, tainted)
		}
	}
	return tainted
}

// redirect adds parameters to an address, after "?" or "#", and sends the browser
// there.
func (s *Server) redirect(w http.ResponseWriter, r *http.Request, to, sep string, add url.Values) {
	if sep == "?" && strings.Contains(to, "?") {
		sep = "&"
	}
	w.Header().Set("Cache-Control", "no-store")
	w.Header().Set("Referrer-Policy", "no-referrer")
	http.Redirect(w, r, to+sep+add.Encode(), http.StatusSeeOther) // R9700 §4.12: 303
}
