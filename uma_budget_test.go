package gatehouse_test

import (
	"fmt"
	"net/http/httptest"
	"testing"

	"example.com/gatehouse"
	"example.com/gatehouse/internal/testkit/opserver"
)

// spent is what went to each endpoint of the authorization server since the last
// reset.
func (w *rsWorld) spent() string {
	var out []string
	for _, e := range opserver.Endpoints() {
		if n := w.Count(e); n > 0 {
			out = append(out, fmt.Sprint(e, " ", n))
		}
	}
	return fmt.Sprint(out)
}

// TestUMABudgetRS counts what a request costs the authorization server, to the
// endpoint: the budget of a resource server.
func TestUMABudgetRS(t *testing.T) {
	w := newRSWorld(t)
	rs := w.resourceServer(gatehouse.ResourceServerConfig{})
	h := photos(rs.UMAProtect(albumRules()))
	step := func(name, want string, do func()) {
		t.Helper()
		w.reset()
		do()
		if got := w.spent(); got != want {
			t.Errorf("%s: %s, want %s", name, got, want)
		}
	}
	get := func(token string) func() {
		return func() {
			if answer := send(h, "GET", "/albums/", token); (token != "") != served(answer) {
				t.Errorf("%d %s", answer.Code, answer.Body)
			}
		}
	}
	step("cold: metadata of both kinds, PAT, list, registration, ticket",
		"[metadata 1 uma_metadata 1 token 1 resource 2 permission 1]", get(""))
	rpt := w.rpt(h, "GET", "/albums/", "photoz", "view")
	step("anonymous", "[permission 1]", get(""))
	step("RPT first seen, by 100 at once", "[introspect 1]", func() {
		for _, a := range inParallel(100, func() *httptest.ResponseRecorder { return send(h, "GET", "/albums/", rpt) }) {
			if !served(a) {
				t.Errorf("%d %s", a.Code, a.Body)
			}
		}
	})
	step("RPT known", "[]", get(rpt))
	step("known RPT that is too weak", "[permission 1]", func() { w.wantTicket(send(h, "DELETE", "/albums/", rpt)) })
	other := w.rpt(h, "GET", "/albums/", "photoz", "view")
	step("RPT first seen, and too weak", "[introspect 1 permission 1]", func() { w.wantTicket(send(h, "DELETE", "/albums/", other)) })
	w.ExpirePATs()
	step("anonymous, and the PAT has ended", "[token 1 permission 2]", get(""))

	// A process that starts again with its ids in a store, and registers what it
	// has: nothing has changed, so one look at each.
	store := &idStore{}
	first := w.resourceServer(gatehouse.ResourceServerConfig{ResourceIDs: store})
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
	second := w.resourceServer(gatehouse.ResourceServerConfig{ResourceIDs: store})
	step("registered again by the next", "[token 1 resource 20]", func() {
		for _, r := range many {
			if _, err := second.Register(t.Context(), r); err != nil {
				t.Error(err)
			}
		}
	})
	if w.made("PUT") != 0 || w.made("POST") != 0 {
		t.Errorf("%d PUT, %d POST for what has not changed", w.made("PUT"), w.made("POST"))
	}
}

// TestUMABudgetRP counts what a request of the client costs: itself, and the
// authorization server.
func TestUMABudgetRP(t *testing.T) {
	for name, push := range map[string]bool{"asked for claims": false, "PushFirst": true} {
		t.Run(name, func(t *testing.T) {
			s := newUMAStory(t)
			s.must(s.Share("alice", s.album, "bob", "view"))
			seen := &tokensSeen{}
			c := shopConfig(s.rsWorld, "bob")
			c.Base, c.PushFirst = seen, push
			shop := s.transport(t, s.newProvider(nil), c)
			do := func(toSite int, want string) {
				t.Helper()
				s.reset()
				seen.tokens = nil
				s.served(t, shop, "GET")
				if n := len(seen.tokens[s.host()]); n != toSite || s.spent() != want {
					t.Errorf("%d requests to the site, %s; want %d, %s", n, s.spent(), toSite, want)
				}
			}
			exchanges := 2 // need_info, then with claims
			if push {
				exchanges = 1
			}
			// Metadata of both kinds, once an hour; the site's ticket and introspection.
			do(2, fmt.Sprintf("[metadata 1 uma_metadata 1 token %d introspect 1 permission 1]", exchanges))
			do(1, "[]")
		})
	}
}
