package servers

import (
	"context"
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"testing"
	"time"

	"github.com/chromedp/chromedp"

	"example.com/gatehouse/internal/testkit/process"
)

// oidcProviderStart bounds the start of oidc-provider. It takes 0.4 s on an
// idle machine, but the first start reads from cold disks.
const oidcProviderStart = 5 * time.Minute

// An OIDCProviderClient is a client registered at oidc-provider from its start.
type OIDCProviderClient struct {
	ID     string `json:"client_id"`
	Secret string `json:"client_secret,omitempty"`
	// RedirectURIs and PostLogoutRedirectURIs are compared as strings.
	RedirectURIs           []string `json:"redirect_uris"`
	PostLogoutRedirectURIs []string `json:"post_logout_redirect_uris,omitempty"`
	// GrantTypes are authorization_code and refresh_token if empty.
	GrantTypes []string `json:"grant_types"`
	// ResponseTypes are code if empty. The others need the grant type implicit, and
	// at a redirect URI without TLS the ApplicationType native, whose person is asked
	// each time.
	ResponseTypes   []string `json:"response_types,omitempty"`
	ApplicationType string   `json:"application_type,omitempty"`
	// BackchannelLogoutURI gets logout tokens. With SessionRequired they have a
	// sid, and so have the client's ID Tokens.
	BackchannelLogoutURI string `json:"backchannel_logout_uri,omitempty"`
	SessionRequired      bool   `json:"backchannel_logout_session_required,omitempty"`
	// AuthMethod is client_secret_basic if empty.
	AuthMethod string `json:"token_endpoint_auth_method,omitempty"`
	// AuthAlgorithm is of assertions; any if it is empty. JWKSURI has the keys for
	// private_key_jwt.
	AuthAlgorithm string `json:"token_endpoint_auth_signing_alg,omitempty"`
	JWKSURI       string `json:"jwks_uri,omitempty"`
}

// An OIDCProviderResource is an API for which clients can ask a token (RFC 8707).
type OIDCProviderResource struct {
	// URI is the resource parameter, and the aud of the tokens.
	URI string `json:"uri"`
	// Scope lists the scopes of the API, with spaces in between.
	Scope string `json:"scope"`
	// Opaque tokens are no JWTs.
	Opaque bool `json:"opaque"`
	// Algorithm signs the JWTs. It is RS256 if empty, and can be ES256.
	Algorithm string `json:"algorithm,omitempty"`
}

// An OIDCProviderConfig says how oidc-provider behaves. The zero value is a
// provider without clients that lets its access tokens live for five minutes.
type OIDCProviderConfig struct {
	Clients []OIDCProviderClient
	// AccessTokenTTL is how long an access token is valid, in whole seconds.
	AccessTokenTTL time.Duration
	// AlwaysRefresh issues a refresh token to every client that may use one.
	// Otherwise a client needs the scope offline_access with prompt=consent.
	AlwaysRefresh bool
	// Resources are the APIs with tokens of their own. A token for none of them
	// is opaque and has no audience.
	Resources []OIDCProviderResource
	// ProofNonce demands a nonce in every DPoP proof.
	ProofNonce bool
	// Elsewhere are the members _claim_names and _claim_sources of everybody's user
	// info (OpenID Connect Core §5.6.2), with the scope profile.
	Elsewhere map[string]any
}

// json returns the settings as op.mjs reads them.
func (c OIDCProviderConfig) json() ([]byte, error) {
	clients := append([]OIDCProviderClient{}, c.Clients...)
	for i := range clients {
		if len(clients[i].GrantTypes) == 0 {
			clients[i].GrantTypes = []string{"authorization_code", "refresh_token"}
		}
	}
	return json.Marshal(struct {
		Clients        []OIDCProviderClient   `json:"clients"`
		AccessTokenTTL int                    `json:"accessTokenTTL,omitempty"`
		AlwaysRefresh  bool                   `json:"alwaysRefresh"`
		Resources      []OIDCProviderResource `json:"resources,omitempty"`
		ProofNonce     bool                   `json:"proofNonce,omitempty"`
		Elsewhere      map[string]any         `json:"elsewhere,omitempty"`
	}{clients, int(c.AccessTokenTTL / time.Second), c.AlwaysRefresh, c.Resources, c.ProofNonce, c.Elsewhere})
}

