package gatehouse

// Tested in internal/e2e/uma_rs.

import (
	"context"
	"crypto/sha256"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"sync"
	"time"

	"example.com/gatehouse/internal/flight"
)

const (
	// registerTimeout bounds one registration with all its calls. A request
	// waits for its budget only; the registration goes on without it, and the
	// next request finds it done.
	registerTimeout = 15 * time.Second
	// descriptionsKept bounds the memory of what was registered, which saves
	// calls and nothing else: about 20 MB.
	descriptionsKept = 100_000
	// maxNameLength bounds names, scopes and ids, which travel in messages and
	// are keys of stores.
	maxNameLength = 1024
)

// Resource is one thing under the protection of the authorization server: an
// album, or all albums. Owner and Name together name it at its issuer.
type Resource struct {
	// Owner is whose it is: the subject of a person at the issuer, or "" for
	// the service itself.
	Owner string
	// Name names the resource among those of its owner and must stay the same.
	// The authorization server shows it to the owner.
	Name string
	// Scopes are all the scopes that can be asked for.
	Scopes []string
	// Type, Description and IconURI are optional and shown to the owner. Like
	// Name, Type must stay the same: where ids were lost both find it again.
	// Keycloak does not take a Description; it gets none.
	Type, Description, IconURI string
	// ID is the authorization server's id for it. Register sets it. A Resource
	// with an ID and no Name works as long as the server knows it, but cannot
	// be registered again; with both, ResourceIDs decides and ID is the
	// fallback.
	ID string
	// PolicyURI is where the owner says who may do what, "" if the server told
	// none. Register sets it.
	PolicyURI string
}

func (r Resource) label() string {
	if r.Name != "" {
		return fmt.Sprintf("%q", r.Name)
	}
	return fmt.Sprintf("with id %q", r.ID)
}

func (r Resource) same(o Resource) bool {
	if r.Owner != o.Owner || r.Name != o.Name {
		return false
	}
	return r.Name != "" || r.ID == o.ID
}

// undeclared is a resource that the application knows by its id alone.
func (r Resource) undeclared() bool { return r.Name == "" && r.Scopes == nil }

func (r Resource) check() error {
	switch {
	case r.Name == "" && r.ID == "":
		return errors.New("the resource has neither Name nor ID")
	case len(r.Name) > maxNameLength:
		return fmt.Errorf("the Name is longer than %d bytes", maxNameLength)
	case r.ID != "" && !soundID(r.ID):
		return errors.New("ID cannot be an id of an authorization server")
	case len(r.Scopes) == 0 && !r.undeclared():
		return errors.New("no Scopes are declared")
	}
	for i, s := range r.Scopes {
		if s == "" || len(s) > maxNameLength {
			return fmt.Errorf("Scopes has an entry that is empty or longer than %d bytes", maxNameLength)
		}
		if slices.Contains(r.Scopes[:i], s) {
			return fmt.Errorf("Scopes has %q twice", s)
		}
	}
	return nil
}

// resourceKey names a resource as ResourceIDs does.
type resourceKey struct{ issuer, owner, name string }

// registry remembers what is registered.
type registry struct {
	flights flight.Group[registrationKey, Resource]

	mu      sync.Mutex
	written map[resourceKey]written          // as the server has it, to our knowledge
	seen    map[string]map[string]remoteName // by owner and id, from listing
	count   int                              // of ids in seen
}

// registrationKey names everything that makes two registrations the same one.
type registrationKey struct {
	resource resourceKey
	sum      [sha256.Size]byte
}

type written struct {
	sum    [sha256.Size]byte
	id     string
	policy string
}

func (g *registry) known(key resourceKey, sum [sha256.Size]byte, id string) (written, bool) {
	g.mu.Lock()
	defer g.mu.Unlock()
	w, ok := g.written[key]
	return w, ok && w.sum == sum && w.id == id
}

func (g *registry) remember(key resourceKey, w written) {
	g.mu.Lock()
	defer g.mu.Unlock()
	if g.written == nil || len(g.written) >= descriptionsKept {
		g.written = make(map[resourceKey]written)
	}
	g.written[key] = w
}

// forget returns the policy page that was known.
func (g *registry) forget(key resourceKey) (policy string) {
	g.mu.Lock()
	defer g.mu.Unlock()
	policy = g.written[key].policy
	delete(g.written, key)
	return policy
}

func (rs *ResourceServer) key(r Resource) resourceKey {
	return resourceKey{rs.provider.issuer, r.Owner, r.Name}
}

// sum is a hash over what the server is told of the resource.
func (r Resource) sum() [sha256.Size]byte {
	told := []any{r.Name, r.Type, r.Description, r.IconURI, r.Scopes}
	b, err := json.Marshal(told)
	if err != nil {
		return [sha256.Size]byte{} // strings always marshal
	}
	return sha256.Sum256(b)
}

