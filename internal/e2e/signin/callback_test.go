package signin_test

import (
	"context"
	"errors"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"testing"
	"time"

	"example.com/gatehouse"
	"example.com/gatehouse/internal/e2e/world"
	"example.com/gatehouse/internal/testkit/opserver"
)

func TestCB1_NoState(t *testing.T) {
	s := world.NewSite(t)
	ana := s.Visitor("ana")
	callback := ana.ToCallback("/notes/")
	s.WantNo(ana, ana.Get(world.WithQuery(t, callback, func(q url.Values) { q.Del("state") })), 0)
	ana.WantServed(ana.Visit(callback)) // the attempt is still valid
}

func TestCB3_StateFromAnotherBrowser(t *testing.T) {
	s := world.NewSite(t)
	ana, ben := s.Visitor("ana"), s.Visitor("ben")
	callback := ana.ToCallback("/notes/")
	s.WantNo(ben, ben.Get(callback), 0)
	ben.ToCallback("/notes/") // with an attempt of his own under way
	s.WantNo(ben, ben.Get(callback), 0)
	ana.WantServed(ana.Visit(callback))
}

// RP-C1, RP-C2: callbacks that do not belong to a sign-in of this browser.
func TestCallbackForeignState(t *testing.T) {
	s := world.NewSite(t)
	for _, c := range []struct {
		name   string
		change func(state string) string
	}{
		{"random", func(string) string { return "AAAAAAAAAAAAAAAAAAAAAA" }},
		{"same beginning", func(state string) string { return state[:8] + "AAAAAAAAAAAAAA" }},
		{"one character changed", func(state string) string { return state[:21] + string(state[21]^1) }},
		{"longer", func(state string) string { return state + "A" }},
		{"shorter", func(state string) string { return state[:21] }},
		{"header characters", func(string) string { return "a; b=c\r\nX: y\x00z......." }},
		{"8 KiB", func(string) string { return strings.Repeat("A", 8<<10) }},
		{"not ASCII", func(string) string { return strings.Repeat("é", 11) }},
	} {
		t.Run(c.name, func(t *testing.T) {
			ana := s.Visitor("ana")
			callback := ana.ToCallback("/notes/")
			s.ResetCounts()
			bad := world.WithQuery(t, callback, func(q url.Values) { q.Set("state", c.change(q.Get("state"))) })
			s.WantNo(ana, ana.Get(bad), 0)
			ana.WantServed(ana.Visit(callback))
		})
	}
	nobody := s.Visitor("ana")
	s.ResetCounts()
	s.WantNo(nobody, nobody.Get("/auth/callback?code=c1&state=AAAAAAAAAAAAAAAAAAAAAA"), 0)
	s.WantNo(nobody, nobody.Get("/auth/callback"), 0)
	s.WantNo(nobody, nobody.Get("/auth/callback?"+strings.Repeat("a=b&", 8000)), 0)
	s.WantNo(nobody, nobody.Get("/auth/callback?state=%zz"), 0)
}

// CB4: a callback counts once across all replicas, even if the browser kept its
// cookies. Who is signed in goes on to the page; nobody else does.
func TestCB4_CallbackTwice(t *testing.T) {
	s := world.NewSite(t, world.TwoReplicas)
	ana := s.Visitor("ana")
	callback := ana.ToCallback("/notes/")
	before := ana.Cookies()
	ana.WantServed(ana.Visit(callback))
	cookie := ana.SessionCookie()
	for at := range 2 {
		for name, value := range before {
			ana.SetCookie(name, value)
		}
		ana.At = at
		if a := ana.Get(callback); a.Code != http.StatusSeeOther || a.Location() != "/notes/" {
			t.Errorf("second use: %v", a)
		}
		other := s.Visitor("ana").On(at)
		for name, value := range before {
			other.SetCookie(name, value)
		}
		s.WantRefusal(other.Get(callback), http.StatusBadRequest)
		if s.LastCode() != "state_used" || other.SessionName() != "" {
			t.Errorf("second use by nobody: code %q, cookies %v", s.LastCode(), other.Cookies())
		}
	}
	if ana.SessionCookie() != cookie {
		t.Error("the second use changed the session cookie")
	}
	ana.WantServed(ana.Get("/notes/"))
	if got := s.Count(opserver.EndpointToken); got != 1 {
		t.Errorf("%d token requests, want 1", got)
	}
	if v := s.Violations(); len(v) != 0 {
		t.Errorf("the provider saw %q", v)
	}
}

