package uma_rp_test

import (
	"errors"
	"fmt"
	"io"
	"strings"
	"testing"
	"time"

	"example.com/gatehouse"
	"example.com/gatehouse/internal/e2e/world"
	"example.com/gatehouse/internal/testkit/opserver"
)

// rpRow is one row of the table of a client's reactions to servers, over TCP
// and with a real authorization server. Rows that need an answer which our
// server never gives run in memory with scripted answers: TestUMAChallenges,
// TestUMARefusals and similar tests.
type rpRow struct {
	name     string
	prepare  func(*world.PrintShop) // bob may view; he holds an RPT for it if held is set
	held     bool
	method   string
	body     io.Reader // of one use
	code     string    // of the error, "" for the status
	status   int
	tokens   int                     // token requests at most
	check    func(*testing.T, error) // of the error
	later    func(*world.PrintShop)  // what repairs it
	patience time.Duration           // until then
	config   func(*world.Photoz) gatehouse.UMATransportConfig
}

func rpRows() []rpRow {
	down := func(f opserver.Fault) func(*world.PrintShop) {
		return func(s *world.PrintShop) { s.Must(s.SetFaultAt(f, true, opserver.EndpointToken)) }
	}
	mended := func(s *world.PrintShop) {
		for _, f := range opserver.Faults() {
			s.Must(s.SetFault(f, false))
		}
	}
	wantNeed := func(redirect bool) func(*testing.T, error) {
		return func(t *testing.T, err error) {
			need, ok := errors.AsType[*gatehouse.NeedInfoError](err)
			if !ok || need.Ticket.IsZero() || (need.RedirectUser != "") != redirect {
				t.Errorf("%v, want need_info with a ticket", err)
			}
		}
	}
	nobody := func(w *world.Photoz) gatehouse.UMATransportConfig { // no claims: it cannot answer any question
		c := w.ShopConfig("bob")
		c.Claims = nil
		return c
	}
	return []rpRow{
		{name: "granted", method: "GET", status: 200, tokens: 2},
		{name: "the RPT stops to work", held: true, prepare: func(s *world.PrintShop) { s.RevokeRPTs(); s.Advance(11 * time.Second) }, method: "GET", status: 200, tokens: 2},
		{name: "the RPT has expired", held: true, prepare: func(s *world.PrintShop) { s.Advance(6 * time.Minute) }, method: "GET", status: 200, tokens: 2},
		{name: "denied", prepare: func(s *world.PrintShop) { s.Must(s.AcceptRequests("alice", false)) }, method: "DELETE", code: "uma_denied", tokens: 2,
			later: func(s *world.PrintShop) { s.Must(s.Share("alice", s.AlbumID, "bob", "delete")) }, patience: 6 * time.Second},
		{name: "submitted, and never polled", method: "DELETE", tokens: 2, check: func(t *testing.T, err error) {
			submitted, ok := errors.AsType[*gatehouse.SubmittedError](err)
			if !ok || submitted.Ticket.IsZero() || submitted.Interval != 5*time.Second {
				t.Errorf("%v", err)
			}
		}, later: func(s *world.PrintShop) { s.Must(s.Approve("alice", s.Pending("alice")[0].ID)) }},
		{name: "a token endpoint at another host", prepare: down(opserver.TokenEndpointElsewhere), method: "GET", status: 200, tokens: 2},
		{name: "need_info, nothing to say", config: nobody, method: "GET", tokens: 1, check: wantNeed(false)},
		{name: "need_info without a hint", config: nobody, prepare: down(opserver.NeedInfoNoHint), method: "GET", tokens: 1, check: wantNeed(false)},
		{name: "need_info without a hint is pushed to", prepare: down(opserver.NeedInfoNoHint), method: "GET", status: 200, tokens: 2},
		{name: "need_info with a malformed redirect_user", config: nobody, prepare: down(opserver.RedirectUserMalformed), method: "GET", tokens: 1, check: wantNeed(true)},
		{name: "need_info forever", prepare: down(opserver.NeedInfoForever), method: "GET", tokens: 2, check: wantNeed(false), later: mended},
		{name: "the ticket again", config: func(w *world.Photoz) gatehouse.UMATransportConfig { return world.WhenAsked(w.ShopConfig("bob")) }, prepare: down(opserver.SameTicketBack), method: "GET", code: "ticket_reused", tokens: 1, later: mended},
		{name: "a part is granted", prepare: down(opserver.PartialGrant), method: "DELETE", code: "too_many_rounds", tokens: 6, later: func(s *world.PrintShop) {
			mended(s)
			s.Must(s.Share("alice", s.AlbumID, "bob", "delete"))
		}},
		{name: "a ticket that has expired under way", prepare: func(s *world.PrintShop) { s.SetTicketLifetime(0) }, method: "GET", code: "ticket_refused", tokens: 2,
			later: func(s *world.PrintShop) { s.SetTicketLifetime(time.Minute) }},
		{name: "a ticket with padding", prepare: down(opserver.TicketWithPadding), method: "GET", status: 200, tokens: 2},
		{name: "a ticket of 8 KiB", prepare: down(opserver.LongTicket), method: "GET", status: 200, tokens: 2},
		{name: "the token endpoint: 500", prepare: down(opserver.EndpointFails), method: "GET", code: "as_unavailable", tokens: 1, later: mended},
		{name: "the token endpoint: a page", prepare: down(opserver.HTMLAnswer), method: "GET", code: "as_unavailable", tokens: 1, later: mended},
		{name: "the token endpoint: cut off", prepare: down(opserver.TruncatedAnswer), method: "GET", code: "as_unavailable", tokens: 1, later: mended},
		{name: "the token endpoint: a redirect", prepare: down(opserver.RedirectingAnswer), method: "GET", code: "as_unavailable", tokens: 1, later: mended},
		{name: "the client is refused", prepare: down(opserver.ClientRefused), config: func(w *world.Photoz) gatehouse.UMATransportConfig {
			c := w.ShopConfig("bob")
			c.Client.Secret = gatehouse.NewSecret("not this one")
			return c
		}, method: "GET", code: "client_refused", tokens: 1},
		{name: "metadata of another issuer", prepare: down(opserver.MetadataIssuerMismatch), method: "GET", code: "metadata_issuer_mismatch"},
		{name: "a token endpoint in clear text", prepare: down(opserver.InsecureEndpoint), method: "GET", code: "metadata_invalid"},
		{name: "no ticket is to be had there", prepare: func(s *world.PrintShop) {
			s.Must(s.SetFaultAt(opserver.EndpointDown, true, opserver.EndpointPermission))
		},
			method: "GET", status: 403, later: mended},
		{name: "a body of one use", method: "GET", body: io.LimitReader(strings.NewReader("body"), 4), code: "body_not_replayable", tokens: 2, later: func(*world.PrintShop) {}},
		{name: "no party", config: func(w *world.Photoz) gatehouse.UMATransportConfig { return w.ShopConfig("") }, method: "GET", code: "uma_party_missing"},
	}
}

