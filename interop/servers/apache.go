package servers

import (
	"bytes"
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"testing"

	"example.com/gatehouse/internal/testkit/process"
)

// apachePage is the page behind sign-in, for mod_include.
const apachePage = `{"sub": "<!--#echo var="REMOTE_USER" -->", "email": "<!--#echo var="OIDC_CLAIM_email" -->"}` + "\n"

// StartApache starts a site behind Apache's mod_auth_openidc for the time of
// the test.
func StartApache(t testing.TB, register func(redirectURI string) RelyingPartyClient) *RelyingParty {
	t.Helper()
	// Not the directory of the test: Apache gives up root, and could not enter it.
	home, err := os.MkdirTemp("", "gatehouse-apache-")
	if err != nil {
		t.Fatalf("apache: %v", err)
	}
	t.Cleanup(func() { // after the server has ended
		if err := os.RemoveAll(home); err != nil {
			t.Errorf("apache: %v", err)
		}
	})
	if err := fillApacheHome(home); err != nil {
		t.Fatalf("apache: %v", err)
	}
	rp := startRelyingParty(t, "apache", register, func(ctx context.Context, port string, client RelyingPartyClient) (*process.Process, error) {
		return startApache(ctx, home, port, client)
	})
	rp.SignedOut = rp.Base + "/bye"
	rp.SignOut = rp.Base + "/callback?logout=" + url.QueryEscape(rp.SignedOut)
	return rp
}

// fillApacheHome makes the configuration and the pages.
func fillApacheHome(home string) error {
	return errors.Join(
		os.Chmod(home, 0o755),
		copyAsset("apache.conf", filepath.Join(home, "apache.conf")),
		os.Mkdir(filepath.Join(home, "www"), 0o755),
		os.WriteFile(filepath.Join(home, "www", "private"), []byte(apachePage), 0o644),
		os.WriteFile(filepath.Join(home, "www", "bye"), []byte("Signed out\n"), 0o644),
	)
}

func startApache(ctx context.Context, home, port string, client RelyingPartyClient) (*process.Process, error) {
	dir, err := installDir()
	if err != nil {
		return nil, err
	}
	path, err := installApache(ctx, dir)
	if err != nil {
		return nil, err
	}
	cmd := exec.Command(path, "-D", "FOREGROUND", "-f", filepath.Join(home, "apache.conf"))
	cmd.Dir = home
	cmd.Env = append(os.Environ(), "RP_DIR="+home, "RP_MODULES="+apacheModules, "RP_PORT="+port, "RP_ISSUER="+client.Issuer,
		"RP_CLIENT_ID="+client.ID, "RP_CLIENT_SECRET="+client.Secret, "RP_PASSPHRASE="+rand.Text())
	return process.Start(ctx, "apache", cmd, func(line []byte) bool {
		return bytes.Contains(line, []byte("resuming normal operations"))
	})
}

// Where Debian keeps them. /usr/sbin is not on everybody's PATH.
const (
	apacheProgram = "/usr/sbin/apache2"
	apacheModules = "/usr/lib/apache2/modules"
)

// installApache returns the path of an Apache with mod_auth_openidc. The
// package apache2-bin is the program alone: no service is set up or started.
func installApache(ctx context.Context, dir string) (string, error) {
	path, err := installDebian(ctx, dir, findApache, "apache2-bin", "libapache2-mod-auth-openidc")
	if err != nil {
		return "", fmt.Errorf("no apache with mod_auth_openidc: %w", err)
	}
	return path, nil
}

func findApache() string {
	for _, name := range []string{apacheProgram, filepath.Join(apacheModules, "mod_auth_openidc.so")} {
		if _, err := os.Stat(name); err != nil {
			return ""
		}
	}
	return apacheProgram
}
