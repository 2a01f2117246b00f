package main

import (
	"context"
	_ "embed"
	"encoding/json"
	"errors"
	"html/template"
	"io/fs"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"example.com/gatehouse"
)

// A site is what Client("demosite.cfg") was: one application at one provider.
type site struct {
	provider *gatehouse.Provider
	sessions *gatehouse.Sessions
	base     string           // where browsers reach it
	dir      string           // where it keeps what has to outlive the process
	initial  gatehouse.Secret // the initial access token

	updates sync.Mutex
	now     atomic.Pointer[client]
}

// A client is the site as it is registered at the moment.
type client struct {
	registration *gatehouse.Registration // nil if somebody has registered it by hand
	login        *gatehouse.RelyingParty
	leave        string // post_logout_redirect_uri
	pages        *http.ServeMux
}

func (s *site) ServeHTTP(w http.ResponseWriter, r *http.Request) { s.now.Load().pages.ServeHTTP(w, r) }

// open makes the site, as the given client if that has an id.
func (s *site) open(given gatehouse.Client) error {
	changed, err := s.changed()
	if err != nil {
		return err
	}
	if given.ID != "" {
		return s.mount(given, nil, changed)
	}
	registration, err := s.registration(changed)
	if err != nil {
		return err
	}
	return s.mount(gatehouse.Client{Registration: registration}, registration, changed)
}

// registration is what the section [client] of demosite.cfg was. What was changed
// since counts first.
func (s *site) registration(changed gatehouse.ClientMetadata) (*gatehouse.Registration, error) {
	return gatehouse.NewRegistration(s.provider, gatehouse.RegistrationConfig{
		Metadata: changed,
		Defaults: gatehouse.ClientMetadata{
			RedirectURIs:           []string{s.base + "/CodeState"},
			PostLogoutRedirectURIs: []string{s.base + "/"},
			ClientName:             "Demo site", // and no Scopes: Keycloak registers nobody who names openid

			FrontchannelLogoutURI:             s.base + "/logout", // client_logout_uris
			FrontchannelLogoutSessionRequired: new(true),
		},
		Store:              gatehouse.FileRegistrationStore(filepath.Join(s.dir, "client.json")),
		InitialAccessToken: s.initial,
	})
}

// registerSite is register_site. It sends nothing if the site is registered
// already and nothing has changed.
func (s *site) registerSite(ctx context.Context) (string, error) {
	r := s.now.Load().registration
	if r == nil {
		return "", nil
	}
	ctx, cancel := context.WithTimeout(ctx, 10*time.Second)
	defer cancel()
	if err := r.Register(ctx); err != nil {
		return "", err
	}
	return r.ID(ctx)
}

// updateSiteRegistration is update_site_registration. Other metadata are another
// Registration with the same store: it knows the client, so nothing is registered
// anew, and everybody stays signed in.
func (s *site) updateSiteRegistration(ctx context.Context, contacts, logoutRedirectURL string) error {
	s.updates.Lock()
	defer s.updates.Unlock()
	changed := gatehouse.ClientMetadata{Contacts: []string{contacts}, PostLogoutRedirectURIs: []string{logoutRedirectURL}}
	registration, err := s.registration(changed)
	if err != nil {
		return err
	}
	if err := registration.Update(ctx); err != nil {
		return err
	}
	if err := s.remember(changed); err != nil { // or the next start would take it back
		return err
	}
	return s.mount(gatehouse.Client{Registration: registration}, registration, changed)
}

// changed reads what an update has changed.
func (s *site) changed() (m gatehouse.ClientMetadata, err error) {
	text, err := os.ReadFile(filepath.Join(s.dir, "site.json"))
	if errors.Is(err, fs.ErrNotExist) {
		return m, nil
	}
	if err == nil {
		err = json.Unmarshal(text, &m)
	}
	return m, err
}

// remember writes it, as oxd-python wrote its configuration file.
func (s *site) remember(changed gatehouse.ClientMetadata) error {
	text, err := json.Marshal(changed)
	if err != nil {
		return err
	}
	next := filepath.Join(s.dir, "site.json.next")
	if err := os.WriteFile(next, text, 0o600); err != nil {
		return err
	}
	return os.Rename(next, filepath.Join(s.dir, "site.json"))
}

