package interop_test

import (
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"strings"
	"syscall"
	"testing"

	"example.com/gatehouse/interop/servers"
)

func passwordGrant(user string) url.Values {
	return url.Values{"grant_type": {"password"}, "username": {user}, "password": {user}, "scope": {"openid"}}
}

func TestKeycloakRotatesRefreshTokens(t *testing.T) {
	t.Parallel()
	kc := shared.Keycloak(t)
	client := &bareClient{id: "notes", secret: "notes-secret", provider: discover(t, kc.Issuer("rotate"))}
	first := client.token(t, http.StatusOK, passwordGrant("alice"))
	again := url.Values{"grant_type": {"refresh_token"}, "refresh_token": {first.RefreshToken}}
	second := client.token(t, http.StatusOK, again)
	if second.RefreshToken == first.RefreshToken {
		t.Error("the refresh token did not rotate")
	}
	client.token(t, http.StatusBadRequest, again)
}

// Alice may own resources, Bob may not: only she has the role.
func TestKeycloakOwners(t *testing.T) {
	t.Parallel()
	kc := shared.Keycloak(t)
	uma := discoverUMA(t, kc)
	client := &bareClient{id: "photoz", secret: "photoz-secret", provider: discover(t, kc.Issuer("gatehouse"))}
	for _, test := range []struct {
		who  string
		form url.Values
		want int
	}{
		{"alice", passwordGrant("alice"), http.StatusOK},
		{"bob", passwordGrant("bob"), http.StatusForbidden},
		{"photoz", url.Values{"grant_type": {"client_credentials"}}, http.StatusOK},
	} {
		t.Run(test.who, func(t *testing.T) {
			pat := client.token(t, http.StatusOK, test.form).AccessToken
			protection(t, http.MethodGet, uma.Registration, pat, "", test.want, nil)
		})
	}
}

// The owner's side of the UMA path, and what a stranger sees of it.
func TestKeycloakOwnerDecides(t *testing.T) {
	t.Parallel()
	kc := shared.Keycloak(t)
	uma := discoverUMA(t, kc)
	photoz := &bareClient{id: "photoz", secret: "photoz-secret", provider: discover(t, kc.Issuer("gatehouse"))}
	printshop := &bareClient{id: "printshop", secret: "printshop-secret", provider: photoz.provider}
	pat := photoz.token(t, http.StatusOK, passwordGrant("alice")).AccessToken
	bob := printshop.token(t, http.StatusOK, passwordGrant("bob")).IDToken

	var album struct {
		ID string `json:"_id"`
	}
	protection(t, http.MethodPost, uma.Registration, pat,
		`{"name":"harness album","resource_scopes":["view"],"ownerManagedAccess":true}`, http.StatusCreated, &album)
	var permission struct {
		Ticket string `json:"ticket"`
	}
	protection(t, http.MethodPost, uma.Permission, pat,
		fmt.Sprintf(`[{"resource_id":%q,"resource_scopes":["view"]}]`, album.ID), http.StatusCreated, &permission)

	ask := func(status int, more url.Values) {
		t.Helper()
		form := url.Values{"grant_type": {"urn:ietf:params:oauth:grant-type:uma-ticket"}, "ticket": {permission.Ticket},
			"claim_token": {bob}, "claim_token_format": {"http://openid.net/specs/openid-connect-core-1_0.html#IDToken"}}
		for name, values := range more {
			form[name] = values
		}
		printshop.token(t, status, form)
	}
	quietly := url.Values{"submit_request": {"false"}}

	alice := kc.Owner(t, "alice")
	ask(http.StatusForbidden, quietly)
	if inbox := alice.Inbox(t, album.ID); len(inbox) != 0 {
		t.Fatalf("inbox %+v after submit_request=false", inbox)
	}
	ask(http.StatusForbidden, nil)
	inbox := alice.Inbox(t, album.ID)
	want := servers.Share{Resource: "harness album", Scope: "view", Requester: "bob"}
	if len(inbox) == 1 {
		want.ID = inbox[0].ID
	}
	if len(inbox) != 1 || inbox[0] != want {
		t.Fatalf("inbox %+v, want %+v", inbox, want)
	}
	alice.Grant(t, inbox[0])
	ask(http.StatusOK, quietly)
	shares := alice.Shares(t, album.ID)
	if len(shares) != 1 || !shares[0].Granted {
		t.Fatalf("shares %+v", shares)
	}
	alice.TakeBack(t, shares[0])
	ask(http.StatusForbidden, quietly)
}

// A test can cut its own way to the shared server, which the others keep.
func TestKeycloakVia(t *testing.T) {
	t.Parallel()
	kc := shared.Keycloak(t)
	other, line := kc.Via(t)
	reach := func(kc *servers.Keycloak) error {
		resp, err := http.Get(kc.Issuer("gatehouse"))
		if err == nil {
			resp.Body.Close()
		}
		return err
	}
	if issuer := discoverUMA(t, other).Issuer; issuer != other.Issuer("gatehouse") || other.URL == kc.URL {
		t.Errorf("issuer %s at %s", issuer, other.URL)
	}
	line.Cut()
	if err := reach(other); !errors.Is(err, syscall.ECONNREFUSED) {
		t.Errorf("cut: %v, want connection refused", err)
	}
	if err := reach(kc); err != nil {
		t.Errorf("the shared server: %v", err)
	}
	line.Mend(t)
	if err := reach(other); err != nil {
		t.Errorf("mended: %v", err)
	}
}

func discoverUMA(t *testing.T, kc *servers.Keycloak) metadata {
	t.Helper()
	var found metadata
	getJSON(t, kc.Issuer("gatehouse")+"/.well-known/uma2-configuration", &found)
	return found
}

// protection sends a request to the protection API that must be answered with
// a status, and reads the answer into a value unless that is nil.
func protection(t *testing.T, method, address, pat, body string, status int, into any) {
	t.Helper()
	req, err := http.NewRequestWithContext(t.Context(), method, address, strings.NewReader(body))
	if err != nil {
		t.Fatal(err)
	}
	req.Header.Set("Authorization", "Bearer "+pat)
	req.Header.Set("Content-Type", "application/json")
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	if resp.StatusCode != status {
		t.Fatalf("%s %s: %s, want %d", method, address, resp.Status, status)
	}
	if into == nil {
		return
	}
	if err := json.NewDecoder(resp.Body).Decode(into); err != nil {
		t.Fatalf("%s %s: %v", method, address, err)
	}
}
