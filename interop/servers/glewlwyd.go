package servers

import (
	"bytes"
	"compress/gzip"
	"context"
	"crypto/rand"
	"crypto/rsa"
	"crypto/x509"
	"encoding/json"
	"encoding/pem"
	"errors"
	"fmt"
	"io"
	"maps"
	"net/http"
	"net/http/cookiejar"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/chromedp/chromedp"

	"example.com/gatehouse/internal/testkit/process"
)

const (
	// glewlwydStart bounds the start of Glewlwyd, should it hang. It takes half a
	// second on an idle machine.
	glewlwydStart = 5 * time.Minute
	// glewlwydSchema makes its database, with an administrator in it.
	glewlwydSchema = "/usr/share/doc/glewlwyd/database/init.sqlite3.sql.gz"
	// glewlwydModules is where Debian keeps its modules.
	glewlwydModules = "/usr/lib/glewlwyd"
)

// glewlwydLists lets the addresses for sign-out be a list, which the administrator
// says in the settings of the backend of clients.
const glewlwydLists = `UPDATE g_client_module_instance SET gcmi_parameters = replace(gcmi_parameters, '"data-format":{',
	'"data-format":{"post_logout_redirect_uris":{"multiple":true,"read":true,"write":true},')`

// A Glewlwyd is a running Glewlwyd, an OpenID provider written in C, of Debian's
// package. Its only person is alice with the password alice.
type Glewlwyd struct {
	// URL is http://127.0.0.1 with the port.
	URL   string
	home  string
	admin http.Client // signed in as the administrator
}

// Issuer returns the issuer. It does not end with a slash.
func (g *Glewlwyd) Issuer() string { return g.URL + "/api/oidc" }

// StartGlewlwyd starts a Glewlwyd for the duration of the test. It lets
// applications register themselves, wants PKCE, and its refresh tokens work once.
func StartGlewlwyd(t testing.TB) *Glewlwyd {
	t.Helper()
	dir, err := installDir()
	if err != nil {
		t.Fatalf("glewlwyd: %v", err)
	}
	program, err := installGlewlwyd(t.Context(), dir)
	if err != nil {
		t.Fatalf("glewlwyd: %v", err)
	}
	jar, err := cookiejar.New(nil)
	if err != nil {
		t.Fatal(err)
	}
	g := &Glewlwyd{home: t.TempDir(), admin: http.Client{Jar: jar, Timeout: apiTimeout}}
	ctx, cancel := context.WithTimeoutCause(t.Context(), glewlwydStart, fmt.Errorf("%v have passed", glewlwydStart))
	defer cancel()
	if err := errors.Join(g.fillDatabase(ctx), g.copyPages(ctx)); err != nil {
		t.Fatalf("glewlwyd: %v", err)
	}
	port, proc, err := startOnPort(ctx, func(ctx context.Context, port string) (*process.Process, error) {
		config := filepath.Join(g.home, "glewlwyd.conf")
		if err := g.configure(config, port); err != nil {
			return nil, err
		}
		return process.Start(ctx, "glewlwyd", exec.Command(program, "--config-file="+config), func(line []byte) bool {
			return bytes.Contains(line, []byte("Glewlwyd started on port"))
		})
	})
	if err != nil {
		t.Fatalf("glewlwyd: %v", err)
	}
	stopAfter(t, "glewlwyd", proc)
	g.URL = "http://127.0.0.1:" + port
	g.setUp(t)
	return g
}

// fillDatabase makes the database.
func (g *Glewlwyd) fillDatabase(ctx context.Context) error {
	packed, err := os.Open(glewlwydSchema)
	if err != nil {
		return err
	}
	defer packed.Close()
	schema, err := gzip.NewReader(packed)
	if err != nil {
		return err
	}
	// One write to the disk, and not one per statement.
	cmd := exec.Command("sqlite3", "-bail", "-cmd", "PRAGMA synchronous=OFF; BEGIN", filepath.Join(g.home, "glewlwyd.db"))
	cmd.Stdin = io.MultiReader(schema, strings.NewReader("\n"+glewlwydLists+";\nCOMMIT;\n"))
	return process.Run(ctx, "sqlite3", cmd)
}

// copyPages copies Glewlwyd's pages. In Debian's package their config.json is a
// directory with that file in it, and the login page waits for the file for ever.
func (g *Glewlwyd) copyPages(ctx context.Context) error {
	pages := filepath.Join(g.home, "webapp")
	if err := process.Run(ctx, "cp", exec.Command("cp", "-rL", "/usr/share/glewlwyd/webapp", pages)); err != nil {
		return err
	}
	config := filepath.Join(pages, "config.json")
	text, err := os.ReadFile(filepath.Join(config, "config.json"))
	if err != nil {
		return nil // it is a file
	}
	return errors.Join(os.RemoveAll(config), os.WriteFile(config, text, 0o644))
}

