package middlewaretest

import (
	"encoding/json"
	"io"
	"net/http"
	"net/url"
	"os"
	"strings"
	"testing"
)

// cookieCase is an entry of testdata/cookies.json, which records what Chromium
// 156 does. Answers set cookies, then requests are made one after another. A
// request is "typed", or it is made by a page at from: "link", "form" (by
// POST), "picture", "script" (with credentials), "frame" or "prefetch". An
// address with the parameter to answers with a redirect there and sets its
// cookies. sent is the Cookie header of the last request, and fetch holds its
// Sec-Fetch-Site, -Mode, -Dest and -User headers, if present. Third-party
// cookies are allowed there (preference profile.cookie_controls_mode 0), and
// addresses without TLS are not upgraded (feature HttpsUpgrades off).
type cookieCase struct {
	Name string
	Set  []struct {
		At, By, From string
		Lines        []string
	}
	Reads []struct{ URL, By, From, Sent, Fetch string }
}

// network answers every request in memory.
type network struct {
	lines []string // set by the next answer
	sent  string   // Cookie header of the previous request
	fetch string   // its Sec-Fetch-*
}

func (n *network) RoundTrip(r *http.Request) (*http.Response, error) {
	n.sent = r.Header.Get("Cookie")
	var said []string
	for _, name := range []string{"Site", "Mode", "Dest", "User"} {
		said = append(said, r.Header.Values("Sec-Fetch-"+name)...)
	}
	n.fetch = strings.Join(said, " ")
	resp := &http.Response{StatusCode: http.StatusOK, Header: http.Header{"Set-Cookie": n.lines}, Request: r,
		Body: io.NopCloser(strings.NewReader(""))}
	n.lines = nil
	if to := r.URL.Query().Get("to"); to != "" {
		resp.StatusCode = http.StatusSeeOther
		resp.Header.Set("Location", to)
	}
	return resp, nil
}

func (n *network) ask(t *testing.T, b *Browser, by, from, address string) {
	t.Helper()
	page := b.On(from)
	var err error
	switch by {
	case "typed":
		_, err = b.Get(address)
	case "link":
		_, err = page.Open(address)
	case "form":
		_, err = page.Submit(address, url.Values{})
	case "picture":
		_, err = page.Load(address)
	case "script":
		_, err = page.Fetch(address)
	case "frame":
		_, err = page.Frame(address)
	case "prefetch":
		_, err = page.Prefetch(address)
	default:
		t.Fatalf("by %q", by)
	}
	if err != nil {
		t.Fatal(err)
	}
}

// TestCookiesAsInChromium compares with a real browser. The interop module runs
// the same table in that browser.
func TestCookiesAsInChromium(t *testing.T) {
	text, err := os.ReadFile("testdata/cookies.json")
	if err != nil {
		t.Fatal(err)
	}
	var cases []cookieCase
	if err := json.Unmarshal(text, &cases); err != nil {
		t.Fatal(err)
	}
	s := NewServer(t)
	for _, c := range cases {
		t.Run(c.Name, func(t *testing.T) {
			b, n := s.Browser(t, ""), &network{}
			b.client.Transport = n
			for _, set := range c.Set {
				n.lines = set.Lines
				n.ask(t, b, set.By, set.From, set.At)
			}
			for _, r := range c.Reads {
				n.ask(t, b, r.By, r.From, r.URL)
				if n.sent != r.Sent {
					t.Errorf("%s by %s from %q: sends %.200q, Chromium %.200q", r.URL, r.By, r.From, n.sent, r.Sent)
				}
				if n.fetch != r.Fetch {
					t.Errorf("%s by %s from %q: Sec-Fetch-* are %q, Chromium's %q", r.URL, r.By, r.From, n.fetch, r.Fetch)
				}
			}
		})
	}
}
