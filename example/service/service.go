package main

import (
	"cmp"
	"context"
	_ "embed"
	"encoding/json"
	"html/template"
	"net/http"
	"slices"
	"strings"
	"sync"
	"time"

	"example.com/gatehouse"
)

// newService makes the service that browsers reach at base.
func newService(provider *gatehouse.Provider, client gatehouse.Client, sessions *gatehouse.Sessions, base string) (*gatehouse.RelyingParty, http.Handler, error) {
	s := &service{users: map[user]int{}, notes: map[int][]string{}}
	login, err := gatehouse.NewRelyingParty(provider, gatehouse.RelyingPartyConfig{
		Client:      client,
		RedirectURL: base + "/auth/callback",
		LogoutURL:   base + "/auth/logout",
		Scopes:      []string{"profile", "email"},
		Sessions:    sessions,
		OnSignIn:    s.welcome,
	})
	if err != nil {
		return nil, nil, err
	}
	admins := login.With(gatehouse.Claim("groups", "admin"))
	recent := login.With(gatehouse.MaxAge(5 * time.Minute))

	mux := http.NewServeMux()
	mux.Handle("/auth/", login.Handler())
	mux.Handle("GET /{$}", login.OptionalLogin(http.HandlerFunc(s.home)))
	mux.Handle("GET /notes", login.RequireLogin(http.HandlerFunc(s.list)))
	mux.Handle("POST /notes", login.RequireLogin(http.HandlerFunc(s.add)))
	mux.Handle("GET /api/notes", login.RequireLogin(http.HandlerFunc(s.listJSON)))
	mux.Handle("POST /api/notes", login.RequireLogin(http.HandlerFunc(s.addJSON)))
	mux.Handle("GET /forget", recent.RequireLogin(http.HandlerFunc(s.ask)))
	mux.Handle("POST /forget", recent.RequireLogin(http.HandlerFunc(s.forget)))
	mux.Handle("GET /people", admins.RequireLogin(http.HandlerFunc(s.people)))
	mux.HandleFunc("GET /app", s.app)
	mux.HandleFunc("GET /app.js", s.script)
	if strings.HasPrefix(base, "http://127.0.0.1:") {
		mux.HandleFunc("localhost/", func(w http.ResponseWriter, r *http.Request) {
			http.Redirect(w, r, base+r.URL.RequestURI(), http.StatusTemporaryRedirect)
		})
	}
	return login, mux, nil
}

// service keeps notes in memory. A real one would have a database.
type service struct {
	mu    sync.Mutex
	users map[user]int // the number of each person
	notes map[int][]string
}

// A user is who the provider says somebody is. Neither half is enough, and an
// e-mail address may pass to somebody else.
type user struct{ issuer, subject string }

// welcome runs at every sign-in, before the session exists. It gives each person
// a number of ours, which the session then keeps as a claim.
func (s *service) welcome(_ context.Context, id *gatehouse.Identity) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	who := user{id.Issuer, id.Subject}
	if s.users[who] == 0 {
		s.users[who] = len(s.users) + 1
	}
	return id.SetClaim("notes_user", s.users[who])
}

// numberOf returns the number that welcome gave to the person of the request.
func numberOf(r *http.Request) int {
	var claims struct {
		User int `json:"notes_user"`
	}
	if err := gatehouse.IdentityFrom(r.Context()).Claims(&claims); err != nil {
		return 0
	}
	return claims.User
}

//go:embed pages.html
var pagesText string

var pages = template.Must(template.New("pages").Parse(pagesText))

//go:embed app.js
var appScript []byte

func show(w http.ResponseWriter, page string, data any) {
	w.Header().Set("Content-Type", "text/html; charset=utf-8")
	_ = pages.ExecuteTemplate(w, page, data)
}

// home is public. It greets whoever is signed in.
func (s *service) home(w http.ResponseWriter, r *http.Request) {
	name := ""
	if id := gatehouse.IdentityFrom(r.Context()); id != nil {
		name = cmp.Or(id.ClaimString("name"), id.Subject)
	}
	show(w, "home", name)
}

func (s *service) list(w http.ResponseWriter, r *http.Request) {
	s.mu.Lock()
	notes := slices.Clone(s.notes[numberOf(r)])
	s.mu.Unlock()
	show(w, "notes", notes)
}

// maxNote bounds the body of a form or of a script's request.
const maxNote = 64 << 10

// add saves what a form posted. It redirects, so that a reload does not post it
// again.
func (s *service) add(w http.ResponseWriter, r *http.Request) {
	r.Body = http.MaxBytesReader(w, r.Body, maxNote)
	s.keep(numberOf(r), r.PostFormValue("note"))
	http.Redirect(w, r, "/notes", http.StatusSeeOther)
}

func (s *service) keep(number int, note string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if note = strings.TrimSpace(note); note != "" {
		s.notes[number] = append(s.notes[number], note)
	}
}

// ask shows the button of forget. The guard of both asks for a sign-in of the
// last five minutes already here, because a form that needs one would be lost.
func (s *service) ask(w http.ResponseWriter, _ *http.Request) { show(w, "forget", nil) }

func (s *service) forget(w http.ResponseWriter, r *http.Request) {
	s.mu.Lock()
	delete(s.notes, numberOf(r))
	s.mu.Unlock()
	http.Redirect(w, r, "/notes", http.StatusSeeOther)
}

// people is for members of the group admin.
func (s *service) people(w http.ResponseWriter, _ *http.Request) {
	s.mu.Lock()
	defer s.mu.Unlock()
	show(w, "people", len(s.users))
}

func (s *service) listJSON(w http.ResponseWriter, r *http.Request) {
	s.mu.Lock()
	notes := append([]string{}, s.notes[numberOf(r)]...)
	s.mu.Unlock()
	w.Header().Set("Content-Type", "application/json")
	_ = json.NewEncoder(w).Encode(notes)
}

func (s *service) addJSON(w http.ResponseWriter, r *http.Request) {
	var note struct {
		Text string `json:"text"`
	}
	if err := json.NewDecoder(http.MaxBytesReader(w, r.Body, maxNote)).Decode(&note); err != nil {
		http.Error(w, "not JSON", http.StatusBadRequest)
		return
	}
	s.keep(numberOf(r), note.Text)
	w.WriteHeader(http.StatusNoContent)
}

// app is the page with scripts. It is the same for everybody, so no guard
// stands before it.
func (s *service) app(w http.ResponseWriter, _ *http.Request) { show(w, "app", nil) }

func (s *service) script(w http.ResponseWriter, _ *http.Request) {
	w.Header().Set("Content-Type", "text/javascript; charset=utf-8")
	_, _ = w.Write(appScript)
}
