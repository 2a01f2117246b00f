package uma_rs_test

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"net/http/httptest"
	"path"
	"slices"
	"strings"
	"sync"
	"testing"

	"example.com/gatehouse"
	"example.com/gatehouse/internal/e2e/world"
	"example.com/gatehouse/internal/testkit/opserver"
)

func TestUMARegister(t *testing.T) {
	w := world.NewPhotoz(t)
	w.SetRelativeLocation(true)
	rs := w.ResourceServer(gatehouse.ResourceServerConfig{})
	r := gatehouse.Resource{Name: "albums", Type: "https://photoz/albums", Description: "All albums", IconURI: "https://photoz/i.png", Scopes: []string{"view", "add"}}
	first, err := rs.Register(t.Context(), r)
	w.Must(err)
	if first.ID == "" || first.Name != r.Name || first.ID != w.Resources("photoz")[0].ID {
		t.Errorf("registered %+v, the server has %+v", first, w.Resources("photoz"))
	}

	w.Reset()
	again, err := rs.Register(t.Context(), r)
	if err != nil || again.ID != first.ID || w.Total() != 0 {
		t.Errorf("the same once more: %q for %d requests, %v; want the same id for none", again.ID, w.Total(), err)
	}
	r.Scopes = append(r.Scopes, "delete")
	changed, err := rs.Register(t.Context(), r)
	if err != nil || changed.ID != first.ID || w.Made("PUT") != 1 || w.Made("POST") != 0 {
		t.Errorf("with a scope more: %q after %d PUT and %d POST, %v; want the same id after one PUT", changed.ID, w.Made("PUT"), w.Made("POST"), err)
	}
	if got := w.Resources("photoz"); len(got) != 1 || !slices.Equal(got[0].Scopes, r.Scopes) {
		t.Errorf("the server has %+v", got)
	}
	other := r
	other.Name, other.Description = "films", ""
	if o, err := rs.Register(t.Context(), other); err != nil || o.ID == first.ID {
		t.Errorf("another resource: %+v, %v", o, err)
	}
}

// TestUMARegisterAfterRestart: a process whose memory is empty finds what an
// earlier one has registered, and creates nothing twice.
func TestUMARegisterAfterRestart(t *testing.T) {
	w := world.NewPhotoz(t)
	rs := w.ResourceServer(gatehouse.ResourceServerConfig{})
	r := gatehouse.Resource{Name: "albums", Type: "t", Scopes: []string{"view"}}
	for i := range 5 {
		_, err := rs.Register(t.Context(), gatehouse.Resource{Name: fmt.Sprint("other ", i), Scopes: []string{"view"}})
		w.Must(err)
	}
	before, err := rs.Register(t.Context(), r)
	w.Must(err)
	token := w.RPT(world.Photos(rs.UMAProtect(r.AllOf("view"))), "GET", "/", "photoz", "view")

	w.Restart()
	rs = w.ResourceServer(gatehouse.ResourceServerConfig{})
	w.Reset()
	if answer := world.Send(world.Photos(rs.UMAProtect(r.AllOf("view"))), "GET", "/", token); !world.Served(answer) {
		t.Errorf("a token from before the restart: %d %s", answer.Code, answer.Body)
	}
	after, err := rs.Register(t.Context(), r)
	if err != nil || after.ID != before.ID || w.Made("POST") != 0 || w.Made("PUT") != 0 {
		t.Errorf("after the restart: %q, want %q; %d POST, %d PUT, %v", after.ID, before.ID, w.Made("POST"), w.Made("PUT"), err)
	}
	// What was read once is not read again.
	for i, want := range []int{1 + 5, 1 + 1} { // the list, and what was not read before
		reads := w.Made("GET")
		_, err = rs.Register(t.Context(), gatehouse.Resource{Name: fmt.Sprint("new ", i), Scopes: []string{"view"}})
		w.Must(err)
		if got := w.Made("GET") - reads; got > want {
			t.Errorf("%d reads to register one more, want at most %d", got, want)
		}
	}
	// The same name with another type is another resource to the server.
	w.Restart()
	r.Type = "another"
	typed, err := w.ResourceServer(gatehouse.ResourceServerConfig{}).Register(t.Context(), r)
	if err != nil || typed.ID == before.ID {
		t.Errorf("of another type: %q, %v; want a new one", typed.ID, err)
	}
}

