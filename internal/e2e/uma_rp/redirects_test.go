package uma_rp_test

import (
	"fmt"
	"net/http"
	"strings"
	"testing"

	"example.com/gatehouse"
	"example.com/gatehouse/internal/e2e/world"
)

// The token is bound to its origin. A redirect does not carry it on, and the
// target of a redirect cannot have a ticket presented.
func TestUC10_Redirects(t *testing.T) {
	for _, status := range []int{302, 307} {
		t.Run(fmt.Sprint(status), func(t *testing.T) {
			w := world.NewShopScript(t, "https://evil.example", "https://cdn.example.org")
			to := ""
			photos := http.HandlerFunc(w.ServeResource)
			w.ServePhotos(func(rw http.ResponseWriter, r *http.Request) {
				if r.Header.Get("Authorization") != "" && strings.HasPrefix(r.URL.Path, "/moved") {
					http.Redirect(rw, r, to, status)
					return
				}
				photos.ServeHTTP(rw, r)
			})
			c := w.Client(gatehouse.UMATransportConfig{})
			post := func() (*http.Response, error) {
				return c.Post(world.ShopScriptPhotos+"/moved", "text/plain", strings.NewReader("order"))
			}

			to = "https://evil.example/a"
			if _, err := post(); gatehouse.ErrorCode(err) != "redirected_challenge" {
				t.Errorf("a challenge behind a redirect: %v", err)
			}
			to = "https://cdn.example.org/free"
			w.Permit = func(*http.Request, string) bool { return true }
			resp, err := post()
			if err != nil || resp.StatusCode != 200 {
				t.Fatalf("a redirect to another origin: %v", err)
			}
			to = "/home"
			if resp, err = post(); err != nil || resp.StatusCode != 200 {
				t.Fatalf("a redirect within the origin: %v", err)
			}
			for _, s := range w.Seen() {
				if s.Origin != world.ShopScriptPhotos && s.Token != "" {
					t.Errorf("%s was sent the token %q", s.Origin, s.Token)
				}
			}
			if last := w.Seen()[len(w.Seen())-1]; last.Path != "/home" || last.Token != "rpt1" || len(w.Asked()) != 1 {
				t.Errorf("last request %+v, %d token requests", last, len(w.Asked()))
			}
		})
	}
}

// Another origin can send a request here by a redirect, with an address and a
// method of its choice. It gets no token, neither a kept nor a new one, in any
// way.
func TestUC10_RedirectedHere(t *testing.T) {
	for _, first := range []string{"https://evil.example/out", world.ShopScriptPhotos + "/out"} {
		w := world.NewShopScript(t, "https://evil.example")
		photos := http.HandlerFunc(w.ServeResource)
		w.Serve("https://evil.example", http.RedirectHandler(world.ShopScriptPhotos+"/albums/7", http.StatusTemporaryRedirect))
		w.ServePhotos(func(rw http.ResponseWriter, r *http.Request) {
			if r.URL.Path == "/out" {
				http.Redirect(rw, r, "https://evil.example/back", http.StatusTemporaryRedirect)
				return
			}
			photos.ServeHTTP(rw, r)
		})
		c := w.Client(gatehouse.UMATransportConfig{})
		w.WantPicture(c, world.ShopScriptPhotos+"/a") // a token is kept
		had, asked := len(w.Seen()), len(w.Asked())
		r, err := http.NewRequest(http.MethodDelete, first, nil)
		if err != nil {
			t.Fatal(err)
		}
		if _, err := c.Do(r); gatehouse.ErrorCode(err) != "redirected_challenge" {
			t.Errorf("by %s: %v", first, err)
		}
		for _, s := range w.Seen()[had:] {
			if s.Path == "/albums/7" && s.Token != "" || s.Origin != world.ShopScriptPhotos && s.Token != "" {
				t.Errorf("by %s: %s %s was sent the token %q", first, s.Origin, s.Path, s.Token)
			}
		}
		if n := len(w.Asked()) - asked; n != 0 {
			t.Errorf("by %s: %d token requests", first, n)
		}
	}
}
