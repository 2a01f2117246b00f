package interop_test

import (
	"encoding/json"
	"net/http"
	"net/url"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"example.com/gatehouse"
	"example.com/gatehouse/internal/testkit/process"
	"example.com/gatehouse/interop/servers"
	"github.com/chromedp/chromedp"
)

// A howto is example/pyoidc at real servers: a host that names the provider of an
// account, and the provider.
type howto struct {
	*copied
	op      *servers.OIDCProvider
	host    *servers.WebFingerHost
	dir     string
	browser *servers.Chromium
}

// startHowto starts the program with one provider, named corp. client says who we
// are there.
func startHowto(t *testing.T, path, listen string, op *servers.OIDCProvider, client map[string]any) *howto {
	t.Helper()
	h := &howto{op: op, host: servers.StartWebFinger(t, op.Issuer), dir: t.TempDir(),
		copied: &copied{base: "http://" + listen, name: "pyoidc", path: path}}
	text, err := json.Marshal(map[string]any{"corp": client})
	if err != nil {
		t.Fatal(err)
	}
	clients := filepath.Join(h.dir, "clients.json")
	if err := os.WriteFile(clients, text, 0o600); err != nil {
		t.Fatal(err)
	}
	h.args = []string{"-clients", clients, "-listen", listen, "-dir", h.dir, "-roots", h.host.RootsFile(), "-intranet", "127.0.0.1/32"}
	h.start(t)
	h.browser = servers.StartChromium(t)
	return h
}

// enter enters joe's account and signs alice in. A callback gives up on a token
// endpoint that is too slow; then she begins anew.
func (h *howto) enter(t *testing.T) string {
	t.Helper()
	for end := time.Now().Add(insistTime); ; {
		h.account(t, "joe")
		h.browser.Insist(t)
		if strings.HasPrefix(h.browser.URL(), h.op.Issuer) {
			if servers.Get(t, h.browser, "look for the form", chromedp.Evaluate[bool](`!!document.querySelector("input[name=login]")`)) {
				h.op.SignIn(t, h.browser, "alice")
			} else { // a native client asks each time
				h.op.Consent(t, h.browser)
			}
		}
		h.browser.Insist(t)
		if h.browser.URL() == h.base+"/userinfo" { // no fragment stays in it
			return h.browser.Text(t)
		}
		if time.Now().After(end) {
			t.Fatalf("the sign-in ended at %s: %s", h.browser.URL(), h.browser.Text(t))
		}
	}
}

// account enters an account of the host on the first page.
func (h *howto) account(t *testing.T, name string) {
	t.Helper()
	h.browser.Open(t, h.base+"/")
	h.browser.Run(t, "enter the account", chromedp.SendKeys(chromedp.CSS(`#uid`), h.host.Host+"/"+name))
	h.browser.Follow(t, "go on", chromedp.Click(chromedp.CSS(`#go`)))
}

// request returns the authorization request of somebody else who enters joe's
// account.
func (h *howto) request(t *testing.T) url.Values {
	t.Helper()
	client := &http.Client{CheckRedirect: stayHere}
	a := insist(t, nil, func() answer {
		resp, err := client.PostForm(h.base+"/start", url.Values{"uid": {h.host.Host + "/joe"}})
		if err != nil {
			t.Fatal(err)
		}
		resp.Body.Close()
		return answer{status: resp.StatusCode, header: resp.Header}
	})
	to, err := url.Parse(a.header.Get("Location"))
	if err != nil || a.status != http.StatusSeeOther || !strings.HasPrefix(to.String(), h.op.Issuer+"/") {
		t.Fatalf("start: %d to %s, %v", a.status, to, err)
	}
	return to.Query()
}

