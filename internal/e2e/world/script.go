package world

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"net/http"
	"strings"
	"sync"
	"testing"

	"example.com/gatehouse"
)

// ScriptIssuer is the authorization server of a [Script].
const ScriptIssuer = "https://as.example.org"

// Script is an authorization server that answers on the wire as a test says. It
// is for answers that the server of middlewaretest never gives. Photoz is its
// client.
type Script struct {
	*World
	Mux     *http.ServeMux // who answers
	Process *gatehouse.Provider

	mu    sync.Mutex
	calls []string // "POST /perm body"
}

// NewScript makes a server with metadata and a token endpoint. extra adds
// members to its metadata.
func NewScript(t testing.TB, extra ...string) *Script {
	t.Helper()
	s := &Script{World: New(t, ScriptIssuer), Mux: http.NewServeMux()}
	s.Serve(ScriptIssuer, http.HandlerFunc(s.answer))
	s.Says("GET /.well-known/", 200, fmt.Sprintf(`{"issuer":%[1]q,"token_endpoint":"%[1]s/token","introspection_endpoint":"%[1]s/look",
		"permission_endpoint":"%[1]s/perm","resource_registration_endpoint":"%[1]s/res"%[2]s}`, ScriptIssuer, strings.Join(extra, "")))
	s.Process = s.Provider()
	n := 0
	s.Mux.HandleFunc("POST /token", func(w http.ResponseWriter, _ *http.Request) {
		n++
		w.Header().Set("Content-Type", "application/json")
		_, _ = fmt.Fprintf(w, `{"access_token":"pat%d","token_type":"Bearer"}`, n)
	})
	return s
}

// Says makes the server answer a pattern with a status and a body.
func (s *Script) Says(pattern string, status int, body string) {
	s.Mux.HandleFunc(pattern, func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Type", "application/json")
		w.WriteHeader(status)
		_, _ = io.WriteString(w, body)
	})
}

// answer records the request and lets the mux answer.
func (s *Script) answer(w http.ResponseWriter, r *http.Request) {
	body, err := io.ReadAll(r.Body)
	if err != nil {
		s.T.Error(err)
	}
	r.Body = io.NopCloser(bytes.NewReader(body))
	s.mu.Lock()
	s.calls = append(s.calls, strings.TrimSpace(r.Method+" "+r.URL.RequestURI()+" "+string(body)))
	s.mu.Unlock()
	s.Mux.ServeHTTP(w, r)
}

// Saw returns the calls that begin with prefix.
func (s *Script) Saw(prefix string) (list []string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, c := range s.calls {
		if strings.HasPrefix(c, prefix) {
			list = append(list, c)
		}
	}
	return list
}

// ResourceServer makes a resource server of the one process.
func (s *Script) ResourceServer(c gatehouse.ResourceServerConfig) *gatehouse.ResourceServer {
	s.T.Helper()
	c.Client = PhotozClient
	rs, err := gatehouse.NewResourceServer(s.Process, c)
	s.Must(err)
	s.T.Cleanup(func() { s.Must(rs.Shutdown(context.Background())) })
	return rs
}
