package gatehouse_test

import (
	"context"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"testing"
	"time"

	"example.com/gatehouse"
	"example.com/gatehouse/internal/testkit/opserver"
)

func TestCB1_NoState(t *testing.T) {
	s := newSite(t)
	ana := s.visitor("ana")
	callback := ana.toCallback("/notes/")
	s.wantNo(ana, ana.get(withQuery(t, callback, func(q url.Values) { q.Del("state") })), 0)
	ana.wantServed(ana.visit(callback)) // the attempt is still good
}

func TestCB3_StateFromAnotherBrowser(t *testing.T) {
	s := newSite(t)
	ana, ben := s.visitor("ana"), s.visitor("ben")
	callback := ana.toCallback("/notes/")
	s.wantNo(ben, ben.get(callback), 0)
	ben.toCallback("/notes/") // with an attempt of his own under way
	s.wantNo(ben, ben.get(callback), 0)
	ana.wantServed(ana.visit(callback))
}

// RP-C1, RP-C2: callbacks that belong to no sign-in of this browser.
func TestCallbackForeignState(t *testing.T) {
	s := newSite(t)
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
			ana := s.visitor("ana")
			callback := ana.toCallback("/notes/")
			s.ResetCounts()
			bad := withQuery(t, callback, func(q url.Values) { q.Set("state", c.change(q.Get("state"))) })
			s.wantNo(ana, ana.get(bad), 0)
			ana.wantServed(ana.visit(callback))
		})
	}
	nobody := s.visitor("ana")
	s.ResetCounts()
	s.wantNo(nobody, nobody.get("/auth/callback?code=c1&state=AAAAAAAAAAAAAAAAAAAAAA"), 0)
	s.wantNo(nobody, nobody.get("/auth/callback"), 0)
	s.wantNo(nobody, nobody.get("/auth/callback?"+strings.Repeat("a=b&", 8000)), 0)
	s.wantNo(nobody, nobody.get("/auth/callback?state=%zz"), 0)
}

// CB4: a callback counts once, on every replica, even when the browser kept its
// cookies.
func TestCB4_CallbackTwice(t *testing.T) {
	s := newSite(t, twoReplicas)
	ana := s.visitor("ana")
	callback := ana.toCallback("/notes/")
	before := ana.cookies()
	ana.wantServed(ana.visit(callback))
	cookie := ana.sessionCookie()
	for at := range 2 {
		for name, value := range before {
			ana.setCookie(name, value)
		}
		ana.at = at
		a := ana.get(callback)
		if a.Code != http.StatusBadRequest || s.lastCode() != "state_used" {
			t.Errorf("second use: %v, code %q", a, s.lastCode())
		}
	}
	if ana.sessionCookie() != cookie {
		t.Error("the second use changed the session cookie")
	}
	ana.wantServed(ana.get("/notes/"))
	if got := s.Count(opserver.EndpointToken); got != 1 {
		t.Errorf("%d token requests, want 1", got)
	}
	if v := s.Violations(); len(v) != 0 {
		t.Errorf("the provider saw %q", v)
	}
}

// RFC 6749 §3.1: parameters must not be repeated.
func TestCallbackRepeatedParameters(t *testing.T) {
	s := newSite(t)
	for _, name := range []string{"state", "code", "iss", "error", "error_description", "error_uri"} {
		t.Run(name, func(t *testing.T) {
			ana := s.visitor("ana")
			callback := ana.toCallback("/notes/")
			s.ResetCounts()
			twice := withQuery(t, callback, func(q url.Values) {
				v := q.Get(name)
				q[name] = []string{v, v}
			})
			s.wantNo(ana, ana.get(twice), 0)
			ana.wantServed(ana.visit(callback))
		})
	}
}

// RP-C3, CB9: the provider says no.
func TestCB9_ErrorAnswers(t *testing.T) {
	s := newSite(t)
	for _, c := range []struct{ code, description string }{
		{"access_denied", "<script>alert(1)</script>"}, {"login_required", `"'><img src=x>`}, {"<b>", ""},
		{"temporarily_unavailable", strings.Repeat("x", 4000)},
	} {
		t.Run(c.code, func(t *testing.T) {
			ana := s.visitor("ana")
			callback := ana.toCallback("/notes/")
			s.ResetCounts()
			bad := withQuery(t, callback, func(q url.Values) {
				q.Del("code")
				q.Set("error", c.code)
				q.Set("error_description", c.description)
				q.Set("error_uri", "javascript:alert(2)")
			})
			wrong := withQuery(t, bad, func(q url.Values) { q.Set("state", q.Get("state")[:8]+"AAAAAAAAAAAAAA") })
			s.wantNo(ana, ana.get(wrong), 0) // not believed: the attempt lives
			if len(ana.attempts()) != 1 {
				t.Error("an error with a wrong state took the attempt away")
			}
			a := ana.get(bad)
			if a.Code != http.StatusForbidden && a.Code != http.StatusBadRequest {
				t.Errorf("got %v; want 403 or 400", a)
			}
			for _, echo := range []string{"<script", "<img", "<b>", "javascript:", "xxxx", "alert(", "&lt;", "&#34;", c.code} {
				if strings.Contains(a.Body.String(), echo) {
					t.Errorf("the page echoes %q", echo)
				}
			}
			if s.lastCode() != "provider_refused" || s.Count(opserver.EndpointToken) != 0 {
				t.Errorf("code %q, %d token requests", s.lastCode(), s.Count(opserver.EndpointToken))
			}
			s.wantNo(ana, ana.get(callback), 0) // the attempt is used up
			ana.wantServed(ana.visit("/notes/"))
		})
	}
}

