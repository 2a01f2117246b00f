package opserver

import (
	"net/http"
	"strings"
	"time"
)

// permission is some scopes of one resource.
type permission struct {
	resource string
	scopes   []string
	name     string // of the resource when an RPT was given, in the dialect Keycloak
}

// ticket is a permission ticket. Presenting it uses it up, and the process
// continues with a new one.
type ticket struct {
	permissions []permission
	client      string    // the resource server that requested it
	process     *process  // what has been gathered on the way
	notBefore   time.Time // when the client may present it, after request_submitted
	expires     time.Time
	used        bool
	yielded     *grant // of the RPT that it became
	tainted     string // why the client must not present it
}

// process is one authorization process: a chain of tickets.
type process struct {
	person  *person
	answers map[string]string // on the claims page
	asker   string            // the client
	rounds  int
}

// servePermission implements Federated Authorization §4.
func (s standard) servePermission(w http.ResponseWriter, r *http.Request) {
	owner, client, bad := s.pat(r)
	if bad != nil {
		writeError(w, bad)
		return
	}
	var body any
	if bad := readJSON(w, r, &body); bad != nil {
		writeError(w, bad)
		return
	}
	list, many := body.([]any) // §4.1: an object or an array of them
	if !many {
		list = []any{body}
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	asked, bad := s.readPermissions(list, owner, client)
	if bad != nil {
		writeError(w, bad)
		return
	}
	value := s.newTicket(&ticket{permissions: asked, client: client, process: &process{}})
	reply(w, http.StatusCreated, map[string]any{"ticket": value}, nil)
}

// readPermissions checks that every resource belongs to the owner and the
// resource server of the PAT. The lock is held.
func (s standard) readPermissions(list []any, owner party, client string) ([]permission, *apiError) {
	if len(list) == 0 {
		return nil, badRequest("invalid_request", "no permission is asked for")
	}
	var out []permission
	for _, one := range list {
		entry, _ := one.(map[string]any)
		id, named := entry["resource_id"].(string)
		scopes, ok := stringList(entry["resource_scopes"])
		if !named || !ok {
			return nil, badRequest("invalid_request", "a permission has resource_id and resource_scopes")
		}
		v := s.owned(id, owner, client)
		if v == nil {
			return nil, badRequest("invalid_resource_id", "the resource is not registered with this PAT")
		}
		for _, scope := range scopes {
			if !contains(v.scopes, scope) {
				return nil, badRequest("invalid_scope", "the resource has no scope "+printable(scope))
			}
		}
		out = merge(out, permission{resource: id, scopes: scopes})
	}
	return out, nil
}

// merge adds a permission to a list in which every resource appears once.
func merge(list []permission, add permission) []permission {
	for i := range list {
		if list[i].resource == add.resource {
			list[i].scopes = union(list[i].scopes, add.scopes)
			return list
		}
	}
	return append(list, add)
}

// union returns a new list of the distinct members of both.
func union(a, b []string) []string {
	out := make([]string, 0, len(a)+len(b))
	for _, list := range [][]string{a, b} {
		for _, one := range list {
			if !contains(out, one) {
				out = append(out, one)
			}
		}
	}
	return out
}

// longTicket is the length that [LongTicket] gives a ticket: the buffer that
// many proxies have for all headers together.
const longTicket = 8 << 10

// newTicket stores a ticket under a new name. The lock is held.
func (s standard) newTicket(t *ticket) string {
	value := newSecret()
	if s.wrong.has(LongTicket) {
		value += strings.Repeat("x", longTicket-len(value))
	}
	if s.wrong.has(TicketWithPadding) {
		value += "=="
	}
	t.expires = s.now().Add(s.st.ticketLife)
	t.process.rounds++
	s.stats.chained(t.process.rounds)
	s.st.tickets[value] = t
	s.put()
	return value
}

// nextTicket gives a process its new ticket. UMA Grant §3.3.6. The lock is
// held.
func (s standard) nextTicket(presented string, t *ticket, wait time.Duration) string {
	if s.wrong.has(SameTicketBack) {
		return presented // it stays used: presenting it again is a violation
	}
	next := &ticket{permissions: t.permissions, client: t.client, process: t.process}
	if wait > 0 {
		next.notBefore = s.now().Add(wait)
	}
	return s.newTicket(next)
}