// configure writes the configuration.
func (g *Glewlwyd) configure(path, port string) error {
	text, err := asset("glewlwyd.conf")
	if err != nil {
		return err
	}
	fill := strings.NewReplacer("@port@", port, "@url@", "http://127.0.0.1:"+port, "@home@", g.home, "@modules@", glewlwydModules)
	return os.WriteFile(path, []byte(fill.Replace(string(text))), 0o600)
}

// setUp makes scopes, the person and the plugin that speaks OpenID Connect, with
// the API that the administrator's pages use.
func (g *Glewlwyd) setUp(t testing.TB) {
	t.Helper()
	g.call(t, "/auth/", map[string]any{"username": "admin", "password": "password"})
	for _, scope := range []string{"profile", "email"} {
		g.call(t, "/scope/", map[string]any{"name": scope, "display_name": scope, "description": scope,
			"password_required": true, "scheme": map[string]any{}})
	}
	g.call(t, "/user/", map[string]any{"username": "alice", "password": "alice", "name": "Alice", "email": "alice@example.test",
		"scope": []string{"openid", "profile", "email", "g_profile"}, "enabled": true})
	g.AddIssuer(t, "oidc", nil)
}

// AddIssuer adds an issuer with other settings for the same people and clients,
// and returns it. The settings are Glewlwyd's own.
func (g *Glewlwyd) AddIssuer(t testing.TB, name string, changes map[string]any) string {
	t.Helper()
	private, public, err := newRSA()
	if err != nil {
		t.Fatalf("glewlwyd: %v", err)
	}
	issuer := g.URL + "/api/" + name
	settings := map[string]any{
		"iss": issuer, "jwt-type": "rsa", "jwt-key-size": "256", "key": private, "cert": public, "jwks-show": true,
		"access-token-duration": 300, "refresh-token-duration": 86400, "code-duration": 60, "refresh-token-rolling": true,
		"refresh-token-one-use": "always", "allow-non-oidc": false,
		"auth-type-code-enabled": true, "auth-type-code-revoke-replayed": true, "auth-type-token-enabled": true, "auth-type-id-token-enabled": true,
		"auth-type-none-enabled": true, "auth-type-password-enabled": false, "auth-type-client-enabled": true, "auth-type-refresh-enabled": true,
		"auth-type-device-enabled": false, "scope": []any{}, "additional-parameters": []any{}, "claims": []any{}, "subject-type": "public",
		"name-claim": "on-demand", "name-claim-scope": []string{"profile"}, "email-claim": "on-demand", "email-claim-scope": []string{"email"},
		"pkce-allowed": true, "pkce-required": true, "pkce-method-plain-allowed": false,
		"introspection-revocation-allowed": true, "introspection-revocation-auth-scope": []any{}, "introspection-revocation-allow-target-client": true,
		"register-client-allowed": true, "register-client-auth-scope": []any{}, "register-client-credentials-scope": []any{},
		"register-client-management-allowed": true,
		"session-management-allowed":         true, "session-cookie-name": "GLEWLWYD2_OIDC_SID_" + name, "session-cookie-expiration": 3600,
		"front-channel-logout-allowed": true, "back-channel-logout-allowed": true,
		"request-parameter-allow": true, "request-maximum-exp": 3600, "client-pubkey-parameter": "pubkey", "client-jwks-parameter": "jwks",
		"client-jwks_uri-parameter": "jwks_uri", "encrypt-out-token-allow": false, "oauth-as-iss-id": true,
	}
	maps.Copy(settings, changes)
	g.call(t, "/mod/plugin/", map[string]any{"module": "oidc", "name": name, "display_name": name, "parameters": settings})
	return issuer
}

// newRSA makes a key pair as text.
func newRSA() (private, public string, err error) {
	key, err := rsa.GenerateKey(rand.Reader, 2048)
	if err != nil {
		return "", "", err
	}
	der, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		return "", "", err
	}
	half, err := x509.MarshalPKIXPublicKey(&key.PublicKey)
	if err != nil {
		return "", "", err
	}
	return string(pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: der})),
		string(pem.EncodeToMemory(&pem.Block{Type: "PUBLIC KEY", Bytes: half})), nil
}

