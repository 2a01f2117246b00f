package gatehouse_test

import (
	"net/url"
	"strings"
	"testing"

	"example.com/gatehouse"
)

// The error of a constructor, word for word.
func TestCF1_FieldAndReason(t *testing.T) {
	_, err := gatehouse.NewRelyingParty(nil, gatehouse.RelyingPartyConfig{
		Client: gatehouse.Client{Auth: gatehouse.AuthPost}, RedirectURL: "https://notes.example.org/#cb", Scopes: []string{"a b"}, LoginURL: "x",
		AuthParams: url.Values{"state": {"x"}},
	})
	const want = `gatehouse: NewRelyingParty: provider: nil
Client.ID: empty
Client.Secret: empty, but Client.Auth is "client_secret_post"
RedirectURL: URL with a fragment
Scopes: "a b" is not one scope
AuthParams: "state" is set by gatehouse
LoginURL: "x" is not a path of this site`
	if err == nil || err.Error() != want {
		t.Errorf("got\n%v\nwant\n%s", err, want)
	}
}

// Applications cannot set the parameters that gatehouse sets itself.
func TestCF1_AuthParamsOfOurs(t *testing.T) {
	p := goodProvider(t)
	for _, name := range []string{"client_id", "redirect_uri", "response_type", "response_mode", "scope", "state", "nonce",
		"code_challenge", "code_challenge_method", "max_age", "request", "request_uri"} {
		if err := party(p, func(c *gatehouse.RelyingPartyConfig) { c.AuthParams = url.Values{name: {"x"}} }); err == nil || !strings.Contains(err.Error(), name) {
			t.Errorf("AuthParams with %s: %v", name, err)
		}
	}
}
