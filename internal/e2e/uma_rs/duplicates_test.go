package uma_rs_test

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"maps"
	"net/http"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"example.com/gatehouse"
	"example.com/gatehouse/internal/e2e/world"
)

// registrations is a server that registers what it is told, with ids that a
// test chooses.
type registrations struct {
	*world.Script
	mu   sync.Mutex
	docs map[string]map[string]any // by id
	ids  []string                  // of the next ones
	// slow is how long a new resource takes until lists have it.
	slow time.Duration
	// hidden is an id that lists have and that cannot be read yet.
	hidden string
}

func newRegistrations(t testing.TB, ids ...string) *registrations {
	s := &registrations{Script: world.NewScript(t), docs: map[string]map[string]any{}, ids: ids}
	s.Says("POST /perm", 201, `{"ticket":"t1"}`)
	s.Says("POST /look", 200, `{"active":false}`)
	s.Mux.HandleFunc("/res", s.collection)
	s.Mux.HandleFunc("/res/{id}", s.one)
	return s
}

func (s *registrations) collection(w http.ResponseWriter, r *http.Request) {
	w.Header().Set("Content-Type", "application/json")
	if r.Method == http.MethodGet {
		_ = json.NewEncoder(w).Encode(append([]string{}, s.has()...))
		return
	}
	var doc map[string]any
	_ = json.NewDecoder(r.Body).Decode(&doc)
	s.mu.Lock()
	slow := s.slow
	s.mu.Unlock()
	time.Sleep(slow)
	s.mu.Lock()
	id := s.ids[0]
	s.ids = s.ids[1:]
	s.docs[id] = doc
	s.mu.Unlock()
	w.WriteHeader(201)
	_, _ = fmt.Fprintf(w, `{"_id":%q}`, id)
}

func (s *registrations) one(w http.ResponseWriter, r *http.Request) {
	w.Header().Set("Content-Type", "application/json")
	body, _ := io.ReadAll(r.Body)
	s.mu.Lock()
	defer s.mu.Unlock()
	id := r.PathValue("id")
	if s.docs[id] == nil || s.hidden == id {
		w.WriteHeader(404)
		return
	}
	switch r.Method {
	case http.MethodPut:
		var doc map[string]any
		_ = json.Unmarshal(body, &doc)
		s.docs[id] = doc
	case http.MethodDelete:
		delete(s.docs, id)
		w.WriteHeader(204)
		return
	}
	out := maps.Clone(s.docs[id])
	out["_id"] = id
	_ = json.NewEncoder(w).Encode(out)
}

// has lists the ids that the server has.
func (s *registrations) has() []string {
	s.mu.Lock()
	defer s.mu.Unlock()
	return slices.Sorted(maps.Keys(s.docs))
}

// replica makes a process of its own, without shared ids.
func (s *registrations) replica() *gatehouse.ResourceServer {
	s.T.Helper()
	rs, err := gatehouse.NewResourceServer(s.Provider(), gatehouse.ResourceServerConfig{Client: world.PhotozClient})
	s.Must(err)
	s.T.Cleanup(func() { s.Must(rs.Shutdown(context.Background())) })
	return rs
}

// TestUMAReplicasAgree: replicas without shared ids that register at the same
// moment all have the same resource within 30 s, and the server has only that.
func TestUMAReplicasAgree(t *testing.T) {
	for _, ids := range [][]string{{"b", "a", "c"}, {"a", "b", "c"}, {"c", "b", "a"}} {
		synctest.Test(t, func(t *testing.T) {
			s := newRegistrations(t, ids...)
			s.slow = 3 * time.Second
			replicas := []*gatehouse.ResourceServer{s.replica(), s.replica(), s.replica()}
			scopes := [][]string{{"view"}, {"view", "print"}, {"view", "late"}}
			var all sync.WaitGroup
			for i, rs := range replicas {
				all.Go(func() {
					if _, err := rs.Register(t.Context(), gatehouse.Resource{Name: "albums", Scopes: scopes[i]}); err != nil {
						t.Error(err)
					}
				})
				time.Sleep(time.Second)
			}
			all.Wait()
			if got := s.has(); len(got) != 3 {
				t.Fatalf("the server has %q; the test needs three", got)
			}
			lists := len(s.Saw("GET /res")) - len(s.Saw("GET /res/"))
			time.Sleep(27 * time.Second) // 30 s after the first was made at the latest
			if got := s.has(); !slices.Equal(got, []string{"a"}) {
				t.Errorf("the server has %q, want a", got)
			}
			for i, rs := range replicas {
				out, err := rs.Register(t.Context(), gatehouse.Resource{Name: "albums", Scopes: scopes[i]})
				if err != nil || out.ID != "a" {
					t.Errorf("replica %d: %+v, %v", i, out, err)
				}
			}
			if got := scopesOf(s.docs["a"]); !slices.Equal(got, []string{"late", "print", "view"}) {
				t.Errorf("the winner has the scopes %q", got)
			}
			time.Sleep(time.Hour)
			if again := len(s.Saw("GET /res")) - len(s.Saw("GET /res/")) - lists; again != 3 {
				t.Errorf("listed %d times more, want once for each", again)
			}
		})
	}
}

