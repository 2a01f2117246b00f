package middlewaretest_test

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"net/http"
	"net/http/httptest"
	"testing"
	"time"

	"example.com/gatehouse"
	"example.com/gatehouse/middlewaretest"
)

// allowsDPoP takes tokens that are bound to a key.
func allowsDPoP(base string) func(*gatehouse.ResourceServerConfig) {
	return func(c *gatehouse.ResourceServerConfig) {
		c.DPoP = gatehouse.DPoPConfig{Use: gatehouse.DPoPAllowed, BaseURL: base}
	}
}

// TestDPoPKey: a request of a key passes once. Each fault of a proof is refused.
func TestDPoPKey(t *testing.T) {
	op := middlewaretest.NewOffline(t, "https://op.example.org")
	op.AddUser("ana", nil)
	client := op.AddClient("https://app.example.org/cb")
	for _, options := range []middlewaretest.AccessTokenOptions{{JWT: true}, {JWT: true, Algorithm: "ES256"}, {}} {
		op.SetAccessTokens(options)
		h := newAPI(t, op, allowsDPoP(apiName), func(c *gatehouse.ResourceServerConfig) { c.Client = client }).RequireToken(whoCalls)
		send := func(r *http.Request) *httptest.ResponseRecorder {
			w := httptest.NewRecorder()
			h.ServeHTTP(w, r)
			return w
		}
		key := op.NewDPoPKey()
		request := func(faults ...middlewaretest.ProofFault) *http.Request {
			r := key.NewRequest(t, "ana", client, "GET", apiName+"/v1/notes?page=2", "notes:read")
			if len(faults) > 0 {
				key.Sign(r, "", faults...)
			}
			return r
		}
		r := request()
		if a := send(r); a.Body.String() != "ana of client-1 with notes:read" {
			t.Fatalf("good: %d %q", a.Code, a.Body)
		}
		if a := send(r); a.Code != http.StatusUnauthorized {
			t.Errorf("again: %d", a.Code)
		}
		key.Sign(r, "", middlewaretest.ProofSameID)
		if a := send(r); a.Code != http.StatusUnauthorized {
			t.Errorf("the same jti: %d", a.Code)
		}
		for _, fault := range proofFaults() {
			if a := send(request(fault)); a.Code != http.StatusUnauthorized || a.Header().Get("WWW-Authenticate") == "" {
				t.Errorf("%s: %d %v", fault, a.Code, a.Header())
			}
		}
		hand := op.Token(t, middlewaretest.Claims{"aud": apiName, "cnf": map[string]any{"jkt": key.Thumbprint()}})
		key.Sign(r, hand)
		if a := send(r); a.Code != http.StatusOK {
			t.Errorf("a token made by hand: %d %q", a.Code, a.Body)
		}
		if a := callAs(h, hand); a.Code != http.StatusUnauthorized {
			t.Errorf("a token made by hand, as Bearer: %d", a.Code)
		}
		op.Clock().Advance(time.Minute)
		if a := send(request()); a.Code != http.StatusOK {
			t.Errorf("a minute later: %d %q", a.Code, a.Body)
		}
	}
}

func proofFaults() []middlewaretest.ProofFault {
	return []middlewaretest.ProofFault{
		middlewaretest.ProofMissing, middlewaretest.ProofTwice, middlewaretest.ProofJoined, middlewaretest.ProofGarbage, middlewaretest.ProofPadded,
		middlewaretest.ProofRepeatedClaim, middlewaretest.ProofNoType, middlewaretest.ProofWrongType, middlewaretest.ProofUnsigned, middlewaretest.ProofSymmetric,
		middlewaretest.ProofWrongSignature, middlewaretest.ProofCritical, middlewaretest.ProofNoKey, middlewaretest.ProofPrivateKey, middlewaretest.ProofOtherKey,
		middlewaretest.ProofNoMethod, middlewaretest.ProofWrongMethod, middlewaretest.ProofOtherCase, middlewaretest.ProofNoAddress, middlewaretest.ProofWrongAddress,
		middlewaretest.ProofWrongHost, middlewaretest.ProofNoTime, middlewaretest.ProofOld, middlewaretest.ProofEarly, middlewaretest.ProofNoID,
		middlewaretest.ProofNoHash, middlewaretest.ProofWrongHash,
	}
}

// TestDPoPKeyNonce: a key sends the nonce that it was given, over the network too.
func TestDPoPKeyNonce(t *testing.T) {
	op := middlewaretest.NewServer(t)
	op.AddUser("ana", nil)
	client := op.AddClient("https://app.example.org/cb")
	op.SetAccessTokens(middlewaretest.AccessTokenOptions{JWT: true, Audience: []string{apiName}})
	var h http.Handler
	address := middlewaretest.NewApp(t, func(base string) http.Handler {
		h = newAPI(t, op, func(c *gatehouse.ResourceServerConfig) {
			c.DPoP = gatehouse.DPoPConfig{Use: gatehouse.DPoPRequired, BaseURL: base, Keys: []gatehouse.Secret{gatehouse.NewSecret("a key of thirty-two characters..")}}
		}).RequireToken(whoCalls)
		return h
	})
	key := op.NewDPoPKey()
	get := func(faults ...middlewaretest.ProofFault) *http.Response {
		t.Helper()
		r := key.NewRequest(t, "ana", client, "GET", address+"/v1/notes")
		if len(faults) > 0 {
			key.Sign(r, "", faults...)
		}
		resp, err := http.DefaultClient.Do(r)
		if err != nil {
			t.Fatal(err)
		}
		_ = resp.Body.Close()
		return resp
	}
	first := get()
	key.SetNonce(first.Header.Get("DPoP-Nonce"))
	if second := get(); first.StatusCode != http.StatusUnauthorized || second.StatusCode != http.StatusOK {
		t.Errorf("%d, then with the nonce %d", first.StatusCode, second.StatusCode)
	}
	for _, fault := range []middlewaretest.ProofFault{middlewaretest.ProofNoNonce, middlewaretest.ProofWrongNonce} {
		if resp := get(fault); resp.StatusCode != http.StatusUnauthorized || resp.Header.Get("DPoP-Nonce") == "" {
			t.Errorf("%s: %d", fault, resp.StatusCode)
		}
	}
}

// A server that demands proofs gives nothing to a client without a key, and a
// client with one works at it, also with nonces that change.
func TestSetDPoP(t *testing.T) {
	op := middlewaretest.NewOffline(t, "https://id.example.org")
	op.SetDPoP(middlewaretest.DPoPOptions{Required: true, Nonce: true})
	client := op.AddClient("https://notes.example.org/auth/callback")
	token := func(c gatehouse.Client) (string, error) {
		source, err := op.Provider().ClientCredentials(c)
		if err != nil {
			t.Fatal(err)
		}
		got, err := source.Token()
		if err != nil {
			return "", err
		}
		return got.TokenType, nil
	}
	if _, err := token(client); gatehouse.ErrorCode(err) != "client_refused" {
		t.Errorf("without a key: %v", err)
	}
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	client.DPoPKey = key
	for range 2 {
		if kind, err := token(client); kind != "DPoP" || err != nil {
			t.Errorf("with a key: %q, %v", kind, err)
		}
		op.Clock().Advance(2 * time.Minute)
	}
	op.Break(middlewaretest.UnboundToken)
	if _, err := token(client); gatehouse.ErrorCode(err) != "token_type_unsupported" {
		t.Errorf("a bearer token: %v", err)
	}
	if v := op.Violations(); len(v) != 0 {
		t.Errorf("violations: %q", v)
	}
}
