package gatehouse

// Tested in internal/e2e/uma_rs.

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"sync/atomic"
	"time"
)

// registerTimeout bounds one registration with all its calls. A request
// waits only for its own budget. The registration continues, and the next
// request finds it done.
const registerTimeout = 15 * time.Second

// Register registers the resource at the authorization server and returns it
// with ID and PolicyURI set. It is safe to call again: an existing resource
// keeps its id and what its owner decided. It is updated only if it lacks what
// r names, and keeps what r does not name, unless r is Exact. Requests register
// the resources they need by themselves. Call Register for a resource that the
// owner should see right away.
//
// Parallel calls for one resource share one registration, which continues even
// if ctx ends. Errors are *Error. The code is "resource_invalid",
// "owner_grant_missing" if the owner's PAT is needed but missing,
// "resource_ids_unavailable", "registration_failed", that of a failed call to
// the authorization server, or "internal" without ResourceServerConfig.Client.
func (rs *ResourceServer) Register(ctx context.Context, r Resource) (Resource, error) {
	if err := rs.checkUMA(); err != nil {
		return Resource{}, errInternal.because(err)
	}
	if r.Name == "" {
		return Resource{}, errResourceInvalid.because(errors.New("the resource has no Name"))
	}
	if err := r.check(); err != nil {
		return Resource{}, errResourceInvalid.because(err)
	}
	for {
		out, err := rs.registerInTurn(ctx, r)
		if ErrorCode(err) != errBusy.code { // else it was a request's registration, which did not wait
			return out, err
		}
	}
}

// Deregister deletes the resource at the authorization server, with everything
// that its owner decided, and forgets its id. It returns nil if the resource
// does not exist there.
//
// Call Deregister first, and then delete your own record of the resource. If
// the process crashes in between, the next request registers the resource
// again, shared with nobody.
func (rs *ResourceServer) Deregister(ctx context.Context, r Resource) error {
	if err := rs.checkUMA(); err != nil {
		return errInternal.because(err)
	}
	if err := r.check(); err != nil {
		return errResourceInvalid.because(err)
	}
	reg, err := rs.registrar(ctx, r)
	if err != nil {
		return err
	}
	if err := rs.awaitPlace(ctx); err != nil {
		return asError(err, errRegistration)
	}
	defer rs.provider.ticketCalls.Leave()
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
	rs.registry.Forget(rs.key(r))
	rs.provider.emit(ctx, Event{Name: EventRegistration, Subject: r.Owner, Resource: id})
	if r.Name == "" {
		return nil
	}
	return rs.dropID(ctx, r, id)
}

// registerInTurn waits for a place before it begins the registration, so that
// requests that join it do not wait for a place.
func (rs *ResourceServer) registerInTurn(ctx context.Context, r Resource) (Resource, error) {
	if err := rs.awaitPlace(ctx); err != nil {
		return Resource{}, asError(err, errRegistration)
	}
	var gone atomic.Bool // the place: the registration has it, or it is given back
	out, err := rs.register(ctx, r, refusedID{}, func() error {
		if gone.CompareAndSwap(false, true) {
			return nil
		}
		return rs.takePlace()
	})
	if gone.CompareAndSwap(false, true) { // it joined another one, or begins after ctx has ended
		rs.provider.ticketCalls.Leave()
	}
	return out, err
}

// refusedID is an id that the server refused. The zero value means that no id was refused.
type refusedID struct {
	id     string
	gone   bool // the server does not know it
	policy string
}

// register registers a resource, or joins a registration that is under way. A
// registration that begins calls enter for its place.
func (rs *ResourceServer) register(ctx context.Context, r Resource, refused refusedID, enter func() error) (Resource, error) {
	r.Scopes = slices.Clone(r.Scopes)
	key := registrationKey{rs.key(r), r.sum()}
	out, err := rs.registry.flights.Do(ctx, key, registerTimeout, func(ctx context.Context) (Resource, error) {
		out, err := rs.registerInPlace(ctx, r, refused, enter)
		if err != nil {
			err = asError(err, errRegistration)
		}
		rs.provider.emit(ctx, Event{Name: EventRegistration, Code: ErrorCode(err), Subject: r.Owner, Resource: out.ID, Err: err})
		return out, err
	})
	if err != nil {
		place := rs.provider.knownEndpoint(func(md *Metadata) string { return md.ResourceRegistrationEndpoint })
		return Resource{}, asError(late(err, "registration", place), errRegistration)
	}
	return out, nil
}

