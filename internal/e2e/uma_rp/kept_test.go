package uma_rp_test

import (
	"context"
	"fmt"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"testing"
	"time"

	"example.com/gatehouse"
	"example.com/gatehouse/internal/e2e/world"
)

// get returns the status of a GET, or 0 for an error.
func get(t *testing.T, c *http.Client, address string) int {
	t.Helper()
	status, _, err := world.Get(c, address)
	if err != nil {
		t.Errorf("GET %s: %v", address, err)
	}
	return status
}

// The same request gets the same answer whatever was requested before: what a
// server refuses as an upgrade is tried once more without it.
func TestUMARefusedUpgrade(t *testing.T) {
	tests := map[string]struct {
		refusal world.ScriptAnswer // of anything with an rpt
		rounds  int
		asked   []string // the rpt of each token request, from the second request on
		code    string
	}{
		"denied":                   {world.Refused(403, "request_denied"), 0, []string{"rpt1", ""}, ""},
		"Keycloak":                 {world.Refused(403, "access_denied", `"error_description":"not_authorized"`), 0, []string{"rpt1", ""}, ""},
		"Keycloak, owner asked":    {world.Refused(403, "access_denied", `"error_description":"request_submitted"`), 0, []string{"rpt1", ""}, ""},
		"a bad scope":              {world.Refused(400, "invalid_scope"), 0, []string{"rpt1", ""}, ""},
		"a bad grant":              {world.Refused(400, "invalid_grant"), 0, []string{"rpt1", ""}, ""},
		"an unknown word":          {world.Refused(400, "odd"), 0, []string{"rpt1", ""}, ""},
		"invalid_rpt":              {world.Refused(400, "invalid_rpt"), 0, []string{"rpt1", ""}, ""},
		"a token of no use":        {world.Granted(strings.Repeat("a", 16<<10+1)), 0, []string{"rpt1", ""}, ""},
		"two rounds are enough":    {world.Refused(403, "request_denied"), 2, []string{"rpt1", ""}, ""},
		"one round is not":         {world.Refused(403, "request_denied"), 1, []string{"rpt1"}, "uma_denied"},
		"the owner is asked":       {world.Refused(403, "request_submitted", `"ticket":"new-1"`), 0, []string{"rpt1"}, "-"},
		"the client is refused":    {world.Refused(401, "invalid_client"), 0, []string{"rpt1"}, "client_refused"},
		"the server is in trouble": {world.Raw(500, ""), 0, []string{"rpt1"}, "as_unavailable"},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			w := world.NewShopScript(t)
			w.Answer = func(n int, f url.Values) world.ScriptAnswer {
				if f.Has("rpt") {
					return tt.refusal
				}
				return world.Granted(fmt.Sprintf("rpt%d", n))
			}
			w.Permit = func(r *http.Request, token string) bool {
				return token != "" && (r.URL.Path == "/a" || token == "rpt3")
			}
			c := w.Client(gatehouse.UMATransportConfig{MaxRounds: tt.rounds})
			w.WantPicture(c, world.ShopScriptPhotos+"/a")
			switch tt.code {
			case "":
				w.WantPicture(c, world.ShopScriptPhotos+"/b")
			case "-":
				if _, _, err := world.Get(c, world.ShopScriptPhotos+"/b"); err == nil {
					t.Error("no error")
				}
			default:
				w.WantCode(c, world.ShopScriptPhotos+"/b", tt.code)
			}
			var offered []string
			for _, form := range w.Asked()[1:] {
				offered = append(offered, form.Get("rpt"))
			}
			if !slices.Equal(offered, tt.asked) {
				t.Errorf("offered %q, want %q", offered, tt.asked)
			}
			if tt.code == "" && name != "Keycloak, owner asked" && w.Logged("this was an upgrade of a token from before") != 1 {
				t.Errorf("the log does not say what was refused:\n%s", w.Log())
			}
		})
	}
}

