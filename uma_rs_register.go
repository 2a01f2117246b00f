package gatehouse

// Tested in internal/e2e/uma_rs.

import (
	"context"
	"encoding/json"
	"errors"
	"net/http"
	"net/url"
	"slices"
	"time"

	"example.com/gatehouse/internal/backchannel"
	"example.com/gatehouse/internal/outbound"
	"example.com/gatehouse/internal/swap"
)

// maxListed bounds how many resources of one owner are read to find one that
// was registered before. Each costs a call of some milliseconds. If it is not
// among them, it is registered as a new one.
const maxListed = 500

const (
	// registerTimeout bounds one registration with all its calls. A request
	// waits only for its own budget. The registration continues, and the next
	// request finds it done.
	registerTimeout = 15 * time.Second
	// createTries bounds how often a name is registered that the server says
	// is taken although no such resource is found. In each lost round somebody
	// else's resource was created.
	createTries = 5
	// createPause is the time that the other registration gets to finish.
	createPause = 50 * time.Millisecond
)

// Register registers the resource at the authorization server and returns it
// with ID and PolicyURI set. It is safe to call again: an existing resource
// keeps its id and what its owner decided, and is updated only if its
// description differs. Requests register the resources they need by
// themselves. Call Register for a resource that the owner should see right
// away.
//
// Parallel calls for one resource share one registration, which continues even
// if ctx ends. Errors are *Error. The code is "resource_invalid",
// "owner_grant_missing" if the owner's PAT is needed but missing,
// "resource_ids_unavailable", "registration_failed", or that of a failed call
// to the authorization server.
func (rs *ResourceServer) Register(ctx context.Context, r Resource) (Resource, error) {
	if r.Name == "" {
		return Resource{}, errResourceInvalid.because(errors.New("the resource has no Name"))
	}
	if err := r.check(); err != nil {
		return Resource{}, errResourceInvalid.because(err)
	}
	return rs.register(ctx, r, refusedID{})
}

// Deregister deletes the resource at the authorization server, with everything
// that its owner decided, and forgets its id. It returns nil if the resource
// does not exist there.
//
// Call Deregister first, and then delete your own record of the resource. If
// the process crashes in between, the next request registers the resource
// again, shared with nobody.
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

// refusedID is an id that the server refused. The zero value means that no id was refused.
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
	ctx, cancel := context.WithTimeout(ctx, requestBudget)
	defer cancel()
	out, err := rs.register(ctx, r, refusedID{})
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
		refused.policy = rs.registry.forget(rs.key(r)) // so that it is read or written again
	}
	out, err := rs.register(ctx, r, refused)
	return out.ID, err
}

// registrar makes the calls about one resource (UMA Federated Authorization
// §3).
type registrar struct {
	rs       *ResourceServer
	r        Resource
	endpoint string
	keycloak bool
}

func (rs *ResourceServer) registrar(ctx context.Context, r Resource) (*registrar, error) {
	md, err := rs.provider.umaMetadata(ctx)
	if err != nil {
		return nil, err
	}
	if md.ResourceRegistrationEndpoint == "" {
		return nil, errMetadataInvalid.because(errors.New("no resource_registration_endpoint"))
	}
	return &registrar{rs: rs, r: r, endpoint: md.ResourceRegistrationEndpoint, keycloak: md.isKeycloak()}, nil
}

// registerOnce finds or creates the resource and returns it with its id.
func (rs *ResourceServer) registerOnce(ctx context.Context, r Resource, refused refusedID) (Resource, error) {
	id, err := rs.keptID(ctx, r)
	if err != nil {
		return Resource{}, err
	}
	if id != "" {
		if w, ok := rs.registry.known(rs.key(r), r.sum(), id); ok {
			return r.registered(id, w.policy), nil
		}
	}
	reg, err := rs.registrar(ctx, r)
	if err != nil {
		return Resource{}, err
	}
	for _, candidate := range []string{id, r.ID} {
		if candidate == "" {
			continue
		}
		var out Resource
		var found bool
		if refused.drifted && candidate == refused.id { // the server has said that it differs
			out, found, err = reg.update(ctx, candidate, refused.policy)
			if out.PolicyURI == "" {
				rs.registry.forget(rs.key(r)) // so that Register reads it
			}
		} else {
			out, found, err = reg.adopt(ctx, candidate)
		}
		if err != nil || found {
			return out, err
		}
		if err := rs.dropID(ctx, r, candidate); err != nil {
			return Resource{}, err
		}
	}
	// Our memory is empty when the process starts, so list what earlier
	// processes registered. At Keycloak that is unnecessary: it reports a name
	// that is taken (K4).
	if rs.lists && !reg.keycloak {
		found, err := reg.find(ctx)
		if err != nil {
			return Resource{}, err
		}
		if found != "" && found != refused.id {
			out, ok, err := reg.adopt(ctx, found)
			if err != nil || ok {
				return out, err
			}
		}
	}
	return reg.create(ctx)
}

