package opserver

import (
	"errors"
	"fmt"
	"html/template"
	"net/http"
	"net/url"
	"path"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/go-jose/go-jose/v4"
)

// Config describes a [Server]. Only Issuer is required.
type Config struct {
	Issuer string           // the issuer identifier; an http or https URL, it may have a path
	Now    func() time.Time // the clock; nil means time.Now
	Title  string           // the name on the pages; "" means "Sign-in service"
	Hint   string           // a sentence on the sign-in page, such as how demo passwords are made
	Style  template.CSS     // added after the pages' own style sheet
	// Aside returns what is shown next to a page, in an aside element labelled
	// by its element panel-title, or nothing if it is nil. Style sets how it
	// looks.
	Aside func(*http.Request) template.HTML
	// Keys sign until the first rotation; nil makes new ones. They come from
	// [MakeKeys], or in tests from [KnownKeys], which takes less time.
	Keys []jose.JSONWebKey
	// Transport carries logout tokens to the clients. nil means
	// http.DefaultTransport.
	Transport http.RoundTripper
	// Dialect is how the server speaks UMA. The zero value follows the
	// specifications.
	Dialect Dialect
}

// Server is the provider. It is safe for concurrent use. Its methods are the
// control API of tests and demonstrations. Their changes take effect with the
// next request.
type Server struct {
	issuer string // exactly as configured
	origin string // scheme and host of the issuer
	prefix string // path of the issuer without a trailing slash
	title  string
	hint   string
	style  string
	aside  func(*http.Request) template.HTML
	now    func() time.Time

	transport http.RoundTripper // to the clients

	mux   *http.ServeMux
	cross *http.CrossOriginProtection
	pages *template.Template
	keys  keyRing
	stats stats
	wrong faultSet
	seal  []byte // key of the form tokens

	speaks dialect // of UMA

	mu sync.Mutex
	st state
}

// Paths of the endpoints below the issuer. They are unusual, so that a client
// fails if it guesses paths instead of reading the metadata.
const (
	pathAuthorize   = "/ep/az-3f"
	pathToken       = "/ep/tok-7"
	pathJWKS        = "/ep/k-51/set"
	pathUserInfo    = "/ep/who-8"
	pathIntrospect  = "/ep/look-2c"
	pathRevoke      = "/ep/rv-60"
	pathEndSession  = "/ep/bye-4"
	pathResource    = "/ep/rs-9d" // the collection; one resource is one segment more
	pathPermission  = "/ep/perm-1e"
	pathRegister    = "/ep/new-a4" // one client is one segment more
	pathSignIn      = "/ep/in-b2"
	pathSignOut     = "/ep/out-b3"
	pathPolicy      = "/ep/share-c7" // one resource is one segment more
	pathInbox       = "/ep/inbox-c8"
	pathClaims      = "/ep/ask-d9" // one visit is one segment more
	pathStyle       = "/ep/look.css"
	pathTrap        = "/ep/trap-0d" // no client has reason to go there
	pathOpenID      = "/.well-known/openid-configuration"
	pathUMA         = "/.well-known/uma2-configuration"
	pathOAuthServer = "/.well-known/oauth-authorization-server"
)

// New makes a provider. It does no I/O. The signing keys are made when the
// first of them is needed.
func New(c Config) (*Server, error) {
	u, err := url.Parse(c.Issuer)
	if err != nil {
		return nil, errors.New("opserver: issuer is not a URL")
	}
	// OpenID Connect Discovery §3: no query, no fragment.
	if (u.Scheme != "http" && u.Scheme != "https") || u.Host == "" || u.User != nil || u.RawQuery != "" || u.Fragment != "" {
		return nil, fmt.Errorf("opserver: issuer %q must be an http or https URL without user, query and fragment", u.Redacted())
	}
	if p := strings.TrimSuffix(u.Path, "/"); p != "" && path.Clean(p) != p {
		return nil, fmt.Errorf("opserver: issuer %q has a path that no request can have", c.Issuer)
	}
	s := &Server{
		issuer: c.Issuer,
		origin: u.Scheme + "://" + u.Host,
		prefix: strings.TrimSuffix(u.EscapedPath(), "/"),
		title:  c.Title,
		hint:   c.Hint,
		style:  string(c.Style),
		aside:  c.Aside,
		now:    c.Now,
		mux:    http.NewServeMux(),
		cross:  http.NewCrossOriginProtection(),
		seal:   []byte(newSecret()),
		st:     newState(),
		keys:   keyRing{now: slices.Clone(c.Keys)},

		transport: c.Transport,
	}
	if c.Keys != nil {
		for _, alg := range []jose.SignatureAlgorithm{jose.RS256, jose.ES256, jose.EdDSA} {
			if _, err := s.keys.signing(alg); err != nil {
				return nil, err
			}
		}
	}
	if s.now == nil {
		s.now = time.Now
	}
	if s.transport == nil {
		s.transport = http.DefaultTransport
	}
	if s.title == "" {
		s.title = "Sign-in service"
	}
	if s.pages, err = parsePages(); err != nil {
		return nil, err
	}
	s.wrong.init()
	s.speaks = newDialect(c.Dialect, s)
	s.mount()
	return s, nil
}