// walked is what pyoidc's document does, step by step, with one response type.
func (h *howto) walked(t *testing.T, responseType string) (id string) {
	t.Helper()
	h.account(t, "ann") // whom the host does not know
	h.browser.WaitText(t, "No sign-in service was found for this account.")

	page := h.enter(t)
	for _, want := range []string{h.op.Issuer, "User alice", "alice@example.test", "access token until"} {
		if !strings.Contains(page, want) {
			t.Errorf("the user info lacks %q: %s", want, page)
		}
	}
	id = servers.Get(t, h.browser, "read the client id", chromedp.Evaluate[string](`document.querySelector("#client").innerText`))

	asked := h.request(t)
	for name, want := range map[string]string{"response_type": responseType, "client_id": id, "scope": "openid profile email",
		"redirect_uri": h.base + "/rp/corp/authz_cb"} {
		if !slices.Equal(asked[name], []string{want}) {
			t.Errorf("the request has %s %q, want %q", name, asked[name], want)
		}
	}
	if asked.Get("state") == "" || asked.Get("nonce") == "" {
		t.Errorf("the request lacks state or nonce: %v", asked)
	}
	// assert aresp["state"] == session["state"]
	foreign := url.Values{"state": {asked.Get("state")}, "iss": {h.op.Issuer}, "code": {"one"}}
	if responseType == "code" {
		if a := fetch(t, nil, http.MethodGet, h.base+"/rp/corp/authz_cb?"+foreign.Encode()); a.status != http.StatusBadRequest {
			t.Errorf("an answer with the state of another browser: %d, want 400", a.status)
		}
	}
	through := strings.Contains(h.proc.Log(process.LogKept), "token_through_browser")
	if through != strings.Contains(responseType, " token") {
		t.Errorf("called out that the token comes through the browser: %t", through)
	}

	client := cookiesOf(t, h.browser, h.base)
	h.browser.Run(t, "sign out", chromedp.Click(chromedp.CSS(`#leave`)))
	h.op.SignOut(t, h.browser)
	h.browser.WaitText(t, "Your account")
	if a := fetch(t, client, http.MethodGet, h.base+"/userinfo"); a.status != http.StatusUnauthorized {
		t.Errorf("the user info after the sign-out: %d, want 401", a.status)
	}

	// The next start registers nothing.
	h.restart(t)
	if page := h.enter(t); !strings.Contains(page, id) {
		t.Errorf("after a restart the client is another than %s: %s", id, page)
	}
	counts := map[string]int{}
	for _, line := range h.host.Requests(t) {
		counts[line]++
	}
	if counts["200 /.well-known/webfinger"] < 3 || counts["404 /.well-known/webfinger"] != 1 {
		t.Errorf("the host was asked %v", counts)
	}
	return id
}

// The walk of pyoidc's "How to implement a client" at real servers: Apache names
// the provider of an account, and oidc-provider registers the site and signs
// somebody in.
func TestPyoidcWalk(t *testing.T) {
	t.Parallel()
	path := buildCopied(t, "pyoidc")
	scope := []string{"openid", "profile", "email"}
	for responseType, grant := range map[string]string{"code": "authorization_code", "id_token token": "implicit"} {
		t.Run(grant, func(t *testing.T) {
			op := servers.StartOIDCProvider(t, servers.OIDCProviderConfig{})
			h := startHowto(t, path, freePort(t), op, map[string]any{
				"srv_discovery_url": op.Issuer,
				"client_info":       map[string]any{"contacts": []string{"foo@example.com"}},
				"behaviour":         map[string]any{"response_type": responseType, "scope": scope},
			})
			h.walked(t, responseType)

			// client.registration_response
			provider := must(gatehouse.NewProvider(h.op.Issuer, nil))(t)
			r := must(gatehouse.NewRegistration(provider, gatehouse.RegistrationConfig{
				Metadata: gatehouse.ClientMetadata{RedirectURIs: []string{h.base + "/rp/corp/authz_cb"},
					ResponseTypes: []string{responseType}, GrantTypes: []string{grant}},
				Name:  "corp",
				Store: gatehouse.FileRegistrationStore(filepath.Join(h.dir, "clients.registered.json")),
			}))(t)
			m := must(r.Read(t.Context()))(t)
			if !slices.Equal(m.Contacts, []string{"foo@example.com"}) || !slices.Equal(m.ResponseTypes, []string{responseType}) || !slices.Contains(m.GrantTypes, grant) {
				t.Errorf("registered %+v", m)
			}
		})
	}
	// What handle_provider_config and store_registration_info were for.
	t.Run("static", func(t *testing.T) {
		listen := freePort(t)
		at := "http://" + listen + "/rp/corp"
		op := servers.StartOIDCProvider(t, servers.OIDCProviderConfig{Clients: []servers.OIDCProviderClient{{ID: "static-client", Secret: "static-secret",
			RedirectURIs: []string{at + "/authz_cb"}, PostLogoutRedirectURIs: []string{at + "/logout"}}}})
		var info map[string]any
		if err := json.Unmarshal([]byte(fetch(t, nil, http.MethodGet, op.Issuer+"/.well-known/openid-configuration").body), &info); err != nil {
			t.Fatal(err)
		}
		h := startHowto(t, path, listen, op, map[string]any{
			"provider_info":       info,
			"client_registration": map[string]any{"client_id": "static-client", "client_secret": "static-secret"},
			"behaviour":           map[string]any{"scope": scope},
		})
		if id := h.walked(t, "code"); id != "static-client" {
			t.Errorf("the client is %q", id)
		}
		if _, err := os.Stat(filepath.Join(h.dir, "clients.registered.json")); !os.IsNotExist(err) {
			t.Errorf("something was registered: %v", err)
		}
	})
}
