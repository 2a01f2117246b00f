package gatehouse

// Tested in internal/e2e/registration.

import (
	"context"
	"slices"
	"strings"
	"time"

	"example.com/gatehouse/internal/filestore"
	"example.com/gatehouse/internal/memstore"
	"example.com/gatehouse/internal/outbound"
	"example.com/gatehouse/internal/registration"
	"example.com/gatehouse/internal/seal"
)

// RegistrationConfig holds the settings of NewRegistration.
type RegistrationConfig struct {
	// Metadata is what the client says about itself. RedirectURIs are required,
	// unless GrantTypes leave authorization_code out.
	Metadata ClientMetadata
	// Defaults are what Metadata leaves open: what several sites share.
	Defaults ClientMetadata
	// Name names this registration among those at the same provider in the same
	// Store. Every replica of an application uses the same name, and two
	// applications use different ones. "" means "default".
	Name string
	// Store remembers the client. Required: without it, every start would leave
	// one more client at the provider. FileRegistrationStore is one, and so is a
	// Store of redisstore, pgstore or sqlitestore.
	Store RegistrationStore
	// Keys seal what is stored, as OwnerGrantsConfig.Keys do, which may be the
	// same. Without Keys, the store holds the client's secrets in clear text.
	Keys []Secret
	// InitialAccessToken lets the client register, where the provider wants one
	// (RFC 7591 §3).
	InitialAccessToken Secret
	// SoftwareStatement is sent along, a JWT in which somebody whom the provider
	// trusts has signed metadata (RFC 7591 §2.3).
	SoftwareStatement string
	// Existing, if not nil, is a client that the provider has already, such as one
	// that oxd has registered. Where Store knows no client yet, this one is taken
	// over, and none is registered. From then on Store counts, whatever Existing
	// says. Metadata has to name the redirect URIs that are registered; or call
	// Register, which sends the provider Metadata once.
	Existing *ExistingClient
}

// ExistingClient is a client that was registered by something else, with what the
// provider has given for reading and changing it (RFC 7592 §3). One without that
// is a Client with an ID and a Secret, and needs no Registration.
type ExistingClient struct {
	// ID is client_id. Required.
	ID string
	// Secret is client_secret. Required, unless the TokenEndpointAuthMethod of the
	// metadata needs none.
	Secret Secret
	// SecretExpires is client_secret_expires_at; the zero time means never, as does
	// one after the year 9999. A secret that has ended is renewed at first need, as
	// others are before they end.
	SecretExpires time.Time
	// ManagementURL is registration_client_uri. Required. It must have the origin
	// of the provider's registration endpoint; otherwise the client is not taken
	// over, and requests are answered with 503 (client_registration_unusable).
	ManagementURL string
	// ManagementToken is registration_access_token. Required. It is sent to
	// ManagementURL alone.
	ManagementToken Secret
}

// defaultRegistration is the name of a registration that has none.
const defaultRegistration = "default"

// complete checks the settings and fills in the defaults.
func (c *RegistrationConfig) complete(p *Provider) (keys *seal.Ring, err error) {
	wrong := made(p)
	c.Metadata = c.Metadata.with(c.Defaults)
	wrong = append(wrong, c.Metadata.complete()...)
	if c.Name == "" {
		c.Name = defaultRegistration
	}
	if slices.Contains([]byte(c.Name), 0) || len(c.Name) > maxRegistrationName {
		wrong.add("Name", "it has a zero byte or more than %d bytes", maxRegistrationName)
	}
	if c.Store == nil {
		wrong.add("Store", "nil: without one, every start would register one more client")
	}
	if strings.ContainsFunc(c.InitialAccessToken.Reveal(), func(r rune) bool { return r <= ' ' || r > '~' }) { // such as the line break of a file
		wrong.add("InitialAccessToken", "it has a blank or a character that no Authorization header can carry")
	}
	if c.Existing != nil {
		wrong = append(wrong, c.Existing.check(p, c.Metadata.TokenEndpointAuthMethod)...)
	}
	keys = wrong.ring("Keys", c.Keys)
	return keys, wrong.in("NewRegistration")
}

