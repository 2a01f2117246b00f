package uma_rs_test

import (
	"crypto"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"encoding/base64"
	"encoding/json"
	"errors"
	"io"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/go-jose/go-jose/v4"

	"example.com/gatehouse"
	"example.com/gatehouse/internal/e2e/world"
	"example.com/gatehouse/internal/testkit/opserver"
)

// RP-T3: a service with a key and a shop with a secret for assertions prove who
// they are at the protection API's token, at introspection and for a permission,
// at every try anew.
func TestUMAAssertions(t *testing.T) {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	w := world.NewPhotoz(t)
	secret := strings.Repeat("s3cret+%", 8)
	w.Must(w.AddClient(opserver.Client{ID: "photoz", Auth: opserver.AuthPrivateKeyJWT, Keys: []jose.JSONWebKey{{Key: key.Public(), KeyID: "2026"}}, AssertionAlg: "ES256"}))
	w.Must(w.AddClient(opserver.Client{ID: "printshop", Auth: opserver.AuthSecretJWT, Secret: secret, AssertionAlg: "HS384"}))
	rs := w.ResourceServer(gatehouse.ResourceServerConfig{Client: gatehouse.Client{ID: "photoz", Key: key, KeyID: "2026"}, CacheTTL: time.Second})
	w.Serve(world.PhotozOrigin, world.Photos(rs.UMAProtect(world.AlbumRules())))
	_, err = rs.Register(t.Context(), world.Albums)
	w.Must(err)
	for _, r := range w.Resources("photoz") {
		w.Must(w.Share("photoz", r.ID, "bob", "view"))
	}
	c := w.ShopConfig("bob")
	c.Client = gatehouse.Client{ID: "printshop", Secret: gatehouse.NewSecret(secret), Auth: gatehouse.AuthSecretJWT, Algorithm: "HS384"}
	shop := &http.Client{Transport: w.Shop(c)}
	for i := range 3 {
		resp, err := shop.Get(world.PhotozOrigin + "/albums/")
		w.Must(err)
		w.Must(resp.Body.Close())
		if resp.StatusCode != http.StatusOK {
			t.Fatalf("request %d: %s", i, resp.Status)
		}
		w.Advance(2 * time.Second) // the answer about the token is asked for again
	}
	ids, by := map[string]bool{}, map[string]int{}
	for _, member := range []string{"token_endpoint", "introspection_endpoint"} {
		for _, call := range w.CallsTo(member) {
			_, rest, _ := strings.Cut(call.Form.Get("client_assertion"), ".")
			payload, _, _ := strings.Cut(rest, ".")
			text, err := base64.RawURLEncoding.DecodeString(payload)
			w.Must(err)
			var claims struct{ Iss, Aud, Jti string }
			w.Must(json.Unmarshal(text, &claims))
			if ids[claims.Jti] || claims.Aud != w.Issuer() || call.Auth != "" {
				t.Errorf("%s: %+v, Authorization %q", member, claims, call.Auth)
			}
			ids[claims.Jti] = true
			by[claims.Iss+" "+member]++
		}
	}
	if by["photoz token_endpoint"] != 1 || by["printshop token_endpoint"] != 1 || by["photoz introspection_endpoint"] != 3 {
		t.Errorf("assertions: %v", by)
	}
	if got := w.Violations(); len(got) > 0 {
		t.Errorf("the server complains: %v", got)
	}
}

// broken is a key service that does not sign.
type broken struct{ crypto.Signer }

func (broken) Sign(io.Reader, []byte, crypto.SignerOpts) ([]byte, error) {
	return nil, errors.New("quota of the key service")
}

// A signer that fails is trouble of ours: nobody is let in or denied for it, and
// nothing is sent without a proof.
func TestUMASignerFails(t *testing.T) {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	w := world.NewPhotoz(t)
	w.Must(w.AddClient(opserver.Client{ID: "printshop", Auth: opserver.AuthPrivateKeyJWT, Keys: []jose.JSONWebKey{{Key: key.Public(), KeyID: "2026"}}}))
	good := world.Photos(w.ResourceServer(gatehouse.ResourceServerConfig{}).UMAProtect(world.AlbumRules()))
	world.Send(good, "GET", "/albums/", "") // registers
	w.Reset()
	bad := world.Photos(w.ResourceServer(gatehouse.ResourceServerConfig{Client: gatehouse.Client{ID: "photoz", Key: broken{key}, KeyID: "2026"}}).UMAProtect(world.AlbumRules()))
	world.WantTrouble(t, world.Send(bad, "GET", "/albums/", "a-token-that-nobody-knows"))
	world.WantUnreachable(t, world.Send(bad, "GET", "/albums/", ""))
	if n := len(w.CallsTo("token_endpoint")) + len(w.CallsTo("introspection_endpoint")); n != 0 {
		t.Errorf("%d requests without a proof", n)
	}
	w.Serve(world.PhotozOrigin, good)
	c := w.ShopConfig("bob")
	c.Client = gatehouse.Client{ID: "printshop", Key: broken{key}, KeyID: "2026"}
	_, err = (&http.Client{Transport: w.Shop(c)}).Get(world.PhotozOrigin + "/albums/")
	if gatehouse.ErrorCode(err) != "client_proof_failed" || !strings.Contains(err.Error(), "quota of the key service") {
		t.Errorf("the shop: %v", err)
	}
	for _, call := range w.CallsTo("token_endpoint") {
		if call.Form.Get("grant_type") == world.UMAGrant {
			t.Error("the shop sent a request without a proof")
		}
	}
}
