package registration_test

import (
	"context"
	"encoding/json"
	"errors"
	"net/http"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"example.com/gatehouse"
	"example.com/gatehouse/internal/e2e/stories"
	"example.com/gatehouse/internal/e2e/world"
	"example.com/gatehouse/internal/testkit/opserver"
)

// after is a time of the provider's clock, as it stands in an answer.
func after(d time.Duration) int64 { return world.Start.Add(d).Unix() }

// What can serve is taken, however odd it is. The client's id is that of the
// answer.
func TestAnswersTaken(t *testing.T) {
	for name, change := range map[string]func(a map[string]any){
		"as asked for":                 func(map[string]any) {},
		"a redirect URI twice":         func(a map[string]any) { a["redirect_uris"] = []string{callback, callback} },
		"no redirect URIs":             func(a map[string]any) { delete(a, "redirect_uris") },
		"null redirect URIs":           func(a map[string]any) { a["redirect_uris"] = nil },
		"no end":                       func(a map[string]any) { delete(a, "client_secret_expires_at") },
		"an end beyond all":            func(a map[string]any) { a["client_secret_expires_at"] = 1e300 },
		"an end with a fraction":       func(a map[string]any) { a["client_secret_expires_at"] = float64(after(time.Hour)) + 0.75 },
		"an end in an hour":            func(a map[string]any) { a["client_secret_expires_at"] = after(time.Hour) },
		"members in members":           func(a map[string]any) { a["x"] = map[string]any{"client_id": []any{map[string]any{}, nil, "y"}} },
		"an id of 3 KB":                func(a map[string]any) { a["client_id"] = strings.Repeat("i", 3<<10) },
		"an id with signs":             func(a map[string]any) { a["client_id"] = `a b:c%2F"\\+/?&#` },
		"the port of https":            func(a map[string]any) { a["registration_client_uri"] = "HTTPS://OP.test:443/realm/x" },
		"an address with a query":      func(a map[string]any) { a["registration_client_uri"] = "https://op.test/x?client_id=y" },
		"no address":                   func(a map[string]any) { delete(a, "registration_client_uri") },
		"no token":                     func(a map[string]any) { delete(a, "registration_access_token") },
		"neither address nor token":    func(a map[string]any) { a["registration_client_uri"], a["registration_access_token"] = nil, nil },
		"a type of answers besides":    func(a map[string]any) { a["response_types"] = []string{"id_token", "code"} },
		"a grant besides":              func(a map[string]any) { a["grant_types"] = []string{"implicit", "authorization_code"} },
		"another algorithm of tokens":  func(a map[string]any) { a["id_token_signed_response_alg"] = "RS256" },
		"other values of our metadata": func(a map[string]any) { a["client_name"], a["post_logout_redirect_uris"] = 7, "https://x.test" },
	} {
		t.Run(name, func(t *testing.T) {
			var id any
			s := newSite(t, opserver.RegistrationOptions{Answer: func(a map[string]any) { change(a); id = a["client_id"] }}, 1)
			s.Must(s.reg(0).Register(t.Context()))
			if got, err := s.reg(0).ID(t.Context()); err != nil || got != id {
				t.Errorf("id %.50q, %v; want %.50q", got, err, id)
			}
			s.wantClients(1)
		})
	}
}

