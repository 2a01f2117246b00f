//go:build unix

package replicastest

import (
	"net/url"
	"strings"
	"testing"
)

// TestReplicas plays the whole story on two replicas over a store that the
// command starts itself.
func TestReplicas(t *testing.T) {
	c := Start(t, "-replicas", "2")
	alice := NewBrowser(t)
	home := alice.Get(c.Photos+"/").Want(200, "Your photos", "What to try", "Who answered")
	if got := home.States(); got != "1 is running, 2 is running" {
		t.Errorf("at the start, %s", got)
	}
	albums := home.Follow("Sign in").SignIn("alice").Want(200, "My albums", ">Alice<")

	alternate(t, alice, c.Photos)
	album := albums.Submit("Create album", url.Values{"title": {"Lake holidays"}, "motif": {"Sea"}}).Want(200, "Lake holidays", "Share…")
	for range 4 {
		alice.Get(album.URL.String()).Want(200, "Lake holidays", "Share…")
		alice.Get(c.Photos+"/albums").Want(200, "Lake holidays")
	}
	share(t, c, alice)
	endAndStart(t, c, alice)
	if len(c.Processes()) > 0 { // there is a /proc to find it in
		die(t, c, alice)
	}
	alice.Get(c.Photos+"/albums").Submit("Sign out", nil)
	signOut(t, c, alice)
}

// alternate checks that pages come from both replicas in turn, that the page
// says from which, and that both know who is signed in.
func alternate(t *testing.T, b *Browser, photos string) {
	t.Helper()
	last := ""
	for range 6 {
		page := b.Get(photos+"/albums").Want(200, "My albums", ">Alice<")
		if page.Replica == "" || page.Replica == last {
			t.Errorf("replica %q answers after %q", page.Replica, last)
		}
		page.Want(200, "This page comes from <strong>replica "+page.Replica+"</strong>")
		last = page.Replica
	}
}

// share lets Bob view Alice's album. The authorization server is told on one
// page; the replicas find out with his request.
func share(t *testing.T, c *Command, alice *Browser) {
	t.Helper()
	album := c.Photos + "/u/alice/albums/1"
	bob := NewBrowser(t)
	bob.Get(c.Shop+"/sign-in").SignIn("bob").Want(200, "Bob")
	fetch := func() *Page {
		return bob.Get(c.Shop+"/order?album="+url.QueryEscape(album)).Submit("Fetch the album", nil)
	}
	fetch().Want(202, "The owner has been asked")
	alice.Get(album).Follow("Share…").Submit(`id="policy"`, url.Values{"person": {"bob"}, "new": {"view"}}).Want(200, "Saved")
	for range 3 {
		fetch().Want(200, "Lake holidays", "Alice lets you view")
	}
}

// endAndStart ends each replica with its button and starts it again, then both
// at once. Alice stays signed in.
func endAndStart(t *testing.T, c *Command, alice *Browser) {
	t.Helper()
	press := func(page *Page, number, to string, status int, states string) *Page {
		t.Helper()
		page = page.Submit(`action="/demo/replicas/`+number+`"`, url.Values{"to": {to}}).Want(status)
		if got := page.States(); got != states {
			t.Fatalf("after replica %s was asked to be %s, %s", number, to, got)
		}
		return page
	}
	albums := func() *Page {
		t.Helper()
		return alice.Get(c.Photos+"/albums").Want(200, ">Alice<", "Lake holidays")
	}
	const both = "1 is running, 2 is running"
	for number, alone := range map[string]string{"1": "1 has ended, 2 is running", "2": "1 is running, 2 has ended"} {
		before := len(c.Processes())
		streams := [2]*Stream{alice.Stream(c.Photos), alice.Stream(c.Photos)}
		page := press(albums(), number, "ended", 200, alone)
		for _, stream := range streams {
			if stream.Replica == number {
				stream.Want("data: shutting_down")
			} else {
				stream.Want("Replica " + number + " has ended.") // its replica has heard of it from the front
			}
		}
		if after := len(c.Processes()); before > 0 && after != before-1 {
			t.Errorf("%d processes before replica %s ended, %d after", before, number, after)
		}
		for range 4 {
			if page = albums(); page.Replica == number {
				t.Errorf("replica %s answers after it has ended", number)
			}
		}
		press(page, number, "running", 200, both)
		alternate(t, alice, c.Photos)
	}
	page := press(albums(), "1", "ended", 200, "1 has ended, 2 is running")
	page = press(page, "2", "ended", 503, "1 has ended, 2 has ended").Want(503, "Nobody is here")
	page = press(page, "1", "running", 200, "1 is running, 2 has ended").Want(200, ">Alice<", "Lake holidays")
	press(page, "2", "running", 200, both).Want(200, ">Alice<", "Lake holidays")
	alternate(t, alice, c.Photos)
}

