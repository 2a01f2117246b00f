package gatehouse_test

import (
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"example.com/gatehouse"
	"example.com/gatehouse/internal/testkit/opserver"
)

// recorder keeps the bodies that a process sent to one of the server's paths.
type recorder struct {
	mu     sync.Mutex
	bodies map[string][]string // by path
}

func (c *recorder) RoundTrip(r *http.Request) (*http.Response, error) {
	if r.Body != nil {
		b, err := io.ReadAll(r.Body)
		if err != nil {
			return nil, err
		}
		r = r.Clone(r.Context())
		r.Body = io.NopCloser(strings.NewReader(string(b)))
		c.mu.Lock()
		if c.bodies == nil {
			c.bodies = map[string][]string{}
		}
		c.bodies[r.URL.Path] = append(c.bodies[r.URL.Path], string(b))
		c.mu.Unlock()
	}
	return http.DefaultTransport.RoundTrip(r)
}

// sent returns what went to the paths that contain part.
func (c *recorder) sent(part string) (all []string) {
	c.mu.Lock()
	defer c.mu.Unlock()
	for path, bodies := range c.bodies {
		if strings.Contains(path, part) {
			all = append(all, bodies...)
		}
	}
	return all
}

// TestUR1_ChallengeNamesResourceAndScopes: without a token the answer is 401 with
// a ticket for this resource and only the scopes that the method needs.
func TestUR1_ChallengeNamesResourceAndScopes(t *testing.T) {
	w := newRSWorld(t)
	wire := &recorder{}
	w.provider = w.newProvider(wire)
	h := photos(w.resourceServer(gatehouse.ResourceServerConfig{Audience: []string{"https://api.example.org/v1"}}).UMAProtect(albumRules()))

	for _, c := range []struct{ method, scopes string }{
		{"GET", `["view"]`}, {"HEAD", `["view"]`}, {"POST", `["add"]`}, {"DELETE", `["view","delete"]`},
	} {
		answer := send(h, c.method, "/albums/", "")
		w.wantTicket(answer)
		if got := answer.Header().Get("WWW-Authenticate"); !strings.Contains(got, `realm="api.example.org"`) {
			t.Errorf("%s: challenge %q lacks the realm", c.method, got)
		}
		for _, scope := range albums.Scopes {
			if strings.Contains(answer.Body.String(), scope) {
				t.Errorf("%s: the body tells the scope %q: %s", c.method, scope, answer.Body)
			}
		}
		sent := wire.sent("/perm-")
		id := w.Resources("photoz")[0].ID
		want := fmt.Sprintf(`[{"resource_id":%q,"resource_scopes":%s}]`, id, c.scopes)
		if last := sent[len(sent)-1]; last != want {
			t.Errorf("%s: permission request %s, want %s", c.method, last, want)
		}
	}
}

// TestUR2_WeakTokenGetsNewTicket: a live token for another scope or resource is
// answered with a ticket of its own, and the handler does not run.
func TestUR2_WeakTokenGetsNewTicket(t *testing.T) {
	w := newRSWorld(t)
	other := gatehouse.Resource{Name: "films", Scopes: []string{"view"}}
	rules := albumRules()
	rules["GET /films/"] = other.AllOf("view")
	h := photos(w.resourceServer(gatehouse.ResourceServerConfig{}).UMAProtect(rules))

	first := w.wantTicket(send(h, "GET", "/albums/", ""))
	w.must(w.Share("photoz", w.Resources("photoz")[0].ID, "bob", "view"))
	token, _ := w.exchange(first, "bob")
	if answer := send(h, "GET", "/albums/", token); answer.Code != 200 || answer.Body.String() != `served via uma sub "bob" granted [view]` {
		t.Fatalf("with the permission: %d %s", answer.Code, answer.Body)
	}
	tickets := []string{first}
	for _, c := range []struct{ name, method, target, token string }{
		{"wrong scope", "DELETE", "/albums/", token},
		{"wrong scope of any", "POST", "/albums/", token},
		{"wrong resource", "GET", "/films/", token},
		{"unknown token", "GET", "/albums/", "junk"},
		{"other scheme", "GET", "/albums/", ""},
	} {
		ticket := w.wantTicket(send(h, c.method, c.target, c.token))
		if slices.Contains(tickets, ticket) {
			t.Errorf("%s: a ticket came twice", c.name)
		}
		tickets = append(tickets, ticket)
	}
	if codes := w.eventCodes(gatehouse.EventTicket); len(codes) != 2 || codes[0] != "" || codes[1] != "" {
		t.Errorf("ticket events %q, want one without a code for each request without a token", codes)
	}
	if codes := w.eventCodes(gatehouse.EventDenial); len(codes) != 4 {
		t.Errorf("denied events %v, want one for each token that was not enough", codes)
	}
	w.wantNoSecrets(nil, append(tickets, token)...)
}

