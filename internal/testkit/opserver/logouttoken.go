package opserver

import (
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"time"
)

const (
	// logoutTokenLife is how long a logout token is good. Back-Channel Logout §2.4
	// recommends at most two minutes.
	logoutTokenLife = 2 * time.Minute
	// logoutPatience bounds the wait for a client that gets one.
	logoutPatience = 10 * time.Second
	// logoutEvent is the member of events. Back-Channel Logout §2.4.
	logoutEvent = "http://schemas.openid.net/event/backchannel-logout"
)

// LogoutToken makes a logout token for a client. The claims lie over those that
// every logout token has; sub and sid are only there if they are given. nil
// takes a claim away, and a time.Time becomes a number. Each fault breaks this
// token alone. One that would change nothing is an error.
func (s *Server) LogoutToken(clientID string, claims map[string]any, faults ...Fault) (string, error) {
	s.mu.Lock()
	c := s.st.clients[clientID]
	s.mu.Unlock()
	if c == nil {
		return "", fmt.Errorf("opserver: client %q is not known", clientID)
	}
	now := s.now()
	all := map[string]any{"iss": s.issuer, "aud": c.ID, "iat": now.Unix(), "exp": now.Add(logoutTokenLife).Unix(), "jti": newSecret(),
		"events": map[string]any{logoutEvent: map[string]any{}}}
	for name, value := range claims {
		if at, ok := value.(time.Time); ok {
			value = at.Unix()
		}
		if all[name] = value; value == nil {
			delete(all, name)
		}
	}
	if all["sub"] == nil && all["sid"] == nil && !slices.Contains(faults, MissingLogoutPerson) {
		return "", fmt.Errorf("opserver: a logout token needs a sub or a sid; see %q", MissingLogoutPerson)
	}
	m := maker{
		Server: s, has: func(f Fault) bool {
			return slices.Contains(faults, f) || slices.Contains(LogoutFaults(), f) && s.wrong.has(f)
		},
		alg: s.algOf(c), typ: "logout+jwt", audience: c.ID, secret: c.Secret,
	}
	if err := m.checkLogoutFaults(all, faults); err != nil {
		return "", err
	}
	m.spoilClaims(all)
	m.spoilLogout(all)
	if m.has(OldLogoutType) || m.has(IDTokenForLogoutToken) {
		m.typ = "JWT"
	}
	return m.sign(all)
}

// checkLogoutFaults reports a fault that a logout token cannot have.
func (m maker) checkLogoutFaults(claims map[string]any, faults []Fault) error {
	for _, f := range faults {
		switch {
		case slices.Contains(LogoutFaults(), f):
		case f == WrongTokenType || f == LogoutEvent:
			return fmt.Errorf("opserver: %q changes nothing in a logout token; see %q", f, OldLogoutType)
		default:
			if err := m.checkFaults(claims, []Fault{f}); err != nil {
				return fmt.Errorf("%w (it is a logout token)", err)
			}
		}
	}
	return nil
}

// spoilLogout breaks what only a logout token has.
func (m maker) spoilLogout(claims map[string]any) {
	for _, one := range []spoiler{
		{LogoutNonce, func() { claims["nonce"] = newSecret() }},
		{LogoutNonceNull, func() { claims["nonce"] = json.RawMessage("null") }},
		{MissingLogoutEvent, func() { delete(claims, "events") }},
		{WrongLogoutEvent, func() {
			claims["events"] = map[string]any{strings.Replace(logoutEvent, "http:", "https:", 1): map[string]any{}}
		}},
		{LogoutEventNoObject, func() { claims["events"] = map[string]any{logoutEvent: true} }},
		{MissingLogoutID, func() { delete(claims, "jti") }},
		{MissingLogoutPerson, func() { delete(claims, "sub"); delete(claims, "sid") }},
		{IDTokenForLogoutToken, func() { delete(claims, "events"); claims["nonce"], claims["auth_time"] = newSecret(), m.now().Unix() }},
	} {
		if m.has(one.fault) {
			one.apply()
		}
	}
}

// SetLogoutURIs changes where a client is told of logouts; "" for nowhere.
func (s *Server) SetLogoutURIs(clientID, backchannel, frontchannel string) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	c := s.st.clients[clientID]
	if c == nil {
		return fmt.Errorf("opserver: client %q is not known", clientID)
	}
	changed := *c
	changed.BackchannelLogoutURI, changed.FrontchannelLogoutURI = backchannel, frontchannel
	s.st.clients[clientID] = &changed
	return nil
}

// SendLogout sends a logout token to a client's address, as Back-Channel Logout
// §2.5 says, and returns the status of the answer.
func (s *Server) SendLogout(clientID, token string) (int, error) {
	s.mu.Lock()
	c := s.st.clients[clientID]
	s.mu.Unlock()
	if c == nil || c.BackchannelLogoutURI == "" {
		return 0, fmt.Errorf("opserver: client %q is not known, or has no BackchannelLogoutURI", clientID)
	}
	ctx, cancel := context.WithTimeout(context.Background(), logoutPatience)
	defer cancel()
	r, err := http.NewRequestWithContext(ctx, http.MethodPost, c.BackchannelLogoutURI, strings.NewReader(url.Values{"logout_token": {token}}.Encode()))
	if err != nil {
		return 0, err
	}
	r.Header.Set("Content-Type", "application/x-www-form-urlencoded")
	resp, err := s.transport.RoundTrip(r)
	if err != nil {
		return 0, err
	}
	return resp.StatusCode, resp.Body.Close()
}

// remember keeps which clients a session has signed in to (§2.3). The lock is
// held.
func (s *Server) remember(sid, clientID string) {
	if sid != "" && !contains(s.st.visited[sid], clientID) {
		s.st.visited[sid] = append(s.st.visited[sid], clientID)
	}
}

// end ends a session and every grant made in it, except those for offline use.
// It returns the clients that signed somebody in with it. The lock is held.
func (s *Server) end(current *session) []*client {
	delete(s.st.sessions, current.id)
	s.revokeGrants(func(g *grant) bool { return g.sid == current.sid && !g.offline() })
	var told []*client
	for _, id := range s.st.visited[current.sid] {
		if c := s.st.clients[id]; c != nil {
			told = append(told, c)
		}
	}
	delete(s.st.visited, current.sid)
	return told
}

// tell sends logout tokens for a session that has ended. A client that does not
// answer 200 stays signed in, and that is all: nobody here can help it.
func (s *Server) tell(ended *session, clients []*client) {
	for _, c := range clients {
		if c.BackchannelLogoutURI == "" {
			continue
		}
		token, err := s.LogoutToken(c.ID, map[string]any{"sub": ended.user.subject, "sid": ended.sid})
		if err == nil {
			_, _ = s.SendLogout(c.ID, token)
		}
	}
}

// framesOf lists what the page after logout shows in frames. Front-Channel
// Logout §2.
func (s *Server) framesOf(ended *session, clients []*client) []string {
	var frames []string
	for _, c := range clients {
		u, err := url.Parse(c.FrontchannelLogoutURI)
		if c.FrontchannelLogoutURI == "" || err != nil {
			continue
		}
		q := u.Query()
		q.Set("iss", s.issuer)
		q.Set("sid", ended.sid)
		u.RawQuery = q.Encode()
		frames = append(frames, u.String())
	}
	return frames
}
