package main

import (
	"bytes"
	"context"
	"encoding/base64"
	"encoding/json"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"net/url"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"example.com/gatehouse/internal/testkit/opserver"
	"example.com/gatehouse/internal/testkit/ports"
)

// spy records every secret that passes below the recorder.
type spy struct {
	base    http.RoundTripper
	mu      sync.Mutex
	secrets map[string]string // value: where it was
}

var (
	ticketParam = regexp.MustCompile(`ticket="([^"]+)"`)
	spied       = []string{"access_token", "refresh_token", "id_token", "ticket", "code", "code_verifier", "claim_token", "rpt", "token", "client_secret"}
)

func (s *spy) note(where, value string) {
	if len(value) < 8 {
		return
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.secrets[value] = where
}

func (s *spy) RoundTrip(r *http.Request) (*http.Response, error) {
	auth := r.Header.Get("Authorization")
	if secret, ok := strings.CutPrefix(auth, "Bearer "); ok {
		s.note("Bearer", secret)
	}
	if basic, ok := strings.CutPrefix(auth, "Basic "); ok {
		s.note("Basic", basic)
		plain, _ := base64.StdEncoding.DecodeString(basic)
		if _, secret, ok := strings.Cut(string(plain), ":"); ok {
			s.note("client secret", secret)
		}
	}
	if r.Body != nil && r.Body != http.NoBody {
		body, err := io.ReadAll(r.Body)
		if err != nil {
			return nil, err
		}
		r = r.Clone(r.Context())
		r.Body = io.NopCloser(bytes.NewReader(body))
		if form, err := url.ParseQuery(string(body)); err == nil {
			for _, name := range spied {
				s.note(name, form.Get(name))
			}
		}
	}
	resp, err := s.base.RoundTrip(r)
	if err != nil {
		return nil, err
	}
	body, err := io.ReadAll(resp.Body)
	resp.Body.Close()
	resp.Body = io.NopCloser(bytes.NewReader(body))
	var members map[string]any
	if json.Unmarshal(body, &members) == nil {
		for _, name := range spied {
			value, _ := members[name].(string)
			s.note(name, value)
		}
	}
	if m := ticketParam.FindStringSubmatch(resp.Header.Get("WWW-Authenticate")); m != nil {
		s.note("ticket", m[1])
	}
	return resp, err
}

// stage is a running example with one browser at it.
type stage struct {
	*demo
	*browser
	clock *clock
	spy   *spy
}

func newStage(t *testing.T, change func(*options)) *stage {
	t.Helper()
	base := http.DefaultTransport.(*http.Transport).Clone()
	t.Cleanup(base.CloseIdleConnections)
	s := &stage{clock: newClock(), spy: &spy{base: base, secrets: map[string]string{}}, browser: newBrowser(t)}
	keys, err := opserver.KnownKeys() // making an RSA key takes longer than most of the stories
	if err != nil {
		t.Fatal(err)
	}
	free := func(what string) place {
		port, err := ports.Free() // some stories stop a server and start it again
		if err != nil {
			t.Fatal(err)
		}
		return place{what: what, address: "127.0.0.1:" + port, wanted: true}
	}
	o := options{
		photos: free("photo site"), shop: free("print shop"), server: free("authorization server"),
		mallory: free("site of Mallory"),
		logger:  slog.New(slog.DiscardHandler), now: s.clock.Now, transport: s.spy, keys: keys,
	}
	if change != nil {
		change(&o)
	}
	if s.demo, err = start(t.Context(), o); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		ctx, cancel := context.WithTimeout(context.Background(), stopTime)
		defer cancel()
		if err := s.close(ctx); err != nil {
			t.Error(err)
		}
		s.noSecrets()
	})
	return s
}

// noSecrets looks for whole secrets on every page that was shown.
func (s *stage) noSecrets() {
	s.spy.mu.Lock()
	defer s.spy.mu.Unlock()
	if len(s.spy.secrets) < 5 {
		s.t.Errorf("only %d secrets were seen: the test looks at nothing", len(s.spy.secrets))
	}
	for _, text := range *s.seen {
		for secret, where := range s.spy.secrets {
			if strings.Contains(text, secret) {
				s.t.Errorf("a page shows a whole secret (%s)", where)
			}
		}
	}
}

