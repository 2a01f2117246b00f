package gatehouse

// Tested in internal/e2e/uma_rp.

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"sync/atomic"
	"time"

	"example.com/gatehouse/internal/gathering"
	"example.com/gatehouse/internal/navigation"
	"example.com/gatehouse/internal/outbound"
	"example.com/gatehouse/internal/rptcache"
	"example.com/gatehouse/internal/session"
)

// wanted is what a NeedInfoError knows of the exchange that it ended.
type wanted struct {
	by           *UMATransport
	key          rptcache.Key
	method, path string
	request      rptcache.Request
	silent       bool
	since        time.Time   // that of the exchange
	sent         atomic.Bool // a person is on the way with the ticket
}

// ClaimsRedirect sends the person who opens a page to the authorization server,
// which asks them for what it wants to know (UMA Grant §3.3.2). They come back to
// ClaimsRedirectHandler, and from there to the path returnTo, where the request
// that failed with need now has its permission. An empty returnTo means the page
// itself.
//
//	resp, err := client.Do(req.WithContext(r.Context()))
//	if need, ok := errors.AsType[*gatehouse.NeedInfoError](err); ok {
//		login.ClaimsRedirect(w, r, need, "")
//		return
//	}
//
// The UMATransport that returned need has rp as its Login. Somebody has to be
// signed in at rp, and the Party of the request must be the one of the exchange.
// A failure, such as a server that sends people to an address that is not
// trusted, is answered as those of a guard are. Only a person who opens a page
// can be sent: a script gets 403 with the code claims_needed, and a posted form a
// page that says so. The ticket of need goes once.
//
// After a page has sent somebody three times in a row, it gets too_many_rounds.
func (rp *RelyingParty) ClaimsRedirect(w http.ResponseWriter, r *http.Request, need *NeedInfoError, returnTo string) {
	if err := rp.checkMade(); err != nil {
		refuseAlone(w, r, errInternal.because(err))
		return
	}
	perBrowser(w.Header())
	defer rp.recovered(w, r)
	if !navigation.Is(r) {
		rp.refuse(w, r, rp.claimsFailed(r, errClaimsNeeded.because(errors.New("the request opens no page"))))
		return
	}
	location, err := rp.ClaimsURL(w, r, need, returnTo)
	if err != nil {
		rp.refuse(w, r, rp.claimsFailed(r, err))
		return
	}
	redirect(w, location)
}

// ClaimsURL is ClaimsRedirect for an application that sends the person itself. It
// sets the cookie of the visit on w, marks the response "Cache-Control: no-store"
// and "Vary: Cookie", and returns the address at the authorization server. For
// HEAD and for a prefetch it returns an error and starts nothing.
func (rp *RelyingParty) ClaimsURL(w http.ResponseWriter, r *http.Request, need *NeedInfoError, returnTo string) (string, error) {
	if err := rp.checkMade(); err != nil {
		return "", errInternal.because(err)
	}
	perBrowser(w.Header())
	if r.Method == http.MethodHead || navigation.IsPrefetch(r) {
		return "", errNoNavigation.because(errors.New("HEAD or a prefetch"))
	}
	name, err := rp.askedBy(r, need)
	if err != nil {
		return "", err
	}
	a, now := need.wanted, rp.sessions.now()
	g := gathering.New(now, name, a.key.Party, need.Ticket.Reveal())
	g.Wanted(a.method, a.path, a.request.Sum())
	g.From, g.Origin, g.Silent, g.Since = rp.sessionDigest(r), a.key.Origin, a.silent, a.since
	if returnTo == "" && r.Method == http.MethodGet {
		returnTo = rp.address(r)
	}
	g.ReturnTo = rp.wayBack(r, returnTo)
	ended := g.Follow(rp.gatheringsOf(r), now)
	if !a.sent.CompareAndSwap(false, true) { // a ticket works once (UMA Grant §5.3)
		return "", errClaimsSent.because(nil)
	}
	location, err := rp.visit(r.Context(), w, r, g, a.by, &question{need.RedirectUser, need.Ticket.Reveal()})
	if err != nil {
		a.sent.Store(false)
		return "", err
	}
	for _, s := range ended {
		rp.clearCookie(w, s.Name)
	}
	return location, nil
}

// askedBy makes sure that need is about who is signed in here. It returns the
// name of its UMATransport.
func (rp *RelyingParty) askedBy(r *http.Request, need *NeedInfoError) (string, error) {
	if need == nil || need.wanted == nil {
		return "", errInternal.because(errors.New("the NeedInfoError is not from a UMATransport"))
	}
	a := need.wanted
	name, by := rp.gather.find(func(_ string, g gatherer) bool { return g == a.by })
	switch {
	case by == nil:
		return "", errInternal.because(errors.New("the UMATransport of the NeedInfoError has another Login, or none"))
	case a.key.Party == "":
		return "", errPartyMissing.because(errors.New("the request was made for nobody"))
	case a.by.party(r.Context()) != a.key.Party:
		return "", errClaimsParty.because(errors.New("the Party of the page is not that of the exchange"))
	}
	switch _, err := rp.anyDoor().load(r); {
	case errors.Is(err, session.ErrNone):
		return "", errLoginRequired.because(errors.New("the visit has to be bound to a session of this relying party"))
	case err != nil:
		return "", err
	}
	return name, nil
}

// claimsFailed adds the page that can be opened instead.
func (rp *RelyingParty) claimsFailed(r *http.Request, err error) error {
	e := *asError(err, errInternal)
	switch {
	case isForm(r):
		e.page = rp.wayBack(r, navigation.FormPage(r, siteOf(rp.redirect)))
	default:
		e.page, _ = rp.returnPath(rp.address(r))
	}
	e.way = "Try again"
	return &e
}

