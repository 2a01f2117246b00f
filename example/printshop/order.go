package printshop

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"html/template"
	"io"
	"mime"
	"net/http"
	"net/url"
	"regexp"
	"slices"

	"example.com/gatehouse"
	"example.com/gatehouse/example/internal/look"
	"example.com/gatehouse/example/photos"
)

const (
	// maxAnswer is how much of an answer of the photo site is read. Six
	// pictures have about 150 KiB.
	maxAnswer = 4 << 20
	// maxPictures bounds the previews that are fetched for one page.
	maxPictures = 12
	// maxForm bounds the forms of the shop.
	maxForm = 8 << 10
)

// albumPath is what the address of an album looks like at the photo site.
var albumPath = regexp.MustCompile(`^/u/[a-z0-9-]{1,40}/albums/[a-z0-9-]{1,40}$`)

// result is the content of the page of an order.
type result struct {
	State    string // "shown", "printed", "deleted", "asked", "denied", "untrusted", "warned", "failed"
	Act      string // what was tried: "show", "print" or "delete"
	Album    string // its address
	Title    string
	Owner    string
	Pictures []picture
	Message  string
	Warning  string // the header, if the photo site could not ask
	status   int
}

type picture struct {
	Title string
	URL   template.URL
}

func (s *Shop) home(w http.ResponseWriter, r *http.Request) {
	s.propose(w, r, s.config.Photos+s.config.Suggest)
}

// form shows the form with the album that a link names.
func (s *Shop) form(w http.ResponseWriter, r *http.Request) {
	if !r.URL.Query().Has("album") {
		s.home(w, r)
		return
	}
	album, err := s.albumAt(r.URL.Query().Get("album"))
	if err != nil {
		res := &result{}
		res.fail(err)
		s.answer(w, r, res)
		return
	}
	s.propose(w, r, album)
}

func (s *Shop) propose(w http.ResponseWriter, r *http.Request, album string) {
	s.look.Write(w, r, http.StatusOK, "home", look.Page{Title: "Prints on paper, from the album of a friend", User: person(r), Data: struct {
		Suggest string
		Photos  string
	}{album, s.config.Photos}})
}

// person is the name of the person who is signed in.
func person(r *http.Request) string {
	id := gatehouse.IdentityFrom(r.Context())
	if id == nil {
		return ""
	}
	return cmp.Or(id.ClaimString("name"), id.ClaimString("preferred_username"), id.Subject)
}

// order makes the handler of one action on an album.
func (s *Shop) order(do func(*http.Request, *result) error) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		r.Body = http.MaxBytesReader(w, r.Body, maxForm)
		res := &result{status: http.StatusOK}
		var err error
		if res.Album, err = s.albumAt(r.PostFormValue("album")); err == nil {
			err = do(r, res)
		}
		if err != nil {
			res.fail(err)
		}
		if s.config.Seen != nil {
			s.config.Seen(handle(gatehouse.IdentityFrom(r.Context())), res.Act, res.State)
		}
		s.answer(w, r, res)
	})
}

func (s *Shop) answer(w http.ResponseWriter, r *http.Request, res *result) {
	s.look.Write(w, r, res.status, "order", look.Page{Title: res.heading(), User: person(r), Data: res})
}

// albumAt accepts the address of an album, complete or from the slash on.
// Everything else is refused, because the shop sends requests only to sites
// that it knows.
func (s *Shop) albumAt(raw string) (string, error) {
	u, err := url.Parse(raw)
	origin := s.config.Photos
	if err == nil && u.Host != "" {
		origin = u.Scheme + "://" + u.Host
	}
	if err != nil || u.User != nil || u.RawQuery != "" || u.Fragment != "" || u.RawPath != "" ||
		(origin != s.config.Photos && !slices.Contains(s.config.Others, origin)) || !albumPath.MatchString(u.Path) {
		return "", &gatehouse.Error{Code: "address_refused", Status: http.StatusBadRequest,
			Message: "This is not the address of an album. It looks like " + s.config.Photos + "/u/alice/albums/1."}
	}
	return origin + u.Path, nil
}

// show fetches the album and its previews.
func (s *Shop) show(r *http.Request, res *result) error {
	res.Act = "show"
	var doc photos.AlbumDocument
	if err := s.fetch(r.Context(), http.MethodGet, res.Album, &doc); err != nil {
		return err
	}
	res.State, res.Title, res.Owner = "shown", doc.Title, doc.Owner
	for i, p := range doc.Photos {
		if i == maxPictures {
			break
		}
		u, err := url.Parse(p.Preview)
		if err != nil || u.Host != "" {
			continue // pictures of the same site only
		}
		svg, err := s.send(r.Context(), http.MethodGet, originOf(res.Album)+u.Path, "image/svg+xml")
		if err != nil {
			return err
		}
		res.Pictures = append(res.Pictures, picture{p.Title, svgURL(string(svg))})
	}
	return nil
}

