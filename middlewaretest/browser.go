package middlewaretest

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"html"
	"io"
	"net/http"
	"net/http/cookiejar"
	"net/url"
	"regexp"
	"strings"
	"testing"
	"time"
)

// Limits of a browser.
const (
	mostRedirects = 20               // as browsers have it
	mostSignIns   = 3                // in one visit; more is a loop
	mostBody      = 32 << 20         // of one answer
	patience      = 60 * time.Second // for one answer
)

// Browser visits services as a person's browser does: it keeps cookies over all
// origins, follows redirects, says with Sec-Fetch-* what kind of request it makes,
// and signs its person in when the provider's page asks. Bodies of its answers are
// read already and need no Close. It is for one goroutine at a time.
//
// It differs from a real one where the standard library's cookie jar does:
// SameSite is not enforced, and cookies expire by the real clock. Like real ones
// it keeps Secure cookies on loopback, and refuses a __Host- cookie that is not
// entitled to its name.
type Browser struct {
	s      *Server
	t      testing.TB
	user   string
	jar    *cookiejar.Jar
	client *http.Client
}

// Browser returns a fresh browser of a user; with an empty name it never signs
// in, and the provider's page is what its visits end at.
func (s *Server) Browser(t testing.TB, user string) *Browser {
	t.Helper()
	if user != "" && !s.op.HasUser(user) {
		t.Fatalf("middlewaretest: no user is called %q", user)
	}
	jar, err := cookiejar.New(nil)
	if err != nil {
		t.Fatal("middlewaretest: ", err)
	}
	transport := &http.Transport{}
	t.Cleanup(transport.CloseIdleConnections)
	return &Browser{s: s, t: t, user: user, jar: jar, client: &http.Client{
		Jar:       loopbackJar{jar},
		Transport: transport,
		Timeout:   patience,
		CheckRedirect: func(*http.Request, []*http.Request) error {
			return http.ErrUseLastResponse // the browser follows by itself
		},
	}}
}

// Get visits an address as if it were typed in.
func (b *Browser) Get(address string) (*http.Response, error) { return b.GetUntil(address, "") }

// GetUntil is Get, but stops before a request to an address with the prefix and
// returns the redirect that leads there: say, with a callback in its Location.
func (b *Browser) GetUntil(address, prefix string) (*http.Response, error) {
	return b.visit(&hop{method: http.MethodGet, url: address, mode: "navigate", until: prefix})
}

// PostForm submits a form from a page of the same origin.
func (b *Browser) PostForm(address string, v url.Values) (*http.Response, error) {
	return b.visit(&hop{method: http.MethodPost, url: address, mode: "navigate", initiator: originOf(address),
		body: []byte(v.Encode()), contentType: "application/x-www-form-urlencoded"})
}

// Fetch asks as a script on a page of the same origin does. It is not sent to
// sign-in: a redirect to another origin is an error, as it is for a script.
func (b *Browser) Fetch(address string) (*http.Response, error) {
	return b.visit(&hop{method: http.MethodGet, url: address, mode: "cors", initiator: originOf(address)})
}

// Do sends a request of your own making. Headers that a browser adds are added
// unless they are there; with Sec-Fetch-Mode "cors" it counts as a script's. What
// comes after a redirect or sign-in is the browser's.
func (b *Browser) Do(r *http.Request) (*http.Response, error) {
	h := &hop{method: r.Method, url: r.URL.String(), mode: "navigate", header: r.Header, contentType: r.Header.Get("Content-Type"), ctx: r.Context()}
	if m := r.Header.Get("Sec-Fetch-Mode"); m != "" {
		h.mode = m
	}
	if r.Method != http.MethodGet && r.Method != http.MethodHead || h.mode != "navigate" {
		h.initiator = originOf(h.url)
	}
	if r.Body != nil {
		body, err := io.ReadAll(r.Body)
		if err != nil {
			return nil, err
		}
		h.body = body
	}
	return b.visit(h)
}

// Cookies returns the cookies that the browser would send to an address.
func (b *Browser) Cookies(address string) []*http.Cookie {
	b.t.Helper()
	u, err := url.Parse(address)
	if err != nil {
		b.t.Fatal("middlewaretest: ", err)
	}
	return loopbackJar{b.jar}.Cookies(u)
}

// hop is one request of a visit.
type hop struct {
	ctx         context.Context // nil: the test's
	method, url string
	mode        string // Sec-Fetch-Mode
	initiator   string // the origin that asks; "": the person
	chain       []string
	body        []byte
	contentType string
	header      http.Header // the caller's own, for the first request
	until       string
}

// visit makes requests until there is an answer that leads nowhere else.
func (b *Browser) visit(h *hop) (*http.Response, error) {
	signIns := 0
	for range mostRedirects {
		h.chain = append(h.chain, h.url)
		resp, err := b.send(h)
		if err != nil {
			return nil, err
		}
		if next := resp.Header.Get("Location"); next != "" && redirects(resp.StatusCode) {
			to, err := resp.Request.URL.Parse(next)
			if err != nil {
				return nil, fmt.Errorf("middlewaretest: redirect to an address that cannot be read: %w", err)
			}
			if h.until != "" && strings.HasPrefix(to.String(), h.until) {
				return resp, nil
			}
			if err := h.follow(resp.StatusCode, to); err != nil {
				return nil, err
			}
			continue
		}
		form, asked := b.signInForm(resp)
		if !asked || h.mode != "navigate" {
			return resp, nil
		}
		if signIns++; signIns > mostSignIns {
			return nil, errors.New("middlewaretest: the service asks to sign in again and again")
		}
		h = &hop{ctx: h.ctx, method: http.MethodPost, url: form.action, mode: "navigate", initiator: originOf(form.action),
			body: []byte(form.values.Encode()), contentType: "application/x-www-form-urlencoded", until: h.until}
	}
	return nil, fmt.Errorf("middlewaretest: more than %d redirects", mostRedirects)
}

