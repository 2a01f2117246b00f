package world

import (
	"net/http"
	"runtime"
	"sync"
)

// Flood begins n sign-ins that nobody finishes, from as many goroutines as
// there are processors.
func (s *Site) Flood(n int) {
	s.T.Helper()
	login := s.Replicas[0].Login.LoginHandler()
	template := s.Visitor("ana").Request(http.MethodGet, "/auth/login?return_to=/notes/7", nil, Navigation...)
	var all sync.WaitGroup
	workers := runtime.GOMAXPROCS(0)
	for range workers {
		all.Go(func() {
			w := &deafWriter{header: http.Header{}}
			for range n / workers {
				clear(w.header)
				login.ServeHTTP(w, template)
				if w.status != http.StatusSeeOther {
					s.T.Errorf("status %d", w.status)
					return
				}
			}
		})
	}
	all.Wait()
}

// deafWriter accepts an answer and keeps only the status.
type deafWriter struct {
	header http.Header
	status int
}

func (w *deafWriter) Header() http.Header         { return w.header }
func (w *deafWriter) WriteHeader(status int)      { w.status = status }
func (w *deafWriter) Write(b []byte) (int, error) { return len(b), nil }
