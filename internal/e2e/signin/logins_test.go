package signin_test

import (
	"context"
	"errors"
	"fmt"
	"html"
	"io"
	"net/http"
	"net/http/httptest"
	"net/url"
	"regexp"
	"strings"
	"testing"

	"example.com/gatehouse"
	"example.com/gatehouse/internal/e2e/world"
	"example.com/gatehouse/middlewaretest"
)

// Browsers name no port that is the usual one, and write a host in small letters.
func TestLoginsAtOriginsWithPorts(t *testing.T) {
	op := middlewaretest.NewOffline(t, "https://op.test")
	var parties []*gatehouse.RelyingParty
	for _, redirect := range []string{"https://first.test/auth/callback", "https://Second.test:443/auth/callback", "https://third.test:8443/auth/callback"} {
		rp, err := gatehouse.NewRelyingParty(op.Provider(), gatehouse.RelyingPartyConfig{Client: op.AddClient(redirect), RedirectURL: redirect})
		if err != nil {
			t.Fatal(err)
		}
		parties = append(parties, rp)
	}
	logins, err := gatehouse.NewLogins(gatehouse.LoginsConfig{Base: "/sign/"}, parties...)
	if err != nil {
		t.Fatal(err)
	}
	mux := http.NewServeMux()
	mux.Handle("/auth/", logins.Handler())
	mux.Handle("/", logins.RequireLogin(http.NotFoundHandler()))
	for host, redirect := range map[string]string{
		"first.test": "https://first.test/auth/callback", "second.test": "https://Second.test:443/auth/callback", "third.test:8443": "https://third.test:8443/auth/callback",
		"third.test": "https://first.test/auth/callback", // nobody's: the first counts
	} {
		r := httptest.NewRequest(http.MethodGet, "https://"+host+"/notes/", nil)
		r.Header.Set("Accept", "text/html")
		w := httptest.NewRecorder()
		mux.ServeHTTP(w, r)
		to, err := url.Parse(w.Header().Get("Location"))
		if err != nil || to.Query().Get("redirect_uri") != redirect {
			t.Errorf("%s: %d, %v, %v", host, w.Code, to, err)
		}
	}
}

// twoProviders is a site that signs people in at one of two providers.
type twoProviders struct {
	t             *testing.T
	corp, google  *middlewaretest.Server
	base          string
	parties       [2]*gatehouse.RelyingParty // corp, google
	logins        *gatehouse.Logins
	sessions      *gatehouse.Sessions
	accountsAsked []string
}

// newTwoProviders makes the site. The parties of the config are filled in by
// change, which may use s.parties.
func newTwoProviders(t *testing.T, change func(s *twoProviders, c *gatehouse.LoginsConfig)) *twoProviders {
	return newTwoProvidersWith(t, change, func(*gatehouse.RelyingPartyConfig) {})
}

