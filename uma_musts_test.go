package gatehouse_test

import (
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"net/url"
	"slices"
	"strings"
	"sync"
	"testing"

	"example.com/gatehouse"
)

// Demands of the two UMA specifications that no other test holds: what each
// message looks like on the wire, and what must not be in it. spec-coverage.md
// names the sections.

// wireLog is a transport that notes the requests as they leave.
type wireLog struct {
	mu   sync.Mutex
	sent []sentRequest
}

type sentRequest struct {
	method, path, query string
	header              http.Header
	body                string
}

func (l *wireLog) RoundTrip(r *http.Request) (*http.Response, error) {
	var body []byte
	if r.Body != nil {
		var err error
		if body, err = io.ReadAll(r.Body); err != nil {
			return nil, err
		}
		r.Body.Close()
	}
	l.mu.Lock()
	l.sent = append(l.sent, sentRequest{r.Method, r.URL.Path, r.URL.RawQuery, r.Header.Clone(), string(body)})
	l.mu.Unlock()
	out := r.Clone(r.Context())
	out.Body = io.NopCloser(bytes.NewReader(body))
	return http.DefaultTransport.RoundTrip(out)
}

// to lists the requests with that method to a path that begins so.
func (l *wireLog) to(method, path string) (list []sentRequest) {
	l.mu.Lock()
	defer l.mu.Unlock()
	for _, s := range l.sent {
		if s.method == method && strings.HasPrefix(s.path, path) {
			list = append(list, s)
		}
	}
	return list
}

// Federated Authorization §1.3, §2, §3.2, §4.1: the metadata is fetched below the
// issuer, path included; every call of the protection API carries the PAT as a
// Bearer token in its header and nowhere else, and its body is JSON.
func TestUMAProtectionAPIWire(t *testing.T) {
	w := newRSWorld(t)
	log := &wireLog{}
	w.provider = w.newProvider(log)
	rs := w.resourceServer(gatehouse.ResourceServerConfig{})
	first := gatehouse.Resource{Name: "albums", Type: "https://photoz.test/album", IconURI: "https://photoz.test/icon.png", Description: "all of them", Scopes: []string{"view"}}
	made, err := rs.Register(t.Context(), first)
	w.must(err)
	more := first
	more.Scopes = []string{"view", "add", "delete", "all"}
	again, err := rs.Register(t.Context(), more)
	w.must(err)
	h := photos(rs.UMAProtect(gatehouse.Rules{"GET /albums/": more.AllOf("view")}))
	w.wantTicket(send(h, "GET", "/albums/", ""))
	w.must(rs.Deregister(t.Context(), again))

	if got := log.to("GET", "/realm/.well-known/"); len(got) == 0 || got[0].path != "/realm/.well-known/uma2-configuration" {
		t.Errorf("metadata: %+v", got)
	}
	registration, permission := pathOf(t, w.endpoint("resource_registration_endpoint")), pathOf(t, w.endpoint("permission_endpoint"))
	calls := map[string][]sentRequest{}
	for _, c := range []struct{ method, path string }{
		{"GET", registration}, {"POST", registration}, {"PUT", registration}, {"DELETE", registration}, {"POST", permission},
	} {
		list := log.to(c.method, c.path)
		if len(list) == 0 {
			t.Fatalf("no %s %s: the test looks at nothing", c.method, c.path)
		}
		calls[c.method+" "+c.path] = list
		for _, s := range list {
			pat, ok := strings.CutPrefix(s.header.Get("Authorization"), "Bearer ")
			if !ok || pat == "" || len(s.header["Authorization"]) != 1 || strings.Contains(s.query+s.path+s.body, pat) {
				t.Errorf("%s %s: Authorization %q, query %q, body %q", s.method, s.path, s.header["Authorization"], s.query, s.body)
			}
			if got := s.header.Get("Content-Type"); (s.body != "") != (got == "application/json") {
				t.Errorf("%s %s: Content-Type %q with a body of %d bytes", s.method, s.path, got, len(s.body))
			}
		}
	}

	// §3.2.1, §3.2.3: what an update leaves out is gone, so it has everything.
	for call, scopes := range map[string][]string{"POST " + registration: first.Scopes, "PUT " + registration: more.Scopes} {
		var told map[string]any
		w.must(json.Unmarshal([]byte(calls[call][0].body), &told))
		if fmt.Sprint(told["resource_scopes"]) != fmt.Sprint(scopes) || told["name"] != first.Name || told["type"] != first.Type ||
			told["icon_uri"] != first.IconURI || told["description"] != first.Description {
			t.Errorf("%s: %v", call, told)
		}
	}
	if got := calls["PUT "+registration][0].path; got != strings.TrimSuffix(registration, "/")+"/"+made.ID {
		t.Errorf("the update went to %q", got)
	}
	// §4.1: both members, of what was registered.
	if got, want := calls["POST "+permission][0].body, fmt.Sprintf(`[{"resource_id":%q,"resource_scopes":["view"]}]`, made.ID); got != want {
		t.Errorf("permission request %s, want %s", got, want)
	}
}

