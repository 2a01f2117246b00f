package interop_test

import (
	"encoding/base64"
	"encoding/json"
	"fmt"
	"html"
	"net/http"
	"net/url"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"example.com/gatehouse/interop/servers"
	"github.com/chromedp/chromedp"
)

const (
	// denialMemory is longer than a UMATransport remembers a denied request.
	// factsMemory is longer than a ResourceServer uses the facts of a token.
	denialMemory = 6 * time.Second
	factsMemory  = 11 * time.Second
)

// umaStory is Alice's album at photoz, and Bob at the print shop.
type umaStory struct {
	kc          *servers.Keycloak
	photoz      *photoz
	shop        *printshop
	bob         *http.Client // with the cookies of his browser at the shop
	bobs        *servers.Chromium
	name        string // of the album; unlike any other test's
	owner       string // Alice's subject
	bobsSubject string
	resource    string // id of the album at Keycloak
	album       string // address
	inbox       *servers.Owner
}

// The whole path of UMA, with only gatehouse on our side. Alice's album is
// registered with her own PAT, Bob is refused, she is asked, agrees, and
// changes her mind.
func TestKeycloakUMA(t *testing.T) {
	t.Parallel()
	kc := shared.Keycloak(t)
	w := newWatch(t)
	s := &umaStory{name: "holiday", kc: kc, photoz: newPhotoz(t, kc, w), shop: newPrintshop(t, kc, w)}
	alice := servers.StartChromium(t)
	s.bobs = alice.Another(t)
	for _, step := range []struct {
		name string
		run  func(*testing.T)
	}{
		{"Alice makes an album", func(t *testing.T) { s.aliceMakesAlbum(t, alice) }},
		{"a stranger is challenged", s.strangerIsChallenged},
		{"Bob is refused", s.bobIsRefused},
		{"Alice is asked", s.aliceIsAsked},
		{"Alice grants", s.aliceGrants},
		{"Carol is not Bob", func(t *testing.T) { s.carolIsRefused(t, alice.Another(t)) }},
		{"one page for two", func(t *testing.T) { s.onePageForTwo(t, alice) }},
		{"too weak", s.tooWeak},
		{"upgraded", s.upgraded},
		{"Alice takes it back", s.aliceTakesBack},
		{"Bob signs out", s.bobSignsOut},
	} {
		if !t.Run(step.name, step.run) {
			return // the rest builds on it
		}
	}
}

// calls fails the test unless exactly these requests went to Keycloak, by
// photoz and by the print shop. It returns those of the print shop.
func (s *umaStory) calls(t testing.TB, photoz, shop []string) (byPhotoz, byShop []call) {
	t.Helper()
	return s.photoz.wire.want(t, photoz...), s.shop.toKeycloak.want(t, shop...)
}

func (s *umaStory) aliceMakesAlbum(t *testing.T, alice *servers.Chromium) {
	alice.Open(t, s.photoz.base+"/albums")
	s.kc.SignIn(t, alice, "alice")
	if alice.URL() != s.photoz.base+"/albums" {
		t.Fatalf("the sign-in ended at %s", alice.URL())
	}
	// First the person, then the grant: there are two codes, and the second is
	// for the grant. Signing in does not need uma2-configuration.
	calls := s.photoz.wire.want(t, "GET openid-configuration", "token authorization_code", "GET certs", "GET userinfo",
		"token authorization_code")
	s.owner, s.resource = s.photoz.makeAlbum(t, alice, s.name)
	s.album = s.photoz.base + "/u/" + s.owner + "/albums/" + s.name
	// The token of the second code is her own PAT.
	registered := s.photoz.wire.want(t, "GET uma2-configuration", "POST resource_set")[1]
	if pat := member(calls[4].answer, "access_token"); pat == "" || registered.bearer != pat {
		t.Error("the album was not registered with what Alice granted")
	}
	s.inbox = s.kc.Owner(t, "alice")
	if got := s.inbox.Inbox(t, s.resource); len(got) != 0 {
		t.Errorf("inbox %+v before anybody asked", got)
	}
	if got := member(registered.answer, "owner", "id"); got != s.owner {
		t.Errorf("the owner is %q, want Alice, %q", got, s.owner)
	}
}

