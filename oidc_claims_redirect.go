package gatehouse

// Tested in internal/e2e/uma_rp.

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"sync"

	"example.com/gatehouse/internal/gathering"
	"example.com/gatehouse/internal/navigation"
	"example.com/gatehouse/internal/outbound"
	"example.com/gatehouse/internal/seal"
)

const (
	// maxGatherings is how often one request may send a person to the
	// authorization server in a row: once, and twice more for what they have to
	// prove besides. Servers that go on asking would send the browser back and
	// forth for ever.
	maxGatherings = 3
	// claimsCookie stands in the names of the cookies of visits.
	claimsCookie = ".uma-"
)

// gatherer is a client of an authorization server whose people come back to
// ClaimsRedirectHandler.
type gatherer interface {
	// party is on whose behalf a request with the context is made.
	party(ctx context.Context) string
	// askAt returns where to send a person on that visit, with the parameters of the
	// request.
	askAt(ctx context.Context, q *question, g *gathering.Gathering, returnURI string) (string, error)
	// redeem exchanges the ticket that the person brought. A question means that
	// the server wants to know still more.
	redeem(ctx context.Context, ticket string, g *gathering.Gathering) (*question, error)
}

// question is what an authorization server has to ask a person.
type question struct{ redirectUser, ticket string }

// gatherers are those of one relying party and of the guards derived from it, by
// a name that every replica gives them.
type gatherers struct {
	mu  sync.RWMutex
	all map[string]gatherer
}

// add names a gatherer. Those with the same name are numbered in the order in
// which the program makes them.
func (s *gatherers) add(name string, g gatherer) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.all == nil {
		s.all = make(map[string]gatherer)
	}
	for n := 0; ; n++ {
		if numbered := fmt.Sprint(name, " ", n); s.all[numbered] == nil {
			s.all[numbered] = g
			return
		}
	}
}

// find returns the first gatherer with a name that fits.
func (s *gatherers) find(fits func(name string, g gatherer) bool) (string, gatherer) {
	s.mu.RLock()
	defer s.mu.RUnlock()
	for name, g := range s.all {
		if fits(name, g) {
			return name, g
		}
	}
	return "", nil
}

// ClaimsRedirectHandler handles the return of a person whom ClaimsRedirect has
// sent to the authorization server (UMA Grant §3.3.3). It redeems the new ticket
// and redirects the person to the page they came for, whose request then has the
// permission. Handler serves it at the path of RedirectURL with "claims" as its
// last segment, and ClaimsRedirectURL moves it.
//
// The address of it, without a query, is the claims_redirect_uri to register at
// the authorization server.
//
// A return counts once, within ten minutes, in the browser and the session in
// which it began. Anything else is an error and makes no token request.
func (rp *RelyingParty) ClaimsRedirectHandler() http.Handler {
	wire("ClaimsRedirectHandler", rp.checkMade())
	return rp.ownHandler(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Referrer-Policy", "no-referrer")
		if r.Method != http.MethodGet {
			w.Header().Set("Allow", http.MethodGet)
			rp.refuse(w, r, errMethod.because(nil))
			return
		}
		// It continues if the browser disconnects: the ticket works only once.
		ctx, cancel := context.WithTimeout(context.WithoutCancel(r.Context()), callbackTimeout)
		defer cancel()
		c := &claimsReturn{rp: rp, w: w, r: r.WithContext(ctx)}
		if err := c.run(ctx); err != nil {
			rp.refuse(w, c.r, c.failed(err))
			return
		}
		redirect(w, c.location)
	}))
}

// claimsReturn is one return of a person.
type claimsReturn struct {
	rp       *RelyingParty
	w        http.ResponseWriter
	r        *http.Request
	query    url.Values
	visit    *gathering.Gathering
	by       gatherer
	identity *Identity // who is signed in
	next     *question
	location string // where to redirect to
}

func (c *claimsReturn) run(ctx context.Context) error {
	for _, step := range []func(context.Context) error{c.read, c.recognise, c.spend, c.judge, c.redeem, c.goOn} {
		if err := c.rp.provider.safely(ctx, step); err != nil {
			return err
		}
	}
	return nil
}

// read finds the visit that the state belongs to.
func (c *claimsReturn) read(context.Context) (err error) {
	if c.query, err = navigation.Query(c.r.URL.RawQuery, "ticket", "state", "error", "error_description", "error_uri"); err != nil {
		return errClaimsResponse.because(err)
	}
	switch states := c.query["state"]; {
	case len(states) > 1: // RFC 6749 §3.1
		return errClaimsResponse.because(fmt.Errorf("state occurs %d times", len(states)))
	case len(states) == 0 || states[0] == "":
		return errClaimsStateMissing.because(nil)
	}
	c.visit, err = c.rp.readGathering(c.r, c.query.Get("state"))
	return err
}

