package stories

import (
	"context"
	"net/http"
	"strings"
	"testing"

	"example.com/gatehouse"
	"example.com/gatehouse/internal/e2e/world"
)

// RP-A3, CC4: two tabs, finished in both orders.
func CC4TwoTabs(t *testing.T, on On) {
	for _, order := range [][2]int{{0, 1}, {1, 0}} {
		s := world.NewSite(t, on)
		ana := s.Visitor("ana")
		tabs := [2]string{ana.ToCallback("/notes/a"), ana.ToCallback("/notes/b")}
		wants := [2]string{"/notes/a", "/notes/b"}
		for _, i := range order {
			if a := ana.Get(tabs[i]); a.Code != http.StatusSeeOther || a.Location() != wants[i] {
				t.Fatalf("tab %d: %v; want 303 to %s", i, a, wants[i])
			}
		}
		ana.WantServed(ana.Get("/notes/"))
		list, err := s.Replicas[0].Sessions.List(context.Background(), world.SiteIssuer, "ana-1")
		if err != nil || len(list) != 1 {
			t.Errorf("%d sessions, err %v; want the second sign-in to replace the first", len(list), err)
		}
	}
}

// CC4 over two replicas: each tab finishes on the other replica, in both
// orders, and at once.
func CC4TwoTabsTwoReplicas(t *testing.T, on On) {
	for _, order := range [][]int{{0, 1}, {1, 0}, nil} {
		s := world.NewSite(t, on, world.TwoReplicas)
		ana := s.Visitor("ana")
		tabs := [2]string{ana.ToCallback("/notes/a"), ana.On(1).ToCallback("/notes/b")}
		finish := func(tab int) {
			if a := ana.On(1 - tab).Get(tabs[tab]); a.Code != http.StatusSeeOther || !strings.HasPrefix(a.Location(), "/notes/") {
				t.Errorf("tab %d: %v, code %q", tab, a, s.LastCode())
			}
		}
		for _, tab := range order {
			finish(tab)
		}
		if order == nil {
			done := make(chan struct{})
			for tab := range 2 {
				go func() { defer func() { done <- struct{}{} }(); finish(tab) }()
			}
			<-done
			<-done
		}
		ana.WantServed(ana.Get("/notes/"))
		ana.WantServed(ana.On(1).Get("/notes/"))
		if codes := s.EventsOf(gatehouse.EventRefusal); len(codes) != 0 {
			t.Errorf("refusals %q", codes)
		}
		if list, err := s.Replicas[0].Sessions.List(context.Background(), world.SiteIssuer, "ana-1"); order != nil && (err != nil || len(list) != 1) {
			t.Errorf("%d sessions, err %v; want one", len(list), err)
		}
	}
}
