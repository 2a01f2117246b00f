package api_test

import (
	"context"
	"net/http"
	"testing"
	"testing/synctest"
	"time"

	"example.com/gatehouse"
	"example.com/gatehouse/internal/e2e/world"
)

// liveAt sends a request with a token, and returns the context of Live that its
// handler got.
func liveAt(t *testing.T, guard func(http.Handler) http.Handler, raw string) (ctx context.Context) {
	t.Helper()
	h := guard(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) { ctx = gatehouse.Live(r.Context()) }))
	if a := send(h, "GET", "/", "Bearer "+raw); a.Code != 200 {
		t.Fatalf("%d %q", a.Code, a.Body)
	}
	return ctx
}

// A connection ends when its access token expires by our clock: at that instant if
// the clock runs as time does, and within five seconds if somebody set it.
func TestLiveToken(t *testing.T) {
	for name, kind := range map[string]func(*testing.T) (*world.World, *gatehouse.ResourceServer){
		"JWT":    func(t *testing.T) (*world.World, *gatehouse.ResourceServer) { w := newWorld(t); return w, newAPI(t, w) },
		"opaque": func(t *testing.T) (*world.World, *gatehouse.ResourceServer) { return newOpaque(t) },
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				w, api := kind(t)
				raw := accessToken(t, w, "ana")
				live := liveAt(t, api.RequireToken, raw)
				optional := liveAt(t, api.OptionalToken, raw)
				left := gatehouse.IdentityFrom(live).Expires.Sub(w.Now())
				w.Advance(left - time.Second)
				time.Sleep(time.Minute) // the clock of this world stands still
				if live.Err() != nil || optional.Err() != nil {
					t.Fatalf("a second before it expires: %v, %v", context.Cause(live), context.Cause(optional))
				}
				w.Advance(time.Second)
				begin := time.Now()
				for _, c := range []context.Context{live, optional} {
					<-c.Done()
					if took, err := time.Since(begin), context.Cause(c); took > 5*time.Second || gatehouse.ErrorCode(err) != gatehouse.CodeTokenInvalid {
						t.Errorf("after %v: %v", took, err)
					}
				}
			})
		})
	}
}

// Without a token OptionalToken gives no identity, and Live the context itself.
// Shutdown of the API ends its connections.
func TestLiveTokenShutdown(t *testing.T) {
	w := newWorld(t)
	api := newAPI(t, w)
	send(api.OptionalToken(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
		if gatehouse.Live(r.Context()) != r.Context() {
			t.Error("nobody's context was changed")
		}
	})), "GET", "/")
	raw := accessToken(t, w, "ana")
	live := liveAt(t, api.RequireToken, raw)
	w.Must(gatehouse.Shutdown(t.Context(), api))
	for _, c := range []context.Context{live, liveAt(t, api.RequireToken, raw)} {
		if code := gatehouse.ErrorCode(context.Cause(c)); code != gatehouse.CodeShuttingDown {
			t.Errorf("cause %v", context.Cause(c))
		}
	}
}
