package interop_test

import (
	"fmt"
	"net/http"
	"net/url"
	"strings"
	"sync"
	"testing"

	"example.com/gatehouse/internal/testkit/umacases"
	"example.com/gatehouse/interop/servers"
)

// The test kit's provider, in its Keycloak dialect, is tested against this
// table. Here the table is run at the real one.
func TestKeycloakTable(t *testing.T) {
	t.Parallel()
	kc := shared.Keycloak(t)
	table := must(umacases.Open(t.Context(), kc.Issuer("gatehouse")))(t)
	at := newCasesAt(t, kc)
	for _, c := range umacases.Cases() {
		t.Run(c.Name, func(t *testing.T) {
			if err := table.Run(t.Context(), at.world(t), c); err != nil {
				t.Error(err)
			}
		})
	}
}

// casesAt makes the people of the cases act at a real Keycloak.
type casesAt struct {
	kc       *servers.Keycloak
	provider metadata
	alice    *servers.Owner
	tickets  string // address of the API for shares
	pat      string // alice's, to use it

	mu       sync.Mutex
	sessions map[string][]session // by user
}

// session holds what is needed to end a session.
type session struct{ client, refresh string }

func newCasesAt(t *testing.T, kc *servers.Keycloak) *casesAt {
	t.Helper()
	c := &casesAt{kc: kc, provider: discover(t, kc.Issuer("gatehouse")), alice: kc.Owner(t, "alice"), sessions: map[string][]session{}}
	c.tickets = discoverUMA(t, kc).Permission + "/ticket"
	c.pat = c.client("photoz").token(t, http.StatusOK, passwordGrant("alice")).AccessToken
	return c
}

// world is for one subtest, which fails on its own.
func (c *casesAt) world(t *testing.T) umacases.World {
	return umacases.World{Keycloak: true, Prefix: "table-",
		Tokens:   func(user, client string) (umacases.Tokens, error) { return c.tokens(t, user, client), nil },
		SignOut:  func(user string) error { c.signOut(t, user); return nil },
		Share:    func(_, resource, who, scope string) error { c.share(t, resource, who, scope); return nil },
		TakeBack: func(_, resource, who, scope string) error { c.takeBack(t, resource, who, scope); return nil },
		Pending:  func(_, resource string) (int, error) { return len(c.alice.Inbox(t, resource)), nil },
	}
}

func (c *casesAt) client(id string) *bareClient {
	return &bareClient{id: id, secret: id + "-secret", provider: c.provider}
}

func (c *casesAt) tokens(t *testing.T, user, client string) umacases.Tokens {
	form := url.Values{"grant_type": {"client_credentials"}}
	if user != "" {
		form = passwordGrant(user)
	}
	got := c.client(client).token(t, http.StatusOK, form)
	if user != "" {
		c.mu.Lock()
		defer c.mu.Unlock()
		c.sessions[user] = append(c.sessions[user], session{client, got.RefreshToken})
	}
	return umacases.Tokens{Access: got.AccessToken, ID: got.IDToken}
}

// signOut does what an application without a browser does: Keycloak ends the
// session of a refresh token.
func (c *casesAt) signOut(t *testing.T, user string) {
	c.mu.Lock()
	defer c.mu.Unlock()
	for _, s := range c.sessions[user] {
		body := strings.NewReader(url.Values{"refresh_token": {s.refresh}}.Encode())
		req := must(http.NewRequestWithContext(t.Context(), http.MethodPost, c.provider.EndSession, body))(t)
		req.SetBasicAuth(s.client, s.client+"-secret")
		req.Header.Set("Content-Type", "application/x-www-form-urlencoded")
		resp := must(http.DefaultClient.Do(req))(t)
		resp.Body.Close()
		if resp.StatusCode != http.StatusNoContent {
			t.Fatalf("sign out: %s", resp.Status)
		}
	}
	c.sessions[user] = nil
}

// share lets somebody in who may not have asked yet, by Keycloak's own API for
// it (K21).
func (c *casesAt) share(t *testing.T, resource, who, scope string) {
	for _, s := range c.alice.Inbox(t, resource) {
		if s.Requester == who && s.Scope == scope {
			c.alice.Grant(t, s)
			return
		}
	}
	protection(t, http.MethodPost, c.tickets, c.pat,
		fmt.Sprintf(`{"resource":%q,"requesterName":%q,"scopeName":%q,"granted":true}`, resource, who, scope), http.StatusOK, nil)
}

func (c *casesAt) takeBack(t *testing.T, resource, who, scope string) {
	for _, s := range c.alice.Shares(t, resource) {
		if s.Requester == who && s.Scope == scope {
			c.alice.TakeBack(t, s)
			return
		}
	}
	t.Fatalf("%s does not have %s", who, scope)
}
