package interop_test

import (
	"net/http"
	"strings"
	"testing"
	"time"
)

// behaviours lists how our resource server and our UMA client behave at an
// authorization server that follows the specifications, and at a Keycloak. If
// the second column is empty, there is no difference.
//
// What one sees of them: "challenged" is 401 with a ticket, "unreachable" 403 with
// the Warning; the shop shows the status with what was granted, or the code of its
// error. In brackets are the requests to the authorization server, metadata and
// PATs left out: by the resource server, and by the shop (token uma-ticket); reads
// of resources count once, however many alice has.
var behaviours = []struct {
	name           string
	run            func(*scene)
	want, keycloak string
}{
	{"a stranger is challenged", func(s *scene) { s.stranger() },
		"challenged [ticket]", ""},
	{"the first request registers what it needs", func(s *scene) { s.fresh(); s.stranger(); s.stranger() },
		"challenged [GET resource, POST resource, ticket]; challenged [ticket]",
		"challenged [POST resource, ticket]; challenged [ticket]"}, // Keycloak itself says when a name is taken (K4)
	{"granted", func(s *scene) { s.share("bob", "view"); s.bob(http.MethodGet); s.bob(http.MethodGet) },
		"200 [view] [introspect, ticket, token uma-ticket]; 200 [view] []", ""},
	{"refused, and nobody is asked", func(s *scene) { s.bob(http.MethodGet) },
		"request_submitted, ticket true [ticket, token uma-ticket]",
		"uma_denied [ticket, token uma-ticket]"}, // K14: told not to ask
	{"the owner is asked", func(s *scene) { s.asks = true; s.bob(http.MethodGet) },
		"request_submitted, ticket true [ticket, token uma-ticket]",
		"request_submitted, ticket false [ticket, token uma-ticket]"},
	{"somebody else", func(s *scene) { s.share("bob", "view"); s.party("carol", http.MethodGet) },
		"request_submitted, ticket true [ticket, token uma-ticket]", "uma_denied [ticket, token uma-ticket]"},
	{"too weak, then upgraded", func(s *scene) {
		s.share("bob", "view")
		s.bob(http.MethodGet)
		s.share("bob", "print")
		s.bob(http.MethodPut)
		s.bob(http.MethodGet)
	},
		"200 [view] [introspect, ticket, token uma-ticket]; 200 [print view] [introspect, ticket, token uma-ticket]; 200 [print view] []", ""},
	{"a part of what is needed", func(s *scene) { s.share("bob", "view"); s.bob(http.MethodPost) },
		"request_submitted, ticket true [ticket, token uma-ticket]",
		"uma_denied [introspect, ticket, ticket, token uma-ticket, token uma-ticket]"}, // K19: a token that is too weak, and then all or nothing
	{"taken back", func(s *scene) {
		s.share("bob", "view")
		s.bob(http.MethodGet)
		s.takeBack("bob", "view")
		s.later(factsMemory)
		s.bob(http.MethodGet)
	},
		"200 [view] [introspect, ticket, token uma-ticket]; uma_denied [introspect, ticket, ticket, token uma-ticket, token uma-ticket]",
		"200 [view] [introspect, ticket, token uma-ticket]; 200 [view] [introspect]"}, // Keycloak goes on with what it gave (K22)
	{"the resource is deleted behind its back", func(s *scene) { s.deleteRemotely(); s.stranger(); s.stranger() },
		"challenged [GET resource, POST resource, ticket, ticket]; challenged [ticket]", "challenged [POST resource, ticket, ticket]; challenged [ticket]"},
	{"a scope is missing there", func(s *scene) { s.change(`["view"]`); s.method(http.MethodPut); s.method(http.MethodPut) },
		"challenged [GET resource, PUT resource, ticket, ticket]; challenged [ticket]", ""},
	{"another description", func(s *scene) {
		s.resource.IconURI = "https://photoz.example/other.png"
		s.register()
		s.register()
	},
		"registered, the same [GET resource, PUT resource]; registered, the same []", ""},
	{"a restart finds what is there", func(s *scene) { s.restart(); s.register() },
		"registered, the same [GET resource]", "registered, the same [GET resource, POST resource]"},
	{"names that differ in case", func(s *scene) {
		s.resource.Name = strings.ToUpper(s.resource.Name)
		s.register()
		s.restart()
		s.register()
	},
		"registered, another [GET resource, POST resource]; registered, another [GET resource]",
		"registered, another [POST resource]; registered, another [GET resource, POST resource]"},
	{"the PAT ends", func(s *scene) { s.endPAT(); s.stranger() },
		"challenged [ticket, ticket]", ""},
	{"an ordinary token of a person with a role there", func(s *scene) { s.bearer(s.w.access(s.t, "alice")) },
		"challenged [introspect, ticket]", ""},
	{"an ordinary token of anybody", func(s *scene) { s.bearer(s.w.access(s.t, "carol")); s.bearer("junk") },
		"challenged [introspect, ticket]; challenged [introspect, ticket]", ""},
	{"an RPT for another resource", func(s *scene) {
		s.share("bob", "view")
		s.bob(http.MethodGet)
		token := s.shown
		s.fresh()
		s.register()
		s.bearer(token)
	},
		"200 [view] [introspect, ticket, token uma-ticket]; registered, another [GET resource, POST resource]; challenged [ticket]",
		"200 [view] [introspect, ticket, token uma-ticket]; registered, another [POST resource]; challenged [ticket]"}, // what is known of the token serves
	{"the RPT is revoked", func(s *scene) {
		s.share("bob", "view")
		s.bob(http.MethodGet)
		s.revoke(s.shown)
		s.later(factsMemory)
		s.bob(http.MethodGet)
	},
		"200 [view] [introspect, ticket, token uma-ticket]; 200 [view] [introspect, introspect, ticket, token uma-ticket]", ""},
	{"the person's session ends", func(s *scene) {
		s.share("bob", "view")
		s.bob(http.MethodGet)
		s.w.signOut(s.t, "bob")
		s.later(factsMemory)
		s.bearer(s.shown)
	},
		"200 [view] [introspect, ticket, token uma-ticket]; 200 [introspect]", // its own token
		"200 [view] [introspect, ticket, token uma-ticket]; challenged [introspect, ticket]"},
	{"the server is down", func(s *scene) {
		s.share("bob", "view")
		s.bob(http.MethodGet)
		s.w.cut()
		s.stranger()
		s.bob(http.MethodGet)
		s.later(factsMemory)
		s.bearer(s.shown)
		s.w.mend(s.t)
		s.later(time.Minute)
		s.stranger()
		s.bob(http.MethodGet)
	},
		"200 [view] [introspect, ticket, token uma-ticket]; unreachable [ticket]; 200 [view] []; 503 [introspect]; challenged [ticket]; 200 [view] [introspect]", ""},
	{"forgotten by the shop, and by the owner", func(s *scene) {
		s.share("bob", "view")
		s.bob(http.MethodGet)
		s.takeBack("bob", "view")
		s.transport.Forget(s.t.Context(), "bob")
		s.bob(http.MethodGet)
		s.bob(http.MethodGet)
	},
		"200 [view] [introspect, ticket, token uma-ticket]; uma_denied [ticket, token uma-ticket]; uma_denied []", ""}, // from memory,
}

// TestUMABehaviours runs the table at the kit in both dialects and at Keycloak.
func TestUMABehaviours(t *testing.T) {
	t.Parallel()
	for name, open := range map[string]func(*testing.T) *umaServer{
		"the kit": newKitServer, "the kit as Keycloak": newKitKeycloak, "Keycloak": newRealKeycloak,
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			w := open(t)
			for _, b := range behaviours {
				t.Run(b.name, func(t *testing.T) {
					s := newScene(t, w)
					defer s.tidy()
					b.run(s)
					want := b.want
					if w.keycloak && b.keycloak != "" {
						want = b.keycloak
					}
					if got := strings.Join(s.seen, "; "); got != want {
						t.Errorf("seen\n%s\nwant\n%s", got, want)
					}
				})
			}
		})
	}
}
