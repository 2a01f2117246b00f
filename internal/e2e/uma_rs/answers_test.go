package uma_rs_test

import (
	"errors"
	"fmt"
	"net/http"
	"net/http/httptest"
	"regexp"
	"strings"
	"testing"
	"time"

	"example.com/gatehouse"
	"example.com/gatehouse/internal/e2e/world"
	"example.com/gatehouse/internal/testkit/opserver"
)

// rsRow is one row of the table of a resource server's answers when something
// is wrong.
type rsRow struct {
	name string
	// prepare sets up the trouble; nil means that nothing is wrong. Before it
	// runs, the metadata, the PAT and the id of the resource are known, and bob
	// has an RPT with view.
	prepare func(w *world.Photoz)
	cold    bool // nothing is known yet, and token is junk
	request func(token string) *http.Request
	status  int
	header  string // "ticket", "Warning", "trouble" (503 with Warning and Retry-After), "retry" (503 with Retry-After)
	calls   int    // to the authorization server at most
}

// request makes a request with headers given as pairs of name and value. TOKEN
// in a value is bob's token.
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

// offline takes the authorization server off the network.
func offline(w *world.Photoz) { w.SetDown(true) }

// fault switches a fault on.
func fault(f opserver.Fault, at ...string) func(*world.Photoz) {
	return func(w *world.Photoz) { w.Break(f, at...) }
}

// mend switches a fault off.
func mend(f opserver.Fault) func(*world.Photoz) {
	return func(w *world.Photoz) { w.Mend(f) }
}

const (
	albumsPath    = "/albums/"
	authorization = "Authorization"
	bearerToken   = "Bearer TOKEN"
)

// decisionRows need no trouble: the request itself decides.
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
		{name: "expired RPT", prepare: func(w *world.Photoz) { w.Advance(5 * time.Minute) }, // and with it the PAT
			request: request("GET", albumsPath, authorization, bearerToken), status: 401, header: "ticket", calls: 3},
		{name: "revoked RPT", prepare: func(w *world.Photoz) { w.RevokeRPTs(); w.Advance(11 * time.Second) },
			request: request("GET", albumsPath, authorization, bearerToken), status: 401, header: "ticket", calls: 2},
		{name: "too weak", request: request("DELETE", albumsPath, authorization, bearerToken), status: 401, header: "ticket", calls: 2},
		{name: "good", request: request("GET", albumsPath, authorization, bearerToken), status: 200, calls: 1},
	}
}

