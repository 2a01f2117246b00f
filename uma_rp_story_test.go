package gatehouse_test

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"example.com/gatehouse"
	"example.com/gatehouse/internal/testkit/opserver"
)

const umaGrantType = "urn:ietf:params:oauth:grant-type:uma-ticket"

// umaStory is Alice's photo site under UMA, a real authorization server and a
// print shop that acts for people, all over TCP.
type umaStory struct {
	*rsWorld
	site  string
	shop  *gatehouse.UMATransport
	album string // id at the authorization server
}

// ownersPAT gives the site a person's PAT, as a sign-in of hers would.
type ownersPAT struct{ w *rsWorld }

func (o ownersPAT) PAT(_ context.Context, owner string, _ gatehouse.Secret) (gatehouse.Secret, error) {
	token, err := o.w.AccessToken(owner, "photoz", "uma_protection")
	return gatehouse.NewSecret(token), err
}

func newUMAStory(t *testing.T) *umaStory {
	s := &umaStory{rsWorld: newRSWorld(t)}
	album := gatehouse.Resource{Owner: "alice", Name: "album 7", Scopes: []string{"view", "delete"}}
	api := s.resourceServer(gatehouse.ResourceServerConfig{PAT: ownersPAT{s.rsWorld}})
	registered, err := api.Register(t.Context(), album)
	s.must(err)
	s.album = registered.ID
	site := httptest.NewServer(photos(api.UMAProtect(gatehouse.Rules{
		"GET /albums/7":    album.AllOf("view"),
		"DELETE /albums/7": album.AllOf("view", "delete"),
	})))
	t.Cleanup(site.Close)
	s.site = site.URL
	s.shop, err = gatehouse.NewUMATransport(s.newProvider(nil), gatehouse.UMATransportConfig{
		Client: gatehouse.Client{ID: "printshop", Secret: gatehouse.NewSecret("shop-secret")},
		Claims: func(ctx context.Context) (gatehouse.ClaimToken, error) {
			token, err := s.IDToken(gatehouse.IdentityFrom(ctx).Subject, "printshop")
			return gatehouse.ClaimToken{Token: gatehouse.NewSecret(token)}, err
		},
	})
	s.must(err)
	t.Cleanup(func() {
		if err := s.shop.Shutdown(context.Background()); err != nil {
			t.Error(err)
		}
		if v := s.Violations(); len(v) != 0 {
			t.Errorf("violations: %q", v)
		}
	})
	s.reset()
	return s
}

// as sends a request on behalf of a person.
func (s *umaStory) as(ctx context.Context, who, method string) (int, error) {
	s.t.Helper()
	ctx = gatehouse.WithIdentity(ctx, &gatehouse.Identity{Issuer: s.Issuer(), Subject: who})
	r, err := http.NewRequestWithContext(ctx, method, s.site+"/albums/7", nil)
	s.must(err)
	resp, err := (&http.Client{Transport: s.shop}).Do(r)
	if err != nil {
		return 0, err
	}
	resp.Body.Close()
	return resp.StatusCode, nil
}

// want fails the test unless the request is served (code "") or fails so.
func (s *umaStory) want(who, method, code string) error {
	s.t.Helper()
	status, err := s.as(s.t.(*testing.T).Context(), who, method)
	switch {
	case code == "" && (err != nil || status != 200), code != "" && gatehouse.ErrorCode(err) != code:
		s.t.Errorf("%s as %s: %d, %v; want %q", method, who, status, err, code)
	}
	return err
}

