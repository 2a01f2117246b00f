package gatehouse_test

import (
	"context"
	"fmt"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"sync"
	"testing"

	"example.com/gatehouse"
	"example.com/gatehouse/internal/testkit/opserver"
)

// twoServers are two authorization servers with the same people, clients,
// secrets and signing keys, which give the same ids to their resources: only the
// issuer tells one from the other.
func twoServers(t *testing.T, o opserver.RPTOptions) (a, b *rsWorld) {
	t.Helper()
	var worlds [2]*rsWorld
	for i := range worlds {
		n := 0
		worlds[i] = newRSWorld(t)
		worlds[i].SetResourceIDs(func() string { n++; return fmt.Sprint("r-", n) })
		worlds[i].SetRPT(o)
	}
	return worlds[0], worlds[1]
}

// TestUR14_RPTOfAnotherServer: a token that opens the same resource, by id, at
// another authorization server opens nothing here, though both names, the client
// and even the keys are the same.
func TestUR14_RPTOfAnotherServer(t *testing.T) {
	for name, o := range map[string]opserver.RPTOptions{"opaque": {}, "JWT": {JWT: true}} {
		t.Run(name, func(t *testing.T) {
			a, b := twoServers(t, o)
			ids := &idStore{}
			hA := photos(a.resourceServer(gatehouse.ResourceServerConfig{ResourceIDs: ids}).UMAProtect(albumRules()))
			hB := photos(b.resourceServer(gatehouse.ResourceServerConfig{ResourceIDs: ids}).UMAProtect(albumRules()))
			ofA, ofB := a.rpt(hA, "GET", "/albums/", "photoz", "view"), b.rpt(hB, "GET", "/albums/", "photoz", "view")
			if idA, idB := a.Resources("photoz")[0].ID, b.Resources("photoz")[0].ID; idA != idB {
				t.Fatalf("the ids are %s and %s: that proves nothing", idA, idB)
			}
			for _, c := range []struct {
				name  string
				w     *rsWorld
				h     http.Handler
				token string
				open  bool
			}{
				{"B's at A", a, hA, ofB, false}, {"A's at B", b, hB, ofA, false},
				{"A's at A", a, hA, ofA, true}, {"B's at B", b, hB, ofB, true},
				{"B's at A again", a, hA, ofB, false},
			} {
				answer := send(c.h, "GET", "/albums/", c.token)
				if c.open {
					if !served(answer) {
						t.Errorf("%s: %d %s", c.name, answer.Code, answer.Body)
					}
					continue
				}
				c.w.wantTicket(answer) // of the right issuer
			}
			a.stop() // who is right does not depend on the other
			if answer := send(hB, "GET", "/albums/", ofB); !served(answer) {
				t.Errorf("B's at B without A: %d", answer.Code)
			}
		})
	}
}

// TestUMATwoIssuersOneStore: ids are kept by issuer: what one server forgets is
// registered again there and nowhere else.
func TestUMATwoIssuersOneStore(t *testing.T) {
	a, b := twoServers(t, opserver.RPTOptions{})
	ids := &idStore{}
	hA := photos(a.resourceServer(gatehouse.ResourceServerConfig{ResourceIDs: ids}).UMAProtect(albumRules()))
	hB := photos(b.resourceServer(gatehouse.ResourceServerConfig{ResourceIDs: ids}).UMAProtect(albumRules()))
	a.wantTicket(send(hA, "GET", "/albums/", ""))
	b.wantTicket(send(hB, "GET", "/albums/", ""))
	a.ForgetResource("r-1")
	a.reset()
	b.reset()
	a.wantTicket(send(hA, "GET", "/albums/", ""))
	b.wantTicket(send(hB, "GET", "/albums/", ""))
	if a.made("POST") != 1 || b.made("POST") != 0 || b.total() != 1 {
		t.Errorf("%d registrations at A, %d at B, which had %d requests", a.made("POST"), b.made("POST"), b.total())
	}
}

// shopAt is the print shop as a client of one server, for bob. wire notes which
// token each origin has seen.
func shopAt(t *testing.T, w *rsWorld, base http.RoundTripper) *gatehouse.UMATransport {
	t.Helper()
	tr, err := gatehouse.NewUMATransport(w.provider, gatehouse.UMATransportConfig{
		Client: gatehouse.Client{ID: "printshop", Secret: gatehouse.NewSecret("shop-secret")}, Base: base,
		Party: func(context.Context) string { return "bob" },
		Claims: func(context.Context) (gatehouse.ClaimToken, error) {
			token, err := w.IDToken("bob", "printshop")
			return gatehouse.ClaimToken{Token: gatehouse.NewSecret(token)}, err
		},
	})
	w.must(err)
	t.Cleanup(func() { w.must(tr.Shutdown(context.Background())) })
	return tr
}

