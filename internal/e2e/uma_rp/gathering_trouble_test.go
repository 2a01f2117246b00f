package uma_rp_test

import (
	"errors"
	"fmt"
	"net/http"
	"testing"
	"testing/synctest"
	"time"
)

// FA6: the store fails or hangs when a person comes back from the authorization
// server. The answer is 503 within 1.5 s, whatever has to be written, and the same
// address works afterwards: neither the state nor the ticket is used up.
func TestFA6_ClaimsReturn(t *testing.T) {
	const bound = 1500 * time.Millisecond
	for _, onlyWrites := range []bool{false, true} {
		for _, hangs := range []bool{false, true} {
			for overdue, life := range map[string]time.Duration{"nothing": 0, "the use": time.Hour, "the tokens": 3 * time.Minute} {
				t.Run(fmt.Sprintf("only writes %v, hangs %v, overdue is %s", onlyWrites, hangs, overdue), func(t *testing.T) {
					synctest.Test(t, func(t *testing.T) {
						s := newAskingShop(t)
						if life > 0 {
							s.SetTokenLifetime(life)
						}
						b := s.browser("bob")
						back := s.back(b)
						if life > 0 {
							s.Advance(4 * time.Minute)
						}
						fail := s.store.Fail
						if onlyWrites {
							fail = s.store.FailWrites
						}
						fail(errors.New("refused"), hangs)
						begin := time.Now()
						resp, err := b.GetUntil(back.String(), shopPage)
						s.Must(err)
						if took := time.Since(begin); took > bound || resp.StatusCode != http.StatusServiceUnavailable || resp.Header.Get("Retry-After") == "" || len(resp.Cookies()) > 0 {
							t.Errorf("%s after %v, Retry-After %q, cookies %v", resp.Status, took, resp.Header.Get("Retry-After"), resp.Cookies())
						}
						s.store.Fail(nil, false)
						resp, err = b.Get(back.String())
						s.Must(err)
						if resp.StatusCode != http.StatusOK || resp.Request.URL.Path != "/print" {
							t.Errorf("afterwards: %s at %s", resp.Status, resp.Request.URL)
						}
					})
				})
			}
		}
	}
}
