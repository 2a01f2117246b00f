// Package look has what the pages of the example share: the frame, the style
// sheet, the headers that isolate a page, and the page that reports a failure.
package look

import (
	"bytes"
	"embed"
	"encoding/json"
	"errors"
	"fmt"
	"html/template"
	"io"
	"io/fs"
	"net/http"
	"path"
	"slices"
	"strings"

	"example.com/gatehouse"
)

//go:embed frame.html problem.html signedout.html
var frames embed.FS

// The style sheet is the palette, the pages and the panel.
var (
	//go:embed palette.css
	palette string
	//go:embed look.css
	sheet string
	//go:embed panel.css
	panel string
	//go:embed server.css
	server string
)

// ServerStyle is the style that the pages of the embedded server need to look
// like the others, with the panel beside them.
func ServerStyle() template.CSS { return template.CSS(palette + panel + server) }

// StylePath is where Style has to be mounted.
const StylePath = "/look.css"

// Config says what a site looks like.
type Config struct {
	Name  string // of the site
	Role  string // what it plays in the protocol, in a few words
	Theme string // a class of the style sheet: "photos", "printshop" or "mallory"
	// SignIn, SignOut and Home are paths of the site. SignIn is "" if nobody
	// signs in there.
	SignIn, SignOut, Home string
	// Links are in the navigation of people who are signed in.
	Links []Link
	// FormOrigins are origins to which the answers of forms may redirect.
	// Browsers apply form-action to redirects too.
	FormOrigins []string
	// Aside makes the content beside a page; nil means none.
	Aside func(*http.Request) template.HTML
	// Live is what stands below that and changes while the page is open; nil
	// means nothing.
	Live *Live
}

// Link is an entry of the navigation.
type Link struct{ Label, Path string }

// Look writes the pages of one site. It is safe for concurrent use.
type Look struct {
	config Config
	pages  map[string]*template.Template
	policy string
}

// Page is one page.
type Page struct {
	Title string
	User  string // who is signed in, "" for nobody
	Data  any
}

// New makes a Look with the pages in files, each of which defines "body".
func New(c Config, files fs.FS) (*Look, error) {
	l := &Look{config: c, pages: map[string]*template.Template{}}
	names, err := fs.Glob(files, "pages/*.html")
	if err != nil {
		return nil, err
	}
	for _, name := range names {
		if l.pages[strings.TrimSuffix(path.Base(name), ".html")], err = parse(files, name); err != nil {
			return nil, err
		}
	}
	for _, name := range []string{"problem", "signedout"} {
		if l.pages[name], err = parse(frames, name+".html"); err != nil {
			return nil, err
		}
	}
	l.policy = strings.Join([]string{
		"default-src 'none'", "style-src 'self'", "img-src 'self' data:", "base-uri 'none'", "frame-ancestors 'none'",
		"form-action " + strings.Join(append([]string{"'self'"}, c.FormOrigins...), " "),
	}, "; ")
	if c.Live != nil {
		l.policy += "; script-src 'self'; connect-src 'self'"
	}
	return l, nil
}

func parse(files fs.FS, name string) (*template.Template, error) {
	t, err := template.ParseFS(frames, "frame.html")
	if err == nil {
		t, err = t.ParseFS(files, name)
	}
	if err != nil {
		return nil, fmt.Errorf("look: %s: %w", name, err)
	}
	return t, nil
}

// Write writes the page of that name.
func (l *Look) Write(w http.ResponseWriter, r *http.Request, status int, name string, p Page) {
	t := l.pages[name]
	if t == nil {
		http.Error(w, "There is no such page.", http.StatusInternalServerError)
		return
	}
	var aside, live template.HTML
	if l.config.Aside != nil {
		aside = l.config.Aside(r)
	}
	if l.config.Live != nil {
		live = l.config.Live.Show(r)
	}
	var b bytes.Buffer
	err := t.ExecuteTemplate(&b, "frame.html", struct {
		Page
		Config
		Aside, Now            template.HTML
		StylePath, ScriptPath string
		EventsPath            string
		Initial               string
	}{p, l.config, aside, live, StylePath, ScriptPath, EventsPath, initial(p.User)})
	if err != nil {
		http.Error(w, "The page cannot be shown.", http.StatusInternalServerError)
		return
	}
	h := w.Header()
	h.Set("Content-Type", "text/html; charset=utf-8")
	h.Set("Cache-Control", "no-store")
	h.Set("Content-Security-Policy", l.policy)
	h.Set("X-Content-Type-Options", "nosniff")
	h.Set("Referrer-Policy", "same-origin")
	w.WriteHeader(status)
	_, _ = w.Write(b.Bytes()) // a browser that is gone needs no page
}

