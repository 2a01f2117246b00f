package attempt_test

import (
	"crypto/sha256"
	"encoding/base64"
	"encoding/json"
	"os"
	"strings"
	"testing"
	"time"

	"example.com/gatehouse/internal/attempt"
	"example.com/gatehouse/internal/seal"
)

// Attempts sealed by an earlier build are read, both with a configured key and
// with one kept in the store.
func TestGolden(t *testing.T) {
	text, err := os.ReadFile("../session/testdata/2026-11.json")
	if err != nil {
		t.Fatal(err)
	}
	type world struct {
		Binding  string            `json:"attempt_binding"`
		Cookie   string            `json:"attempt_cookie"`
		State    string            `json:"attempt_state"`
		Nonce    string            `json:"attempt_nonce"`
		Verifier string            `json:"attempt_verifier"`
		Store    map[string][]byte `json:"store"`
	}
	var golden struct{ Plain, Sealed world }
	if err := json.Unmarshal(text, &golden); err != nil {
		t.Fatal(err)
	}
	sum := sha256.Sum256([]byte("gatehouse/key\x00golden")) // "golden" is SessionsConfig.Name
	record := golden.Plain.Store[base64.RawURLEncoding.EncodeToString(sum[:])]
	const head = 2 + 16 // version, form, write id
	if len(record) != head+32 {
		t.Fatalf("the key record has %d bytes", len(record))
	}
	for name, c := range map[string]struct {
		world
		key []byte
	}{
		"plain":  {golden.Plain, record[head:]},
		"sealed": {golden.Sealed, []byte("golden key of thirty-two bytes ok")},
	} {
		t.Run(name, func(t *testing.T) {
			ring, err := seal.NewRing(c.key)
			if err != nil {
				t.Fatal(err)
			}
			cookie, value, _ := strings.Cut(c.Cookie, "=")
			a, err := attempt.Open(ring, c.Binding+cookie, value)
			if err != nil {
				t.Fatal(err)
			}
			if a.State() != c.State || a.Nonce() != c.Nonce || a.Verifier() != c.Verifier {
				t.Errorf("state %q, nonce %q, verifier %q", a.State(), a.Nonce(), a.Verifier())
			}
			if !strings.HasSuffix(cookie, "-"+a.State()[:8]) {
				t.Errorf("the cookie %q is not named by the state %q", cookie, a.State())
			}
			if !a.Begin.Equal(now) || !a.Grant || !a.Aged || a.MaxAge != 5*time.Minute || a.Scopes != "email" || a.ReturnTo != "/notes/1?x=2" ||
				string(a.Asked) != "asked123" || string(a.From) != "from1234" {
				t.Errorf("%+v", a)
			}
			for _, m := range []attempt.Mark{{Name: "RMjGWiSP20JEBxeq7OwDQQ"}, {Name: "_DLiCbiwBk8MavVzP5kGfg", Number: 1777636800000}} {
				if !a.Carries(m) {
					t.Errorf("it does not carry %v", m)
				}
			}
		})
	}
}
