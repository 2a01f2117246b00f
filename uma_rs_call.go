package gatehouse

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"strings"

	"example.com/gatehouse/internal/outbound"
	"example.com/gatehouse/internal/strictjson"
)

// asAnswer is an answer of the authorization server, its body read whole.
type asAnswer struct {
	status int
	header http.Header
	body   []byte
}

// errorCode is the error member of an OAuth error object (UMA Federated
// Authorization §6), "" if there is none.
func (a *asAnswer) errorCode() string {
	var body struct {
		Error string `json:"error"`
	}
	if strictjson.Unmarshal(a.body, &body) != nil {
		return ""
	}
	return clip(body.Error)
}

// unexpected is the error of an answer that we cannot use. It holds the OAuth
// error code, nothing else of the body.
func (a *asAnswer) unexpected(what string) error {
	return errProviderUnavailable.because(fmt.Errorf("%s: status %d, error %q", what, a.status, a.errorCode()))
}

// refusesCaller reports an answer that is about our credentials (RFC 6750 §3.1,
// RFC 7662 §2.3).
func (a *asAnswer) refusesCaller() bool {
	return a.status == http.StatusUnauthorized || a.status == http.StatusForbidden
}

// refusesPAT reports an answer that may mean that the protection API token is
// no longer good. Servers say that with 401, 403 (Keycloak, K1), 406 (Gluu) or
// a 400 of some other kind than a refused request.
func (a *asAnswer) refusesPAT() bool {
	switch a.status {
	case http.StatusUnauthorized, http.StatusForbidden, http.StatusNotAcceptable:
		return true
	case http.StatusBadRequest:
		switch a.errorCode() {
		case "invalid_resource_id", "invalid_scope", "invalid_request":
			return false
		}
		return true
	}
	return false
}

// withPAT makes a call that a protection API token authorizes. A token that the
// server refuses is renewed once and the call repeated once.
func (rs *ResourceServer) withPAT(ctx context.Context, owner string, call func(pat Secret) (*asAnswer, error)) (*asAnswer, error) {
	pat, err := rs.pat(ctx, owner, Secret{})
	if err != nil {
		return nil, err
	}
	a, err := call(pat)
	if err != nil || !a.refusesPAT() {
		return a, err
	}
	fresh, err := rs.pat(ctx, owner, pat)
	if err != nil {
		return nil, err
	}
	if fresh.Reveal() == pat.Reveal() {
		return a, nil // the source has no other: the answer stands
	}
	return call(fresh)
}

func (rs *ResourceServer) pat(ctx context.Context, owner string, refused Secret) (Secret, error) {
	pat, err := rs.pats.PAT(ctx, owner, refused)
	if err == nil && pat.IsZero() {
		err = errors.New("the PATSource gave no token")
	}
	if err != nil {
		return Secret{}, asError(err, errClientRefused)
	}
	return pat, nil
}

// callAPI makes one call of the protection API; in, if not nil, is sent as JSON.
func (rs *ResourceServer) callAPI(ctx context.Context, owner, method, address string, in any) (*asAnswer, error) {
	var payload []byte
	if in != nil {
		var err error
		if payload, err = json.Marshal(in); err != nil {
			return nil, errInternal.because(err)
		}
	}
	return rs.withPAT(ctx, owner, func(pat Secret) (*asAnswer, error) {
		header := http.Header{"Authorization": {"Bearer " + pat.Reveal()}} // RFC 6750 §2.1
		if in != nil {
			header.Set("Content-Type", "application/json")
		}
		return rs.provider.call(ctx, method, address, header, payload)
	})
}

// callAsClient sends a form to an endpoint as client c.
func (p *Provider) callAsClient(ctx context.Context, endpoint string, c Client, form url.Values) (*asAnswer, error) {
	form, header := cloneForm(form), http.Header{}
	c.authenticate(header, form)
	header.Set("Content-Type", "application/x-www-form-urlencoded")
	return p.call(ctx, http.MethodPost, endpoint, header, []byte(form.Encode()))
}

// callAsBearer sends a form to an endpoint with a bearer token.
func (p *Provider) callAsBearer(ctx context.Context, endpoint string, token Secret, form url.Values) (*asAnswer, error) {
	header := http.Header{"Authorization": {"Bearer " + token.Reveal()}}
	header.Set("Content-Type", "application/x-www-form-urlencoded")
	return p.call(ctx, http.MethodPost, endpoint, header, []byte(form.Encode()))
}

func cloneForm(form url.Values) url.Values {
	c := make(url.Values, len(form)+2)
	for name, values := range form {
		c[name] = values
	}
	return c
}

// call makes one exchange with the authorization server. An error is of kind
// errProviderUnavailable: no answer, or one that says that the server is in
// trouble, or a redirect, which is never followed (M10).
func (p *Provider) call(ctx context.Context, method, address string, header http.Header, payload []byte) (*asAnswer, error) {
	where := strings.ToLower(method) + " " + pathOf(address)
	req, err := http.NewRequestWithContext(ctx, method, address, bytes.NewReader(payload))
	if err != nil {
		return nil, errMetadataInvalid.because(errors.New("an endpoint is not a URL"))
	}
	req.Header = header
	req.Header.Set("Accept", "application/json")
	resp, err := p.client.Do(req)
	if err != nil {
		return nil, errProviderUnavailable.because(outbound.Redact(err))
	}
	defer resp.Body.Close()
	body, err := io.ReadAll(resp.Body)
	if err != nil {
		return nil, errProviderUnavailable.because(fmt.Errorf("%s: %w", where, err))
	}
	a := &asAnswer{status: resp.StatusCode, header: resp.Header, body: body}
	switch {
	case a.status >= 500, a.status == http.StatusTooManyRequests:
		e := errProviderUnavailable.because(fmt.Errorf("%s: status %d", where, a.status))
		if wait := outbound.RetryAfter(resp.Header); wait > 0 {
			e.RetryAfter = wait
		}
		return nil, e
	case a.status >= 300 && a.status < 400:
		return nil, errProviderUnavailable.because(fmt.Errorf("%s: status %d, a redirect, which is not followed", where, a.status))
	}
	return a, nil
}

func pathOf(address string) string {
	u, err := url.Parse(address)
	if err != nil {
		return "?"
	}
	return u.Path
}
