package gatehouse

import (
	"context"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"strings"

	"example.com/gatehouse/internal/outbound"
)

// revoke tells the provider that a token is not needed any more (RFC 7009 §2.1).
// A provider without the endpoint is no error.
func (p *Provider) revoke(ctx context.Context, c Client, token, hint string) error {
	md, err := p.Metadata(ctx)
	if err != nil || md.RevocationEndpoint == "" {
		return err
	}
	response, err := p.postForm(ctx, c, md.RevocationEndpoint, url.Values{"token": {token}, "token_type_hint": {hint}})
	if err != nil {
		return err
	}
	defer response.Body.Close()
	if response.StatusCode != http.StatusOK {
		return fmt.Errorf("revocation endpoint answered %d", response.StatusCode)
	}
	_, err = io.Copy(io.Discard, response.Body)
	return err
}

// postForm sends a form with our client's authentication. The caller closes the
// body. The error is redacted.
func (p *Provider) postForm(ctx context.Context, c Client, endpoint string, form url.Values) (*http.Response, error) {
	header := http.Header{"Content-Type": {"application/x-www-form-urlencoded"}, "Accept": {"application/json"}}
	c.authenticate(header, form)
	r, err := http.NewRequestWithContext(ctx, http.MethodPost, endpoint, strings.NewReader(form.Encode()))
	if err != nil {
		return nil, errors.New("endpoint is no URL")
	}
	r.Header = header
	response, err := p.client.Do(r)
	if err != nil {
		return nil, outbound.Redact(err)
	}
	return response, nil
}

// readPayload decodes the claims of a compact token that was verified before.
func readPayload(raw string, v any) error {
	parts := strings.Split(raw, ".")
	if len(parts) != 3 {
		return errors.New("not a compact token")
	}
	payload, err := base64.RawURLEncoding.DecodeString(parts[1])
	if err != nil {
		return err
	}
	return json.Unmarshal(payload, v)
}