// Issuer returns the issuer identifier.
func (s *Server) Issuer() string { return s.issuer }

// Close releases every request that a fault holds. The server continues to work
// and holds no further request.
func (s *Server) Close() { s.wrong.release() }

func (s *Server) ServeHTTP(w http.ResponseWriter, r *http.Request) { s.mux.ServeHTTP(w, r) }

// url returns the address of one of the paths above.
func (s *Server) url(path string) string { return s.origin + s.prefix + path }

// mount registers the endpoints.
func (s *Server) mount() {
	api := func(name, path string, h http.HandlerFunc, methods ...string) {
		s.mux.Handle(path, s.endpoint(name, false, h, methods))
	}
	page := func(name, path string, h http.HandlerFunc, methods ...string) {
		s.mux.Handle(path, s.endpoint(name, true, h, methods))
	}
	p := s.prefix
	api(EndpointMetadata, p+pathOpenID, s.serveOpenIDMetadata, http.MethodGet)
	// RFC 8414 §3.1: the well-known part goes between host and path.
	api(EndpointOAuthMetadata, pathOAuthServer+p, s.serveOpenIDMetadata, http.MethodGet)
	api(EndpointUMAMetadata, p+pathUMA, s.serveUMAMetadata, http.MethodGet)
	api(EndpointJWKS, p+pathJWKS, s.serveJWKS, http.MethodGet)
	api(EndpointToken, p+pathToken, s.serveToken, http.MethodPost)
	api(EndpointUserInfo, p+pathUserInfo, s.serveUserInfo, http.MethodGet, http.MethodPost)
	api(EndpointIntrospect, p+pathIntrospect, s.serveIntrospect, http.MethodPost)
	api(EndpointRevoke, p+pathRevoke, s.serveRevoke, http.MethodPost)
	api(EndpointResource, p+pathResource, s.speaks.serveResources, http.MethodGet, http.MethodPost)
	api(EndpointResource, p+pathResource+"/{$}", s.speaks.serveResources, http.MethodGet, http.MethodPost)
	api(EndpointResource, p+pathResource+"/{id}", s.speaks.serveResource, http.MethodGet, http.MethodPut, http.MethodDelete)
	api(EndpointPermission, p+pathPermission, s.speaks.servePermission, http.MethodPost)

	api(EndpointRegister, p+pathRegister, s.serveRegister, http.MethodPost)
	api(EndpointRegister, p+pathRegister+"/{id}", s.serveClient, http.MethodGet, http.MethodPut, http.MethodDelete)

	s.mux.HandleFunc(p+pathTrap+"/{what}", s.serveTrap)

	page(EndpointAuthorize, p+pathAuthorize, s.serveAuthorize, http.MethodGet, http.MethodPost)
	page(EndpointEndSession, p+pathEndSession, s.serveEndSession, http.MethodGet, http.MethodPost)
	page(EndpointPages, p+pathSignIn, s.guardForm(s.serveSignIn), http.MethodPost)
	page(EndpointPages, p+pathSignOut, s.guardForm(s.serveSignOut), http.MethodPost)
	page(EndpointPages, p+pathPolicy+"/{id}", s.guardForm(s.servePolicy), http.MethodGet, http.MethodPost)
	page(EndpointPages, p+pathInbox, s.guardForm(s.serveInbox), http.MethodGet, http.MethodPost)
	page(EndpointClaims, p+pathClaims, s.serveClaims, http.MethodGet)
	page(EndpointPages, p+pathClaims+"/{id}", s.guardForm(s.serveVisit), http.MethodGet, http.MethodPost)
	page(EndpointPages, p+pathStyle, s.serveStyle, http.MethodGet)
	page(EndpointPages, p+"/{$}", s.serveHome, http.MethodGet)
	s.mux.HandleFunc(p+"/", s.serveUnknown)
}

// endpoint counts requests, applies the faults that affect every endpoint, and
// lets only the listed methods through. GET includes HEAD.
func (s *Server) endpoint(name string, human bool, h http.HandlerFunc, methods []string) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		defer s.stats.enter(name)()
		s.expireResources()
		w.Header().Set("X-Content-Type-Options", "nosniff")
		if w = s.wrong.play(w, r, name, human, s.url(pathTrap)+trapRedirect); w == nil {
			return
		}
		for _, m := range methods {
			if r.Method == m || (m == http.MethodGet && r.Method == http.MethodHead) {
				h(w, r)
				return
			}
		}
		w.Header().Set("Allow", strings.Join(methods, ", "))
		if human {
			s.problem(w, r, http.StatusMethodNotAllowed, "This address does not accept such a request.")
			return
		}
		writeError(w, s.speaks.wrongMethod())
	})
}
