package interop_test

import (
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"example.com/gatehouse"
	"example.com/gatehouse/interop/servers"
)

// The things that a resource server has to maintain at Keycloak: the owner's
// PAT, the ids and the descriptions.
func TestKeycloakUpkeep(t *testing.T) {
	t.Parallel()
	kc := shared.Keycloak(t)
	photoz := newPhotoz(t, kc, newWatch(t))
	alice := servers.StartChromium(t)
	alice.Open(t, photoz.base+"/albums")
	kc.SignIn(t, alice, "alice")
	u := &upkeep{kc: kc, photoz: photoz, alice: alice}
	u.owner, u.resource = photoz.makeAlbum(t, alice, "garden")
	u.album = photoz.base + "/u/" + u.owner + "/albums/garden"
	photoz.wire.take()
	for _, step := range []struct {
		name string
		run  func(*testing.T)
	}{
		{"PAT expires", u.patExpires},
		{"PAT refused", u.patRefused},
		{"ids lost", u.idsLost},
		{"description changes", u.descriptionChanges},
		{"many at once", u.manyAtOnce},
		{"deregister", u.deregister},
		{"grant forgotten", u.grantForgotten},
	} {
		if !t.Run(step.name, step.run) {
			return
		}
	}
}

type upkeep struct {
	kc              *servers.Keycloak
	photoz          *photoz
	alice           *servers.Chromium
	owner, resource string
	album           string
}

// strangers makes n of them ask at once, and fails unless each is challenged.
func (u *upkeep) strangers(t *testing.T, n int) {
	t.Helper()
	var wg sync.WaitGroup
	answers := make([]answer, n)
	for i := range answers {
		wg.Go(func() { answers[i] = atOnce(t, 1, &http.Client{}, u.album)[0] })
	}
	wg.Wait()
	u.photoz.wire.forgetUnanswered()
	for i, a := range answers {
		if tooSlow(a) {
			answers[i] = u.stranger(t)
		}
	}
	for _, a := range answers {
		if resource, _ := challenged(t, a, u.kc.Issuer("gatehouse")); resource != u.resource {
			t.Errorf("the ticket is for %q, want %q", resource, u.resource)
		}
	}
}

// stranger sends one request, until Keycloak is quick enough for it.
func (u *upkeep) stranger(t *testing.T) answer {
	t.Helper()
	return insist(t, []*wire{u.photoz.wire}, func() answer { return fetch(t, nil, http.MethodGet, u.album) })
}

// patExpires: when the PAT expires it is renewed, once for all requests that
// wait.
func (u *upkeep) patExpires(t *testing.T) {
	const many = 30
	u.photoz.clock.advance(kcTokenLife)
	u.strangers(t, many)
	calls := u.photoz.wire.take()
	if count(calls, "token refresh_token") != 1 || count(calls, "POST permission") != many || len(calls) != many+1 {
		t.Errorf("requests %q, want 1 refresh and %d tickets", namesOf(calls), many)
	}
	u.photoz.clock.advance(-kcTokenLife)
}

// patRefused: Keycloak answers 403 to a PAT that has ended (K1). The PAT is
// renewed and the request is repeated.
func (u *upkeep) patRefused(t *testing.T) {
	u.strangers(t, 1)
	pat := u.photoz.wire.want(t, "POST permission")[0].bearer
	u.revoke(t, pat)
	u.strangers(t, 1)
	calls := u.photoz.wire.want(t, "POST permission", "token refresh_token", "POST permission")
	if calls[0].status != http.StatusForbidden || calls[2].bearer == pat {
		t.Errorf("the PAT that ended: %d, then another: %t", calls[0].status, calls[2].bearer != pat)
	}
}

