package main

import (
	"bytes"
	"errors"
	"flag"
	"io/fs"
	"net/http"
	"net/http/httptest"
	"net/url"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"example.com/gatehouse/example/internal/sequence"
	"example.com/gatehouse/example/internal/wire"
)

var update = flag.Bool("update", false, "rewrite docs/traces")

// traces is the directory of the traces from which the diagrams of docs/uma.md
// are drawn.
var traces = filepath.Join("..", "docs", "traces")

// The traces record what passes on the wire. If a test fails here, that has
// changed: run the test with -update, read the difference, then draw again with
// go run ./example/sequence (from the root).
func TestTraces(t *testing.T) {
	plays := map[string]func(*testing.T) *teller{
		"sign-in": playSignIn, "register": playRegister, "asked": playAsked, "granted": playGranted,
		"upgraded": playUpgraded, "taken-back": playTakenBack, "down": playDown, "mallory": playMallory,
	}
	for name, play := range plays {
		t.Run(name, func(t *testing.T) {
			got, err := sequence.Encode(play(t).trace())
			if err != nil {
				t.Fatal(err)
			}
			holdTrace(t, filepath.Join(traces, name+".json"), got)
		})
	}
	files, err := filepath.Glob(filepath.Join(traces, "*"))
	if err != nil {
		t.Fatal(err)
	}
	if len(files) != len(plays) {
		t.Errorf("%d traces are in %s, but %d are told", len(files), traces, len(plays))
	}
}

func holdTrace(t *testing.T, name string, got []byte) {
	t.Helper()
	want, err := os.ReadFile(name)
	if err != nil && !(*update && errors.Is(err, fs.ErrNotExist)) {
		t.Fatal(err)
	}
	if *update {
		if err := os.WriteFile(name, got, 0o644); err != nil {
			t.Fatal(err)
		}
		return
	}
	if bytes.Equal(got, want) {
		return
	}
	was, is := strings.Split(string(want), "\n"), strings.Split(string(got), "\n")
	n := 0
	for n < min(len(was), len(is))-1 && was[n] == is[n] {
		n++
	}
	t.Errorf("%s no longer matches the wire. Line %d is\n%s\nand was\n%s\nIf that is intended: go test ./example -run TestTraces -update; go run ./example/sequence",
		name, n+1, is[n], was[n])
}

// latest returns what the last click of a browser caused.
func (s *stage) latest(b *browser) []wire.Message {
	s.t.Helper()
	steps := s.steps(b)
	if len(steps) == 0 || len(steps[len(steps)-1].Messages) == 0 {
		s.t.Fatal("nothing was recorded")
	}
	return steps[len(steps)-1].Messages
}

func (s *stage) steps(b *browser) []wire.Step {
	s.t.Helper()
	r := httptest.NewRequest(http.MethodGet, s.photosURL+"/", nil)
	for _, c := range b.client.Jar.Cookies(r.URL) {
		r.AddCookie(c)
	}
	return s.rec.Steps(r)
}

// album is the stage with Alice's album. It is shared with Bob for these
// scopes. Bob has a browser of his own, and is signed in at the shop.
func album(t *testing.T, scopes ...string) (s *stage, share string, bob *browser) {
	t.Helper()
	s = newStage(t, nil)
	share = s.createAlbum().link("Share…")
	if len(scopes) > 0 {
		s.decide(share, url.Values{"person": {"bob"}, "new": scopes})
	}
	bob = newBrowser(t)
	bob.get(s.shopURL + "/sign-in").signIn("bob")
	return s, share, bob
}

// orderAs orders prints of the album from another browser.
func (s *stage) orderAs(b *browser) *page {
	b.t.Helper()
	return b.get(s.shopURL+"/order?album="+url.QueryEscape(s.photosURL+"/u/alice/albums/1")).want(200, "Order prints").submit("Fetch the album", nil)
}

