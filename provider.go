package gatehouse

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"reflect"
	"slices"
	"sync"
	"time"

	"github.com/go-jose/go-jose/v4"

	"example.com/gatehouse/internal/backchannel"
	"example.com/gatehouse/internal/discovery"
	"example.com/gatehouse/internal/keyset"
	"example.com/gatehouse/internal/outbound"
	"example.com/gatehouse/internal/places"
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
	// within 30 s of the provider's return. Metadata with which no sign-in can
	// end well is fetched again at the age of the longest pause.
	metadataBackoff    = 3 * time.Second
	metadataBackoffMax = 24 * time.Second
	// maxTold is how many defects of metadata and keys are reported, so that a
	// provider that changes them at every fetch fills neither log nor memory.
	maxTold = 256
)

// Provider is one OpenID provider or UMA authorization server: its issuer, its
// metadata, its keys, and the one HTTP client that talks to it. It fetches
// what it needs on first use and keeps the last good answer.
//
// A Provider is safe for concurrent use. Share one per issuer.
type Provider struct {
	issuer   string
	sources  sources           // of its documents
	tenants  map[string]string // the issuers of a template, by tenant; nil if the issuer is none
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
	// The calls that strangers cause at the authorization server, over all
	// resource servers: for tickets and registrations, and about tokens that
	// were never seen active.
	ticketCalls, tokenCalls places.Pool
	fixed                   bool // the keys do not come from the metadata

	mu      sync.Mutex
	defects [2]discovery.Defects // of each document as last fetched; guarded by mu
	told    map[string]bool      // defects that are in the log already; guarded by mu
	dialect Dialect
	written *Metadata // by hand, or nil
}

// The documents that a server publishes.
const (
	documentOpenID = iota // of OpenID Connect Discovery or RFC 8414
	documentUMA
)

// NewProvider returns a Provider for issuer. The issuer must equal, byte for
// byte, the one in the provider's metadata and tokens. It is an https address,
// or, for a provider without metadata, a name such as "itsyouonline"; that needs
// Keys, KeysFile, JWKSURI, Metadata or MetadataURL. A nil config means all
// defaults.
//
// NewProvider does no I/O, so the provider may be down when the process
// starts. Its error lists every problem of the arguments at once.
func NewProvider(issuer string, config *ProviderConfig) (*Provider, error) {
	var c ProviderConfig
	if config != nil {
		c = *config
	}
	name, err := c.complete(issuer)
	if err != nil {
		return nil, err
	}
	p := &Provider{
		issuer:   issuer,
		sources:  sourcesOf(issuer, name, c.MetadataURL),
		tenants:  issuersOf(issuer, c.Tenants),
		client:   outbound.NewClient(c.Transport, c.InsecureHTTP),
		insecure: c.InsecureHTTP,
		clock:    c.Now,
		logger:   c.Logger,
		events:   c.Events,
		algs:     c.SigningAlgorithms,
		fixed:    c.fixesKeys(),
		told:     map[string]bool{},
		dialect:  c.Dialect,
		written:  c.Metadata,
	}
	p.channel = backchannel.New(p.client, p.clock)
	p.openid, p.uma = p.kept(p.fetchOpenID), p.kept(p.fetchUMA)
	if c.Metadata != nil {
		p.openid = backchannel.Always(c.Metadata)
		if c.Metadata.PermissionEndpoint != "" || name {
			p.uma = backchannel.Always(c.Metadata)
		}
	}
	from := keyset.Config{Client: p.client, URL: p.jwksURI, Static: c.Keys, Skipped: p.tellSkipped, Now: p.clock}
	if c.JWKSURI != "" {
		from.URL = func(context.Context) (string, error) { return c.JWKSURI, nil }
	}
	if c.KeysFile != "" {
		from.Read = keyset.File(c.KeysFile)
	}
	p.keys = keyset.New(from)
	p.tokens = token.NewVerifier(token.Config{Issuer: issuer, Tenants: p.tenants, Keys: p.keys, Algorithms: p.algorithms, UserInfoAlgorithms: p.userInfoAlgorithms, OldLogout: c.InsecureLogoutTokens, Now: p.clock})
	p.tellSkipped(context.Background(), keyset.Unusable(c.Keys))
	if c.InsecureHTTP {
		p.emit(context.Background(), Event{Name: EventInsecureOption, Code: "insecure_http", Err: errors.New("InsecureHTTP is set: secrets and tokens may travel in clear text")})
	}
	if c.InsecureLogoutTokens {
		p.emit(context.Background(), Event{Name: EventInsecureOption, Code: "insecure_logout_tokens", Err: errors.New("InsecureLogoutTokens is set: only the claims of a logout token tell it from other tokens of the provider")})
	}
	return p, nil
}

// Issuer returns the issuer as it was passed to NewProvider, which is no
// session's issuer if it is a template (see ProviderConfig.Tenants).
func (p *Provider) Issuer() string {
	if p == nil {
		return ""
	}
	return p.issuer
}

// Metadata returns the provider's metadata and fetches it if necessary. It
// uses the OpenID Connect Discovery document, or that of RFC 8414 if there is
// none. The UMA members are empty. The result is shared, so do not modify it.
//
// A call waits at most 0.9 s for a fetch, and the fetch goes on for up to 10 s:
// another call finds what it has brought. Errors are *Error:
// "provider_unavailable" while the provider cannot be reached, and
// "certificate_refused", "metadata_missing", "metadata_invalid" or
// "metadata_issuer_mismatch" if somebody has to mend something.
func (p *Provider) Metadata(ctx context.Context) (*Metadata, error) {
	if p == nil || p.openid == nil {
		return nil, notMade("Provider")
	}
	return p.get(ctx, p.openid)
}

