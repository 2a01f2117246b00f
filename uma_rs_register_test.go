package gatehouse_test

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"path"
	"slices"
	"strings"
	"sync"
	"testing"

	"example.com/gatehouse"
	"example.com/gatehouse/internal/testkit/opserver"
)

// idStore is a durable ResourceIDs that several processes share.
type idStore struct {
	mu   sync.Mutex
	ids  map[[3]string]string
	err  error
	race string // what another replica puts first
}

func (s *idStore) ID(_ context.Context, issuer, owner, name string) (string, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.ids[[3]string{issuer, owner, name}], s.err
}

func (s *idStore) PutIfAbsent(_ context.Context, issuer, owner, name, id string) (string, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.ids == nil {
		s.ids = map[[3]string]string{}
	}
	key := [3]string{issuer, owner, name}
	if s.race != "" {
		s.ids[key], s.race = s.race, ""
	}
	if s.ids[key] == "" {
		s.ids[key] = id
	}
	return s.ids[key], s.err
}

func (s *idStore) Drop(_ context.Context, issuer, owner, name, id string) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if key := [3]string{issuer, owner, name}; s.ids[key] == id {
		delete(s.ids, key)
	}
	return s.err
}

func TestUMARegister(t *testing.T) {
	w := newRSWorld(t)
	w.SetRelativeLocation(true)
	rs := w.resourceServer(gatehouse.ResourceServerConfig{})
	r := gatehouse.Resource{Name: "albums", Type: "https://photoz/albums", Description: "All albums", IconURI: "https://photoz/i.png", Scopes: []string{"view", "add"}}
	first, err := rs.Register(t.Context(), r)
	w.must(err)
	if first.ID == "" || first.Name != r.Name || first.ID != w.Resources("photoz")[0].ID {
		t.Errorf("registered %+v, the server has %+v", first, w.Resources("photoz"))
	}

	w.reset()
	again, err := rs.Register(t.Context(), r)
	if err != nil || again.ID != first.ID || w.total() != 0 {
		t.Errorf("the same once more: %q for %d requests, %v; want the same id for none", again.ID, w.total(), err)
	}
	r.Scopes = append(r.Scopes, "delete")
	changed, err := rs.Register(t.Context(), r)
	if err != nil || changed.ID != first.ID || w.made("PUT") != 1 || w.made("POST") != 0 {
		t.Errorf("with a scope more: %q after %d PUT and %d POST, %v; want the same id after one PUT", changed.ID, w.made("PUT"), w.made("POST"), err)
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
	w := newRSWorld(t)
	rs := w.resourceServer(gatehouse.ResourceServerConfig{})
	r := gatehouse.Resource{Name: "albums", Type: "t", Scopes: []string{"view"}}
	for i := range 5 {
		_, err := rs.Register(t.Context(), gatehouse.Resource{Name: fmt.Sprint("other ", i), Scopes: []string{"view"}})
		w.must(err)
	}
	before, err := rs.Register(t.Context(), r)
	w.must(err)
	token := w.rpt(photos(rs.UMAProtect(r.AllOf("view"))), "GET", "/", "photoz", "view")

	w.provider = w.newProvider(nil)
	rs = w.resourceServer(gatehouse.ResourceServerConfig{})
	w.reset()
	if answer := send(photos(rs.UMAProtect(r.AllOf("view"))), "GET", "/", token); !served(answer) {
		t.Errorf("a token from before the restart: %d %s", answer.Code, answer.Body)
	}
	after, err := rs.Register(t.Context(), r)
	if err != nil || after.ID != before.ID || w.made("POST") != 0 || w.made("PUT") != 0 {
		t.Errorf("after the restart: %q, want %q; %d POST, %d PUT, %v", after.ID, before.ID, w.made("POST"), w.made("PUT"), err)
	}
	// What was read once is not read again.
	for i, want := range []int{1 + 5, 1 + 1} { // the list, and what was not read before
		reads := w.made("GET")
		_, err = rs.Register(t.Context(), gatehouse.Resource{Name: fmt.Sprint("new ", i), Scopes: []string{"view"}})
		w.must(err)
		if got := w.made("GET") - reads; got > want {
			t.Errorf("%d reads to register one more, want at most %d", got, want)
		}
	}
	// Same name, another type: another resource as far as the server knows.
	w.provider = w.newProvider(nil)
	r.Type = "another"
	typed, err := w.resourceServer(gatehouse.ResourceServerConfig{}).Register(t.Context(), r)
	if err != nil || typed.ID == before.ID {
		t.Errorf("of another type: %q, %v; want a new one", typed.ID, err)
	}
}

// TestUMARegisterRace: of two replicas that register at once one wins, and the
// loser deletes its own.
func TestUMARegisterRace(t *testing.T) {
	w := newRSWorld(t)
	store := &idStore{race: "r-winner"}
	out, err := w.resourceServer(gatehouse.ResourceServerConfig{ResourceIDs: store}).Register(t.Context(), albums)
	if err != nil || out.ID != "r-winner" || len(w.Resources("photoz")) != 0 {
		t.Errorf("%q, %v, left over %v; want the winner's id and nothing left over", out.ID, err, w.Resources("photoz"))
	}
}

// TestUMARegisterShares: parallel calls in several processes with one store make
// one resource that all of them use.
func TestUMARegisterShares(t *testing.T) {
	w := newRSWorld(t)
	store := &idStore{}
	var servers []*gatehouse.ResourceServer
	for range 4 {
		w.provider = w.newProvider(nil)
		servers = append(servers, w.resourceServer(gatehouse.ResourceServerConfig{ResourceIDs: store}))
	}
	var mu sync.Mutex
	i, ids := 0, map[string]bool{}
	inParallel(40, func() error {
		mu.Lock()
		rs := servers[i%len(servers)]
		i++
		mu.Unlock()
		out, err := rs.Register(t.Context(), albums)
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
	w := newRSWorld(t)
	rs := w.resourceServer(gatehouse.ResourceServerConfig{})
	r, err := rs.Register(t.Context(), albums)
	w.must(err)
	token := w.rpt(photos(rs.UMAProtect(albums.AllOf("view"))), "GET", "/", "photoz", "view")
	w.must(rs.Deregister(t.Context(), albums))
	if got := w.Resources("photoz"); len(got) != 0 {
		t.Errorf("the server still has %v", got)
	}
	// The next need registers it again: never an open door.
	w.wantTicket(send(photos(rs.UMAProtect(albums.AllOf("view"))), "GET", "/", token))
	now := w.Resources("photoz")
	if len(now) != 1 || now[0].ID == r.ID || len(now[0].Shares) != 0 {
		t.Errorf("after the next need: %+v, want a new one that nobody shares", now)
	}

	w.provider = w.newProvider(nil)
	rs = w.resourceServer(gatehouse.ResourceServerConfig{})
	w.must(rs.Deregister(t.Context(), albums)) // found by listing
	if got := w.Resources("photoz"); len(got) != 0 {
		t.Errorf("a fresh process left %v", got)
	}
	w.must(rs.Deregister(t.Context(), albums)) // not there: fine
	w.stop()
	if err := rs.Deregister(t.Context(), gatehouse.Resource{ID: "r-1"}); gatehouse.ErrorCode(err) != "provider_unavailable" {
		t.Errorf("server down: %v", err)
	}
}

// TestUMAStaleID: an application that keeps an id beside the name is healed when
// the server has forgotten it.
func TestUMAStaleID(t *testing.T) {
	w := newRSWorld(t)
	rs := w.resourceServer(gatehouse.ResourceServerConfig{})
	row := gatehouse.Resource{Name: "albums", Scopes: albums.Scopes, ID: "r-from-long-ago"}
	h := photos(rs.UMAProtect(row.AllOf("view")))
	token := w.rpt(h, "GET", "/", "photoz", "view")
	if !served(send(h, "GET", "/", token)) {
		t.Error("not served with a permission for the new id")
	}
	if len(w.Resources("photoz")) != 1 {
		t.Errorf("the server has %v", w.Resources("photoz"))
	}
	// With an id alone there is nothing to register.
	wantUnreachable(t, send(photos(rs.UMAProtect(gatehouse.Resource{ID: "r-from-long-ago"}.AllOf("view"))), "GET", "/", ""))
}

// terse is a server that repeats nothing when a description is written: the
// answer to PUT needs to have the id alone (§3.2.3).
type terse struct{}

func (terse) RoundTrip(r *http.Request) (*http.Response, error) {
	resp, err := http.DefaultTransport.RoundTrip(r)
	if err != nil || r.Method != http.MethodPut {
		return resp, err
	}
	resp.Body.Close()
	resp.Body, resp.ContentLength = io.NopCloser(strings.NewReader(`{"_id":"`+path.Base(r.URL.Path)+`"}`)), -1
	return resp, nil
}

// TestUMADriftedScopes: the server knows a resource with other scopes than we
// do. Its description is written once, and its policy page stays known.
func TestUMADriftedScopes(t *testing.T) {
	for _, fresh := range []bool{false, true} {
		w := newRSWorld(t)
		store, g := &idStore{}, w.grants(nil)
		w.keepFrom(g, w.agree("alice", g.GrantScopes(t.Context())...))
		config := gatehouse.ResourceServerConfig{ResourceIDs: store, PAT: g}
		rs := w.resourceServer(config)
		was := album7
		was.Scopes = []string{"view"}
		before, err := rs.Register(t.Context(), was)
		w.must(err)
		if fresh { // another process, which knows only the id
			w.provider = w.newProvider(terse{})
			rs = w.resourceServer(config)
		}
		w.wantTicket(send(photos(rs.UMAProtect(album7.AllOf("print"))), "GET", "/", ""))
		if got := w.Resources("alice"); len(got) != 1 || !slices.Contains(got[0].Scopes, "print") || w.made("PUT") != 1 {
			t.Errorf("the server has %+v after %d PUT", got, w.made("PUT"))
		}
		at, err := rs.Register(t.Context(), album7)
		if err != nil || before.PolicyURI == "" || at.PolicyURI != before.PolicyURI || at.ID != before.ID {
			t.Errorf("fresh %v: registered as %+v, %v, before as %+v", fresh, at, err, before)
		}
	}
}

// TestUMAIDStoreDown: our own trouble is 503, with and without a token.
func TestUMAIDStoreDown(t *testing.T) {
	w := newRSWorld(t)
	store := &idStore{}
	h := photos(w.resourceServer(gatehouse.ResourceServerConfig{ResourceIDs: store}).UMAProtect(albumRules()))
	token := w.rpt(h, "GET", "/albums/", "photoz", "view")
	store.err = errors.New("db: password of user photoz is wrong")
	for _, tok := range []string{"", token} {
		answer := send(h, "GET", "/albums/", tok)
		wantTrouble(t, answer)
		if !strings.Contains(answer.Body.String(), "resource_ids_unavailable") || strings.Contains(answer.Body.String(), "password") {
			t.Errorf("body %s", answer.Body)
		}
	}
	_, err := w.resourceServer(gatehouse.ResourceServerConfig{ResourceIDs: store}).Register(t.Context(), albums)
	if gatehouse.ErrorCode(err) != "resource_ids_unavailable" {
		t.Errorf("Register: %v", err)
	}
}

func TestUMARegisterErrors(t *testing.T) {
	w := newRSWorld(t)
	rs := w.resourceServer(gatehouse.ResourceServerConfig{})
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
	if w.made("POST") != 0 || w.Count(opserver.EndpointToken) != 0 {
		t.Error("the server was asked for registrations that cannot be")
	}
	w.must(w.SetFaultAt(opserver.EndpointDown, true, opserver.EndpointResource))
	if _, err := rs.Register(t.Context(), albums); gatehouse.ErrorCode(err) != "provider_unavailable" {
		t.Errorf("server in trouble: %v", err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := rs.Register(ctx, albums); !errors.Is(err, context.Canceled) {
		t.Errorf("cancelled: %v", err)
	}
}

// TestUMACreateAnswers: the id is in the body or in Location, nowhere else.
func TestUMACreateAnswers(t *testing.T) {
	for name, c := range map[string]struct {
		status         int
		location, body string
		id, policy     string
	}{
		"body":              {201, "https://as.example.org/res/other", `{"_id":"r-1"}`, "r-1", ""},
		"location":          {201, "https://as.example.org/res/r%201", ``, "r 1", ""},
		"relative location": {201, "/res/r-1/", `{}`, "r-1", ""},
		"200":               {200, "", `{"_id":"r-1","user_access_policy_uri":"https://as.example.org/p"}`, "r-1", "https://as.example.org/p"},
		"script as policy":  {201, "", `{"_id":"r-1","user_access_policy_uri":"javascript:alert(1)"}`, "r-1", ""},
		"nothing":           {201, "", `{}`, "", ""},
		"dots":              {201, "", `{"_id":".."}`, "", ""},
		"control byte":      {201, "", `{"_id":"a\u0000"}`, "", ""},
		"202":               {202, "", `{"_id":"r-1"}`, "", ""},
	} {
		t.Run(name, func(t *testing.T) {
			s := newScripted(t)
			s.says("GET /res", 200, `[]`)
			s.mux.HandleFunc("POST /res", func(w http.ResponseWriter, _ *http.Request) {
				if c.location != "" {
					w.Header().Set("Location", c.location)
				}
				w.WriteHeader(c.status)
				fmt.Fprint(w, c.body)
			})
			out, err := s.resourceServer(gatehouse.ResourceServerConfig{}).Register(t.Context(), albums)
			if out.ID != c.id || out.PolicyURI != c.policy || (err == nil) != (c.id != "") {
				t.Errorf("%+v, %v; want the id %q and policy %q", out, err, c.id, c.policy)
			}
		})
	}
}

// TestUMAHugeList: more resources than are read one by one cost a bound.
func TestUMAHugeList(t *testing.T) {
	s := newScripted(t)
	var ids []string
	for i := range 2000 {
		ids = append(ids, fmt.Sprintf("%q", fmt.Sprintf("r-%04d", i)))
	}
	s.says("GET /res", 200, "["+strings.Join(ids, ",")+"]")
	s.says("GET /res/{id}", 200, `{"name":"other","resource_scopes":["view"]}`)
	s.says("POST /res", 201, `{"_id":"mine"}`)
	out, err := s.resourceServer(gatehouse.ResourceServerConfig{}).Register(t.Context(), albums)
	if err != nil || out.ID != "mine" || len(s.saw("GET /res/")) != 500 {
		t.Errorf("%+v after %d reads, %v; want a new one after 500", out, len(s.saw("GET /res/")), err)
	}
}

// TestUMAHotAllocations bounds what a permitted request that is remembered
// costs. The middleware is everything between two handlers.
func TestUMAHotAllocations(t *testing.T) {
	s := open(t)
	h := s.resourceServer(gatehouse.ResourceServerConfig{}).UMAProtect(gatehouse.Rules{"GET /a/{id}": one.AllOf("view")})(
		http.HandlerFunc(func(http.ResponseWriter, *http.Request) {}))
	r := httptest.NewRequest("GET", "/a/7", nil)
	r.Header.Set("Authorization", "Bearer tok")
	w := httptest.NewRecorder()
	h.ServeHTTP(w, r)
	before := len(s.saw(""))
	if n := testing.AllocsPerRun(200, func() { h.ServeHTTP(w, r) }); n > 12 {
		t.Errorf("%v allocations, want at most 12", n)
	} else {
		t.Logf("%v allocations", n)
	}
	if got := len(s.saw("")); got != before {
		t.Errorf("hot requests made %d calls", got-before)
	}
}
