package session_test

import (
	"bytes"
	"context"
	"errors"
	"net/http"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"example.com/gatehouse/internal/e2e/stories"
	"example.com/gatehouse/internal/e2e/world"
)

// wantStoreTrouble checks that a store in trouble gives a signed-in person an
// error and not an answer (R10), within a second of the bubble's clock. The
// requests are sent together, because each one waits for a hanging store.
func wantStoreTrouble(s *world.Site, b *world.Visitor) {
	s.T.Helper()
	requests := []*http.Request{
		b.Request(http.MethodGet, "/notes/", nil, world.Navigation...),
		b.Request(http.MethodGet, "/open", nil, world.Navigation...),
		b.Request(http.MethodPost, "/notes/", nil, "Sec-Fetch-Site", "same-origin", "Sec-Fetch-Mode", "navigate"),
		b.Request(http.MethodPost, "/auth/logout", nil, "Sec-Fetch-Site", "same-origin"),
		b.Request(http.MethodGet, "/notes/", nil, "Sec-Fetch-Mode", "cors"),
	}
	begin := time.Now()
	answers := make(chan *world.Page)
	for _, r := range requests {
		go func() { answers <- b.Do(r) }()
	}
	for range requests {
		a := <-answers
		s.WantRefusal(a, http.StatusServiceUnavailable)
		if a.Location() != "" || len(a.Result().Cookies()) != 0 {
			s.T.Errorf("%v: cookies %v with a 503", a, a.Result().Cookies())
		}
	}
	if took := time.Since(begin); took > time.Second {
		s.T.Errorf("answered after %v", took)
	}
}

// M21, and fresh write ids: two writes of the same record are never equal.
func TestSessionValuesAreUnique(t *testing.T) {
	s := world.NewSite(t)
	ana := s.Visitor("ana")
	ana.SignIn()
	key := stories.RecordKey(t, s, ana)
	ctx := context.Background()
	first, _, _ := s.Store.FindCtx(ctx, key)
	s.Advance(4 * time.Minute)
	ana.Get("/notes/")
	s.Shutdown(0)
	second, _, _ := s.Store.FindCtx(ctx, key)
	if len(first) < 18 || len(second) < 18 || bytes.Equal(first[2:18], second[2:18]) {
		t.Error("the write id did not change")
	}
}

// inABubble runs a test on virtual time.
func inABubble(test func(t *testing.T)) func(t *testing.T) {
	return func(t *testing.T) { synctest.Test(t, test) }
}

// FA6, R10: a store that fails or hangs.
func TestFA6_StoreDown(t *testing.T) {
	for name, hang := range map[string]bool{"error": false, "hang": true} {
		t.Run(name, inABubble(func(t *testing.T) {
			s := world.NewSite(t, world.Watched)
			ana := s.Visitor("ana")
			ana.SignIn()
			late := s.Visitor("ben")
			callback := late.ToCallback("/notes/")
			s.Watched().Fail(errors.New("marker-of-the-store: connection refused"), hang)
			wantStoreTrouble(s, ana)
			stranger := s.Visitor("ana")
			if a := stranger.Get("/open"); a.Code != http.StatusOK {
				t.Errorf("a public page for a stranger: %v", a)
			}
			s.ResetCounts()
			s.WantRefusal(late.Get(callback), http.StatusServiceUnavailable)
			if late.SessionName() != "" {
				t.Error("a cookie of a session that was not stored")
			}
			for _, page := range s.Shown() {
				if strings.Contains(page, "marker-of-the-store") {
					t.Error("the store's error is on a page")
				}
			}
			s.Watched().Fail(nil, false)
			ana.WantServed(ana.Get("/notes/"))
			late.WantServed(late.Visit("/notes/"))
		}))
	}
}
