package servers

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"net/http"
	"net/http/httptest"
	"net/http/httputil"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/chromedp/chromedp"

	"example.com/gatehouse/internal/testkit/process"
)

const (
	// lemonLDAPStart bounds the start of LemonLDAP::NG, should it hang. It takes a
	// second on an idle machine.
	lemonLDAPStart = 5 * time.Minute
	// lemonLDAPPages is what a web server in front of it serves, and lemonLDAPScripts
	// the libraries of these pages.
	lemonLDAPPages   = "/usr/share/lemonldap-ng/portal/htdocs"
	lemonLDAPScripts = "/usr/share/javascript"
)

// lemonLDAPPackages are the portal, and what it loads besides. Debian's package only
// recommends those.
var lemonLDAPPackages = []string{"liblemonldap-ng-portal-perl", "libcrypt-openssl-bignum-perl", "libgd-securityimage-perl",
	"libimage-magick-perl", "libio-string-perl", "libstring-random-perl"}

// A LemonLDAP is a running LemonLDAP::NG, an OpenID provider written in Perl, of
// Debian's package. Its people are those of its demonstration: dwho, rtyler and
// msmith, each with the name as password.
type LemonLDAP struct {
	// URL is http://127.0.0.1 with the port.
	URL  string
	home string
}

// Issuer returns the issuer. It ends with a slash.
func (l *LemonLDAP) Issuer() string { return l.URL + "/" }

// A LemonLDAPClient is a client registered at LemonLDAP::NG from its start. Its
// secret is the id followed by "-secret".
type LemonLDAPClient struct {
	ID                     string
	RedirectURIs           []string
	PostLogoutRedirectURIs []string
	// Settings are LemonLDAP's own, without oidcRPMetaDataOptions before their names.
	// Some have values without being named: nobody is asked to agree, there are
	// refresh tokens, and PKCE is required.
	Settings map[string]any
	// Claims are claims beyond name, email and preferred_username, by the attribute of
	// the person: uid, cn or mail.
	Claims map[string]string
}

// StartLemonLDAP starts a LemonLDAP::NG for the duration of the test. It knows all
// types of answers, and lets applications register themselves.
func StartLemonLDAP(t testing.TB, clients ...LemonLDAPClient) *LemonLDAP {
	t.Helper()
	dir, err := installDir()
	if err != nil {
		t.Fatalf("lemonldap: %v", err)
	}
	perl, err := installLemonLDAP(t.Context(), dir)
	if err != nil {
		t.Fatalf("lemonldap: %v", err)
	}
	l := &LemonLDAP{home: t.TempDir()}
	front := httptest.NewUnstartedServer(nil)
	l.URL = "http://" + front.Listener.Addr().String()
	if err := l.configure(clients); err != nil {
		t.Fatalf("lemonldap: %v", err)
	}
	cmd := exec.Command(perl, filepath.Join(l.home, "lemonldap.pl"))
	cmd.Dir = l.home
	cmd.Env = append(os.Environ(), "LLNG_DEFAULTCONFFILE="+filepath.Join(l.home, "lemonldap.ini"))
	ctx, cancel := context.WithTimeoutCause(t.Context(), lemonLDAPStart, fmt.Errorf("%v have passed", lemonLDAPStart))
	defer cancel()
	var port string
	proc, err := process.Start(ctx, "lemonldap", cmd, func(line []byte) (ready bool) {
		port, ready = strings.CutPrefix(string(line), "lemonldap listens at ")
		return ready
	})
	if err != nil {
		t.Fatalf("lemonldap: %v", err)
	}
	stopAfter(t, "lemonldap", proc)
	front.Config.Handler = lemonLDAPFront("127.0.0.1:" + port)
	front.Start()
	t.Cleanup(front.Close)
	return l
}

// lemonLDAPFront is the web server in front, as Debian's package wants one: it
// serves the files of the pages. The server behind it takes one connection at a time,
// so it must not see those that a browser opens ahead of time.
func lemonLDAPFront(portal string) http.Handler {
	mux := http.NewServeMux()
	mux.Handle("/static/", http.FileServer(http.Dir(lemonLDAPPages)))
	mux.Handle("/javascript/", http.StripPrefix("/javascript/", http.FileServer(http.Dir(lemonLDAPScripts))))
	mux.Handle("/", &httputil.ReverseProxy{
		Rewrite: func(r *httputil.ProxyRequest) {
			r.SetURL(&url.URL{Scheme: "http", Host: portal})
			r.Out.Host = r.In.Host
		},
		Transport: &http.Transport{DisableKeepAlives: true},
	})
	return mux
}

