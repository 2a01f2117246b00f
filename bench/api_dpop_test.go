package bench

import (
	"crypto"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/sha256"
	"encoding/base64"
	"encoding/json"
	"log/slog"
	"net/http"
	"testing"
	"time"

	"github.com/go-jose/go-jose/v4"

	"example.com/gatehouse"
	"example.com/gatehouse/bench/paired"
)

// The subjects of a token that is bound to a key of its client (RFC 9449).
const (
	dpopSeen  = "RequireToken with a DPoP proof, token seen before"
	dpopFloor = "one ES256 signature checked and the floor"
)

func dpopLimits() []paired.Limit {
	return []paired.Limit{{Subject: dpopSeen, Peer: dpopFloor, AtMost: 1.4}}
}

// wallet is a client that proves that it has its key.
type wallet struct {
	signer jose.Signer
	token  string
}

func (n *notary) wallet(t *testing.T) *wallet {
	t.Helper()
	private, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	sum, err := (&jose.JSONWebKey{Key: private.Public()}).Thumbprint(crypto.SHA256)
	if err != nil {
		t.Fatal(err)
	}
	w := &wallet{}
	w.token = n.with(t, jose.ES256, 1, map[string]any{"cnf": map[string]any{"jkt": base64.RawURLEncoding.EncodeToString(sum)}}) // RFC 9449 §6.1
	w.signer, err = jose.NewSigner(jose.SigningKey{Algorithm: jose.ES256, Key: private},
		&jose.SignerOptions{EmbedJWK: true, ExtraHeaders: map[jose.HeaderKey]any{"typ": "dpop+jwt"}})
	if err != nil {
		t.Fatal(err)
	}
	return w
}

// request has a proof of its own, because each counts once.
func (w *wallet) request(t *testing.T) *http.Request {
	t.Helper()
	hash := sha256.Sum256([]byte(w.token))
	payload, err := json.Marshal(map[string]any{
		"jti": rand.Text(), "htm": http.MethodGet, "htu": "https://api.example.org/v1/notes", "iat": time.Now().Unix(),
		"ath": base64.RawURLEncoding.EncodeToString(hash[:]),
	})
	if err != nil {
		t.Fatal(err)
	}
	signed, err := w.signer.Sign(payload)
	if err != nil {
		t.Fatal(err)
	}
	proof, err := signed.CompactSerialize()
	if err != nil {
		t.Fatal(err)
	}
	r := call(w.token)
	r.Header.Set("Authorization", "DPoP "+w.token)
	r.Header["Dpop"] = []string{proof}
	return r
}

// dpopSubjects serve the same token. While the watch is stopped, the client makes
// its proofs.
func (n *notary) dpopSubjects(t *testing.T) []paired.Subject {
	t.Helper()
	rs, err := gatehouse.NewResourceServer(n.provider(t, slog.New(slog.DiscardHandler)), gatehouse.ResourceServerConfig{
		Audience: []string{apiAudience},
		DPoP:     gatehouse.DPoPConfig{Use: gatehouse.DPoPRequired, BaseURL: "https://api.example.org", Store: gatehouse.NewMemoryStore(nil)},
	})
	if err != nil {
		t.Fatal(err)
	}
	client, served, w := n.wallet(t), 0, writer{header: http.Header{}}
	handler := rs.RequireToken(http.HandlerFunc(func(http.ResponseWriter, *http.Request) { served++ }))
	handler.ServeHTTP(&w, client.request(t))
	proved := paired.Subject{Name: dpopSeen, Run: func(watch *paired.Watch, count int) {
		const batch = 64
		served, w.code = 0, 0
		for left := count; left > 0; left -= batch {
			var own []*http.Request
			for range min(batch, left) {
				own = append(own, client.request(t))
			}
			watch.Start()
			for _, one := range own {
				clear(w.header)
				handler.ServeHTTP(&w, one)
			}
			watch.Stop()
		}
		if served != count {
			t.Fatalf("%d of %d requests reached the handler, status %d", served, count, w.code)
		}
	}}
	people := holders(n.tokens(t, jose.ES256, 64))
	check := n.bareCheck(t, jose.ES256, people)
	least := newSubject(dpopFloor, apiFloor(people), calls(people))
	return []paired.Subject{proved, working(t, dpopFloor, func() error {
		least.once()
		return check()
	})}
}
