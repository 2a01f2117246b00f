package gatehouse_test

import (
	"bytes"
	"encoding/json"
	"io"
	"log/slog"
	"net/http"
	"net/url"
	"strings"
	"testing"
	"time"

	"example.com/gatehouse"
)

var fuzzNow = time.Date(2026, 5, 1, 12, 0, 0, 0, time.UTC)

// answering is a provider that gives the same answer to everything and records
// the addresses that were requested.
type answering struct {
	status int
	body   []byte
	asked  []string
}

func (a *answering) RoundTrip(r *http.Request) (*http.Response, error) {
	a.asked = append(a.asked, r.URL.String())
	return &http.Response{StatusCode: a.status, Proto: "HTTP/1.1", ProtoMajor: 1, ProtoMinor: 1, Request: r,
		Header: http.Header{"Content-Type": {"application/json"}}, Body: io.NopCloser(bytes.NewReader(a.body)), ContentLength: int64(len(a.body))}, nil
}

// FuzzMetadata checks that accepted metadata is from our issuer and that every
// address in it is absolute and https, or on loopback. Only the issuer is
// asked for metadata.
func FuzzMetadata(f *testing.F) {
	const good = `{"issuer":"https://op.test","authorization_endpoint":"https://op.test/az","token_endpoint":"https://op.test/tok","jwks_uri":"https://op.test/keys"}`
	for _, change := range [][2]string{
		{"", ""}, {`"https://op.test"`, `"https://op.test/"`}, {`"https://op.test"`, `"https://OP.test"`}, {`"issuer"`, `"Issuer"`}, {`"issuer"`, `"issuer":"https://evil.test","issuer"`},
		{`https://op.test/tok`, `http://op.test/tok`}, {`https://op.test/tok`, `http://127.0.0.1:1/tok`}, {`https://op.test/tok`, `//op.test/tok`}, {`https://op.test/tok`, `https:///tok`},
		{`https://op.test/tok`, `javascript:alert(1)`}, {`https://op.test/tok`, `https://user:pw@op.test/tok`}, {`https://op.test/tok`, `https://op.test/tok#x`},
		{`"https://op.test/tok"`, `5`}, {`"https://op.test/tok"`, `null`}, {`"https://op.test/az"`, `["https://op.test/az"]`}, {`https://op.test/az`, `https://op.test/az?x=1`},
		{`https://op.test/keys`, `http://localhost.evil.test/keys`}, {`https://op.test/keys`, `http://127.0.0.1.evil.test/`}, {`https://op.test/keys`, "https://op.test/\\u0000"},
		{`}`, `,"id_token_signing_alg_values_supported":["none","RS256"]}`}, {`}`, `,"authorization_response_iss_parameter_supported":"true"}`}, {`}`, `}}`}, {`{`, `[{`},
	} {
		f.Add([]byte(strings.Replace(good, change[0], change[1], 1)))
	}
	f.Fuzz(func(t *testing.T, body []byte) {
		wire := &answering{status: http.StatusOK, body: body}
		p, err := gatehouse.NewProvider("https://op.test", &gatehouse.ProviderConfig{Transport: wire, Now: func() time.Time { return fuzzNow }, Logger: slog.New(slog.NewTextHandler(io.Discard, nil))})
		if err != nil {
			t.Fatal(err)
		}
		md, err := p.Metadata(t.Context())
		for _, where := range wire.asked {
			if !strings.HasPrefix(where, "https://op.test/.well-known/") {
				t.Errorf("%s was asked", where)
			}
		}
		if err != nil {
			if e, ok := err.(*gatehouse.Error); !ok || e.Status != http.StatusServiceUnavailable || (e.RetryAfter > 0) != (e.Code == gatehouse.CodeProviderUnavailable) {
				t.Errorf("error %v", err)
			}
			return
		}
		var m map[string]any
		if err := json.Unmarshal(body, &m); err != nil || m["issuer"] != "https://op.test" {
			t.Errorf("%q is taken, error %v", body, err)
		}
		for name, address := range map[string]string{
			"authorization_endpoint": md.AuthorizationEndpoint, "token_endpoint": md.TokenEndpoint, "userinfo_endpoint": md.UserInfoEndpoint,
			"jwks_uri": md.JWKSURI, "end_session_endpoint": md.EndSessionEndpoint, "revocation_endpoint": md.RevocationEndpoint,
		} {
			said, _ := m[name].(string)
			u, err := url.Parse(said)
			good := err == nil && u.Scheme == "https" && u.Hostname() != "" && u.User == nil && !strings.Contains(said, "#")
			switch {
			case address == "" && good && u.Port() == "":
				t.Errorf("%s %q is not taken", name, said)
			case address != "" && address != said:
				t.Errorf("%s is %q, but says %q", name, said, address)
			case address != "" && !good:
				t.Errorf("%s %q is taken", name, address)
			}
		}
	})
}