// configure writes the configuration, which is two files: one says where the other
// is, which an administrator makes with pages.
func (l *LemonLDAP) configure(clients []LemonLDAPClient) error {
	private, public, err := newRSA()
	if err != nil {
		return err
	}
	store := func(name string) map[string]any {
		return map[string]any{"Directory": filepath.Join(l.home, name), "LockDirectory": filepath.Join(l.home, name, "lock"),
			"generateModule": "Lemonldap::NG::Common::Apache::Session::Generate::SHA256"}
	}
	known, claims := map[string]any{}, map[string]any{}
	for _, c := range clients {
		known[c.ID], claims[c.ID] = c.options(), c.claims()
	}
	text, err := json.Marshal(map[string]any{
		"cfgNum": 1, "cfgDate": 1, "cfgVersion": "2.16.1", "portal": l.Issuer(), "domain": "127.0.0.1", "securedCookie": 0,
		"authentication": "Demo", "userDB": "Same", "registerDB": "Null", "passwordDB": "Null",
		"demoExportedVars": map[string]string{"cn": "cn", "mail": "mail", "uid": "uid"}, "whatToTrace": "uid", "requireToken": 0, "locationRules": map[string]any{"127.0.0.1": map[string]string{"default": "accept"}},
		"globalStorage": "Apache::Session::File", "globalStorageOptions": store("sessions"),
		"persistentStorage": "Apache::Session::File", "persistentStorageOptions": store("persistent"),
		"issuerDBOpenIDConnectActivation": 1, "oidcServiceMetaDataIssuer": l.Issuer(),
		"oidcServicePrivateKeySig": private, "oidcServicePublicKeySig": public, "oidcServiceKeyIdSig": "signing",
		"oidcServiceAllowAuthorizationCodeFlow": 1, "oidcServiceAllowImplicitFlow": 1, "oidcServiceAllowHybridFlow": 1,
		"oidcServiceAllowDynamicRegistration": 1, "oidcServiceIgnoreScopeForClaims": 1, "oidcServiceDynamicRegistrationExportedVars": LemonLDAPClient{}.claims(),
		"oidcRPMetaDataOptions": known, "oidcRPMetaDataExportedVars": claims,
	})
	if err != nil {
		return err
	}
	ini, err := asset("lemonldap.ini")
	if err != nil {
		return err
	}
	var problems []error
	for _, name := range []string{"conf", "cache", "sessions/lock", "persistent/lock"} {
		problems = append(problems, os.MkdirAll(filepath.Join(l.home, name), 0o700))
	}
	return errors.Join(append(problems,
		os.WriteFile(filepath.Join(l.home, "conf", "lmConf-1.json"), text, 0o600),
		os.WriteFile(filepath.Join(l.home, "lemonldap.ini"), []byte(strings.ReplaceAll(string(ini), "@home@", l.home)), 0o600),
		copyAsset("lemonldap.pl", filepath.Join(l.home, "lemonldap.pl")))...)
}

// options are the settings of a client, as LemonLDAP::NG has them.
func (c LemonLDAPClient) options() map[string]any {
	settings := map[string]any{"ClientID": c.ID, "ClientSecret": c.ID + "-secret", "RedirectUris": strings.Join(c.RedirectURIs, " "),
		"PostLogoutRedirectUris": strings.Join(c.PostLogoutRedirectURIs, " "), "IDTokenSignAlg": "RS256", "BypassConsent": 1,
		"RefreshToken": 1, "AllowOffline": 1, "RequirePKCE": 1, "AccessTokenExpiration": 300, "UserIDAttr": "uid"}
	maps.Copy(settings, c.Settings)
	options := map[string]any{}
	for name, value := range settings {
		options["oidcRPMetaDataOptions"+name] = value
	}
	return options
}

// claims are the claims of a person by the names of its attributes.
func (c LemonLDAPClient) claims() map[string]string {
	claims := map[string]string{"name": "cn", "email": "mail", "preferred_username": "uid"}
	maps.Copy(claims, c.Claims)
	return claims
}

// SignIn fills in the login page of LemonLDAP::NG and returns when the browser shows
// another. The browser is at that page, or on the way to it. The name stands there
// already when the person has to sign in once more.
func (l *LemonLDAP) SignIn(t testing.TB, browser *Chromium, user string) {
	t.Helper()
	browser.WaitFor(t, l.URL)
	browser.Run(t, "wait for the login page of lemonldap", chromedp.WaitVisible(chromedp.CSS(`#userfield`)))
	if Get(t, browser, "read the name", chromedp.Evaluate[string](`document.querySelector("#userfield").value`)) == "" {
		browser.Run(t, "write the name", chromedp.SendKeys(chromedp.CSS(`#userfield`), user))
	}
	browser.Follow(t, fmt.Sprintf("sign in as %s at lemonldap", user),
		chromedp.SendKeys(chromedp.CSS(`#passwordfield`), user),
		chromedp.Click(chromedp.CSS(`button[type=submit]`)),
	)
}

// Accept agrees at a page of LemonLDAP::NG, to which the browser is on the way: that
// an application may know something, or that the person signs out. It returns when
// the browser shows the next page.
func (l *LemonLDAP) Accept(t testing.TB, browser *Chromium) {
	t.Helper()
	browser.WaitFor(t, l.URL)
	browser.Follow(t, "accept at lemonldap", chromedp.Click(chromedp.CSS(`button.positive`)))
}

// installLemonLDAP returns the path of the perl that has LemonLDAP::NG. Its package
// would start a service.
func installLemonLDAP(ctx context.Context, dir string) (string, error) {
	path, err := installDebianService(ctx, dir, findLemonLDAP, lemonLDAPPackages...)
	if err != nil {
		return "", fmt.Errorf("no lemonldap: %w", err)
	}
	return path, nil
}

func findLemonLDAP() string {
	const perl = "/usr/bin/perl" // Debian's, whose modules these are
	modules := exec.Command(perl, "-MHTTP::Server::PSGI", "-MLemonldap::NG::Portal::Issuer::OpenIDConnect", "-MLemonldap::NG::Portal::Captcha::SecurityImage", "-e1")
	if modules.Run() != nil {
		return ""
	}
	return perl
}