// What is denied with and without a token to upgrade is denied at the second
// time of asking, and remembered.
func TestUMARefusedUpgradeStays(t *testing.T) {
	w := world.NewShopScript(t)
	c := w.Client(gatehouse.UMATransportConfig{})
	w.WantPicture(c, world.ShopScriptPhotos+"/a")
	w.Permit = func(r *http.Request, token string) bool { return token != "" && r.URL.Path == "/a" }
	w.Answer = func(int, url.Values) world.ScriptAnswer { return world.Refused(403, "request_denied") }
	w.WantCode(c, world.ShopScriptPhotos+"/b", "uma_denied")
	w.WantCode(c, world.ShopScriptPhotos+"/b", "uma_denied")
	if got := w.Asked(); len(got) != 3 || got[1].Get("rpt") != "rpt1" || got[2].Has("rpt") {
		t.Errorf("asked %v", got)
	}
	w.WantPicture(c, world.ShopScriptPhotos+"/a") // still served, without a new token
	w.WantCode(c, world.ShopScriptPhotos+"/c", "uma_denied")
	if got := w.Asked(); len(got) != 4 || got[3].Has("rpt") { // refused once is enough for a while
		t.Errorf("asked %v", got[3:])
	}
	w.Advance(5 * time.Second)
	w.WantCode(c, world.ShopScriptPhotos+"/d", "uma_denied")
	if got := w.Asked(); len(got) != 6 || got[4].Get("rpt") != "rpt1" || got[5].Has("rpt") { // then another ticket may upgrade it
		t.Errorf("asked %v", got[4:])
	}
}

// What comes of a kept token may be less than what comes of none, and does not
// count as this request's own.
func TestUMARefusedUpgradeOfAnUpgrade(t *testing.T) {
	w := world.NewShopScript(t)
	w.Permit = func(r *http.Request, token string) bool { return token == "full" || token == "a" && r.URL.Path == "/a" }
	w.Answer = func(n int, f url.Values) world.ScriptAnswer {
		switch {
		case n == 1:
			return world.Granted("a")
		case f.Get("rpt") == "a":
			return world.Granted("half")
		case f.Has("rpt"):
			return world.Refused(403, "request_denied")
		}
		return world.Granted("full")
	}
	c := w.Client(gatehouse.UMATransportConfig{})
	w.WantPicture(c, world.ShopScriptPhotos+"/a")
	w.WantPicture(c, world.ShopScriptPhotos+"/b")
	if got := w.Tokens(); !slices.Equal(got, []string{"", "a", "a", "half", "", "full"}) {
		t.Errorf("the resource server saw %q", got)
	}
}

// A code that may be about the format of the claims or about the token offered
// is first taken for the token.
func TestUMARefusedUpgradeWithClaims(t *testing.T) {
	for name, tt := range map[string]struct {
		code   string
		format bool     // the server takes no claims
		asked  []string // what went along with each token request, from the second round on
	}{
		"the token":            {"invalid_request", false, []string{"rpt claims", "claims"}},
		"both":                 {"invalid_request", true, []string{"rpt claims", "claims", ""}},
		"the format, by name":  {"invalid_claim_token_format", true, []string{"rpt claims", "rpt", ""}},
		"the token, by name":   {"invalid_rpt", false, []string{"rpt claims", "claims"}},
		"the token is invalid": {"invalid_grant", false, []string{"rpt claims", "claims"}},
	} {
		t.Run(name, func(t *testing.T) {
			w := world.NewShopScript(t)
			w.Permit = func(r *http.Request, token string) bool {
				return token != "" && (r.URL.Path == "/a" || token != "rpt1")
			}
			w.Answer = func(n int, f url.Values) world.ScriptAnswer {
				switch {
				case n > 1 && tt.format && f.Has("claim_token"):
					return world.Refused(400, tt.code)
				case f.Has("rpt"):
					return world.Refused(400, map[bool]string{true: "invalid_request", false: tt.code}[tt.format])
				case !tt.format && !f.Has("claim_token"):
					return world.Refused(403, "need_info", `"ticket":"new"`)
				}
				return world.Granted(fmt.Sprintf("rpt%d", n))
			}
			c := w.Client(world.ForBob())
			w.WantPicture(c, world.ShopScriptPhotos+"/a")
			w.WantPicture(c, world.ShopScriptPhotos+"/b")
			var asked []string
			for _, f := range w.Asked()[1:] {
				var with []string
				if f.Has("rpt") {
					with = append(with, "rpt")
				}
				if f.Has("claim_token") {
					with = append(with, "claims")
				}
				asked = append(asked, strings.Join(with, " "))
			}
			if !slices.Equal(asked, tt.asked) {
				t.Errorf("asked with %q, want %q", asked, tt.asked)
			}
		})
	}
}