// recognise makes sure that the person is still the same, in the same session:
// somebody else might have been lured here to prove something for a stranger, or
// take over while the other was away (UMA Grant §5.2).
func (c *claimsReturn) recognise(ctx context.Context) error {
	_, c.by = c.rp.gather.find(func(name string, _ gatherer) bool { return c.visit.IsBy(name) })
	if c.by == nil {
		return errClaimsStateUnknown.because(errors.New("no UMATransport of this relying party began it"))
	}
	id, err := c.rp.anyDoor().check(c.r)
	switch {
	case ErrorCode(err) == CodeLoginRequired:
		return errClaimsSession.because(errors.New("nobody is signed in"))
	case err != nil:
		return err
	case id.session != nil && id.session.stuck != nil: // the state could not be spent either
		return about(id.Subject, failure(id.session.stuck.err))
	case !bytes.Equal(c.visit.From, c.rp.sessionDigest(c.r)):
		return about(id.Subject, errClaimsSession.because(errors.New("it began in another session")))
	}
	c.identity = id
	if !c.visit.IsFor(c.by.party(WithIdentity(ctx, id))) {
		return about(id.Subject, errClaimsSession.because(errors.New("it began for another party")))
	}
	return nil
}

// anyDoor lets pass who is signed in here, whatever a guard requires, or at another
// relying party with the same sessions, as those of a Logins.
func (rp *RelyingParty) anyDoor() *RelyingParty {
	door := *rp
	door.need = nil
	door.others = slices.DeleteFunc(slices.Clone(rp.sessions.allDoors()), func(other *RelyingParty) bool { return other.home != rp.home })
	return &door
}

// spend marks the state as used, so that it counts once across all replicas,
// whatever came with it (R9).
func (c *claimsReturn) spend(ctx context.Context) error {
	first, err := c.rp.sessions.keeper.Spend(ctx, c.visit.State(), c.visit.Ends())
	switch {
	case err != nil:
		return failure(err)
	case !first || c.visit.Done:
		return errClaimsStateUsed.because(nil)
	}
	c.rp.clearCookie(c.w, c.rp.gatheringName(c.visit.State()))
	return nil
}

// judge looks at what the server says. A success is only a new ticket (UMA Grant
// §3.3.3), and an error is as in RFC 6749 §4.1.2.1. The log has that text of a
// stranger, and no page.
func (c *claimsReturn) judge(context.Context) error {
	tickets := c.query["ticket"]
	for _, name := range []string{"error", "error_description", "error_uri"} {
		if n := len(c.query[name]); n > 1 {
			return errClaimsResponse.because(fmt.Errorf("%s occurs %d times", name, n))
		}
	}
	switch {
	case c.query.Has("error"):
		said := outbound.NewSaid(c.query.Get("error"), c.query.Get("error_description"), c.secrets()...)
		return c.refusedThere().because(fmt.Errorf("the authorization server answered with the %w", said))
	case len(tickets) > 1:
		return errClaimsTickets.because(fmt.Errorf("ticket occurs %d times", len(tickets)))
	case len(tickets) == 0 || tickets[0] == "":
		return errClaimsNoTicket.because(nil)
	case c.visit.Sent(tickets[0]):
		return errClaimsSameTicket.because(errors.New("the ticket is the one that was sent"))
	}
	return nil
}

// refusedThere returns the kind of an error with which the server answered.
func (c *claimsReturn) refusedThere() kind {
	switch c.query.Get("error") {
	case "server_error", "temporarily_unavailable":
		return errASUnavailable
	case "invalid_request", "unauthorized_client", "unsupported_response_type", "invalid_scope":
		return errClaimsRefusedThere
	}
	return errClaimsNotGiven
}

// secrets lists what was sent or came along, except the members of an error.
func (c *claimsReturn) secrets() []string {
	secrets := []string{c.visit.State()}
	for name, values := range c.query {
		if !strings.HasPrefix(name, "error") {
			secrets = append(secrets, values...)
		}
	}
	for _, cookie := range c.r.Cookies() {
		secrets = append(secrets, cookie.Value)
	}
	return secrets
}

// redeem exchanges the new ticket, once.
func (c *claimsReturn) redeem(ctx context.Context) (err error) {
	c.next, err = c.by.redeem(WithIdentity(ctx, c.identity), c.query.Get("ticket"), c.visit)
	return err
}

// goOn sends the person on: to the page they came for, or back to the server if
// it wants to know still more, a few times at most.
func (c *claimsReturn) goOn(ctx context.Context) error {
	c.location, _ = c.rp.returnPath(c.visit.ReturnTo)
	if c.next == nil {
		c.visit.End(c.rp.sessions.now())
		return c.rp.writeGathering(c.w, c.r, c.visit)
	}
	next := c.visit.Next(c.rp.sessions.now(), c.next.ticket)
	location, err := c.rp.visit(ctx, c.w, c.r, next, c.by, c.next)
	if err == nil {
		c.location = location
	}
	return err
}

