package signin_test

import (
	"context"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"strings"
	"sync"
	"testing"
	"time"

	"example.com/gatehouse"
	"example.com/gatehouse/internal/e2e/world"
	"example.com/gatehouse/internal/testkit/opserver"
)

// boundAPI is an API of gatehouse's own that takes bound tokens alone, and a site
// whose pages call it.
type boundAPI struct {
	*world.Site
	origin string

	mu      sync.Mutex
	asked   []http.Header
	spoil   func(http.ResponseWriter, *http.Request) bool // answers instead of the API
	spelled string                                        // the scheme in challenges

	// call is what the page does.
	call func(c *http.Client, token string) string
}

func newBoundAPI(t testing.TB, nonces bool, change ...func(*world.SiteOptions)) *boundAPI {
	t.Helper()
	a := &boundAPI{origin: "https://api.test", spelled: "DPoP"}
	a.Site = world.NewSite(t, append(change, holding(ecKey(t)), func(o *world.SiteOptions) {
		o.Mount = func(mux *http.ServeMux, login *gatehouse.RelyingParty) {
			mux.Handle("/call", login.RequireLogin(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
				token, err := login.Token(r.Context())
				if err != nil || token.TokenType != "DPoP" {
					t.Errorf("token %v, %v", token, err)
					return
				}
				c, err := login.HTTPClient(r.Context(), a.origin)
				if err != nil {
					t.Error(err)
					return
				}
				fmt.Fprint(w, a.call(c, token.AccessToken))
			})))
		}
		before := o.Party
		o.Party = func(c *gatehouse.RelyingPartyConfig) {
			before(c)
			c.APITransport = through{func(r *http.Request) (*http.Response, error) { return a.Transport().RoundTrip(r) }}
		}
	})...)
	a.Must(a.SetAccessTokens(opserver.AccessTokenOptions{JWT: true, Algorithm: "ES256", Audience: []string{a.origin}}))
	dpop := gatehouse.DPoPConfig{Use: gatehouse.DPoPRequired, BaseURL: a.origin}
	if nonces {
		dpop.Keys = []gatehouse.Secret{gatehouse.NewSecret(strings.Repeat("k", 32))}
	}
	api, err := gatehouse.NewResourceServer(a.Provider(), gatehouse.ResourceServerConfig{Audience: []string{a.origin}, DPoP: dpop})
	a.Must(err)
	guarded := api.RequireToken(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		body, _ := io.ReadAll(r.Body)
		fmt.Fprintf(w, "%s %s %s", gatehouse.IdentityFrom(r.Context()).Subject, r.Method, body)
	}))
	a.Serve(a.origin, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		a.mu.Lock()
		a.asked = append(a.asked, r.Header.Clone())
		spoil, spelled := a.spoil, a.spelled
		a.mu.Unlock()
		if spoil != nil && spoil(w, r) {
			return
		}
		guarded.ServeHTTP(spelling{w, spelled}, r)
	}))
	a.call = func(c *http.Client, _ string) string { return a.get(c, "/notes?page=2#top") }
	return a
}

// through is a transport that is made later.
type through struct {
	send func(*http.Request) (*http.Response, error)
}

func (t through) RoundTrip(r *http.Request) (*http.Response, error) { return t.send(r) }

// spelling writes the scheme of challenges in its own way.
type spelling struct {
	http.ResponseWriter
	scheme string
}

func (s spelling) WriteHeader(status int) {
	for i, v := range s.Header().Values("WWW-Authenticate") {
		s.Header()["Www-Authenticate"][i] = strings.Replace(v, "DPoP ", s.scheme+" ", 1)
	}
	s.ResponseWriter.WriteHeader(status)
}

// result says what came back.
func result(resp *http.Response, err error) string {
	if err != nil {
		return "error " + gatehouse.ErrorCode(err)
	}
	defer resp.Body.Close()
	body, _ := io.ReadAll(resp.Body)
	if resp.StatusCode != http.StatusOK {
		return fmt.Sprint(resp.StatusCode)
	}
	if r := resp.Request; r.Header.Get("Authorization") != "" || r.Header.Get("DPoP") != "" {
		return "the answer names the token"
	}
	return string(body)
}

func (a *boundAPI) get(c *http.Client, path string) string { return result(c.Get(a.origin + path)) }

// took returns how many requests the API got since.
func (a *boundAPI) took() int {
	a.mu.Lock()
	defer a.mu.Unlock()
	n := len(a.asked)
	a.asked = nil
	return n
}

