package gatehouse

// Tested in internal/e2e/signin.

import (
	"fmt"
	"net/http"
	"slices"
	"strings"

	"example.com/gatehouse/internal/authrequest"
	"example.com/gatehouse/internal/navigation"
)

// maxAccount is how long an account may be that a person types: an address of
// mail is shorter (RFC 5321 §4.5.3.1).
const maxAccount = 320

// Handler serves every path of all relying parties, so that one line mounts it:
//
//	mux.Handle("/auth/", logins.Handler())
//
// Beside their own handlers, it serves below LoginsConfig.Base, for all of them:
// "login", where a person chooses, or types an account, and comes back afterwards
// to the path in the parameter "return_to"; "logout" (see
// RelyingParty.LogoutHandler) and "session" (see RelyingParty.SessionHandler). At
// "login", a third party may begin a sign-in too: "iss" says where (OpenID Connect
// Core §4). Any other path gets 404.
//
// Handler panics if two of the handlers would have the same path.
func (l *Logins) Handler() http.Handler {
	wire("Handler", l.checkMade())
	all := make([]http.Handler, len(l.sites))
	for i, s := range l.sites {
		all[i] = l.siteHandler(s)
	}
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		of := l.site(r)
		for i, s := range l.sites {
			if s == of {
				all[i].ServeHTTP(w, r)
			}
		}
	})
}

// siteHandler is Handler for one origin.
func (l *Logins) siteHandler(s *loginSite) http.Handler {
	served := map[string]http.Handler{}
	mount := func(path, whose string, h http.Handler) {
		if served[path] != nil {
			wire("Handler", fmt.Errorf("%s would be at %q, where another handler is: set LoginsConfig.Base, or other paths of the relying parties", whose, path))
		}
		served[path] = h
	}
	for _, rp := range s.members {
		own := rp.Handler()
		for _, path := range rp.paths.all() {
			mount(path, "a handler of the relying party with RedirectURL "+rp.config.RedirectURL, own)
		}
	}
	front := s.front
	mount(front.paths.login, "the page where people choose", l.chooser(s))
	mount(front.paths.logout, "LogoutHandler for all", front.LogoutHandler())
	mount(front.paths.session, "SessionHandler for all", front.SessionHandler())
	s.mounted.Store(true)
	none := front.ownHandler(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		for _, rp := range s.members { // a proxy may have stripped something
			if err := rp.strayAnswer(r); err != nil {
				rp.refuse(w, r, errNotFound.because(err))
				return
			}
		}
		front.refuse(w, r, errNotFound.because(nil))
	}))
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		h := served[navigation.Path(front.address(r))]
		if h == nil {
			h = none
		}
		h.ServeHTTP(w, r)
	})
}

// chooser is the LoginHandler of all relying parties together.
func (l *Logins) chooser(s *loginSite) http.Handler {
	front := s.front
	return front.ownHandler(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if by := s.thirdParty(r); by != nil { // it refuses an issuer that is not its own
			by.LoginHandler().ServeHTTP(w, r)
			return
		}
		if err := l.choose(w, r, s); err != nil {
			front.refuse(w, r, err)
		}
	}))
}

// thirdParty returns the relying party at which another site begins a sign-in, or
// the first one if that names an issuer of nobody here (OpenID Connect Core §4).
// It returns nil for every other request.
func (s *loginSite) thirdParty(r *http.Request) *RelyingParty {
	from, _ := navigation.Query(r.URL.RawQuery)
	if form, err := navigation.Form(r); err == nil && form.Has(startIssuer) {
		from = form
	}
	if !from.Has(startIssuer) {
		return nil
	}
	for _, rp := range s.members {
		if rp.provider.owns(from.Get(startIssuer)) {
			return rp
		}
	}
	return s.members[0]
}

// choose sends the person to the relying party that the request names, or shows
// the page.
func (l *Logins) choose(w http.ResponseWriter, r *http.Request, s *loginSite) error {
	if r.Method != http.MethodGet && r.Method != http.MethodHead && r.Method != http.MethodPost {
		w.Header().Set("Allow", "GET, HEAD, POST")
		return errMethod.because(nil)
	}
	if err := s.front.checkOrigin(r); err != nil {
		return err
	}
	start, err := s.front.readStart(r)
	if err != nil {
		return err
	}
	by, account, err := l.named(r, s)
	if err != nil {
		return err
	}
	if by == nil || r.Method == http.MethodHead {
		l.page(w, r, s, start.wish, account)
		return nil
	}
	if !navigation.MayOpenPage(r) {
		return errNoNavigation.because(nil)
	}
	if err := by.mayStart(w, r); err != nil {
		by.refuse(w, r, err)
		return nil
	}
	d, err := by.start(w, r, start.wish, account)
	if err != nil {
		by.refuse(w, r, err)
		return nil
	}
	by.depart(w, d)
	return nil
}

// named returns the relying party that the request names, and the account that
// the person has typed. A link on a page of another site types nothing: who it
// signs in, and whom we ask about an account, is not for a stranger to say.
func (l *Logins) named(r *http.Request, s *loginSite) (by *RelyingParty, account string, err error) {
	query, _ := navigation.Query(r.URL.RawQuery)
	account = strings.TrimSpace(query.Get(startHint))
	if account == "" || l.config.Account == nil || s.front.checkNoLink(r) != nil {
		return l.chosen(r, s), "", nil
	}
	if len(account) > maxAccount {
		return nil, "", errStart.because(fmt.Errorf("an account of %d bytes", len(account)))
	}
	if err := authrequest.Hint(account); err != nil {
		return nil, "", errStart.because(err)
	}
	by, err = l.config.Account(r.Context(), account)
	if err != nil {
		return nil, "", asError(err, errRequirement)
	}
	by = l.member(by)
	if !slices.Contains(s.members, by) {
		by = nil
	}
	return by, account, nil
}

// page shows where the person can sign in. An account that nobody knows is told.
func (l *Logins) page(w http.ResponseWriter, r *http.Request, s *loginSite, wish, account string) {
	back := ""
	if wish != "" {
		back = s.front.wayBack(r, wish)
	}
	choices := make([]LoginChoice, len(s.members))
	for i, rp := range s.members {
		link := rp.loginURL()
		if back != "" {
			link = rp.signInLink(back)
		}
		choices[i] = LoginChoice{Name: rp.config.ProviderName, Issuer: rp.provider.issuer, URL: link}
	}
	if l.config.Page != nil {
		l.config.Page(w, r, choices)
		return
	}
	p := page{Title: "Sign in", Message: "Where do you want to sign in?", Choices: choices}
	if l.config.Account != nil {
		p.Ask, p.Back = s.front.config.LoginURL, back
	}
	if account != "" {
		p.Message = "There is no sign-in for that account. Where do you want to sign in?"
	}
	s.front.writePage(w, http.StatusOK, p)
}
