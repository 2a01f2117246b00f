package gatehouse

// Tested in internal/e2e/uma_rs.

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"slices"

	"example.com/gatehouse/internal/backchannel"
	"example.com/gatehouse/internal/challenge"
	"example.com/gatehouse/internal/navigation"
	"example.com/gatehouse/internal/strictjson"
	"example.com/gatehouse/internal/uncached"
)

const (
	// unreachable is the Warning of UMA Grant §3.2.2, word for word.
	unreachable = `199 - "UMA Authorization Server Unreachable"`
	// ownerMissing tells a client that the owner has to act, also where there is
	// no body or an ErrorHandler wrote it. 299 is a warning that stays (RFC 7234
	// §5.5.7).
	ownerMissing = `299 - "` + CodeOwnerGrantMissing + `"`
	// maxTicket caps a ticket, in bytes. Longer ones do not fit the header
	// buffers of proxies. Tickets that are JWTs have 0.6 to 3 KiB.
	maxTicket = 8 << 10
	// longTicket is the length of a ticket, in bytes, from which proxies with
	// small buffers fail (B23).
	longTicket = 4 << 10
	// keycloakTicket is the length of a ticket, in characters, above which a
	// Keycloak ignores it (K25). It then answers as if there were none.
	keycloakTicket = 4000
)

// Refuse implements Guard.
func (g *umaGuard) Refuse(w http.ResponseWriter, r *http.Request, err error) {
	defer func() {
		switch p := recover(); p { // of a PATSource, for example
		case nil:
		case http.ErrAbortHandler:
			panic(p)
		default:
			defer lastAnswer(w)
			g.refuse(w, r, g.rs.provider.panicIn(r.Context(), p))
		}
	}()
	g.refuse(w, r, err)
}

func (g *umaGuard) refuse(w http.ResponseWriter, r *http.Request, err error) {
	uncached.Vary(w.Header(), "Authorization")
	rs, e := g.rs, asError(err, errInternal)
	event := Event{Name: EventRefusal, Subject: subjectOf(err), Err: e.Err}
	refusal, lacks := errors.AsType[*umaRefusal](err)
	switch {
	case lacks && navigation.IsPrefetch(r): // perhaps nobody will see the answer, and a ticket would be spent for it
		e = errNoNavigation.saying(noTicket).because(errors.New("a prefetch"))
		event.Err = e.Err
		if refusal.facts != nil {
			event.Subject = refusal.facts.Subject
		}
	case lacks:
		event, e = rs.challenge(w.Header(), r, refusal)
	case e.Code == errIntrospection.code, e.Code == errBusy.code, mistake(e) != nil:
		w.Header().Set("Warning", unreachable)
	}
	e = e.answered()
	event.ID = e.ID
	if event.Name != EventTicket || event.Err != nil { // an issued ticket is not a failure
		event.Code = e.Code
	}
	rs.provider.emitFor(r, event)
	rs.answer(w, r, e)
}

// challenge requests a ticket and sets the headers of the response. The
// response is 401 with the ticket, no matter whether the token was missing,
// invalid or too weak. If no ticket can be obtained, it is 403 with a Warning
// (UMA Grant §3.2).
func (rs *ResourceServer) challenge(h http.Header, r *http.Request, refusal *umaRefusal) (Event, *Error) {
	event := Event{Name: EventTicket}
	if f := refusal.facts; f != nil {
		event.Name, event.Subject, event.ClientID = EventDenial, f.Subject, f.ClientID
	}
	header, resource, err := "", "", refusal.cause
	if err == nil {
		header, resource, err = rs.ticketHeader(r.Context(), refusal)
	}
	event.Resource = resource
	if err != nil {
		event.Name, event.Err = EventTicket, err
		if refusal.lack != nil {
			event.Err = fmt.Errorf("%w (no ticket for a token that was denied: %w)", err, refusal.lack)
		}
		switch ErrorCode(err) {
		case errResourceIDs.code, errGrantStore.code, errGrantUnreadable.code: // our own failure
			return event, asError(err, errInternal)
		}
		h.Set("Warning", unreachable)
		switch ErrorCode(err) {
		case errBusy.code:
			return event, asError(err, errInternal)
		case CodeOwnerGrantMissing: // asking again does not help: the owner has to act
			h.Add("Warning", ownerMissing)
			return event, errOwnerGrantMissing.because(event.Err)
		}
		if mistake(err) != nil {
			return event, errTicketMistake.because(event.Err)
		}
		return event, errTicket.because(event.Err)
	}
	event.Err = refusal.lack
	if refusal.facts != nil {
		rs.facts.Forget(refusal.key, refusal.facts) // the ticket may add permissions to this very token (J9)
	}
	h.Set("WWW-Authenticate", header)
	return event, errPermission.because(refusal)
}

func (rs *ResourceServer) ticketHeader(ctx context.Context, refusal *umaRefusal) (header, resource string, err error) {
	var cancel context.CancelFunc
	if refusal.deadline.IsZero() {
		ctx, cancel = context.WithTimeout(ctx, rs.budget)
	} else {
		ctx, cancel = context.WithDeadline(ctx, refusal.deadline)
	}
	defer cancel()
	ticket, resource, err := rs.ticket(ctx, refusal.need)
	if err != nil {
		return "", resource, err
	}
	if long := rs.tooLong(ctx, ticket); long != nil {
		rs.provider.emit(ctx, Event{Name: EventTrouble, Code: troubleTicket, ClientID: rs.client.told(), Resource: resource, Err: long})
	}
	header, err = challenge.Format("UMA", "realm", rs.realm, "as_uri", rs.provider.issuer, "ticket", ticket)
	return header, resource, err
}