// Register puts the resource under the protection of the authorization server
// and returns it with ID and PolicyURI. It may be called again and again: a
// resource that is there stays, with its id and what its owner decided, and is
// updated only if its description differs. Requests register what they need by
// themselves; Register is for what the owner shall see at once.
//
// Parallel calls for one resource share one registration, which goes on when
// ctx ends. Errors are *Error: "resource_invalid", "owner_grant_missing" when
// the owner's PAT is needed and not there, "resource_ids_unavailable",
// "registration_failed", or what the authorization server failed with.
func (rs *ResourceServer) Register(ctx context.Context, r Resource) (Resource, error) {
	if r.Name == "" {
		return Resource{}, errResourceInvalid.because(errors.New("the resource has no Name"))
	}
	if err := r.check(); err != nil {
		return Resource{}, errResourceInvalid.because(err)
	}
	return rs.register(ctx, r, refusedID{})
}

// refusedID is an id under which the server did not take a resource. The zero
// value says nothing.
type refusedID struct {
	id      string
	gone    bool // the server does not know it
	drifted bool // the server knows it with other scopes
	policy  string
}

func (rs *ResourceServer) register(ctx context.Context, r Resource, refused refusedID) (Resource, error) {
	r.Scopes = slices.Clone(r.Scopes)
	key := registrationKey{rs.key(r), r.sum()}
	out, err := rs.registry.flights.Do(ctx, key, registerTimeout, func(ctx context.Context) (Resource, error) {
		out, err := rs.registerOnce(ctx, r, refused)
		if err != nil {
			err = asError(err, errRegistration)
		}
		rs.provider.emit(ctx, Event{Name: EventRegistration, Code: ErrorCode(err), Subject: r.Owner, Resource: out.ID, Err: err})
		return out, err
	})
	if err != nil {
		return Resource{}, asError(err, errRegistration)
	}
	return out, nil
}

// resourceID is the id of a resource that a permission names. One that is not
// registered yet is registered within the request's budget.
func (rs *ResourceServer) resourceID(ctx context.Context, r Resource) (string, error) {
	if r.Name == "" {
		return r.ID, nil
	}
	id, err := rs.keptID(ctx, r)
	if err != nil || id != "" {
		return id, err
	}
	if r.ID != "" {
		return r.ID, nil
	}
	ctx, cancel := context.WithTimeout(ctx, requestBudget)
	defer cancel()
	out, err := rs.register(ctx, r, refusedID{})
	return out.ID, err
}

// registerAgain is for a resource that the server did not take under its id.
func (rs *ResourceServer) registerAgain(ctx context.Context, r Resource, refused refusedID) (string, error) {
	id, err := rs.keptID(ctx, r)
	if err != nil {
		return "", err
	}
	if id != "" && id != refused.id {
		return id, nil // somebody was faster
	}
	if refused.gone {
		if err := rs.dropID(ctx, r, refused.id); err != nil {
			return "", err
		}
		r.ID = ""
	} else {
		refused.policy = rs.registry.forget(rs.key(r)) // read it again, or write it
	}
	out, err := rs.register(ctx, r, refused)
	return out.ID, err
}

func (rs *ResourceServer) keptID(ctx context.Context, r Resource) (string, error) {
	id, err := rs.ids.ID(ctx, rs.provider.issuer, r.Owner, r.Name)
	if err != nil {
		return "", errResourceIDs.because(err)
	}
	return id, nil
}

func (rs *ResourceServer) keepID(ctx context.Context, r Resource, id string) (string, error) {
	winner, err := rs.ids.PutIfAbsent(ctx, rs.provider.issuer, r.Owner, r.Name, id)
	if err != nil {
		return "", errResourceIDs.because(err)
	}
	return winner, nil
}

func (rs *ResourceServer) dropID(ctx context.Context, r Resource, id string) error {
	if err := rs.ids.Drop(ctx, rs.provider.issuer, r.Owner, r.Name, id); err != nil {
		return errResourceIDs.because(err)
	}
	return nil
}

// Deregister takes the resource away from the authorization server, with all
// that its owner decided, and forgets its id. A resource that is not there is
// no error. Deregister first, then delete your own row: a crash in between
// leaves a row whose next need registers it again, never an open door.
func (rs *ResourceServer) Deregister(ctx context.Context, r Resource) error {
	if err := r.check(); err != nil {
		return errResourceInvalid.because(err)
	}
	reg, err := rs.registrar(ctx, r)
	if err != nil {
		return err
	}
	id := r.ID
	if r.Name != "" {
		kept, err := rs.keptID(ctx, r)
		if err != nil {
			return err
		}
		if kept != "" {
			id = kept
		}
		if id == "" {
			if id, err = reg.find(ctx); err != nil {
				return asError(err, errRegistration)
			}
		}
	}
	if id == "" {
		return nil
	}
	if err := reg.delete(ctx, id); err != nil {
		err := asError(err, errRegistration)
		rs.provider.emit(ctx, Event{Name: EventRegistration, Code: err.Code, Subject: r.Owner, Resource: id, Err: err})
		return err
	}
	rs.registry.forget(rs.key(r))
	rs.provider.emit(ctx, Event{Name: EventRegistration, Subject: r.Owner, Resource: id})
	if r.Name == "" {
		return nil
	}
	return rs.dropID(ctx, r, id)
}
