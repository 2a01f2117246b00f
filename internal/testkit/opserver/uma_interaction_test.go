package opserver_test

import (
	"net/http"
	"net/url"
	"strings"
	"testing"

	"example.com/gatehouse/internal/testkit/opserver"
)

const (
	comeBack   = "http://rp.test/claims?x=1"
	claimState = "state-of-128-bits-for-claims"
)

// asking is a server that asks what rp wants Alice's resource for, which Bob may
// view.
func asking(t *testing.T) (w *world, begin func(change ...string) string) {
	t.Helper()
	w = newWorld(t, "/as")
	pat := w.pat("alice")
	id := w.register(pat)
	w.must(w.Share("alice", id, "bob", "view"))
	w.must(w.NeedClaims("alice", id, opserver.NeededClaim{Name: "purpose", Label: "What for?"}))
	w.must(w.SetClaimsRedirectURIs("shop", comeBack))
	return w, func(change ...string) string {
		t.Helper()
		a := w.exchange(w.ticket(pat, id, "view"))
		a.want(t, 403, "need_info")
		if str(a.json["redirect_user"]) != w.endpoint("claims_interaction_endpoint")+"?flow=claims" || !strings.Contains(a.body, `"friendly_name":"What for?"`) {
			t.Fatalf("need_info %s", a.body)
		}
		q := url.Values{"client_id": {"shop"}, "ticket": {str(a.json["ticket"])}, "claims_redirect_uri": {comeBack}, "state": {claimState}}
		for i := 0; i < len(change); i += 2 {
			if q.Del(change[i]); change[i+1] != "-" {
				q.Set(change[i], change[i+1])
			}
		}
		return str(a.json["redirect_user"]) + "&" + q.Encode()
	}
}

// answerAs begins a visit, signs in and answers, and returns what comes back.
func (w *world) answerAs(c *http.Client, name, address, decision, purpose string) url.Values {
	w.t.Helper()
	a := w.get(c, address)
	if a.StatusCode == http.StatusSeeOther && strings.HasPrefix(a.Header.Get("Location"), w.Issuer()) {
		a = w.get(c, a.Header.Get("Location"))
		if strings.Contains(a.body, `id="sign-in"`) {
			a = w.submit(c, a, url.Values{"username": {name}, "password": {"pw-" + name}})
			at, err := url.Parse(w.Issuer())
			w.must(err)
			at, err = at.Parse(a.Header.Get("Location"))
			w.must(err)
			a = w.get(c, at.String())
		}
		if strings.Contains(a.body, `id="claims"`) {
			a = w.submit(c, a, url.Values{"Y2xhaW0.cHVycG9zZQ": {purpose}, "decision": {decision}})
		}
	}
	to := a.Header.Get("Location")
	if !strings.HasPrefix(to, comeBack+"&") {
		w.t.Fatalf("%d %q %s", a.StatusCode, to, a.body)
	}
	u, err := url.Parse(to)
	w.must(err)
	return u.Query()
}

// TestClaimsPage asks Bob, who gets a new ticket for his answer.
func TestClaimsPage(t *testing.T) {
	w, begin := asking(t)
	address := begin()
	back := w.answerAs(w.http, "bob", address, "tell", "a calendar")
	if back.Get("state") != claimState || back.Get("x") != "1" || back.Get("ticket") == "" || strings.Contains(address, back.Get("ticket")) || len(back) != 3 {
		t.Fatalf("came back with %v", back)
	}
	w.exchange(back.Get("ticket")).want(t, 200, "")
	w.violations("")

	// Signed in already, Bob says no, and then something.
	if back := w.answerAs(w.http, "bob", begin(), "refuse", ""); back.Get("error") != "access_denied" || back.Get("state") != claimState || back.Has("ticket") {
		t.Errorf("refused: %v", back)
	}
	if back := w.answerAs(w.http, "bob", begin("claims_redirect_uri", "-"), "tell", "x"); back.Get("ticket") == "" {
		t.Errorf("without its one address: %v", back)
	}
	w.violations("")
}