func pathOf(t *testing.T, address string) string {
	t.Helper()
	u, err := url.Parse(address)
	if err != nil || u.Path == "" {
		t.Fatalf("address %q: %v", address, err)
	}
	return u.Path
}

// Grant §3.4: the token comes in the Authorization header (RFC 6750 §2.1). One
// in an address, which logs keep, or in a form is none.
func TestUMATokenInTheHeaderOnly(t *testing.T) {
	w := newRSWorld(t)
	h := photos(w.resourceServer(gatehouse.ResourceServerConfig{}).UMAProtect(albumRules()))
	token := w.rpt(h, "POST", "/albums/", "photoz", "add")
	form := url.Values{"access_token": {token}}.Encode()
	if answer := send(h, "POST", "/albums/", token); !served(answer) {
		t.Fatalf("in the header: %d %s", answer.Code, answer.Body)
	}
	w.reset()
	w.wantTicket(send(h, "POST", "/albums/?"+form, ""))
	r := httptest.NewRequest("POST", "/albums/", strings.NewReader(form))
	r.Header.Set("Content-Type", "application/x-www-form-urlencoded")
	answer := httptest.NewRecorder()
	h.ServeHTTP(answer, r)
	w.wantTicket(answer)
	if n := len(w.eventCodes(gatehouse.EventDenial)); n != 0 {
		t.Errorf("%d denials: a token was read that is not in the header", n)
	}
}

// Grant §3.2.1: the challenge has the scheme UMA with as_uri and ticket, for no
// token and for a bad one alike, and no body or header tells them apart.
func TestUMAChallengesDoNotDiffer(t *testing.T) {
	w := newRSWorld(t)
	h := photos(w.resourceServer(gatehouse.ResourceServerConfig{}).UMAProtect(albumRules()))
	weak := w.rpt(h, "GET", "/albums/", "photoz", "view")
	shape := func(token string) string {
		answer := send(h, "DELETE", "/albums/", token)
		ticket := w.wantTicket(answer)
		var body map[string]any
		w.must(json.Unmarshal(answer.Body.Bytes(), &body))
		delete(body, "id") // of the log line
		header := answer.Header().Clone()
		header.Set("WWW-Authenticate", strings.ReplaceAll(header.Get("WWW-Authenticate"), ticket, "T"))
		header.Del("Content-Length")
		return fmt.Sprint(header, body)
	}
	want := shape("")
	for name, token := range map[string]string{"junk": "junk", "too weak": weak} {
		if got := shape(token); got != want {
			t.Errorf("%s: %s\nno token: %s", name, got, want)
		}
	}
}

