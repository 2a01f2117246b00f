package uma_rp_test

import (
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"testing"
	"time"

	"example.com/gatehouse"
	"example.com/gatehouse/internal/e2e/world"
)

// UMA Grant §3.3: challenge, ticket, token, repeat.
func TestUC1_TicketBecomesPermission(t *testing.T) {
	w := world.NewShopScript(t, "https://other.example.org", "https://photos.example.org:8443", "http://photos.example.org")
	c := w.Client(gatehouse.UMATransportConfig{Scopes: []string{"view", "print"}})

	resp, err := c.Get(world.ShopScriptPhotos + "/albums/7")
	if err != nil {
		t.Fatal(err)
	}
	resp.Body.Close()
	if resp.StatusCode != 200 || len(resp.Request.Header["Authorization"]) != 0 {
		t.Errorf("status %d; the response shows %q", resp.StatusCode, resp.Request.Header)
	}
	if got := w.Tokens(); !slices.Equal(got, []string{"", "rpt1"}) {
		t.Errorf("the resource server saw the tokens %q", got)
	}
	want := url.Values{"grant_type": {"urn:ietf:params:oauth:grant-type:uma-ticket"}, "ticket": {"ticket-1"}, "scope": {"view print"}}
	if got := w.Asked(); len(got) != 1 || got[0].Encode() != want.Encode() {
		t.Errorf("the token endpoint was asked %v", got)
	}

	w.WantPicture(c, world.ShopScriptPhotos+"/albums/8") // warm: only the resource server is asked
	if got := w.Tokens(); len(got) != 3 || got[2] != "rpt1" || len(w.Asked()) != 1 {
		t.Errorf("warm: tokens %q, %d token requests", got, len(w.Asked()))
	}
	for _, other := range []string{"https://other.example.org", "http://photos.example.org", "https://photos.example.org:8443"} {
		w.Permit = func(_ *http.Request, token string) bool { return true }
		w.WantPicture(c, other+"/albums/7")
		if got := w.Tokens(); got[len(got)-1] != "" {
			t.Errorf("%s was sent the token %q", other, got[len(got)-1])
		}
	}
	w.Permit = func(_ *http.Request, token string) bool { return token == "rpt1" }
	w.Serve("https://PHOTOS.example.org:443", http.HandlerFunc(w.ServeResource))
	w.WantPicture(c, "https://PHOTOS.example.org:443/albums/7") // the same origin, written otherwise
	if got := w.EventsOf(gatehouse.EventRPT); !slices.Equal(got, []string{""}) {
		t.Errorf("grant events %q", got)
	}
	w.WantNoSecret(nil)
}

func TestUMACallerAuthorizationPasses(t *testing.T) {
	for _, name := range []string{"Authorization", "authorization"} {
		w := world.NewShopScript(t)
		w.Permit = func(*http.Request, string) bool { return false }
		r, _ := http.NewRequest("GET", world.ShopScriptPhotos+"/a", nil)
		r.Header[name] = []string{"Bearer mine"}
		resp, err := w.Client(gatehouse.UMATransportConfig{}).Do(r)
		if err != nil {
			t.Fatal(err)
		}
		body, _ := io.ReadAll(resp.Body)
		resp.Body.Close()
		if resp.StatusCode != 401 || string(body) != "challenge" || len(w.Asked()) != 0 || r.Header[name][0] != "Bearer mine" {
			t.Errorf("%s: %d %q, %d token requests", name, resp.StatusCode, body, len(w.Asked()))
		}
	}
}

// A challenge is refused if its answer could carry a token in the clear.
func TestUMAInsecureOrigin(t *testing.T) {
	w := world.NewShopScript(t, "http://127.0.0.1:8080", "http://localhost:8080", "http://photos.example.org")
	c := w.Client(gatehouse.UMATransportConfig{})
	w.WantCode(c, "http://photos.example.org/a", "insecure_origin")
	if !strings.Contains(w.Log(), "http://photos.example.org is not reached over https") {
		t.Errorf("the log does not name the scheme: %s", w.Log())
	}
	if len(w.Asked()) != 0 {
		t.Error("a ticket was turned in")
	}
	w.WantPicture(c, "http://127.0.0.1:8080/a")
	w.WantPicture(c, "http://localhost:8080/a")
}

// What net/http allows in a request that was not made by NewRequest.
func TestUMABareRequest(t *testing.T) {
	w := world.NewShopScript(t)
	tr := w.Shop(w.Told(false), gatehouse.UMATransportConfig{})
	for _, host := range []string{"", "photos.example.org", "PHOTOS.example.org", "photos.example.org", "tenant.example.org"} {
		r := &http.Request{URL: &url.URL{Scheme: "https", Host: "photos.example.org", Path: "/a"}, Host: host}
		if host == "tenant.example.org" {
			w.Permit = func(_ *http.Request, token string) bool {
				if token != "" {
					t.Errorf("another host at the same address was sent %q", token)
				}
				return true
			}
		}
		resp, err := tr.RoundTrip(r)
		if err != nil || resp.StatusCode != 200 || r.Header != nil {
			t.Errorf("Host %q: %v", host, err)
		}
	}
	if len(w.Asked()) != 1 {
		t.Errorf("%d token requests", len(w.Asked()))
	}
	if _, err := tr.RoundTrip(&http.Request{}); err == nil {
		t.Error("a request to nowhere succeeded")
	}
}