// troubleRows are those of an authorization server in trouble.
func troubleRows() []rsRow {
	with, without := request("GET", albumsPath, authorization, bearerToken), request("GET", albumsPath)
	patOf := func(status int) func(*world.Photoz) {
		return func(w *world.Photoz) { w.Must(w.SetPATRefusal(status)); w.ExpirePATs() }
	}
	return []rsRow{
		{name: "introspection: 503", prepare: fault(opserver.IntrospectionDown), request: with, status: 503, header: "trouble", calls: 1},
		{name: "introspection: 500", prepare: fault(opserver.EndpointFails, opserver.EndpointIntrospect), request: with, status: 503, header: "trouble", calls: 1},
		{name: "introspection: a page", prepare: fault(opserver.HTMLAnswer, opserver.EndpointIntrospect), request: with, status: 503, header: "trouble", calls: 1},
		{name: "introspection: oversize", prepare: fault(opserver.HugeAnswer, opserver.EndpointIntrospect), request: with, status: 503, header: "trouble", calls: 1},
		{name: "introspection: cut off", prepare: fault(opserver.TruncatedAnswer, opserver.EndpointIntrospect), request: with, status: 503, header: "trouble", calls: 1},
		{name: "introspection: a redirect", prepare: fault(opserver.RedirectingAnswer, opserver.EndpointIntrospect), request: with, status: 503, header: "trouble", calls: 1},
		{name: "introspection: nobody listens", prepare: offline, request: with, status: 503, header: "trouble"},
		{name: "introspection: our client refused", prepare: func(w *world.Photoz) {
			w.Must(w.AddClient(opserver.Client{ID: "photoz", Secret: "another"}))
			w.ExpirePATs()
		}, request: with, status: 503, header: "client_refused", calls: 3},
		{name: "ticket: 503", prepare: fault(opserver.EndpointDown, opserver.EndpointPermission), request: without, status: 403, header: "Warning", calls: 1},
		{name: "ticket: a page", prepare: fault(opserver.HTMLAnswer, opserver.EndpointPermission), request: without, status: 403, header: "Warning", calls: 1},
		{name: "ticket: oversize", prepare: fault(opserver.HugeAnswer, opserver.EndpointPermission), request: without, status: 403, header: "Warning", calls: 1},
		{name: "ticket: nobody listens", prepare: offline, request: without, status: 403, header: "Warning"},
		{name: "ticket: PAT refused with 401", prepare: patOf(401), request: without, status: 401, header: "ticket", calls: 4},
		{name: "ticket: PAT refused with 403", prepare: patOf(403), request: without, status: 401, header: "ticket", calls: 4},
		{name: "ticket: PAT refused with 406", prepare: patOf(406), request: without, status: 401, header: "ticket", calls: 4},
		{name: "ticket: PAT refused with an odd 400", prepare: patOf(400), request: without, status: 401, header: "ticket", calls: 4},
		{name: "ticket: PAT refused, and no other", prepare: func(w *world.Photoz) { w.ExpirePATs(); fault(opserver.ClientRefused)(w) },
			request: without, status: 403, header: "Warning", calls: 2},
		{name: "ticket: PAT lost", prepare: fault(opserver.LostPAT), request: without, status: 401, header: "ticket", calls: 4},
		{name: "ticket: invalid_resource_id", prepare: func(w *world.Photoz) { w.ForgetResource(w.Resources("photoz")[0].ID) },
			request: without, status: 401, header: "ticket", calls: 4},
		{name: "ticket: invalid_resource_id, and it cannot be registered", prepare: func(w *world.Photoz) {
			w.ForgetResource(w.Resources("photoz")[0].ID)
			fault(opserver.EndpointDown, opserver.EndpointResource)(w)
		}, request: without, status: 403, header: "Warning", calls: 2},
		{name: "ticket: invalid_scope", prepare: shrink, request: without, status: 401, header: "ticket", calls: 4},
		{name: "ticket: with padding", prepare: fault(opserver.TicketWithPadding), request: without, status: 401, header: "ticket", calls: 1},
		{name: "ticket: of 8 KiB", prepare: fault(opserver.LongTicket), request: without, status: 401, header: "ticket", calls: 1},
		{name: "metadata: nobody listens, no token", cold: true, prepare: offline, request: without, status: 403, header: "Warning"},
		{name: "metadata: nobody listens, token", cold: true, prepare: offline, request: with, status: 503, header: "trouble"},
		{name: "metadata: another issuer, no token", cold: true, prepare: fault(opserver.MetadataIssuerMismatch), request: without, status: 403, header: "Warning", calls: 1},
		{name: "metadata: another issuer, token", cold: true, prepare: fault(opserver.MetadataIssuerMismatch), request: with, status: 503, header: "metadata_issuer_mismatch", calls: 1},
		{name: "not registered yet", cold: true, request: without, status: 401, header: "ticket", calls: 6},
	}
}

// shrink removes the scopes of the resource, as another version of the
// application might have done.
func shrink(w *world.Photoz) {
	pat, err := w.AccessToken("", "photoz", "uma_protection")
	w.Must(err)
	req, err := http.NewRequest(http.MethodPut, w.Endpoint("resource_registration_endpoint")+"/"+w.Resources("photoz")[0].ID,
		strings.NewReader(`{"name":"albums","resource_scopes":["print"]}`))
	w.Must(err)
	req.Header.Set("Authorization", "Bearer "+pat)
	req.Header.Set("Content-Type", "application/json")
	resp, err := w.Transport().RoundTrip(req)
	w.Must(err)
	w.Must(resp.Body.Close())
	if resp.StatusCode != http.StatusOK {
		w.T.Fatalf("update: %s", resp.Status)
	}
}