// createAlbum signs Alice in and makes an album. It returns the album's page.
func (s *stage) createAlbum() *page {
	s.t.Helper()
	p := s.get(s.photosURL+"/").want(200, "Your photos")
	p = s.get(p.link("Sign in")).want(200, "Who are you?").signIn("alice")
	p.want(200, "My albums", "Turns the code into tokens", "Turns the code into a PAT", "uma_protection")
	p = p.submit("Create album", url.Values{"title": {"Lake holidays"}, "motif": {"Sea"}})
	return p.want(200, "Lake holidays", "Puts the album under protection", "resource_scopes", "Share…")
}

func (s *stage) order() *page {
	s.t.Helper()
	return s.orderAs(s.browser)
}

// decide opens the policy page as Alice, in a browser in which Bob may be
// signed in, and saves her decision.
func (s *stage) decide(share string, values url.Values) {
	s.t.Helper()
	p := s.get(share)
	if strings.Contains(p.text, `type="password"`) {
		p = p.signIn("alice")
	}
	p.submit(`id="policy"`, values).want(200, "Saved")
}

func TestStory(t *testing.T) {
	s := newStage(t, nil)
	share := s.createAlbum().link("Share…")

	// Bob is not let in yet, and Alice is asked.
	p := s.get(s.get(s.shopURL+"/").want(200, "Prints on paper").link("Sign in to order")).signIn("bob")
	p.want(200, "Order prints", "Bob")
	p = p.submit("Fetch the album", nil)
	p.want(202, "The owner has been asked", "UMA realm=", "need_info", "request_submitted", "a JWT about bob for printshop")
	if got := s.op.Pending("alice"); len(got) != 1 || got[0].Who != "bob" {
		t.Fatalf("Alice's inbox is %+v", got)
	}

	// Alice shares, Bob prints.
	s.decide(share, url.Values{"person": {"bob"}, "new": {"view", "print"}})
	s.get(s.photosURL+"/albums").want(200, "The owner decides")
	s.order().want(200, "Lake holidays", "Alice lets you view", "The ticket becomes a permission", "Comes with the permission",
		"Looks up what the token holds", "6 more like it").
		submit(`action="/order/print"`, nil).want(200, "Printed: Lake holidays", "6 prints").
		// Too weak.
		submit(`action="/order/delete"`, nil).want(202, "The owner has been asked", "not allowed to delete")
	s.get(s.photosURL+"/u/alice/albums/1").want(200, "6 photos", "<strong>bob</strong>", "<strong>printshop</strong>")

	// Alice changes her mind just after Bob was let in.
	s.order().want(200, "Alice lets you view")
	if err := s.op.Unshare("alice", s.op.Resources("alice")[0].ID, "bob"); err != nil {
		t.Fatal(err)
	}
	s.clock.advance(permissionTTL)
	s.order().want(403, "Not allowed", "request_denied", "The token is worth nothing")
	if v := s.op.Violations(); len(v) > 0 {
		t.Errorf("violations: %q", v)
	}
}

func TestOwnerDeletesAlbum(t *testing.T) {
	s := newStage(t, nil)
	p := s.createAlbum().submit("Remove album", nil)
	p.want(200, "There is no album yet", "Takes the album out of protection")
	if got := s.op.Resources("alice"); len(got) != 0 {
		t.Errorf("still registered: %+v", got)
	}
	s.get(s.photosURL+"/u/alice/albums/1").want(404, "There is no such album")
}

func TestBobDeletesWhenAllowed(t *testing.T) {
	s := newStage(t, nil)
	share := s.createAlbum().link("Share…")
	s.decide(share, url.Values{"person": {"bob"}, "new": {"view", "delete"}})
	s.get(s.shopURL + "/sign-in").signIn("bob")
	s.order().want(200, "Alice lets you view").submit(`action="/order/delete"`, nil).want(200, "The album is gone")
	if got := s.op.Resources("alice"); len(got) != 0 {
		t.Errorf("still registered: %+v", got)
	}
}