// expect opens the page and checks what it says, and how often the API was asked.
func (a *boundAPI) expect(v *world.Visitor, want string, requests int) {
	a.T.Helper()
	if got := v.Get("/call").Body.String(); got != want {
		a.T.Errorf("got %q, want %q", got, want)
	}
	if n := a.took(); n != requests {
		a.T.Errorf("the API was asked %d times, want %d", n, requests)
	}
}

// RP-F2: an API that demands a nonce gets it with one more request, whose body is
// whole, and the newest goes along from then on. The scheme comes in any case.
// Without nonces it works too.
func TestRPF2_NoncesAtAnAPI(t *testing.T) {
	for _, spelled := range []string{"DPoP", "dpop", "DPOP"} {
		a := newBoundAPI(t, true)
		a.spelled = spelled
		ana := a.Visitor("ana")
		ana.SignIn()
		a.expect(ana, "ana-1 GET ", 2)
		a.expect(ana, "ana-1 GET ", 1)
		a.Advance(3 * time.Minute) // the API tells the next one with an answer
		a.expect(ana, "ana-1 GET ", 1)
		a.Advance(3 * time.Minute) // the first no longer serves
		a.call = func(c *http.Client, _ string) string {
			return result(c.Post(a.origin+"/notes", "text/plain", strings.NewReader("a new note")))
		}
		a.expect(ana, "ana-1 POST a new note", 1)
		a.Advance(6 * time.Minute)
		a.expect(ana, "ana-1 POST a new note", 2)
		a.Advance(6 * time.Minute)
		a.call = func(c *http.Client, _ string) string { // no GetBody
			return result(c.Post(a.origin+"/notes", "text/plain", io.MultiReader(strings.NewReader("a stream"))))
		}
		a.expect(ana, "401", 1)
		a.expect(ana, "ana-1 POST a stream", 1)
		a.WantQuiet()
	}
	a := newBoundAPI(t, false)
	ana := a.Visitor("ana")
	ana.SignIn()
	a.expect(ana, "ana-1 GET ", 1)
	for _, h := range []string{"/a%2Fb/c%20d", "/notes/?q=1", ""} {
		a.call = func(c *http.Client, _ string) string { return a.get(c, h) }
		a.expect(ana, "ana-1 GET ", 1)
	}
}

// RP-F2: an API that never takes a nonce is asked twice, and the caller gets its
// answer. So is one that demands a nonce and gives none, once.
func TestRPF2_NoLoopAtAnAPI(t *testing.T) {
	a := newBoundAPI(t, true)
	ana := a.Visitor("ana")
	ana.SignIn()
	n := 0
	a.spoil = func(w http.ResponseWriter, r *http.Request) bool {
		n++
		w.Header().Set("DPoP-Nonce", fmt.Sprint("nonce-", n))
		w.Header().Set("WWW-Authenticate", `DPoP error="use_dpop_nonce"`)
		w.WriteHeader(http.StatusUnauthorized)
		return true
	}
	a.expect(ana, "401", 2)
	a.expect(ana, "401", 2)
	a.spoil = func(w http.ResponseWriter, r *http.Request) bool {
		w.Header().Set("WWW-Authenticate", `DPoP error="use_dpop_nonce"`)
		w.WriteHeader(http.StatusUnauthorized)
		return true
	}
	a.expect(ana, "401", 1)
	if a.Refreshes() != 0 {
		t.Errorf("%d refreshes: the token was not refused", a.Refreshes())
	}
	a.spoil = nil
	a.expect(ana, "ana-1 GET ", 2)
}

// RP-F3: a token that an API refuses under the scheme DPoP is renewed once, and
// the new one is bound to the same key. Another origin gets neither token nor
// proof.
func TestRPF3_TokensAtAnAPI(t *testing.T) {
	a := newBoundAPI(t, false)
	ana := a.Visitor("ana")
	ana.SignIn()
	var refused string
	a.spoil = func(w http.ResponseWriter, r *http.Request) bool {
		if refused == "" {
			refused = r.Header.Get("Authorization")
		}
		if r.Header.Get("Authorization") != refused {
			return false
		}
		w.Header().Set("WWW-Authenticate", `DPoP error="invalid_token"`)
		w.WriteHeader(http.StatusUnauthorized)
		return true
	}
	a.expect(ana, "ana-1 GET ", 2)
	if a.Refreshes() != 1 || !strings.HasPrefix(refused, "DPoP ") {
		t.Errorf("%d refreshes after %.10s", a.Refreshes(), refused)
	}
	shown := 0
	a.Serve("https://other.test", http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
		shown++
		if r.Header.Get("Authorization") != "" || r.Header.Get("DPoP") != "" {
			t.Error("another origin got the token, or a proof")
		}
	}))
	a.spoil = func(w http.ResponseWriter, r *http.Request) bool {
		http.Redirect(w, r, "https://other.test/", http.StatusTemporaryRedirect)
		return true
	}
	a.expect(ana, "", 1)
	if shown != 1 {
		t.Errorf("the other origin was asked %d times", shown)
	}
	a.WantQuiet()
}

