package interop_test

import (
	"regexp"
	"strings"
	"testing"
	"time"

	"example.com/gatehouse/interop/servers"
)

// The story of the example: Alice shares an album with Bob, Bob prints, wants
// too much, Alice changes her mind, Carol and Mallory get nothing, and the
// authorization server stops.
func TestExampleStory(t *testing.T) {
	t.Parallel()
	s := &story{example: startExample(t), hand: mouse{}, look: true}
	s.alice = servers.StartChromium(t)
	s.bob = s.alice.Another(t)
	s.tell(t)
}

// The same story, by somebody without a mouse.
func TestExampleStoryByKeyboard(t *testing.T) {
	t.Parallel()
	s := &story{example: startExample(t), hand: keyboard{}}
	s.alice = servers.StartChromium(t)
	s.bob = s.alice.Another(t)
	s.tell(t)
}

type story struct {
	*example
	hand       hand
	look       bool // take pictures and check accessibility
	alice, bob *servers.Chromium
	album      string // address
}

func (s *story) tell(t *testing.T) {
	for _, step := range []struct {
		name string
		run  func(*testing.T)
	}{
		{"Alice signs in and makes an album", s.makeAlbum},
		{"Bob asks", s.bobAsks},
		{"Alice shares", s.share},
		{"Bob prints", s.bobPrints},
		{"too weak", s.tooWeak},
		{"Alice changes her mind", s.changeOfMind},
		{"Carol has the address", s.carolComes},
		{"Mallory has a site", s.malloryWaits},
		{"the authorization server stops", s.serverStops},
		{"the end", s.end},
	} {
		if !t.Run(step.name, step.run) {
			return // the rest builds on it
		}
	}
	for _, browser := range []*servers.Chromium{s.alice, s.bob} {
		if outside := browser.Outside(); len(outside) > 0 {
			t.Errorf("pages ask for %q", outside)
		}
	}
}

// page fails the test unless the browser is at a page below an address that has
// all the texts. It looks at it in light and dark.
func (s *story) page(t *testing.T, browser *servers.Chromium, name, address string, texts ...string) {
	t.Helper()
	shown := browser.Text(t)
	if !strings.HasPrefix(browser.URL(), address) {
		t.Fatalf("%s: at %s, want %s:\n%s", name, browser.URL(), address, shown)
	}
	for _, text := range texts {
		if !strings.Contains(shown, text) {
			t.Fatalf("%s: %s has no %q:\n%s", name, browser.URL(), text, shown)
		}
	}
	if long := longSecret.FindString(shown); long != "" {
		t.Errorf("%s: %s shows something long, perhaps a token: %.20s…", name, browser.URL(), long)
	}
	if !s.look {
		return
	}
	servers.Axe(t, browser)
	browser.Screenshot(t, name)
	dark(t, browser, true)
	servers.Axe(t, browser)
	browser.Screenshot(t, name+"-dark")
	dark(t, browser, false)
}

// longSecret matches what no page should show: tokens are longer, ids are
// shorter.
var longSecret = regexp.MustCompile(`[A-Za-z0-9_.-]{64,}`)

// signIn fills in the page of the embedded server.
func (s *story) signIn(t *testing.T, browser *servers.Chromium, user string) {
	t.Helper()
	s.page(t, browser, "sign-in-"+user, s.server, "Sign in")
	s.hand.set(t, browser, choice, user, true)
	s.hand.write(t, browser, "Password", user)
	s.hand.press(t, browser, "Sign in")
}

func (s *story) makeAlbum(t *testing.T) {
	s.alice.Open(t, s.photos+"/")
	s.page(t, s.alice, "photos-home", s.photos+"/", "The story, to click through")
	s.hand.press(t, s.alice, "Sign in")
	s.signIn(t, s.alice, "alice")
	s.page(t, s.alice, "albums-none", s.photos+"/albums", "There is no album yet.")
	s.hand.write(t, s.alice, "Title", "Holidays")
	s.hand.press(t, s.alice, "Create album")
	s.page(t, s.alice, "album-new", s.photos+"/u/alice/albums/", "Holidays", "Nobody has printed it yet.", "What just happened")
	s.album = s.alice.URL()
}

