package middlewaretest

import (
	"net/http"
	"net/http/httptest"
	"testing"

	"example.com/gatehouse"
)

// NewApp starts a service on loopback and returns its base URL without a
// trailing slash. It listens before it builds the handler, so that the redirect
// URL is known. The service ends with the test.
func NewApp(t testing.TB, build func(base string) http.Handler) string {
	t.Helper()
	srv := httptest.NewUnstartedServer(nil)
	t.Cleanup(srv.Close)
	base := "http://" + srv.Listener.Addr().String()
	srv.Config.Handler = build(base)
	srv.Start()
	return base
}

// WithIdentity serves every request as if a guard had let id in. It is for
// testing a handler without any provider. A nil id means that no guard ran.
func WithIdentity(next http.Handler, id *gatehouse.Identity) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		next.ServeHTTP(w, r.WithContext(gatehouse.WithIdentity(r.Context(), id)))
	})
}
