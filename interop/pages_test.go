package interop_test

import (
	"context"
	"fmt"
	"net/http"
	"strings"
	"testing"
	"time"

	"example.com/gatehouse"
	"example.com/gatehouse/interop/servers"
	"example.com/gatehouse/middlewaretest"
	"github.com/chromedp/chromedp"
)

// pagesSite is a site at the kit's provider, for looking at the pages that gatehouse
// shows. Its first page has a link and a form.
func pagesSite(t *testing.T, op *middlewaretest.Server, config gatehouse.RelyingPartyConfig) string {
	t.Helper()
	return middlewaretest.NewApp(t, func(base string) http.Handler {
		config.Client, config.RedirectURL = op.AddClient(base+"/auth/callback"), base+"/auth/callback"
		login := must(gatehouse.NewRelyingParty(op.Provider(), config))(t)
		mux := http.NewServeMux()
		mux.Handle("/auth/", login.Handler())
		mux.HandleFunc("/{$}", func(w http.ResponseWriter, _ *http.Request) {
			w.Header().Set("Content-Type", "text/html")
			fmt.Fprint(w, `<!DOCTYPE html><title>Start</title><h1>Start</h1><p><a href="/notes/7">Notes</a></p>
				<form method="post" action="/forget"><button>Forget</button></form>`)
		})
		page := http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			fmt.Fprintf(w, "%s for somebody of %s", r.URL.Path, gatehouse.IdentityFrom(r.Context()).Issuer)
		})
		mux.Handle("/notes/", login.RequireLogin(page))
		mux.Handle("POST /forget", login.With(gatehouse.MaxAge(time.Minute)).RequireLogin(page))
		return mux
	})
}

// kitSignIn fills in the sign-in page of the kit's provider.
func kitSignIn(t *testing.T, browser *servers.Chromium, user string) {
	t.Helper()
	hand := mouse{}
	browser.WaitText(t, "Password")
	hand.set(t, browser, choice, user, true)
	hand.write(t, browser, "Password", "password of "+user)
	hand.press(t, browser, "Sign in")
}

// look keeps pictures of a page, light and dark, wide and on a phone.
func look(t *testing.T, browser *servers.Chromium, name string) {
	t.Helper()
	for _, on := range []bool{true, false} {
		dark(t, browser, on)
		servers.Axe(t, browser)
		browser.Screenshot(t, fmt.Sprintf("%s-dark-%t", name, on))
	}
}

// Without scripts the page with an authorization request has a button, and the page
// for an answer in the fragment says what to do. When the person has done it, the
// answer still counts.
func TestPagesWithoutScripts(t *testing.T) {
	t.Parallel()
	op := middlewaretest.NewServer(t)
	op.AddUser("ana", nil)
	first := servers.StartChromium(t)
	t.Run("request", func(t *testing.T) {
		site := pagesSite(t, op, gatehouse.RelyingPartyConfig{AuthorizeByPOST: true})
		first.AllowScripts(t, false)
		first.Open(t, site+"/notes/7")
		first.WaitText(t, "The sign-in service opens in this window.")
		first.AllowScripts(t, true) // for looking at it; the page's own script had its turn
		look(t, first, "request")
		first.AllowScripts(t, false)
		mouse{}.press(t, first, "Continue to the sign-in service")
		kitSignIn(t, first, "ana")
		first.WaitText(t, "/notes/7 for somebody of "+op.Issuer())
	})
	t.Run("fragment", func(t *testing.T) {
		site := pagesSite(t, op, gatehouse.RelyingPartyConfig{ResponseType: "id_token"})
		browser := first.Another(t)
		browser.AllowScripts(t, false)
		browser.Open(t, site+"/notes/7")
		kitSignIn(t, browser, "ana")
		browser.WaitText(t, "This sign-in needs JavaScript")
		if text := browser.Text(t); !strings.Contains(text, "load the page again") || !strings.Contains(browser.URL(), "#") {
			t.Errorf("at %s: %s", browser.URL(), text)
		}
		browser.Screenshot(t, "fragment")
		browser.AllowScripts(t, true)
		browser.Reload(t)
		browser.WaitText(t, "/notes/7 for somebody of "+op.Issuer())
		if strings.Contains(browser.URL(), "#") {
			t.Errorf("the answer stays in the address: %s", browser.URL())
		}
	})
	if v := op.Violations(); len(v) != 0 {
		t.Errorf("the provider saw %q", v)
	}
}

