package gatehouse

// Tested in internal/e2e/registration.

import (
	"context"
	"slices"
	"strings"

	"example.com/gatehouse/internal/filestore"
	"example.com/gatehouse/internal/memstore"
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
	// one more client at the provider. The stores of the modules are one, and
	// FileRegistrationStore is.
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
	keys = wrong.ring("Keys", c.Keys)
	return keys, wrong.in("NewRegistration")
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