// newTwoProvidersWith makes the site with other relying parties.
func newTwoProvidersWith(t *testing.T, change func(s *twoProviders, c *gatehouse.LoginsConfig), party func(c *gatehouse.RelyingPartyConfig)) *twoProviders {
	s := &twoProviders{t: t, corp: middlewaretest.NewServer(t), google: middlewaretest.NewServer(t)}
	for _, op := range []*middlewaretest.Server{s.corp, s.google} {
		op.AddUser("ana", middlewaretest.Claims{"email": "ana@example.org"})
	}
	middlewaretest.NewApp(t, func(base string) http.Handler {
		s.base = base
		sessions, err := gatehouse.NewSessions(gatehouse.SessionsConfig{})
		s.must(err)
		s.sessions = sessions
		for i, op := range []*middlewaretest.Server{s.corp, s.google} {
			name := []string{"corp", "google"}[i]
			callback := base + "/auth/" + name + "/callback"
			c := gatehouse.RelyingPartyConfig{
				Client: op.AddClient(callback), RedirectURL: callback, Sessions: sessions,
				ProviderName: []string{"Corp & Co", ""}[i],
			}
			party(&c)
			s.parties[i], err = gatehouse.NewRelyingParty(op.Provider(), c)
			s.must(err)
		}
		var c gatehouse.LoginsConfig
		if change != nil {
			change(s, &c)
		}
		s.logins, err = gatehouse.NewLogins(c, s.parties[0], s.parties[1])
		s.must(err)
		mux := http.NewServeMux()
		mux.Handle("/auth/", s.logins.Handler())
		if s.logins.Party(t.Context()) != nil {
			t.Error("there is a relying party without a session")
		}
		who := http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			if id := gatehouse.IdentityFrom(r.Context()); id != nil {
				s.checkParty(r.Context(), id)
				fmt.Fprintf(w, "%s at %s", id.Subject, id.Issuer)
				return
			}
			fmt.Fprint(w, "nobody")
		})
		mux.Handle("/", s.logins.RequireLogin(who))
		mux.Handle("/open", s.logins.OptionalLogin(who))
		mux.HandleFunc("/out", func(w http.ResponseWriter, r *http.Request) {
			location, err := s.parties[0].LogoutURL(w, r, gatehouse.LogoutRequest{State: "given"})
			s.must(err)
			http.Redirect(w, r, location, http.StatusSeeOther)
		})
		mux.Handle("/corp-only", s.parties[0].RequireLogin(who))
		mux.Handle("/sid", s.logins.RequireLogin(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			fmt.Fprint(w, gatehouse.IdentityFrom(r.Context()).ClaimString("sid"))
		})))
		for i, name := range []string{"corp", "google"} {
			mux.Handle("/out-of/"+name, s.parties[i].FrontchannelLogoutHandler())
		}
		mux.Handle("/staff", s.logins.With(gatehouse.RequirementFunc("staff", func(_ *http.Request, id *gatehouse.Identity) (bool, error) {
			return id.Issuer == s.corp.Issuer(), nil
		})).RequireLogin(who))
		return mux
	})
	return s
}

// checkParty checks that the session is one of the relying party of its issuer,
// and of no other: both have a client of the same name.
func (s *twoProviders) checkParty(ctx context.Context, id *gatehouse.Identity) {
	mine, other := s.parties[0], s.parties[1]
	if id.Issuer == s.google.Issuer() {
		mine, other = other, mine
	}
	if got := s.logins.Party(ctx); got != mine {
		s.t.Errorf("a session of %s is one of another relying party", id.Issuer)
	}
	if _, err := mine.Token(ctx); err != nil {
		s.t.Error(err)
	}
	if _, err := other.Token(ctx); err == nil {
		s.t.Errorf("another relying party gives the token of %s away", id.Issuer)
	}
}

func (s *twoProviders) must(err error) {
	s.t.Helper()
	if err != nil {
		s.t.Fatal(err)
	}
}

// get visits an address and returns the body.
func (s *twoProviders) get(b *middlewaretest.Browser, path string) (status int, body string) {
	s.t.Helper()
	resp, err := b.Get(s.base + path)
	s.must(err)
	read, err := io.ReadAll(resp.Body)
	s.must(err)
	return resp.StatusCode, string(read)
}

var linkTag = regexp.MustCompile(`<a href="([^"]*)">([^<]*)</a>`)

// choose returns where the link of that name on a page leads.
func (s *twoProviders) choose(page, name string) string {
	s.t.Helper()
	for _, link := range linkTag.FindAllStringSubmatch(page, -1) {
		if html.UnescapeString(link[2]) == name {
			return html.UnescapeString(link[1])
		}
	}
	s.t.Fatalf("no link is called %q:\n%s", name, page)
	return ""
}

func (s *twoProviders) hostOf(op *middlewaretest.Server) string {
	u, err := url.Parse(op.Issuer())
	s.must(err)
	return u.Host
}

// Who is signed in at either gets in. Others choose on a page and come back to
// where they were.
func TestLoginsChoose(t *testing.T) {
	s := newTwoProviders(t, nil)
	ana := s.google.Browser(t, "ana")
	if _, body := s.get(ana, "/open"); body != "nobody" {
		t.Errorf("an open page: %q", body)
	}
	status, page := s.get(ana, "/notes?of=may")
	if status != http.StatusOK || !strings.Contains(page, "Where do you want to sign in?") || !strings.Contains(page, "Corp &amp; Co") {
		t.Fatalf("the page: %d\n%s", status, page)
	}
	if _, body := s.get(ana, s.choose(page, s.hostOf(s.google))); body != "ana at "+s.google.Issuer() {
		t.Errorf("after the sign-in at the second: %q", body)
	}
	for _, path := range []string{"/notes?of=may", "/open"} {
		if _, body := s.get(ana, path); body != "ana at "+s.google.Issuer() {
			t.Errorf("%s: %q", path, body)
		}
	}
	bert := s.corp.Browser(t, "ana")
	_, page = s.get(bert, "/notes")
	if _, body := s.get(bert, s.choose(page, "Corp & Co")); body != "ana at "+s.corp.Issuer() {
		t.Errorf("after the sign-in at the first: %q", body)
	}
	if s.corp.CountToken("authorization_code") != 1 || s.google.CountToken("authorization_code") != 1 {
		t.Error("each provider should have been asked for tokens once")
	}
}

