package registration_test

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"example.com/gatehouse"
	"example.com/gatehouse/internal/e2e/stories"
	"example.com/gatehouse/internal/e2e/world"
	"example.com/gatehouse/internal/testkit/opserver"
)

const callback = "https://notes.test/auth/callback"

// site is a site whose replicas register themselves.
type site struct {
	*world.Site
	options *opserver.RegistrationOptions
	store   gatehouse.RegistrationStore

	album   string       // the id of what albums serves
	shopper *http.Client // of the page that prints it
}

func newSite(t *testing.T, o opserver.RegistrationOptions, replicas int, change ...func(*gatehouse.RegistrationConfig)) *site {
	t.Helper()
	s := &site{options: &o, store: gatehouse.NewMemoryRegistrationStore()}
	s.Site = world.NewSite(t, func(so *world.SiteOptions) {
		so.Replicas = 0
		so.Register = func(p *gatehouse.Provider) *gatehouse.Registration { return s.registration(p, change...) }
	})
	s.SetRegistration(s.options)
	s.Learn()
	for range replicas {
		s.AddReplica(s.Options)
	}
	return s
}

func (s *site) config(change ...func(*gatehouse.RegistrationConfig)) gatehouse.RegistrationConfig {
	c := gatehouse.RegistrationConfig{
		Metadata: gatehouse.ClientMetadata{RedirectURIs: []string{callback}, ClientName: "Notes", IDTokenSignedResponseAlg: "ES256", PostLogoutRedirectURIs: []string{"https://notes.test/auth/logout"}},
		Store:    s.store, Keys: []gatehouse.Secret{gatehouse.NewSecret(strings.Repeat("k", 32))},
	}
	for _, f := range change {
		f(&c)
	}
	return c
}

func (s *site) registration(p *gatehouse.Provider, change ...func(*gatehouse.RegistrationConfig)) *gatehouse.Registration {
	r, err := gatehouse.NewRegistration(p, s.config(change...))
	s.Must(err)
	return r
}

func (s *site) reg(i int) *gatehouse.Registration { return s.Replicas[i].Client.Registration }

// wantClients checks how many clients the provider has.
func (s *site) wantClients(n int) []string {
	s.T.Helper()
	ids := s.Registered()
	if len(ids) != n {
		s.T.Fatalf("%d clients at the provider, want %d", len(ids), n)
	}
	return ids
}

// TestRG1_RegistersOnce: the first request registers, the second start sends
// nothing, and a sign-in costs what it costs at a configured client.
func TestRG1_RegistersOnce(t *testing.T) {
	s := newSite(t, opserver.RegistrationOptions{InitialToken: "let-me-register-1"}, 1, func(c *gatehouse.RegistrationConfig) {
		c.InitialAccessToken = gatehouse.NewSecret("let-me-register-1")
	})
	s.Mint("initial access token", "let-me-register-1")
	ana := s.Visitor("ana")
	ana.SignIn()
	ana.WantServed(ana.Get("/notes/"))
	s.wantClients(1)
	if n := s.Count(opserver.EndpointRegister); n != 1 {
		t.Errorf("%d registrations", n)
	}
	cost := func() (n int) {
		s.ResetCounts()
		s.Visitor("ben").SignIn()
		for _, e := range opserver.Endpoints() {
			if e != opserver.EndpointAuthorize && e != opserver.EndpointPages {
				n += s.Count(e)
			}
		}
		return n
	}
	if n := cost(); n != 2 { // token and user info, as TestSignInCosts has it
		t.Errorf("a sign-in costs %d requests, want 2", n)
	}
	s.ResetCounts()
	s.AddReplica(s.Options)
	b := s.Visitor("ana").On(1)
	b.SignIn()
	s.Must(s.reg(1).Register(t.Context()))
	if n := s.Count(opserver.EndpointRegister); n != 0 {
		t.Errorf("the second start sent %d requests", n)
	}
	b.WantServed(ana.On(1).Get("/notes/"))
	raw, err := json.Marshal(s.Events())
	if err != nil || !strings.Contains(string(raw), `"registered"`) {
		t.Errorf("no event says that a client was registered: %s", raw)
	}
	s.WantQuiet()
}

