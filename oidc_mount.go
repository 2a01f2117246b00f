package gatehouse

// Tested in internal/e2e/signin.

import (
	"cmp"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"sync/atomic"

	"example.com/gatehouse/internal/attempt"
	"example.com/gatehouse/internal/navigation"
)

// The last segments of the paths of Handler. They stand where RedirectURL has
// its own.
const (
	loginSegment        = "login"
	logoutSegment       = "logout"
	sessionSegment      = "session"
	backchannelSegment  = "backchannel-logout"
	frontchannelSegment = "frontchannel-logout"
	claimsSegment       = "claims"
)

// Handler serves every path of the relying party, so that one line mounts it:
//
//	mux.Handle("/auth/", login.Handler())
//
// It serves CallbackHandler at the path of RedirectURL. LoginHandler,
// LogoutHandler, SessionHandler, BackchannelLogoutHandler,
// FrontchannelLogoutHandler and ClaimsRedirectHandler are beside it, at the same
// path with "login", "logout", "session", "backchannel-logout",
// "frontchannel-logout" or "claims" as its last segment. LoginURL, LogoutURL,
// BackchannelLogoutURL, FrontchannelLogoutURL and ClaimsRedirectURL move them
// elsewhere. Any other path gets 404.
//
// With Handler, the path of LoginHandler need not be set as LoginURL for
// refusals to name it. Call Handler before serving requests. It panics if two
// of the handlers would have the same path.
func (rp *RelyingParty) Handler() http.Handler {
	wire("Handler", rp.checkMade())
	wire("Handler", rp.paths.distinct())
	if navigation.ServedBy(rp.config.HomeURL, (&url.URL{Path: rp.paths.login}).EscapedPath()) {
		wire("Handler", fmt.Errorf("HomeURL: "+homeBegins, rp.config.HomeURL))
	}
	rp.paths.mounted.Store(true)
	served := map[string]http.Handler{
		rp.paths.callback: rp.CallbackHandler(),
		rp.paths.login:    rp.LoginHandler(),
		rp.paths.logout:   rp.LogoutHandler(),
		rp.paths.session:  rp.SessionHandler(),
		rp.paths.back:     rp.BackchannelLogoutHandler(),
		rp.paths.front:    rp.FrontchannelLogoutHandler(),
		rp.paths.claims:   rp.ClaimsRedirectHandler(),
	}
	none := rp.ownHandler(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		err := rp.strayAnswer(r)
		if err == nil {
			err = fmt.Errorf("Handler serves %q, %q, %q, %q, %q, %q and %q", rp.paths.callback, rp.paths.login, rp.paths.logout, rp.paths.session, rp.paths.back, rp.paths.front, rp.paths.claims)
		}
		rp.refuse(w, r, errNotFound.because(err))
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
	back, front                      string // of a logout from outside
	claims                           string // of ClaimsRedirectHandler

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
		back: beside + backchannelSegment, front: beside + frontchannelSegment, claims: beside + claimsSegment,
	}
	if c.LoginURL != "" {
		p.login = navigation.Path(c.LoginURL)
	}
	if c.LogoutURL != "" {
		p.logout = navigation.Path(c.LogoutURL)
	}
	if c.BackchannelLogoutURL != "" {
		p.back = navigation.Path(c.BackchannelLogoutURL)
	}
	if c.FrontchannelLogoutURL != "" {
		p.front = navigation.Path(c.FrontchannelLogoutURL)
	}
	if c.ClaimsRedirectURL != "" {
		p.claims = navigation.Path(c.ClaimsRedirectURL)
	}
	return p
}

// all lists the paths.
func (p *ownPaths) all() []string {
	return []string{p.callback, p.login, p.logout, p.session, p.back, p.front, p.claims}
}