// revoke ends a token of photoz (RFC 7009), as an administrator would.
func (u *upkeep) revoke(t *testing.T, token string) {
	t.Helper()
	req, err := http.NewRequestWithContext(t.Context(), http.MethodPost,
		u.kc.Issuer("gatehouse")+"/protocol/openid-connect/revoke", strings.NewReader(url.Values{"token": {token}}.Encode()))
	if err != nil {
		t.Fatal(err)
	}
	req.SetBasicAuth("photoz", "photoz-secret")
	req.Header.Set("Content-Type", "application/x-www-form-urlencoded")
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	resp.Body.Close()
	if resp.StatusCode != http.StatusOK {
		t.Fatalf("revocation: %s", resp.Status)
	}
}

// idsLost: if a resource server has lost its ids, it is told that the name is
// taken (K4). It finds the resource by its name, and sees that nothing has to
// be changed (K5: scopes come as objects, and the description is missing).
func (u *upkeep) idsLost(t *testing.T) {
	api := u.photoz.newAPI(t)
	again := must(api.Register(t.Context(), album(u.owner, "garden")))(t)
	calls := u.photoz.wire.take()
	if again.ID != u.resource {
		t.Errorf("id %q, want %q", again.ID, u.resource)
	}
	if len(calls) < 2 || calls[0].name != "POST resource_set" || calls[0].status != http.StatusConflict ||
		calls[1].name != "GET resource_set?" || count(calls, "POST resource_set") != 1 || count(calls, "PUT resource_set/{id}") != 0 {
		t.Errorf("requests %q, the first answered %d", namesOf(calls), calls[0].status)
	}
	must(api.Register(t.Context(), album(u.owner, "garden")))(t)
	u.photoz.wire.want(t) // known now

	// A resource server that has the id but no memory reads and does not write.
	known := album(u.owner, "garden")
	known.ID = u.resource
	if got := must(u.photoz.newAPI(t).Register(t.Context(), known))(t); got.ID != u.resource {
		t.Errorf("id %q, want %q", got.ID, u.resource)
	}
	u.photoz.wire.want(t, "GET resource_set/{id}")
}

func (u *upkeep) descriptionChanges(t *testing.T) {
	icon, described, scoped := album(u.owner, "garden"), album(u.owner, "garden"), album(u.owner, "garden")
	icon.IconURI = "https://photoz.example/other.png"
	described.IconURI, described.Description = icon.IconURI, "another text"
	scoped.IconURI, scoped.Scopes = icon.IconURI, []string{"view", "print", "delete", "frame"}
	for _, test := range []struct {
		name  string
		r     gatehouse.Resource
		calls []string
	}{
		{"icon", icon, []string{"GET resource_set/{id}", "PUT resource_set/{id}"}},
		{"description, which Keycloak does not take", described, []string{"GET resource_set/{id}"}},
		{"scopes", scoped, []string{"GET resource_set/{id}", "PUT resource_set/{id}"}},
	} {
		if got := must(u.photoz.api.Register(t.Context(), test.r))(t); got.ID != u.resource {
			t.Errorf("%s: id %q, want %q", test.name, got.ID, u.resource)
		}
		u.photoz.wire.want(t, test.calls...)
	}
	have := u.read(t, http.StatusOK)
	if have.Icon != icon.IconURI || have.Type != icon.Type || !have.OwnerManaged || have.Owner.ID != u.owner {
		t.Errorf("Keycloak has %+v", have)
	}
	var names []string
	for _, s := range have.Scopes {
		names = append(names, s.Name)
	}
	if slices.Sort(names); !slices.Equal(names, []string{"delete", "frame", "print", "view"}) {
		t.Errorf("scopes %q", names)
	}
}

// remoteResource is a resource as Keycloak describes it (K5).
type remoteResource struct {
	Type   string `json:"type"`
	Icon   string `json:"icon_uri"`
	Scopes []struct {
		Name string `json:"name"`
	} `json:"resource_scopes"`
	OwnerManaged bool `json:"ownerManagedAccess"`
	Owner        struct {
		ID string `json:"id"`
	} `json:"owner"`
}