// RP-F2, RP-F3: the token of an application itself is bound too.
func TestRPF3_ClientCredentials(t *testing.T) {
	a := newBoundAPI(t, true)
	bindsAt(a.Site, true)
	a.Must(a.AddClient(opserver.Client{ID: "job", Secret: "job-secret-of-many-characters", RedirectURIs: []string{"https://job.test/cb"}}))
	a.Mint("client secret", "job-secret-of-many-characters")
	job, err := a.Provider().ClientCredentials(gatehouse.Client{ID: "job", Secret: gatehouse.NewSecret("job-secret-of-many-characters"), DPoPKey: ecKey(t)})
	a.Must(err)
	token, err := job.Token()
	if err != nil || token.TokenType != "DPoP" {
		t.Fatalf("%v, %v", token, err)
	}
	c, err := job.HTTPClient(a.Transport(), a.origin)
	a.Must(err)
	for _, requests := range []int{2, 1} {
		if got, n := a.get(c, "/notes"), a.took(); got != "job GET " || n != requests {
			t.Errorf("%q after %d requests, want %d", got, n, requests)
		}
	}
	if n := len(a.CallsTo("token_endpoint")); n != 2 {
		t.Errorf("%d token requests, want 2", n)
	}
	a.Advance(world.Past)
	if got := a.get(c, "/notes"); got != "job GET " {
		t.Errorf("after the token has expired: %q", got)
	}
	a.WantQuiet()
	a.Must(job.Shutdown(context.Background()))
}

// What a key cannot serve is an error when the program starts.
func TestDPoPConfig(t *testing.T) {
	w := world.New(t, world.SiteIssuer)
	p := w.Provider()
	client := gatehouse.Client{ID: "notes", Secret: gatehouse.NewSecret("s"), DPoPKey: ecKey(t)}
	grants, err := gatehouse.NewOwnerGrants(p, gatehouse.OwnerGrantsConfig{Client: client})
	w.Must(err)
	party := func(change func(*gatehouse.RelyingPartyConfig)) error {
		c := gatehouse.RelyingPartyConfig{Client: client, RedirectURL: "https://notes.test/auth/callback"}
		change(&c)
		_, err := gatehouse.NewRelyingParty(p, c)
		return err
	}
	_, uma := gatehouse.NewUMATransport(p, gatehouse.UMATransportConfig{Client: client})
	for want, err := range map[string]error{
		"ResponseType: it brings an access token through the browser": party(func(c *gatehouse.RelyingPartyConfig) { c.ResponseType = "id_token token" }),
		"OwnerGrants: set, but tokens that are bound":                 party(func(c *gatehouse.RelyingPartyConfig) { c.OwnerGrants = grants }),
		"Client.DPoPKey: nil":                                         party(func(c *gatehouse.RelyingPartyConfig) { c.Client.DPoPKey = (*brokenKey)(nil) }),
		`AuthParams: "dpop_jkt" is set by gatehouse`:                  party(func(c *gatehouse.RelyingPartyConfig) { c.AuthParams = url.Values{"dpop_jkt": {"x"}} }),
		"Client.DPoPKey: set, but requesting party tokens are bearer": uma,
	} {
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%v, want %q", err, want)
		}
	}
	// Introspection and the protection API have no use for it.
	if _, err := gatehouse.NewResourceServer(p, gatehouse.ResourceServerConfig{Audience: []string{"https://api.test"}, Client: client}); err != nil {
		t.Error(err)
	}
	if s := fmt.Sprintf("%+v", client); !strings.Contains(s, "DPoPKey:") || strings.Contains(s, "PublicKey") {
		t.Errorf("the client prints as %s", s)
	}
}

type brokenKey struct{ brokenSigner }
