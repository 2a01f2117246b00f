package middlewaretest

import (
	"bytes"
	"fmt"
	"html"
	"io"
	"net/http"
	"net/url"
	"regexp"
	"slices"
	"strings"
)

// The browser runs no scripts, but it knows what the scripts of three pages do:
// the provider's page that posts an answer (form_post), gatehouse's page that
// posts what is in the fragment, and its page that posts an authorization
// request. It does so only where a browser would run the script and let the form
// go where it goes.

var (
	scriptedTag = regexp.MustCompile(`<form method="post"(?: action="([^"]*)")? id="(answer|gatehouse-answer|gatehouse-request)">`)
	scriptTag   = regexp.MustCompile(`<script nonce="([^"]+)">`)
)

// scripted returns the form that a page's script submits, as the next request, or
// nil if the page has none or its policy forbids the script.
func (b *Browser) scripted(resp *http.Response, h *hop) (*hop, error) {
	if h.kind != document || resp.StatusCode != http.StatusOK {
		return nil, nil
	}
	read, err := io.ReadAll(resp.Body)
	resp.Body = io.NopCloser(bytes.NewReader(read))
	form := scriptedTag.FindSubmatch(read)
	script := scriptTag.FindSubmatch(read)
	policy := directives(resp.Header.Get("Content-Security-Policy"))
	if err != nil || form == nil || script == nil || policy["script-src"] != nil && !slices.Contains(policy["script-src"], "'nonce-"+string(script[1])+"'") {
		return nil, nil
	}
	page := *resp.Request.URL
	fragment := page.EscapedFragment()
	page.Fragment, page.RawFragment = "", ""
	to, err := page.Parse(html.UnescapeString(string(form[1])))
	if err != nil {
		return nil, fmt.Errorf("middlewaretest: a form leads to an address that cannot be read: %w", err)
	}
	values := url.Values{}
	for _, field := range hiddenTag.FindAllSubmatch(read, -1) {
		value := html.UnescapeString(string(field[2]))
		if string(form[2]) == "gatehouse-answer" {
			value = fragment
		}
		values.Add(html.UnescapeString(string(field[1])), value)
	}
	next := &hop{ctx: h.ctx, kind: document, method: http.MethodPost, url: to.String(), initiator: originOf(page.String()), until: h.until,
		body: []byte(values.Encode()), contentType: "application/x-www-form-urlencoded", goes: policy["form-action"]}
	switch resp.Header.Get("Referrer-Policy") { // Fetch standard, "append a request Origin header"
	case "no-referrer":
		next.hidden = true
	case "same-origin":
		next.hidden = originOf(to.String()) != next.initiator
	}
	return next, next.mayGo(to)
}

// mayGo applies form-action, as Chromium does to the redirects after a form too.
// Content Security Policy Level 3 §6.4.1.
func (h *hop) mayGo(to *url.URL) error {
	if h.goes == nil {
		return nil
	}
	at := originOf(to.String())
	for _, source := range h.goes {
		if source == "'self'" && at == h.initiator || source == to.Scheme+":" || source == at {
			return nil
		}
	}
	return fmt.Errorf("middlewaretest: form-action %s of the page forbids %s", strings.Join(h.goes, " "), at)
}

// directives reads a policy.
func directives(policy string) map[string][]string {
	out := map[string][]string{}
	for one := range strings.SplitSeq(policy, ";") {
		if words := strings.Fields(one); len(words) > 0 && out[words[0]] == nil {
			out[words[0]] = words[1:]
		}
	}
	return out
}
