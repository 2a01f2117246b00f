package gatehouse

// Tested in internal/e2e/signin.

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"sync/atomic"

	"example.com/gatehouse/internal/navigation"
	"example.com/gatehouse/internal/outbound"
	"example.com/gatehouse/internal/session"
)

// LoginsConfig holds the settings of NewLogins. Each way to choose a relying
// party is asked in the order of the fields, and the first that names one
// decides. If none does, the person chooses on a page.
//
// A choice says where somebody who is not signed in yet signs in. It is no limit:
// anybody who is signed in at one of the relying parties gets in. RequireLogin of a
// single relying party is such a limit.
type LoginsConfig struct {
	// Choose, if not nil, names the relying party for a request, or none with nil.
	// It must be safe for concurrent use.
	Choose func(r *http.Request) *RelyingParty
	// Paths name the relying party for paths that begin with a path, such as
	// "/corp/". The longest one counts.
	Paths map[string]*RelyingParty
	// Hosts name the relying party for a host, such as "corp.example.org" or
	// "localhost:8080". Relying parties at other origins than the one of the
	// request never count.
	Hosts map[string]*RelyingParty
	// Account, if not nil, names the relying party of an account that a person
	// types, such as the one of its mail domain, or nil if there is none. The page
	// then has a field for it. The account is sent to the provider as login_hint.
	// One that is in a link of another site does not count.
	// An error is the answer: an *Error as it is, and any other with 503.
	Account func(ctx context.Context, account string) (*RelyingParty, error)
	// Page, if not nil, shows people where they can sign in, in place of our page.
	// "Cache-Control: no-store" is set. Each LoginChoice leads to a sign-in.
	Page func(w http.ResponseWriter, r *http.Request, choices []LoginChoice)
	// Base is the path below which Handler serves "login", "logout" and "session"
	// for all. "" means the longest directory that their RedirectURLs share, such
	// as "/auth/" for "/auth/corp/callback" and "/auth/google/callback".
	Base string
}

// LoginChoice is one relying party at which a person can sign in.
type LoginChoice struct {
	// Name is RelyingPartyConfig.ProviderName.
	Name string
	// Issuer is that of the provider.
	Issuer string
	// URL is the path that begins the sign-in and comes back to where the person
	// was.
	URL string
}

// Logins lets people sign in at one of several providers. Whoever is signed in at
// any of them gets in; others choose where. It is a Guard, and safe for
// concurrent use.
//
// The relying parties keep their own callbacks and attempts, so an answer of one
// provider is never taken for that of another (RFC 9207). Those at one origin
// share a Sessions: a browser has one session, one sign-out and one list.
type Logins struct {
	config  LoginsConfig
	members []*RelyingParty
	sites   []*loginSite
}

// loginSite is the relying parties at one origin.
type loginSite struct {
	members []*RelyingParty
	// front stands for all: its sessions are those of every member, and its
	// LoginHandler is the page.
	front   *RelyingParty
	base    string
	mounted *atomic.Bool // Handler was called
}

// NewLogins returns a guard for people who sign in at any of the relying parties.
// It does no I/O. The first relying party of an origin answers for all:
// its ErrorHandler, HomeURL, LoggedOutURL, TrustedOrigins and PathPrefix count.
//
// Its error lists every problem. Relying parties need different RedirectURLs, and
// the same Sessions if they are at one origin.
func NewLogins(c LoginsConfig, parties ...*RelyingParty) (*Logins, error) {
	c.Paths, c.Hosts = maps.Clone(c.Paths), maps.Clone(c.Hosts)
	l := &Logins{config: c, members: slices.Clone(parties)}
	if err := l.complete().in("NewLogins"); err != nil {
		return nil, err
	}
	for _, rp := range l.members {
		i := slices.IndexFunc(l.sites, func(s *loginSite) bool { return outbound.Origin(s.members[0].redirect) == outbound.Origin(rp.redirect) })
		if i < 0 {
			i = len(l.sites)
			l.sites = append(l.sites, &loginSite{mounted: new(atomic.Bool)})
		}
		l.sites[i].members = append(l.sites[i].members, rp)
	}
	for _, s := range l.sites {
		s.base = c.Base
		if s.base == "" {
			s.base = sharedDirectory(s.members)
		}
		s.stand()
	}
	return l, nil
}

