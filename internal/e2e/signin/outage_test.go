package signin_test

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"example.com/gatehouse/internal/e2e/world"
	"example.com/gatehouse/internal/testkit/opserver"
)

// FA1: the provider is down when the process starts and comes up after a
// minute.
func TestFA1_ProviderDownAtStart(t *testing.T) { synctest.Test(t, testProviderDownAtStart) }

func testProviderDownAtStart(t *testing.T) {
	s := world.NewSite(t, world.TwoReplicas)
	live := s.Visitor("ben")
	live.SignIn()
	s.Replicas = s.Replicas[:1]
	s.SetDown(true)
	begin := time.Now()
	s.AddReplica(s.Options) // a process that starts now
	ana := s.Visitor("ana")
	ana.At, live.At = 1, 1
	for range 12 {
		s.WantRefusal(ana.Get("/notes/"), http.StatusServiceUnavailable)
		s.WantRefusal(ana.Get("/auth/login"), http.StatusServiceUnavailable)
		if len(ana.Cookies()) != 0 {
			t.Errorf("cookies %v with a 503", ana.Cookies())
		}
		if a := ana.Get("/open"); a.Code != http.StatusOK {
			t.Errorf("a public page: %v", a)
		}
		live.WantServed(live.Get("/notes/")) // on the new process too
		s.Advance(5 * time.Second)
	}
	if took := time.Since(begin); took > time.Second { // of the bubble
		t.Errorf("start and 24 answers took %v, want under a second", took)
	}
	s.SetDown(false)
	for waited := 0; ; waited++ {
		if a := ana.Get("/notes/"); a.Code == http.StatusSeeOther {
			break
		}
		if waited >= 30 {
			t.Fatal("sign-in does not work 30 s after the return of the provider")
		}
		s.Advance(time.Second)
	}
	ana.WantServed(ana.Visit("/notes/"))
	if s.Count(opserver.EndpointUMAMetadata) != 0 {
		t.Error("uma2-configuration was fetched for a sign-in")
	}
}

// G6: there are pauses between attempts while the provider is down.
func TestFA1_TriesAreSpaced(t *testing.T) {
	s := world.NewSite(t)
	s.SetDown(true)
	ana := s.Visitor("ana")
	for range 600 {
		ana.Get("/notes/")
		s.Advance(100 * time.Millisecond)
	}
	tries := len(s.Calls())
	if tries < 3 || tries > 20 { // at most one in 3 s, and at least one every 30 s
		t.Errorf("%d tries in a minute", tries)
	}
}

// FA1: if the provider hangs, we answer within a second.
func TestFA1_ProviderHangs(t *testing.T) { synctest.Test(t, testProviderHangs) }

func testProviderHangs(t *testing.T) {
	s := world.NewSite(t)
	s.Break(opserver.AuthorizationServerHangs)
	ana := s.Visitor("ana")
	begin := time.Now()
	s.WantRefusal(ana.Get("/notes/"), http.StatusServiceUnavailable)
	if took := time.Since(begin); took > time.Second {
		t.Errorf("a hanging provider was waited for %v", took)
	}
	if !strings.Contains(s.Log(), "from "+world.SiteIssuer+"/.well-known/openid-configuration: ") {
		t.Errorf("the log lacks the address: %s", s.Log())
	}
	s.Mend(opserver.AuthorizationServerHangs)
	s.Shutdown(0)
	s.Advance(30 * time.Second)
	ana.WantServed(ana.Visit("/notes/"))
}

