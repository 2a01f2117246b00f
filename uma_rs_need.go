package gatehouse

// Tested in internal/e2e/uma_rs.

import (
	"errors"
	"fmt"
	"maps"
	"net/http"
	"net/url"
	"path"
	"slices"
	"strings"
)

// Need says what a request needs: a Permission, a NeedFunc or Rules.
type Need interface {
	// wire makes the function that a guard calls, or says what is wrong as far as
	// that can be seen without a request.
	wire() (needFunc, error)
}

// needFunc gives the permission that a request needs. An error that is no
// *Error becomes errNeed.
type needFunc func(*http.Request) (Permission, error)

// Permission is what a token must hold: scopes on one or more resources of one
// owner. Make it with Resource.AllOf, Resource.AnyOf and Public. The zero value
// is invalid, so that a forgotten permission never opens anything.
//
// A Permission is a value; its methods return changed copies.
type Permission struct {
	clauses []clause
	public  bool
	problem string
}

// clause is what is needed on one resource.
type clause struct {
	resource Resource
	scopes   []string
	anyOf    bool
	ask      []string // nil: scopes
}

// AllOf is the permission to do all of the scopes on the resource.
func (r Resource) AllOf(scopes ...string) Permission {
	return Permission{clauses: []clause{{resource: r, scopes: scopes}}}
}

// AnyOf is the permission to do at least one of the scopes on the resource. A
// ticket asks for all of them, and the authorization server grants what it
// may; Ask narrows that.
func (r Resource) AnyOf(scopes ...string) Permission {
	return Permission{clauses: []clause{{resource: r, scopes: scopes, anyOf: true}}}
}

// Public lets every request pass, with or without a token, and with no
// Identity.
func Public() Permission { return Permission{public: true} }

// Ask makes tickets ask for these scopes instead of the needed ones: fewer of
// an AnyOf, or more than needed where the authorization server insists. They
// must meet the need. Ask belongs before And.
func (p Permission) Ask(scopes ...string) Permission {
	if len(p.clauses) != 1 {
		p.problem = "Ask belongs to the permission on one resource, before And"
		return p
	}
	c := p.clauses[0]
	c.ask = append([]string{}, scopes...)
	p.clauses = []clause{c}
	return p
}

// And requires the other permissions too. All resources must be of one owner,
// because a ticket is (UMA Federated Authorization §4).
func (p Permission) And(more ...Permission) Permission {
	clauses := slices.Clone(p.clauses)
	for _, m := range more {
		if p.public || m.public {
			p.problem = "Public cannot be combined with And"
		}
		if p.problem == "" {
			p.problem = m.problem
		}
		clauses = append(clauses, m.clauses...)
	}
	p.clauses = clauses
	return p
}

func (p Permission) owner() string {
	if len(p.clauses) == 0 {
		return ""
	}
	return p.clauses[0].resource.Owner
}

// check says what is wrong with the permission.
func (p Permission) check() error {
	switch {
	case p.problem != "":
		return errors.New(p.problem)
	case p.public:
		return nil
	case len(p.clauses) == 0:
		return errors.New("the permission is empty; Public() lets everybody pass")
	}
	for i := range p.clauses {
		c := &p.clauses[i]
		if err := c.check(); err != nil {
			return fmt.Errorf("resource %s: %w", c.resource.label(), err)
		}
		if c.resource.Owner != p.owner() {
			return fmt.Errorf("resources of two owners, %q and %q: a ticket is for one", p.owner(), c.resource.Owner)
		}
	}
	return nil
}

