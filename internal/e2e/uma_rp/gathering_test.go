package uma_rp_test

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"example.com/gatehouse"
	"example.com/gatehouse/internal/e2e/world"
	"example.com/gatehouse/internal/testkit/opserver"
	"example.com/gatehouse/middlewaretest"
)

const (
	shopOrigin = "https://shop.test"
	shopPage   = shopOrigin + "/print"
	shopReturn = shopOrigin + "/auth/claims"
)

// purpose is what the authorization server asks about the album.
var purpose = opserver.NeededClaim{Name: "purpose", Label: "What are the pictures for?", Accept: []string{"a calendar"}}

// askingShop is a print shop with sign-in, whose authorization server asks people
// on a page of its own. Alice has shared the album with Bob.
type askingShop struct {
	*world.PrintShop
	login *gatehouse.RelyingParty
	tr    *gatehouse.UMATransport
	store *world.WatchedStore // of the sessions

	mu   sync.Mutex
	sent []url.Values // queries of the claims endpoint
}

func newAskingShop(t *testing.T, change ...func(*gatehouse.UMATransportConfig)) *askingShop {
	t.Helper()
	return newAskingShopAt(t, "", nil, change...)
}

// newAskingShopAt is newAskingShop whose people come back to another path, which
// mount serves besides.
func newAskingShopAt(t *testing.T, path string, mount func(*http.ServeMux, *gatehouse.RelyingParty), change ...func(*gatehouse.UMATransportConfig)) *askingShop {
	t.Helper()
	s := &askingShop{PrintShop: world.NewPrintShop(t)}
	p := s.Provider()
	s.store = world.Watch(gatehouse.NewMemoryStore(s.Now))
	sessions, err := gatehouse.NewSessions(gatehouse.SessionsConfig{Now: s.Now, Store: s.store})
	s.Must(err)
	login, err := gatehouse.NewRelyingParty(p, gatehouse.RelyingPartyConfig{Client: world.ShopClient, RedirectURL: shopOrigin + "/auth/callback", Sessions: sessions, ClaimsRedirectURL: path})
	s.Must(err)
	s.login = login
	c := gatehouse.UMATransportConfig{Client: world.ShopClient, Base: s.Transport(), Login: login}
	for _, f := range change {
		f(&c)
	}
	s.tr, err = gatehouse.NewUMATransport(p, c)
	s.Must(err)
	t.Cleanup(func() {
		s.Server.Close() // otherwise Shutdown would wait for requests that a fault holds
		s.Must(gatehouse.Shutdown(context.Background(), s.tr, login))
	})
	s.Must(s.SetClaimsRedirectURIs("printshop", shopReturn, shopOrigin+path))
	s.Must(s.Share("alice", s.AlbumID, "bob", "view"))
	s.Must(s.NeedClaims("alice", s.AlbumID, purpose))
	s.OnRequest(opserver.EndpointClaims, func(r *http.Request) {
		s.mu.Lock()
		defer s.mu.Unlock()
		s.sent = append(s.sent, r.URL.Query())
	})
	mux := http.NewServeMux()
	mux.Handle("/auth/", login.Handler())
	mux.Handle("/print", login.RequireLogin(http.HandlerFunc(s.print)))
	if mount != nil {
		mount(mux, login)
	}
	s.Serve(shopOrigin, mux)
	return s
}

// print is the page that needs the pictures.
func (s *askingShop) print(w http.ResponseWriter, r *http.Request) {
	err := s.fetch(r)
	if need, ok := errors.AsType[*gatehouse.NeedInfoError](err); ok {
		s.login.ClaimsRedirect(w, r, need, "")
		return
	}
	if err != nil {
		http.Error(w, gatehouse.ErrorCode(err), http.StatusBadGateway)
		return
	}
	fmt.Fprint(w, "printed for "+r.URL.RawQuery)
}

// fetch gets the album for a request of the page.
func (s *askingShop) fetch(r *http.Request) error {
	q, err := http.NewRequestWithContext(r.Context(), http.MethodGet, s.Site+"/albums/7", nil)
	if err != nil {
		return err
	}
	resp, err := (&http.Client{Transport: s.tr}).Do(q)
	if err == nil {
		err = resp.Body.Close()
	}
	return err
}