// tooLong returns an error if the ticket may not reach the server again.
func (rs *ResourceServer) tooLong(ctx context.Context, ticket string) error {
	if len(ticket) > keycloakTicket {
		if md, err := rs.provider.umaMetadata(ctx); err == nil && rs.provider.isKeycloak(md) {
			return fmt.Errorf("a ticket of %d characters: Keycloak ignores one of more than %d, so ask for fewer resources at once", len(ticket), keycloakTicket)
		}
	}
	if len(ticket) > longTicket {
		return fmt.Errorf("a ticket of %d bytes may be too long for proxies", len(ticket))
	}
	return nil
}

// asked is one resource of a permission request.
type asked struct {
	resource Resource
	id       string
	scopes   []string
}

// asks returns what to request a ticket for: one entry per resource with its
// scopes merged, because some servers count only the first entry (K8).
func (p Permission) asks() []asked {
	var list []asked
	for i := range p.clauses {
		c := &p.clauses[i]
		scopes := c.ask
		if scopes == nil {
			scopes = c.scopes
		}
		at := slices.IndexFunc(list, func(a asked) bool { return a.resource.same(c.resource) })
		if at < 0 {
			list = append(list, asked{resource: c.resource})
			at = len(list) - 1
		}
		for _, s := range scopes {
			if !slices.Contains(list[at].scopes, s) {
				list[at].scopes = append(list[at].scopes, s)
			}
		}
	}
	return list
}

// ticket makes the permission request (UMA Federated Authorization §4.1). If
// the server does not know a resource, or knows it with other scopes, the
// resource is registered again and the request repeated, both once. ticket
// also returns the first resource's id, for the event.
func (rs *ResourceServer) ticket(ctx context.Context, need Permission) (ticket, resource string, err error) {
	md, err := rs.provider.umaMetadata(ctx)
	if err != nil {
		return "", "", err
	}
	if md.PermissionEndpoint == "" {
		return "", "", errMetadataInvalid.because(rs.provider.lacks(memberPermission))
	}
	list := need.asks()
	for i := range list {
		if list[i].id, err = rs.resourceID(ctx, list[i].resource); err != nil {
			return "", "", err
		}
	}
	a, err := rs.askPermission(ctx, md, need.owner(), list)
	if err != nil {
		return "", list[0].id, err
	}
	if healed, err := rs.heal(ctx, list, a); err != nil {
		return "", list[0].id, err
	} else if healed {
		if a, err = rs.askPermission(ctx, md, need.owner(), list); err != nil {
			return "", list[0].id, err
		}
	}
	ticket, err = readTicket(a)
	return ticket, list[0].id, err
}

// askPermission sends the permission request. It always sends an array, which
// every server accepts (K8).
func (rs *ResourceServer) askPermission(ctx context.Context, md *Metadata, owner string, list []asked) (*backchannel.Answer, error) {
	type permission struct {
		Resource string   `json:"resource_id"`
		Scopes   []string `json:"resource_scopes"`
	}
	wanted := make([]permission, 0, len(list))
	for _, a := range list {
		wanted = append(wanted, permission{a.id, a.scopes})
	}
	body, err := backchannel.JSON(wanted)
	if err != nil {
		return nil, errInternal.because(err)
	}
	return rs.withPAT(ctx, owner, func(pat Secret) (*backchannel.Answer, error) {
		// A place is for the call alone, not for waiting for a PAT.
		if err := rs.takePlace(); err != nil {
			return nil, err
		}
		defer rs.provider.ticketCalls.Leave()
		return rs.provider.channel.AsBearer(ctx, http.MethodPost, md.PermissionEndpoint, pat.Reveal(), body)
	})
}

// heal registers the resources again that the server says it does not know
// (§4.3). It reports whether repeating the request makes sense.
func (rs *ResourceServer) heal(ctx context.Context, list []asked, a *backchannel.Answer) (bool, error) {
	if a.Status != http.StatusBadRequest {
		return false, nil
	}
	code := a.ErrorCode()
	if code != "invalid_resource_id" && code != "invalid_scope" {
		return false, nil
	}
	healed := false
	for i := range list {
		if list[i].resource.Name == "" {
			continue // without a name it cannot be registered again
		}
		said := refusedID{id: list[i].id}
		if len(list) == 1 { // only then is it clear which one the code is about
			said.gone = code == "invalid_resource_id"
		}
		id, err := rs.registerAgain(ctx, list[i].resource, said)
		if err != nil {
			return false, err
		}
		list[i].id, healed = id, true
	}
	return healed, nil
}

// readTicket reads the response of the permission endpoint (§4.2).
func readTicket(a *backchannel.Answer) (string, error) {
	if a.Status != http.StatusCreated && a.Status != http.StatusOK {
		return "", classify(a.Unexpected("permission request"))
	}
	var ticket string
	err := strictjson.Object(a.Body, func(name string, v strictjson.Value) (err error) {
		if name != "ticket" {
			return nil
		}
		if ticket, err = v.Text(); err != nil {
			return fmt.Errorf("ticket: %w", err)
		}
		return nil
	})
	if err != nil {
		return "", errProviderUnavailable.because(fmt.Errorf("permission request: the answer from %s is not the expected JSON object: %w", a.Address(), strictjson.Without(err, ticket)))
	}
	if ticket == "" || len(ticket) > maxTicket || !challenge.Printable(ticket) {
		return "", errProviderUnavailable.because(fmt.Errorf("permission request: a ticket of %d bytes from %s, which cannot be used", len(ticket), a.Address()))
	}
	return ticket, nil
}