// complete checks the arguments of NewLogins.
func (l *Logins) complete() (wrong problems) {
	if len(l.members) == 0 {
		wrong.add("parties", "there is none")
	}
	for i, rp := range l.members {
		field := fmt.Sprintf("parties[%d]", i)
		if err := rp.checkMade(); err != nil {
			wrong.wrap(field, err)
			return wrong
		}
		for j, other := range l.members[:i] {
			switch {
			case other.config.RedirectURL == rp.config.RedirectURL:
				wrong.add(field, "it has the RedirectURL of parties[%d]: each needs its own, so that an answer tells whose it is", j)
			case outbound.Origin(other.redirect) == outbound.Origin(rp.redirect) && other.sessions != rp.sessions:
				wrong.add(field, "parties[%d] is at the same origin and has another Sessions: set RelyingPartyConfig.Sessions of both to one", j)
			}
		}
	}
	for _, named := range []struct {
		field string
		all   map[string]*RelyingParty
	}{{"Paths", l.config.Paths}, {"Hosts", l.config.Hosts}} {
		for key, rp := range named.all {
			if l.member(rp) == nil {
				wrong.add(named.field, "%q names a relying party that is not among those of NewLogins", key)
			}
		}
	}
	for path := range l.config.Paths {
		wrong.ownPath("Paths", path)
	}
	wrong.ownPath("Base", l.config.Base)
	if l.config.Base != "" && !strings.HasSuffix(l.config.Base, "/") {
		wrong.add("Base", "%q does not end with a slash", l.config.Base)
	}
	return wrong
}

// sharedDirectory returns the longest directory that the paths of all
// RedirectURLs are in.
func sharedDirectory(members []*RelyingParty) string {
	shared := members[0].redirect.Path
	for _, rp := range members {
		shared = shared[:strings.LastIndex(shared, "/")+1]
		for !strings.HasPrefix(rp.redirect.Path, shared) {
			shared = shared[:strings.LastIndex(strings.TrimSuffix(shared, "/"), "/")+1]
		}
	}
	if shared == "" {
		return "/"
	}
	return shared
}

// stand makes the relying party that stands for all members.
func (s *loginSite) stand() {
	front := *s.members[0]
	front.need, front.others = nil, s.members
	front.config.LoginURL, front.config.LogoutURL = (&url.URL{Path: s.base + loginSegment}).EscapedPath(), ""
	front.paths = &ownPaths{callback: front.paths.callback, login: s.base + loginSegment, logout: s.base + logoutSegment, session: s.base + sessionSegment}
	s.front = &front
}

// member returns that of ours which rp is, or was derived from with With, or nil.
func (l *Logins) member(rp *RelyingParty) *RelyingParty {
	i := slices.IndexFunc(l.members, func(m *RelyingParty) bool { return rp != nil && m.paths == rp.paths })
	if i < 0 {
		return nil
	}
	return l.members[i]
}

// site returns the relying parties at the origin of the request, or the first
// ones if a proxy has changed its host.
func (l *Logins) site(r *http.Request) *loginSite {
	if len(l.sites) > 1 {
		host := navigation.AskedHost(r)
		for _, s := range l.sites {
			if own := s.front.redirect; navigation.Origin(own.Scheme, host) == outbound.Origin(own) { // browsers leave out :443
				return s
			}
		}
	}
	return l.sites[0]
}

// With returns a guard that additionally asks for the requirements, as that of
// RelyingParty does.
func (l *Logins) With(requirements ...Requirement) *Logins {
	wire("With", l.checkMade())
	derived := &Logins{config: l.config}
	for _, s := range l.sites {
		of := &loginSite{base: s.base, mounted: s.mounted}
		for _, rp := range s.members {
			of.members = append(of.members, rp.With(requirements...))
		}
		of.stand()
		derived.members = append(derived.members, of.members...)
		derived.sites = append(derived.sites, of)
	}
	return derived
}

// checkMade implements madeGuard.
func (l *Logins) checkMade() error {
	if l == nil || len(l.sites) == 0 {
		return errors.New("the Logins was not made by NewLogins")
	}
	return nil
}

// upgrades implements upgrader: which relying party lets a request pass is not
// known before.
func (l *Logins) upgrades() []string {
	all := slices.Clone(l.members[0].upgrades())
	for _, rp := range l.members[1:] {
		all = slices.DeleteFunc(all, func(p string) bool { return !slices.Contains(rp.upgrades(), p) })
	}
	return all
}

// RequireLogin serves next only to people who are signed in at one of the
// relying parties and meet the requirements. It does what that of RelyingParty
// does. Anybody else is sent to the relying party that LoginsConfig chooses, or to
// the page.
func (l *Logins) RequireLogin(next http.Handler) http.Handler {
	wire("RequireLogin", l.checkMade())
	return protect("RequireLogin", l)(next)
}