func (c *clause) check() error {
	if err := c.resource.check(); err != nil {
		return err
	}
	if len(c.scopes) == 0 {
		return errors.New("no scope is needed; Public() lets everybody pass")
	}
	if err := c.resource.checkScopes(c.scopes); err != nil {
		return err
	}
	if err := c.resource.checkScopes(c.ask); err != nil {
		return err
	}
	if c.ask == nil {
		return nil
	}
	// A ticket that cannot meet the need would send the client round for ever.
	asked := func(s string) bool { return slices.Contains(c.ask, s) }
	if c.anyOf && !slices.ContainsFunc(c.scopes, asked) {
		return errors.New("Ask names none of the scopes of AnyOf")
	}
	if i := slices.IndexFunc(c.scopes, func(s string) bool { return !asked(s) }); !c.anyOf && i >= 0 {
		return fmt.Errorf("Ask leaves out %q, which AllOf needs", c.scopes[i])
	}
	return nil
}

// checkScopes says which scope the resource does not have.
func (r *Resource) checkScopes(scopes []string) error {
	for _, s := range scopes {
		if s == "" {
			return errors.New("a scope is empty")
		}
		if !r.undeclared() && !slices.Contains(r.Scopes, s) {
			return fmt.Errorf("the scope %q is not one of the resource's: %s", s, strings.Join(r.Scopes, ", "))
		}
	}
	return nil
}

// wire implements Need. The copy keeps later changes of the caller's slices out
// of the decision.
func (p Permission) wire() (needFunc, error) {
	if err := p.check(); err != nil {
		return nil, err
	}
	p.clauses = slices.Clone(p.clauses)
	for i := range p.clauses {
		c := &p.clauses[i]
		c.scopes, c.ask = slices.Clone(c.scopes), slices.Clone(c.ask)
		c.resource.Scopes = slices.Clone(c.resource.Scopes)
	}
	return func(*http.Request) (Permission, error) { return p, nil }, nil
}

// NeedFunc finds the permission that a request needs, for resources that are
// not known in advance, such as one per photo. Inside Rules it reads the path
// values of its own pattern. It may read the request, but not its body, and
// must not change it.
//
// An error that is an *Error is answered as it says, so that a photo that does
// not exist is a 404 and never a ticket; any other error is answered with 503.
// To hide whether something exists, return the same permission for both.
type NeedFunc func(*http.Request) (Permission, error)

// wire implements Need.
func (f NeedFunc) wire() (needFunc, error) {
	if f == nil {
		return nil, errors.New("the NeedFunc is nil")
	}
	return func(r *http.Request) (Permission, error) {
		p, err := f(r)
		if err != nil {
			return Permission{}, err
		}
		if err := p.check(); err != nil {
			return Permission{}, errNeedInvalid.because(err)
		}
		return p, nil
	}, nil
}

// Rules says which request needs what. The keys are patterns of http.ServeMux
// without a host, such as "GET /albums/{id}"; their order does not matter, and
// GET stands for HEAD too. A request that no rule names is refused.
//
// Any router may follow. Routers differ in reading what is percent-encoded in a
// path, so a request that would reach one rule decoded and another, or none, as
// it is written gets 400. But nothing between UMAProtect and a route may change
// path or method: StripSlashes, CleanPath and URLFormat of chi do, unseen by
// everybody else. With those, and with a router that has other routes for HEAD
// than for GET, protect each route by its own Permission.
type Rules map[string]Need

// wire implements Need. The rules become a private ServeMux, which is run and
// not asked: a rule counts only if its own handler was reached. So a redirect,
// a 404 or a 405 of that mux opens nothing (decision 11).
func (rules Rules) wire() (needFunc, error) {
	if len(rules) == 0 {
		return nil, errors.New("the Rules are empty: nothing could ever be reached")
	}
	mux := http.NewServeMux()
	var problems []error
	for _, pattern := range slices.Sorted(maps.Keys(rules)) {
		if err := addRule(mux, pattern, rules[pattern]); err != nil {
			problems = append(problems, fmt.Errorf("Rules[%q]: %w", pattern, err))
		}
	}
	if err := errors.Join(problems...); err != nil {
		return nil, err
	}
	return func(r *http.Request) (Permission, error) {
		found := reach(mux, r, r.URL)
		if found.rule == nil {
			return Permission{}, errNoRule.because(nil)
		}
		if written := asWritten(r.URL); written != nil && !found.rule.agrees(reach(mux, r, written).rule) {
			return Permission{}, errPath.because(errors.New("the path reaches one rule decoded, and another or none as it is written"))
		}
		return found.rule.need(found.request)
	}, nil
}

