package uma_rp_test

import (
	"fmt"
	"net/http"
	"net/url"
	"slices"
	"testing"

	"example.com/gatehouse"
	"example.com/gatehouse/internal/e2e/world"
)

// A token that is too weak is offered for an upgrade (UMA Grant §3.3.5).
func TestUMAUpgrade(t *testing.T) {
	for name, upgraded := range map[string]string{"new token": "rpt2", "same token (Gluu)": "rpt1"} {
		t.Run(name, func(t *testing.T) {
			w := world.NewShopScript(t)
			w.Answer = func(n int, form url.Values) world.ScriptAnswer {
				if n == 1 {
					return world.Granted("rpt1")
				}
				return world.Granted(upgraded, `"upgraded":true`)
			}
			w.Permit = func(r *http.Request, token string) bool {
				return token != "" && (r.Method == "GET" || token == upgraded && len(w.Asked()) > 1)
			}
			c := w.Client(gatehouse.UMATransportConfig{})
			w.WantPicture(c, world.ShopScriptPhotos)
			r, _ := http.NewRequest("DELETE", world.ShopScriptPhotos, nil)
			resp, err := c.Do(r)
			if err != nil || resp.StatusCode != 200 {
				t.Fatalf("DELETE: %v", err)
			}
			w.WantPicture(c, world.ShopScriptPhotos)
			if got := w.Asked(); len(got) != 2 || got[0].Has("rpt") || got[1].Get("rpt") != "rpt1" {
				t.Errorf("asked %v", got)
			}
			if got := w.Tokens(); !slices.Equal(got, []string{"", "rpt1", "rpt1", upgraded, upgraded}) {
				t.Errorf("the resource server saw %q", got)
			}
		})
	}
}

// Grant §3.3.5: without upgraded, the new token is not assumed to hold what the
// old one held. Both are kept, and each request takes the one that served its
// path.
func TestUMAWithoutUpgrade(t *testing.T) {
	for _, member := range []string{"", `"upgraded":false`, `"upgraded":"true"`, `"upgraded":1`} {
		t.Run(member, func(t *testing.T) {
			w := world.NewShopScript(t)
			w.Answer = func(n int, _ url.Values) world.ScriptAnswer {
				more := []string{`"expires_in":300`}
				if member != "" {
					more = append(more, member)
				}
				return world.Granted(fmt.Sprintf("rpt%d", n), more...)
			}
			w.Permit = func(r *http.Request, token string) bool {
				return r.URL.Path == "/a" && token == "rpt1" || r.URL.Path == "/b" && token == "rpt2"
			}
			c := w.Client(gatehouse.UMATransportConfig{})
			for _, path := range []string{"/a", "/b", "/a"} {
				w.WantPicture(c, world.ShopScriptPhotos+path)
			}
			if got := w.Tokens(); !slices.Equal(got, []string{"", "rpt1", "rpt1", "rpt2", "rpt1"}) {
				t.Errorf("the resource server saw %q", got)
			}
		})
	}
}

// A token that is never sufficient does not cause a loop.
func TestUMATooManyRounds(t *testing.T) {
	more := func(n int, form url.Values) world.ScriptAnswer { return world.Granted(fmt.Sprintf("rpt%d", n)) }
	askThenGrant := func(n int, form url.Values) world.ScriptAnswer {
		if !form.Has("claim_token") {
			return world.Refused(403, "need_info", fmt.Sprintf(`"ticket":"new-%d"`, n))
		}
		return world.Granted(fmt.Sprintf("rpt%d", n))
	}
	askLater := func(n int, form url.Values) world.ScriptAnswer {
		if n == 1 {
			return world.Granted("rpt1")
		}
		return askThenGrant(n, form)
	}
	tests := map[string]struct {
		rounds int
		answer func(int, url.Values) world.ScriptAnswer
		asked  int
		sent   int
	}{
		"three by default":     {0, more, 3, 4},
		"one":                  {1, more, 1, 2},
		"never more than 8":    {100, more, 3, 4},
		"8 with pushed claims": {100, askThenGrant, 4, 3},
		"none left to push":    {100, askLater, 4, 3},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			w := world.NewShopScript(t)
			w.Permit = func(*http.Request, string) bool { return false }
			w.Answer = tt.answer
			config := world.WhenAsked(world.ForBob())
			config.MaxRounds = tt.rounds
			w.WantCode(w.Client(config), world.ShopScriptPhotos, "too_many_rounds")
			asked, sent := len(w.Asked()), len(w.Tokens())
			if asked != tt.asked || sent != tt.sent || asked+sent > 8 {
				t.Errorf("%d token requests, %d requests to the resource server", asked, sent)
			}
		})
	}
}