// TestUR3_ServerDownIs403WithWarning: when no ticket can be had the answer is 403
// with the Warning, within 2 s, whatever way the server is in trouble.
func TestUR3_ServerDownIs403WithWarning(t *testing.T) {
	cases := []struct {
		name string
		bad  func(w *rsWorld)
	}{
		{"connection refused", func(w *rsWorld) { w.stop() }},
		{"hangs", func(w *rsWorld) { w.must(w.SetFault(opserver.AuthorizationServerHangs, true)) }},
		{"permission endpoint hangs", func(w *rsWorld) {
			w.must(w.SetFaultAt(opserver.AuthorizationServerHangs, true, opserver.EndpointPermission))
		}},
		{"503", func(w *rsWorld) { w.must(w.SetFaultAt(opserver.EndpointDown, true, opserver.EndpointPermission)) }},
		{"a page for JSON", func(w *rsWorld) { w.must(w.SetFaultAt(opserver.HTMLAnswer, true, opserver.EndpointPermission)) }},
		{"huge answer", func(w *rsWorld) { w.must(w.SetFaultAt(opserver.HugeAnswer, true, opserver.EndpointPermission)) }},
	}
	for _, cold := range []bool{true, false} {
		for _, c := range cases {
			t.Run(fmt.Sprintf("%s, cold %v", c.name, cold), func(t *testing.T) {
				t.Parallel()
				w := newRSWorld(t)
				h := photos(w.resourceServer(gatehouse.ResourceServerConfig{}).UMAProtect(albumRules()))
				if !cold {
					w.wantTicket(send(h, "GET", "/albums/", ""))
				}
				c.bad(w)
				began := time.Now()
				wantUnreachable(t, send(h, "GET", "/albums/", ""))
				if took := time.Since(began); took > 2*time.Second {
					t.Errorf("the answer took %v, want at most 2 s", took)
				}
				if answer := send(h, "GET", "/healthz", ""); answer.Body.String() != "served nobody" {
					t.Errorf("a public page: %d %s", answer.Code, answer.Body)
				}
			})
		}
	}
}

// TestUMA_ServerComesBack: after an outage the next requests work again.
func TestUMA_ServerComesBack(t *testing.T) {
	w := newRSWorld(t)
	h := photos(w.resourceServer(gatehouse.ResourceServerConfig{}).UMAProtect(albumRules()))
	w.stop()
	wantUnreachable(t, send(h, "GET", "/albums/", ""))
	w.start()
	w.advance(30 * time.Second)
	w.wantTicket(send(h, "GET", "/albums/", ""))
}

// TestUMA_CallsPerRequest asserts what requests cost the authorization server.
func TestUMA_CallsPerRequest(t *testing.T) {
	w := newRSWorld(t)
	h := photos(w.resourceServer(gatehouse.ResourceServerConfig{}).UMAProtect(albumRules()))
	token := w.rpt(h, "GET", "/albums/", "photoz", "view")

	w.reset()
	w.wantTicket(send(h, "GET", "/albums/", ""))
	if w.total() != 1 || w.Count(opserver.EndpointPermission) != 1 {
		t.Errorf("a challenge with PAT and id known cost %d requests, %d at the permission endpoint; want exactly 1", w.total(), w.Count(opserver.EndpointPermission))
	}
	w.reset()
	send(h, "GET", "/albums/", token)
	if w.total() != 1 || w.Count(opserver.EndpointIntrospect) != 1 {
		t.Errorf("a token seen for the first time cost %d requests, want 1 introspection", w.total())
	}
	w.reset()
	for range 50 {
		if answer := send(h, "GET", "/albums/", token); !served(answer) {
			t.Fatalf("hot request: %d %s", answer.Code, answer.Body)
		}
	}
	if w.total() != 0 {
		t.Errorf("50 hot requests cost %d requests, want none", w.total())
	}
	w.reset()
	w.wantTicket(send(h, "DELETE", "/albums/", token))
	if w.total() != 1 {
		t.Errorf("a known token that is too weak cost %d requests, want 1", w.total())
	}
	for _, target := range []string{"/nothing", "/albums", "/albums//x"} {
		w.reset()
		if answer := send(h, "GET", target, token); answer.Code != http.StatusForbidden || w.total() != 0 {
			t.Errorf("GET %s: %d for %d requests, want 403 for none", target, answer.Code, w.total())
		}
	}
}

