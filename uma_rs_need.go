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

// Need is what a request needs to pass: a Permission, a NeedFunc or Rules.
type Need interface {
	// wire returns the function that a guard calls. Its error reports the
	// mistakes that can be seen without a request.
	wire() (needFunc, error)
}

// needFunc returns the permission that a request needs. An error that is not
// an *Error becomes errNeed.
type needFunc func(*http.Request) (Permission, error)

// Permission is what a token must hold: scopes on one or more resources of one
// owner. Make it with Resource.AllOf, Resource.AnyOf or Public. The zero value
// is invalid, so a forgotten permission opens nothing.
//
// A Permission is a value. Its methods return changed copies.
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
	ask      []string // what tickets ask for; nil means scopes
}

// AllOf returns the permission that needs all of the scopes on the resource.
func (r Resource) AllOf(scopes ...string) Permission {
	return Permission{clauses: []clause{{resource: r, scopes: scopes}}}
}

// AnyOf returns the permission that needs at least one of the scopes on the
// resource. A ticket asks for all of them, unless Ask narrows that, and the
// authorization server grants those that the owner allows.
func (r Resource) AnyOf(scopes ...string) Permission {
	return Permission{clauses: []clause{{resource: r, scopes: scopes, anyOf: true}}}
}

// Public returns the permission that lets every request pass, with or without
// a token. The request gets no Identity.
func Public() Permission { return Permission{public: true} }

// Ask sets the scopes that tickets ask for, instead of the needed ones. They
// may be fewer than those of AnyOf, or more than needed if the authorization
// server insists. They must be enough to meet the need. Call Ask before And.
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

// And returns the permission that needs the other permissions as well. All
// resources must have the same owner, because a ticket is for one owner (UMA
// Federated Authorization §4).
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

// check returns an error if the permission cannot work.
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
	// A ticket that cannot meet the need would send the client in circles.
	asked := func(s string) bool { return slices.Contains(c.ask, s) }
	if c.anyOf && !slices.ContainsFunc(c.scopes, asked) {
		return errors.New("Ask names none of the scopes of AnyOf")
	}
	if i := slices.IndexFunc(c.scopes, func(s string) bool { return !asked(s) }); !c.anyOf && i >= 0 {
		return fmt.Errorf("Ask leaves out %q, which AllOf needs", c.scopes[i])
	}
	return nil
}

// checkScopes returns an error if a scope is empty or not one of the
// resource's.
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

// wire implements Need. It copies the slices, so that later changes by the
// caller have no effect.
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

// NeedFunc returns the permission that a request needs. Use it for resources
// that are not known in advance, such as one per photo. Inside Rules it can
// read the path values of its own pattern. It may read the request but not the
// body, and must not modify it. It must be safe for concurrent use.
//
// If the error is an *Error, it is the answer, so a photo that does not exist
// can be a 404. Any other error is answered with 503. To hide whether
// something exists, return the same permission in both cases.
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

// Rules maps requests to what they need. The keys are patterns of
// http.ServeMux without a host, such as "GET /albums/{id}". As with ServeMux,
// their order does not matter, and GET includes HEAD. A request that no rule
// covers is refused.
//
// Any router may follow. Routers differ in how they read percent-encoding in a
// path. A request that reaches one rule decoded, but another rule or none as
// written, therefore gets 400.
//
// Nothing between UMAProtect and a route may change the path or the method.
// StripSlashes, CleanPath and URLFormat of chi do, and other middleware cannot
// see that. With those, or with a router that has separate routes for HEAD and
// GET, protect each route with its own Permission.
type Rules map[string]Need

// wire implements Need. The rules become a private ServeMux. A rule counts
// only if the mux really calls its handler, so a redirect, a 404 or a 405 of
// the mux opens nothing (decision 11).
func (rules Rules) wire() (needFunc, error) {
	if len(rules) == 0 {
		return nil, errors.New("the Rules are empty: nothing could ever be reached")
	}
	mux := http.NewServeMux()
	var wrong problems
	for _, pattern := range slices.Sorted(maps.Keys(rules)) {
		wrong.wrap(fmt.Sprintf("Rules[%q]", pattern), addRule(mux, pattern, rules[pattern]))
	}
	if len(wrong) > 0 {
		return nil, errors.Join(wrong...)
	}
	if rules.allFixed() {
		return func(r *http.Request) (Permission, error) { return ruleOf(mux, r).permission(mux, r, r) }, nil
	}
	return func(r *http.Request) (Permission, error) {
		found := reach(mux, r, r.URL)
		return found.rule.permission(mux, r, &found.request)
	}, nil
}