// initial is the first letter of a name.
func initial(name string) string {
	for _, letter := range name {
		return strings.ToUpper(string(letter))
	}
	return ""
}

// Problem is the content of the page of a failure.
type Problem struct {
	Status  int
	Message string
	ID      string // finds the line in the log
	Retry   string // address to try again, "" for none
}

// Error answers a failure. It fits the ErrorHandler of a relying party. A
// program gets a small JSON object instead of a page.
func (l *Look) Error(w http.ResponseWriter, r *http.Request, e *gatehouse.Error) {
	if !WantsPage(r) {
		w.Header().Set("Content-Type", "application/json")
		w.Header().Set("X-Content-Type-Options", "nosniff")
		w.WriteHeader(e.Status)
		body := map[string]string{"error": e.Code, "message": e.Message, "id": e.ID}
		_ = json.NewEncoder(w).Encode(body) // nobody is left to tell
		return
	}
	p := Problem{Status: e.Status, Message: e.Message, ID: e.ID}
	if e.Status == http.StatusServiceUnavailable && r.Method == http.MethodGet {
		p.Retry = r.URL.RequestURI()
	}
	title := "That did not work"
	switch e.Status {
	case http.StatusServiceUnavailable:
		title = "Not right now"
	case http.StatusForbidden:
		title = "Not for you"
	case http.StatusNotFound:
		title = "Nothing here"
	}
	l.Write(w, r, e.Status, "problem", Page{Title: title, Data: p})
}

// Fail answers err. If err does not hold an *Error, the failure is our own.
func (l *Look) Fail(w http.ResponseWriter, r *http.Request, err error) {
	e, ok := errors.AsType[*gatehouse.Error](err)
	if !ok {
		e = &gatehouse.Error{Code: "internal", Status: http.StatusInternalServerError, Message: "Something went wrong on our side."}
	}
	l.Error(w, r, e)
}

// Reachable shows the page of a failure instead of next if check fails, so that
// a browser is not sent to a server that is down. A nil check is not called.
func (l *Look) Reachable(check func(*http.Request) error, next http.Handler) http.Handler {
	if check == nil {
		return next
	}
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if err := check(r); err != nil {
			w.Header().Set("Retry-After", "5")
			l.Error(w, r, &gatehouse.Error{
				Code: gatehouse.CodeProviderUnavailable, Status: http.StatusServiceUnavailable,
				Message: "The sign-in service cannot be reached right now. Everybody who is signed in stays signed in.",
			})
			return
		}
		next.ServeHTTP(w, r)
	})
}

// SignOut ends the session with next, which then sends the browser to the
// provider. If check fails because the server is down, it ends the person's
// sessions here instead, and the page says what the server was not told.
func (l *Look) SignOut(check func(*http.Request) error, login *gatehouse.RelyingParty, sessions *gatehouse.Sessions, next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.Method != http.MethodPost || check == nil || check(r) == nil {
			next.ServeHTTP(w, r)
			return
		}
		id, err := login.Check(r)
		if err != nil {
			login.Refuse(w, r, err)
			return
		}
		if err := sessions.RevokeAll(r.Context(), id.Issuer, id.Subject); err != nil {
			l.Fail(w, r, err)
			return
		}
		l.Write(w, r, http.StatusOK, "signedout", Page{Title: "You are signed out here", Data: struct{ Name, Home string }{l.config.Name, l.config.Home}})
	})
}

// Routes serves with mux. A person who opens an address that the site does not
// have, or only takes forms at, gets a page like all others.
func (l *Look) Routes(mux *http.ServeMux) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if _, pattern := mux.Handler(r); pattern == "" && r.Method == http.MethodGet && WantsPage(r) {
			l.Error(w, r, &gatehouse.Error{Code: "not_found", Status: http.StatusNotFound, Message: "There is no page at this address."})
			return
		}
		mux.ServeHTTP(w, r)
	})
}

// Style serves the style sheet.
func Style(w http.ResponseWriter, _ *http.Request) {
	w.Header().Set("Content-Type", "text/css; charset=utf-8")
	w.Header().Set("Cache-Control", "max-age=300")
	w.Header().Set("X-Content-Type-Options", "nosniff")
	_, _ = io.WriteString(w, palette+sheet+panel)
}

// WantsPage reports whether a person will see the answer.
func WantsPage(r *http.Request) bool {
	if mode := r.Header.Get("Sec-Fetch-Mode"); mode != "" {
		return mode == "navigate"
	}
	return slices.ContainsFunc(r.Header.Values("Accept"), func(v string) bool { return strings.Contains(v, "text/html") })
}