// What cannot serve is refused whole, and its client is deleted where the answer
// lets us. The error says what is wrong and repeats nothing.
func TestAnswersRefused(t *testing.T) {
	set := func(name string, value any) func(map[string]any) { return func(a map[string]any) { a[name] = value } }
	address := func(value string) func(map[string]any) { return set("registration_client_uri", value) }
	for name, c := range map[string]struct {
		change func(a map[string]any)
		left   int // at the provider
	}{
		"no redirect URI left":       {set("redirect_uris", []string{}), 0},
		"a redirect URI more":        {set("redirect_uris", []string{callback, "https://evil.test/"}), 0},
		"a slash more":               {set("redirect_uris", []string{callback + "/"}), 0},
		"other case":                 {set("redirect_uris", []string{strings.ToUpper(callback)}), 0},
		"a text of redirect URIs":    {set("redirect_uris", callback), 0},
		"numbers of redirect URIs":   {set("redirect_uris", []any{callback, 7}), 0},
		"no id":                      {set("client_id", nil), 0},
		"an empty id":                {set("client_id", ""), 0},
		"a number for an id":         {set("client_id", 7), 0},
		"an id with a line break":    {set("client_id", "a\nb"), 0},
		"an id with a zero":          {set("client_id", "a\x00"), 0},
		"an id that is not ASCII":    {set("client_id", "\u00fc"), 0},
		"an id of 5 KB":              {set("client_id", strings.Repeat("i", 5<<10)), 0},
		"an empty secret":            {set("client_secret", ""), 0},
		"no secret":                  {set("client_secret", nil), 0},
		"a number for a secret":      {set("client_secret", 12345678), 0},
		"a secret with a line break": {set("client_secret", "hush-hush\r\nX: y"), 0},
		"a secret that cannot sign": {func(a map[string]any) {
			a["token_endpoint_auth_method"], a["client_secret"] = "client_secret_jwt", "hush-hush of 31 bytes, no longer"[:31]
		}, 0},
		"an end before all":          {set("client_secret_expires_at", -1), 0},
		"an end that is over":        {set("client_secret_expires_at", after(-time.Second)), 0},
		"an end that is near":        {set("client_secret_expires_at", after(30*time.Second)), 0},
		"a text for an end":          {set("client_secret_expires_at", "0"), 0},
		"true for an end":            {set("client_secret_expires_at", true), 0},
		"another host":               {address("https://evil.test/reg"), 1},
		"a host below":               {address("https://x.op.test/reg"), 1},
		"a host that begins alike":   {address("https://op.test.evil.test/reg"), 1},
		"another port":               {address("https://op.test:8443/reg"), 1},
		"in clear text":              {address("http://op.test/reg"), 1},
		"a user":                     {address("https://op.test@evil.test/reg"), 1},
		"a user at the host":         {address("https://u:p@op.test/reg"), 1},
		"a fragment":                 {address("https://op.test/reg#x"), 1},
		"a path":                     {address("/reg/1"), 1},
		"no scheme":                  {address("//op.test/reg"), 1},
		"a script":                   {address("javascript:alert(1)"), 1},
		"a list for an address":      {set("registration_client_uri", []string{"https://op.test/reg"}), 1},
		"a token with a line break":  {set("registration_access_token", "hush-hush\nX: y"), 1},
		"no authentication":          {set("token_endpoint_auth_method", "none"), 0},
		"a key that we do not have":  {set("token_endpoint_auth_method", "private_key_jwt"), 0},
		"an empty method":            {set("token_endpoint_auth_method", ""), 0},
		"a number for a method":      {set("token_endpoint_auth_method", 7), 0},
		"other types of answers":     {set("response_types", []string{"token", "id_token token"}), 0},
		"other grants":               {set("grant_types", []string{"implicit", "refresh_token"}), 0},
		"unsigned tokens":            {set("id_token_signed_response_alg", "none"), 0},
		"tokens signed with secrets": {set("id_token_signed_response_alg", "HS256"), 0},
	} {
		t.Run(name, func(t *testing.T) {
			s := newSite(t, opserver.RegistrationOptions{Answer: c.change}, 1)
			err := s.reg(0).Register(t.Context())
			if gatehouse.ErrorCode(err) != "client_registration_unusable" || strings.Contains(err.Error(), "evil") || strings.Contains(err.Error(), "hush") {
				t.Fatal(err)
			}
			s.WantRefusal(s.Visitor("ana").Get("/notes/"), http.StatusServiceUnavailable)
			s.wantClients(c.left)
			s.options.Answer = nil
			s.Advance(time.Minute)
			s.Visitor("ana").SignIn()
			s.wantClients(c.left + 1)
		})
	}
}

