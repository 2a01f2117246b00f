package interop_test

import (
	"strings"
	"testing"
	"time"

	"example.com/gatehouse/interop/servers"
)

// liveWithin is the promise of Live, and a second for the browser.
const liveWithin = 6 * time.Second

// The panel of a page shows what happens in another tab. When Alice signs out
// there, its event stream ends.
func TestExamplePanelIsLive(t *testing.T) {
	t.Parallel()
	s := &story{example: startExample(t), hand: mouse{}, look: true}
	s.alice = servers.StartChromium(t)
	s.alice.Open(t, s.photos+"/")
	s.hand.press(t, s.alice, "Sign in")
	s.signIn(t, s.alice, "alice")
	s.alice.WaitText(t, "This panel is live until you sign out.")
	tab := s.alice.Tab(t)
	tab.Open(t, s.photos+"/albums")
	s.hand.write(t, tab, "Title", "Holidays")
	s.hand.press(t, tab, "Create album")
	s.alice.WaitText(t, "POST /albums at the Photo site")
	s.page(t, s.alice, "live", s.photos+"/albums", "This panel is live until you sign out.", "There is no album yet.") // nobody loaded it again
	s.endsWith(t, tab)
}

// On replicas the stream moves to the other one when its own ends.
func TestReplicasPanelIsLive(t *testing.T) {
	t.Parallel()
	servers.Databases(t)
	s := &story{example: startProgram(t, buildReplicas, "-replicas", "2"), hand: mouse{}, look: true}
	s.alice = servers.StartChromium(t)
	s.alice.Open(t, s.photos+"/")
	s.hand.press(t, s.alice, "Sign in")
	s.signIn(t, s.alice, "alice")
	s.alice.WaitText(t, "This panel is live until you sign out.")
	tab := s.alice.Tab(t)
	tab.Open(t, s.photos+"/albums")
	for ended, other := range map[string]string{"1": "2", "2": "1"} {
		s.hand.press(t, tab, "End it (replica "+ended+")")
		s.alice.WaitText(t, "Its event stream comes from replica "+other)
		s.alice.WaitText(t, "Replica "+ended+" has ended.")
		s.alice.WaitText(t, "This panel is live until you sign out.")
		s.hand.press(t, tab, "Start it (replica "+ended+")")
		s.alice.WaitText(t, "Replica "+ended+" is running.")
	}
	s.page(t, s.alice, "replicas-live", s.photos+"/albums", "This panel is live until you sign out.")
	s.endsWith(t, tab)
}

// endsWith has Alice sign out in another tab.
func (s *story) endsWith(t *testing.T, tab *servers.Chromium) {
	t.Helper()
	began := time.Now()
	s.hand.press(t, tab, "Sign out")
	s.alice.WaitText(t, "You are signed out.")
	if took := time.Since(began); took > liveWithin {
		t.Errorf("the stream ended %v after Alice had signed out", took)
	}
	s.page(t, s.alice, "live-over", s.photos+"/albums", "Load the page again.")
	for _, browser := range []*servers.Chromium{s.alice, tab} {
		if outside := browser.Outside(); len(outside) > 0 || strings.Contains(browser.Text(t), "stream is broken") {
			t.Errorf("a page asks for %q, or has lost its stream:\n%s", outside, browser.Text(t))
		}
	}
}
