package photos

import (
	"cmp"
	"errors"
	"html/template"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"unicode/utf8"

	"example.com/gatehouse"
	"example.com/gatehouse/example/internal/look"
)

const (
	// maxTitle is how many characters a title may have, so that it fits a card.
	maxTitle = 48
	// maxForm bounds the one form of the site.
	maxForm = 8 << 10
)

func (s *Site) home(w http.ResponseWriter, r *http.Request) {
	me, err := s.me(r)
	if err != nil {
		s.look.Fail(w, r, err)
		return
	}
	var intro template.HTML
	if s.config.Intro != nil {
		intro = s.config.Intro(r)
	}
	cover := Album{Owner: "cover", ID: "1", Motif: "Mountains"}
	s.look.Write(w, r, http.StatusOK, "home", look.Page{Title: "Your photos, on your terms", User: me.Name, Data: struct {
		Intro template.HTML
		Cover []template.URL
	}{intro, []template.URL{dataURL(cover, 4), dataURL(Album{Owner: "cover", ID: "2", Motif: "Sea"}, 1), dataURL(Album{Owner: "cover", ID: "3", Motif: "Forest"}, 2)}}})
}

// dataURL is the photo as an address, so that the page needs no further
// request.
func dataURL(a Album, number int) template.URL {
	return template.URL("data:image/svg+xml," + url.PathEscape(paint(a, number, false)))
}

// card is an album in a list.
type card struct {
	Album
	Address string
	Cover   string
}

func address(a Album) string { return "/u/" + a.Owner + "/albums/" + a.ID }

func (s *Site) albums(w http.ResponseWriter, r *http.Request) {
	s.listAlbums(w, r, http.StatusOK, "", "")
}

// listAlbums shows a person's albums and the form for a new one, with what was
// wrong with the last attempt.
func (s *Site) listAlbums(w http.ResponseWriter, r *http.Request, status int, problem, title string) {
	me, err := s.me(r)
	if err != nil {
		s.look.Fail(w, r, err)
		return
	}
	albums, err := s.store.Albums(r.Context(), me.Handle)
	if err != nil {
		s.look.Fail(w, r, storeError(err))
		return
	}
	connected, err := s.connected(r, me)
	if err != nil {
		s.look.Fail(w, r, err)
		return
	}
	cards := make([]card, 0, len(albums))
	for _, a := range albums {
		cards = append(cards, card{a, address(a), address(a) + "/photos/1"})
	}
	sharing := s.config.Provider.Issuer()
	if s.config.Sharing != nil {
		sharing = s.config.Sharing.Provider.Issuer()
	}
	s.look.Write(w, r, status, "albums", look.Page{Title: "My albums", User: me.Name, Data: struct {
		Albums         []card
		Motifs         []string
		Connected      bool
		Elsewhere      bool
		Sharing        string
		Problem, Wrote string
		MaxTitle       int
	}{cards, motifs, connected, s.config.Sharing != nil, originOf(sharing), problem, title, maxTitle}})
}

func (s *Site) createAlbum(w http.ResponseWriter, r *http.Request) {
	me, err := s.me(r)
	if err != nil {
		s.look.Fail(w, r, err)
		return
	}
	r.Body = http.MaxBytesReader(w, r.Body, maxForm)
	title := strings.Join(strings.Fields(r.PostFormValue("title")), " ")
	motif := r.PostFormValue("motif")
	switch connected, err := s.connected(r, me); {
	case err != nil:
		s.look.Fail(w, r, err)
		return
	case !connected:
		http.Redirect(w, r, "/connect", http.StatusSeeOther)
		return
	case title == "" || utf8.RuneCountInString(title) > maxTitle || !utf8.ValidString(title):
		s.listAlbums(w, r, http.StatusUnprocessableEntity, "An album needs a title, of 48 characters at most.", title)
		return
	case !slices.Contains(motifs, motif):
		motif = motifs[0]
	}
	a, err := s.store.Add(r.Context(), Album{Owner: me.Handle, Title: title, Motif: motif, Photos: photosInAlbum, Created: s.config.Now()})
	if errors.Is(err, ErrFull) {
		s.listAlbums(w, r, http.StatusConflict, "There is no room for another album. Remove one first.", title)
		return
	}
	if err != nil {
		s.look.Fail(w, r, storeError(err))
		return
	}
	// If an album cannot be registered now, only its owner can see it. Her page
	// tries again, and so does the next request of a stranger.
	_, _ = s.api.Register(r.Context(), s.resource(me, a))
	http.Redirect(w, r, address(a), http.StatusSeeOther)
}

// photo is a photo on a page.
type photo struct {
	Title, Address string
}

// ownAlbum is the album's page for its owner.
func (s *Site) ownAlbum(w http.ResponseWriter, r *http.Request, p Person, a Album) {
	list := make([]photo, 0, a.Photos)
	for n := 1; n <= a.Photos; n++ {
		list = append(list, photo{photoTitle(a, n), photoAddress(a, n)})
	}
	at, err := s.api.Register(r.Context(), s.resource(p, a))
	share := at.PolicyURI
	if share == "" && err == nil {
		share = s.config.SharingURL
	}
	shop := ""
	if s.config.PrintShop != "" {
		shop = s.config.PrintShop + "?album=" + url.QueryEscape(s.config.Base+address(a))
	}
	inbox := ""
	if s.config.SharingURL != "" {
		inbox = "/inbox"
	}
	s.look.Write(w, r, http.StatusOK, "album", look.Page{Title: a.Title, User: p.Name, Data: struct {
		Album
		List             []photo
		Address, Public  string
		Share, PrintShop string
		Inbox            string
		Unregistered     bool
		Lost             bool
	}{a, list, address(a), s.config.Base + address(a), share, shop, inbox,
		err != nil, gatehouse.ErrorCode(err) == gatehouse.CodeOwnerGrantMissing}})
}

// removeAlbum handles the owner's button.
func (s *Site) removeAlbum(w http.ResponseWriter, r *http.Request) {
	if err := s.remove(r); err != nil {
		s.look.Fail(w, r, err)
		return
	}
	http.Redirect(w, r, "/albums", http.StatusSeeOther)
}

// remove deregisters the album first. After a crash in between, the next
// request that needs the album registers it again, so it is never left
// unprotected.
func (s *Site) remove(r *http.Request) error {
	p, a, err := s.lookUp(r)
	if err != nil {
		return err
	}
	if err := s.api.Deregister(r.Context(), s.resource(p, a)); err != nil {
		return err
	}
	if err := s.store.Remove(r.Context(), p.Handle, a.ID); err != nil {
		return storeError(err)
	}
	return nil
}

// inbox sends an owner to the page where people ask for albums. The account
// that is signed in there may be somebody else's.
func (s *Site) inbox(w http.ResponseWriter, r *http.Request) {
	me, err := s.me(r)
	switch {
	case err != nil:
		s.look.Fail(w, r, err)
	case s.config.SharingURL == "":
		http.NotFound(w, r)
	case s.config.InboxURL != nil:
		http.Redirect(w, r, s.config.InboxURL(me.Handle), http.StatusSeeOther)
	default:
		http.Redirect(w, r, s.config.SharingURL, http.StatusSeeOther)
	}
}

// Person returns the handle of the person who is signed in, "" for nobody.
func (s *Site) Person(r *http.Request) string {
	id, err := s.login.Check(r)
	if err != nil || id == nil {
		return ""
	}
	return cmp.Or(id.ClaimString("preferred_username"), id.Subject)
}
