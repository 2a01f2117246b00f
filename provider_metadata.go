package gatehouse

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"slices"
	"time"

	"example.com/gatehouse/internal/authresponse"
	"example.com/gatehouse/internal/backchannel"
	"example.com/gatehouse/internal/discovery"
	"example.com/gatehouse/internal/keyset"
	"example.com/gatehouse/internal/outbound"
	"example.com/gatehouse/internal/swap"
)

// kept returns a metadata document that is fetched on first use and then kept.
func (p *Provider) kept(fetch func(context.Context) (*Metadata, error)) *backchannel.Kept[*Metadata] {
	return backchannel.NewKept(backchannel.KeptConfig[*Metadata]{
		Fetch: func(ctx context.Context) (*Metadata, backchannel.Life, error) {
			md, err := fetch(ctx)
			return md, backchannel.Life{RenewAt: p.now().Add(metadataAge)}, err
		},
		Fetched: func(ctx context.Context, _ *Metadata) { p.tellDefects(ctx) },
		Failed: func(ctx context.Context, err error) {
			p.emit(ctx, Event{Name: EventTrouble, Code: troubleOf(err, troubleMetadata, troubleDocument), Err: err})
		},
		Now: p.now, Timeout: outbound.Timeout, Wait: metadataWait,
		Pause: metadataBackoff, MaxPause: metadataBackoffMax,
	})
}

// tellDefects reports each member that is not used once, however often the
// document is fetched.
func (p *Provider) tellDefects(ctx context.Context) {
	p.mu.Lock()
	documents := p.defects
	p.mu.Unlock()
	for _, defects := range documents {
		for _, name := range defects.Names() {
			if p.once(name) {
				p.emit(ctx, Event{Name: EventTrouble, Code: troubleMember, Err: fmt.Errorf("%s: %w", name, defects[name])})
			}
		}
	}
}

// awaitMetadata is Metadata for a caller that waits as long as ctx allows, also
// for the end of the pause after a failed fetch, if there is time for it.
func (p *Provider) awaitMetadata(ctx context.Context) (*Metadata, error) {
	waited := time.Duration(-1)
	for {
		md, err := p.openid.Await(ctx)
		if err == nil {
			return md, nil
		}
		deadline, ok := ctx.Deadline()
		pause, paused := errors.AsType[*backchannel.Paused](err)
		switch {
		case ctx.Err() != nil || !ok || mistake(err) != nil, // waiting does not help
			paused && (pause.Left == waited || time.Until(deadline) <= pause.Left): // or the clock stands still
			return nil, asError(late(err, "metadata", p.addressOf(p.openid)), errProviderUnavailable)
		case paused:
			waited = pause.Left
			if swap.Pause(ctx, pause.Left) != nil {
				return nil, asError(err, errProviderUnavailable)
			}
		}
	}
}

func (p *Provider) get(ctx context.Context, document *backchannel.Kept[*Metadata]) (*Metadata, error) {
	md, err := document.Get(ctx)
	if err != nil {
		return nil, asError(late(err, "metadata", p.addressOf(document)), errProviderUnavailable)
	}
	return md, nil
}

// addressOf returns where a document is asked for first.
func (p *Provider) addressOf(document *backchannel.Kept[*Metadata]) string {
	if document == p.uma {
		return p.sources.uma()
	}
	return p.sources.openID()
}

// knownEndpoint returns an endpoint of the authorization server for the log,
// without asking the server. If it is not known yet, that is the document that
// names it.
func (p *Provider) knownEndpoint(pick func(*Metadata) string) string {
	for _, document := range []*backchannel.Kept[*Metadata]{p.uma, p.openid} {
		if md := document.Known(); md != nil && pick(md) != "" {
			return pick(md)
		}
	}
	return p.addressOf(p.uma)
}