// TestOneClientFor1000Requests: 16 replicas with a shared, empty store get 1,000
// first requests. The provider has one client afterwards. The time is virtual, so
// that a busy machine does not make a page wait too long.
func TestOneClientFor1000Requests(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newSite(t, opserver.RegistrationOptions{}, 16)
		var wg sync.WaitGroup
		var mu sync.Mutex
		codes := map[int]int{}
		for i := range 1000 {
			wg.Go(func() {
				code := s.Visitor("ana").On(i % 16).Get("/notes/").Code
				mu.Lock()
				defer mu.Unlock()
				codes[code]++
			})
		}
		wg.Wait()
		s.wantClients(1)
		if n := s.Count(opserver.EndpointRegister); n != 1 || codes[http.StatusSeeOther] != 1000 {
			t.Errorf("%d registrations, answers %v", n, codes)
		}
	})
}

// TestRG4_SecretEnds: a secret of ten minutes is renewed before it ends. Logins
// and refreshes go on at both replicas, at every moment.
func TestRG4_SecretEnds(t *testing.T) {
	for _, c := range []struct {
		name    string
		options opserver.RegistrationOptions
		clients int // that there have been
	}{
		{"by a read", opserver.RegistrationOptions{SecretLife: 10 * time.Minute, RenewOnRead: true, RotateToken: true}, 1},
		{"by an update", opserver.RegistrationOptions{SecretLife: 10 * time.Minute, RenewOnUpdate: true, RotateToken: true}, 1},
		{"by a new client", opserver.RegistrationOptions{SecretLife: 10 * time.Minute}, 3},
		{"unmanaged", opserver.RegistrationOptions{SecretLife: 10 * time.Minute, Unmanaged: true}, 3},
	} {
		t.Run(c.name, func(t *testing.T) {
			s := newSite(t, c.options, 2)
			old := s.Visitor("ana")
			old.SignIn()
			first := s.Registered()[0]
			seen := map[string]bool{}
			for minute := range 20 {
				for at := range 2 {
					// One that begins at one replica comes back at the other.
					v := s.Visitor("ben").On(at)
					back := v.AnswerOf(v.Get("/notes/"))
					if a := v.On(1 - at).Get(back); a.Code != http.StatusSeeOther {
						t.Fatalf("minute %d: %v, last %s\n%s", minute, a, s.LastCode(), s.Log())
					}
					v.WantServed(v.Get("/notes/"))
					for _, id := range s.Registered() {
						seen[id] = true
					}
				}
				if minute < 9 { // until its secret ends, a session refreshes with its own client
					old.WantServed(old.On(minute % 2).Get("/notes/"))
				}
				s.ShutdownAll()
				for at := range 2 { // or the clock would jump over the leases of what is under way
					s.Must(s.reg(at).Shutdown(t.Context()))
				}
				s.Advance(time.Minute)
			}
			if len(seen) != c.clients {
				t.Errorf("%d clients, want %d", len(seen), c.clients)
			}
			if c.clients > 1 && !c.options.Unmanaged && slices.Contains(s.Registered(), first) {
				t.Error("a client whose secret has ended is still at the provider")
			}
			for _, e := range s.Events() {
				if e.Name == gatehouse.EventRefresh && e.Code != "" && e.Code != "login_required" {
					t.Errorf("a refresh failed: %s: %v", e.Code, e.Err)
				}
			}
			s.WantQuiet()
		})
	}
}