// The session of one relying party opens no page of the other one alone.
func TestLoginsAreNotOneParty(t *testing.T) {
	s := newTwoProviders(t, nil)
	ana := s.google.Browser(t, "ana")
	_, page := s.get(ana, "/")
	s.get(ana, s.choose(page, s.hostOf(s.google)))
	resp, err := ana.GetUntil(s.base+"/corp-only", s.corp.Issuer())
	s.must(err)
	if !strings.HasPrefix(resp.Header.Get("Location"), s.corp.Issuer()) {
		t.Errorf("corp-only: %s to %q", resp.Status, resp.Header.Get("Location"))
	}
	if status, body := s.get(ana, "/staff"); status != http.StatusForbidden {
		t.Errorf("a requirement that no sign-in can meet: %d %q", status, body)
	}
	if _, body := s.get(ana, "/"); body != "ana at "+s.google.Issuer() {
		t.Errorf("the session of the second: %q", body)
	}
}

// LO14: the front channel of one provider ends no session of another one, though
// both are sessions of one site and the browser was told the issuer and the sid.
func TestLO14_FrontChannelOfAnotherProvider(t *testing.T) {
	s := newTwoProviders(t, nil)
	ana := s.google.Browser(t, "ana")
	_, page := s.get(ana, "/")
	s.get(ana, s.choose(page, s.hostOf(s.google)))
	_, sid := s.get(ana, "/sid")
	query := "?" + url.Values{"iss": {s.google.Issuer()}, "sid": {sid}}.Encode()
	for _, c := range []struct{ at, want string }{{"corp", "ana at " + s.google.Issuer()}, {"google", "nobody"}} {
		if status, _ := s.get(s.google.Browser(t, "ana"), "/out-of/"+c.at+query); status != http.StatusOK {
			t.Errorf("%s: status %d", c.at, status)
		}
		if _, body := s.get(ana, "/open"); body != c.want {
			t.Errorf("after a logout at %s: %q, want %q", c.at, body, c.want)
		}
	}
}

// One session, one sign-out and one list, wherever the person signed in.
func TestLoginsOneSession(t *testing.T) {
	for _, at := range []int{0, 1} {
		s := newTwoProviders(t, nil)
		op := []*middlewaretest.Server{s.corp, s.google}[at]
		ana := op.Browser(t, "ana")
		_, page := s.get(ana, "/")
		s.get(ana, s.choose(page, []string{"Corp & Co", s.hostOf(s.google)}[at]))
		read := func() string {
			resp, err := ana.Fetch(s.base + "/auth/session")
			s.must(err)
			body, err := io.ReadAll(resp.Body)
			s.must(err)
			return string(body)
		}
		if body := read(); !strings.Contains(body, `"signed_in":true,"issuer":"`+op.Issuer()+`"`) {
			t.Errorf("session: %s", body)
		}
		list, err := s.sessions.List(t.Context(), op.Issuer(), "ana")
		if err != nil || len(list) != 1 {
			t.Errorf("list: %v %v", list, err)
		}
		if _, err := ana.PostForm(s.base+"/auth/logout", nil); err != nil {
			t.Error(err)
		}
		if body := read(); body != `{"signed_in":false,"login_url":"/auth/login"}`+"\n" {
			t.Errorf("session after sign-out: %s", body)
		}
		if n := op.Count("end_session"); n != 1 {
			t.Errorf("%d sign-outs at the provider, want 1", n)
		}
	}
}