// fetchOpenID fetches the OpenID Connect Discovery document (§4). If the
// provider has none, it fetches that of RFC 8414 §3. A configured address is the
// only one that is asked.
func (p *Provider) fetchOpenID(ctx context.Context) (*Metadata, error) {
	md, err := p.fetchMetadata(ctx, documentOpenID, p.sources.openID())
	if status, ok := errors.AsType[*outbound.StatusError](err); ok && status.Code == http.StatusNotFound && p.sources.url == "" {
		md, err = p.fetchMetadata(ctx, documentOpenID, inserted(p.issuer, "oauth-authorization-server"))
	}
	if err != nil {
		return nil, err
	}
	md.clearUMA()
	return md, nil
}

// fetchUMA fetches the UMA members (UMA Grant §2). The rest comes from the
// OpenID or RFC 8414 document, if the server has one.
func (p *Provider) fetchUMA(ctx context.Context) (*Metadata, error) {
	if p.sources.uma() == "" {
		return nil, errMetadataMissing.because(errors.New("the issuer is a name, and MetadataURL does not show where its uma2-configuration is"))
	}
	uma, err := p.fetchMetadata(ctx, documentUMA, p.sources.uma())
	if p.written != nil && ErrorCode(err) == errMetadataMissing.code {
		return p.written, nil // it serves as far as it goes
	}
	if err != nil {
		return nil, err
	}
	base, err := p.Metadata(ctx)
	if err != nil {
		if ErrorCode(err) == errMetadataMissing.code {
			return uma, nil // a UMA server that is not an OpenID provider
		}
		return nil, err
	}
	md := *base
	md.takeUMA(uma)
	return &md, nil
}

func (p *Provider) fetchMetadata(ctx context.Context, document int, url string) (*Metadata, error) {
	var members map[string]json.RawMessage
	if _, err := outbound.GetJSON(ctx, p.client, url, metadataLimit, &members); err != nil {
		if errors.Is(err, outbound.ErrNotJSON) || errors.Is(err, outbound.ErrTooLarge) {
			return nil, errMetadataInvalid.because(err)
		}
		if status, ok := errors.AsType[*outbound.StatusError](err); ok && status.Lasting() {
			return nil, errMetadataMissing.because(err)
		}
		return nil, outage(err).because(err)
	}
	d := discovery.New(members, p.sources.rules(p.insecure))
	md := readMetadata(d)
	for _, name := range []string{memberIssuer, memberAlgorithms} { // whom to believe, and how, is never guessed
		if err := d.Defects()[name]; err != nil {
			return nil, errMetadataInvalid.because(fmt.Errorf("%s: %w", name, err))
		}
	}
	// The document must name the issuer it was requested for (Discovery §4.3,
	// RFC 8414 §3.3).
	if md.Issuer != p.issuer {
		return nil, errMetadataIssuer.because(fmt.Errorf("configured %q, metadata says %q", p.issuer, clip(md.Issuer)))
	}
	p.mu.Lock()
	p.defects[document] = d.Defects()
	p.mu.Unlock()
	return md, nil
}