// TestRG5_BackOff: the registration endpoint refuses, is busy or is away. All
// replicas together try at most once per 30 s, and the error says why.
func TestRG5_BackOff(t *testing.T) {
	for _, c := range []struct {
		status     int
		retryAfter string
		code, why  string
		gap        time.Duration
	}{
		{401, "", "client_registration_refused", "401", 30 * time.Second},
		{429, "600", "provider_unavailable", "429", 600 * time.Second},
		{503, "", "provider_unavailable", "503", 30 * time.Second},
	} {
		t.Run(fmt.Sprint(c.status), func(t *testing.T) {
			s := newSite(t, opserver.RegistrationOptions{}, 3)
			var tries []time.Time
			s.options.Refuse = func(w http.ResponseWriter, r *http.Request) bool {
				tries = append(tries, s.Now())
				if c.retryAfter != "" {
					w.Header().Set("Retry-After", c.retryAfter)
				}
				w.WriteHeader(c.status)
				return true
			}
			for range 180 {
				for at := range 3 {
					a := s.Visitor("ana").On(at).Get("/notes/")
					if a.Code != http.StatusServiceUnavailable || s.LastCode() != c.code {
						t.Fatalf("%v, %s", a, s.LastCode())
					}
					s.WantRefusal(a, http.StatusServiceUnavailable)
				}
				s.Advance(10 * time.Second)
			}
			events := s.Events()
			if last := events[len(events)-1]; !strings.Contains(last.Err.Error(), c.why) {
				t.Errorf("the error does not say why: %v", last.Err)
			}
			for i := 1; i < len(tries); i++ {
				if gap := tries[i].Sub(tries[i-1]); gap < c.gap {
					t.Errorf("tries %v apart, want %v", gap, c.gap)
				}
			}
			if len(tries) < 2 || len(tries) > 10 {
				t.Errorf("%d tries in half an hour", len(tries))
			}
			s.options.Refuse = nil
			s.Advance(time.Hour)
			ana := s.Visitor("ana")
			ana.SignIn()
			s.wantClients(1)
		})
	}
}

// TestRefusedWhole: an answer that cannot serve is refused, and its client
// deleted where its address is to be trusted.
func TestRefusedWhole(t *testing.T) {
	for _, c := range []struct {
		name  string
		spoil func(map[string]any)
		left  int
	}{
		{"other redirect URIs", func(a map[string]any) { a["redirect_uris"] = []string{"https://evil.test/cb"} }, 0},
		{"no secret", func(a map[string]any) { delete(a, "client_secret") }, 0},
		{"a method", func(a map[string]any) { a["token_endpoint_auth_method"] = "tls_client_auth" }, 0},
		{"another origin", func(a map[string]any) { a["registration_client_uri"] = "https://evil.test/reg/1" }, 1},
		{"2 MiB behind", func(a map[string]any) { a["zz"] = strings.Repeat("x", 2<<20) }, 0},
		{"2 MiB before", func(a map[string]any) { a["aa"] = strings.Repeat("x", 2<<20) }, 1},
	} {
		t.Run(c.name, func(t *testing.T) {
			s := newSite(t, opserver.RegistrationOptions{Answer: c.spoil}, 1)
			a := s.Visitor("ana").Get("/notes/")
			s.WantRefusal(a, http.StatusServiceUnavailable)
			s.wantClients(c.left)
			if told := slices.Contains(s.EventsOf(gatehouse.EventTrouble), "orphan_client"); told != (c.left > 0) {
				t.Errorf("told %v of %d orphans:\n%s", told, c.left, s.Log())
			}
			s.options.Answer = nil
			s.Advance(time.Minute)
			s.Visitor("ana").SignIn()
			s.wantClients(c.left + 1)
		})
	}
}

