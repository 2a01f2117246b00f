package bench

import (
	"crypto"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/rsa"
	"crypto/sha256"
	"encoding/base64"
	"errors"
	"io"
	"log/slog"
	"math/big"
	"net/http"
	"strings"
	"testing"

	"github.com/go-jose/go-jose/v4"

	"example.com/gatehouse"
	"example.com/gatehouse/bench/paired"
)

// The subjects of a token that was never seen before, and of one that is no
// good.
const (
	apiFirst      = "RequireToken, first sight"
	bareSignature = "one signature checked"
	checkMalform  = "Check of a malformed token"
	refuseMalform = "refusal of a malformed token, with its log line"
)

// firstLimits: bareSignature is the SHA-256 of what was signed and the check of
// the standard library, with a signature that is decoded already.
func firstLimits(alg jose.SignatureAlgorithm) []paired.Limit {
	times := map[jose.SignatureAlgorithm]float64{jose.RS256: 1.45, jose.ES256: 1.25, jose.EdDSA: 1.30}
	return []paired.Limit{
		{Subject: apiFirst, Peer: peerGolangJWT, AtMost: 0.95},
		{Subject: apiFirst, Peer: bareSignature, AtMost: times[alg]},
		{Subject: checkMalform, Peer: bareSignature, AtMost: 0.1},
		{Subject: refuseMalform, Peer: bareSignature, AtMost: 0.4},
	}
}

// freshTokens is how many tokens an API gets to see for the first time before it
// is replaced by one that remembers none.
const freshTokens = 64

// firstSubjects get tokens that they have never seen.
func (n *notary) firstSubjects(t *testing.T, alg jose.SignatureAlgorithm, all bool) []paired.Subject {
	t.Helper()
	people := holders(n.tokens(t, alg, freshTokens))
	list := []paired.Subject{n.firstSubject(t, people)}
	for _, p := range n.peers(t, alg) {
		if all || p.name == peerGolangJWT {
			list = append(list, subjects(t, newSubject(p.name, p.middleware, calls(people)))...)
		}
	}
	return append(list, checked(t, bareSignature, n.bareCheck(t, alg, people)), n.malformedSubject(t, people[0], false), n.malformedSubject(t, people[0], true))
}

func (n *notary) firstSubject(t *testing.T, people holders) paired.Subject {
	t.Helper()
	provider := n.provider(t, slog.New(slog.DiscardHandler))
	own := calls(people)
	served, w := 0, writer{header: http.Header{}}
	empty := http.HandlerFunc(func(http.ResponseWriter, *http.Request) { served++ })
	return paired.Subject{Name: apiFirst, Run: func(watch *paired.Watch, count int) {
		served, w.code = 0, 0
		for left := count; left > 0; left -= freshTokens {
			handler := n.resourceServer(t, provider).RequireToken(empty)
			now := own[:min(freshTokens, left)]
			watch.Start()
			for _, one := range now {
				clear(w.header)
				r := *one
				handler.ServeHTTP(&w, &r)
			}
			watch.Stop()
		}
		if served != count {
			t.Fatalf("%d of %d tokens were accepted, status %d", served, count, w.code)
		}
	}}
}

// bareCheck checks the signatures of the tokens in turn, and nothing else. With
// a single token, a processor would learn the branches of its check.
func (n *notary) bareCheck(t testing.TB, alg jose.SignatureAlgorithm, people holders) (check func() error) {
	t.Helper()
	type parts struct{ signed, signature []byte }
	var all []parts
	for _, raw := range people {
		cut := strings.LastIndexByte(raw, '.')
		signature, err := base64.RawURLEncoding.DecodeString(raw[cut+1:])
		if err != nil {
			t.Fatal(err)
		}
		all = append(all, parts{[]byte(raw[:cut]), signature})
	}
	next, public, wrong := 0, n.keys[alg].Public(), errors.New("the signature is not good")
	return func() error {
		one := all[next%len(all)]
		next++
		switch public := public.(type) {
		case *rsa.PublicKey:
			sum := sha256.Sum256(one.signed)
			return rsa.VerifyPKCS1v15(public, crypto.SHA256, sum[:], one.signature)
		case *ecdsa.PublicKey:
			sum := sha256.Sum256(one.signed)
			if !ecdsa.Verify(public, sum[:], new(big.Int).SetBytes(one.signature[:32]), new(big.Int).SetBytes(one.signature[32:])) {
				return wrong
			}
		case ed25519.PublicKey:
			if !ed25519.Verify(public, one.signed, one.signature) {
				return wrong
			}
		}
		return nil
	}
}

// malformedSubject gets a token whose last part is missing.
func (n *notary) malformedSubject(t *testing.T, raw string, whole bool) paired.Subject {
	t.Helper()
	api := n.resourceServer(t, n.provider(t, slog.New(slog.NewJSONHandler(io.Discard, nil))))
	r := call(raw[:strings.LastIndexByte(raw, '.')])
	if !whole {
		return checked(t, checkMalform, func() error {
			if _, err := api.Check(r); gatehouse.ErrorCode(err) != gatehouse.CodeTokenInvalid {
				return errors.New("not refused as invalid")
			}
			return nil
		})
	}
	handler, w := api.RequireToken(http.NotFoundHandler()), writer{header: http.Header{}}
	return checked(t, refuseMalform, func() error {
		clear(w.header)
		one := *r
		if handler.ServeHTTP(&w, &one); w.code != http.StatusUnauthorized {
			return errors.New("not answered with 401")
		}
		return nil
	})
}
