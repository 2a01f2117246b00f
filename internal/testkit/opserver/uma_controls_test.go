package opserver_test

import (
	"net/http"
	"testing"
	"time"
)

// TestResourcesExpire shows what a resource server meets at a server that
// forgets.
func TestResourcesExpire(t *testing.T) {
	w := newWorld(t, "")
	w.SetResourceLifetime(2 * time.Minute)
	pat := w.pat("alice")
	id := w.register(pat)
	w.clock.advance(2*time.Minute - time.Second)
	w.ticket(pat, id, "view")
	w.clock.advance(time.Second)
	w.rs(pat, http.MethodPost, w.endpoint("permission_endpoint"), `[{"resource_id":"`+id+`","resource_scopes":["view"]}]`).want(t, 400, "invalid_resource_id")
	w.rs(pat, http.MethodGet, w.endpoint("resource_registration_endpoint")+"/"+id, "").want(t, 404, "not_found")
	w.ticket(pat, w.register(pat), "view")
}

func TestIntrospectionsOfOneToken(t *testing.T) {
	w := newWorld(t, "")
	w.introspect("one", rpAuth)
	w.introspect("one", rpAuth)
	w.introspect("another", rpAuth)
	if got := w.CountIntrospected("one"); got != 2 {
		t.Errorf("counted %d", got)
	}
	w.ResetCounts()
	if got := w.CountIntrospected("one"); got != 0 {
		t.Errorf("%d after the reset", got)
	}
}