// TestChangedValues: other values that the provider sets are taken, and logged by
// name alone.
func TestChangedValues(t *testing.T) {
	s := newSite(t, opserver.RegistrationOptions{Answer: func(a map[string]any) {
		a["client_name"], a["token_endpoint_auth_method"] = "Changed-Value", "client_secret_post"
	}}, 1)
	s.Visitor("ana").SignIn()
	if log := s.Log(); !strings.Contains(log, "client_name, token_endpoint_auth_method") || strings.Contains(log, "Changed-Value") {
		t.Error(log)
	}
	form := s.CallsTo("token_endpoint")[0].Form
	if form.Get("client_secret") == "" {
		t.Error("the method that the provider chose is not used")
	}
}

// TestProviderForgets: the provider has lost the client. The next request that
// shows it registers again; a restart is not needed.
func TestProviderForgets(t *testing.T) {
	s := newSite(t, opserver.RegistrationOptions{}, 1)
	ana := s.Visitor("ana")
	ana.SignIn()
	s.Advance(time.Minute)
	s.Forget(s.wantClients(1)[0])
	ana.Get("/notes/") // nothing to ask the provider
	s.Advance(world.Past)
	ana.Get("/notes/")                     // a refresh, which is refused
	s.Must(s.reg(0).Shutdown(t.Context())) // the next client is stored
	s.wantClients(1)
	s.Visitor("ben").SignIn()
}

// TestManage: read, update and delete, as the application calls them.
func TestManage(t *testing.T) {
	s := newSite(t, opserver.RegistrationOptions{}, 1)
	r := s.reg(0)
	if _, err := r.Read(t.Context()); gatehouse.ErrorCode(err) != "client_registration_missing" {
		t.Error(err)
	}
	s.Must(r.Register(t.Context()))
	id, err := r.ID(t.Context())
	if err != nil || id != s.wantClients(1)[0] {
		t.Errorf("%q, %v", id, err)
	}
	m, err := r.Read(t.Context())
	if err != nil || m.ClientName != "Notes" || !slices.Equal(m.RedirectURIs, []string{callback}) || m.TokenEndpointAuthMethod != gatehouse.AuthBasic {
		t.Errorf("%+v, %v", m, err)
	}
	// A new version with another name.
	next := s.registration(s.Provider(), func(c *gatehouse.RegistrationConfig) { c.Metadata.ClientName = "Notes 2" })
	s.Must(next.Register(t.Context()))
	if m, err = next.Read(t.Context()); err != nil || m.ClientName != "Notes 2" {
		t.Errorf("%+v, %v", m, err)
	}
	s.wantClients(1)
	s.Must(next.Update(t.Context()))
	s.Must(next.Delete(t.Context()))
	s.wantClients(0)
	s.Advance(time.Minute)
	s.Visitor("ana").Get("/notes/") // of a replica that does not know yet, and looks
	s.Must(r.Shutdown(t.Context()))
	if a := s.Visitor("ana").Get("/notes/"); s.LastCode() != "client_registration_deleted" {
		t.Errorf("%v, %s", a, s.LastCode())
	}
	s.wantClients(0)
	s.Must(r.Register(t.Context()))
	s.Visitor("ana").SignIn()
	s.Must(next.Shutdown(t.Context()))
	s.WantQuiet()
}

// TestLogoutTokenOfOlderClient: the provider signs out a session of the client
// before this one.
func TestLogoutTokenOfOlderClient(t *testing.T) {
	s := newSite(t, opserver.RegistrationOptions{SecretLife: 20 * time.Minute}, 1, func(c *gatehouse.RegistrationConfig) {
		c.Metadata.BackchannelLogoutURI = "https://notes.test/auth/backchannel-logout"
	})
	s.Serve("https://notes.test", s.Replicas[0].Mux)
	ana := s.Visitor("ana")
	ana.SignIn()
	s.Advance(16 * time.Minute)
	s.Visitor("ben").SignIn() // the secret is near its end
	s.Must(s.reg(0).Shutdown(t.Context()))
	s.wantClients(2)
	s.Advance(time.Minute)
	s.Visitor("ben").SignIn() // at the new client
	ana.WantServed(ana.Get("/notes/"))
	s.EndSessions("ana")
	ana.WantOut(ana.Get("/notes/"))
}