// Answers that are no JSON object, or have another status: what registered nobody
// that we could know is refused, and told as an orphan where the provider may have
// a client.
func TestAnswersOfOtherForms(t *testing.T) {
	for name, c := range map[string]struct {
		answer func(good string) (status int, body string)
		code   string // "" if it is taken
		told   bool
	}{
		"200":              {func(good string) (int, string) { return 200, good }, "", false},
		"201":              {func(good string) (int, string) { return 201, good }, "", false},
		"a page":           {func(string) (int, string) { return 200, "<html><body>hush-hush</body></html>" }, "client_registration_unusable", true},
		"nothing":          {func(string) (int, string) { return 201, "" }, "client_registration_unusable", true},
		"204":              {func(string) (int, string) { return 204, "" }, "client_registration_unusable", true},
		"null":             {func(string) (int, string) { return 201, "null" }, "client_registration_unusable", true},
		"a list":           {func(good string) (int, string) { return 201, "[" + good + "]" }, "client_registration_unusable", true},
		"two objects":      {func(good string) (int, string) { return 201, good + good }, "client_registration_unusable", false},
		"cut off":          {func(good string) (int, string) { return 201, good[:len(good)/2] }, "client_registration_unusable", true},
		"a mark before it": {func(good string) (int, string) { return 201, "\ufeff" + good }, "client_registration_unusable", true},
		"two ids":          {func(good string) (int, string) { return 201, `{"client_id":"other",` + good[1:] }, "client_registration_unusable", false},
		"two secrets":      {func(good string) (int, string) { return 201, `{"client_secret":"hush-hush",` + good[1:] }, "client_registration_unusable", false},
		"names in case": {func(good string) (int, string) {
			return 201, strings.Replace(good, `"client_secret"`, `"Client_Secret"`, 1)
		}, "client_registration_unusable", false},
		"deep": {func(good string) (int, string) { return 201, `{"x":` + strings.Repeat("[", 20000) + good[1:] }, "client_registration_unusable", true},
		"302":  {func(string) (int, string) { return 302, "" }, "provider_unavailable", false},
		"400": {func(string) (int, string) {
			return 400, `{"error":"invalid_redirect_uri","error_description":"hush-hush"}`
		}, "client_registration_refused", false},
		"404": {func(string) (int, string) { return 404, "" }, "", false},
		"500": {func(string) (int, string) { return 500, "hush-hush" }, "provider_unavailable", false},
	} {
		t.Run(name, func(t *testing.T) {
			s := newSite(t, opserver.RegistrationOptions{}, 1)
			spoils := true
			s.SetWire(func(r *http.Request, next func(*http.Request) *http.Response) (*http.Response, error) {
				resp := next(r)
				if r.Method != http.MethodPost || !spoils {
					return resp, nil
				}
				good := world.RewriteJSON(t, resp, func(map[string]any) {})
				status, body := c.answer(textOf(t, good))
				return world.Answer(r, status, body), nil
			})
			err := s.reg(0).Register(t.Context())
			if name == "404" {
				if err == nil || strings.Contains(gatehouse.ErrorCode(err), "unusable") {
					t.Error(err)
				}
			} else if got := gatehouse.ErrorCode(err); err == nil && c.code != "" || err != nil && got != c.code {
				t.Errorf("%v, want %q", err, c.code)
			}
			if err != nil && strings.Contains(err.Error(), "hush") || s.Logged("hush-hush") > 0 && name != "400" {
				t.Errorf("%v\n%s", err, s.Log())
			}
			if told := strings.Contains(s.Log(), "orphan_client"); told != c.told {
				t.Errorf("told %v of an orphan, want %v\n%s", told, c.told, s.Log())
			}
			spoils = false
			s.Advance(time.Minute)
			s.Must(s.reg(0).Register(t.Context()))
		})
	}
}

// The management address answers anything: the client that is there serves on,
// sessions of it go on, and no secret shows.
func TestManagementAnswers(t *testing.T) {
	for name, c := range map[string]struct {
		status  int
		body    string // "" for that of the server
		change  func(a map[string]any)
		clients int // at the end
	}{
		"without the secret":  {0, "", func(a map[string]any) { delete(a, "client_secret"); delete(a, "client_secret_expires_at") }, 2},
		"another client":      {0, "", func(a map[string]any) { a["client_id"] = "other" }, 2},
		"other redirect URIs": {0, "", func(a map[string]any) { a["redirect_uris"] = []string{"https://evil.test/"} }, 2},
		"another origin":      {0, "", func(a map[string]any) { a["registration_client_uri"] = "https://evil.test/" }, 2},
		"a later end":         {0, "", func(a map[string]any) { a["client_secret_expires_at"] = after(100 * time.Hour) }, 1},
		"a page":              {200, "<html>", nil, 2},
		"401":                 {401, `{"error":"invalid_token"}`, nil, 2},
		"403":                 {403, `{"error":"insufficient_scope"}`, nil, 2},
		"404":                 {404, "", nil, 2},
		"410":                 {410, "", nil, 2},
		"500":                 {500, "", nil, 1},
		"429":                 {429, "", nil, 1},
		"302":                 {302, "", nil, 1},
	} {
		t.Run(name, func(t *testing.T) {
			s := newSite(t, opserver.RegistrationOptions{SecretLife: 20 * time.Minute}, 1)
			ana := s.Visitor("ana")
			ana.SignIn()
			s.Advance(16 * time.Minute) // the secret is due
			asked := 0
			s.SetWire(func(r *http.Request, next func(*http.Request) *http.Response) (*http.Response, error) {
				if !strings.Contains(r.URL.Path, "/reg-") { // the address of a client
					return next(r), nil
				}
				asked++
				if c.change != nil {
					return world.RewriteJSON(t, next(r), c.change), nil
				}
				return world.Answer(r, c.status, c.body), nil
			})
			s.Visitor("ben").SignIn()
			s.Must(s.reg(0).Shutdown(t.Context()))
			s.wantClients(c.clients)
			if asked == 0 {
				t.Error("the address was not asked")
			}
			s.Advance(2 * time.Minute)
			s.Visitor("ben").SignIn()
			ana.WantServed(ana.Get("/notes/"))
			s.WantQuiet()
		})
	}
}