// browser is that of somebody who knows what the pictures are for.
func (s *askingShop) browser(user string) *middlewaretest.Browser {
	b := s.Kit.Browser(s.T, user)
	b.Say("purpose", "a calendar")
	return b
}

// visits are the requests to the claims page so far.
func (s *askingShop) visits() []url.Values {
	s.mu.Lock()
	defer s.mu.Unlock()
	return slices.Clone(s.sent)
}

// back sends somebody to the authorization server and returns the address with
// which they come back.
func (s *askingShop) back(b *middlewaretest.Browser) *url.URL {
	s.T.Helper()
	resp, err := b.GetUntil(shopPage+"?album=7", shopReturn)
	s.Must(err)
	u, err := url.Parse(resp.Header.Get("Location"))
	s.Must(err)
	if !strings.HasPrefix(u.String(), shopReturn) {
		s.T.Fatalf("the person ended at %s with %d", resp.Request.URL.Path, resp.StatusCode)
	}
	s.Mint("ticket", u.Query().Get("ticket"))
	return u
}

// open visits an address, and returns the status and the page.
func (s *askingShop) open(b *middlewaretest.Browser, address string) (int, string) {
	s.T.Helper()
	resp, err := b.Get(address)
	s.Must(err)
	text, err := io.ReadAll(resp.Body)
	s.Must(err)
	return resp.StatusCode, string(text)
}

// Bob is asked on the server's page, comes back once, and has his pictures.
func TestUC4_ClaimsRedirect(t *testing.T) {
	s := newAskingShop(t)
	bob := s.browser("bob")
	s.Reset()
	status, text := s.open(bob, shopPage+"?album=7&size=A4")
	if status != 200 || text != "printed for album=7&size=A4" {
		t.Fatalf("%d %s", status, text)
	}
	if got := s.CountToken(world.UMAGrant); got != 2 { // need_info, and the ticket of the page
		t.Errorf("%d exchanges", got)
	}
	if got := s.EventsOf(gatehouse.EventRPT); !slices.Equal(got, []string{"need_info", ""}) {
		t.Errorf("events %q", got)
	}
	visits := s.visits()
	if len(visits) != 1 {
		t.Fatalf("%d visits", len(visits))
	}
	q := visits[0]
	if q.Get("flow") != "claims" || q.Get("client_id") != "printshop" || q.Get("claims_redirect_uri") != shopReturn || len(q.Get("state")) != 22 || q.Get("ticket") == "" || len(q) != 5 {
		t.Errorf("the person was sent with %v", q)
	}
	for _, c := range bob.Cookies(shopOrigin) {
		if strings.Contains(c.Name, ".uma-") && (!c.HttpOnly || !c.Secure || c.SameSite != http.SameSiteLaxMode || !strings.HasPrefix(c.Name, "__Host-") || strings.Contains(c.Value, q.Get("state"))) {
			t.Errorf("cookie %+v", c)
		}
	}
	s.Reset()
	if status, _ := s.open(bob, shopPage); status != 200 || s.CountToken(world.UMAGrant) != 0 || len(s.visits()) != 1 {
		t.Errorf("warm: %d, %d exchanges, %d visits", status, s.CountToken(world.UMAGrant), len(s.visits()))
	}
	// What Bob has proven is not Alice's.
	s.Must(s.Share("alice", s.AlbumID, "alice", "view"))
	if s.open(s.Kit.Browser(t, "alice"), shopPage); len(s.visits()) != 2 {
		t.Errorf("Alice was sent %d times", len(s.visits())-1)
	}
}

