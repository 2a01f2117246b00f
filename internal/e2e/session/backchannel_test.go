package session_test

import (
	"bytes"
	"compress/gzip"
	"context"
	"errors"
	"fmt"
	"io"
	"mime/multipart"
	"net/http"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"example.com/gatehouse"
	"example.com/gatehouse/internal/e2e/stories"
	"example.com/gatehouse/internal/e2e/world"
	"example.com/gatehouse/internal/testkit/opserver"
)

// The form is one logout_token in the usual encoding, whatever else it holds.
func TestBackchannelForms(t *testing.T) {
	s := stories.LogoutSite(t)
	ana, sid := stories.SignedIn(s, "ana", world.ReplicaA)
	token := stories.LogoutToken(s, map[string]any{"sid": sid})
	form := stories.LogoutForm(token)
	var many strings.Builder
	for i := 0; many.Len() < 60<<10; i++ {
		fmt.Fprintf(&many, "f%d&", i)
	}
	var zipped bytes.Buffer
	zip := gzip.NewWriter(&zipped)
	_, _ = io.WriteString(zip, form)
	s.Must(zip.Close())
	var parts bytes.Buffer
	multi := multipart.NewWriter(&parts)
	s.Must(multi.WriteField("logout_token", token))
	s.Must(multi.Close())
	for name, c := range map[string]struct {
		method, kind, body string
		header             []string
		status             int
		code               string
	}{
		"GET":                    {http.MethodGet, stories.FormType, form, nil, 405, "method_not_allowed"},
		"HEAD":                   {http.MethodHead, "", "", nil, 405, "method_not_allowed"},
		"PUT":                    {http.MethodPut, stories.FormType, form, nil, 405, "method_not_allowed"},
		"OPTIONS":                {http.MethodOptions, "", "", nil, 405, "method_not_allowed"},
		"JSON":                   {http.MethodPost, "application/json", `{"logout_token":"` + token + `"}`, nil, 400, "logout_request_malformed"},
		"the bare token":         {http.MethodPost, "application/logout+jwt", token, nil, 400, "logout_request_malformed"},
		"multipart":              {http.MethodPost, multi.FormDataContentType(), parts.String(), nil, 400, "logout_request_malformed"},
		"no type":                {http.MethodPost, "", form, nil, 400, "logout_request_malformed"},
		"malformed type":         {http.MethodPost, stories.FormType + "; charset", form, nil, 400, "logout_request_malformed"},
		"another charset":        {http.MethodPost, stories.FormType + "; charset=utf-16", form, nil, 400, "logout_request_malformed"},
		"gzip":                   {http.MethodPost, stories.FormType, zipped.String(), []string{"Content-Encoding", "gzip"}, 400, "logout_request_malformed"},
		"says gzip":              {http.MethodPost, stories.FormType, form, []string{"Content-Encoding", "gzip"}, 400, "logout_request_malformed"},
		"two tokens":             {http.MethodPost, stories.FormType, form + "&" + form, nil, 400, "logout_request_malformed"},
		"two, one of them empty": {http.MethodPost, stories.FormType, "logout_token=&" + form, nil, 400, "logout_request_malformed"},
		"two, one encoded":       {http.MethodPost, stories.FormType, "logout%5Ftoken=x&" + form, nil, 400, "logout_request_malformed"},
		"none":                   {http.MethodPost, stories.FormType, "token=" + token, nil, 400, "logout_request_malformed"},
		"another case":           {http.MethodPost, stories.FormType, strings.Replace(form, "logout_token", "Logout_Token", 1), nil, 400, "logout_request_malformed"},
		"empty body":             {http.MethodPost, stories.FormType, "", nil, 400, "logout_request_malformed"},
		"malformed value":        {http.MethodPost, stories.FormType, "logout_token=%zz", nil, 400, "logout_request_malformed"},
		"many fields, no token":  {http.MethodPost, stories.FormType, many.String(), nil, 400, "logout_request_malformed"},
		"too large":              {http.MethodPost, stories.FormType, form + "&x=" + strings.Repeat("x", 64<<10), nil, 400, "request_too_large"},
		"a million fields":       {http.MethodPost, stories.FormType, strings.Repeat("a&", 1_000_000) + form, nil, 400, "request_too_large"},
	} {
		t.Run(name, func(t *testing.T) {
			a := stories.SendLogout(s, world.ReplicaB, c.method, c.kind, c.body, c.header...)
			stories.WantRefusedLogout(s, a, c.status, c.code)
			if allow := a.Header().Get("Allow"); (allow == "POST") != (c.status == 405) {
				t.Errorf("Allow %q", allow)
			}
			stories.Everywhere(s, func(at int) { ana.WantServed(ana.On(at).Get("/notes/")) })
		})
	}
	if a := stories.SendLogout(s, world.ReplicaB, http.MethodPost, stories.FormType, form, "Cookie", "x=y"); a.Code != 200 {
		t.Errorf("the token: %v", a)
	}
	for name, good := range map[string]func(token string) (kind, body string){
		"other fields": func(token string) (string, string) {
			return stories.FormType, "x=%zz&client_id=other&" + stories.LogoutForm(token) + "&=&x;y"
		},
		"with a charset": func(token string) (string, string) {
			return "Application/X-WWW-Form-URLEncoded; charset=UTF-8", stories.LogoutForm(token)
		},
		"with Apache's charset": func(token string) (string, string) {
			return stories.FormType + "; charset=ISO-8859-1", stories.LogoutForm(token)
		},
		"many fields": func(token string) (string, string) {
			return stories.FormType, many.String() + stories.LogoutForm(token)
		},
		"an encoded name": func(token string) (string, string) { return stories.FormType, "logout%5ftoken=" + token },
		"each dot is encoded": func(token string) (string, string) {
			return stories.FormType, "logout_token=" + strings.ReplaceAll(token, ".", "%2E")
		},
	} {
		t.Run(name, func(t *testing.T) {
			ana, sid := stories.SignedIn(s, "ana", world.ReplicaA)
			kind, body := good(stories.LogoutToken(s, map[string]any{"sid": sid}))
			if a := stories.SendLogout(s, world.ReplicaB, http.MethodPost, kind, body); a.Code != http.StatusOK {
				t.Errorf("got %v", a)
			}
			ana.WantOut(ana.Get("/notes/"))
		})
	}
}

