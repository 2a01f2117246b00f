package gatehouse

// Tested in internal/e2e/signin.

import (
	"crypto/rand"
	"html/template"
	"net/http"
	"net/url"
	"strings"

	"example.com/gatehouse/internal/navigation"
	"example.com/gatehouse/internal/outbound"
)

// departure is an authorization request on its way: where it goes, and what it
// says (OpenID Connect Core §3.1.2.1).
type departure struct {
	endpoint string
	params   string // encoded
	here     bool   // it goes to LoginHandler once more
}

// address is the request as an address. What the endpoint has in its query stays
// (RFC 6749 §3.1).
func (d departure) address() string {
	if strings.Contains(d.endpoint, "?") {
		return d.endpoint + "&" + d.params
	}
	return d.endpoint + "?" + d.params
}

// depart sends the browser to the provider, by a redirect or by a form.
func (rp *RelyingParty) depart(w http.ResponseWriter, d departure) {
	if !rp.config.AuthorizeByPOST || d.here {
		redirect(w, d.address())
		return
	}
	rp.writePage(w, http.StatusOK, rp.requestForm(page{
		Title: "One moment", Message: "The sign-in service opens in this window.", Button: "Continue to the sign-in service", Script: submitRequest,
	}, d))
}

// requestForm adds the form with the request to a page.
func (rp *RelyingParty) requestForm(p page, d departure) page {
	p.Action, p.Form, p.Goes = d.endpoint, requestFormID, rp.formAction(d.endpoint)
	params, _ := navigation.Query(d.params)
	for pair := range strings.SplitSeq(d.params, "&") { // in their order
		name, _, _ := strings.Cut(pair, "=")
		if name, _ = url.QueryUnescape(name); len(params[name]) > 0 {
			p.Fields = append(p.Fields, field{name, params[name][0]})
			params[name] = params[name][1:]
		}
	}
	return p
}

// The ids of the two forms that a script submits, and the scripts. Neither
// contains anything of the request or of the answer.
const (
	requestFormID  = "gatehouse-request"
	fragmentFormID = "gatehouse-answer"

	submitRequest = template.JS(`document.getElementById("` + requestFormID + `").submit()`)
	// submitFragment takes the fragment out of the address before it leaves the
	// page, so that it stays in no history.
	submitFragment = template.JS(`var f=document.getElementById("` + fragmentFormID + `");f.elements[0].value=location.hash.slice(1);` +
		`history.replaceState(null,"",location.pathname+location.search);f.submit()`)
)

// field is a hidden field of a form.
type field struct{ Name, Value string }

// fragmentPage answers the redirect of an answer in the fragment, which no server
// sees. The page is the same for every answer.
func (rp *RelyingParty) fragmentPage(w http.ResponseWriter) {
	endpoint := rp.provider.issuer
	if md := rp.provider.openid.Known(); md != nil {
		endpoint = md.AuthorizationEndpoint
	}
	rp.writePage(w, http.StatusOK, page{
		Title: "One moment", Message: "This page completes your sign-in.", Script: submitFragment,
		Noscript: "This sign-in needs JavaScript, because the answer of the sign-in service is in the address of this page, after the # sign, where only a script of the page can read it. Please allow JavaScript for this site and load the page again.",
		Form:     fragmentFormID, Fields: []field{{fragmentField, ""}}, Goes: rp.formAction(endpoint),
	})
}

// formAction says where a form may lead. Browsers apply it to the redirects after
// the form too: the provider may hand the person on to other services, all of
// them by https, and in the end back to this site.
func (rp *RelyingParty) formAction(endpoint string) string {
	allowed := "'self' https:"
	if u, err := url.Parse(endpoint); err == nil && u.Scheme == "http" && isPlainHost(u.Host) {
		allowed += " " + outbound.Origin(u)
	}
	return allowed
}

// isPlainHost reports whether a host can stand in a policy without changing it.
func isPlainHost(host string) bool {
	return host != "" && strings.Trim(strings.ToLower(host), "abcdefghijklmnopqrstuvwxyz0123456789.-:[]") == ""
}

// newNonce returns what ties a script to the policy of its page, for one answer.
func newNonce() string { return rand.Text() }
