package main

import (
	"cmp"
	_ "embed"
	"errors"
	"fmt"
	"html/template"
	"maps"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"example.com/gatehouse"
)

// An op is one of CLIENTS: a provider, and who we are there.
type op struct {
	Issuer       string                   `json:"srv_discovery_url"` // for provider_config
	Info         *gatehouse.Metadata      `json:"provider_info"`     // for handle_provider_config
	Metadata     gatehouse.ClientMetadata `json:"client_info"`       // for register
	Registration struct {                 // for store_registration_info
		ID     string `json:"client_id"`
		Secret string `json:"client_secret"`
	} `json:"client_registration"`
	Behaviour struct {
		ResponseType string   `json:"response_type"`
		Scope        []string `json:"scope"`
	} `json:"behaviour"`
}

// A walk is the site: one relying party for each provider.
type walk struct {
	base          string
	finder        *gatehouse.Finder
	logins        *gatehouse.Logins
	at            map[*gatehouse.Provider]*gatehouse.RelyingParty
	registrations []*gatehouse.Registration
	pages         *http.ServeMux
}

// newWalk sends nothing to anybody.
func newWalk(ops map[string]op, finding gatehouse.FinderConfig, base, dir string) (*walk, error) {
	w := &walk{base: base, at: map[*gatehouse.Provider]*gatehouse.RelyingParty{}, pages: http.NewServeMux()}
	sessions, err := gatehouse.NewSessions(gatehouse.SessionsConfig{})
	if err != nil {
		return nil, err
	}
	var providers []*gatehouse.Provider
	var parties []*gatehouse.RelyingParty
	for _, name := range slices.Sorted(maps.Keys(ops)) {
		provider, login, err := w.client(name, ops[name], dir, sessions)
		if err != nil {
			return nil, fmt.Errorf("%s: %w", name, err)
		}
		providers, parties, w.at[provider] = append(providers, provider), append(parties, login), login
	}
	if w.finder, err = gatehouse.NewFinder(finding, providers...); err != nil {
		return nil, err
	}
	if w.logins, err = gatehouse.NewLogins(gatehouse.LoginsConfig{Base: "/rp/"}, parties...); err != nil {
		return nil, err
	}
	w.pages.HandleFunc("GET /{$}", w.home)
	w.pages.HandleFunc("POST /start", w.start)
	w.pages.Handle("/rp/", w.logins.Handler())
	w.pages.Handle("GET /userinfo", w.logins.RequireLogin(http.HandlerFunc(w.userInfo)))
	return w, nil
}

// client is what oic.oic.Client was, for one provider.
func (w *walk) client(name string, o op, dir string, sessions *gatehouse.Sessions) (*gatehouse.Provider, *gatehouse.RelyingParty, error) {
	issuer := o.Issuer
	if o.Info != nil {
		issuer = o.Info.Issuer
	}
	provider, err := gatehouse.NewProvider(issuer, &gatehouse.ProviderConfig{Metadata: o.Info})
	if err != nil {
		return nil, nil, err
	}
	at := w.base + "/rp/" + name
	client := gatehouse.Client{ID: o.Registration.ID, Secret: gatehouse.NewSecret(o.Registration.Secret)}
	if client.ID == "" {
		client.Registration, err = gatehouse.NewRegistration(provider, gatehouse.RegistrationConfig{
			Metadata:           o.Metadata,
			Defaults:           w.metadata(o, at),
			Name:               name,
			Store:              gatehouse.FileRegistrationStore(filepath.Join(dir, "clients.registered.json")),
			InitialAccessToken: gatehouse.NewSecret(os.Getenv("INITIAL_ACCESS_TOKEN_" + strings.ToUpper(name))),
		})
		if err != nil {
			return nil, nil, err
		}
		w.registrations = append(w.registrations, client.Registration)
	}
	login, err := gatehouse.NewRelyingParty(provider, gatehouse.RelyingPartyConfig{
		Client:       client,
		ProviderName: name,
		RedirectURL:  at + "/authz_cb",
		ResponseType: o.Behaviour.ResponseType,
		Scopes:       o.Behaviour.Scope,
		Sessions:     sessions,
		HomeURL:      "/userinfo",
		LoggedOutURL: "/",
	})
	return provider, login, err
}

// metadata is what the site says about itself where client_info says nothing.
func (w *walk) metadata(o op, at string) gatehouse.ClientMetadata {
	m := gatehouse.ClientMetadata{
		RedirectURIs:           []string{at + "/authz_cb"},
		PostLogoutRedirectURIs: []string{at + "/logout"},
		ResponseTypes:          []string{cmp.Or(o.Behaviour.ResponseType, "code")},
	}
	if strings.Contains(m.ResponseTypes[0], "code") {
		m.GrantTypes = append(m.GrantTypes, "authorization_code", "refresh_token")
	}
	if strings.Contains(m.ResponseTypes[0], "id_token") { // OpenID Connect Registration §2
		m.GrantTypes = append(m.GrantTypes, "implicit")
		if strings.HasPrefix(w.base, "http://") { // a web client would need https for that
			m.ApplicationType = "native"
		}
	}
	return m
}

// start is discover and construct_AuthorizationRequest. What follows is done when
// it is needed: provider_config, register, and, in the callback, parse_response,
// the comparison of state and nonce, and do_access_token_request.
func (w *walk) start(rw http.ResponseWriter, r *http.Request) {
	r.Body = http.MaxBytesReader(rw, r.Body, 4<<10)
	provider, err := w.finder.FindProvider(r.Context(), r.PostFormValue("uid"))
	if e, ok := errors.AsType[*gatehouse.Error](err); ok {
		show(rw, e.Status, map[string]any{"Title": "Sign in", "Message": e.Message})
		return
	}
	login := w.at[provider]
	address, err := login.AuthURL(rw, r, "/userinfo")
	if err != nil {
		login.Refuse(rw, r, err)
		return
	}
	http.Redirect(rw, r, address, http.StatusSeeOther)
}

// userInfo is do_user_info_request. After the implicit flow nothing renews the
// access token, so Refuse signs the person in again when it has ended.
func (w *walk) userInfo(rw http.ResponseWriter, r *http.Request) {
	login := w.logins.Party(r.Context())
	token, err := login.Token(r.Context())
	if err != nil {
		login.Refuse(rw, r, err)
		return
	}
	id, err := login.UserInfo(r.Context())
	if err != nil {
		login.Refuse(rw, r, err)
		return
	}
	var claims map[string]any
	if err := id.Claims(&claims); err != nil {
		login.Refuse(rw, r, err)
		return
	}
	show(rw, http.StatusOK, map[string]any{
		"Title": "User info", "Issuer": id.Issuer, "Client": id.ClientID, "Until": token.Expiry, "Claims": claims,
	})
}

func (w *walk) home(rw http.ResponseWriter, _ *http.Request) {
	show(rw, http.StatusOK, map[string]any{"Title": "Sign in"})
}

//go:embed page.html
var pageText string

var page = template.Must(template.New("page").Parse(pageText))

func show(w http.ResponseWriter, status int, data map[string]any) {
	w.Header().Set("Content-Type", "text/html; charset=utf-8")
	w.WriteHeader(status)
	if err := page.Execute(w, data); err != nil {
		panic(http.ErrAbortHandler) // the browser has left
	}
}
