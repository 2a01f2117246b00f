package opserver

import (
	"crypto/hmac"
	"crypto/sha256"
	"crypto/subtle"
	"encoding/hex"
	"net/http"
	"net/url"
	"strings"
)

// Cookie names carry a hash of the issuer, because cookies ignore ports:
// several servers on one host must not read each other's.
func (s *Server) cookieName(kind string) string {
	sum := sha256.Sum256([]byte(s.issuer))
	name := "op-" + kind + "-" + hex.EncodeToString(sum[:4])
	if s.secure() {
		return "__Host-" + name
	}
	return name
}

func (s *Server) secure() bool { return strings.HasPrefix(s.origin, "https://") }

func (s *Server) setCookie(w http.ResponseWriter, kind, value string, maxAge int) {
	http.SetCookie(w, &http.Cookie{
		Name: s.cookieName(kind), Value: value, Path: "/", MaxAge: maxAge,
		HttpOnly: true, Secure: s.secure(), SameSite: http.SameSiteLaxMode,
	})
}

// browser returns the random name of the browser, which ties forms to it. It
// assigns one if there is none.
func (s *Server) browser(w http.ResponseWriter, r *http.Request) string {
	if c, err := r.Cookie(s.cookieName("browser")); err == nil && len(c.Value) == len(newSecret()) {
		return c.Value
	}
	id := newSecret()
	s.setCookie(w, "browser", id, int(sessionLifetime.Seconds()))
	r.AddCookie(&http.Cookie{Name: s.cookieName("browser"), Value: id}) // a second call gives the same answer
	return id
}

// session returns the person's session, or nil if nobody is signed in.
func (s *Server) session(r *http.Request) *session {
	c, err := r.Cookie(s.cookieName("session"))
	if err != nil {
		return nil
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	v := s.st.sessions[c.Value]
	if v == nil || !s.now().Before(v.expires) {
		return nil
	}
	copied := *v
	return &copied
}

// startSession signs a person in. The id is always new. A person who signs in
// again in the same browser keeps the sid.
func (s *Server) startSession(w http.ResponseWriter, r *http.Request, u *user, acr string) *session {
	before := s.session(r)
	now := s.now()
	made := &session{id: newSecret(), user: u, sid: newSecret(), authTime: now, acr: acr, expires: now.Add(sessionLifetime)}
	s.mu.Lock()
	if before != nil {
		delete(s.st.sessions, before.id)
		if before.user == u {
			made.sid = before.sid
		}
	}
	s.st.sessions[made.id] = made
	s.put()
	s.mu.Unlock()
	s.setCookie(w, "session", made.id, int(sessionLifetime.Seconds()))
	return made
}

// endSession signs a person out. It ends the session and every grant made in
// it, except those for offline use, and sends logout tokens. It returns what the
// page after logout shows in frames.
func (s *Server) endSession(w http.ResponseWriter, current *session) []string {
	s.mu.Lock()
	clients := s.end(current)
	s.mu.Unlock()
	s.setCookie(w, "session", "", -1)
	s.tell(current, clients)
	return s.framesOf(current, clients)
}

// serveSignIn handles the sign-in form.
func (s *Server) serveSignIn(w http.ResponseWriter, r *http.Request) {
	next, ok := s.local(r.PostForm.Get("next"))
	if !ok {
		s.problem(w, r, http.StatusBadRequest, "The form does not say where to go on.")
		return
	}
	data := signInData{Next: r.PostForm.Get("next"), User: r.PostForm.Get("username")}
	var req *authRequest
	acr := acrPassword
	if next.Path == s.prefix+pathAuthorize || next.EscapedPath() == s.prefix+pathAuthorize {
		var bad *authError
		if req, bad = s.parseAuth(next.Query()); bad != nil {
			s.problem(w, r, http.StatusBadRequest, "The authorization request is not valid.")
			return
		}
		data.Client, data.target = req.client.title(), req.redirectURI
		if req.acr == acrStronger {
			acr = acrStronger
		}
	}
	u := s.checkPassword(data.User, r.PostForm.Get("password"))
	if u == nil {
		data.Problem = "The name and the password do not fit together."
		s.signInPage(w, r, http.StatusForbidden, data)
		return
	}
	current := s.startSession(w, r, u, acr)
	if req == nil {
		http.Redirect(w, r, next.String(), http.StatusSeeOther)
		return
	}
	if req.subject != "" && req.subject != u.subject { // OpenID Connect Core §3.1.2.1, id_token_hint
		s.redirectError(w, r, req, &authError{code: "login_required", desc: "another person has signed in"})
		return
	}
	s.answerAuth(w, r, req, current)
}

// checkPassword returns the account that a name and a password open.
func (s *Server) checkPassword(name, password string) *user {
	s.mu.Lock()
	defer s.mu.Unlock()
	u := s.st.users[name]
	if u == nil {
		return nil
	}
	given, want := sha256.Sum256([]byte(password)), sha256.Sum256([]byte(u.password))
	if subtle.ConstantTimeCompare(given[:], want[:]) != 1 {
		return nil
	}
	return u
}

// local accepts only the address of one of our own pages.
func (s *Server) local(address string) (*url.URL, bool) {
	u, err := url.Parse(address)
	if err != nil || u.IsAbs() || u.Host != "" || u.User != nil || u.Opaque != "" {
		return nil, false
	}
	p := u.EscapedPath()
	for _, own := range []string{pathAuthorize, pathInbox} {
		if p == s.prefix+own {
			return u, true
		}
	}
	id, found := strings.CutPrefix(p, s.prefix+pathPolicy+"/")
	if !found {
		id, found = strings.CutPrefix(p, s.prefix+pathClaims+"/")
	}
	return u, found && id != "" && !strings.ContainsAny(id, `/\%`)
}

// formToken ties a form to the browser in which it was shown.
func (s *Server) formToken(browser string) string {
	m := hmac.New(sha256.New, s.seal)
	m.Write([]byte(browser))
	return hex.EncodeToString(m.Sum(nil))
}

// guardForm protects the forms of people. The browser's headers reveal requests
// of other sites, and the token reveals forms that were not shown in this
// browser.
func (s *Server) guardForm(next http.HandlerFunc) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		if err := s.cross.Check(r); err != nil {
			s.problem(w, r, http.StatusForbidden, "The form was sent by another site.")
			return
		}
		if r.Method == http.MethodPost {
			r.Body = http.MaxBytesReader(w, r.Body, maxBody)
			if err := r.ParseForm(); err != nil {
				s.problem(w, r, http.StatusBadRequest, "The form cannot be read.")
				return
			}
			token := s.formToken(s.browser(w, r))
			if subtle.ConstantTimeCompare([]byte(token), []byte(r.PostForm.Get("form_token"))) != 1 {
				s.problem(w, r, http.StatusForbidden, "The form is too old or was not shown to this browser. Go back and try again.")
				return
			}
		}
		next(w, r)
	}
}