// The page with an authorization request stays in no history: going back from the
// provider leads to the page before it, and the way forward works again. A form
// that comes too late gets a page whose button signs in and comes back.
func TestRequestPageAndHistory(t *testing.T) {
	t.Parallel()
	op := middlewaretest.NewServer(t)
	op.AddUser("ana", nil)
	site := pagesSite(t, op, gatehouse.RelyingPartyConfig{AuthorizeByPOST: true})
	browser, hand := servers.StartChromium(t), mouse{}
	browser.Open(t, site+"/")
	hand.press(t, browser, "Notes")
	browser.WaitOutside(t, site)
	browser.WaitText(t, "Password")
	browser.Run(t, "go back", chromedp.Evaluate[chromedp.Void](`history.back(); undefined`))
	browser.WaitFor(t, site+"/")
	if browser.WaitText(t, "Start"); browser.URL() != site+"/" {
		t.Fatalf("back at %s", browser.URL())
	}
	hand.press(t, browser, "Notes")
	browser.WaitOutside(t, site)
	kitSignIn(t, browser, "ana")
	browser.WaitText(t, "/notes/7 for somebody")

	browser.Open(t, site+"/")
	op.Clock().Advance(2 * time.Minute)
	hand.press(t, browser, "Forget")
	browser.WaitText(t, "That was not saved")
	look(t, browser, "not-saved")
	hand.press(t, browser, "Sign in and go back")
	kitSignIn(t, browser, "ana")
	browser.WaitText(t, "Start")
	hand.press(t, browser, "Forget")
	browser.WaitText(t, "/forget for somebody")
	if v := op.Violations(); len(v) != 0 {
		t.Errorf("the provider saw %q", v)
	}
}

// The page where people choose among providers, with a field for an account and with
// what it says when nobody knows that.
func TestChooserInChromium(t *testing.T) {
	t.Parallel()
	ops := []*middlewaretest.Server{middlewaretest.NewServer(t), middlewaretest.NewServer(t)}
	for _, op := range ops {
		op.AddUser("ana", nil)
	}
	site := middlewaretest.NewApp(t, func(base string) http.Handler {
		sessions := must(gatehouse.NewSessions(gatehouse.SessionsConfig{}))(t)
		party := func(op *middlewaretest.Server, path, name string) *gatehouse.RelyingParty {
			address := base + "/auth/" + path + "/callback"
			return must(gatehouse.NewRelyingParty(op.Provider(), gatehouse.RelyingPartyConfig{
				Client: op.AddClient(address), RedirectURL: address, Sessions: sessions, ProviderName: name}))(t)
		}
		staff, guests := party(ops[0], "staff", "Example Corporation"), party(ops[1], "guests", "Guests and partners")
		logins := must(gatehouse.NewLogins(gatehouse.LoginsConfig{
			Account: func(_ context.Context, account string) (*gatehouse.RelyingParty, error) {
				if strings.HasSuffix(account, "@example.org") {
					return staff, nil
				}
				return nil, nil
			},
		}, staff, guests))(t)
		mux := http.NewServeMux()
		mux.Handle("/auth/", logins.Handler())
		mux.Handle("/notes/", logins.RequireLogin(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			fmt.Fprint(w, "signed in at "+gatehouse.IdentityFrom(r.Context()).Issuer)
		})))
		return mux
	})
	browser, hand := servers.StartChromium(t), mouse{}
	browser.AllowScripts(t, false) // it needs none
	browser.Open(t, site+"/notes/7")
	browser.WaitText(t, "Where do you want to sign in?")
	browser.AllowScripts(t, true)
	look(t, browser, "chooser")
	hand.write(t, browser, "Or type your account", "ana@nowhere.example")
	hand.press(t, browser, "Continue")
	browser.WaitText(t, "There is no sign-in for that account.")
	look(t, browser, "chooser-unknown")
	hand.write(t, browser, "Or type your account", "ana@example.org")
	hand.press(t, browser, "Continue")
	browser.WaitFor(t, ops[0].Issuer())
	kitSignIn(t, browser, "ana")
	browser.WaitText(t, "signed in at "+ops[0].Issuer())
	browser.WaitFor(t, site+"/notes/7")
}