func (s *story) bobAsks(t *testing.T) {
	s.bob.Open(t, s.shop+"/")
	s.page(t, s.bob, "shop-home", s.shop+"/", "Sign in to order")
	s.hand.press(t, s.bob, "Sign in to order")
	s.signIn(t, s.bob, "bob")
	s.page(t, s.bob, "shop-order", s.shop+"/", "Order prints")
	s.hand.write(t, s.bob, "Address of the album", s.album)
	s.hand.press(t, s.bob, "Fetch the album")
	s.page(t, s.bob, "order-asked", s.shop+"/order", "The owner has been asked", s.album,
		// What the panel shows is from the wire.
		"401 Unauthorized", "WWW-Authenticate", "UMA realm=", "request_submitted")
}

// policy opens the page where Alice decides about the album.
func (s *story) policy(t *testing.T) {
	t.Helper()
	s.alice.Open(t, s.album)
	s.hand.press(t, s.alice, "Share…")
}

func (s *story) share(t *testing.T) {
	s.policy(t)
	s.page(t, s.alice, "policy-empty", s.server, "Who may do what")
	s.hand.write(t, s.alice, "Somebody else", "bob")
	s.hand.set(t, s.alice, box, "somebody else may view", true)
	s.hand.set(t, s.alice, box, "somebody else may print", true)
	s.hand.press(t, s.alice, "Save")
	s.page(t, s.alice, "policy-saved", s.server, "Saved.", "bob")
}

func (s *story) bobPrints(t *testing.T) {
	s.hand.press(t, s.bob, "Try again")
	s.page(t, s.bob, "order-shown", s.shop+"/order", "Holidays", "lets you view this album")
	s.hand.press(t, s.bob, "Print")
	s.page(t, s.bob, "order-printed", s.shop+"/order/print", "Printed: Holidays", "prints are on their way")
	s.alice.Open(t, s.album)
	s.page(t, s.alice, "album-printed", s.album, "photos for", "bob")
}

// tooWeak: Bob may not delete; Alice is asked, and says no.
func (s *story) tooWeak(t *testing.T) {
	s.hand.press(t, s.bob, "Delete the album")
	s.page(t, s.bob, "order-too-weak", s.shop+"/order/delete", "The owner has been asked", "not allowed to delete")
	s.alice.Open(t, s.album)
	s.hand.press(t, s.alice, "Who asks me?")
	s.page(t, s.alice, "inbox", s.server, "Who asks", "delete", "Holidays")
	s.hand.press(t, s.alice, "Deny: bob")
	s.page(t, s.alice, "inbox-empty", s.server, "Nobody is waiting for an answer.", "shared with one person")
	s.alice.Open(t, s.album)
	s.page(t, s.alice, "album-still-there", s.album, "Holidays")
}

// changeOfMind: the share ends.
func (s *story) changeOfMind(t *testing.T) {
	s.policy(t)
	s.hand.set(t, s.alice, box, "bob may view", false)
	s.hand.set(t, s.alice, box, "bob may print", false)
	s.hand.press(t, s.alice, "Save")
	s.page(t, s.alice, "policy-taken-back", s.server, "Saved.")
	s.bobIsShown(t, "order-taken-back", "The owner has been asked", "Not allowed")
}