// check returns what is wrong with the client. No text is quoted but the address.
func (c *ExistingClient) check(p *Provider, method AuthMethod) (wrong problems) {
	needsSecret := method != AuthNone && method != AuthPrivateKeyJWT
	for _, text := range []struct {
		field, value string
		required     bool
	}{
		{"Existing.ID", c.ID, true}, {"Existing.Secret", c.Secret.Reveal(), needsSecret}, {"Existing.ManagementToken", c.ManagementToken.Reveal(), true},
	} {
		switch {
		case text.value == "" && text.required:
			wrong.add(text.field, "empty")
		case !registration.Sendable(text.value), text.field == "Existing.ManagementToken" && strings.Contains(text.value, " "):
			wrong.add(text.field, "it is no text that could be sent")
		}
	}
	_, err := outbound.CheckURL(c.ManagementURL, p != nil && p.insecure)
	wrong.wrap("Existing.ManagementURL", err)
	return wrong
}

// stored is the client as it is kept, or nil.
func (c *ExistingClient) stored(method AuthMethod) *registration.Client {
	if c == nil {
		return nil
	}
	kept := &registration.Client{ID: c.ID, Secret: c.Secret.Reveal(), Expires: c.SecretExpires, Auth: string(method), Manage: c.ManagementURL, Token: c.ManagementToken.Reveal()}
	if method == AuthNone || method == AuthPrivateKeyJWT {
		kept.Secret, kept.Expires = "", time.Time{}
	}
	return kept
}

// maxRegistrationName bounds the name of a registration, so that it fits into the
// key of any store.
const maxRegistrationName = 200

// RegistrationStore remembers registered clients: opaque values of up to 60,000
// bytes under names of 43 letters, digits, "-" and "_". They do not expire. The values hold
// secrets, so protect the store like one that holds passwords, or set
// RegistrationConfig.Keys.
//
// All methods must be safe for concurrent use and honour their context. Once
// SwapRegistration has returned, Registration returns the new value on all
// replicas. An error means that the outcome is unknown. Package middlewaretest
// tests an implementation against this contract.
type RegistrationStore interface {
	// Registration returns the value, or nil if there is none. The caller does
	// not modify it.
	Registration(ctx context.Context, name string) ([]byte, error)
	// SwapRegistration atomically replaces old with new if exactly old is kept.
	// A nil old means that nothing may be kept yet. A nil new deletes the value.
	// It reports whether new is kept now, or nothing if new is nil. That
	// includes the case that it was so already, because a client may repeat a
	// command whose reply was lost. The caller never passes the same new value
	// for two different changes.
	SwapRegistration(ctx context.Context, name string, old, new []byte) (swapped bool, err error)
}

// NewMemoryRegistrationStore returns a RegistrationStore in the memory of this
// process. It is meant for tests: what it has registered is lost when the process
// ends, and stays at the provider.
func NewMemoryRegistrationStore() RegistrationStore { return &memoryRegistrations{} }

type memoryRegistrations struct{ values memstore.Grants }

func (m *memoryRegistrations) Registration(ctx context.Context, name string) ([]byte, error) {
	return m.values.Grant(ctx, name, "")
}

func (m *memoryRegistrations) SwapRegistration(ctx context.Context, name string, old, new []byte) (bool, error) {
	return m.values.SwapGrant(ctx, name, "", old, new)
}

// FileRegistrationStore returns a RegistrationStore in a file, for the processes
// of one machine. The file is readable by its user alone (mode 0600) and replaced
// whole by a rename, so that a crash leaves the old content or the new one. Its
// directory must exist, be on a disk of this machine, and be writable: a lock is
// kept beside the file, at path + ".lock". One file can hold any number of
// registrations. Errors of the file are returned by the methods, not here.
func FileRegistrationStore(path string) RegistrationStore {
	return &fileRegistrations{filestore.New(path)}
}

type fileRegistrations struct{ file *filestore.File }

func (f *fileRegistrations) Registration(ctx context.Context, name string) ([]byte, error) {
	return f.file.Find(ctx, name)
}

func (f *fileRegistrations) SwapRegistration(ctx context.Context, name string, old, new []byte) (bool, error) {
	return f.file.Swap(ctx, name, old, new)
}
