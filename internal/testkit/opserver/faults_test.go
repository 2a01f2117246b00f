package opserver_test

import (
	"context"
	"go/ast"
	"go/parser"
	"go/token"
	"io"
	"net/http"
	"net/url"
	"strings"
	"sync"
	"testing"
	"time"

	"example.com/gatehouse/internal/testkit/opserver"
)

// TestTaintedAnswers sends answers that a client must refuse, and detects a
// client that redeems them anyway.
func TestTaintedAnswers(t *testing.T) {
	for fault, check := range map[opserver.Fault]func(w *world, sent, back url.Values) bool{
		opserver.WrongState:            func(_ *world, sent, back url.Values) bool { return back.Get("state") == sent.Get("state")+"x" },
		opserver.WrongResponseIssuer:   func(w *world, _, back url.Values) bool { return back.Get("iss") == w.Issuer()+"/other" },
		opserver.MissingResponseIssuer: func(_ *world, _, back url.Values) bool { return !back.Has("iss") },
		opserver.MissingState:          func(_ *world, _, back url.Values) bool { return !back.Has("state") },
		opserver.RepeatedCode:          func(_ *world, _, back url.Values) bool { return len(back["code"]) == 2 },
		opserver.RepeatedState:         func(_ *world, _, back url.Values) bool { return len(back["state"]) == 2 },
	} {
		t.Run(string(fault), func(t *testing.T) {
			w := newWorld(t, "")
			w.must(w.SetFault(fault, true))
			u := w.authorizeURL()
			sent, _ := url.Parse(u)
			back := w.signIn(w.http, u, "alice")
			if !check(w, sent.Query(), back) {
				t.Errorf("answer %v", back)
			}
			w.violations("")
			w.redeem(u, back).want(t, 200, "")
			w.violations("redeemed a code that came back with")
		})
	}
}

// with runs do while a fault is on.
func (w *world) with(f opserver.Fault, do func()) {
	w.t.Helper()
	w.must(w.SetFault(f, true))
	do()
	w.must(w.SetFault(f, false))
}

func TestTicketFaults(t *testing.T) {
	w := newWorld(t, "")
	pat := w.pat("alice")
	id := w.register(pat)
	w.must(w.Share("alice", id, "bob", "view"))
	w.with(opserver.SameTicketBack, func() {
		first := w.ticket(pat, id, "view")
		if a := w.exchange(first); a.json["ticket"] != first {
			t.Errorf("SameTicketBack: %s", a.body)
		}
		w.violations("")
		w.exchange(first, w.claim("bob")...).want(t, 400, "invalid_grant")
		w.violations("ticket twice")
	})
	w.with(opserver.NeedInfoForever, func() {
		w.exchange(w.ticket(pat, id, "view"), w.claim("bob")...).want(t, 403, "need_info")
	})
	w.with(opserver.NeedInfoNoHint, func() {
		a := w.exchange(w.ticket(pat, id, "view"))
		if a.want(t, 403, "need_info"); a.json["required_claims"] != nil || a.json["redirect_user"] != nil || a.json["ticket"] == nil {
			t.Errorf("NeedInfoNoHint: %s", a.body)
		}
	})
	w.with(opserver.RedirectUserMalformed, func() {
		a := w.exchange(w.ticket(pat, id, "view"))
		at, err := url.Parse(str(a.json["redirect_user"]))
		if a.want(t, 403, "need_info"); err != nil || at.RawQuery != "" || !strings.HasSuffix(at.Path, "&ticket="+str(a.json["ticket"])) {
			t.Errorf("RedirectUserMalformed: %s", a.body)
		}
	})
	w.with(opserver.TicketWithPadding, func() {
		padded := w.ticket(pat, id, "view")
		if !strings.HasSuffix(padded, "==") {
			t.Errorf("TicketWithPadding: %s", padded)
		}
		w.exchange(padded, w.claim("bob")...).want(t, 200, "")
	})
	w.with(opserver.LongTicket, func() {
		long := w.ticket(pat, id, "view")
		if len(long) != 8<<10 {
			t.Errorf("LongTicket: %d bytes", len(long))
		}
		w.exchange(long, w.claim("bob")...).want(t, 200, "")
	})
	w.with(opserver.TokenEndpointElsewhere, func() {
		md := w.getJSON(w.Issuer() + "/.well-known/uma2-configuration")
		at := str(md["token_endpoint"])
		if !strings.HasPrefix(at, "http://localhost:") {
			t.Fatalf("TokenEndpointElsewhere: %s", at)
		}
		w.postForm(w.http, at, url.Values{"grant_type": {"client_credentials"}}, rpAuth).want(t, 200, "")
	})
	w.with(opserver.PartialGrant, func() {
		a := w.exchange(w.ticket(pat, id, "view", "print"), w.claim("bob")...)
		if got := permissions(w.introspect(str(a.json["access_token"]), rpAuth)); got != id+":view" {
			t.Errorf("PartialGrant: %d %s", a.StatusCode, got)
		}
	})
}

