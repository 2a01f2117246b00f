package gatehouse_test

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
)

// umaParallel runs f n times at once.
func umaParallel(n int, f func(i int)) {
	var wg sync.WaitGroup
	for i := range n {
		wg.Go(func() { f(i) })
	}
	wg.Wait()
}

// 100 requests, each with a ticket of its own, need one token request.
func TestUMAParallelOneExchange(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newUMAWorld(t)
		w.answer = func(n int, _ url.Values) umaAnswer {
			time.Sleep(time.Second) // the bubble's clock: all 100 wait by then
			return umaGranted(fmt.Sprintf("rpt%d", n))
		}
		c := w.client(gatehouse.UMATransportConfig{})
		umaParallel(100, func(i int) { w.wantPicture(c, fmt.Sprintf("%s/photos/%d", umaPhotos, i)) })
		if len(w.asked()) != 1 || w.tickets != 100 || len(w.tokens()) != 200 {
			t.Errorf("%d token requests, %d tickets, %d requests", len(w.asked()), w.tickets, len(w.tokens()))
		}
	})
}

// Each resource needs its own ticket. Everybody gets in, one exchange each, and
// nobody is turned away for what another's ticket asked.
func TestUMAParallelManyResources(t *testing.T) {
	for name, upgrade := range map[string]bool{"upgraded": true, "not upgraded": false} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				w := newUMAWorld(t)
				var mu sync.Mutex
				paths := map[string]string{}   // ticket → path
				holds := map[string][]string{} // token → paths
				w.wire["photos.example.org"] = http.HandlerFunc(func(rw http.ResponseWriter, r *http.Request) {
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
					rw.Header().Set("WWW-Authenticate", fmt.Sprintf(`UMA as_uri="%s", ticket="%s"`, umaIssuer, ticket))
					rw.WriteHeader(401)
				})
				w.answer = func(n int, f url.Values) umaAnswer {
					time.Sleep(time.Second)
					mu.Lock()
					defer mu.Unlock()
					path := paths[f.Get("ticket")]
					if path == "/p/13" {
						return umaRefused(403, "request_denied")
					}
					token := fmt.Sprintf("rpt-%d", n)
					holds[token] = []string{path}
					if upgrade {
						holds[token] = append(holds[token], holds[f.Get("rpt")]...)
					}
					return umaGranted(token, fmt.Sprintf(`"upgraded":%v`, upgrade && f.Has("rpt")))
				}
				c := w.client(gatehouse.UMATransportConfig{})
				umaParallel(20, func(i int) {
					url := fmt.Sprintf("%s/p/%d", umaPhotos, i)
					if i == 13 {
						w.wantCode(c, url, "uma_denied")
						return
					}
					w.wantPicture(c, url)
				})
				if got := len(w.asked()); got != 20 {
					t.Errorf("%d token requests for 20 resources", got)
				}
			})
		})
	}
}

// One denial, question or submission answers everybody who asked the same; what
// is the server's trouble is everybody's.
func TestUMAParallelFailures(t *testing.T) {
	tests := map[string]struct {
		answer umaAnswer
		path   string
	}{
		"uma_denied":        {umaRefused(403, "request_denied"), "/same"},
		"need_info":         {umaRefused(403, "need_info", `"ticket":"new-1"`), "/same"},
		"request_submitted": {umaRefused(403, "request_submitted", `"ticket":"new-1"`), "/same"},
		"as_unavailable":    {umaAnswer{500, ""}, "/%d"},
		"client_refused":    {umaRefused(401, "invalid_client"), "/%d"},
	}
	for code, tt := range tests {
		t.Run(code, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				w := newUMAWorld(t)
				w.permit = func(*http.Request, string) bool { return false }
				w.answer = func(int, url.Values) umaAnswer {
					time.Sleep(time.Second)
					return tt.answer
				}
				c := w.client(gatehouse.UMATransportConfig{})
				umaParallel(50, func(i int) {
					_, _, err := umaGet(c, umaPhotos+strings.Replace(tt.path, "%d", fmt.Sprint(i), 1))
					if err == nil || !strings.Contains(err.Error(), "gatehouse: "+code) {
						t.Errorf("request %d: %v", i, err)
					}
				})
				if len(w.asked()) != 1 {
					t.Errorf("%d token requests", len(w.asked()))
				}
			})
		})
	}
}

// A token that another request obtained meanwhile is tried first, once.
func TestUMARidesOnce(t *testing.T) {
	tests := map[string]struct {
		enough bool // the other's token is
		asked  int
		tokens string // of the requests to /mine
	}{
		"enough":     {true, 1, " rpt1"},
		"not enough": {false, 3, " rpt1 rpt3"},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			w := newUMAWorld(t)
			c := w.client(gatehouse.UMATransportConfig{})
			others, mine := 0, []string{}
			w.permit = func(r *http.Request, token string) bool {
				if r.URL.Path != "/mine" {
					return token == fmt.Sprintf("rpt%d", others)
				}
				mine = append(mine, token)
				if token == "rpt3" || tt.enough && token != "" {
					return true
				}
				if others++; others < 3 { // while we are being challenged
					w.wantPicture(c, umaPhotos+"/other")
				}
				return false
			}
			w.wantPicture(c, umaPhotos+"/mine")
			if got := strings.Join(mine, " "); got != tt.tokens || len(w.asked()) != tt.asked {
				t.Errorf("/mine was asked for with %q, %d token requests", got, len(w.asked()))
			}
		})
	}
}