// The sid need not be known, and who is signed out already is so (§2.7).
func TestBackchannelWithoutSession(t *testing.T) {
	s := stories.LogoutSite(t)
	stories.LogOut(s, world.ReplicaA, stories.LogoutToken(s, map[string]any{"sid": "unknown"}))
	stories.LogOut(s, world.ReplicaB, stories.LogoutToken(s, map[string]any{"sub": "nobody", "sid": "unknown"}))
}

// A provider that is older than the final specification needs a setting.
func TestBackchannelOfAnOlderProvider(t *testing.T) {
	s := stories.LogoutSite(t, func(o *world.SiteOptions) {
		o.Provider = func(c *gatehouse.ProviderConfig) { c.InsecureLogoutTokens = true }
	})
	if s.Logged("insecure_logout_tokens") != 2 { // once at each replica
		t.Error("the setting is not in the log")
	}
	ana, sid := stories.SignedIn(s, "ana", world.ReplicaA)
	for name, faults := range map[string][]opserver.Fault{
		"nonce":    {opserver.OldLogoutType, opserver.LogoutNonce},
		"no event": {opserver.OldLogoutType, opserver.MissingLogoutEvent},
		"ID Token": {opserver.IDTokenForLogoutToken},
	} {
		a := stories.SendLogout(s, world.ReplicaB, http.MethodPost, stories.FormType, stories.LogoutForm(stories.LogoutToken(s, map[string]any{"sid": sid}, faults...)))
		stories.WantRefusedLogout(s, a, http.StatusBadRequest, "logout_token_invalid")
		if page := ana.Get("/notes/"); page.Code != http.StatusOK {
			t.Errorf("%s: %v", name, page)
		}
	}
	stories.LogOut(s, world.ReplicaB, stories.LogoutToken(s, map[string]any{"sid": sid, "exp": nil}, opserver.OldLogoutType))
	ana.WantOut(ana.Get("/notes/"))
}

