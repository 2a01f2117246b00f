package middlewaretest_test

import (
	"net/http"
	"net/url"
	"strings"
	"testing"
	"time"

	"example.com/gatehouse"
	"example.com/gatehouse/middlewaretest"
)

// toCallback goes as far as the provider's answer and returns its address.
func (s *service) toCallback(b *middlewaretest.Browser) string {
	s.t.Helper()
	resp, err := b.GetUntil(s.base+"/notes/", s.base+"/auth/callback")
	body(s.t, resp, err)
	return resp.Header.Get("Location")
}

// callback delivers an answer to the service and returns the status.
func (s *service) callback(b *middlewaretest.Browser, address string) int {
	s.t.Helper()
	resp, err := b.Get(address)
	body(s.t, resp, err)
	return resp.StatusCode
}

// TestWhoseAnswer delivers answers to the wrong browser, twice, or without a
// sign-in (RP-C1, RP-C2).
func TestWhoseAnswer(t *testing.T) {
	op := middlewaretest.NewServer(t)
	op.AddUser("ana", nil)
	s := newService(t, op, nil)
	ana, eve := op.Browser(t, "ana"), op.Browser(t, "")
	answer := s.toCallback(ana)
	if got := s.callback(eve, answer); got != 400 || s.took() != "state_unknown" {
		t.Errorf("in another browser: %d", got)
	}
	u, err := url.Parse(answer)
	if err != nil {
		t.Fatal(err)
	}
	resp, err := ana.PostForm(s.base+"/auth/callback", u.Query()) // form_post was not requested
	body(t, resp, err)
	if resp.StatusCode != http.StatusMethodNotAllowed {
		t.Errorf("as a form: %d", resp.StatusCode)
	}
	if got := s.callback(eve, s.base+"/auth/callback?code=x&state=y"); got != 400 || op.Count("token") != 0 {
		t.Errorf("without a sign-in: %d, %d token requests", got, op.Count("token"))
	}
	if got := s.callback(ana, answer); got != 200 || !s.signedIn(ana) {
		t.Errorf("in the right browser: %d", got)
	}
	// Who is signed in goes on, here to the home that this service does not have.
	if got := s.callback(ana, answer); got != 404 || op.Count("token") != 1 || !s.signedIn(ana) {
		t.Errorf("again: %d, %d token requests", got, op.Count("token"))
	}
}

// TestTwoTabs signs in twice in one browser and finishes in the opposite order
// (RP-A3).
func TestTwoTabs(t *testing.T) {
	op := middlewaretest.NewServer(t)
	op.AddUser("ana", nil)
	s := newService(t, op, nil)
	ana := op.Browser(t, "ana")
	first, second := s.toCallback(ana), s.toCallback(ana)
	for _, tab := range []string{second, first} {
		if got := s.callback(ana, tab); got != 200 || !s.signedIn(ana) {
			t.Errorf("%d %s", got, s.took())
		}
	}
	if v := op.Violations(); len(v) != 0 {
		t.Errorf("violations %q", v)
	}
}

// TestKeyRotation rotates right after a sign-in, and then sends a flood of
// tokens with unknown keys (RP-K6, RP-K7).
func TestKeyRotation(t *testing.T) {
	op := middlewaretest.NewServer(t)
	op.AddUser("ana", nil)
	s := newService(t, op, nil)
	for range 2 {
		if status, page := s.get(op.Browser(t, "ana"), "/notes/"); status != 200 {
			t.Errorf("%d %s", status, page)
		}
		must(t, inside(t, op).RotateKeys())
	}
	op.Break(middlewaretest.UnknownKeyID)
	before := op.Count("jwks")
	for range 5 {
		if status, _ := s.get(op.Browser(t, "ana"), "/notes/"); status != 400 {
			t.Errorf("an unknown key: %d", status)
		}
	}
	if n := op.Count("jwks") - before; n > 1 {
		t.Errorf("%d fetches for 5 hopeless tokens", n)
	}
	op.Mend()
	op.Clock().Advance(time.Minute)
	op.BreakAt(middlewaretest.EndpointDown, "jwks")
	op.Break(middlewaretest.WithdrawnKey)
	if status, _ := s.get(op.Browser(t, "ana"), "/notes/"); status != 503 { // the keys rotated: the new ones are not known yet
		t.Errorf("new keys and no key set: %d", status)
	}
}

