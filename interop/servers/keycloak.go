package servers

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/chromedp/chromedp"
)

const (
	// keycloakAdmin is name and password of the administrator.
	keycloakAdmin = "admin"
	// keycloakStart bounds one start: on an idle machine 7 s from the seed and
	// 18 s with the import.
	keycloakStart = 3 * time.Minute
)

// A Keycloak is a running Keycloak with these realms, each user's password
// being the user name and each client's secret its id followed by "-secret":
//
//   - gatehouse: users alice (who has the role uma_protection of photoz, so she
//     may own resources), bob and carol; clients notes (code flow), photoz
//     (resource server; code flow, service account, password grant) and
//     printshop (UMA client; the same grants).
//   - rotate: alice and notes (code flow, password grant); a refresh token
//     works once.
//
// The code flow takes PKCE S256 only, and any redirect URI on http://127.0.0.1.
type Keycloak struct {
	// URL is http://127.0.0.1 with the port.
	URL string

	home, database string
	address        string // host:port
	proc           *process
}

// StartKeycloak starts a Keycloak for the time of the test, for tests that
// stop it or change its settings. Others share one, see [Pool].
func StartKeycloak(t testing.TB) *Keycloak {
	t.Helper()
	kc, err := newKeycloak(t.Context())
	if err != nil {
		t.Fatalf("keycloak: %v", err)
	}
	t.Cleanup(func() {
		if err := kc.close(); err != nil {
			t.Errorf("keycloak: %v", err)
		}
		kc.logOnFailure(t)
	})
	return kc
}

// newKeycloak starts a server on a fresh copy of the seeded database: the
// same users, keys and ids each time, and no resources.
func newKeycloak(ctx context.Context) (kc *Keycloak, err error) {
	dir, err := installDir()
	if err != nil {
		return nil, err
	}
	dist, err := installKeycloak(ctx, dir)
	if err != nil {
		return nil, err
	}
	seed, err := installKeycloakSeed(ctx, dir)
	if err != nil {
		return nil, err
	}
	tmp, err := os.MkdirTemp("", "gatehouse-keycloak-")
	if err != nil {
		return nil, err
	}
	defer func() {
		if err != nil {
			err = errors.Join(err, os.RemoveAll(tmp))
		}
	}()
	home, err := keycloakHome(dist, tmp)
	if err != nil {
		return nil, err
	}
	kc = &Keycloak{home: home, database: filepath.Join(tmp, "h2")}
	if err := os.CopyFS(kc.database, os.DirFS(seed)); err != nil {
		return nil, err
	}
	return kc, kc.start(ctx)
}

// start starts the server at its address, or at a free one if it has none.
func (kc *Keycloak) start(ctx context.Context, options ...string) error {
	ctx, cancel := context.WithTimeoutCause(ctx, keycloakStart, fmt.Errorf("%v have passed", keycloakStart))
	defer cancel()
	if kc.address != "" {
		return kc.startAt(ctx, kc.address, options...)
	}
	// Somebody may take the free port before Keycloak does: three tries.
	var err error
	for range 3 {
		var address string
		if address, err = freeAddress(); err != nil {
			return err
		}
		err = kc.startAt(ctx, address, options...)
		if !errors.Is(err, errPortTaken) {
			return err
		}
	}
	return err
}

var errPortTaken = errors.New("the port is taken")

func (kc *Keycloak) startAt(ctx context.Context, address string, options ...string) error {
	url := "http://" + address
	taken := false
	_, port, err := net.SplitHostPort(address)
	if err != nil {
		return err
	}
	cmd := keycloakServe(kc.home, kc.database, port, url, options...)
	proc, err := startServer(ctx, "keycloak", cmd, func(line []byte) bool {
		taken = taken || bytes.Contains(line, []byte("already in use")) || bytes.Contains(line, []byte("already bound"))
		return bytes.Contains(line, []byte("Listening on: "+url))
	})
	if err != nil {
		if taken {
			return fmt.Errorf("%w: %w", errPortTaken, err)
		}
		return err
	}
	kc.URL, kc.address, kc.proc = url, address, proc
	return nil
}

func freeAddress() (string, error) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return "", err
	}
	return l.Addr().String(), l.Close()
}

// close stops the server and removes what it wrote.
func (kc *Keycloak) close() error {
	kc.proc.stop()
	return os.RemoveAll(kc.home)
}

// Issuer returns the issuer of a realm.
func (kc *Keycloak) Issuer(realm string) string {
	return kc.URL + "/realms/" + realm
}

// Log returns the end of what the server wrote: a line for each refusal, with
// its reason.
func (kc *Keycloak) Log() string {
	return string(kc.proc.log.tail(logKept))
}

func (kc *Keycloak) logOnFailure(t testing.TB) {
	if t.Failed() {
		t.Logf("end of the log of keycloak:\n%s", kc.proc.log.tail(logShown))
	}
}

// Stop ends the server; its address refuses connections. It is for servers
// from [StartKeycloak].
func (kc *Keycloak) Stop() {
	kc.proc.stop()
}

// Restart starts a stopped server again at the same address, with the
// resources, tickets and sessions that it had stored.
func (kc *Keycloak) Restart(t testing.TB) {
	t.Helper()
	if err := kc.start(t.Context()); err != nil {
		t.Fatalf("keycloak: %v", err)
	}
}

// SignIn fills in the login page of Keycloak, which the browser is at or on
// the way to, and returns when the browser has left it. The password is the
// user name.
func (kc *Keycloak) SignIn(t testing.TB, browser *Chromium, user string) {
	t.Helper()
	browser.Run(t, fmt.Sprintf("sign in as %s at keycloak", user),
		chromedp.SendKeys(chromedp.CSS(`#username`), user),
		chromedp.SendKeys(chromedp.CSS(`#password`), user),
		chromedp.Click(chromedp.CSS(`#kc-login`)),
	)
	browser.WaitOutside(t, kc.URL)
}
