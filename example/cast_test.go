package main

import (
	"net/url"
	"testing"

	"example.com/gatehouse/example/mallory"
	"example.com/gatehouse/internal/testkit/opserver"
)

// Carol knows the address of the album. Whether Alice is even asked is up to
// her; the address opens nothing either way.
func TestCarolHasTheAddress(t *testing.T) {
	s := newStage(t, nil)
	s.decide(s.createAlbum().link("Share…"), url.Values{"person": {"bob"}, "new": {"view"}})
	inbox := s.get(s.get(s.photosURL+"/albums").link("Who asks")).want(200, "Nobody is waiting", "What is mine")
	inbox.submit(`value="takes"`, url.Values{"decision": {"takes"}, "takes": {}}).want(200, "The owner decides")

	carol := newBrowser(t)
	carol.get(s.shopURL+"/sign-in").signIn("carol").want(200, "Order prints", "Carol")
	s.orderAs(carol).want(403, "Not allowed", "request_denied")
	if waiting := s.op.Pending("alice"); len(waiting) > 0 {
		t.Errorf("Alice is asked: %+v", waiting)
	}
	inbox.submit(`value="takes"`, url.Values{"decision": {"takes"}, "takes": {"on"}}).want(200)
	s.clock.advance(forgetDenial)
	s.orderAs(carol).want(202, "The owner has been asked")
	if waiting := s.op.Pending("alice"); len(waiting) != 1 || waiting[0].Who != "carol" {
		t.Errorf("Alice's inbox: %+v", waiting)
	}
}

// forgetDenial is longer than a UMA client remembers a denial (docs/limits.md).
const forgetDenial = 6 * permissionTTL

// Bob's permission is too weak. Alice approves his request in her inbox, and
// the same button works. What is deleted then is also deleted at the
// authorization server.
func TestInboxApproves(t *testing.T) {
	s := newStage(t, nil)
	s.decide(s.createAlbum().link("Share…"), url.Values{"person": {"bob"}, "new": {"view"}})
	bob := newBrowser(t)
	bob.get(s.shopURL + "/sign-in").signIn("bob")
	shown := s.orderAs(bob).want(200, "Alice lets you view")
	shown.submit(`action="/order/delete"`, nil).want(202, "The owner has been asked")

	inbox := s.get(s.get(s.photosURL+"/albums").link("Who asks")).want(200, "asks for <code>delete</code>", "Signed in as</span> <strong>alice</strong>")
	inbox.submit("Approve", url.Values{"decision": {"approve"}}).want(200, "Nobody is waiting", "The owner decides")
	shown.submit(`action="/order/delete"`, nil).want(200, "The album is gone", "The permission grows", "Takes the album out of protection")
	if left := s.op.Resources("alice"); len(left) > 0 {
		t.Errorf("still registered: %+v", left)
	}
	shown.submit(`action="/order/print"`, nil).want(404, "no such album")
	if v := s.op.Violations(); len(v) > 0 {
		t.Errorf("violations: %q", v)
	}
}

// Mallory's challenge names an authorization server of Mallory's. Nothing is
// sent there, and Bob's permissions elsewhere remain.
func TestMallory(t *testing.T) {
	s := newStage(t, nil)
	s.decide(s.createAlbum().link("Share…"), url.Values{"person": {"bob"}, "new": {"view"}})
	bob := newBrowser(t)
	bob.get(s.shopURL + "/sign-in").signIn("bob")
	bait := bob.get(s.malloryURL+"/").want(200, "Mallory’s catch", "Free Prints").link("Print the album")
	s.get(s.malloryURL+"/").want(200, "albums/1</code>: <strong>0</strong>")
	bob.get(bait).want(200, "Order prints").submit("Fetch the album", nil).want(502, "We do not ask that server", "“Ask my own server”", `UMA realm=`)
	bob.get(s.malloryURL+"/").want(200, "albums/1</code>: <strong>1</strong>", "authorization server: <strong>0</strong>",
		"Client secrets: <strong>0</strong>; ID Tokens: <strong>0</strong>")
	if c := s.thief.Caught(); c != (mallory.Catch{Visits: 1}) {
		t.Errorf("Mallory has %+v", c)
	}
	s.orderAs(bob).want(200, "Alice lets you view")
}

// The shop fetches only from sites that it knows.
func TestShopKnowsItsSites(t *testing.T) {
	s := newStage(t, nil)
	s.get(s.shopURL + "/sign-in").signIn("bob")
	for _, address := range []string{
		s.serverURL + "/u/alice/albums/1", "http://192.0.2.1/u/alice/albums/1", s.photosURL + "@192.0.2.1/u/alice/albums/1",
		"//192.0.2.1/u/alice/albums/1", s.photosURL + "/u/alice/albums/1?x=1", s.malloryURL + "/token",
	} {
		s.get(s.shopURL+"/order?album="+url.QueryEscape(address)).want(400, "This is not the address of an album")
	}
	if c := s.thief.Caught(); c != (mallory.Catch{}) {
		t.Errorf("Mallory has %+v", c)
	}
	if n := s.op.Count(opserver.EndpointToken); n != 1 {
		t.Errorf("%d token requests, want that of the sign-in", n)
	}
}
