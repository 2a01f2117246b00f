package gatehouse_test

import (
	"crypto/tls"
	"crypto/x509"
	"encoding/json"
	"fmt"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/alexedwards/scs/v2"

	"example.com/gatehouse"
)

// tlsProvider is a provider that answers metadata over TLS, and counts how often.
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
	server.StartTLS()
	t.Cleanup(server.Close)
	issuer = server.URL
	return server, &asked
}

// metadataOf asks a provider with the given transport for its metadata.
func metadataOf(t testing.TB, issuer string, transport http.RoundTripper) error {
	t.Helper()
	p, err := gatehouse.NewProvider(issuer, &gatehouse.ProviderConfig{Transport: transport, Logger: slog.New(slog.DiscardHandler)})
	if err != nil {
		t.Fatal(err)
	}
	_, err = p.Metadata(t.Context())
	return err
}

// The back channel trusts no certificate that nobody signed (RFC 9110 §4.3.4),
// on loopback neither, and says so as trouble of the provider.
func TestBackChannelChecksCertificates(t *testing.T) {
	server, asked := tlsProvider(t, nil)
	err := metadataOf(t, server.URL, nil)
	if gatehouse.ErrorCode(err) != "provider_unavailable" || !strings.Contains(fmt.Sprint(err), "certificate") || asked.Load() != 0 {
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

// The back channel speaks TLS 1.2 at least (RFC 9325 §3.1.1), also where the
// process has lowered that for http.DefaultTransport.
func TestBackChannelTLSVersion(t *testing.T) {
	std, ok := http.DefaultTransport.(*http.Transport)
	if !ok {
		t.Fatal("http.DefaultTransport is no *http.Transport")
	}
	defer func() { http.DefaultTransport = std }()
	for version, good := range map[uint16]bool{tls.VersionTLS10: false, tls.VersionTLS11: false, tls.VersionTLS12: true, tls.VersionTLS13: true} {
		t.Run(tls.VersionName(version), func(t *testing.T) {
			server, asked := tlsProvider(t, &tls.Config{MinVersion: tls.VersionTLS10, MaxVersion: version})
			roots := x509.NewCertPool()
			roots.AddCert(server.Certificate())
			lax := std.Clone()
			lax.TLSClientConfig = &tls.Config{RootCAs: roots, MinVersion: tls.VersionTLS10}
			http.DefaultTransport = lax
			err := metadataOf(t, server.URL, nil)
			if (err == nil) != good || (asked.Load() == 1) != good {
				t.Errorf("error %v after %d requests", err, asked.Load())
			}
		})
	}
}

// Each endpoint of the metadata that is in clear text is named, and stops the
// constructor (RFC 9700 §2.6).
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

// A sign-in gives the application's session a new token, but no longer life
// (M17): what it had before ends when it would have ended.
func TestSessionOfTheAppKeepsItsDeadline(t *testing.T) {
	var app *scs.SessionManager
	deadline := make(chan time.Time, 1)
	ends := time.Now().Add(time.Hour).Truncate(time.Second) // scs has the real clock
	s := newSite(t, func(o *siteOptions) {
		o.sessions = func(c *gatehouse.SessionsConfig) {
			app = scs.New()
			app.Cookie.Name = "app"
			c.App = app
		}
		o.mount = func(mux *http.ServeMux, _ *gatehouse.RelyingParty) {
			mux.Handle("/begin", app.LoadAndSave(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
				app.Put(r.Context(), "basket", "apples")
				app.SetDeadline(r.Context(), ends)
			})))
			mux.Handle("/ends", app.LoadAndSave(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
				deadline <- app.Deadline(r.Context())
			})))
		}
	})
	ana := s.visitor("ana")
	ana.get("/begin")
	before := ana.cookies()["app"]
	for range 2 {
		ana.visit("/auth/login")
		if ana.cookies()["app"] == before {
			t.Error("the application's token did not change at sign-in")
		}
		ana.get("/ends")
		if got := <-deadline; !got.Equal(ends) {
			t.Errorf("the application's session ends at %v, want %v as before the sign-in", got, ends)
		}
	}
}
