package world

import (
	"cmp"
	"context"
	"fmt"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"example.com/gatehouse"
	"example.com/gatehouse/internal/testkit/opserver"
)

// The registration of a site. The secret needs the form-encoding of RFC 6749
// §2.3.1.
const (
	SiteIssuer = "https://op.test/realm"
	SiteSecret = "rp secret: %+/"
	SitePass   = "pass-word-of-everybody"
)

// The names of the replicas of a site of two.
const (
	ReplicaA = iota
	ReplicaB
)

// Past is long enough for the access tokens of the provider to expire.
const Past = 5*time.Minute + time.Second

// Site is a web site under test: replicas that share one store, behind one
// origin, in a world off the network. Ana and Ben have accounts at the
// provider.
type Site struct {
	*World
	Origin   string
	Store    gatehouse.Store
	Options  SiteOptions
	Replicas []*Replica

	signer  *Signer // of changed ID Tokens
	connect func() gatehouse.Store

	adding sync.RWMutex // of Replicas
}

// Replica is one process of a site.
type Replica struct {
	Provider *gatehouse.Provider
	Sessions *gatehouse.Sessions
	Client   gatehouse.Client
	Login    *gatehouse.RelyingParty
	Mux      *http.ServeMux
}

// SiteOptions change a site. Each function changes the config passed to the
// constructor of its name.
type SiteOptions struct {
	Origin   string
	Issuer   string    // what the site takes for the issuer; "" for SiteIssuer
	Begin    time.Time // of the clock; zero for Start
	Replicas int
	Store    gatehouse.Store
	Open     func(testing.TB) (connect func() gatehouse.Store) // without Store or Wrap, each replica connects
	Wrap     func(gatehouse.Store) gatehouse.Store
	Client   func(*opserver.Client)
	Sessions func(*gatehouse.SessionsConfig)
	Party    func(*gatehouse.RelyingPartyConfig)
	Provider func(*gatehouse.ProviderConfig)
	// Register, if not nil, is the registration of each replica. It takes the
	// place of the client that the provider knows already.
	Register func(*gatehouse.Provider) *gatehouse.Registration
	Mount    func(mux *http.ServeMux, login *gatehouse.RelyingParty)
}

// TwoReplicas makes a site of two replicas.
func TwoReplicas(o *SiteOptions) { o.Replicas = 2 }

// Limits sets the limits of sessions.
func Limits(lifetime, idle time.Duration) func(*SiteOptions) {
	return func(o *SiteOptions) {
		o.Sessions = func(c *gatehouse.SessionsConfig) { c.Lifetime, c.IdleTimeout = lifetime, idle }
	}
}

// NewSite makes a site. When the test ends, its replicas are shut down and no
// secret may have shown.
func NewSite(t testing.TB, change ...func(*SiteOptions)) *Site {
	t.Helper()
	o := SiteOptions{Origin: "https://notes.test", Replicas: 1}
	for _, c := range change {
		c(&o)
	}
	s := &Site{World: New(t, SiteIssuer), Origin: o.Origin, Options: o}
	if o.Begin.After(s.Now()) {
		s.Advance(o.Begin.Sub(s.Now()))
	}
	s.Mint("client secret", SiteSecret)
	s.Mint("client secret", url.QueryEscape(SiteSecret))
	s.Mint("password", SitePass)
	for _, name := range []string{"ana", "ben"} {
		s.Must(s.AddUser(name, SitePass, map[string]any{"sub": name + "-1", "email": name + "@example.org", "name": strings.ToUpper(name)}))
	}
	// ES256 is used because RSA takes long under the race detector. One test
	// uses RSA.
	c := opserver.Client{ID: "notes", Secret: SiteSecret, RedirectURIs: []string{o.Origin + "/auth/callback"},
		PostLogoutRedirectURIs: []string{o.Origin + "/auth/logout"}, IDTokenAlg: "ES256"}
	if o.Client != nil {
		o.Client(&c)
	}
	s.Must(s.AddClient(c))
	s.openStore(o)
	for range o.Replicas {
		s.AddReplica(o)
	}
	t.Cleanup(func() {
		s.Server.Close()
		for _, r := range s.Replicas {
			s.Must(r.Sessions.Shutdown(context.Background()))
			s.Must(r.Client.Registration.Shutdown(context.Background()))
		}
		s.CheckSilence()
	})
	return s
}

func (s *Site) openStore(o SiteOptions) {
	s.T.Helper()
	switch {
	case o.Store != nil:
		s.Store = o.Store
	case o.Open != nil:
		s.connect = o.Open(s.T)
		s.Store = s.connect()
	default:
		s.Store = gatehouse.NewMemoryStore(s.Now)
	}
	if o.Wrap != nil {
		s.Store, s.connect = o.Wrap(s.Store), nil
	}
}

