package gatehouse

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"net/url"
	"reflect"
	"slices"
	"strings"
	"time"

	"example.com/gatehouse/internal/backchannel"
	"example.com/gatehouse/internal/keyset"
	"example.com/gatehouse/internal/outbound"
	"example.com/gatehouse/internal/token"
)

const (
	// metadataLimit caps a metadata document, in bytes. Real documents have 2
	// to 8 KiB.
	metadataLimit = 512 << 10
	// metadataAge is how long a document is used before it is fetched again.
	metadataAge = time.Hour
	// metadataWait is how long one request waits for a fetch, so that a
	// sign-in page answers 503 within a second if the provider hangs (FA1).
	// The fetch itself continues for up to outbound.Timeout.
	metadataWait = 900 * time.Millisecond
	// metadataBackoff and metadataBackoffMax space out the retries after a
	// failure: 3 s, 6 s, 12 s, then every 24 s. Sign-in therefore works again
	// within 30 s of the provider's return.
	metadataBackoff    = 3 * time.Second
	metadataBackoffMax = 24 * time.Second
)

// Provider is one OpenID provider or UMA authorization server: its issuer, its
// metadata, its keys, and the one HTTP client that talks to it. It fetches
// what it needs on first use and keeps the last good answer.
//
// A Provider is safe for concurrent use. Share one per issuer.
type Provider struct {
	issuer   string
	client   *http.Client
	insecure bool
	keys     *keyset.Set
	tokens   *token.Verifier
	clock    func() time.Time
	logger   *slog.Logger
	events   func(context.Context, Event)
	channel  *backchannel.Channel
	openid   *backchannel.Kept[*Metadata]
	uma      *backchannel.Kept[*Metadata]
	algs     []string
}

// NewProvider returns a Provider for issuer. The issuer must equal, byte for
// byte, the one in the provider's metadata and tokens. A nil config means all
// defaults.
//
// NewProvider does no I/O, so the provider may be down when the process
// starts. Its error lists every problem of the arguments at once.
func NewProvider(issuer string, config *ProviderConfig) (*Provider, error) {
	var c ProviderConfig
	if config != nil {
		c = *config
	}
	if err := c.complete(issuer); err != nil {
		return nil, err
	}
	p := &Provider{
		issuer:   issuer,
		client:   outbound.NewClient(c.Transport, c.InsecureHTTP),
		insecure: c.InsecureHTTP,
		clock:    c.Now,
		logger:   c.Logger,
		events:   c.Events,
		algs:     c.SigningAlgorithms,
	}
	p.channel = backchannel.New(p.client, p.clock)
	p.openid, p.uma = p.kept(p.fetchOpenID), p.kept(p.fetchUMA)
	if c.Metadata != nil {
		p.openid = backchannel.Always(c.Metadata)
		if c.Metadata.PermissionEndpoint != "" {
			p.uma = backchannel.Always(c.Metadata)
		}
	}
	p.keys = keyset.New(keyset.Config{Client: p.client, URL: p.jwksURI, Static: c.Keys, Now: p.clock})
	p.tokens = token.NewVerifier(token.Config{Issuer: issuer, Keys: p.keys, Algorithms: p.algorithms, Now: p.clock})
	if c.InsecureHTTP {
		p.emit(context.Background(), Event{Name: EventInsecureOption, Code: "insecure_http", Err: errors.New("InsecureHTTP is set: secrets and tokens may travel in clear text")})
	}
	return p, nil
}

// Issuer returns the issuer as it was passed to NewProvider.
func (p *Provider) Issuer() string { return p.issuer }

// Metadata returns the provider's metadata and fetches it if necessary. It
// uses the OpenID Connect Discovery document, or that of RFC 8414 if there is
// none. The UMA members are empty. The result is shared, so do not modify it.
func (p *Provider) Metadata(ctx context.Context) (*Metadata, error) { return p.get(ctx, p.openid) }

