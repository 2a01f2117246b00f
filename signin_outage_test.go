package gatehouse_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"slices"
	"strings"
	"testing"
	"time"

	"example.com/gatehouse"
	"example.com/gatehouse/internal/testkit/opserver"
)

// FA1: the provider is down when the process starts and up after a minute.
func TestFA1_ProviderDownAtStart(t *testing.T) {
	s := newSite(t, twoReplicas)
	live := s.visitor("ben")
	live.signIn()
	s.replicas = s.replicas[:1]
	s.setDown(true)
	begin := time.Now()
	s.addReplica(s.opts) // a process that starts now
	ana := s.visitor("ana")
	ana.at, live.at = 1, 1
	for range 12 {
		s.wantRefusal(ana.get("/notes/"), http.StatusServiceUnavailable)
		s.wantRefusal(ana.get("/auth/login"), http.StatusServiceUnavailable)
		if len(ana.cookies()) != 0 {
			t.Errorf("cookies %v with a 503", ana.cookies())
		}
		if a := ana.get("/open"); a.Code != http.StatusOK {
			t.Errorf("a public page: %v", a)
		}
		live.wantServed(live.get("/notes/")) // on the new process too
		s.advance(5 * time.Second)
	}
	if took := time.Since(begin); took > time.Second {
		t.Errorf("start and 24 answers took %v, want under a second", took)
	}
	s.setDown(false)
	for waited := 0; ; waited++ {
		if a := ana.get("/notes/"); a.Code == http.StatusSeeOther {
			break
		}
		if waited >= 30 {
			t.Fatal("sign-in does not work 30 s after the return of the provider")
		}
		s.advance(time.Second)
	}
	ana.wantServed(ana.visit("/notes/"))
	if s.Count(opserver.EndpointUMAMetadata) != 0 {
		t.Error("uma2-configuration was fetched for a sign-in")
	}
}

// G6: the tries while the provider is down are spaced.
func TestFA1_TriesAreSpaced(t *testing.T) {
	s := newSite(t)
	s.setDown(true)
	ana := s.visitor("ana")
	for range 600 {
		ana.get("/notes/")
		s.advance(100 * time.Millisecond)
	}
	s.mu.Lock()
	tries := len(s.calls)
	s.mu.Unlock()
	if tries < 3 || tries > 20 { // one in 3 s at most, and none after the other at least every 30 s
		t.Errorf("%d tries in a minute", tries)
	}
}

// FA1: a provider that hangs is answered for within a second.
func TestFA1_ProviderHangs(t *testing.T) {
	s := newSite(t)
	s.breakIt(opserver.AuthorizationServerHangs)
	ana := s.visitor("ana")
	begin := time.Now()
	s.wantRefusal(ana.get("/notes/"), http.StatusServiceUnavailable)
	if took := time.Since(begin); took > 1500*time.Millisecond {
		t.Errorf("a hanging provider was waited for %v", took)
	}
	s.mend(opserver.AuthorizationServerHangs)
	s.shutdown(0)
	s.advance(30 * time.Second)
	ana.wantServed(ana.visit("/notes/"))
}

// RP-D2, RP-D3: metadata that cannot be used, and then it can.
func TestMetadataTrouble(t *testing.T) {
	original := func(s *site) map[string]any {
		md := map[string]any{}
		for name, v := range s.endpoint {
			md[name] = v
		}
		return md
	}
	for _, c := range []struct {
		name string
		body func(s *site) string
		code int
	}{
		{"another issuer", func(s *site) string { m := original(s); m["issuer"] = siteIssuer + "/"; return toJSON(t, m) }, 200},
		{"no issuer", func(s *site) string { m := original(s); delete(m, "issuer"); return toJSON(t, m) }, 200},
		{"issuer no text", func(s *site) string { m := original(s); m["issuer"] = []string{siteIssuer}; return toJSON(t, m) }, 200},
		{"HTML", func(*site) string { return "<!doctype html><p>marker-of-upstream" }, 200},
		{"500", func(*site) string { return "marker-of-upstream" }, 500},
		{"truncated", func(s *site) string { b := toJSON(t, original(s)); return b[:len(b)/2] }, 200},
		{"an array", func(*site) string { return "[]" }, 200},
		{"null", func(*site) string { return "null" }, 200},
		{"2 MiB", func(s *site) string { return strings.Repeat(" ", 2<<20) + toJSON(t, original(s)) }, 200},
		{"http endpoint", func(s *site) string {
			m := original(s)
			m["token_endpoint"] = "http://op.test/tok"
			return toJSON(t, m)
		}, 200},
		{"relative endpoint", func(s *site) string { m := original(s); m["authorization_endpoint"] = "/az"; return toJSON(t, m) }, 200},
		{"no authorization endpoint", func(s *site) string { m := original(s); delete(m, "authorization_endpoint"); return toJSON(t, m) }, 200},
		{"javascript endpoint", func(s *site) string {
			m := original(s)
			m["authorization_endpoint"] = "javascript:alert(1)"
			return toJSON(t, m)
		}, 200},
		{"redirect", func(*site) string { return "" }, 302},
	} {
		t.Run(c.name, func(t *testing.T) {
			s := newSite(t)
			s.mint("upstream body", "marker-of-upstream")
			body := c.body(s)
			s.setWire(func(r *http.Request, _ func(*http.Request) *http.Response) (*http.Response, error) {
				resp := response(r, c.code, body)
				if c.code == http.StatusFound {
					resp.Header.Set("Location", "https://evil.example/")
				}
				return resp, nil
			})
			ana := s.visitor("ana")
			a := ana.get("/notes/")
			s.wantRefusal(a, http.StatusServiceUnavailable)
			if len(ana.cookies()) != 0 || a.location() != "" {
				t.Errorf("cookies %v, Location %q with a 503", ana.cookies(), a.location())
			}
			s.setWire(nil)
			s.advance(2 * time.Hour) // past every back-off, and past the life of what was kept
			ana.get("/notes/")
			s.shutdown(0)
			ana.wantServed(ana.visit("/notes/"))
		})
	}
}

