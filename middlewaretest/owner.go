package middlewaretest

import (
	"strings"
	"time"

	"example.com/gatehouse"
)

// Owner is a resource owner who makes decisions at the authorization server, as
// a person does on its pages.
type Owner struct {
	s    *Server
	name string
}

// Request is a person's request to an owner.
type Request struct {
	ID       string // for Approve and Deny
	Resource string // the resource's name
	Who      string // the person's name, or email if they have no account
	Client   string // the client through which they asked
	Scopes   []string
	At       time.Time
}

// As returns the owner of resources: a user by name, or a client by its ID for
// the resources it registered for itself.
func (s *Server) As(owner string) *Owner {
	s.t.Helper()
	return &Owner{s: s, name: owner}
}

// Share lets somebody use scopes of a resource, which is given by its name or
// its id. The person is given by a user's name, email or subject.
func (o *Owner) Share(resource, who string, scopes ...string) {
	o.s.t.Helper()
	o.s.check(o.s.op.Share(o.name, o.id(resource), who, scopes...))
}

// Revoke takes scopes back, or all of them if none is named. It also records a
// refusal: the person gets request_denied instead of being asked to wait. RPTs
// that hold the scopes lose them at once.
func (o *Owner) Revoke(resource, who string, scopes ...string) {
	o.s.t.Helper()
	o.s.check(o.s.op.Unshare(o.name, o.id(resource), who, scopes...))
}

// Pending returns the inbox, oldest first.
func (o *Owner) Pending() []Request {
	var out []Request
	for _, q := range o.s.op.Pending(o.name) {
		out = append(out, Request{ID: q.ID, Resource: q.ResourceName, Who: q.Who, Client: q.Client, Scopes: q.Scopes, At: q.At})
	}
	return out
}

// Approve grants what a request asks for.
func (o *Owner) Approve(id string) {
	o.s.t.Helper()
	o.s.check(o.s.op.Approve(o.name, id))
}

// Deny refuses a request.
func (o *Owner) Deny(id string) {
	o.s.t.Helper()
	o.s.check(o.s.op.Deny(o.name, id))
}

// AcceptRequests sets whether people who have no access may ask for it. By
// default they may ask people. They may not ask clients, because nobody reads a
// client's inbox.
func (o *Owner) AcceptRequests(on bool) {
	o.s.t.Helper()
	o.s.check(o.s.op.AcceptRequests(o.name, on))
}

// Resources returns the names of the resources that the owner has registered,
// sorted.
func (o *Owner) Resources() []string {
	var out []string
	for _, v := range o.s.op.Resources(o.name) {
		out = append(out, v.Name)
	}
	return out
}

// ResourceID returns the id of a resource, given its name.
func (o *Owner) ResourceID(name string) string {
	o.s.t.Helper()
	return o.id(name)
}

// Forget deletes a resource without telling the resource server.
func (o *Owner) Forget(resource string) {
	o.s.t.Helper()
	o.s.op.ForgetResource(o.id(resource))
}

// id finds a resource by id, or by a name that must be unambiguous.
func (o *Owner) id(resource string) string {
	o.s.t.Helper()
	var found, names []string
	for _, v := range o.s.op.Resources(o.name) {
		if v.ID == resource {
			return v.ID
		}
		if v.Name == resource {
			found = append(found, v.ID)
		}
		names = append(names, v.Name)
	}
	if len(found) != 1 {
		o.s.t.Fatalf("middlewaretest: %s has %d resources called %q; there are: %s", o.name, len(found), resource, strings.Join(names, ", "))
	}
	return found[0]
}

// IDToken returns a new ID Token of a user for a client, as a sign-in there
// would. A UMA client can push it as a claim.
func (s *Server) IDToken(user string, c gatehouse.Client) string {
	s.t.Helper()
	raw, err := s.op.IDToken(user, c.ID)
	s.check(err)
	return raw
}

// RevokeGrants revokes everything that a user has allowed clients. A refresh
// gets invalid_grant from now on.
func (s *Server) RevokeGrants(user string) { s.op.RevokeGrants(user) }

// EndSessions signs a user out of the provider, in every browser, and sends
// logout tokens to the clients of [Server.SetLogout].
func (s *Server) EndSessions(user string) { s.op.EndSessions(user) }

// SetTokenLifetime sets how long new access tokens and RPTs live. The default
// is five minutes.
func (s *Server) SetTokenLifetime(d time.Duration) { s.op.SetTokenLifetime(d) }
