package bench

import (
	"fmt"
	"log/slog"
	"net/http"
	"net/url"
	"strings"
	"testing"

	"example.com/gatehouse"
	"example.com/gatehouse/bench/paired"
)

// The subjects of a token that only the authorization server can read.
const (
	opaqueMiss = "introspection, never seen"
	opaqueHit  = "introspection, remembered"
	bareForm   = "bare loopback POST of a token"
	bareAPI    = "bare middleware with a context value"
)

func missLimits() []paired.Limit {
	return []paired.Limit{{Subject: opaqueMiss, Peer: bareForm, AtMost: 1.6}}
}

func hitLimits() []paired.Limit {
	return []paired.Limit{{Subject: opaqueHit, Peer: bareAPI, AtMost: 2.5}}
}

// opaque is a token of 43 characters, as 32 random bytes have.
func opaque(i int) string { return fmt.Sprintf("8xLOxBtZp8_3Zk1mQ7sVvW2yRj-4Hc9aTgNfEuX%04d", i) }

// opaqueAPI is an API that asks the notary.
func (n *notary) opaqueAPI(t testing.TB, transport http.RoundTripper) *gatehouse.ResourceServer {
	t.Helper()
	p, err := gatehouse.NewProvider(n.server.URL, &gatehouse.ProviderConfig{Transport: transport, Logger: slog.New(slog.DiscardHandler)})
	if err != nil {
		t.Fatal(err)
	}
	rs, err := gatehouse.NewResourceServer(p, gatehouse.ResourceServerConfig{
		Audience: []string{apiAudience}, Client: gatehouse.Client{ID: "notes", Secret: gatehouse.NewSecret("of the notes")},
	})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := rs.Shutdown(t.Context()); err != nil && t.Context().Err() == nil {
			t.Error(err)
		}
	})
	return rs
}

// missSubjects ask the same server about one token after the other, over the
// network.
func (n *notary) missSubjects(t *testing.T) []paired.Subject {
	t.Helper()
	wire := &http.Transport{}
	t.Cleanup(wire.CloseIdleConnections)
	served := 0
	handler := n.opaqueAPI(t, wire).RequireToken(http.HandlerFunc(func(http.ResponseWriter, *http.Request) { served++ }))
	w, client, next := writer{header: http.Header{}}, &http.Client{Transport: wire}, 0
	r := call(opaque(0))
	return []paired.Subject{
		working(t, opaqueMiss, func() error {
			clear(w.header)
			next++
			r.Header["Authorization"][0] = "Bearer " + opaque(next)
			one, before := *r, served
			if handler.ServeHTTP(&w, &one); served != before+1 {
				return fmt.Errorf("status %d", w.code)
			}
			return nil
		}),
		working(t, bareForm, func() error {
			next++
			return postForm(client, n.server.URL+"/introspect", url.Values{"token": {opaque(next)}, "token_type_hint": {"access_token"}})
		}),
	}
}

// postForm is a POST with a form.
func postForm(client *http.Client, address string, form url.Values) error {
	r, err := http.NewRequest(http.MethodPost, address, strings.NewReader(form.Encode()))
	if err != nil {
		return err
	}
	r.Header.Set("Content-Type", "application/x-www-form-urlencoded")
	r.SetBasicAuth("notes", "of the notes")
	return ask(client, r, http.StatusOK)
}

// hitSubjects get a token that was looked up before. Nothing expires while it is
// measured.
func (n *notary) hitSubjects(t *testing.T) []*subject {
	t.Helper()
	own := calls([]string{opaque(1)})
	return []*subject{
		newSubject(opaqueHit, n.opaqueAPI(t, inside{n.server.Config.Handler}).RequireToken, own),
		newSubject(bareAPI, bareValue, own),
	}
}
