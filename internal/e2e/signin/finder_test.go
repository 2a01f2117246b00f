package signin_test

import (
	"fmt"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"net/url"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"example.com/gatehouse"
	"example.com/gatehouse/internal/e2e/world"
	"example.com/gatehouse/internal/testkit/opserver"
)

const issuerRel = "http://openid.net/specs/connect/1.0/issuer"

// findingSite is a site with a form for a person's account: the POST to /start
// goes on with a sign-in at the provider of that account. example.test and
// example.test:8443 speak WebFinger as answer does.
func findingSite(t *testing.T, answer http.HandlerFunc, change ...func(*world.SiteOptions)) *world.Site {
	t.Helper()
	var finder *gatehouse.Finder
	s := world.NewSite(t, append(change, func(o *world.SiteOptions) {
		o.Mount = func(mux *http.ServeMux, login *gatehouse.RelyingParty) {
			mux.HandleFunc("POST /start", func(w http.ResponseWriter, r *http.Request) {
				provider, err := finder.FindProvider(r.Context(), r.PostFormValue("account"))
				if err != nil {
					e, ok := err.(*gatehouse.Error)
					if !ok {
						t.Errorf("%T: %v", err, err)
						return
					}
					http.Error(w, e.Code+": "+e.Message, e.Status)
					return
				}
				if issuer := provider.Issuer(); issuer != world.SiteIssuer {
					t.Errorf("found %s", issuer)
				}
				address, err := login.AuthURL(w, r, "/notes/")
				if err != nil {
					t.Error(err)
				}
				http.Redirect(w, r, address, http.StatusSeeOther)
			})
		}
	})...)
	for _, origin := range []string{"https://example.test", "https://example.test:8443"} {
		s.Serve(origin, answer)
	}
	var err error
	finder, err = gatehouse.NewFinder(gatehouse.FinderConfig{Transport: s.Transport(), InsecureInnerAddresses: true}, s.Replicas[0].Provider)
	s.Must(err)
	t.Cleanup(func() { s.Must(finder.Shutdown(t.Context())) })
	return s
}

// names answers every resource with that issuer.
func names(issuer string) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Content-Type", "application/jrd+json")
		fmt.Fprintf(w, `{"subject":%q,"links":[{"rel":%q,"href":%q}]}`, r.URL.Query().Get("resource"), issuerRel, issuer)
	}
}

// WF1: who enters an account, in any form, is led to the provider that its host
// names, and signs in there. It costs one request more than another sign-in, to the
// account's host. The provider's metadata is checked as always.
func TestWF1_FindProvider(t *testing.T) {
	for account, want := range map[string]struct{ address, resource string }{
		"joe@example.test":         {"https://example.test/.well-known/webfinger", "acct:joe@example.test"},
		"acct:joe@example.test":    {"https://example.test/.well-known/webfinger", "acct:joe@example.test"},
		"https://example.test/joe": {"https://example.test/.well-known/webfinger", "https://example.test/joe"},
		"example.test:8443":        {"https://example.test:8443/.well-known/webfinger", "https://example.test:8443/"},
	} {
		t.Run(account, func(t *testing.T) {
			var query url.Values
			s := findingSite(t, func(w http.ResponseWriter, r *http.Request) {
				query = r.URL.Query()
				names(world.SiteIssuer)(w, r)
			})
			ana := s.Visitor("ana")
			start := ana.Post("/start", url.Values{"account": {account}})
			if !strings.HasPrefix(start.Location(), s.Endpoint("authorization_endpoint")+"?") {
				t.Fatalf("led to %v", start)
			}
			ana.WantServed(ana.Follow(start, nil))
			var asked []string
			for _, call := range s.Calls() {
				asked = append(asked, call.Address)
			}
			if len(asked) != 5 || asked[0] != want.address { // then metadata, token, keys, user info
				t.Errorf("asked %q", asked)
			}
			if len(query) != 2 || query.Get("resource") != want.resource || query.Get("rel") != issuerRel {
				t.Errorf("the host was asked %v", query)
			}
			if ana.Post("/start", url.Values{"account": {account}}); len(s.Calls()) != 6 { // the metadata is known
				t.Errorf("a second time %d requests in all, want 6", len(s.Calls()))
			}
		})
	}
}