// TestLogoutTokenOfEndedClient: the secret has ended and nobody gets a new one, but
// the session goes on, and so the provider can end it. A token of a stranger makes
// no process register.
func TestLogoutTokenOfEndedClient(t *testing.T) {
	s := newSite(t, opserver.RegistrationOptions{SecretLife: 20 * time.Minute}, 1)
	s.SetTokenLifetime(time.Hour)
	ana := s.Visitor("ana")
	ana.SignIn()
	id := s.wantClients(1)[0]
	s.options.Refuse = func(w http.ResponseWriter, _ *http.Request) bool {
		w.WriteHeader(http.StatusServiceUnavailable)
		return true
	}
	s.Advance(21 * time.Minute)
	s.AddReplica(s.Options) // it knows nobody yet
	ana.WantServed(ana.On(0).Get("/notes/"))
	s.Must(s.reg(0).Shutdown(t.Context()))
	s.ResetCounts()
	token, err := s.LogoutToken(id, map[string]any{"sub": "ana-1"})
	s.Must(err)
	s.Mint("logout token", token)
	if a := stories.SendLogout(s.Site, 1, http.MethodPost, stories.FormType, stories.LogoutForm(token)); a.Code != http.StatusOK {
		t.Errorf("%v, %s", a, s.LastCode())
	}
	if a := ana.On(0).Fetch(http.MethodGet, "/notes/"); a.Code != http.StatusUnauthorized { // nobody can sign in now
		t.Errorf("after the logout: %v", a)
	}

	fresh := newSite(t, opserver.RegistrationOptions{}, 1)
	a := stories.SendLogout(fresh.Site, 0, http.MethodPost, stories.FormType, stories.LogoutForm(token))
	stories.WantRefusedLogout(fresh.Site, a, http.StatusBadRequest, "logout_token_invalid")
	if n := fresh.Count(opserver.EndpointRegister); n != 0 {
		t.Errorf("%d registrations", n)
	}
	if n := s.Count(opserver.EndpointRegister); n != 0 {
		t.Errorf("the token caused %d registrations", n)
	}
}

// TestLogoutAtFreshReplica: a process that has just started signs out, and knows from
// the store at whose client the session is: the person is signed out at the provider
// too, and the tokens are revoked.
func TestLogoutAtFreshReplica(t *testing.T) {
	s := newSite(t, opserver.RegistrationOptions{}, 1)
	ana := s.Visitor("ana")
	ana.SignIn()
	id := s.wantClients(1)[0]
	s.AddReplica(s.Options)
	a := ana.On(1).Do(ana.Request(http.MethodPost, "/auth/logout", nil, "Sec-Fetch-Mode", "navigate", "Sec-Fetch-Site", "same-origin"))
	if to, _, _ := strings.Cut(a.Location(), "?"); a.Code != http.StatusSeeOther || to != s.Endpoint("end_session_endpoint") || !strings.Contains(a.Location(), "client_id="+id) {
		t.Errorf("%v", a)
	}
	s.ShutdownAll()
	if n := s.Count(opserver.EndpointRevoke); n != 1 || s.Count(opserver.EndpointRegister) != 1 {
		t.Errorf("%d revocations, %d registrations", n, s.Count(opserver.EndpointRegister))
	}
	s.WantQuiet()
}

