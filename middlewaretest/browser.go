package middlewaretest

import (
	"bytes"
	"errors"
	"fmt"
	"html"
	"io"
	"net/http"
	"net/url"
	"regexp"
	"strings"
	"testing"
	"time"
)

// The limits of a browser.
const (
	mostRedirects = 20               // as browsers have it
	mostSignIns   = 3                // in one visit; more is a loop
	mostAnswers   = 6                // the same, of the claims page
	mostBody      = 32 << 20         // of one answer
	patience      = 60 * time.Second // for one answer
)

// Browser visits services as a person's browser does. It keeps cookies across
// all origins, follows redirects, uses Sec-Fetch-* and Origin to say what kind
// of request it makes, and signs its person in when the provider's page asks.
// On the provider's page after logout it loads the frames and goes on. It submits
// the forms of the pages that carry an authorization request or its answer, as
// their scripts do.
// On the claims page of a UMA server it answers what [Browser.Say] has told it.
// The bodies of its answers are already read and need no Close. Only one
// goroutine may use it at a time.
//
// It treats cookies as Chromium does: Domain, Path, Secure, SameSite, name
// prefixes, and limits of size and number. Cookies expire by the server's
// clock. Loopback counts as secure without TLS. A site is a scheme and the last
// two labels of a host name, or an address; there is no list of public
// suffixes. The browser does not have other scripts, Referer, CORS, policies about
// frames and content, or partitioned cookies.
type Browser struct {
	s      *Server
	t      testing.TB
	user   string
	says   map[string]string // on the claims page
	jar    *jar
	client *http.Client
}

// Browser returns a new browser of a user. With an empty name it never signs
// in, and its visits end at the provider's page.
func (s *Server) Browser(t testing.TB, user string) *Browser {
	t.Helper()
	if user != "" && !s.op.HasUser(user) {
		t.Fatalf("middlewaretest: no user is called %q", user)
	}
	transport := s.browserTransport(t)
	return &Browser{s: s, t: t, user: user, jar: &jar{now: s.clock.Now}, client: &http.Client{
		Transport: transport,
		Timeout:   patience,
		CheckRedirect: func(*http.Request, []*http.Request) error {
			return http.ErrUseLastResponse // the browser follows redirects itself
		},
	}}
}

// Get visits an address as if the person had typed it in.
func (b *Browser) Get(address string) (*http.Response, error) { return b.GetUntil(address, "") }

// GetUntil is Get, but stops before a request to an address with the given
// prefix and returns the redirect that leads there. With the prefix of a
// callback, the callback is in its Location, or in the form of the page if the
// answer is posted.
func (b *Browser) GetUntil(address, prefix string) (*http.Response, error) {
	return b.visit(&hop{kind: document, method: http.MethodGet, url: address, until: prefix})
}

// PostForm submits a form from a page of the same origin.
func (b *Browser) PostForm(address string, v url.Values) (*http.Response, error) {
	return b.On(address).Submit(address, v)
}

// Fetch makes a request as a script on a page of the same origin does. It is
// not sent to sign-in: a redirect to another origin is an error, as it is for a
// script.
func (b *Browser) Fetch(address string) (*http.Response, error) { return b.On(address).Fetch(address) }

