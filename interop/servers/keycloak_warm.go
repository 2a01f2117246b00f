package servers

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"strings"
)

// warm calls each endpoint of the realm gatehouse once, so that it is as fast
// for the tests as in service. A Keycloak that has just started takes up to 3 s
// for the first request of a kind, which is longer than gatehouse waits. All
// requests but the token request are refused, so nothing is left afterwards.
func (kc *Keycloak) warm(ctx context.Context) error {
	base := kc.Issuer("gatehouse")
	connect, authz := base+"/protocol/openid-connect", base+"/authz/protection"
	form := "application/x-www-form-urlencoded"
	body, err := kc.knock(ctx, connect+"/token", "", form, url.Values{"grant_type": {"client_credentials"}}.Encode())
	if err != nil {
		return err
	}
	var answer struct {
		Token string `json:"access_token"`
	}
	if err := json.Unmarshal(body, &answer); err != nil || answer.Token == "" {
		return fmt.Errorf("no token for photoz: %.300s", body)
	}
	for _, request := range []struct{ address, token, kind, body string }{
		{base + "/.well-known/openid-configuration", "", "", ""},
		{base + "/.well-known/uma2-configuration", "", "", ""},
		{connect + "/certs", "", "", ""},
		{connect + "/userinfo", answer.Token, "", ""},
		{authz + "/resource_set?name=none&exactName=true&owner=photoz&max=-1", answer.Token, "", ""},
		{authz + "/resource_set/none", answer.Token, "", ""},
		{authz + "/resource_set", answer.Token, "application/json", `{"resource_scopes":["none"]}`}, // no name
		{authz + "/permission", answer.Token, "application/json", `[{"resource_id":"none","resource_scopes":["none"]}]`},
		{connect + "/token/introspect", "", form, "token_type_hint=requesting_party_token&token=none"},
		{connect + "/token", "", form, url.Values{"grant_type": {"urn:ietf:params:oauth:grant-type:uma-ticket"}, "ticket": {"none"}}.Encode()},
		{connect + "/token", "", form, "grant_type=refresh_token&refresh_token=none"},
	} {
		if _, err := kc.knock(ctx, request.address, request.token, request.kind, request.body); err != nil {
			return err
		}
	}
	return nil
}

// knock sends a request as photoz, or with a token, and returns the body of
// whatever answer comes. If there is a content type, the request is a POST.
func (kc *Keycloak) knock(ctx context.Context, address, token, kind, body string) ([]byte, error) {
	ctx, cancel := context.WithTimeout(ctx, apiTimeout)
	defer cancel()
	method, header := http.MethodGet, http.Header{}
	if kind != "" {
		method = http.MethodPost
		header.Set("Content-Type", kind)
	}
	req, err := http.NewRequestWithContext(ctx, method, address, strings.NewReader(body))
	if err != nil {
		return nil, err
	}
	req.Header = header
	req.SetBasicAuth("photoz", "photoz-secret")
	if token != "" {
		req.Header.Set("Authorization", "Bearer "+token)
	}
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		return nil, err
	}
	defer resp.Body.Close()
	return io.ReadAll(io.LimitReader(resp.Body, apiBody))
}