// mount makes the pages for a client, and puts them in the place of those before.
func (s *site) mount(who gatehouse.Client, registration *gatehouse.Registration, changed gatehouse.ClientMetadata) error {
	login, err := gatehouse.NewRelyingParty(s.provider, gatehouse.RelyingPartyConfig{
		Client:      who,
		RedirectURL: s.base + "/CodeState", // authorization_redirect_uri
		Scopes:      []string{"profile", "email"},
		Sessions:    s.sessions,
	})
	if err != nil {
		return err
	}
	c := &client{registration: registration, login: login, leave: s.base + "/", pages: http.NewServeMux()}
	if len(changed.PostLogoutRedirectURIs) > 0 {
		c.leave = changed.PostLogoutRedirectURIs[0]
	}
	c.pages.Handle("/CodeState", login.CallbackHandler())
	c.pages.Handle("/logout", login.FrontchannelLogoutHandler())
	c.pages.Handle("GET /{$}", login.OptionalLogin(http.HandlerFunc(c.home)))
	c.pages.Handle("GET /signed-out", login.OptionalLogin(http.HandlerFunc(c.home)))
	c.pages.HandleFunc("GET /authorize", c.authorize)
	c.pages.Handle("GET /profile", login.RequireLogin(http.HandlerFunc(c.profile)))
	c.pages.HandleFunc("POST /leave", c.signOut)
	if registration != nil { // who may do that is for a real site to say, by login.With
		c.pages.Handle("POST /update", login.RequireLogin(http.HandlerFunc(s.update)))
	}
	s.now.Store(c)
	return nil
}

// authorize is get_authorization_url. The callback compares the state.
func (c *client) authorize(w http.ResponseWriter, r *http.Request) {
	address, err := c.login.AuthURL(w, r, "/profile")
	if err != nil {
		c.login.Refuse(w, r, err)
		return
	}
	http.Redirect(w, r, address, http.StatusSeeOther)
}

// profile is get_tokens_by_code and get_user_info. CallbackHandler has sent the
// code. The session keeps the tokens, and renews them with the refresh token.
func (c *client) profile(w http.ResponseWriter, r *http.Request) {
	tokens, err := c.login.Token(r.Context())
	if err != nil {
		c.login.Refuse(w, r, err)
		return
	}
	user, err := c.login.UserInfo(r.Context())
	if err != nil {
		c.login.Refuse(w, r, err)
		return
	}
	show(w, map[string]any{
		"Title": "Profile", "Client": user.ClientID, "Subject": user.Subject,
		"Name": user.ClaimString("name"), "Email": user.ClaimString("email"),
		"Until": tokens.Expiry, "Update": c.registration != nil, "Leave": c.leave,
	})
}

// signOut is get_logout_uri with session.clear.
func (c *client) signOut(w http.ResponseWriter, r *http.Request) {
	address, err := c.login.LogoutURL(w, r, gatehouse.LogoutRequest{ReturnTo: c.leave})
	if err != nil {
		c.login.Refuse(w, r, err)
		return
	}
	http.Redirect(w, r, address, http.StatusSeeOther)
}

// home is also where the provider sends people back to when they have signed out.
func (c *client) home(w http.ResponseWriter, r *http.Request) {
	data := map[string]any{"Title": "Demo site"}
	if id := gatehouse.IdentityFrom(r.Context()); id != nil {
		data["Subject"] = id.Subject
	}
	if _, err := c.login.LogoutState(w, r); err == nil {
		data["Title"] = "You have signed out"
	}
	show(w, data)
}

// update takes the form with the two fields of the documentation.
func (s *site) update(w http.ResponseWriter, r *http.Request) {
	r.Body = http.MaxBytesReader(w, r.Body, 4<<10)
	contacts, logoutRedirectURL := r.PostFormValue("updateEmail"), r.PostFormValue("postLogoutRedirectUrl")
	if contacts == "" || !strings.HasPrefix(logoutRedirectURL, s.base+"/") {
		http.Error(w, "It takes a mail address, and an address of this site.", http.StatusBadRequest)
		return
	}
	if err := s.updateSiteRegistration(r.Context(), contacts, logoutRedirectURL); err != nil {
		s.now.Load().login.Refuse(w, r, err)
		return
	}
	show(w, map[string]any{"Title": "status = ok"})
}

//go:embed page.html
var pageText string

var page = template.Must(template.New("page").Parse(pageText))

func show(w http.ResponseWriter, data map[string]any) {
	w.Header().Set("Content-Type", "text/html; charset=utf-8")
	if err := page.Execute(w, data); err != nil {
		panic(http.ErrAbortHandler) // the browser has left
	}
}
