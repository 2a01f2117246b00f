package signin_test

import (
	"net/http"
	"runtime"
	"sync"
	"testing"

	"example.com/gatehouse/internal/e2e/world"
)

// deafWriter accepts an answer and keeps only the status.
type deafWriter struct {
	header http.Header
	status int
}

func (w *deafWriter) Header() http.Header { return w.header }

func (w *deafWriter) WriteHeader(status int) { w.status = status }

func (w *deafWriter) Write(b []byte) (int, error) { return len(b), nil }

// RL1: any number of unfinished sign-ins leave only the key record in the
// store. bench measures the memory of a million of them.
func TestRL1_LoginFlood(t *testing.T) {
	const starts = 5_000
	s := world.NewSite(t, world.Watched)
	store := s.Watched()
	login := s.Replicas[0].Login.LoginHandler()
	template := s.Visitor("ana").Request(http.MethodGet, "/auth/login?return_to=/notes/7", nil, world.Navigation...)
	flood := func(n int) {
		var all sync.WaitGroup
		workers := runtime.GOMAXPROCS(0)
		for range workers {
			all.Go(func() {
				w := &deafWriter{header: http.Header{}}
				for range n / workers {
					clear(w.header)
					login.ServeHTTP(w, template)
					if w.status != http.StatusSeeOther {
						t.Errorf("status %d", w.status)
						return
					}
				}
			})
		}
		all.Wait()
	}
	flood(starts)
	if keys := store.All(); len(keys) != 1 {
		t.Errorf("%d keys in the store after %d starts, want the one of the key record", len(keys), starts)
	}
	if _, writes := store.Counts(); writes != 1 {
		t.Errorf("%d writes to the store, want 1", writes)
	}
	s.Visitor("ana").SignIn() // an honest visitor still gets in
}