// TestUMARegisterRace: if two replicas register at once, one wins and the loser
// deletes its own resource.
func TestUMARegisterRace(t *testing.T) {
	w := world.NewPhotoz(t)
	store := &idStore{race: "r-winner"}
	out, err := w.ResourceServer(gatehouse.ResourceServerConfig{ResourceIDs: store}).Register(t.Context(), world.Albums)
	if err != nil || out.ID != "r-winner" || len(w.Resources("photoz")) != 0 {
		t.Errorf("%q, %v, left over %v; want the winner's id and nothing left over", out.ID, err, w.Resources("photoz"))
	}
}

// TestUMARegisterRaceKeepsOthers: who loses deletes only what it has made
// itself. A resource that was there before may be shared already.
func TestUMARegisterRaceKeepsOthers(t *testing.T) {
	w := world.NewPhotoz(t)
	there, err := w.ResourceServer(gatehouse.ResourceServerConfig{}).Register(t.Context(), world.Albums)
	w.Must(err)
	out, err := w.ResourceServer(gatehouse.ResourceServerConfig{ResourceIDs: &idStore{race: "r-winner"}}).Register(t.Context(), there)
	if left := w.Resources("photoz"); err != nil || out.ID != "r-winner" || len(left) != 1 || left[0].ID != there.ID {
		t.Errorf("%q, %v, left over %v; want the winner's id, and the other kept", out.ID, err, left)
	}
}

// TestUMARegisterShares: parallel calls in several processes with one store
// make one resource that all of them use.
func TestUMARegisterShares(t *testing.T) {
	w := world.NewPhotoz(t)
	store := &idStore{}
	var servers []*gatehouse.ResourceServer
	for range 4 {
		w.Restart()
		servers = append(servers, w.ResourceServer(gatehouse.ResourceServerConfig{ResourceIDs: store}))
	}
	var mu sync.Mutex
	i, ids := 0, map[string]bool{}
	world.Together(40, func(int) error {
		mu.Lock()
		rs := servers[i%len(servers)]
		i++
		mu.Unlock()
		out, err := rs.Register(t.Context(), world.Albums)
		mu.Lock()
		defer mu.Unlock()
		ids[out.ID] = true
		if err != nil {
			t.Error(err)
		}
		return err
	})
	if left := w.Resources("photoz"); len(ids) != 1 || len(left) != 1 || !ids[left[0].ID] {
		t.Errorf("ids %v, the server has %v", ids, left)
	}
}

func TestUMADeregister(t *testing.T) {
	w := world.NewPhotoz(t)
	rs := w.ResourceServer(gatehouse.ResourceServerConfig{})
	r, err := rs.Register(t.Context(), world.Albums)
	w.Must(err)
	token := w.RPT(world.Photos(rs.UMAProtect(world.Albums.AllOf("view"))), "GET", "/", "photoz", "view")
	w.Must(rs.Deregister(t.Context(), world.Albums))
	if got := w.Resources("photoz"); len(got) != 0 {
		t.Errorf("the server still has %v", got)
	}
	// The next need registers it again: it is never an open door.
	w.WantTicket(world.Send(world.Photos(rs.UMAProtect(world.Albums.AllOf("view"))), "GET", "/", token))
	now := w.Resources("photoz")
	if len(now) != 1 || now[0].ID == r.ID || len(now[0].Shares) != 0 {
		t.Errorf("after the next need: %+v, want a new one that nobody shares", now)
	}

	w.Restart()
	rs = w.ResourceServer(gatehouse.ResourceServerConfig{})
	w.Must(rs.Deregister(t.Context(), world.Albums)) // found by listing
	if got := w.Resources("photoz"); len(got) != 0 {
		t.Errorf("a fresh process left %v", got)
	}
	w.Must(rs.Deregister(t.Context(), world.Albums)) // not there: fine
	w.SetDown(true)
	if err := rs.Deregister(t.Context(), gatehouse.Resource{ID: "r-1"}); gatehouse.ErrorCode(err) != "provider_unavailable" {
		t.Errorf("server down: %v", err)
	}
}

// TestUMAStaleID: an application that keeps an id as well as the name recovers
// when the server has forgotten the id.
func TestUMAStaleID(t *testing.T) {
	w := world.NewPhotoz(t)
	rs := w.ResourceServer(gatehouse.ResourceServerConfig{})
	row := gatehouse.Resource{Name: "albums", Scopes: world.Albums.Scopes, ID: "r-from-long-ago"}
	h := world.Photos(rs.UMAProtect(row.AllOf("view")))
	token := w.RPT(h, "GET", "/", "photoz", "view")
	if !world.Served(world.Send(h, "GET", "/", token)) {
		t.Error("not served with a permission for the new id")
	}
	if len(w.Resources("photoz")) != 1 {
		t.Errorf("the server has %v", w.Resources("photoz"))
	}
	// With an id alone there is nothing to register.
	world.WantUnreachable(t, world.Send(world.Photos(rs.UMAProtect(gatehouse.Resource{ID: "r-from-long-ago"}.AllOf("view"))), "GET", "/", ""))
}