func (r Resource) registered(id, policy string) Resource {
	r.ID, r.PolicyURI = id, policy
	return r
}

// done stores the id and remembers the description that the server has now.
func (g *registrar) done(ctx context.Context, id, policy string) (Resource, error) {
	winner, err := g.rs.keepID(ctx, g.r, id)
	if err != nil {
		return Resource{}, err
	}
	if winner == "" || winner == id {
		g.rs.registry.remember(g.rs.key(g.r), written{g.r.sum(), id, policy})
		return g.r.registered(id, policy), nil
	}
	// Another replica was faster. Ours is a duplicate that nobody has shared
	// yet. If it cannot be deleted now, it stays.
	if err := g.delete(ctx, id); err != nil {
		g.rs.provider.emit(ctx, Event{Name: EventRegistration, Code: errRegistration.code, Subject: g.r.Owner, Resource: id, Err: err})
	}
	return g.r.registered(winner, ""), nil
}

// adopt takes over the resource with that id and updates it if it differs. It
// reports whether the server has it for this owner.
func (g *registrar) adopt(ctx context.Context, id string) (out Resource, found bool, err error) {
	have, err := g.read(ctx, id)
	if err != nil || have == nil {
		return Resource{}, false, err
	}
	if have.equals(g.describe(), g.keycloak) {
		out, err = g.done(ctx, id, have.policy)
		return out, true, err
	}
	return g.update(ctx, id, have.policy)
}

// update sends the complete description (§3.2.3). It reports whether the
// server has the resource for this owner. The policy is the address of the
// policy page as known before, because a response may omit it.
func (g *registrar) update(ctx context.Context, id, policy string) (out Resource, found bool, err error) {
	a, err := g.call(ctx, http.MethodPut, id, g.describe())
	if err != nil {
		return Resource{}, false, err
	}
	switch a.Status {
	case http.StatusOK, http.StatusCreated, http.StatusNoContent: // Keycloak sends no body (K3)
	case http.StatusNotFound, http.StatusGone, http.StatusForbidden: // another owner's id is 403 (K6)
		return Resource{}, false, nil
	default:
		return Resource{}, false, classify(a.Unexpected("updating the resource"))
	}
	if told := readRemote(a.Body); told != nil && told.policy != "" {
		policy = told.policy
	}
	out, err = g.done(ctx, id, policy)
	return out, true, err
}

// create registers the resource (§3.2.1). 409 means that the name is taken
// (K4). Keycloak also sends it to clients that use a new scope for the first
// time at the same moment. Then there is no such resource, and trying again
// works.
func (g *registrar) create(ctx context.Context) (Resource, error) {
	for try := 1; ; try++ {
		a, err := g.call(ctx, http.MethodPost, "", g.describe())
		if err != nil {
			return Resource{}, err
		}
		if a.Status != http.StatusConflict {
			return g.created(ctx, a)
		}
		id, err := g.find(ctx)
		if err != nil {
			return Resource{}, err
		}
		if id != "" {
			if out, found, err := g.adopt(ctx, id); err != nil || found {
				return out, err
			}
		}
		if try == createTries {
			return Resource{}, errRegistration.because(errors.New("the name is taken, but no such resource is found"))
		}
		if err := swap.Pause(ctx, createPause); err != nil {
			return Resource{}, err
		}
	}
}

// created reads the response to a registration.
func (g *registrar) created(ctx context.Context, a *backchannel.Answer) (Resource, error) {
	if a.Status != http.StatusCreated && a.Status != http.StatusOK {
		return Resource{}, classify(a.Unexpected("registering the resource"))
	}
	told := readRemote(a.Body)
	id, policy := "", ""
	if told != nil {
		id, policy = told.id, told.policy
	}
	if id == "" {
		id = outbound.LastSegment(a.Header.Get("Location"))
	}
	if !soundID(id) {
		return Resource{}, errRegistration.because(errors.New("the answer has no usable _id"))
	}
	if told != nil && g.foreign(told) {
		err := errRegistration.because(errors.New("the server made the service the owner; a person's resource needs that person's PAT"))
		return Resource{}, asError(errors.Join(err, g.delete(ctx, id)), errRegistration)
	}
	return g.done(ctx, id, policy)
}

