package uma_rp_test

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"example.com/gatehouse"
	"example.com/gatehouse/internal/e2e/world"
)

// asks is a caller that is no http.Client. It has a challenge of ticket n.
func asks(n int) gatehouse.RPTRequest {
	return gatehouse.RPTRequest{URL: world.ShopScriptPhotos + "/albums/7", ASURI: world.ShopScriptIssuer, Ticket: gatehouse.NewSecret(fmt.Sprintf("ticket-%d", n))}
}

// wantRPT compares what RPT returned.
func wantRPT(t testing.TB, got gatehouse.Secret, err error, token, code string) {
	t.Helper()
	if got.Reveal() != token || gatehouse.ErrorCode(err) != code {
		t.Errorf("got %q, %v; want %q, code %q", got.Reveal(), err, token, code)
	}
}

// A caller without an http.Client gets the token as a value: the one that is kept,
// or for its ticket, or a new one if it insists. A transport and it use the same
// memory.
func TestRPT(t *testing.T) {
	w := world.NewShopScript(t)
	tr := w.Shop(w.Told(false), world.ForBob())
	ctx := t.Context()
	bare := gatehouse.RPTRequest{URL: world.ShopScriptPhotos + "/albums/7"}
	got, err := tr.RPT(ctx, bare)
	wantRPT(t, got, err, "", gatehouse.CodeRPTTicketRequired)
	if len(w.Asked()) != 0 {
		t.Error("something was asked without a ticket")
	}
	got, err = tr.RPT(ctx, asks(1))
	wantRPT(t, got, err, "rpt1", "")
	if form := w.Asked()[0]; form.Get("ticket") != "ticket-1" || form.Get("claim_token") != world.ShopScriptIDToken || form.Has("rpt") {
		t.Errorf("asked with %v", form)
	}
	for _, again := range []gatehouse.RPTRequest{bare, asks(2)} { // the ticket stays unused
		got, err = tr.RPT(ctx, again)
		wantRPT(t, got, err, "rpt1", "")
	}
	w.WantPicture(&http.Client{Transport: tr}, world.ShopScriptPhotos+"/albums/7")
	if got := w.Tokens(); !slices.Equal(got, []string{"rpt1"}) {
		t.Errorf("the transport sent %q", got)
	}
	force := asks(2)
	force.ForceNew = true
	got, err = tr.RPT(ctx, force)
	wantRPT(t, got, err, "rpt2", "")
	if form := w.Asked()[1]; form.Has("rpt") {
		t.Errorf("a new token was asked for with %v", form)
	}
	refused := asks(3)
	refused.Refused = gatehouse.NewSecret("rpt2")
	got, err = tr.RPT(ctx, refused)
	wantRPT(t, got, err, "rpt3", "")
	if form := w.Asked()[2]; form.Get("rpt") != "rpt2" {
		t.Errorf("an upgrade was asked for with %v", form)
	}
	got, err = tr.RPT(ctx, bare)
	wantRPT(t, got, err, "rpt3", "")
	other := bare
	other.URL = "https://other.example.org/albums/7" // of another origin none is kept
	got, err = tr.RPT(ctx, other)
	wantRPT(t, got, err, "", gatehouse.CodeRPTTicketRequired)
	w.Advance(5 * time.Minute) // expires_in
	got, err = tr.RPT(ctx, bare)
	wantRPT(t, got, err, "", gatehouse.CodeRPTTicketRequired)
	if codes := w.EventsOf(gatehouse.EventRPT); !slices.Equal(codes, []string{"", "", ""}) {
		t.Errorf("events %q", codes)
	}
	w.WantNoSecret(nil)
}

// What the transport refuses is refused here, before anything is sent.
func TestRPTRefused(t *testing.T) {
	w := world.NewShopScript(t)
	tr := w.Shop(w.Told(false), world.ForBob())
	for code, change := range map[string]func(r *gatehouse.RPTRequest){
		"untrusted_as":    func(r *gatehouse.RPTRequest) { r.ASURI += "/" },
		"insecure_origin": func(r *gatehouse.RPTRequest) { r.URL = "http://photos.example.org/albums/7" },
		"internal":        func(r *gatehouse.RPTRequest) { r.URL = "/albums/7" },
	} {
		r := asks(1)
		change(&r)
		got, err := tr.RPT(t.Context(), r)
		wantRPT(t, got, err, "", code)
		w.WantNoSecret(err)
	}
	for code, lines := range map[string][]string{
		"untrusted_as":                  {`UMA realm="x", as_uri="https://evil.example", ticket="ticket-1"`},
		"ambiguous_challenge":           {`UMA as_uri="` + world.ShopScriptIssuer + `", ticket="ticket-1"`, `UMA as_uri="https://evil.example", ticket="ticket-2"`},
		gatehouse.CodeRPTTicketRequired: {`Bearer realm="x"`},
	} {
		r := asks(1)
		r.Challenge = lines
		got, err := tr.RPT(t.Context(), r)
		wantRPT(t, got, err, "", code)
		w.WantNoSecret(err)
	}
	noASURI := asks(1)
	noASURI.ASURI = ""
	got, err := tr.RPT(t.Context(), noASURI)
	wantRPT(t, got, err, "", "untrusted_as")
	if len(w.Asked()) != 0 {
		t.Error("something was sent")
	}
	nobody := w.Shop(w.Told(false), gatehouse.UMATransportConfig{Claims: world.ForBob().Claims})
	got, err = nobody.RPT(t.Context(), asks(1))
	wantRPT(t, got, err, "", "uma_party_missing")
	var zero *gatehouse.UMATransport
	got, err = zero.RPT(t.Context(), asks(1))
	wantRPT(t, got, err, "", "internal")
}