// A kept token is offered below 3,500 bytes, and a server that finds a header
// too long makes us drop it.
func TestUMALongToken(t *testing.T) {
	long := func(n int) string { return strings.Repeat("a", n) }
	for size, offered := range map[int]bool{3499: true, 3500: false, 8000: false} {
		w := world.NewShopScript(t)
		w.Answer = func(n int, _ url.Values) world.ScriptAnswer {
			return world.Granted(map[int]string{1: long(size), 2: "rpt2"}[n])
		}
		w.Permit = func(r *http.Request, token string) bool {
			return token != "" && (r.URL.Path == "/a" || token == "rpt2")
		}
		c := w.Client(gatehouse.UMATransportConfig{})
		w.WantPicture(c, world.ShopScriptPhotos+"/a")
		w.WantPicture(c, world.ShopScriptPhotos+"/a") // it is used all the same
		w.WantPicture(c, world.ShopScriptPhotos+"/b")
		if got := w.Asked(); len(got) != 2 || got[1].Has("rpt") != offered {
			t.Errorf("%d bytes: %d token requests, offered: %v", size, len(got), got[len(got)-1].Has("rpt"))
		}
	}

	for name, tt := range map[string]struct {
		status, size int
		dropped      bool
	}{
		"431":            {431, 20, true},
		"400, long":      {400, 3501, true},
		"400, just fits": {400, 3500, false},
		"413":            {413, 8000, false},
	} {
		t.Run(name, func(t *testing.T) {
			w := world.NewShopScript(t)
			w.Answer = func(n int, _ url.Values) world.ScriptAnswer {
				return world.Granted(map[int]string{1: long(tt.size), 2: "rpt2"}[n])
			}
			c := w.Client(gatehouse.UMATransportConfig{})
			w.WantPicture(c, world.ShopScriptPhotos)
			w.ServePhotos(func(rw http.ResponseWriter, r *http.Request) { rw.WriteHeader(tt.status) })
			if got := get(t, c, world.ShopScriptPhotos); got != tt.status {
				t.Errorf("status %d", got)
			}
			w.ServePhotos(w.ServeResource)
			w.WantPicture(c, world.ShopScriptPhotos)
			if dropped := len(w.Asked()) == 2; dropped != tt.dropped {
				t.Errorf("%d token requests", len(w.Asked()))
			}
			if tt.dropped && w.Asked()[1].Has("rpt") {
				t.Error("a dropped token was offered")
			}
		})
	}
}

// albums is a resource server at which each token opens one album, and tokens
// are not upgraded.
func albums(t *testing.T) (*world.ShopScript, *http.Client, func(path string) []string) {
	w := world.NewShopScript(t)
	opens := map[string]string{} // token → path
	last := ""
	w.Permit = func(r *http.Request, token string) bool {
		album := "/" + strings.Split(r.URL.Path, "/")[1]
		last = album
		return opens[token] == album
	}
	w.Answer = func(n int, _ url.Values) world.ScriptAnswer {
		token := fmt.Sprintf("t%d", n)
		opens[token] = last
		return world.Granted(token)
	}
	c := w.Client(gatehouse.UMATransportConfig{})
	return w, c, func(path string) []string {
		t.Helper()
		before := len(w.Tokens())
		w.WantPicture(c, world.ShopScriptPhotos+path)
		return w.Tokens()[before:]
	}
}

