package oxd_test

import (
	"bytes"
	"context"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"

	"example.com/gatehouse"
)

// anAS is an authorization server behind a round tripper. It registers what it
// is asked to, and it believes what is written in a token.
type anAS struct {
	mu     sync.Mutex
	ids    map[string]string   // by name
	scopes map[string][]string // registered, by name
	asked  []permission        // by the last permission request
}

type permission struct {
	ID     string   `json:"resource_id"`
	Scopes []string `json:"resource_scopes"`
}

// tokenFor returns a token that holds the scopes on the resource of that name.
func (a *anAS) tokenFor(name string, scopes ...string) string {
	a.mu.Lock()
	defer a.mu.Unlock()
	b, err := json.Marshal([]permission{{a.ids[name], scopes}})
	if err != nil {
		panic(err)
	}
	return base64.RawURLEncoding.EncodeToString(b)
}

func (a *anAS) RoundTrip(r *http.Request) (*http.Response, error) {
	body, err := io.ReadAll(r.Body)
	if err != nil {
		return nil, err
	}
	a.mu.Lock()
	defer a.mu.Unlock()
	status, answer := a.answer(r, body)
	return &http.Response{
		StatusCode: status, ProtoMajor: 1, ProtoMinor: 1, Request: r,
		Header: http.Header{"Content-Type": {"application/json"}},
		Body:   io.NopCloser(strings.NewReader(answer)),
	}, nil
}

func (a *anAS) answer(r *http.Request, body []byte) (int, string) {
	switch r.Method + " " + r.URL.Path {
	case "POST /token":
		return 200, `{"access_token":"pat","token_type":"Bearer","expires_in":300}`
	case "GET /resources":
		return 200, `[]`
	case "POST /resources":
		var told struct {
			Name   string   `json:"name"`
			Scopes []string `json:"resource_scopes"`
		}
		if err := json.Unmarshal(body, &told); err != nil || a.ids[told.Name] != "" {
			return 400, `{"error":"invalid_request"}` // nothing is registered twice
		}
		a.ids[told.Name] = fmt.Sprint("r-", len(a.ids)+1)
		a.scopes[told.Name] = told.Scopes
		return 201, fmt.Sprintf(`{"_id":%q}`, a.ids[told.Name])
	case "POST /permissions":
		a.asked = nil
		if json.Unmarshal(body, &a.asked) != nil {
			var one permission
			if json.Unmarshal(body, &one) != nil {
				return 400, `{"error":"invalid_request"}`
			}
			a.asked = []permission{one}
		}
		return 201, `{"ticket":"ticket"}`
	case "POST /introspect":
		r.Body = io.NopCloser(bytes.NewReader(body))
		held, err := base64.RawURLEncoding.DecodeString(r.FormValue("token"))
		if err != nil {
			return 200, `{"active":false}`
		}
		return 200, `{"active":true,"permissions":` + string(held) + `}`
	}
	return 404, `{}`
}

// protect puts the rules in front of a handler that answers "served".
func protect(t testing.TB, rules gatehouse.Need) (http.Handler, *anAS) {
	t.Helper()
	as := &anAS{ids: map[string]string{}, scopes: map[string][]string{}}
	const base = "https://as.example.org"
	provider, err := gatehouse.NewProvider(base, &gatehouse.ProviderConfig{
		Transport: as, Logger: slog.New(slog.DiscardHandler),
		Metadata: &gatehouse.Metadata{
			TokenEndpoint: base + "/token", IntrospectionEndpoint: base + "/introspect",
			PermissionEndpoint: base + "/permissions", ResourceRegistrationEndpoint: base + "/resources",
		},
	})
	if err != nil {
		t.Fatal(err)
	}
	api, err := gatehouse.NewResourceServer(provider, gatehouse.ResourceServerConfig{
		Client: gatehouse.Client{ID: "photoz", Secret: gatehouse.NewSecret("s3cret")},
	})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := api.Shutdown(context.Background()); err != nil {
			t.Error(err)
		}
	})
	return api.UMAProtect(rules)(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { fmt.Fprint(w, "served") })), as
}

// send makes one request for a decoded path.
func send(h http.Handler, method, path, token string) *httptest.ResponseRecorder {
	r := httptest.NewRequest(http.MethodGet, "/", nil)
	r.Method, r.URL.Path = method, path
	if token != "" {
		r.Header.Set("Authorization", "Bearer "+token)
	}
	w := httptest.NewRecorder()
	h.ServeHTTP(w, r)
	return w
}