// tokensSeen is a wire that notes the bearer tokens by host.
type tokensSeen struct {
	mu     sync.Mutex
	tokens map[string][]string
}

func (s *tokensSeen) RoundTrip(r *http.Request) (*http.Response, error) {
	s.mu.Lock()
	if s.tokens == nil {
		s.tokens = map[string][]string{}
	}
	s.tokens[r.URL.Host] = append(s.tokens[r.URL.Host], strings.TrimPrefix(r.Header.Get("Authorization"), "Bearer "))
	s.mu.Unlock()
	return http.DefaultTransport.RoundTrip(r)
}

// TestUMATwoTrustedIssuers: a client of two servers keeps their tokens apart, each
// for its own origin, also where a party is called the same at both.
func TestUMATwoTrustedIssuers(t *testing.T) {
	a, b := twoServers(t, opserver.RPTOptions{})
	var sites [2]*httptest.Server
	seen := &tokensSeen{}
	var shops [2]*http.Client
	var transports [2]*gatehouse.UMATransport
	for i, w := range []*rsWorld{a, b} {
		h := photos(w.resourceServer(gatehouse.ResourceServerConfig{}).UMAProtect(albumRules()))
		sites[i] = httptest.NewServer(h)
		t.Cleanup(sites[i].Close)
		w.rpt(h, "GET", "/albums/", "photoz", "view") // shares with bob
		transports[i] = shopAt(t, w, seen)
		shops[i] = &http.Client{Transport: transports[i]}
	}
	for range 2 {
		for i, shop := range shops {
			if status, body, err := umaGet(shop, sites[i].URL+"/albums/"); status != 200 || err != nil {
				t.Fatalf("site %d: %d %s %v", i, status, body, err)
			}
		}
	}
	hostA, hostB := strings.TrimPrefix(sites[0].URL, "http://"), strings.TrimPrefix(sites[1].URL, "http://")
	for _, token := range seen.tokens[hostA] {
		if token != "" && slices.Contains(seen.tokens[hostB], token) {
			t.Error("a token went to both origins")
		}
	}
	if n, m := len(seen.tokens[hostA]), len(seen.tokens[hostB]); n != 3 || m != 3 { // challenged, served, served
		t.Errorf("%d and %d requests", n, m)
	}

	// Forgetting bob at one leaves him at the other.
	transports[0].Forget(t.Context(), "bob")
	a.reset()
	b.reset()
	for i, shop := range shops {
		if status, _, err := umaGet(shop, sites[i].URL+"/albums/"); status != 200 || err != nil {
			t.Errorf("site %d: %d %v", i, status, err)
		}
	}
	if a.CountToken(umaGrantType) == 0 || b.total() != 0 {
		t.Errorf("%d exchanges at A, %d requests at B", a.CountToken(umaGrantType), b.total())
	}
}

// TestUMAOtherTrustedIssuer: an origin that names the issuer of the application's
// other transport gets nothing from this one: not a packet, no secret, and not
// the token that another path of the origin was given.
func TestUMAOtherTrustedIssuer(t *testing.T) {
	a, b := twoServers(t, opserver.RPTOptions{})
	hA := photos(a.resourceServer(gatehouse.ResourceServerConfig{}).UMAProtect(albumRules()))
	a.rpt(hA, "GET", "/albums/", "photoz", "view")
	hB := photos(b.resourceServer(gatehouse.ResourceServerConfig{}).UMAProtect(albumRules()))
	b.rpt(hB, "GET", "/albums/", "photoz", "view")
	mux := http.NewServeMux()
	mux.Handle("/albums/", hA)
	mux.Handle("/b/", http.StripPrefix("/b", hB))
	site := httptest.NewServer(mux)
	t.Cleanup(site.Close)
	seen := &tokensSeen{}
	shop := &http.Client{Transport: shopAt(t, a, seen)}
	if status, _, err := umaGet(shop, site.URL+"/albums/"); status != 200 || err != nil {
		t.Fatalf("A: %d %v", status, err)
	}
	a.reset()
	b.reset()
	_, _, err := umaGet(shop, site.URL+"/b/albums/")
	if gatehouse.ErrorCode(err) != "untrusted_as" || !strings.Contains(fmt.Sprint(err), b.addr) {
		t.Errorf("%v, want untrusted_as that names %s", err, b.addr)
	}
	if a.total() != 0 || b.CountToken(umaGrantType) != 0 {
		t.Errorf("%d requests at A, %d exchanges at B, want none", a.total(), b.CountToken(umaGrantType))
	}
	// The application asks B's transport, at the same origin.
	if status, _, err := umaGet(&http.Client{Transport: shopAt(t, b, seen)}, site.URL+"/b/albums/"); status != 200 || err != nil {
		t.Errorf("B: %d %v", status, err)
	}
	a.wantNoSecrets([]string{fmt.Sprint(err)}, "shop-secret")
}
