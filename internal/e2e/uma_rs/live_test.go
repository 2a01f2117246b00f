package uma_rs_test

import (
	"context"
	"fmt"
	"net/http"
	"net/http/httptest"
	"testing"
	"testing/synctest"
	"time"

	"example.com/gatehouse"
	"example.com/gatehouse/internal/e2e/world"
)

// A connection ends when the requesting party token expires, or the permission
// that let it in. Without an expiry only Shutdown ends it.
func TestLiveUMA(t *testing.T) {
	for name, tt := range map[string]struct {
		token, permission time.Duration
		ends              time.Duration
	}{
		"the token":      {time.Minute, time.Hour, time.Minute},
		"the permission": {time.Hour, time.Minute, time.Minute},
		"neither":        {},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				s := world.NewScript(t)
				exp := func(d time.Duration) string {
					if d == 0 {
						return ""
					}
					return fmt.Sprintf(`,"exp":%d`, s.Now().Add(d).Unix())
				}
				s.Says("POST /look", 200, fmt.Sprintf(`{"active":true%s,"permissions":[{"resource_id":"r-1","resource_scopes":["view"]%s}]}`, exp(tt.token), exp(tt.permission)))
				api := s.ResourceServer(gatehouse.ResourceServerConfig{})
				var live context.Context
				h := api.UMAProtect(gatehouse.Rules{"GET /a": gatehouse.Resource{ID: "r-1"}.AllOf("view")})(
					http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) { live = gatehouse.Live(r.Context()) }))
				r := httptest.NewRequest("GET", "/a", nil)
				r.Header.Set("Authorization", "Bearer tok")
				h.ServeHTTP(httptest.NewRecorder(), r)
				if tt.ends > 0 {
					s.Advance(tt.ends)
					begin := time.Now()
					<-live.Done()
					if took, err := time.Since(begin), context.Cause(live); took > 5*time.Second || gatehouse.ErrorCode(err) != gatehouse.CodeTokenInvalid {
						t.Errorf("after %v: %v", took, err)
					}
					return
				}
				s.Advance(1000 * time.Hour)
				time.Sleep(time.Minute)
				if live.Err() != nil {
					t.Errorf("cause %v", context.Cause(live))
				}
				s.Must(api.Shutdown(t.Context()))
				if code := gatehouse.ErrorCode(context.Cause(live)); code != gatehouse.CodeShuttingDown {
					t.Errorf("cause %v", context.Cause(live))
				}
			})
		})
	}
}
