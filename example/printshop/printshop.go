// Package printshop is the UMA client of the example. People sign in and name
// an album of the photo site. The shop fetches and prints it with the
// permission that the album's owner gave them.
//
// The shop knows no owner and keeps no key to anybody's album. Its http.Client
// has a gatehouse.UMATransport, which turns the photo site's tickets into
// permissions for the person who is signed in.
package printshop

import (
	"cmp"
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

// Config holds the settings of New. Base, Provider, Client and Photos are
// required.
type Config struct {
	// Base is the origin of the shop. The redirect URL is /auth/callback below it.
	Base string
	// Provider is where people sign in. Client identifies the shop there.
	Provider *gatehouse.Provider
	Client   gatehouse.Client
	// Sharing is the authorization server that gives permissions, and
	// SharingClient identifies the shop there. If Sharing is nil, that is
	// Provider.
	Sharing       *gatehouse.Provider
	SharingClient gatehouse.Client
	// Photos is the origin of the photo site that the form proposes.
	Photos string
	// Others are origins of further sites from which albums are fetched. No
	// other site but Photos is asked.
	Others []string
	// Suggest is the path of an album that the form proposes.
	Suggest string
	// Sessions keeps the sign-ins, nil for the memory of this process.
	Sessions *gatehouse.Sessions
	// Transport carries the requests to the sites, nil for
	// http.DefaultTransport.
	Transport http.RoundTripper
	// Seen, if not nil, is told how each order of a person ended, before the
	// page is written.
	Seen func(person, act, state string)
	// Aside makes the content beside every page; it may be nil.
	Aside func(*http.Request) template.HTML
	// Reachable, if not nil, is called before a browser is sent away to sign
	// in. If it fails, the browser stays and gets a 503.
	Reachable func(*http.Request) error
}

// Shop is the print shop. It is safe for concurrent use.
type Shop struct {
	config   Config
	look     *look.Look
	login    *gatehouse.RelyingParty
	uma      *gatehouse.UMATransport
	photos   *http.Client
	sessions *gatehouse.Sessions
	handler  http.Handler
}

// fetchTime bounds one request to the photo site, including the permission.
const fetchTime = 15 * time.Second

// New makes the shop. It does no I/O.
func New(c Config) (*Shop, error) {
	for _, origin := range append([]string{c.Base, c.Photos}, c.Others...) {
		if u, err := url.Parse(origin); err != nil || u.Host == "" || u.Path != "" {
			return nil, fmt.Errorf("printshop: %q is not an origin", origin)
		}
	}
	if c.Provider == nil {
		return nil, errors.New("printshop: Provider is nil")
	}
	if c.Sharing == nil {
		c.Sharing, c.SharingClient = c.Provider, c.Client
	}
	s := &Shop{config: c, sessions: c.Sessions}
	var err error
	s.look, err = look.New(look.Config{
		Name: "Inkwell", Role: "print shop · client", Theme: "printshop", Home: "/", SignIn: "/sign-in", SignOut: "/auth/logout",
		FormOrigins: []string{originOf(c.Provider.Issuer())}, Aside: c.Aside,
	}, pages)
	if err != nil {
		return nil, err
	}
	if err := s.wire(); err != nil {
		return nil, err
	}
	s.handler = s.routes()
	return s, nil
}

// wire sets up gatehouse for the shop.
func (s *Shop) wire() error {
	c := s.config
	var err error
	if s.sessions == nil {
		if s.sessions, err = gatehouse.NewSessions(gatehouse.SessionsConfig{}); err != nil {
			return err
		}
	}
	s.login, err = gatehouse.NewRelyingParty(c.Provider, gatehouse.RelyingPartyConfig{
		Client:       c.Client,
		RedirectURL:  c.Base + "/auth/callback",
		LogoutURL:    c.Base + "/auth/logout",
		Scopes:       []string{"profile", "email"},
		AuthParams:   url.Values{"prompt": {"login"}}, // so that one browser can play several people
		Sessions:     s.sessions,
		LoginURL:     "/sign-in",
		LoggedOutURL: "/",
		ErrorHandler: s.look.Error,
	})
	if err != nil {
		return err
	}
	s.uma, err = gatehouse.NewUMATransport(c.Sharing, gatehouse.UMATransportConfig{
		Client:        c.SharingClient,
		Base:          c.Transport,
		Claims:        s.login.ClaimToken, // who asks: the person's ID Token
		SubmitRequest: true,               // the owner may be asked

		ClaimsWhenAsked: true, // so that the story shows how the server asks
	})
	if err != nil {
		return err
	}
	s.photos = &http.Client{Transport: s.uma, Timeout: fetchTime}
	return nil
}

func (s *Shop) routes() http.Handler {
	mux := http.NewServeMux()
	mux.HandleFunc("GET "+look.StylePath, look.Style)
	mux.Handle("GET /{$}", s.login.OptionalLogin(http.HandlerFunc(s.home)))
	mux.Handle("/sign-in", s.look.Reachable(s.config.Reachable, s.login.LoginHandler()))
	mux.Handle("/auth/callback", s.login.CallbackHandler())
	mux.Handle("/auth/logout", s.forgetAtLogout(s.look.SignOut(s.config.Reachable, s.login, s.sessions, s.login.LogoutHandler())))
	// A link only fills in the form. A request to the photo site, and so perhaps
	// a question to an owner, takes a form of this site.
	mux.Handle("GET /order", s.login.RequireLogin(http.HandlerFunc(s.form)))
	mux.Handle("POST /order", s.login.RequireLogin(s.order(s.show)))
	mux.Handle("POST /order/print", s.login.RequireLogin(s.order(s.print)))
	mux.Handle("POST /order/delete", s.login.RequireLogin(s.order(s.delete)))
	return s.look.Routes(mux)
}

// Person returns the handle of the person who is signed in, "" for nobody.
func (s *Shop) Person(r *http.Request) string {
	id, err := s.login.Check(r)
	if err != nil {
		return ""
	}
	return handle(id)
}

// handle is the short name of a person.
func handle(id *gatehouse.Identity) string {
	if id == nil {
		return ""
	}
	return cmp.Or(id.ClaimString("preferred_username"), id.Subject)
}

// ServeHTTP implements http.Handler.
func (s *Shop) ServeHTTP(w http.ResponseWriter, r *http.Request) { s.handler.ServeHTTP(w, r) }

// Shutdown waits until the work that earlier requests started is done, or ctx
// is. Stop serving first.
func (s *Shop) Shutdown(ctx context.Context) error {
	return gatehouse.Shutdown(ctx, s.uma, s.sessions)
}

// forgetAtLogout forgets the permissions of the person who signs out.
func (s *Shop) forgetAtLogout(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.Method == http.MethodPost {
			if id, err := s.login.Check(r); err == nil && id != nil {
				s.uma.ForgetIdentity(r.Context(), id)
			}
		}
		next.ServeHTTP(w, r)
	})
}

func originOf(address string) string {
	u, err := url.Parse(address)
	if err != nil {
		return ""
	}
	return u.Scheme + "://" + u.Host
}