// WF1, RP-D2: an issuer that is found is compared with that of the metadata, as one
// that is configured.
func TestWF1_IssuerOfTheMetadata(t *testing.T) {
	s := findingSite(t, names(world.SiteIssuer))
	s.Break(opserver.MetadataIssuerMismatch)
	a := s.Visitor("ana").Get("/notes/")
	s.WantRefusal(a, http.StatusServiceUnavailable)
	if code := s.LastCode(); code != "metadata_issuer_mismatch" {
		t.Errorf("code %s", code)
	}
}

// WF4: an issuer that is not on the list is refused before anything is sent to it.
// Without a list nobody is asked at all.
func TestWF4_IssuerNotAllowed(t *testing.T) {
	for _, issuer := range []string{
		"https://evil.test", world.SiteIssuer + "/", strings.ToUpper(world.SiteIssuer), "http://op.test/realm", "https://op.test", "https://op.test/realm2",
		"https://op.test/realm#x", "https://op.test/realm?x", "https://x@op.test/realm", "https://op.test:443/realm", "http://127.0.0.1", "javascript:alert(1)", "itsyouonline", " " + world.SiteIssuer,
	} {
		t.Run(issuer, func(t *testing.T) {
			s := findingSite(t, names(issuer))
			s.Serve("https://evil.test", http.HandlerFunc(func(http.ResponseWriter, *http.Request) { t.Error("it was asked") }))
			ana := s.Visitor("ana")
			a := ana.Post("/start", url.Values{"account": {"joe@example.test"}})
			if a.Code != http.StatusForbidden || !strings.HasPrefix(a.Body.String(), "provider_not_allowed: ") || strings.Contains(a.Body.String(), "evil") {
				t.Errorf("%d %s", a.Code, a.Body)
			}
			if calls := s.Calls(); len(calls) != 1 || len(ana.Cookies()) != 0 {
				t.Errorf("asked %v; cookies %v", calls, ana.Cookies())
			}
		})
	}
	t.Run("no list", func(t *testing.T) {
		finder, err := gatehouse.NewFinder(gatehouse.FinderConfig{})
		if err != nil {
			t.Fatal(err)
		}
		for account, want := range map[string]string{"joe@example.test": "provider_not_found", "": "account_malformed"} {
			if p, err := finder.FindProvider(t.Context(), account); p != nil || gatehouse.ErrorCode(err) != want {
				t.Errorf("%q: %v, %v", account, p, err)
			}
		}
		if err := finder.Shutdown(t.Context()); err != nil {
			t.Error(err)
		}
	})
}

// WF4: of several issuers that a host names, the first that is allowed is taken.
func TestWF4_FirstThatIsAllowed(t *testing.T) {
	s := findingSite(t, func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Content-Type", "application/json")
		fmt.Fprintf(w, `{"links":[{"rel":%[1]q,"href":"https://evil.test"},{"rel":"self","href":"https://x.test"},{"rel":%[1]q,"href":%[2]q}]}`, issuerRel, world.SiteIssuer)
	})
	if a := s.Visitor("ana").Post("/start", url.Values{"account": {"joe@example.test"}}); a.Code != http.StatusSeeOther {
		t.Errorf("%d %s", a.Code, a.Body)
	}
}