func TestAuthorizationServerStops(t *testing.T) {
	s := newStage(t, nil)
	share := s.createAlbum().link("Share…")
	s.decide(share, url.Values{"person": {"bob"}, "new": {"view"}})
	s.get(s.shopURL + "/sign-in").signIn("bob")
	p := s.get(s.shopURL+"/").want(200, "is running")
	p = p.submit("/demo/server", url.Values{"to": {"stopped"}}).want(200, "is stopped", "Bob")

	s.order().want(503, "Nobody can be asked right now", "Nobody answers", `199 - &#34;UMA Authorization Server Unreachable&#34;`)
	s.get(s.photosURL+"/albums").want(200, "Lake holidays") // Alice's session goes on
	stranger := newBrowser(t)
	refused := stranger.get(s.photosURL + "/sign-in")
	if refused.want(503, "cannot be reached right now").header.Get("Retry-After") == "" {
		t.Error("503 without Retry-After")
	}
	s.get(s.photosURL+"/albums").submit("Create album", url.Values{"title": {"In the dark"}}).
		want(200, "In the dark", "The authorization server cannot be reached")

	p.submit("/demo/server", url.Values{"to": {"running"}}).want(200, "is running")
	s.order().want(200, "Alice lets you view this album")
	s.get(s.photosURL+"/u/alice/albums/2").want(200, "In the dark", "Share…")
}

func TestSignOut(t *testing.T) {
	for _, stopped := range []bool{false, true} {
		s := newStage(t, nil)
		s.createAlbum()
		if stopped {
			if err := s.servers[0].stop(); err != nil {
				t.Fatal(err)
			}
		}
		p := s.get(s.photosURL+"/albums").submit("Sign out", nil)
		if stopped {
			p.want(200, "You are signed out here", "it was not told", "still signed in there", "not revoked")
			p = s.get(p.link("Go to the first page"))
		}
		if p.want(200, "Your photos").url.Path != "/" {
			t.Errorf("stopped %v: the browser is at %s", stopped, p.url)
		}
		if strings.Contains(p.text, `action="/auth/logout"`) {
			t.Errorf("stopped %v: still signed in", stopped)
		}
	}
}

// Who signs out at the provider is signed out at the photo site, by the back
// channel.
func TestSignOutAtTheProvider(t *testing.T) {
	s := newStage(t, nil)
	s.createAlbum()
	bob := newBrowser(t)
	bob.get(s.photosURL + "/albums").signIn("bob")
	s.get(s.get(s.serverURL+"/").link("Sign out")).submit(`id="sign-out"`, nil).want(200, "You are signed out here")
	if p := s.get(s.photosURL + "/albums"); !strings.HasPrefix(p.url.String(), s.serverURL) {
		t.Errorf("still signed in at the photo site: %d at %s", p.status, p.url)
	}
	bob.get(s.photosURL+"/albums").want(200, "Sign out")
}

// What the panel shows is what the server answered.
func TestPanelFollowsTheWire(t *testing.T) {
	for _, seconds := range []string{"77", "4242"} {
		s := newStage(t, nil)
		life, err := time.ParseDuration(seconds + "s")
		if err != nil {
			t.Fatal(err)
		}
		s.op.SetTokenLifetime(life)
		p := s.get(s.photosURL + "/sign-in").signIn("alice")
		p.want(200, "<dt>expires_in</dt><dd>"+seconds+"</dd>")
	}
	s := newStage(t, nil)
	s.createAlbum()
	s.get(s.shopURL + "/sign-in").signIn("bob")
	if err := s.op.SetFault(opserver.SameTicketBack, true); err != nil {
		t.Fatal(err)
	}
	s.order().want(502, "That did not work", "need_info")
}

// The pages of the embedded server have the panel too, in its style.
func TestPanelBesideTheServersPages(t *testing.T) {
	s := newStage(t, nil)
	const title = `aria-labelledby="panel-title"`
	p := s.get(s.photosURL + "/sign-in")
	p.want(200, title, "GET /sign-in at the Photo site", "Sends the browser to sign in", "<dt>code_challenge_method</dt><dd>S256</dd>")
	share := s.createAlbum().link("Share…")
	p = s.get(share).want(200, title, "Who may do what", "POST /albums at the Photo site")
	p.submit("Save", url.Values{"person": {"bob"}, "new": {"view"}}).want(200, title, "The owner decides", "<dt>person</dt><dd>bob</dd>")
	s.get(s.serverURL+"/").want(200, title, "Who asks")
	css := s.get(s.serverURL+"/ep/look.css").want(200, ".message {")
	if strings.Contains(css.text, ".gallery") {
		t.Error("the style sheet of the server has the pages of the sites")
	}
}

