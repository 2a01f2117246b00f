package opserver

import (
	"embed"
	"encoding/base64"
	"html/template"
	"io"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"sync"
)

//go:embed pages/*.html pages/look.css
var pageFiles embed.FS

// parsePages parses them once for all servers of the process.
var parsePages = sync.OnceValues(func() (*template.Template, error) { return template.ParseFS(pageFiles, "pages/*.html") })

// mostListed is the greatest number of accounts that the sign-in page offers to
// choose from. With more accounts it asks for the name.
const mostListed = 12

// frame is the data of every page.
type frame struct {
	Title, Site string
	StyleURL    string
	FormToken   string
	User        string // who is signed in
	InboxURL    string
	EndURL      string
	Aside       template.HTML // next to the page, "" for nothing
	Frames      []string      // addresses that the page shows in frames
	Script      string        // nonce of the page's one script, "" for none
	Body        any
}

// show writes a page. No page may be framed, run a script, except the one that
// posts an answer, or load anything but the style sheet. Its forms go to this server and, through redirects, to the
// listed origins.
func (s *Server) show(w http.ResponseWriter, r *http.Request, status int, name string, f frame, origins ...string) {
	f.Site, f.StyleURL = s.title, s.url(pathStyle)
	f.InboxURL, f.EndURL = s.url(pathInbox), s.url(pathEndSession)
	if s.aside != nil {
		f.Aside = s.aside(r)
	}
	var page strings.Builder
	if err := s.pages.ExecuteTemplate(&page, name, f); err != nil {
		http.Error(w, "the page cannot be shown", http.StatusInternalServerError)
		return
	}
	h := w.Header()
	h.Set("Content-Type", "text/html; charset=utf-8")
	h.Set("Cache-Control", "no-store")
	policy := "default-src 'none'; style-src 'self'; img-src data:; base-uri 'none'; frame-ancestors 'none'; form-action " +
		strings.Join(append([]string{"'self'"}, origins...), " ")
	if f.Script != "" {
		policy += "; script-src 'nonce-" + f.Script + "'"
	}
	if len(f.Frames) > 0 {
		policy += "; frame-src"
		for _, address := range f.Frames {
			policy += " " + strings.Join(originOf(address), " ")
		}
	}
	h.Set("Content-Security-Policy", policy)
	h.Set("X-Frame-Options", "DENY")
	h.Set("Referrer-Policy", "same-origin") // no-referrer would make a form's Origin null
	w.WriteHeader(status)
	_, _ = io.WriteString(w, page.String())
}

// message shows a page with one sentence.
func (s *Server) message(w http.ResponseWriter, r *http.Request, status int, title, text string) {
	s.show(w, r, status, "message.html", frame{Title: title, Body: text})
}

// problem shows what is wrong with a request.
func (s *Server) problem(w http.ResponseWriter, r *http.Request, status int, text string) {
	s.message(w, r, status, "That did not work", text)
}

// serveUnknown answers at an address without anything. People get a page.
func (s *Server) serveUnknown(w http.ResponseWriter, r *http.Request) {
	if !strings.Contains(r.Header.Get("Accept"), "text/html") {
		http.NotFound(w, r)
		return
	}
	s.problem(w, r, http.StatusNotFound, "There is no page at this address.")
}

// signInData is what the sign-in page shows.
type signInData struct {
	Action, Next string
	Client       string // who makes the request
	User         string // the account that is already chosen
	Users        []string
	Hint         string
	Problem      string
	target       string // where the browser goes in the end
}

func (s *Server) signInPage(w http.ResponseWriter, r *http.Request, status int, d signInData) {
	s.mu.Lock()
	if len(s.st.users) <= mostListed {
		for name := range s.st.users {
			d.Users = append(d.Users, name)
		}
	}
	s.mu.Unlock()
	slices.Sort(d.Users)
	if d.User == "" && len(d.Users) == 1 {
		d.User = d.Users[0]
	}
	d.Action, d.Hint = s.url(pathSignIn), s.hint
	s.show(w, r, status, "signin.html", frame{Title: "Sign in", FormToken: s.formToken(s.browser(w, r)), Body: d}, originOf(d.target)...)
}

// originOf returns the origin of an address for form-action, which browsers
// also apply to the redirects after a form.
func originOf(address string) []string {
	u, err := url.Parse(address)
	if err != nil || u.Host == "" {
		return nil
	}
	return []string{u.Scheme + "://" + u.Host}
}