// failed adds to an error who is signed in, and the page they came for.
func (c *claimsReturn) failed(err error) error {
	subject := ""
	if c.identity != nil {
		subject = c.identity.Subject
	}
	e := *asError(about(subject, err), errInternal)
	if c.visit != nil {
		if page, ok := c.rp.returnPath(c.visit.ReturnTo); ok {
			e.page, e.way = page, "Try again"
		}
	}
	if e.page == "" {
		e.page, e.way = c.rp.config.HomeURL, "Continue"
	}
	return &e
}

// visit sets the cookie of a visit and returns where it leads.
func (rp *RelyingParty) visit(ctx context.Context, w http.ResponseWriter, r *http.Request, g *gathering.Gathering, by gatherer, q *question) (string, error) {
	if g.Rounds >= maxGatherings {
		return "", errTooManyRounds.because(fmt.Errorf("the authorization server still asks after %d visits", maxGatherings))
	}
	location, err := by.askAt(ctx, q, g, rp.claimsURI())
	if err != nil {
		return "", err
	}
	return location, rp.writeGathering(w, r, g)
}

// claimsURI is the address of ClaimsRedirectHandler, as it is registered.
func (rp *RelyingParty) claimsURI() string {
	return siteOf(rp.redirect) + (&url.URL{Path: rp.paths.claims}).EscapedPath()
}

// gatheringName returns the name of the cookie of the visit with that state.
func (rp *RelyingParty) gatheringName(state string) string {
	return rp.gatheringPrefix() + state[:8]
}

// gatheringPrefix stands apart from that of sign-ins under way.
func (rp *RelyingParty) gatheringPrefix() string {
	return strings.TrimSuffix(rp.attemptPrefix, "-") + claimsCookie
}

// writeGathering sets the cookie of a visit under way, or of one that has ended,
// and makes room for it.
func (rp *RelyingParty) writeGathering(w http.ResponseWriter, r *http.Request, g *gathering.Gathering) error {
	ring, err := rp.ring(r)
	if err != nil {
		return err
	}
	add, wish := gathering.Sealed{Name: rp.gatheringName(g.State()), Gathering: g}, g.ReturnTo
	value, fits := g.Seal(ring, rp.binding+add.Name)
	if !fits {
		return errInternal.because(errors.New("the visit does not fit into a cookie"))
	}
	if add.Value = value; g.ReturnTo != wish {
		rp.tellDropped(r, wish, "it does not fit into a cookie")
	}
	have := slices.DeleteFunc(rp.gatheringsOf(r), func(s gathering.Sealed) bool { return s.Name == add.Name || clears(w, s.Name) })
	for _, s := range gathering.Fit(have, add) {
		rp.clearCookie(w, s.Name)
	}
	life := gathering.Life
	if g.Done {
		life = gathering.Linger
	}
	rp.unsetCookie(w, add.Name)
	rp.setCookie(w, add.Name, add.Value, life)
	return nil
}

// readGathering opens the visit that state belongs to.
func (rp *RelyingParty) readGathering(r *http.Request, state string) (*gathering.Gathering, error) {
	if !gathering.ValidState(state) {
		return nil, errClaimsStateUnknown.because(errors.New("state is not one of ours"))
	}
	name := rp.gatheringName(state)
	value, found := navigation.Cookie(r, name)
	if !found {
		return nil, errClaimsStateUnknown.because(errors.New("no cookie for this state"))
	}
	g, err := rp.openGathering(r, name, value)
	if err == nil {
		err = g.Check(state, rp.sessions.now())
	}
	switch {
	case err == nil:
		return g, nil
	case errors.Is(err, gathering.ErrExpired):
		return g, errClaimsExpired.because(err)
	}
	return nil, asError(err, errClaimsStateUnknown)
}

func (rp *RelyingParty) openGathering(r *http.Request, name, value string) (*gathering.Gathering, error) {
	ring, err := rp.ring(r)
	if err != nil {
		return nil, err
	}
	g, err := gathering.Open(ring, rp.binding+name, value)
	if errors.Is(err, seal.ErrUnknownKey) {
		if again, ok := rp.sessions.keeper.Reread(r.Context()); ok {
			g, err = gathering.Open(again, rp.binding+name, value)
		}
	}
	return g, err
}

// gatheringsOf returns the visits that the request carries.
func (rp *RelyingParty) gatheringsOf(r *http.Request) (have []gathering.Sealed) {
	prefix := rp.gatheringPrefix()
	for _, c := range r.Cookies() {
		if strings.HasPrefix(c.Name, prefix) && len(have) < maxAttemptsSeen {
			g, _ := rp.openGathering(r, c.Name, c.Value)
			have = append(have, gathering.Sealed{Name: c.Name, Value: c.Value, Gathering: g})
		}
	}
	return have
}
