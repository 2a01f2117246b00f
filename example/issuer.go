package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"strings"
	"time"

	"github.com/go-jose/go-jose/v4"

	"example.com/gatehouse"
	"example.com/gatehouse/internal/testkit/opserver"
)

const (
	// issuerTime bounds the one request at the start.
	issuerTime = 10 * time.Second
	// maxDocument bounds metadata and key sets.
	maxDocument = 1 << 20
)

// umaAt asks an issuer whether it is a UMA authorization server, and whether
// owners share on pages of an account console, as with Keycloak.
func umaAt(ctx context.Context, client *http.Client, issuer string) (uma, console bool, err error) {
	ctx, cancel := context.WithTimeout(ctx, issuerTime)
	defer cancel()
	var md struct {
		Issuer     string `json:"issuer"`
		Permission string `json:"permission_endpoint"`
		Policy     string `json:"policy_endpoint"`
	}
	status, err := getJSON(ctx, client, strings.TrimSuffix(issuer, "/")+"/.well-known/uma2-configuration", &md)
	switch {
	case status == http.StatusNotFound:
		return false, false, nil
	case err != nil:
		return false, false, fmt.Errorf("asking %s for its uma2-configuration: %w", issuer, err)
	}
	return md.Issuer == issuer && md.Permission != "", md.Policy != "", nil
}

func getJSON(ctx context.Context, client *http.Client, address string, v any) (status int, err error) {
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, address, nil)
	if err != nil {
		return 0, err
	}
	resp, err := client.Do(req)
	if err != nil {
		return 0, err
	}
	defer resp.Body.Close()
	if resp.StatusCode != http.StatusOK {
		return resp.StatusCode, fmt.Errorf("the answer is %s", resp.Status)
	}
	if err := json.NewDecoder(io.LimitReader(resp.Body, maxDocument)).Decode(v); err != nil {
		return resp.StatusCode, errors.New("the answer is not the expected JSON")
	}
	return resp.StatusCode, nil
}

// trust makes the embedded server accept ID Tokens of another issuer, made for
// the print shop, as claims.
func trust(op *opserver.Server, provider *gatehouse.Provider, audience string, client *http.Client) error {
	return op.TrustIssuer(opserver.TrustedIssuer{
		Issuer:   provider.Issuer(),
		Audience: []string{audience},
		Keys: func(ctx context.Context) ([]jose.JSONWebKey, error) {
			md, err := provider.Metadata(ctx)
			if err != nil {
				return nil, err
			}
			var set jose.JSONWebKeySet
			if _, err := getJSON(ctx, client, md.JWKSURI, &set); err != nil {
				return nil, errors.New("the keys of the issuer cannot be fetched")
			}
			return set.Keys, nil
		},
	})
}
