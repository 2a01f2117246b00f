package uma_rs_test

import (
	"fmt"
	"net/http"
	"reflect"
	"testing"

	"example.com/gatehouse"
	"example.com/gatehouse/internal/e2e/world"
	"example.com/gatehouse/internal/testkit/opserver"
)

// TestUR14_OwnerOnEveryResource: through the package one owner cannot change
// another's resources by any id, and a call is about the resources of one
// owner.
func TestUR14_OwnerOnEveryResource(t *testing.T) {
	w := world.NewPhotoz(t)
	g := w.Grants(nil)
	rs := w.ResourceServer(gatehouse.ResourceServerConfig{PAT: g})
	for _, user := range []string{"alice", "bob"} {
		w.Agree(g, user)
	}
	hers, err := rs.Register(t.Context(), album7)
	w.Must(err)
	before := w.Resources("alice")

	taken := gatehouse.Resource{Owner: "bob", Name: "mine now", Scopes: []string{"view"}, ID: hers.ID}
	got, err := rs.Register(t.Context(), taken)
	if err == nil && got.ID == hers.ID {
		t.Errorf("bob registered over %+v", got)
	}
	for _, r := range []gatehouse.Resource{taken, {Owner: "bob", ID: hers.ID}, {Owner: "bob", Name: album7.Name, Scopes: album7.Scopes}, {Owner: "", ID: hers.ID}} {
		_ = rs.Deregister(t.Context(), r) // an error or nothing, and in any case:
		if now := w.Resources("alice"); !reflect.DeepEqual(now, before) {
			t.Fatalf("after deregistering %+v alice has %+v, had %+v", r, now, before)
		}
	}
	// A permission that names resources of two owners counts for neither, in
	// whatever order.
	mixed := []gatehouse.Permission{
		album7.AllOf("view").And(taken.AllOf("view")),
		taken.AllOf("view").And(taken.AllOf("view"), album7.AllOf("view")),
	}
	for i, p := range mixed {
		h := world.Photos(rs.UMAProtect(gatehouse.NeedFunc(func(*http.Request) (gatehouse.Permission, error) { return p, nil })))
		w.Reset()
		if answer := world.Send(h, "GET", "/", "tok"); answer.Code != 500 || world.Served(answer) || w.Total() != 0 {
			t.Errorf("two owners, %d: %d %s after %d calls", i, answer.Code, answer.Body, w.Total())
		}
	}
	if got := w.Violations(); len(got) > 0 {
		t.Errorf("the server complains: %v", got)
	}
}

// TestUR14_WrongKindOfToken: an access token whose scope has the right name, an
// RPT of another authorization server and other tokens get only a ticket.
func TestUR14_WrongKindOfToken(t *testing.T) {
	for _, form := range []opserver.RPTOptions{{}, {JWT: true}} {
		t.Run(fmt.Sprintf("JWT %v", form.JWT), func(t *testing.T) {
			w, other := world.NewPhotoz(t), world.NewPhotoz(t)
			w.SetRPT(form)
			other.SetRPT(form)
			h := world.Photos(w.ResourceServer(gatehouse.ResourceServerConfig{}).UMAProtect(world.AlbumRules()))
			good := w.RPT(h, "GET", "/albums/", "photoz", "view")
			foreign := other.RPT(world.Photos(other.ResourceServer(gatehouse.ResourceServerConfig{}).UMAProtect(world.AlbumRules())), "GET", "/albums/", "photoz", "view")
			plain, err := w.AccessToken("bob", "printshop", "openid", "view")
			w.Must(err)
			own, err := w.AccessToken("alice", "photoz", "view")
			w.Must(err)
			idToken, err := w.IDToken("bob", "printshop")
			w.Must(err)
			for name, token := range map[string]string{
				"plain access token": plain, "plain token of our client": own, "RPT of another server": foreign, "ID Token": idToken,
				"RPT with a tail": good + "x",
			} {
				t.Run(name, func(t *testing.T) { w.WantTicket(world.Send(h, "GET", "/albums/", token)) })
			}
			if answer := world.Send(h, "GET", "/albums/", good); !world.Served(answer) {
				t.Errorf("the right token: %d %s", answer.Code, answer.Body)
			}
			w.WantSilence(nil, good, foreign, plain, own)
		})
	}
}

// TestUR14_RPTOfAnotherServer: a token that opens the same resource, by id, at
// another authorization server opens nothing here, though the names, the client
// and even the keys are the same.
func TestUR14_RPTOfAnotherServer(t *testing.T) {
	for name, o := range map[string]opserver.RPTOptions{"opaque": {}, "JWT": {JWT: true}} {
		t.Run(name, func(t *testing.T) {
			a, b := world.TwoServers(t, o)
			ids := &idStore{}
			hA := world.Photos(a.ResourceServer(gatehouse.ResourceServerConfig{ResourceIDs: ids}).UMAProtect(world.AlbumRules()))
			hB := world.Photos(b.ResourceServer(gatehouse.ResourceServerConfig{ResourceIDs: ids}).UMAProtect(world.AlbumRules()))
			ofA, ofB := a.RPT(hA, "GET", "/albums/", "photoz", "view"), b.RPT(hB, "GET", "/albums/", "photoz", "view")
			if idA, idB := a.Resources("photoz")[0].ID, b.Resources("photoz")[0].ID; idA != idB {
				t.Fatalf("the ids are %s and %s: that proves nothing", idA, idB)
			}
			for _, c := range []struct {
				name  string
				w     *world.Photoz
				h     http.Handler
				token string
				open  bool
			}{
				{"B's at A", a, hA, ofB, false}, {"A's at B", b, hB, ofA, false},
				{"A's at A", a, hA, ofA, true}, {"B's at B", b, hB, ofB, true},
				{"B's at A again", a, hA, ofB, false},
			} {
				answer := world.Send(c.h, "GET", "/albums/", c.token)
				if c.open {
					if !world.Served(answer) {
						t.Errorf("%s: %d %s", c.name, answer.Code, answer.Body)
					}
					continue
				}
				c.w.WantTicket(answer) // of the right issuer
			}
			a.SetDown(true) // which one is right does not depend on the other
			if answer := world.Send(hB, "GET", "/albums/", ofB); !world.Served(answer) {
				t.Errorf("B's at B without A: %d", answer.Code)
			}
		})
	}
}

// TestUMATwoIssuersOneStore: ids are kept by issuer. What one server forgets is
// registered again there and nowhere else.
func TestUMATwoIssuersOneStore(t *testing.T) {
	a, b := world.TwoServers(t, opserver.RPTOptions{})
	ids := &idStore{}
	hA := world.Photos(a.ResourceServer(gatehouse.ResourceServerConfig{ResourceIDs: ids}).UMAProtect(world.AlbumRules()))
	hB := world.Photos(b.ResourceServer(gatehouse.ResourceServerConfig{ResourceIDs: ids}).UMAProtect(world.AlbumRules()))
	a.WantTicket(world.Send(hA, "GET", "/albums/", ""))
	b.WantTicket(world.Send(hB, "GET", "/albums/", ""))
	a.ForgetResource("r-1")
	a.Reset()
	b.Reset()
	a.WantTicket(world.Send(hA, "GET", "/albums/", ""))
	b.WantTicket(world.Send(hB, "GET", "/albums/", ""))
	if a.Made("POST") != 1 || b.Made("POST") != 0 || b.Total() != 1 {
		t.Errorf("%d registrations at A, %d at B, which had %d requests", a.Made("POST"), b.Made("POST"), b.Total())
	}
}