func playSignIn(t *testing.T) *teller {
	s := newStage(t, nil)
	s.createAlbum()
	steps := s.steps(s.browser)
	tell := s.tell("Alice signs in and leaves a grant",
		"Alice signs in at the photo site, which then asks for a grant of its own: the scope uma_protection. With the code it gets the protection API token (PAT) for what Alice owns.")
	tell.scene("Alice opens the photo site and signs in", "Alice", steps[0].Messages)
	tell.scene("She has named herself at the authorization server; it sends her back", "Alice", steps[1].Messages[:1])
	tell.scene("The photo site asks for a grant; she is signed in at the server already", "Alice", steps[1].Messages[1:])
	return tell
}

func playRegister(t *testing.T) *teller {
	s := newStage(t, nil)
	share := s.createAlbum().link("Share…")
	tell := s.tell("An album is registered, and shared",
		"The photo site registers the album with Alice's protection API token. On a page of the authorization server Alice lets Bob view it. The photo site is not told.")
	tell.scene("Alice makes an album", "Alice", s.latest(s.browser))
	s.decide(share, url.Values{"person": {"bob"}, "new": {"view"}})
	tell.scene("Alice follows “Share…” to the authorization server", "Alice", s.latest(s.browser))
	return tell
}

func playAsked(t *testing.T) *teller {
	s, _, bob := album(t)
	s.orderAs(bob).want(202, "The owner has been asked")
	tell := s.tell("Bob is not allowed yet: the owner is asked",
		"The print shop asks for the album and gets a ticket. At the authorization server the ticket alone is not enough: need_info. With Bob's ID Token the server knows who is asking, but no policy lets him in: request_submitted. Alice finds the request in her inbox.")
	tell.scene("Bob orders prints of Alice’s album", "Bob", s.latest(bob))
	return tell
}

func playGranted(t *testing.T) *teller {
	s, share, bob := album(t)
	s.orderAs(bob).want(202, "The owner has been asked")
	s.decide(share, url.Values{"person": {"bob"}, "new": {"view"}})
	s.orderAs(bob).want(200, "Alice lets you view")
	tell := s.tell("A ticket becomes a permission",
		"The print shop turns the ticket and Bob's ID Token into a requesting party token (RPT). The photo site looks up what the token holds and answers. The next requests need no call to the authorization server.")
	tell.scene("Alice has shared the album with Bob. He tries again", "Bob", s.latest(bob))
	s.orderAs(bob).want(200, "Alice lets you view")
	tell.scene("Again, within CacheTTL: the permission is known", "Bob", s.latest(bob))
	return tell
}

func playUpgraded(t *testing.T) *teller {
	s, _, bob := album(t, "view")
	shown := s.orderAs(bob).want(200, "Alice lets you view")
	shown.submit(`action="/order/delete"`, nil).want(202, "The owner has been asked")
	tell := s.tell("Too weak, approved, upgraded",
		"Bob may view the album and wants to delete it. His token is alive but too weak, so the answer is a ticket again, and Alice is asked. She approves. In the next exchange the shop offers the token that it has and gets one that holds both permissions. The shop drops the old one.")
	tell.scene("Bob presses “Delete”: his token is too weak. What follows is as before, and Alice is asked", "Bob", s.latest(bob)[:1])
	s.get(s.serverURL+"/").submit("Approve", url.Values{"decision": {"approve"}}).want(200, "Nobody is waiting")
	tell.scene("Alice approves the request in her inbox", "Alice", s.latest(s.browser))
	shown.submit(`action="/order/delete"`, nil).want(200, "The album is gone")
	tell.scene("Bob presses the same button again", "Bob", s.latest(bob))
	return tell
}

func playTakenBack(t *testing.T) *teller {
	s, share, bob := album(t, "view")
	s.orderAs(bob).want(200, "Alice lets you view")
	tell := s.tell("The owner changes her mind",
		"Alice takes the share back at the authorization server; the photo site is not told. Within CacheTTL it still trusts what it knows. After that, introspection says that the token is not active, Bob gets a ticket, and the server denies his request.")
	s.decide(share, url.Values{"person": {""}})
	tell.scene("Alice takes back what she had shared with Bob", "Alice", s.latest(s.browser))
	s.orderAs(bob).want(200, "Alice lets you view")
	tell.scene("Bob, within CacheTTL: what is known is still trusted", "Bob", s.latest(bob))
	s.clock.advance(permissionTTL)
	s.orderAs(bob).want(403, "Not allowed", "request_denied")
	tell.scene("Bob, after CacheTTL", "Bob", s.latest(bob))
	return tell
}