// carolComes: Carol knows the address, and Alice does not want to be asked.
func (s *story) carolComes(t *testing.T) {
	s.alice.Open(t, s.album)
	s.hand.press(t, s.alice, "Who asks me?")
	s.hand.set(t, s.alice, box, "People whom I have not let in may ask me", false)
	s.hand.press(t, s.alice, "Save")
	s.page(t, s.alice, "inbox-closed", s.server, "Who asks")
	carol := s.bob.Another(t)
	carol.Open(t, s.shop+"/")
	s.hand.press(t, carol, "Sign in to order")
	s.signIn(t, carol, "carol")
	s.hand.write(t, carol, "Address of the album", s.album)
	s.hand.press(t, carol, "Fetch the album")
	s.page(t, carol, "order-carol", s.shop+"/order", "Not allowed", "request_denied")
}

// malloryWaits: the shop does not go to the server that Mallory's site names.
func (s *story) malloryWaits(t *testing.T) {
	s.bob.Open(t, s.mallory+"/")
	s.page(t, s.bob, "mallory", s.mallory+"/", "Mallory’s catch")
	s.hand.press(t, s.bob, "Print the album")
	s.page(t, s.bob, "order-mallory-form", s.shop+"/order", "Order prints")
	s.hand.press(t, s.bob, "Fetch the album")
	s.page(t, s.bob, "order-mallory", s.shop+"/order", "We do not ask that server", "as_uri")
	s.bob.Open(t, s.mallory+"/")
	s.page(t, s.bob, "mallory-caught", s.mallory+"/", "Requests to Mallory’s authorization server: 0")
}

// patience is how long Bob keeps trying until something has changed, so that a
// hang makes the test fail. The photo site trusts a permission for 2 s, and the
// print shop remembers a refusal for 5 s. The rest is for a busy machine.
const patience = 3 * time.Minute

// bobIsShown makes Bob fetch the album until the page has one of the headings.
func (s *story) bobIsShown(t *testing.T, name string, headings ...string) {
	t.Helper()
	for end := time.Now().Add(patience); time.Now().Before(end); {
		s.bob.Open(t, s.shop+"/order?album="+s.album) // a link only fills in the form
		s.hand.press(t, s.bob, "Fetch the album")
		shown := s.bob.Text(t)
		for _, heading := range headings {
			if strings.Contains(shown, heading) {
				s.page(t, s.bob, name, s.shop+"/order", heading)
				return
			}
		}
	}
	t.Fatalf("Bob is not shown %q but\n%s", headings, s.bob.Text(t))
}

func (s *story) serverStops(t *testing.T) {
	s.alice.Open(t, s.album)
	s.hand.press(t, s.alice, "Stop it")
	s.page(t, s.alice, "album-server-stopped", s.album, "Holidays", "The authorization server is stopped.")
	s.alice.Open(t, s.photos+"/albums")
	s.page(t, s.alice, "albums-server-stopped", s.photos+"/albums", "Holidays")
	s.bobIsShown(t, "order-warned", "Nobody can be asked right now")
	s.page(t, s.bob, "order-warned", s.shop+"/order", `199 - "UMA Authorization Server Unreachable"`)
	s.hand.press(t, s.alice, "Start it")
	s.page(t, s.alice, "albums-server-started", s.photos+"/albums", "The authorization server is running.")
	s.bobIsShown(t, "order-asked-again", "The owner has been asked", "Not allowed")
}

func (s *story) end(t *testing.T) {
	s.alice.Open(t, s.album)
	s.hand.press(t, s.alice, "Remove album")
	s.page(t, s.alice, "albums-removed", s.photos+"/albums", "There is no album yet.")
	s.bobIsShown(t, "order-gone", "no such album")
	for _, person := range []struct {
		browser *servers.Chromium
		base    string
	}{{s.alice, s.photos}, {s.bob, s.shop}} {
		s.hand.press(t, person.browser, "Sign out")
		if strings.HasPrefix(person.browser.URL(), s.server) {
			s.page(t, person.browser, "sign-out", s.server, "Sign out")
			s.hand.press(t, person.browser, "Sign out")
		}
		s.page(t, person.browser, "signed-out", person.base+"/", "Sign in")
	}
}
