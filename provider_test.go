package gatehouse_test

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"example.com/gatehouse"
)

func ExampleShutdown() {
	provider, err := gatehouse.NewProvider("https://id.example.org", nil)
	if err != nil {
		panic(err)
	}
	login, err := gatehouse.NewRelyingParty(provider, gatehouse.RelyingPartyConfig{
		Client:      gatehouse.Client{ID: "notes", Secret: gatehouse.NewSecret("…")},
		RedirectURL: "https://notes.example.org/auth/callback",
	})
	if err != nil {
		panic(err)
	}
	server := &http.Server{Handler: login.RequireLogin(http.NotFoundHandler())}

	// When the process has to end, stop taking requests, then finish the
	// remaining work.
	ctx, cancel := context.WithTimeout(context.Background(), 30*time.Second)
	defer cancel()
	if err := gatehouse.Shutdown(ctx, server, login); err != nil {
		panic(err)
	}
}

// heldTransport answers every request with the same body after it is released.
type heldTransport struct {
	release chan struct{}
	status  int
	body    string
}

func (h *heldTransport) RoundTrip(r *http.Request) (*http.Response, error) {
	select {
	case <-h.release:
	case <-r.Context().Done():
		return nil, r.Context().Err()
	}
	return &http.Response{StatusCode: h.status, Header: http.Header{}, Body: io.NopCloser(strings.NewReader(h.body)), Request: r}, nil
}

const heldMetadata = `{"issuer":"https://id.example.org","authorization_endpoint":"https://id.example.org/a","token_endpoint":"https://id.example.org/t","jwks_uri":"https://id.example.org/k"}`

// parts returns one value of each type that has a Shutdown, all for the same
// provider.
func parts(t *testing.T, p *gatehouse.Provider) map[string]interface{ Shutdown(context.Context) error } {
	t.Helper()
	client := gatehouse.Client{ID: "app", Secret: gatehouse.NewSecret("s")}
	grants, err1 := gatehouse.NewOwnerGrants(p, gatehouse.OwnerGrantsConfig{Client: client})
	login, err2 := gatehouse.NewRelyingParty(p, gatehouse.RelyingPartyConfig{
		Client: client, RedirectURL: "https://app.example.org/cb", OwnerGrants: grants,
	})
	api, err3 := gatehouse.NewResourceServer(p, gatehouse.ResourceServerConfig{Client: client})
	uma, err4 := gatehouse.NewUMATransport(p, gatehouse.UMATransportConfig{Client: client})
	if err := errors.Join(err1, err2, err3, err4); err != nil {
		t.Fatal(err)
	}
	return map[string]interface{ Shutdown(context.Context) error }{
		"Provider": p, "Sessions": login.Sessions(), "RelyingParty": login, "ResourceServer": api, "OwnerGrants": grants, "UMATransport": uma,
	}
}

// A fetch that outlives its request is waited for by the Shutdown of
// everything that uses the provider.
func TestShutdownWaitsForTheProvider(t *testing.T) {
	for _, name := range []string{"Provider", "Sessions", "RelyingParty", "ResourceServer", "OwnerGrants", "UMATransport"} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				held := &heldTransport{release: make(chan struct{}), status: 200, body: heldMetadata}
				p, err := gatehouse.NewProvider("https://id.example.org", &gatehouse.ProviderConfig{Transport: held})
				if err != nil {
					t.Fatal(err)
				}
				part := parts(t, p)[name]
				if err := part.Shutdown(t.Context()); err != nil {
					t.Errorf("with nothing under way: %v", err)
				}
				if _, err := p.Metadata(t.Context()); gatehouse.ErrorCode(err) != gatehouse.CodeProviderUnavailable {
					t.Fatalf("metadata of a provider that hangs: %v", err)
				}
				ctx, cancel := context.WithTimeout(t.Context(), time.Second)
				defer cancel()
				if err := part.Shutdown(ctx); !errors.Is(err, context.DeadlineExceeded) {
					t.Errorf("Shutdown did not wait: %v", err)
				}
				close(held.release)
				if err := part.Shutdown(t.Context()); err != nil {
					t.Error(err)
				}
				if md, err := p.Metadata(t.Context()); err != nil || md.TokenEndpoint == "" {
					t.Errorf("Shutdown returned before the fetch was done: %v", err)
				}
			})
		})
	}
}

// slowTransport answers each request after some time and counts those under
// way.
type slowTransport struct {
	body    string
	takes   time.Duration
	asked   atomic.Int32
	running atomic.Int32
}