// print orders the complete pictures.
func (s *Shop) print(r *http.Request, res *result) error {
	res.Act = "print"
	var doc photos.PrintsDocument
	if err := s.fetch(r.Context(), http.MethodPost, res.Album+"/prints", &doc); err != nil {
		return err
	}
	res.State, res.Title, res.Owner = "printed", doc.Title, doc.Owner
	for i, p := range doc.Prints {
		if i == maxPictures {
			break
		}
		res.Pictures = append(res.Pictures, picture{p.Title, svgURL(p.SVG)})
	}
	return nil
}

// delete asks the photo site to remove the album. A print shop should not be
// allowed to do that, which is what the button shows.
func (s *Shop) delete(r *http.Request, res *result) error {
	res.Act = "delete"
	if _, err := s.send(r.Context(), http.MethodDelete, res.Album, ""); err != nil {
		return err
	}
	res.State = "deleted"
	return nil
}

// svgURL makes an SVG an image address. In an image, an SVG cannot run
// anything.
func svgURL(svg string) template.URL {
	return template.URL("data:image/svg+xml," + url.PathEscape(svg))
}

// fetch gets a JSON document of the photo site.
func (s *Shop) fetch(ctx context.Context, method, address string, doc any) error {
	body, err := s.send(ctx, method, address, "application/json")
	if err != nil {
		return err
	}
	if err := json.Unmarshal(body, doc); err != nil {
		return &siteError{status: http.StatusBadGateway}
	}
	return nil
}

// siteError is an answer of the photo site other than success.
type siteError struct {
	status      int
	warning     string
	unreachable bool // the photo site cannot reach the authorization server
}

func (e *siteError) Error() string { return fmt.Sprintf("the photo site answered %d", e.status) }

// send sends a request. The transport obtains the permission that it takes. A
// media type other than the expected one is an error.
func (s *Shop) send(ctx context.Context, method, address, accept string) ([]byte, error) {
	req, err := http.NewRequestWithContext(ctx, method, address, nil)
	if err != nil {
		return nil, err
	}
	if accept != "" {
		req.Header.Set("Accept", accept)
	}
	resp, err := s.photos.Do(req)
	if err != nil {
		return nil, err
	}
	defer resp.Body.Close()
	if resp.StatusCode < 200 || resp.StatusCode > 299 {
		return nil, &siteError{resp.StatusCode, resp.Header.Get("Warning"), gatehouse.IsUMAUnreachable(resp)}
	}
	body, err := io.ReadAll(io.LimitReader(resp.Body, maxAnswer+1))
	if err != nil {
		return nil, err
	}
	got, _, err := mime.ParseMediaType(resp.Header.Get("Content-Type"))
	if len(body) > maxAnswer || (accept != "" && (err != nil || got != accept)) {
		return nil, &siteError{status: http.StatusBadGateway}
	}
	return body, nil
}

// fail explains an error to the person.
func (res *result) fail(err error) {
	if _, ok := errors.AsType[*gatehouse.SubmittedError](err); ok {
		res.State, res.status = "asked", http.StatusAccepted
		return
	}
	if _, ok := errors.AsType[*gatehouse.NeedInfoError](err); ok {
		res.State, res.status = "failed", http.StatusForbidden
		res.Message = "The authorization server wants to know more about you than your sign-in says."
		return
	}
	if site, ok := errors.AsType[*siteError](err); ok {
		res.failAtSite(site)
		return
	}
	if e, ok := errors.AsType[*gatehouse.Error](err); ok {
		res.State, res.status, res.Message = "failed", e.Status, e.Message
		switch e.Code {
		case gatehouse.CodeUMADenied:
			res.State = "denied"
		case gatehouse.CodeUntrustedAS:
			res.State = "untrusted"
		}
		return
	}
	res.State, res.status = "failed", http.StatusBadGateway
	res.Message = "The photo site cannot be reached right now."
}

func (res *result) failAtSite(e *siteError) {
	res.State, res.status = "failed", http.StatusBadGateway
	switch {
	case e.unreachable:
		res.State, res.status, res.Warning = "warned", http.StatusServiceUnavailable, e.warning
	case e.status == http.StatusServiceUnavailable:
		res.State, res.status, res.Warning = "warned", e.status, e.warning
	case e.status == http.StatusNotFound:
		res.status, res.Message = e.status, "The photo site does not have this album, or no longer."
	default:
		res.Message = "The photo site answered in a way this shop does not understand."
	}
}

// heading is the title of the page.
func (res *result) heading() string {
	switch res.State {
	case "shown":
		return res.Title
	case "printed":
		return "Printed: " + res.Title
	case "deleted":
		return "The album is gone"
	case "asked":
		return "The owner has been asked"
	case "denied":
		return "Not allowed"
	case "untrusted":
		return "We do not ask that server"
	case "warned":
		return "Nobody can be asked right now"
	}
	return "That did not work"
}