// ticketParam finds the one place of a ticket.
var ticketParam = regexp.MustCompile(`, ticket="[^"]*"`)

// rowsHandler serves world.Albums, and needs that fail.
func rowsHandler(rs *gatehouse.ResourceServer) http.Handler {
	rules := world.AlbumRules()
	rules["GET /missing"] = gatehouse.NeedFunc(func(*http.Request) (gatehouse.Permission, error) {
		return gatehouse.Permission{}, &gatehouse.Error{Code: "not_found", Status: http.StatusNotFound}
	})
	rules["GET /broken"] = gatehouse.NeedFunc(func(*http.Request) (gatehouse.Permission, error) {
		return gatehouse.Permission{}, errors.New("db: password of user photoz is wrong")
	})
	return world.Photos(rs.UMAProtect(rules))
}

// TestResourceServerAnswers goes through the rows of the resource server. Each has its
// answer, costs no more than it may and reveals nothing, and no row opens what
// it should not.
func TestResourceServerAnswers(t *testing.T) {
	for _, row := range append(decisionRows(), troubleRows()...) {
		t.Run(row.name, func(t *testing.T) {
			w := world.NewPhotoz(t)
			h := rowsHandler(w.ResourceServer(gatehouse.ResourceServerConfig{}))
			rpt := "junk"
			if !row.cold {
				rpt = w.RPT(h, "GET", albumsPath, "photoz", "view")
			}
			if strings.HasPrefix(row.name, "revoked") {
				world.Send(h, "GET", albumsPath, rpt) // it was valid a moment ago
			}
			if row.prepare != nil {
				row.prepare(w)
			}
			w.Reset()
			answer := httptest.NewRecorder()
			h.ServeHTTP(answer, row.request(rpt))
			if answer.Code != row.status {
				t.Fatalf("%d %q %s, want %d", answer.Code, answer.Header(), answer.Body, row.status)
			}
			if (row.status == 200) != world.Served(answer) {
				t.Errorf("served: %s", answer.Body)
			}
			wantHeader(w, answer, row.header)
			if got := w.Total(); got > row.calls {
				t.Errorf("%d requests to the authorization server, want at most %d", got, row.calls)
			}
			w.WantSilence([]string{answer.Body.String(), ticketParam.ReplaceAllString(fmt.Sprint(answer.Header()), "")}, "access_token="+rpt)
			if strings.Contains(answer.Body.String(), "password") { // of the application's own error, which the log may contain
				t.Errorf("the body is %s", answer.Body)
			}
			if row.status == 401 && (strings.Contains(answer.Body.String(), "view") || strings.Contains(answer.Body.String(), "delete")) {
				t.Errorf("the body reveals what is needed: %s", answer.Body)
			}
		})
	}
}

func wantHeader(w *world.Photoz, answer *httptest.ResponseRecorder, header string) {
	w.T.Helper()
	switch header {
	case "ticket":
		w.WantTicket(answer)
	case "Warning":
		world.WantUnreachable(w.T, answer)
	case "trouble":
		world.WantTrouble(w.T, answer)
		if answer.Header().Get("Warning") != world.Unreachable {
			w.T.Errorf("Warning %q", answer.Header().Get("Warning"))
		}
	case "client_refused", "metadata_issuer_mismatch":
		world.WantMistake(w.T, answer, header)
	default:
		if answer.Header().Get("WWW-Authenticate") != "" && answer.Code != http.StatusUnauthorized && answer.Code != http.StatusBadRequest ||
			answer.Header().Get("Warning") != "" {
			w.T.Errorf("headers %q", answer.Header())
		}
	}
}