func textOf(t *testing.T, resp *http.Response) string {
	t.Helper()
	var b strings.Builder
	buffer := make([]byte, 64<<10)
	for {
		n, err := resp.Body.Read(buffer)
		b.Write(buffer[:n])
		if err != nil {
			return b.String()
		}
	}
}

// flaky is a store whose writes fail while it is away.
type flaky struct {
	gatehouse.RegistrationStore
	away atomic.Bool
}

func (f *flaky) SwapRegistration(ctx context.Context, name string, old, new []byte) (bool, error) {
	if f.away.Load() {
		return false, errors.New("the store is away")
	}
	return f.RegistrationStore.SwapRegistration(ctx, name, old, new)
}

// The store fails after the provider has registered the client, and before it is
// stored. This process stores it later; another one is told, and registers anew.
func TestStoreFailsInBetween(t *testing.T) {
	for _, restarts := range []bool{false, true} {
		synctest.Test(t, func(t *testing.T) { // giving up takes some seconds
			store := &flaky{RegistrationStore: gatehouse.NewMemoryRegistrationStore()}
			s := newSite(t, opserver.RegistrationOptions{}, 0)
			made := func() *gatehouse.Registration {
				return s.registration(s.Provider(), func(c *gatehouse.RegistrationConfig) { c.Store = store })
			}
			r := made()
			s.options.Answer = func(map[string]any) { store.away.Store(true) }
			if err := r.Register(t.Context()); err == nil {
				t.Error("it is said to be registered")
			}
			s.Must(r.Shutdown(t.Context()))
			s.options.Answer = nil
			store.away.Store(false)
			s.Advance(time.Minute)
			want := 1
			if restarts {
				r, want = made(), 2
			}
			s.Must(r.Register(t.Context()))
			id, err := r.ID(t.Context())
			s.Must(err)
			if !slices.Contains(s.wantClients(want), id) {
				t.Errorf("%q is not at the provider", id)
			}
			if !strings.Contains(s.Log(), "orphan_client") {
				t.Errorf("nobody is told of the client that is left over\n%s", s.Log())
			}
			s.Must(r.Shutdown(t.Context()))
		})
	}
}

// Processes of one machine that share a file and start together register once.
func TestFileTogether(t *testing.T) {
	path := filepath.Join(t.TempDir(), "client.json")
	s := newSite(t, opserver.RegistrationOptions{}, 0)
	var wg sync.WaitGroup
	for range 6 {
		r := s.registration(s.Provider(), func(c *gatehouse.RegistrationConfig) { c.Store = gatehouse.FileRegistrationStore(path) })
		wg.Go(func() {
			if err := r.Register(t.Context()); err != nil {
				t.Error(err)
			}
		})
	}
	wg.Wait()
	s.wantClients(1)
}

// A sign-out names the registered client, comes back to its address, and ends the
// session at the provider.
func TestRegisteredSignOut(t *testing.T) {
	s := newSite(t, opserver.RegistrationOptions{}, 1)
	ana := s.Visitor("ana")
	ana.SignIn()
	out := ana.Post("/auth/logout", nil)
	q := world.QueryOf(t, out.Location())
	if !strings.HasPrefix(out.Location(), s.Endpoint("end_session_endpoint")) || q.Get("client_id") != s.wantClients(1)[0] || q.Get("post_logout_redirect_uri") != "https://notes.test/auth/logout" || q.Get("id_token_hint") == "" {
		t.Errorf("%v", out)
	}
	ana.Follow(out, nil)
	ana.WantOut(ana.Get("/notes/"))
	s.WantQuiet()
}

