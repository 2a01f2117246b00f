package servers

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/chromedp/chromedp"

	"example.com/gatehouse/internal/testkit/line"
	"example.com/gatehouse/internal/testkit/process"
)

const (
	// keycloakAdmin is the name and the password of the administrator.
	keycloakAdmin = "admin"
	// keycloakStart bounds one start, should it hang: on an idle machine it takes
	// 7 s from the seed and 18 s with the import, on a very busy one two minutes.
	keycloakStart = 10 * time.Minute
)

// A Keycloak is a running Keycloak with these realms, each user's password
// being the user name and each client's secret its id followed by "-secret":
//
//   - gatehouse: users alice (who has the role uma_protection of photoz, so she
//     may own resources), bob and carol; clients notes (code flow), photoz
//     (resource server; code flow, service account, password grant) and
//     printshop (UMA client; the same grants). A policy of photoz lets
//     printshop do brochure:read on whatever has that scope. Client api (code
//     flow, service account, password grant) gets access tokens for
//     https://api.example.test, about which it may ask.
//   - rotate: alice and notes (code flow, password grant); a refresh token
//     works once.
//
// The code flow accepts only PKCE S256, and any redirect URI on
// http://127.0.0.1.
type Keycloak struct {
	// URL is http://127.0.0.1 with the port.
	URL string

	home, database string
	proc           *process.Process
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
	if err := kc.start(ctx); err != nil {
		return nil, err
	}
	if err := kc.warm(ctx); err != nil {
		kc.proc.Stop()
		return nil, err
	}
	return kc, nil
}

// start starts the server at a free port.
func (kc *Keycloak) start(ctx context.Context, options ...string) error {
	ctx, cancel := context.WithTimeoutCause(ctx, keycloakStart, fmt.Errorf("%v have passed", keycloakStart))
	defer cancel()
	var url string
	proc, err := process.Start(ctx, "keycloak", keycloakServe(kc.home, kc.database, options...), func(line []byte) bool {
		_, after, found := bytes.Cut(line, []byte("Listening on: "))
		url = string(bytes.TrimSpace(after))
		return found
	})
	if err != nil {
		return err
	}
	if !strings.HasPrefix(url, "http://127.0.0.1:") {
		proc.Stop()
		return fmt.Errorf("it listens on %q", url)
	}
	kc.URL, kc.proc = url, proc
	return nil
}

// close stops the server and removes what it wrote.
func (kc *Keycloak) close() error {
	kc.proc.Stop()
	return os.RemoveAll(kc.home)
}

// Issuer returns the issuer of a realm.
func (kc *Keycloak) Issuer(realm string) string {
	return kc.URL + "/realms/" + realm
}

// Log returns the end of what the server wrote: a line for each refusal, with
// its reason.
func (kc *Keycloak) Log() string {
	return kc.proc.Log(process.LogKept)
}

func (kc *Keycloak) logOnFailure(t testing.TB) {
	if t.Failed() {
		t.Logf("end of the log of keycloak:\n%s", kc.proc.Log(process.LogShown))
		t.Logf("its trouble so far:\n%s", kc.trouble())
	}
}

// trouble returns the end of what the server wrote beside refusals.
func (kc *Keycloak) trouble() string {
	lines := slices.DeleteFunc(strings.SplitAfter(kc.Log(), "\n"), func(line string) bool {
		return strings.Contains(line, "[org.keycloak.events]")
	})
	all := strings.Join(lines, "")
	return all[max(0, len(all)-process.LogShown):]
}

// Via returns the same server at another address, for the duration of the test,
// and the line in between. The issuers there begin with that address, and
// tokens of one address are refused at another.
func (kc *Keycloak) Via(t testing.TB) (*Keycloak, *line.Line) {
	t.Helper()
	between := line.New(t, strings.TrimPrefix(kc.URL, "http://"))
	other := *kc
	other.URL = "http://" + between.Addr
	return &other, between
}

// SignIn fills in the login page of Keycloak and returns when the browser has
// left it. The browser is at that page, or at one that leads to it. The
// password is the user name.
func (kc *Keycloak) SignIn(t testing.TB, browser *Chromium, user string) {
	t.Helper()
	browser.Insist(t) // the site may not have had the metadata in time
	browser.Run(t, fmt.Sprintf("sign in as %s at keycloak", user),
		chromedp.SendKeys(chromedp.CSS(`#username`), user),
		chromedp.SendKeys(chromedp.CSS(`#password`), user),
		chromedp.Click(chromedp.CSS(`#kc-login`)),
	)
	browser.WaitOutside(t, kc.URL)
}
