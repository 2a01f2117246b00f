package interop_test

import (
	"bytes"
	"context"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"html"
	"net/http"
	"net/http/cookiejar"
	"net/http/httptest"
	"net/url"
	"regexp"
	"strings"
	"testing"

	"example.com/gatehouse"
)

// apiName is the name of the API in the access tokens of all servers.
const apiName = "https://api.example.test"

// An accessAPI is an API that takes the access tokens of a real server.
type accessAPI struct {
	*gatehouse.ResourceServer
	watch *watch
	wire  *wire
}

func newAccessAPI(t *testing.T, issuer string, config gatehouse.ResourceServerConfig) *accessAPI {
	t.Helper()
	w := newWatch(t)
	api := &accessAPI{watch: w, wire: w.wire()}
	provider := must(gatehouse.NewProvider(issuer, &gatehouse.ProviderConfig{Transport: api.wire, Logger: w.logger()}))(t)
	api.ResourceServer = must(gatehouse.NewResourceServer(provider, config))(t)
	t.Cleanup(func() {
		ctx, cancel := context.WithTimeout(context.Background(), stopTime)
		defer cancel()
		if err := api.Shutdown(ctx); err != nil {
			t.Errorf("shutdown: %v", err)
		}
	})
	return api
}

// whoCalls serves the identity of the caller.
var whoCalls = http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
	id := gatehouse.IdentityFrom(r.Context())
	fmt.Fprintf(w, "sub=%s client=%s scopes=%s", id.Subject, id.ClientID, id.Scopes)
})

// get sends a request with an access token to a route that asks for the
// requirements.
func (a *accessAPI) get(t *testing.T, token string, requirements ...gatehouse.Requirement) answer {
	t.Helper()
	return a.send(t, a.With(requirements...).RequireToken(whoCalls), "Authorization", "Bearer "+token)
}

// once returns the status of one request, which is not repeated.
func (a *accessAPI) once(token string, requirements ...gatehouse.Requirement) int {
	r := httptest.NewRequest(http.MethodGet, "/notes", nil)
	r.Header.Set("Authorization", "Bearer "+token)
	rec := httptest.NewRecorder()
	a.With(requirements...).RequireToken(whoCalls).ServeHTTP(rec, r)
	return rec.Code
}

// send sends a request to a handler, with these headers, until the server
// answers in time.
func (a *accessAPI) send(t *testing.T, h http.Handler, headers ...string) answer {
	t.Helper()
	return insist(t, []*wire{a.wire}, func() answer {
		r := httptest.NewRequestWithContext(t.Context(), http.MethodGet, "/notes", nil)
		for i := 0; i+1 < len(headers); i += 2 {
			r.Header.Set(headers[i], headers[i+1])
			scheme, token, _ := strings.Cut(headers[i+1], " ")
			a.watch.note(scheme+" token", token)
		}
		rec := httptest.NewRecorder()
		h.ServeHTTP(rec, r)
		return answer{rec.Code, rec.Header(), rec.Body.String()}
	})
}

// reason returns why the last request was refused, from the log.
func (a *accessAPI) reason(t *testing.T) string {
	t.Helper()
	a.watch.mu.Lock()
	defer a.watch.mu.Unlock()
	last := ""
	for line := range bytes.Lines(a.watch.log.Bytes()) {
		var entry struct{ Msg, Error string }
		if err := json.Unmarshal(line, &entry); err != nil {
			t.Fatalf("log: %v", err)
		}
		if entry.Msg == "gatehouse: refusal" {
			last = entry.Error
		}
	}
	return last
}

// refuses fails the test unless the token is refused as no good, with this in
// the reason.
func (a *accessAPI) refuses(t *testing.T, what, token, why string, requirements ...gatehouse.Requirement) {
	t.Helper()
	got := a.get(t, token, requirements...)
	if challenge := got.header.Get("WWW-Authenticate"); got.status != http.StatusUnauthorized || !strings.Contains(challenge, `error="invalid_token"`) {
		t.Errorf("%s: %d %s, want 401 invalid_token; %s", what, got.status, challenge, got.body)
	} else if reason := a.reason(t); !strings.Contains(reason, why) {
		t.Errorf("%s: the log says %q, want %q in it", what, reason, why)
	}
}

// accepts fails the test unless the token is accepted as this caller's.
func (a *accessAPI) accepts(t *testing.T, what, token, caller string, requirements ...gatehouse.Requirement) {
	t.Helper()
	if got := a.get(t, token, requirements...); got.status != http.StatusOK || !strings.Contains(got.body, caller) {
		t.Errorf("%s: %d %s, want %q; %s", what, got.status, got.body, caller, a.reason(t))
	}
}

