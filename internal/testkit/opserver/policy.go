package opserver

import (
	"cmp"
	"errors"
	"fmt"
	"maps"
	"slices"
	"time"
)

// Resource is what the owner sees of a registered resource.
type Resource struct {
	ID, Name    string
	Client      string              // the resource server that registered it
	ClientTitle string              // its name for people
	ClientHome  string              // start of its own pages; "" if it gave none
	Scopes      []string            // what can be granted
	Shares      map[string][]string // what is granted, by person
	PolicyURI   string              // the owner's page; "" if a client is the owner
}

// Request is a person's request to an owner.
type Request struct {
	ID           string
	ResourceID   string
	ResourceName string
	Who          string // the person, as the owner would name them
	Client       string // the client through which they asked
	ClientTitle  string // its name for people
	Scopes       []string
	At           time.Time
	owner        party
}

// decide splits the requested scopes into those that the owner's policy grants
// and the rest. By default only the owner is let in.
func (v *resource) decide(who *rights, want []string) (granted, refused []string) {
	names := []string{who.client}
	owns := false
	if p := who.person; p != nil {
		names = p.names
		owns = p.user != nil && p.user.name == v.owner.user
	}
	for _, scope := range want {
		ok := contains(v.scopes, scope) && (owns || slices.ContainsFunc(names, func(name string) bool {
			return contains(v.shares[name], scope)
		}))
		if ok {
			granted = append(granted, scope)
		} else {
			refused = append(refused, scope)
		}
	}
	return granted, refused
}

// hasDenied reports whether the owner has refused the person one of the scopes.
func (v *resource) hasDenied(p *person, scopes []string) bool {
	return slices.ContainsFunc(p.names, func(name string) bool {
		return slices.ContainsFunc(scopes, func(scope string) bool { return contains(v.denied[name], scope) })
	})
}

// takesRequests reports whether an owner may be asked. By default people may
// be. Clients may not, because nobody reads a client's inbox. The lock is held.
func (s *Server) takesRequests(owner party) bool {
	if said, ok := s.st.inboxes[owner]; ok {
		return said
	}
	return owner.user != ""
}

// AcceptRequests sets whether people whom the owner has not let in may ask. The
// owner is a user's name or a client's ID.
func (s *Server) AcceptRequests(owner string, on bool) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	p, err := s.party(owner)
	if err == nil {
		s.st.inboxes[p] = on
	}
	return err
}

// AcceptsRequests reports whether people whom the owner has not let in may ask.
func (s *Server) AcceptsRequests(owner string) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	p, err := s.party(owner)
	return err == nil && s.takesRequests(p)
}

// party finds an owner by name. Users take precedence over clients. The lock is
// held.
func (s *Server) party(name string) (party, error) {
	if s.st.users[name] != nil {
		return party{user: name}, nil
	}
	if s.st.clients[name] != nil {
		return party{client: name}, nil
	}
	return party{}, fmt.Errorf("opserver: nobody is called %q", name)
}

// canonical returns the name of the account with that name, email or subject,
// or else the text itself. The lock is held.
func (s *Server) canonical(who string) string {
	if s.st.users[who] != nil {
		return who
	}
	if u := s.st.subjects[who]; u != nil {
		return u.name
	}
	for _, u := range s.st.users {
		if email, _ := u.claims["email"].(string); email != "" && email == who {
			return u.name
		}
	}
	return who
}

// ownedBy finds a resource of a named owner. The lock is held.
func (s *Server) ownedBy(owner, id string) (*resource, error) {
	p, err := s.party(owner)
	if err != nil {
		return nil, err
	}
	v := s.st.resources[id]
	if v == nil || v.owner != p {
		return nil, fmt.Errorf("opserver: %s has no resource %q", owner, id)
	}
	return v, nil
}

// Share lets somebody use scopes of a resource: a user by name, email or
// subject, a person known to a trusted issuer, or a client that acts for
// itself.
func (s *Server) Share(owner, resourceID, who string, scopes ...string) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	v, err := s.ownedBy(owner, resourceID)
	if err != nil {
		return err
	}
	if who == "" || len(scopes) == 0 {
		return errors.New("opserver: a share must name a person and scopes")
	}
	for _, scope := range scopes {
		if !contains(v.scopes, scope) {
			return fmt.Errorf("opserver: resource %q has no scope %q", v.name(), scope)
		}
	}
	s.share(v, who, scopes)
	return nil
}

// share also settles what the person had asked for. The lock is held.
func (s *Server) share(v *resource, who string, scopes []string) {
	name := s.canonical(who)
	v.shares[name] = union(v.shares[name], scopes)
	s.settle(v, name, scopes)
}

// Unshare takes scopes back, or all of them if none is named, and records that
// the owner refused them. RPTs that hold them lose them at once. If nothing is
// left of a share, what that person has asked for leaves the inbox too.
func (s *Server) Unshare(owner, resourceID, who string, scopes ...string) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	v, err := s.ownedBy(owner, resourceID)
	if err != nil {
		return err
	}
	if who == "" {
		return errors.New("opserver: no person is named")
	}
	if len(scopes) == 0 {
		scopes = slices.Clone(v.scopes)
	}
	s.unshare(v, who, scopes)
	return nil
}