// read looks the album up at Keycloak, without gatehouse.
func (u *upkeep) read(t *testing.T, status int) (have remoteResource) {
	t.Helper()
	client := &bareClient{id: "photoz", secret: "photoz-secret", provider: discover(t, u.kc.Issuer("gatehouse"))}
	pat := client.token(t, http.StatusOK, passwordGrant("alice")).AccessToken
	address := discoverUMA(t, u.kc).Registration + "/" + u.resource
	if status != http.StatusOK {
		protection(t, http.MethodGet, address, pat, "", status, nil)
		return have
	}
	protection(t, http.MethodGet, address, pat, "", status, &have)
	return have
}

// manyAtOnce: Keycloak creates the scopes that it does not know yet. If several
// requests need the same new scope at once, it answers 409 to some, as if the
// name were taken.
func (u *upkeep) manyAtOnce(t *testing.T) {
	const many = 12
	var wg sync.WaitGroup
	ids, errs := make([]string, many), make([]error, many)
	for i := range many {
		wg.Go(func() {
			made, err := u.photoz.api.Register(t.Context(), gatehouse.Resource{Owner: u.owner,
				Name: fmt.Sprint("garden photo ", i), Scopes: []string{"look", "touch", "smell"}})
			ids[i], errs[i] = made.ID, err
		})
	}
	wg.Wait()
	slices.Sort(ids)
	if distinct := len(slices.Compact(ids)); distinct != many || errors.Join(errs...) != nil {
		t.Errorf("%d of %d registered: %v", distinct, many, errors.Join(errs...))
	}
	u.photoz.wire.take()
}

// deregister removes the album without the other resource server's knowledge.
// That one registers it again when somebody needs it (K9: Keycloak's own code
// for a deleted resource).
func (u *upkeep) deregister(t *testing.T) {
	other := u.photoz.newAPI(t)
	if err := other.Deregister(t.Context(), album(u.owner, "garden")); err != nil {
		t.Fatal(err)
	}
	u.read(t, http.StatusNotFound)
	if err := other.Deregister(t.Context(), album(u.owner, "garden")); err != nil {
		t.Errorf("what is not there: %v", err)
	}
	u.photoz.wire.take()

	resource, _ := challenged(t, u.stranger(t), u.kc.Issuer("gatehouse"))
	if resource == u.resource {
		t.Error("the ticket is for the resource that was deleted")
	}
	u.resource = resource
	calls := u.photoz.wire.take()
	if calls[0].status != http.StatusBadRequest || count(calls, "POST permission") != 2 || count(calls, "POST resource_set") != 1 || len(calls) > 4 {
		t.Errorf("requests %q", namesOf(calls))
	}
	u.strangers(t, 1)
	u.photoz.wire.want(t, "POST permission")
}

// grantForgotten: without Alice's grant nobody gets a ticket. Signing in asks
// her for it again.
func (u *upkeep) grantForgotten(t *testing.T) {
	if err := u.photoz.grants.Forget(t.Context(), u.owner); err != nil {
		t.Fatal(err)
	}
	if calls := u.photoz.wire.take(); count(calls, "POST revoke") == 0 {
		t.Errorf("requests %q, none revokes", namesOf(calls))
	}
	unreachable(t, fetch(t, nil, http.MethodGet, u.album))
	u.photoz.wire.want(t)
	if a := fetch(t, cookiesOf(t, u.alice, u.photoz.base), http.MethodGet, u.album); a.status != http.StatusOK {
		t.Errorf("Alice at her album: %d", a.status)
	}
	u.alice.Open(t, u.photoz.base+"/albums")
	u.kc.SignIn(t, u.alice, "alice") // the revocation has ended her session there too
	if u.alice.URL() != u.photoz.base+"/albums" {
		t.Fatalf("Alice is at %s", u.alice.URL())
	}
	u.photoz.wire.want(t, "token authorization_code") // for the grant alone: at photoz she is signed in
	u.strangers(t, 1)
}

