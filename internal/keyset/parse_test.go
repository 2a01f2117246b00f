package keyset_test

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/rsa"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"errors"
	"math/big"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"example.com/gatehouse/internal/keyset"
)

func block(kind string, der []byte) string {
	return string(pem.EncodeToMemory(&pem.Block{Type: kind, Bytes: der}))
}

// spki is a key as a PUBLIC KEY block.
func spki(public any) string { return block("PUBLIC KEY", must(x509.MarshalPKIXPublicKey(public))) }

func publicPEM(name string) string { return spki(keys()[name].Public()) }

// TestParse: the forms in which people hold keys.
func TestParse(t *testing.T) {
	template := &x509.Certificate{SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "op"}, NotAfter: time.Unix(1, 0)}
	certificate := block("CERTIFICATE", must(x509.CreateCertificate(rand.Reader, template, template, keys()["p384"].Public(), keys()["p384"])))
	privatePEM := block("PRIVATE KEY", must(x509.MarshalPKCS8PrivateKey(keys()["p256"])))
	weak := must(rsa.GenerateKey(rand.Reader, 1024))
	curve := must(ecdsa.GenerateKey(elliptic.P224(), rand.Reader))
	encryption := jwk("rsa1", "e", "use", "enc")
	for name, c := range map[string]struct {
		data  string
		count int
		wrong string // part of the error
	}{
		"PEM":                         {publicPEM("p384"), 1, ""},
		"PEM, Ed25519":                {publicPEM("ed"), 1, ""},
		"PEM, several":                {"the keys\n" + publicPEM("rsa1") + "\n" + publicPEM("p256") + "\n\n", 2, ""},
		"PEM, CRLF":                   {strings.ReplaceAll(publicPEM("p384"), "\n", "\r\n"), 1, ""},
		"PEM, PKCS #1":                {block("RSA PUBLIC KEY", x509.MarshalPKCS1PublicKey(keys()["rsa1"].Public().(*rsa.PublicKey))), 1, ""},
		"certificate":                 {certificate, 1, ""},
		"JWK":                         {jwk("p256", "k1"), 1, ""},
		"JWK set":                     {" \n" + jwks(jwk("rsa1", "a"), jwk("ed", "")) + "\n", 2, ""},
		"a key for encryption beside": {jwks(encryption, jwk("ed", "")), 1, ""},

		"nothing":                  {"", 0, "neither JSON nor PEM"},
		"text":                     {"secret-of-the-file", 0, "neither JSON nor PEM"},
		"empty set":                {jwks(), 0, "no usable key"},
		"only for encryption":      {jwks(encryption), 0, "no usable key"},
		"keys is no list":          {`{"keys":{}}`, 0, "JWK"},
		"two members":              {`{"keys":[],"keys":[]}`, 0, "JWK"},
		"truncated JSON":           {`{"keys":[`, 0, "JWK"},
		"a list":                   {`[` + jwk("ed", "") + `]`, 0, "neither JSON nor PEM"},
		"private JWK":              {private("rsa1", "a"), 0, "not a public key"},
		"private PEM":              {privatePEM, 0, `"PRIVATE KEY"`},
		"a private PEM beside":     {publicPEM("p256") + privatePEM, 0, "PEM block 1"},
		"symmetric":                {`{"kty":"oct","k":"c2VjcmV0"}`, 0, "not a public key"},
		"weak RSA":                 {spki(&weak.PublicKey), 0, "RSA with 1024 bits"},
		"another curve":            {spki(&curve.PublicKey), 0, "kind"},
		"one is weak":              {publicPEM("p256") + spki(&weak.PublicKey), 0, "key 1"},
		"PEM with other contents":  {block("PUBLIC KEY", []byte("x")), 0, "PEM block 0"},
		"PEM cut off":              {publicPEM("p256") + publicPEM("p384")[:80], 0, "of 2 PEM blocks only 1"},
		"cut off before another":   {publicPEM("p384")[:80] + "\n" + publicPEM("p256"), 0, "of 2 PEM blocks only 1"},
		"no base64 before another": {strings.Replace(publicPEM("p384"), "M", "?", 1) + publicPEM("p256"), 0, "of 2 PEM blocks only 1"},
		"too large":                {strings.Repeat(" ", 512<<10+1), 0, "524288 bytes"},
		"too many blocks":          {strings.Repeat(publicPEM("ed"), 65), 0, "64"},
		"too many keys":            {jwks(strings.Repeat(jwk("ed", "")+",", 64) + jwk("ed", "")), 0, "too many"},
	} {
		t.Run(name, func(t *testing.T) {
			got, err := keyset.Parse([]byte(c.data))
			if len(got) != c.count || (err == nil) != (c.wrong == "") || err != nil && !strings.Contains(err.Error(), c.wrong) {
				t.Fatalf("%d keys, %v", len(got), err)
			}
			if err != nil && strings.Contains(err.Error(), "secret") {
				t.Errorf("the error quotes the file: %v", err)
			}
			for _, k := range got {
				if !k.IsPublic() {
					t.Error("a key is private")
				}
			}
		})
	}
}

// TestFile: keys of a file change with the file, as those of an address do.
func TestFile(t *testing.T) {
	name := filepath.Join(t.TempDir(), "keys.pem")
	put := func(data string) {
		t.Helper()
		if err := os.WriteFile(name, []byte(data), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	c := &clock{now: time.Unix(1_700_000_000, 0)}
	s := keyset.New(keyset.Config{Read: keyset.File(name), Now: c.Now})
	old, young := sign(t, "ES256", keys()["p256"], "a"), sign(t, "RS256", keys()["rsa1"], "b")
	err := wantUnavailable(t, s, old, time.Second)
	if !errors.Is(err, os.ErrNotExist) {
		t.Errorf("no file: %v", err)
	}
	put(publicPEM("p256"))
	c.Add(2 * time.Second)
	want(t, s, old, nil)
	put(jwks(jwk("rsa1", "b")))
	c.Add(time.Minute)
	want(t, s, young, nil)
	want(t, s, old, keyset.ErrUnknownKey)
	put("broken")
	c.Add(time.Minute)
	want(t, s, young, nil) // the last good set
	put(strings.Repeat("x", 512<<10+1))
	wantUnavailable(t, keyset.New(keyset.Config{Read: keyset.File(name), Now: c.Now}), young, time.Second)
}
