package interop_test

import (
	"bytes"
	"encoding/json"
	"flag"
	"fmt"
	"net/http"
	"os"
	"strings"
	"testing"
	"time"

	"example.com/gatehouse/interop/servers"
	"github.com/chromedp/cdproto/cdp"
	"github.com/chromedp/cdproto/network"
	"github.com/chromedp/cdproto/runtime"
	"github.com/chromedp/chromedp"
)

// cookieTable says what Chromium does with Set-Cookie lines. The browser of
// middlewaretest is tested against the same table. The form of the table is
// described there.
const cookieTable = "../middlewaretest/testdata/cookies.json"

// updateCookies writes what Chromium does into the table, for new rows and new
// releases. Read the diff afterwards.
var updateCookies = flag.Bool("update-cookies", false, "write "+cookieTable)

const (
	// cookieTabs is how many people go through the table at the same time.
	cookieTabs = 2
	// cookieTime bounds the run through the table, should it hang. It takes 25
	// s on two idle cores.
	cookieTime = 15 * time.Minute
)

type cookieCase struct {
	Name  string       `json:"name"`
	Set   []cookieSet  `json:"set"`
	Reads []cookieRead `json:"reads"`
}

type cookieSet struct {
	At    string   `json:"at"`
	By    string   `json:"by"`
	From  string   `json:"from"`
	Lines []string `json:"lines"`
}

type cookieRead struct {
	URL   string `json:"url"`
	By    string `json:"by"`
	From  string `json:"from"`
	Sent  string `json:"sent"`
	Fetch string `json:"fetch"`
}

func TestCookiesInChromium(t *testing.T) {
	text, err := os.ReadFile(cookieTable)
	if err != nil {
		t.Fatal(err)
	}
	var cases []*cookieCase
	if err := json.Unmarshal(text, &cases); err != nil {
		t.Fatal(err)
	}
	sites := &cookieSites{visits: map[string]*cookieVisit{}}
	browser := servers.StartSites(t, sites)
	begin := time.Now()
	t.Run("tabs", func(t *testing.T) {
		for tab := range cookieTabs {
			t.Run(fmt.Sprint(tab), func(t *testing.T) {
				t.Parallel()
				person := &cookiePerson{sites: sites, tab: browser.Another(t)}
				for i := tab; i < len(cases); i += cookieTabs {
					if took := time.Since(begin); took > cookieTime {
						t.Fatalf("%d of %d cases are done after %v", i, len(cases), took)
					}
					t.Run(cases[i].Name, func(t *testing.T) { person.try(t, cases[i]) })
				}
			})
		}
	})
	if *updateCookies {
		writeCookieTable(t, cases)
	}
}

func writeCookieTable(t *testing.T, cases []*cookieCase) {
	t.Helper()
	var text bytes.Buffer
	enc := json.NewEncoder(&text)
	enc.SetEscapeHTML(false)
	enc.SetIndent("", " ")
	if err := enc.Encode(cases); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(cookieTable, text.Bytes(), 0o644); err != nil {
		t.Fatal(err)
	}
}

// cookiePerson goes through cases, with cookies that nobody else has.
type cookiePerson struct {
	sites *cookieSites
	tab   *servers.Chromium
	at    string // the page that the tab shows, if it can be used again
}

// try runs a case in a browser without cookies.
func (p *cookiePerson) try(t *testing.T, c *cookieCase) {
	if _, err := chromedp.Call(p.tab.Context(), network.ClearBrowserCookies, cdp.Empty{}); err != nil {
		t.Fatalf("chromium: %v", err)
	}
	for _, set := range c.Set {
		p.ask(t, set.By, set.From, set.At, set.Lines)
	}
	for i := range c.Reads {
		r := &c.Reads[i]
		header := p.ask(t, r.By, r.From, r.URL, nil)
		sent, fetch := header.Get("Cookie"), fetchMetadata(header)
		if *updateCookies {
			r.Sent, r.Fetch = sent, fetch
		}
		if sent != r.Sent {
			t.Errorf("%s by %s from %q: Chromium sends %.200q, the table has %.200q", r.URL, r.By, r.From, sent, r.Sent)
		}
		if fetch != r.Fetch {
			t.Errorf("%s by %s from %q: Chromium's Sec-Fetch-* are %q, the table has %q", r.URL, r.By, r.From, fetch, r.Fetch)
		}
	}
}

// fetchMetadata returns the Sec-Fetch-* headers in the form of the table.
func fetchMetadata(h http.Header) string {
	var said []string
	for _, name := range []string{"Site", "Mode", "Dest", "User"} {
		said = append(said, h.Values("Sec-Fetch-"+name)...)
	}
	return strings.Join(said, " ")
}

// ask makes one request whose answer sets lines. It returns the headers of the
// request that arrived in the end.
func (p *cookiePerson) ask(t *testing.T, by, from, address string, lines []string) http.Header {
	t.Helper()
	v := p.sites.expect(lines)
	target := v.mark(address)
	if by == "typed" {
		p.tab.Open(t, target)
		p.at = ""
		return v.header(t, target)
	}
	if p.at != from {
		p.tab.Open(t, from)
		p.at = from
	}
	p.act(t, by, target)
	if by == "link" || by == "form" {
		p.tab.WaitFor(t, v.end(t, address))
		p.at = ""
	}
	return v.header(t, target)
}

// act makes a page request an address, by a click where a person would click.
// It waits for the answer, but not for a new page.
func (p *cookiePerson) act(t *testing.T, by, address string) {
	t.Helper()
	script, ok := map[string]string{
		"link":     `e = document.createElement('a'); e.href = url; document.body.append(e); e.click()`,
		"form":     `e = document.createElement('form'); e.method = 'post'; e.action = url; document.body.append(e); e.requestSubmit()`,
		"picture":  `e = new Image(); const got = end(e); e.src = url; return got`,
		"script":   `return fetch(url, {credentials: 'include'}).then(() => {}, () => {})`,
		"frame":    `e = document.createElement('iframe'); const got = end(e); e.src = url; document.body.append(e); return got`,
		"prefetch": `e = document.createElement('link'); const got = end(e); e.rel = 'prefetch'; e.href = url; document.head.append(e); return got`,
	}[by]
	if !ok {
		t.Fatalf("by %q", by)
	}
	quoted, err := json.Marshal(address)
	if err != nil {
		t.Fatal(err)
	}
	whole := fmt.Sprintf(`(url => {
		const end = e => new Promise(done => { e.onload = e.onerror = () => done() });
		let e;
		%s
	})(%s)`, script, quoted)
	click := by == "link" || by == "form"
	p.tab.Run(t, by+" to "+address, chromedp.Evaluate[chromedp.Void](whole, chromedp.EvalAwaitPromise,
		func(eval *runtime.EvaluateParams) { eval.UserGesture = &click }))
}
