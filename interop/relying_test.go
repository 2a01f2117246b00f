package interop_test

import (
	"crypto/rand"
	"crypto/sha256"
	"encoding/base64"
	"encoding/json"
	"io"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"
	"testing"
)

// A bareClient talks to a provider with only net/http, to show what the
// provider does without gatehouse.
type bareClient struct {
	id, secret  string
	provider    metadata
	redirectURL string
	verifier    string
	callbacks   chan url.Values // what came to the redirect URL
	nameless    bool            // the server's answers have no iss
}

// metadata is what these tests need of a discovery document.
type metadata struct {
	Issuer        string `json:"issuer"`
	Authorization string `json:"authorization_endpoint"`
	Token         string `json:"token_endpoint"`
	EndSession    string `json:"end_session_endpoint"`
	Revocation    string `json:"revocation_endpoint"`

	// Of uma2-configuration.
	Registration string `json:"resource_registration_endpoint"`
	Permission   string `json:"permission_endpoint"`
}

type tokens struct {
	AccessToken  string `json:"access_token"`
	TokenType    string `json:"token_type"`
	RefreshToken string `json:"refresh_token"`
	IDToken      string `json:"id_token"`
	ExpiresIn    int    `json:"expires_in"`
	Error        string `json:"error"`
}

// newRedirectTarget serves a page at every path, and passes on the parameters
// of each request to /callback.
func newRedirectTarget(t *testing.T) (base string, callbacks chan url.Values) {
	t.Helper()
	callbacks = make(chan url.Values, 1)
	mux := http.NewServeMux()
	mux.HandleFunc("/callback", func(w http.ResponseWriter, r *http.Request) {
		io.WriteString(w, "<!DOCTYPE html><title>Back</title><h1>Back at the client</h1>")
		select {
		case callbacks <- r.URL.Query():
		default:
			t.Errorf("a callback that nobody waits for: %s", r.URL.RawQuery)
		}
	})
	mux.HandleFunc("/bye", func(w http.ResponseWriter, r *http.Request) {
		io.WriteString(w, "<!DOCTYPE html><title>Bye</title><h1>Signed out</h1>")
	})
	server := httptest.NewServer(mux)
	t.Cleanup(server.Close)
	return server.URL, callbacks
}

// getJSON fetches a document, and fails if its status is not 200.
func getJSON(t *testing.T, address string, into any) {
	t.Helper()
	resp, err := http.Get(address)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	if resp.StatusCode != http.StatusOK {
		t.Fatalf("GET %s: %s", address, resp.Status)
	}
	if err := json.NewDecoder(resp.Body).Decode(into); err != nil {
		t.Fatalf("GET %s: %v", address, err)
	}
}

func discover(t *testing.T, issuer string) metadata {
	t.Helper()
	var found metadata
	getJSON(t, issuer+"/.well-known/openid-configuration", &found)
	if found.Issuer != issuer {
		t.Fatalf("issuer %q in the metadata of %q", found.Issuer, issuer)
	}
	return found
}

// authorizationURL begins a sign-in with PKCE.
func (c *bareClient) authorizationURL(extra url.Values) string {
	c.verifier = rand.Text() + rand.Text()
	challenge := sha256.Sum256([]byte(c.verifier))
	query := url.Values{
		"response_type": {"code"}, "client_id": {c.id}, "redirect_uri": {c.redirectURL}, "scope": {"openid"},
		"state": {"the-state"}, "nonce": {"the-nonce"},
		"code_challenge": {base64.RawURLEncoding.EncodeToString(challenge[:])}, "code_challenge_method": {"S256"},
	}
	for name, values := range extra {
		query[name] = values
	}
	return c.provider.Authorization + "?" + query.Encode()
}

// exchange redeems the code that came to the redirect URL.
func (c *bareClient) exchange(t *testing.T) tokens {
	t.Helper()
	callback := <-c.callbacks
	if got := callback.Get("state"); got != "the-state" {
		t.Fatalf("callback with state %q: %v", got, callback)
	}
	if got := callback.Get("iss"); got != c.provider.Issuer && !c.nameless { // RFC 9207
		t.Fatalf("callback with iss %q, want %q", got, c.provider.Issuer)
	}
	return c.token(t, http.StatusOK, url.Values{"grant_type": {"authorization_code"}, "code": {callback.Get("code")},
		"redirect_uri": {c.redirectURL}, "code_verifier": {c.verifier}})
}

// token sends a token request that must be answered with a status.
func (c *bareClient) token(t *testing.T, status int, form url.Values) tokens {
	t.Helper()
	return c.tokenWith(t, status, form)
}

// tokenWith is token with extra headers.
func (c *bareClient) tokenWith(t *testing.T, status int, form url.Values, headers ...string) tokens {
	t.Helper()
	req, err := http.NewRequestWithContext(t.Context(), http.MethodPost, c.provider.Token, strings.NewReader(form.Encode()))
	if err != nil {
		t.Fatal(err)
	}
	req.SetBasicAuth(c.id, c.secret)
	req.Header.Set("Content-Type", "application/x-www-form-urlencoded")
	for i := 0; i+1 < len(headers); i += 2 {
		req.Header.Set(headers[i], headers[i+1])
	}
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	var answer tokens
	if err := json.NewDecoder(resp.Body).Decode(&answer); err != nil {
		t.Fatalf("token request: %s: %v", resp.Status, err)
	}
	if resp.StatusCode != status {
		t.Fatalf("token request: %s %s, want %d", resp.Status, answer.Error, status)
	}
	return answer
}