func TestStrangerGetsTicket(t *testing.T) {
	s := newStage(t, nil)
	s.createAlbum()
	resp, err := s.spy.base.RoundTrip(httptest.NewRequest(http.MethodGet, s.photosURL+"/u/alice/albums/1", nil))
	if err != nil {
		t.Fatal(err)
	}
	resp.Body.Close()
	if resp.StatusCode != http.StatusUnauthorized || !strings.HasPrefix(resp.Header.Get("WWW-Authenticate"), "UMA ") {
		t.Fatalf("a stranger gets %d %q", resp.StatusCode, resp.Header.Get("WWW-Authenticate"))
	}
	s.get(s.photosURL+"/albums").want(200, "A stranger", "GET /u/alice/albums/1 at the Photo site")

	// A page is refused without a ticket if the session is not the owner's.
	bob := newBrowser(t)
	bob.get(s.photosURL + "/sign-in").signIn("bob")
	p := bob.get(s.photosURL+"/u/alice/albums/1").want(403, "Not for you")
	if p.header.Get("WWW-Authenticate") != "" {
		t.Error("a page came with a challenge")
	}
}

func TestPagesKeepToThemselves(t *testing.T) {
	s := newStage(t, nil)
	s.createAlbum()
	for _, address := range []string{s.photosURL + "/", s.photosURL + "/albums", s.photosURL + "/u/alice/albums/1", s.shopURL + "/"} {
		p := s.get(address).want(200)
		policy, scripts := p.header.Get("Content-Security-Policy"), 0
		if strings.HasPrefix(address, s.photosURL) { // its panel is live
			scripts = 1
		}
		if !strings.Contains(policy, "default-src 'none'") || strings.Contains(policy, "unsafe") ||
			strings.Contains(policy, "; script-src 'self'; connect-src 'self'") != (scripts == 1) || strings.Count(policy, "script") != scripts {
			t.Errorf("%s: Content-Security-Policy %q", address, policy)
		}
		for _, bad := range []string{"style=\"", "javascript:", "https://"} {
			if strings.Contains(p.text, bad) {
				t.Errorf("%s holds %q", address, bad)
			}
		}
		if strings.Count(p.text, "<script") != scripts || strings.Count(p.text, `<script src="/live.js" defer></script>`) != scripts {
			t.Errorf("%s has other scripts than that of the panel", address)
		}
		if !strings.Contains(p.text, `<main id="content"`) || !strings.Contains(p.text, `lang="en"`) {
			t.Errorf("%s has no landmark or language", address)
		}
	}
}

// Each action needs its own scope.
func TestScopesApart(t *testing.T) {
	s := newStage(t, nil)
	share := s.createAlbum().link("Share…")
	s.decide(share, url.Values{"person": {"bob"}, "new": {"view"}})
	s.get(s.shopURL + "/sign-in").signIn("bob")
	p := s.order().want(200, "Alice lets you view")
	p.submit(`action="/order/print"`, nil).want(202, "not allowed to print")
	p.submit(`action="/order/delete"`, nil).want(202, "not allowed to delete")
	s.decide(share, url.Values{"person": {"bob"}, "new": {"print"}})
	p.submit(`action="/order/print"`, nil).want(200, "Printed")
	if got := s.op.Resources("alice"); len(got) != 1 {
		t.Errorf("registered: %+v", got)
	}
}