func redirects(status int) bool {
	switch status {
	case http.StatusMovedPermanently, http.StatusFound, http.StatusSeeOther, http.StatusTemporaryRedirect, http.StatusPermanentRedirect:
		return true
	}
	return false
}

// follow turns a hop into the one that a redirect leads to. Fetch standard,
// HTTP-redirect fetch.
func (h *hop) follow(status int, to *url.URL) error {
	if h.mode == "cors" && originOf(to.String()) != h.initiator {
		return fmt.Errorf("middlewaretest: a script may not follow the redirect to %s", originOf(to.String()))
	}
	h.url, h.header = to.String(), nil
	keep := status == http.StatusTemporaryRedirect || status == http.StatusPermanentRedirect || h.method == http.MethodGet || h.method == http.MethodHead
	if !keep && (status == http.StatusSeeOther || h.method == http.MethodPost) {
		h.method, h.body, h.contentType = http.MethodGet, nil, ""
	}
	return nil
}

// send makes one request and reads its answer.
func (b *Browser) send(h *hop) (*http.Response, error) {
	ctx := h.ctx
	if ctx == nil {
		ctx = b.t.Context()
	}
	var body io.Reader
	if h.body != nil {
		body = bytes.NewReader(h.body)
	}
	r, err := http.NewRequestWithContext(ctx, h.method, h.url, body)
	if err != nil {
		return nil, err
	}
	h.dress(r.Header)
	resp, err := b.client.Do(r)
	if err != nil {
		return nil, err
	}
	defer resp.Body.Close()
	read, err := io.ReadAll(io.LimitReader(resp.Body, mostBody))
	if err != nil {
		return nil, err
	}
	resp.Body = io.NopCloser(bytes.NewReader(read))
	return resp, nil
}

// dress sets the headers that a browser sends. W3C Fetch Metadata §2.
func (h *hop) dress(to http.Header) {
	set := func(name, value string) {
		if h.header.Get(name) == "" && value != "" {
			to.Set(name, value)
		}
	}
	for name, values := range h.header {
		to[name] = values
	}
	set("User-Agent", "Mozilla/5.0 (middlewaretest)")
	set("Content-Type", h.contentType)
	set("Sec-Fetch-Mode", h.mode)
	set("Sec-Fetch-Site", h.site())
	if h.mode == "navigate" {
		set("Accept", "text/html,application/xhtml+xml,application/xml;q=0.9,*/*;q=0.8")
		set("Sec-Fetch-Dest", "document")
		set("Sec-Fetch-User", "?1")
		set("Upgrade-Insecure-Requests", "1")
	} else {
		set("Accept", "*/*")
		set("Sec-Fetch-Dest", "empty")
	}
	if h.method != http.MethodGet && h.method != http.MethodHead {
		set("Origin", h.origin())
	}
}

// origin is what the Origin header says: nothing definite once a redirect has
// crossed origins.
func (h *hop) origin() string {
	for _, address := range h.chain[:len(h.chain)-1] {
		if originOf(address) != h.initiator {
			return "null"
		}
	}
	return h.initiator
}

// site relates the origin that asks to all addresses of the chain. W3C Fetch
// Metadata §2.3.
func (h *hop) site() string {
	if h.initiator == "" {
		return "none"
	}
	result := "same-origin"
	for _, address := range h.chain {
		switch {
		case originOf(address) == h.initiator:
		case hostOf(address) == hostOf(h.initiator) && strings.HasPrefix(address, "https:") == strings.HasPrefix(h.initiator, "https:"):
			result = "same-site"
		default:
			return "cross-site"
		}
	}
	return result
}

func originOf(address string) string {
	u, err := url.Parse(address)
	if err != nil {
		return ""
	}
	return u.Scheme + "://" + u.Host
}

func hostOf(address string) string {
	u, err := url.Parse(address)
	if err != nil {
		return ""
	}
	return u.Hostname()
}

// signInForm is the provider's form, filled in.
type signInForm struct {
	action string
	values url.Values
}

var (
	formTag   = regexp.MustCompile(`<form method="post" action="([^"]*)" id="sign-in"`)
	hiddenTag = regexp.MustCompile(`<input type="hidden" name="([^"]*)" value="([^"]*)">`)
)

// signInForm finds the sign-in form if the answer is the provider's page and the
// person is willing. After a refused sign-in the page stays.
func (b *Browser) signInForm(resp *http.Response) (signInForm, bool) {
	if b.user == "" || resp.StatusCode != http.StatusOK || originOf(resp.Request.URL.String()) != originOf(b.s.Issuer()) {
		return signInForm{}, false
	}
	read, err := io.ReadAll(resp.Body)
	resp.Body = io.NopCloser(bytes.NewReader(read))
	at := formTag.FindSubmatch(read)
	if err != nil || at == nil {
		return signInForm{}, false
	}
	form := signInForm{action: html.UnescapeString(string(at[1])), values: url.Values{}}
	for _, field := range hiddenTag.FindAllSubmatch(read, -1) {
		form.values.Set(html.UnescapeString(string(field[1])), html.UnescapeString(string(field[2])))
	}
	form.values.Set("username", b.user)
	form.values.Set("password", password(b.user))
	return form, true
}