func TestUC10_TokenDroppedOn401(t *testing.T) {
	w := world.NewShopScript(t)
	c := w.Client(gatehouse.UMATransportConfig{})
	w.WantPicture(c, world.ShopScriptPhotos+"/a")
	photos := http.HandlerFunc(w.ServeResource)

	// Without a UMA challenge the 401 is returned, and the token is not used
	// again.
	w.ServePhotos(func(rw http.ResponseWriter, r *http.Request) {
		rw.Header().Set("WWW-Authenticate", `Bearer error="invalid_token"`)
		rw.WriteHeader(401)
	})
	if status, _, err := world.Get(c, world.ShopScriptPhotos+"/a"); status != 401 || err != nil || len(w.Asked()) != 1 {
		t.Fatalf("%d %v, %d token requests", status, err, len(w.Asked()))
	}
	w.ServePhotos(photos)
	w.WantPicture(c, world.ShopScriptPhotos+"/a")
	if got := w.Asked(); len(got) != 2 || got[1].Has("rpt") {
		t.Errorf("asked %v", got)
	}

	// A token that was challenged and then denied is not sent again either.
	w.Permit = func(*http.Request, string) bool { return false }
	w.Answer = func(int, url.Values) world.ScriptAnswer { return world.Refused(403, "access_denied") }
	w.WantCode(c, world.ShopScriptPhotos+"/a", "uma_denied")
	before := len(w.Tokens())
	w.WantCode(c, world.ShopScriptPhotos+"/b", "uma_denied")
	if got := w.Tokens()[before:]; !slices.Equal(got, []string{""}) {
		t.Errorf("the resource server saw %q after the 401", got)
	}
}

func TestUMATokenExpires(t *testing.T) {
	w := world.NewShopScript(t)
	c := w.Client(gatehouse.UMATransportConfig{})
	w.WantPicture(c, world.ShopScriptPhotos)
	w.Advance(300*time.Second - 1)
	w.WantPicture(c, world.ShopScriptPhotos)
	if len(w.Asked()) != 1 {
		t.Fatal("exchanged before the token expired")
	}
	w.Answer = func(n int, _ url.Values) world.ScriptAnswer { return world.Granted(fmt.Sprintf("rpt%d", n)) } // no expires_in (J9)
	w.Advance(1)
	w.WantPicture(c, world.ShopScriptPhotos)
	got := w.Asked()
	if len(got) != 2 || got[1].Has("rpt") { // an expired one is not offered
		t.Fatalf("asked %v", got)
	}
	w.Advance(1000 * time.Hour)
	w.WantPicture(c, world.ShopScriptPhotos)
	if got := w.Tokens(); len(w.Asked()) != 2 || !slices.Equal(got[2:], []string{"rpt1", "", "rpt2", "rpt2"}[:len(got)-2]) {
		t.Errorf("tokens %q, %d token requests", got, len(w.Asked()))
	}
}

func TestUMATransportConfig(t *testing.T) {
	w := world.NewShopScript(t)
	p := w.Told(false)
	client := gatehouse.Client{ID: "printshop"}
	for want, c := range map[string]gatehouse.UMATransportConfig{
		"Client.ID: empty":              {},
		"MaxRounds: negative":           {Client: client, MaxRounds: -1},
		"ClaimsWhenAsked: there are no": {Client: client, ClaimsWhenAsked: true},
		`Scopes: "a b" is not one`:      {Client: client, Scopes: []string{"a b"}},
		`Scopes: "" is not one`:         {Client: client, Scopes: []string{""}},
		"Login: the RelyingParty was":   {Client: client, Login: new(gatehouse.RelyingParty)},
		"it has a wildcard":             {Client: client, ClaimsOrigins: []string{"https://*.example.org"}},
		"it has more than scheme":       {Client: client, ClaimsOrigins: []string{"https://ask.example.org/ask"}},
	} {
		if tr, err := gatehouse.NewUMATransport(p, c); tr != nil || err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: %v", want, err)
		}
	}
	if _, err := gatehouse.NewUMATransport(nil, gatehouse.UMATransportConfig{MaxRounds: -1}); err == nil ||
		!strings.Contains(err.Error(), "provider: nil") || !strings.Contains(err.Error(), "MaxRounds") {
		t.Errorf("not all problems at once: %v", err)
	}
}

// Errors can be found through http.Client's *url.Error.
func TestUMAErrorsAs(t *testing.T) {
	w := world.NewShopScript(t)
	w.Answer = func(int, url.Values) world.ScriptAnswer { return world.Refused(403, "request_denied") }
	_, _, err := world.Get(w.Client(gatehouse.UMATransportConfig{}), world.ShopScriptPhotos)
	var e *gatehouse.Error
	if !errors.As(err, &e) || e.Code != "uma_denied" || e.Status != 403 || e.Message == "" {
		t.Errorf("%v", err)
	}
	if !errors.As(err, new(*url.Error)) {
		t.Errorf("http.Client gave %T", err)
	}
}