// An OIDCProvider is a running oidc-provider. Every login name exists there,
// with any password, and is the subject of the tokens.
type OIDCProvider struct {
	// Issuer is http://127.0.0.1 with the port.
	Issuer string
	proc   *process.Process
}

// StartOIDCProvider starts an oidc-provider for the duration of the test.
// Refresh tokens rotate, and one that is used twice ends its whole family. PKCE
// is required.
func StartOIDCProvider(t testing.TB, config OIDCProviderConfig) *OIDCProvider {
	t.Helper()
	op, err := startOIDCProvider(t.Context(), config)
	if err != nil {
		t.Fatalf("oidc-provider: %v", err)
	}
	stopAfter(t, "oidc-provider", op.proc)
	return op
}

func startOIDCProvider(ctx context.Context, config OIDCProviderConfig) (*OIDCProvider, error) {
	dir, err := installDir()
	if err != nil {
		return nil, err
	}
	node, err := installNode(ctx, dir)
	if err != nil {
		return nil, err
	}
	settings, err := config.json()
	if err != nil {
		return nil, err
	}
	cmd := exec.Command("node", "op.mjs")
	cmd.Dir = node
	cmd.Env = append(os.Environ(), "OP_CONFIG="+string(settings))
	var said struct {
		Issuer string `json:"issuer"`
	}
	ctx, cancel := context.WithTimeout(ctx, oidcProviderStart)
	defer cancel()
	proc, err := process.Start(ctx, "oidc-provider", cmd, func(line []byte) bool {
		return json.Unmarshal(line, &said) == nil && said.Issuer != ""
	})
	if err != nil {
		return nil, err
	}
	return &OIDCProvider{Issuer: said.Issuer, proc: proc}, nil
}

// Log returns the end of what the server wrote: a line for each refusal.
func (op *OIDCProvider) Log() string {
	return op.proc.Log(process.LogKept)
}

// SignIn fills in the login and consent pages of oidc-provider, and returns
// when the browser has left them. The browser is at these pages or on the way
// to them.
func (op *OIDCProvider) SignIn(t testing.TB, browser *Chromium, login string) {
	t.Helper()
	browser.Run(t, fmt.Sprintf("sign in as %s at oidc-provider", login),
		chromedp.SendKeys(chromedp.CSS(`input[name=login]`), login),
		chromedp.SendKeys(chromedp.CSS(`input[name=password]`), "any"),
		chromedp.Click(chromedp.CSS(`button[type=submit]`)),
	)
	op.Consent(t, browser)
}

// Consent agrees on the consent page of oidc-provider, to which the browser is
// on the way, and returns when the browser has left it.
func (op *OIDCProvider) Consent(t testing.TB, browser *Chromium) {
	t.Helper()
	browser.Run(t, "consent at oidc-provider",
		// The login page has the same button, so wait for something that only
		// this page has.
		chromedp.WaitReady(chromedp.CSS(`input[name=prompt][value=consent]`)),
		chromedp.Click(chromedp.CSS(`button[type=submit]`)),
	)
	browser.WaitOutside(t, op.Issuer)
}

// EndSession signs the person of the browser out of oidc-provider, without a
// word from any client.
func (op *OIDCProvider) EndSession(t testing.TB, browser *Chromium) {
	t.Helper()
	browser.Open(t, op.Issuer+"/session/end")
	browser.Follow(t, "sign out at oidc-provider", chromedp.Click(chromedp.CSS(`button[name=logout][value=yes]`)))
}

// SignOut agrees on the logout page of oidc-provider, to which the browser is
// on the way, and returns when the browser has left it.
func (op *OIDCProvider) SignOut(t testing.TB, browser *Chromium) {
	t.Helper()
	browser.Run(t, "sign out at oidc-provider",
		chromedp.Click(chromedp.CSS(`button[name=logout][value=yes]`)),
	)
	browser.WaitOutside(t, op.Issuer)
}
