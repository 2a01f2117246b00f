package gatehouse

// Tested in internal/e2e/signin.

import (
	"bytes"
	"crypto/sha256"
	_ "embed"
	"encoding/base64"
	"errors"
	"fmt"
	"html/template"
	"net/http"
	"net/url"
	"slices"
	"strings"

	"example.com/gatehouse/internal/authrequest"
	"example.com/gatehouse/internal/challenge"
	"example.com/gatehouse/internal/flight"
	"example.com/gatehouse/internal/navigation"
	"example.com/gatehouse/internal/outbound"
)

// Refuse implements Guard. If err asks for sign-in or step-up and the request
// is a navigation, Refuse redirects to the provider. A posted form gets a page
// that says that it was not saved, with a link that does the same and comes
// back to the page of the form. Any other request gets the status of err with a
// small JSON body or a page.
func (rp *RelyingParty) Refuse(w http.ResponseWriter, r *http.Request, err error) {
	if made := rp.checkMade(); made != nil {
		refuseAlone(w, r, errInternal.because(made))
		return
	}
	perBrowser(w.Header())
	defer rp.recovered(w, r)
	e := asError(err, errInternal)
	switch asks := asksForSignIn(e); {
	case asks && isForm(r):
		rp.refuse(w, r, rp.notSaved(w, r, e))
	case asks && navigation.Is(r):
		d, err := rp.askFor(w, r, e, rp.address(r))
		if err != nil {
			rp.refuse(w, r, about(subjectOf(e), err))
			return
		}
		rp.depart(w, d)
	default:
		rp.refuse(w, r, e)
	}
}

// asksForSignIn reports whether signing in is the answer to an error.
func asksForSignIn(e *Error) bool {
	return e.Code == errLoginRequired.code || e.Code == errStepUp.code || e.Code == errTokenEnded.code
}

// isForm reports whether a person posted a form, also in a frame.
func isForm(r *http.Request) bool { return r.Method == http.MethodPost && navigation.WantsPage(r) }

// notSaved returns the answer to a form, with where its link leads. A page can
// begin a plain sign-in at any time. What a requirement asks for is known here
// alone, so the attempt begins here.
func (rp *RelyingParty) notSaved(w http.ResponseWriter, r *http.Request, e *Error) error {
	page := rp.wayBack(r, navigation.FormPage(r, siteOf(rp.redirect)))
	if e.Code != errStepUp.code {
		said := *e
		said.Message, said.page = formNotSaved, rp.signInLink(page)
		return &said
	}
	said := about(subjectOf(e), errStepUp.saying(formNeedsMore).because(e.Err)).(*Error)
	said.page = page
	if navigation.IsForm(r) && rp.config.ErrorHandler == nil {
		d, err := rp.askFor(w, r, e, page)
		if err != nil { // the guard of the page tells the person
			return also(said, err)
		}
		said.page, said.leave = d.address(), &d
	}
	return said
}

// askFor starts the sign-in, or the request for a grant, that provides what e
// says is missing.
func (rp *RelyingParty) askFor(w http.ResponseWriter, r *http.Request, e *Error, returnTo string) (departure, error) {
	if err := rp.checkMounted(r); err != nil {
		return departure{}, err
	}
	a := rp.newAttempt(r, returnTo)
	if err := rp.ask(r, a, ""); err != nil {
		return departure{}, err
	}
	missing, ok := errors.AsType[*refusal](e)
	switch {
	case ok && onlyGrant(missing.unmet):
		a.Grant, a.Aged, a.MaxAge, a.ACR, a.Asked, a.Silent, a.Essential = true, false, 0, "", nil, false, ""
	case ok: // a guard around this one may need them, and the two would ask in turn for ever
		a.AskScopes(slices.DeleteFunc(slices.Clone(missing.scopes), func(s string) bool { return slices.Contains(rp.scopes, s) })...)
		if before := append(slices.Clip(a.Asked), missing.asked...); a.ACR != "" || a.Essential != "" {
			a.Asked = before[:min(len(before), maxAsked*digestSize)]
		}
	}
	return rp.begin(w, r, a)
}

// redirect sends the browser to location. Unlike http.Redirect it does not
// rewrite the address, which has already been checked.
func redirect(w http.ResponseWriter, location string) {
	w.Header().Set("Location", location)
	w.WriteHeader(http.StatusSeeOther)
}