// RP-I11, RP-U3: what the client has registered that tokens and user info are
// signed with counts, and nothing else that the provider can do. A registration
// that asks for nothing takes what the provider lists.
func TestRegisteredAlgorithms(t *testing.T) {
	s := newSite(t, opserver.RegistrationOptions{Answer: func(a map[string]any) { a["id_token_signed_response_alg"] = "RS256" }}, 1)
	ana := s.Visitor("ana")
	a := ana.Visit("/notes/") // the provider signs with ES256 all the same
	s.WantRefusal(a, http.StatusBadRequest)
	if s.LastCode() != "algorithm_refused" || ana.SessionName() != "" {
		t.Errorf("code %q, %v", s.LastCode(), a)
	}
	s.options.Answer = nil
	if _, err := s.reg(0).Read(t.Context()); err != nil {
		t.Fatal(err)
	}
	ana.SignIn()
	s.Advance(world.Past) // a refresh brings an ID Token too
	ana.WantServed(ana.Get("/notes/"))

	s = newSite(t, opserver.RegistrationOptions{Answer: func(a map[string]any) { a["id_token_signed_response_alg"] = "RS256" }}, 1, func(c *gatehouse.RegistrationConfig) {
		c.Metadata.IDTokenSignedResponseAlg = ""
	})
	s.Visitor("ana").SignIn()

	s = newSite(t, opserver.RegistrationOptions{}, 1, func(c *gatehouse.RegistrationConfig) { c.Metadata.UserInfoSignedResponseAlg = "ES256" })
	ana = s.Visitor("ana")
	if a := ana.Visit("/notes/"); s.LastCode() != "userinfo_unavailable" || ana.SessionName() != "" {
		t.Errorf("user info that is not signed: %v, %q", a, s.LastCode())
	}
}

// The same goes for a logout token (Back-Channel Logout §2.6, step 3).
func TestRegisteredAlgorithmOfLogoutTokens(t *testing.T) {
	s := newSite(t, opserver.RegistrationOptions{}, 1)
	ana := s.Visitor("ana")
	ana.SignIn()
	id := s.wantClients(1)[0]
	for _, c := range []struct {
		faults []opserver.Fault
		code   int
	}{{[]opserver.Fault{opserver.OtherAlgorithm}, http.StatusBadRequest}, {nil, http.StatusOK}} {
		token, err := s.LogoutToken(id, map[string]any{"sub": "ana-1"}, c.faults...)
		s.Must(err)
		s.Mint("logout token", token)
		a := stories.SendLogout(s.Site, 0, http.MethodPost, stories.FormType, stories.LogoutForm(token))
		if a.Code != c.code {
			t.Errorf("%v: %v", c.faults, a)
		}
		if c.code == http.StatusBadRequest {
			stories.WantRefusedLogout(s.Site, a, c.code, "logout_token_invalid")
			ana.WantServed(ana.Get("/notes/"))
		}
	}
	ana.WantOut(ana.Get("/notes/"))
}

// What the application does with its configuration afterwards changes nothing.
func TestConfigIsCopied(t *testing.T) {
	mine := []string{callback}
	trusted := true
	s := newSite(t, opserver.RegistrationOptions{}, 1, func(c *gatehouse.RegistrationConfig) {
		c.Metadata.RedirectURIs, c.Metadata.TrustedClient = mine, &trusted
		c.Metadata.Extra = map[string]json.RawMessage{"x": json.RawMessage(`"before"`)}
		c.Defaults.Contacts = []string{"ana@example.org"}
	})
	mine[0], trusted = "https://evil.test/", false
	s.Must(s.reg(0).Register(t.Context()))
	m, err := s.reg(0).Read(t.Context())
	if err != nil || m.RedirectURIs[0] != callback || m.TrustedClient == nil || !*m.TrustedClient || string(m.Extra["x"]) != `"before"` || len(m.Contacts) != 1 {
		t.Errorf("%+v, %v", m, err)
	}
}
