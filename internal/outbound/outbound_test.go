package outbound_test

import (
	"bytes"
	"compress/gzip"
	"context"
	"errors"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"example.com/gatehouse/internal/outbound"
)

func serve(t *testing.T, h http.HandlerFunc) *httptest.Server {
	t.Helper()
	srv := httptest.NewServer(h)
	t.Cleanup(srv.Close)
	return srv
}

func get(ctx context.Context, t *testing.T, c *http.Client, url string) (*http.Response, error) {
	t.Helper()
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, url, nil)
	if err != nil {
		t.Fatal(err)
	}
	return c.Do(req)
}

// roundTripper makes a base transport from a function.
type roundTripper func(*http.Request) (*http.Response, error)

func (f roundTripper) RoundTrip(r *http.Request) (*http.Response, error) { return f(r) }

// A redirect from the token endpoint would take the secret and the code
// elsewhere (M10).
func TestClientFollowsNoRedirect(t *testing.T) {
	var followed bool
	other := serve(t, func(http.ResponseWriter, *http.Request) { followed = true })
	srv := serve(t, func(w http.ResponseWriter, r *http.Request) {
		http.Redirect(w, r, other.URL, http.StatusTemporaryRedirect)
	})
	resp, err := outbound.NewClient(nil, false).Post(srv.URL, "application/x-www-form-urlencoded",
		strings.NewReader("client_secret=s"))
	if err != nil {
		t.Fatal(err)
	}
	resp.Body.Close()
	if resp.StatusCode != http.StatusTemporaryRedirect || followed {
		t.Errorf("status %d, followed %v", resp.StatusCode, followed)
	}
}

func TestClientKeepsNoCookies(t *testing.T) {
	var got []string
	srv := serve(t, func(w http.ResponseWriter, r *http.Request) {
		got = append(got, r.Header.Get("Cookie"))
		http.SetCookie(w, &http.Cookie{Name: "a", Value: "b"})
	})
	c := outbound.NewClient(nil, false)
	for range 2 {
		resp, err := get(t.Context(), t, c, srv.URL)
		if err != nil {
			t.Fatal(err)
		}
		resp.Body.Close()
	}
	if strings.Join(got, "") != "" || len(got) != 2 {
		t.Errorf("cookies sent: %q", got)
	}
}

func TestClientRefusesURL(t *testing.T) {
	tests := []struct {
		url      string
		insecure bool
		ok       bool
	}{
		{"https://id.example.org/x?q=1", false, true},
		{"http://127.0.0.1:1/", false, true},
		{"http://[::1]:1/", false, true},
		{"http://LOCALHOST/", false, true},
		{"http://id.example.org/", false, false},
		{"http://id.example.org/", true, true},
		{"http://localhost.example.org/", false, false},
		{"http://127.0.0.1.example.org/", false, false},
		{"https://user:pw@id.example.org/", false, false},
		{"ftp://id.example.org/", true, false},
		{"https:///x", true, false},
	}
	for _, tt := range tests {
		reached := false
		base := roundTripper(func(*http.Request) (*http.Response, error) {
			reached = true
			return &http.Response{StatusCode: 204, Body: http.NoBody}, nil
		})
		resp, err := get(t.Context(), t, outbound.NewClient(base, tt.insecure), tt.url)
		if err == nil {
			resp.Body.Close()
		}
		if reached != tt.ok || (err == nil) != tt.ok {
			t.Errorf("%s (insecure %v): reached %v, error %v", tt.url, tt.insecure, reached, err)
		}
	}
}