// FA2, M9, M10: the token endpoint is in trouble. The code is never sent twice,
// because a server may then revoke what it issued for it (RFC 6749 §4.1.2).
func TestFA2_TokenEndpointTrouble(t *testing.T) {
	for _, c := range []struct {
		name   string
		answer func(r *http.Request) (*http.Response, error)
		status int
	}{
		{"500", func(r *http.Request) (*http.Response, error) {
			return world.Answer(r, 500, `{"error":"server_error","refresh_token":"marker-of-upstream"}`), nil
		}, 503},
		{"503", func(r *http.Request) (*http.Response, error) { return world.Answer(r, 503, "marker-of-upstream"), nil }, 503},
		{"429", func(r *http.Request) (*http.Response, error) { return world.Answer(r, 429, "marker-of-upstream"), nil }, 503},
		{"200 HTML", func(r *http.Request) (*http.Response, error) {
			return world.Answer(r, 200, "<p>marker-of-upstream"), nil
		}, 503},
		{"204", func(r *http.Request) (*http.Response, error) { return world.Answer(r, 204, ""), nil }, 503},
		{"2 MiB", func(r *http.Request) (*http.Response, error) {
			return world.Answer(r, 200, strings.Repeat(" ", 2<<20)+"{}"), nil
		}, 503},
		{"reset after headers", func(r *http.Request) (*http.Response, error) {
			resp := world.Answer(r, 200, "{")
			resp.Body = io.NopCloser(io.MultiReader(strings.NewReader(`{"access_token":`), brokenReader{}))
			resp.ContentLength = -1
			return resp, nil
		}, 503},
		{"307 elsewhere", func(r *http.Request) (*http.Response, error) {
			resp := world.Answer(r, 307, "")
			resp.Header.Set("Location", "https://evil.test/tok")
			return resp, nil
		}, 503},
		{"invalid_grant", func(r *http.Request) (*http.Response, error) {
			return world.Answer(r, 400, `{"error":"invalid_grant","error_description":"marker-of-upstream"}`), nil
		}, 400},
		{"invalid_client", func(r *http.Request) (*http.Response, error) {
			return world.Answer(r, 401, `{"error":"invalid_client"}`), nil
		}, 503},
		{"hostile error code", func(r *http.Request) (*http.Response, error) {
			return world.Answer(r, 400, `{"error":"<script>\n2026 INFO forged=line"}`), nil
		}, 400},
	} {
		t.Run(c.name, func(t *testing.T) {
			s := world.NewSite(t)
			s.Mint("upstream body", "marker-of-upstream")
			asked := 0
			s.SetWire(func(r *http.Request, next func(*http.Request) *http.Response) (*http.Response, error) {
				if r.URL.Host != "op.test" {
					t.Errorf("a request went to %s", r.URL.Host)
				}
				if strings.HasSuffix(s.Endpoint("token_endpoint"), r.URL.Path) {
					asked++
					return c.answer(r)
				}
				return next(r), nil
			})
			ana := s.Visitor("ana")
			callback := ana.ToCallback("/notes/")
			a := ana.Get(callback)
			s.WantRefusal(a, c.status)
			if !strings.Contains(a.Body.String(), "<a href=") || strings.Contains(a.Body.String(), "<script") {
				t.Errorf("the page has no way on: %v", a)
			}
			if ana.SessionName() != "" || asked != 1 {
				t.Errorf("session %q, %d token requests; want none and 1", ana.SessionName(), asked)
			}
			s.WantRefusal(ana.Get(callback), http.StatusBadRequest) // a reload does not send the code again
			if asked != 1 {
				t.Errorf("a reload sent the code again")
			}
			if n := s.Logged("\n2026 INFO forged"); n != 0 {
				t.Error("the provider writes lines into the log")
			}
			s.SetWire(nil)
			ana.WantServed(ana.Visit("/notes/"))
		})
	}
}

type brokenReader struct{}

func (brokenReader) Read([]byte) (int, error) { return 0, errors.New("connection reset by peer") }

// A silent token endpoint is given up within 10 s. The test checks the deadline
// instead of waiting for it.
func TestFA2_TokenEndpointSilent(t *testing.T) {
	s := world.NewSite(t)
	var left time.Duration
	s.SetWire(func(r *http.Request, next func(*http.Request) *http.Response) (*http.Response, error) {
		if !strings.HasSuffix(s.Endpoint("token_endpoint"), r.URL.Path) {
			return next(r), nil
		}
		deadline, _ := r.Context().Deadline()
		left = time.Until(deadline)
		return nil, context.DeadlineExceeded
	})
	ana := s.Visitor("ana")
	s.WantRefusal(ana.Get(ana.ToCallback("/notes/")), http.StatusServiceUnavailable)
	if left <= 0 || left > 10*time.Second {
		t.Errorf("a silent token endpoint would be waited for %v, want at most 10 s", left)
	}
}

// FA2: the log has the status and the error code of the token endpoint. The
// page offers another try that leads to sign-in and not to the used callback.
func TestFA2_LogAndRetryLink(t *testing.T) {
	for status, body := range map[int]string{
		500: `{"error":"server_error","error_description":"marker-of-upstream"}`, 503: "marker-of-upstream", 400: `{"error":"invalid_grant","error_description":"marker-of-upstream"}`,
	} {
		s := world.NewSite(t)
		s.Mint("upstream body", "marker-of-upstream")
		s.SetWire(func(r *http.Request, next func(*http.Request) *http.Response) (*http.Response, error) {
			if strings.HasSuffix(s.Endpoint("token_endpoint"), r.URL.Path) {
				return world.Answer(r, status, body), nil
			}
			return next(r), nil
		})
		ana := s.Visitor("ana")
		a := ana.Get(ana.ToCallback("/notes/"))
		if s.Logged(fmt.Sprint("token endpoint answered ", status)) != 1 {
			t.Errorf("the log does not name the status %d", status)
		}
		if strings.Contains(body, "server_error") && s.Logged("server_error") != 1 || strings.Contains(body, "invalid_grant") && s.Logged("invalid_grant") != 1 {
			t.Errorf("status %d: the log does not name the error code", status)
		}
		if !strings.Contains(a.Body.String(), `<a href="/auth/login"`) || strings.Contains(a.Body.String(), "/auth/callback") {
			t.Errorf("the way on: %v", a)
		}
		s.SetWire(nil)
		ana.WantServed(ana.Follow(ana.Get("/auth/login?return_to=/notes/"), nil))
	}
}