func TestCallbackMethods(t *testing.T) {
	s := world.NewSite(t)
	ana := s.Visitor("ana")
	callback := ana.ToCallback("/notes/")
	for _, method := range []string{http.MethodPost, http.MethodHead, http.MethodPut, http.MethodOptions} {
		a := ana.Do(ana.Request(method, callback, strings.NewReader("state=x"), "Content-Type", "application/x-www-form-urlencoded"))
		if a.Code != http.StatusMethodNotAllowed || a.Header().Get("Allow") != http.MethodGet {
			t.Errorf("%s: %v, Allow %q", method, a, a.Header().Get("Allow"))
		}
	}
	ana.WantServed(ana.Visit(callback))
}

// R2: a sign-in may take ten minutes.
func TestCallbackTooLate(t *testing.T) {
	for _, c := range []struct {
		wait time.Duration
		good bool
	}{{9*time.Minute + 59*time.Second, true}, {10 * time.Minute, false}, {24 * time.Hour, false}} {
		s := world.NewSite(t)
		ana := s.Visitor("ana")
		start := ana.Get("/notes/")
		s.Advance(c.wait)
		callback := ana.AnswerOf(start)
		a := ana.Get(callback)
		if (a.Code == http.StatusSeeOther) != c.good {
			t.Errorf("after %v: %v", c.wait, a)
		}
		if !c.good && s.LastCode() != "attempt_expired" {
			t.Errorf("after %v: code %q", c.wait, s.LastCode())
		}
		if log := s.Log(); !c.good && (!strings.Contains(log, "began at 2026-05-01T12:00:00Z") || !strings.Contains(log, "now it is "+s.Now().UTC().Format(time.RFC3339))) {
			t.Errorf("the log lacks the times: %s", log)
		}
	}
}

// TestCallbackAfterTheSession: a session begins when its sign-in does. A sign-in
// that took longer than the Lifetime has a code of its own, because here the
// configuration is wrong.
func TestCallbackAfterTheSession(t *testing.T) {
	s := world.NewSite(t, func(o *world.SiteOptions) {
		o.Sessions = func(c *gatehouse.SessionsConfig) { c.Lifetime = time.Minute }
	})
	ana := s.Visitor("ana")
	start := ana.Get("/notes/")
	s.Advance(time.Minute)
	a := ana.Get(ana.AnswerOf(start))
	if a.Code != http.StatusBadRequest || s.LastCode() != "session_too_short" {
		t.Errorf("%v with code %q", a, s.LastCode())
	}
}

// F47: a cookie is useless for another purpose or another party.
func TestCallbackCookieOfAnotherParty(t *testing.T) {
	var other *gatehouse.RelyingParty
	s := world.NewSite(t, func(o *world.SiteOptions) {
		o.Sessions = func(c *gatehouse.SessionsConfig) {
			c.Keys = []gatehouse.Secret{gatehouse.NewSecret(strings.Repeat("k", 32))}
		}
	})
	s.Must(s.AddClient(opserver.Client{ID: "second", Secret: "second-secret", RedirectURIs: []string{s.Origin + "/auth/callback2"}, IDTokenAlg: "ES256"}))
	other, err := gatehouse.NewRelyingParty(s.Replicas[0].Provider, gatehouse.RelyingPartyConfig{
		Client:      gatehouse.Client{ID: "second", Secret: gatehouse.NewSecret("second-secret")},
		RedirectURL: s.Origin + "/auth/callback2", Sessions: s.Replicas[0].Sessions,
	})
	s.Must(err)
	s.Replicas[0].Mux.Handle("/auth/callback2", other.CallbackHandler())
	s.Replicas[0].Mux.Handle("/second", other.RequireLogin(world.WhoAmI))
	ana := s.Visitor("ana")
	callback := ana.ToCallback("/notes/")
	mine := ana.Attempts()[0]
	value := ana.Cookies()[mine]
	second := ana.Get("/second") // an attempt of the second party, to learn its cookie names
	names := slices.DeleteFunc(ana.Attempts(), func(n string) bool { return n == mine })
	if len(names) != 1 {
		t.Fatalf("attempt cookies %q after %v", ana.Attempts(), second)
	}
	cut := strings.LastIndex(mine, world.QueryOf(t, callback).Get("state")[:8])
	if cut < 0 {
		t.Fatalf("cookie %q is not named after its state", mine)
	}
	ana.SetCookie(names[0][:len(names[0])-8]+mine[cut:], value) // the same attempt under the other party's name
	s.ResetCounts()
	s.WantNo(ana, ana.Get(strings.Replace(callback, "/auth/callback?", "/auth/callback2?", 1)), 0)
	ana.WantServed(ana.Visit(callback))
	// With one Sessions there is one cookie, but a session belongs to the
	// client that created it.
	if a := ana.Get("/second"); a.Code == http.StatusOK {
		t.Errorf("a session of one client opened a page of another: %v", a)
	}
}

