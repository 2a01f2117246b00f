package signin_test

import (
	"bufio"
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"example.com/gatehouse"
	"example.com/gatehouse/internal/e2e/world"
	"example.com/gatehouse/internal/testkit/opserver"
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

// plainWriter hides everything of a ResponseWriter but its three methods, as
// many middlewares do.
type plainWriter struct{ w http.ResponseWriter }

func (p plainWriter) Header() http.Header         { return p.w.Header() }
func (p plainWriter) Write(b []byte) (int, error) { return p.w.Write(b) }
func (p plainWriter) WriteHeader(status int)      { p.w.WriteHeader(status) }

func plainly(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) { next.ServeHTTP(plainWriter{w}, r) })
}

// slowly starts a server in the bubble, and returns a connection to it.
func slowly(t *testing.T, server *http.Server) net.Conn {
	p := make(pipes)
	go func() { _ = server.Serve(p) }()
	client, conn := net.Pipe()
	t.Cleanup(func() { _ = client.Close(); close(p) })
	p <- conn
	return client
}

// writers are those below which a body may be slow.
func writers() map[string]func(http.Handler) http.Handler {
	return map[string]func(http.Handler) http.Handler{"bare": func(h http.Handler) http.Handler { return h }, "wrapped": plainly}
}

// slowBody sends a request whose body does not arrive, with a header that says how
// long it is. The answer has to come within 5 s, and the server hangs up. Below a
// writer that takes no deadline, at least the answer is there.
func slowBody(t *testing.T, h http.Handler, method, path, header string, hangsUp bool) *http.Response {
	client := slowly(t, &http.Server{Handler: h})
	if err := client.SetDeadline(time.Now().Add(time.Hour)); err != nil { // what is never answered is seen then
		t.Fatal(err)
	}
	began := time.Now()
	send := method + " " + path + " HTTP/1.1\r\nHost: notes.test\r\nOrigin: https://notes.test\r\nContent-Type: application/x-www-form-urlencoded\r\n" + header + "\r\n\r\n"
	if strings.HasSuffix(header, "chunked") {
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
	if hangsUp {
		_, _ = io.Copy(io.Discard, client)
	}
	if took := time.Since(began); took > 6*time.Second || answer.StatusCode >= 500 || !answer.Close {
		t.Errorf("%s after %v, closes %v", answer.Status, took, answer.Close)
	}
	return answer
}

// A body that does not arrive ends within 5 s at each of our handlers, whatever the
// method, whether its length was announced or not, and what else is wrong with the
// request.
func TestSlowBodies(t *testing.T) {
	for _, path := range []string{"/auth/login", "/auth/logout", "/auth/callback", "/auth/session", "/auth/none", "/auth/claims", "/auth/backchannel-logout", "/auth/frontchannel-logout"} {
		for name, header := range map[string]string{
			"announced": "Content-Length: 100", "chunked": "Transfer-Encoding: chunked", "too large": "Content-Length: 100000",
			"prefetch": "Content-Length: 100\r\nSec-Purpose: prefetch", "foreign": "Content-Length: 100\r\nSec-Fetch-Site: cross-site",
		} {
			for wrapped, wrap := range writers() {
				for _, method := range []string{http.MethodPost, http.MethodGet, http.MethodPut, http.MethodOptions} {
					t.Run(method+" "+path+" "+name+" "+wrapped, func(t *testing.T) {
						synctest.Test(t, func(t *testing.T) {
							answer := slowBody(t, wrap(quietSite(t)), method, path, header, wrapped == "bare")
							if method == http.MethodPost && path == "/auth/login" && name == "announced" && answer.StatusCode != http.StatusRequestTimeout {
								t.Errorf("got %s, want 408", answer.Status)
							}
						})
					})
				}
			}
		}
	}
}

// The same holds for the documents that we serve.
func TestSlowBodiesOfDocuments(t *testing.T) {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	provider, err := gatehouse.NewProvider(world.SiteIssuer, &gatehouse.ProviderConfig{Logger: slog.New(slog.DiscardHandler)})
	if err != nil {
		t.Fatal(err)
	}
	api, err := gatehouse.NewResourceServer(provider, gatehouse.ResourceServerConfig{Audience: []string{"https://notes.test"}})
	if err != nil {
		t.Fatal(err)
	}
	for document, h := range map[string]http.Handler{
		"keys": gatehouse.JWKSHandler(gatehouse.Client{ID: "notes", Key: key, KeyID: "one"}), "metadata": api.MetadataHandler(),
	} {
		for wrapped, wrap := range writers() {
			for _, method := range []string{http.MethodGet, http.MethodPost} {
				for _, header := range []string{"Content-Length: 100", "Transfer-Encoding: chunked"} {
					t.Run(method+" "+document+" "+wrapped+" "+header, func(t *testing.T) {
						synctest.Test(t, func(t *testing.T) { slowBody(t, wrap(h), method, "/", header, wrapped == "bare") })
					})
				}
			}
		}
	}
}

// Over HTTP/2 the deadline is that of the stream: the others go on.
func TestSlowBodiesHTTP2(t *testing.T) {
	for wrapped, wrap := range writers() {
		t.Run(wrapped, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				both := new(http.Protocols)
				both.SetUnencryptedHTTP2(true)
				conn := slowly(t, &http.Server{Handler: wrap(quietSite(t)), Protocols: both})
				transport := &http.Transport{Protocols: both, DialContext: func(context.Context, string, string) (net.Conn, error) { return conn, nil }}
				defer transport.CloseIdleConnections()
				hold, release := io.Pipe()
				defer func() { _ = release.Close() }()
				slow, err := http.NewRequest(http.MethodPost, "http://notes.test/auth/login", hold)
				if err != nil {
					t.Fatal(err)
				}
				slow.ContentLength = 100
				for name, value := range map[string]string{"Origin": "https://notes.test", "Content-Type": "application/x-www-form-urlencoded"} {
					slow.Header.Set(name, value)
				}
				began := time.Now()
				answer, err := transport.RoundTrip(slow)
				if err != nil || answer.StatusCode != http.StatusRequestTimeout || time.Since(began) > 6*time.Second {
					t.Fatalf("%v, %v after %v, want 408", answer, err, time.Since(began))
				}
				_ = answer.Body.Close()
				next, err := http.NewRequest(http.MethodGet, "http://notes.test/auth/session", nil)
				if err != nil {
					t.Fatal(err)
				}
				answer, err = transport.RoundTrip(next)
				if err != nil || answer.StatusCode != http.StatusOK {
					t.Fatalf("the next request: %v, %v", answer, err)
				}
				_ = answer.Body.Close()
			})
		})
	}
}