func (s *Server) unshare(v *resource, who string, scopes []string) {
	for _, name := range []string{who, s.canonical(who)} { // who may have got an account since
		shared := len(v.shares[name]) > 0
		v.shares[name] = without(v.shares[name], scopes)
		v.denied[name] = union(v.denied[name], scopes)
		s.settle(v, name, scopes)
		if len(v.shares[name]) == 0 {
			delete(v.shares, name)
			if shared { // whoever is let in no more is not asking for more
				s.settle(v, name, v.scopes)
			}
		}
	}
}

// settle removes decided scopes from the inbox. The lock is held.
func (s *Server) settle(v *resource, who string, scopes []string) {
	for id, q := range s.st.requests {
		if q.ResourceID != v.id || q.Who != who {
			continue
		}
		if q.Scopes = without(q.Scopes, scopes); len(q.Scopes) == 0 {
			delete(s.st.requests, id)
		}
	}
}

// without returns a new list of the members of a that are not in b.
func without(a, b []string) []string {
	out := make([]string, 0, len(a))
	for _, one := range a {
		if !contains(b, one) {
			out = append(out, one)
		}
	}
	return out
}

// maxRequests bounds an owner's inbox. Further requests are not filed, though
// the client is told to wait as usual.
const maxRequests = 200

// file puts a request into the owner's inbox, once per person and resource. The
// lock is held.
func (s *Server) file(v *resource, p *person, client string, scopes []string) {
	if len(scopes) == 0 {
		return
	}
	waiting := 0
	for _, q := range s.st.requests {
		if q.ResourceID == v.id && q.Who == p.names[0] {
			q.Scopes = union(q.Scopes, scopes)
			return
		}
		if q.owner == v.owner {
			waiting++
		}
	}
	if waiting >= maxRequests {
		return
	}
	id := newSecret()
	s.st.requests[id] = &Request{ID: id, ResourceID: v.id, ResourceName: v.name(), Who: p.names[0], Client: client,
		Scopes: slices.Clone(scopes), At: s.now(), owner: v.owner}
}

// Pending returns an owner's inbox, oldest first.
func (s *Server) Pending(owner string) []Request {
	s.mu.Lock()
	defer s.mu.Unlock()
	p, err := s.party(owner)
	if err != nil {
		return nil
	}
	var out []Request
	for _, q := range s.st.requests {
		if v := s.st.resources[q.ResourceID]; q.owner == p && v != nil && !v.lost {
			copied := *q
			copied.Scopes = slices.Clone(q.Scopes)
			copied.ClientTitle = s.titleOf(q.Client)
			out = append(out, copied)
		}
	}
	slices.SortFunc(out, func(a, b Request) int {
		return cmp.Or(a.At.Compare(b.At), cmp.Compare(a.ID, b.ID))
	})
	return out
}

// Approve grants what a request asks for.
func (s *Server) Approve(owner, id string) error { return s.settleRequest(owner, id, true) }

// Deny refuses a request. Another request for the same scopes is not filed.
func (s *Server) Deny(owner, id string) error { return s.settleRequest(owner, id, false) }

func (s *Server) settleRequest(owner, id string, grant bool) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	p, err := s.party(owner)
	if err != nil {
		return err
	}
	q := s.st.requests[id]
	if q == nil || q.owner != p || s.st.resources[q.ResourceID] == nil {
		return fmt.Errorf("opserver: %s has no such request", owner)
	}
	v := s.st.resources[q.ResourceID]
	delete(s.st.requests, id)
	if grant {
		s.share(v, q.Who, q.Scopes)
	} else {
		s.unshare(v, q.Who, q.Scopes)
	}
	return nil
}

// Resources returns what an owner has registered, by name.
func (s *Server) Resources(owner string) []Resource {
	s.mu.Lock()
	defer s.mu.Unlock()
	p, err := s.party(owner)
	if err != nil {
		return nil
	}
	var out []Resource
	for _, v := range s.st.resources {
		if v.owner == p && !v.lost {
			out = append(out, s.describe(v))
		}
	}
	slices.SortFunc(out, func(a, b Resource) int {
		return cmp.Or(cmp.Compare(a.Name, b.Name), cmp.Compare(a.ID, b.ID))
	})
	return out
}

// describe copies a resource for its owner. The lock is held.
func (s *Server) describe(v *resource) Resource {
	out := Resource{ID: v.id, Name: v.name(), Client: v.client, ClientTitle: s.titleOf(v.client), ClientHome: s.homeOf(v.client),
		Scopes: slices.Clone(v.scopes), Shares: maps.Clone(v.shares)}
	for who, scopes := range out.Shares {
		out.Shares[who] = slices.Clone(scopes)
	}
	if v.owner.user != "" {
		out.PolicyURI = s.url(pathPolicy) + "/" + v.id
	}
	return out
}