// Answers of the authorization server are those that the transport returns, and a
// denial is remembered for five seconds.
func TestRPTAnswers(t *testing.T) {
	w := world.NewShopScript(t)
	w.Answer = func(n int, _ url.Values) world.ScriptAnswer {
		switch n {
		case 1:
			return world.Refused(403, "request_denied")
		case 2:
			return world.Refused(403, "need_info", `"ticket":"ticket-new"`, `"redirect_user":"https://as.example.org/claims"`)
		case 3:
			return world.Refused(403, "request_submitted", `"ticket":"ticket-later"`, `"interval":5`)
		}
		return world.Refused(400, "invalid_grant")
	}
	tr := w.Shop(w.Told(false), world.ForBob())
	got, err := tr.RPT(t.Context(), asks(1))
	wantRPT(t, got, err, "", gatehouse.CodeUMADenied)
	got, err = tr.RPT(t.Context(), asks(2)) // remembered
	wantRPT(t, got, err, "", gatehouse.CodeUMADenied)
	if len(w.Asked()) != 1 {
		t.Errorf("%d token requests", len(w.Asked()))
	}
	w.Advance(6 * time.Second)
	_, err = tr.RPT(t.Context(), asks(3))
	var need *gatehouse.NeedInfoError
	if !errors.As(err, &need) || need.Ticket.Reveal() != "ticket-new" {
		t.Errorf("%v", err)
	}
	_, err = tr.RPT(t.Context(), asks(4))
	var submitted *gatehouse.SubmittedError
	if !errors.As(err, &submitted) || submitted.Interval != 5*time.Second {
		t.Errorf("%v", err)
	}
	got, err = tr.RPT(t.Context(), asks(5))
	wantRPT(t, got, err, "", "ticket_refused")
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := tr.RPT(ctx, asks(6)); !errors.Is(err, context.Canceled) {
		t.Errorf("cancelled: %v", err)
	}
}

// Tokens of one party are not those of another. Calls for one request share an
// exchange, and calls for several do not take each other's.
func TestRPTTogether(t *testing.T) {
	type party struct{}
	w := world.NewShopScript(t)
	tr := w.Shop(w.Told(false), gatehouse.UMATransportConfig{Party: func(ctx context.Context) string { who, _ := ctx.Value(party{}).(string); return who }})
	bob, eve := context.WithValue(t.Context(), party{}, "bob"), context.WithValue(t.Context(), party{}, "eve")
	if _, err := tr.RPT(bob, asks(1)); err != nil {
		t.Fatal(err)
	}
	got, err := tr.RPT(eve, gatehouse.RPTRequest{URL: world.ShopScriptPhotos + "/albums/7"})
	wantRPT(t, got, err, "", gatehouse.CodeRPTTicketRequired)
	tr.Forget(bob, "bob")
	got, err = tr.RPT(bob, gatehouse.RPTRequest{URL: world.ShopScriptPhotos + "/albums/7"})
	wantRPT(t, got, err, "", gatehouse.CodeRPTTicketRequired)

	w.Answer = func(_ int, form url.Values) world.ScriptAnswer {
		return world.Granted("of-" + strings.TrimPrefix(form.Get("ticket"), "ticket-"))
	}
	var mu sync.Mutex
	seen := map[string]bool{}
	atOnce(16, func(i int) {
		r := asks(100 + i)
		r.URL = fmt.Sprint(world.ShopScriptPhotos, "/albums/", i)
		r.ForceNew = true
		token, err := tr.RPT(eve, r)
		if err != nil || token.Reveal() != fmt.Sprint("of-", 100+i) {
			t.Errorf("%d: %q, %v", i, token.Reveal(), err)
		}
		mu.Lock()
		defer mu.Unlock()
		seen[token.Reveal()] = true
	})
	if len(seen) != 16 {
		t.Errorf("%d tokens", len(seen))
	}
	w.Must(tr.Shutdown(t.Context()))
}
