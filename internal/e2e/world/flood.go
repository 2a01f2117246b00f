package world

import (
	"net/http"
	"runtime"
	"sync"
	"testing"
)

// Flood is a site at which nobody finishes a sign-in.
type Flood struct {
	site  *Site
	login http.Handler
	start *http.Request
}

// NewFlood makes one.
func NewFlood(t testing.TB) *Flood {
	s := NewSite(t, Watched)
	return &Flood{s, s.Replicas[0].Login.LoginHandler(), s.Visitor("ana").Request(http.MethodGet, "/auth/login?return_to=/notes/7", nil, Navigation...)}
}

// Begin begins n sign-ins, on all processors.
func (f *Flood) Begin(t testing.TB, n int) {
	t.Helper()
	var all sync.WaitGroup
	workers := runtime.GOMAXPROCS(0)
	for range workers {
		all.Go(func() {
			w := &statusWriter{header: http.Header{}}
			for range n / workers {
				clear(w.header)
				f.login.ServeHTTP(w, f.start)
				if w.status != http.StatusSeeOther {
					t.Errorf("status %d", w.status)
					return
				}
			}
		})
	}
	all.Wait()
}

// Over expects that the store holds the key record alone, and that an honest
// visitor still gets in.
func (f *Flood) Over(t testing.TB) {
	t.Helper()
	store := f.site.Watched()
	if keys := store.All(); len(keys) != 1 {
		t.Errorf("%d keys in the store, want the one of the key record", len(keys))
	}
	if _, writes := store.Counts(); writes != 1 {
		t.Errorf("%d writes to the store, want 1", writes)
	}
	f.site.Visitor("ana").SignIn()
}

// statusWriter keeps only the status of an answer.
type statusWriter struct {
	header http.Header
	status int
}

func (w *statusWriter) Header() http.Header { return w.header }

func (w *statusWriter) WriteHeader(status int) { w.status = status }

func (w *statusWriter) Write(b []byte) (int, error) { return len(b), nil }