// A sign-out by hand at one relying party ends the session of the other one, whose
// provider is told the address that it knows.
func TestLoginsLogoutURL(t *testing.T) {
	s := newTwoProviders(t, nil)
	ana := s.google.Browser(t, "ana")
	_, page := s.get(ana, "/")
	s.get(ana, s.choose(page, s.hostOf(s.google)))
	resp, err := ana.GetUntil(s.base+"/out", s.google.Issuer())
	s.must(err)
	at, err := url.Parse(resp.Header.Get("Location"))
	s.must(err)
	if q := at.Query(); !strings.HasPrefix(at.String(), s.google.Issuer()) || q.Get("post_logout_redirect_uri") != s.base+"/auth/google/logout" || q.Get("state") != "given" {
		t.Errorf("led to %s", at)
	}
	if status, body := s.get(ana, "/auth/google/logout?state=given"); status != http.StatusOK || !strings.Contains(body, "You are signed out") {
		t.Errorf("back here: %d %s", status, body)
	}
	if _, body := s.get(ana, "/open"); body != "nobody" {
		t.Errorf("after the sign-out: %q", body)
	}
}

// The config chooses by function, path and host, in this order, and each choice
// leads there without a page.
func TestLoginsConfigured(t *testing.T) {
	s := newTwoProviders(t, func(s *twoProviders, c *gatehouse.LoginsConfig) {
		corp, google := s.parties[0], s.parties[1]
		c.Choose = func(r *http.Request) *gatehouse.RelyingParty {
			switch r.Header.Get("X-Which") {
			case "corp":
				return corp.With(gatehouse.MaxAge(1e9)) // a derived one is the same party
			case "foreign":
				return new(gatehouse.RelyingParty)
			}
			return nil
		}
		c.Paths = map[string]*gatehouse.RelyingParty{"/team/": google, "/team/corp/": corp}
		c.Hosts = map[string]*gatehouse.RelyingParty{strings.Replace(strings.TrimPrefix(s.base, "http://"), "127.0.0.1", "LocalHost", 1): google}
	})
	for _, c := range []struct {
		name, path, which, host string
		to                      *middlewaretest.Server // nil for the page
	}{
		{"function", "/team/x", "corp", "", s.corp},
		{"a relying party of nobody", "/x", "foreign", "", nil},
		{"path", "/team/x", "", "", s.google},
		{"path without its slash", "/team", "", "", s.google},
		{"the longest path", "/team/corp/x", "", "", s.corp},
		{"another path that begins alike", "/teams", "", "", nil},
		{"host", "/x", "", "localhost", s.google},
		{"none", "/x", "", "", nil},
	} {
		t.Run(c.name, func(t *testing.T) {
			base := s.base
			if c.host != "" {
				base = strings.Replace(base, "127.0.0.1", c.host, 1)
			}
			r, err := http.NewRequestWithContext(t.Context(), http.MethodGet, base+c.path, nil)
			s.must(err)
			r.Header.Set("X-Which", c.which)
			r.Header.Set("Sec-Fetch-Mode", "navigate")
			r.Header.Set("Accept", "text/html")
			resp, err := http.DefaultTransport.RoundTrip(r)
			s.must(err)
			resp.Body.Close()
			want := "/auth/login?return_to=" + url.QueryEscape(c.path)
			if c.to != nil {
				want = c.to.Issuer()
			}
			if got := resp.Header.Get("Location"); resp.StatusCode != http.StatusSeeOther || !strings.HasPrefix(got, want) {
				t.Errorf("%s to %q, want to %q", resp.Status, got, want)
			}
		})
	}
}