// TestUMA_HundredFirstRequests: parallel first requests share one PAT request
// and one registration.
func TestUMA_HundredFirstRequests(t *testing.T) {
	w := newRSWorld(t)
	h := photos(w.resourceServer(gatehouse.ResourceServerConfig{}).UMAProtect(albumRules()))
	answers := inParallel(100, func() *httptest.ResponseRecorder { return send(h, "GET", "/albums/", "") })
	for _, a := range answers {
		w.wantTicket(a)
	}
	if pats, made := w.CountToken("client_credentials"), w.made("POST"); pats != 1 || made != 1 {
		t.Errorf("100 first requests: %d PAT requests, %d registrations; want 1 and 1", pats, made)
	}
	if n := w.Count(opserver.EndpointPermission); n != 100 {
		t.Errorf("%d permission requests, want one for each of 100 clients", n)
	}
	if n := len(w.Resources("photoz")); n != 1 {
		t.Errorf("%d resources, want 1", n)
	}
}

func inParallel[T any](n int, f func() T) []T {
	results := make([]T, n)
	var wait sync.WaitGroup
	begin := make(chan struct{})
	for i := range n {
		wait.Go(func() {
			<-begin
			results[i] = f()
		})
	}
	close(begin)
	wait.Wait()
	return results
}

// TestUMA_HundredWithOneToken: parallel requests with a token that is not known
// yet share one introspection.
func TestUMA_HundredWithOneToken(t *testing.T) {
	w := newRSWorld(t)
	h := photos(w.resourceServer(gatehouse.ResourceServerConfig{}).UMAProtect(albumRules()))
	token := w.rpt(h, "GET", "/albums/", "photoz", "view")
	w.reset()
	for _, a := range inParallel(100, func() *httptest.ResponseRecorder { return send(h, "GET", "/albums/", token) }) {
		if !served(a) {
			t.Errorf("answer %d %s", a.Code, a.Body)
		}
	}
	if n := w.Count(opserver.EndpointIntrospect); n != 1 {
		t.Errorf("%d introspections, want 1", n)
	}
}

// TestUR12_PATExpiresUnderLoad: when the PAT ends, the parallel requests that
// notice share one new one.
func TestUR12_PATExpiresUnderLoad(t *testing.T) {
	for _, status := range []int{401, 403, 406, 400} {
		t.Run(fmt.Sprint(status), func(t *testing.T) {
			w := newRSWorld(t)
			w.must(w.SetPATRefusal(status))
			h := photos(w.resourceServer(gatehouse.ResourceServerConfig{}).UMAProtect(albumRules()))
			w.wantTicket(send(h, "GET", "/albums/", ""))
			w.reset()
			w.ExpirePATs()
			for _, a := range inParallel(100, func() *httptest.ResponseRecorder { return send(h, "GET", "/albums/", "") }) {
				w.wantTicket(a)
			}
			if n := w.CountToken("client_credentials"); n != 1 {
				t.Errorf("%d PAT requests, want 1", n)
			}
		})
	}
}

