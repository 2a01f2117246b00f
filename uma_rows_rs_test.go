package gatehouse_test

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"example.com/gatehouse"
	"example.com/gatehouse/internal/testkit/opserver"
	"example.com/gatehouse/middlewaretest"
)

// rsRow is one row of what a resource server answers when something is wrong.
type rsRow struct {
	name string
	// prepare makes it so; the metadata, the PAT and the id of the resource are
	// known then, and bob has an RPT with view. nil: nothing is wrong.
	prepare func(w *rsWorld)
	cold    bool // nothing is known yet, and token is junk
	request func(token string) *http.Request
	status  int
	header  string // "ticket", "Warning", "trouble" (503 with Warning and Retry-After), "retry" (503 with Retry-After)
	calls   int    // to the authorization server at most
}

// request makes a request with headers as pairs of name and value; TOKEN in a
// value is bob's token.
func request(method, target string, headers ...string) func(string) *http.Request {
	return func(token string) *http.Request {
		r := httptest.NewRequest(method, strings.ReplaceAll(target, "TOKEN", token), nil)
		for i := 0; i < len(headers); i += 2 {
			r.Header.Add(headers[i], strings.ReplaceAll(headers[i+1], "TOKEN", token))
		}
		return r
	}
}

func inBody(token string) *http.Request {
	r := httptest.NewRequest("POST", "/albums/", strings.NewReader("access_token="+token))
	r.Header.Set("Content-Type", "application/x-www-form-urlencoded")
	return r
}

// fault switches a fault on.
func fault(f opserver.Fault, at ...string) func(*rsWorld) {
	return func(w *rsWorld) { w.must(w.SetFaultAt(f, true, at...)) }
}

const (
	albumsPath    = "/albums/"
	authorization = "Authorization"
	bearerToken   = "Bearer TOKEN"
)

// decisionRows need no trouble: what the request is decides.
func decisionRows() []rsRow {
	return []rsRow{
		{name: "no rule", request: request("GET", "/nothing", authorization, bearerToken), status: 403},
		{name: "no rule for the method", request: request("PATCH", albumsPath, authorization, bearerToken), status: 403},
		{name: "public", request: request("GET", "/healthz"), status: 200},
		{name: "preflight", request: request("OPTIONS", albumsPath, "Origin", "https://spa.example", "Access-Control-Request-Method", "DELETE"), status: 403},
		{name: "need function fails", request: request("GET", "/missing", authorization, bearerToken), status: 404},
		{name: "need function fails without saying how", request: request("GET", "/broken", authorization, bearerToken), status: 503},
		{name: "no Authorization", request: request("GET", albumsPath), status: 401, header: "ticket", calls: 1},
		{name: "another scheme", request: request("GET", albumsPath, authorization, "Basic Ym9iOmJvYg=="), status: 401, header: "ticket", calls: 1},
		{name: "token in the query", request: request("GET", albumsPath+"?access_token=TOKEN"), status: 401, header: "ticket", calls: 1},
		{name: "token in the body", request: inBody, status: 401, header: "ticket", calls: 1},
		{name: "two Authorization headers", request: request("GET", albumsPath, authorization, bearerToken, authorization, bearerToken), status: 400},
		{name: "malformed Bearer", request: request("GET", albumsPath, authorization, "Bearer a b"), status: 400},
		{name: "unknown RPT", request: request("GET", albumsPath, authorization, "Bearer junk"), status: 401, header: "ticket", calls: 2},
		{name: "expired RPT", prepare: func(w *rsWorld) { w.advance(5 * time.Minute) }, // and with it the PAT
			request: request("GET", albumsPath, authorization, bearerToken), status: 401, header: "ticket", calls: 3},
		{name: "revoked RPT", prepare: func(w *rsWorld) { w.RevokeRPTs(); w.advance(11 * time.Second) },
			request: request("GET", albumsPath, authorization, bearerToken), status: 401, header: "ticket", calls: 2},
		{name: "too weak", request: request("DELETE", albumsPath, authorization, bearerToken), status: 401, header: "ticket", calls: 2},
		{name: "good", request: request("GET", albumsPath, authorization, bearerToken), status: 200, calls: 1},
	}
}