// registerInPlace takes one place for the whole registration, which makes one
// call after another.
func (rs *ResourceServer) registerInPlace(ctx context.Context, r Resource, refused refusedID, enter func() error) (Resource, error) {
	if err := enter(); err != nil {
		return Resource{}, err
	}
	defer rs.provider.ticketCalls.Leave()
	return rs.registerOnce(ctx, r, refused)
}

// registerOnce finds or creates the resource and returns it with its id.
func (rs *ResourceServer) registerOnce(ctx context.Context, r Resource, refused refusedID) (Resource, error) {
	id, err := rs.keptID(ctx, r)
	if err != nil {
		return Resource{}, err
	}
	if id != "" && !r.Exact { // to withdraw scopes, read what there is now
		if w, ok := rs.registry.Known(rs.key(r), r.sum(), id); ok {
			return r.registered(id, w.Policy), nil
		}
	}
	reg, err := rs.registrar(ctx, r)
	if err != nil {
		return Resource{}, err
	}
	unkept := ""
	if id == "" { // the store failed when it was made, and it would be made again at each request
		unkept = rs.registry.Unkept(rs.key(r))
	}
	for _, candidate := range []string{id, r.ID, unkept} {
		if candidate == "" {
			continue
		}
		reg.made = candidate == unkept
		policy := ""
		if candidate == refused.id {
			policy = refused.policy
		}
		out, found, err := reg.adopt(ctx, candidate, policy)
		if err != nil || found {
			return out, err
		}
		if err := rs.dropID(ctx, r, candidate); err != nil {
			return Resource{}, err
		}
	}
	reg.made = false
	// Our memory is empty when the process starts, so list what earlier
	// processes registered. At Keycloak that is unnecessary: it reports a name
	// that is taken (K4).
	if rs.lists && !reg.keycloak {
		found, err := reg.find(ctx)
		if err != nil {
			return Resource{}, err
		}
		if found != "" && found != refused.id {
			out, ok, err := reg.adopt(ctx, found, "")
			if err != nil || ok {
				return out, err
			}
		}
	}
	return reg.create(ctx)
}

// takePlace takes a place for calls about tickets and registrations. A request
// that gets none is answered at once: strangers need no token to ask for a
// ticket, and must not drive the server. Calls of the application wait (see
// awaitPlace).
func (rs *ResourceServer) takePlace() error {
	if !rs.provider.ticketCalls.Try(rs.tickets) {
		return errBusy.after(0, fmt.Errorf("%d calls for tickets and registrations are under way, as many as may be", rs.tickets))
	}
	return nil
}

// awaitPlace waits for such a place.
func (rs *ResourceServer) awaitPlace(ctx context.Context) error {
	return rs.provider.ticketCalls.Wait(ctx, rs.tickets)
}

// resourceID returns the id of a resource that a permission names. If the
// resource is not registered yet, it is registered within the request's
// budget.
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
	ctx, cancel := context.WithTimeout(ctx, rs.budget)
	defer cancel()
	r.Exact = false // a request withdraws nothing
	out, err := rs.register(ctx, r, refusedID{}, rs.takePlace)
	return out.ID, err
}

// registerAgain registers a resource whose id the server refused.
func (rs *ResourceServer) registerAgain(ctx context.Context, r Resource, refused refusedID) (string, error) {
	id, err := rs.keptID(ctx, r)
	if err != nil {
		return "", err
	}
	if id != "" && id != refused.id {
		return id, nil // somebody else has registered it again
	}
	if refused.gone {
		if err := rs.dropID(ctx, r, refused.id); err != nil {
			return "", err
		}
		r.ID = ""
	} else {
		refused.policy = rs.registry.Forget(rs.key(r)) // so that it is read or written again
	}
	r.Exact = false // a request withdraws nothing
	out, err := rs.register(ctx, r, refused, rs.takePlace)
	return out.ID, err
}