func (s *Server) signOutPage(w http.ResponseWriter, r *http.Request, d signOutData) {
	s.show(w, r, http.StatusOK, "signout.html", frame{Title: "Sign out?", FormToken: s.formToken(s.browser(w, r)),
		Body: struct {
			signOutData
			Action string
		}{d, s.url(pathSignOut)}}, originOf(d.Return)...)
}

func (s *Server) serveStyle(w http.ResponseWriter, _ *http.Request) {
	css, err := pageFiles.ReadFile("pages/look.css")
	if err != nil {
		http.Error(w, "no style", http.StatusInternalServerError)
		return
	}
	w.Header().Set("Content-Type", "text/css; charset=utf-8")
	w.Header().Set("Cache-Control", "max-age=300")
	_, _ = w.Write(css)
	_, _ = io.WriteString(w, s.style)
}

func (s *Server) serveHome(w http.ResponseWriter, r *http.Request) {
	to := s.url(pathInbox)
	if user := r.URL.Query().Get("user"); user != "" {
		to += "?user=" + url.QueryEscape(user)
	}
	http.Redirect(w, r, to, http.StatusSeeOther)
}

// owner returns who is signed in, or shows the sign-in page.
func (s *Server) owner(w http.ResponseWriter, r *http.Request) *session {
	current := s.session(r)
	if current == nil {
		s.signInPage(w, r, http.StatusOK, signInData{Next: r.URL.EscapedPath(), User: r.URL.Query().Get("user")})
	}
	return current
}

// inboxData is what the inbox shows.
type inboxData struct {
	Action    string
	Pending   []Request
	Resources []Resource
	Homes     []homeLink
	Takes     bool
}

// homeLink leads back to a client.
type homeLink struct{ Title, URI string }

// homesOf lists the links back to the clients that keep the resources, each
// once.
func homesOf(all []Resource) []homeLink {
	var out []homeLink
	for _, v := range all {
		link := homeLink{Title: v.ClientTitle, URI: v.ClientHome}
		if link.URI != "" && !slices.Contains(out, link) {
			out = append(out, link)
		}
	}
	return out
}

// serveInbox shows an owner the requests and takes the decision. A link may name
// the owner for whom it is meant, in the parameter user.
func (s *Server) serveInbox(w http.ResponseWriter, r *http.Request) {
	current := s.owner(w, r)
	if current == nil {
		return
	}
	name := current.user.name
	if user := r.URL.Query().Get("user"); r.Method == http.MethodGet && user != "" && user != name {
		s.signInPage(w, r, http.StatusForbidden, signInData{Next: r.URL.EscapedPath(), User: user,
			Problem: "You are signed in here as " + name + ". Sign in as " + user + " to go on."})
		return
	}
	if r.Method == http.MethodPost {
		var err error
		switch f := r.PostForm; f.Get("decision") {
		case "approve":
			err = s.Approve(name, f.Get("request"))
		case "deny":
			err = s.Deny(name, f.Get("request"))
		case "takes":
			err = s.AcceptRequests(name, f.Get("takes") == "on")
		default:
			s.problem(w, r, http.StatusBadRequest, "The form does not say what to do.")
			return
		}
		if err != nil {
			s.problem(w, r, http.StatusNotFound, "The request is no longer there. Perhaps it has been decided already.")
			return
		}
		http.Redirect(w, r, s.url(pathInbox), http.StatusSeeOther)
		return
	}
	s.mu.Lock()
	takes := s.takesRequests(party{user: name})
	s.mu.Unlock()
	mine := s.Resources(name)
	s.show(w, r, http.StatusOK, "inbox.html", frame{Title: "Sharing", User: name, FormToken: s.formToken(s.browser(w, r)),
		Body: inboxData{Action: s.url(pathInbox), Pending: s.Pending(name), Resources: mine, Homes: homesOf(mine), Takes: takes}})
}

// policyData is what the policy page shows: a row for each person and a column
// for each scope.
type policyData struct {
	Action   string
	Resource Resource
	Rows     []policyRow
	Others   []string // accounts without a row
	Saved    bool
	Problem  string
}

type policyRow struct {
	Who, Key string
	Cells    []policyCell
}

type policyCell struct {
	Scope, Value string
	On           bool
}

