package uma_rs_test

import (
	"fmt"
	"testing"
	"time"

	"example.com/gatehouse"
	"example.com/gatehouse/internal/e2e/world"
	"example.com/gatehouse/internal/testkit/opserver"
)

// TestUMA_OwnerTakesBack: a permission that is taken back ends within CacheTTL.
func TestUMA_OwnerTakesBack(t *testing.T) {
	for _, c := range []struct {
		ttl, stillAt, goneAt time.Duration
	}{{0, 10*time.Second - time.Millisecond, 10 * time.Second}, {30 * time.Second, 29 * time.Second, 30 * time.Second}, {-1, -1, 0}} {
		t.Run(c.ttl.String(), func(t *testing.T) {
			w := world.NewPhotoz(t)
			h := world.Photos(w.ResourceServer(gatehouse.ResourceServerConfig{CacheTTL: c.ttl}).UMAProtect(world.AlbumRules()))
			token := w.RPT(h, "GET", "/albums/", "photoz", "view")
			if !world.Served(world.Send(h, "GET", "/albums/", token)) {
				t.Fatal("not served with the permission")
			}
			w.Must(w.Unshare("photoz", w.Resources("photoz")[0].ID, "bob", "view"))
			if c.stillAt >= 0 {
				w.Advance(c.stillAt)
				if !world.Served(world.Send(h, "GET", "/albums/", token)) {
					t.Error("the facts were not remembered for CacheTTL")
				}
				w.Advance(c.goneAt - c.stillAt)
			}
			w.WantTicket(world.Send(h, "GET", "/albums/", token))
		})
	}
}

// TestUMA_TokenEndsInCache: remembered facts are never used past expiry.
func TestUMA_TokenEndsInCache(t *testing.T) {
	w := world.NewPhotoz(t)
	w.SetTokenLifetime(5 * time.Second)
	h := world.Photos(w.ResourceServer(gatehouse.ResourceServerConfig{CacheTTL: 30 * time.Second}).UMAProtect(world.AlbumRules()))
	token := w.RPT(h, "GET", "/albums/", "photoz", "view")
	for _, c := range []struct {
		forward time.Duration
		open    bool
	}{{4 * time.Second, true}, {time.Second, false}} {
		w.Advance(c.forward)
		if got := world.Served(world.Send(h, "GET", "/albums/", token)); got != c.open {
			t.Errorf("after %v more: served %v, want %v", c.forward, got, c.open)
		}
	}
	if n := w.Count(opserver.EndpointIntrospect); n != 2 {
		t.Errorf("%d introspections, want a second one when the facts ended with the token", n)
	}
}

// TestUMA_YesAfterNo: a refusal is remembered for 2 s, to slow loops, and no
// longer.
func TestUMA_YesAfterNo(t *testing.T) {
	w := world.NewPhotoz(t)
	h := world.Photos(w.ResourceServer(gatehouse.ResourceServerConfig{}).UMAProtect(world.AlbumRules()))
	w.WantTicket(world.Send(h, "GET", "/albums/", "junk"))
	w.Reset()
	w.WantTicket(world.Send(h, "GET", "/albums/", "junk"))
	if n := w.Count(opserver.EndpointIntrospect); n != 0 {
		t.Errorf("%d introspections of a token refused just now, want 0", n)
	}
	w.Advance(2 * time.Second)
	w.WantTicket(world.Send(h, "GET", "/albums/", "junk"))
	if n := w.Count(opserver.EndpointIntrospect); n != 1 {
		t.Errorf("%d introspections after 2 s, want 1", n)
	}
}

// TestIN5_RevokedAtTheServer: a token that ends at the server ends here after
// at most CacheTTL, or at once if that is negative, and never outlives its exp.
func TestIN5_RevokedAtTheServer(t *testing.T) {
	for _, c := range []struct{ ttl, within time.Duration }{{0, 10 * time.Second}, {30 * time.Second, 30 * time.Second}, {time.Second, time.Second}, {-1, 0}} {
		t.Run(c.ttl.String(), func(t *testing.T) {
			w := world.NewPhotoz(t)
			h := world.Photos(w.ResourceServer(gatehouse.ResourceServerConfig{CacheTTL: c.ttl}).UMAProtect(world.AlbumRules()))
			token := w.RPT(h, "GET", "/albums/", "photoz", "view")
			if !world.Served(world.Send(h, "GET", "/albums/", token)) {
				t.Fatal("not served before")
			}
			if !w.RevokeToken(token) {
				t.Fatal("the server does not know the token")
			}
			w.Advance(c.within)
			w.WantTicket(world.Send(h, "GET", "/albums/", token))
		})
	}
	w := world.NewPhotoz(t)
	w.SetTokenLifetime(3 * time.Second)
	h := world.Photos(w.ResourceServer(gatehouse.ResourceServerConfig{CacheTTL: 30 * time.Second}).UMAProtect(world.AlbumRules()))
	token := w.RPT(h, "GET", "/albums/", "photoz", "view")
	if !world.Served(world.Send(h, "GET", "/albums/", token)) {
		t.Fatal("not served before")
	}
	w.Advance(3 * time.Second)
	w.WantTicket(world.Send(h, "GET", "/albums/", token))
	if _, err := gatehouse.NewResourceServer(w.Process(), gatehouse.ResourceServerConfig{Client: world.PhotozClient, CacheTTL: 30*time.Second + 1}); err == nil {
		t.Error("a CacheTTL above 30 s is accepted")
	}
}

// TestUR9_UnionOfLiveEntries: the permissions of two live entries count
// together. An expired entry does not count, from that second on.
func TestUR9_UnionOfLiveEntries(t *testing.T) {
	s := world.NewScript(t)
	now := s.Now().Unix()
	s.Says("POST /perm", 201, `{"ticket":"t1"}`)
	s.Says("POST /look", 200, fmt.Sprintf(`{"active":true,"exp":%d,"permissions":[
		{"resource_id":"r-1","resource_scopes":["view"],"exp":%d},
		{"resource_id":"r-1","resource_scopes":["print"],"exp":%d},
		{"resource_id":"r-1","resource_scopes":["view","print","delete"],"exp":%d},
		{"resource_id":"r-2","resource_scopes":["delete"]}]}`, now+100, now+8, now+4, now))
	rs := s.ResourceServer(gatehouse.ResourceServerConfig{CacheTTL: 30 * time.Second})
	type step struct {
		after        time.Duration
		one, two, no bool // view alone, view and print, delete
	}
	for _, c := range []step{{0, true, true, false}, {3 * time.Second, true, true, false}, {4 * time.Second, true, false, false}, {8 * time.Second, false, false, false}} {
		s.Advance(time.Unix(now, 0).Add(c.after).Sub(s.Now()))
		got := step{after: c.after}
		for need, open := range map[*bool]gatehouse.Permission{&got.one: one.AllOf("view"), &got.two: one.AllOf("view", "print"), &got.no: one.AllOf("delete")} {
			answer := world.Send(world.Photos(rs.UMAProtect(open)), "GET", "/", "tok")
			*need = world.Served(answer)
			if !*need && answer.Code != 401 {
				t.Errorf("after %v: %d", c.after, answer.Code)
			}
		}
		if got != c {
			t.Errorf("after %v: %+v, want %+v", c.after, got, c)
		}
	}
	// Once at first, and once after each refusal but the last: the ticket may
	// have widened the token.
	if n := len(s.Saw("POST /look")); n != 7 {
		t.Errorf("%d introspections, want 7: the times were not judged again for each request", n)
	}
}