// umaMetadata returns the OpenID or RFC 8414 metadata with the UMA members
// added from uma2-configuration. Nothing else is taken from uma2-configuration
// (decision 8), unless the server has no other document.
func (p *Provider) umaMetadata(ctx context.Context) (*Metadata, error) { return p.get(ctx, p.uma) }

// umaMetadataWith is umaMetadata. If that cannot be had, what was written by
// hand serves, if it has the endpoint that is needed.
func (p *Provider) umaMetadataWith(ctx context.Context, endpoint func(*Metadata) string) (*Metadata, error) {
	md, err := p.umaMetadata(ctx)
	if err != nil && p.written != nil && endpoint(p.written) != "" {
		return p.written, nil
	}
	return md, err
}

// introspectionMetadata returns where to ask about a token. The UMA document
// says nothing about an access token, and most servers have none, so that is
// read only where there is no other.
func (p *Provider) introspectionMetadata(ctx context.Context, access bool) (*Metadata, error) {
	if access {
		if md, err := p.metadataFor(ctx, p.hasIntrospection); ErrorCode(err) != errMetadataMissing.code {
			return md, err
		}
	}
	md, err := p.umaMetadataWith(ctx, func(md *Metadata) string { return md.IntrospectionEndpoint })
	if err != nil {
		return nil, err
	}
	return md, p.hasIntrospection(md)
}

// clientMetadata returns what a UMA client needs: the given metadata if it has
// a token endpoint, and otherwise that of umaMetadata.
func (p *Provider) clientMetadata(ctx context.Context) (*Metadata, error) {
	if p.written != nil && p.written.TokenEndpoint != "" {
		return p.written, nil
	}
	return p.umaMetadata(ctx)
}

func (p *Provider) now() time.Time { return p.clock() }

func (p *Provider) jwksURI(ctx context.Context) (string, error) {
	md, err := p.metadataFor(ctx, p.hasKeys)
	if err != nil {
		return "", err
	}
	return md.JWKSURI, nil
}

// algorithms returns the algorithms that a token may be signed with: the
// configured ones, or else those the provider announces. If the application
// gives the keys and no metadata, each key says what it is for.
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

// userInfoAlgorithms returns the algorithms that user info may be signed with
// besides. Configured algorithms are for all tokens.
func (p *Provider) userInfoAlgorithms(ctx context.Context) ([]string, error) {
	if len(p.algs) > 0 {
		return nil, nil
	}
	md, err := p.Metadata(ctx)
	if err != nil {
		return nil, err
	}
	return md.UserInfoAlgorithms, nil
}

// Shutdown waits until the fetches of metadata and keys that requests have
// started are done, or until ctx is done.
func (p *Provider) Shutdown(ctx context.Context) error {
	if p == nil || p.openid == nil {
		return nil // it has started nothing
	}
	return errors.Join(p.uma.Shutdown(ctx), p.keys.Wait(ctx), p.openid.Shutdown(ctx)) // the first two start fetches of the last
}

// Shutdown calls Shutdown on each part in the order given, even if an earlier
// one failed, and joins their errors. It skips parts that are nil.
//
// The parts of this package wait until the work that requests left behind is
// done: renewals, revocations, fetches, and the log lines and events of these.
// They do not stop new work, so pass the *http.Server first. Their own order
// does not matter. Before anything else their contexts of Live end, because an
// http.Server waits for event streams.
func Shutdown(ctx context.Context, parts ...interface{ Shutdown(context.Context) error }) error {
	var errs []error
	ours := slices.Clone(parts[:0])
	for _, part := range parts {
		if its, ok := part.(interface{ endLive() }); ok {
			its.endLive()
		}
	}
	for _, part := range parts {
		if v := reflect.ValueOf(part); v.IsValid() && (v.Kind() != reflect.Pointer || !v.IsNil()) {
			errs = append(errs, part.Shutdown(ctx))
			switch part.(type) {
			case *Provider, *Finder, *Sessions, *RelyingParty, *Logins, *OwnerGrants, *ResourceServer, *UMATransport, *Registration:
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

// tellSkipped reports each key that is not used, once.
func (p *Provider) tellSkipped(ctx context.Context, skipped []keyset.Skipped) {
	for _, k := range skipped {
		code := troubleKey
		if k.Other {
			code = troubleKeyUse
		}
		what := fmt.Sprintf("kid %q: %s", k.Kid, k.Reason)
		told := what
		if k.Kid == "" { // only its place tells it from others
			told = fmt.Sprint(k.Place, what)
		}
		if p.once(told) {
			p.emit(ctx, Event{Name: EventTrouble, Code: code, Err: fmt.Errorf("key %d, %s", k.Place, what)})
		}
	}
}

// once reports whether what is new.
func (p *Provider) once(what string) bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.told[what] || len(p.told) >= maxTold {
		return false
	}
	p.told[what] = true
	return true
}

// ParseKeys reads public keys for ProviderConfig.Keys: a JWK Set, one JWK (RFC
// 7517), or PEM with blocks PUBLIC KEY, RSA PUBLIC KEY and CERTIFICATE. Of a
// certificate only the key counts. Keys that are for encryption are left out.
// Every other key that cannot verify signatures is an error, and so is a private
// key in PEM or JSON. The limit is 512 KiB and 64 keys.
//
//	keys, err := gatehouse.ParseKeys(pem)
func ParseKeys(data []byte) ([]jose.JSONWebKey, error) {
	keys, err := keyset.Parse(data)
	if err != nil {
		return nil, fmt.Errorf("gatehouse: ParseKeys: %w", err)
	}
	return keys, nil
}
