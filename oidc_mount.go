package gatehouse

// Tested in internal/e2e/signin.

import (
	"fmt"
	"net/http"
	"net/url"
	"strings"
	"sync/atomic"

	"example.com/gatehouse/internal/navigation"
)

// The last segments of the paths of Handler. They stand where RedirectURL has
// its own.
const (
	loginSegment   = "login"
	logoutSegment  = "logout"
	sessionSegment = "session"
)

// Handler serves every path of the relying party, so that one line mounts it:
//
//	mux.Handle("/auth/", login.Handler())
//
// It serves CallbackHandler at the path of RedirectURL. LoginHandler,
// LogoutHandler and SessionHandler are beside it, at the same path with
// "login", "logout" or "session" as its last segment. LoginURL and LogoutURL
// move the first two elsewhere. Any other path gets 404.
//
// With Handler, the path of LoginHandler need not be set as LoginURL for
// refusals to name it. Call Handler before serving requests. It panics if two
// of the handlers would have the same path.
func (rp *RelyingParty) Handler() http.Handler {
	wire("Handler", rp.checkMade())
	wire("Handler", rp.paths.distinct())
	rp.paths.mounted.Store(true)
	served := map[string]http.Handler{
		rp.paths.callback: rp.CallbackHandler(),
		rp.paths.login:    rp.LoginHandler(),
		rp.paths.logout:   rp.LogoutHandler(),
		rp.paths.session:  rp.SessionHandler(),
	}
	none := rp.ownHandler(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		rp.refuse(w, r, errNotFound.because(nil))
	}))
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		h := served[navigation.Path(rp.address(r))]
		if h == nil {
			h = none
		}
		h.ServeHTTP(w, r)
	})
}

// ownPaths are the paths at which Handler serves, decoded as a router sees
// them. All guards of a relying party share them.
type ownPaths struct {
	callback, login, logout, session string

	mounted atomic.Bool // Handler was called
}

// newOwnPaths derives the paths from settings that have been checked.
func newOwnPaths(redirect *url.URL, c *RelyingPartyConfig) *ownPaths {
	beside := redirect.Path[:strings.LastIndex(redirect.Path, "/")+1]
	if beside == "" {
		beside = "/"
	}
	p := &ownPaths{
		callback: navigation.Path(c.RedirectURL), login: beside + loginSegment, logout: beside + logoutSegment, session: beside + sessionSegment,
	}
	if c.LoginURL != "" {
		p.login = navigation.Path(c.LoginURL)
	}
	if c.LogoutURL != "" {
		p.logout = navigation.Path(c.LogoutURL)
	}
	return p
}

// distinct returns an error if two handlers would have the same path.
func (p *ownPaths) distinct() error {
	taken := map[string]string{}
	for _, own := range [][2]string{{"CallbackHandler", p.callback}, {"LoginHandler", p.login}, {"LogoutHandler", p.logout}, {"SessionHandler", p.session}} {
		if other := taken[own[1]]; other != "" {
			return fmt.Errorf("%s and %s would both be at %q: set LoginURL or LogoutURL", other, own[0], own[1])
		}
		taken[own[1]] = own[0]
	}
	return nil
}

// address returns the path and query of the request as the browser knows them:
// with what an outer handler or a proxy stripped.
func (rp *RelyingParty) address(r *http.Request) string {
	return rp.config.PathPrefix + navigation.Address(r)
}

// loginURL returns the path of LoginHandler, or "" if it is not known to be
// mounted.
func (rp *RelyingParty) loginURL() string {
	if rp.config.LoginURL == "" && rp.paths.mounted.Load() {
		return (&url.URL{Path: rp.paths.login}).EscapedPath()
	}
	return rp.config.LoginURL
}

// comesBackTo reports whether a person may be sent away from the request and
// come back later, and to which address. A navigation comes back to its own
// address, a posted form, without its body, to the page that it was on.
func (rp *RelyingParty) comesBackTo(r *http.Request) (address string, ok bool) {
	if navigation.IsForm(r) {
		return navigation.FormPage(r, siteOf(rp.redirect)), true
	}
	return rp.address(r), navigation.Is(r)
}

// ownAddresses are those of our own handlers, as far as they are known to be
// mounted.
func (rp *RelyingParty) ownAddresses() []string {
	c := &rp.config
	own := []string{c.RedirectURL, c.LoginURL, c.LogoutURL, c.LoggedOutURL}
	if rp.paths.mounted.Load() {
		for _, path := range []string{rp.paths.login, rp.paths.logout, rp.paths.session} {
			own = append(own, (&url.URL{Path: path}).EscapedPath())
		}
	}
	return own
}