var umaChallenge = regexp.MustCompile(`^UMA realm="([^"]*)", as_uri="([^"]*)", ticket="([^"]*)"$`)

// challenged fails the test unless the answer is a UMA challenge of the photo
// site, and returns what its ticket asks for: Keycloak's are readable (K10).
func challenged(t testing.TB, a answer, issuer string) (resource string, scopes []string) {
	t.Helper()
	found := umaChallenge.FindStringSubmatch(a.header.Get("WWW-Authenticate"))
	if a.status != http.StatusUnauthorized || found == nil || found[1] != "photoz" || found[2] != issuer ||
		a.header.Get("Cache-Control") != "no-store" {
		t.Fatalf("not a UMA challenge: %d %q %s", a.status, a.header, a.body)
	}
	parts := strings.Split(found[3], ".")
	if len(parts) != 3 {
		t.Fatalf("a ticket of %d parts", len(parts))
	}
	payload := must(base64.RawURLEncoding.DecodeString(parts[1]))(t)
	var ticket struct {
		Permissions []struct {
			Resource string   `json:"rsid"`
			Scopes   []string `json:"scopes"`
		} `json:"permissions"`
	}
	if err := json.Unmarshal(payload, &ticket); err != nil || len(ticket.Permissions) != 1 {
		t.Fatalf("the ticket asks for %d resources: %v", len(ticket.Permissions), err)
	}
	return ticket.Permissions[0].Resource, ticket.Permissions[0].Scopes
}

// member reads a string out of a JSON object.
func member(object string, path ...string) string {
	var value any
	if json.Unmarshal([]byte(object), &value) != nil {
		return ""
	}
	for _, name := range path {
		members, _ := value.(map[string]any)
		value = members[name]
	}
	text, _ := value.(string)
	return text
}

func (s *umaStory) strangerIsChallenged(t *testing.T) {
	for _, test := range []struct{ method, scope, authorization string }{
		{http.MethodGet, "view", ""},
		{http.MethodDelete, "delete", ""},
		{http.MethodGet, "view", "Basic Ym9iOmJvYg=="},
	} {
		headers := []string{}
		if test.authorization != "" {
			headers = append(headers, "Authorization", test.authorization)
		}
		resource, scopes := challenged(t, s.fetch(t, nil, test.method, headers...), s.kc.Issuer("gatehouse"))
		if resource != s.resource || !slices.Equal(scopes, []string{test.scope}) {
			t.Errorf("%s: the ticket asks %q on %q, want %q on %q", test.method, scopes, resource, test.scope, s.resource)
		}
		s.photoz.wire.want(t, "POST permission") // one call a challenge
	}
	// A string that is not a token costs an introspection too, and a page
	// causes a sign-in.
	challenged(t, s.fetch(t, nil, http.MethodGet, "Authorization", "Bearer junk"), s.kc.Issuer("gatehouse"))
	s.photoz.wire.want(t, "POST token/introspect", "POST permission")
	if a := fetch(t, nil, http.MethodGet, s.album, "Accept", "text/html"); a.status != http.StatusSeeOther ||
		!strings.HasPrefix(a.header.Get("Location"), s.kc.Issuer("gatehouse")) {
		t.Errorf("a stranger who looks at the page: %d to %q", a.status, a.header.Get("Location"))
	}
	if a := fetch(t, nil, http.MethodPatch, s.album); a.status != http.StatusMethodNotAllowed {
		t.Errorf("PATCH: %d", a.status)
	}
	s.photoz.wire.want(t)
}

// fetch sends a request for the album, until Keycloak is quick enough for it.
func (s *umaStory) fetch(t testing.TB, client *http.Client, method string, headers ...string) answer {
	t.Helper()
	return insist(t, []*wire{s.photoz.wire}, func() answer { return fetch(t, client, method, s.album, headers...) })
}