// troubleRows are those of an authorization server in trouble.
func troubleRows() []rsRow {
	with, without := request("GET", albumsPath, authorization, bearerToken), request("GET", albumsPath)
	patOf := func(status int) func(*rsWorld) {
		return func(w *rsWorld) { w.must(w.SetPATRefusal(status)); w.ExpirePATs() }
	}
	return []rsRow{
		{name: "introspection: 503", prepare: fault(opserver.IntrospectionDown), request: with, status: 503, header: "trouble", calls: 1},
		{name: "introspection: 500", prepare: fault(opserver.EndpointFails, opserver.EndpointIntrospect), request: with, status: 503, header: "trouble", calls: 1},
		{name: "introspection: a page", prepare: fault(opserver.HTMLAnswer, opserver.EndpointIntrospect), request: with, status: 503, header: "trouble", calls: 1},
		{name: "introspection: oversize", prepare: fault(opserver.HugeAnswer, opserver.EndpointIntrospect), request: with, status: 503, header: "trouble", calls: 1},
		{name: "introspection: cut off", prepare: fault(opserver.TruncatedAnswer, opserver.EndpointIntrospect), request: with, status: 503, header: "trouble", calls: 1},
		{name: "introspection: a redirect", prepare: fault(opserver.RedirectingAnswer, opserver.EndpointIntrospect), request: with, status: 503, header: "trouble", calls: 1},
		{name: "introspection: nobody listens", prepare: (*rsWorld).stop, request: with, status: 503, header: "trouble"},
		{name: "introspection: our client refused", prepare: func(w *rsWorld) {
			w.must(w.AddClient(opserver.Client{ID: "photoz", Secret: "another"}))
			w.ExpirePATs()
		}, request: with, status: 503, header: "trouble", calls: 3},
		{name: "ticket: 503", prepare: fault(opserver.EndpointDown, opserver.EndpointPermission), request: without, status: 403, header: "Warning", calls: 1},
		{name: "ticket: a page", prepare: fault(opserver.HTMLAnswer, opserver.EndpointPermission), request: without, status: 403, header: "Warning", calls: 1},
		{name: "ticket: oversize", prepare: fault(opserver.HugeAnswer, opserver.EndpointPermission), request: without, status: 403, header: "Warning", calls: 1},
		{name: "ticket: nobody listens", prepare: (*rsWorld).stop, request: without, status: 403, header: "Warning"},
		{name: "ticket: PAT refused with 401", prepare: patOf(401), request: without, status: 401, header: "ticket", calls: 3},
		{name: "ticket: PAT refused with 403", prepare: patOf(403), request: without, status: 401, header: "ticket", calls: 3},
		{name: "ticket: PAT refused with 406", prepare: patOf(406), request: without, status: 401, header: "ticket", calls: 3},
		{name: "ticket: PAT refused with an odd 400", prepare: patOf(400), request: without, status: 401, header: "ticket", calls: 3},
		{name: "ticket: PAT refused, and no other", prepare: func(w *rsWorld) { w.ExpirePATs(); fault(opserver.ClientRefused)(w) },
			request: without, status: 403, header: "Warning", calls: 2},
		{name: "ticket: PAT lost", prepare: fault(opserver.LostPAT), request: without, status: 401, header: "ticket", calls: 3},
		{name: "ticket: invalid_resource_id", prepare: func(w *rsWorld) { w.ForgetResource(w.Resources("photoz")[0].ID) },
			request: without, status: 401, header: "ticket", calls: 4},
		{name: "ticket: invalid_resource_id, and it cannot be registered", prepare: func(w *rsWorld) {
			w.ForgetResource(w.Resources("photoz")[0].ID)
			fault(opserver.EndpointDown, opserver.EndpointResource)(w)
		}, request: without, status: 403, header: "Warning", calls: 2},
		{name: "ticket: invalid_scope", prepare: shrink, request: without, status: 401, header: "ticket", calls: 3},
		{name: "ticket: with padding", prepare: fault(opserver.TicketWithPadding), request: without, status: 401, header: "ticket", calls: 1},
		{name: "ticket: of 8 KiB", prepare: fault(opserver.LongTicket), request: without, status: 401, header: "ticket", calls: 1},
		{name: "metadata: nobody listens, no token", cold: true, prepare: (*rsWorld).stop, request: without, status: 403, header: "Warning"},
		{name: "metadata: nobody listens, token", cold: true, prepare: (*rsWorld).stop, request: with, status: 503, header: "trouble"},
		{name: "metadata: another issuer, no token", cold: true, prepare: fault(opserver.MetadataIssuerMismatch), request: without, status: 403, header: "Warning", calls: 1},
		{name: "metadata: another issuer, token", cold: true, prepare: fault(opserver.MetadataIssuerMismatch), request: with, status: 503, header: "trouble", calls: 1},
		{name: "not registered yet", cold: true, request: without, status: 401, header: "ticket", calls: 6},
	}
}

