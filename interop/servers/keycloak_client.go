package servers

import (
	"bytes"
	"encoding/json"
	"net/http"
	"net/url"
	"strings"
	"testing"

	"github.com/chromedp/chromedp"
)

// administrator returns the access token of the administrator, and an agent.
func (kc *Keycloak) administrator(t testing.TB) (token string, agent *Owner) {
	t.Helper()
	agent = &Owner{userAgent: http.Client{Timeout: apiTimeout}}
	form := url.Values{"grant_type": {"password"}, "client_id": {"admin-cli"}, "username": {keycloakAdmin}, "password": {keycloakAdmin}}
	req := request(t, http.MethodPost, kc.Issuer("master")+"/protocol/openid-connect/token", strings.NewReader(form.Encode()))
	req.Header.Set("Content-Type", "application/x-www-form-urlencoded")
	var admin struct {
		Token string `json:"access_token"`
	}
	agent.send(t, req, http.StatusOK, &admin)
	return admin.Token, agent
}

// post sends JSON with a token.
func (o *Owner) post(t testing.TB, address, token string, status int, body, into any) {
	t.Helper()
	text, err := json.Marshal(body)
	if err != nil {
		t.Fatal(err)
	}
	req := request(t, http.MethodPost, address, bytes.NewReader(text))
	req.Header.Set("Content-Type", "application/json")
	req.Header.Set("Authorization", "Bearer "+token)
	o.send(t, req, status, into)
}

// Register registers a client in a realm (OpenID Connect Dynamic Client
// Registration 1.0 §3) and returns its id and secret. The administrator gives it
// the initial access token.
func (kc *Keycloak) Register(t testing.TB, realm string, metadata map[string]any) (id, secret string) {
	t.Helper()
	_, agent := kc.administrator(t)
	var client struct {
		ID     string `json:"client_id"`
		Secret string `json:"client_secret"`
	}
	agent.post(t, kc.Issuer(realm)+"/clients-registrations/openid-connect", kc.InitialToken(t, realm), http.StatusCreated, metadata, &client)
	return client.ID, client.Secret
}

// InitialToken returns an initial access token, with which one client may be
// registered.
func (kc *Keycloak) InitialToken(t testing.TB, realm string) string {
	t.Helper()
	admin, agent := kc.administrator(t)
	var initial struct {
		Token string `json:"token"`
	}
	agent.post(t, kc.URL+"/admin/realms/"+realm+"/clients-initial-access", admin, http.StatusCreated, map[string]int{"count": 1, "expiration": 600}, &initial)
	return initial.Token
}

// AddClient adds a client to a realm as the administrator, in the form of a realm
// file, which says more than a registration can.
func (kc *Keycloak) AddClient(t testing.TB, realm string, client map[string]any) {
	t.Helper()
	admin, agent := kc.administrator(t)
	agent.post(t, kc.URL+"/admin/realms/"+realm+"/clients", admin, http.StatusCreated, client, nil)
}

// EndSession signs the person of the browser out of Keycloak, without a word
// from any client, and returns when the page after it is there.
func (kc *Keycloak) EndSession(t testing.TB, browser *Chromium, realm string) {
	t.Helper()
	browser.Open(t, kc.Issuer(realm)+"/protocol/openid-connect/logout")
	browser.Follow(t, "sign out at keycloak", chromedp.Click(chromedp.CSS(`#kc-logout`)))
}