func TestPermissionFaults(t *testing.T) {
	w := newWorld(t, "")
	pat := w.pat("alice")
	id := w.register(pat)
	w.must(w.Share("alice", id, "bob", "view"))
	rpt := str(w.exchange(w.ticket(pat, id, "view"), w.claim("bob")...).json["access_token"])
	now := float64(w.clock.Now().Unix())
	entry := func() map[string]any {
		return w.introspect(rpt, rpAuth)["permissions"].([]any)[0].(map[string]any)
	}
	if p := entry(); p["exp"].(float64) <= now || p["iat"].(float64) != now || p["nbf"] != nil {
		t.Errorf("permission %v", p)
	}
	w.with(opserver.PermissionExpired, func() {
		if p := entry(); p["exp"].(float64) >= now {
			t.Errorf("PermissionExpired: %v", p)
		}
	})
	w.with(opserver.PermissionNotYetValid, func() {
		if p := entry(); p["nbf"].(float64) <= now {
			t.Errorf("PermissionNotYetValid: %v", p)
		}
	})
	w.with(opserver.PermissionWithoutScopes, func() {
		if p := entry(); len(p["resource_scopes"].([]any)) != 0 {
			t.Errorf("PermissionWithoutScopes: %v", p)
		}
	})
	w.with(opserver.ScopesAtTopLevel, func() {
		if got := w.introspect(rpt, rpAuth); got["scope"] != "view" || permissions(got) != id+":" {
			t.Errorf("ScopesAtTopLevel: %v", got)
		}
	})
	w.with(opserver.LostPAT, func() {
		at := w.endpoint("resource_registration_endpoint")
		w.rs(pat, http.MethodGet, at, "").want(t, 401, "invalid_token")
		w.rs(w.pat("alice"), http.MethodGet, at, "").want(t, 200, "")
	})
	pat = w.pat("alice")
	w.with(opserver.LostResource, func() {
		w.rs(pat, http.MethodPost, w.endpoint("permission_endpoint"),
			`{"resource_id":"`+id+`","resource_scopes":["view"]}`).want(t, 400, "invalid_resource_id")
		if w.introspect(rpt, rpAuth)["active"] != false || len(w.Resources("alice")) != 0 {
			t.Error("LostResource: it is still there")
		}
		w.register(pat)
	})
}

func TestFaultsOfAnyEndpoint(t *testing.T) {
	w := newWorld(t, "")
	cc := url.Values{"grant_type": {"client_credentials"}}
	w.must(w.SetFault(opserver.TokenEndpointDown, true))
	if a := w.token(rpAuth, cc); a.StatusCode != http.StatusInternalServerError {
		t.Errorf("TokenEndpointDown: %d", a.StatusCode)
	}
	w.get(w.http, w.endpoint("jwks_uri")).want(t, 200, "")
	w.must(w.SetFault(opserver.TokenEndpointDown, false))
	tok := str(w.token(rpAuth, cc).json["access_token"])
	w.must(w.SetFault(opserver.IntrospectionDown, true))
	if a := w.postForm(w.http, w.endpoint("introspection_endpoint"), url.Values{"token": {tok}}, rpAuth); a.StatusCode != http.StatusServiceUnavailable {
		t.Errorf("IntrospectionDown: %d", a.StatusCode)
	}
	w.must(w.SetFault(opserver.IntrospectionDown, false))
	w.must(w.SetFaultAt(opserver.EndpointDown, true, opserver.EndpointPermission))
	if a := w.rs(tok, http.MethodPost, w.endpoint("permission_endpoint"), "[]"); a.StatusCode != http.StatusServiceUnavailable {
		t.Errorf("EndpointDown: %d", a.StatusCode)
	}
	w.token(rpAuth, cc).want(t, 200, "")
	w.must(w.SetFaultAt(opserver.HTMLAnswer, true, opserver.EndpointToken))
	if a := w.token(rpAuth, cc); a.StatusCode != 200 || !strings.HasPrefix(a.Header.Get("Content-Type"), "text/html") || a.json != nil {
		t.Errorf("HTMLAnswer: %d %s", a.StatusCode, a.body)
	}
	w.must(w.SetFault(opserver.HTMLAnswer, false))
	w.must(w.SetFault(opserver.HugeAnswer, true))
	if a := w.token(basic("rp", "guess"), cc); len(a.body) < 8<<20 || a.StatusCode != 401 || a.json["error"] != "invalid_client" {
		t.Errorf("HugeAnswer: %d, %d bytes", a.StatusCode, len(a.body))
	}
	w.must(w.SetFault(opserver.HugeAnswer, false))
	for fault, status := range map[opserver.Fault]int{opserver.EndpointFails: 500, opserver.EndpointGone: 404} {
		w.must(w.SetFaultAt(fault, true, opserver.EndpointToken))
		if a := w.token(rpAuth, cc); a.StatusCode != status {
			t.Errorf("%s: %d", fault, a.StatusCode)
		}
		w.must(w.SetFault(fault, false))
	}
	w.with(opserver.RedirectingAnswer, func() {
		a := w.token(rpAuth, cc)
		if a.StatusCode != http.StatusTemporaryRedirect {
			t.Fatalf("RedirectingAnswer: %d", a.StatusCode)
		}
		w.postForm(w.http, a.Header.Get("Location"), cc, rpAuth)
		w.violations("a redirect led it")
	})
	w.with(opserver.TruncatedAnswer, func() {
		resp, err := w.http.Get(w.endpoint("jwks_uri"))
		w.must(err)
		b, err := io.ReadAll(resp.Body)
		if err == nil || len(b) == 0 || resp.StatusCode != http.StatusOK || resp.ContentLength <= int64(len(b)) {
			t.Errorf("TruncatedAnswer: %d of %d bytes, %v", len(b), resp.ContentLength, err)
		}
		w.must(resp.Body.Close())
	})
	w.token(rpAuth, cc).want(t, 200, "")
	if w.SetFault("no-such-fault", true) == nil || w.SetFaultAt(opserver.HugeAnswer, true, "no-such-endpoint") == nil {
		t.Error("an unknown name is accepted")
	}
}