// print makes Bob ask the shop for a request to the album, until Keycloak is
// fast enough for photoz. It returns what the shop shows.
func (s *umaStory) print(t testing.TB, method string, ask bool) string {
	t.Helper()
	var shown string
	insist(t, []*wire{s.photoz.wire, s.shop.toKeycloak}, func() answer {
		mark := s.shop.toPhotoz.mark()
		a := fetch(t, s.bob, http.MethodGet, s.printURL(method, ask))
		shown = s.shown(t, a)
		if strings.HasPrefix(shown, "503 ") || strings.HasPrefix(shown, "403 ") && strings.Contains(shown, "ticket_unavailable") {
			s.shop.toPhotoz.rewind(mark)
			a.status = http.StatusServiceUnavailable // what photoz said to the shop
		}
		return a
	})
	return shown
}

// shown reads what the shop shows.
func (s *umaStory) shown(t testing.TB, a answer) string {
	t.Helper()
	_, shown, _ := strings.Cut(a.body, "<p>")
	shown, _, found := strings.Cut(shown, "</p>")
	if a.status != http.StatusOK || !found {
		t.Fatalf("the shop answers %d: %s", a.status, a.body)
	}
	return shown
}

func (s *umaStory) printURL(method string, ask bool) string {
	query := url.Values{"url": {s.album}, "method": {method}}
	if ask {
		query.Set("ask", "yes")
	}
	return s.shop.base + "/print?" + query.Encode()
}

// shows fails the test unless the shop shows want for a request.
func (s *umaStory) shows(t testing.TB, method string, want string) {
	t.Helper()
	if got := s.print(t, method, false); got != want {
		t.Fatalf("the shop shows %q for %s, want %q", got, method, want)
	}
}

// remembered fails the test unless the shop shows want for a request that does
// not reach Keycloak, because the answer of name on that wire is remembered for
// as long as memory. If that time may be over, because the machine is busy, it
// asks once more.
func (s *umaStory) remembered(t testing.TB, method, want string, w *wire, name string, memory time.Duration) {
	t.Helper()
	for {
		asked := w.last(name)
		s.shop.toPhotoz.take()
		s.shows(t, method, want)
		calls := slices.Concat(s.photoz.wire.take(), s.shop.toKeycloak.take())
		switch {
		case len(calls) == 0:
			return
		case time.Since(asked) < memory:
			t.Fatalf("requests %q, %v after %s was answered", namesOf(calls), time.Since(asked), name)
		}
	}
}

// known is remembered for the facts that photoz has about the shop's token.
func (s *umaStory) known(t testing.TB, method, want string) {
	t.Helper()
	s.remembered(t, method, want, s.photoz.wire, "POST token/introspect", factsMemory-time.Second)
}

// served is what the shop shows of a request that photoz answered.
func (s *umaStory) served(method string, granted ...string) string {
	return html.EscapeString(fmt.Sprintf("200 %s %s by uma %q", method, s.name, granted))
}

func (s *umaStory) bobIsRefused(t *testing.T) {
	s.bobs.Open(t, s.printURL(http.MethodGet, false))
	s.kc.SignIn(t, s.bobs, "bob")
	if shown := s.bobs.Text(t); s.bobs.URL() != s.printURL(http.MethodGet, false) || !strings.Contains(shown, "refused uma_denied") {
		t.Fatalf("at %s Bob sees %q", s.bobs.URL(), shown)
	}
	s.bob = cookiesOf(t, s.bobs, s.shop.base)
	s.bobsSubject = servers.Get(t, s.bobs, "read the subject", chromedp.Text(chromedp.CSS(`#subject`)))
	_, shop := s.calls(t, []string{"POST permission"}, []string{"GET openid-configuration", "token authorization_code", "GET certs",
		"GET userinfo", "GET uma2-configuration", "token uma-ticket"})
	form := shop[5].form
	// If submit_request is absent, Keycloak takes it as true (K14). Without
	// claims the token would be the shop's own (K11).
	if form.Get("submit_request") != "false" || form.Get("claim_token") != member(shop[1].answer, "id_token") {
		t.Errorf("submit_request=%q, claim token of Bob's sign-in %t", form.Get("submit_request"), form.Get("claim_token") != "")
	}
	if got := s.inbox.Inbox(t, s.resource); len(got) != 0 {
		t.Errorf("inbox %+v after submit_request=false", got)
	}
	s.shop.toPhotoz.want(t, "GET u/"+s.owner+"/albums/"+s.name)
	s.remembered(t, http.MethodGet, "refused uma_denied", s.shop.toKeycloak, "token uma-ticket", denialMemory-time.Second)
	s.shop.toPhotoz.want(t)
}