// Who gives up waiting ends nothing for the others, nor for the next call.
func TestUMAWaiterLeaves(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newUMAWorld(t)
		release := make(chan struct{})
		w.answer = func(int, url.Values) umaAnswer {
			<-release
			return umaGranted("rpt1")
		}
		tr := w.transport(w.provider(false), gatehouse.UMATransportConfig{})
		ctx, cancel := context.WithCancel(t.Context())
		left := make(chan error)
		go func() {
			r, _ := http.NewRequestWithContext(ctx, "GET", umaPhotos, nil)
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
		go func() { w.wantPicture(&http.Client{Transport: tr}, umaPhotos) }()
		synctest.Wait()
		close(release)
		if err := tr.Shutdown(t.Context()); err != nil {
			t.Error(err)
		}
		synctest.Wait()
		if len(w.asked()) != 1 {
			t.Errorf("%d token requests", len(w.asked()))
		}
	})
}

// What an exchange brings for a party that signed out meanwhile is not kept.
func TestUMAForgetDuringExchange(t *testing.T) {
	for name, answer := range map[string]umaAnswer{
		"granted": umaGranted("rpt1"),
		"denied":  umaRefused(403, "request_denied"),
	} {
		t.Run(name, func(t *testing.T) {
			w := newUMAWorld(t)
			tr := w.transport(w.provider(false), umaBob())
			w.answer = func(n int, _ url.Values) umaAnswer {
				if n == 1 {
					tr.Forget(t.Context(), "bob")
					return answer
				}
				return umaGranted("rpt2")
			}
			c := &http.Client{Transport: tr}
			umaGet(c, umaPhotos)
			before := len(w.tokens())
			w.wantPicture(c, umaPhotos)
			if got := w.tokens()[before:]; len(got) != 2 || got[0] != "" || got[1] != "rpt2" || w.asked()[1].Has("rpt") {
				t.Errorf("after Forget the resource server saw %q, the authorization server %v", got, w.asked()[1])
			}
		})
	}
}

// A panic of the application's Claims is an error of this request.
func TestUMAClaimsPanic(t *testing.T) {
	w := newUMAWorld(t)
	config := umaBob()
	config.PushFirst = true
	config.Claims = func(context.Context) (gatehouse.ClaimToken, error) { panic("SECRET") }
	_, _, err := umaGet(w.client(config), umaPhotos)
	if gatehouse.ErrorCode(err) != "internal" || strings.Contains(err.Error(), "SECRET") {
		t.Errorf("%v", err)
	}
}

// So is that of denials: beyond the bound they are not remembered, until old
// ones end.
func TestUMADenialsAreBounded(t *testing.T) {
	const most = 1024 // maxDenials
	w := newUMAWorld(t)
	w.answer = func(int, url.Values) umaAnswer { return umaRefused(403, "request_denied") }
	c := w.client(gatehouse.UMATransportConfig{})
	again := func(i int) bool {
		before := len(w.asked())
		w.wantCode(c, fmt.Sprintf("%s/%d", umaPhotos, i), "uma_denied")
		return len(w.asked()) > before
	}
	for i := range most + 1 {
		again(i)
	}
	if again(0) || again(most-1) || !again(most) {
		t.Error("not the first 1024 denials are remembered")
	}
	w.advance(5 * time.Second)
	if !again(most) || again(most) {
		t.Error("after five seconds there is no room")
	}
}

// Memory is bounded: the origin unused for longest pays an exchange.
func TestUMAMemoryIsBounded(t *testing.T) {
	const most = 4096 // maxRPTs
	w := newUMAWorld(t)
	permit := umaRoundTrip(func(r *http.Request) (*http.Response, error) {
		out := r.Clone(r.Context())
		out.URL.Host = "photos.example.org"
		return w.wire.RoundTrip(out)
	})
	c := w.client(gatehouse.UMATransportConfig{Base: permit})
	for i := range most + 1 {
		w.wantPicture(c, fmt.Sprintf("https://h%d.example", i))
		if i == 0 {
			continue
		}
		w.wantPicture(c, "https://h0.example") // stays in use
	}
	before := len(w.asked())
	if before != most+1 {
		t.Errorf("%d token requests for %d origins", before, most+1)
	}
	w.wantPicture(c, "https://h0.example")
	w.wantPicture(c, "https://h2.example")
	if len(w.asked()) != before {
		t.Error("a token in use fell out")
	}
	w.wantPicture(c, "https://h1.example")
	if len(w.asked()) != before+1 {
		t.Error("nothing fell out")
	}
}
