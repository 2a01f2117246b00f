package servers

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"strings"
	"testing"
	"time"
)

const (
	// apiTimeout bounds a request to the API of a server on this machine, should
	// it hang.
	apiTimeout = 3 * time.Minute
	// apiBody bounds the answer.
	apiBody = 1 << 20
)

// An Owner is a person who decides about shares of resources that she owns at
// photoz. She uses Keycloak's API for permission tickets, and could do the same
// on its pages. That API is Keycloak's own, because UMA does not say how an
// owner decides.
type Owner struct {
	token     string
	endpoint  string // of permission tickets
	userAgent http.Client
}

// A Share is one scope of a resource that somebody has requested or has.
type Share struct {
	ID       string `json:"id"`
	Resource string `json:"resourceName"`
	Scope    string `json:"scopeName"`
	// Requester is a user name.
	Requester string `json:"requesterName"`
	Granted   bool   `json:"granted"`
}

// Owner signs in a user of the realm gatehouse as an owner of resources at
// photoz.
func (kc *Keycloak) Owner(t testing.TB, user string) *Owner {
	t.Helper()
	o := &Owner{userAgent: http.Client{Timeout: apiTimeout}}
	var metadata struct {
		Token      string `json:"token_endpoint"`
		Permission string `json:"permission_endpoint"`
	}
	req := request(t, http.MethodGet, kc.Issuer("gatehouse")+"/.well-known/uma2-configuration", nil)
	o.send(t, req, http.StatusOK, &metadata)
	o.endpoint = metadata.Permission + "/ticket"

	form := url.Values{"grant_type": {"password"}, "username": {user}, "password": {user}}
	req = request(t, http.MethodPost, metadata.Token, strings.NewReader(form.Encode()))
	req.Header.Set("Content-Type", "application/x-www-form-urlencoded")
	req.SetBasicAuth("photoz", "photoz-secret")
	var answer struct {
		AccessToken string `json:"access_token"`
	}
	o.send(t, req, http.StatusOK, &answer)
	o.token = answer.AccessToken
	return o
}

// Inbox returns the requests for a resource that the owner has not answered, those
// for all resources if the id is empty.
func (o *Owner) Inbox(t testing.TB, resourceID string) []Share {
	t.Helper()
	return o.list(t, resourceID, "false")
}

// Shares returns the scopes of a resource that the owner has granted.
func (o *Owner) Shares(t testing.TB, resourceID string) []Share {
	t.Helper()
	return o.list(t, resourceID, "true")
}

func (o *Owner) list(t testing.TB, resourceID, granted string) []Share {
	t.Helper()
	query := url.Values{"granted": {granted}, "returnNames": {"true"}}
	if resourceID != "" {
		query.Set("resourceId", resourceID)
	}
	var shares []Share
	o.send(t, o.request(t, http.MethodGet, "?"+query.Encode(), nil), http.StatusOK, &shares)
	return shares
}

// Grant grants a request.
func (o *Owner) Grant(t testing.TB, share Share) {
	t.Helper()
	body, err := json.Marshal(map[string]any{"id": share.ID, "granted": true})
	if err != nil {
		t.Fatalf("keycloak: %v", err)
	}
	req := o.request(t, http.MethodPut, "", bytes.NewReader(body))
	req.Header.Set("Content-Type", "application/json")
	o.send(t, req, http.StatusNoContent, nil)
}

// TakeBack ends a share, or removes a request from the inbox. Tokens that were
// given before stay valid.
func (o *Owner) TakeBack(t testing.TB, share Share) {
	t.Helper()
	o.send(t, o.request(t, http.MethodDelete, "/"+share.ID, nil), http.StatusNoContent, nil)
}

func (o *Owner) request(t testing.TB, method, rest string, body io.Reader) *http.Request {
	t.Helper()
	req := request(t, method, o.endpoint+rest, body)
	req.Header.Set("Authorization", "Bearer "+o.token)
	return req
}

func request(t testing.TB, method, address string, body io.Reader) *http.Request {
	t.Helper()
	// It does not use the context of the test, because cleanups may decide too.
	req, err := http.NewRequestWithContext(context.Background(), method, address, body)
	if err != nil {
		t.Fatalf("keycloak: %v", err)
	}
	return req
}

// send sends a request that must be answered with a status, and reads the
// answer into one value unless that is nil.
func (o *Owner) send(t testing.TB, req *http.Request, status int, into any) {
	t.Helper()
	resp, err := o.userAgent.Do(req)
	if err != nil {
		t.Fatalf("keycloak: %v", err)
	}
	defer resp.Body.Close()
	body, err := io.ReadAll(io.LimitReader(resp.Body, apiBody))
	if err == nil && resp.StatusCode != status {
		err = fmt.Errorf("%s, want %d: %.300s", resp.Status, status, body)
	}
	if err == nil && into != nil {
		err = json.Unmarshal(body, into)
	}
	if err != nil {
		t.Fatalf("keycloak: %s %s: %v", req.Method, req.URL.Path, err)
	}
}