// party implements gatherer.
func (t *UMATransport) party(ctx context.Context) string { return t.config.Party(ctx) }

// asker returns the client whose tickets a visit is about, or who we are now if the
// client never changes.
func (t *UMATransport) asker(ctx context.Context, since time.Time) (known, error) {
	if since.IsZero() {
		return t.provider.who(ctx, &t.config.Client)
	}
	return t.provider.whoSince(ctx, &t.config.Client, since)
}

// askAt implements gatherer. It sets the parameters of UMA Grant §3.3.2: those
// that the address has already, as Gluu's has (J11), are replaced, and the rest
// of its query stays.
func (t *UMATransport) askAt(ctx context.Context, q *question, g *gathering.Gathering, returnURI string) (string, error) {
	who, err := t.asker(ctx, g.Since)
	if err != nil {
		return "", err
	}
	u, err := t.claimsAddress(ctx, q.redirectUser)
	if err != nil {
		return "", err
	}
	set := [][2]string{{"client_id", who.ID}, {"ticket", q.ticket}, {"claims_redirect_uri", returnURI}, {"state", g.State()}}
	pairs := slices.DeleteFunc(strings.Split(u.RawQuery, "&"), func(pair string) bool {
		name, _, _ := strings.Cut(pair, "=")
		plain, err := url.QueryUnescape(name)
		return pair == "" || err == nil && slices.ContainsFunc(set, func(p [2]string) bool { return p[0] == plain })
	})
	for _, p := range set {
		pairs = append(pairs, p[0]+"="+url.QueryEscape(p[1]))
	}
	u.RawQuery = strings.Join(pairs, "&")
	return u.String(), nil
}

// claimsAddress returns where a person is asked. It is at an origin of the
// authorization server or at one that is configured, because the ticket goes
// there and the person believes what they read there.
func (t *UMATransport) claimsAddress(ctx context.Context, redirectUser string) (*url.URL, error) {
	md, err := t.provider.clientMetadata(ctx)
	if err != nil {
		return nil, unavailable(err)
	}
	address := redirectUser
	if address == "" || glued(address) {
		address = md.ClaimsInteractionEndpoint
	}
	if address == "" {
		return nil, errClaimsEndpoint.because(errors.New("need_info has no redirect_user that can be used, and the metadata no claims_interaction_endpoint"))
	}
	u, err := outbound.CheckURL(address, t.provider.insecure)
	if err != nil {
		return nil, errClaimsAddress.because(fmt.Errorf("redirect_user or claims_interaction_endpoint: %w", err))
	}
	origin := outbound.Origin(u)
	for _, own := range append([]string{t.provider.issuer, md.TokenEndpoint, md.AuthorizationEndpoint, md.ClaimsInteractionEndpoint}, t.config.ClaimsOrigins...) {
		if known, err := url.Parse(own); err == nil && known.Host != "" && outbound.Origin(known) == origin {
			return u, nil
		}
	}
	return nil, errClaimsAddress.because(fmt.Errorf("the authorization server sends people to %q, which is no origin of its endpoints: ClaimsOrigins may list it", clip(origin)))
}

// glued reports whether parameters were appended to the path, because who
// wrote the address did not look whether it had a query (J11).
func glued(address string) bool {
	path, _, _ := strings.Cut(address, "?")
	return strings.Contains(path, "&client_id=") || strings.Contains(path, "&ticket=")
}

// redeem implements gatherer. It is an exchange like any other, with the same
// memory, bounds and events, but it offers no token for an upgrade: a refusal
// would cost the ticket, and with it what the person has answered.
func (t *UMATransport) redeem(ctx context.Context, ticket string, g *gathering.Gathering) (*question, error) {
	if len(ticket) > maxNewTicket {
		return nil, errClaimsResponse.because(errors.New("the ticket is too long"))
	}
	key := rptcache.Key{Party: t.config.Party(ctx), Issuer: t.provider.issuer, Origin: g.Origin}
	x := &exchange{t: t, key: key, method: g.Method, path: g.Path, request: rptcache.RequestWithSum(key, g.Request),
		ticket: ticket, bare: true, silent: g.Silent, budget: maxCallRequests, since: g.Since}
	for {
		o, err := t.flights.Do(ctx, key, exchangeTime, func(run context.Context) (*outcome, error) {
			o := x.run(run, ctx)
			if o.err == nil { // the page gets this token, whichever served it before
				t.tokens.Served(key, g.Method, g.Path, rptcache.Choice{Token: o.token})
			}
			return o, nil
		})
		switch {
		case err != nil && ctx.Err() == nil: // Claims panicked
			return nil, errInternal.because(err)
		case err != nil:
			return nil, errASUnavailable.because(err)
		case o.by != x: // the exchange was for something else
			continue
		case o.err == nil:
			return nil, nil
		}
		return answeredWith(o.err, g)
	}
}

// answeredWith returns what the server wants to know still, or the error of the
// exchange as a page can show it.
func answeredWith(err error, g *gathering.Gathering) (*question, error) {
	if need, ok := err.(*NeedInfoError); ok {
		if g.Sent(need.Ticket.Reveal()) {
			return nil, errTicketReused.because(errors.New("the authorization server returned the ticket that the person was sent with"))
		}
		return &question{need.RedirectUser, need.Ticket.Reveal()}, nil
	}
	if _, ok := errors.AsType[*SubmittedError](err); ok {
		return nil, errClaimsSubmitted.because(err)
	}
	return nil, err
}