func TestBodyLimit(t *testing.T) {
	tests := []struct {
		name  string
		limit int64 // 0: the default
		size  int
		gzip  bool
		ok    bool
	}{
		{"full", 100, 100, false, true},
		{"one more", 100, 101, false, false},
		{"nothing allowed, nothing sent", -1, 0, false, true},
		{"nothing allowed", -1, 1, false, false},
		{"default full", 0, outbound.MaxBody, false, true},
		{"default one more", 0, outbound.MaxBody + 1, false, false},
		{"limit never raises", 2 * outbound.MaxBody, outbound.MaxBody + 1, false, false},
		{"bomb", 100_000, 8 << 20, true, false},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			srv := serve(t, func(w http.ResponseWriter, _ *http.Request) {
				var out io.Writer = w
				if tt.gzip {
					w.Header().Set("Content-Encoding", "gzip")
					zw := gzip.NewWriter(w)
					defer zw.Close()
					out = zw
				}
				// The reader may hang up early, which is the point of the test.
				_, _ = out.Write(bytes.Repeat([]byte("a"), tt.size))
			})
			ctx := t.Context()
			if tt.limit != 0 {
				ctx = outbound.WithLimit(ctx, tt.limit)
			}
			resp, err := get(ctx, t, outbound.NewClient(nil, false), srv.URL)
			if err != nil {
				t.Fatal(err)
			}
			defer resp.Body.Close()
			data, err := io.ReadAll(resp.Body)
			if tt.ok && (err != nil || len(data) != tt.size) {
				t.Errorf("read %d bytes, error %v", len(data), err)
			}
			if !tt.ok {
				if !errors.Is(err, outbound.ErrTooLarge) {
					t.Errorf("error %v, want ErrTooLarge", err)
				}
				if _, again := resp.Body.Read(make([]byte, 1)); !errors.Is(again, outbound.ErrTooLarge) {
					t.Errorf("second error %v, want ErrTooLarge", again)
				}
			}
		})
	}
}

func TestWithLimitOnlyLowers(t *testing.T) {
	srv := serve(t, func(w http.ResponseWriter, _ *http.Request) { io.WriteString(w, "0123456789") })
	ctx := outbound.WithLimit(outbound.WithLimit(t.Context(), 5), 50)
	resp, err := get(ctx, t, outbound.NewClient(nil, false), srv.URL)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	data, err := io.ReadAll(resp.Body)
	if string(data) != "01234" || !errors.Is(err, outbound.ErrTooLarge) {
		t.Errorf("%q, %v", data, err)
	}
}

// blockingBody returns nothing until the request's context ends.
type blockingBody struct{ ctx context.Context }

func (b blockingBody) Read([]byte) (int, error) { <-b.ctx.Done(); return 0, b.ctx.Err() }
func (b blockingBody) Close() error             { return nil }

func TestDeadline(t *testing.T) {
	tests := []struct {
		name   string
		caller time.Duration // 0: none
		inBody bool
		want   time.Duration
	}{
		{"silent peer", 0, false, outbound.Timeout},
		{"silent body", 0, true, outbound.Timeout},
		{"earlier deadline of the caller", time.Second, true, time.Second},
		{"later deadline of the caller", time.Minute, true, outbound.Timeout},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				base := roundTripper(func(r *http.Request) (*http.Response, error) {
					if !tt.inBody {
						<-r.Context().Done()
						return nil, r.Context().Err()
					}
					return &http.Response{StatusCode: 200, Body: blockingBody{r.Context()}}, nil
				})
				ctx := t.Context()
				if tt.caller > 0 {
					var cancel context.CancelFunc
					ctx, cancel = context.WithTimeout(ctx, tt.caller)
					defer cancel()
				}
				start := time.Now()
				resp, err := get(ctx, t, outbound.NewClient(base, false), "https://id.example.org/")
				if err == nil {
					_, err = io.ReadAll(resp.Body)
					resp.Body.Close()
				}
				if !errors.Is(err, context.DeadlineExceeded) || time.Since(start) != tt.want {
					t.Errorf("%v after %v, want a deadline after %v", err, time.Since(start), tt.want)
				}
			})
		})
	}
}