func (s *slowTransport) RoundTrip(r *http.Request) (*http.Response, error) {
	s.asked.Add(1)
	s.running.Add(1)
	defer s.running.Add(-1)
	time.Sleep(s.takes) // the bubble's clock
	return &http.Response{StatusCode: 200, Header: http.Header{}, Body: io.NopCloser(strings.NewReader(s.body)), Request: r}, nil
}

func newSlow(t *testing.T) (*slowTransport, *gatehouse.Provider) {
	t.Helper()
	server := &slowTransport{body: heldMetadata, takes: 2 * time.Second}
	p, err := gatehouse.NewProvider("https://id.example.org", &gatehouse.ProviderConfig{Transport: server})
	if err != nil {
		t.Fatal(err)
	}
	return server, p
}

// A fetch of UMA metadata starts one of OpenID metadata when it is done. No
// Shutdown returns in between.
func TestShutdownWaitsForOneFetchAfterAnother(t *testing.T) {
	for _, name := range []string{"Provider", "Sessions", "RelyingParty", "ResourceServer", "OwnerGrants", "UMATransport"} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				server, p := newSlow(t)
				all := parts(t, p)
				if _, err := all["OwnerGrants"].(*gatehouse.OwnerGrants).PAT(t.Context(), "", gatehouse.Secret{}); err == nil {
					t.Fatal("a token without metadata")
				}
				if err := all[name].Shutdown(t.Context()); err != nil {
					t.Error(err)
				}
				if server.asked.Load() != 2 || server.running.Load() != 0 {
					t.Errorf("%d requests, %d under way; want both documents fetched", server.asked.Load(), server.running.Load())
				}
			})
		})
	}
}

// Two relying parties of one client may have a Provider each. The Shutdown of
// their Sessions waits for both.
func TestSessionsShutdownWaitsForEveryProvider(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		sessions, err := gatehouse.NewSessions(gatehouse.SessionsConfig{Store: gatehouse.NewMemoryStore(nil)})
		if err != nil {
			t.Fatal(err)
		}
		servers, providers := make([]*slowTransport, 2), make([]*gatehouse.Provider, 2)
		for i := range servers {
			servers[i], providers[i] = newSlow(t)
			if _, err := gatehouse.NewRelyingParty(providers[i], gatehouse.RelyingPartyConfig{
				Client:      gatehouse.Client{ID: "app", Secret: gatehouse.NewSecret("s")},
				RedirectURL: "https://app.example.org/cb", Sessions: sessions,
			}); err != nil {
				t.Fatal(err)
			}
		}
		for i, p := range providers {
			if _, err := p.Metadata(t.Context()); err == nil { // it waits for less than the fetch takes
				t.Fatal("metadata before the answer")
			}
			if err := sessions.Shutdown(t.Context()); err != nil || servers[i].running.Load() != 0 {
				t.Errorf("provider %d: %v, %d requests under way", i, err, servers[i].running.Load())
			}
		}
	})
}

// A part may start work in one that Shutdown has already waited for. Shutdown
// comes back to it, whatever the order of the parts.
func TestShutdownComesBack(t *testing.T) {
	for name, forward := range map[string]bool{"used first": true, "used last": false} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				used, other := newSlow(t)
				server := &sharedServer{}
				p, err := gatehouse.NewProvider("https://id.example.org", &gatehouse.ProviderConfig{Transport: server})
				if err != nil {
					t.Fatal(err)
				}
				uma, err := gatehouse.NewUMATransport(p, gatehouse.UMATransportConfig{
					Client: gatehouse.Client{ID: "app", Secret: gatehouse.NewSecret("s")}, Base: server,
					Party: func(context.Context) string { return "ana" },
					Claims: func(ctx context.Context) (gatehouse.ClaimToken, error) {
						time.Sleep(time.Second)
						_, err := other.Metadata(ctx) // gives up before the fetch is done
						return gatehouse.ClaimToken{}, err
					},
				})
				if err != nil {
					t.Fatal(err)
				}
				ctx, cancel := context.WithTimeout(t.Context(), time.Second)
				defer cancel()
				r, err := http.NewRequestWithContext(ctx, "GET", "https://photos.example.org/photo", nil)
				if err != nil {
					t.Fatal(err)
				}
				if _, err := uma.RoundTrip(r); !errors.Is(err, context.DeadlineExceeded) {
					t.Fatalf("RoundTrip: %v", err)
				}
				all := []interface{ Shutdown(context.Context) error }{other, p, uma}
				if !forward {
					slices.Reverse(all)
				}
				if err := gatehouse.Shutdown(t.Context(), all...); err != nil || used.asked.Load() != 1 || used.running.Load() != 0 {
					t.Errorf("%v, %d requests, %d under way", err, used.asked.Load(), used.running.Load())
				}
			})
		})
	}
}

