package token_test

import (
	"context"
	"errors"
	"testing"
	"time"

	"github.com/go-jose/go-jose/v4"

	"example.com/gatehouse/internal/token"
)

const (
	tenantA, tenantB = "72f988bf-0000", "9188040d-0000"
	issuerA, issuerB = "https://login.test/" + tenantA + "/v2.0", "https://login.test/" + tenantB + "/v2.0"
	template         = "https://login.test/{tenantid}/v2.0"
)

func tenants() *token.Verifier {
	return token.NewVerifier(token.Config{
		Issuer: template, Tenants: map[string]string{tenantA: issuerA, tenantB: issuerB},
		Keys: published(), Now: func() time.Time { return now },
		Algorithms: func(context.Context) ([]string, error) { return []string{"ES256"}, nil },
	})
}

// With tenants iss must be that of the tenant in tid, byte for byte, and the tenant
// must be one of those that are configured, whatever the kind of the token.
func TestTenants(t *testing.T) {
	for name, c := range map[string]struct {
		issuer, tenant any
		want           error
	}{
		"a tenant":                   {issuerA, tenantA, nil},
		"another tenant":             {issuerB, tenantB, nil},
		"a tenant that is not ours":  {"https://login.test/other/v2.0", "other", token.ErrIssuer},
		"iss of another tenant":      {issuerB, tenantA, token.ErrIssuer},
		"iss of no tenant":           {"https://login.test/other/v2.0", tenantA, token.ErrIssuer},
		"iss is the template":        {template, tenantA, token.ErrIssuer},
		"tid is the place":           {template, "{tenantid}", token.ErrIssuer},
		"no tid":                     {issuerA, nil, token.ErrIssuer},
		"tid is empty":               {issuerA, "", token.ErrIssuer},
		"tid is null":                {issuerA, rawNull{}, token.ErrIssuer},
		"tid is a list":              {issuerA, []string{tenantA}, token.ErrIssuer},
		"tid in capitals":            {issuerA, "72F988BF-0000", token.ErrIssuer},
		"iss with a slash":           {issuerA + "/", tenantA, token.ErrIssuer},
		"iss at another server":      {"https://evil.test/" + tenantA + "/v2.0", tenantA, token.ErrIssuer},
		"no iss":                     {nil, tenantA, token.ErrIssuer},
		"iss and tid of older forms": {"https://sts.windows.net/" + tenantA + "/", tenantA, token.ErrIssuer},
	} {
		t.Run(name, func(t *testing.T) {
			v := tenants()
			check := func(kind string, issuer func() string, err error) {
				t.Helper()
				if !errors.Is(err, c.want) || (err == nil) != (c.want == nil) {
					t.Errorf("%s: error %v, want %v", kind, err, c.want)
				}
				if err == nil && issuer() != c.issuer {
					t.Errorf("%s: issuer %q, want %q", kind, issuer(), c.issuer)
				}
			}
			raw := signed(t, "iss", c.issuer, "tid", c.tenant)
			first, err := v.SignIn(t.Context(), raw, signIn())
			check("ID Token", func() string { return first.Issuer() }, err)
			want := token.Refresh{Client: client, Subject: "u1"}
			want.Issuer, _ = c.issuer.(string)
			next, err := v.Refresh(t.Context(), raw, want)
			check("refreshed ID Token", func() string { return next.Issuer() }, err)
			check("refreshed, unverified", func() string { return want.Issuer }, v.Plausible(raw, want))
			access, err := v.Access(t.Context(), accessToken(t, "at+jwt", "iss", c.issuer, "tid", c.tenant), api())
			check("access token", func() string { return access.Issuer() }, err)
			out, err := v.Logout(t.Context(), logoutToken(t, "logout+jwt", logoutClaims("iss", c.issuer, "tid", c.tenant)), client, "")
			check("logout token", func() string { return out.Issuer() }, err)
		})
	}
}

// OpenID Connect Core §12.2: the ID Token of a refresh is of the tenant of the
// sign-in, not of another one that is allowed too.
func TestTenantOfRefresh(t *testing.T) {
	raw := signed(t, "iss", issuerB, "tid", tenantB)
	for issuer, want := range map[string]error{issuerB: nil, issuerA: token.ErrIssuer, template: token.ErrIssuer, "": token.ErrIssuer} {
		r := token.Refresh{Issuer: issuer, Client: client, Subject: "u1"}
		if _, err := tenants().Refresh(t.Context(), raw, r); !errors.Is(err, want) {
			t.Errorf("signed in at %q: error %v, want %v", issuer, err, want)
		}
		if err := tenants().Plausible(raw, r); !errors.Is(err, want) {
			t.Errorf("signed in at %q, unverified: error %v, want %v", issuer, err, want)
		}
	}
}

// Signed user info names one of the tenants, if it names an issuer.
func TestTenantOfUserInfo(t *testing.T) {
	for issuer, want := range map[any]error{issuerA: nil, issuerB: nil, nil: nil, template: token.ErrIssuer, "https://login.test/other/v2.0": token.ErrIssuer} {
		said := claims("iss", issuer)
		raw := sign(t, jose.ES256, keys()[jose.ES256], nil, said)
		if _, err := tenants().UserInfo(t.Context(), raw, client, "u1", ""); !errors.Is(err, want) {
			t.Errorf("iss %v: error %v, want %v", issuer, err, want)
		}
	}
}

// Elsewhere tid is any claim, and costs nothing.
func TestNoTenants(t *testing.T) {
	for _, tid := range []any{nil, "x", 5, []int{1}} {
		if got, err := verifier("ES256").SignIn(t.Context(), signed(t, "tid", tid), signIn()); err != nil || got.Issuer() != issuer {
			t.Errorf("tid %v: %v", tid, err)
		}
		if _, err := verifier("ES256").Access(t.Context(), accessToken(t, "at+jwt", "tid", tid), api()); err != nil {
			t.Errorf("tid %v: %v", tid, err)
		}
	}
	if v := verifier(); !v.Owns(issuer) || v.Owns(issuer+"/") || v.Owns("") {
		t.Error("the issuer is owned, and nothing else is")
	}
	if v := tenants(); !v.Owns(issuerA) || !v.Owns(issuerB) || v.Owns(template) || v.Owns("") {
		t.Error("the tenants are owned, and the template is not")
	}
}