func TestEveryFaultIsListedOnce(t *testing.T) {
	seen := map[opserver.Fault]bool{}
	w := newWorld(t, "")
	for _, f := range opserver.Faults() {
		if seen[f] {
			t.Errorf("%s is listed twice", f)
		}
		seen[f] = true
		w.must(w.SetFault(f, true))
		w.must(w.SetFault(f, false))
	}
	file, err := parser.ParseFile(token.NewFileSet(), "faults.go", nil, 0)
	w.must(err)
	ast.Inspect(file, func(n ast.Node) bool {
		if lit, ok := n.(*ast.BasicLit); ok && lit.Kind == token.STRING {
			if name := strings.Trim(lit.Value, `"`); name != "slices" && !seen[opserver.Fault(name)] {
				t.Errorf("%s is not listed", name)
			}
		}
		return true
	})
	if len(w.tokens("alice")) == 0 {
		t.Error("the server does not recover")
	}
}

func TestHanging(t *testing.T) {
	w := newWorld(t, "")
	arrived := make(chan struct{}, 3)
	w.OnRequest(opserver.EndpointToken, func(*http.Request) { arrived <- struct{}{} })
	w.must(w.SetFault(opserver.AuthorizationServerHangs, true))
	ctx, leave := context.WithCancel(t.Context())
	gone := make(chan error, 1)
	go func() {
		r, err := http.NewRequestWithContext(ctx, http.MethodPost, w.endpoint("token_endpoint"), strings.NewReader("grant_type=x"))
		if err == nil {
			var resp *http.Response
			if resp, err = w.http.Do(r); err == nil {
				err = resp.Body.Close()
			}
		}
		gone <- err
	}()
	<-arrived
	leave()
	if err := <-gone; err == nil {
		t.Error("a hanging server answered")
	}
	// Requests that wait are answered when the fault ends, all at the same
	// time.
	var wg sync.WaitGroup
	for range 2 {
		wg.Go(func() {
			w.token(rpAuth, url.Values{"grant_type": {"client_credentials"}}).want(t, 200, "")
		})
	}
	<-arrived
	<-arrived
	w.must(w.SetFault(opserver.AuthorizationServerHangs, false))
	wg.Wait()
	if w.Peak(opserver.EndpointToken) < 2 || w.Count(opserver.EndpointToken) != 3 || w.CountToken("client_credentials") != 2 {
		t.Errorf("peak %d, count %d, by grant %d", w.Peak(opserver.EndpointToken), w.Count(opserver.EndpointToken), w.CountToken("client_credentials"))
	}
	w.ResetCounts()
	if w.Peak(opserver.EndpointToken)+w.Count(opserver.EndpointToken)+w.CountToken("client_credentials") != 0 {
		t.Error("the counts are not reset")
	}
	w.OnRequest(opserver.EndpointToken, nil)
	w.must(w.SetFault(opserver.AuthorizationServerHangs, true))
	w.Close()
	w.token(rpAuth, url.Values{"grant_type": {"client_credentials"}}).want(t, 200, "")
}

func TestCountPanicsForUnknownNames(t *testing.T) {
	w := newWorld(t, "")
	defer func() {
		if recover() == nil {
			t.Error("a misspelt endpoint is counted")
		}
	}()
	w.Count("tokn")
}

func TestLifetimes(t *testing.T) {
	w := newWorld(t, "")
	w.SetTokenLifetime(time.Minute)
	w.SetIDTokenLifetime(2 * time.Minute)
	w.SetTicketLifetime(3 * time.Minute)
	tok := w.tokens("alice")
	c := claims(t, tok["id_token"])
	if tok["expires_in"] != float64(60) || c["exp"].(float64)-c["iat"].(float64) != 120 {
		t.Errorf("expires_in %v, ID Token %v", tok["expires_in"], c)
	}
	pat := w.pat("alice")
	ticket := w.ticket(pat, w.register(pat), "view")
	w.clock.advance(time.Minute)
	if w.introspect(str(tok["access_token"]), rpAuth)["active"] != false {
		t.Error("the access token outlives its lifetime")
	}
	w.clock.advance(2*time.Minute - time.Second)
	w.exchange(ticket, w.claim("alice")...).want(t, 200, "")
}