// shrink takes the scopes of the resource away, as another version of the
// application might have done.
func shrink(w *rsWorld) {
	pat, err := w.AccessToken("", "photoz", "uma_protection")
	w.must(err)
	req, err := http.NewRequest(http.MethodPut, w.endpoint("resource_registration_endpoint")+"/"+w.Resources("photoz")[0].ID,
		strings.NewReader(`{"name":"albums","resource_scopes":["print"]}`))
	w.must(err)
	req.Header.Set("Authorization", "Bearer "+pat)
	req.Header.Set("Content-Type", "application/json")
	resp, err := http.DefaultClient.Do(req)
	w.must(err)
	w.must(resp.Body.Close())
	if resp.StatusCode != http.StatusOK {
		w.t.Fatalf("update: %s", resp.Status)
	}
}

// rowsHandler has, beside the albums, needs that fail.
func rowsHandler(rs *gatehouse.ResourceServer) http.Handler {
	rules := albumRules()
	rules["GET /missing"] = gatehouse.NeedFunc(func(*http.Request) (gatehouse.Permission, error) {
		return gatehouse.Permission{}, &gatehouse.Error{Code: "not_found", Status: http.StatusNotFound}
	})
	rules["GET /broken"] = gatehouse.NeedFunc(func(*http.Request) (gatehouse.Permission, error) {
		return gatehouse.Permission{}, errors.New("db: password of user photoz is wrong")
	})
	return photos(rs.UMAProtect(rules))
}

// TestUMARowsRS goes through the rows of the resource server: each has its answer,
// costs what it may, tells nothing, and no row opens what it should not.
func TestUMARowsRS(t *testing.T) {
	for _, row := range append(decisionRows(), troubleRows()...) {
		t.Run(row.name, func(t *testing.T) {
			t.Parallel()
			w := newRSWorld(t)
			h := rowsHandler(w.resourceServer(gatehouse.ResourceServerConfig{}))
			rpt := "junk"
			if !row.cold {
				rpt = w.rpt(h, "GET", albumsPath, "photoz", "view")
			}
			if strings.HasPrefix(row.name, "revoked") {
				send(h, "GET", albumsPath, rpt) // it has been good a moment ago
			}
			if row.prepare != nil {
				row.prepare(w)
			}
			w.reset()
			answer := httptest.NewRecorder()
			h.ServeHTTP(answer, row.request(rpt))
			if answer.Code != row.status {
				t.Fatalf("%d %q %s, want %d", answer.Code, answer.Header(), answer.Body, row.status)
			}
			if (row.status == 200) != served(answer) {
				t.Errorf("served: %s", answer.Body)
			}
			wantHeader(w, answer, row.header)
			if got := w.total(); got > row.calls {
				t.Errorf("%d requests to the authorization server, want at most %d", got, row.calls)
			}
			w.wantNoSecrets([]string{answer.Body.String(), fmt.Sprint(answer.Header())}, "access_token="+rpt)
			if strings.Contains(answer.Body.String(), "password") { // of the application's own error, which the log may have
				t.Errorf("the body is %s", answer.Body)
			}
			if row.status == 401 && (strings.Contains(answer.Body.String(), "view") || strings.Contains(answer.Body.String(), "delete")) {
				t.Errorf("the body tells what is needed: %s", answer.Body)
			}
		})
	}
}

