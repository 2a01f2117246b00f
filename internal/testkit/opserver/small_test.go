package opserver_test

import (
	"encoding/json"
	"net/http"
	"net/http/httptest"
	"testing"
)

func jsonInto(text string, into any) error { return json.Unmarshal([]byte(text), into) }

// serve asks a handler without a network.
func serve(t *testing.T, h http.Handler, address string) string {
	t.Helper()
	rec := httptest.NewRecorder()
	h.ServeHTTP(rec, httptest.NewRequestWithContext(t.Context(), http.MethodGet, address, nil))
	if rec.Code != http.StatusOK {
		t.Fatalf("GET %s: %d", address, rec.Code)
	}
	return rec.Body.String()
}