// Every character of an attempt cookie counts.
func TestCallbackTamperedCookie(t *testing.T) {
	s := world.NewSite(t)
	ana := s.Visitor("ana")
	callback := ana.ToCallback("/notes/")
	name := ana.Attempts()[0]
	value := ana.Cookies()[name]
	bad := []string{"", "x", value + "A", value[:len(value)-4], strings.Repeat("A", len(value)), strings.Repeat("A", 4000)}
	for i := 0; i < len(value); i += 7 {
		c := byte('A')
		if value[i] == c {
			c = 'B'
		}
		bad = append(bad, value[:i]+string(c)+value[i+1:])
	}
	for _, v := range bad {
		ana.SetCookie(name, v)
		s.WantNo(ana, ana.Get(callback), 0)
	}
	ana.SetCookie(name, value)
	ana.WantServed(ana.Visit(callback))
}

// M14: a browser that leaves while the code is redeemed does not lose its
// sign-in.
func TestCallbackBrowserLeaves(t *testing.T) {
	s := world.NewSite(t)
	ana := s.Visitor("ana")
	callback := ana.ToCallback("/notes/")
	ctx, leave := context.WithCancel(context.Background())
	s.OnRequest(opserver.EndpointToken, func(*http.Request) { leave() })
	a := ana.Do(ana.Request(http.MethodGet, callback, nil, world.Navigation...).WithContext(ctx))
	if ctx.Err() == nil || a.Code != http.StatusSeeOther {
		t.Fatalf("got %v", a)
	}
	ana.WantServed(ana.Get("/notes/"))
}

// CB4 as a browser does it: a reload comes without the attempt's cookie, keeps
// the session and goes home. This holds on another replica too. Who has signed
// out gets the page, and so does a state that no sign-in used.
func TestCB4_Reload(t *testing.T) {
	s := world.NewSite(t, world.TwoReplicas)
	ana := s.Visitor("ana")
	callback := ana.ToCallback("/notes/")
	ana.WantServed(ana.Visit(callback))
	cookie := ana.SessionCookie()
	for at := range 2 {
		a := ana.On(at).Get(callback)
		if a.Code != http.StatusSeeOther || a.Location() != "/" {
			t.Errorf("reload: %v", a)
		}
		s.WantRefusal(ana.Get("/auth/callback?code=x&state=AAAAAAAAAAAAAAAAAAAAAA"), http.StatusBadRequest)
		if ana.SessionCookie() != cookie || len(a.Result().Cookies()) != 0 {
			t.Errorf("the reload changes cookies: %v", a.Result().Cookies())
		}
		ana.WantServed(ana.On(at).Get("/notes/"))
	}
	ana.Post("/auth/logout", nil)
	s.WantRefusal(ana.Get(callback), http.StatusBadRequest)
	if got := s.Count(opserver.EndpointToken); got != 1 {
		t.Errorf("%d token requests, want 1", got)
	}
}

// While the store is in trouble, nobody knows who reloads: 503, never "not
// signed in" (R10). Afterwards the same reload goes on. Who has no session gets
// the page without asking the store.
func TestCB4_ReloadWithoutStore(t *testing.T) {
	s := world.NewSite(t, world.Watched)
	ana := s.Visitor("ana")
	callback := ana.ToCallback("/notes/")
	before := ana.Cookies()
	ana.WantServed(ana.Visit(callback))
	for _, known := range []bool{false, true} {
		if known {
			for name, value := range before {
				ana.SetCookie(name, value)
			}
		}
		s.Watched().Fail(errors.New("down"), false)
		s.WantRefusal(ana.Get(callback), http.StatusServiceUnavailable)
		if s.LastCode() != "store_unavailable" {
			t.Errorf("code %q", s.LastCode())
		}
		s.WantRefusal(s.Visitor("ana").Get(callback), http.StatusBadRequest)
		s.Watched().Fail(nil, false)
		if a := ana.Get(callback); a.Code != http.StatusSeeOther || a.Location() != map[bool]string{false: "/", true: "/notes/"}[known] {
			t.Errorf("reload: %v", a)
		}
	}
	// The session can be read, but not whether the state was used.
	s.Watched().Between(func(op, _ string) {
		if op == "swap" || op == "find" {
			s.Watched().Fail(errors.New("down"), false)
		}
	})
	s.WantRefusal(ana.Get(callback), http.StatusServiceUnavailable)
}
