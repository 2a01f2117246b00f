// Package dpop checks the proof that a client has the key to which its access
// token is bound (RFC 9449).
//
// It knows the method, the address and the token of one request, and a store in
// which a proof counts once. It must not know where they come from or what is
// answered.
package dpop

import (
	"crypto/sha256"
	"crypto/subtle"
	"encoding/base64"
	"errors"
	"fmt"
	"strings"
	"time"

	"example.com/gatehouse/internal/compact"
	"example.com/gatehouse/internal/strictjson"
)

const (
	// Window is how far iat may be from our clock, in either direction. A client
	// makes a new proof for each request, so this is for its clock.
	Window = 60 * time.Second
	// maxProof bounds a proof, in bytes. One with an RSA key of 4096 bits has
	// less than 3 KiB.
	maxProof = 8 << 10
	// maxID bounds a jti, in bytes. Those of clients have 16 to 40.
	maxID = 256
	// latest is the year 9999. A later time would overflow.
	latest = 253402300799
)

// ErrProof means that there is no proof, or one that is no good. Errors wrap it
// and name the check.
var ErrProof = errors.New("the DPoP proof is no good")

func refuse(reason string, args ...any) error {
	return fmt.Errorf("%w: %w", ErrProof, fmt.Errorf(reason, args...))
}

// A Request is what a proof is compared with.
type Request struct {
	Method     string
	Address    Address
	Token      string // the access token beside the proof
	Thumbprint string // of the key to which the token is bound
	Now        time.Time
}

// Proof is a proof that was verified. Only [Verify] makes one that is not empty.
type Proof struct {
	thumbprint string
	id         string // jti
	nonce      string
	ends       time.Time // when it no longer counts
}

// Nonce is what the server had sent before, "" if there is none.
func (p *Proof) Nonce() string { return p.nonce }

// Equal reports whether both are the same proof. A proof counts once, so they
// came with the same request if one of them has counted already.
func (p *Proof) Equal(other *Proof) bool {
	return p.thumbprint == other.thumbprint && p.id == other.id
}

// Verify makes the checks of RFC 9449 §4.3 on the values of the DPoP headers. It
// does not judge the nonce or whether the proof was used before. Every error
// wraps [ErrProof].
//
// The key is compared with the one of the token before the signature is checked,
// so a stranger cannot choose a key that takes long.
func Verify(headers []string, want Request) (*Proof, error) {
	if len(headers) != 1 { // item 1
		return nil, refuse("%d DPoP headers", len(headers))
	}
	form, err := split(headers[0]) // item 2
	if err != nil {
		return nil, err
	}
	h, err := readHeader(form.header)
	if err != nil {
		return nil, err
	}
	thumbprint := h.key.thumbprint()
	if subtle.ConstantTimeCompare([]byte(thumbprint), []byte(want.Thumbprint)) != 1 { // item 12b
		return nil, refuse("jwk is not the key to which the token is bound")
	}
	if !h.key.verify(h.alg, form.signed, form.signature) { // item 6
		return nil, refuse("the signature is not by its jwk")
	}
	var c claims
	if err := c.read(form.payload); err != nil {
		return nil, err
	}
	if err := c.check(&want); err != nil {
		return nil, err
	}
	return &Proof{thumbprint, c.id, c.nonce, c.issued.Add(Window)}, nil
}

// parts are those of a compact JWS (RFC 7515 §3.1).
type parts struct {
	signed                     string // what the signature is over
	header, payload, signature []byte
}

func split(raw string) (p parts, err error) {
	if compact.Check(raw, maxProof) != nil {
		return p, refuse("it is no compact JWS of at most %d bytes", maxProof)
	}
	first, second := strings.IndexByte(raw, '.'), strings.LastIndexByte(raw, '.')
	p.signed = raw[:second]
	for _, part := range []struct {
		into *[]byte
		text string
	}{{&p.header, raw[:first]}, {&p.payload, raw[first+1 : second]}, {&p.signature, raw[second+1:]}} {
		if *part.into, err = base64.RawURLEncoding.Strict().DecodeString(part.text); err != nil {
			return p, refuse("it is no base64url")
		}
	}
	return p, nil
}

// claims are those of a proof (§4.2). One that is null counts as absent.
type claims struct {
	id, method, address, hash, nonce string
	issued                           time.Time
	expires, before                  time.Time // not of RFC 9449; they bind as in any JWT
}

func (c *claims) read(payload []byte) error {
	err := strictjson.Object(payload, func(name string, v strictjson.Value) (err error) {
		if v.Null() {
			return nil
		}
		switch name {
		case "jti":
			c.id, err = v.Text()
		case "htm":
			c.method, err = v.Text()
		case "htu":
			c.address, err = v.Text()
		case "ath":
			c.hash, err = v.Text()
		case "nonce":
			c.nonce, err = v.Text()
		case "iat":
			c.issued, err = readTime(v)
		case "exp":
			c.expires, err = readTime(v)
		case "nbf":
			c.before, err = readTime(v)
		}
		if err != nil {
			return fmt.Errorf("%s: %w", name, err)
		}
		return nil
	})
	if err != nil {
		return refuse("its claims are not strict JSON of the right types: %w", err)
	}
	return nil
}

func readTime(v strictjson.Value) (time.Time, error) {
	f, err := v.Number()
	if err != nil || f < 0 || f > latest {
		return time.Time{}, errors.New("no NumericDate") // RFC 7519 §2
	}
	return time.UnixMilli(int64(f * 1000)), nil
}

// check judges the claims (§4.3, items 8 to 12a).
func (c *claims) check(want *Request) error {
	age := want.Now.Sub(c.issued)
	switch {
	case c.id == "" || len(c.id) > maxID:
		return refuse("jti has %d bytes, not 1 to %d", len(c.id), maxID)
	case c.method != want.Method: // RFC 9110 §9.1: methods are case-sensitive
		return refuse("htm is not the method %q of the request", shorten(want.Method))
	case !want.Address.Is(c.address):
		return refuse("htu is not the address %q of the request", shorten(want.Address.String()))
	case c.issued.IsZero():
		return refuse("no iat")
	case age >= Window || age < -Window:
		return refuse("iat is %s, but now it is %s", stamp(c.issued), stamp(want.Now))
	case !c.expires.IsZero() && !want.Now.Before(c.expires.Add(Window)):
		return refuse("exp is %s, but now it is %s", stamp(c.expires), stamp(want.Now))
	case !c.before.IsZero() && c.before.After(want.Now.Add(Window)):
		return refuse("nbf is %s, but now it is %s", stamp(c.before), stamp(want.Now))
	case subtle.ConstantTimeCompare([]byte(c.hash), []byte(Hash(want.Token))) != 1:
		return refuse("ath is not the hash of the access token")
	}
	return nil
}

// Hash is the value of ath for an access token (§4.2).
func Hash(token string) string {
	sum := sha256.Sum256([]byte(token))
	return base64.RawURLEncoding.EncodeToString(sum[:])
}

func stamp(t time.Time) string { return t.UTC().Format(time.RFC3339) }

// maxShown bounds what an error shows of the request.
const maxShown = 200

func shorten(s string) string { return s[:min(len(s), maxShown)] }
