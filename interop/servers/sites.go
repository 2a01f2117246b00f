package servers

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/sha256"
	"crypto/tls"
	"crypto/x509"
	"encoding/base64"
	"fmt"
	"math/big"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/chromedp/chromedp"
)

// certificateLife is longer than any test runs.
const certificateLife = 24 * time.Hour

// thirdParty are the preferences of a person who allows third-party cookies.
const thirdParty = `{"profile":{"block_third_party_cookies":false,"cookie_controls_mode":0}}`

// StartSites starts a browser for the time of the test, in which every host
// name is a site that handler serves: on port 443 with TLS, on port 80 without.
// Nothing else can be reached. Addresses without TLS are not upgraded, and
// third-party cookies are allowed.
func StartSites(t testing.TB, handler http.Handler) *Chromium {
	t.Helper()
	dir, err := installDir()
	if err != nil {
		t.Fatalf("chromium: %v", err)
	}
	path, err := installChromium(t.Context(), dir)
	if err != nil {
		t.Fatalf("chromium: %v", err)
	}
	profile := t.TempDir()
	preferences := filepath.Join(profile, "Default", "Preferences")
	if err := os.MkdirAll(filepath.Dir(preferences), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(preferences, []byte(thirdParty), 0o644); err != nil {
		t.Fatal(err)
	}
	certificate, pin, err := newCertificate()
	if err != nil {
		t.Fatal(err)
	}
	open := httptest.NewServer(handler)
	t.Cleanup(open.Close)
	secure := httptest.NewUnstartedServer(handler)
	secure.TLS = &tls.Config{Certificates: []tls.Certificate{certificate}}
	secure.StartTLS()
	t.Cleanup(secure.Close)

	options := append(chromedp.DefaultExecAllocatorOptions[:],
		chromedp.ExecPath(path),
		chromedp.UserDataDir(profile),
		chromedp.Flag("no-sandbox", true), // as StartChromium
		chromedp.DisableGPU,
		chromedp.Flag("host-resolver-rules", fmt.Sprintf("MAP *:443 %s, MAP *:80 %s, MAP * ~NOTFOUND",
			secure.Listener.Addr(), open.Listener.Addr())),
		// This one key is trusted for any name. That requires a profile.
		chromedp.Flag("ignore-certificate-errors-spki-list", pin),
		chromedp.Flag("disable-features", "Translate,HttpsUpgrades,HttpsFirstBalancedModeAutoEnable,BackForwardCache"),
		// Otherwise nearly every change of pages starts a process.
		chromedp.Flag("disable-site-isolation-trials", true),
		chromedp.Flag("renderer-process-limit", "1"),
		chromedp.Flag("disable-quic", true),
		chromedp.Flag("disable-component-update", true),
	)
	allocator, stop := chromedp.NewExecAllocator(context.Background(), options...)
	t.Cleanup(stop)
	return newTab(t, allocator)
}

// newCertificate makes a key with a self-signed certificate, and the hash by
// which Chromium identifies the key.
func newCertificate() (certificate tls.Certificate, pin string, err error) {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return tls.Certificate{}, "", err
	}
	now := time.Now()
	template := &x509.Certificate{SerialNumber: big.NewInt(1), DNSNames: []string{"*.test"},
		NotBefore: now.Add(-time.Hour), NotAfter: now.Add(certificateLife)}
	der, err := x509.CreateCertificate(rand.Reader, template, template, &key.PublicKey, key)
	if err != nil {
		return tls.Certificate{}, "", err
	}
	public, err := x509.MarshalPKIXPublicKey(&key.PublicKey)
	if err != nil {
		return tls.Certificate{}, "", err
	}
	sum := sha256.Sum256(public)
	return tls.Certificate{Certificate: [][]byte{der}, PrivateKey: key}, base64.StdEncoding.EncodeToString(sum[:]), nil
}
