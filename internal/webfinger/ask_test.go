package webfinger_test

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"example.com/gatehouse/internal/outbound"
	"example.com/gatehouse/internal/webfinger"
)

// host answers in memory, and notes what it was asked.
type host struct {
	answer func(r *http.Request) (*http.Response, error)

	mu    sync.Mutex
	asked []string
}

func (h *host) RoundTrip(r *http.Request) (*http.Response, error) {
	h.mu.Lock()
	h.asked = append(h.asked, r.URL.String())
	h.mu.Unlock()
	return h.answer(r)
}

func (h *host) count() int {
	h.mu.Lock()
	defer h.mu.Unlock()
	return len(h.asked)
}

func asker(answer func(r *http.Request) (*http.Response, error)) (*webfinger.Asker, *host) {
	h := &host{answer: answer}
	return webfinger.New(outbound.NewClient(h, false), time.Now), h
}

// says is an answer with a body; header is pairs.
func says(r *http.Request, status int, body io.Reader, header ...string) *http.Response {
	resp := &http.Response{StatusCode: status, Header: http.Header{"Content-Type": {"application/jrd+json"}}, Body: io.NopCloser(body), Request: r}
	for i := 0; i < len(header); i += 2 {
		resp.Header.Set(header[i], header[i+1])
	}
	return resp
}

const good = `{"links":[{` + rel + `,"href":"https://op.test"}]}`

func joe(t testing.TB) webfinger.Account {
	t.Helper()
	return account(t, "joe@example.test")
}

func account(t testing.TB, text string) webfinger.Account {
	t.Helper()
	a, err := webfinger.Parse(text)
	if err != nil {
		t.Fatal(err)
	}
	return a
}

// dripping is a body of one byte a second, until its request is given up. It ends
// with an error then, as that of net/http does.
type dripping struct{ ctx context.Context }

func (d dripping) Read(p []byte) (int, error) {
	select {
	case <-time.After(time.Second):
		p[0] = ' '
		return 1, nil
	case <-d.ctx.Done():
		return 0, d.ctx.Err()
	}
}

// counting counts what is read of an endless body.
type counting struct{ n *int }

func (c counting) Read(p []byte) (int, error) {
	*c.n += len(p)
	return len(p), nil
}

// WF5: a host that sends too much, nonsense, or next to nothing costs 4 s and 64 KiB
// at most, and one request, however many people ask.
func TestWF5_HostileHosts(t *testing.T) {
	read := 0
	for name, answer := range map[string]func(r *http.Request) (*http.Response, error){
		"5 MiB": func(r *http.Request) (*http.Response, error) {
			return says(r, 200, io.MultiReader(strings.NewReader(`{"links":[`), io.LimitReader(counting{&read}, 5<<20))), nil
		},
		"5 MiB of a name": func(r *http.Request) (*http.Response, error) {
			return says(r, 200, strings.NewReader(`{"`+strings.Repeat("x", 5<<20)+`":1}`)), nil
		},
		"10,000 links": func(r *http.Request) (*http.Response, error) {
			return says(r, 200, strings.NewReader(`{"links":[`+strings.Repeat(`{},`, 9999)+`{}]}`)), nil
		},
		"a page": func(r *http.Request) (*http.Response, error) {
			return says(r, 200, strings.NewReader(good), "Content-Type", "text/html"), nil
		},
		"no type": func(r *http.Request) (*http.Response, error) {
			return says(r, 200, strings.NewReader(good), "Content-Type", ""), nil
		},
		"1 byte/s": func(r *http.Request) (*http.Response, error) { return says(r, 200, dripping{r.Context()}), nil },
		"silent":   func(r *http.Request) (*http.Response, error) { <-r.Context().Done(); return nil, r.Context().Err() },
		"refused": func(*http.Request) (*http.Response, error) {
			return nil, &net.OpError{Op: "dial", Err: errors.New("connection refused")}
		},
		"500": func(r *http.Request) (*http.Response, error) { return says(r, 500, strings.NewReader(good)), nil },
		"429": func(r *http.Request) (*http.Response, error) { return says(r, 429, strings.NewReader(good)), nil },
		"204": func(r *http.Request) (*http.Response, error) { return says(r, 204, http.NoBody), nil },
		"to http": func(r *http.Request) (*http.Response, error) {
			return says(r, 302, http.NoBody, "Location", "http://example.test/x"), nil
		},
		"loopback": func(r *http.Request) (*http.Response, error) {
			return says(r, 302, http.NoBody, "Location", "http://127.0.0.1/x"), nil
		},
		"to a file": func(r *http.Request) (*http.Response, error) {
			return says(r, 302, http.NoBody, "Location", "file:///etc/passwd"), nil
		},
		"as a user": func(r *http.Request) (*http.Response, error) {
			return says(r, 302, http.NoBody, "Location", "https://u:p@example.test/"), nil
		},
		"nowhere": func(r *http.Request) (*http.Response, error) { return says(r, 302, http.NoBody), nil },
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				a, h := asker(answer)
				began := time.Now()
				var group sync.WaitGroup
				for range 50 { // together
					group.Go(func() {
						var failure *webfinger.Failure
						if _, err := a.Ask(t.Context(), joe(t)); !errors.As(err, &failure) || failure.After <= 0 || failure.Host != "example.test" {
							t.Errorf("error %v", err)
						}
					})
				}
				group.Wait()
				if took := time.Since(began); took > webfinger.Timeout {
					t.Errorf("it took %v", took)
				}
				for range 50 { // one after the other
					if _, err := a.Ask(t.Context(), joe(t)); err == nil {
						t.Error("it is found")
					}
				}
				if h.count() != 1 {
					t.Errorf("asked %q", h.asked)
				}
				time.Sleep(10 * time.Second) // the pause
				if _, err := a.Ask(t.Context(), joe(t)); err == nil || h.count() != 2 {
					t.Errorf("after the pause: %v, asked %q", err, h.asked)
				}
				if err := a.Wait(t.Context()); err != nil {
					t.Error(err)
				}
			})
		})
	}
	if read == 0 || read > 4*(64<<10) {
		t.Errorf("%d bytes were read of 5 MiB, twice", read)
	}
}

