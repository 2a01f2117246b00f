package interop_test

import (
	"testing"

	"example.com/gatehouse/interop/servers"
	"github.com/chromedp/cdproto/emulation"
	"github.com/chromedp/chromedp"
)

// On a phone the header of every page is one line, and no page is wider than
// the screen.
func TestExampleOnAPhone(t *testing.T) {
	t.Parallel()
	s := &story{example: startExample(t), hand: mouse{}}
	s.alice = servers.StartChromium(t)
	s.bob = s.alice
	if _, err := chromedp.Call(s.alice.Context(), emulation.SetDeviceMetricsOverride, emulation.SetDeviceMetricsOverrideParams{
		Width: 360, Height: 740, DeviceScaleFactor: 1, Mobile: true}); err != nil {
		t.Fatalf("chromium: %v", err)
	}
	fits := func(t *testing.T, name string) {
		t.Helper()
		s.alice.Screenshot(t, name)
		const look = `(() => {
			const seen = [...document.querySelectorAll("body > header p, body > header li, body > header button, body > header a")]
				.map(e => e.getBoundingClientRect()).filter(r => r.width > 2 && r.height > 2);
			const middles = seen.map(r => (r.top + r.bottom) / 2);
			return [
				Math.max(...middles) - Math.min(...middles) < 12 ? "" : "the header has several lines",
				Math.max(...seen.map(r => r.right)) <= innerWidth - 8 ? "" : "the header reaches the edge",
				document.documentElement.scrollWidth <= innerWidth ? "" : "the page is wider than the screen",
			].filter(Boolean).join("; ");
		})()`
		if wrong := servers.Get(t, s.alice, "measure the page", chromedp.Evaluate[string](look)); wrong != "" {
			t.Errorf("%s: %s", name, wrong)
		}
	}
	s.alice.Open(t, s.photos+"/")
	fits(t, "phone-photos")
	s.hand.press(t, s.alice, "Sign in")
	fits(t, "phone-sign-in")
	s.signIn(t, s.alice, "alice")
	fits(t, "phone-albums")
	s.hand.write(t, s.alice, "Title", "Holidays")
	s.hand.press(t, s.alice, "Create album")
	fits(t, "phone-album")
	s.album = s.alice.URL()
	s.hand.press(t, s.alice, "Share…")
	fits(t, "phone-policy")
	s.alice.Open(t, s.photos+"/inbox")
	fits(t, "phone-inbox")
	s.alice.Open(t, s.mallory+"/")
	fits(t, "phone-mallory")
	s.alice.Open(t, s.shop+"/sign-in")
	s.signIn(t, s.alice, "bob")
	fits(t, "phone-shop")
}