// A request takes the token that last served its path or the longest prefix of
// it, and else the newest. Tokens are never tried in turn.
func TestUMAChoiceOfTokens(t *testing.T) {
	_, _, tokens := albums(t)
	for _, step := range []struct {
		path string
		want []string
	}{
		{"/1", []string{"", "t1"}},
		{"/2", []string{"t1", "t2"}},
		{"/1", []string{"t1"}},
		{"/1/photos/7", []string{"t1"}},   // the longest prefix
		{"/10", []string{"t2", "t3"}},     // not a prefix: the newest
		{"/2?size=large", []string{"t2"}}, // the query does not count
		{"/3/photos/1", []string{"t3", "t4"}},
		{"/3/photos/2", []string{"t4"}}, // the newest
		{"/1/photos/8", []string{"t1"}},
		{"/4", []string{"t4", "t5"}}, // the fifth: the oldest goes
		{"/2", []string{"t2"}},
		{"/1", []string{"t5", "t6"}}, // one try with the newest, not with each
	} {
		if got := tokens(step.path); !slices.Equal(got, step.want) {
			t.Errorf("%s: tokens %q, want %q", step.path, got, step.want)
		}
	}
}

// A denial elsewhere, or of another method, does not take the newest token from
// a third path.
func TestUMANewestTokenAfterADenial(t *testing.T) {
	for _, denied := range []struct{ method, path string }{{"GET", "/b"}, {"DELETE", "/a"}, {"HEAD", "/a/photos/7"}} {
		w := world.NewShopScript(t)
		w.Permit = func(r *http.Request, token string) bool {
			return token != "" && (r.Method != denied.method || r.URL.Path != denied.path)
		}
		c := w.Client(gatehouse.UMATransportConfig{})
		w.WantPicture(c, world.ShopScriptPhotos+"/a")
		w.Answer = func(int, url.Values) world.ScriptAnswer { return world.Refused(403, "request_denied") }
		r, err := http.NewRequest(denied.method, world.ShopScriptPhotos+denied.path, nil)
		w.Must(err)
		if resp, err := c.Do(r); gatehouse.ErrorCode(err) != "uma_denied" {
			t.Errorf("%s %s: %v, %v", denied.method, denied.path, resp, err)
		}
		before := len(w.Tokens())
		w.WantPicture(c, world.ShopScriptPhotos+"/c")
		if got := w.Tokens()[before:]; !slices.Equal(got, []string{"rpt1"}) {
			t.Errorf("after %s %s: tokens %q", denied.method, denied.path, got)
		}
	}
}

// A person who is signed in and the same person known from a requesting party
// token have no token in common.
func TestUMASessionAndTokenApart(t *testing.T) {
	w := world.NewShopScript(t)
	shop := w.Shop(w.Told(false), gatehouse.UMATransportConfig{Claims: world.ForBob().Claims})
	send := func(via gatehouse.Via) {
		ctx := gatehouse.WithIdentity(context.Background(), &gatehouse.Identity{Issuer: world.ShopScriptIssuer, Subject: "bob", Via: via})
		r, err := http.NewRequestWithContext(ctx, "GET", world.ShopScriptPhotos, nil)
		w.Must(err)
		resp, err := shop.RoundTrip(r)
		w.Must(err)
		resp.Body.Close()
	}
	for range 2 {
		send(gatehouse.ViaSession)
		send(gatehouse.ViaUMA)
	}
	if got := w.Tokens(); !slices.Equal(got, []string{"", "rpt1", "", "rpt2", "rpt1", "rpt2"}) {
		t.Errorf("the resource server saw %q", got)
	}
	shop.ForgetIdentity(t.Context(), &gatehouse.Identity{Issuer: world.ShopScriptIssuer, Subject: "bob", Via: gatehouse.ViaSession})
	before := len(w.Tokens())
	send(gatehouse.ViaUMA)
	send(gatehouse.ViaSession)
	if got := w.Tokens()[before:]; !slices.Equal(got, []string{"rpt2", "", "rpt3"}) {
		t.Errorf("after a sign-out: %q", got)
	}
}