// reach runs the mux for the request as if it were for u.
func reach(mux *http.ServeMux, r *http.Request, u *url.URL) ruleWriter {
	var found ruleWriter
	if r.Method == http.MethodConnect && !cleanPath(u.EscapedPath()) {
		return found // the only method for which the mux does not look
	}
	r = r.WithContext(r.Context()) // the mux writes pattern and path values into it
	r.URL = u
	mux.ServeHTTP(&found, r)
	return found
}

// cleanPath reports whether there is no dot segment and no empty one.
func cleanPath(p string) bool {
	clean := path.Clean(p)
	return p == clean || clean != "/" && p == clean+"/"
}

// asWritten is the address that a router sees that compares the path as it
// stands in the request, nil if its spelling is the one that all agree on. Chi
// does that where net/url keeps a RawPath, gorilla with UseEncodedPath. The
// characters !'()* are escaped by Go and not by browsers: there even a spelling
// that net/url finds usual can differ from that of a route.
func asWritten(u *url.URL) *url.URL {
	switch {
	case u.RawPath != "":
		return &url.URL{Path: u.RawPath}
	case strings.ContainsAny(u.Path, "!'()*"):
		return &url.URL{Path: u.EscapedPath()}
	}
	return nil
}

func addRule(mux *http.ServeMux, pattern string, need Need) error {
	if need == nil {
		return errors.New("the rule is nil")
	}
	path := pattern[strings.LastIndexAny(pattern[:methodEnd(pattern)], " \t")+1:]
	if !strings.HasPrefix(path, "/") {
		return errors.New("the pattern names a host, or has no path: a rule is about a path, for example \"GET /albums/{id}\"")
	}
	f, err := need.wire()
	if err != nil {
		return err
	}
	return handle(mux, pattern, &rule{need: f, spellings: strings.ContainsFunc(path, hasSpellings)})
}

// handle is mux.Handle with an error for its panic. The text of ServeMux names
// both patterns of a clash, and a path as an example.
func handle(mux *http.ServeMux, pattern string, h http.Handler) (err error) {
	defer func() {
		if p := recover(); p != nil {
			err = errors.New(fmt.Sprint(p))
		}
	}()
	mux.Handle(pattern, h)
	return nil
}

// methodEnd is where the path of a pattern begins, after method and blanks.
func methodEnd(pattern string) int {
	if i := strings.IndexByte(pattern, '/'); i >= 0 {
		return i
	}
	return len(pattern)
}

// rule is the handler of one pattern: it leaves itself in the writer.
type rule struct {
	need needFunc
	// The pattern has characters that can be written in several ways.
	spellings bool
}

// agrees reports whether a request for the rule may reach other when its path is
// taken as it is written. A router that does so may well have nothing for a rule
// of several spellings. Nobody has to encode letters and digits.
func (h *rule) agrees(other *rule) bool { return other == h || other == nil && h.spellings }

// hasSpellings reports whether net/url or browsers may encode the character of a
// pattern in a path.
func hasSpellings(c rune) bool {
	return !('a' <= c && c <= 'z' || 'A' <= c && c <= 'Z' || '0' <= c && c <= '9' || strings.ContainsRune("/{}-._~$&+,:=@", c))
}

func (h *rule) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	if found, ok := w.(*ruleWriter); ok {
		found.rule, found.request = h, r
	}
}

// ruleWriter takes the rule that was reached, and throws away what the private
// mux would answer by itself.
type ruleWriter struct {
	rule    *rule
	request *http.Request // as the mux gave it to the rule
	header  http.Header
}

func (w *ruleWriter) Header() http.Header {
	if w.header == nil {
		w.header = http.Header{}
	}
	return w.header
}

func (w *ruleWriter) Write(b []byte) (int, error) { return len(b), nil }
func (w *ruleWriter) WriteHeader(int)             {}