func toJSON(t testing.TB, v any) string {
	t.Helper()
	b, err := json.Marshal(v)
	if err != nil {
		t.Fatal(err)
	}
	return string(b)
}

// The last good metadata and keys serve while the provider is away (decision 8).
func TestMetadataIsKept(t *testing.T) {
	s := newSite(t)
	s.visitor("ben").signIn()
	s.breakIt(opserver.EndpointDown, opserver.EndpointMetadata, opserver.EndpointJWKS)
	for range 5 {
		s.visitor("ana").signIn()
		s.shutdown(0)
		s.advance(40 * time.Minute)
	}
	if s.Count(opserver.EndpointMetadata) < 2 {
		t.Error("nobody tried to renew the metadata in three hours")
	}
}

// RFC 8414 serves where there is no OpenID document.
func TestMetadataOfRFC8414(t *testing.T) {
	s := newSite(t)
	s.setWire(func(r *http.Request, next func(*http.Request) *http.Response) (*http.Response, error) {
		if strings.HasSuffix(r.URL.Path, "/openid-configuration") {
			return response(r, http.StatusNotFound, ""), nil
		}
		return next(r), nil
	})
	s.visitor("ana").signIn()
	if got := s.Count(opserver.EndpointOAuthMetadata); got != 1 {
		t.Errorf("%d requests for the RFC 8414 document, want 1", got)
	}
}

// One fetch for all who wait (decision 8).
func TestMetadataOneFetch(t *testing.T) {
	s := newSite(t)
	hold, held := make(chan struct{}), make(chan struct{}, 1)
	s.OnRequest(opserver.EndpointMetadata, func(*http.Request) {
		held <- struct{}{}
		<-hold
	})
	done := make(chan *answer)
	for range 20 {
		go func() { done <- s.visitor("ana").get("/notes/") }()
	}
	<-held
	close(hold)
	for range 20 {
		if a := <-done; a.Code != http.StatusSeeOther {
			t.Errorf("got %v", a)
		}
	}
	if got := s.Count(opserver.EndpointMetadata); got != 1 {
		t.Errorf("%d metadata requests, want 1", got)
	}
}