// ending is a part that records when it is shut down.
type ending struct {
	name string
	log  *[]string
	err  error
}

func (e ending) Shutdown(context.Context) error {
	*e.log = append(*e.log, e.name)
	return e.err
}

func TestShutdown(t *testing.T) {
	var log []string
	first, third := errors.New("first"), errors.New("third")
	err := gatehouse.Shutdown(t.Context(), ending{"a", &log, first}, nil, ending{"b", &log, nil}, ending{"c", &log, third})
	if !errors.Is(err, first) || !errors.Is(err, third) || strings.Join(log, "") != "abc" {
		t.Errorf("%v, ended %q", err, log)
	}
	if err := gatehouse.Shutdown(t.Context()); err != nil {
		t.Error(err)
	}
	// Pointers that are nil are skipped too.
	if err := gatehouse.Shutdown(t.Context(), (*http.Server)(nil), (*gatehouse.Provider)(nil), (*gatehouse.Sessions)(nil), (*gatehouse.RelyingParty)(nil),
		(*gatehouse.OwnerGrants)(nil), (*gatehouse.ResourceServer)(nil), (*gatehouse.UMATransport)(nil)); err != nil {
		t.Error(err)
	}
}

// tlsProvider serves metadata over TLS and counts the requests. http.DefaultTransport
// and the client of the server reach it in memory.
func tlsProvider(t testing.TB, config *tls.Config) (*httptest.Server, *atomic.Int32) {
	t.Helper()
	var asked atomic.Int32
	var issuer string
	server := httptest.NewUnstartedServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		asked.Add(1)
		w.Header().Set("Content-Type", "application/json")
		fmt.Fprintf(w, `{"issuer":%q,"authorization_endpoint":%q}`, issuer, issuer+"/az")
	}))
	server.Config.ErrorLog = slog.NewLogLogger(slog.DiscardHandler, slog.LevelError)
	server.TLS = config
	pipes := newPipeListener()
	server.Listener.Close()
	server.Listener = pipes
	server.StartTLS()
	t.Cleanup(server.Close)
	std, ok := http.DefaultTransport.(*http.Transport)
	if !ok {
		t.Fatal("http.DefaultTransport is not an *http.Transport")
	}
	t.Cleanup(func() { http.DefaultTransport = std })
	piped := std.Clone()
	piped.DialContext = pipes.dial
	http.DefaultTransport = piped
	trusting, ok := server.Client().Transport.(*http.Transport)
	if !ok {
		t.Fatal("the client of the server has another transport")
	}
	trusting.DialContext = pipes.dial
	issuer = server.URL
	return server, &asked
}

// pipeListener listens in memory, so that a handshake can run in a bubble of
// testing/synctest, where a slow machine cannot miss a deadline.
type pipeListener struct {
	conns chan net.Conn
	close func()
}

func newPipeListener() pipeListener {
	conns := make(chan net.Conn)
	return pipeListener{conns, sync.OnceFunc(func() { close(conns) })}
}

func (l pipeListener) Accept() (net.Conn, error) {
	if conn, open := <-l.conns; open {
		return conn, nil
	}
	return nil, net.ErrClosed
}

func (l pipeListener) Close() error   { l.close(); return nil }
func (l pipeListener) Addr() net.Addr { return &net.TCPAddr{IP: net.IPv4(127, 0, 0, 1), Port: 443} }

func (l pipeListener) dial(context.Context, string, string) (net.Conn, error) {
	here, there := net.Pipe()
	l.conns <- there
	return here, nil
}

// metadataOf fetches the metadata of a provider over the given transport.
func metadataOf(t testing.TB, issuer string, transport http.RoundTripper) error {
	t.Helper()
	p, err := gatehouse.NewProvider(issuer, &gatehouse.ProviderConfig{Transport: transport, Logger: slog.New(slog.DiscardHandler)})
	if err != nil {
		t.Fatal(err)
	}
	_, err = p.Metadata(t.Context())
	return err
}