// Metadata is what a provider publishes about itself: the members of OpenID
// Connect Discovery §3, RFC 8414 §2 and UMA Grant §2 that gatehouse uses.
type Metadata struct {
	// Members of OpenID Connect Discovery §3 and RFC 8414 §2.
	Issuer                string   `json:"issuer"`
	AuthorizationEndpoint string   `json:"authorization_endpoint"`
	TokenEndpoint         string   `json:"token_endpoint"`
	UserInfoEndpoint      string   `json:"userinfo_endpoint"`
	JWKSURI               string   `json:"jwks_uri"`
	EndSessionEndpoint    string   `json:"end_session_endpoint"`   // RP-Initiated Logout §2.1
	RevocationEndpoint    string   `json:"revocation_endpoint"`    // RFC 7009
	IntrospectionEndpoint string   `json:"introspection_endpoint"` // RFC 7662
	RegistrationEndpoint  string   `json:"registration_endpoint"`  // Dynamic Client Registration §3, RFC 7591
	ScopesSupported       []string `json:"scopes_supported"`
	// IDTokenAlgorithms are the algorithms that the provider signs ID Tokens
	// with.
	IDTokenAlgorithms []string `json:"id_token_signing_alg_values_supported"`
	// ResponseIssuer says that authorization responses carry iss (RFC 9207
	// §3).
	ResponseIssuer bool `json:"authorization_response_iss_parameter_supported"`
	// ResponseTypes and ResponseModes are what the provider offers in answer to
	// an authorization request. nil means that it does not say.
	ResponseTypes []string `json:"response_types_supported"`
	ResponseModes []string `json:"response_modes_supported"`
	// UserInfoAlgorithms are the algorithms that the provider signs user info
	// with, in addition to IDTokenAlgorithms.
	UserInfoAlgorithms []string `json:"userinfo_signing_alg_values_supported"`
	// TokenAuthMethods, RevocationAuthMethods and IntrospectionAuthMethods are
	// how clients authenticate at the endpoint of that name (RFC 8414 §2). nil
	// means AuthBasic, and at the introspection endpoint what TokenAuthMethods
	// says.
	TokenAuthMethods         []string `json:"token_endpoint_auth_methods_supported"`
	RevocationAuthMethods    []string `json:"revocation_endpoint_auth_methods_supported"`
	IntrospectionAuthMethods []string `json:"introspection_endpoint_auth_methods_supported"`
	// TokenAuthAlgorithms, RevocationAuthAlgorithms and
	// IntrospectionAuthAlgorithms are what assertions of clients may be signed
	// with there (RFC 8414 §2). nil means whatever the client is registered for,
	// and at the two other endpoints what TokenAuthAlgorithms says.
	TokenAuthAlgorithms         []string `json:"token_endpoint_auth_signing_alg_values_supported"`
	RevocationAuthAlgorithms    []string `json:"revocation_endpoint_auth_signing_alg_values_supported"`
	IntrospectionAuthAlgorithms []string `json:"introspection_endpoint_auth_signing_alg_values_supported"`
	// DPoPAlgorithms are what the provider takes proofs with (RFC 9449 §5.1). nil
	// means that it does not say.
	DPoPAlgorithms []string `json:"dpop_signing_alg_values_supported"`

	// Members of UMA Federated Authorization §2.
	PermissionEndpoint           string `json:"permission_endpoint"`
	ResourceRegistrationEndpoint string `json:"resource_registration_endpoint"`
	ClaimsInteractionEndpoint    string `json:"claims_interaction_endpoint"`
	// PolicyEndpoint exists only at Keycloak, so it identifies such a server.
	PolicyEndpoint string `json:"policy_endpoint"`
}

// readMetadata reads a document that was fetched. A defect costs only its own
// member.
func readMetadata(d *discovery.Document) *Metadata {
	return &Metadata{
		Issuer:                       d.Text(memberIssuer),
		AuthorizationEndpoint:        d.Page(memberAuthorization),
		TokenEndpoint:                d.Endpoint(memberToken),
		UserInfoEndpoint:             d.Endpoint(memberUserInfo),
		JWKSURI:                      d.Endpoint(memberKeys),
		EndSessionEndpoint:           d.Page(memberEndSession),
		RevocationEndpoint:           d.Endpoint(memberRevocation),
		IntrospectionEndpoint:        d.Endpoint(memberIntrospection),
		RegistrationEndpoint:         d.Endpoint(memberClientRegistration),
		ScopesSupported:              d.List("scopes_supported"),
		IDTokenAlgorithms:            d.List(memberAlgorithms),
		ResponseIssuer:               d.Promised("authorization_response_iss_parameter_supported"), // a downgrade would go unnoticed
		ResponseTypes:                d.List("response_types_supported"),
		ResponseModes:                d.List("response_modes_supported"),
		UserInfoAlgorithms:           d.List("userinfo_signing_alg_values_supported"),
		TokenAuthMethods:             d.List(memberTokenAuth),
		RevocationAuthMethods:        d.List("revocation_endpoint_auth_methods_supported"),
		IntrospectionAuthMethods:     d.List("introspection_endpoint_auth_methods_supported"),
		TokenAuthAlgorithms:          d.List("token_endpoint_auth_signing_alg_values_supported"),
		RevocationAuthAlgorithms:     d.List("revocation_endpoint_auth_signing_alg_values_supported"),
		IntrospectionAuthAlgorithms:  d.List("introspection_endpoint_auth_signing_alg_values_supported"),
		DPoPAlgorithms:               d.List(memberDPoP),
		PermissionEndpoint:           d.Endpoint(memberPermission),
		ResourceRegistrationEndpoint: d.Endpoint(memberRegistration),
		ClaimsInteractionEndpoint:    d.Text("claims_interaction_endpoint"),
		PolicyEndpoint:               d.Text("policy_endpoint"),
	}
}