// TestFile: the file has mode 0600, and shows no secret if there are keys.
func TestFile(t *testing.T) {
	path := filepath.Join(t.TempDir(), "client.json")
	s := newSite(t, opserver.RegistrationOptions{}, 1)
	for _, keys := range []int{1, 0} {
		r := s.registration(s.Provider(), func(c *gatehouse.RegistrationConfig) {
			c.Store, c.Name = gatehouse.FileRegistrationStore(path), fmt.Sprint("keys", keys)
			c.Keys = c.Keys[:keys]
		})
		s.Must(r.Register(t.Context()))
		s.Must(r.Shutdown(t.Context()))
		info, err := os.Stat(path)
		s.Must(err)
		if info.Mode().Perm() != 0o600 {
			t.Errorf("mode %v", info.Mode())
		}
	}
	before := s.Count(opserver.EndpointRegister)
	again := s.registration(s.Provider(), func(c *gatehouse.RegistrationConfig) {
		c.Store, c.Name = gatehouse.FileRegistrationStore(path), "keys1"
	})
	s.Must(again.Register(t.Context()))
	if n := s.Count(opserver.EndpointRegister); n != before {
		t.Errorf("%d requests after a restart", n-before)
	}
	other := s.registration(s.Provider(), func(c *gatehouse.RegistrationConfig) {
		c.Store, c.Name, c.Keys = gatehouse.FileRegistrationStore(path), "keys1", nil
	})
	if err := other.Register(t.Context()); gatehouse.ErrorCode(err) != "client_registration_unreadable" {
		t.Errorf("without the keys: %v", err)
	}
}

// failing is a store that is away.
type failing struct{ gatehouse.RegistrationStore }

func (failing) Registration(context.Context, string) ([]byte, error) {
	return nil, errors.New("the store is away")
}

// TestStoreAway: a store that fails is 503, and nothing is registered.
func TestStoreAway(t *testing.T) {
	s := newSite(t, opserver.RegistrationOptions{}, 0)
	s.store = failing{s.store}
	s.AddReplica(s.Options)
	s.WantRefusal(s.Visitor("ana").Get("/notes/"), http.StatusServiceUnavailable)
	if s.LastCode() != "client_registration_store_unavailable" {
		t.Error(s.LastCode())
	}
	s.wantClients(0)
}

// TestNothingPrinted: no verb shows what a registration knows.
func TestNothingPrinted(t *testing.T) {
	s := newSite(t, opserver.RegistrationOptions{InitialToken: "initial-hush-token"}, 1, func(c *gatehouse.RegistrationConfig) {
		c.InitialAccessToken = gatehouse.NewSecret("initial-hush-token")
	})
	s.Visitor("ana").SignIn()
	for _, verb := range []string{"%v", "%+v", "%#v"} {
		for _, v := range []any{s.reg(0), s.Replicas[0].Client, s.config()} {
			text := fmt.Sprintf(verb, v)
			for secret, kind := range s.Secrets() {
				if len(secret) > 8 && kind != "cookie" && strings.Contains(text, secret) {
					t.Errorf("%s shows a %s", verb, kind)
				}
			}
			if strings.Contains(text, "hush") {
				t.Errorf("%s shows the initial access token", verb)
			}
		}
	}
}

// TestSoftwareStatement: it is sent with the registration, and with no update.
func TestSoftwareStatement(t *testing.T) {
	s := newSite(t, opserver.RegistrationOptions{}, 1, func(c *gatehouse.RegistrationConfig) { c.SoftwareStatement = "a.b.c" })
	var sent []map[string]any
	s.SetWire(func(r *http.Request, next func(*http.Request) *http.Response) (*http.Response, error) {
		if r.Method == http.MethodPost || r.Method == http.MethodPut {
			body, err := io.ReadAll(r.Body)
			s.Must(err)
			r.Body = io.NopCloser(bytes.NewReader(body))
			var m map[string]any
			if json.Unmarshal(body, &m) == nil {
				sent = append(sent, m)
			}
		}
		return next(r), nil
	})
	s.Must(s.reg(0).Register(t.Context()))
	s.Must(s.reg(0).Update(t.Context()))
	if len(sent) != 2 || sent[0]["software_statement"] != "a.b.c" || sent[1]["software_statement"] != nil {
		t.Errorf("%v", sent)
	}
}
