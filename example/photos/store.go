package photos

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"
)

// A Store returns ErrNotFound for what it does not have.
var ErrNotFound = errors.New("photos: not found")

// A Store returns ErrFull when somebody has all they may have.
var ErrFull = errors.New("photos: too many")

// Person is somebody who has signed in. Issuer and Subject identify them; a
// name alone may later belong to somebody else.
type Person struct {
	Issuer, Subject string
	// Handle is the name in addresses, chosen by the Store.
	Handle string
	// Name is what pages show.
	Name string
	// Owner is their subject at the authorization server for sharing. It is ""
	// until they have connected.
	Owner string
}

// Album is somebody's album.
type Album struct {
	ID      string // unique among those of its owner
	Owner   string // handle
	Title   string
	Motif   string // what its pictures show
	Photos  int
	Created time.Time
	Prints  []Print
}

// Print is one order that was carried out.
type Print struct {
	Client string // who ordered, as the authorization server calls it
	Person string // for whom, "" if it does not say
	Photos int
	At     time.Time
}

// Store keeps people and albums. All methods are safe for concurrent use.
type Store interface {
	// SignedIn returns the person with this Issuer and Subject. The first time,
	// it adds p and chooses a handle like p.Handle.
	SignedIn(ctx context.Context, p Person) (Person, error)
	// Person returns the person with the handle, or ErrNotFound.
	Person(ctx context.Context, handle string) (Person, error)
	// Connect sets the Owner of the person with the handle.
	Connect(ctx context.Context, handle, owner string) error
	// Add stores a new album, chooses its ID and returns it. It may return
	// ErrFull.
	Add(ctx context.Context, a Album) (Album, error)
	// Albums returns somebody's albums, newest first.
	Albums(ctx context.Context, handle string) ([]Album, error)
	// Album returns one album, or ErrNotFound.
	Album(ctx context.Context, handle, id string) (Album, error)
	// Printed records a print, or returns ErrNotFound.
	Printed(ctx context.Context, handle, id string, p Print) error
	// Remove deletes an album. It is not an error if there is none.
	Remove(ctx context.Context, handle, id string) error
}

const (
	// maxPeople, maxAlbums and maxPrints bound the memory of the example.
	maxPeople = 1000
	maxAlbums = 24
	maxPrints = 10
)

// memoryStore is a Store in the memory of one process. The zero value is ready
// to use.
type memoryStore struct {
	mu       sync.Mutex
	people   map[string]*Person    // by handle
	subjects map[[2]string]*Person // by issuer and subject
	albums   map[string][]Album
	last     int
}

func (m *memoryStore) SignedIn(_ context.Context, p Person) (Person, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	key := [2]string{p.Issuer, p.Subject}
	if known := m.subjects[key]; known != nil {
		return *known, nil
	}
	if len(m.people) >= maxPeople {
		return Person{}, ErrFull
	}
	if m.people == nil {
		m.people, m.subjects = map[string]*Person{}, map[[2]string]*Person{}
	}
	wish := plainHandle(p.Handle)
	p.Handle = wish
	for n := 2; m.people[p.Handle] != nil; n++ {
		p.Handle = wish + "-" + strconv.Itoa(n)
	}
	m.people[p.Handle], m.subjects[key] = &p, &p
	return p, nil
}

// plainHandle keeps the characters that need no escape in an address.
func plainHandle(wish string) string {
	handle := strings.Map(func(r rune) rune {
		switch {
		case r >= 'a' && r <= 'z', r >= '0' && r <= '9':
			return r
		case r >= 'A' && r <= 'Z':
			return r + 'a' - 'A'
		}
		return -1
	}, wish)
	if handle == "" {
		return "somebody"
	}
	return handle[:min(len(handle), 24)]
}

func (m *memoryStore) Person(_ context.Context, handle string) (Person, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if p := m.people[handle]; p != nil {
		return *p, nil
	}
	return Person{}, ErrNotFound
}

func (m *memoryStore) Connect(_ context.Context, handle, owner string) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	p := m.people[handle]
	if p == nil {
		return ErrNotFound
	}
	p.Owner = owner
	return nil
}

func (m *memoryStore) Add(_ context.Context, a Album) (Album, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.albums == nil {
		m.albums = map[string][]Album{}
	}
	mine := m.albums[a.Owner]
	if len(mine) >= maxAlbums {
		return Album{}, ErrFull
	}
	m.last++
	a.ID = fmt.Sprint(m.last)
	m.albums[a.Owner] = append([]Album{a}, mine...)
	return a, nil
}

func (m *memoryStore) Albums(_ context.Context, handle string) ([]Album, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	return slices.Clone(m.albums[handle]), nil
}

func (m *memoryStore) Album(_ context.Context, handle, id string) (Album, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if i := m.index(handle, id); i >= 0 {
		a := m.albums[handle][i]
		a.Prints = slices.Clone(a.Prints)
		return a, nil
	}
	return Album{}, ErrNotFound
}

func (m *memoryStore) index(handle, id string) int { return indexOf(m.albums[handle], id) }

// indexOf finds an album, or returns -1.
func indexOf(albums []Album, id string) int {
	return slices.IndexFunc(albums, func(a Album) bool { return a.ID == id })
}

func (m *memoryStore) Printed(_ context.Context, handle, id string, p Print) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	i := m.index(handle, id)
	if i < 0 {
		return ErrNotFound
	}
	a := &m.albums[handle][i]
	prints := append([]Print{p}, a.Prints...)
	a.Prints = prints[:min(len(prints), maxPrints)]
	return nil
}

func (m *memoryStore) Remove(_ context.Context, handle, id string) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	if i := m.index(handle, id); i >= 0 {
		m.albums[handle] = slices.Delete(slices.Clone(m.albums[handle]), i, i+1)
	}
	return nil
}
