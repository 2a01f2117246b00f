package photos

import (
	"context"
	"embed"
	"errors"
	"fmt"
	"html/template"
	"net/http"
	"net/url"
	"time"

	"example.com/gatehouse"
	"example.com/gatehouse/example/internal/look"
)

//go:embed pages/*.html
var pages embed.FS

// Config holds the settings of New. Base, Provider and Client are required.
type Config struct {
	// Base is the origin of the site, for example "http://127.0.0.1:8080". The
	// redirect URLs below it are /auth/callback and, with Sharing, /share/callback.
	// A provider may send logout tokens to /auth/backchannel-logout.
	Base string
	// Provider is where people sign in. Client identifies the site there.
	Provider *gatehouse.Provider
	Client   gatehouse.Client
	// Sharing is the authorization server for sharing. If it is nil, that is
	// Provider.
	Sharing *Sharing
	// InboxURL is the page of one owner, if it is another for each.
	InboxURL func(handle string) string
	// SharingURL is the page where owners see requests, "" for none. It also is
	// the link for albums for which the server names no page.
	SharingURL string
	// Sessions, Grants, ResourceIDs and Albums are the stores of the site. Each
	// may be nil, which keeps the data in the memory of this process.
	Sessions    *gatehouse.Sessions
	Grants      gatehouse.GrantStore
	ResourceIDs gatehouse.ResourceIDs
	Albums      Store
	// CacheTTL is how long a permission is trusted before the server is asked
	// again; see gatehouse.ResourceServerConfig.
	CacheTTL time.Duration
	// PrintShop is the address of a shop that accepts the parameter "album"; ""
	// for none.
	PrintShop string
	// Intro is shown on the first page, Aside beside every page, and Live below
	// that, kept up to date for people who are signed in. All may be nil.
	Intro func(*http.Request) template.HTML
	Aside func(*http.Request) template.HTML
	Live  *look.Live
	// Reachable, if not nil, is called before a browser is sent away to sign
	// in. If it fails, the browser stays and gets a 503.
	Reachable func(*http.Request) error
	// Now is the clock, nil for time.Now.
	Now func() time.Time
}

// Sharing is an authorization server that people do not use to sign in to this
// site. An owner connects an account there once.
type Sharing struct {
	Provider *gatehouse.Provider
	Client   gatehouse.Client
	// Sessions keeps the sign-ins at that server, each for the minutes that
	// connecting takes. If it is nil, they are kept in the memory of this
	// process. It is not Config.Sessions.
	Sessions *gatehouse.Sessions
}

// Site is the photo site. It is safe for concurrent use.
type Site struct {
	config   Config
	store    Store
	look     *look.Look
	login    *gatehouse.RelyingParty // guards the pages
	fresh    *gatehouse.RelyingParty // starts sign-ins that ask for the password
	owner    *gatehouse.RelyingParty // guards /connect: signed in at the authorization server, with the grant
	api      *gatehouse.ResourceServer
	grants   *gatehouse.OwnerGrants
	handler  http.Handler
	sessions []*gatehouse.Sessions
}

// New makes the site. It does no I/O: the servers may be down.
func New(c Config) (*Site, error) {
	base, err := url.Parse(c.Base)
	if err != nil || base.Host == "" || base.Path != "" {
		return nil, fmt.Errorf("photos: Base %q is not an origin", c.Base)
	}
	if c.Provider == nil {
		return nil, errors.New("photos: Provider is nil")
	}
	if c.Now == nil {
		c.Now = time.Now
	}
	s := &Site{config: c, store: c.Albums}
	if s.store == nil {
		s.store = &memoryStore{}
	}
	if s.look, err = look.New(s.lookConfig(), pages); err != nil {
		return nil, err
	}
	if err := s.wire(); err != nil {
		return nil, err
	}
	s.handler = s.routes()
	return s, nil
}