// An account that a person types leads to its provider, which gets it as a hint.
// One that nobody knows leads back to the page.
func TestLoginsAccount(t *testing.T) {
	broken := errors.New("the directory is away")
	s := newTwoProviders(t, func(s *twoProviders, c *gatehouse.LoginsConfig) {
		c.Account = func(_ context.Context, account string) (*gatehouse.RelyingParty, error) {
			s.accountsAsked = append(s.accountsAsked, account)
			switch _, domain, _ := strings.Cut(account, "@"); domain {
			case "corp.example":
				return s.parties[0], nil
			case "broken.example":
				return nil, broken
			}
			return nil, nil
		}
	})
	ana := s.corp.Browser(t, "ana")
	_, page := s.get(ana, "/notes")
	if !strings.Contains(page, `name="login_hint"`) || !strings.Contains(page, `name="return_to" value="/notes"`) {
		t.Fatalf("the page has no field for an account:\n%s", page)
	}
	form := func(account string) string {
		return "/auth/login?" + url.Values{"login_hint": {account}, "return_to": {"/notes"}}.Encode()
	}
	resp, err := ana.GetUntil(s.base+form(" ana@corp.example "), s.corp.Issuer())
	s.must(err)
	at, err := url.Parse(resp.Header.Get("Location"))
	s.must(err)
	if at.Query().Get("login_hint") != "ana@corp.example" {
		t.Errorf("the provider is asked with %q", at.Query())
	}
	if _, body := s.get(ana, form("ana@corp.example")); body != "ana at "+s.corp.Issuer() {
		t.Errorf("after the sign-in: %q", body)
	}
	for account, want := range map[string]struct {
		status int
		says   string
	}{
		"ana@nowhere.example":     {http.StatusOK, "There is no sign-in for that account."},
		"ana@broken.example":      {http.StatusServiceUnavailable, "We cannot tell right now"},
		strings.Repeat("a", 5000): {http.StatusBadRequest, "quote"},
		"ana\x00@corp.example":    {http.StatusBadRequest, "quote"},
	} {
		status, body := s.get(s.corp.Browser(t, "ana"), form(account))
		if status != want.status || !strings.Contains(body, want.says) || strings.Contains(body, broken.Error()) {
			t.Errorf("%.30q: %d\n%s", account, status, body)
		}
	}
}

// An account counts that the person has typed here. A link on a page of another
// site leads to the page, and nobody is asked about its account.
func TestLoginsAccountOfAStranger(t *testing.T) {
	s := newTwoProviders(t, func(s *twoProviders, c *gatehouse.LoginsConfig) {
		c.Account = func(_ context.Context, account string) (*gatehouse.RelyingParty, error) {
			s.accountsAsked = append(s.accountsAsked, account)
			return s.parties[0], nil
		}
	})
	for from, begins := range map[string]bool{"cross-site": false, "same-site": false, "same-origin": true, "none": true, "": true} {
		s.accountsAsked = nil
		r, err := http.NewRequestWithContext(t.Context(), http.MethodGet, s.base+"/auth/login?login_hint=eve@corp.example&return_to=/notes", nil)
		s.must(err)
		for name, value := range map[string]string{"Sec-Fetch-Site": from, "Sec-Fetch-Mode": "navigate", "Sec-Fetch-Dest": "document", "Accept": "text/html"} {
			if value != "" {
				r.Header.Set(name, value)
			}
		}
		resp, err := http.DefaultTransport.RoundTrip(r)
		s.must(err)
		resp.Body.Close()
		if began := strings.HasPrefix(resp.Header.Get("Location"), s.corp.Issuer()); began != begins || len(s.accountsAsked) > 0 != begins || !began && resp.StatusCode != http.StatusOK {
			t.Errorf("from %q: %s to %q, asked about %q", from, resp.Status, resp.Header.Get("Location"), s.accountsAsked)
		}
	}
}

// Each way to answer works beside a sign-in under way at the other provider, and
// gives a session of its own provider alone.
func TestLoginsAnswerKinds(t *testing.T) {
	for _, c := range [][2]string{{"code", "form_post"}, {"id_token token", ""}, {"code id_token", ""}, {"code id_token", "form_post"}} {
		t.Run(strings.Join(c[:], " by "), func(t *testing.T) {
			s := newTwoProvidersWith(t, nil, func(pc *gatehouse.RelyingPartyConfig) { pc.ResponseType, pc.ResponseMode = c[0], c[1] })
			ana := s.google.Browser(t, "ana")
			wantAtCorp := func(path string) {
				resp, err := ana.GetUntil(s.base+path, s.corp.Issuer())
				s.must(err)
				if !strings.HasPrefix(resp.Header.Get("Location"), s.corp.Issuer()) {
					t.Errorf("%s leads to %q", path, resp.Header.Get("Location"))
				}
			}
			wantAtCorp("/auth/corp/login")
			_, page := s.get(ana, "/notes")
			for range 2 { // the second session takes the place of the first
				if _, body := s.get(ana, s.choose(page, s.hostOf(s.google))); !strings.Contains(body, "ana at "+s.google.Issuer()) {
					t.Errorf("at the second: %s", body)
				}
			}
			if list, err := s.sessions.List(t.Context(), s.google.Issuer(), "ana"); err != nil || len(list) != 1 {
				t.Errorf("%d sessions, %v; want 1", len(list), err)
			}
			wantAtCorp("/corp-only")
		})
	}
}

