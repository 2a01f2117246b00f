package signin_test

import (
	"bufio"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"example.com/gatehouse"
	"example.com/gatehouse/internal/e2e/world"
)

// streamWait ends a test whose stream is stuck.
const streamWait = time.Minute

// guardsOfStreams is a site with the handler h behind every kind of guard. It
// returns the addresses of the guards by name.
func guardsOfStreams(t testing.TB, h http.Handler) (*world.Site, map[string]string) {
	t.Helper()
	paths := map[string]string{}
	s := world.NewSite(t, func(o *world.SiteOptions) {
		o.Mount = func(mux *http.ServeMux, login *gatehouse.RelyingParty) {
			rs := world.NewPhotoz(t).ResourceServer(gatehouse.ResourceServerConfig{})
			public := gatehouse.Rules{"/public": gatehouse.Public()}
			private := gatehouse.Rules{"/either": world.Albums.AllOf("view")}
			for name, guard := range map[string]func(http.Handler) http.Handler{
				"require": login.RequireLogin, "optional": login.OptionalLogin, "public": rs.UMAProtect(public),
				"either": gatehouse.Require(gatehouse.Either(login, rs.UMAGuard(private))),
			} {
				paths[name] = "/" + name
				mux.Handle(paths[name], guard(h))
			}
		}
	})
	return s, paths
}

// serveReal puts the site on a real loopback server.
func serveReal(s *world.Site, t testing.TB) *httptest.Server {
	t.Helper()
	server := httptest.NewServer(s.Replicas[0].Mux)
	t.Cleanup(server.Close)
	return server
}

// realRequest is a request as ana's page makes it, with her cookies.
func realRequest(b *world.Visitor, server *httptest.Server, path string, header ...string) *http.Request {
	b.Site.T.Helper()
	r, err := http.NewRequestWithContext(b.Site.T.Context(), http.MethodGet, server.URL+path, nil)
	b.Site.Must(err)
	r.Host = "notes.test"
	r.Header.Set("Origin", b.Site.Origin)
	r.Header.Set("Sec-Fetch-Site", "same-origin")
	for name, value := range b.Cookies() {
		r.AddCookie(&http.Cookie{Name: name, Value: value})
	}
	for i := 0; i+1 < len(header); i += 2 {
		r.Header.Set(header[i], header[i+1])
	}
	return r
}

// Server-sent events: what a handler flushes arrives while it still runs, and
// http.ResponseController reaches the server's own writer behind every guard.
func TestStreamOfEvents(t *testing.T) {
	got := make(chan struct{}) // the client has read the first event
	s, paths := guardsOfStreams(t, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		rc := http.NewResponseController(w)
		for what, err := range map[string]error{
			"SetWriteDeadline": rc.SetWriteDeadline(time.Time{}), "SetReadDeadline": rc.SetReadDeadline(time.Time{}), "EnableFullDuplex": rc.EnableFullDuplex(),
		} {
			if err != nil {
				t.Errorf("%s %s: %v", r.URL.Path, what, err)
			}
		}
		w.Header().Set("Content-Type", "text/event-stream")
		fmt.Fprint(w, "data: first\n\n")
		if err := rc.Flush(); err != nil {
			t.Errorf("%s Flush: %v", r.URL.Path, err)
		}
		select {
		case <-got:
		case <-r.Context().Done():
			return
		}
		fmt.Fprint(w, "data: second\n\n")
	}))
	ana := s.Visitor("ana")
	ana.SignIn()
	server := serveReal(s, t)
	client := server.Client()
	client.Timeout = streamWait
	for name, path := range paths {
		t.Run(name, func(t *testing.T) {
			resp, err := client.Do(realRequest(ana, server, path, "Accept", "text/event-stream"))
			if err != nil {
				t.Fatal(err)
			}
			defer resp.Body.Close()
			lines := bufio.NewReader(resp.Body)
			first, err := lines.ReadString('\n')
			if resp.StatusCode != http.StatusOK || first != "data: first\n" || err != nil {
				t.Fatalf("status %d, %q, %v", resp.StatusCode, first, err)
			}
			got <- struct{}{}
			if rest, err := io.ReadAll(lines); err != nil || string(rest) != "\ndata: second\n\n" {
				t.Errorf("then %q, %v", rest, err)
			}
		})
	}
}