// umaMetadata returns the OpenID or RFC 8414 metadata with the UMA members
// added from uma2-configuration. Nothing else is taken from uma2-configuration
// (decision 8), unless the server has no other document.
func (p *Provider) umaMetadata(ctx context.Context) (*Metadata, error) { return p.get(ctx, p.uma) }

func (p *Provider) now() time.Time { return p.clock() }

func (p *Provider) jwksURI(ctx context.Context) (string, error) {
	md, err := p.Metadata(ctx)
	if err != nil {
		return "", err
	}
	if md.JWKSURI == "" {
		return "", errMetadataInvalid.because(errors.New("no jwks_uri"))
	}
	return md.JWKSURI, nil
}

// algorithms returns the algorithms that an ID Token may be signed with: the
// configured ones, or else those the provider announces.
func (p *Provider) algorithms(ctx context.Context) ([]string, error) {
	if len(p.algs) > 0 {
		return p.algs, nil
	}
	md, err := p.Metadata(ctx)
	if err != nil {
		return nil, err
	}
	return md.IDTokenAlgorithms, nil
}

// Shutdown waits until the fetches of metadata and keys that requests have
// started are done, or until ctx is done.
func (p *Provider) Shutdown(ctx context.Context) error {
	return errors.Join(p.uma.Shutdown(ctx), p.keys.Wait(ctx), p.openid.Shutdown(ctx)) // the first two start fetches of the last
}

// Shutdown calls Shutdown on each part in the order given, even if an earlier
// one failed, and joins their errors. It skips parts that are nil.
//
// The parts of this package wait until the work that requests left behind is
// done: renewals, revocations, fetches, and the log lines and events of these.
// They do not stop new work, so pass the *http.Server first. Their own order
// does not matter.
func Shutdown(ctx context.Context, parts ...interface{ Shutdown(context.Context) error }) error {
	var errs []error
	ours := slices.Clone(parts[:0])
	for _, part := range parts {
		if v := reflect.ValueOf(part); v.IsValid() && (v.Kind() != reflect.Pointer || !v.IsNil()) {
			errs = append(errs, part.Shutdown(ctx))
			switch part.(type) {
			case *Provider, *Sessions, *RelyingParty, *OwnerGrants, *ResourceServer, *UMATransport:
				ours = append(ours, part)
			}
		}
	}
	for i := 1; i < len(ours) && ctx.Err() == nil; i++ { // each may use one before it, that one another, and so on
		for _, part := range ours {
			errs = append(errs, part.Shutdown(ctx))
		}
	}
	return errors.Join(errs...)
}

// kept returns a metadata document that is fetched on first use and then kept.
func (p *Provider) kept(fetch func(context.Context) (*Metadata, error)) *backchannel.Kept[*Metadata] {
	return backchannel.NewKept(backchannel.KeptConfig[*Metadata]{
		Fetch: func(ctx context.Context) (*Metadata, backchannel.Life, error) {
			md, err := fetch(ctx)
			return md, backchannel.Life{RenewAt: p.now().Add(metadataAge)}, err
		},
		Failed: func(ctx context.Context, err error) {
			p.emit(ctx, Event{Name: EventTrouble, Code: troubleMetadata, Err: err})
		},
		Now: p.now, Timeout: outbound.Timeout, Wait: metadataWait,
		Pause: metadataBackoff, MaxPause: metadataBackoffMax,
	})
}

func (p *Provider) get(ctx context.Context, document *backchannel.Kept[*Metadata]) (*Metadata, error) {
	md, err := document.Get(ctx)
	if err != nil {
		return nil, asError(err, errProviderUnavailable)
	}
	return md, nil
}

