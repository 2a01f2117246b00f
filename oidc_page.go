package gatehouse

import (
	"bytes"
	"crypto/sha256"
	_ "embed"
	"encoding/base64"
	"html/template"
	"net/http"
	"strings"

	"example.com/gatehouse/internal/navigation"
)

// page is what our few own pages say. Everything in it is escaped.
type page struct {
	Title   string
	Message string
	ID      string
	Action  string // address of the form's POST, "" for none
	Button  string
	Link    string
	Label   string
}

//go:embed page.html
var pageText string

//go:embed page.css
var pageStyle string

// pages holds the template and the policy that admits its one style.
var pages = struct {
	*template.Template
	policy string
}{
	template.Must(template.New("page").Funcs(template.FuncMap{
		"style": func() template.CSS { return template.CSS(pageStyle) },
	}).Parse(pageText)),
	"default-src 'none'; base-uri 'none'; frame-ancestors 'none'; style-src 'sha256-" + styleHash() + "'",
}

// noForm is added to the policy of a page without a form. Browsers apply
// form-action to redirects too, and our one form, sign-out, is sent on to the
// provider and from there to wherever it likes.
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
		h.Set("Referrer-Policy", "same-origin") // else our own form would come with "Origin: null"
	}
	w.WriteHeader(status)
	_, _ = w.Write(b.Bytes())
}

// errorPage shows what happened, the id of the log line and a way on.
func (rp *RelyingParty) errorPage(r *http.Request, e *Error) page {
	p := page{Title: "That did not work", Message: e.Message, ID: e.ID, Link: rp.config.HomeURL, Label: "Go on"}
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

// isCallback reports whether the request is an answer of the provider, which
// can be given once only: no link leads back to it.
func (rp *RelyingParty) isCallback(r *http.Request) bool {
	path, query, _ := strings.Cut(navigation.Address(r), "?")
	return path == rp.redirect.EscapedPath() || strings.Contains(query, "state=")
}