// upgradeAndEcho takes over a connection and answers its one line.
func upgradeAndEcho(t testing.TB) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		who := "nobody"
		if id := gatehouse.IdentityFrom(r.Context()); id != nil {
			who = id.Subject
		}
		conn, rw, err := http.NewResponseController(w).Hijack()
		if err != nil {
			t.Errorf("%s Hijack: %v", r.URL.Path, err)
			return
		}
		defer conn.Close()
		if err := conn.SetDeadline(time.Now().Add(streamWait)); err != nil {
			t.Error(err)
		}
		fmt.Fprint(rw, "HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\r\n")
		if err := rw.Flush(); err != nil {
			t.Error(err)
		}
		line, err := rw.ReadString('\n')
		if err != nil {
			t.Error(err)
		}
		fmt.Fprintf(rw, "%s says %s", who, line)
		if err := rw.Flush(); err != nil {
			t.Error(err)
		}
	})
}

// upgrade makes a WebSocket handshake over its own connection. It returns the
// status and, after a 101, the other side's answer to a line.
func upgrade(b *world.Visitor, server *httptest.Server, path string, header ...string) (status int, said string) {
	b.Site.T.Helper()
	conn, err := net.Dial("tcp", server.Listener.Addr().String())
	b.Site.Must(err)
	defer conn.Close()
	b.Site.Must(conn.SetDeadline(time.Now().Add(streamWait)))
	r := realRequest(b, server, path, append([]string{
		"Connection", "Upgrade", "Upgrade", "websocket", "Sec-WebSocket-Version", "13", "Sec-WebSocket-Key", "dGhlIHNhbXBsZSBub25jZQ==",
		"Sec-Fetch-Mode", "websocket", "Sec-Fetch-Dest", "websocket",
	}, header...)...)
	b.Site.Must(r.Write(conn))
	in := bufio.NewReader(conn)
	resp, err := http.ReadResponse(in, r)
	b.Site.Must(err)
	defer resp.Body.Close()
	if resp.StatusCode != http.StatusSwitchingProtocols {
		return resp.StatusCode, ""
	}
	_, err = io.WriteString(conn, "hello\n")
	b.Site.Must(err)
	said, err = in.ReadString('\n')
	b.Site.Must(err)
	return resp.StatusCode, strings.TrimSuffix(said, "\n")
}

// http.ResponseController.Hijack can take over a WebSocket behind every guard,
// but only for those who may: never for another site with our cookies.
func TestStreamOfWebSocket(t *testing.T) {
	s, paths := guardsOfStreams(t, upgradeAndEcho(t))
	ana, nobody := s.Visitor("ana"), s.Visitor("ana")
	ana.SignIn()
	server := serveReal(s, t)
	evil := []string{"Origin", "https://evil.example", "Sec-Fetch-Site", "cross-site"}
	for _, c := range []struct {
		guard  string
		who    *world.Visitor
		header []string
		status int
		said   string
	}{
		{"require", ana, nil, 101, "ana-1 says hello"},
		{"require", nobody, nil, 401, ""},
		{"require", ana, evil, 403, ""},
		{"optional", ana, nil, 101, "ana-1 says hello"},
		{"optional", nobody, nil, 101, "nobody says hello"},
		{"optional", ana, evil, 101, "nobody says hello"},
		{"public", ana, nil, 101, "nobody says hello"},
		{"public", nobody, evil, 101, "nobody says hello"},
		{"either", ana, nil, 101, "ana-1 says hello"},
		{"either", ana, evil, 403, ""},
		{"either", nobody, []string{"Authorization", "Bearer none-of-theirs"}, 401, ""},
	} {
		status, said := upgrade(c.who, server, paths[c.guard], c.header...)
		if status != c.status || said != c.said {
			t.Errorf("%s with %v: %d %q, want %d %q", c.guard, c.header, status, said, c.status, c.said)
		}
	}
}
