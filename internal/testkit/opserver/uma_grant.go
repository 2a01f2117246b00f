package opserver

import (
	"context"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"time"
)

// pollInterval is how long a client must wait before it asks again whether the
// owner has decided. UMA Grant §3.3.6.
const pollInterval = 5 * time.Second

// rights is what an RPT holds, and for whom.
type rights struct {
	permissions []permission
	person      *person // nil if the client acts for itself
	client      string
	audience    []string // in the dialect Keycloak: resource servers that may introspect it
	sid         string   // in the dialect Keycloak: the session that it ends with
}

// RPTOptions set the form of RPTs. In the zero value they are opaque, have
// expires_in and no refresh token, and are a new string after an upgrade.
type RPTOptions struct {
	JWT           bool // a signed JWT with a permissions claim
	Refresh       bool // a refresh token comes with it
	KeepOnUpgrade bool // an upgrade widens the old token and returns the same string
}

// umaGrant turns a ticket into an RPT. UMA Grant §3.3.
func (s standard) umaGrant(ctx context.Context, c *client, form url.Values) (map[string]any, *apiError) {
	if form.Get("ticket") == "" {
		return nil, badRequest("invalid_request", "ticket is missing")
	}
	if form.Has("claim_token") != form.Has("claim_token_format") { // §3.3.1: only together
		return nil, badRequest("invalid_request", "claim_token and claim_token_format go together")
	}
	var pushed *person
	var pushedBad error
	if form.Has("claim_token") {
		if form.Get("claim_token_format") != formatIDToken {
			return nil, badRequest("invalid_request", "the claim token format is not supported")
		}
		pushed, pushedBad = s.claimant(ctx, c, form.Get("claim_token"))
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	t, bad := s.takeTicket(c, form.Get("ticket"))
	if bad != nil {
		return nil, bad
	}
	if t.process.asker != "" && t.process.asker != c.ID { // RFC 6749 §5.2: issued to another client
		return nil, badRequest("invalid_grant", "the ticket is another client's")
	}
	t.process.asker = c.ID
	if form.Has("claim_token") {
		t.process.person = pushed
	}
	if pushedBad != nil { // §3.3.6: need_info is also the answer to an invalid claim token
		return nil, s.needInfo(form.Get("ticket"), t, strings.TrimPrefix(pushedBad.Error(), "opserver: "))
	}
	if s.wrong.has(NeedInfoForever) {
		return nil, s.needInfo(form.Get("ticket"), t, "")
	}
	return s.assess(c, t, form)
}

// takeTicket uses up a ticket. A second use revokes what the ticket gave. UMA
// Grant §5.3. The lock is held.
func (s standard) takeTicket(c *client, value string) (*ticket, *apiError) {
	refused := badRequest("invalid_grant", "the ticket is not valid")
	t := s.st.tickets[value]
	if t == nil {
		return nil, refused
	}
	if t.used {
		s.stats.violation("client %s presented a ticket twice", c.ID)
		if t.yielded != nil {
			t.yielded.revoked = true
		}
		return nil, refused
	}
	t.used = true
	if !s.now().Before(t.expires) {
		return nil, refused
	}
	if t.tainted != "" {
		s.stats.violation("client %s redeemed a ticket that came back with %s", c.ID, t.tainted)
	}
	if s.now().Before(t.notBefore) { // UMA has no slow_down: answered as usual
		s.stats.violation("client %s polls faster than the interval allows", c.ID)
	}
	return t, nil
}

// assess decides. UMA Grant §3.3.4. The lock is held.
func (s standard) assess(c *client, t *ticket, form url.Values) (map[string]any, *apiError) {
	asked := strings.Fields(form.Get("scope"))
	if !s.offered(t, asked) || !c.mayAsk(asked) {
		return nil, badRequest("invalid_scope", "no resource of the ticket has such a scope for this client")
	}
	who := &rights{person: t.process.person, client: c.ID}
	var missing []permission
	for _, p := range t.permissions {
		v := s.st.resources[p.resource]
		if v == nil || v.lost {
			return nil, badRequest("invalid_grant", "a resource of the ticket is gone")
		}
		want := union(p.scopes, slices.DeleteFunc(slices.Clone(asked), func(one string) bool { return !contains(v.scopes, one) }))
		granted, refused := v.decide(who, want)
		if len(granted) > 0 {
			who.permissions = append(who.permissions, permission{resource: v.id, scopes: granted})
		}
		if len(refused) > 0 || len(want) == 0 { // an empty request is not fully granted
			missing = append(missing, permission{resource: v.id, scopes: refused})
		}
	}
	lacking, wrong := s.lacking(t)
	switch {
	case wrong:
		return nil, &apiError{status: http.StatusForbidden, code: "request_denied"}
	case len(lacking) > 0:
		return nil, s.needInfo(form.Get("ticket"), t, "")
	}
	if len(missing) == 0 || (len(who.permissions) > 0 && s.wrong.has(PartialGrant)) {
		return s.grantRPT(c, t, who, form.Get("rpt"))
	}
	return nil, s.refuse(form.Get("ticket"), t, missing, c)
}

// offered reports whether some resource of the ticket has each scope. The lock
// is held.
func (s standard) offered(t *ticket, asked []string) bool {
	return !slices.ContainsFunc(asked, func(scope string) bool {
		return !slices.ContainsFunc(t.permissions, func(p permission) bool {
			v := s.st.resources[p.resource]
			return v != nil && contains(v.scopes, scope)
		})
	})
}

// refuse says what the client may do next. The lock is held.
func (s standard) refuse(presented string, t *ticket, missing []permission, c *client) *apiError {
	p := t.process.person
	if p == nil {
		if s.couldAllowSomebody(missing) {
			return s.needInfo(presented, t, "")
		}
		return &apiError{status: http.StatusForbidden, code: "request_denied"}
	}
	for _, m := range missing {
		v := s.st.resources[m.resource]
		if len(m.scopes) == 0 || !s.takesRequests(v.owner) || v.hasDenied(p, m.scopes) {
			return &apiError{status: http.StatusForbidden, code: "request_denied"}
		}
	}
	for _, m := range missing {
		s.file(s.st.resources[m.resource], p, c.ID, m.scopes)
	}
	return &apiError{status: http.StatusForbidden, code: "request_submitted", extra: map[string]any{
		"ticket": s.nextTicket(presented, t, pollInterval), "interval": int(pollInterval.Seconds())}}
}

// couldAllowSomebody reports whether it matters who asks: somebody has been let
// in, or may ask the owner. The lock is held.
func (s standard) couldAllowSomebody(missing []permission) bool {
	for _, m := range missing {
		v := s.st.resources[m.resource]
		if len(m.scopes) == 0 || (len(v.shares) == 0 && !s.takesRequests(v.owner)) {
			return false
		}
	}
	return true
}

// needInfo asks who it is, and for what the resources need besides. The lock is
// held.
func (s standard) needInfo(presented string, t *ticket, why string) *apiError {
	issuers := []string{s.issuer}
	for name := range s.st.issuers {
		issuers = append(issuers, name)
	}
	slices.Sort(issuers[1:])
	next := s.nextTicket(presented, t, 0)
	extra := map[string]any{"ticket": next}
	var required []map[string]any
	lacking, _ := s.lacking(t)
	if t.process.person == nil || len(lacking) == 0 {
		required = append(required, map[string]any{
			"name": "id_token", "friendly_name": "who asks", "claim_token_format": []string{formatIDToken}, "issuer": issuers,
		})
	}
	for _, n := range lacking {
		required = append(required, map[string]any{"name": n.Name, "friendly_name": n.label(), "claim_type": "string"})
	}
	extra["required_claims"] = required
	if to := s.redirectUser(t.process.asker); to != "" {
		extra["redirect_user"] = to
	}
	if s.wrong.has(RedirectUserMalformed) { // as written by servers that append without looking for a query (J11)
		extra["redirect_user"] = s.url(pathTrap) + trapClaims + "&ticket=" + next
	}
	if s.wrong.has(NeedInfoNoHint) {
		delete(extra, "required_claims")
		delete(extra, "redirect_user")
	}
	return &apiError{status: http.StatusForbidden, code: "need_info", desc: why, extra: extra}
}

// grantRPT issues an RPT, or widens the one the client holds. The lock is held.
func (s standard) grantRPT(c *client, t *ticket, who *rights, offered string) (map[string]any, *apiError) {
	old := s.upgradable(c, who, offered)
	g := &grant{client: c.ID}
	if who.person != nil {
		g.user = who.person.user
	}
	if old != nil {
		for _, p := range old.rights.permissions {
			who.permissions = merge(slices.Clone(who.permissions), p)
		}
	}
	t.yielded = g
	if old != nil && s.st.rpt.KeepOnUpgrade && !s.st.rpt.JWT {
		t.yielded = old.grant
		old.rights = who
		old.iat, old.exp = s.now(), s.now().Add(s.st.tokenLife)
		return map[string]any{"access_token": offered, "token_type": "Bearer",
			"expires_in": int(s.st.tokenLife.Seconds()), "upgraded": true}, nil
	}
	body, bad := s.issueRPT(c, g, who, s.st.rpt.Refresh)
	if old != nil && bad == nil {
		old.revoked = true // UMA Grant §3.3.5: the client discards it
		body["upgraded"] = true
	}
	return body, bad
}

// upgradable finds the RPT that a client offers, if everything it held is still
// granted to the same party. The lock is held.
func (s standard) upgradable(c *client, who *rights, offered string) *token {
	t := s.st.tokens[offered]
	if t == nil || t.rights == nil || t.grant.client != c.ID || t.revoked || t.grant.revoked || t.lost {
		return nil
	}
	a, b := t.rights.person, who.person
	if (a == nil) != (b == nil) || (a != nil && (a.user != b.user || a.subject != b.subject)) {
		return nil // another person's
	}
	for _, p := range t.rights.permissions {
		v := s.st.resources[p.resource]
		if v == nil || v.lost {
			return nil
		}
		if _, refused := v.decide(t.rights, p.scopes); len(refused) > 0 {
			return nil
		}
	}
	return t
}

// issueRPT makes an RPT. The lock is held.
func (s standard) issueRPT(c *client, g *grant, who *rights, refresh bool) (map[string]any, *apiError) {
	now := s.now()
	made := &token{grant: g, iat: now, exp: now.Add(s.st.tokenLife), rights: who}
	value := newSecret()
	if s.st.rpt.JWT {
		signed, err := s.signRPT(c, made, value)
		if err != nil {
			return nil, &apiError{status: http.StatusInternalServerError, code: "server_error"}
		}
		value = signed
	}
	s.st.tokens[value] = made
	s.put()
	body := map[string]any{"access_token": value, "token_type": "Bearer", "expires_in": int(s.st.tokenLife.Seconds())}
	if refresh && c.mayUse(grantRefresh) {
		body["refresh_token"] = s.issueRefresh(g, nil, who)
	}
	return body, nil
}

// signRPT makes the JWT form of an RPT. The lock is held.
func (s standard) signRPT(c *client, t *token, id string) (string, error) {
	var audience []string
	list := make([]map[string]any, 0, len(t.rights.permissions))
	for _, p := range t.rights.permissions {
		if v := s.st.resources[p.resource]; v != nil {
			audience = union(audience, []string{v.client})
		}
		list = append(list, map[string]any{"resource_id": p.resource, "resource_scopes": p.scopes, "exp": t.exp.Unix()})
	}
	claims := map[string]any{"iss": s.issuer, "aud": audience, "client_id": c.ID, "sub": c.ID, "jti": id,
		"iat": t.iat.Unix(), "exp": t.exp.Unix(), "permissions": list}
	if t.rights.person != nil {
		claims["sub"] = t.rights.person.subject
	}
	return s.keys.sign(c.alg, "at+jwt", claims)
}

// livePermissions returns what an RPT holds now for one resource server,
// without what the owner has taken back. The lock is held.
func (s standard) livePermissions(of *rights, client string) []permission {
	var out []permission
	for _, p := range of.permissions {
		v := s.st.resources[p.resource]
		if v == nil || v.lost || v.client != client {
			continue
		}
		if granted, _ := v.decide(of, p.scopes); len(granted) > 0 {
			out = append(out, permission{resource: v.id, scopes: granted})
		}
	}
	return out
}
