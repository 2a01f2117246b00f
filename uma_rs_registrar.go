package gatehouse

// Tested in internal/e2e/uma_rs.

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"slices"
	"time"

	"example.com/gatehouse/internal/backchannel"
	"example.com/gatehouse/internal/outbound"
	"example.com/gatehouse/internal/resource"
	"example.com/gatehouse/internal/swap"
)

const (
	// createTries bounds how often a name is registered that the server says
	// is taken although no such resource is found. In each lost round somebody
	// else's resource was created.
	createTries = 5
	// createPause is the time that the other registration gets to finish.
	createPause = 50 * time.Millisecond
	// duplicatesAfter is how long after it has created a resource a process
	// lists again to find the one that another process has created at the same
	// time. It is longer than a registration takes.
	duplicatesAfter = 20 * time.Second
	// duplicatesWith is how long the resources are gathered for which one
	// owner's list is read once.
	duplicatesWith = 2 * time.Second
)

// registrar makes the calls about one resource (UMA Federated Authorization
// §3).
type registrar struct {
	rs       *ResourceServer
	r        Resource
	client   string // our id, which the server knows as an owner
	endpoint string
	keycloak bool
	made     bool // the resource is a new one, which this registration has made
}

func (rs *ResourceServer) registrar(ctx context.Context, r Resource) (*registrar, error) {
	md, err := rs.provider.umaMetadataWith(ctx, func(md *Metadata) string { return md.ResourceRegistrationEndpoint })
	if err != nil {
		return nil, err
	}
	if md.ResourceRegistrationEndpoint == "" {
		return nil, errMetadataInvalid.because(rs.provider.lacks(memberRegistration))
	}
	who, err := rs.provider.who(ctx, &rs.client)
	if err != nil {
		return nil, err
	}
	return &registrar{rs: rs, r: r, client: who.ID, endpoint: md.ResourceRegistrationEndpoint, keycloak: rs.provider.isKeycloak(md)}, nil
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
		g.rs.registry.Remember(g.rs.key(g.r), resource.Written{Sum: g.r.sum(), ID: id, Policy: policy, Unkept: winner == ""})
		return g.r.registered(id, policy), nil
	}
	if !g.made { // it was there before us, and somebody may have shared it
		return g.r.registered(winner, ""), nil
	}
	g.rs.registry.Forget(g.rs.key(g.r))
	// Another replica was faster. Ours is a duplicate that nobody has shared
	// yet. If it cannot be deleted now, it stays.
	if err := g.delete(ctx, id); err != nil {
		g.rs.provider.emit(ctx, Event{Name: EventRegistration, Code: errRegistration.code, Subject: g.r.Owner, Resource: id, Err: err})
	}
	return g.r.registered(winner, ""), nil
}

// adopt joins the resource with that id. It adds what we name and the server
// lacks, and leaves everything else as it is, because an administrator may have
// put it there. It reports whether the server has it for this owner. The policy
// is the address of the policy page as known before, because a response may
// omit it.
func (g *registrar) adopt(ctx context.Context, id, policy string) (out Resource, found bool, err error) {
	have, err := g.read(ctx, id)
	if err != nil || have == nil {
		return Resource{}, false, err
	}
	policy = cmp.Or(have.Policy, policy)
	if have.Holds(g.describe(), g.r.Exact) {
		out, err = g.done(ctx, id, policy)
		return out, true, err
	}
	whole, err := have.Joined(g.describe(), g.r.Exact, g.keycloak)
	if err != nil {
		return Resource{}, false, errRegistration.because(err)
	}
	return g.update(ctx, id, policy, whole)
}

