package gatehouse

// Tested in internal/e2e/signin.

import (
	"bytes"
	"crypto/sha256"
	_ "embed"
	"encoding/base64"
	"errors"
	"html/template"
	"net/http"
	"strings"

	"example.com/gatehouse/internal/challenge"
	"example.com/gatehouse/internal/flight"
	"example.com/gatehouse/internal/navigation"
)

// Refuse implements Guard. If err asks for sign-in or step-up and the request
// is a navigation, Refuse redirects to the provider. Any other request gets
// the status of err with a small JSON body or a page.
func (rp *RelyingParty) Refuse(w http.ResponseWriter, r *http.Request, err error) {
	perBrowser(w.Header())
	e := asError(err, errInternal)
	if e.Code != errLoginRequired.code && e.Code != errStepUp.code {
		rp.refuse(w, r, e)
		return
	}
	returnTo, ok := navigation.ComesBackTo(r)
	if !ok {
		rp.refuse(w, r, e)
		return
	}
	location, err := rp.askFor(w, r, e, returnTo)
	if err != nil {
		rp.refuse(w, r, err)
		return
	}
	redirect(w, location)
}

// askFor starts the sign-in, or the request for a grant, that provides what e
// says is missing.
func (rp *RelyingParty) askFor(w http.ResponseWriter, r *http.Request, e *Error, returnTo string) (string, error) {
	a := rp.newAttempt(r, returnTo)
	if missing, ok := errors.AsType[*refusal](e); ok && onlyGrant(missing.unmet) {
		a.Grant, a.Aged, a.Asked = true, false, nil
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
	if p, ok := errors.AsType[*flight.PanicError](err); ok {
		rp.provider.emitPanic(r.Context(), p.Value, p.Stack)
	}
	rp.provider.emit(r.Context(), Event{Name: EventRefusal, Code: e.Code, ID: e.ID, ClientID: rp.client.ID, Err: e.Err})
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
	if e.Code == errLoginRequired.code || e.Code == errStepUp.code {
		body.LoginURL = rp.config.LoginURL
	}
	writeJSON(w, e.Status, body)
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
	Title   string
	Message string
	ID      string
	Action  string // address that the form posts to, "" for no form
	Button  string
	Link    string
	Label   string
}

//go:embed page.html
var pageText string

//go:embed page.css
var pageStyle string

// pages holds the template and the Content-Security-Policy that allows its one
// style sheet.
var pages = struct {
	*template.Template
	policy string
}{
	template.Must(template.New("page").Funcs(template.FuncMap{
		"style": func() template.CSS { return template.CSS(pageStyle) },
	}).Parse(pageText)),
	"default-src 'none'; base-uri 'none'; frame-ancestors 'none'; style-src 'sha256-" + styleHash() + "'",
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
	var b bytes.Buffer
	if err := pages.Execute(&b, p); err != nil {
		http.Error(w, http.StatusText(http.StatusInternalServerError), http.StatusInternalServerError)
		return
	}
	h := w.Header()
	h.Set("Content-Type", "text/html; charset=utf-8")
	h.Set("Content-Security-Policy", pages.policy+noForm)
	h.Set("X-Content-Type-Options", "nosniff")
	h.Set("Referrer-Policy", "no-referrer")
	if p.Action != "" {
		h.Set("Content-Security-Policy", pages.policy)
		h.Set("Referrer-Policy", "same-origin") // with no-referrer our own form would send "Origin: null"
	}
	w.WriteHeader(status)
	_, _ = w.Write(b.Bytes())
}

// errorPage returns a page with the message, the id of the log line and a
// link.
func (rp *RelyingParty) errorPage(r *http.Request, e *Error) page {
	p := page{Title: "That did not work", Message: e.Message, ID: e.ID, Link: rp.config.HomeURL, Label: "Continue"}
	switch {
	case e.Status == http.StatusServiceUnavailable && r.Method == http.MethodGet && !rp.isCallback(r):
		p.Link, p.Label = rp.config.HomeURL, "Try again"
		if link, ok := navigation.LocalPath(navigation.Address(r)); ok {
			p.Link = link
		}
	case rp.config.LoginURL != "" && e.Code != errForbidden.code:
		p.Link, p.Label = rp.config.LoginURL, "Sign in again"
	case e.Code != errForbidden.code:
		p.Label = "Try again"
	}
	return p
}

// isCallback reports whether the request is a response of the provider. It can
// be sent only once, so no page links back to it.
func (rp *RelyingParty) isCallback(r *http.Request) bool {
	path, query, _ := strings.Cut(navigation.Address(r), "?")
	return path == rp.redirect.EscapedPath() || strings.Contains(query, "state=")
}