// TestWithdrawnKey signs with a key that is no longer in the set. A service
// that has seen it before accepts it until it fetches again (RP-K7).
func TestWithdrawnKey(t *testing.T) {
	op := middlewaretest.NewServer(t)
	op.AddUser("ana", nil)
	s := newService(t, op, nil)
	status, _ := s.get(op.Browser(t, "ana"), "/notes/")
	op.Break(middlewaretest.WithdrawnKey)
	warm, _ := s.get(op.Browser(t, "ana"), "/notes/")
	if status != 200 || warm != 200 {
		t.Fatalf("before: %d, warm: %d", status, warm)
	}
	op.Clock().Advance(11 * time.Minute)
	fetched := make(chan struct{}, 1)
	op.OnRequest("jwks", func(*http.Request) {
		select {
		case fetched <- struct{}{}:
		default:
		}
	})
	_, _ = s.get(op.Browser(t, "ana"), "/notes/") // starts the fetch
	<-fetched
	op.OnRequest("jwks", nil)
	for range 100 { // until the fetch has arrived
		if status, _ = s.get(op.Browser(t, "ana"), "/notes/"); status != 200 {
			break
		}
	}
	if status != 400 {
		t.Errorf("after the next fetch: %d", status)
	}
}

// TestAlgorithms signs in with every algorithm, with a good signature and with
// one bit flipped (RP-I13).
func TestAlgorithms(t *testing.T) {
	op := middlewaretest.NewServer(t)
	op.AddUser("ana", nil)
	s := newService(t, op, nil)
	for _, alg := range []string{"RS256", "ES256", "EdDSA"} {
		must(t, inside(t, op).SignWith(alg))
		if status, page := s.get(op.Browser(t, "ana"), "/notes/"); status != 200 {
			t.Errorf("%s: %d %s %s", alg, status, page, s.took())
		}
		op.Break(middlewaretest.WrongSignature)
		if status, _ := s.get(op.Browser(t, "ana"), "/notes/"); status != 400 {
			t.Errorf("%s with a bit flipped: %d", alg, status)
		}
		op.Mend()
	}
}

// TestClients authenticates in each way (RP-T1, RP-T2).
func TestClients(t *testing.T) {
	op := middlewaretest.NewServer(t)
	op.AddUser("ana", nil)
	for _, change := range []func(*gatehouse.RelyingPartyConfig){
		func(c *gatehouse.RelyingPartyConfig) { c.Client.Auth = gatehouse.AuthBasic },
		func(c *gatehouse.RelyingPartyConfig) { c.Client.Auth = gatehouse.AuthPost },
		func(c *gatehouse.RelyingPartyConfig) { c.Client = op.AddPublicClient(c.RedirectURL) },
	} {
		var how gatehouse.AuthMethod
		s := newService(t, op, func(_ *gatehouse.ProviderConfig, c *gatehouse.RelyingPartyConfig) { change(c); how = c.Client.Auth })
		if status, page := s.get(op.Browser(t, "ana"), "/notes/"); status != 200 {
			t.Errorf("%q: %d %s", how, status, page)
		}
	}
	if v := op.Violations(); len(v) != 0 {
		t.Errorf("violations %q", v)
	}
}

// TestFaultsAtRefresh breaks the answer to a refresh: the session ends, and the
// next sign-in works.
func TestFaultsAtRefresh(t *testing.T) {
	op := middlewaretest.NewServer(t)
	op.AddUser("ana", nil)
	for _, fault := range []middlewaretest.Fault{middlewaretest.RefreshOtherSubject, middlewaretest.WrongIssuer,
		middlewaretest.WrongAudience, middlewaretest.ExpiredIDToken, middlewaretest.WrongSignature} {
		s := newService(t, op, nil)
		ana := op.Browser(t, "ana")
		s.get(ana, "/notes/")
		if !s.signedIn(ana) {
			t.Fatalf("%s: not signed in", fault)
		}
		op.Break(fault)
		op.Clock().Advance(10 * time.Minute)
		for range 3 {
			if s.signedIn(ana) {
				t.Errorf("%s: still signed in", fault)
			}
		}
		op.Mend()
		if status, page := s.get(ana, "/notes/"); status != 200 || !strings.HasPrefix(page, "notes of ana") {
			t.Errorf("%s: the next sign-in: %d %s", fault, status, page)
		}
	}
	if v := op.Violations(); len(v) != 0 {
		t.Errorf("violations %q", v)
	}
}
