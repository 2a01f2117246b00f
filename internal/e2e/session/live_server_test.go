package session_test

import (
	"bufio"
	"context"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"net/http/httputil"
	"net/url"
	"testing"
	"time"

	"example.com/gatehouse"
	"example.com/gatehouse/internal/e2e/world"
)

// An http.Server waits for event streams when it shuts down. Shutdown ends them
// first, also those that only learn of it from their context.
func TestLiveServerShutdown(t *testing.T) {
	for _, how := range []string{"Shutdown", "Shutdown over HTTP/2", "Shutdown of Logins", "RegisterOnShutdown"} {
		t.Run(how, func(t *testing.T) {
			causes := make(chan error, 2)
			var logins *gatehouse.Logins
			s := world.NewSite(t, func(o *world.SiteOptions) {
				o.Mount = func(mux *http.ServeMux, login *gatehouse.RelyingParty) {
					var err error
					if logins, err = gatehouse.NewLogins(gatehouse.LoginsConfig{}, login); err != nil {
						t.Fatal(err)
					}
					mux.Handle("/events", logins.RequireLogin(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
						ctx := gatehouse.Live(r.Context())
						_, _ = io.WriteString(w, "data: here\n\n")
						_ = http.NewResponseController(w).Flush()
						<-ctx.Done()
						causes <- context.Cause(ctx)
					})))
				}
			})
			ana := s.Visitor("ana")
			ana.SignIn()
			site, version := httptest.NewUnstartedServer(s.Replicas[0].Mux), 1
			if how == "Shutdown over HTTP/2" {
				version, site.EnableHTTP2 = 2, true
				site.StartTLS()
			} else {
				site.Start()
			}
			defer site.Close()
			server := site.Config
			r, err := http.NewRequestWithContext(t.Context(), http.MethodGet, site.URL+"/events", nil)
			s.Must(err)
			r.Header.Set("Cookie", ana.SessionName()+"="+ana.SessionCookie())
			var open [2]io.ReadCloser
			for i := range open {
				resp, err := site.Client().Do(r)
				s.Must(err)
				open[i] = resp.Body
				if line, err := bufio.NewReader(resp.Body).ReadString('\n'); err != nil || line != "data: here\n" || resp.ProtoMajor != version {
					t.Fatalf("%s: %q, %v", resp.Proto, line, err)
				}
			}
			ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
			defer cancel()
			login := s.Replicas[0].Login
			switch how {
			case "Shutdown", "Shutdown over HTTP/2":
				s.Must(gatehouse.Shutdown(ctx, server, login))
			case "Shutdown of Logins":
				s.Must(gatehouse.Shutdown(ctx, server, logins))
			default:
				server.RegisterOnShutdown(func() { _ = login.Shutdown(ctx) })
				s.Must(server.Shutdown(ctx))
			}
			for i := range open {
				if code := gatehouse.ErrorCode(<-causes); code != gatehouse.CodeShuttingDown {
					t.Errorf("stream %d ended with %q", i, code)
				}
				if _, err := io.ReadAll(open[i]); err != nil {
					t.Errorf("stream %d was cut: %v", i, err)
				}
				s.Must(open[i].Close())
			}
		})
	}
}

// The tunnel of a reverse proxy is closed when the context of its request ends, and
// so is a connection that the handler has hijacked itself.
func TestLiveHijacked(t *testing.T) {
	upstream := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) { echo(w, r, t.Context()) }))
	defer upstream.Close()
	at, err := url.Parse(upstream.URL)
	if err != nil {
		t.Fatal(err)
	}
	for name, serve := range map[string]http.HandlerFunc{
		"reverse proxy": func(w http.ResponseWriter, r *http.Request) {
			proxy := &httputil.ReverseProxy{Rewrite: func(pr *httputil.ProxyRequest) { pr.SetURL(at) }}
			proxy.ServeHTTP(w, r.WithContext(gatehouse.Live(r.Context())))
		},
		"own handler": func(w http.ResponseWriter, r *http.Request) { echo(w, r, gatehouse.Live(r.Context())) },
	} {
		t.Run(name, func(t *testing.T) {
			s := world.NewSite(t, func(o *world.SiteOptions) {
				o.Mount = func(mux *http.ServeMux, login *gatehouse.RelyingParty) {
					mux.Handle("/socket", login.RequireLogin(serve))
				}
			})
			ana := s.Visitor("ana")
			ana.SignIn()
			server := httptest.NewServer(s.Replicas[0].Mux)
			defer server.Close()
			conn, err := net.Dial("tcp", server.Listener.Addr().String())
			s.Must(err)
			defer conn.Close()
			s.Must(conn.SetDeadline(time.Now().Add(time.Minute)))
			_, err = fmt.Fprintf(conn, "GET /socket HTTP/1.1\r\nHost: notes.test\r\nOrigin: https://notes.test\r\nConnection: Upgrade\r\nUpgrade: websocket\r\nCookie: %s=%s\r\n\r\n",
				ana.SessionName(), ana.SessionCookie())
			s.Must(err)
			in := bufio.NewReader(conn)
			resp, err := http.ReadResponse(in, nil)
			if err != nil || resp.StatusCode != http.StatusSwitchingProtocols {
				t.Fatalf("%+v, %v", resp, err)
			}
			for range 2 {
				_, err := io.WriteString(conn, "hello\n")
				s.Must(err)
				if line, err := in.ReadString('\n'); err != nil || line != "hello\n" {
					t.Fatalf("%q, %v", line, err)
				}
			}
			s.Shutdown(0)
			if n, err := io.Copy(io.Discard, in); err != nil || n != 0 {
				t.Errorf("%d bytes more, %v; want the end of the connection", n, err)
			}
		})
	}
}

// echo takes the connection over, and sends back what comes, line by line, until
// ctx ends.
func echo(w http.ResponseWriter, r *http.Request, ctx context.Context) {
	conn, buffered, err := http.NewResponseController(w).Hijack()
	if err != nil {
		http.Error(w, err.Error(), http.StatusInternalServerError)
		return
	}
	defer conn.Close()
	stop := context.AfterFunc(ctx, func() { _ = conn.Close() })
	defer stop()
	_, _ = fmt.Fprintf(conn, "HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: %s\r\n\r\n", r.Header.Get("Upgrade"))
	for {
		line, err := buffered.ReadString('\n')
		if err != nil {
			return
		}
		_, _ = io.WriteString(conn, line)
	}
}
