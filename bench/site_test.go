package bench

import (
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"

	"example.com/gatehouse"
	"example.com/gatehouse/bench/paired"
	"example.com/gatehouse/middlewaretest"
)

// people is how many people are signed in: more records than fit into a
// processor's fastest caches.
const people = 200

const callbackPath = "/auth/callback"

// site is a service and its provider, with people who signed in through a
// browser, over the network.
type site struct {
	op   *middlewaretest.Server
	wire *wire
	base string
	// Both have the same store, key and cookie. One has no idle limit.
	login, endless *gatehouse.RelyingParty
	signedIn       []*person
}

// person is somebody who is signed in, with what the provider issued for them.
type person struct {
	name    string
	browser *middlewaretest.Browser
	cookie  string // the Cookie header
	tokens  tokens
	claims  json.RawMessage
}

type tokens struct {
	Access  string `json:"access_token"`
	Refresh string `json:"refresh_token"`
	ID      string `json:"id_token"`
	Expires int64  `json:"expires_in"`
}

func newSite(t *testing.T) *site {
	t.Helper()
	return newSiteOn(t, gatehouse.NewMemoryStore(nil))
}

func newSiteOn(t *testing.T, store gatehouse.Store) *site {
	t.Helper()
	s := &site{op: middlewaretest.NewServer(t), wire: &wire{base: &http.Transport{}}}
	t.Cleanup(s.wire.base.CloseIdleConnections)
	s.base = middlewaretest.NewApp(t, func(base string) http.Handler {
		// It is the real clock, as in a service.
		provider, err := gatehouse.NewProvider(s.op.Issuer(), &gatehouse.ProviderConfig{
			Transport: s.wire, Logger: slog.New(slog.DiscardHandler),
		})
		if err != nil {
			t.Fatal(err)
		}
		client := s.op.AddClient(base + callbackPath)
		s.login = newLogin(t, provider, client, base, gatehouse.SessionsConfig{Store: store})
		s.endless = newLogin(t, provider, client, base, gatehouse.SessionsConfig{Store: store, IdleTimeout: -1})
		mux := http.NewServeMux()
		mux.Handle(callbackPath, s.login.CallbackHandler())
		mux.Handle("/claims", s.login.RequireLogin(http.HandlerFunc(writeClaims)))
		return mux
	})
	for i := range people {
		s.signedIn = append(s.signedIn, s.signIn(t, fmt.Sprintf("person-%03d", i)))
	}
	return s
}

func newLogin(t *testing.T, p *gatehouse.Provider, c gatehouse.Client, base string, config gatehouse.SessionsConfig) *gatehouse.RelyingParty {
	t.Helper()
	sessions, err := gatehouse.NewSessions(config)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := sessions.Shutdown(t.Context()); err != nil && t.Context().Err() == nil {
			t.Error(err)
		}
	})
	login, err := gatehouse.NewRelyingParty(p, gatehouse.RelyingPartyConfig{
		Client: c, RedirectURL: base + callbackPath, Scopes: []string{"profile", "email"}, Sessions: sessions,
	})
	if err != nil {
		t.Fatal(err)
	}
	return login
}

func writeClaims(w http.ResponseWriter, r *http.Request) {
	var claims json.RawMessage
	if err := gatehouse.IdentityFrom(r.Context()).Claims(&claims); err != nil {
		http.Error(w, "no claims", http.StatusInternalServerError)
		return
	}
	_, _ = w.Write(claims)
}

func (s *site) signIn(t *testing.T, name string) *person {
	t.Helper()
	s.op.AddUser(name, middlewaretest.Claims{ // what a company's directory says
		"name": "Ana Example of " + name, "given_name": "Ana", "family_name": "Example of " + name,
		"email": name + "@staff.example.org", "email_verified": true, "locale": "en-GB", "zoneinfo": "Europe/London",
		"picture": "https://pictures.example.org/people/" + name + "/large.jpeg",
		"groups":  []string{"staff", "engineering", "oncall-europe", "notes-editors", "billing-readers"},
	})
	p := &person{name: name, browser: s.op.Browser(t, name)}
	resp, err := p.browser.Get(s.base + "/claims")
	if err != nil {
		t.Fatal(err)
	}
	if p.claims, err = io.ReadAll(resp.Body); err != nil || resp.StatusCode != http.StatusOK || !json.Valid(p.claims) {
		t.Fatalf("%s is not signed in: %s, %v", name, resp.Status, err)
	}
	if p.tokens = s.wire.lastTokens(); p.tokens.ID == "" || p.tokens.Access == "" || p.tokens.Refresh == "" {
		t.Fatalf("%s has not all tokens", name)
	}
	for _, c := range p.browser.Cookies(s.base + "/") {
		if strings.HasPrefix(c.Name, "gh-") { // cookies ignore ports, so the provider's are there too
			p.cookie += c.Name + "=" + c.Value
		}
	}
	return p
}

// get is a navigation as a browser makes it.
func get(address, cookie string) *http.Request {
	r := httptest.NewRequest(http.MethodGet, address, nil)
	for name, value := range map[string]string{
		"User-Agent":     "Mozilla/5.0 (X11; Linux x86_64; rv:140.0) Gecko/20100101 Firefox/140.0",
		"Accept":         "text/html,application/xhtml+xml,application/xml;q=0.9,*/*;q=0.8",
		"Sec-Fetch-Mode": "navigate", "Sec-Fetch-Dest": "document", "Sec-Fetch-Site": "same-origin",
		"Accept-Language": "en-GB,en;q=0.5", "Cookie": cookie,
	} {
		if value != "" {
			r.Header.Set(name, value)
		}
	}
	return r
}

// wire is the provider's transport. It reads each answer whole. No watch runs
// while it waits for the network.
type wire struct {
	base *http.Transport

	mu    sync.Mutex
	steps []*paired.Watch // the first one runs, and after each call the next
	last  tokens
}

func (x *wire) RoundTrip(r *http.Request) (*http.Response, error) {
	x.mu.Lock()
	defer x.mu.Unlock()
	if len(x.steps) > 0 {
		x.steps[0].Stop()
		defer x.step()
	}
	resp, err := x.base.RoundTrip(r)
	if err != nil {
		return nil, err
	}
	defer resp.Body.Close()
	body, err := io.ReadAll(resp.Body)
	if err != nil {
		return nil, err
	}
	var answer tokens
	if json.Unmarshal(body, &answer) == nil && answer.ID != "" {
		x.last = answer
	}
	resp.Body = io.NopCloser(bytes.NewReader(body))
	return resp, nil
}

func (x *wire) lastTokens() tokens {
	x.mu.Lock()
	defer x.mu.Unlock()
	return x.last
}

// step starts the next watch, or continues the last one.
func (x *wire) step() {
	if len(x.steps) > 1 {
		x.steps = x.steps[1:]
	}
	x.steps[0].Start()
}

// begin starts the first of the watches.
func (x *wire) begin(steps []*paired.Watch) {
	x.mu.Lock()
	defer x.mu.Unlock()
	x.steps = steps
	steps[0].Start()
}

// end stops the running watch. It returns how many watches were used, including
// this one.
func (x *wire) end() (left int) {
	x.mu.Lock()
	defer x.mu.Unlock()
	x.steps[0].Stop()
	left, x.steps = len(x.steps), nil
	return left
}