// ClaimsRedirectURL moves the way back, with Handler and with the handler alone, and
// nothing is left at the usual path.
func TestClaimsRedirectURL(t *testing.T) {
	const path = "/uma/back"
	for name, handler := range map[string]func(*gatehouse.RelyingParty) http.Handler{
		"Handler": (*gatehouse.RelyingParty).Handler, "ClaimsRedirectHandler": (*gatehouse.RelyingParty).ClaimsRedirectHandler,
	} {
		s := newAskingShopAt(t, path, func(mux *http.ServeMux, login *gatehouse.RelyingParty) { mux.Handle(path, handler(login)) })
		bob := s.browser("bob")
		if status, text := s.open(bob, shopPage+"?album=7"); status != 200 || text != "printed for album=7" {
			t.Fatalf("%s: %d %s", name, status, text)
		}
		if v := s.visits(); len(v) != 1 || v[0].Get("claims_redirect_uri") != shopOrigin+path {
			t.Errorf("%s: the person was sent with %v", name, v)
		}
		if status, _ := s.open(bob, shopReturn); status != http.StatusNotFound {
			t.Errorf("%s: the usual path: %d", name, status)
		}
	}
}

// claimsReturnCase is one way to come back.
type claimsReturnCase struct {
	change func(s *askingShop, q url.Values) // of the answer
	fault  opserver.Fault
	before func(s *askingShop, bob *middlewaretest.Browser) // the return
	who    func(s *askingShop, bob *middlewaretest.Browser) *middlewaretest.Browser
	status int
	code   string // "" for the pictures
	tokens int
}

func claimsReturns() map[string]claimsReturnCase {
	set := func(name string, values ...string) func(*askingShop, url.Values) {
		return func(_ *askingShop, q url.Values) { q[name] = values }
	}
	refused := func(code string) func(*askingShop, url.Values) {
		return func(_ *askingShop, q url.Values) {
			q.Del("ticket")
			q.Set("error", code)
			q.Set("error_description", "<b>stranger</b>")
		}
	}
	leave := func(s *askingShop, b *middlewaretest.Browser) {
		_, err := b.PostForm(shopOrigin+"/auth/logout", nil)
		s.Must(err)
	}
	enter := func(s *askingShop, b *middlewaretest.Browser) {
		if status, _ := s.open(b, shopOrigin+"/auth/login?return_to=/auth/none"); status != http.StatusNotFound {
			s.T.Fatalf("no new sign-in: %d", status)
		}
	}
	return map[string]claimsReturnCase{
		"right":                {status: 200, tokens: 1},
		"wrong state":          {change: set("state", "AAAAAAAAAAAAAAAAAAAAAA"), status: 400, code: "claims_state_unknown"},
		"a state of no form":   {change: set("state", "x<script>"), status: 400, code: "claims_state_unknown"},
		"changed state":        {fault: opserver.ClaimsWrongState, status: 400, code: "claims_state_unknown"},
		"no state":             {fault: opserver.ClaimsNoState, status: 400, code: "claims_state_missing"},
		"empty state":          {change: set("state", ""), status: 400, code: "claims_state_missing"},
		"two states":           {fault: opserver.ClaimsTwoStates, status: 400, code: "claims_response_malformed"},
		"too late":             {before: func(s *askingShop, _ *middlewaretest.Browser) { s.Advance(10 * time.Minute) }, status: 400, code: "claims_state_unknown"},
		"no ticket":            {fault: opserver.ClaimsNoTicket, status: 400, code: "claims_ticket_missing"},
		"empty ticket":         {change: set("ticket", ""), status: 400, code: "claims_ticket_missing"},
		"two tickets":          {fault: opserver.ClaimsTwoTickets, status: 400, code: "claims_ticket_repeated"},
		"a long ticket":        {change: set("ticket", strings.Repeat("t", 16<<10)), status: 400, code: "query_too_long"},
		"the ticket sent":      {fault: opserver.SameTicketBack, status: 400, code: "claims_ticket_unchanged"},
		"another ticket":       {change: set("ticket", "of a stranger"), status: 502, code: "ticket_refused", tokens: 1},
		"access_denied":        {change: refused("access_denied"), status: 403, code: "claims_not_given"},
		"server_error":         {change: refused("server_error"), status: 503, code: "as_unavailable"},
		"invalid_request":      {change: refused("invalid_request"), status: 502, code: "claims_request_refused"},
		"an error of markup":   {change: refused("<b>stranger</b>"), status: 403, code: "claims_not_given"},
		"two errors":           {change: set("error", "a", "b"), status: 400, code: "claims_response_malformed"},
		"ignored parameters":   {change: set("authorization_state", "not_authorized", "x"), status: 200, tokens: 1},
		"another browser":      {who: func(s *askingShop, _ *middlewaretest.Browser) *middlewaretest.Browser { return s.browser("bob") }, status: 400, code: "claims_state_unknown"},
		"signed out":           {before: leave, status: 403, code: "claims_session_changed"},
		"signed in once more":  {before: enter, status: 403, code: "claims_session_changed"},
		"down at the exchange": {before: func(s *askingShop, _ *middlewaretest.Browser) { s.SetDown(true) }, status: 503, code: "as_unavailable"},
	}
}

