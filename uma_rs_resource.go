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

	"example.com/gatehouse/internal/challenge"
	"example.com/gatehouse/internal/flight"
)

const (
	// descriptionsKept bounds how many registered descriptions are remembered:
	// about 20 MB. They only save calls.
	descriptionsKept = 100_000
	// maxNameLength bounds names, scopes and ids, in bytes, because they are
	// sent in messages and are keys of stores.
	maxNameLength = 1024
)

// Resource is something that the authorization server protects, such as an
// album or the collection of all albums. Its Owner and Name identify it at its
// issuer.
type Resource struct {
	// Owner is the subject of the person at the issuer who owns the resource,
	// or "" for the service itself.
	Owner string
	// Name identifies the resource among those of its owner and must not
	// change. The authorization server shows it to the owner.
	Name string
	// Scopes are all the scopes that can be requested. The server may have
	// more: a resource that exists there under our name keeps what it has, and
	// gets those that it lacks.
	Scopes []string
	// Exact makes Register withdraw the scopes that the server has and Scopes
	// does not name. What people decided about a withdrawn scope is lost.
	// Requests never withdraw a scope.
	Exact bool
	// Type, Description and IconURI are optional. The authorization server
	// shows them to the owner. Like Name, Type must not change from one value to
	// another, because a resource whose id was lost is found again by both.
	// Description is not sent to Keycloak, which does not accept it.
	Type, Description, IconURI string
	// ID is the id that the authorization server gave to the resource.
	// Register sets it. A Resource with an ID but no Name works as long as the
	// server knows the ID, but it cannot be registered again. If both are set,
	// the id in ResourceIDs is used, and ID if there is none.
	ID string
	// PolicyURI is the address where the owner decides who may do what, or ""
	// if the server sent none. Register sets it.
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

// undeclared reports whether the application knows the resource only by its
// id.
func (r Resource) undeclared() bool { return r.Name == "" && r.Scopes == nil }

func (r Resource) check() error {
	switch {
	case r.Name == "" && r.ID == "":
		return errors.New("the resource has neither Name nor ID")
	case len(r.Name) > maxNameLength:
		return fmt.Errorf("the Name is longer than %d bytes", maxNameLength)
	case r.ID != "" && !soundID(r.ID):
		return errors.New("ID is not a valid id of a resource")
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

// soundID reports whether id can be stored and used as one segment of a path.
func soundID(id string) bool {
	return id != "" && len(id) <= maxNameLength && id != "." && id != ".." && challenge.Printable(id)
}

// resourceKey identifies a resource in the same way as ResourceIDs.
type resourceKey struct{ issuer, owner, name string }

// registry remembers what is registered.
type registry struct {
	flights flight.Group[registrationKey, Resource]

	mu      sync.Mutex                       // guards the fields below
	written map[resourceKey]written          // what the server has, as far as we know
	seen    map[string]map[string]remoteName // names found by listing, by owner and id
	count   int                              // number of ids in seen
	open    map[string]*batch                // that still gathers new resources, by owner

	looks flight.Group[*batch, struct{}] // for duplicates
	ended chan struct{}                  // closed by shut
	once  sync.Once
}

// pause waits. It reports whether the time passed before ctx or the registry
// ended.
func (g *registry) pause(ctx context.Context, d time.Duration) bool {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C:
		return true
	case <-ctx.Done():
	case <-g.ended:
	}
	return false
}

// shut ends the waiting for duplicates and waits for the calls under way.
func (g *registry) shut(ctx context.Context) error {
	g.once.Do(func() { close(g.ended) })
	return errors.Join(g.flights.Wait(ctx), g.looks.Wait(ctx))
}

// registrationKey identifies a registration. Two with the same key are the
// same.
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

// forget drops what is remembered of the resource and returns its policy page.
func (g *registry) forget(key resourceKey) (policy string) {
	g.mu.Lock()
	defer g.mu.Unlock()
	policy = g.written[key].policy
	delete(g.written, key)
	return policy
}

// remoteName identifies a resource in a listing.
type remoteName struct{ name, kind string }

func (g *registry) nameOf(owner, id string) (remoteName, bool) {
	g.mu.Lock()
	defer g.mu.Unlock()
	n, ok := g.seen[owner][id]
	return n, ok
}

func (g *registry) setName(owner, id string, n remoteName) {
	g.mu.Lock()
	defer g.mu.Unlock()
	if g.seen == nil || g.count >= descriptionsKept {
		g.seen, g.count = make(map[string]map[string]remoteName), 0
	}
	if g.seen[owner] == nil {
		g.seen[owner] = make(map[string]remoteName)
	}
	g.seen[owner][id] = n
	g.count++
}

// forgetNameless makes the ids be read again that could not be read. A server
// may list a resource before it shows it.
func (g *registry) forgetNameless(owner string) {
	g.mu.Lock()
	defer g.mu.Unlock()
	for id, n := range g.seen[owner] {
		if n.name == "" {
			delete(g.seen[owner], id)
			g.count--
		}
	}
}

func (rs *ResourceServer) key(r Resource) resourceKey {
	return resourceKey{rs.provider.issuer, r.Owner, r.Name}
}

// sum returns a hash of what the server is told about the resource.
func (r Resource) sum() [sha256.Size]byte {
	told := []any{r.Name, r.Type, r.Description, r.IconURI, r.Scopes, r.Exact}
	b, err := json.Marshal(told)
	if err != nil {
		return [sha256.Size]byte{} // cannot happen, because strings always marshal
	}
	return sha256.Sum256(b)
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
