package gatehouse_test

import (
	"log/slog"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"
	"sync/atomic"
	"testing"

	"example.com/gatehouse"
	"example.com/gatehouse/internal/testkit/opserver"
)

// secondProvider is another provider of the same site, with its own party and
// addresses. It counts what it is asked.
type secondProvider struct {
	*opserver.Server
	asked atomic.Int64
}

func (p *secondProvider) RoundTrip(r *http.Request) (*http.Response, error) {
	if !strings.Contains(r.URL.Path, ".well-known") {
		p.asked.Add(1)
	}
	in := r.Clone(r.Context())
	in.RequestURI = r.URL.RequestURI()
	w := httptest.NewRecorder()
	p.ServeHTTP(w, in)
	return w.Result(), nil
}

func (s *site) addProvider(issuer string) *secondProvider {
	s.t.Helper()
	server, err := opserver.New(opserver.Config{Issuer: issuer, Now: s.Now, Keys: providerKeys()})
	s.must(err)
	s.t.Cleanup(server.Close)
	p := &secondProvider{Server: server}
	s.must(server.AddClient(opserver.Client{ID: "notes", Secret: "second-secret", RedirectURIs: []string{s.origin + "/op2/callback"}}))
	for _, r := range s.replicas {
		provider, err := gatehouse.NewProvider(issuer, &gatehouse.ProviderConfig{Transport: p, Now: s.Now, Logger: slog.New(slog.NewTextHandler(siteLog{s}, nil))})
		s.must(err)
		party, err := gatehouse.NewRelyingParty(provider, gatehouse.RelyingPartyConfig{
			Client:      gatehouse.Client{ID: "notes", Secret: gatehouse.NewSecret("second-secret")},
			RedirectURL: s.origin + "/op2/callback", Sessions: r.sessions,
		})
		s.must(err)
		r.mux.Handle("/op2/callback", party.CallbackHandler())
		r.mux.Handle("/op2/login", party.LoginHandler())
	}
	return p
}

// CB6: two providers. The answer to a sign-in at the first names the second, or
// comes to the address of the second, and the other way round: 400, neither is
// asked, and both sign-ins can still be finished.
func TestCB6_TwoProviders(t *testing.T) {
	const second = "https://op2.test"
	s := newSite(t, twoReplicas)
	op2 := s.addProvider(second)
	ana := s.visitor("ana")
	callback := ana.toCallback("/notes/")
	began := ana.get("/op2/login")
	if !strings.HasPrefix(began.location(), second) {
		t.Fatalf("got %v", began)
	}
	stateOf2 := queryOf(t, began.location()).Get("state")
	s.ResetCounts()
	for name, bad := range map[string]string{
		"iss of the second":                      withQuery(t, callback, func(q url.Values) { q.Set("iss", second) }),
		"at the second's address":                strings.Replace(callback, "/auth/callback", "/op2/callback", 1),
		"at the second's address, with its iss":  withQuery(t, strings.Replace(callback, "/auth/callback", "/op2/callback", 1), func(q url.Values) { q.Set("iss", second) }),
		"the second's state":                     withQuery(t, callback, func(q url.Values) { q.Set("state", stateOf2) }),
		"the second's state and iss":             withQuery(t, callback, func(q url.Values) { q.Set("state", stateOf2); q.Set("iss", second) }),
		"the first's iss at the second":          "/op2/callback?" + url.Values{"state": {stateOf2}, "code": {"code-of-the-first"}, "iss": {siteIssuer}}.Encode(),
		"no iss at the second that announces it": "/op2/callback?" + url.Values{"state": {stateOf2}, "code": {"code-of-the-first"}}.Encode(),
	} {
		t.Run(name, func(t *testing.T) {
			for at := range s.replicas {
				a := ana.on(at).get(bad)
				s.wantRefusal(a, http.StatusBadRequest)
				if n, m := s.Count(opserver.EndpointToken), op2.asked.Load(); n+int(m) != 0 || ana.sessionName() != "" {
					t.Errorf("%d token requests at the first, %d requests at the second, session %q", n, m, ana.sessionName())
				}
			}
		})
	}
	if n := len(ana.attempts()); n != 2 {
		t.Errorf("%d attempts are left, want both", n)
	}
	ana.wantServed(ana.visit(callback))
}
