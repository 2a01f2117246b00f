// Package possession makes the proofs that a client has a key, for the tokens
// that are bound to it (RFC 9449), and keeps the nonces that servers want in them.
//
// It knows keys, proofs and nonces, and the method, address and token of one
// call. It must not know how a call is sent, what it is for, or who keeps the
// token.
package possession

import (
	"context"
	"crypto"
	"crypto/rand"
	"encoding/json"
	"errors"
	"fmt"
	"net/url"
	"slices"
	"strings"
	"sync/atomic"
	"time"

	"example.com/gatehouse/internal/assertion"
	"example.com/gatehouse/internal/dpop"
)

var (
	// ErrProof means that no proof could be made, so the call was not sent.
	ErrProof = errors.New("no proof of the client's key could be made")
	// ErrAlgorithm means that the key fits none of the algorithms of a server.
	ErrAlgorithm = errors.New("the key fits none of the algorithms that the server takes for proofs")
)

// Holder has a key, and proves that for each call anew. It is safe for concurrent
// use.
type Holder struct {
	key        *assertion.Key
	now        func() time.Time
	jwk        json.RawMessage
	thumbprint string
	alg        atomic.Pointer[string]
	nonces     nonces
}

// New returns the holder of a key. Its error says why the signer cannot be used.
// It signs nothing.
func New(signer crypto.Signer, now func() time.Time) (*Holder, error) {
	key, err := assertion.NewKey(signer, "")
	if err != nil {
		return nil, err
	}
	jwk, thumbprint := dpop.PublicJWK(key.Public())
	if jwk == "" {
		return nil, errors.New("it is no key for a proof")
	}
	h := &Holder{key: key, now: now, jwk: json.RawMessage(jwk), thumbprint: thumbprint}
	h.alg.Store(&key.Algorithms()[0])
	return h, nil
}

// Thumbprint is that of the public key (RFC 7638 §3), which is dpop_jkt of an
// authorization request (RFC 9449 §10) and jkt in the cnf of a token (§6.1).
func (h *Holder) Thumbprint() string { return h.thumbprint }

// Choose takes the algorithm of the proofs from now on from those that the
// server lists (dpop_signing_alg_values_supported, RFC 9449 §5.1). An empty list
// says nothing. The error is ErrAlgorithm.
func (h *Holder) Choose(listed []string) error {
	if len(listed) == 0 {
		return nil
	}
	for _, alg := range h.key.Algorithms() {
		if slices.Contains(listed, alg) {
			if *h.alg.Load() != alg {
				h.alg.Store(&alg)
			}
			return nil
		}
	}
	return fmt.Errorf("%w: it can sign with %q", ErrAlgorithm, h.key.Algorithms())
}

// Call is what a proof is for.
type Call struct {
	Method string
	// Address is where the call goes. Its query and its fragment do not count.
	Address *url.URL
	// Host takes the place of the address's host, unless it is "".
	Host string
	// Token is the access token beside the proof, "" at a token endpoint.
	Token string
}

// Answer is what the answer to a call says about nonces.
type Answer struct {
	Nonces   []string // the values of the header DPoP-Nonce
	Demanded bool     // the call was refused because of its nonce (use_dpop_nonce), and can be sent again
}

// Do sends a call with a proof, and once more if the server refuses it because
// of its nonce and gives another one (RFC 9449 §8, §9). The newest nonce of the
// server goes along. The error is that of send, or [ErrProof].
func (h *Holder) Do(ctx context.Context, c Call, send func(proof string) (Answer, error)) error {
	server := c.server()
	for again := false; ; again = true {
		nonce := h.nonces.newest(server)
		proof, err := h.prove(ctx, c, nonce)
		if err != nil {
			return fmt.Errorf("%w: %w", ErrProof, err)
		}
		answer, err := send(proof)
		given := h.nonces.keep(server, answer.Nonces)
		if !answer.Demanded || again || given == "" || given == nonce {
			return err
		}
	}
}

// server names who gives the nonces for a call. Those of a token endpoint and of
// an API are apart, also at one origin (RFC 9449 §8.2, §9).
func (c Call) server() string {
	kind := "api "
	if c.Token == "" {
		kind = "token "
	}
	return kind + strings.ToLower(c.Address.Scheme) + "://" + strings.ToLower(c.host())
}

func (c Call) host() string {
	if c.Host != "" {
		return c.Host
	}
	return c.Address.Host
}

// htu is the address without query and fragment (RFC 9449 §4.2), and without
// what is no part of the request target (RFC 9110 §7.1).
func (c Call) htu() (string, error) {
	path := c.Address.EscapedPath()
	if path == "" {
		path = "/" // RFC 9110 §4.2.3
	}
	if c.Address.Opaque != "" || c.Address.Scheme == "" || c.host() == "" || path[0] != '/' {
		return "", errors.New("the address is not absolute")
	}
	return c.Address.Scheme + "://" + c.host() + path, nil
}

// header and claims are of RFC 9449 §4.2.
type header struct {
	Type      string          `json:"typ"`
	Algorithm string          `json:"alg"`
	Key       json.RawMessage `json:"jwk"`
}

type claims struct {
	ID      string `json:"jti"`
	Method  string `json:"htm"`
	Address string `json:"htu"`
	Issued  int64  `json:"iat"`
	Hash    string `json:"ath,omitempty"`
	Nonce   string `json:"nonce,omitempty"`
}

// prove makes a proof. Its jti is new each time, because a server takes a proof
// once (§11.1).
func (h *Holder) prove(ctx context.Context, c Call, nonce string) (string, error) {
	address, err := c.htu()
	if err != nil {
		return "", err
	}
	alg := *h.alg.Load()
	p := claims{ID: rand.Text(), Method: c.Method, Address: address, Issued: h.now().Unix(), Nonce: nonce}
	if c.Token != "" {
		p.Hash = dpop.Hash(c.Token)
	}
	return h.key.Sign(ctx, alg, p.ID, header{"dpop+jwt", alg, h.jwk}, p)
}

// Wait returns when no proof is being made, or with the error of ctx.
func (h *Holder) Wait(ctx context.Context) error { return h.key.Wait(ctx) }