// AddReplica starts one more process.
func (s *Site) AddReplica(o SiteOptions) *Replica {
	s.T.Helper()
	provider := s.ProviderOf(cmp.Or(o.Issuer, s.Issuer()), func(c *gatehouse.ProviderConfig) {
		if o.Provider != nil {
			o.Provider(c)
		}
	})
	sc := gatehouse.SessionsConfig{Store: s.Store, Now: s.Now}
	if s.connect != nil {
		sc.Store = s.connect()
	}
	if o.Sessions != nil {
		o.Sessions(&sc)
	}
	sessions, err := gatehouse.NewSessions(sc)
	s.Must(err)
	if s.connect != nil { // what it still does needs its store, which closes next
		s.T.Cleanup(func() { s.Must(sessions.Shutdown(context.Background())) })
	}
	c := gatehouse.RelyingPartyConfig{
		Client:      gatehouse.Client{ID: "notes", Secret: gatehouse.NewSecret(SiteSecret)},
		RedirectURL: s.Origin + "/auth/callback", Scopes: []string{"profile", "email"},
		Sessions: sessions, LoginURL: "/auth/login",
	}
	if o.Register != nil {
		c.Client = gatehouse.Client{Registration: o.Register(provider)}
	}
	if o.Party != nil {
		o.Party(&c)
	}
	login, err := gatehouse.NewRelyingParty(provider, c)
	s.Must(err)
	r := &Replica{Provider: provider, Sessions: sessions, Client: c.Client, Login: login, Mux: http.NewServeMux()}
	r.Mux.Handle("/auth/callback", login.CallbackHandler())
	r.Mux.Handle("/auth/logout", login.LogoutHandler())
	r.Mux.Handle("/auth/login", login.LoginHandler())
	r.Mux.Handle("/auth/backchannel-logout", login.BackchannelLogoutHandler())
	r.Mux.Handle("/auth/frontchannel-logout", login.FrontchannelLogoutHandler())
	r.Mux.Handle("/notes/", login.RequireLogin(WhoAmI))
	r.Mux.Handle("/open", login.OptionalLogin(WhoAmI))
	if o.Mount != nil {
		o.Mount(r.Mux, login)
	}
	s.adding.Lock()
	defer s.adding.Unlock()
	s.Replicas = append(s.Replicas, r)
	return r
}

// mux returns the routes of a replica. Visitors may use it while one is added.
func (s *Site) mux(at int) *http.ServeMux {
	s.adding.RLock()
	defer s.adding.RUnlock()
	return s.Replicas[at].Mux
}

// WhoAmI is a handler that says whom it serves.
var WhoAmI = http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
	id := gatehouse.IdentityFrom(r.Context())
	if id == nil {
		fmt.Fprint(w, "served nobody")
		return
	}
	fmt.Fprintf(w, "served %s by %s", id.Subject, id.Via)
})

// Shutdown waits until a replica has no work left.
func (s *Site) Shutdown(i int) {
	s.T.Helper()
	s.Must(s.Replicas[i].Sessions.Shutdown(context.Background()))
}

// ShutdownAll waits until no replica has work left.
func (s *Site) ShutdownAll() {
	s.T.Helper()
	for i := range s.Replicas {
		s.Shutdown(i)
	}
}

// Refreshes counts refresh requests that reached the provider.
func (s *Site) Refreshes() int { return s.CountToken("refresh_token") }

// SentRefreshTokens lists the refresh tokens in the order in which they were
// sent.
func (s *Site) SentRefreshTokens() (list []string) {
	for _, c := range s.CallsTo("token_endpoint") {
		if c.Form.Get("grant_type") == "refresh_token" {
			list = append(list, c.Form.Get("refresh_token"))
		}
	}
	return list
}

// RevokedTokens lists the tokens that were revoked at the provider.
func (s *Site) RevokedTokens() (list []string) {
	for _, c := range s.CallsTo("revocation_endpoint") {
		list = append(list, c.Form.Get("token"))
	}
	return list
}

// WantRefusal checks one of our pages or bodies: the status, no-store, and that no
// handler ran.
func (s *Site) WantRefusal(a *Page, status int) {
	s.T.Helper()
	if a.Code != status || strings.Contains(a.Body.String(), "served") {
		s.T.Fatalf("got %v; want %d", a, status)
	}
	if got := a.Header().Get("Cache-Control"); got != "no-store" {
		s.T.Errorf("Cache-Control %q on a refusal, want no-store", got)
	}
	waits := status == http.StatusServiceUnavailable && !slices.Contains(mistakes, s.LastCode())
	if retry := a.Header().Get("Retry-After"); (retry != "") != waits {
		s.T.Errorf("Retry-After %q with status %d, %s", retry, status, s.LastCode())
	}
}

// mistakes are the codes of what somebody has to mend, so that trying again
// later does not help.
var mistakes = []string{"certificate_refused", "metadata_missing", "metadata_invalid", "metadata_issuer_mismatch", "client_refused", "client_auth_unsupported", "response_unsupported", "record_too_large",
	"endpoint_missing", "keys_unusable", "userinfo_refused", "client_registration_refused", "client_registration_unusable",
	"client_registration_unreadable", "client_registration_deleted", "client_registration_missing"}

// WantNo checks a refused callback (CB-NO in the table of cases): 400, nothing
// set, and the given number of token requests.
func (s *Site) WantNo(b *Visitor, a *Page, tokenRequests int) {
	s.T.Helper()
	s.WantRefusal(a, http.StatusBadRequest)
	if b.SessionName() != "" {
		s.T.Error("a session cookie came with the refusal")
	}
	if got := s.Count(opserver.EndpointToken); got != tokenRequests {
		s.T.Errorf("the token endpoint was asked %d times, want %d", got, tokenRequests)
	}
	codes := s.EventsOf(gatehouse.EventRefusal)
	if len(codes) == 0 || codes[len(codes)-1] == "" {
		s.T.Errorf("refused events %q, want one with a reason code", codes)
	}
}

// WantNoSession checks that the person has no live session in the store.
func (s *Site) WantNoSession(subject string) {
	s.T.Helper()
	last := s.Replicas[len(s.Replicas)-1]
	list, err := last.Sessions.List(context.Background(), SiteIssuer, subject)
	if err != nil || len(list) != 0 {
		s.T.Errorf("%d sessions of %s are left, err %v", len(list), subject, err)
	}
}
