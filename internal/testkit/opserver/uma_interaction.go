package opserver

import (
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"time"
)

// NeededClaim is something that a person has to say on the claims page before a
// resource is opened for them, besides who they are. UMA Grant §3.3.2.
type NeededClaim struct {
	Name   string   // of the claim
	Label  string   // for people; "" means Name
	Accept []string // the values that let somebody in; nil: any but an empty one
	Step   int      // asked in a visit of its own, after those of lower steps
}

func (n NeededClaim) label() string {
	if n.Label != "" {
		return n.Label
	}
	return n.Name
}

// accepts reports whether an answer lets somebody in.
func (n NeededClaim) accepts(value string) bool {
	return value != "" && (n.Accept == nil || contains(n.Accept, value))
}

// NeedClaims says what people have to answer for a resource, whatever its owner
// has shared; no claims takes that back. Only a client with ClaimsRedirectURIs
// can send them to the page.
func (s *Server) NeedClaims(owner, resourceID string, claims ...NeededClaim) error {
	for _, n := range claims {
		if n.Name == "" {
			return errors.New("opserver: a needed claim has no name")
		}
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	v, err := s.ownedBy(owner, resourceID)
	if err == nil {
		v.needs = slices.Clone(claims)
		slices.SortStableFunc(v.needs, func(a, b NeededClaim) int { return a.Step - b.Step })
	}
	return err
}

// SetClaimsRedirectURIs changes where people come back to from the claims page.
func (s *Server) SetClaimsRedirectURIs(clientID string, uris ...string) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	c := s.st.clients[clientID]
	if c == nil {
		return fmt.Errorf("opserver: client %q is not known", clientID)
	}
	changed := *c
	changed.ClaimsRedirectURIs = slices.Clone(uris)
	s.st.clients[clientID] = &changed
	return nil
}

// lacking returns the needed claims that nobody has answered yet, and whether an
// answer was given that does not suffice. The lock is held.
func (s *Server) lacking(t *ticket) (list []NeededClaim, refused bool) {
	for _, p := range t.permissions {
		v := s.st.resources[p.resource]
		if v == nil {
			continue
		}
		for _, n := range v.needs {
			said, ok := t.process.answers[n.Name]
			switch {
			case !ok:
				list = append(list, n)
			case !n.accepts(said):
				refused = true
			}
		}
	}
	return list, refused
}

// interaction is one visit to the claims page. The ticket that began it is used.
type interaction struct {
	id       string
	presents string // the ticket
	ticket   *ticket
	client   *client
	back     string // claims_redirect_uri
	state    string
	browser  string
	expires  time.Time
	over     bool
}

// serveClaims begins a visit. UMA Grant §3.3.2. Without a client and its
// registered address the person stays here (§3.3.3, RFC 6749 §4.1.2.1).
func (s *Server) serveClaims(w http.ResponseWriter, r *http.Request) {
	v, err := url.ParseQuery(r.URL.RawQuery)
	if err != nil || len(v["client_id"]) != 1 || len(v["claims_redirect_uri"]) > 1 {
		s.problem(w, r, http.StatusBadRequest, "The request does not name one site and one address to return to.")
		return
	}
	browser := s.browser(w, r)
	s.mu.Lock()
	c := s.st.clients[v.Get("client_id")]
	s.mu.Unlock()
	back := v.Get("claims_redirect_uri")
	switch {
	case c == nil:
		s.problem(w, r, http.StatusBadRequest, "The site that sent you here is not registered.")
		return
	case back == "" && len(c.ClaimsRedirectURIs) == 1: // §3.3.2: only then it may be left out
		back = c.ClaimsRedirectURIs[0]
	case !contains(c.ClaimsRedirectURIs, back): // exact string
		s.problem(w, r, http.StatusBadRequest, "The address to return to is not registered for this site.")
		return
	}
	visit := &interaction{id: newSecret(), presents: v.Get("ticket"), client: c, back: back, state: v.Get("state"), browser: browser}
	if name, twice := repeated(v); twice {
		s.endClaims(w, r, visit, "invalid_request", "a parameter is sent twice: "+name)
		return
	}
	if len(visit.state) < minSecret {
		s.stats.violation("client %s sends a person to the claims page with a state too short for 128 bits", c.ID)
	}
	s.mu.Lock()
	t, bad := standard{s}.takeTicket(c, visit.presents)
	if bad == nil && t.process.asker != c.ID {
		bad = badRequest("invalid_request", "the ticket is another client's")
	}
	if bad == nil {
		visit.ticket, visit.expires = t, s.now().Add(s.st.ticketLife)
		s.st.interactions[visit.id] = visit
		s.put()
	}
	s.mu.Unlock()
	if bad != nil {
		s.endClaims(w, r, visit, "invalid_request", "the ticket is not valid")
		return
	}
	w.Header().Set("Referrer-Policy", "no-referrer")
	http.Redirect(w, r, s.url(pathClaims)+"/"+visit.id, http.StatusSeeOther)
}

// claimsData is what the claims page shows.
type claimsData struct {
	Action, Client string
	Fields         []claimsField
	Problem        string
}

type claimsField struct{ Name, Label, Value string }