func playDown(t *testing.T) *teller {
	s, _, bob := album(t, "view")
	if err := s.op.Share("alice", s.op.Resources("alice")[0].ID, "carol", "view"); err != nil {
		t.Fatal(err)
	}
	carol := newBrowser(t)
	carol.get(s.shopURL + "/sign-in").signIn("carol")
	s.orderAs(bob).want(200, "Alice lets you view")
	if err := s.servers[0].stop(); err != nil {
		t.Fatal(err)
	}
	tell := s.tell("The authorization server cannot be reached",
		"What is known is served until CacheTTL has passed. After it a token cannot be looked up: 503. Somebody without a token gets no ticket: 403 with a Warning. When in doubt, nobody is let in.")
	s.orderAs(bob).want(200, "Alice lets you view")
	tell.scene("The server has stopped. Bob, within CacheTTL: his permission is known", "Bob", s.latest(bob))
	s.clock.advance(permissionTTL)
	s.orderAs(bob).want(503, "Nobody can be asked right now")
	tell.scene("Bob, after CacheTTL: his token cannot be looked up", "Bob", s.latest(bob)[0].Inner)
	s.orderAs(carol).want(503, "Nobody can be asked right now")
	tell.scene("Carol, who comes without a token: no ticket can be obtained", "Carol", s.latest(carol)[0].Inner)
	return tell
}

func playMallory(t *testing.T) *teller {
	s, _, bob := album(t, "view")
	bait := bob.get(s.malloryURL + "/").link("Print the album")
	bob.get(bait).submit("Fetch the album", nil).want(502, "We do not ask that server")
	tell := s.tell("A challenge that names somebody else’s server",
		"Mallory's site answers with a challenge whose as_uri is a server of Mallory's. The print shop trusts one issuer and compares it exactly, so nothing is sent there.")
	tell.scene("Bob follows a link that Mallory gave him", "Bob", s.latest(bob))
	return tell
}

// teller makes a trace of recorded messages. It gives names to values that
// change from run to run.
type teller struct {
	t      sequence.Trace
	names  *names
	person string // who was at the browser
	taking map[string]bool
}

func (s *stage) tell(title, description string) *teller {
	return &teller{t: sequence.Trace{Title: title, Description: description},
		names: s.newNames(), taking: map[string]bool{}}
}

func (tell *teller) scene(caption, person string, messages []wire.Message) {
	tell.t.Scenes = append(tell.t.Scenes, sequence.Scene{Caption: caption, Messages: tell.messages(person, messages)})
}

func (tell *teller) messages(person string, messages []wire.Message) []sequence.Message {
	var out []sequence.Message
	for _, m := range messages {
		if m.From.ID == "browser" {
			tell.person = person
		}
		tell.taking[m.From.ID], tell.taking[m.To.ID] = true, true
		out = append(out, sequence.Message{
			From: m.From.ID, To: m.To.ID, Title: m.Kind.Title, Tone: m.Kind.Tone,
			Request:  tell.names.half(m, m.Request),
			Inner:    tell.messages(person, m.Inner),
			Response: tell.names.half(m, m.Response),
			Again:    slices.Clone(m.Again),
		})
	}
	return out
}

// trace is the finished trace, with the parties that took part.
func (tell *teller) trace() sequence.Trace {
	for _, p := range []sequence.Party{
		{ID: "browser", Role: "browser"},
		{ID: "printshop", Name: "Print shop", Role: "client"},
		{ID: "photos", Name: "Photo site", Role: "resource server"},
		{ID: "mallory", Name: "Mallory’s site", Role: "says it is a resource server"},
		{ID: "server", Name: "Authorization server", Role: "where Alice decides"},
	} {
		if p.ID == "browser" {
			p.Name = tell.person
		}
		if tell.taking[p.ID] {
			tell.t.Parties = append(tell.t.Parties, p)
		}
	}
	return tell.t
}