// AddClient adds a client with that id, whose secret is the id followed by
// "-secret". The properties are Glewlwyd's own; these have values without being
// named: it may use the code flow, refresh tokens and tokens of its own, and
// authenticates with the secret.
func (g *Glewlwyd) AddClient(t testing.TB, id string, properties map[string]any) {
	t.Helper()
	client := map[string]any{"client_id": id, "name": id, "confidential": true, "client_secret": id + "-secret", "enabled": true,
		"authorization_type":         []string{"code", "refresh_token", "client_credentials"},
		"token_endpoint_auth_method": []string{"client_secret_basic"}, "scope": []string{"openid"}}
	maps.Copy(client, properties)
	g.call(t, "/client/", client)
}

// call sends something to the administrator's API.
func (g *Glewlwyd) call(t testing.TB, path string, body any) {
	t.Helper()
	text, err := json.Marshal(body)
	if err != nil {
		t.Fatal(err)
	}
	req := request(t, http.MethodPost, g.URL+"/api"+path, bytes.NewReader(text))
	req.Header.Set("Content-Type", "application/json")
	resp, err := g.admin.Do(req)
	if err != nil {
		t.Fatalf("glewlwyd: %v", err)
	}
	defer resp.Body.Close()
	answer, err := io.ReadAll(io.LimitReader(resp.Body, apiBody))
	if err != nil || resp.StatusCode != http.StatusOK {
		t.Fatalf("glewlwyd: %s: %s %s %v", path, resp.Status, answer, err)
	}
}

// SignIn fills in the login page of Glewlwyd, agrees to what the client may know
// and returns when the browser has left it. The browser is at that page, or on
// the way to it. A name that was hinted stands there already.
func (g *Glewlwyd) SignIn(t testing.TB, browser *Chromium, user string) {
	t.Helper()
	browser.WaitFor(t, g.URL)
	browser.Run(t, "wait for the login page of glewlwyd", chromedp.WaitVisible(chromedp.CSS(`#username`)))
	if Get(t, browser, "read the hint", chromedp.Evaluate[string](`document.querySelector("#username").value`)) == "" {
		browser.Run(t, "write the name", chromedp.SendKeys(chromedp.CSS(`#username`), user))
	}
	browser.Run(t, fmt.Sprintf("sign in as %s at glewlwyd", user),
		chromedp.SendKeys(chromedp.CSS(`#password`), user),
		chromedp.Click(chromedp.CSS(`#loginbut`)),
	)
	g.Continue(t, browser)
}

// Continue agrees to what the client may know, and goes on, at the page of
// Glewlwyd to which the browser is on the way. It returns when the browser has
// left it.
func (g *Glewlwyd) Continue(t testing.TB, browser *Chromium) {
	t.Helper()
	browser.WaitFor(t, g.URL)
	next := chromedp.Search(`//button[contains(.,"Continue")]`)
	browser.Run(t, "wait for the consent page of glewlwyd", chromedp.WaitVisible(next))
	if Get(t, browser, "read the consent page", chromedp.Evaluate[bool](`document.querySelector("#grant-profile") !== null`)) {
		browser.Run(t, "consent at glewlwyd",
			chromedp.Click(chromedp.CSS(`#grant-profile`)),
			chromedp.Click(chromedp.CSS(`#grant-email`)),
			chromedp.Click(chromedp.Search(`//button[contains(.,"Grant access")]`)),
			chromedp.WaitNotPresent(chromedp.CSS(`#grant-profile`)),
		)
	}
	browser.Run(t, "continue at glewlwyd", chromedp.Click(next))
	browser.WaitOutside(t, g.URL)
}

// SignOut agrees on the logout page of Glewlwyd, to which the browser is on the
// way, and returns when the browser has left it.
func (g *Glewlwyd) SignOut(t testing.TB, browser *Chromium) {
	t.Helper()
	browser.WaitFor(t, g.URL)
	browser.Run(t, "sign out at glewlwyd", chromedp.Click(chromedp.Search(`//button[contains(.,"Logout")]`)))
	browser.WaitOutside(t, g.URL)
}

// installGlewlwyd returns the path of Glewlwyd. Its package would start a service.
func installGlewlwyd(ctx context.Context, dir string) (string, error) {
	path, err := installDebianService(ctx, dir, findGlewlwyd, "glewlwyd", "sqlite3")
	if err != nil {
		return "", fmt.Errorf("no glewlwyd: %w", err)
	}
	return path, nil
}

func findGlewlwyd() string {
	path, err := exec.LookPath("glewlwyd")
	_, noSQL := exec.LookPath("sqlite3")
	_, noSchema := os.Stat(glewlwydSchema)
	if errors.Join(err, noSQL, noSchema) != nil {
		return ""
	}
	return path
}