// serveVisit shows what has to be answered, and takes the answers.
func (s *Server) serveVisit(w http.ResponseWriter, r *http.Request) {
	browser := s.browser(w, r)
	s.mu.Lock()
	visit := s.st.interactions[r.PathValue("id")]
	open := visit != nil && !visit.over && visit.browser == browser && s.now().Before(visit.expires)
	s.mu.Unlock()
	if !open {
		s.problem(w, r, http.StatusNotFound, "This question is over, or it was not asked in this browser.")
		return
	}
	current := s.session(r)
	if current == nil {
		s.signInPage(w, r, http.StatusOK, signInData{Next: r.URL.EscapedPath(), Client: visit.client.title(), target: visit.back})
		return
	}
	who, err := s.personOf(map[string]any{"sub": current.user.subject}, true)
	if err != nil {
		s.problem(w, r, http.StatusForbidden, "Your account is gone.")
		return
	}
	if r.Method == http.MethodPost && r.PostForm.Get("decision") != "tell" {
		s.endClaims(w, r, visit, "access_denied", `<b>the person</b> said no <script src="//evil.invalid"></script>`)
		return
	}
	s.mu.Lock()
	p := visit.ticket.process
	other := p.person != nil && p.person.user != who.user
	d := claimsData{Action: s.url(pathClaims) + "/" + visit.id, Client: visit.client.title()}
	answers := map[string]string{}
	asked, _ := s.lacking(visit.ticket)
	for _, n := range asked {
		if n.Step != asked[0].Step {
			break
		}
		field := claimsField{Name: cellKey("claim", n.Name), Label: n.label()}
		field.Value = strings.TrimSpace(r.PostForm.Get(field.Name))
		if answers[n.Name] = field.Value; field.Value == "" && r.Method == http.MethodPost {
			d.Problem = "Please answer every question."
		}
		d.Fields = append(d.Fields, field)
	}
	s.mu.Unlock()
	switch {
	case other:
		s.endClaims(w, r, visit, "access_denied", "another person is signed in here")
	case r.Method == http.MethodPost && d.Problem == "":
		s.tellClaims(w, r, visit, who, answers)
	default:
		s.show(w, r, http.StatusOK, "claims.html", frame{Title: "Before you go on", User: current.user.name,
			FormToken: s.formToken(browser), Body: d}, originOf(visit.back)...)
	}
}

// tellClaims keeps the answers and sends the person back with a new ticket. UMA
// Grant §3.3.3. The ticket says nothing about what was answered.
func (s *Server) tellClaims(w http.ResponseWriter, r *http.Request, visit *interaction, who *person, answers map[string]string) {
	s.mu.Lock()
	if visit.over {
		s.mu.Unlock()
		s.problem(w, r, http.StatusNotFound, "This question is over.")
		return
	}
	visit.over = true
	p := visit.ticket.process
	p.person = who
	if p.answers == nil {
		p.answers = map[string]string{}
	}
	for name, value := range answers {
		p.answers[name] = value
	}
	next := standard{s}.nextTicket(visit.presents, visit.ticket, 0)
	answer := url.Values{"ticket": {next}}
	if visit.state != "" {
		answer.Set("state", visit.state)
	}
	if tainted := s.spoilClaims(answer); tainted != "" && s.st.tickets[next] != nil {
		s.st.tickets[next].tainted = tainted
	}
	s.mu.Unlock()
	s.redirect(w, r, visit.back, "?", answer)
}

// endClaims sends the person back with an error. RFC 6749 §4.1.2.1.
func (s *Server) endClaims(w http.ResponseWriter, r *http.Request, visit *interaction, code, desc string) {
	s.mu.Lock()
	visit.over = true
	s.mu.Unlock()
	answer := url.Values{"error": {code}, "error_description": {desc}}
	if visit.state != "" {
		answer.Set("state", visit.state)
	}
	s.redirect(w, r, visit.back, "?", answer)
}

// spoilClaims changes an answer as the faults say. It returns why the client must
// not redeem the ticket, or "" if it may.
func (s *Server) spoilClaims(answer url.Values) (tainted string) {
	for _, one := range []struct {
		fault   Fault
		tainted string
		apply   func()
	}{
		{ClaimsWrongState, "a changed state", func() { answer.Set("state", answer.Get("state")+"x") }},
		{ClaimsNoState, "no state", func() { answer.Del("state") }},
		{ClaimsTwoStates, "a second state", func() { answer.Add("state", newSecret()) }},
		{ClaimsNoTicket, "no ticket", func() { answer.Del("ticket") }},
		{ClaimsTwoTickets, "a second ticket", func() { answer.Add("ticket", newSecret()) }},
	} {
		if s.wrong.has(one.fault) {
			one.apply()
			tainted = one.tainted
		}
	}
	return tainted
}

// redirectUser is where the client sends a person with the ticket, or "" if it
// has no address for them to return to. Its query stays (UMA Grant §3.3.2).
func (s *Server) redirectUser(asker string) string {
	if c := s.st.clients[asker]; c == nil || len(c.ClaimsRedirectURIs) == 0 {
		return ""
	}
	if s.wrong.has(ClaimsElsewhere) {
		return "https://claims.invalid/ask?flow=claims" // the name is reserved (RFC 6761 §6.4)
	}
	return s.url(pathClaims) + "?flow=claims"
}