// RFC 9207 §2.4; CB6.
func TestCB6_ResponseIssuer(t *testing.T) {
	for _, c := range []struct {
		name      string
		announced bool
		iss       string // "" for absent
		good      bool
	}{
		{"announced and right", true, siteIssuer, true},
		{"announced and missing", true, "", false},
		{"announced and another", true, "https://op2.test/realm", false},
		{"announced, a slash more", true, siteIssuer + "/", false},
		{"not announced and absent", false, "", true},
		{"not announced and right", false, siteIssuer, true},
		{"not announced and another", false, "https://op2.test/realm", false},
	} {
		t.Run(c.name, func(t *testing.T) {
			s := newSite(t)
			s.setWire(func(r *http.Request, next func(*http.Request) *http.Response) (*http.Response, error) {
				return rewriteJSON(t, next(r), func(m map[string]any) {
					if !c.announced {
						delete(m, "authorization_response_iss_parameter_supported")
					}
				}), nil
			})
			ana := s.visitor("ana")
			callback := withQuery(t, ana.toCallback("/notes/"), func(q url.Values) {
				if q.Del("iss"); c.iss != "" {
					q.Set("iss", c.iss)
				}
			})
			if c.good {
				ana.wantServed(ana.visit(callback))
				return
			}
			s.wantNo(ana, ana.get(callback), 0)
			if s.lastCode() != "issuer_mismatch" {
				t.Errorf("code %q, want issuer_mismatch", s.lastCode())
			}
		})
	}
}

// What the provider does wrong in its answer to the browser.
func TestCallbackFaults(t *testing.T) {
	for _, f := range []opserver.Fault{opserver.WrongState, opserver.WrongResponseIssuer, opserver.MissingResponseIssuer} {
		t.Run(string(f), func(t *testing.T) {
			s := newSite(t)
			s.breakIt(f)
			ana := s.visitor("ana")
			s.wantNo(ana, ana.get(ana.toCallback("/notes/")), 0)
			if v := s.Violations(); len(v) != 0 {
				t.Errorf("the provider saw %q", v)
			}
			s.mend(f)
			ana.wantServed(ana.visit("/notes/"))
		})
	}
}

func TestCallbackCodeShapes(t *testing.T) {
	s := newSite(t)
	for name, code := range map[string][]string{"absent": nil, "empty": {""}, "9 KiB": {strings.Repeat("c", 9<<10)}} {
		t.Run(name, func(t *testing.T) {
			ana := s.visitor("ana")
			callback := ana.toCallback("/notes/")
			s.ResetCounts()
			s.wantNo(ana, ana.get(withQuery(t, callback, func(q url.Values) { q["code"] = code })), 0)
		})
	}
}

func TestCallbackMethods(t *testing.T) {
	s := newSite(t)
	ana := s.visitor("ana")
	callback := ana.toCallback("/notes/")
	for _, method := range []string{http.MethodPost, http.MethodHead, http.MethodPut, http.MethodOptions} {
		a := ana.do(ana.request(method, callback, strings.NewReader("state=x"), "Content-Type", "application/x-www-form-urlencoded"))
		if a.Code != http.StatusMethodNotAllowed || a.Header().Get("Allow") != http.MethodGet {
			t.Errorf("%s: %v, Allow %q", method, a, a.Header().Get("Allow"))
		}
	}
	ana.wantServed(ana.visit(callback))
}

// R2: a sign-in may take ten minutes.
func TestCallbackTooLate(t *testing.T) {
	for _, c := range []struct {
		wait time.Duration
		good bool
	}{{9*time.Minute + 59*time.Second, true}, {10 * time.Minute, false}, {24 * time.Hour, false}} {
		s := newSite(t)
		ana := s.visitor("ana")
		start := ana.get("/notes/")
		s.advance(c.wait)
		callback := ana.answerOf(start)
		a := ana.get(callback)
		if (a.Code == http.StatusSeeOther) != c.good {
			t.Errorf("after %v: %v", c.wait, a)
		}
		if !c.good && s.lastCode() != "attempt_expired" {
			t.Errorf("after %v: code %q", c.wait, s.lastCode())
		}
	}
}

