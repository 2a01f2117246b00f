package uma_rp_test

import (
	"errors"
	"io"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"testing"

	"example.com/gatehouse"
	"example.com/gatehouse/internal/e2e/world"
)

func TestUC9_Bodies(t *testing.T) {
	oneShot := func() io.Reader { return io.NopCloser(strings.NewReader("order")) }
	tests := map[string]struct {
		body   func() io.Reader
		code   string
		bodies []string
	}{
		"none":     {func() io.Reader { return nil }, "", []string{"", ""}},
		"NoBody":   {func() io.Reader { return http.NoBody }, "", []string{"", ""}},
		"GetBody":  {func() io.Reader { return strings.NewReader("order") }, "", []string{"order", "order"}},
		"one shot": {oneShot, "body_not_replayable", []string{"order"}},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			w := world.NewShopScript(t)
			c := w.Client(gatehouse.UMATransportConfig{})
			r, err := http.NewRequest("POST", world.ShopScriptPhotos+"/orders", tt.body())
			if err != nil {
				t.Fatal(err)
			}
			resp, err := c.Do(r)
			if err == nil {
				resp.Body.Close()
			}
			if gatehouse.ErrorCode(err) != tt.code || tt.code == "" && resp.StatusCode != 200 {
				t.Fatalf("POST: %v", err)
			}
			var bodies []string
			for _, s := range w.Seen() {
				bodies = append(bodies, s.Body)
			}
			if !slices.Equal(bodies, tt.bodies) {
				t.Errorf("the resource server saw the bodies %q", bodies)
			}
			if len(w.Asked()) != 1 {
				t.Errorf("%d token requests", len(w.Asked()))
			}
			if tt.code == "" {
				return
			}
			// The token is there: the caller's own retry succeeds at once.
			r, _ = http.NewRequest("POST", world.ShopScriptPhotos+"/orders", oneShot())
			resp, err = c.Do(r)
			if err != nil || resp.StatusCode != 200 || len(w.Asked()) != 1 {
				t.Errorf("retry: %v, %d token requests", err, len(w.Asked()))
			}
		})
	}
}

func TestUMABodyThatCannotBeHadAgain(t *testing.T) {
	w := world.NewShopScript(t)
	r, _ := http.NewRequest("POST", world.ShopScriptPhotos, strings.NewReader("order"))
	r.GetBody = func() (io.ReadCloser, error) { return nil, errors.New("file is gone") }
	_, err := w.Shop(w.Told(false), gatehouse.UMATransportConfig{}).RoundTrip(r)
	if gatehouse.ErrorCode(err) != "body_not_replayable" || len(w.Tokens()) != 1 {
		t.Errorf("%v, %d requests", err, len(w.Tokens()))
	}
}

type countedBody struct {
	io.Reader
	closed int
}

func (c *countedBody) Close() error { c.closed++; return nil }

// A RoundTripper closes the request's body whatever happens, and does not
// change the request.
func TestUMABodyIsClosed(t *testing.T) {
	w := world.NewShopScript(t)
	w.Answer = func(int, url.Values) world.ScriptAnswer { return world.Refused(403, "request_denied") }
	for i, config := range []gatehouse.UMATransportConfig{
		{},
		{Claims: world.ForBob().Claims}, // no party
	} {
		tr := w.Shop(w.Told(false), config)
		for _, why := range []string{"first", "denied a moment ago"} {
			body := &countedBody{Reader: strings.NewReader("x")}
			r, _ := http.NewRequest("POST", world.ShopScriptPhotos, body)
			if _, err := tr.RoundTrip(r); err == nil || body.closed != 1 || len(r.Header) != 0 {
				t.Errorf("config %d, %s: error %v, closed %d times, header %v", i, why, err, body.closed, r.Header)
			}
		}
	}
}

// The body of a challenge is read up to a limit and closed before the next try.
func TestUMAChallengeBodyIsDrained(t *testing.T) {
	w := world.NewShopScript(t)
	body := &endless{}
	base := roundTrip(func(r *http.Request) (*http.Response, error) {
		resp, err := w.Transport().RoundTrip(r)
		if resp != nil && resp.StatusCode == 401 {
			resp.Body = body
		} else if body.closed != 1 {
			t.Error("the next try began with the challenge open")
		}
		return resp, err
	})
	w.WantPicture(w.Client(gatehouse.UMATransportConfig{Base: base}), world.ShopScriptPhotos)
	if body.read == 0 || body.read > 64<<10+32<<10 || body.closed != 1 {
		t.Errorf("%d bytes were read, closed %d times", body.read, body.closed)
	}
}

// endless never ends.
type endless struct{ read, closed int }

func (d *endless) Read(p []byte) (int, error) { d.read += len(p); return len(p), nil }

func (d *endless) Close() error { d.closed++; return nil }