func (s *Site) lookConfig() look.Config {
	c := s.config
	links := []look.Link{{Label: "My albums", Path: "/albums"}}
	if c.SharingURL != "" {
		links = append(links, look.Link{Label: "Who asks", Path: "/inbox"})
	}
	origins := []string{originOf(c.Provider.Issuer())}
	if c.Sharing != nil {
		origins = append(origins, originOf(c.Sharing.Provider.Issuer()))
	}
	// If people sign in at the authorization server, they give the grant when
	// they sign in.
	signIn := "/sign-in?return_to=/connect"
	if c.Sharing != nil {
		signIn = "/sign-in?return_to=/albums"
	}
	return look.Config{
		Name: "Photoz", Role: "photo site · resource server", Theme: "photos", Home: "/", SignIn: signIn, SignOut: "/auth/logout",
		Links: links, FormOrigins: origins, Aside: c.Aside, Live: c.Live,
	}
}

// wire sets up gatehouse for the site.
func (s *Site) wire() error {
	c := s.config
	sharing, client := c.Provider, c.Client
	if c.Sharing != nil {
		sharing, client = c.Sharing.Provider, c.Sharing.Client
	}
	var err error
	s.grants, err = gatehouse.NewOwnerGrants(sharing, gatehouse.OwnerGrantsConfig{Client: client, Store: c.Grants})
	if err != nil {
		return err
	}
	sessions := c.Sessions
	if sessions == nil {
		if sessions, err = gatehouse.NewSessions(gatehouse.SessionsConfig{Now: c.Now}); err != nil {
			return err
		}
	}
	s.sessions = append(s.sessions, sessions)
	config := gatehouse.RelyingPartyConfig{
		Client:       c.Client,
		RedirectURL:  c.Base + "/auth/callback",
		LogoutURL:    c.Base + "/auth/logout",
		Scopes:       []string{"profile", "email"},
		Sessions:     sessions,
		LoginURL:     "/sign-in",
		LoggedOutURL: "/",
		ErrorHandler: s.look.Error,
	}
	if c.Sharing == nil {
		config.OwnerGrants = s.grants
	}
	if s.login, err = gatehouse.NewRelyingParty(c.Provider, config); err != nil {
		return err
	}
	// The button "Sign in" always asks for the password, so that one browser
	// can play several people. A later request for the grant does not.
	config.AuthParams = url.Values{"prompt": {"login"}}
	if s.fresh, err = gatehouse.NewRelyingParty(c.Provider, config); err != nil {
		return err
	}
	if err := s.wireOwner(); err != nil {
		return err
	}
	s.api, err = gatehouse.NewResourceServer(sharing, gatehouse.ResourceServerConfig{
		Client:      client,
		Audience:    []string{c.Base},
		PAT:         s.grants,
		ResourceIDs: c.ResourceIDs,
		CacheTTL:    c.CacheTTL,
	})
	return err
}

// connectWithin is how recent a sign-in at the authorization server must be to
// connect an account. It must be a sign-in of the person at the browser now.
const connectWithin = time.Minute

// wireOwner makes the guard of the page that connects an account for sharing.
// If people sign in at the authorization server anyway, it is that account.
func (s *Site) wireOwner() error {
	c := s.config
	if c.Sharing == nil {
		s.owner = s.login.With(gatehouse.OwnerGrant())
		return nil
	}
	sessions := c.Sharing.Sessions
	var err error
	if sessions == nil {
		sessions, err = gatehouse.NewSessions(gatehouse.SessionsConfig{Name: "sharing", Lifetime: 5 * connectWithin, Now: c.Now})
		if err != nil {
			return err
		}
	}
	s.sessions = append(s.sessions, sessions)
	owner, err := gatehouse.NewRelyingParty(c.Sharing.Provider, gatehouse.RelyingPartyConfig{
		Client:       c.Sharing.Client,
		RedirectURL:  c.Base + "/share/callback",
		HomeURL:      "/albums",
		Sessions:     sessions,
		OwnerGrants:  s.grants,
		ErrorHandler: s.look.Error,
	})
	if err != nil {
		return err
	}
	s.owner = owner.With(gatehouse.MaxAge(connectWithin), gatehouse.OwnerGrant())
	return nil
}