// Do sends a request of your own. It adds the headers that a browser adds
// unless they are set. With Sec-Fetch-Mode "cors" the request counts as a
// script's. After a redirect or sign-in the requests are the browser's own. For
// requests caused by pages of other sites use [Browser.On].
func (b *Browser) Do(r *http.Request) (*http.Response, error) {
	h := &hop{kind: document, method: r.Method, url: r.URL.String(), header: r.Header, contentType: r.Header.Get("Content-Type"), ctx: r.Context()}
	if m := r.Header.Get("Sec-Fetch-Mode"); m != "" && m != document.mode() {
		h.kind = script
	}
	if r.Method != http.MethodGet && r.Method != http.MethodHead || h.kind != document {
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

// Cookies returns the cookies that the browser would send to a typed-in
// address, with their attributes.
func (b *Browser) Cookies(address string) []*http.Cookie {
	b.t.Helper()
	u, err := url.Parse(address)
	if err != nil {
		b.t.Fatal("middlewaretest: ", err)
	}
	var out []*http.Cookie
	for _, c := range b.jar.get(u, sameSite) {
		one := &http.Cookie{Name: c.name, Value: c.value, Path: c.path, Expires: c.expires, Secure: c.secure,
			HttpOnly: c.httpOnly, SameSite: c.sameSite}
		if !c.hostOnly {
			one.Domain = c.domain
		}
		out = append(out, one)
	}
	return out
}

// visit makes requests until an answer leads nowhere else.
func (b *Browser) visit(h *hop) (*http.Response, error) {
	signIns, answers := 0, 0
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
		if next := b.signedOut(resp, h.kind); next != "" {
			h = &hop{ctx: h.ctx, kind: document, method: http.MethodGet, url: next, initiator: originOf(resp.Request.URL.String()), until: h.until}
			continue
		}
		switch next, err := b.scripted(resp, h); {
		case err != nil:
			return nil, err
		case next != nil && h.until != "" && strings.HasPrefix(next.url, h.until):
			return resp, nil
		case next != nil:
			h = next
			continue
		}
		form, asked := b.signInForm(resp)
		if asked {
			signIns++
		} else if form, asked = b.claimsForm(resp); asked {
			answers++
		}
		if !asked || h.kind != document {
			return resp, nil
		}
		if signIns > mostSignIns || answers > mostAnswers {
			return nil, errors.New("middlewaretest: the service asks the same again and again")
		}
		h = &hop{ctx: h.ctx, kind: document, method: http.MethodPost, url: form.action, initiator: originOf(form.action),
			body: []byte(form.values.Encode()), contentType: "application/x-www-form-urlencoded", until: h.until}
	}
	return nil, fmt.Errorf("middlewaretest: more than %d redirects", mostRedirects)
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
	h.dress(r)
	if cookies := cookieHeader(b.jar.get(r.URL, h.relation())); cookies != "" {
		r.Header.Set("Cookie", strings.TrimPrefix(r.Header.Get("Cookie")+"; "+cookies, "; "))
	}
	resp, err := b.client.Do(r)
	if err != nil {
		return nil, err
	}
	defer resp.Body.Close()
	b.jar.set(r.URL, resp.Header.Values("Set-Cookie"), h.relation())
	read, err := io.ReadAll(io.LimitReader(resp.Body, mostBody))
	if err != nil {
		return nil, err
	}
	resp.Body = io.NopCloser(bytes.NewReader(read))
	return resp, nil
}

// signedOut loads the frames of the provider's page after logout, as the page
// waits for them, and returns where it goes on to, or "".
func (b *Browser) signedOut(resp *http.Response, kind kind) string {
	at := resp.Request.URL.String()
	if kind != document || resp.StatusCode != http.StatusOK || originOf(at) != originOf(b.s.Issuer()) {
		return ""
	}
	read, err := io.ReadAll(resp.Body)
	resp.Body = io.NopCloser(bytes.NewReader(read))
	if err != nil {
		return ""
	}
	for _, src := range frameTag.FindAllSubmatch(read, -1) {
		_, _ = b.On(at).Frame(html.UnescapeString(string(src[1]))) // a page does not notice what became of it
	}
	if next := goOnTag.FindSubmatch(read); next != nil {
		return html.UnescapeString(string(next[1]))
	}
	return ""
}

// signInForm is the provider's form, filled in.
type signInForm struct {
	action string
	values url.Values
}

var (
	frameTag  = regexp.MustCompile(`<iframe class="signed-out" src="([^"]*)"`)
	goOnTag   = regexp.MustCompile(`<a id="go-on" href="([^"]*)"`)
	formTag   = regexp.MustCompile(`<form method="post" action="([^"]*)" id="sign-in"`)
	hiddenTag = regexp.MustCompile(`<input type="hidden" name="([^"]*)" value="([^"]*)">`)
)

// signInForm returns the sign-in form if the answer is the provider's page and
// the person is willing to sign in. After a refused sign-in the page stays.
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