// TestUMAClientAnswers goes through the rows of the client. Each has its answer, costs
// no more than it may and leaves no secret in the error or the log. What can be
// repaired works again.
func TestUMAClientAnswers(t *testing.T) {
	for _, row := range rpRows() {
		t.Run(row.name, func(t *testing.T) {
			s := world.NewPrintShop(t)
			s.Must(s.Share("alice", s.AlbumID, "bob", "view"))
			c := s.ShopConfig("bob")
			if row.config != nil {
				c = row.config(s.Photoz)
			}
			shop := s.Client(c)
			if row.held {
				s.WantServed(shop, "GET")
			}
			if row.prepare != nil {
				row.prepare(s)
			}
			s.Reset()
			status, err := s.Ask(shop, row.method, row.body)
			switch {
			case row.check != nil:
				row.check(t, err)
			case status != row.status || gatehouse.ErrorCode(err) != row.code:
				t.Errorf("%d %v, want %d %q", status, err, row.status, row.code)
			}
			if got := s.CountToken(world.UMAGrant); got > row.tokens {
				t.Errorf("%d token requests, want at most %d", got, row.tokens)
			}
			s.WantSilence([]string{fmt.Sprintf("%v %+v", err, err)}, "shop-secret", "not this one")
			if row.later != nil {
				row.later(s)
				s.Advance(row.patience)
				s.WantServed(shop, row.method)
			}
		})
	}
}