// TestUMA_PATRenewedBeforeExpiry: the first request within 60 s of a PAT's end
// has it renewed, and does not wait for that.
func TestUMA_PATRenewedBeforeExpiry(t *testing.T) {
	w := newRSWorld(t)
	w.SetTokenLifetime(time.Hour)
	rs := w.resourceServer(gatehouse.ResourceServerConfig{})
	h := photos(rs.UMAProtect(albumRules()))
	w.wantTicket(send(h, "GET", "/albums/", ""))
	for _, c := range []struct {
		forward time.Duration
		want    int
	}{{time.Hour - time.Minute - time.Second, 1}, {time.Second, 2}} {
		w.advance(c.forward)
		w.wantTicket(send(h, "GET", "/albums/", ""))
		w.must(rs.Shutdown(t.Context()))
		if n := w.CountToken("client_credentials"); n != c.want {
			t.Errorf("after %v more: %d PAT requests in all, want %d", c.forward, n, c.want)
		}
	}
}

// TestUMA_OwnerTakesBack: a permission that is taken back ends within CacheTTL.
func TestUMA_OwnerTakesBack(t *testing.T) {
	for _, c := range []struct {
		ttl, stillAt, goneAt time.Duration
	}{{0, 10*time.Second - time.Millisecond, 10 * time.Second}, {30 * time.Second, 29 * time.Second, 30 * time.Second}, {-1, -1, 0}} {
		t.Run(c.ttl.String(), func(t *testing.T) {
			w := newRSWorld(t)
			h := photos(w.resourceServer(gatehouse.ResourceServerConfig{CacheTTL: c.ttl}).UMAProtect(albumRules()))
			token := w.rpt(h, "GET", "/albums/", "photoz", "view")
			if !served(send(h, "GET", "/albums/", token)) {
				t.Fatal("not served with the permission")
			}
			w.must(w.Unshare("photoz", w.Resources("photoz")[0].ID, "bob", "view"))
			if c.stillAt >= 0 {
				w.advance(c.stillAt)
				if !served(send(h, "GET", "/albums/", token)) {
					t.Error("the facts were not remembered for CacheTTL")
				}
				w.advance(c.goneAt - c.stillAt)
			}
			w.wantTicket(send(h, "GET", "/albums/", token))
		})
	}
}

// TestUMA_TokenEndsInCache: remembered facts are never used past expiry.
func TestUMA_TokenEndsInCache(t *testing.T) {
	w := newRSWorld(t)
	w.SetTokenLifetime(5 * time.Second)
	h := photos(w.resourceServer(gatehouse.ResourceServerConfig{CacheTTL: 30 * time.Second}).UMAProtect(albumRules()))
	token := w.rpt(h, "GET", "/albums/", "photoz", "view")
	for _, c := range []struct {
		forward time.Duration
		open    bool
	}{{4 * time.Second, true}, {time.Second, false}} {
		w.advance(c.forward)
		if got := served(send(h, "GET", "/albums/", token)); got != c.open {
			t.Errorf("after %v more: served %v, want %v", c.forward, got, c.open)
		}
	}
	if n := w.Count(opserver.EndpointIntrospect); n != 2 {
		t.Errorf("%d introspections, want a second one when the facts ended with the token", n)
	}
}

// TestUMA_YesAfterNo: a refusal is remembered for 2 s, to blunt loops, not more.
func TestUMA_YesAfterNo(t *testing.T) {
	w := newRSWorld(t)
	h := photos(w.resourceServer(gatehouse.ResourceServerConfig{}).UMAProtect(albumRules()))
	w.wantTicket(send(h, "GET", "/albums/", "junk"))
	w.reset()
	w.wantTicket(send(h, "GET", "/albums/", "junk"))
	if n := w.Count(opserver.EndpointIntrospect); n != 0 {
		t.Errorf("%d introspections of a token refused just now, want 0", n)
	}
	w.advance(2 * time.Second)
	w.wantTicket(send(h, "GET", "/albums/", "junk"))
	if n := w.Count(opserver.EndpointIntrospect); n != 1 {
		t.Errorf("%d introspections after 2 s, want 1", n)
	}
}

