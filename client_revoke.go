package gatehouse

import (
	"context"
	"fmt"
	"net/http"
	"net/url"
)

// revoke tells the provider that a token is not needed any more (RFC 7009 §2.1).
// A provider without the endpoint is no error.
func (p *Provider) revoke(ctx context.Context, c Client, token, hint string) error {
	md, err := p.Metadata(ctx)
	if err != nil || md.RevocationEndpoint == "" {
		return err
	}
	a, err := p.callAsClient(ctx, md.RevocationEndpoint, c, url.Values{"token": {token}, "token_type_hint": {hint}})
	if err != nil {
		return err
	}
	if a.status != http.StatusOK {
		return fmt.Errorf("revocation endpoint answered %d", a.status)
	}
	return nil
}