// terse is a server that repeats nothing when a description is written: the
// answer to PUT only has to contain the id (§3.2.3).
func terse(r *http.Request, next func(*http.Request) *http.Response) (*http.Response, error) {
	resp := next(r)
	if r.Method != http.MethodPut {
		return resp, nil
	}
	return world.Answer(r, resp.StatusCode, `{"_id":"`+path.Base(r.URL.Path)+`"}`), nil
}

// TestUMADriftedScopes: the server knows a resource with other scopes than we
// do. Its description is written once, and its policy page stays known.
func TestUMADriftedScopes(t *testing.T) {
	for _, fresh := range []bool{false, true} {
		w := world.NewPhotoz(t)
		store, g := &idStore{}, w.Grants(nil)
		w.Agree(g, "alice")
		config := gatehouse.ResourceServerConfig{ResourceIDs: store, PAT: g}
		rs := w.ResourceServer(config)
		was := album7
		was.Scopes = []string{"view"}
		before, err := rs.Register(t.Context(), was)
		w.Must(err)
		if fresh { // another process, which knows only the id
			w.Restart()
			w.SetWire(terse)
			rs = w.ResourceServer(config)
		}
		w.WantTicket(world.Send(world.Photos(rs.UMAProtect(album7.AllOf("print"))), "GET", "/", ""))
		if got := w.Resources("alice"); len(got) != 1 || !slices.Contains(got[0].Scopes, "print") || w.Made("PUT") != 1 {
			t.Errorf("the server has %+v after %d PUT", got, w.Made("PUT"))
		}
		at, err := rs.Register(t.Context(), album7)
		if err != nil || before.PolicyURI == "" || at.PolicyURI != before.PolicyURI || at.ID != before.ID {
			t.Errorf("fresh %v: registered as %+v, %v, before as %+v", fresh, at, err, before)
		}
	}
}

func TestUMARegisterErrors(t *testing.T) {
	w := world.NewPhotoz(t)
	rs := w.ResourceServer(gatehouse.ResourceServerConfig{})
	for name, r := range map[string]gatehouse.Resource{
		"no name":   {ID: "x", Scopes: []string{"a"}},
		"no scopes": {Name: "x"},
		"long name": {Name: strings.Repeat("x", 2000), Scopes: []string{"a"}},
	} {
		if _, err := rs.Register(t.Context(), r); gatehouse.ErrorCode(err) != "resource_invalid" {
			t.Errorf("%s: %v", name, err)
		}
	}
	if _, err := rs.Register(t.Context(), gatehouse.Resource{Owner: "alice", Name: "x", Scopes: []string{"a"}}); gatehouse.ErrorCode(err) != "owner_grant_missing" {
		t.Errorf("a person's resource with the service's PAT: %v", err)
	}
	if w.Made("POST") != 0 || w.Count(opserver.EndpointToken) != 0 {
		t.Error("the server was asked for registrations that cannot be")
	}
	w.Must(w.SetFaultAt(opserver.EndpointDown, true, opserver.EndpointResource))
	if _, err := rs.Register(t.Context(), world.Albums); gatehouse.ErrorCode(err) != "provider_unavailable" {
		t.Errorf("server in trouble: %v", err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := rs.Register(ctx, world.Albums); !errors.Is(err, context.Canceled) {
		t.Errorf("cancelled: %v", err)
	}
}

// TestUMA_ResourceLost: a resource that the server forgot is registered again,
// once for all who notice.
func TestUMA_ResourceLost(t *testing.T) {
	w := world.NewPhotoz(t)
	h := world.Photos(w.ResourceServer(gatehouse.ResourceServerConfig{MaxTicketCalls: 100}).UMAProtect(world.AlbumRules()))
	w.WantTicket(world.Send(h, "GET", "/albums/", ""))
	old := w.Resources("photoz")[0].ID
	w.ForgetResource(old)
	w.Reset()
	for _, a := range world.Together(50, func(int) *httptest.ResponseRecorder { return world.Send(h, "GET", "/albums/", "") }) {
		w.WantTicket(a)
	}
	now := w.Resources("photoz")
	if len(now) != 1 || now[0].ID == old || w.Made("POST") != 1 {
		t.Errorf("resources %v after %d registrations, want one new one after 1", now, w.Made("POST"))
	}
}