// lacks returns an error that says why a member is not there.
func (p *Provider) lacks(member string) error {
	p.mu.Lock()
	defer p.mu.Unlock()
	for _, defects := range p.defects {
		if err := defects[member]; err != nil {
			return fmt.Errorf("%s: %w", member, err)
		}
	}
	return errors.New("no " + member)
}

// mayHaveUserInfo returns an error if the provider has user info, but its
// address cannot be used. Claims may be missing without it.
func (p *Provider) mayHaveUserInfo(md *Metadata) error {
	p.mu.Lock()
	defect := p.defects[documentOpenID][memberUserInfo]
	p.mu.Unlock()
	if md.UserInfoEndpoint == "" && defect != nil {
		return errMetadataInvalid.because(p.lacks(memberUserInfo))
	}
	return nil
}

// userInfoEndpoint returns the address of the user info, or "" if the provider
// has none.
func (p *Provider) userInfoEndpoint(ctx context.Context) (string, error) {
	md, err := p.metadataFor(ctx, p.mayHaveUserInfo)
	if err != nil {
		return "", err
	}
	return md.UserInfoEndpoint, nil
}

// signInMetadata returns the metadata for a sign-in that can end well. A
// provider that was corrected serves again as soon as one that was away.
func (p *Provider) signInMetadata(ctx context.Context, who known, skipUserInfo bool, asked authresponse.Kind) (*Metadata, error) {
	return p.metadataFor(ctx, func(md *Metadata) error { return p.checkSignIn(md, who, skipUserInfo, asked) })
}

// metadataFor returns metadata that passes the check. What does not is fetched
// again now and then, and serves everybody else meanwhile.
func (p *Provider) metadataFor(ctx context.Context, check func(*Metadata) error) (*Metadata, error) {
	md, err := p.Metadata(ctx)
	if err != nil {
		return nil, err
	}
	if err = check(md); err == nil {
		return md, nil
	}
	next, e := p.openid.Newer(ctx, metadataBackoffMax)
	if e != nil || next == md {
		return nil, err
	}
	return next, check(next)
}

func (p *Provider) hasTokenEndpoint(md *Metadata) error {
	if md.TokenEndpoint == "" {
		return errMetadataInvalid.because(p.lacks(memberToken))
	}
	return nil
}

func (p *Provider) hasIntrospection(md *Metadata) error {
	if md.IntrospectionEndpoint == "" {
		return errMetadataInvalid.because(p.lacks(memberIntrospection))
	}
	return nil
}

func (p *Provider) hasKeys(md *Metadata) error {
	if md.JWKSURI == "" {
		return errMetadataInvalid.because(p.lacks(memberKeys))
	}
	return nil
}

// checkSignIn reports what would stop a sign-in after the person has come back.
func (p *Provider) checkSignIn(md *Metadata, who known, skipUserInfo bool, asked authresponse.Kind) error {
	switch {
	case md.AuthorizationEndpoint == "":
		return errMetadataInvalid.because(p.lacks(memberAuthorization))
	case asked.Code && p.hasTokenEndpoint(md) != nil:
		return p.hasTokenEndpoint(md)
	case !p.fixed && p.hasKeys(md) != nil:
		return p.hasKeys(md)
	case !skipUserInfo && (asked.Code || asked.Token) && p.mayHaveUserInfo(md) != nil:
		return p.mayHaveUserInfo(md)
	case len(p.algs) == 0 && len(md.IDTokenAlgorithms) > 0 && !slices.ContainsFunc(md.IDTokenAlgorithms, keyset.Asymmetric):
		return errMetadataInvalid.because(errors.New(memberAlgorithms + ": no algorithm that gatehouse accepts"))
	}
	if err := asked.Offered(md.ResponseTypes, md.ResponseModes); err != nil {
		return errResponseKind.because(err)
	}
	if !asked.Code { // the token endpoint is not used
		return nil
	}
	_, err := who.at(md.tokenAuth())
	return err
}

