package signin_test

import (
	"bufio"
	"context"
	"io"
	"log/slog"
	"net"
	"net/http"
	"testing"
	"testing/synctest"
	"time"

	"example.com/gatehouse"
	"example.com/gatehouse/internal/e2e/world"
)

// pipes is a listener in memory, whose connections keep deadlines by the clock
// of the bubble.
type pipes chan net.Conn

func (p pipes) Accept() (net.Conn, error) {
	if c, ok := <-p; ok {
		return c, nil
	}
	return nil, net.ErrClosed
}

func (p pipes) Close() error   { return nil }
func (p pipes) Addr() net.Addr { return &net.UnixAddr{} }

// A body that does not arrive ends within 5 s at each of our handlers, whether
// its length was announced or not. The next request of an honest connection is
// served.
func TestSlowBodies(t *testing.T) {
	for _, path := range []string{"/auth/login", "/auth/logout", "/auth/callback", "/auth/session", "/auth/none"} {
		for _, length := range []string{"Content-Length: 100", "Transfer-Encoding: chunked"} {
			t.Run(path+" "+length, func(t *testing.T) {
				synctest.Test(t, func(t *testing.T) {
					p := make(pipes)
					server := &http.Server{Handler: quietSite(t)}
					go func() { _ = server.Serve(p) }()
					defer close(p)
					client, conn := net.Pipe()
					defer func() { _ = client.Close() }()
					p <- conn
					began := time.Now()
					send := "POST " + path + " HTTP/1.1\r\nHost: notes.test\r\nOrigin: https://notes.test\r\nContent-Type: application/x-www-form-urlencoded\r\n" + length + "\r\n\r\n"
					if length != "Content-Length: 100" {
						send += "5\r\na=b&c\r\n"
					}
					if _, err := io.WriteString(client, send+"x"); err != nil {
						t.Fatal(err)
					}
					answer, err := http.ReadResponse(bufio.NewReader(client), nil)
					if err != nil {
						t.Fatal(err)
					}
					_, _ = io.Copy(io.Discard, answer.Body)
					_, _ = io.Copy(io.Discard, client) // until the server hangs up
					if took := time.Since(began); took > 6*time.Second || answer.StatusCode >= 500 {
						t.Errorf("%s after %v", answer.Status, took)
					}
					if path == "/auth/login" && length == "Content-Length: 100" && answer.StatusCode != http.StatusRequestTimeout {
						t.Errorf("got %s, want 408", answer.Status)
					}
				})
			})
		}
	}
}

// quietSite is a site without a log, whose provider needs no network.
func quietSite(t *testing.T) http.Handler {
	provider, err := gatehouse.NewProvider(world.SiteIssuer, &gatehouse.ProviderConfig{
		Logger:   slog.New(slog.DiscardHandler),
		Metadata: &gatehouse.Metadata{AuthorizationEndpoint: "https://op.test/a", TokenEndpoint: "https://op.test/t", JWKSURI: "https://op.test/k", UserInfoEndpoint: "https://op.test/u"},
	})
	if err != nil {
		t.Fatal(err)
	}
	login, err := gatehouse.NewRelyingParty(provider, gatehouse.RelyingPartyConfig{
		Client: gatehouse.Client{ID: "notes", Secret: gatehouse.NewSecret(world.SiteSecret)}, RedirectURL: "https://notes.test/auth/callback",
	})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = login.Shutdown(context.Background()) })
	return login.Handler()
}
