package uma_rp_test

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"strings"
	"testing"
	"time"

	"example.com/gatehouse"
	"example.com/gatehouse/internal/e2e/world"
	"example.com/gatehouse/internal/testkit/opserver"
)

// Alice shares an album with Bob, who asked for it. His permission is too weak
// for more, and she changes her mind.
func TestUC1_Story(t *testing.T) {
	s := world.NewPrintShopListening(t)
	_, err := s.As(t.Context(), "bob", "GET")
	submitted, ok := errors.AsType[*gatehouse.SubmittedError](err)
	if !ok || submitted.Interval != 5*time.Second || submitted.Ticket.IsZero() {
		t.Fatalf("a stranger: %v", err)
	}
	if got := s.CountToken(world.UMAGrant); got != 1 {
		t.Errorf("%d exchanges", got)
	}
	pending := s.Pending("alice")
	if len(pending) != 1 || pending[0].Who != "bob" {
		t.Fatalf("Alice's inbox: %+v", pending)
	}
	s.Must(s.Approve("alice", pending[0].ID))

	s.Reset()
	s.Want("bob", "GET", "")
	if token, perm := s.CountToken(world.UMAGrant), s.Count(opserver.EndpointPermission); token != 1 || perm != 1 {
		t.Errorf("cold: %d exchanges, %d tickets", token, perm)
	}
	s.Reset()
	s.Want("bob", "GET", "")
	if got := s.Total(); got != 0 {
		t.Errorf("warm: %d requests to the authorization server", got)
	}

	// Bob's permission is too weak for deletion, but viewing continues to work.
	if _, err := s.As(t.Context(), "bob", "DELETE"); !errors.As(err, new(*gatehouse.SubmittedError)) {
		t.Errorf("DELETE: %v", err)
	}
	s.Want("bob", "GET", "")
	s.Must(s.Share("alice", s.AlbumID, "bob", "delete"))
	s.Want("bob", "DELETE", "")
	s.Want("bob", "GET", "")

	// Carol is nobody's friend: Alice refuses.
	s.Must(s.AddUser("carol", "pw", nil))
	if _, err := s.As(t.Context(), "carol", "GET"); !errors.As(err, new(*gatehouse.SubmittedError)) {
		t.Errorf("carol: %v", err)
	}
	for _, p := range s.Pending("alice") {
		s.Must(s.Deny("alice", p.ID))
	}
	s.Want("carol", "GET", "uma_denied")

	// What Alice takes back ends when the site asks again.
	s.Must(s.Unshare("alice", s.AlbumID, "bob", "view", "delete"))
	s.Advance(11 * time.Second)
	s.Want("bob", "GET", "uma_denied")
	s.Reset()
	s.Want("bob", "GET", "uma_denied") // from memory
	if got := s.Total(); got != 0 {
		t.Errorf("a remembered denial cost %d requests", got)
	}
	s.WantSilence(nil, "shop-secret")
}

// 30 parallel first requests of one person cause one exchange. More would meet the
// limit of tickets at a time.
func TestUMAStoryParallel(t *testing.T) {
	s := world.NewPrintShop(t)
	s.Must(s.Share("alice", s.AlbumID, "bob", "view"))
	atOnce(30, func(int) {
		if status, err := s.As(t.Context(), "bob", "GET"); status != 200 || err != nil {
			t.Errorf("%d %v", status, err)
		}
	})
	if got := s.CountToken(world.UMAGrant); got != 1 {
		t.Errorf("%d token requests", got)
	}
}

// The authorization server goes down and comes back.
func TestUMAStoryServerGone(t *testing.T) {
	s := world.NewPrintShopListening(t)
	s.Must(s.Share("alice", s.AlbumID, "bob", "view"))
	s.Want("bob", "GET", "")
	s.SetDown(true)
	s.Want("bob", "GET", "") // both sides remember
	if status, err := s.As(t.Context(), "alice", "GET"); status != 403 || err != nil {
		t.Errorf("without a ticket: %d %v", status, err)
	}
	s.SetDown(false)
	for n := 0; n < 20; n++ { // a request starts a fetch, and does not wait for it for long
		s.Advance(30 * time.Second)
		if status, err := s.As(t.Context(), "alice", "GET"); status == 200 && err == nil {
			break
		}
	}
	s.Want("alice", "GET", "")
}

// Faults of the authorization server, named after the rules they break.
func TestUMAStoryFaults(t *testing.T) {
	tests := []struct {
		fault opserver.Fault
		at    []string
		want  string // part of the error
	}{
		{opserver.SameTicketBack, nil, "gatehouse: ticket_reused"},
		{opserver.NeedInfoForever, nil, "gatehouse: need_info"},
		{opserver.PartialGrant, nil, "gatehouse: too_many_rounds"},
		{opserver.TokenEndpointDown, nil, "gatehouse: as_unavailable"},
		{opserver.HugeAnswer, []string{opserver.EndpointToken}, "gatehouse: uma_grant_refused"}, // a 403 that says nothing
		{opserver.HTMLAnswer, []string{opserver.EndpointToken}, "gatehouse: as_unavailable"},
		{opserver.EndpointDown, []string{opserver.EndpointToken}, "gatehouse: as_unavailable"},
	}
	for _, tt := range tests {
		t.Run(string(tt.fault), func(t *testing.T) {
			s := world.NewPrintShop(t)
			s.Must(s.Share("alice", s.AlbumID, "bob", "view"))
			s.Must(s.SetFaultAt(tt.fault, true, tt.at...))
			_, err := s.As(t.Context(), "bob", "DELETE")
			if err == nil || !strings.Contains(err.Error(), tt.want) {
				t.Errorf("%v; want %s", err, tt.want)
			}
			s.Must(s.SetFaultAt(tt.fault, false, tt.at...))
			s.Want("bob", "GET", "")
			s.WantSilence([]string{fmt.Sprint(err)}, "shop-secret")
		})
	}
}

// A server that hangs costs the caller only its own deadline.
func TestUMAStoryHang(t *testing.T) {
	s := world.NewPrintShop(t)
	s.Must(s.Share("alice", s.AlbumID, "bob", "view"))
	s.Must(s.SetFaultAt(opserver.AuthorizationServerHangs, true, opserver.EndpointToken))
	asked := make(chan struct{}, 8)
	s.OnRequest(opserver.EndpointToken, func(*http.Request) { asked <- struct{}{} })
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error)
	go func() {
		_, err := s.As(ctx, "bob", "GET")
		done <- err
	}()
	<-asked
	cancel()
	if err := <-done; !errors.Is(err, context.Canceled) {
		t.Errorf("%v", err)
	}
	s.Must(s.SetFaultAt(opserver.AuthorizationServerHangs, false, opserver.EndpointToken))
	s.Want("bob", "GET", "")
	if got := s.CountToken(world.UMAGrant); got != 1 { // the exchange continued, for the next caller
		t.Errorf("%d token requests", got)
	}
}
