package opserver

import (
	"context"
	"encoding/json"
	"errors"
	"io"
	"net/http"
	"slices"
	"time"

	"github.com/go-jose/go-jose/v4"
)

const (
	// keysPatience bounds the wait for the keys of a client.
	keysPatience = 10 * time.Second
	// maxClientKeys is the largest key set that a client may have, in bytes.
	maxClientKeys = 64 << 10
)

// readKeys takes the keys from the metadata of a client that has registered
// itself: jwks, or jwks_uri, and not both. RFC 7591 §2.
func (c *client) readKeys() error {
	inside, has := c.registered.metadata["jwks"]
	address, at := c.registered.metadata["jwks_uri"].(string)
	switch {
	case has && at:
		return errors.New("jwks and jwks_uri together")
	case c.Auth == AuthPrivateKeyJWT && !has && !at:
		return errors.New("jwks and jwks_uri are missing")
	case !has:
		c.registered.keysAt = address
		return nil
	}
	text, err := json.Marshal(inside)
	if err != nil {
		return errors.New("jwks")
	}
	c.Keys, err = clientKeys(text)
	return err
}

// clientKeys reads a JWK Set of public keys with ids. RFC 7517 §5.
func clientKeys(text []byte) ([]jose.JSONWebKey, error) {
	var set jose.JSONWebKeySet
	if json.Unmarshal(text, &set) != nil || slices.ContainsFunc(set.Keys, func(k jose.JSONWebKey) bool { return !k.Valid() || !k.IsPublic() || k.KeyID == "" }) {
		return nil, errors.New("jwks")
	}
	return set.Keys, nil
}

// keysOf returns the keys of a client. Those at its jwks_uri are kept, and fetched
// again for a kid that is not among them. OpenID Connect Core §10.1.1.
func (s *Server) keysOf(c *client, kid string) []jose.JSONWebKey {
	if c.registered == nil || c.registered.keysAt == "" {
		return c.Keys
	}
	s.mu.Lock()
	kept := c.registered.keys
	s.mu.Unlock()
	if slices.ContainsFunc(kept, func(k jose.JSONWebKey) bool { return k.KeyID == kid }) {
		return kept
	}
	keys, err := s.fetchKeys(c.registered.keysAt)
	if err != nil {
		s.stats.violation("jwks_uri of client %s: %v", printable(c.ID), err)
		return kept
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	c.registered.keys = keys
	return keys
}

func (s *Server) fetchKeys(address string) ([]jose.JSONWebKey, error) {
	ctx, cancel := context.WithTimeout(context.Background(), keysPatience)
	defer cancel()
	r, err := http.NewRequestWithContext(ctx, http.MethodGet, address, nil)
	if err != nil {
		return nil, err
	}
	resp, err := s.transport.RoundTrip(r)
	if err != nil {
		return nil, err
	}
	defer resp.Body.Close()
	if resp.StatusCode != http.StatusOK {
		return nil, errors.New(resp.Status)
	}
	text, err := io.ReadAll(io.LimitReader(resp.Body, maxClientKeys))
	if err != nil {
		return nil, err
	}
	return clientKeys(text)
}
