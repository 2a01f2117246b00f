package main

import (
	_ "embed"
	"html/template"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"sync"

	"example.com/gatehouse/internal/testkit/opserver"
)

// story knows how far the story of the tour is, from what the parties hold and
// from how the orders ended. It is safe for concurrent use.
type story struct {
	mu   sync.Mutex
	at   int             // index of the next step
	seen map[string]bool // "bob print printed": how orders ended; "stopped", "started": the server
}

// album is the path of Alice's album. The tour speaks of her first one.
const firstAlbum = "/u/alice/albums/1"

// step is what somebody does next.
type step struct {
	Number int    // of the list of the tour
	Title  string // what it is about
	Who    string // who does it, as they sign in; "" for whoever
	Text   string // what they do
	Label  string // of the link
	Link   string
	done   func(facts) bool
}

// facts are what the end of a step is judged by.
type facts struct {
	album   *opserver.Resource // of Alice, nil if there is none
	waiting []opserver.Request // in her inbox
	seen    func(string) bool
	fooled  int // requests that reached Mallory's site
}

// shared reports whether a person may do all of this.
func (f facts) shared(who string, scopes ...string) bool {
	return f.album != nil && !slices.ContainsFunc(scopes, func(scope string) bool { return !slices.Contains(f.album.Shares[who], scope) })
}

func (f facts) asked(who string) bool {
	return slices.ContainsFunc(f.waiting, func(q opserver.Request) bool { return q.Who == who })
}

// steps are the steps of the tour, with those that take two people or two
// places divided.
func (d *demo) steps(album *opserver.Resource) []step {
	order := d.shopURL + "/order?album=" + url.QueryEscape(d.photosURL+firstAlbum)
	page, inbox, policy := d.photosURL+firstAlbum, d.inboxOf("alice"), d.photosURL+firstAlbum
	if album != nil {
		policy = album.PolicyURI
	}
	return []step{
		{1, "Alice signs in", "alice", "She signs in at the photo site and creates an album.", "Photo site", d.photosURL + "/albums",
			func(f facts) bool { return f.album != nil }},
		{2, "Bob wants prints", "bob", "He signs in at the print shop and fetches Alice’s album. He is not allowed to see it, and Alice is asked.", "Print shop", order,
			func(f facts) bool { return f.seen("bob show") || f.shared("bob", "view") }},
		{3, "Alice shares", "alice", "At the authorization server she lets bob view and print the album.", "Who may use the album", policy,
			func(f facts) bool { return f.shared("bob", "view", "print") }},
		{4, "Bob prints", "bob", "He fetches the album again, and prints it.", "Print shop", order,
			func(f facts) bool { return f.seen("bob print printed") }},
		{5, "Too weak", "bob", "He fetches the album and presses “Delete the album”. His permission does not cover that.", "Print shop", order,
			func(f facts) bool { return f.seen("bob delete") }},
		{5, "Too weak", "alice", "She finds Bob’s request in her inbox, and denies it.", "Inbox", inbox,
			func(f facts) bool { return !f.asked("bob") }},
		{6, "Alice changes her mind", "alice", "She clears what bob may do, and saves. The next time Bob comes, he is refused.", "Who may use the album", policy,
			func(f facts) bool { return f.album != nil && len(f.album.Shares["bob"]) == 0 }},
		{7, "Carol has the address, too", "alice", "In her inbox she clears “People whom I have not let in may ask me”, and saves.", "Inbox", inbox,
			func(f facts) bool { return f.seen("closed") || f.seen("carol show") }},
		{7, "Carol has the address, too", "carol", "She fetches the album at the print shop. The address alone opens nothing.", "Print shop", order,
			func(f facts) bool { return f.seen("carol show") }},
		{8, "Mallory has a photo site, too", "bob", "He prints Mallory’s album. The print shop does not go to the server that Mallory names.", "Mallory’s site", d.malloryURL + "/",
			func(f facts) bool { return f.fooled > 0 }},
		{9, "The authorization server is gone", "", "Stop it with the button below, and look around: nobody new gets in, nobody is signed out.", "Photo site", d.photosURL + "/",
			func(f facts) bool { return f.seen("stopped") }},
		{9, "The authorization server is gone", "", "Start it again with the button below.", "Photo site", d.photosURL + "/",
			func(f facts) bool { return f.seen("started") }},
		{10, "The album goes", "alice", "She removes it: first its protection, with all that was decided there, then the pictures.", "The album", page,
			func(f facts) bool { return f.album == nil }},
	}
}

// inboxOf is the inbox of a person at the embedded server.
func (d *demo) inboxOf(handle string) string {
	return d.sharingURL + "?user=" + url.QueryEscape(handle)
}

// saw records how an order ended.
func (s *story) saw(person, act, state string) {
	s.note(person + " " + act)
	s.note(person + " " + act + " " + state)
}

func (s *story) note(what string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.seen == nil {
		s.seen = map[string]bool{}
	}
	if len(s.seen) < mostSeen {
		s.seen[what] = true
	}
}

// mostSeen bounds what a story remembers. People and outcomes are few.
const mostSeen = 200

// advance returns the next step, nil after the last one. It goes back to no
// step that was done.
func (s *story) advance(steps []step, f facts) *step {
	s.mu.Lock()
	defer s.mu.Unlock()
	f.seen = func(what string) bool { return s.seen[what] }
	if s.at > 0 && f.album == nil {
		s.at = len(steps) // without the album nothing of the rest can be played
	} else if s.at == len(steps) {
		s.at, s.seen = 0, nil // another album, another time
	}
	for s.at < len(steps) && steps[s.at].done(f) {
		s.at++
	}
	if s.at == len(steps) {
		return nil
	}
	return &steps[s.at]
}

//go:embed next.html
var nextText string

var nextPage = template.Must(template.New("next").Parse(nextText))

// next says beside every page what comes next in the story, and who does it.
func (d *demo) next(r *http.Request) template.HTML {
	tour := d.photosURL + "/#tour"
	var next *step
	signedIn := false
	if d.op != nil && d.signIn == d.serverURL {
		f := facts{waiting: d.op.Pending("alice"), fooled: d.thief.Caught().Visits}
		if all := d.op.Resources("alice"); len(all) > 0 {
			f.album = &all[0]
		}
		if f.album != nil && !d.op.AcceptsRequests("alice") {
			d.story.note("closed")
		}
		if next = d.story.advance(d.steps(f.album), f); next != nil {
			next.Link, signedIn = d.as(r, next.Who, next.Link)
		}
	}
	var b strings.Builder
	err := nextPage.Execute(&b, struct {
		Step     *step
		Played   bool
		SignedIn bool
		Tour     string
	}{next, d.op != nil && d.signIn == d.serverURL, signedIn, tour})
	if err != nil {
		return ""
	}
	return template.HTML(b.String())
}

// as returns the link for one person, through the sign-in page if somebody else
// or nobody is signed in at that site. Browsers send the cookies of one host to
// all its ports, so any page can tell.
func (d *demo) as(r *http.Request, who, link string) (to string, signedIn bool) {
	for origin, person := range map[string]func(*http.Request) string{d.photosURL: d.site.Person, d.shopURL: d.print.Person} {
		path, ok := strings.CutPrefix(link, origin)
		if !ok || who == "" {
			continue
		}
		if person(r) == who {
			return link, true
		}
		return origin + "/sign-in?return_to=" + url.QueryEscape(path), false
	}
	return link, who == ""
}