// aliceIsAsked is the control: told to, Keycloak does ask.
func (s *umaStory) aliceIsAsked(t *testing.T) {
	if got := s.print(t, http.MethodGet, true); got != "submitted, ticket false, interval 0s" {
		t.Fatalf("the shop shows %q", got)
	}
	_, shop := s.calls(t, []string{"POST permission"}, []string{"token uma-ticket"})
	if shop[0].form.Has("submit_request") {
		t.Error("submit_request was sent")
	}
	s.onlyEntry(t, "view")
}

// onlyEntry fails the test unless Alice's inbox has only Bob's request for a
// scope. It returns that request.
func (s *umaStory) onlyEntry(t testing.TB, scope string) servers.Share {
	t.Helper()
	inbox := s.inbox.Inbox(t, s.resource)
	if len(inbox) != 1 || inbox[0].Scope != scope || inbox[0].Requester != "bob" || inbox[0].Resource != s.name {
		t.Fatalf("inbox %+v, want Bob's wish for %s", inbox, scope)
	}
	return inbox[0]
}

func (s *umaStory) aliceGrants(t *testing.T) {
	s.inbox.Grant(t, s.onlyEntry(t, "view"))
	s.shop.toPhotoz.take()
	s.shop.clock.advance(denialMemory)
	s.shows(t, http.MethodGet, s.served(http.MethodGet, "view"))
	s.calls(t, []string{"POST permission", "POST token/introspect"}, []string{"token uma-ticket"})
	get := "GET u/" + s.owner + "/albums/" + s.name
	s.shop.toPhotoz.want(t, get, get)

	s.known(t, http.MethodGet, s.served(http.MethodGet, "view")) // the second does not reach Keycloak
	s.shop.toPhotoz.want(t, get)
}

// carolIsRefused: the shop holds a token for Bob, which must not be used for
// Carol.
func (s *umaStory) carolIsRefused(t *testing.T, carols *servers.Chromium) {
	carols.Open(t, s.printURL(http.MethodGet, false))
	s.kc.SignIn(t, carols, "carol")
	if shown := carols.Text(t); !strings.Contains(shown, "refused uma_denied") {
		t.Errorf("Carol sees %q", shown)
	}
	_, shop := s.calls(t, []string{"POST permission"}, []string{"token authorization_code", "GET userinfo", "token uma-ticket"})
	if form := shop[2].form; form.Has("rpt") || form.Get("claim_token") != member(shop[0].answer, "id_token") {
		t.Errorf("the exchange offers a token: %t; or the claims are not Carol's", form.Has("rpt"))
	}
	s.known(t, http.MethodGet, s.served(http.MethodGet, "view")) // Bob
}

// onePageForTwo: Alice reaches her album with her session. Bob has a session
// too, but it does not help him there.
func (s *umaStory) onePageForTwo(t *testing.T, alice *servers.Chromium) {
	hers := cookiesOf(t, alice, s.photoz.base)
	if a := fetch(t, hers, http.MethodGet, s.album); a.status != http.StatusOK || a.body != "GET "+s.name+" by session []" {
		t.Errorf("Alice at her album: %d %s", a.status, a.body)
	}
	s.calls(t, nil, nil)

	s.bobs.Open(t, s.album) // he is signed in at Keycloak
	if text := s.bobs.Text(t); s.bobs.URL() != s.album || !strings.Contains(text, "not allowed") {
		t.Errorf("Bob's browser at %s shows %q", s.bobs.URL(), text)
	}
	s.photoz.wire.want(t, "token authorization_code", "GET userinfo")
	his := cookiesOf(t, s.bobs, s.photoz.base)
	if a := fetch(t, his, http.MethodGet, s.album, "Accept", "text/html"); a.status != http.StatusForbidden {
		t.Errorf("Bob looks at Alice's album: %d, want 403", a.status)
	}
	s.photoz.wire.want(t)
	challenged(t, s.fetch(t, his, http.MethodGet), s.kc.Issuer("gatehouse"))
	s.photoz.wire.want(t, "POST permission")
	// If an owner brings somebody's token, the token decides.
	challenged(t, s.fetch(t, hers, http.MethodGet, "Authorization", "Bearer junk"), s.kc.Issuer("gatehouse"))
	s.photoz.wire.take()
}