// The deadline ends with the request: a connection whose bodies arrive serves
// on, also long after.
func TestHonestBodies(t *testing.T) {
	for wrapped, wrap := range writers() {
		t.Run(wrapped, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				client := slowly(t, &http.Server{Handler: wrap(quietSite(t))})
				in := bufio.NewReader(client)
				for range 3 {
					form := "return_to=/notes/"
					if _, err := fmt.Fprintf(client, "POST /auth/login HTTP/1.1\r\nHost: notes.test\r\nOrigin: https://notes.test\r\nContent-Type: application/x-www-form-urlencoded\r\nContent-Length: %d\r\n\r\n", len(form)); err != nil {
						t.Fatal(err)
					}
					time.Sleep(4 * time.Second) // the bubble's clock
					if _, err := io.WriteString(client, form); err != nil {
						t.Fatal(err)
					}
					answer, err := http.ReadResponse(in, nil)
					if err != nil || answer.StatusCode != http.StatusSeeOther || answer.Close {
						t.Fatalf("%v, %v", answer, err)
					}
					time.Sleep(time.Minute)
				}
			})
		})
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

// 500 connections that begin a logout and never finish it change nothing for an
// honest one: it is answered at once. They get 400 after 5 s, and nothing of
// them is left.
func TestSlowLogoutRequests(t *testing.T) {
	const slow = 500
	for wrapped, wrap := range writers() {
		t.Run(wrapped, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				w := world.New(t, world.SiteIssuer)
				w.Must(w.AddClient(opserver.Client{ID: "notes", Secret: world.SiteSecret, IDTokenAlg: "ES256"}))
				login, err := gatehouse.NewRelyingParty(w.Provider(), gatehouse.RelyingPartyConfig{
					Client: gatehouse.Client{ID: "notes", Secret: gatehouse.NewSecret(world.SiteSecret)}, RedirectURL: "https://notes.test/auth/callback",
				})
				w.Must(err)
				listener := make(pipes)
				server := &http.Server{Handler: wrap(login.Handler())}
				go func() { _ = server.Serve(listener) }()
				t.Cleanup(func() { close(listener); _ = server.Close(); _ = login.Shutdown(context.Background()) })
				post := func(length int, body string) net.Conn {
					client, conn := net.Pipe()
					listener <- conn
					_, err := fmt.Fprintf(client, "POST /auth/backchannel-logout HTTP/1.1\r\nHost: notes.test\r\nContent-Type: application/x-www-form-urlencoded\r\nContent-Length: %d\r\n\r\n%s", length, body)
					w.Must(err)
					return client
				}
				status := func(client net.Conn) int {
					answer, err := http.ReadResponse(bufio.NewReader(client), nil)
					if err != nil {
						return 0
					}
					_, _ = io.Copy(io.Discard, answer.Body)
					_ = client.Close()
					return answer.StatusCode
				}
				answers := make(chan int, slow)
				for range slow {
					client := post(60<<10, "logout_token=x")
					go func() { answers <- status(client) }()
				}
				began := time.Now()
				token, err := w.LogoutToken("notes", map[string]any{"sub": "ana-1"})
				w.Must(err)
				form := "logout_token=" + token
				if got := status(post(len(form), form)); got != http.StatusOK || time.Since(began) > 0 {
					t.Errorf("the honest logout: %d after %v", got, time.Since(began))
				}
				for range slow {
					if got := <-answers; got != http.StatusBadRequest {
						t.Fatalf("a slow one: %d, want 400", got)
					}
				}
				if took := time.Since(began); took > 6*time.Second {
					t.Errorf("the slow ones are answered after %v", took)
				}
			})
		})
	}
}