// refuse logs and answers a failure. All failures of a RelyingParty go through
// it.
func (rp *RelyingParty) refuse(w http.ResponseWriter, r *http.Request, err error) {
	e := *asError(err, errInternal).answered()
	rp.strayed(&e)
	if p, ok := errors.AsType[*flight.PanicError](err); ok {
		rp.provider.emitPanic(r.Context(), p.Value, p.Stack)
	}
	rp.provider.emitFor(r, Event{Name: EventRefusal, Code: e.Code, ID: e.ID, Subject: subjectOf(err), ClientID: rp.client.told(), Err: e.Err})
	writeErrorHeader(w, &e)
	if e.Status == http.StatusUnauthorized {
		rp.challenge(w)
	}
	if rp.config.ErrorHandler != nil {
		handleError(rp.config.ErrorHandler, w, r, &e)
		return
	}
	if navigation.WantsPage(r) {
		rp.writePage(w, e.Status, rp.errorPage(r, &e))
		return
	}
	body := errorBody{Error: e.Code, Message: e.Message, ID: e.ID}
	if asksForSignIn(&e) {
		body.LoginURL = rp.loginURL()
	}
	writeJSON(w, e.Status, body)
}

// failed adds to the error of a callback who signs in, the page that they came
// for, and what the provider said if it answered with an error (RFC 6749 §4.1.2.1). That is text of a
// stranger: no page shows it, and the log repeats no value of this sign-in
// (R13).
func (c *callback) failed(err error) error {
	if c.query.Has("error") {
		said := outbound.NewSaid(c.query.Get("error"), c.query.Get("error_description"), c.secrets()...).Apart(c.public()...)
		err = also(err, fmt.Errorf("the provider answered with the %w", said))
	}
	e := *asError(about(c.subject, err), errInternal)
	if c.attempt != nil {
		if page, ok := c.rp.returnPath(c.attempt.ReturnTo); ok {
			e.page = page
		}
	}
	return &e
}

// refusedThere returns the kind of an error with which the provider answered.
// Some codes say that this site asks for what it may not have (RFC 6749
// §4.1.2.1, OpenID Connect Core §3.1.2.6); the person can do nothing about it.
func (c *callback) refusedThere() kind {
	if c.attempt.Silent && authrequest.Refuses(c.query.Get("error")) {
		return errInteraction
	}
	switch c.query.Get("error") {
	case "invalid_request", "unauthorized_client", "unsupported_response_type", "invalid_scope", "invalid_target",
		"request_not_supported", "request_uri_not_supported", "registration_not_supported":
		return errRequestRefused
	}
	return errRefusedThere
}

// secrets lists what the provider and the browser were sent or sent for this
// sign-in, except the members of an error.
func (c *callback) secrets() []string {
	secrets := []string{c.who.secret.Reveal()}
	if c.attempt != nil {
		secrets = append(secrets, c.attempt.State(), c.attempt.Nonce(), c.attempt.Verifier())
	}
	for _, name := range []string{"login_hint", "id_token_hint", "login_hint_token", "request", "request_uri"} {
		secrets = append(secrets, c.rp.config.AuthParams[name]...)
		secrets = append(secrets, c.asked()[name]...)
	}
	for name, values := range c.query {
		if name != "iss" && !strings.HasPrefix(name, "error") {
			secrets = append(secrets, values...)
		}
	}
	for _, cookie := range c.r.Cookies() {
		secrets = append(secrets, strings.Split(cookie.Value, ".")...)
	}
	return secrets
}

// public lists the other values that the provider was sent.
func (c *callback) public() []string {
	words := append(slices.Clip(c.rp.config.Scopes), c.who.ID)
	if c.attempt != nil {
		words = append(words, strings.Fields(c.attempt.Scopes+" "+c.attempt.ACR)...)
	}
	for _, values := range c.asked() {
		for _, value := range values {
			words = append(words, strings.Fields(value)...)
		}
	}
	return words
}

// challenge sets WWW-Authenticate, which every 401 must have (RFC 9110
// §15.5.2). Its scheme "Session" is not registered, because no registered
// scheme describes a sign-in that a browser cannot do by itself.
func (rp *RelyingParty) challenge(w http.ResponseWriter) {
	if value, err := challenge.Format("Session", "realm", rp.redirect.Host); err == nil {
		w.Header().Set("WWW-Authenticate", value)
	}
}

// page is the content of one of our own pages. The template escapes all of it.
type page struct {
	Title    string
	Message  string
	ID       string
	Action   string // address that the form posts to, "" for this page
	Form     string // id of a form that a script submits
	Fields   []field
	Goes     string // where the form may lead, "" for anywhere
	Button   string
	Script   template.JS
	Nonce    string // of the script
	Noscript string
	Link     string
	Label    string
	Other    string // a second address, "" for none
	Name     string
	Choices  []LoginChoice
	Ask      string // address of a form for an account, "" for none
	Back     string // where that leads afterwards
}

