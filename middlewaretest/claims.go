package middlewaretest

import (
	"bytes"
	"encoding/base64"
	"html"
	"io"
	"net/http"
	"net/url"
	"regexp"
	"strings"

	"example.com/gatehouse"
	"example.com/gatehouse/internal/testkit/opserver"
)

// SetClaimsRedirect registers where people come back to from the page on which
// the authorization server asks them for claims (UMA Grant §3.3.2). The addresses
// are compared as strings:
//
//	op.SetClaimsRedirect(client, base+"/auth/claims")
//
// From then on, need_info names the page to this client.
func (s *Server) SetClaimsRedirect(c gatehouse.Client, uris ...string) {
	s.t.Helper()
	s.check(s.op.SetClaimsRedirectURIs(c.ID, uris...))
}

// NeededClaim is something that a person has to say on the authorization server's
// page before a resource is opened for them, besides who they are.
type NeededClaim struct {
	Name   string   // of the claim
	Label  string   // for people; "" means Name
	Accept []string // the values that let somebody in; nil: any but an empty one
	Step   int      // asked in a visit of its own, after those of lower steps
}

// NeedClaims makes the server ask for claims before it lets anybody in, whatever
// the owner has shared. The person who signs in on the page answers; see
// [Browser.Say]. No claims takes that back.
func (o *Owner) NeedClaims(resource string, claims ...NeededClaim) {
	o.s.t.Helper()
	var list []opserver.NeededClaim
	for _, n := range claims {
		list = append(list, opserver.NeededClaim(n))
	}
	o.s.check(o.s.op.NeedClaims(o.name, o.id(resource), list...))
}

// Say makes the browser answer a claim on the authorization server's page from
// now on. If the page asks for something that nothing was said about, the person
// cancels.
func (b *Browser) Say(claim, value string) {
	if b.says == nil {
		b.says = map[string]string{}
	}
	b.says[claim] = value
}

var (
	claimsTag = regexp.MustCompile(`<form method="post" action="([^"]*)" id="claims"`)
	fieldTag  = regexp.MustCompile(`<input id="[^"]*" name="([^"]*)" value="[^"]*" autocomplete="off">`)
)

// claimsForm returns the form of the claims page with the person's answers, if
// the answer is that page.
func (b *Browser) claimsForm(resp *http.Response) (signInForm, bool) {
	if b.user == "" || resp.StatusCode != http.StatusOK || originOf(resp.Request.URL.String()) != originOf(b.s.Issuer()) {
		return signInForm{}, false
	}
	read, err := io.ReadAll(resp.Body)
	resp.Body = io.NopCloser(bytes.NewReader(read))
	at := claimsTag.FindSubmatch(read)
	if err != nil || at == nil {
		return signInForm{}, false
	}
	form := signInForm{action: html.UnescapeString(string(at[1])), values: url.Values{"decision": {"tell"}}}
	for _, field := range hiddenTag.FindAllSubmatch(read, -1) {
		form.values.Set(html.UnescapeString(string(field[1])), html.UnescapeString(string(field[2])))
	}
	for _, field := range fieldTag.FindAllSubmatch(read, -1) {
		name := html.UnescapeString(string(field[1]))
		_, key, _ := strings.Cut(name, ".")
		claim, err := base64.RawURLEncoding.DecodeString(key)
		said, known := b.says[string(claim)]
		if err != nil || !known {
			form.values.Set("decision", "refuse")
		}
		form.values.Set(name, said)
	}
	return form, true
}