// A person comes back once, with the state of their session in their browser.
// Everything else is an error of its own and makes no token request.
func TestUC4_Return(t *testing.T) {
	for name, tt := range claimsReturns() {
		t.Run(name, func(t *testing.T) {
			s := newAskingShop(t)
			bob := s.browser("bob")
			s.open(bob, shopOrigin+"/auth/login?return_to=/auth/none")
			if tt.fault == opserver.SameTicketBack { // the server asks with a new ticket first
				s.OnRequest(opserver.EndpointPages, func(r *http.Request) {
					if r.Method == http.MethodPost {
						s.Break(opserver.SameTicketBack)
					}
				})
			} else if tt.fault != "" {
				s.Break(tt.fault)
			}
			u := s.back(bob)
			if q := u.Query(); tt.change != nil {
				tt.change(s, q)
				u.RawQuery = q.Encode()
			}
			who := bob
			if tt.who != nil {
				who = tt.who(s, bob)
			}
			if tt.before != nil {
				tt.before(s, bob)
			}
			s.Reset()
			status, text := s.open(who, u.String())
			if status != tt.status || tt.code == "" && text != "printed for album=7" {
				t.Errorf("%d %s", status, text)
			}
			if got := s.CountToken(world.UMAGrant); got != tt.tokens {
				t.Errorf("%d token requests, want %d", got, tt.tokens)
			}
			if tt.code == "" {
				return
			}
			if got := s.LastCode(); got != tt.code {
				t.Errorf("code %q, want %q", got, tt.code)
			}
			if strings.Contains(text, "stranger") || strings.Contains(text, "evil") {
				t.Errorf("the page repeats what came along: %s", text)
			}
			s.SetDown(false)
			s.wantSpent(bob, u, tt.code)
		})
	}
}

// wantSpent sends the right answer after a wrong one. It counts only if the wrong
// one was nothing of this session's.
func (s *askingShop) wantSpent(bob *middlewaretest.Browser, u *url.URL, after string) {
	s.T.Helper()
	spent := map[string]string{"claims_ticket_missing": "", "claims_ticket_repeated": "", "claims_ticket_unchanged": "", "claims_not_given": "", "as_unavailable": ""}
	if _, ok := spent[after]; !ok {
		return
	}
	s.Reset()
	if status, text := s.open(bob, u.String()); status != 400 || s.LastCode() != "claims_state_unknown" || s.CountToken(world.UMAGrant) != 0 {
		s.T.Errorf("once more: %d, %s, %d token requests: %s", status, s.LastCode(), s.CountToken(world.UMAGrant), text)
	}
}

// An answer counts once, also if the browser still has its cookie, and at a
// replica that has seen nothing of it.
func TestUC4_ReusedState(t *testing.T) {
	s := newAskingShop(t)
	bob := s.browser("bob")
	u := s.back(bob)
	for i, want := range []string{"", "claims_state_used", "claims_state_used"} {
		s.Reset()
		status, text := s.open(bob, u.String())
		if want == "" && (status != 200 || text != "printed for album=7") || want != "" && (status != 400 || s.LastCode() != want || s.CountToken(world.UMAGrant) != 0) {
			t.Errorf("visit %d: %d %s %s", i, status, s.LastCode(), text)
		}
	}
}

