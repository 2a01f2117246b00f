package gatehouse_test

import (
	"io"
	"log/slog"
	"net/http"
	"slices"
	"strings"
	"testing"

	"example.com/gatehouse"
)

// byPath answers each address with its document.
type byPath map[string]string

func (b byPath) RoundTrip(r *http.Request) (*http.Response, error) {
	body, ok := b[r.URL.String()]
	resp := &http.Response{StatusCode: http.StatusOK, Request: r, Header: http.Header{"Content-Type": {"application/json"}}, Body: io.NopCloser(strings.NewReader(body))}
	if !ok {
		resp.StatusCode = http.StatusNotFound
	}
	return resp, nil
}

// roundTrip is a function as a transport.
type roundTrip func(*http.Request) (*http.Response, error)

func (f roundTrip) RoundTrip(r *http.Request) (*http.Response, error) { return f(r) }

// An issuer that is no address has metadata at MetadataURL, and the document has
// to name it too.
func TestMetadataURLOfAName(t *testing.T) {
	const at = "https://op.test/meta"
	for said, want := range map[string]string{"itsyouonline": "", "urn:example:op": "metadata_issuer_mismatch", "https://op.test": "metadata_issuer_mismatch", "": "metadata_issuer_mismatch"} {
		wire := byPath{at: `{"issuer":"` + said + `","token_endpoint":"https://op.test/token","jwks_uri":"http://127.0.0.1/keys"}`}
		p, err := gatehouse.NewProvider("itsyouonline", &gatehouse.ProviderConfig{MetadataURL: at, Transport: wire, Logger: slog.New(slog.DiscardHandler)})
		if err != nil {
			t.Fatal(err)
		}
		md, err := p.Metadata(t.Context())
		if code := gatehouse.ErrorCode(err); code != want {
			t.Errorf("it says %q: code %q, want %q", said, code, want)
		}
		if err == nil && (md.TokenEndpoint != "https://op.test/token" || md.JWKSURI != "") { // http, though it was fetched by https
			t.Errorf("token_endpoint %q, jwks_uri %q", md.TokenEndpoint, md.JWKSURI)
		}
	}
}

// uma2-configuration is beside the OpenID document.
func TestMetadataURLOfUMA(t *testing.T) {
	const openID, uma = `{"issuer":"https://op.test/realm","token_endpoint":"https://in.test/r/token"}`, `{"issuer":"https://op.test/realm","token_endpoint":"https://in.test/r/uma"}`
	for _, c := range []struct{ issuer, url, at string }{
		{"https://op.test/realm", "https://in.test/r/.well-known/openid-configuration", "https://in.test/r/.well-known/uma2-configuration"},
		{"https://op.test/realm", "https://in.test/r/.well-known/openid-configuration?x=1", "https://in.test/r/.well-known/uma2-configuration"},
		{"https://op.test/realm", "https://in.test/metadata", "https://op.test/realm/.well-known/uma2-configuration"},
	} {
		var asked []string
		wire := roundTrip(func(r *http.Request) (*http.Response, error) {
			asked = append(asked, r.URL.String())
			return byPath{c.url: openID, c.at: uma}.RoundTrip(r)
		})
		photos := roundTrip(func(r *http.Request) (*http.Response, error) {
			resp, err := byPath{}.RoundTrip(r)
			resp.StatusCode = http.StatusUnauthorized
			resp.Header.Set("WWW-Authenticate", `UMA as_uri="`+c.issuer+`", ticket="t"`)
			return resp, err
		})
		p, err := gatehouse.NewProvider(c.issuer, &gatehouse.ProviderConfig{MetadataURL: c.url, Transport: wire, Logger: slog.New(slog.DiscardHandler)})
		if err != nil {
			t.Fatal(err)
		}
		shop, err := gatehouse.NewUMATransport(p, gatehouse.UMATransportConfig{Client: gatehouse.Client{ID: "shop", Secret: gatehouse.NewSecret("s")}, Base: photos})
		if err != nil {
			t.Fatal(err)
		}
		_, err = (&http.Client{Transport: shop}).Get("https://photos.test/1")
		if want := []string{c.at, c.url, "https://in.test/r/token"}; err == nil || !slices.Equal(asked, want) {
			t.Errorf("%s: asked %q, want %q; error %v", c.url, asked, want, err)
		}
		if err := p.Shutdown(t.Context()); err != nil {
			t.Error(err)
		}
	}
}