// WF5: whatever a host does, the person gets an error page within 5 s, of 4xx, the
// same for all, and the host one request.
func TestWF5_ErrorPage(t *testing.T) {
	for name, answer := range map[string]http.HandlerFunc{
		"5 MiB": func(w http.ResponseWriter, _ *http.Request) {
			w.Header().Set("Content-Type", "application/jrd+json")
			_, _ = w.Write([]byte(`{"subject":"` + strings.Repeat("x", 5<<20) + `"}`))
		},
		"10,000 links": func(w http.ResponseWriter, _ *http.Request) {
			w.Header().Set("Content-Type", "application/jrd+json")
			one := fmt.Sprintf(`{"rel":%q,"href":%q}`, issuerRel, world.SiteIssuer)
			_, _ = w.Write([]byte(`{"links":[` + strings.Repeat(one+",", 9999) + one + `]}`))
		},
		"wrong type": func(w http.ResponseWriter, r *http.Request) {
			w.Header().Set("Content-Type", "text/html")
			fmt.Fprintf(w, `{"links":[{"rel":%q,"href":%q}]}`, issuerRel, world.SiteIssuer)
		},
		"redirect to http": func(w http.ResponseWriter, r *http.Request) {
			http.Redirect(w, r, "http://example.test/", http.StatusFound)
		},
		"redirect inside": func(w http.ResponseWriter, r *http.Request) {
			http.Redirect(w, r, "http://127.0.0.1:8080/", http.StatusFound)
		},
		"10 redirects": func(w http.ResponseWriter, r *http.Request) {
			http.Redirect(w, r, r.URL.String()+"x", http.StatusFound)
		},
		"silent": func(_ http.ResponseWriter, r *http.Request) { <-r.Context().Done() },
		"500":    func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(http.StatusInternalServerError) },
		"404":    func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(http.StatusNotFound) },
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				s := findingSite(t, answer)
				began := time.Now()
				a := s.Visitor("ana").Post("/start", url.Values{"account": {"joe@example.test"}})
				if took := time.Since(began); took > 5*time.Second {
					t.Errorf("it took %v", took)
				}
				if want := "provider_not_found: No sign-in service was found for this account.\n"; a.Code != http.StatusNotFound || a.Body.String() != want {
					t.Errorf("%d %q", a.Code, a.Body)
				}
				want := map[string]int{"10 redirects": 4}[name]
				if got := len(s.Calls()); got != max(want, 1) {
					t.Errorf("%d requests", got)
				}
				for range 20 {
					s.Visitor("ana").Post("/start", url.Values{"account": {"joe@example.test"}})
				}
				if got := len(s.Calls()); got != max(want, 1) && name != "404" { // there the host has answered
					t.Errorf("%d requests after twenty more tries", got)
				}
			})
		})
	}
}

// An account that a stranger has entered never leads inside: the guard of a Finder
// without insecure settings. All of it looks the same from outside.
func TestFinderGuard(t *testing.T) {
	p, err := gatehouse.NewProvider("https://op.test", nil)
	if err != nil {
		t.Fatal(err)
	}
	finder, err := gatehouse.NewFinder(gatehouse.FinderConfig{}, p)
	if err != nil {
		t.Fatal(err)
	}
	var texts []string
	for _, account := range []string{
		"joe@localhost", "joe@127.0.0.1", "127.0.0.1:1", "[::1]:8443", "joe@10.0.0.1", "https://192.168.1.1/joe", "joe@169.254.169.254", "joe@100.64.0.1",
		"joe@0.0.0.0", "[::ffff:10.0.0.1]:8443", "[64:ff9b::a00:1]:8443", "[fd00::1]:8443", "[fe80::1]:8443", "joe@224.0.0.1", "[::]:8443",
	} {
		_, err := finder.FindProvider(t.Context(), account)
		e, ok := err.(*gatehouse.Error)
		if !ok || e.Code != "provider_not_found" || e.Status != http.StatusNotFound || !strings.Contains(e.Err.Error(), "is an inner address") {
			t.Errorf("%s: %v", account, err)
			continue
		}
		texts = append(texts, fmt.Sprint(e.Status, e.Message, e.RetryAfter > 0))
	}
	if texts = slices.Compact(texts); len(texts) != 1 {
		t.Errorf("outside one can tell %q apart", texts)
	}
	if err := gatehouse.Shutdown(t.Context(), finder); err != nil {
		t.Error(err)
	}
}