// OptionalLogin serves next to everybody, as that of RelyingParty does.
func (l *Logins) OptionalLogin(next http.Handler) http.Handler {
	wire("OptionalLogin", l.checkMade())
	return protect("OptionalLogin", optional{l})(next)
}

// Check implements Guard.
func (l *Logins) Check(r *http.Request) (id *Identity, err error) {
	if err := l.checkMade(); err != nil {
		return nil, errInternal.because(err)
	}
	front := l.site(r).front
	owner := front
	defer func() {
		if p := recover(); p != nil {
			id, err = nil, eitherRefusal{owner, owner.provider.panicIn(r.Context(), p)}
		}
	}()
	if err := front.checkOrigin(r); err != nil {
		return nil, eitherRefusal{front, err}
	}
	live, err := front.load(r)
	switch {
	case errors.Is(err, session.ErrNone):
		return nil, errLoginRequired.because(nil)
	case err != nil:
		return nil, eitherRefusal{front, err}
	}
	owner = live.party
	if id, err = owner.admit(r, live); err != nil {
		if ErrorCode(err) == errLoginRequired.code { // it ended just now
			return nil, err
		}
		return nil, eitherRefusal{owner, err}
	}
	return id, nil
}

// Refuse implements Guard. Nobody who is signed in is asked to choose: what is
// missing is asked for where they are.
func (l *Logins) Refuse(w http.ResponseWriter, r *http.Request, err error) {
	if made := l.checkMade(); made != nil {
		refuseAlone(w, r, errInternal.because(made))
		return
	}
	if of, ok := err.(eitherRefusal); ok {
		of.by.Refuse(w, r, of.error)
		return
	}
	s := l.site(r)
	perBrowser(w.Header())
	defer s.front.recovered(w, r)
	if ErrorCode(err) != errLoginRequired.code {
		s.front.refuse(w, r, err)
		return
	}
	if !s.mounted.Load() {
		s.front.refuse(w, r, errNotMounted.because(fmt.Errorf("Logins.Handler is not mounted: it serves %q", s.front.config.LoginURL)))
		return
	}
	chosen := l.chosen(r, s)
	switch {
	case chosen != nil:
		chosen.Refuse(w, r, err)
	case navigation.Is(r) && !isForm(r):
		redirect(w, s.front.signInLink(s.front.wayBack(r, s.front.address(r))))
	case isForm(r):
		s.front.refuse(w, r, s.front.notSaved(w, r, asError(err, errInternal)))
	default:
		s.front.refuse(w, r, err)
	}
}

// chosen returns the relying party at which the request is to sign in, or nil if
// the person has to choose.
func (l *Logins) chosen(r *http.Request, s *loginSite) *RelyingParty {
	if len(s.members) == 1 {
		return s.members[0]
	}
	var by *RelyingParty
	if l.config.Choose != nil {
		by = l.config.Choose(r)
	}
	if by == nil {
		by = l.byPath(navigation.Path(s.front.address(r)))
	}
	if by == nil {
		by = l.byHost(navigation.AskedHost(r))
	}
	if m := l.member(by); m != nil && slices.Contains(s.members, m) {
		return m
	}
	return nil
}

// byHost returns the relying party of a host, in any case (RFC 3986 §3.2.2).
func (l *Logins) byHost(asked string) *RelyingParty {
	for host, rp := range l.config.Hosts {
		if strings.EqualFold(host, asked) {
			return rp
		}
	}
	return nil
}

// byPath returns the relying party of the longest path.
func (l *Logins) byPath(path string) (by *RelyingParty) {
	longest := -1
	for prefix, rp := range l.config.Paths {
		if len(prefix) > longest && (strings.HasPrefix(path, prefix) || path+"/" == prefix) {
			longest, by = len(prefix), rp
		}
	}
	return by
}

// Party returns the relying party whose session let the request in, for its Token,
// HTTPClient and the like. It is one of those that NewLogins was given, and nil
// without a session of theirs on the context.
func (l *Logins) Party(ctx context.Context) *RelyingParty {
	id := IdentityFrom(ctx)
	if l.checkMade() != nil || id == nil || id.session == nil {
		return nil
	}
	return l.member(id.session.party)
}

// mayBeSignedIn implements sessionGuard.
func (l *Logins) mayBeSignedIn(r *http.Request) bool { return l.site(r).front.mayBeSignedIn(r) }

// Shutdown calls Shutdown of every relying party.
func (l *Logins) Shutdown(ctx context.Context) error {
	if l.checkMade() != nil {
		return nil // it has started nothing
	}
	var errs []error
	for _, rp := range l.members {
		errs = append(errs, Shutdown(ctx, rp))
	}
	return errors.Join(errs...)
}
