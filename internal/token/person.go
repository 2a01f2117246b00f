package token

import (
	"encoding/json"
	"errors"
	"fmt"
	"slices"

	"example.com/gatehouse/internal/strictjson"
)

// Claims are claims about a person, each as raw JSON, so that numbers keep their
// precision. null is absence (OpenID Connect Core §5.3.2), except in claims that
// lie on top of others, where it takes one away.
type Claims map[string]json.RawMessage

// ParseClaims decodes an object of claims. No bytes are no claims.
func ParseClaims(b []byte) (Claims, error) {
	all := Claims{}
	if len(b) == 0 {
		return all, nil
	}
	if err := json.Unmarshal(b, &all); err != nil {
		return nil, fmt.Errorf("claims are not a JSON object: %w", err)
	}
	return all, nil
}

// Claims returns what the token says, without null and without the claims that
// make no sense.
func (t *IDToken) Claims() (Claims, error) { return t.claims.sensible() }

// StoredClaims returns the claims of a stored token that was verified when it
// arrived. Like Expiry, it does not check the signature.
func StoredClaims(raw string) (Claims, error) {
	var c claims
	if err := c.readUnverified(raw); err != nil {
		return nil, err
	}
	return c.sensible()
}

func (c *claims) sensible() (Claims, error) {
	all, err := ParseClaims(c.payload)
	if err != nil {
		return nil, err
	}
	for name, value := range all {
		if IsNull(value) || slices.Contains(c.defects, name) {
			delete(all, name)
		}
	}
	return all, nil
}

// IsNull reports whether a raw value is null.
func IsNull(value json.RawMessage) bool { return string(value) == "null" }

// Has reports whether the claim is there.
func (c Claims) Has(name string) bool {
	value, ok := c[name]
	return ok && !IsNull(value)
}

// Join adds what the user info says to the claims that were signed. Protocol
// claims come from the ID Token alone. A name that folds to one of the ID
// Token's or to a protocol claim's is dropped, so that no reader takes it for
// what was signed.
func (c Claims) Join(told Claims) {
	if len(told) == 0 {
		return
	}
	taken := make(map[string]bool, len(c))
	for name := range c {
		taken[strictjson.Fold(name)] = true
	}
	for name, value := range told {
		if folded := strictjson.Fold(name); !taken[folded] && !IsProtocolClaim(folded) && !IsNull(value) {
			c[name] = value
		}
	}
}

// Overlay puts the application's own claims on top. null takes one away.
func (c Claims) Overlay(own Claims) {
	for name, value := range own {
		if IsNull(value) {
			delete(c, name)
			continue
		}
		c[name] = value
	}
}

// Keep adds the protocol claims of before that c leaves out, and returns them.
func (c Claims) Keep(before Claims) (kept Claims) {
	kept = Claims{}
	for name, value := range before {
		if IsProtocolClaim(name) && !c.Has(name) {
			c[name], kept[name] = value, value
		}
	}
	return kept
}

// Encode returns the claims as JSON. The error says that no reader would take
// them: an object in them repeats a name, nests too deeply, or is not UTF-8.
func (c Claims) Encode() ([]byte, error) {
	b, err := json.Marshal(c)
	if err != nil {
		return nil, errors.New("a claim is not JSON")
	}
	if err := strictjson.Check(b); err != nil {
		return nil, err
	}
	return b, nil
}
