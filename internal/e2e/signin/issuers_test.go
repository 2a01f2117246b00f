package signin_test

import (
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"
	"sync/atomic"
	"testing"

	"example.com/gatehouse"
	"example.com/gatehouse/internal/e2e/world"
	"example.com/gatehouse/internal/testkit/opserver"
)

// secondProvider is another provider of the same site, with its own party and
// addresses. It counts its requests.
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

func addProvider(s *world.Site, issuer string) *secondProvider {
	s.T.Helper()
	server, err := opserver.New(opserver.Config{Issuer: issuer, Now: s.Now, Keys: world.Keys()})
	s.Must(err)
	s.T.Cleanup(server.Close)
	p := &secondProvider{Server: server}
	s.Must(server.AddClient(opserver.Client{ID: "notes", Secret: "second-secret", RedirectURIs: []string{s.Origin + "/op2/callback"}}))
	for _, r := range s.Replicas {
		provider, err := gatehouse.NewProvider(issuer, &gatehouse.ProviderConfig{Transport: p, Now: s.Now, Logger: s.Logger()})
		s.Must(err)
		party, err := gatehouse.NewRelyingParty(provider, gatehouse.RelyingPartyConfig{
			Client:      gatehouse.Client{ID: "notes", Secret: gatehouse.NewSecret("second-secret")},
			RedirectURL: s.Origin + "/op2/callback", Sessions: r.Sessions,
		})
		s.Must(err)
		r.Mux.Handle("/op2/callback", party.CallbackHandler())
		r.Mux.Handle("/op2/login", party.LoginHandler())
	}
	return p
}

// CB6: with two providers, the answer to a sign-in at the first names the
// second or arrives at the second's address, and vice versa. The result is 400,
// neither provider is asked, and both sign-ins can still be finished.
func TestCB6_TwoProviders(t *testing.T) {
	const second = "https://op2.test"
	s := world.NewSite(t, world.TwoReplicas)
	op2 := addProvider(s, second)
	ana := s.Visitor("ana")
	callback := ana.ToCallback("/notes/")
	began := ana.Get("/op2/login")
	if !strings.HasPrefix(began.Location(), second) {
		t.Fatalf("got %v", began)
	}
	stateOf2 := world.QueryOf(t, began.Location()).Get("state")
	s.ResetCounts()
	for name, bad := range map[string]string{
		"iss of the second":                      world.WithQuery(t, callback, func(q url.Values) { q.Set("iss", second) }),
		"at the second's address":                strings.Replace(callback, "/auth/callback", "/op2/callback", 1),
		"at the second's address, with its iss":  world.WithQuery(t, strings.Replace(callback, "/auth/callback", "/op2/callback", 1), func(q url.Values) { q.Set("iss", second) }),
		"the second's state":                     world.WithQuery(t, callback, func(q url.Values) { q.Set("state", stateOf2) }),
		"the second's state and iss":             world.WithQuery(t, callback, func(q url.Values) { q.Set("state", stateOf2); q.Set("iss", second) }),
		"the first's iss at the second":          "/op2/callback?" + url.Values{"state": {stateOf2}, "code": {"code-of-the-first"}, "iss": {world.SiteIssuer}}.Encode(),
		"no iss at the second that announces it": "/op2/callback?" + url.Values{"state": {stateOf2}, "code": {"code-of-the-first"}}.Encode(),
	} {
		t.Run(name, func(t *testing.T) {
			for at := range s.Replicas {
				a := ana.On(at).Get(bad)
				s.WantRefusal(a, http.StatusBadRequest)
				if n, m := s.Count(opserver.EndpointToken), op2.asked.Load(); n+int(m) != 0 || ana.SessionName() != "" {
					t.Errorf("%d token requests at the first, %d requests at the second, session %q", n, m, ana.SessionName())
				}
			}
		})
	}
	if n := len(ana.Attempts()); n != 2 {
		t.Errorf("%d attempts are left, want both", n)
	}
	ana.WantServed(ana.Visit(callback))
}