//go:embed page.html
var pageText string

//go:embed page.css
var pageStyle string

// pages holds the template and the Content-Security-Policy that allows its one
// style sheet and the empty icon, without which browsers ask for /favicon.ico.
var pages = struct {
	*template.Template
	policy string
}{
	template.Must(template.New("page").Funcs(template.FuncMap{
		"style": func() template.CSS { return template.CSS(pageStyle) },
	}).Parse(pageText)),
	"default-src 'none'; img-src data:; base-uri 'none'; frame-ancestors 'none'; style-src 'sha256-" + styleHash() + "'",
}

// noForm is appended to the policy of a page without a form. The page with the
// sign-out form cannot have it: browsers apply form-action to redirects too,
// and sign-out redirects to the provider and on to wherever it chooses.
const noForm = "; form-action 'none'"

func styleHash() string {
	sum := sha256.Sum256([]byte(pageStyle))
	return base64.StdEncoding.EncodeToString(sum[:])
}

func (rp *RelyingParty) writePage(w http.ResponseWriter, status int, p page) {
	policy := pages.policy
	if p.Script != "" {
		p.Nonce = newNonce()
		policy += "; script-src 'nonce-" + p.Nonce + "'"
	}
	var b bytes.Buffer
	if err := pages.Execute(&b, p); err != nil {
		http.Error(w, http.StatusText(http.StatusInternalServerError), http.StatusInternalServerError)
		return
	}
	h := w.Header()
	h.Set("Content-Type", "text/html; charset=utf-8")
	h.Set("X-Content-Type-Options", "nosniff")
	switch {
	case p.Goes != "":
		h.Set("Content-Security-Policy", policy+"; form-action "+p.Goes)
		h.Set("Referrer-Policy", "strict-origin") // with no-referrer a form would send "Origin: null", also to the provider
	case p.Action != "" || p.Ask != "":
		h.Set("Content-Security-Policy", policy)
		h.Set("Referrer-Policy", "same-origin") // as above
	default:
		h.Set("Content-Security-Policy", policy+noForm)
		h.Set("Referrer-Policy", "no-referrer")
	}
	w.WriteHeader(status)
	_, _ = w.Write(b.Bytes())
}

// errorPage returns a page with the message, the id of the log line and a
// link.
func (rp *RelyingParty) errorPage(r *http.Request, e *Error) page {
	p := page{Title: "That did not work", Message: e.Message, ID: e.ID, Link: rp.config.HomeURL, Label: "Continue"}
	form := isForm(r) && !rp.isCallback(r) // an answer that is posted holds nothing of the person's
	switch {
	case e.way != "":
		p.Link, p.Label = e.page, e.way
	case form && e.leave != nil && rp.config.AuthorizeByPOST:
		p.Title, p.Link, p.Label, p.Button = "That was not saved", "", "", "Sign in and go back"
		p = rp.requestForm(p, *e.leave)
	case form && e.page != "":
		p.Title, p.Link, p.Label = "That was not saved", e.page, "Sign in and go back"
	case e.page != "" && e.Code != errForbidden.code:
		p.Link, p.Label = rp.signInLink(e.page), "Try again"
		p.Other, p.Name = rp.loginURL(), "Sign in again"
	case e.Status == http.StatusServiceUnavailable && r.Method == http.MethodGet && !rp.isCallback(r):
		p.Link, p.Label = rp.config.HomeURL, "Try again"
		if link, ok := navigation.LocalPath(rp.address(r)); ok {
			p.Link = link
		}
	case rp.loginURL() != "" && e.Code != errForbidden.code:
		p.Link, p.Label = rp.loginURL(), "Sign in again"
	case e.Code != errForbidden.code:
		p.Label = "Try again"
	}
	return p
}

// signInLink returns an address that signs a person in, if nobody is, and leads
// to the page. Without LoginHandler it is the page itself, whose guard does
// that.
func (rp *RelyingParty) signInLink(page string) string {
	login := rp.loginURL()
	switch {
	case login == "":
		return page
	case strings.Contains(login, "?"):
		return login + "&return_to=" + url.QueryEscape(page)
	}
	return login + "?return_to=" + url.QueryEscape(page)
}

// isCallback reports whether the request is a response of the provider. It can
// be sent only once, so no page links back to it.
func (rp *RelyingParty) isCallback(r *http.Request) bool {
	path, query, _ := strings.Cut(rp.address(r), "?")
	return path == rp.redirect.EscapedPath() || strings.Contains(query, "state=")
}