// WF5: at most three redirects are followed, to https.
func TestWF5_Redirects(t *testing.T) {
	for n, requests := range map[int]int{0: 1, 1: 2, 2: 3, 3: 4, 4: 4, 10: 4} {
		for _, status := range []int{301, 302, 303, 307, 308} {
			synctest.Test(t, func(t *testing.T) {
				left := n
				a, h := asker(func(r *http.Request) (*http.Response, error) {
					if left--; left < 0 {
						return says(r, 200, strings.NewReader(good)), nil
					}
					return says(r, status, http.NoBody, "Location", fmt.Sprintf("https://www%d.example.test/.well-known/webfinger?%s", left, r.URL.RawQuery)), nil
				})
				got, err := a.Ask(t.Context(), joe(t))
				if (err == nil) != (n <= 3) || err == nil && got[0] != "https://op.test" || h.count() != requests {
					t.Errorf("%d redirects: %q, %v, asked %q", n, got, err, h.asked)
				}
			})
		}
	}
}

// A redirect may be relative, and its fragment is not sent.
func TestRelativeRedirect(t *testing.T) {
	a, h := asker(func(r *http.Request) (*http.Response, error) {
		if r.URL.Path == "/wf" {
			return says(r, 200, strings.NewReader(good)), nil
		}
		return says(r, 302, http.NoBody, "Location", "/wf?x=1#y"), nil
	})
	if _, err := a.Ask(t.Context(), joe(t)); err != nil || h.asked[1] != "https://example.test/wf?x=1" {
		t.Errorf("%v, asked %q", err, h.asked)
	}
}

