package uma_rs_test

import (
	"fmt"
	"net/http"
	"net/http/httptest"
	"testing"

	"example.com/gatehouse"
	"example.com/gatehouse/internal/e2e/world"
	"example.com/gatehouse/internal/testkit/opserver"
)

// TestUMABudgetRS counts what a request costs the authorization server, per
// endpoint.
func TestUMABudgetRS(t *testing.T) {
	w := world.NewPhotoz(t)
	rs := w.ResourceServer(gatehouse.ResourceServerConfig{})
	h := world.Photos(rs.UMAProtect(world.AlbumRules()))
	step := func(name, want string, do func()) {
		t.Helper()
		w.Reset()
		do()
		if got := w.Spent(); got != want {
			t.Errorf("%s: %s, want %s", name, got, want)
		}
	}
	get := func(token string) func() {
		return func() {
			if answer := world.Send(h, "GET", "/albums/", token); (token != "") != world.Served(answer) {
				t.Errorf("%d %s", answer.Code, answer.Body)
			}
		}
	}
	step("cold: metadata of both kinds, PAT, list, registration, ticket",
		"[metadata 1 uma_metadata 1 token 1 resource 2 permission 1]", get(""))
	rpt := w.RPT(h, "GET", "/albums/", "photoz", "view")
	step("anonymous", "[permission 1]", get(""))
	step("RPT first seen, by 100 at once", "[introspect 1]", func() {
		for _, a := range world.Together(100, func(int) *httptest.ResponseRecorder { return world.Send(h, "GET", "/albums/", rpt) }) {
			if !world.Served(a) {
				t.Errorf("%d %s", a.Code, a.Body)
			}
		}
	})
	step("RPT known", "[]", get(rpt))
	step("known RPT that is too weak", "[permission 1]", func() { w.WantTicket(world.Send(h, "DELETE", "/albums/", rpt)) })
	other := w.RPT(h, "GET", "/albums/", "photoz", "view")
	step("RPT first seen, and too weak", "[introspect 1 permission 1]", func() { w.WantTicket(world.Send(h, "DELETE", "/albums/", other)) })
	w.ExpirePATs()
	step("anonymous, and the PAT has ended", "[token 1 permission 2]", get(""))

	// A process restarts with its ids in a store and registers its resources.
	// Nothing has changed, so it reads each one once.
	store := &idStore{}
	first := w.ResourceServer(gatehouse.ResourceServerConfig{ResourceIDs: store})
	many := make([]gatehouse.Resource, 20)
	for i := range many {
		many[i] = gatehouse.Resource{Name: fmt.Sprint("album ", i), Scopes: []string{"view"}}
		if _, err := first.Register(t.Context(), many[i]); err != nil {
			t.Fatal(err)
		}
	}
	step("registered again by the same process", "[]", func() {
		for _, r := range many {
			if _, err := first.Register(t.Context(), r); err != nil {
				t.Error(err)
			}
		}
	})
	second := w.ResourceServer(gatehouse.ResourceServerConfig{ResourceIDs: store})
	step("registered again by the next", "[token 1 resource 20]", func() {
		for _, r := range many {
			if _, err := second.Register(t.Context(), r); err != nil {
				t.Error(err)
			}
		}
	})
	if w.Made("PUT") != 0 || w.Made("POST") != 0 {
		t.Errorf("%d PUT, %d POST for what has not changed", w.Made("PUT"), w.Made("POST"))
	}
}

// TestUMA_CallsPerRequest checks what requests cost the authorization server.
func TestUMA_CallsPerRequest(t *testing.T) {
	w := world.NewPhotoz(t)
	h := world.Photos(w.ResourceServer(gatehouse.ResourceServerConfig{}).UMAProtect(world.AlbumRules()))
	token := w.RPT(h, "GET", "/albums/", "photoz", "view")

	w.Reset()
	w.WantTicket(world.Send(h, "GET", "/albums/", ""))
	if w.Total() != 1 || w.Count(opserver.EndpointPermission) != 1 {
		t.Errorf("a challenge with PAT and id known cost %d requests, %d at the permission endpoint; want exactly 1", w.Total(), w.Count(opserver.EndpointPermission))
	}
	w.Reset()
	world.Send(h, "GET", "/albums/", token)
	if w.Total() != 1 || w.Count(opserver.EndpointIntrospect) != 1 {
		t.Errorf("a token seen for the first time cost %d requests, want 1 introspection", w.Total())
	}
	w.Reset()
	for range 50 {
		if answer := world.Send(h, "GET", "/albums/", token); !world.Served(answer) {
			t.Fatalf("hot request: %d %s", answer.Code, answer.Body)
		}
	}
	if w.Total() != 0 {
		t.Errorf("50 hot requests cost %d requests, want none", w.Total())
	}
	w.Reset()
	w.WantTicket(world.Send(h, "DELETE", "/albums/", token))
	if w.Total() != 1 {
		t.Errorf("a known token that is too weak cost %d requests, want 1", w.Total())
	}
	for _, target := range []string{"/nothing", "/albums", "/albums//x"} {
		w.Reset()
		if answer := world.Send(h, "GET", target, token); answer.Code != http.StatusForbidden || w.Total() != 0 {
			t.Errorf("GET %s: %d for %d requests, want 403 for none", target, answer.Code, w.Total())
		}
	}
}

// TestUMA_HundredFirstRequests: parallel first requests share one PAT request
// and one registration.
func TestUMA_HundredFirstRequests(t *testing.T) {
	w := world.NewPhotoz(t)
	h := world.Photos(w.ResourceServer(gatehouse.ResourceServerConfig{MaxTicketCalls: 100}).UMAProtect(world.AlbumRules()))
	answers := world.Together(100, func(int) *httptest.ResponseRecorder { return world.Send(h, "GET", "/albums/", "") })
	for _, a := range answers {
		w.WantTicket(a)
	}
	if pats, made := w.CountToken("client_credentials"), w.Made("POST"); pats != 1 || made != 1 {
		t.Errorf("100 first requests: %d PAT requests, %d registrations; want 1 and 1", pats, made)
	}
	if n := w.Count(opserver.EndpointPermission); n != 100 {
		t.Errorf("%d permission requests, want one for each of 100 clients", n)
	}
	if n := len(w.Resources("photoz")); n != 1 {
		t.Errorf("%d resources, want 1", n)
	}
}

// TestUMA_HundredWithOneToken: parallel requests with a new token share one
// introspection.
func TestUMA_HundredWithOneToken(t *testing.T) {
	w := world.NewPhotoz(t)
	h := world.Photos(w.ResourceServer(gatehouse.ResourceServerConfig{}).UMAProtect(world.AlbumRules()))
	token := w.RPT(h, "GET", "/albums/", "photoz", "view")
	w.Reset()
	for _, a := range world.Together(100, func(int) *httptest.ResponseRecorder { return world.Send(h, "GET", "/albums/", token) }) {
		if !world.Served(a) {
			t.Errorf("answer %d %s", a.Code, a.Body)
		}
	}
	if n := w.Count(opserver.EndpointIntrospect); n != 1 {
		t.Errorf("%d introspections, want 1", n)
	}
}