// fetchOpenID fetches the OpenID Connect Discovery document (§4). If the
// provider has none, it fetches that of RFC 8414 §3.
func (p *Provider) fetchOpenID(ctx context.Context) (*Metadata, error) {
	md, err := p.fetchMetadata(ctx, appended(p.issuer, "openid-configuration"))
	if status, ok := errors.AsType[*outbound.StatusError](err); ok && status.Code == http.StatusNotFound {
		md, err = p.fetchMetadata(ctx, inserted(p.issuer, "oauth-authorization-server"))
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
	uma, err := p.fetchMetadata(ctx, appended(p.issuer, "uma2-configuration"))
	if err != nil {
		return nil, err
	}
	base, err := p.Metadata(ctx)
	if err != nil {
		if status, ok := errors.AsType[*outbound.StatusError](err); ok && status.Code == http.StatusNotFound {
			return uma, nil // a UMA server that is not an OpenID provider
		}
		return nil, err
	}
	md := *base
	md.takeUMA(uma)
	return &md, nil
}

func (p *Provider) fetchMetadata(ctx context.Context, url string) (*Metadata, error) {
	var md Metadata
	if _, err := outbound.GetJSON(ctx, p.client, url, metadataLimit, &md); err != nil {
		if errors.Is(err, outbound.ErrNotJSON) || errors.Is(err, outbound.ErrTooLarge) {
			return nil, errMetadataInvalid.because(err)
		}
		return nil, errProviderUnavailable.because(err)
	}
	// The document must name the issuer it was requested for (Discovery §4.3,
	// RFC 8414 §3.3).
	if md.Issuer != p.issuer {
		return nil, errMetadataIssuer.because(fmt.Errorf("configured %q, metadata says %q", p.issuer, clip(md.Issuer)))
	}
	if wrong := md.checkEndpoints(p.insecure); len(wrong) > 0 {
		return nil, errMetadataInvalid.because(errors.Join(wrong...))
	}
	return &md, nil
}

// appended returns the well-known address as OpenID Connect Discovery §4 and
// UMA form it: after the issuer's path, with exactly one slash between.
func appended(issuer, name string) string {
	return strings.TrimSuffix(issuer, "/") + "/.well-known/" + name
}

// inserted returns the well-known address as RFC 8414 §3.1 forms it: before
// the issuer's path.
func inserted(issuer, name string) string {
	u, err := url.Parse(issuer)
	if err != nil {
		return appended(issuer, name)
	}
	u.Path, u.RawPath = "/.well-known/"+name+strings.TrimSuffix(u.Path, "/"), ""
	return u.String()
}

// clip shortens a string from a peer for use in an error.
func clip(s string) string { return outbound.Clip(s) }

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
	ScopesSupported       []string `json:"scopes_supported"`
	// IDTokenAlgorithms are the algorithms that the provider signs ID Tokens
	// with.
	IDTokenAlgorithms []string `json:"id_token_signing_alg_values_supported"`
	// ResponseIssuer says that authorization responses carry iss (RFC 9207
	// §3).
	ResponseIssuer bool `json:"authorization_response_iss_parameter_supported"`

	// Members of UMA Federated Authorization §2.
	PermissionEndpoint           string `json:"permission_endpoint"`
	ResourceRegistrationEndpoint string `json:"resource_registration_endpoint"`
	ClaimsInteractionEndpoint    string `json:"claims_interaction_endpoint"`
	// PolicyEndpoint exists only at Keycloak, so it identifies such a server.
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
// in known ways (see internal/testkit/umacases). Keycloak's metadata has a
// policy endpoint and no claims interaction endpoint.
func (md *Metadata) isKeycloak() bool {
	return md.PolicyEndpoint != "" && md.ClaimsInteractionEndpoint == ""
}

// checkEndpoints reports every endpoint that is not an absolute URL or that
// would send in clear text. It runs before anything is sent to any of them.
func (md *Metadata) checkEndpoints(insecureHTTP bool) (wrong problems) {
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
		_, err := outbound.CheckURL(e.url, insecureHTTP)
		wrong.wrap(e.name, err)
	}
	return wrong
}
