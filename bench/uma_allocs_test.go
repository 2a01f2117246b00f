//go:build !race

package bench

import (
	"net/http"
	"net/http/httptest"
	"testing"

	"example.com/gatehouse"
	"example.com/gatehouse/internal/e2e/world"
)

// TestUMAHotAllocations bounds the allocations of a permitted request whose
// token is remembered. The middleware is everything between two handlers.
func TestUMAHotAllocations(t *testing.T) {
	s := world.NewScript(t)
	s.Says("POST /look", 200, `{"active":true,"permissions":[{"resource_id":"r-1","resource_scopes":["view","print"]}]}`)
	one := gatehouse.Resource{ID: "r-1"}
	h := s.ResourceServer(gatehouse.ResourceServerConfig{}).UMAProtect(gatehouse.Rules{"GET /a/{id}": one.AllOf("view")})(
		http.HandlerFunc(func(http.ResponseWriter, *http.Request) {}))
	r := httptest.NewRequest("GET", "/a/7", nil)
	r.Header.Set("Authorization", "Bearer tok")
	w := httptest.NewRecorder()
	h.ServeHTTP(w, r)
	before := len(s.Saw(""))
	if n := testing.AllocsPerRun(200, func() { h.ServeHTTP(w, r) }); n > 12 {
		t.Errorf("%v allocations, want at most 12", n)
	} else {
		t.Logf("%v allocations", n)
	}
	if got := len(s.Saw("")); got != before {
		t.Errorf("hot requests made %d calls", got-before)
	}
}