// Ten minutes are the limit, and the browser's cookie is not what keeps it.
func TestUC4_Expired(t *testing.T) {
	for _, tt := range []struct {
		after time.Duration
		code  string
	}{{10*time.Minute - time.Second, ""}, {10 * time.Minute, "claims_expired"}} {
		s := newAskingShop(t)
		s.SetTicketLifetime(time.Hour)
		bob := s.browser("bob")
		u := s.back(bob)
		kept := bob.Cookies(shopOrigin)
		s.Advance(tt.after)
		s.Reset()
		r, err := http.NewRequestWithContext(t.Context(), http.MethodGet, u.String(), nil)
		s.Must(err)
		for _, c := range kept {
			r.AddCookie(c)
		}
		resp, err := s.Kit.Transport().RoundTrip(r)
		s.Must(err)
		s.Must(resp.Body.Close())
		if tt.code == "" && resp.StatusCode != http.StatusSeeOther || tt.code != "" && s.LastCode() != tt.code {
			t.Errorf("after %v: %d %s", tt.after, resp.StatusCode, s.LastCode())
		}
		if got := s.CountToken(world.UMAGrant); got != map[bool]int{true: 1, false: 0}[tt.code == ""] {
			t.Errorf("after %v: %d token requests", tt.after, got)
		}
	}
}

// Another person, signed in in the same browser meanwhile, does not get what Bob
// has proven, and Bob's ticket is not redeemed for them.
func TestUC4_OtherPerson(t *testing.T) {
	s := newAskingShop(t)
	bob := s.browser("bob")
	u := s.back(bob)
	alice := s.browser("alice")
	s.open(alice, shopOrigin+"/auth/login?return_to=/auth/none")
	r, err := http.NewRequestWithContext(t.Context(), http.MethodGet, u.String(), nil)
	s.Must(err)
	for _, c := range bob.Cookies(shopOrigin) {
		if strings.Contains(c.Name, ".uma-") {
			r.AddCookie(c)
		}
	}
	s.Reset()
	resp, err := alice.Do(r)
	s.Must(err)
	if resp.StatusCode != 403 || s.LastCode() != "claims_session_changed" || s.CountToken(world.UMAGrant) != 0 {
		t.Errorf("%d %s, %d token requests", resp.StatusCode, s.LastCode(), s.CountToken(world.UMAGrant))
	}
}

// A server may ask again with a newer ticket, three times in all.
func TestUC4_Rounds(t *testing.T) {
	for name, tt := range map[string]struct {
		steps  int
		visits int
		code   string
	}{"two": {2, 2, ""}, "three": {3, 3, ""}, "four": {4, 3, "too_many_rounds"}} {
		t.Run(name, func(t *testing.T) {
			s := newAskingShop(t)
			bob := s.browser("bob")
			var needs []opserver.NeededClaim
			for i := range tt.steps {
				needs = append(needs, opserver.NeededClaim{Name: fmt.Sprint("factor ", i), Step: i})
				bob.Say(fmt.Sprint("factor ", i), "given")
			}
			s.Must(s.NeedClaims("alice", s.AlbumID, needs...))
			status, text := s.open(bob, shopPage+"?album=7")
			if got := s.LastCode(); tt.code == "" && text != "printed for album=7" || tt.code != "" && (status != 403 || got != tt.code) {
				t.Errorf("%d %s %s", status, got, text)
			}
			visits := s.visits()
			if len(visits) != tt.visits {
				t.Errorf("%d visits", len(visits))
			}
			seen := map[string]bool{}
			for _, q := range visits {
				if seen[q.Get("ticket")] || seen[q.Get("state")] {
					t.Errorf("a ticket or a state is sent twice: %v", q)
				}
				seen[q.Get("ticket")], seen[q.Get("state")] = true, true
			}
		})
	}
}

// A page whose permission never suffices does not send the browser back and forth
// for ever. After a while it may try again.
func TestUC4_NoLoop(t *testing.T) {
	s := newAskingShop(t)
	s.OnRequest(opserver.EndpointIntrospect, func(*http.Request) { s.RevokeRPTs() })
	bob := s.browser("bob")
	status, text := s.open(bob, shopPage)
	if status != 403 || s.LastCode() != "too_many_rounds" || len(s.visits()) != 3 {
		t.Errorf("%d %s after %d visits: %s", status, s.LastCode(), len(s.visits()), text)
	}
	s.OnRequest(opserver.EndpointIntrospect, nil)
	s.Advance(time.Minute)
	if status, text := s.open(bob, shopPage); status != 200 {
		t.Errorf("a minute later: %d %s", status, text)
	}
}