// FA2, M9, M10: the token endpoint in trouble. The code is sent once, ever
// (defect 2).
func TestFA2_TokenEndpointTrouble(t *testing.T) {
	for _, c := range []struct {
		name   string
		answer func(r *http.Request) (*http.Response, error)
		status int
	}{
		{"500", func(r *http.Request) (*http.Response, error) {
			return response(r, 500, `{"error":"server_error","refresh_token":"marker-of-upstream"}`), nil
		}, 503},
		{"503", func(r *http.Request) (*http.Response, error) { return response(r, 503, "marker-of-upstream"), nil }, 503},
		{"429", func(r *http.Request) (*http.Response, error) { return response(r, 429, "marker-of-upstream"), nil }, 503},
		{"200 HTML", func(r *http.Request) (*http.Response, error) { return response(r, 200, "<p>marker-of-upstream"), nil }, 503},
		{"204", func(r *http.Request) (*http.Response, error) { return response(r, 204, ""), nil }, 503},
		{"2 MiB", func(r *http.Request) (*http.Response, error) {
			return response(r, 200, strings.Repeat(" ", 2<<20)+"{}"), nil
		}, 503},
		{"reset after headers", func(r *http.Request) (*http.Response, error) {
			resp := response(r, 200, "{")
			resp.Body = io.NopCloser(io.MultiReader(strings.NewReader(`{"access_token":`), brokenReader{}))
			resp.ContentLength = -1
			return resp, nil
		}, 503},
		{"307 elsewhere", func(r *http.Request) (*http.Response, error) {
			resp := response(r, 307, "")
			resp.Header.Set("Location", "https://evil.test/tok")
			return resp, nil
		}, 503},
		{"invalid_grant", func(r *http.Request) (*http.Response, error) {
			return response(r, 400, `{"error":"invalid_grant","error_description":"marker-of-upstream"}`), nil
		}, 400},
		{"invalid_client", func(r *http.Request) (*http.Response, error) {
			return response(r, 401, `{"error":"invalid_client"}`), nil
		}, 503},
		{"hostile error code", func(r *http.Request) (*http.Response, error) {
			return response(r, 400, `{"error":"<script>\n2026 INFO forged=line"}`), nil
		}, 400},
	} {
		t.Run(c.name, func(t *testing.T) {
			s := newSite(t)
			s.mint("upstream body", "marker-of-upstream")
			asked := 0
			s.setWire(func(r *http.Request, next func(*http.Request) *http.Response) (*http.Response, error) {
				if r.URL.Host != "op.test" {
					t.Errorf("a request went to %s", r.URL.Host)
				}
				if strings.HasSuffix(s.endpoint["token_endpoint"], r.URL.Path) {
					asked++
					return c.answer(r)
				}
				return next(r), nil
			})
			ana := s.visitor("ana")
			callback := ana.toCallback("/notes/")
			a := ana.get(callback)
			s.wantRefusal(a, c.status)
			if !strings.Contains(a.Body.String(), "<a href=") || strings.Contains(a.Body.String(), "<script") {
				t.Errorf("the page has no way on: %v", a)
			}
			if ana.sessionName() != "" || asked != 1 {
				t.Errorf("session %q, %d token requests; want none and 1", ana.sessionName(), asked)
			}
			s.wantRefusal(ana.get(callback), http.StatusBadRequest) // a reload does not send the code again
			if asked != 1 {
				t.Errorf("a reload sent the code again")
			}
			if n := s.logged("\n2026 INFO forged"); n != 0 {
				t.Error("the provider writes lines into the log")
			}
			s.setWire(nil)
			ana.wantServed(ana.visit("/notes/"))
		})
	}
}

type brokenReader struct{}

func (brokenReader) Read([]byte) (int, error) { return 0, errors.New("connection reset by peer") }

// A silent token endpoint is given up within 10 s: the test looks at the
// deadline instead of waiting for it.
func TestFA2_TokenEndpointSilent(t *testing.T) {
	s := newSite(t)
	var left time.Duration
	s.setWire(func(r *http.Request, next func(*http.Request) *http.Response) (*http.Response, error) {
		if !strings.HasSuffix(s.endpoint["token_endpoint"], r.URL.Path) {
			return next(r), nil
		}
		deadline, _ := r.Context().Deadline()
		left = time.Until(deadline)
		return nil, context.DeadlineExceeded
	})
	ana := s.visitor("ana")
	s.wantRefusal(ana.get(ana.toCallback("/notes/")), http.StatusServiceUnavailable)
	if left <= 0 || left > 10*time.Second {
		t.Errorf("a silent token endpoint would be waited for %v, want at most 10 s", left)
	}
}

// FA5: the clocks of site and provider.
func TestFA5_ClockSkew(t *testing.T) {
	for _, c := range []struct {
		skew time.Duration // of the provider
		code string
	}{{30 * time.Second, ""}, {-30 * time.Second, ""}, {10 * time.Minute, "clock_skew"}, {-10 * time.Minute, "clock_skew"}} {
		t.Run(c.skew.String(), func(t *testing.T) {
			s := newSite(t)
			s.retoken(t, func(_, claims map[string]any) {
				for _, name := range []string{"iat", "exp", "auth_time"} {
					seconds, _ := claims[name].(float64)
					claims[name] = seconds + c.skew.Seconds()
				}
			})
			ana := s.visitor("ana")
			a := ana.get(ana.toCallback("/notes/"))
			if c.code == "" {
				if a.Code != http.StatusSeeOther {
					t.Errorf("got %v", a)
				}
				return
			}
			s.wantNo(ana, a, 1)
			if s.lastCode() != c.code || !strings.Contains(a.Body.String(), "clock") {
				t.Errorf("code %q and %v; want %q and a page that says so", s.lastCode(), a, c.code)
			}
		})
	}
}