// What the host says about an account is an answer, and the next account is asked
// about. What it cannot say is a failure, for as long as it wants, within bounds.
func TestAnswers(t *testing.T) {
	for _, c := range []struct {
		status  int
		body    string
		retry   string
		err     error
		pause   time.Duration // of the host; 0 for none
		account bool          // only the account is left alone
	}{
		{200, good, "", nil, 0, false},
		{200, `{"links":[]}`, "", webfinger.ErrNone, 0, false},
		{404, "", "", webfinger.ErrNone, 0, false},
		{400, "", "", webfinger.ErrNone, 0, false},
		{401, "", "", webfinger.ErrNone, 0, false},
		{403, "", "", webfinger.ErrNone, 0, false},
		{410, "", "", webfinger.ErrNone, 0, false},
		{200, `<html>`, "", webfinger.ErrAnswer, 10 * time.Second, true},
		{500, "", "", nil, 10 * time.Second, false},
		{503, "", "30", nil, 30 * time.Second, false},
		{503, "", "1", nil, 10 * time.Second, false},
		{429, "", "3600", nil, time.Minute, false},
	} {
		t.Run(fmt.Sprint(c.status, c.body, c.retry), func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				a, h := asker(func(r *http.Request) (*http.Response, error) {
					return says(r, c.status, strings.NewReader(c.body), "Retry-After", c.retry), nil
				})
				_, err := a.Ask(t.Context(), joe(t))
				var failure *webfinger.Failure
				if failed := errors.As(err, &failure); failed != (c.pause > 0) || failed && failure.After != c.pause || c.err != nil && !errors.Is(err, c.err) || (err == nil) != (c.err == nil && c.pause == 0) {
					t.Fatalf("error %v, want %v and a pause of %v", err, c.err, c.pause)
				}
				want := 2
				if c.pause > 0 {
					want = 1
				}
				_, _ = a.Ask(t.Context(), joe(t))
				if h.count() != want {
					t.Errorf("asked %d times about the same, want %d", h.count(), want)
				}
				if c.pause == 0 || c.account {
					want++
				}
				_, _ = a.Ask(t.Context(), account(t, "ann@example.test"))
				if h.count() != want {
					t.Errorf("asked %d times, with another account; want %d", h.count(), want)
				}
				time.Sleep(c.pause)
				if _, _ = a.Ask(t.Context(), joe(t)); h.count() != want+1 {
					t.Errorf("asked %d times after the pause, want %d", h.count(), want+1)
				}
			})
		})
	}
}

// The places are bounded, for one host and for all, and whoever gets none is
// turned away at once. Who leaves does not end what others wait for.
func TestPlaces(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		release := make(chan struct{})
		a, h := asker(func(r *http.Request) (*http.Response, error) {
			<-release
			return says(r, 200, strings.NewReader(good)), nil
		})
		errs := make(chan error, 1000)
		ask := func(text string) {
			who := account(t, text)
			go func() {
				_, err := a.Ask(t.Context(), who)
				errs <- err
			}()
		}
		for i := range 20 {
			ask(fmt.Sprintf("joe%d@one.test", i))
		}
		synctest.Wait()
		if h.count() != 16 || len(errs) != 4 {
			t.Errorf("%d requests to one host, %d turned away; want 16 and 4", h.count(), len(errs))
		}
		for i := range 60 {
			ask(fmt.Sprintf("joe@host%d.test", i))
		}
		synctest.Wait()
		if h.count() != 64 || len(errs) != 16 {
			t.Errorf("%d requests, %d turned away; want 64 and 16", h.count(), len(errs))
		}
		for range len(errs) {
			if err := <-errs; !errors.Is(err, webfinger.ErrBusy) {
				t.Errorf("error %v", err)
			}
		}
		gone, cancel := context.WithCancel(t.Context())
		cancel()
		if _, err := a.Ask(gone, account(t, "joe1@one.test")); !errors.Is(err, context.Canceled) {
			t.Errorf("who leaves: %v", err)
		}
		close(release)
		synctest.Wait()
		for range 64 {
			if err := <-errs; err != nil {
				t.Error(err)
			}
		}
		ask("joe@late.test") // there is room again
		if err := <-errs; err != nil {
			t.Error(err)
		}
	})
}

// No error holds what the host sent.
func TestErrorsAreQuiet(t *testing.T) {
	const marker = "marker-of-the-host"
	for _, answer := range []func(r *http.Request) *http.Response{
		func(r *http.Request) *http.Response { return says(r, 200, strings.NewReader(`{"`+marker+`":`)) },
		func(r *http.Request) *http.Response {
			return says(r, 200, strings.NewReader(marker), "Content-Type", "text/"+marker)
		},
		func(r *http.Request) *http.Response {
			return says(r, 302, http.NoBody, "Location", "http://"+marker+".test/"+marker)
		},
		func(r *http.Request) *http.Response {
			return says(r, 302, http.NoBody, "Location", "https://a:"+marker+"@x.test/")
		},
		func(r *http.Request) *http.Response { return says(r, 500, strings.NewReader(marker)) },
	} {
		a, _ := asker(func(r *http.Request) (*http.Response, error) { return answer(r), nil })
		if _, err := a.Ask(t.Context(), joe(t)); err == nil || strings.Contains(err.Error(), marker) {
			t.Errorf("error %v", err)
		}
	}
}