func (md *Metadata) clearUMA() { md.takeUMA(&Metadata{}) }

func (md *Metadata) takeUMA(uma *Metadata) {
	md.PermissionEndpoint = uma.PermissionEndpoint
	md.ResourceRegistrationEndpoint = uma.ResourceRegistrationEndpoint
	md.ClaimsInteractionEndpoint = uma.ClaimsInteractionEndpoint
	md.PolicyEndpoint = uma.PolicyEndpoint
	if md.IntrospectionEndpoint == "" {
		md.IntrospectionEndpoint, md.IntrospectionAuthMethods, md.IntrospectionAuthAlgorithms = uma.IntrospectionEndpoint, uma.IntrospectionAuthMethods, uma.IntrospectionAuthAlgorithms
	}
	if md.TokenEndpoint == "" {
		md.TokenEndpoint, md.TokenAuthMethods, md.TokenAuthAlgorithms = uma.TokenEndpoint, uma.TokenAuthMethods, uma.TokenAuthAlgorithms
		md.DPoPAlgorithms = uma.DPoPAlgorithms
	}
}

// isKeycloak reports whether the server is a Keycloak, which deviates from UMA
// in known ways (see internal/testkit/umacases). Keycloak's metadata has a
// policy endpoint and no claims interaction endpoint.
func (p *Provider) isKeycloak(md *Metadata) bool {
	return p.dialect == Keycloak || md.PolicyEndpoint != "" && md.ClaimsInteractionEndpoint == ""
}

// isStandard reports whether the server is known to be no Keycloak. Metadata
// written by hand may leave out what would show it.
func (p *Provider) isStandard(md *Metadata) bool {
	return !p.isKeycloak(md) && (md != p.written || md.ClaimsInteractionEndpoint != "")
}

// checkEndpoints reports every endpoint of ProviderConfig.Metadata that is not
// an absolute URL or that would send in clear text.
func (md *Metadata) checkEndpoints(insecureHTTP bool) (wrong problems) {
	for _, e := range []struct{ name, url string }{
		{memberAuthorization, md.AuthorizationEndpoint},
		{memberToken, md.TokenEndpoint},
		{memberUserInfo, md.UserInfoEndpoint},
		{memberKeys, md.JWKSURI},
		{memberEndSession, md.EndSessionEndpoint},
		{memberRevocation, md.RevocationEndpoint},
		{memberIntrospection, md.IntrospectionEndpoint},
		{memberClientRegistration, md.RegistrationEndpoint},
		{memberPermission, md.PermissionEndpoint},
		{memberRegistration, md.ResourceRegistrationEndpoint},
	} {
		if e.url == "" {
			continue
		}
		_, err := outbound.CheckURL(e.url, insecureHTTP)
		wrong.wrap(e.name, err)
	}
	return wrong
}

// The members that are named more than once.
const (
	memberIssuer        = "issuer"
	memberAlgorithms    = "id_token_signing_alg_values_supported"
	memberAuthorization = "authorization_endpoint"
	memberToken         = "token_endpoint"
	memberTokenAuth     = "token_endpoint_auth_methods_supported"
	memberUserInfo      = "userinfo_endpoint"
	memberKeys          = "jwks_uri"
	memberEndSession    = "end_session_endpoint"
	memberRevocation    = "revocation_endpoint"
	memberIntrospection = "introspection_endpoint"
	memberDPoP          = "dpop_signing_alg_values_supported"
	memberPermission    = "permission_endpoint"
	memberRegistration  = "resource_registration_endpoint"

	memberClientRegistration = "registration_endpoint"
)
