package uma_rs_test

import (
	"encoding/json"
	"fmt"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"example.com/gatehouse"
	"example.com/gatehouse/internal/e2e/world"
)

// TestUR12_PATExpiresUnderLoad: when the PAT expires, the parallel requests
// that notice share one new one.
func TestUR12_PATExpiresUnderLoad(t *testing.T) {
	for _, status := range []int{401, 403, 406, 400} {
		t.Run(fmt.Sprint(status), func(t *testing.T) {
			w := world.NewPhotoz(t)
			w.Must(w.SetPATRefusal(status))
			h := world.Photos(w.ResourceServer(gatehouse.ResourceServerConfig{MaxTicketCalls: 100}).UMAProtect(world.AlbumRules()))
			w.WantTicket(world.Send(h, "GET", "/albums/", ""))
			w.Reset()
			w.ExpirePATs()
			for _, a := range world.Together(100, func(int) *httptest.ResponseRecorder { return world.Send(h, "GET", "/albums/", "") }) {
				w.WantTicket(a)
			}
			if n := w.CountToken("client_credentials"); n != 1 {
				t.Errorf("%d PAT requests, want 1", n)
			}
		})
	}
}

// TestUMA_PATRenewedBeforeExpiry: the first request within 60 s of a PAT's
// expiry starts its renewal and does not wait for it.
func TestUMA_PATRenewedBeforeExpiry(t *testing.T) {
	w := world.NewPhotoz(t)
	w.SetTokenLifetime(time.Hour)
	rs := w.ResourceServer(gatehouse.ResourceServerConfig{})
	h := world.Photos(rs.UMAProtect(world.AlbumRules()))
	w.WantTicket(world.Send(h, "GET", "/albums/", ""))
	for _, c := range []struct {
		forward time.Duration
		want    int
	}{{time.Hour - time.Minute - time.Second, 1}, {time.Second, 2}} {
		w.Advance(c.forward)
		w.WantTicket(world.Send(h, "GET", "/albums/", ""))
		w.Must(rs.Shutdown(t.Context()))
		if n := w.CountToken("client_credentials"); n != c.want {
			t.Errorf("after %v more: %d PAT requests in all, want %d", c.forward, n, c.want)
		}
	}
}

// TestUMAUnsendablePAT: a PAT with characters outside RFC 6750 §2.1 never goes
// into a header, wherever it comes from.
func TestUMAUnsendablePAT(t *testing.T) {
	for name, token := range map[string]string{"blank": "pat pat", "comma": "pat,Basic eA", "letters": "pät", "quote": `pat"`} {
		t.Run(name, func(t *testing.T) {
			s := world.NewScript(t)
			body, err := json.Marshal(map[string]any{"access_token": token, "token_type": "Bearer", "expires_in": 300})
			s.Must(err)
			rest := s.Mux
			s.Mux = http.NewServeMux()
			s.Mux.Handle("/", rest)
			s.Says("POST /token", 200, string(body))
			h := world.Photos(s.ResourceServer(gatehouse.ResourceServerConfig{}).UMAProtect(world.AlbumRules()))
			world.WantUnreachable(t, world.Send(h, "GET", "/albums/", ""))
			if n := len(s.Saw("GET /res")) + len(s.Saw("POST /res")) + len(s.Saw("POST /perm")); n != 0 {
				t.Errorf("the PAT went into %d headers", n)
			}
			if !strings.Contains(s.Log(), "RFC 6750") {
				t.Errorf("log: %s", s.Log())
			}
		})
	}
}