// distinct returns an error if two handlers would have the same path.
func (p *ownPaths) distinct() error {
	taken := map[string]string{}
	move := "LoginURL or LogoutURL"
	for _, own := range [][2]string{{"CallbackHandler", p.callback}, {"LoginHandler", p.login}, {"LogoutHandler", p.logout}, {"SessionHandler", p.session},
		{"BackchannelLogoutHandler", p.back}, {"FrontchannelLogoutHandler", p.front}, {"ClaimsRedirectHandler", p.claims}} {
		if own[1] == p.back || own[1] == p.front {
			move = "BackchannelLogoutURL or FrontchannelLogoutURL"
		}
		if own[1] == p.claims {
			move = "ClaimsRedirectURL"
		}
		if other := taken[own[1]]; other != "" {
			return fmt.Errorf("%s and %s would both be at %q: set %s", other, own[0], own[1], move)
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

// ownAddresses are those of our own handlers, as far as they are known to be
// mounted.
func (rp *RelyingParty) ownAddresses() []string {
	c := &rp.config
	own := []string{rp.redirect.EscapedPath(), c.LoginURL, c.LogoutURL, c.LoggedOutURL, c.BackchannelLogoutURL, c.FrontchannelLogoutURL, c.ClaimsRedirectURL}
	if rp.paths.mounted.Load() {
		for _, path := range []string{rp.paths.login, rp.paths.logout, rp.paths.session, rp.paths.back, rp.paths.front, rp.paths.claims} {
			own = append(own, (&url.URL{Path: path}).EscapedPath())
		}
	}
	return own
}

// checkMounted returns an error if a sign-in would begin at the address to
// which the provider redirects back. The callback would then never be served,
// and the browser would go to and fro for ever.
func (rp *RelyingParty) checkMounted(r *http.Request) error {
	if navigation.ServedBy(rp.address(r), rp.redirect.EscapedPath()) {
		return errNotMounted.because(fmt.Errorf("nothing serves %q, the path of RedirectURL, before a guard: mount login.Handler(), or login.CallbackHandler(), there", rp.redirect.EscapedPath()))
	}
	if err := rp.strayAnswer(r); err != nil {
		return errNotMounted.because(err)
	}
	return nil
}

// strayAnswer returns an error if the request, at an address that is not the
// path of RedirectURL, is an answer to a sign-in of this browser. A proxy has
// stripped something that PathPrefix does not name.
func (rp *RelyingParty) strayAnswer(r *http.Request) error {
	if raw := r.URL.RawQuery; len(raw) > maxQuery || !strings.Contains(raw, "state=") { // not an answer of a provider
		return nil
	}
	query, _ := navigation.Query(r.URL.RawQuery)
	if state := query.Get("state"); !query.Has("code") && !query.Has("error") || !attempt.ValidState(state) {
		return nil
	} else if _, ours := navigation.Cookie(r, rp.attemptName(state)); !ours {
		return nil
	}
	return fmt.Errorf("the answer of the provider arrived at %q: mount login.Handler(), or login.CallbackHandler(), there, or set PathPrefix; RedirectURL has the path %q",
		clip(navigation.Path(rp.address(r))), rp.redirect.EscapedPath())
}

// noteHost warns of a sign-in that begins at another address than RedirectURL.
// The browser will not send the attempt's cookie there.
func (rp *RelyingParty) noteHost(r *http.Request) {
	scheme := rp.redirect.Scheme
	if navigation.SaysHTTPS(r) {
		scheme = "https"
	}
	host := navigation.AskedHost(r)
	if scheme == rp.redirect.Scheme && host == rp.redirect.Host {
		return
	}
	began := navigation.Origin(scheme, host)
	if began == navigation.Origin(rp.redirect.Scheme, rp.redirect.Host) {
		return
	}
	name := strconv.Quote(clip(began))
	if !rp.hosts.Add(name) {
		return
	}
	rp.provider.emitFor(r, Event{Name: EventTrouble, Code: troubleHost, ClientID: rp.client.told(),
		Err: fmt.Errorf("a sign-in began at %s, but RedirectURL is at %q: the browser will not send its cookies there", name, siteOf(rp.redirect))})
}

// strayed adds to a state that is not known what may have been the reason.
func (rp *RelyingParty) strayed(e *Error) {
	others := rp.hosts.List()
	if e.Code != errStateUnknown.code || others == "" {
		return
	}
	e.Message += " It may have been started at another address of this site. Please start at " + siteOf(rp.redirect) + "."
	e.Err = fmt.Errorf("%w; sign-ins began at %s, but RedirectURL is at %q", cmp.Or(e.Err, errors.New("unknown")), others, siteOf(rp.redirect))
}

// tellDropped logs a return path that is not taken. Its query and its fragment
// are left out, because they may hold what others must not read.
func (rp *RelyingParty) tellDropped(r *http.Request, wish, reason string) {
	path, _, _ := strings.Cut(wish, "?")
	path, _, _ = strings.Cut(path, "#")
	rp.provider.emitFor(r, Event{Name: EventTrouble, Code: troubleReturnPath, ClientID: rp.client.told(),
		Err: fmt.Errorf("return path %q of %d bytes is dropped: %s", clip(path), len(wish), reason)})
}

// tellTrimmed logs that the sign-ins under way of a browser lose their return
// path, because together they take too much room.
func (rp *RelyingParty) tellTrimmed(r *http.Request, changed, gone []attempt.Sealed) {
	gone = slices.DeleteFunc(slices.Clone(gone), func(c attempt.Sealed) bool { return c.Attempt == nil }) // they had none
	if len(changed)+len(gone) == 0 {
		return
	}
	rp.provider.emitFor(r, Event{Name: EventTrouble, Code: troubleReturnPath, ClientID: rp.client.told(),
		Err: fmt.Errorf("the sign-ins under way of one browser take more than %d bytes: %d lose their return path, and %d are dropped", maxAttempts, len(changed), len(gone))})
}
