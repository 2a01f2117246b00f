package main

import (
	"html"
	"io"
	"net/http"
	"net/http/cookiejar"
	"net/url"
	"regexp"
	"strings"
	"sync"
	"testing"
	"time"
)

// clock is a time that moves only when told to.
type clock struct {
	mu  sync.Mutex
	now time.Time
}

func newClock() *clock { return &clock{now: time.Now()} }

func (c *clock) Now() time.Time {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.now
}

func (c *clock) advance(d time.Duration) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.now = c.now.Add(d)
}

// browser is the browser of one person. Cookies of one host are sent to all its
// ports, as in real browsers.
type browser struct {
	t      *testing.T
	client *http.Client
	seen   *[]string // every page that was shown
}

func newBrowser(t *testing.T) *browser {
	t.Helper()
	jar, err := cookiejar.New(nil)
	if err != nil {
		t.Fatal(err)
	}
	transport := http.DefaultTransport.(*http.Transport).Clone()
	t.Cleanup(transport.CloseIdleConnections)
	b := &browser{t: t, seen: new([]string)}
	b.client = &http.Client{Jar: jar, Transport: transport, Timeout: 10 * time.Second,
		CheckRedirect: func(r *http.Request, _ []*http.Request) error {
			navigate(r)
			return nil
		}}
	return b
}

// navigate adds the headers that browsers send when a page is opened.
func navigate(r *http.Request) {
	r.Header.Set("Accept", "text/html,application/xhtml+xml")
	r.Header.Set("Sec-Fetch-Mode", "navigate")
	r.Header.Set("Sec-Fetch-Dest", "document")
	r.Header.Set("Sec-Fetch-Site", "same-origin")
}

// page is what the browser shows.
type page struct {
	b      *browser
	url    *url.URL
	status int
	header http.Header
	text   string
}

func (b *browser) do(r *http.Request) *page {
	b.t.Helper()
	resp, err := b.client.Do(r)
	if err != nil {
		b.t.Fatalf("%s %s: %v", r.Method, r.URL, err)
	}
	defer resp.Body.Close()
	body, err := io.ReadAll(resp.Body)
	if err != nil {
		b.t.Fatal(err)
	}
	*b.seen = append(*b.seen, string(body))
	return &page{b: b, url: resp.Request.URL, status: resp.StatusCode, header: resp.Header, text: string(body)}
}

func (b *browser) get(address string) *page {
	b.t.Helper()
	r, err := http.NewRequest(http.MethodGet, address, nil)
	if err != nil {
		b.t.Fatal(err)
	}
	navigate(r)
	return b.do(r)
}

var (
	formTag  = regexp.MustCompile(`(?s)<form([^>]*)>(.*?)</form>`)
	inputTag = regexp.MustCompile(`<(?:input|button)([^>]*)>`)
	linkTag  = regexp.MustCompile(`(?s)<a ([^>]*)>(.*?)</a>`)
	attr     = regexp.MustCompile(`([a-z-]+)(?:="([^"]*)")?`)
)

func attributes(text string) map[string]string {
	out := map[string]string{}
	for _, m := range attr.FindAllStringSubmatch(text, -1) {
		out[m[1]] = html.UnescapeString(m[2])
	}
	return out
}

// submit sends the form that holds mark, with its hidden fields and values.
func (p *page) submit(mark string, values url.Values) *page {
	p.b.t.Helper()
	for _, m := range formTag.FindAllStringSubmatch(p.text, -1) {
		if !strings.Contains(m[0], mark) {
			continue
		}
		form := attributes(m[1])
		fields := url.Values{}
		for _, input := range inputTag.FindAllStringSubmatch(m[2], -1) {
			a := attributes(input[1])
			if a["type"] == "hidden" || (a["type"] == "" && a["name"] != "" && !strings.HasPrefix(input[0], "<button")) {
				fields.Add(a["name"], a["value"])
			}
		}
		for name, v := range values {
			fields[name] = v
		}
		return p.send(form["method"], form["action"], fields)
	}
	p.b.t.Fatalf("%s has no form with %q:\n%s", p.url, mark, p.text)
	return nil
}

func (p *page) send(method, action string, fields url.Values) *page {
	p.b.t.Helper()
	to, err := p.url.Parse(action)
	if err != nil {
		p.b.t.Fatal(err)
	}
	if strings.EqualFold(method, "get") {
		to.RawQuery = fields.Encode()
		return p.b.get(to.String())
	}
	r, err := http.NewRequest(http.MethodPost, to.String(), strings.NewReader(fields.Encode()))
	if err != nil {
		p.b.t.Fatal(err)
	}
	navigate(r)
	r.Header.Set("Content-Type", "application/x-www-form-urlencoded")
	r.Header.Set("Origin", p.url.Scheme+"://"+p.url.Host)
	r.Header.Set("Referer", p.url.String())
	return p.b.do(r)
}

// link is the address behind a link with that text.
func (p *page) link(text string) string {
	p.b.t.Helper()
	for _, m := range linkTag.FindAllStringSubmatch(p.text, -1) {
		if strings.Contains(m[2], text) {
			to, err := p.url.Parse(attributes(m[1])["href"])
			if err != nil {
				p.b.t.Fatal(err)
			}
			return to.String()
		}
	}
	p.b.t.Fatalf("%s has no link %q:\n%s", p.url, text, p.text)
	return ""
}

// signIn fills in the sign-in page of the embedded server.
func (p *page) signIn(name string) *page {
	p.b.t.Helper()
	return p.submit(`type="password"`, url.Values{"username": {name}, "password": {name}})
}

// want checks that the page has a status and shows these texts.
func (p *page) want(status int, texts ...string) *page {
	p.b.t.Helper()
	if p.status != status {
		p.b.t.Fatalf("%s answered %d, want %d:\n%s", p.url, p.status, status, p.text)
	}
	for _, text := range texts {
		if !strings.Contains(p.text, text) {
			p.b.t.Fatalf("%s does not show %q:\n%s", p.url, text, p.text)
		}
	}
	return p
}
