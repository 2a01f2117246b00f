package servers

import (
	"context"
	"fmt"
	"net/http"
	"net/url"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/chromedp/cdproto/emulation"
	"github.com/chromedp/cdproto/network"
	"github.com/chromedp/cdproto/page"
	"github.com/chromedp/chromedp"
)

const (
	// chromiumStep bounds one step in the browser, should it hang. A page of
	// Keycloak takes 2 s when it is drawn for the first time, and much longer on
	// a busy machine.
	chromiumStep = 3 * time.Minute
	// chromiumStop bounds the orderly end of the browser.
	chromiumStop = time.Minute
	// insistPause is the pause between two tries of a page that is unavailable.
	insistPause = 200 * time.Millisecond
	// textPause is the pause between two looks at a page that changes by itself.
	textPause = 50 * time.Millisecond
	// textShown is how much of a page a failure shows.
	textShown = 1500
)

// A Chromium is one tab of a headless browser with its own cookies, like one
// person. When a step does not finish, its methods fail the test and leave a
// picture of the page in the artifact directory of the test. They must not be
// called concurrently.
type Chromium struct {
	ctx   context.Context
	state *tabState
}

// StartChromium starts a browser for the time of the test. It reaches nothing
// but loopback addresses.
func StartChromium(t testing.TB) *Chromium {
	t.Helper()
	dir, err := installDir()
	if err != nil {
		t.Fatalf("chromium: %v", err)
	}
	path, err := installChromium(t.Context(), dir)
	if err != nil {
		t.Fatalf("chromium: %v", err)
	}
	options := append(chromedp.DefaultExecAllocatorOptions[:],
		chromedp.ExecPath(path),
		// The sandbox needs rights that a container does not have. All pages
		// come from servers that this test started.
		chromedp.Flag("no-sandbox", true),
		chromedp.DisableGPU,
		chromedp.WindowSize(1280, 900),
		chromedp.Flag("lang", "en-US"),
		// There are two barriers to the network: no name resolves, and whatever
		// is not loopback goes to a proxy that does not exist.
		chromedp.Flag("host-resolver-rules", "MAP * ~NOTFOUND, EXCLUDE 127.0.0.1, EXCLUDE localhost"),
		chromedp.ProxyServer("http://127.0.0.1:9"),
		chromedp.Flag("disable-quic", true),
		chromedp.WSURLReadTimeout(chromiumStep),
		chromedp.Flag("disable-component-update", true),
	)
	// It does not use the context of the test, which ends before the cleanup.
	allocator, stop := chromedp.NewExecAllocator(context.Background(), options...)
	t.Cleanup(stop)
	return newTab(t, allocator)
}

// Another returns another person at the same browser: a new tab with its own
// cookies, for the duration of the test.
func (c *Chromium) Another(t testing.TB) *Chromium {
	t.Helper()
	return newTab(t, c.ctx, chromedp.WithNewBrowserContext())
}

// Tab returns another tab of the same person, for the duration of the test.
func (c *Chromium) Tab(t testing.TB) *Chromium {
	t.Helper()
	return newTab(t, c.ctx)
}

func newTab(t testing.TB, parent context.Context, options ...chromedp.ContextOption) *Chromium {
	t.Helper()
	state := &tabState{changed: make(chan struct{})}
	ctx, cancel := chromedp.NewContext(parent, append(options, chromedp.WithListener(state.event))...)
	t.Cleanup(func() {
		deadline, done := context.WithTimeout(ctx, chromiumStop)
		defer done()
		if err := chromedp.Cancel(deadline); err != nil {
			t.Logf("chromium: close: %v", err)
		}
		cancel()
	})
	// The first call starts the browser, which lives as long as its context.
	if err := chromedp.Do(ctx); err != nil {
		t.Fatalf("chromium: %v", err)
	}
	return &Chromium{ctx: ctx, state: state}
}

// Context returns the chromedp context of the tab, for anything that has no
// method here.
func (c *Chromium) Context() context.Context {
	return c.ctx
}

// Open goes to a page and waits until it is loaded.
func (c *Chromium) Open(t testing.TB, url string) {
	t.Helper()
	c.Run(t, "open "+url, chromedp.Navigate(url))
}