func wantHeader(w *rsWorld, answer *httptest.ResponseRecorder, header string) {
	w.t.Helper()
	switch header {
	case "ticket":
		w.wantTicket(answer)
	case "Warning":
		wantUnreachable(w.t, answer)
	case "trouble":
		wantTrouble(w.t, answer)
		if answer.Header().Get("Warning") != warning199 {
			w.t.Errorf("Warning %q", answer.Header().Get("Warning"))
		}
	default:
		if answer.Header().Get("WWW-Authenticate") != "" && answer.Code != http.StatusUnauthorized && answer.Code != http.StatusBadRequest ||
			answer.Header().Get("Warning") != "" {
			w.t.Errorf("headers %q", answer.Header())
		}
	}
}

// TestUMARowsCached: while introspection is in trouble, facts that are not too old
// go on to serve, and not a moment longer.
func TestUMARowsCached(t *testing.T) {
	w := newRSWorld(t)
	h := rowsHandler(w.resourceServer(gatehouse.ResourceServerConfig{}))
	rpt := w.rpt(h, "GET", albumsPath, "photoz", "view")
	if answer := send(h, "GET", albumsPath, rpt); !served(answer) {
		t.Fatalf("%d %s", answer.Code, answer.Body)
	}
	fault(opserver.IntrospectionDown)(w)
	w.advance(10*time.Second - time.Millisecond)
	if answer := send(h, "GET", albumsPath, rpt); !served(answer) {
		t.Errorf("9.999 s after the facts came: %d %s", answer.Code, answer.Body)
	}
	w.advance(time.Millisecond)
	wantTrouble(t, send(h, "GET", albumsPath, rpt))
}

// TestUMARowsIssuerMismatch: metadata of another issuer stays refused, is told to
// the log with both values, and costs the server one look at a time.
func TestUMARowsIssuerMismatch(t *testing.T) {
	w := newRSWorld(t)
	h := rowsHandler(w.resourceServer(gatehouse.ResourceServerConfig{}))
	fault(opserver.MetadataIssuerMismatch)(w)
	for range 20 {
		wantUnreachable(t, send(h, "GET", albumsPath, ""))
	}
	if got := w.total(); got > 2 {
		t.Errorf("20 requests cost %d looks at the metadata", got)
	}
	w.mu.Lock()
	log := w.logged.String()
	w.mu.Unlock()
	if !strings.Contains(log, w.Issuer()+"/other") || !strings.Contains(log, "metadata_issuer_mismatch") {
		t.Errorf("the log says %s", log)
	}
}

// TestUMAKeycloakNamesByCase: Keycloak keeps names apart by case and looks for
// them without. A resource server that has lost its memory takes over its own
// resource, and deregisters that one alone.
func TestUMAKeycloakNamesByCase(t *testing.T) {
	op := middlewaretest.NewKeycloak(t)
	c := op.AddClient()
	upper, lower := gatehouse.Resource{Name: "Album", Scopes: []string{"view"}}, gatehouse.Resource{Name: "album", Scopes: []string{"view"}}
	fresh := func() *gatehouse.ResourceServer {
		rs, err := gatehouse.NewResourceServer(op.Provider(), gatehouse.ResourceServerConfig{Client: c})
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { _ = rs.Shutdown(context.Background()) })
		return rs
	}
	first := fresh()
	ids := map[string]string{}
	for _, r := range []gatehouse.Resource{upper, lower} {
		made, err := first.Register(t.Context(), r)
		if err != nil {
			t.Fatal(err)
		}
		ids[r.Name] = made.ID
	}
	for _, r := range []gatehouse.Resource{upper, lower} {
		again, err := fresh().Register(t.Context(), r)
		if err != nil || again.ID != ids[r.Name] {
			t.Errorf("%s after a restart: %q, %v; want %q", r.Name, again.ID, err, ids[r.Name])
		}
	}
	if err := fresh().Deregister(t.Context(), lower); err != nil {
		t.Error(err)
	}
	if got := op.As(c.ID).Resources(); len(got) != 1 || got[0] != "Album" {
		t.Errorf("left are %q", got)
	}
}
