package photos

import (
	"cmp"
	"errors"
	"net/http"

	"example.com/gatehouse"
)

// scopes are what an owner can allow.
var scopes = []string{"view", "print", "delete"}

// resource describes an album to the authorization server. Owner and Name
// identify it; both stay the same for its life.
func (s *Site) resource(p Person, a Album) gatehouse.Resource {
	return gatehouse.Resource{
		Owner:  p.Owner,
		Name:   a.Title + " (album " + a.ID + ")",
		Type:   s.config.Base + "/album",
		Scopes: scopes,
	}
}

// need says which permission a request for an album needs: the scope on that
// one album of that one owner.
func (s *Site) need(scope string) gatehouse.NeedFunc {
	return func(r *http.Request) (gatehouse.Permission, error) {
		p, a, err := s.lookUp(r)
		if err != nil {
			return gatehouse.Permission{}, err
		}
		return s.resource(p, a).AllOf(scope), nil
	}
}

// lookUp finds the album at an address.
func (s *Site) lookUp(r *http.Request) (Person, Album, error) {
	p, err := s.store.Person(r.Context(), r.PathValue("user"))
	if err != nil {
		return Person{}, Album{}, storeError(err)
	}
	a, err := s.store.Album(r.Context(), p.Handle, r.PathValue("album"))
	if err != nil {
		return Person{}, Album{}, storeError(err)
	}
	if p.Owner == "" { // only people who have connected can make albums
		return Person{}, Album{}, storeError(errors.New("photos: an album whose owner has no account for sharing"))
	}
	return p, a, nil
}

// storeError makes the answer to a failure of the store.
func storeError(err error) error {
	switch {
	case errors.Is(err, ErrNotFound):
		return &gatehouse.Error{Code: "album_unknown", Status: http.StatusNotFound, Message: "There is no such album.", Err: err}
	case errors.Is(err, ErrFull):
		return &gatehouse.Error{Code: "full", Status: http.StatusConflict, Message: "There is no room for more. Remove something first.", Err: err}
	}
	return &gatehouse.Error{Code: "store_failed", Status: http.StatusServiceUnavailable, Message: "The albums cannot be read right now.", Err: err}
}

// isOwner is the requirement of the owner's pages.
func (s *Site) isOwner(r *http.Request, id *gatehouse.Identity) (bool, error) {
	p, err := s.store.Person(r.Context(), r.PathValue("user"))
	if errors.Is(err, ErrNotFound) {
		return false, nil
	}
	if err != nil {
		return false, storeError(err)
	}
	return p.Issuer == id.Issuer && p.Subject == id.Subject, nil
}

// me is the person who is signed in.
func (s *Site) me(r *http.Request) (Person, error) {
	id := gatehouse.IdentityFrom(r.Context())
	if id == nil {
		return Person{}, nil
	}
	handle := cmp.Or(id.ClaimString("preferred_username"), id.Subject)
	name := cmp.Or(id.ClaimString("name"), handle)
	p, err := s.store.SignedIn(r.Context(), Person{Issuer: id.Issuer, Subject: id.Subject, Handle: handle, Name: name})
	if err != nil {
		return Person{}, storeError(err)
	}
	return p, nil
}

// connect is the page that obtains the owner's grant. The guard of the outer
// handler says who is signed in here. The guard of the inner one says which
// account this is at the authorization server, and that the grant was given.
func (s *Site) connect() http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		me, err := s.me(r)
		if err != nil {
			s.look.Fail(w, r, err)
			return
		}
		s.owner.RequireLogin(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			account := gatehouse.IdentityFrom(r.Context())
			if err := s.store.Connect(r.Context(), me.Handle, account.Subject); err != nil {
				s.look.Fail(w, r, storeError(err))
				return
			}
			http.Redirect(w, r, "/albums", http.StatusSeeOther)
		})).ServeHTTP(w, r)
	})
}

// connected reports whether the site can act for an owner.
func (s *Site) connected(r *http.Request, p Person) (bool, error) {
	if p.Owner == "" {
		return false, nil
	}
	return s.grants.Has(r.Context(), p.Owner)
}