// TestIN2_IntrospectionTrouble: when nobody can say whether the token is good,
// the answer is 503 and Retry-After, and nothing is remembered.
func TestIN2_IntrospectionTrouble(t *testing.T) {
	cases := map[string]struct {
		bad  func(w *rsWorld)
		mend func(w *rsWorld)
	}{
		"refused": {(*rsWorld).stop, (*rsWorld).start},
		"down": {func(w *rsWorld) { w.must(w.SetFault(opserver.IntrospectionDown, true)) },
			func(w *rsWorld) { w.must(w.SetFault(opserver.IntrospectionDown, false)) }},
		"hangs": {func(w *rsWorld) { w.must(w.SetFault(opserver.AuthorizationServerHangs, true)) },
			func(w *rsWorld) { w.must(w.SetFault(opserver.AuthorizationServerHangs, false)) }},
		"page": {func(w *rsWorld) { w.must(w.SetFault(opserver.HTMLAnswer, true)) },
			func(w *rsWorld) { w.must(w.SetFault(opserver.HTMLAnswer, false)) }},
		"huge": {func(w *rsWorld) { w.must(w.SetFault(opserver.HugeAnswer, true)) },
			func(w *rsWorld) { w.must(w.SetFault(opserver.HugeAnswer, false)) }},
	}
	for name, c := range cases {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			w := newRSWorld(t)
			h := photos(w.resourceServer(gatehouse.ResourceServerConfig{}).UMAProtect(albumRules()))
			token := w.rpt(h, "GET", "/albums/", "photoz", "view")
			c.bad(w)
			began := time.Now()
			answer := send(h, "GET", "/albums/", token)
			if took := time.Since(began); took > 2*time.Second {
				t.Errorf("the answer took %v, want at most 2 s", took)
			}
			wantTrouble(t, answer)
			if answer.Header().Get("Warning") != warning199 {
				t.Errorf("Warning %q", answer.Header().Get("Warning"))
			}
			c.mend(w)
			if answer := send(h, "GET", "/albums/", token); !served(answer) {
				t.Errorf("after the trouble: %d %s", answer.Code, answer.Body)
			}
		})
	}
}

// TestUMA_ResourceLost: a resource that the server forgot is registered again,
// once for all who notice.
func TestUMA_ResourceLost(t *testing.T) {
	w := newRSWorld(t)
	h := photos(w.resourceServer(gatehouse.ResourceServerConfig{}).UMAProtect(albumRules()))
	w.wantTicket(send(h, "GET", "/albums/", ""))
	old := w.Resources("photoz")[0].ID
	w.ForgetResource(old)
	w.reset()
	for _, a := range inParallel(50, func() *httptest.ResponseRecorder { return send(h, "GET", "/albums/", "") }) {
		w.wantTicket(a)
	}
	now := w.Resources("photoz")
	if len(now) != 1 || now[0].ID == old || w.made("POST") != 1 {
		t.Errorf("resources %v after %d registrations, want one new one after 1", now, w.made("POST"))
	}
}

// TestUMA_AlternativeHeaders: what is no bearer token, or two, is judged first.
func TestUMA_AlternativeHeaders(t *testing.T) {
	w := newRSWorld(t)
	h := photos(w.resourceServer(gatehouse.ResourceServerConfig{}).UMAProtect(albumRules()))
	token := w.rpt(h, "GET", "/albums/", "photoz", "view")
	for _, c := range []struct {
		name   string
		values []string
		want   int
	}{
		{"lower case", []string{"bearer " + token}, 200},
		{"basic", []string{"Basic Ym9iOnB3"}, 401},
		{"two", []string{"Bearer " + token, "Bearer " + token}, 400},
		{"empty", []string{"Bearer "}, 400},
		{"bad characters", []string{"Bearer a b"}, 400},
		{"list", []string{"Bearer " + token + ", Bearer x"}, 400},
	} {
		r := httptest.NewRequest("GET", "/albums/", nil)
		r.Header["Authorization"] = c.values
		rec := httptest.NewRecorder()
		h.ServeHTTP(rec, r)
		if rec.Code != c.want || served(rec) != (c.want == 200) {
			t.Errorf("%s: %d %s, want %d", c.name, rec.Code, rec.Body, c.want)
		}
	}
	// RFC 6750 §2.2, §2.3: a token in the query or the body is not looked at.
	if rec := send(h, "GET", "/albums/?access_token="+token, ""); rec.Code != 401 {
		t.Errorf("token in the query: %d, want 401", rec.Code)
	}
	if got := w.Violations(); len(got) > 0 {
		t.Errorf("the server complains: %v", got)
	}
}