// A replica that has just started waits for the metadata of a slow provider, longer
// than a page does: the logout is lost otherwise. One without a provider says so at
// once.
func TestBackchannelOfASlowProvider(t *testing.T) {
	for _, slow := range []time.Duration{3 * time.Second, time.Minute} {
		synctest.Test(t, func(t *testing.T) {
			s := stories.LogoutSite(t)
			ana, sid := stories.SignedIn(s, "ana", world.ReplicaA)
			s.SlowMetadata(slow)
			begin := time.Now()
			a := stories.SendLogout(s, world.ReplicaB, http.MethodPost, stories.FormType, stories.LogoutForm(stories.LogoutToken(s, map[string]any{"sid": sid})))
			if slow > time.Minute/2 {
				stories.WantRefusedLogout(s, a, http.StatusBadRequest, "provider_unavailable")
				if took := time.Since(begin); took > 8*time.Second {
					t.Errorf("took %v", took)
				}
				ana.WantServed(ana.On(world.ReplicaA).Get("/notes/"))
				return
			}
			if a.Code != http.StatusOK {
				t.Errorf("%v", a)
			}
			ana.WantOut(ana.On(world.ReplicaA).Get("/notes/"))
		})
	}
}

// A replica that has just started goes on after a fetch that failed, of metadata or
// of keys, as long as there is time: the logout is lost otherwise. While the provider
// is away, it cannot be judged, and may be sent again.
func TestBackchannelAfterAFailedFetch(t *testing.T) {
	for _, document := range []string{"issuer", "jwks_uri"} {
		for _, away := range []time.Duration{0, 2500 * time.Millisecond, time.Minute} {
			t.Run(fmt.Sprint(document, " ", away), func(t *testing.T) {
				synctest.Test(t, func(t *testing.T) {
					s := stories.LogoutSite(t, func(o *world.SiteOptions) {
						o.Provider = func(c *gatehouse.ProviderConfig) {
							now, begin := c.Now, time.Now()
							c.Now = func() time.Time { return now().Add(time.Since(begin)) }
						}
					})
					ana, sid := stories.SignedIn(s, "ana", world.ReplicaA)
					token := stories.LogoutToken(s, map[string]any{"sid": sid})
					begin, failed := time.Now(), 0
					s.SetWire(func(r *http.Request, next func(*http.Request) *http.Response) (*http.Response, error) {
						if strings.HasPrefix(r.URL.String(), s.Endpoint(document)) && (failed == 0 || time.Since(begin) < away) {
							failed++
							return nil, errors.New("connection refused")
						}
						return next(r), nil
					})
					a := stories.SendLogout(s, world.ReplicaB, http.MethodPost, stories.FormType, stories.LogoutForm(token))
					if failed == 0 {
						t.Error("the document was not fetched")
					}
					if took := time.Since(begin); took > 8*time.Second {
						t.Errorf("took %v", took)
					}
					if away > time.Minute/2 {
						stories.WantRefusedLogout(s, a, http.StatusBadRequest, "provider_unavailable")
						ana.WantServed(ana.On(world.ReplicaA).Get("/notes/"))
						time.Sleep(away)
						stories.LogOut(s, world.ReplicaB, token)
					} else if a.Code != http.StatusOK {
						t.Errorf("got %v", a)
					}
					ana.WantOut(ana.On(world.ReplicaA).Get("/notes/"))
				})
			})
		}
	}
}

// A provider that hangs up while its keys are fetched wants the logout all the same.
func TestBackchannelOfAProviderThatHangsUp(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := stories.LogoutSite(t)
		ana, sid := stories.SignedIn(s, "ana", world.ReplicaA)
		token := stories.LogoutToken(s, map[string]any{"sid": sid})
		ctx, hangUp := context.WithCancel(t.Context())
		s.SetWire(func(r *http.Request, next func(*http.Request) *http.Response) (*http.Response, error) {
			hangUp()
			time.Sleep(time.Second)
			return next(r), nil
		})
		provider := s.Visitor("").On(world.ReplicaB)
		r := provider.Request(http.MethodPost, "/auth/backchannel-logout", strings.NewReader(stories.LogoutForm(token)), "Content-Type", stories.FormType)
		if a := provider.Do(r.WithContext(ctx)); a.Code != http.StatusOK || ctx.Err() == nil {
			t.Errorf("got %v, hung up: %v", a, ctx.Err() != nil)
		}
		ana.WantOut(ana.On(world.ReplicaA).Get("/notes/"))
	})
}
