package gatehouse_test

import (
	"io"
	"net/http"
	"net/url"
	"strings"
	"testing"

	"example.com/gatehouse"
)

// FuzzUMAChallenge reads what a resource server may send. Whatever it is: the
// call ends, and a ticket is turned in only if the one challenge that there is
// names our issuer and holds that ticket.
func FuzzUMAChallenge(f *testing.F) {
	for _, seed := range []string{
		`UMA realm="x", as_uri="` + umaIssuer + `", ticket="T1"`,
		`Bearer error="invalid_token", UMA as_uri="` + umaIssuer + `", ticket="T1"` + "\n" + `Basic realm="y"`,
		"UMA realm=x,as_uri=" + umaIssuer + ",ticket=abc==",
		`uma as_uri="` + umaIssuer + `", ticket="a\"b\\"`,
		`UMA as_uri="` + umaIssuer + `", ticket="T1", ticket="T2"`,
		`UMA as_uri="` + umaIssuer + `/", ticket="T1"`,
		`UMA as_uri="https://evil.example", ticket="T1"` + "\n" + `UMA as_uri="` + umaIssuer + `", ticket="T2"`,
		`UMA`, `UMA ,`, `UMA ticket=`, `Negotiate "`, "\x00", `UMA as_uri="` + umaIssuer + `", ticket="` + strings.Repeat("t", 9000) + `"`,
	} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, header string) {
		w := newUMAWorld(t)
		w.answer = func(int, url.Values) umaAnswer { return umaRefused(403, "request_denied") }
		lines := strings.Split(header, "\n")
		base := umaRoundTrip(func(r *http.Request) (*http.Response, error) {
			return &http.Response{StatusCode: 401, Header: http.Header{"Www-Authenticate": lines},
				Body: io.NopCloser(strings.NewReader("as it is")), Request: r}, nil
		})
		tr := w.transport(w.provider(false), gatehouse.UMATransportConfig{Base: base})
		r, err := http.NewRequest("GET", umaPhotos, nil)
		if err != nil {
			t.Fatal(err)
		}
		resp, err := tr.RoundTrip(r)
		if (resp == nil) == (err == nil) {
			t.Fatalf("response %v, error %v", resp, err)
		}
		if resp != nil {
			if body, err := io.ReadAll(resp.Body); err != nil || string(body) != "as it is" {
				t.Errorf("the response was touched: %q %v", body, err)
			}
			resp.Body.Close()
		}
		asked := w.asked()
		code := gatehouse.ErrorCode(err)
		switch {
		case len(asked) > 1:
			t.Errorf("%d token requests", len(asked))
		case len(asked) == 1:
			ticket := asked[0].Get("ticket")
			unescaped := strings.ReplaceAll(header, `\`, "")
			if code != "uma_denied" || ticket == "" || !strings.Contains(unescaped, umaIssuer) ||
				!strings.Contains(unescaped, strings.ReplaceAll(ticket, `\`, "")) {
				t.Errorf("turned in %q after %q", ticket, header)
			}
		case err != nil && code != "ambiguous_challenge" && code != "untrusted_as":
			t.Errorf("%v", err)
		}
		if err != nil && len(asked) == 1 && len(asked[0].Get("ticket")) > 8 && strings.Contains(err.Error(), asked[0].Get("ticket")) {
			t.Error("the ticket shows in the error")
		}
	})
}