// Static metadata and keys: nothing is fetched, ever.
func TestStaticMetadataAndKeys(t *testing.T) {
	var k *signer
	s := newSite(t, func(o *siteOptions) {
		o.provider = func(c *gatehouse.ProviderConfig) {
			if k == nil {
				k = newSigner(t)
			}
			c.Metadata = &gatehouse.Metadata{AuthorizationEndpoint: "https://op.test/realm/ep/az-3f",
				TokenEndpoint: "https://op.test/realm/ep/tok-7", IDTokenAlgorithms: []string{"ES256"}, ResponseIssuer: true}
			c.Keys = append(c.Keys, k.key.Public())
		}
	})
	s.rewrap(t, k, func(claims map[string]any) string { return k.sign(nil, []byte(toJSON(t, claims))) })
	s.visitor("ana").signIn()
	if m, j := s.Count(opserver.EndpointMetadata), s.Count(opserver.EndpointJWKS); m+j != 0 {
		t.Errorf("%d metadata and %d key requests", m, j)
	}
}

// FA5 with the clock of the site itself, ahead and behind: half a minute is
// nothing; ten minutes are one page that says so, one event, one line, no loop.
func TestFA5_ClockOfTheSite(t *testing.T) {
	for _, skew := range []time.Duration{30 * time.Second, -30 * time.Second, 10 * time.Minute, -10 * time.Minute} {
		t.Run(skew.String(), func(t *testing.T) {
			off := func(now func() time.Time) func() time.Time { return func() time.Time { return now().Add(skew) } }
			s := newSite(t, func(o *siteOptions) {
				o.replicas = 2
				o.provider = func(c *gatehouse.ProviderConfig) { c.Now = off(c.Now) }
				o.sessions = func(c *gatehouse.SessionsConfig) { c.Now = off(c.Now) }
			})
			ana := s.visitor("ana")
			a := ana.visit("/notes/")
			if skew.Abs() < time.Minute {
				ana.wantServed(a)
				ana.wantServed(ana.on(1).get("/notes/"))
				return
			}
			s.wantRefusal(a, http.StatusBadRequest)
			if !strings.Contains(a.Body.String(), "clock") || ana.sessionName() != "" {
				t.Errorf("got %v, session %q", a, ana.sessionName())
			}
			if codes := s.eventsOf(gatehouse.EventRefusal); !slices.Equal(codes, []string{"clock_skew"}) || s.logged("code=clock_skew") != 1 {
				t.Errorf("events %q, %d lines", codes, s.logged("code=clock_skew"))
			}
			if n, m := s.Count(opserver.EndpointAuthorize), s.Count(opserver.EndpointToken); n != 1 || m != 1 {
				t.Errorf("%d authorization and %d token requests, want one each", n, m)
			}
		})
	}
}

// FA2: the log has the status and the error code of the token endpoint, and the
// page a way to try again that leads to sign-in and not to the used callback.
func TestFA2_LogAndWayOn(t *testing.T) {
	for status, body := range map[int]string{
		500: `{"error":"server_error","error_description":"marker-of-upstream"}`, 503: "marker-of-upstream", 400: `{"error":"invalid_grant","error_description":"marker-of-upstream"}`,
	} {
		s := newSite(t)
		s.mint("upstream body", "marker-of-upstream")
		s.setWire(func(r *http.Request, next func(*http.Request) *http.Response) (*http.Response, error) {
			if strings.HasSuffix(s.endpoint["token_endpoint"], r.URL.Path) {
				return response(r, status, body), nil
			}
			return next(r), nil
		})
		ana := s.visitor("ana")
		a := ana.get(ana.toCallback("/notes/"))
		if s.logged(fmt.Sprint("token endpoint answered ", status)) != 1 {
			t.Errorf("the log does not name the status %d", status)
		}
		if strings.Contains(body, "server_error") && s.logged("server_error") != 1 || strings.Contains(body, "invalid_grant") && s.logged("invalid_grant") != 1 {
			t.Errorf("status %d: the log does not name the error code", status)
		}
		if !strings.Contains(a.Body.String(), `<a href="/auth/login"`) || strings.Contains(a.Body.String(), "/auth/callback") {
			t.Errorf("the way on: %v", a)
		}
		s.setWire(nil)
		ana.wantServed(ana.follow(ana.get("/auth/login?return_to=/notes/"), nil))
	}
}