// The server's no is the same as without a page.
func TestUC4_Refused(t *testing.T) {
	for name, tt := range map[string]struct {
		who, says string
		code      string
	}{
		"a wrong answer":     {"bob", "a ransom letter", "uma_denied"},
		"the person cancels": {"bob", "", "claims_not_given"},
		"nobody shared":      {"carol", "a calendar", "claims_submitted"},
	} {
		t.Run(name, func(t *testing.T) {
			s := newAskingShop(t)
			s.Kit.AddUser("carol", nil)
			b := s.Kit.Browser(t, tt.who)
			if tt.says != "" {
				b.Say("purpose", tt.says)
			}
			status, text := s.open(b, shopPage)
			if status != 403 || s.LastCode() != tt.code || strings.Contains(text, "evil") || !strings.Contains(text, `href="/print"`) {
				t.Errorf("%d %s %s", status, s.LastCode(), text)
			}
		})
	}
}

// A person is sent only to where the authorization server is.
func TestUC4_Address(t *testing.T) {
	elsewhere := func(c *gatehouse.UMATransportConfig) { c.ClaimsOrigins = []string{"https://claims.invalid"} }
	for name, tt := range map[string]struct {
		fault  opserver.Fault
		change func(*gatehouse.UMATransportConfig)
		status int
		code   string
		to     string // where the person is sent, "" for the pictures
		flow   string
	}{
		"its own":             {status: 200, flow: "claims"},
		"malformed":           {fault: opserver.RedirectUserMalformed, status: 200},
		"none":                {fault: opserver.NeedInfoNoHint, status: 200},
		"elsewhere":           {fault: opserver.ClaimsElsewhere, status: 502, code: "claims_address_refused"},
		"elsewhere, expected": {fault: opserver.ClaimsElsewhere, change: elsewhere, status: 303, to: "https://claims.invalid/ask?flow=claims&client_id=printshop&ticket="},
	} {
		t.Run(name, func(t *testing.T) {
			s := newAskingShop(t, func(c *gatehouse.UMATransportConfig) {
				if tt.change != nil {
					tt.change(c)
				}
			})
			if tt.fault != "" {
				s.Break(tt.fault)
			}
			resp, err := s.browser("bob").GetUntil(shopPage, "https://claims.invalid")
			s.Must(err)
			if resp.StatusCode != tt.status || tt.code != "" && s.LastCode() != tt.code || !strings.HasPrefix(resp.Header.Get("Location"), tt.to) {
				t.Errorf("%d %s %q", resp.StatusCode, s.LastCode(), resp.Header.Get("Location"))
			}
			if visits := s.visits(); tt.status == 200 && (len(visits) != 1 || visits[0].Get("flow") != tt.flow) {
				t.Errorf("visits %v", visits)
			}
		})
	}
}

// Parameters that the address has already are set, not appended, and the rest of
// its query stays as it is.
func TestUC4_AddressParameters(t *testing.T) {
	s := newAskingShop(t)
	s.SetWire(func(r *http.Request, next func(*http.Request) *http.Response) (*http.Response, error) {
		resp := next(r)
		body, err := io.ReadAll(resp.Body)
		if err != nil {
			return nil, err
		}
		text := strings.Replace(string(body), "?flow=claims", "?a=%2f&client_id=evil&state=fixed&b&ticket=old&claims_redirect_uri=https%3A%2F%2Fevil.invalid&%73tate=x&a=2", 1)
		resp.Body, resp.ContentLength = io.NopCloser(strings.NewReader(text)), int64(len(text))
		resp.Header.Del("Content-Length")
		return resp, nil
	})
	resp, err := s.browser("bob").GetUntil(shopPage, s.Issuer()+"/ep/ask")
	s.Must(err)
	u, err := url.Parse(resp.Header.Get("Location"))
	s.Must(err)
	if !strings.HasPrefix(u.RawQuery, "a=%2f&b&a=2&client_id=printshop&ticket=") {
		t.Errorf("query %s", u.RawQuery)
	}
	for name, want := range map[string]string{"client_id": "printshop", "claims_redirect_uri": shopReturn} {
		if got := u.Query()[name]; !slices.Equal(got, []string{want}) {
			t.Errorf("%s is %q", name, got)
		}
	}
	if q := u.Query(); len(q["state"]) != 1 || len(q["ticket"]) != 1 || q.Get("state") == "fixed" || q.Get("ticket") == "old" {
		t.Errorf("query %v", q)
	}
}