// refusesIDToken sends the ID Token of a client to an API of the same client:
// even one that names the client as its audience and takes any typ refuses it.
func refusesIDToken(t *testing.T, issuer, client, idToken string) {
	t.Helper()
	if idToken == "" {
		t.Fatal("there is no ID Token")
	}
	for name, config := range map[string]gatehouse.ResourceServerConfig{
		"RFC 9068":        {Client: clientOf(client), Audience: []string{apiName}},
		"any typ":         {Client: clientOf(client), Audience: []string{apiName}, TokenTypes: []string{"JWT", ""}},
		"client's own id": {Client: clientOf(client), Audience: []string{client}, TokenTypes: []string{"JWT", ""}},
		"any audience":    {Client: clientOf(client), InsecureAnyAudience: true, TokenTypes: []string{"JWT", ""}},
	} {
		t.Run("ID Token, "+name, func(t *testing.T) {
			newAccessAPI(t, issuer, config).refuses(t, "ID Token", idToken, "token of another kind")
		})
	}
}

// ask sends a form as the client and returns the answer, which must be 200.
func (c *bareClient) ask(t *testing.T, address string, form url.Values) string {
	t.Helper()
	req, err := http.NewRequestWithContext(t.Context(), http.MethodPost, address, strings.NewReader(form.Encode()))
	if err != nil {
		t.Fatal(err)
	}
	req.SetBasicAuth(c.id, c.secret)
	req.Header.Set("Content-Type", "application/x-www-form-urlencoded")
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	body := must(readAll(resp.Body))(t)
	if resp.StatusCode != http.StatusOK {
		t.Fatalf("%s: %s", address, resp.Status)
	}
	return string(body)
}

var (
	formAction  = regexp.MustCompile(`<form[^>]* action="([^"]*)"`)
	hiddenInput = regexp.MustCompile(`<input type="hidden" name="([^"]*)" value="([^"]*)"`)
)

// signInByForm signs a person in without a browser: it sends what the pages ask
// for until the server redirects to the client, and leaves the callback there.
// It is for pages that need no script.
func (c *bareClient) signInByForm(t *testing.T, login, password string, extra url.Values) {
	t.Helper()
	const maxPages = 8
	here, form := c.authorizationURL(extra), url.Values(nil)
	browser := &http.Client{Jar: must(cookiejar.New(nil))(t)}
	back := errors.New("back at the client")
	browser.CheckRedirect = func(r *http.Request, _ []*http.Request) error {
		if strings.HasPrefix(r.URL.String(), c.redirectURL) {
			c.callbacks <- r.URL.Query()
			return back
		}
		return nil
	}
	for range maxPages {
		var resp *http.Response
		var err error
		if form == nil {
			resp, err = browser.Get(here)
		} else {
			resp, err = browser.PostForm(here, form)
		}
		if errors.Is(err, back) {
			return
		}
		if err != nil {
			t.Fatal(err)
		}
		page, err := readAll(resp.Body)
		if err != nil {
			t.Fatal(err)
		}
		action := formAction.FindSubmatch(page)
		if resp.StatusCode != http.StatusOK || action == nil {
			t.Fatalf("%s: %s, no form on the page: %.500s", resp.Request.URL, resp.Status, page)
		}
		next := must(resp.Request.URL.Parse(html.UnescapeString(string(action[1]))))(t)
		here, form = next.String(), url.Values{"login": {login}, "password": {password}}
		for _, input := range hiddenInput.FindAllSubmatch(page, -1) {
			form.Set(string(input[1]), html.UnescapeString(string(input[2])))
		}
	}
	t.Fatalf("not back at the client after %d pages", maxPages)
}

// readJWT returns the header of a JWT and its claims, unverified.
func readJWT(t *testing.T, raw string) (header, claims map[string]any) {
	t.Helper()
	parts := strings.Split(raw, ".")
	if len(parts) != 3 {
		t.Fatalf("a token of %d parts", len(parts))
	}
	for i, into := range []*map[string]any{&header, &claims} {
		if err := json.Unmarshal(must(base64.RawURLEncoding.DecodeString(parts[i]))(t), into); err != nil {
			t.Fatal(err)
		}
	}
	return header, claims
}

// says fails the test unless the JWT has these members in its header and
// claims. nil means that it is absent.
func says(t *testing.T, raw string, want map[string]any) {
	t.Helper()
	header, claims := readJWT(t, raw)
	for name, value := range want {
		place, member, _ := strings.Cut(name, " ")
		got, ok := claims[member]
		if place == "header" {
			got, ok = header[member]
		}
		if ok != (value != nil) || value != nil && value != anything && fmt.Sprint(got) != fmt.Sprint(value) {
			t.Errorf("%s is %v (%t), want %v", name, got, ok, value)
		}
	}
}

// anything stands for a value that is there, whatever it is.
const anything = "\x00"

// ownToken is a request for a token of the client itself, for a resource unless
// that is empty.
func ownToken(resource string) url.Values {
	form := url.Values{"grant_type": {"client_credentials"}}
	if resource != "" {
		form.Set("resource", resource)
	}
	return form
}