// TestClaimsRequests sends requests that stay on the page, and others that go back
// as errors.
func TestClaimsRequests(t *testing.T) {
	w, begin := asking(t)
	for name, address := range map[string]string{
		"unknown client":   begin("client_id", "nobody"),
		"no client":        begin("client_id", "-"),
		"another address":  begin("claims_redirect_uri", "http://rp.test/claims"),
		"a longer address": begin("claims_redirect_uri", comeBack+"&y=2"),
		"not registered":   begin("client_id", "rp"),
		"two addresses":    begin() + "&claims_redirect_uri=" + url.QueryEscape(comeBack),
	} {
		if a := w.get(w.http, address); a.StatusCode != http.StatusBadRequest || a.Header.Get("Location") != "" {
			t.Errorf("%s: %d %q", name, a.StatusCode, a.Header.Get("Location"))
		}
	}
	w.violations("")
	used := begin()
	w.answerAs(w.http, "bob", used, "tell", "x")
	w.must(w.SetClaimsRedirectURIs("rp", comeBack))
	for name, address := range map[string]string{
		"no ticket": begin("ticket", "-"), "unknown ticket": begin("ticket", "t"), "two tickets": begin() + "&ticket=t",
		"another client's ticket": begin("client_id", "rp"),
	} {
		if back := w.answerAs(w.http, "bob", address, "tell", "x"); back.Get("error") != "invalid_request" || back.Get("state") != claimState {
			t.Errorf("%s: %v", name, back)
		}
	}
	w.violations("")
	if back := w.answerAs(w.http, "bob", used, "tell", "x"); back.Get("error") != "invalid_request" {
		t.Errorf("a used ticket: %v", back)
	}
	w.violations("ticket twice")
	w.answerAs(w.http, "bob", begin("state", "short"), "tell", "x")
	w.violations("too short")
}

// TestClaimsVisit is bound to a browser and to who was known before, asks until
// everything is answered, and is over once.
func TestClaimsVisit(t *testing.T) {
	w, begin := asking(t)
	first := w.get(w.http, begin())
	visit := first.Header.Get("Location")
	if a := w.get(w.browser(), visit); a.StatusCode != http.StatusNotFound {
		t.Errorf("another browser: %d", a.StatusCode)
	}
	c := w.browser()
	page := w.get(c, w.get(c, begin()).Header.Get("Location"))
	at := w.submit(c, page, url.Values{"username": {"bob"}, "password": {"pw-bob"}})
	to, err := page.Request.URL.Parse(at.Header.Get("Location"))
	w.must(err)
	page = w.get(c, to.String())
	if again := w.submit(c, page, url.Values{"decision": {"tell"}}); again.StatusCode != 200 || !strings.Contains(again.body, "answer every question") {
		t.Errorf("nothing answered: %d %s", again.StatusCode, again.body)
	}
	done := w.submit(c, page, url.Values{"Y2xhaW0.cHVycG9zZQ": {"x"}, "decision": {"tell"}})
	if twice := w.submit(c, page, url.Values{"Y2xhaW0.cHVycG9zZQ": {"x"}, "decision": {"tell"}}); done.StatusCode != 303 || twice.StatusCode != http.StatusNotFound {
		t.Errorf("once %d, twice %d", done.StatusCode, twice.StatusCode)
	}
	w.violations("")
}

// TestClaimsFaults sends answers that a client must refuse, and detects a client
// that redeems their ticket anyway.
func TestClaimsFaults(t *testing.T) {
	for fault, ok := range map[opserver.Fault]func(back url.Values) bool{
		opserver.ClaimsWrongState: func(q url.Values) bool { return q.Get("state") == claimState+"x" },
		opserver.ClaimsNoState:    func(q url.Values) bool { return !q.Has("state") },
		opserver.ClaimsTwoStates:  func(q url.Values) bool { return len(q["state"]) == 2 },
		opserver.ClaimsNoTicket:   func(q url.Values) bool { return !q.Has("ticket") },
		opserver.ClaimsTwoTickets: func(q url.Values) bool { return len(q["ticket"]) == 2 },
	} {
		w, begin := asking(t)
		w.must(w.SetFault(fault, true))
		back := w.answerAs(w.http, "bob", begin(), "tell", "x")
		if !ok(back) {
			t.Errorf("%s: %v", fault, back)
		}
		w.violations("")
		if back.Has("ticket") {
			w.exchange(back.Get("ticket")).want(t, 200, "")
			w.violations("redeemed a ticket that came back with")
		}
	}
	w, begin := asking(t)
	u, err := url.Parse(begin())
	w.must(err)
	w.must(w.SetFault(opserver.ClaimsElsewhere, true))
	if got := str(w.exchange(u.Query().Get("ticket")).json["redirect_user"]); got != "https://claims.invalid/ask?flow=claims" {
		t.Errorf("ClaimsElsewhere: %q", got)
	}
}

// TestClaimsControls refuses what cannot be.
func TestClaimsControls(t *testing.T) {
	w := newWorld(t, "")
	id := w.register(w.pat("alice"))
	for name, err := range map[string]error{
		"no name":          w.NeedClaims("alice", id, opserver.NeededClaim{}),
		"another's":        w.NeedClaims("bob", id, opserver.NeededClaim{Name: "x"}),
		"unknown client":   w.SetClaimsRedirectURIs("nobody", comeBack),
		"unknown resource": w.NeedClaims("alice", "r", opserver.NeededClaim{Name: "x"}),
	} {
		if err == nil {
			t.Errorf("%s is accepted", name)
		}
	}
}