// Run runs actions one after the other. The parameter what names them in a
// failure.
func (c *Chromium) Run(t testing.TB, what string, actions ...chromedp.Action[chromedp.Void]) {
	t.Helper()
	Get(t, c, what, chromedp.Steps(actions...))
}

// Follow runs actions of which the last one leads to another page or to the
// same one again, and waits until that is loaded.
func (c *Chromium) Follow(t testing.TB, what string, actions ...chromedp.Action[chromedp.Void]) {
	t.Helper()
	before := c.state.now().loads
	c.Run(t, what, actions...)
	c.wait(t, what+": the next page", func(s tab) bool { return s.loads > before })
}

// Get runs an action that has a result.
func Get[T any](t testing.TB, c *Chromium, what string, action chromedp.Action[T]) T {
	t.Helper()
	ctx, cancel := context.WithTimeout(c.ctx, chromiumStep)
	defer cancel()
	value, err := chromedp.Run(ctx, action)
	if err != nil {
		c.fail(t, what, err)
	}
	return value
}

// URL returns the address of the page that the browser shows.
func (c *Chromium) URL() string {
	return c.state.now().url
}

// WaitFor waits until a page is loaded whose address begins with prefix.
func (c *Chromium) WaitFor(t testing.TB, prefix string) {
	t.Helper()
	c.wait(t, "a page at "+prefix, func(s tab) bool { return s.loaded && strings.HasPrefix(s.url, prefix) })
}

// WaitOutside waits until a page of another origin is loaded.
func (c *Chromium) WaitOutside(t testing.TB, origin string) {
	t.Helper()
	c.wait(t, "a page outside "+origin, func(s tab) bool { return s.loaded && !strings.HasPrefix(s.url, origin+"/") })
}

// Insist loads the page again while its status is 503, as a person does who is
// told to try again later. It is for a server that is running: on a busy
// machine it may be slower than the application waits.
func (c *Chromium) Insist(t testing.TB) {
	t.Helper()
	status := chromedp.Evaluate[int](`performance.getEntriesByType("navigation")[0]?.responseStatus ?? 0`)
	for end := time.Now().Add(chromiumStep); Get(t, c, "read the status of the page", status) == http.StatusServiceUnavailable; {
		if time.Now().After(end) {
			c.fail(t, "insist", fmt.Errorf("the page is unavailable for %v", chromiumStep))
		}
		time.Sleep(insistPause)
		c.Reload(t)
	}
}

// Reload loads the page again.
func (c *Chromium) Reload(t testing.TB) {
	t.Helper()
	c.Follow(t, "load the page again", func(ctx context.Context, _ *chromedp.Target) (chromedp.Void, error) {
		_, err := chromedp.Call(ctx, page.Reload, page.ReloadParams{})
		return chromedp.Void{}, err
	})
}

// AllowScripts says whether the scripts of pages run that are opened from now on. What
// tests do in a page goes through the debugger, and always runs.
func (c *Chromium) AllowScripts(t testing.TB, allow bool) {
	t.Helper()
	if _, err := chromedp.Call(c.ctx, emulation.SetScriptExecutionDisabled, emulation.SetScriptExecutionDisabledParams{Value: !allow}); err != nil {
		t.Fatalf("chromium: %v", err)
	}
}

// Text returns the visible text of the page.
func (c *Chromium) Text(t testing.TB) string {
	t.Helper()
	return Get(t, c, "read the page", chromedp.Evaluate[string](`document.body?.innerText ?? ""`))
}

// WaitText waits until the page shows a text. The page may change by itself.
func (c *Chromium) WaitText(t testing.TB, text string) {
	t.Helper()
	for end := time.Now().Add(chromiumStep); !strings.Contains(c.Text(t), text); time.Sleep(textPause) {
		if time.Now().After(end) {
			c.fail(t, "wait for "+text, fmt.Errorf("not within %v", chromiumStep))
		}
	}
}

// appears waits until the page has an element, for some time. It reports whether
// the page has it.
func (c *Chromium) appears(t testing.TB, xpath string, within time.Duration) bool {
	t.Helper()
	there := chromedp.Evaluate[bool](fmt.Sprintf(
		`document.evaluate(%q, document, null, XPathResult.BOOLEAN_TYPE).booleanValue`, xpath))
	for end := time.Now().Add(within); !Get(t, c, "look for "+xpath, there); time.Sleep(textPause) {
		if time.Now().After(end) {
			return false
		}
	}
	return true
}