// The back channel does not trust a self-signed certificate (RFC 9110 §4.3.4),
// not even on loopback, and reports it as an unavailable provider.
func TestBackChannelChecksCertificates(t *testing.T) { synctest.Test(t, testCertificates) }

func testCertificates(t *testing.T) {
	server, asked := tlsProvider(t, nil)
	err := metadataOf(t, server.URL, nil)
	e, ok := errors.AsType[*gatehouse.Error](err)
	if !ok || e.Code != "certificate_refused" || e.RetryAfter != 0 || !strings.Contains(fmt.Sprint(err), "certificate") || asked.Load() != 0 {
		t.Errorf("error %v after %d requests; want a refused certificate", err, asked.Load())
	}
	insecure, err := gatehouse.NewProvider(server.URL, &gatehouse.ProviderConfig{InsecureHTTP: true, Logger: slog.New(slog.DiscardHandler)})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := insecure.Metadata(t.Context()); err == nil || asked.Load() != 0 {
		t.Errorf("error %v after %d requests: InsecureHTTP is about http, not about certificates", err, asked.Load())
	}
	if err := metadataOf(t, server.URL, server.Client().Transport); err != nil || asked.Load() != 1 {
		t.Errorf("error %v with the certificate trusted", err)
	}
}

// A server that does not speak TLS at an https address is no outage either:
// somebody has to mend the address or the server.
func TestBackChannelWithoutTLS(t *testing.T) {
	for _, greeting := range []string{"HTTP/1.1 400 Bad Request\r\n\r\n", "220 mail.example.org ESMTP marker-of-the-peer\r\n"} {
		transport := &http.Transport{DialContext: func(context.Context, string, string) (net.Conn, error) {
			here, there := net.Pipe()
			go func() {
				_, _ = there.Read(make([]byte, 1<<16)) // the hello of the client
				_, _ = there.Write([]byte(greeting))
				there.Close()
			}()
			return here, nil
		}}
		err := metadataOf(t, "https://op.test", transport)
		if e, ok := errors.AsType[*gatehouse.Error](err); !ok || e.Code != "certificate_refused" || e.RetryAfter != 0 || strings.Contains(err.Error(), "marker") {
			t.Errorf("%q: error %v, want certificate_refused", greeting, err)
		}
	}
}

// The back channel uses at least TLS 1.2 (RFC 9325 §3.1.1), even if the
// process has lowered that for http.DefaultTransport.
func TestBackChannelTLSVersion(t *testing.T) {
	for version, good := range map[uint16]bool{tls.VersionTLS10: false, tls.VersionTLS11: false, tls.VersionTLS12: true, tls.VersionTLS13: true} {
		t.Run(tls.VersionName(version), func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				server, asked := tlsProvider(t, &tls.Config{MinVersion: tls.VersionTLS10, MaxVersion: version})
				roots := x509.NewCertPool()
				roots.AddCert(server.Certificate())
				lax, ok := http.DefaultTransport.(*http.Transport)
				if !ok {
					t.Fatal("http.DefaultTransport is not an *http.Transport")
				}
				lax.TLSClientConfig = &tls.Config{RootCAs: roots, MinVersion: tls.VersionTLS10}
				err := metadataOf(t, server.URL, nil)
				if (err == nil) != good || (asked.Load() == 1) != good {
					t.Errorf("error %v after %d requests", err, asked.Load())
				}
			})
		})
	}
}

// The constructor fails for every endpoint that is in clear text, and names it
// (RFC 9700 §2.6).
func TestMetadataEndpointsInClearText(t *testing.T) {
	for _, member := range []string{
		"authorization_endpoint", "token_endpoint", "userinfo_endpoint", "jwks_uri", "end_session_endpoint",
		"revocation_endpoint", "introspection_endpoint", "permission_endpoint", "resource_registration_endpoint",
	} {
		for _, address := range []string{"http://id.example.org/x", "/x", "https://id.example.org/x#y"} {
			t.Run(member+" "+address, func(t *testing.T) {
				var md gatehouse.Metadata
				if err := json.Unmarshal(fmt.Appendf(nil, `{%q:%q}`, member, address), &md); err != nil {
					t.Fatal(err)
				}
				err := provider("https://id.example.org", gatehouse.ProviderConfig{Metadata: &md})
				if err == nil || !strings.Contains(err.Error(), member+":") {
					t.Errorf("error %v, want one that names %s", err, member)
				}
			})
		}
	}
}
