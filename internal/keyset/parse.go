package keyset

import (
	"bytes"
	"context"
	"crypto/x509"
	"encoding/json"
	"encoding/pem"
	"errors"
	"fmt"
	"io"
	"os"

	"example.com/gatehouse/internal/outbound"
	"example.com/gatehouse/internal/strictjson"
	"github.com/go-jose/go-jose/v4"
)

// pemBegin is what each block of a PEM file begins with (RFC 7468 §2).
var pemBegin = []byte("-----BEGIN ")

// Parse reads public keys: a JWK Set, one JWK (RFC 7517), or PEM (RFC 7468)
// with blocks PUBLIC KEY, RSA PUBLIC KEY and CERTIFICATE. Of a certificate only
// the key counts. Keys that are meant for something else than signatures are
// left out. Any other entry that cannot be used is an error, and so is a private
// key: it has no place at a verifier.
func Parse(data []byte) ([]jose.JSONWebKey, error) {
	if len(data) > maxDocument {
		return nil, fmt.Errorf("keyset: more than %d bytes of keys", maxDocument)
	}
	keys, skipped, err := decode(data)
	if err != nil {
		return nil, err
	}
	for _, s := range skipped {
		if !s.Other {
			return nil, fmt.Errorf("keyset: key %d cannot be used: %s", s.Place, s.Reason)
		}
	}
	if len(keys) == 0 {
		return nil, errEmptySet
	}
	out := make([]jose.JSONWebKey, len(keys))
	for i, k := range keys {
		out[i] = jose.JSONWebKey{Key: k.public, KeyID: k.id, Algorithm: k.alg}
	}
	return out, nil
}

// File returns a Config.Read that reads a file with what [Parse] reads.
func File(name string) func(context.Context) ([]byte, error) {
	return func(context.Context) ([]byte, error) {
		f, err := os.Open(name)
		if err != nil {
			return nil, err
		}
		defer f.Close()
		data, err := io.ReadAll(io.LimitReader(f, maxDocument+1))
		if err == nil && len(data) > maxDocument {
			err = fmt.Errorf("keyset: %s has more than %d bytes", name, maxDocument)
		}
		return data, err
	}
}

func decode(data []byte) (keys []key, skipped []Skipped, err error) {
	if data = bytes.TrimSpace(data); !bytes.HasPrefix(data, []byte("{")) {
		return decodePEM(data)
	}
	var set struct {
		Keys *[]json.RawMessage `json:"keys"`
	}
	if err := strictjson.Unmarshal(data, &set); err != nil {
		return nil, nil, fmt.Errorf("keyset: neither a JWK nor a JWK Set: %w", err)
	}
	d := document{Keys: []json.RawMessage{data}}
	if set.Keys != nil {
		d.Keys = *set.Keys
	}
	keys, skipped = d.usable()
	return keys, skipped, nil
}

func decodePEM(data []byte) (keys []key, skipped []Skipped, err error) {
	var all []jose.JSONWebKey
	begun := bytes.Count(data, pemBegin) // Decode skips a block that it cannot read
	for {
		block, rest := pem.Decode(data)
		if block == nil {
			break
		}
		if len(all) == maxKeys {
			return nil, nil, fmt.Errorf("keyset: more than %d PEM blocks", maxKeys)
		}
		public, err := publicKey(block)
		if err != nil {
			return nil, nil, fmt.Errorf("keyset: PEM block %d, %q: %w", len(all), outbound.Clip(block.Type), err)
		}
		all, data = append(all, jose.JSONWebKey{Key: public}), rest
	}
	switch {
	case begun != len(all):
		return nil, nil, fmt.Errorf("keyset: of %d PEM blocks only %d can be read", begun, len(all))
	case len(all) == 0:
		return nil, nil, errors.New("keyset: neither JSON nor PEM")
	}
	keys, skipped = static(all)
	return keys, skipped, nil
}

func publicKey(block *pem.Block) (any, error) {
	switch block.Type {
	case "PUBLIC KEY":
		return x509.ParsePKIXPublicKey(block.Bytes)
	case "RSA PUBLIC KEY":
		return x509.ParsePKCS1PublicKey(block.Bytes)
	case "CERTIFICATE":
		c, err := x509.ParseCertificate(block.Bytes)
		if err != nil {
			return nil, err
		}
		return c.PublicKey, nil
	}
	return nil, errors.New("it is none of PUBLIC KEY, RSA PUBLIC KEY and CERTIFICATE")
}