// Grant §3.3.5, RFC 6749 §5.1: members that are not understood are ignored, and
// what is not asked for later is not sent: no pct, no scope that the server told.
func TestUMAUnknownMembers(t *testing.T) {
	w := newUMAWorld(t)
	w.answer = func(n int, form url.Values) umaAnswer {
		if n%2 == 1 {
			return umaRefused(403, "need_info", fmt.Sprintf(`"ticket":"new-%d"`, n), `"remote":{"a":[1]}`, `"error_uri":"https://as.example.org/e"`)
		}
		return umaGranted(fmt.Sprintf("rpt%d", n), `"pct":"pct-1"`, `"scope":"view"`, `"refresh_token":"refresh-1"`, `"remote":{"a":[1]}`, `"expires_in":300`)
	}
	w.permit = func(r *http.Request, token string) bool {
		return token == "rpt2" && r.Method == "GET" || token == "rpt4"
	}
	c := w.client(umaBob())
	w.wantPicture(c, umaPhotos)
	r, err := http.NewRequest("DELETE", umaPhotos, nil)
	if err != nil {
		t.Fatal(err)
	}
	resp, err := c.Do(r)
	if err != nil || resp.StatusCode != 200 {
		t.Fatalf("DELETE: %v", err)
	}
	resp.Body.Close()
	allowed := []string{"grant_type", "ticket", "claim_token", "claim_token_format", "rpt"}
	for i, form := range w.asked() {
		for name, values := range form {
			if !slices.Contains(allowed, name) || len(values) != 1 {
				t.Errorf("token request %d has %s=%q", i+1, name, values)
			}
			if strings.Contains(fmt.Sprint(values), "pct-1") || strings.Contains(fmt.Sprint(values), "refresh-1") {
				t.Errorf("token request %d sends in %s what no one asked for", i+1, name)
			}
		}
	}
	if got := w.tokens(); !slices.Equal(got, []string{"", "rpt2", "rpt2", "rpt4"}) {
		t.Errorf("the resource server saw %q", got)
	}
}

// Grant §3.3.5: without upgraded the new token is not taken to hold what the old
// one held. The old permission is asked for again when it is needed, and the
// server's word is believed each time.
func TestUMAWithoutUpgrade(t *testing.T) {
	for _, member := range []string{"", `"upgraded":false`, `"upgraded":"true"`, `"upgraded":1`} {
		t.Run(member, func(t *testing.T) {
			w := newUMAWorld(t)
			w.answer = func(n int, _ url.Values) umaAnswer {
				more := []string{`"expires_in":300`}
				if member != "" {
					more = append(more, member)
				}
				return umaGranted(fmt.Sprintf("rpt%d", n), more...)
			}
			w.permit = func(r *http.Request, token string) bool { // the odd tokens are for /a, the even for /b
				return r.URL.Path == "/a" && (token == "rpt1" || token == "rpt3") || r.URL.Path == "/b" && token == "rpt2"
			}
			c := w.client(gatehouse.UMATransportConfig{})
			for _, path := range []string{"/a", "/b", "/a"} {
				w.wantPicture(c, umaPhotos+path)
			}
			if got := w.tokens(); !slices.Equal(got, []string{"", "rpt1", "rpt1", "rpt2", "rpt2", "rpt3"}) {
				t.Errorf("the resource server saw %q", got)
			}
		})
	}
}

// Grant §3.3.1, §5.8: ticket, claims and tokens go to the token endpoint and the
// resource server in the form and the header made for them, never in an address,
// and to nobody else.
func TestUMASecretsOnTheWire(t *testing.T) {
	w := newUMAWorld(t)
	inner, addresses := w.wire, []string{}
	w.wire = umaWire{}
	for host, h := range inner {
		w.wire[host] = http.HandlerFunc(func(rw http.ResponseWriter, r *http.Request) {
			addresses = append(addresses, r.Method+" "+r.URL.String())
			text := fmt.Sprint(r.URL, r.Header["Referer"], r.Header["Cookie"])
			for _, secret := range []string{"ticket-", "new-", umaIDToken, "rpt", umaSecret} {
				if strings.Contains(text, secret) {
					t.Errorf("%q is in %s", secret, text)
				}
			}
			if toAS := r.URL.Host == "as.example.org"; toAS == strings.HasPrefix(r.Header.Get("Authorization"), "Bearer ") && r.Header.Get("Authorization") != "" {
				t.Errorf("%s got %q", r.URL.Host, r.Header.Get("Authorization"))
			}
			h.ServeHTTP(rw, r)
		})
	}
	w.answer = func(n int, _ url.Values) umaAnswer {
		if n == 1 {
			return umaRefused(403, "need_info", `"ticket":"new-1"`)
		}
		return umaGranted("rpt1", `"expires_in":300`)
	}
	w.wantPicture(w.client(umaBob()), umaPhotos+"/albums/7")
	want := []string{"GET " + umaPhotos + "/albums/7", "POST https://as.example.org/odd/token-9", "POST https://as.example.org/odd/token-9", "GET " + umaPhotos + "/albums/7"}
	if !slices.Equal(addresses, want) {
		t.Errorf("requests %q, want %q", addresses, want)
	}
}