// The shop sends requests only to albums of the photo site.
func TestShopKeepsToThePhotoSite(t *testing.T) {
	asked := false
	trap := httptest.NewServer(http.HandlerFunc(func(http.ResponseWriter, *http.Request) { asked = true }))
	defer trap.Close()
	s := newStage(t, nil)
	s.createAlbum()
	s.get(s.shopURL + "/sign-in").signIn("bob")
	for _, address := range []string{
		"", "/", trap.URL + "/u/alice/albums/1", "//" + strings.TrimPrefix(trap.URL, "http://") + "/u/alice/albums/1",
		strings.Replace(s.photosURL, "//", "//u:p@", 1) + "/u/alice/albums/1", s.photosURL + "/u/alice/albums/1?x=1", s.photosURL + "/u/alice/albums/1#x",
		s.photosURL + "/auth/logout", s.photosURL + "/u/alice/albums/1/photos/1", s.photosURL + "/u/alice/albums/..%2f1", "/u/../albums/1", s.serverURL + "/u/alice/albums/1",
	} {
		s.get(s.shopURL+"/order?album="+url.QueryEscape(address)).want(400, "This is not the address of an album")
	}
	if asked {
		t.Error("the shop sent a request to another site")
	}
	s.get(s.shopURL+"/order?album="+url.QueryEscape("/u/alice/albums/1")).submit("Fetch", nil).want(202, "The owner has been asked")
	s.get(s.shopURL+"/order?album="+url.QueryEscape("/u/alice/albums/99")).submit("Fetch", nil).want(404, "does not have this album")
}

// Forms of other sites have no effect.
func TestCrossOrigin(t *testing.T) {
	s := newStage(t, nil)
	s.createAlbum()
	for _, address := range []string{
		s.photosURL + "/albums", s.photosURL + "/auth/logout", s.photosURL + "/u/alice/albums/1/remove",
		s.photosURL + "/u/alice/albums/1/prints", s.photosURL + "/demo/server", s.shopURL + "/demo/server",
	} {
		r, err := http.NewRequest(http.MethodPost, address, strings.NewReader("to=stopped&title=x"))
		if err != nil {
			t.Fatal(err)
		}
		r.Header.Set("Content-Type", "application/x-www-form-urlencoded")
		navigate(r)
		r.Header.Set("Sec-Fetch-Site", "cross-site")
		r.Header.Set("Origin", "https://evil.example")
		s.do(r).want(403)
	}
	if !s.servers[0].running() || len(s.op.Resources("alice")) != 1 {
		t.Error("another site's form did something")
	}
}

func TestAlbumForm(t *testing.T) {
	s := newStage(t, nil)
	p := s.get(s.photosURL + "/sign-in?return_to=/connect").signIn("alice")
	for _, title := range []string{"", "   ", strings.Repeat("x", 49), "\xff"} {
		p.submit("Create album", url.Values{"title": {title}}).want(422, "An album needs a title")
	}
	p = p.submit("Create album", url.Values{"title": {`"><script>alert(1)</script>`}, "motif": {"Cats"}}).want(200, "Mountains at dawn")
	if strings.Contains(p.text, "<script>") {
		t.Error("a title acts")
	}
}

// A link to the shop only fills in the form: nobody is asked because somebody
// follows a link, or because a page embeds one.
func TestShopAsksByFormOnly(t *testing.T) {
	s := newStage(t, nil)
	s.createAlbum()
	s.get(s.shopURL + "/sign-in").signIn("bob")
	before := s.op.Count(opserver.EndpointPermission)
	address := s.photosURL + "/u/alice/albums/1"
	p := s.get(s.shopURL+"/order?album="+url.QueryEscape(address)).want(200, "Order prints", `value="`+address+`"`)
	if got := s.op.Pending("alice"); len(got) > 0 || s.op.Count(opserver.EndpointPermission) != before {
		t.Errorf("a link asked Alice: %+v", got)
	}
	p.submit("Fetch the album", nil).want(202, "The owner has been asked")
}

