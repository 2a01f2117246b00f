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
	"example.com/gatehouse/internal/resource"
)

// maxNameLength bounds names, scopes and ids, in bytes, because they are sent
// in messages and are keys of stores.
const maxNameLength = 1024

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

// registry is the registrations under way and the memory of those that were
// made.
type registry struct {
	resource.Memory
	flights flight.Group[registrationKey, Resource]

	mu   sync.Mutex        // guards open
	open map[string]*batch // that still gathers new resources, by owner

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
	resource resource.Key
	sum      [sha256.Size]byte
}

func (rs *ResourceServer) key(r Resource) resource.Key {
	return resource.Key{Issuer: rs.provider.issuer, Owner: r.Owner, Name: r.Name}
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

// idsWait bounds one call to ResourceIDs, so that a request is answered with 503
// within a second if that hangs (FA6). Without it, one with a known token would
// wait for ever.
const idsWait = 900 * time.Millisecond

func (rs *ResourceServer) keptID(ctx context.Context, r Resource) (string, error) {
	if !rs.lists { // our own memory does not hang
		var release func()
		ctx, release = rs.idReads.Context(ctx)
		defer release()
	}
	id, err := rs.ids.ID(ctx, rs.provider.issuer, r.Owner, r.Name)
	if err != nil {
		return "", errResourceIDs.because(err)
	}
	return id, nil
}

func (rs *ResourceServer) keepID(ctx context.Context, r Resource, id string) (string, error) {
	ctx, cancel := context.WithTimeout(ctx, idsWait)
	defer cancel()
	put := func() (winner string, err error) {
		return rs.ids.PutIfAbsent(ctx, rs.provider.issuer, r.Owner, r.Name, id)
	}
	winner, err := put()
	if err == nil && winner == "" { // no build keeps an empty id, which would stand for none for ever
		if err = rs.ids.Drop(ctx, rs.provider.issuer, r.Owner, r.Name, ""); err == nil {
			winner, err = put()
		}
	}
	if err != nil {
		return "", errResourceIDs.because(err)
	}
	return winner, nil
}

func (rs *ResourceServer) dropID(ctx context.Context, r Resource, id string) error {
	ctx, cancel := context.WithTimeout(ctx, idsWait)
	defer cancel()
	if err := rs.ids.Drop(ctx, rs.provider.issuer, r.Owner, r.Name, id); err != nil {
		return errResourceIDs.because(err)
	}
	return nil
}