// unreachable fails the test unless the answer says that no ticket could be
// obtained, in the words of UMA Grant §3.2.2.
func unreachable(t testing.TB, a answer) {
	t.Helper()
	if a.status != http.StatusForbidden || a.header.Get("Warning") != `199 - "UMA Authorization Server Unreachable"` ||
		a.header.Get("WWW-Authenticate") != "" {
		t.Fatalf("%d %q %s, want 403 with the Warning", a.status, a.header, a.body)
	}
}

// This is the site's own resource. No person owns it, so client credentials are
// enough. The policy is set in the realm, because there is no owner to ask.
func TestKeycloakServiceResource(t *testing.T) {
	t.Parallel()
	kc := shared.Keycloak(t)
	w := newWatch(t)
	photoz, shop := newPhotoz(t, kc, w), newPrintshop(t, kc, w)
	provider := must(gatehouse.NewProvider(kc.Issuer("gatehouse"), &gatehouse.ProviderConfig{
		Transport: shop.toKeycloak, Logger: w.logger(), Now: shop.clock.now}))(t)
	// Without claims, the shop asks for itself.
	transport := must(gatehouse.NewUMATransport(provider, gatehouse.UMATransportConfig{
		Client: clientOf("printshop"), Base: shop.toPhotoz}))(t)
	t.Cleanup(func() {
		if err := transport.Shutdown(t.Context()); err != nil && t.Context().Err() == nil {
			t.Error(err)
		}
	})
	client := &http.Client{Transport: transport}

	if a := fetch(t, nil, http.MethodGet, photoz.base+"/brochures/"); a.status != http.StatusOK || a.body != "GET /brochures/, identity false" {
		t.Errorf("public: %d %s", a.status, a.body)
	}
	if a := fetch(t, nil, http.MethodDelete, photoz.base+"/brochures/1"); a.status != http.StatusForbidden || a.header.Get("Warning") != "" {
		t.Errorf("no rule: %d", a.status)
	}
	photoz.wire.want(t) // neither asks anybody

	// The first request has it registered.
	stranger := func() answer {
		return insist(t, []*wire{photoz.wire}, func() answer { return fetch(t, nil, http.MethodGet, photoz.base+"/brochures/1") })
	}
	_, scopes := challenged(t, stranger(), kc.Issuer("gatehouse"))
	calls := photoz.wire.want(t, "GET uma2-configuration", "GET openid-configuration", "token client_credentials",
		"POST resource_set", "POST permission")
	if calls[2].form.Has("scope") || !slices.Equal(scopes, []string{"brochure:read"}) {
		t.Errorf("PAT with scope %q (K1), ticket for %q", calls[2].form.Get("scope"), scopes)
	}
	if got := member(calls[3].answer, "owner", "name"); got != "photoz" {
		t.Errorf("the owner is %q", got)
	}
	a := insist(t, []*wire{photoz.wire, shop.toKeycloak}, func() answer { return fetch(t, client, http.MethodGet, photoz.base+"/brochures/1") })
	if a.status != http.StatusOK || a.body != "GET /brochures/1, identity true" {
		t.Fatalf("the shop reads: %d %s", a.status, a.body)
	}
	photoz.wire.want(t, "POST permission", "POST token/introspect")
	shop.toKeycloak.want(t, "GET uma2-configuration", "GET openid-configuration", "token uma-ticket")

	req := must(http.NewRequestWithContext(t.Context(), http.MethodPut, photoz.base+"/brochures/1", strings.NewReader("text")))(t)
	if _, err := client.Do(req); gatehouse.ErrorCode(err) != "uma_denied" {
		t.Errorf("the shop writes: %v", err)
	}
	photoz.wire.take()

	// The PAT expires soon. The next one is requested once, and nobody waits
	// for it.
	photoz.clock.advance(kcTokenLife - 10*time.Second)
	challenged(t, stranger(), kc.Issuer("gatehouse"))
	photoz.wire.await(t, "token client_credentials", "POST permission")
}
