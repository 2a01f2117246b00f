//go:build unix

package replicastest

import (
	"bufio"
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

// A Browser is the browser of one person. Cookies of one host are sent to all
// its ports, as in real browsers.
type Browser struct {
	t      testing.TB
	client *http.Client
}

// answerTime bounds one click, should the command hang. A replica takes seconds
// to start on a busy machine.
const answerTime = 90 * time.Second

// NewBrowser returns a browser that is signed in nowhere.
func NewBrowser(t testing.TB) *Browser {
	t.Helper()
	jar, err := cookiejar.New(nil)
	if err != nil {
		t.Fatal(err)
	}
	transport := http.DefaultTransport.(*http.Transport).Clone()
	t.Cleanup(transport.CloseIdleConnections)
	return &Browser{t: t, client: &http.Client{Jar: jar, Transport: transport, Timeout: answerTime,
		CheckRedirect: func(r *http.Request, _ []*http.Request) error {
			navigate(r)
			return nil
		}}}
}

// navigate adds the headers that browsers send when a page is opened.
func navigate(r *http.Request) {
	r.Header.Set("Accept", "text/html,application/xhtml+xml")
	r.Header.Set("Sec-Fetch-Mode", "navigate")
	r.Header.Set("Sec-Fetch-Dest", "document")
	r.Header.Set("Sec-Fetch-Site", "same-origin")
}

// A Page is what a browser shows.
type Page struct {
	b      *Browser
	URL    *url.URL
	Status int
	Text   string // without pictures
	// Replica is the number of the replica that answered, "" for the front or
	// another site.
	Replica string
}

// Get opens an address.
func (b *Browser) Get(address string) *Page {
	b.t.Helper()
	r, err := http.NewRequest(http.MethodGet, address, nil)
	if err != nil {
		b.t.Fatal(err)
	}
	return b.do(r)
}

func (b *Browser) do(r *http.Request) *Page {
	b.t.Helper()
	navigate(r)
	resp, err := b.client.Do(r)
	if err != nil {
		b.t.Fatalf("%s %s: %v", r.Method, r.URL, err)
	}
	defer resp.Body.Close()
	body, err := io.ReadAll(resp.Body)
	if err != nil {
		b.t.Fatal(err)
	}
	return &Page{b: b, URL: resp.Request.URL, Status: resp.StatusCode, Text: imgTag.ReplaceAllString(string(body), ""), Replica: resp.Header.Get("X-Replica")}
}

// A Stream is the event stream of a panel.
type Stream struct {
	t       testing.TB
	in      *bufio.Reader
	Replica string // the number of the replica that it comes from
}

// Stream opens the event stream of the panel, as the script of its page does.
func (b *Browser) Stream(photos string) *Stream {
	b.t.Helper()
	r, err := http.NewRequest(http.MethodGet, photos+"/events", nil)
	if err != nil {
		b.t.Fatal(err)
	}
	r.Header.Set("Accept", "text/event-stream")
	r.Header.Set("Sec-Fetch-Mode", "cors")
	r.Header.Set("Sec-Fetch-Site", "same-origin")
	resp, err := b.client.Do(r)
	if err != nil {
		b.t.Fatal(err)
	}
	b.t.Cleanup(func() { resp.Body.Close() })
	if kind := resp.Header.Get("Content-Type"); resp.StatusCode != http.StatusOK || kind != "text/event-stream" {
		b.t.Fatalf("the stream answers %d with %q", resp.StatusCode, kind)
	}
	return &Stream{b.t, bufio.NewReader(resp.Body), resp.Header.Get("X-Replica")}
}

// Want skips lines of the stream until one holds the text.
func (s *Stream) Want(text string) {
	s.t.Helper()
	for {
		line, err := s.in.ReadString('\n')
		if strings.Contains(line, text) {
			return
		}
		if err != nil {
			s.t.Fatalf("the stream of replica %s ended without %q: %v", s.Replica, text, err)
		}
	}
}

var (
	formTag  = regexp.MustCompile(`(?s)<form([^>]*)>(.*?)</form>`)
	inputTag = regexp.MustCompile(`<input([^>]*)>`)
	linkTag  = regexp.MustCompile(`(?s)<a ([^>]*)>(.*?)</a>`)
	imgTag   = regexp.MustCompile(`<img[^>]*>`)
	attr     = regexp.MustCompile(`([a-z-]+)(?:="([^"]*)")?`)
)

func attributes(text string) map[string]string {
	out := map[string]string{}
	for _, m := range attr.FindAllStringSubmatch(text, -1) {
		out[m[1]] = html.UnescapeString(m[2])
	}
	return out
}

// Submit sends the form that has mark in it, with its hidden fields, and values.
func (p *Page) Submit(mark string, values url.Values) *Page {
	p.b.t.Helper()
	for _, m := range formTag.FindAllStringSubmatch(p.Text, -1) {
		if !strings.Contains(m[0], mark) {
			continue
		}
		fields := url.Values{}
		for _, input := range inputTag.FindAllStringSubmatch(m[2], -1) {
			if a := attributes(input[1]); a["type"] == "hidden" || a["type"] == "" && a["name"] != "" {
				fields.Add(a["name"], a["value"])
			}
		}
		for name, v := range values {
			fields[name] = v
		}
		return p.post(attributes(m[1])["action"], fields)
	}
	p.b.t.Fatalf("%s has no form with %q:\n%s", p.URL, mark, p.Text)
	return nil
}

func (p *Page) post(action string, fields url.Values) *Page {
	p.b.t.Helper()
	to, err := p.URL.Parse(action)
	if err != nil {
		p.b.t.Fatal(err)
	}
	r, err := http.NewRequest(http.MethodPost, to.String(), strings.NewReader(fields.Encode()))
	if err != nil {
		p.b.t.Fatal(err)
	}
	r.Header.Set("Content-Type", "application/x-www-form-urlencoded")
	r.Header.Set("Origin", p.URL.Scheme+"://"+p.URL.Host)
	r.Header.Set("Referer", p.URL.String())
	return p.b.do(r)
}

// Follow opens the address behind a link with that text.
func (p *Page) Follow(text string) *Page {
	p.b.t.Helper()
	for _, m := range linkTag.FindAllStringSubmatch(p.Text, -1) {
		if strings.Contains(m[2], text) {
			to, err := p.URL.Parse(attributes(m[1])["href"])
			if err != nil {
				p.b.t.Fatal(err)
			}
			return p.b.Get(to.String())
		}
	}
	p.b.t.Fatalf("%s has no link %q:\n%s", p.URL, text, p.Text)
	return nil
}

// SignIn fills in the sign-in page of the authorization server.
func (p *Page) SignIn(name string) *Page {
	p.b.t.Helper()
	return p.Submit(`type="password"`, url.Values{"username": {name}, "password": {name}})
}

// Want checks that the page has a status and shows these texts.
func (p *Page) Want(status int, texts ...string) *Page {
	p.b.t.Helper()
	if p.Status != status {
		p.b.t.Fatalf("%s answered %d, want %d:\n%s", p.URL, p.Status, status, p.Text)
	}
	for _, text := range texts {
		if !strings.Contains(p.Text, text) {
			p.b.t.Fatalf("%s does not show %q:\n%s", p.URL, text, p.Text)
		}
	}
	return p
}

var stateLine = regexp.MustCompile(`>(?:<strong>)?Replica ([1-8])(?:</strong>)? (is [a-z]+|has ended)\.</p>`)

// States returns what the panel says of the replicas, such as "1 is running, 2
// has ended".
func (p *Page) States() string {
	var lines []string
	for _, m := range stateLine.FindAllStringSubmatch(p.Text, -1) {
		lines = append(lines, m[1]+" "+m[2])
	}
	return strings.Join(lines, ", ")
}