// F47: a cookie of one purpose or party is nothing for another.
func TestCallbackCookieOfAnotherParty(t *testing.T) {
	var other *gatehouse.RelyingParty
	s := newSite(t, func(o *siteOptions) {
		o.sessions = func(c *gatehouse.SessionsConfig) {
			c.Keys = []gatehouse.Secret{gatehouse.NewSecret(strings.Repeat("k", 32))}
		}
	})
	s.must(s.AddClient(opserver.Client{ID: "second", Secret: "second-secret", RedirectURIs: []string{s.origin + "/auth/callback2"}, IDTokenAlg: "ES256"}))
	other, err := gatehouse.NewRelyingParty(s.replicas[0].provider, gatehouse.RelyingPartyConfig{
		Client:      gatehouse.Client{ID: "second", Secret: gatehouse.NewSecret("second-secret")},
		RedirectURL: s.origin + "/auth/callback2", Sessions: s.replicas[0].sessions,
	})
	s.must(err)
	s.replicas[0].mux.Handle("/auth/callback2", other.CallbackHandler())
	s.replicas[0].mux.Handle("/second", other.RequireLogin(whoAmI))
	ana := s.visitor("ana")
	callback := ana.toCallback("/notes/")
	mine := ana.attempts()[0]
	value := ana.cookies()[mine]
	second := ana.get("/second") // an attempt of the second party, to learn its names
	names := slices.DeleteFunc(ana.attempts(), func(n string) bool { return n == mine })
	if len(names) != 1 {
		t.Fatalf("attempt cookies %q after %v", ana.attempts(), second)
	}
	cut := strings.LastIndex(mine, queryOf(t, callback).Get("state")[:8])
	if cut < 0 {
		t.Fatalf("cookie %q is not named after its state", mine)
	}
	ana.setCookie(names[0][:len(names[0])-8]+mine[cut:], value) // the same attempt under the other party's name
	s.ResetCounts()
	s.wantNo(ana, ana.get(strings.Replace(callback, "/auth/callback?", "/auth/callback2?", 1)), 0)
	ana.wantServed(ana.visit(callback))
	// One Sessions, one cookie, but a session belongs to the client that made it.
	if a := ana.get("/second"); a.Code == http.StatusOK {
		t.Errorf("a session of one client opened a page of another: %v", a)
	}
}

// Every character of an attempt cookie counts.
func TestCallbackTamperedCookie(t *testing.T) {
	s := newSite(t)
	ana := s.visitor("ana")
	callback := ana.toCallback("/notes/")
	name := ana.attempts()[0]
	value := ana.cookies()[name]
	bad := []string{"", "x", value + "A", value[:len(value)-4], strings.Repeat("A", len(value)), strings.Repeat("A", 4000)}
	for i := 0; i < len(value); i += 7 {
		c := byte('A')
		if value[i] == c {
			c = 'B'
		}
		bad = append(bad, value[:i]+string(c)+value[i+1:])
	}
	for _, v := range bad {
		ana.setCookie(name, v)
		s.wantNo(ana, ana.get(callback), 0)
	}
	ana.setCookie(name, value)
	ana.wantServed(ana.visit(callback))
}

// M14: a browser that leaves while the code is redeemed does not lose its sign-in.
func TestCallbackBrowserLeaves(t *testing.T) {
	s := newSite(t)
	ana := s.visitor("ana")
	callback := ana.toCallback("/notes/")
	ctx, leave := context.WithCancel(context.Background())
	s.OnRequest(opserver.EndpointToken, func(*http.Request) { leave() })
	a := ana.do(ana.request(http.MethodGet, callback, nil, navigation...).WithContext(ctx))
	if ctx.Err() == nil || a.Code != http.StatusSeeOther {
		t.Fatalf("got %v", a)
	}
	ana.wantServed(ana.get("/notes/"))
}

// CB4 as a browser does it: a reload has lost the attempt's cookie and keeps the
// session. On another replica too.
func TestCB4_Reload(t *testing.T) {
	s := newSite(t, twoReplicas)
	ana := s.visitor("ana")
	callback := ana.toCallback("/notes/")
	ana.wantServed(ana.visit(callback))
	cookie := ana.sessionCookie()
	for at := range 2 {
		a := ana.on(at).get(callback)
		s.wantRefusal(a, http.StatusBadRequest)
		if ana.sessionCookie() != cookie || len(a.Result().Cookies()) != 0 {
			t.Errorf("the reload changes cookies: %v", a.Result().Cookies())
		}
		ana.wantServed(ana.on(at).get("/notes/"))
	}
	if got := s.Count(opserver.EndpointToken); got != 1 {
		t.Errorf("%d token requests, want 1", got)
	}
}
