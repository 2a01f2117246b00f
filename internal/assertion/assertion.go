// Package assertion makes the signed statements with which a client proves who
// it is (RFC 7521 §4.2, RFC 7523 §2.2, OpenID Connect Core §9), and says which
// algorithms a key or a secret fits.
//
// It knows keys, signatures and the claims of an assertion. It must not know
// HTTP, where an assertion is sent, and what the metadata of a server says.
package assertion

import (
	"context"
	"crypto"
	"crypto/hmac"
	"crypto/rand"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"time"

	"example.com/gatehouse/internal/flight"
	"example.com/gatehouse/internal/places"
)

const (
	// Life is how long an assertion is valid. It is used at once, so this is for
	// a slow way and for clocks that differ. Servers refuse much more: Keycloak
	// and the profiles of FAPI take a minute.
	Life = 60 * time.Second
	// signTime is how long a caller waits for a signature. A key service
	// answers within a second, also over the network, and a callback has to
	// leave time for the provider.
	signTime = 3 * time.Second
	// maxSignings is how many signatures of a key are made at a time. A signer
	// that hangs holds as many goroutines and no more.
	maxSignings = 64
)

var (
	// ErrSigner means that the signer failed, did not answer in time or
	// panicked.
	ErrSigner = errors.New("the signer gave no signature")
	// ErrSignature means that the signer gave something else than a signature
	// of its own key.
	ErrSignature = errors.New("the signer gave a signature that its public key does not verify")
	// ErrSecret means that the secret is too short for the algorithm.
	ErrSecret = errors.New("the secret is too short")
)

// Claims are what an assertion says.
type Claims struct {
	Client   string    // who asserts, and about whom: iss and sub
	Audience string    // whom it is for, as one text
	Now      time.Time // when it is made
}

// header and payload are of RFC 7515 §4.1 and RFC 7523 §3. The id is new each
// time, so that servers can tell an assertion that is sent twice.
type header struct {
	Algorithm string `json:"alg"`
	KeyID     string `json:"kid,omitempty"`
	Type      string `json:"typ"`
}

type payload struct {
	Issuer   string `json:"iss"`
	Subject  string `json:"sub"`
	Audience string `json:"aud"`
	ID       string `json:"jti"`
	IssuedAt int64  `json:"iat"`
	Expires  int64  `json:"exp"`
}

// unsigned returns what is signed (RFC 7515 §5.1), and its id.
func unsigned(alg, keyID string, c Claims) (input []byte, id string) {
	id = rand.Text()
	return inputOf(header{alg, keyID, "JWT"}, payload{c.Client, c.Client, c.Audience, id, c.Now.Unix(), c.Now.Add(Life).Unix()}), id
}

// inputOf is the signing input of a header and a payload, which hold texts and
// numbers.
func inputOf(header, payload any) (input []byte) {
	for i, part := range [2]any{header, payload} {
		text, _ := json.Marshal(part) // texts and numbers can always be encoded
		if i > 0 {
			input = append(input, '.')
		}
		input = base64.RawURLEncoding.AppendEncode(input, text)
	}
	return input
}

// complete appends the signature.
func complete(input, signature []byte) string {
	return string(base64.RawURLEncoding.AppendEncode(append(slices.Clip(input), '.'), signature))
}

// WithSecret makes an assertion that is authenticated with the client's secret
// (client_secret_jwt). The error is ErrSecret, or that the algorithm is no HMAC.
func WithSecret(alg, secret string, c Claims) (string, error) {
	a, ok := algorithms[alg]
	switch {
	case !ok || a.family != familyHMAC:
		return "", fmt.Errorf("%q is no algorithm for a secret", alg)
	case len(secret) < a.hash.Size():
		return "", fmt.Errorf("%w: it has %d bytes, and %s needs %d", ErrSecret, len(secret), alg, a.hash.Size())
	}
	input, _ := unsigned(alg, "", c)
	mac := hmac.New(a.hash.New, []byte(secret))
	mac.Write(input)
	return complete(input, mac.Sum(nil)), nil
}

// Key is a private key that may live elsewhere, such as in a key service. It is
// safe for concurrent use if its signer is.
type Key struct {
	signer crypto.Signer
	public crypto.PublicKey
	id     string
	algs   []string

	flights flight.Group[string, []byte]
	places  places.Pool
}

// NewKey returns the key of signer, which servers know by id. Its error says why
// the signer cannot be used. It signs nothing.
func NewKey(signer crypto.Signer, id string) (*Key, error) {
	public, err := PublicOf(signer)
	if err != nil {
		return nil, err
	}
	algs, err := Fitting(public)
	if err != nil {
		return nil, err
	}
	if err := whole(signer); err != nil {
		return nil, err
	}
	return &Key{signer: signer, public: public, id: id, algs: algs}, nil
}

// Algorithms lists what the key can sign with, the preferred first.
func (k *Key) Algorithms() []string { return k.algs }

// Public returns the public part.
func (k *Key) Public() crypto.PublicKey { return k.public }

// Signs reports whether the key can sign with the algorithm.
func (k *Key) Signs(alg string) bool { return slices.Contains(k.algs, alg) }

// Assert makes an assertion that is signed with the key (private_key_jwt). It
// waits for the signer some seconds and no longer than ctx. The error is
// ErrSigner, ErrSignature, or that of ctx.
func (k *Key) Assert(ctx context.Context, alg string, c Claims) (string, error) {
	input, id := unsigned(alg, k.id, c)
	return k.sign(ctx, alg, id, input)
}

// Sign makes another signed statement with the key, as Assert does. id is new for
// each. header has alg; header and payload hold texts and numbers.
func (k *Key) Sign(ctx context.Context, alg, id string, header, payload any) (string, error) {
	return k.sign(ctx, alg, id, inputOf(header, payload))
}

func (k *Key) sign(ctx context.Context, alg, id string, input []byte) (string, error) {
	if !k.Signs(alg) {
		return "", fmt.Errorf("%q does not fit the key, which is for %q", alg, k.algs)
	}
	ctx, cancel := context.WithTimeout(ctx, signTime)
	defer cancel()
	signature, err := k.flights.Do(ctx, id, signTime, func(ctx context.Context) ([]byte, error) {
		if err := k.places.Wait(ctx, maxSignings); err != nil {
			return nil, err
		}
		defer k.places.Leave()
		return algorithms[alg].sign(k.signer, input)
	})
	if _, ok := errors.AsType[*flight.PanicError](err); ok { // its value may hold anything
		err = errors.New("it panicked")
	}
	if err != nil {
		return "", fmt.Errorf("%w: %w", ErrSigner, err)
	}
	if !algorithms[alg].verifies(k.public, input, signature) { // a faulty signature may betray the key, and the server would blame the client
		return "", ErrSignature
	}
	return complete(input, signature), nil
}

// Wait returns when no signature is being made, or with the error of ctx.
func (k *Key) Wait(ctx context.Context) error { return k.flights.Wait(ctx) }
