package servers

import (
	"bytes"
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/json"
	"encoding/pem"
	"errors"
	"fmt"
	"math/big"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"example.com/gatehouse/internal/testkit/process"
)

// A WebFingerHost is a running Apache that names the provider of one account.
type WebFingerHost struct {
	// Host is 127.0.0.1 with the port. Its account is "Host/joe".
	Host string
	// Roots are the authority of its certificate, made for this host alone.
	Roots *x509.CertPool

	home string
	proc *process.Process
}

// RootsFile is the file that has Roots, in PEM.
func (h *WebFingerHost) RootsFile() string { return rootsFile(h.home) }

func rootsFile(home string) string { return filepath.Join(home, "ca.pem") }

// Requests are the requests that it has answered, each as its status and path.
func (h *WebFingerHost) Requests(t testing.TB) []string {
	t.Helper()
	log, err := os.ReadFile(filepath.Join(h.home, "access.log"))
	if err != nil {
		t.Fatalf("webfinger: %v", err)
	}
	return strings.Split(strings.TrimSuffix(string(log), "\n"), "\n")
}

// StartWebFinger starts an Apache whose account "joe" has that issuer, for the time
// of the test.
func StartWebFinger(t testing.TB, issuer string) *WebFingerHost {
	t.Helper()
	// Not the directory of the test: Apache gives up root, and could not enter it.
	home, err := os.MkdirTemp("", "gatehouse-webfinger-")
	if err != nil {
		t.Fatalf("webfinger: %v", err)
	}
	t.Cleanup(func() { // after the server has ended
		if err := os.RemoveAll(home); err != nil {
			t.Errorf("webfinger: %v", err)
		}
	})
	roots, err := fillWebFingerHome(home, issuer)
	if err != nil {
		t.Fatalf("webfinger: %v", err)
	}
	ctx, cancel := context.WithTimeoutCause(t.Context(), relyingPartyStart, fmt.Errorf("%v have passed", relyingPartyStart))
	defer cancel()
	port, proc, err := startOnPort(ctx, func(ctx context.Context, port string) (*process.Process, error) {
		return startWebFinger(ctx, home, port)
	})
	if err != nil {
		t.Fatalf("webfinger: %v", err)
	}
	stopAfter(t, "webfinger", proc)
	return &WebFingerHost{Host: "127.0.0.1:" + port, Roots: roots, home: home, proc: proc}
}

func startWebFinger(ctx context.Context, home, port string) (*process.Process, error) {
	dir, err := installDir()
	if err != nil {
		return nil, err
	}
	path, err := installApache(ctx, dir)
	if err != nil {
		return nil, err
	}
	cmd := exec.Command(path, "-D", "FOREGROUND", "-f", filepath.Join(home, "webfinger.conf"))
	cmd.Dir = home
	cmd.Env = append(os.Environ(), "WF_DIR="+home, "WF_MODULES="+apacheModules, "WF_PORT="+port)
	return process.Start(ctx, "webfinger", cmd, func(line []byte) bool {
		return bytes.Contains(line, []byte("resuming normal operations"))
	})
}

// fillWebFingerHome makes the configuration, the document, and a certificate of an
// authority that exists only now.
func fillWebFingerHome(home, issuer string) (*x509.CertPool, error) {
	jrd, err := json.Marshal(map[string]any{"links": []map[string]string{
		{"rel": "http://webfinger.net/rel/profile-page", "href": "https://example.test/joe"},
		{"rel": "http://openid.net/specs/connect/1.0/issuer", "href": issuer},
	}})
	if err != nil {
		return nil, err
	}
	ca, cert, key, err := newAuthority()
	if err != nil {
		return nil, err
	}
	roots := x509.NewCertPool()
	roots.AppendCertsFromPEM(ca)
	document := filepath.Join(home, "www", ".well-known", "webfinger")
	return roots, errors.Join(
		os.Chmod(home, 0o755),
		copyAsset("webfinger.conf", filepath.Join(home, "webfinger.conf")),
		os.MkdirAll(filepath.Dir(document), 0o755),
		os.WriteFile(document, jrd, 0o644),
		os.WriteFile(rootsFile(home), ca, 0o644),
		os.WriteFile(filepath.Join(home, "host.pem"), cert, 0o644),
		os.WriteFile(filepath.Join(home, "host.key"), key, 0o600),
	)
}

// newAuthority makes an authority, and a certificate of it for 127.0.0.1 with its
// key, all in PEM.
func newAuthority() (ca, cert, key []byte, err error) {
	root, rootKey, err := issue(&x509.Certificate{Subject: pkix.Name{CommonName: "authority of a test"}, IsCA: true,
		BasicConstraintsValid: true, KeyUsage: x509.KeyUsageCertSign}, nil, nil)
	if err != nil {
		return nil, nil, nil, err
	}
	host, hostKey, err := issue(&x509.Certificate{Subject: pkix.Name{CommonName: "host of a test"}, IPAddresses: []net.IP{net.IPv4(127, 0, 0, 1)},
		KeyUsage: x509.KeyUsageDigitalSignature, ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth}}, root, rootKey)
	if err != nil {
		return nil, nil, nil, err
	}
	der, err := x509.MarshalPKCS8PrivateKey(hostKey)
	if err != nil {
		return nil, nil, nil, err
	}
	certificate := func(raw []byte) []byte { return pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: raw}) }
	return certificate(root.Raw), certificate(host.Raw), pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: der}), nil
}

// issue makes a certificate that lives for a day. Without an authority it signs
// itself.
func issue(template, ca *x509.Certificate, caKey *ecdsa.PrivateKey) (*x509.Certificate, *ecdsa.PrivateKey, error) {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return nil, nil, err
	}
	if ca == nil {
		ca, caKey = template, key
	}
	template.SerialNumber = big.NewInt(time.Now().UnixNano())
	template.NotBefore, template.NotAfter = time.Now().Add(-time.Hour), time.Now().Add(24*time.Hour)
	der, err := x509.CreateCertificate(rand.Reader, template, ca, &key.PublicKey, caKey)
	if err != nil {
		return nil, nil, err
	}
	made, err := x509.ParseCertificate(der)
	return made, key, err
}