// servePolicy shows and changes who may do what with one resource of an owner.
func (s *Server) servePolicy(w http.ResponseWriter, r *http.Request) {
	current := s.owner(w, r)
	if current == nil {
		return
	}
	name, id := current.user.name, r.PathValue("id")
	s.mu.Lock()
	v, err := s.ownedBy(name, id)
	if err == nil && v.lost {
		err = http.ErrMissingFile
	}
	var d policyData
	problem := ""
	if err == nil && r.Method == http.MethodPost {
		problem = s.savePolicy(v, r.PostForm)
	}
	if err == nil {
		d = s.policyData(v, name)
	}
	s.mu.Unlock()
	switch {
	case err != nil:
		s.notYours(w, r, name)
		return
	case r.Method == http.MethodPost && problem == "":
		http.Redirect(w, r, d.Action+"?saved=1", http.StatusSeeOther)
		return
	}
	status := http.StatusOK
	if problem != "" {
		status = http.StatusUnprocessableEntity
	}
	d.Saved, d.Problem = problem == "" && r.URL.Query().Has("saved"), problem
	s.show(w, r, status, "policy.html", frame{Title: "Who may use " + d.Resource.Name, User: name,
		FormToken: s.formToken(s.browser(w, r)), Body: d})
}

// notYours answers for a resource that belongs to somebody else or does not
// exist. Both look the same. The reader may be signed in to the wrong account.
func (s *Server) notYours(w http.ResponseWriter, r *http.Request, name string) {
	if r.Method == http.MethodPost {
		s.show(w, r, http.StatusNotFound, "message.html", frame{Title: "That did not work", User: name,
			Body: "You are signed in as " + name + ", and nothing at this address is yours."})
		return
	}
	s.signInPage(w, r, http.StatusForbidden, signInData{Next: r.URL.EscapedPath(),
		Problem: "You are signed in here as " + name + ". Sign in as the owner to go on."})
}

// policyData collects the page. The lock is held.
func (s *Server) policyData(v *resource, owner string) policyData {
	d := policyData{Action: s.url(pathPolicy) + "/" + v.id, Resource: s.describe(v)}
	for who, scopes := range v.shares {
		row := policyRow{Who: who, Key: cellKey(who)}
		for _, scope := range v.scopes {
			row.Cells = append(row.Cells, policyCell{Scope: scope, Value: cellKey(who, scope), On: contains(scopes, scope)})
		}
		d.Rows = append(d.Rows, row)
	}
	slices.SortFunc(d.Rows, func(a, b policyRow) int { return strings.Compare(a.Who, b.Who) })
	for name := range s.st.users {
		if v.shares[name] == nil && name != owner {
			d.Others = append(d.Others, name)
		}
	}
	slices.Sort(d.Others)
	d.Others = d.Others[:min(len(d.Others), mostListed)]
	return d
}

// cellKey makes a form value from names that may contain anything.
func cellKey(names ...string) string {
	for i, n := range names {
		names[i] = base64.RawURLEncoding.EncodeToString([]byte(n))
	}
	return strings.Join(names, ".")
}

// savePolicy applies the form. Only the rows that the owner has seen change. If
// something is wrong with the form, it returns what, and changes nothing. The
// lock is held.
func (s *Server) savePolicy(v *resource, f url.Values) (problem string) {
	added := slices.DeleteFunc(slices.Clone(v.scopes), func(scope string) bool { return !contains(f["new"], scope) })
	who := strings.TrimSpace(f.Get("person"))
	switch {
	case who == "" && len(added) > 0:
		return "Name the person whom you want to let in. Nothing has been saved."
	case who != "" && len(added) == 0:
		return "Tick what the person may do. Nothing has been saved."
	}
	for who, scopes := range v.shares {
		if !contains(f["row"], cellKey(who)) {
			continue
		}
		var off []string
		for _, scope := range v.scopes {
			if !contains(f["cell"], cellKey(who, scope)) && contains(scopes, scope) {
				off = append(off, scope)
			}
		}
		on := slices.DeleteFunc(slices.Clone(v.scopes), func(scope string) bool {
			return !contains(f["cell"], cellKey(who, scope))
		})
		if len(on) > 0 {
			s.share(v, who, on)
		}
		if len(off) > 0 {
			s.unshare(v, who, off)
		}
	}
	if who != "" {
		s.share(v, who, added)
	}
	return ""
}