// update sends the complete description (§3.2.3). It reports whether the
// server has the resource for this owner.
func (g *registrar) update(ctx context.Context, id, policy string, whole map[string]json.RawMessage) (out Resource, found bool, err error) {
	a, err := g.call(ctx, http.MethodPut, id, whole)
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
	if told := resource.Read(a.Body); told != nil && told.Policy != "" {
		policy = told.Policy
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
			if out, found, err := g.adopt(ctx, id, ""); err != nil || found {
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
	told := resource.Read(a.Body)
	id, policy := "", ""
	if told != nil {
		id, policy = told.ID, told.Policy
	}
	if id == "" {
		id = outbound.LastSegment(a.Header.Get("Location"))
	}
	if told == nil && id == "" {
		return Resource{}, errRegistration.because(fmt.Errorf("registering the resource: the answer from %s is not the expected JSON object: %w", a.Address(), resource.Why(a.Body)))
	}
	if !soundID(id) {
		return Resource{}, errRegistration.because(fmt.Errorf("registering the resource: the answer from %s has no usable _id", a.Address()))
	}
	if told != nil && g.foreign(told) {
		err := errRegistration.because(errors.New("the server made the service the owner; a person's resource needs that person's PAT"))
		return Resource{}, asError(errors.Join(err, g.delete(ctx, id)), errRegistration)
	}
	g.made = true
	g.rs.registry.SetName(g.r.Owner, id, resource.Named{Name: g.r.Name, Type: g.r.Type})
	g.rs.registry.Remember(g.rs.key(g.r), resource.Written{Sum: g.r.sum(), ID: id, Policy: policy, Unkept: true})
	out, err := g.done(ctx, id, policy)
	if err == nil && g.rs.lists && !g.keycloak && out.ID == id {
		g.rs.lookForDuplicates(g.r, id)
	}
	return out, err
}

// read returns the description of a resource (§3.2.2), or nil if it does not
// exist or belongs to another owner.
func (g *registrar) read(ctx context.Context, id string) (*resource.Remote, error) {
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
	have := resource.Read(a.Body)
	if have == nil {
		return nil, errRegistration.because(fmt.Errorf("reading the resource: the answer from %s is not the expected JSON object: %w", a.Address(), resource.Why(a.Body)))
	}
	if g.foreign(have) {
		return nil, nil
	}
	return have, nil
}

// foreign reports whether a resource that should be a person's belongs to the
// service. Keycloak makes the owner of the PAT the owner, whatever the request
// says (K6).
func (g *registrar) foreign(have *resource.Remote) bool {
	return g.r.Owner != "" && g.r.Owner != g.client && have.Owner == g.client
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
	ids, err := g.list(ctx)
	if err != nil {
		return "", err
	}
	if g.keycloak {
		return g.exactly(ctx, ids)
	}
	return g.among(ctx, ids)
}

// list returns the ids of all resources of the owner (§3.2.5), or at Keycloak
// those that may have our name. They are sorted, so that all replicas choose
// the same one of duplicates.
func (g *registrar) list(ctx context.Context) ([]string, error) {
	address := g.endpoint
	if g.keycloak {
		owner := g.r.Owner
		if owner == "" {
			owner = g.client
		}
		// Ask for the exact name, without the limit of 100 results. A
		// service's token lists everybody's resources, so name the owner too
		// (K7).
		address = outbound.WithQuery(address, url.Values{"name": {g.r.Name}, "exactName": {"true"}, "owner": {owner}, "max": {"-1"}})
	}
	a, err := g.rs.callAPI(ctx, g.r.Owner, http.MethodGet, address, nil)
	if err != nil {
		return nil, err
	}
	if a.Status != http.StatusOK {
		return nil, classify(a.Unexpected("listing resources"))
	}
	var ids []string
	if json.Unmarshal(a.Body, &ids) != nil {
		return nil, errRegistration.because(fmt.Errorf("listing resources: the answer from %s is not an array of ids", a.Address()))
	}
	slices.Sort(ids)
	return slices.DeleteFunc(ids, func(id string) bool { return !soundID(id) }), nil
}

// exactly finds the resource with our exact name. Keycloak keeps names apart
// by case, but its search ignores case (K7).
func (g *registrar) exactly(ctx context.Context, ids []string) (string, error) {
	for _, id := range ids {
		have, err := g.read(ctx, id)
		if err != nil {
			return "", err
		}
		if have != nil && have.Name == g.r.Name {
			return id, nil
		}
	}
	return "", nil
}

// among finds the resource with our name and type. If there is none, one with
// our name will do where only one side names a type, because an administrator
// may have set it. It reads only those ids whose names are not known yet. If
// the time ends before all are read, that is an error, because the resource may
// be among the others, and must not be made twice. The next registration reads
// on.
func (g *registrar) among(ctx context.Context, ids []string) (string, error) {
	near := ""
	for i, id := range ids {
		name, ok := g.rs.registry.NameOf(g.r.Owner, id)
		if !ok {
			have, err := g.read(ctx, id)
			if ctx.Err() != nil {
				return "", errRegistration.because(fmt.Errorf("%d of the owner's %d resources are read so far, and the next registration reads on: %w", i, len(ids), ctx.Err()))
			}
			if err != nil {
				return "", err
			}
			if have != nil {
				name = resource.Named{Name: have.Name, Type: have.Type}
			}
			g.rs.registry.SetName(g.r.Owner, id, name)
		}
		switch {
		case name.Name != g.r.Name:
		case name.Type == g.r.Type:
			return id, nil
		case near == "" && (name.Type == "" || g.r.Type == ""):
			near = id
		}
	}
	return near, nil
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

// describe returns the resource as it is sent to the server (§3.1).
func (g *registrar) describe() resource.Description {
	d := resource.Description{Name: g.r.Name, Type: g.r.Type, Description: g.r.Description, IconURI: g.r.IconURI, Scopes: g.r.Scopes}
	if g.keycloak {
		d.Description, d.OwnerManaged = "", g.r.Owner != "" // Keycloak refuses a description (K5) and needs OwnerManaged for a person (K6)
	}
	return d
}

// batch is the new resources of one owner for which the list is read once.
type batch struct{ made []madeResource }

type madeResource struct {
	r  Resource
	id string
}

// lookForDuplicates starts, unless it is under way, the flight that looks for
// duplicates of the owner's new resources.
func (rs *ResourceServer) lookForDuplicates(r Resource, id string) {
	g := &rs.registry
	r.Exact = false
	g.mu.Lock()
	b := g.open[r.Owner]
	begins := b == nil
	if begins {
		if g.open == nil {
			g.open = make(map[string]*batch)
		}
		b = &batch{}
		g.open[r.Owner] = b
	}
	b.made = append(b.made, madeResource{r, id})
	g.mu.Unlock()
	if begins {
		g.looks.Start(b, duplicatesAfter+registerTimeout, func(ctx context.Context) (struct{}, error) {
			rs.endDuplicates(ctx, r.Owner, b)
			return struct{}{}, nil
		})
	}
}

// endDuplicates gathers the batch, waits, and looks. Without shared ResourceIDs
// two processes that begin at the same moment register a resource twice. Each
// looks once more when both are certainly done. The smallest id wins. Whoever
// made another one takes the winner and deletes its own, which nobody had much
// time to share.
func (rs *ResourceServer) endDuplicates(ctx context.Context, owner string, b *batch) {
	g := &rs.registry
	goesOn := g.pause(ctx, duplicatesWith)
	g.mu.Lock()
	delete(g.open, owner) // the batch is complete
	g.mu.Unlock()
	if !goesOn || !g.pause(ctx, duplicatesAfter-duplicatesWith) {
		return
	}
	failed := func(id string, err error) {
		e := asError(err, errRegistration)
		rs.provider.emit(ctx, Event{Name: EventRegistration, Code: e.Code, Subject: owner, Resource: id, Err: e.Err})
	}
	if err := rs.awaitPlace(ctx); err != nil {
		failed("", err)
		return
	}
	defer rs.provider.ticketCalls.Leave()
	reg, err := rs.registrar(ctx, b.made[0].r)
	if err != nil {
		failed("", err)
		return
	}
	ids, err := reg.list(ctx)
	if err != nil {
		failed("", err)
		return
	}
	g.ForgetHidden(owner)
	for _, m := range b.made {
		reg := *reg
		reg.r = m.r
		if err := reg.yield(ctx, m.id, ids); err != nil {
			failed(m.id, err)
		}
	}
}

// yield takes the resource with the smallest id of our name instead of our own.
func (g *registrar) yield(ctx context.Context, id string, ids []string) error {
	winner, err := g.among(ctx, ids)
	if err != nil || winner == "" || winner >= id {
		return err
	}
	if kept, err := g.rs.keptID(ctx, g.r); err != nil || kept != id {
		return err // it was registered again meanwhile
	}
	if err := g.rs.dropID(ctx, g.r, id); err != nil {
		return err
	}
	out, found, err := g.adopt(ctx, winner, "")
	if err != nil || !found || out.ID == id {
		return err // the next need finds it
	}
	g.rs.provider.emit(ctx, Event{Name: EventRegistration, Subject: g.r.Owner, Resource: out.ID})
	return g.delete(ctx, id)
}