// read returns the description of a resource (§3.2.2), or nil if it does not
// exist or belongs to another owner.
func (g *registrar) read(ctx context.Context, id string) (*remote, error) {
	a, err := g.call(ctx, http.MethodGet, id, nil)
	if err != nil {
		return nil, err
	}
	switch a.Status {
	case http.StatusOK:
	case http.StatusNotFound, http.StatusGone, http.StatusForbidden: // another owner's id is 403 (K6)
		return nil, nil
	default:
		return nil, classify(a.Unexpected("reading the resource"))
	}
	have := readRemote(a.Body)
	if have == nil {
		return nil, errRegistration.because(errors.New("reading the resource: the answer is not the expected JSON object"))
	}
	if g.foreign(have) {
		return nil, nil
	}
	return have, nil
}

// foreign reports whether a resource that should be a person's belongs to the
// service. Keycloak makes the owner of the PAT the owner, whatever the request
// says (K6).
func (g *registrar) foreign(have *remote) bool {
	return g.r.Owner != "" && g.r.Owner != g.rs.client.ID && have.owner == g.rs.client.ID
}

// delete deletes a resource (§3.2.4). It returns nil if the resource does not
// exist.
func (g *registrar) delete(ctx context.Context, id string) error {
	a, err := g.call(ctx, http.MethodDelete, id, nil)
	if err != nil {
		return err
	}
	switch a.Status {
	case http.StatusOK, http.StatusNoContent, http.StatusNotFound, http.StatusGone:
		return nil
	}
	return classify(a.Unexpected("deleting the resource"))
}

// find returns the id of the resource among those of its owner, or "" if it is
// not there.
func (g *registrar) find(ctx context.Context) (string, error) {
	address := g.endpoint
	if g.keycloak {
		owner := g.r.Owner
		if owner == "" {
			owner = g.rs.client.ID
		}
		// Ask for the exact name, without the limit of 100 results. A
		// service's token lists everybody's resources, so name the owner too
		// (K7).
		address = outbound.WithQuery(address, url.Values{"name": {g.r.Name}, "exactName": {"true"}, "owner": {owner}, "max": {"-1"}})
	}
	a, err := g.rs.callAPI(ctx, g.r.Owner, http.MethodGet, address, nil)
	if err != nil {
		return "", err
	}
	if a.Status != http.StatusOK {
		return "", classify(a.Unexpected("listing resources"))
	}
	var ids []string
	if json.Unmarshal(a.Body, &ids) != nil { // an array of ids (§3.2.5)
		return "", errRegistration.because(errors.New("listing resources: the answer is not an array of ids"))
	}
	slices.Sort(ids) // so that all replicas choose the same one of duplicates
	if g.keycloak {
		return g.exactly(ctx, ids)
	}
	return g.among(ctx, ids)
}

// exactly finds the resource with our exact name. Keycloak keeps names apart
// by case, but its search ignores case (K7).
func (g *registrar) exactly(ctx context.Context, ids []string) (string, error) {
	for _, id := range ids[:min(len(ids), maxListed)] {
		if !soundID(id) {
			continue
		}
		have, err := g.read(ctx, id)
		if err != nil {
			return "", err
		}
		if have != nil && have.name == g.r.Name {
			return id, nil
		}
	}
	return "", nil
}

// among finds the resource with our name and type. It reads only those ids
// whose names are not known yet.
func (g *registrar) among(ctx context.Context, ids []string) (string, error) {
	reads := 0
	for _, id := range ids {
		if !soundID(id) {
			continue
		}
		name, ok := g.rs.registry.nameOf(g.r.Owner, id)
		if !ok {
			if reads++; reads > maxListed {
				return "", nil
			}
			have, err := g.read(ctx, id)
			if err != nil {
				return "", err
			}
			if have != nil {
				name = remoteName{have.name, have.kind}
			}
			g.rs.registry.setName(g.r.Owner, id, name)
		}
		if name == (remoteName{g.r.Name, g.r.Type}) {
			return id, nil
		}
	}
	return "", nil
}

// call makes one call about the resource with that id, or about the collection
// if id is "".
func (g *registrar) call(ctx context.Context, method, id string, in any) (*backchannel.Answer, error) {
	address := g.endpoint
	if id != "" {
		if !soundID(id) {
			return nil, errResourceInvalid.because(errors.New("the id cannot be used in an address"))
		}
		address = outbound.WithSegment(address, id)
	}
	return g.rs.callAPI(ctx, g.r.Owner, method, address, in)
}