func TestContextEndsWithTheBody(t *testing.T) {
	ends := map[string]func(*http.Response){
		"close":    func(r *http.Response) { r.Body.Close() },
		"read all": func(r *http.Response) { _, _ = io.Copy(io.Discard, r.Body) },
	}
	for name, end := range ends {
		t.Run(name, func(t *testing.T) {
			var seen context.Context
			base := roundTripper(func(r *http.Request) (*http.Response, error) {
				seen = r.Context()
				return &http.Response{StatusCode: 200, Body: io.NopCloser(strings.NewReader("x"))}, nil
			})
			resp, err := get(t.Context(), t, outbound.NewClient(base, false), "https://id.example.org/")
			if err != nil {
				t.Fatal(err)
			}
			if seen.Err() != nil {
				t.Fatal("the context ended before the body")
			}
			end(resp)
			if !errors.Is(seen.Err(), context.Canceled) {
				t.Errorf("context error %v, want canceled", seen.Err())
			}
		})
	}
}

func TestErrorsAreQuiet(t *testing.T) {
	raw := func(answer string) string {
		ln, err := net.Listen("tcp", "127.0.0.1:0")
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { ln.Close() })
		go func() {
			for {
				conn, err := ln.Accept()
				if err != nil {
					return
				}
				_, _ = conn.Read(make([]byte, 4096))
				io.WriteString(conn, answer)
				conn.Close()
			}
		}()
		return "http://" + ln.Addr().String()
	}
	urls := map[string]string{
		"refused":    "http://127.0.0.1:1", // a port that no other test can be given
		"garbage":    raw("REMOTE-BYTES\r\n\r\n"),
		"bad header": raw("HTTP/1.1 200 OK\r\nREMOTE-BYTES\r\n\r\n"),
		"location":   raw("HTTP/1.1 302 Found\r\nLocation: http://[REMOTE-BYTES\r\nContent-Length: 0\r\n\r\n"),
		"chunks":     raw("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nREMOTE-BYTES\r\n"),
		"big header": raw("HTTP/1.1 200 OK\r\nX: " + strings.Repeat("a", 70<<10) + "\r\n\r\n{}"),
	}
	for name, url := range urls {
		t.Run(name, func(t *testing.T) {
			var v struct{}
			_, err := outbound.GetJSON(t.Context(), outbound.NewClient(nil, false), url+"/p?code=SECRET", 0, &v)
			if err == nil {
				t.Fatal("no error")
			}
			for _, bad := range []string{"SECRET", "REMOTE", "?"} {
				if strings.Contains(err.Error(), bad) {
					t.Errorf("%q contains %q", err, bad)
				}
			}
		})
	}
	var v struct{}
	c := outbound.NewClient(nil, false)
	for _, url := range []string{"https://USER:SECRET@id.example.org/?SECRET", "https://id.example.org/%zzSECRET"} {
		if _, err := outbound.GetJSON(t.Context(), c, url, 0, &v); err == nil ||
			strings.Contains(err.Error(), "SECRET") || strings.Contains(err.Error(), "USER") {
			t.Errorf("%s: error %v", url, err)
		}
	}
}

func TestRedactKeepsOthers(t *testing.T) {
	if err := outbound.Redact(io.EOF); err != io.EOF {
		t.Errorf("got %v", err)
	}
	if err := outbound.Redact(nil); err != nil {
		t.Errorf("got %v", err)
	}
}

// A name below localhost is this machine, whatever a resolver says (RFC 6761
// §6.3), and is not reached through a proxy.
func TestClientDialsLocalhost(t *testing.T) {
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) { io.WriteString(w, r.Host) }))
	defer server.Close()
	_, port, err := net.SplitHostPort(server.Listener.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	std, ok := http.DefaultTransport.(*http.Transport)
	if !ok {
		t.Fatal("http.DefaultTransport is not an *http.Transport")
	}
	defer func() { http.DefaultTransport = std }()
	changed := std.Clone()
	changed.Proxy = func(*http.Request) (*url.URL, error) { return nil, errors.New("the proxy is asked") }
	http.DefaultTransport = changed
	client := outbound.NewClient(nil, false)
	resp, err := client.Get("http://op.localhost:" + port + "/")
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	if body, err := io.ReadAll(resp.Body); err != nil || string(body) != "op.localhost:"+port {
		t.Errorf("%q, %v", body, err)
	}
	if resp, err := client.Get("https://op.test/"); err == nil {
		resp.Body.Close()
		t.Error("the proxy is not asked for another host")
	}
}