// TestUMAReplicasAgreeAboutWhatIsShownLate: the same at a server that lists a
// resource a moment before it can be read.
func TestUMAReplicasAgreeAboutWhatIsShownLate(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newRegistrations(t, "a", "b")
		first, second := s.replica(), s.replica()
		s.hidden = "a"
		for _, rs := range []*gatehouse.ResourceServer{first, second} {
			if _, err := rs.Register(t.Context(), world.Albums); err != nil {
				t.Fatal(err)
			}
		}
		s.mu.Lock()
		s.hidden = ""
		s.mu.Unlock()
		time.Sleep(30 * time.Second)
		for _, rs := range []*gatehouse.ResourceServer{first, second} {
			if out, err := rs.Register(t.Context(), world.Albums); err != nil || out.ID != "a" {
				t.Errorf("%+v, %v", out, err)
			}
		}
		if got := s.has(); !slices.Equal(got, []string{"a"}) {
			t.Errorf("the server has %q", got)
		}
	})
}

// TestUMADuplicatesOfMany: the resources that are made together are looked for
// with few lists, and those without a duplicate stay.
func TestUMADuplicatesOfMany(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var ids []string
		for i := range 200 {
			ids = append(ids, fmt.Sprintf("r-%03d", i))
		}
		s := newRegistrations(t, ids...)
		rs := s.replica()
		for i := range 200 {
			if _, err := rs.Register(t.Context(), gatehouse.Resource{Name: fmt.Sprint("album ", i), Scopes: []string{"view"}}); err != nil {
				t.Fatal(err)
			}
		}
		before := len(s.Saw("GET /res"))
		time.Sleep(30 * time.Second)
		if got := len(s.Saw("GET /res")) - before; got != 1 || len(s.has()) != 200 {
			t.Errorf("%d calls more, %d resources; want one list, and all 200", got, len(s.has()))
		}
	})
}

// TestUMADuplicatesShutdown: Shutdown does not wait for the time to look again.
func TestUMADuplicatesShutdown(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newRegistrations(t, "a")
		rs := s.replica()
		if _, err := rs.Register(t.Context(), world.Albums); err != nil {
			t.Fatal(err)
		}
		time.Sleep(5 * time.Second)
		calls, start := len(s.Saw("")), time.Now()
		s.Must(rs.Shutdown(t.Context()))
		if took := time.Since(start); took != 0 {
			t.Errorf("Shutdown took %v", took)
		}
		time.Sleep(time.Minute)
		if n := len(s.Saw("")) - calls; n != 0 {
			t.Errorf("%d calls after Shutdown", n)
		}
	})
}

// TestUMASharedIDsListOnce: with shared ids nobody lists again.
func TestUMASharedIDsListOnce(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newRegistrations(t, "a")
		rs := s.ResourceServer(gatehouse.ResourceServerConfig{ResourceIDs: &idStore{}})
		if _, err := rs.Register(t.Context(), world.Albums); err != nil {
			t.Fatal(err)
		}
		calls := len(s.Saw(""))
		time.Sleep(time.Minute)
		if n := len(s.Saw("")) - calls; n != 0 {
			t.Errorf("%d calls more", n)
		}
	})
}

// TestUMAManyResources: however many there are, a resource is found or an error
// says why not. It is never made twice.
func TestUMAManyResources(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newRegistrations(t)
		for i := range 2000 {
			s.docs[fmt.Sprintf("r-%04d", i)] = map[string]any{"name": fmt.Sprint("album ", i), "resource_scopes": []string{"view"}}
		}
		last := gatehouse.Resource{Name: "album 1999", Scopes: []string{"view"}}
		if out, err := s.replica().Register(t.Context(), last); err != nil || out.ID != "r-1999" {
			t.Errorf("%+v, %v; want the last one found", out, err)
		}
		// At a slow server the time ends first. The next one reads on.
		slow := s.replica()
		s.Script.Mux = http.NewServeMux()
		s.Script.Mux.HandleFunc("/", func(w http.ResponseWriter, r *http.Request) {
			switch {
			case strings.HasPrefix(r.URL.Path, "/res/"):
				time.Sleep(20 * time.Millisecond)
				r.SetPathValue("id", strings.TrimPrefix(r.URL.Path, "/res/"))
				s.one(w, r)
			case r.URL.Path == "/res":
				s.collection(w, r)
			case r.URL.Path == "/token":
				w.Header().Set("Content-Type", "application/json")
				_, _ = io.WriteString(w, `{"access_token":"pat","token_type":"Bearer"}`)
			default:
				w.Header().Set("Content-Type", "application/json")
				_, _ = fmt.Fprintf(w, `{"issuer":%[1]q,"token_endpoint":"%[1]s/token","introspection_endpoint":"%[1]s/look","permission_endpoint":"%[1]s/perm","resource_registration_endpoint":"%[1]s/res"}`, world.ScriptIssuer)
			}
		})
		tries := 0
		for {
			tries++
			out, err := slow.Register(t.Context(), last)
			if err == nil {
				if out.ID != "r-1999" {
					t.Errorf("%+v", out)
				}
				break
			}
			if gatehouse.ErrorCode(err) != "registration_failed" || !strings.Contains(err.Error(), "of the owner's 2000 resources are read") || tries > 5 {
				t.Fatalf("try %d: %v", tries, err)
			}
		}
		if n := len(s.has()); tries < 2 || n != 2000 {
			t.Errorf("found after %d tries, the server has %d resources", tries, n)
		}
	})
}
