package gatehouse_test

import (
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/rand"
	"crypto/rsa"
	"encoding/json"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"github.com/go-jose/go-jose/v4"

	"example.com/gatehouse"
)

func ask(h http.Handler, method string, header ...string) *httptest.ResponseRecorder {
	r := httptest.NewRequest(method, "/jwks.json", strings.NewReader("{}"))
	for i := 0; i < len(header); i += 2 {
		r.Header.Set(header[i], header[i+1])
	}
	w := httptest.NewRecorder()
	h.ServeHTTP(w, r)
	return w
}

// JWKSHandler publishes the public part of each key, under its id, and says how
// long it may be kept (RFC 7517 §5).
func TestJWKSHandler(t *testing.T) {
	rsaKey, err := rsa.GenerateKey(rand.Reader, 2048)
	if err != nil {
		t.Fatal(err)
	}
	_, ed, err := ed25519.GenerateKey(rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	ec := ecKey(t)
	h := gatehouse.JWKSHandler(
		gatehouse.Client{ID: "notes", Key: ec, KeyID: "2026"},
		gatehouse.Client{Key: rsaKey, KeyID: "2027", Algorithm: "PS256"},
		gatehouse.Client{Key: rsaKey, KeyID: "any RSA"},
		gatehouse.Client{Key: ed, KeyID: "ed"},
		gatehouse.Client{ID: "the same key of another client", Key: ec, KeyID: "2026"},
	)
	w := ask(h, http.MethodGet)
	if w.Code != http.StatusOK || w.Header().Get("Content-Type") != "application/jwk-set+json" || w.Header().Get("Cache-Control") != "public, max-age=3600" || w.Header().Get("X-Content-Type-Options") != "nosniff" {
		t.Errorf("%d %v", w.Code, w.Header())
	}
	var set jose.JSONWebKeySet
	if err := json.Unmarshal(w.Body.Bytes(), &set); err != nil || len(set.Keys) != 4 {
		t.Fatalf("%v: %s", err, w.Body)
	}
	for i, want := range []struct {
		id, alg string
		public  any
	}{{"2026", "ES256", ec.Public()}, {"2027", "PS256", rsaKey.Public()}, {"any RSA", "", rsaKey.Public()}, {"ed", "EdDSA", ed.Public()}} {
		k := set.Keys[i]
		same := false
		switch key := k.Key.(type) {
		case *ecdsa.PublicKey:
			same = key.Equal(want.public)
		case *rsa.PublicKey:
			same = key.Equal(want.public)
		case ed25519.PublicKey:
			same = key.Equal(want.public)
		}
		if !same || !k.IsPublic() || k.KeyID != want.id || k.Algorithm != want.alg || k.Use != "sig" {
			t.Errorf("key %d: %+v", i, k)
		}
	}
	var members struct{ Keys []map[string]any }
	if err := json.Unmarshal(w.Body.Bytes(), &members); err != nil {
		t.Fatal(err)
	}
	for _, key := range members.Keys {
		for _, private := range []string{"d", "p", "q", "dp", "dq", "qi", "oth", "k"} {
			if _, has := key[private]; has {
				t.Errorf("the set has the private part %q", private)
			}
		}
	}
	tag := w.Header().Get("ETag")
	if again := ask(h, http.MethodGet, "If-None-Match", tag); tag == "" || again.Code != http.StatusNotModified || again.Body.Len() > 0 {
		t.Errorf("asked again with %s: %d", tag, again.Code)
	}
	if head := ask(h, http.MethodHead); head.Code != http.StatusOK || head.Body.Len() > 0 || head.Header().Get("Content-Length") == "" {
		t.Errorf("HEAD: %d, %d bytes", head.Code, head.Body.Len())
	}
	for _, method := range []string{http.MethodPost, http.MethodPut, http.MethodDelete, http.MethodOptions, "ODD"} {
		if w := ask(h, method); w.Code != http.StatusMethodNotAllowed || w.Header().Get("Allow") != "GET, HEAD" || strings.Contains(w.Body.String(), `"kty"`) {
			t.Errorf("%s: %d %v", method, w.Code, w.Header())
		}
	}
	other := gatehouse.JWKSHandler(gatehouse.Client{Key: ec, KeyID: "2026"})
	if ask(other, http.MethodGet).Header().Get("ETag") == tag {
		t.Error("another set has the same ETag")
	}
}

// What cannot be published stops the program when it starts, all at once and
// without a key in the text.
func TestJWKSHandlerWiring(t *testing.T) {
	ec := ecKey(t)
	for name, c := range map[string]struct {
		clients []gatehouse.Client
		want    []string
	}{
		"nobody":        {nil, []string{"clients: none"}},
		"a secret":      {[]gatehouse.Client{{ID: "notes", Secret: gatehouse.NewSecret("pin-of-the-module")}}, []string{"Client.Key: nil"}},
		"no id":         {[]gatehouse.Client{{Key: ec}}, []string{"Client.KeyID: empty"}},
		"typed nil":     {[]gatehouse.Client{{Key: (*rsa.PrivateKey)(nil), KeyID: "k"}}, []string{"Client.Key: nil"}},
		"wrong alg":     {[]gatehouse.Client{{Key: ec, KeyID: "k", Algorithm: "RS256"}}, []string{"Client.Algorithm: \"RS256\" does not fit"}},
		"one id of two": {[]gatehouse.Client{{Key: ec, KeyID: "k"}, {Key: ecKey(t), KeyID: "k"}}, []string{"Client.KeyID: \"k\" is that of two keys"}},
		"two mistakes":  {[]gatehouse.Client{{KeyID: "k"}, {Key: ec}}, []string{"Client.Key: nil", "Client.KeyID: empty"}},
	} {
		func() {
			defer func() {
				text, _ := recover().(string)
				for _, want := range c.want {
					if !strings.HasPrefix(text, "gatehouse: JWKSHandler: ") || !strings.Contains(text, want) || strings.Contains(text, "pin-of") {
						t.Errorf("%s: panic %q, want %q", name, text, want)
					}
				}
			}()
			gatehouse.JWKSHandler(c.clients...)
		}()
	}
}

// JWKS is what JWKSHandler serves, for a registration that carries the keys.
func TestJWKS(t *testing.T) {
	c := gatehouse.Client{Key: ecKey(t), KeyID: "k1"}
	set, err := gatehouse.JWKS(c)
	if err != nil || string(set) != ask(gatehouse.JWKSHandler(c), http.MethodGet).Body.String() || strings.Contains(string(set), `"d"`) {
		t.Errorf("%s, %v", set, err)
	}
	for want, clients := range map[string][]gatehouse.Client{"clients: none": nil, "Client.Key: nil": {{}}, "Client.KeyID: empty": {{Key: ecKey(t)}}} {
		if set, err := gatehouse.JWKS(clients...); err == nil || set != nil || !strings.Contains(err.Error(), "JWKS: ") || !strings.Contains(err.Error(), want) {
			t.Errorf("%s, %v, want %q", set, err, want)
		}
	}
}