// What cannot be sent to the authorization server is told why.
func TestUC4_NotSent(t *testing.T) {
	s := newAskingShop(t)
	bob := s.browser("bob")
	s.open(bob, shopOrigin+"/auth/login")
	other, err := gatehouse.NewUMATransport(s.Provider(), gatehouse.UMATransportConfig{Client: world.ShopClient, Base: s.Transport()})
	s.Must(err)
	var need *gatehouse.NeedInfoError
	asks := func(tr *gatehouse.UMATransport) func(*http.Request) *gatehouse.NeedInfoError {
		return func(r *http.Request) *gatehouse.NeedInfoError {
			mine := s.tr
			s.tr = tr
			err := s.fetch(r)
			s.tr = mine
			need, _ := errors.AsType[*gatehouse.NeedInfoError](err)
			return need
		}
	}
	stranger := &gatehouse.Identity{Issuer: s.Issuer(), Subject: "mallory"}
	for _, tt := range []struct {
		name  string
		need  func(*http.Request) *gatehouse.NeedInfoError
		as    *gatehouse.Identity // on the context of the page
		visit func(address string) (*http.Response, error)
		code  string
	}{
		{"a script", asks(s.tr), nil, bob.Fetch, "claims_needed"},
		{"a form", asks(s.tr), nil, func(a string) (*http.Response, error) { return bob.PostForm(a, url.Values{"a": {"b"}}) }, "claims_needed"},
		{"a prefetch", asks(s.tr), nil, bob.On(shopPage).Prefetch, "claims_needed"},
		{"made by hand", func(*http.Request) *gatehouse.NeedInfoError {
			return &gatehouse.NeedInfoError{Issuer: s.Issuer(), Ticket: gatehouse.NewSecret("of somebody else")}
		}, nil, bob.Get, "internal"},
		{"nil", func(*http.Request) *gatehouse.NeedInfoError { return nil }, nil, bob.Get, "internal"},
		{"a transport without Login", asks(other), nil, bob.Get, "internal"},
		{"another party", asks(s.tr), stranger, bob.Get, "claims_party_mismatch"},
		{"once", func(r *http.Request) *gatehouse.NeedInfoError { need = asks(s.tr)(r); return need }, nil, func(a string) (*http.Response, error) { return bob.GetUntil(a, s.Issuer()) }, ""},
		{"twice", func(*http.Request) *gatehouse.NeedInfoError { return need }, nil, bob.Get, "claims_already_asked"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			mux := http.NewServeMux()
			mux.Handle("/auth/", s.login.Handler())
			mux.Handle("/print", s.login.RequireLogin(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
				need := tt.need(r)
				if tt.as != nil {
					r = r.WithContext(gatehouse.WithIdentity(r.Context(), tt.as))
				}
				s.login.ClaimsRedirect(w, r, need, "/elsewhere")
			})))
			s.Serve(shopOrigin, mux)
			s.Reset()
			resp, err := tt.visit(shopPage)
			s.Must(err)
			if tt.code == "" && resp.StatusCode != http.StatusSeeOther || tt.code != "" && (resp.StatusCode < 400 || s.LastCode() != tt.code || resp.Header.Get("Location") != "") {
				t.Errorf("%d %s", resp.StatusCode, s.LastCode())
			}
			if got := resp.Header.Get("Cache-Control"); got != "no-store" {
				t.Errorf("Cache-Control %q", got)
			}
		})
	}
}

