package opserver_test

import (
	"context"
	"net/http"
	"net/url"
	"strings"
	"sync"
	"testing"
	"time"

	"example.com/gatehouse/internal/opserver"
)

// TestIDTokenFaults switches each fault of the ID Token on and off again.
func TestIDTokenFaults(t *testing.T) {
	w := newWorld(t, "")
	now := float64(w.clock.Now().Unix())
	for fault, broken := range map[opserver.Fault]func(asked, got map[string]any) bool{
		opserver.WrongNonce:    func(asked, got map[string]any) bool { return got["nonce"] != nil && got["nonce"] != asked["nonce"] },
		opserver.MissingNonce:  func(_, got map[string]any) bool { return got["nonce"] == nil },
		opserver.WrongIssuer:   func(_, got map[string]any) bool { return got["iss"] == w.Issuer()+"1" },
		opserver.WrongAudience: func(_, got map[string]any) bool { return got["aud"] == "rp-other" },
		opserver.WrongAuthorizedParty: func(_, got map[string]any) bool {
			aud, _ := got["aud"].([]any)
			return len(aud) == 2 && aud[0] == "rp" && got["azp"] == "other"
		},
		opserver.ExpiredIDToken:    func(_, got map[string]any) bool { return got["exp"].(float64) < now },
		opserver.MissingIssuedAt:   func(_, got map[string]any) bool { return got["iat"] == nil },
		opserver.MissingSubject:    func(_, got map[string]any) bool { return got["sub"] == nil },
		opserver.OldAuthentication: func(_, got map[string]any) bool { return got["auth_time"].(float64) < now },
		opserver.WrongAccessTokenHash: func(_, got map[string]any) bool {
			return strings.Trim(str(got["at_hash"]), "A") == ""
		},
	} {
		t.Run(string(fault), func(t *testing.T) {
			for _, on := range []bool{true, false} {
				w.must(w.SetFault(fault, on))
				u := w.authorizeURL()
				asked, _ := url.Parse(u)
				got := claims(t, w.redeem(u, w.signIn(w.browser(), u, "alice")).json["id_token"])
				if broken(map[string]any{"nonce": asked.Query().Get("nonce")}, got) != on {
					t.Errorf("on %v: %v", on, got)
				}
			}
		})
	}
	w.violations("")
}

func TestTokenAnswerFaults(t *testing.T) {
	w := newWorld(t, "")
	w.must(w.SetFault(opserver.MissingIDToken, true))
	if got := w.tokens("alice"); got["id_token"] != nil || got["access_token"] == nil {
		t.Errorf("MissingIDToken: %v", got)
	}
	w.must(w.SetFault(opserver.MissingIDToken, false))
	w.must(w.SetFault(opserver.NoExpiresIn, true))
	if got := w.tokens("alice"); got["expires_in"] != nil {
		t.Errorf("NoExpiresIn: %v", got)
	}
	w.must(w.SetFault(opserver.UnsignedIDToken, true))
	if got := str(w.tokens("alice")["id_token"]); !strings.HasSuffix(got, ".") {
		t.Errorf("UnsignedIDToken: %s", got)
	}
	w.must(w.SetFault(opserver.UnsignedIDToken, false))
	w.must(w.SetFault(opserver.WrongSignature, true))
	raw := str(w.tokens("alice")["id_token"])
	if a := w.get(w.http, w.authorizeURL("id_token_hint", raw)); !strings.Contains(a.Header.Get("Location"), "invalid_request") {
		t.Errorf("WrongSignature: the signature is good")
	}
	w.must(w.SetFault(opserver.WrongSignature, false))
	tok := w.tokens("alice")
	w.must(w.SetFault(opserver.RefreshOtherSubject, true))
	if got := claims(t, w.tokens("alice")["id_token"])["sub"]; got != "alice" {
		t.Errorf("RefreshOtherSubject touches the first token: %v", got)
	}
	a := w.token(rpAuth, url.Values{"grant_type": {"refresh_token"}, "refresh_token": {str(tok["refresh_token"])}})
	if got := claims(t, a.json["id_token"])["sub"]; got != "alice-other" {
		t.Errorf("RefreshOtherSubject: %v", got)
	}
	w.must(w.SetFault(opserver.UserInfoWrongSubject, true))
	info := w.send(w.http, http.MethodGet, w.endpoint("userinfo_endpoint"), "", "", "Bearer "+str(tok["access_token"]))
	if info.json["sub"] != "someone-else" {
		t.Errorf("UserInfoWrongSubject: %s", info.body)
	}
}

// TestTaintedAnswers sends answers that a client must refuse, and sees a client
// that redeems them all the same.
func TestTaintedAnswers(t *testing.T) {
	for fault, check := range map[opserver.Fault]func(w *world, sent, back url.Values) bool{
		opserver.WrongState:            func(_ *world, sent, back url.Values) bool { return back.Get("state") == sent.Get("state")+"x" },
		opserver.WrongResponseIssuer:   func(w *world, _, back url.Values) bool { return back.Get("iss") == w.Issuer()+"/other" },
		opserver.MissingResponseIssuer: func(_ *world, _, back url.Values) bool { return !back.Has("iss") },
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

func TestMetadataIssuerMismatch(t *testing.T) {
	w := newWorld(t, "")
	w.must(w.SetFault(opserver.MetadataIssuerMismatch, true))
	for _, at := range []string{"openid-configuration", "uma2-configuration", "oauth-authorization-server"} {
		if got := w.getJSON(w.base + "/.well-known/" + at)["issuer"]; got == w.Issuer() {
			t.Errorf("%s: issuer %v", at, got)
		}
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
	if w.SetFault("no-such-fault", true) == nil || w.SetFaultAt(opserver.HugeAnswer, true, "no-such-endpoint") == nil {
		t.Error("an unknown name is taken")
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
	// Those who wait are answered when the fault ends, all at the same time.
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
		t.Error("the access token outlives its life")
	}
	w.clock.advance(2*time.Minute - time.Second)
	w.exchange(ticket, w.claim("alice")...).want(t, 200, "")
}
