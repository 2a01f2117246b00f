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

// An Owner is a person who decides about shares of what she owns at photoz,
// as she would on the pages of Keycloak, by its API for permission tickets.
// That API is Keycloak's own: UMA leaves it open how an owner decides.
type Owner struct {
	token     string
	endpoint  string // of permission tickets
	userAgent http.Client
}

// A Share is one scope of a resource that somebody has asked for, or has.
type Share struct {
	ID       string `json:"id"`
	Resource string `json:"resourceName"`
	Scope    string `json:"scopeName"`
	// Requester is a user name.
	Requester string `json:"requesterName"`
	Granted   bool   `json:"granted"`
}

// Owner signs a user of the realm gatehouse in, as one who owns resources at
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

// Inbox returns what people have asked of a resource and the owner has not
// answered.
func (o *Owner) Inbox(t testing.TB, resourceID string) []Share {
	t.Helper()
	return o.list(t, resourceID, "false")
}

// Shares returns what the owner has granted of a resource.
func (o *Owner) Shares(t testing.TB, resourceID string) []Share {
	t.Helper()
	return o.list(t, resourceID, "true")
}

func (o *Owner) list(t testing.TB, resourceID, granted string) []Share {
	t.Helper()
	query := url.Values{"resourceId": {resourceID}, "granted": {granted}, "returnNames": {"true"}}
	var shares []Share
	o.send(t, o.request(t, http.MethodGet, "?"+query.Encode(), nil), http.StatusOK, &shares)
	return shares
}

// Grant says yes to what somebody has asked for.
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

// TakeBack ends a share, or removes what somebody has asked for from the
// inbox. Tokens that were given before live on.
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
	// Not the context of the test: cleanups may decide too.
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
