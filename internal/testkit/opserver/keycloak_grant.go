package opserver

import (
	"context"
	"maps"
	"net/http"
	"net/url"
	"slices"
	"strings"
)

// longestParameter is how many characters a ticket or rpt may have. Longer ones
// are ignored (K25).
const longestParameter = 4000

// umaGrant turns a ticket into an RPT.
func (s keycloak) umaGrant(_ context.Context, c *client, form url.Values) (map[string]any, *apiError) {
	form = maps.Clone(form)
	for _, name := range []string{"ticket", "rpt"} {
		if len(form.Get(name)) > longestParameter {
			form.Del(name)
		}
	}
	if !form.Has("ticket") { // K12: audience and permission without a ticket are not supported here
		return nil, badRequest("invalid_request", "a ticket is required")
	}
	who, bad := s.requester(c, form)
	if bad != nil {
		return nil, bad
	}
	raw := form.Get("ticket")
	ticket, ok := s.readTicket(raw)
	if !ok {
		return nil, &apiError{status: http.StatusForbidden, code: "invalid_ticket", desc: "Ticket verification failed"} // 403 with a code of its own (K15)
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.noteTicket(c, raw)
	old, bad := s.offeredRPT(form)
	if bad != nil {
		return nil, bad
	}
	got, missing, bad := s.evaluate(ticket, who, strings.Fields(form.Get("scope")))
	if bad != nil {
		return nil, bad
	}
	submit := form.Get("submit_request") != "false" // K14: absent means true
	if submit && s.unheard(strings.Fields(form.Get("scope")), ticket.Client) {
		return nil, &apiError{status: http.StatusInternalServerError, code: "server_error"} // it would file a request for it
	}
	if submit {
		s.fileMissing(who, c, missing)
	}
	if len(got) == 0 || (form.Has("rpt") && len(missing) > 0) { // a part is enough, but not with an RPT (K19)
		denied := &apiError{status: http.StatusForbidden, code: "access_denied", desc: "not_authorized"} // how it says no (K14)
		if submit {
			denied.desc = "request_submitted" // K14: even if nobody is asked
		}
		return nil, denied
	}
	who.permissions = got
	upgraded := form.Has("rpt") && s.keepOld(who, old, ticket.Client)
	who.audience = []string{ticket.Client} // an RPT is for the resource server (K18)
	return s.giveRPT(c, who, upgraded)
}

// requester implements K11: an ID Token of this client or the party's access
// token says who asks. Without one the client asks for itself.
func (s keycloak) requester(c *client, form url.Values) (*rights, *apiError) {
	who := &rights{client: c.ID}
	claim, format := form.Get("claim_token"), form.Get("claim_token_format")
	switch {
	case format != "" && format != formatIDToken: // K13: with https:// it is a different format
		return nil, badRequest("invalid_request", "the claim token format is not supported")
	case format != "" && claim == "":
		return nil, badRequest("invalid_request", "Subject token can not be null and must be a valid ID or Access Token")
	case claim == "":
		return who, nil
	}
	s.mu.Lock()
	if t := s.st.tokens[claim]; t != nil && !t.lost && t.live(s.now()) && t.grant.client == c.ID {
		if u := t.grant.user; u != nil {
			who.person = &person{user: u, subject: u.subject, names: []string{u.name, u.subject}}
			who.sid = t.grant.sid
		}
		s.mu.Unlock()
		return who, nil
	}
	s.mu.Unlock()
	claims, err := s.ownToken(claim)
	if err != nil {
		return nil, badRequest("unauthorized_client", "Invalid signature")
	}
	if err := s.checkClaims(claims, s.issuer, []string{c.ID}); err != nil {
		return nil, badRequest("invalid_claim_token", "Token issued to a different client, or expired")
	}
	who.sid, _ = claims["sid"].(string)
	s.mu.Lock()
	alive := s.hasSession(who.sid)
	s.mu.Unlock()
	if who.person, err = s.personOf(claims, true); err != nil || !alive {
		return nil, badRequest("unauthorized_client", "Invalid identity")
	}
	return who, nil
}

// noteTicket records a ticket that is used a second time. It works here, but
// still violates UMA Grant §3.3.1. The lock is held.
func (s keycloak) noteTicket(c *client, raw string) {
	if s.st.tickets[raw] != nil {
		s.stats.violation("client %s presented a ticket twice", c.ID)
		return
	}
	s.st.tickets[raw] = &ticket{expires: s.now().Add(s.st.ticketLife), used: true}
	s.put()
}

// offeredRPT implements K24: it accepts any of our access tokens, even an
// expired one or another person's. For anything else K15 applies. The lock is
// held.
func (s keycloak) offeredRPT(form url.Values) (*token, *apiError) {
	if !form.Has("rpt") {
		return nil, nil
	}
	if t := s.st.tokens[form.Get("rpt")]; t != nil {
		return t, nil
	}
	if _, err := s.ownToken(form.Get("rpt")); err != nil {
		return nil, &apiError{status: http.StatusForbidden, code: "invalid_rpt", desc: "RPT signature is invalid"}
	}
	return nil, nil
}

// unheard reports whether no resource of the resource server has any of the
// scopes. The lock is held.
func (s keycloak) unheard(scopes []string, client string) bool {
	return slices.ContainsFunc(scopes, func(one string) bool { return len(s.having([]string{one}, client)) == 0 })
}

// evaluate decides on every entry of a ticket. The lock is held.
func (s keycloak) evaluate(t heldTicket, who *rights, more []string) (got, missing []permission, bad *apiError) {
	seen := map[string]bool{}
	for _, p := range t.Permissions {
		list := s.having(p.Scopes, t.Client)
		if p.Resource != "" {
			v := s.st.resources[p.Resource]
			if v == nil || v.lost {
				return nil, nil, badRequest("invalid_resource", "Resource with id ["+printable(p.Resource)+"] does not exist.") // a code of its own (K15)
			}
			list = []*resource{v}
		}
		for _, v := range list {
			if seen[v.id] { // K8: of two entries for one resource the first counts
				continue
			}
			seen[v.id] = true
			want := p.Scopes
			if len(want) == 0 {
				want = v.scopes // K20: every available scope
			}
			granted, refused := s.permits(v, who, want)
			extra, _ := s.permits(v, who, more) // K23: known ones are added if granted; the others are ignored silently
			if granted = union(granted, extra); len(granted) > 0 {
				got = append(got, permission{resource: v.id, scopes: granted, name: v.name()})
			}
			if len(refused) > 0 && len(p.Scopes) > 0 && p.Resource != "" {
				missing = append(missing, permission{resource: v.id, scopes: refused})
			}
		}
	}
	return got, missing, nil
}

// permits is decide with two differences: a share with the client counts for
// the people who use it, and an owner is let in where somebody else is. The
// lock is held.
func (s keycloak) permits(v *resource, who *rights, want []string) (granted, refused []string) {
	names := []string{who.client}
	if who.person != nil {
		names = append(names, who.person.names...)
	}
	owns := who.person != nil && who.person.user != nil && who.person.user.name == v.owner.user
	for _, scope := range want {
		ok := false
		for name, scopes := range v.shares {
			ok = ok || (owns || contains(names, name)) && contains(scopes, scope)
		}
		if ok && contains(v.scopes, scope) {
			granted = append(granted, scope)
		} else {
			refused = append(refused, scope)
		}
	}
	return granted, refused
}

// fileMissing asks the owners of resources that they manage themselves, even if
// the client gets a part (K14). The lock is held.
func (s keycloak) fileMissing(who *rights, c *client, missing []permission) {
	for _, m := range missing {
		v := s.st.resources[m.resource]
		managed, _ := v.doc["ownerManagedAccess"].(bool)
		if managed && v.owner.user != "" && who.person != nil && who.person.names[0] != v.owner.user {
			s.file(v, who.person, c.ID, m.scopes)
		}
	}
}

// keepOld adds what the offered RPT holds if it is still permitted to the
// present requester. It reports whether that was all (K24). The lock is held.
func (s keycloak) keepOld(who *rights, old *token, client string) bool {
	if old == nil || old.rights == nil {
		return true
	}
	all := true
	for _, p := range old.rights.permissions {
		v := s.st.resources[p.resource]
		if v == nil || v.lost || v.client != client {
			all = false
			continue
		}
		granted, refused := s.permits(v, who, p.scopes)
		if len(granted) > 0 {
			who.permissions = merge(who.permissions, permission{resource: v.id, scopes: granted, name: v.name()})
		}
		all = all && len(refused) == 0
	}
	return all
}

// giveRPT implements K18. Whatever the client offered stays valid (K24). The
// lock is held.
func (s keycloak) giveRPT(c *client, who *rights, upgraded bool) (map[string]any, *apiError) {
	g := &grant{client: c.ID, sid: who.sid}
	if who.person != nil {
		g.user = who.person.user
	}
	value, bad := s.makeRPT(c, g, who)
	if bad != nil {
		return nil, bad
	}
	body := map[string]any{"access_token": value, "token_type": "Bearer", "expires_in": int(s.st.tokenLife.Seconds()),
		"refresh_expires_in": 0, "not-before-policy": 0, "upgraded": upgraded}
	if who.person != nil && c.mayUse(grantRefresh) { // none for the client itself
		body["refresh_token"] = s.issueRefresh(g, nil, who)
		body["refresh_expires_in"] = int(refreshLifetime.Seconds())
	}
	return body, nil
}

// refreshRPT implements K18: the new RPT holds the same, but is no longer meant
// for any resource server.
func (s keycloak) refreshRPT(c *client, v *refreshToken) (map[string]any, *apiError) {
	lost := *v.rights
	lost.audience = []string{"account"}
	value, bad := s.makeRPT(c, v.grant, &lost)
	if bad != nil {
		return nil, bad
	}
	return map[string]any{"access_token": value, "token_type": "Bearer", "expires_in": int(s.st.tokenLife.Seconds()),
		"refresh_token": s.issueRefresh(v.grant, nil, v.rights), "scope": "email profile"}, nil
}

// makeRPT signs and stores an RPT. The lock is held.
func (s keycloak) makeRPT(c *client, g *grant, who *rights) (string, *apiError) {
	now := s.now()
	made := &token{grant: g, iat: now, exp: now.Add(s.st.tokenLife), rights: who, id: newSecret()}
	list := []map[string]any{}
	for _, p := range who.permissions {
		list = append(list, map[string]any{"rsid": p.resource, "rsname": p.name, "scopes": slices.Clone(p.scopes)})
	}
	claims := map[string]any{"iss": s.issuer, "aud": who.audience[0], "azp": c.ID, "sub": c.ID, "typ": "Bearer", "acr": "1", "jti": made.id,
		"iat": made.iat.Unix(), "exp": made.exp.Unix(), "scope": "email profile", "authorization": map[string]any{"permissions": list}}
	if who.person != nil {
		claims["sub"], claims["preferred_username"] = who.person.subject, who.person.names[0]
	}
	if who.sid != "" {
		claims["sid"] = who.sid
	}
	value, err := s.keys.sign(c.alg, "JWT", claims)
	if err != nil {
		return "", &apiError{status: http.StatusInternalServerError, code: "unknown_error"}
	}
	s.st.tokens[value] = made
	s.put()
	return value, nil
}