// Alice shares an album with Bob, who asked for it; he is too weak for more, and
// she changes her mind.
func TestUC1_Story(t *testing.T) {
	s := newUMAStory(t)
	_, err := s.as(t.Context(), "bob", "GET")
	submitted, ok := errors.AsType[*gatehouse.SubmittedError](err)
	if !ok || submitted.Interval != 5*time.Second || submitted.Ticket.IsZero() {
		t.Fatalf("a stranger: %v", err)
	}
	if got := s.CountToken(umaGrantType); got != 2 { // need_info, then with claims
		t.Errorf("%d exchanges", got)
	}
	pending := s.Pending("alice")
	if len(pending) != 1 || pending[0].Who != "bob" {
		t.Fatalf("Alice's inbox: %+v", pending)
	}
	s.must(s.Approve("alice", pending[0].ID))

	s.reset()
	s.want("bob", "GET", "")
	if token, perm := s.CountToken(umaGrantType), s.Count(opserver.EndpointPermission); token != 2 || perm != 1 {
		t.Errorf("cold: %d exchanges, %d tickets", token, perm)
	}
	s.reset()
	s.want("bob", "GET", "")
	if got := s.total(); got != 0 {
		t.Errorf("warm: %d requests to the authorization server", got)
	}

	// Too weak for deletion; viewing goes on.
	if _, err := s.as(t.Context(), "bob", "DELETE"); !errors.As(err, new(*gatehouse.SubmittedError)) {
		t.Errorf("DELETE: %v", err)
	}
	s.want("bob", "GET", "")
	s.must(s.Share("alice", s.album, "bob", "delete"))
	s.want("bob", "DELETE", "")
	s.want("bob", "GET", "")

	// Carol is nobody's friend: Alice says no.
	s.must(s.AddUser("carol", "pw", nil))
	if _, err := s.as(t.Context(), "carol", "GET"); !errors.As(err, new(*gatehouse.SubmittedError)) {
		t.Errorf("carol: %v", err)
	}
	for _, p := range s.Pending("alice") {
		s.must(s.Deny("alice", p.ID))
	}
	s.want("carol", "GET", "uma_denied")

	// What Alice takes back ends once the site asks again.
	s.must(s.Unshare("alice", s.album, "bob", "view", "delete"))
	s.advance(11 * time.Second)
	s.want("bob", "GET", "uma_denied")
	s.reset()
	s.want("bob", "GET", "uma_denied") // from memory
	if got := s.total(); got != 0 {
		t.Errorf("a remembered denial cost %d requests", got)
	}
	s.wantNoSecrets(nil, "shop-secret")
}

// 100 parallel first requests of one person: one exchange, of two requests.
func TestUMAStoryParallel(t *testing.T) {
	s := newUMAStory(t)
	s.must(s.Share("alice", s.album, "bob", "view"))
	umaParallel(100, func(int) {
		if status, err := s.as(t.Context(), "bob", "GET"); status != 200 || err != nil {
			t.Errorf("%d %v", status, err)
		}
	})
	if got := s.CountToken(umaGrantType); got != 2 {
		t.Errorf("%d token requests", got)
	}
}

// The authorization server gone and back.
func TestUMAStoryServerGone(t *testing.T) {
	s := newUMAStory(t)
	s.must(s.Share("alice", s.album, "bob", "view"))
	s.want("bob", "GET", "")
	s.stop()
	s.want("bob", "GET", "") // both sides remember
	if status, err := s.as(t.Context(), "alice", "GET"); status != 403 || err != nil {
		t.Errorf("no ticket to be had: %d %v", status, err)
	}
	s.start()
	s.advance(30 * time.Second)
	s.want("alice", "GET", "")
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
			s := newUMAStory(t)
			s.must(s.Share("alice", s.album, "bob", "view"))
			s.must(s.SetFaultAt(tt.fault, true, tt.at...))
			_, err := s.as(t.Context(), "bob", "DELETE")
			if err == nil || !strings.Contains(err.Error(), tt.want) {
				t.Errorf("%v; want %s", err, tt.want)
			}
			s.must(s.SetFaultAt(tt.fault, false, tt.at...))
			s.want("bob", "GET", "")
			s.wantNoSecrets([]string{fmt.Sprint(err)}, "shop-secret")
		})
	}
}

// A server that hangs costs the caller its own deadline, no more.
func TestUMAStoryHang(t *testing.T) {
	s := newUMAStory(t)
	s.must(s.Share("alice", s.album, "bob", "view"))
	s.must(s.SetFaultAt(opserver.AuthorizationServerHangs, true, opserver.EndpointToken))
	asked := make(chan struct{}, 8)
	s.OnRequest(opserver.EndpointToken, func(*http.Request) { asked <- struct{}{} })
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error)
	go func() {
		_, err := s.as(ctx, "bob", "GET")
		done <- err
	}()
	<-asked
	cancel()
	if err := <-done; !errors.Is(err, context.Canceled) {
		t.Errorf("%v", err)
	}
	s.must(s.SetFaultAt(opserver.AuthorizationServerHangs, false, opserver.EndpointToken))
	s.want("bob", "GET", "")
	if got := s.CountToken(umaGrantType); got != 2 { // the exchange went on for the next
		t.Errorf("%d token requests", got)
	}
}
