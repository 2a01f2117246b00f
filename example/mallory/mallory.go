// Package mallory is the attacker of the example. Its page looks like a photo
// site with pictures for everybody, but its tickets name an authorization
// server of Mallory's own. That server works. A client that trusted whatever a
// challenge names would send it the client's secret and the ID Token of the
// person for whom it acts. The page counts what was caught.
package mallory

import (
	"crypto/rand"
	"embed"
	"encoding/json"
	"fmt"
	"html/template"
	"net/http"
	"net/url"
	"sync"

	"example.com/gatehouse/example/internal/look"
)

//go:embed pages/*.html
var pages embed.FS

const (
	// Album is the path of the bait.
	Album = "/u/mallory/albums/1"
	// maxForm is how much of a token request is read.
	maxForm = 64 << 10
)

// Config are the settings of New. Base is required.
type Config struct {
	// Base is the origin of the site, and the issuer of its authorization server.
	Base string
	// PrintShop is the address of a shop that takes the parameter "album"; "" for
	// none.
	PrintShop string
	// Aside makes the content beside the page; it may be nil.
	Aside func(*http.Request) template.HTML
}

// Site is the photo site and the authorization server. It is safe for
// concurrent use.
type Site struct {
	config  Config
	look    *look.Look
	handler http.Handler

	mu     sync.Mutex
	caught Catch
}

// Catch counts what was caught.
type Catch struct {
	Visits  int // requests for an album, each answered with a ticket
	Asked   int // requests to the authorization server, whatever they were
	Secrets int // of them, those with the secret of a client
	People  int // of them, those with a person's claim token
}

// New makes the site. It does no I/O.
func New(c Config) (*Site, error) {
	if u, err := url.Parse(c.Base); err != nil || u.Host == "" || u.Path != "" {
		return nil, fmt.Errorf("mallory: Base %q is not an origin", c.Base)
	}
	s := &Site{config: c}
	var err error
	s.look, err = look.New(look.Config{
		Name: "Free Prints", Role: "Mallory’s site · not to be trusted", Theme: "mallory", Home: "/", Aside: c.Aside,
	}, pages)
	if err != nil {
		return nil, err
	}
	mux := http.NewServeMux()
	mux.HandleFunc("GET "+look.StylePath, look.Style)
	mux.HandleFunc("GET /{$}", s.home)
	mux.HandleFunc("/u/{user}/albums/{rest...}", s.album)
	mux.HandleFunc("GET /.well-known/{document}", s.metadata)
	mux.HandleFunc("POST /token", s.token)
	s.handler = s.look.Routes(mux)
	return s, nil
}

// ServeHTTP implements http.Handler.
func (s *Site) ServeHTTP(w http.ResponseWriter, r *http.Request) { s.handler.ServeHTTP(w, r) }

// Caught returns what was caught so far.
func (s *Site) Caught() Catch {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.caught
}

func (s *Site) count(change func(*Catch)) {
	s.mu.Lock()
	defer s.mu.Unlock()
	change(&s.caught)
}

func (s *Site) home(w http.ResponseWriter, r *http.Request) {
	shop := ""
	if s.config.PrintShop != "" {
		shop = s.config.PrintShop + "?album=" + url.QueryEscape(s.config.Base+Album)
	}
	s.look.Write(w, r, http.StatusOK, "home", look.Page{Title: "A thousand pictures, free for everybody", Data: struct {
		Catch
		Address, PrintShop string
	}{s.Caught(), s.config.Base + Album, shop}})
}

// album answers as a resource server does (UMA Grant §3.2), except that it
// names Mallory's authorization server.
func (s *Site) album(w http.ResponseWriter, _ *http.Request) {
	s.count(func(c *Catch) { c.Visits++ })
	w.Header().Set("WWW-Authenticate", fmt.Sprintf("UMA realm=%q, as_uri=%q, ticket=%q", "free-prints", s.config.Base, rand.Text()))
	w.Header().Set("Cache-Control", "no-store")
	w.WriteHeader(http.StatusUnauthorized)
}

func (s *Site) metadata(w http.ResponseWriter, r *http.Request) {
	s.count(func(c *Catch) { c.Asked++ })
	switch r.PathValue("document") {
	case "openid-configuration", "oauth-authorization-server", "uma2-configuration":
	default:
		http.NotFound(w, r)
		return
	}
	answer(w, map[string]any{
		"issuer":                                s.config.Base,
		"authorization_endpoint":                s.config.Base + "/authorize",
		"token_endpoint":                        s.config.Base + "/token",
		"jwks_uri":                              s.config.Base + "/keys",
		"introspection_endpoint":                s.config.Base + "/introspect",
		"permission_endpoint":                   s.config.Base + "/permission",
		"resource_registration_endpoint":        s.config.Base + "/resource",
		"response_types_supported":              []string{"code"},
		"subject_types_supported":               []string{"public"},
		"id_token_signing_alg_values_supported": []string{"RS256"},
		"grant_types_supported":                 []string{"urn:ietf:params:oauth:grant-type:uma-ticket"},
	})
}

// token asks for the claim token, then issues a token that opens nothing. The
// secrets that it receives are counted, but not kept.
func (s *Site) token(w http.ResponseWriter, r *http.Request) {
	r.Body = http.MaxBytesReader(w, r.Body, maxForm)
	_, _, basic := r.BasicAuth()
	secret := basic || r.PostFormValue("client_secret") != ""
	claims := r.PostFormValue("claim_token") != ""
	s.count(func(c *Catch) {
		c.Asked++
		if secret {
			c.Secrets++
		}
		if claims {
			c.People++
		}
	})
	if !claims {
		w.Header().Set("Cache-Control", "no-store")
		w.Header().Set("Content-Type", "application/json")
		w.WriteHeader(http.StatusForbidden)
		encode(w, map[string]any{"error": "need_info", "ticket": rand.Text()})
		return
	}
	answer(w, map[string]any{"access_token": rand.Text(), "token_type": "Bearer"})
}

func answer(w http.ResponseWriter, members map[string]any) {
	w.Header().Set("Cache-Control", "no-store")
	w.Header().Set("Content-Type", "application/json")
	encode(w, members)
}

func encode(w http.ResponseWriter, members map[string]any) {
	_ = json.NewEncoder(w).Encode(members) // a client that is gone needs no answer
}
