package bench

import (
	"crypto/ed25519"
	"crypto/rand"
	"log/slog"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/go-jose/go-jose/v4"
)

const (
	// badTokens are sent beside good ones.
	badTokens = 10_000
	// floodCost is how much longer the slowest hundredth of the good requests may
	// take meanwhile. The README states it too.
	floodCost = 2
)

// bad returns tokens that are refused, each for one of the four reasons that
// need a key or an issuer to see.
func (n *notary) bad(t *testing.T, count int) (list []string) {
	t.Helper()
	_, foreign, err := ed25519.GenerateKey(rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	stranger := func(issuer, kid string) *notary {
		signer, err := jose.NewSigner(jose.SigningKey{Algorithm: jose.EdDSA, Key: jose.JSONWebKey{Key: foreign, KeyID: kid}},
			(&jose.SignerOptions{}).WithType("at+jwt"))
		if err != nil {
			t.Fatal(err)
		}
		return &notary{issuer: issuer, signers: map[jose.SignatureAlgorithm]jose.Signer{jose.EdDSA: signer}, began: n.began}
	}
	elsewhere := *n
	elsewhere.issuer = "https://elsewhere.example.org"
	unknown, nameless := stranger(n.issuer, "unknown"), stranger(n.issuer, "")
	for i := range count {
		switch i % 4 {
		case 0: // a bad signature
			raw := n.token(t, jose.EdDSA, i)
			at := strings.LastIndexByte(raw, '.') + 20
			list = append(list, raw[:at]+string('A'+(raw[at]+1)%26)+raw[at+1:])
		case 1:
			list = append(list, unknown.token(t, jose.EdDSA, i))
		case 2:
			list = append(list, nameless.token(t, jose.EdDSA, i))
		case 3:
			list = append(list, elsewhere.token(t, jose.EdDSA, i))
		}
	}
	return list
}

// flood is an API, good requests to it, and work that goes on beside them.
type flood struct {
	good, bad *subject
	check     func()
}

func (n *notary) flood(t *testing.T, count int) *flood {
	t.Helper()
	api := n.resourceServer(t, n.provider(t, slog.New(slog.DiscardHandler)))
	f := &flood{
		good: newSubject("good tokens", api.RequireToken, calls(n.tokens(t, jose.EdDSA, 16))),
		bad:  newSubject("bad tokens", api.RequireToken, calls(n.bad(t, count))),
	}
	for range f.good.requests {
		f.good.once()
	}
	check := n.bareCheck(t, jose.EdDSA, n.tokens(t, jose.EdDSA, 16))
	f.check = func() {
		if err := check(); err != nil {
			t.Error(err)
		}
	}
	return f
}

// beside makes good requests while the other core runs other so many times. It
// returns how long each request took.
func (f *flood) beside(times int, other func()) (took []time.Duration) {
	var over atomic.Bool
	go func() {
		defer over.Store(true)
		for range times {
			other()
		}
	}()
	for !over.Load() {
		began := time.Now()
		f.good.once()
		took = append(took, time.Since(began))
	}
	return took
}

func p99(took []time.Duration) time.Duration {
	slices.Sort(took)
	return took[len(took)*99/100]
}
