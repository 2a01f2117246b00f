package world_test

import (
	"fmt"
	"io"
	"net/http"
	"testing"
	"testing/synctest"
	"time"

	"example.com/gatehouse/internal/e2e/world"
	"example.com/gatehouse/internal/testkit/opserver"
)

// A world off the network works in a bubble: a client that leaves a hanging
// provider has waited exactly as long as it meant to.
func TestWorldInABubble(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := world.New(t, "https://op.test/realm")
		if !w.Now().Equal(world.Start) {
			t.Errorf("the world begins at %v", w.Now())
		}
		w.Break(opserver.AuthorizationServerHangs)
		client := http.Client{Transport: w.Transport(), Timeout: 7 * time.Second}
		begin := time.Now()
		if _, err := client.Get(w.Endpoint("jwks_uri")); err == nil {
			t.Error("a hanging provider answered")
		}
		if took := time.Since(begin); took != 7*time.Second {
			t.Errorf("waited %v, want exactly 7 s", took)
		}
	})
}

// Clients see what a wire changes, what is refused, and what broke off.
func TestWorldWire(t *testing.T) {
	for name, w := range map[string]*world.World{
		"off the network": world.New(t, "https://op.test/realm"), "listening": world.NewListening(t, "/realm"),
	} {
		t.Run(name, func(t *testing.T) {
			client := http.Client{Transport: w.Transport()}
			get := func() (int, string, error) {
				resp, err := client.Get(w.Endpoint("jwks_uri"))
				if err != nil {
					return 0, "", err
				}
				defer resp.Body.Close()
				body, err := io.ReadAll(resp.Body)
				return resp.StatusCode, string(body), err
			}
			if status, body, err := get(); status != http.StatusOK || body == "" || err != nil {
				t.Errorf("%d %q %v", status, body, err)
			}
			w.Break(opserver.TruncatedAnswer)
			if _, body, err := get(); err == nil {
				t.Errorf("half an answer passed for a whole one: %q", body)
			}
			w.Mend(opserver.TruncatedAnswer)
			w.SetDown(true)
			if status, _, err := get(); err == nil {
				t.Errorf("a provider off the network answered %d", status)
			}
			w.SetDown(false)
			w.SetWire(func(r *http.Request, _ func(*http.Request) *http.Response) (*http.Response, error) {
				return world.Answer(r, http.StatusTeapot, "short and stout"), nil
			})
			if status, body, err := get(); status != http.StatusTeapot || body != "short and stout" || err != nil {
				t.Errorf("%d %q %v", status, body, err)
			}
			if got := len(w.CallsTo("jwks_uri")); got != 4 {
				t.Errorf("%d calls were noted, want 4", got)
			}
		})
	}
}

// heard is a test whose errors are counted.
type heard struct {
	testing.TB
	said []string
}

func (h *heard) Errorf(format string, args ...any) {
	h.said = append(h.said, fmt.Sprintf(format, args...))
}

// A secret is found wherever it shows as a whole, and only there.
func TestSilenceIsChecked(t *testing.T) {
	for name, c := range map[string]struct {
		kind, secret string
		shown        []string
		cookie       string
		errors       int
	}{
		"a part of it shows":      {"token", "abcdefgh-secret", []string{"abcdefgh-secre", "t abcdefgh", "bcdefgh-secret"}, "", 0},
		"it is spread over texts": {"token", "abcdefgh-secret", []string{"abcdefgh", "-secret"}, "", 0},
		"it shows":                {"token", "abcdefgh-secret", []string{"nothing", "token=abcdefgh-secret&x"}, "", 1},
		"it is all that shows":    {"token", "abcdefgh", []string{"abcdefgh"}, "", 1},
		"it ends a text":          {"verifier", "abcdefgh-secret", []string{"abcdefgh-abcdefgh-secret"}, "", 1},
		"it is in a cookie":       {"verifier", "abcdefgh-secret", nil, "v1 abcdefgh-secret", 1},
		"a cookie shows":          {"token", "abcdefgh-secret", []string{"Cookie: session-id"}, "session-id", 1},
	} {
		t.Run(name, func(t *testing.T) {
			h := &heard{TB: t}
			w := world.New(t, "https://op.test/realm")
			w.T = h
			w.Mint(c.kind, c.secret)
			w.Mint("cookie", c.cookie)
			w.Show(c.shown...)
			w.CheckSilence()
			if len(h.said) != c.errors {
				t.Errorf("%d errors, want %d: %q", len(h.said), c.errors, h.said)
			}
		})
	}
}