// A third party names the tenant of a provider that is not the first.
func TestLoginsThirdPartyTenant(t *testing.T) {
	s := world.NewSite(t)
	entra := s.ProviderOf(tenantTemplate, func(c *gatehouse.ProviderConfig) {
		c.Tenants = []string{tenantA}
		c.Metadata = &gatehouse.Metadata{AuthorizationEndpoint: "https://login.test/authorize", TokenEndpoint: "https://login.test/token", JWKSURI: "https://login.test/keys"}
	})
	first := s.Replicas[0]
	callback := "https://notes.test/auth/entra/callback"
	second, err := gatehouse.NewRelyingParty(entra, gatehouse.RelyingPartyConfig{
		Client: gatehouse.Client{ID: "notes", Secret: gatehouse.NewSecret("entra-secret")}, RedirectURL: callback, Sessions: first.Sessions,
	})
	s.Must(err)
	logins, err := gatehouse.NewLogins(gatehouse.LoginsConfig{Base: "/all/"}, first.Login, second)
	s.Must(err)
	first.Mux.Handle("/all/", logins.Handler())
	for issuer, want := range map[string]string{
		tenantIssuer(tenantA): "https://login.test/authorize?", world.SiteIssuer: s.Endpoint("authorization_endpoint") + "?", tenantIssuer(tenantB): "", tenantTemplate: "", "https://login.test": "",
	} {
		ana, params := s.Visitor("ana"), url.Values{"iss": {issuer}, "login_hint": {"ana"}, "target_link_uri": {"/notes/7"}}
		for _, a := range []*world.Page{
			ana.Get("/all/login?"+params.Encode(), "Sec-Fetch-Site", "cross-site"),
			ana.Post("/all/login", params, "Sec-Fetch-Site", "cross-site", "Origin", "https://portal.example"),
		} {
			if want == "" {
				if s.WantRefusal(a, http.StatusBadRequest); s.LastCode() != "start_issuer_unknown" {
					t.Errorf("%s: code %q", issuer, s.LastCode())
				}
			} else if !strings.HasPrefix(a.Location(), want) || world.QueryOf(t, a.Location()).Get("login_hint") != "ana" {
				t.Errorf("%s leads to %v", issuer, a)
			}
		}
	}
}

// Another site begins a sign-in at the provider that it names, or at none.
func TestLoginsThirdParty(t *testing.T) {
	s := newTwoProviders(t, nil)
	ana := s.google.Browser(t, "ana")
	start := func(iss string) string {
		return "/auth/login?" + url.Values{"iss": {iss}, "target_link_uri": {s.base + "/notes"}}.Encode()
	}
	if _, body := s.get(ana, start(s.google.Issuer())); body != "ana at "+s.google.Issuer() {
		t.Errorf("with the issuer of the second: %q", body)
	}
	if status, body := s.get(ana, start("https://evil.example")); status != http.StatusBadRequest {
		t.Errorf("with a foreign issuer: %d %q", status, body)
	}
}

// A script, a posted form and an application's own page learn where to sign in.
func TestLoginsOtherAnswers(t *testing.T) {
	s := newTwoProviders(t, func(_ *twoProviders, c *gatehouse.LoginsConfig) {
		c.Page = func(w http.ResponseWriter, _ *http.Request, choices []gatehouse.LoginChoice) {
			for _, one := range choices {
				fmt.Fprintf(w, "%s|%s|%s\n", one.Name, one.Issuer, one.URL)
			}
		}
	})
	ana := s.corp.Browser(t, "ana")
	resp, err := ana.Fetch(s.base + "/notes")
	s.must(err)
	body, err := io.ReadAll(resp.Body)
	s.must(err)
	if resp.StatusCode != http.StatusUnauthorized || !strings.Contains(string(body), `"login_url":"/auth/login"`) || resp.Header.Get("WWW-Authenticate") == "" {
		t.Errorf("a script: %d %s", resp.StatusCode, body)
	}
	resp, err = ana.PostForm(s.base+"/notes", url.Values{"text": {"new"}})
	s.must(err)
	body, err = io.ReadAll(resp.Body)
	s.must(err)
	if resp.StatusCode != http.StatusUnauthorized || !strings.Contains(string(body), "was not saved") || !strings.Contains(string(body), `href="/auth/login`) {
		t.Errorf("a form: %d %s", resp.StatusCode, body)
	}
	want := fmt.Sprintf("Corp & Co|%s|/auth/corp/login?return_to=%%2Fnotes\n%s|%s|/auth/google/login?return_to=%%2Fnotes\n",
		s.corp.Issuer(), s.hostOf(s.google), s.google.Issuer())
	if status, page := s.get(ana, "/notes"); status != http.StatusOK || page != want {
		t.Errorf("the application's page: %d\n%s\nwant\n%s", status, page, want)
	}
}