// What is no account is 400, and nobody is asked.
func TestFinderAccounts(t *testing.T) {
	s := findingSite(t, names(world.SiteIssuer))
	for _, account := range []string{"", "joe", "http://example.test/joe", "joe:pw@example.test", "=joe", "joe@", "mailto:joe@example.test", strings.Repeat("j", 600) + "@example.test"} {
		a := s.Visitor("ana").Post("/start", url.Values{"account": {account}})
		want := http.StatusBadRequest
		if account == "joe" { // a host
			want = http.StatusNotFound
		}
		if a.Code != want || strings.Contains(a.Body.String(), "joe:") {
			t.Errorf("%.40q: %d %s", account, a.Code, a.Body)
		}
	}
	if calls := s.Calls(); len(calls) != 1 {
		t.Errorf("asked %v", calls)
	}
}

// A provider with tenants is found by the issuer of one of them.
func TestFinderTenants(t *testing.T) {
	s := world.NewSite(t)
	provider := s.ProviderOf(tenantTemplate, func(c *gatehouse.ProviderConfig) {
		c.MetadataURL, c.Tenants = "https://login.test/m", []string{tenantA}
	})
	finder, err := gatehouse.NewFinder(gatehouse.FinderConfig{Transport: s.Transport(), InsecureInnerAddresses: true}, s.Replicas[0].Provider, provider)
	s.Must(err)
	for issuer, want := range map[string]*gatehouse.Provider{tenantIssuer(tenantA): provider, world.SiteIssuer: s.Replicas[0].Provider, tenantIssuer(tenantB): nil, tenantTemplate: nil} {
		s.Serve("https://example.test", names(issuer))
		got, err := finder.FindProvider(t.Context(), "joe@example.test")
		if got != want || want == nil && gatehouse.ErrorCode(err) != "provider_not_allowed" {
			t.Errorf("%s: %v, %v", issuer, got.Issuer(), err)
		}
	}
}

// anyHost lets one handler answer for all hosts.
type anyHost struct{ http.Handler }

func (h anyHost) RoundTrip(r *http.Request) (*http.Response, error) {
	if r.URL.Scheme != "https" || r.Method != http.MethodGet || r.Body != nil {
		return nil, fmt.Errorf("%s %s is sent", r.Method, r.URL)
	}
	w := httptest.NewRecorder()
	h.ServeHTTP(w, r)
	resp := w.Result()
	resp.Request = r
	return resp, nil
}

// Whatever the host sends, an account never makes 5xx, a panic or a provider that is
// not on the list.
func FuzzFindProvider(f *testing.F) {
	f.Add("joe@example.test", []byte(`{"links":[{"rel":"http://openid.net/specs/connect/1.0/issuer","href":"https://op.test"}]}`))
	f.Add("example.test:8443", []byte(`{"links":[{"rel":"http://openid.net/specs/connect/1.0/issuer","href":"https://op.test/"}]}`))
	f.Add("https://a@b.test/?#", []byte(`{"links":[null]}`))
	p, err := gatehouse.NewProvider("https://op.test", &gatehouse.ProviderConfig{Logger: slog.New(slog.DiscardHandler)})
	if err != nil {
		f.Fatal(err)
	}
	f.Fuzz(func(t *testing.T, account string, jrd []byte) {
		host := http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			w.Header().Set("Content-Type", "application/jrd+json")
			_, _ = w.Write(jrd)
		})
		finder, err := gatehouse.NewFinder(gatehouse.FinderConfig{Transport: anyHost{host}, InsecureInnerAddresses: true}, p)
		if err != nil {
			t.Fatal(err)
		}
		got, err := finder.FindProvider(t.Context(), account)
		if err == nil {
			if got != p || !strings.Contains(string(jrd), "op.test") && !strings.Contains(string(jrd), `\`) {
				t.Errorf("%q, %q: found %v", account, jrd, got.Issuer())
			}
			return
		}
		if e, ok := err.(*gatehouse.Error); !ok || got != nil || e.Status < 400 || e.Status > 499 {
			t.Errorf("%q, %q: %v", account, jrd, err)
		}
	})
}