func (s *Site) routes() http.Handler {
	mux := http.NewServeMux()
	mux.HandleFunc("GET "+look.StylePath, look.Style)
	if s.config.Live != nil {
		mux.HandleFunc("GET "+look.ScriptPath, look.Script)
		mux.Handle("GET "+look.EventsPath, s.login.OptionalLogin(http.HandlerFunc(s.look.Events)))
	}
	mux.Handle("GET /{$}", s.login.OptionalLogin(http.HandlerFunc(s.home)))
	mux.Handle("/sign-in", s.look.Reachable(s.config.Reachable, s.fresh.LoginHandler()))
	mux.Handle("/auth/callback", s.login.CallbackHandler())
	mux.Handle("/auth/backchannel-logout", s.login.BackchannelLogoutHandler())
	mux.Handle("/auth/logout", s.look.SignOut(s.config.Reachable, s.login, s.sessions[0], s.login.LogoutHandler()))
	mux.Handle("GET /albums", s.login.RequireLogin(http.HandlerFunc(s.albums)))
	mux.Handle("POST /albums", s.login.RequireLogin(http.HandlerFunc(s.createAlbum)))
	mux.Handle("GET /inbox", s.login.RequireLogin(http.HandlerFunc(s.inbox)))
	mux.Handle("GET /connect", s.login.RequireLogin(s.connect()))
	if s.config.Sharing != nil {
		mux.Handle("/share/callback", s.owner.CallbackHandler())
	}

	// An album is a page for its owner, by her session, and an API for everybody
	// she has let in, by a requesting party token.
	mine := s.login.With(gatehouse.RequirementFunc("owner", s.isOwner))
	guard := gatehouse.Either(mine, s.api.UMAGuard(gatehouse.Rules{
		"GET /u/{user}/albums/{album}":                s.need("view"),
		"GET /u/{user}/albums/{album}/photos/{photo}": s.need("view"),
		"POST /u/{user}/albums/{album}/prints":        s.need("print"),
		"DELETE /u/{user}/albums/{album}":             s.need("delete"),
	}))
	album := http.NewServeMux()
	album.HandleFunc("GET /u/{user}/albums/{album}", s.showAlbum)
	album.HandleFunc("GET /u/{user}/albums/{album}/photos/{photo}", s.showPhoto)
	album.HandleFunc("POST /u/{user}/albums/{album}/prints", s.print)
	album.HandleFunc("DELETE /u/{user}/albums/{album}", s.deleteAlbum)
	mux.Handle("/u/{user}/albums/{rest...}", gatehouse.Require(guard)(album))

	// A form cannot send DELETE, so the owner's button has its own address.
	mux.Handle("POST /u/{user}/albums/{album}/remove", mine.RequireLogin(http.HandlerFunc(s.removeAlbum)))
	return s.look.Routes(mux)
}

// ServeHTTP implements http.Handler.
func (s *Site) ServeHTTP(w http.ResponseWriter, r *http.Request) { s.handler.ServeHTTP(w, r) }

// EndStreams ends the event streams, and those that begin later: an http.Server
// that shuts down waits for them. It is for RegisterOnShutdown.
func (s *Site) EndStreams() {
	now, cancel := context.WithCancel(context.Background())
	cancel() // do not wait for anything
	for _, sessions := range s.sessions {
		_ = sessions.Shutdown(now)
	}
}

// Shutdown waits until the work that earlier requests started is done, or ctx
// is. Stop serving first.
func (s *Site) Shutdown(ctx context.Context) error {
	errs := []error{gatehouse.Shutdown(ctx, s.api, s.grants)}
	for _, sessions := range s.sessions {
		errs = append(errs, sessions.Shutdown(ctx))
	}
	return errors.Join(errs...)
}

func originOf(address string) string {
	u, err := url.Parse(address)
	if err != nil {
		return ""
	}
	return u.Scheme + "://" + u.Host
}
