package uma_rp_test

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"example.com/gatehouse"
	"example.com/gatehouse/internal/e2e/world"
)

// 100 requests, each with its own ticket, need one token request.
func TestUMAParallelOneExchange(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := world.NewShopScript(t)
		w.Answer = func(n int, _ url.Values) world.ScriptAnswer {
			time.Sleep(time.Second) // the bubble's clock: all 100 wait by then
			return world.Granted(fmt.Sprintf("rpt%d", n))
		}
		c := w.Client(gatehouse.UMATransportConfig{})
		atOnce(100, func(i int) { w.WantPicture(c, fmt.Sprintf("%s/photos/%d", world.ShopScriptPhotos, i)) })
		if len(w.Asked()) != 1 || w.Tickets() != 100 || len(w.Tokens()) != 200 {
			t.Errorf("%d token requests, %d tickets, %d requests", len(w.Asked()), w.Tickets(), len(w.Tokens()))
		}
	})
}

// Each resource needs its own ticket. Everybody gets in with one exchange each,
// and nobody is turned away because of what another's ticket requested.
func TestUMAParallelManyResources(t *testing.T) {
	for name, upgrade := range map[string]bool{"upgraded": true, "not upgraded": false} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				w := world.NewShopScript(t)
				var mu sync.Mutex
				paths := map[string]string{}   // ticket → path
				holds := map[string][]string{} // token → paths
				w.ServePhotos(func(rw http.ResponseWriter, r *http.Request) {
					token := strings.TrimPrefix(r.Header.Get("Authorization"), "Bearer ")
					mu.Lock()
					defer mu.Unlock()
					for _, p := range holds[token] {
						if p == r.URL.Path {
							fmt.Fprint(rw, "picture")
							return
						}
					}
					ticket := fmt.Sprintf("ticket-%d", len(paths))
					paths[ticket] = r.URL.Path
					rw.Header().Set("WWW-Authenticate", fmt.Sprintf(`UMA as_uri="%s", ticket="%s"`, world.ShopScriptIssuer, ticket))
					rw.WriteHeader(401)
				})
				w.Answer = func(n int, f url.Values) world.ScriptAnswer {
					time.Sleep(time.Second)
					mu.Lock()
					defer mu.Unlock()
					path := paths[f.Get("ticket")]
					if path == "/p/13" {
						return world.Refused(403, "request_denied")
					}
					token := fmt.Sprintf("rpt-%d", n)
					holds[token] = []string{path}
					if upgrade {
						holds[token] = append(holds[token], holds[f.Get("rpt")]...)
					}
					return world.Granted(token, fmt.Sprintf(`"upgraded":%v`, upgrade && f.Has("rpt")))
				}
				c := w.Client(gatehouse.UMATransportConfig{})
				atOnce(20, func(i int) {
					url := fmt.Sprintf("%s/p/%d", world.ShopScriptPhotos, i)
					if i == 13 {
						w.WantCode(c, url, "uma_denied")
						return
					}
					w.WantPicture(c, url)
				})
				// The one that is denied tries once more without an upgrade.
				if got := len(w.Asked()); got > 21 {
					t.Errorf("%d token requests for 20 resources", got)
				}
			})
		})
	}
}

// One denial, question or submission answers everybody who made the same
// request. Trouble of the server affects everybody.
func TestUMAParallelFailures(t *testing.T) {
	tests := map[string]struct {
		answer world.ScriptAnswer
		path   string
	}{
		"uma_denied":        {world.Refused(403, "request_denied"), "/same"},
		"need_info":         {world.Refused(403, "need_info", `"ticket":"new-1"`), "/same"},
		"request_submitted": {world.Refused(403, "request_submitted", `"ticket":"new-1"`), "/same"},
		"as_unavailable":    {world.Raw(500, ""), "/%d"},
		"client_refused":    {world.Refused(401, "invalid_client"), "/%d"},
	}
	for code, tt := range tests {
		t.Run(code, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				w := world.NewShopScript(t)
				w.Permit = func(*http.Request, string) bool { return false }
				w.Answer = func(int, url.Values) world.ScriptAnswer {
					time.Sleep(time.Second)
					return tt.answer
				}
				c := w.Client(gatehouse.UMATransportConfig{})
				atOnce(50, func(i int) {
					_, _, err := world.Get(c, world.ShopScriptPhotos+strings.Replace(tt.path, "%d", fmt.Sprint(i), 1))
					if err == nil || !strings.Contains(err.Error(), "gatehouse: "+code) {
						t.Errorf("request %d: %v", i, err)
					}
				})
				if len(w.Asked()) != 1 {
					t.Errorf("%d token requests", len(w.Asked()))
				}
			})
		})
	}
}

// A token that another request obtained meanwhile is tried first, once.
func TestUMARidesOnce(t *testing.T) {
	tests := map[string]struct {
		enough bool // the other request's token is
		asked  int
		tokens string // of the requests to /mine
	}{
		"enough":     {true, 1, " rpt1"},
		"not enough": {false, 3, " rpt1 rpt3"},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			w := world.NewShopScript(t)
			c := w.Client(gatehouse.UMATransportConfig{})
			others, mine := 0, []string{}
			w.Permit = func(r *http.Request, token string) bool {
				if r.URL.Path != "/mine" {
					return token == fmt.Sprintf("rpt%d", others)
				}
				mine = append(mine, token)
				if token == "rpt3" || tt.enough && token != "" {
					return true
				}
				if others++; others < 3 { // while we are being challenged
					w.WantPicture(c, world.ShopScriptPhotos+"/other")
				}
				return false
			}
			w.WantPicture(c, world.ShopScriptPhotos+"/mine")
			if got := strings.Join(mine, " "); got != tt.tokens || len(w.Asked()) != tt.asked {
				t.Errorf("/mine was asked for with %q, %d token requests", got, len(w.Asked()))
			}
		})
	}
}

// A caller that gives up waiting affects neither the others nor the next call.
func TestUMAWaiterLeaves(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := world.NewShopScript(t)
		release := make(chan struct{})
		w.Answer = func(int, url.Values) world.ScriptAnswer {
			<-release
			return world.Granted("rpt1")
		}
		tr := w.Shop(w.Told(false), gatehouse.UMATransportConfig{})
		ctx, cancel := context.WithCancel(t.Context())
		left := make(chan error)
		go func() {
			r, _ := http.NewRequestWithContext(ctx, "GET", world.ShopScriptPhotos, nil)
			_, err := tr.RoundTrip(r)
			left <- err
		}()
		synctest.Wait()
		cancel()
		if err := <-left; !errors.Is(err, context.Canceled) {
			t.Errorf("the first left with %v", err)
		}
		short, cancelShort := context.WithTimeout(t.Context(), time.Millisecond)
		defer cancelShort()
		if err := tr.Shutdown(short); !errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("Shutdown did not wait: %v", err)
		}
		go func() { w.WantPicture(&http.Client{Transport: tr}, world.ShopScriptPhotos) }()
		synctest.Wait()
		close(release)
		if err := tr.Shutdown(t.Context()); err != nil {
			t.Error(err)
		}
		synctest.Wait()
		if len(w.Asked()) != 1 {
			t.Errorf("%d token requests", len(w.Asked()))
		}
	})
}