// Each page says what comes next in the story, and who does it. Links lead to
// the right person, whoever is signed in.
func TestNextStep(t *testing.T) {
	s := newStage(t, nil)
	bob, carol := newBrowser(t), newBrowser(t)
	next := func(b *browser, address, step, who string) *page {
		t.Helper()
		p := b.get(address).want(200, "Next in the story: "+step)
		if who != "" {
			p.want(200, "You are now "+who+".")
		}
		return p
	}
	p := next(s.browser, s.photosURL+"/", "1. Alice signs in", "alice")
	if to := p.link("Photo site"); !strings.HasPrefix(to, s.photosURL+"/sign-in?return_to=%2Falbums") {
		t.Errorf("step 1 leads to %s", to)
	}
	share := s.createAlbum().link("Share…")
	for _, address := range []string{s.photosURL + "/", s.photosURL + "/albums", s.shopURL + "/", s.malloryURL + "/", s.serverURL + "/"} {
		next(s.browser, address, "2. Bob wants prints", "bob")
	}
	for _, address := range []string{s.photosURL + "/none", s.shopURL + "/order/print", s.malloryURL + "/none", s.serverURL + "/none"} {
		s.get(address).want(404, "Next in the story: 2. Bob wants prints")
	}
	order := next(bob, s.shopURL+"/", "2. Bob wants prints", "bob").link("Print shop")
	bob.get(order).signIn("bob").want(200, "Order prints").submit("Fetch the album", nil).want(202, "Next in the story: 3. Alice shares")
	s.decide(share, url.Values{"person": {"bob"}, "new": {"view", "print"}})
	order = next(bob, s.shopURL+"/", "4. Bob prints", "bob").link("Print shop")
	if strings.Contains(order, "sign-in") {
		t.Errorf("bob is signed in and is sent to %s", order)
	}
	p = bob.get(order).submit("Fetch the album", nil).submit(`action="/order/print"`, nil).want(200, "Next in the story: 5. Too weak", "You are now bob.")
	p.submit(`action="/order/delete"`, nil).want(202, "Next in the story: 5. Too weak", "You are now alice.")

	// Bob is signed in at the authorization server in this browser; the inbox is Alice's.
	inbox := bob.get(s.photosURL + "/").link("Inbox")
	bob.get(inbox).want(403, "You are signed in here as bob. Sign in as alice").signIn("alice").
		want(200, "asks for <code>delete</code>").submit("Deny", url.Values{"decision": {"deny"}}).want(200, "Next in the story: 6. Alice changes her mind")
	if err := s.op.Unshare("alice", s.op.Resources("alice")[0].ID, "bob"); err != nil {
		t.Fatal(err)
	}
	next(s.browser, s.photosURL+"/albums", "7. Carol has the address, too", "alice")
	if err := s.op.AcceptRequests("alice", false); err != nil {
		t.Fatal(err)
	}
	next(s.browser, s.photosURL+"/albums", "7. Carol has the address, too", "carol")
	carol.get(s.shopURL + "/sign-in").signIn("carol")
	s.orderAs(carol).want(403, "Next in the story: 8. Mallory has a photo site, too")
	bob.get(bob.get(s.malloryURL+"/").link("Print the album")).submit("Fetch the album", nil).want(502, "Next in the story: 9. The authorization server is gone")
	p = s.get(s.photosURL+"/albums").submit("/demo/server", url.Values{"to": {"stopped"}}).want(200, "Start it again")
	// The photo site notices in its own time that its connections are gone, and sends
	// no DELETE twice.
	(&http.Client{Transport: s.spy.base}).CloseIdleConnections()
	p.submit("/demo/server", url.Values{"to": {"running"}}).want(200, "Next in the story: 10. The album goes")
	s.get(s.photosURL+"/u/alice/albums/1").submit("Remove album", nil).want(200, "That was the story")
	s.createAlbum2()
	next(s.browser, s.photosURL+"/albums", "2. Bob wants prints", "bob")
}

// createAlbum2 makes another album in a browser in which Alice is signed in.
func (s *stage) createAlbum2() {
	s.t.Helper()
	s.get(s.photosURL+"/albums").submit("Create album", url.Values{"title": {"Once more"}}).want(200, "Once more")
}

// The messages of a click are numbered in the order in which they were sent, as
// in the diagrams, inner ones included.
func TestMessagesAreNumbered(t *testing.T) {
	s := newStage(t, nil)
	s.createAlbum()
	s.get(s.shopURL + "/sign-in").signIn("bob")
	p := s.order().want(202)
	latest := p.text[strings.Index(p.text, "Your last click"):]
	latest, _, _ = strings.Cut(latest, "Before that")
	var got []string
	for _, m := range regexp.MustCompile(`class="number">(\d+)<`).FindAllStringSubmatch(latest, -1) {
		got = append(got, m[1])
	}
	if want := []string{"1", "2", "3", "4", "5"}; len(got) < len(want) || !slices.Equal(got[:len(want)], want) || got[len(got)-1] != strconv.Itoa(len(got)) {
		t.Errorf("the messages have the numbers %q", got)
	}
}
