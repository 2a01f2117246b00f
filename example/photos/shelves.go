package photos

import (
	"context"
	"crypto/rand"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strconv"

	"example.com/gatehouse"
)

// NewSharedStore returns a Store for several processes. It keeps people and
// albums in values, beside the grants of owners, so a store module of gatehouse
// serves as the only database of the example. A site of your own has tables of
// its own for them.
func NewSharedStore(values gatehouse.GrantStore) Store { return &sharedStore{values} }

// The first part of the keys. No issuer has such a name.
const (
	shelfSpace  = "urn:example:photos:shelf"  // handle: what this person has
	handleSpace = "urn:example:photos:handle" // issuer and subject: the handle
)

const (
	// shelfBytes is what a GrantStore takes.
	shelfBytes = 60_000
	// swapTries bounds how often a change starts over because others were
	// faster. Few people change one shelf at a time.
	swapTries = 50
	// namesakes bounds the search for a free handle.
	namesakes = 100
)

var errBusy = errors.New("photos: too many changes at once")

// sharedStore is a Store over compare-and-swap. It is safe for concurrent use.
type sharedStore struct{ values gatehouse.GrantStore }

// shelf is one person with their albums.
type shelf struct {
	Person Person
	Last   int     // the highest ID of an album so far
	Albums []Album // newest first
	Change string  // a GrantStore wants no value twice
}

// read returns the shelf of a handle and its stored form, or nil.
func (s *sharedStore) read(ctx context.Context, handle string) (*shelf, []byte, error) {
	raw, err := s.values.Grant(ctx, shelfSpace, handle)
	if err != nil || raw == nil {
		return nil, nil, err
	}
	var sh shelf
	if err := json.Unmarshal(raw, &sh); err != nil {
		return nil, nil, fmt.Errorf("photos: the shelf of %s cannot be read: %w", handle, err)
	}
	return &sh, raw, nil
}

// write stores a shelf in the place of old. It returns false if another change
// was faster.
func (s *sharedStore) write(ctx context.Context, old []byte, sh *shelf) (bool, error) {
	sh.Change = rand.Text()
	raw, err := json.Marshal(sh)
	if err != nil {
		return false, err
	}
	if len(raw) > shelfBytes {
		return false, ErrFull
	}
	return s.values.SwapGrant(ctx, shelfSpace, sh.Person.Handle, old, raw)
}

// change applies edit to the shelf of a handle, which must be there. If edit
// fails, nothing changes.
func (s *sharedStore) change(ctx context.Context, handle string, edit func(*shelf) error) error {
	for range swapTries {
		sh, old, err := s.read(ctx, handle)
		switch {
		case err != nil:
			return err
		case sh == nil:
			return ErrNotFound
		}
		if err := edit(sh); err != nil {
			return err
		}
		if done, err := s.write(ctx, old, sh); err != nil || done {
			return err
		}
	}
	return errBusy
}

// SignedIn implements Store. The shelf is made first: whoever finds it without
// the entry that leads to it is the same person again, and makes the entry.
func (s *sharedStore) SignedIn(ctx context.Context, p Person) (Person, error) {
	who, err := json.Marshal([]string{p.Issuer, p.Subject})
	if err != nil {
		return Person{}, err
	}
	handle, err := s.values.Grant(ctx, handleSpace, string(who))
	if err != nil {
		return Person{}, err
	}
	if handle != nil {
		return s.Person(ctx, string(handle))
	}
	wish := plainHandle(p.Handle)
	for n := 1; n <= namesakes; n++ {
		p.Handle = wish
		if n > 1 {
			p.Handle += "-" + strconv.Itoa(n)
		}
		made, err := s.write(ctx, nil, &shelf{Person: p})
		if err != nil {
			return Person{}, err
		}
		if !made {
			there, err := s.Person(ctx, p.Handle)
			if err != nil {
				return Person{}, err
			}
			if there.Issuer != p.Issuer || there.Subject != p.Subject {
				continue // somebody else of that name
			}
			p = there
		}
		_, err = s.values.SwapGrant(ctx, handleSpace, string(who), nil, []byte(p.Handle))
		return p, err
	}
	return Person{}, ErrFull
}

// Person implements Store.
func (s *sharedStore) Person(ctx context.Context, handle string) (Person, error) {
	sh, _, err := s.read(ctx, handle)
	switch {
	case err != nil:
		return Person{}, err
	case sh == nil:
		return Person{}, ErrNotFound
	}
	return sh.Person, nil
}

// Connect implements Store.
func (s *sharedStore) Connect(ctx context.Context, handle, owner string) error {
	return s.change(ctx, handle, func(sh *shelf) error {
		sh.Person.Owner = owner
		return nil
	})
}

// Add implements Store.
func (s *sharedStore) Add(ctx context.Context, a Album) (Album, error) {
	err := s.change(ctx, a.Owner, func(sh *shelf) error {
		if len(sh.Albums) >= maxAlbums {
			return ErrFull
		}
		sh.Last++
		a.ID = strconv.Itoa(sh.Last)
		sh.Albums = slices.Insert(sh.Albums, 0, a)
		return nil
	})
	if err != nil {
		return Album{}, err
	}
	return a, nil
}

// Albums implements Store.
func (s *sharedStore) Albums(ctx context.Context, handle string) ([]Album, error) {
	sh, _, err := s.read(ctx, handle)
	if err != nil || sh == nil {
		return nil, err
	}
	return sh.Albums, nil
}

// Album implements Store.
func (s *sharedStore) Album(ctx context.Context, handle, id string) (Album, error) {
	albums, err := s.Albums(ctx, handle)
	if err != nil {
		return Album{}, err
	}
	if i := indexOf(albums, id); i >= 0 {
		return albums[i], nil
	}
	return Album{}, ErrNotFound
}

// Printed implements Store.
func (s *sharedStore) Printed(ctx context.Context, handle, id string, p Print) error {
	return s.change(ctx, handle, func(sh *shelf) error {
		i := indexOf(sh.Albums, id)
		if i < 0 {
			return ErrNotFound
		}
		prints := slices.Insert(sh.Albums[i].Prints, 0, p)
		sh.Albums[i].Prints = prints[:min(len(prints), maxPrints)]
		return nil
	})
}

// Remove implements Store.
func (s *sharedStore) Remove(ctx context.Context, handle, id string) error {
	err := s.change(ctx, handle, func(sh *shelf) error {
		i := indexOf(sh.Albums, id)
		if i < 0 {
			return ErrNotFound
		}
		sh.Albums = slices.Delete(sh.Albums, i, i+1)
		return nil
	})
	if errors.Is(err, ErrNotFound) {
		return nil
	}
	return err
}
