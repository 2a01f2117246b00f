package interop_test

import (
	"regexp"
	"strings"
	"testing"

	"github.com/chromedp/cdproto/cdp"
	"github.com/chromedp/cdproto/emulation"
	"github.com/chromedp/chromedp"

	"example.com/gatehouse/interop/servers"
)

// answered is the line of the panel that names the replica.
var answered = regexp.MustCompile(`This page comes from replica ([12])\.`)

// Alice clicks through the example on two replicas, over a redis-server that it
// starts: every click may come to another replica, replicas end and start under
// her hands, and she stays signed in until she signs out.
func TestReplicasStory(t *testing.T) {
	t.Parallel()
	servers.Databases(t)
	s := &story{example: startProgram(t, buildReplicas, "-replicas", "2"), hand: mouse{}, look: true}
	s.alice = servers.StartChromium(t)
	from := func() string {
		t.Helper()
		m := answered.FindStringSubmatch(s.alice.Text(t))
		if m == nil {
			t.Fatalf("%s does not say which replica it comes from:\n%s", s.alice.URL(), s.alice.Text(t))
		}
		return m[1]
	}
	albums := func(name string, texts ...string) {
		t.Helper()
		s.page(t, s.alice, name, s.photos+"/albums", append(texts, "My albums", "Alice")...)
	}

	s.alice.Open(t, s.photos+"/")
	s.page(t, s.alice, "replicas-home", s.photos+"/", "What to try", "Who answered", "Replica 1 is running.", "Replica 2 is running.")
	s.hand.press(t, s.alice, "Sign in")
	s.signIn(t, s.alice, "alice")
	albums("replicas-albums", "There is no album yet.")
	s.hand.write(t, s.alice, "Title", "Holidays")
	s.hand.press(t, s.alice, "Create album")
	s.page(t, s.alice, "replicas-album", s.photos+"/u/alice/albums/1", "Holidays", "Share…")

	last := ""
	for range 4 {
		s.hand.press(t, s.alice, "My albums")
		albums("replicas-both", "Holidays")
		if from() == last {
			t.Errorf("replica %s answers twice", last)
		}
		last = from()
	}

	answeredOnAPhone(t, s)
	s.hand.press(t, s.alice, "End it (replica 1)")
	albums("replicas-one", "Replica 1 has ended.", "Replica 2 is running.", "Holidays")
	for range 2 {
		s.hand.press(t, s.alice, "My albums")
		if got := from(); got != "2" {
			t.Errorf("replica %s answers, and only 2 runs", got)
		}
	}
	s.hand.press(t, s.alice, "End it (replica 2)")
	s.page(t, s.alice, "replicas-none", s.photos+"/albums", "503", "Nobody is here", "Replica 1 has ended.", "Replica 2 has ended.")
	s.hand.press(t, s.alice, "Start it (replica 1)")
	albums("replicas-again", "Replica 1 is running.", "Replica 2 has ended.", "Holidays")
	s.hand.press(t, s.alice, "Start it (replica 2)")
	albums("replicas-all", "Replica 1 is running.", "Replica 2 is running.", "Holidays")

	// Whoever signs out is asked by the server, and comes back to the first page.
	s.hand.press(t, s.alice, "Sign out")
	for range 4 {
		s.alice.Open(t, s.photos+"/")
		if shown := s.alice.Text(t); !strings.Contains(shown, "Sign in") || strings.Contains(shown, "Signed in as") {
			t.Errorf("replica %s still knows her:\n%s", from(), shown)
		}
	}
	if outside := s.alice.Outside(); len(outside) > 0 {
		t.Errorf("pages ask for %q", outside)
	}
}

// answeredOnAPhone checks that a phone shows which replica answered without
// scrolling, although the panel is below the page there.
func answeredOnAPhone(t *testing.T, s *story) {
	t.Helper()
	if _, err := chromedp.Call(s.alice.Context(), emulation.SetDeviceMetricsOverride, emulation.SetDeviceMetricsOverrideParams{
		Width: 360, Height: 740, DeviceScaleFactor: 1, Mobile: true}); err != nil {
		t.Fatalf("chromium: %v", err)
	}
	s.alice.Open(t, s.photos+"/albums")
	s.page(t, s.alice, "replicas-phone", s.photos+"/albums", "Who answered", " answered\n")
	const inSight = `(() => {
		const r = document.querySelector(".answered a").getBoundingClientRect();
		return r.width > 0 && r.left >= 0 && r.right <= innerWidth && r.top >= 0 && r.bottom <= innerHeight;
	})()`
	if !servers.Get(t, s.alice, "look for the replica", chromedp.Evaluate[bool](inSight)) {
		t.Error("a phone does not show which replica answered")
	}
	if _, err := chromedp.Call(s.alice.Context(), emulation.ClearDeviceMetricsOverride, cdp.Empty{}); err != nil {
		t.Fatalf("chromium: %v", err)
	}
	s.hand.press(t, s.alice, "My albums")
}