// die kills a replica. No page fails, and its button starts it again.
func die(t *testing.T, c *Command, alice *Browser) {
	t.Helper()
	c.Kill("2")
	var page *Page
	for range 1000 { // until its parent has heard of it
		if page = alice.Get(c.Photos+"/albums").Want(200, ">Alice<"); page.States() == "1 is running, 2 has ended" {
			break
		}
	}
	page.Submit(`action="/demo/replicas/2"`, url.Values{"to": {"running"}}).Want(200)
	alternate(t, alice, c.Photos)
}

// signOut signs Alice out on one replica, and later at the authorization server,
// which tells one replica. Both have forgotten her then, and whoever kept her
// cookies gets nothing for them.
func signOut(t *testing.T, c *Command, alice *Browser) {
	t.Helper()
	site, err := url.Parse(c.Photos)
	if err != nil {
		t.Fatal(err)
	}
	for place, out := range map[string]func(){
		"here":  func() { alice.Get(c.Photos+"/albums").Submit("Sign out", nil) },
		"there": func() { alice.Get(c.Server+"/").Follow("Sign out").Submit("Sign out", nil).Want(200, "Signed out") },
	} {
		alice.Get(c.Photos+"/").Follow("Sign in").SignIn("alice").Want(200, ">Alice<")
		thief := NewBrowser(t)
		thief.client.Jar.SetCookies(site, alice.client.Jar.Cookies(site))
		thief.Get(c.Photos+"/").Want(200, ">Alice<")
		streams := [2]*Stream{alice.Stream(c.Photos), thief.Stream(c.Photos)}
		out()
		for _, stream := range streams { // on whichever replica
			stream.Want("data: login_required")
		}
		for _, b := range []*Browser{alice, thief} {
			for range 4 {
				if page := b.Get(c.Photos+"/").Want(200, ">Sign in</a>"); strings.Contains(page.Text, ">Alice<") {
					t.Errorf("signed out %s, but replica %s still knows Alice", place, page.Replica)
				}
			}
		}
	}
}

// TestSignInsStay ends the whole command and starts it again on the same store
// and the same ports. Restart ends the store's server meanwhile and starts it
// again; it may be nil.
func TestSignInsStay(t *testing.T, addr string, restart func()) {
	alice := NewBrowser(t)
	first := Start(t, "-addr", addr)
	alice.Get(first.Photos+"/").Follow("Sign in").SignIn("alice").Want(200, "My albums").
		Submit("Create album", url.Values{"title": {"Lake holidays"}, "motif": {"Sea"}}).Want(200, "Lake holidays")
	first.Stop()
	if restart != nil {
		restart()
	}
	at := func(address string) string { return strings.TrimPrefix(address, "http://") }
	again := Start(t, "-addr", addr, "-photos", at(first.Photos), "-printshop", at(first.Shop), "-server", at(first.Server))
	alternate(t, alice, again.Photos)
	for range 2 {
		alice.Get(again.Photos+"/").Want(200, ">Alice<")
	}
}