// allFixed reports whether no rule looks at the request, so that nobody needs
// the values in its path.
func (rules Rules) allFixed() bool {
	for _, need := range rules {
		if _, ok := need.(Permission); !ok {
			return false
		}
	}
	return true
}

// permission returns what the rule that covers r needs; h is nil if there is
// none. reached is the request with the values in its path.
func (h *rule) permission(mux *http.ServeMux, r, reached *http.Request) (Permission, error) {
	if h == nil {
		return Permission{}, errNoRule.because(fmt.Errorf("no rule covers %s %q", clip(r.Method), clip(r.URL.EscapedPath())))
	}
	if written := asWritten(r.URL); written != nil && !h.agrees(reach(mux, r, written).rule) {
		return Permission{}, errPath.because(errors.New("the path reaches one rule when decoded, but another or none as written"))
	}
	return h.need(reached)
}

// ruleOf returns what reach finds for the request itself, without the values in
// its path.
func ruleOf(mux *http.ServeMux, r *http.Request) *rule {
	if r.RequestURI == "*" || r.Method == http.MethodConnect && !cleanPath(r.URL.EscapedPath()) {
		return nil
	}
	h, _ := mux.Handler(r)
	found, _ := h.(*rule)
	return found
}

// reach runs the mux for the request as if its address were u.
func reach(mux *http.ServeMux, r *http.Request, u *url.URL) *ruleWriter {
	if r.Method == http.MethodConnect && !cleanPath(u.EscapedPath()) {
		return new(ruleWriter) // for CONNECT the mux does not clean the path itself
	}
	found := &ruleWriter{request: *r}
	found.request.URL = u
	mux.ServeHTTP(found, &found.request)
	return found
}

// cleanPath reports whether the path has no dot segments and no empty
// segments.
func cleanPath(p string) bool {
	clean := path.Clean(p)
	return p == clean || clean != "/" && p == clean+"/"
}

// asWritten returns the address as seen by a router that matches the path as
// it is written in the request. Chi does so if net/url keeps a RawPath, and
// gorilla does with UseEncodedPath. It returns nil if all routers agree on the
// path. For the characters !'()*, which Go escapes and browsers do not, they
// may disagree even if there is no RawPath.
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
	method, _, _ := strings.Cut(pattern, "/")
	path := pattern[strings.LastIndexAny(method, " \t")+1:]
	if !strings.HasPrefix(path, "/") {
		return errors.New("the pattern has a host or no path; a rule needs a path, for example \"GET /albums/{id}\"")
	}
	f, err := need.wire()
	if err != nil {
		return err
	}
	return handle(mux, pattern, &rule{need: f, spellings: strings.ContainsFunc(path, hasSpellings)})
}

// handle is mux.Handle with an error instead of a panic. For conflicting
// patterns the text names both and an example path.
func handle(mux *http.ServeMux, pattern string, h http.Handler) (err error) {
	defer func() {
		if p := recover(); p != nil {
			err = errors.New(fmt.Sprint(p))
		}
	}()
	mux.Handle(pattern, h)
	return nil
}

// rule is the handler of one pattern. It records in the ruleWriter that it was
// reached.
type rule struct {
	need needFunc
	// spellings is true if the pattern has characters that can be written in
	// more than one way.
	spellings bool
}

// agrees reports whether a request for the rule may reach other if its path is
// taken as written. A rule whose pattern has several spellings may then reach
// no rule. Any other rule must be reached both ways, because nobody has to
// encode letters and digits.
func (h *rule) agrees(other *rule) bool { return other == h || other == nil && h.spellings }

// hasSpellings reports whether net/url or a browser may percent-encode the
// character in a path.
func hasSpellings(c rune) bool {
	return !('a' <= c && c <= 'z' || 'A' <= c && c <= 'Z' || '0' <= c && c <= '9' || strings.ContainsRune("/{}-._~$&+,:=@", c))
}

func (h *rule) ServeHTTP(w http.ResponseWriter, _ *http.Request) {
	if found, ok := w.(*ruleWriter); ok {
		found.rule = h
	}
}

// ruleWriter records the rule that was reached and discards what the private
// mux writes.
type ruleWriter struct {
	rule    *rule
	request http.Request // a copy, because the mux sets its pattern and path values
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