// What cannot work is told at the constructor or at wiring.
func TestLoginsWiring(t *testing.T) {
	op := middlewaretest.NewOffline(t, "https://op.test")
	shared, err := gatehouse.NewSessions(gatehouse.SessionsConfig{})
	if err != nil {
		t.Fatal(err)
	}
	party := func(redirect string, sessions *gatehouse.Sessions) *gatehouse.RelyingParty {
		t.Helper()
		rp, err := gatehouse.NewRelyingParty(op.Provider(), gatehouse.RelyingPartyConfig{Client: op.AddClient(redirect), RedirectURL: redirect, Sessions: sessions})
		if err != nil {
			t.Fatal(err)
		}
		return rp
	}
	a, b := party("https://notes.test/a/callback", shared), party("https://notes.test/b/callback", shared)
	for name, c := range map[string]struct {
		config  gatehouse.LoginsConfig
		parties []*gatehouse.RelyingParty
		want    string
	}{
		"none":             {gatehouse.LoginsConfig{}, nil, "parties: there is none"},
		"nil":              {gatehouse.LoginsConfig{}, []*gatehouse.RelyingParty{a, nil}, "parties[1]: the RelyingParty was not made by NewRelyingParty"},
		"twice":            {gatehouse.LoginsConfig{}, []*gatehouse.RelyingParty{a, a}, "parties[1]: it has the RedirectURL of parties[0]"},
		"other sessions":   {gatehouse.LoginsConfig{}, []*gatehouse.RelyingParty{a, party("https://notes.test/c/callback", nil)}, "has another Sessions"},
		"its port":         {gatehouse.LoginsConfig{}, []*gatehouse.RelyingParty{a, party("https://NOTES.test:443/d/callback", nil)}, "has another Sessions"},
		"a foreign path":   {gatehouse.LoginsConfig{Paths: map[string]*gatehouse.RelyingParty{"/x/": b}}, []*gatehouse.RelyingParty{a}, `Paths: "/x/" names a relying party`},
		"a path of others": {gatehouse.LoginsConfig{Paths: map[string]*gatehouse.RelyingParty{"//x": a}}, []*gatehouse.RelyingParty{a}, `Paths: "//x" is not a path of this site`},
		"a foreign host":   {gatehouse.LoginsConfig{Hosts: map[string]*gatehouse.RelyingParty{"x.test": nil}}, []*gatehouse.RelyingParty{a}, `Hosts: "x.test" names a relying party`},
		"base":             {gatehouse.LoginsConfig{Base: "/auth"}, []*gatehouse.RelyingParty{a}, "Base: \"/auth\" does not end with a slash"},
	} {
		t.Run(name, func(t *testing.T) {
			if _, err := gatehouse.NewLogins(c.config, c.parties...); err == nil || !strings.Contains(err.Error(), c.want) {
				t.Errorf("got %v, want %q", err, c.want)
			}
		})
	}
	other := party("https://other.test/a/callback", nil) // another origin has its own sessions
	logins, err := gatehouse.NewLogins(gatehouse.LoginsConfig{Base: "/auth/"}, a, b, other)
	if err != nil {
		t.Fatal(err)
	}
	logins.Handler()
	clash, err := gatehouse.NewLogins(gatehouse.LoginsConfig{Base: "/a/"}, a, b)
	if err != nil {
		t.Fatal(err)
	}
	for name, f := range map[string]func(){
		"two handlers at one path": func() { clash.Handler() },
		"the zero value":           func() { new(gatehouse.Logins).RequireLogin(http.NotFoundHandler()) },
		"a nil handler":            func() { logins.RequireLogin(nil) },
	} {
		func() {
			defer func() {
				if recover() == nil {
					t.Errorf("%s: no panic", name)
				}
			}()
			f()
		}()
	}
}
