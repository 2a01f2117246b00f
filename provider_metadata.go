package gatehouse

import (
	"errors"
	"fmt"

	"example.com/gatehouse/internal/outbound"
)

// Metadata is what a provider publishes about itself: OpenID Connect Discovery
// §3, RFC 8414 §2 and UMA 2.0 Grant §2. Members that gatehouse does not use are
// left out.
type Metadata struct {
	// The members of OpenID Connect Discovery §3 and RFC 8414 §2.
	Issuer                string   `json:"issuer"`
	AuthorizationEndpoint string   `json:"authorization_endpoint"`
	TokenEndpoint         string   `json:"token_endpoint"`
	UserInfoEndpoint      string   `json:"userinfo_endpoint"`
	JWKSURI               string   `json:"jwks_uri"`
	EndSessionEndpoint    string   `json:"end_session_endpoint"`   // RP-Initiated Logout §2.1
	RevocationEndpoint    string   `json:"revocation_endpoint"`    // RFC 7009
	IntrospectionEndpoint string   `json:"introspection_endpoint"` // RFC 7662
	ScopesSupported       []string `json:"scopes_supported"`
	// IDTokenAlgorithms are the algorithms the provider signs ID Tokens with.
	IDTokenAlgorithms []string `json:"id_token_signing_alg_values_supported"`
	// ResponseIssuer says that authorization answers carry iss (RFC 9207 §3).
	ResponseIssuer bool `json:"authorization_response_iss_parameter_supported"`

	// The UMA members (UMA Federated Authorization §2).
	PermissionEndpoint           string `json:"permission_endpoint"`
	ResourceRegistrationEndpoint string `json:"resource_registration_endpoint"`
	ClaimsInteractionEndpoint    string `json:"claims_interaction_endpoint"`
	// PolicyEndpoint is Keycloak's own; its presence tells such a server.
	PolicyEndpoint string `json:"policy_endpoint"`
}

func (md *Metadata) clearUMA() { md.takeUMA(&Metadata{}) }

func (md *Metadata) takeUMA(uma *Metadata) {
	md.PermissionEndpoint = uma.PermissionEndpoint
	md.ResourceRegistrationEndpoint = uma.ResourceRegistrationEndpoint
	md.ClaimsInteractionEndpoint = uma.ClaimsInteractionEndpoint
	md.PolicyEndpoint = uma.PolicyEndpoint
	if md.IntrospectionEndpoint == "" {
		md.IntrospectionEndpoint = uma.IntrospectionEndpoint
	}
	if md.TokenEndpoint == "" {
		md.TokenEndpoint = uma.TokenEndpoint
	}
}

// isKeycloak reports whether the server is a Keycloak, which deviates from UMA
// in known ways (internal/testkit/umacases): its metadata has a policy endpoint and no
// claims interaction endpoint.
func (md *Metadata) isKeycloak() bool {
	return md.PolicyEndpoint != "" && md.ClaimsInteractionEndpoint == ""
}

// checkEndpoints refuses metadata that names an address in clear text or one
// that is no absolute URL, before anything is sent there.
func (md *Metadata) checkEndpoints(insecureHTTP bool) error {
	var problems []error
	for _, e := range []struct{ name, url string }{
		{"authorization_endpoint", md.AuthorizationEndpoint},
		{"token_endpoint", md.TokenEndpoint},
		{"userinfo_endpoint", md.UserInfoEndpoint},
		{"jwks_uri", md.JWKSURI},
		{"end_session_endpoint", md.EndSessionEndpoint},
		{"revocation_endpoint", md.RevocationEndpoint},
		{"introspection_endpoint", md.IntrospectionEndpoint},
		{"permission_endpoint", md.PermissionEndpoint},
		{"resource_registration_endpoint", md.ResourceRegistrationEndpoint},
	} {
		if e.url == "" {
			continue
		}
		if _, err := outbound.CheckURL(e.url, insecureHTTP); err != nil {
			problems = append(problems, fmt.Errorf("%s: %w", e.name, err))
		}
	}
	return errors.Join(problems...)
}