// Screenshot saves a picture of the whole page as name.png in the artifact
// directory of the test, which go test -artifacts keeps, and returns its path.
func (c *Chromium) Screenshot(t testing.TB, name string) string {
	t.Helper()
	picture := Get(t, c, "take a screenshot", chromedp.FullScreenshot(100))
	path := filepath.Join(t.ArtifactDir(), name+".png")
	if err := os.WriteFile(path, picture, 0o644); err != nil {
		t.Fatalf("chromium: %v", err)
	}
	return path
}

// Outside returns the addresses outside of loopback that pages of this tab
// requested, in vain.
func (c *Chromium) Outside() []string {
	return slices.Clone(c.state.now().outside)
}

func (c *Chromium) wait(t testing.TB, what string, until func(tab) bool) {
	t.Helper()
	timer := time.NewTimer(chromiumStep)
	defer timer.Stop()
	for {
		now, changed := c.state.watch()
		if now.unreachable != "" && now.loaded { // the page that explains why
			c.fail(t, "wait for "+what, fmt.Errorf("%s cannot be reached", now.unreachable))
		}
		if until(now) {
			return
		}
		select {
		case <-changed:
		case <-timer.C:
			c.fail(t, "wait for "+what, fmt.Errorf("not within %v", chromiumStep))
		}
	}
}

// fail ends the test and reports what the browser shows.
func (c *Chromium) fail(t testing.TB, what string, err error) {
	t.Helper()
	ctx, cancel := context.WithTimeout(c.ctx, chromiumStep)
	defer cancel()
	text, textErr := chromedp.Run(ctx, chromedp.Evaluate[string](`document.body?.innerText ?? ""`))
	if textErr != nil {
		text = "(no text: " + textErr.Error() + ")"
	}
	if picture, err := chromedp.Run(ctx, chromedp.CaptureScreenshot()); err == nil {
		if err := os.WriteFile(filepath.Join(t.ArtifactDir(), "failure.png"), picture, 0o644); err != nil {
			t.Logf("chromium: %v", err)
		}
	}
	t.Fatalf("chromium: %s: %v\nat %s:\n%s", what, err, c.URL(), text[:min(len(text), textShown)])
}

// A tab is what is known of a tab from its events.
type tab struct {
	url         string
	loaded      bool
	loads       int    // pages loaded so far
	unreachable string // the address of a page that could not be loaded
	outside     []string
}

// A tabState follows a tab. It is safe for concurrent use.
type tabState struct {
	mu      sync.Mutex
	tab     tab
	changed chan struct{} // closed and replaced at every change
}

func (s *tabState) now() tab {
	now, _ := s.watch()
	return now
}

func (s *tabState) watch() (tab, <-chan struct{}) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.tab, s.changed
}

// event takes the events of chromedp in the order in which they came.
func (s *tabState) event(event any) {
	s.mu.Lock()
	defer s.mu.Unlock()
	switch event := event.(type) {
	case *page.EventFrameNavigated:
		if event.Frame.ParentID != "" {
			return
		}
		s.tab.url = event.Frame.URL + event.Frame.URLFragment
		s.tab.unreachable = event.Frame.UnreachableURL
		// A page from the back/forward cache is loaded already.
		s.tab.loaded = event.Type == page.NavigationTypeBackForwardCacheRestore
	case *page.EventNavigatedWithinDocument:
		s.tab.url = event.URL
	case *page.EventLoadEventFired:
		s.tab.loaded = true
		s.tab.loads++
	case *network.EventRequestWillBeSent:
		if !isLoopback(event.Request.URL) {
			s.tab.outside = append(s.tab.outside, event.Request.URL)
		}
	default:
		return
	}
	close(s.changed)
	s.changed = make(chan struct{})
}

// isLoopback reports whether an address is on this machine, or within the page.
func isLoopback(address string) bool {
	u, err := url.Parse(address)
	if err != nil {
		return false
	}
	switch u.Scheme {
	case "http", "https", "ws", "wss":
		return u.Hostname() == "127.0.0.1" || u.Hostname() == "localhost"
	case "data", "blob", "about":
		return true
	}
	return false
}
