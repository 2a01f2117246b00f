package opserver

import (
	"net/http"
	"net/url"
)

// signOutData is what the confirmation page shows and sends back.
type signOutData struct {
	User, Client, Return, State, ClientID string
}

// serveEndSession implements RP-Initiated Logout 1.0 §2. With a hint that
// matches the session it ends the session at once. Without one it asks the
// person.
func (s *Server) serveEndSession(w http.ResponseWriter, r *http.Request) {
	v, ok := authorizeValues(w, r)
	if _, twice := repeated(v); !ok || twice {
		s.problem(w, r, http.StatusBadRequest, "The logout request cannot be read.")
		return
	}
	var hint map[string]any
	clientID := v.Get("client_id")
	if raw := v.Get("id_token_hint"); raw != "" {
		claims, err := s.ownToken(raw)
		aud, _ := claims["aud"].(string)
		if err != nil || (clientID != "" && clientID != aud) { // §2: client_id must fit the hint
			s.problem(w, r, http.StatusBadRequest, "The logout request names another sign-in.")
			return
		}
		hint, clientID = claims, aud
	}
	back, ok := s.wayBack(clientID, v.Get("post_logout_redirect_uri"), v.Get("state"))
	if !ok {
		s.problem(w, r, http.StatusBadRequest, "The address to return to after logout is not registered.")
		return
	}
	current := s.session(r)
	switch {
	case current == nil && hint == nil:
		s.loggedOut(w, r, "", nil) // nobody to log out, and no hint that vouches for the address
	case current == nil:
		s.loggedOut(w, r, back, nil)
	case hint != nil && hint["sub"] == current.user.subject:
		s.loggedOut(w, r, back, s.endSession(w, current))
	default:
		s.signOutPage(w, r, signOutData{User: current.user.name, Client: s.clientTitle(clientID),
			Return: v.Get("post_logout_redirect_uri"), State: v.Get("state"), ClientID: clientID})
	}
}

// serveSignOut handles the confirmation.
func (s *Server) serveSignOut(w http.ResponseWriter, r *http.Request) {
	f := r.PostForm
	back, ok := s.wayBack(f.Get("client_id"), f.Get("return"), f.Get("state"))
	if !ok {
		s.problem(w, r, http.StatusBadRequest, "The address to return to after logout is not registered.")
		return
	}
	var frames []string
	if current := s.session(r); current != nil {
		frames = s.endSession(w, current)
	}
	s.loggedOut(w, r, back, frames)
}

// wayBack checks a post_logout_redirect_uri and adds the state. An empty
// address is allowed.
func (s *Server) wayBack(clientID, address, state string) (string, bool) {
	if address == "" {
		return "", true
	}
	s.mu.Lock()
	c := s.st.clients[clientID]
	s.mu.Unlock()
	if c == nil || !c.takesBack(address) {
		return "", false
	}
	u, err := url.Parse(address)
	if err != nil {
		return "", false
	}
	if state != "" {
		q := u.Query()
		q.Set("state", state)
		u.RawQuery = q.Encode()
	}
	return u.String(), true
}

// loggedOut shows the frames of a front-channel logout, if there are any, and
// leads back to the client.
func (s *Server) loggedOut(w http.ResponseWriter, r *http.Request, back string, frames []string) {
	if len(frames) > 0 {
		if back != "" {
			w.Header().Set("Refresh", "2; url="+back)
		}
		s.show(w, r, http.StatusOK, "signedout.html", frame{Title: "Signed out", Frames: frames, Body: back})
		return
	}
	if back == "" {
		s.message(w, r, http.StatusOK, "Signed out", "You are signed out here.")
		return
	}
	w.Header().Set("Cache-Control", "no-store")
	http.Redirect(w, r, back, http.StatusSeeOther)
}

func (s *Server) clientTitle(id string) string {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.titleOf(id)
}
