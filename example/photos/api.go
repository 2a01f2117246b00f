package photos

import (
	"encoding/json"
	"net/http"
	"strconv"

	"example.com/gatehouse"
)

// The REST API. The guard has let in every request that gets here: the owner by
// her session, everybody else by a permission.

// AlbumDocument is the answer to GET /u/{user}/albums/{album}.
type AlbumDocument struct {
	Title  string          `json:"title"`
	Owner  string          `json:"owner"`
	Photos []PhotoDocument `json:"photos"`
}

// PhotoDocument is one photo of an AlbumDocument.
type PhotoDocument struct {
	Title   string `json:"title"`
	Preview string `json:"preview"` // address of a small picture, SVG
}

// PrintsDocument is the answer to POST /u/{user}/albums/{album}/prints.
type PrintsDocument struct {
	Title  string          `json:"title"`
	Owner  string          `json:"owner"`
	Prints []PrintDocument `json:"prints"`
}

// PrintDocument is one picture of a PrintsDocument.
type PrintDocument struct {
	Title string `json:"title"`
	SVG   string `json:"svg"` // the whole picture
}

func photoAddress(a Album, number int) string {
	return address(a) + "/photos/" + strconv.Itoa(number)
}

// showAlbum is a page for the owner and a document for everybody else.
func (s *Site) showAlbum(w http.ResponseWriter, r *http.Request) {
	p, a, err := s.lookUp(r)
	if err != nil {
		s.look.Fail(w, r, err)
		return
	}
	if gatehouse.IdentityFrom(r.Context()).Via == gatehouse.ViaSession {
		s.ownAlbum(w, r, p, a)
		return
	}
	doc := AlbumDocument{Title: a.Title, Owner: p.Name, Photos: make([]PhotoDocument, 0, a.Photos)}
	for n := 1; n <= a.Photos; n++ {
		doc.Photos = append(doc.Photos, PhotoDocument{photoTitle(a, n), photoAddress(a, n)})
	}
	writeJSON(w, http.StatusOK, doc)
}

// showPhoto sends one photo: complete for the owner, a preview for people who
// may view the album.
func (s *Site) showPhoto(w http.ResponseWriter, r *http.Request) {
	_, a, err := s.lookUp(r)
	if err != nil {
		s.look.Fail(w, r, err)
		return
	}
	n, err := strconv.Atoi(r.PathValue("photo"))
	if err != nil || n < 1 || n > a.Photos {
		s.look.Fail(w, r, &gatehouse.Error{Code: "photo_unknown", Status: http.StatusNotFound, Message: "There is no such photo."})
		return
	}
	preview := gatehouse.IdentityFrom(r.Context()).Via != gatehouse.ViaSession
	h := w.Header()
	h.Set("Content-Type", "image/svg+xml")
	h.Set("Content-Security-Policy", "default-src 'none'; sandbox") // an SVG can be a page
	h.Set("X-Content-Type-Options", "nosniff")
	h.Set("Cache-Control", "private, no-store")
	_, _ = w.Write([]byte(paint(a, n, preview)))
}

// print sends the complete pictures and records for whom.
func (s *Site) print(w http.ResponseWriter, r *http.Request) {
	p, a, err := s.lookUp(r)
	if err != nil {
		s.look.Fail(w, r, err)
		return
	}
	id := gatehouse.IdentityFrom(r.Context())
	doc := PrintsDocument{Title: a.Title, Owner: p.Name, Prints: make([]PrintDocument, 0, a.Photos)}
	for n := 1; n <= a.Photos; n++ {
		doc.Prints = append(doc.Prints, PrintDocument{photoTitle(a, n), paint(a, n, false)})
	}
	note := Print{Client: id.ClientID, Person: id.Subject, Photos: a.Photos, At: s.config.Now()}
	if err := s.store.Printed(r.Context(), p.Handle, a.ID, note); err != nil {
		s.look.Fail(w, r, storeError(err))
		return
	}
	writeJSON(w, http.StatusCreated, doc)
}

func (s *Site) deleteAlbum(w http.ResponseWriter, r *http.Request) {
	if err := s.remove(r); err != nil {
		s.look.Fail(w, r, err)
		return
	}
	w.WriteHeader(http.StatusNoContent)
}

func writeJSON(w http.ResponseWriter, status int, v any) {
	body, err := json.Marshal(v)
	if err != nil {
		http.Error(w, http.StatusText(http.StatusInternalServerError), http.StatusInternalServerError)
		return
	}
	w.Header().Set("Content-Type", "application/json")
	w.Header().Set("Cache-Control", "no-store")
	w.Header().Set("X-Content-Type-Options", "nosniff")
	w.WriteHeader(status)
	_, _ = w.Write(append(body, '\n')) // a client that is gone needs no answer
}
