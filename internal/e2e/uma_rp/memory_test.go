package uma_rp_test

import (
	"context"
	"fmt"
	"net/http"
	"net/url"
	"testing"
	"time"

	"example.com/gatehouse"
	"example.com/gatehouse/internal/e2e/world"
)

// A denial is remembered for five seconds, only for this request of this party.
func TestUMADenialIsRemembered(t *testing.T) {
	w := world.NewShopScript(t)
	w.Answer = func(int, url.Values) world.ScriptAnswer { return world.Refused(403, "request_denied") }
	party := "bob"
	tr := w.Shop(w.Told(false), gatehouse.UMATransportConfig{Party: func(context.Context) string { return party }})
	c := &http.Client{Transport: tr}
	w.WantCode(c, world.ShopScriptPhotos+"/a?b=1", "uma_denied")
	w.Advance(5*time.Second - 1)
	w.WantCode(c, world.ShopScriptPhotos+"/a?b=1", "uma_denied")
	if len(w.Asked()) != 1 || len(w.Tokens()) != 1 {
		t.Fatalf("%d token requests, %d requests in all", len(w.Asked()), len(w.Tokens()))
	}
	w.Answer = func(n int, _ url.Values) world.ScriptAnswer { return world.Granted(fmt.Sprintf("rpt%d", n)) }
	w.WantPicture(c, world.ShopScriptPhotos+"/a?b=2")
	if resp, err := c.Post(world.ShopScriptPhotos+"/a?b=1", "", nil); err != nil || resp.StatusCode != 200 {
		t.Errorf("another method: %v", err)
	}
	party = "carol"
	w.WantPicture(c, world.ShopScriptPhotos+"/a?b=1")
	party = "bob"
	w.WantCode(c, world.ShopScriptPhotos+"/a?b=1", "uma_denied")
	w.Advance(1)
	w.WantPicture(c, world.ShopScriptPhotos+"/a?b=1")

	w.Answer = func(int, url.Values) world.ScriptAnswer { return world.Refused(403, "request_denied") }
	w.Permit = func(*http.Request, string) bool { return false }
	w.WantCode(c, world.ShopScriptPhotos+"/c", "uma_denied")
	tr.Forget(t.Context(), "bob")
	w.Permit = func(*http.Request, string) bool { return true }
	w.WantPicture(c, world.ShopScriptPhotos+"/c")
}

// The memory of denials is bounded too: beyond the limit they are not
// remembered until old ones expire.
func TestUMADenialsAreBounded(t *testing.T) {
	const most = 1024 // maxDenials
	w := world.NewShopScript(t)
	w.Answer = func(int, url.Values) world.ScriptAnswer { return world.Refused(403, "request_denied") }
	c := w.Client(gatehouse.UMATransportConfig{})
	again := func(i int) bool {
		before := len(w.Asked())
		w.WantCode(c, fmt.Sprintf("%s/%d", world.ShopScriptPhotos, i), "uma_denied")
		return len(w.Asked()) > before
	}
	for i := range most + 1 {
		again(i)
	}
	if again(0) || again(most-1) || !again(most) {
		t.Error("the first 1024 denials are not all remembered")
	}
	w.Advance(5 * time.Second)
	if !again(most) || again(most) {
		t.Error("there is still no room after five seconds")
	}
}

// Memory is bounded: the least recently used origin pays for another exchange.
func TestUMAMemoryIsBounded(t *testing.T) {
	const most = 4096 // maxRPTs
	w := world.NewShopScript(t)
	permit := roundTrip(func(r *http.Request) (*http.Response, error) {
		out := r.Clone(r.Context())
		out.URL.Host = "photos.example.org"
		return w.Transport().RoundTrip(out)
	})
	c := w.Client(gatehouse.UMATransportConfig{Base: permit})
	for i := range most + 1 {
		w.WantPicture(c, fmt.Sprintf("https://h%d.example", i))
		if i == 0 {
			continue
		}
		w.WantPicture(c, "https://h0.example") // stays in use
	}
	before := len(w.Asked())
	if before != most+1 {
		t.Errorf("%d token requests for %d origins", before, most+1)
	}
	w.WantPicture(c, "https://h0.example")
	w.WantPicture(c, "https://h2.example")
	if len(w.Asked()) != before {
		t.Error("a token in use was dropped")
	}
	w.WantPicture(c, "https://h1.example")
	if len(w.Asked()) != before+1 {
		t.Error("nothing fell out")
	}
}