func (s *umaStory) tooWeak(t *testing.T) {
	s.shows(t, http.MethodDelete, "refused uma_denied")
	// A refused upgrade is tried once more without the token, with a fresh
	// ticket, so that the answer does not depend on what was asked before (K19).
	_, shop := s.calls(t, []string{"POST permission", "POST permission"}, []string{"token uma-ticket", "token uma-ticket"})
	if !shop[0].form.Has("rpt") || shop[1].form.Has("rpt") || shop[0].form.Get("ticket") == shop[1].form.Get("ticket") {
		t.Error("the token that was too weak was not offered for an upgrade, or the second try was not without it")
	}
	if inbox := s.inbox.Inbox(t, s.resource); len(inbox) != 0 {
		t.Errorf("inbox %+v", inbox)
	}
	s.shows(t, http.MethodGet, s.served(http.MethodGet, "view"))
	s.photoz.wire.take()
	s.shop.toKeycloak.take()
}

func (s *umaStory) upgraded(t *testing.T) {
	if got := s.print(t, http.MethodDelete, true); got != "submitted, ticket false, interval 0s" {
		t.Fatalf("the shop shows %q", got)
	}
	s.inbox.Grant(t, s.onlyEntry(t, "delete"))
	s.photoz.wire.take()
	s.shop.toKeycloak.take()
	s.shop.clock.advance(denialMemory)
	s.shows(t, http.MethodDelete, s.served(http.MethodDelete, "delete", "view"))
	_, shop := s.calls(t, []string{"POST permission", "POST token/introspect"}, []string{"token uma-ticket"})
	if !shop[0].form.Has("rpt") || !strings.Contains(shop[0].answer, `"upgraded":true`) {
		t.Error("the token was not upgraded")
	}
	s.known(t, http.MethodGet, s.served(http.MethodGet, "delete", "view")) // one token permits both
}

// aliceTakesBack: the next ticket is refused. The token that was given stays
// valid at Keycloak (K22), however often photoz asks.
func (s *umaStory) aliceTakesBack(t *testing.T) {
	for _, share := range s.inbox.Shares(t, s.resource) {
		s.inbox.TakeBack(t, share)
	}
	s.photoz.clock.advance(factsMemory)
	s.shows(t, http.MethodGet, s.served(http.MethodGet, "delete", "view"))
	s.calls(t, []string{"POST token/introspect"}, nil)

	s.shop.transport.Forget(t.Context(), s.kc.Issuer("gatehouse")+" "+s.bobsSubject)
	s.shows(t, http.MethodGet, "refused uma_denied")
	s.calls(t, []string{"POST permission"}, []string{"token uma-ticket"})
	if inbox := s.inbox.Inbox(t, s.resource); len(inbox) != 0 {
		t.Errorf("inbox %+v", inbox)
	}
}

// bobSignsOut: when his session at Keycloak ends, his tokens end too, including
// the one that was given.
func (s *umaStory) bobSignsOut(t *testing.T) {
	bearer := []string{"Authorization", "Bearer " + s.shop.toPhotoz.lastBearer(t)}
	if a := s.fetch(t, nil, http.MethodGet, bearer...); a.status != http.StatusOK {
		t.Fatalf("the token that was given: %d, want 200 (K22)", a.status)
	}
	s.bobs.Open(t, s.printURL(http.MethodGet, false))
	signOut(t, s.bobs)
	s.bobs.WaitFor(t, s.shop.base+"/auth/logout?")
	s.photoz.clock.advance(factsMemory)
	challenged(t, s.fetch(t, nil, http.MethodGet, bearer...), s.kc.Issuer("gatehouse"))
	if a := fetch(t, s.bob, http.MethodGet, s.printURL(http.MethodGet, false)); a.status != http.StatusUnauthorized {
		t.Errorf("Bob at the shop: %d, want 401", a.status)
	}
}
