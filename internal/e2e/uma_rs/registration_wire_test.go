package uma_rs_test

import (
	"encoding/json"
	"fmt"
	"net/http"
	"net/url"
	"strings"
	"testing"

	"example.com/gatehouse"
	"example.com/gatehouse/internal/e2e/world"
)

// Federated Authorization §1.3, §2, §3.2, §4.1: the metadata is fetched below
// the issuer, including its path. Every call of the protection API carries the
// PAT as a Bearer token in its header and nowhere else, and its body is JSON.
func TestUMAProtectionAPIWire(t *testing.T) {
	w := world.NewPhotoz(t)
	log := &world.WireLog{}
	w.SetWire(log.Pass)
	rs := w.ResourceServer(gatehouse.ResourceServerConfig{})
	first := gatehouse.Resource{Name: "albums", Type: "https://photoz.test/album", IconURI: "https://photoz.test/icon.png", Description: "all of them", Scopes: []string{"view"}}
	made, err := rs.Register(t.Context(), first)
	w.Must(err)
	more := first
	more.Scopes = []string{"view", "add", "delete", "all"}
	again, err := rs.Register(t.Context(), more)
	w.Must(err)
	h := world.Photos(rs.UMAProtect(gatehouse.Rules{"GET /albums/": more.AllOf("view")}))
	w.WantTicket(world.Send(h, "GET", "/albums/", ""))
	w.Must(rs.Deregister(t.Context(), again))

	if got := log.To("GET", "/realm/.well-known/"); len(got) == 0 || got[0].Path != "/realm/.well-known/uma2-configuration" {
		t.Errorf("metadata: %+v", got)
	}
	registration, permission := pathOf(t, w.Endpoint("resource_registration_endpoint")), pathOf(t, w.Endpoint("permission_endpoint"))
	calls := map[string][]world.SentRequest{}
	for _, c := range []struct{ method, path string }{
		{"GET", registration}, {"POST", registration}, {"PUT", registration}, {"DELETE", registration}, {"POST", permission},
	} {
		list := log.To(c.method, c.path)
		if len(list) == 0 {
			t.Fatalf("no %s %s: the test looks at nothing", c.method, c.path)
		}
		calls[c.method+" "+c.path] = list
		for _, s := range list {
			pat, ok := strings.CutPrefix(s.Header.Get("Authorization"), "Bearer ")
			if !ok || pat == "" || len(s.Header["Authorization"]) != 1 || strings.Contains(s.Query+s.Path+s.Body, pat) {
				t.Errorf("%s %s: Authorization %q, query %q, body %q", s.Method, s.Path, s.Header["Authorization"], s.Query, s.Body)
			}
			if got := s.Header.Get("Content-Type"); (s.Body != "") != (got == "application/json") {
				t.Errorf("%s %s: Content-Type %q with a body of %d bytes", s.Method, s.Path, got, len(s.Body))
			}
		}
	}

	// §3.2.1, §3.2.3: an update removes what it leaves out, so it contains
	// everything.
	for call, scopes := range map[string][]string{"POST " + registration: first.Scopes, "PUT " + registration: more.Scopes} {
		var told map[string]any
		w.Must(json.Unmarshal([]byte(calls[call][0].Body), &told))
		if fmt.Sprint(told["resource_scopes"]) != fmt.Sprint(scopes) || told["name"] != first.Name || told["type"] != first.Type ||
			told["icon_uri"] != first.IconURI || told["description"] != first.Description {
			t.Errorf("%s: %v", call, told)
		}
	}
	if got := calls["PUT "+registration][0].Path; got != strings.TrimSuffix(registration, "/")+"/"+made.ID {
		t.Errorf("the update went to %q", got)
	}
	// §4.1: both members, with registered values.
	if got, want := calls["POST "+permission][0].Body, fmt.Sprintf(`[{"resource_id":%q,"resource_scopes":["view"]}]`, made.ID); got != want {
		t.Errorf("permission request %s, want %s", got, want)
	}
}

func pathOf(t *testing.T, address string) string {
	t.Helper()
	u, err := url.Parse(address)
	if err != nil || u.Path == "" {
		t.Fatalf("address %q: %v", address, err)
	}
	return u.Path
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
			s := world.NewScript(t)
			s.Says("GET /res", 200, `[]`)
			s.Mux.HandleFunc("POST /res", func(w http.ResponseWriter, _ *http.Request) {
				if c.location != "" {
					w.Header().Set("Location", c.location)
				}
				w.WriteHeader(c.status)
				fmt.Fprint(w, c.body)
			})
			out, err := s.ResourceServer(gatehouse.ResourceServerConfig{}).Register(t.Context(), world.Albums)
			if out.ID != c.id || out.PolicyURI != c.policy || (err == nil) != (c.id != "") {
				t.Errorf("%+v, %v; want the id %q and policy %q", out, err, c.id, c.policy)
			}
		})
	}
}

// UMA Federated Authorization §3.2: the id follows the registration endpoint's
// path, with one slash between, and the endpoint keeps its query.
func TestUMARegistrationEndpointForms(t *testing.T) {
	for name, c := range map[string]struct{ endpoint, resource string }{
		"plain":             {"/res", "/res/r-1"},
		"slash at the end":  {"/res/", "/res/r-1"},
		"query":             {"/res?tenant=a", "/res/r-1?tenant=a"},
		"slash and a query": {"/res/?tenant=a", "/res/r-1?tenant=a"},
	} {
		t.Run(name, func(t *testing.T) {
			s := world.NewScript(t)
			s.Mux = http.NewServeMux()
			s.Says("GET /.well-known/", 200, fmt.Sprintf(`{"issuer":"https://as.example.org","token_endpoint":"https://as.example.org/token","introspection_endpoint":"https://as.example.org/look",
				"permission_endpoint":"https://as.example.org/perm","resource_registration_endpoint":"https://as.example.org%s"}`, c.endpoint))
			s.Says("POST /token", 200, `{"access_token":"pat","token_type":"Bearer","expires_in":300}`)
			var asked []string
			s.Mux.HandleFunc("/", func(w http.ResponseWriter, r *http.Request) {
				asked = append(asked, r.Method+" "+r.URL.RequestURI())
				w.Header().Set("Content-Type", "application/json")
				switch r.Method {
				case http.MethodPost:
					w.WriteHeader(http.StatusCreated)
					fmt.Fprint(w, `{"_id":"r-1"}`)
				case http.MethodDelete:
					w.WriteHeader(http.StatusNoContent)
				default:
					fmt.Fprint(w, `[]`)
				}
			})
			rs := s.ResourceServer(gatehouse.ResourceServerConfig{})
			if _, err := rs.Register(t.Context(), world.Albums); err != nil {
				t.Fatal(err)
			}
			if err := rs.Deregister(t.Context(), world.Albums); err != nil {
				t.Fatal(err)
			}
			want := []string{"GET " + c.endpoint, "POST " + c.endpoint, "DELETE " + c.resource}
			if fmt.Sprint(asked) != fmt.Sprint(want) {
				t.Errorf("asked %q, want %q", asked, want)
			}
		})
	}
}