// Whoever is signed in at one of several providers comes back in that session. Who
// is not signed in is not sent.
func TestUC4_SeveralProviders(t *testing.T) {
	s := newAskingShop(t)
	other := world.New(t, "https://op.test")
	other.Kit.AddUser("carol", middlewaretest.Claims{"sub": "carol-1"})
	s.Serve("https://op.test", other.Server)
	second, err := gatehouse.NewRelyingParty(s.ProviderOf("https://op.test"), gatehouse.RelyingPartyConfig{
		Client: other.Kit.AddClient(shopOrigin + "/two/callback"), RedirectURL: shopOrigin + "/two/callback", Sessions: s.login.Sessions(),
		AuthParams: url.Values{"login_hint": {"carol"}}})
	s.Must(err)
	logins, err := gatehouse.NewLogins(gatehouse.LoginsConfig{Base: "/"}, s.login, second)
	s.Must(err)
	mux := http.NewServeMux()
	mux.Handle("/", logins.Handler())
	mux.Handle("/print", logins.RequireLogin(http.HandlerFunc(s.print)))
	mux.Handle("/open", logins.OptionalLogin(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		bob := &gatehouse.Identity{Issuer: s.Issuer(), Subject: "bob"}
		s.print(w, r.WithContext(gatehouse.WithIdentity(r.Context(), bob)))
	})))
	s.Serve(shopOrigin, mux)
	other.Serve(shopOrigin, mux)
	nobody := s.Kit.Browser(t, "")
	if status, _ := s.open(nobody, shopOrigin+"/open"); status != 401 || s.LastCode() != "login_required" || len(s.visits()) != 0 {
		t.Errorf("signed out: %d %s", status, s.LastCode())
	}
	carol := other.Kit.Browser(t, "carol")
	page, err := carol.GetUntil(shopOrigin+"/two/login?return_to=/print", s.Issuer())
	s.Must(err)
	if to := page.Header.Get("Location"); page.StatusCode != 303 || !strings.HasPrefix(to, s.Issuer()+"/ep/ask") {
		t.Fatalf("signed in at the second: %d %q", page.StatusCode, to)
	}
	answered, err := s.browser("bob").GetUntil(page.Header.Get("Location"), shopReturn) // her account there
	s.Must(err)
	s.Mint("ticket", answered.Header.Get("Location"))
	if status, text := s.open(carol, answered.Header.Get("Location")); status != 200 || !strings.HasPrefix(text, "printed") {
		t.Errorf("the return: %d %s %s", status, s.LastCode(), text)
	}
}

// Several clients of one server, and several resource servers of one client, keep
// apart what people prove.
func TestUC4_SeveralTransports(t *testing.T) {
	s := newAskingShop(t)
	second, err := gatehouse.NewUMATransport(s.Provider(), gatehouse.UMATransportConfig{Client: world.ShopClient, Base: s.Transport(), Login: s.login})
	s.Must(err)
	bob := s.browser("bob")
	first := s.tr
	for i, tr := range []*gatehouse.UMATransport{first, second, first, second} {
		s.tr = tr
		if status, text := s.open(bob, shopPage); status != 200 || len(s.visits()) != min(i+1, 2) {
			t.Errorf("%d: %d %s after %d visits", i, status, text, len(s.visits()))
		}
	}
	// The same pictures, at another origin.
	s.Must(gatehouse.Shutdown(t.Context(), second))
	s.tr = first
	here := s.Site
	s.Serve("https://mirror.test", mirror(s.Transport(), here))
	s.Site = "https://mirror.test"
	if status, text := s.open(bob, shopPage); status != 200 || len(s.visits()) != 3 {
		t.Errorf("another origin: %d %s after %d visits", status, text, len(s.visits()))
	}
	there := s.TokensAt("https://mirror.test")
	if len(there) != 2 || there[0] != "" || there[1] == "" { // the token of the other origin did not go there
		t.Errorf("tokens %q", there)
	}
}

// mirror passes requests on to another origin.
func mirror(wire http.RoundTripper, to string) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		out, err := http.NewRequestWithContext(r.Context(), r.Method, to+r.URL.Path, nil)
		if err != nil {
			http.Error(w, err.Error(), http.StatusInternalServerError)
			return
		}
		out.Header = r.Header.Clone()
		resp, err := wire.RoundTrip(out)
		if err != nil {
			http.Error(w, err.Error(), http.StatusBadGateway)
			return
		}
		defer resp.Body.Close()
		for name, values := range resp.Header {
			w.Header()[name] = values
		}
		w.WriteHeader(resp.StatusCode)
		_, _ = io.Copy(w, resp.Body)
	})
}
