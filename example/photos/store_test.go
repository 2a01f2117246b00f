package photos

import (
	"encoding/xml"
	"errors"
	"fmt"
	"io"
	"strings"
	"sync"
	"testing"
	"time"

	"example.com/gatehouse/internal/memstore"
)

// stores are the two that the site has.
func stores() map[string]Store {
	return map[string]Store{"memory": &memoryStore{}, "shared": NewSharedStore(&memstore.Grants{})}
}

func TestHandles(t *testing.T) {
	for name, m := range stores() {
		t.Run(name, func(t *testing.T) { testHandles(t, m) })
	}
}

func testHandles(t *testing.T, m Store) {
	ctx := t.Context()
	seen := map[string]bool{}
	for _, p := range []Person{
		{Issuer: "a", Subject: "1", Handle: "alice"},
		{Issuer: "b", Subject: "1", Handle: "alice"}, // another person of that name
		{Issuer: "a", Subject: "2", Handle: "Alice"},
		{Issuer: "a", Subject: "3", Handle: "../../etc"},
		{Issuer: "a", Subject: "4", Handle: "Ωμέγα"},
		{Issuer: "a", Subject: "5", Handle: ""},
		{Issuer: "a", Subject: "6", Handle: strings.Repeat("long", 50)},
	} {
		got, err := m.SignedIn(ctx, p)
		if err != nil || seen[got.Handle] || got.Handle == "" || len(got.Handle) > 40 || strings.Trim(got.Handle, "abcdefghijklmnopqrstuvwxyz0123456789-") != "" {
			t.Errorf("%+v is called %q (taken: %v), error %v", p, got.Handle, seen[got.Handle], err)
		}
		seen[got.Handle] = true
		again, err := m.SignedIn(ctx, p)
		if err != nil || again != got {
			t.Errorf("%+v came back as %+v", got, again)
		}
	}
	if _, err := m.Person(ctx, "nobody"); !errors.Is(err, ErrNotFound) {
		t.Errorf("nobody: %v", err)
	}
}

func TestMemoryStoreBounds(t *testing.T) {
	var m memoryStore
	for i := range maxPeople + 1 {
		_, err := m.SignedIn(t.Context(), Person{Issuer: "a", Subject: fmt.Sprint(i)})
		if full := errors.Is(err, ErrFull); full != (i == maxPeople) {
			t.Fatalf("person %d: %v", i, err)
		}
	}
}

func TestAlbums(t *testing.T) {
	for name, m := range stores() {
		t.Run(name, func(t *testing.T) { testAlbums(t, m) })
	}
}

func testAlbums(t *testing.T, m Store) {
	ctx := t.Context()
	for _, name := range []string{"alice", "bob"} {
		if _, err := m.SignedIn(ctx, Person{Issuer: "a", Subject: name, Handle: name}); err != nil {
			t.Fatal(err)
		}
	}
	if err := m.Connect(ctx, "alice", "owner-1"); err != nil {
		t.Fatal(err)
	}
	if p, err := m.Person(ctx, "alice"); err != nil || p.Owner != "owner-1" {
		t.Errorf("Alice is %+v, error %v", p, err)
	}
	if err := m.Connect(ctx, "nobody", "owner-1"); !errors.Is(err, ErrNotFound) {
		t.Errorf("nobody connects: %v", err)
	}
	a, err := m.Add(ctx, Album{Owner: "alice"})
	if err != nil {
		t.Fatal(err)
	}
	for range maxPrints + 5 {
		if err := m.Printed(ctx, "alice", a.ID, Print{Client: strings.Repeat("c", 40), Person: strings.Repeat("p", 40)}); err != nil {
			t.Fatal(err)
		}
	}
	if a, err = m.Album(ctx, "alice", a.ID); err != nil || len(a.Prints) != maxPrints {
		t.Errorf("%d prints are kept, error %v", len(a.Prints), err)
	}
	if _, err := m.Album(ctx, "bob", a.ID); !errors.Is(err, ErrNotFound) {
		t.Errorf("Alice's album among Bob's: %v", err)
	}
	if err := m.Remove(ctx, "alice", a.ID); err != nil {
		t.Fatal(err)
	}
	if _, err := m.Album(ctx, "alice", a.ID); !errors.Is(err, ErrNotFound) {
		t.Errorf("removed, but there: %v", err)
	}
	if err := m.Remove(ctx, "alice", a.ID); err != nil {
		t.Errorf("removed once more: %v", err)
	}
	if err := m.Printed(ctx, "alice", a.ID, Print{}); !errors.Is(err, ErrNotFound) {
		t.Errorf("printed after it was removed: %v", err)
	}
	for i := range maxAlbums + 1 {
		b, err := m.Add(ctx, Album{Owner: "alice"})
		if full := errors.Is(err, ErrFull); full != (i == maxAlbums) {
			t.Fatalf("album %d: %v", i, err)
		}
		if b.ID == a.ID {
			t.Errorf("the id %q is given twice", b.ID)
		}
	}
	if all, err := m.Albums(ctx, "alice"); err != nil || len(all) != maxAlbums {
		t.Errorf("Alice has %d albums, error %v", len(all), err)
	}
}

// However many albums and prints somebody has, they fit into one value.
func TestShelfFits(t *testing.T) {
	m := NewSharedStore(&memstore.Grants{})
	ctx := t.Context()
	long := strings.Repeat("\u00fc", maxTitle)
	if _, err := m.SignedIn(ctx, Person{Issuer: "http://127.0.0.1:8082", Subject: "alice", Handle: "alice", Name: long}); err != nil {
		t.Fatal(err)
	}
	for range maxAlbums {
		a, err := m.Add(ctx, Album{Owner: "alice", Title: long, Motif: motifs[0], Photos: photosInAlbum, Created: time.Now()})
		if err != nil {
			t.Fatal(err)
		}
		for range maxPrints {
			if err := m.Printed(ctx, "alice", a.ID, Print{Client: "printshop", Person: strings.Repeat("p", 40), Photos: 6, At: time.Now()}); err != nil {
				t.Fatal(err)
			}
		}
	}
}

// Two processes that change one shelf at a time lose nothing.
func TestSharedStoreLosesNothing(t *testing.T) {
	values := &memstore.Grants{}
	ctx := t.Context()
	var all sync.WaitGroup
	var ids sync.Map
	for range 2 {
		m := NewSharedStore(values)
		for range maxAlbums / 2 {
			all.Go(func() {
				p, err := m.SignedIn(ctx, Person{Issuer: "a", Subject: "1", Handle: "alice"})
				if err != nil || p.Handle != "alice" {
					t.Errorf("signed in as %+v, error %v", p, err)
				}
				a, err := m.Add(ctx, Album{Owner: "alice"})
				if _, twice := ids.LoadOrStore(a.ID, true); err != nil || twice {
					t.Errorf("album %q: there already: %v, error %v", a.ID, twice, err)
				}
			})
		}
	}
	all.Wait()
	if kept, err := NewSharedStore(values).Albums(ctx, "alice"); err != nil || len(kept) != maxAlbums {
		t.Errorf("%d albums are kept, error %v", len(kept), err)
	}
}

func TestPaint(t *testing.T) {
	for _, motif := range motifs {
		for n := 1; n <= photosInAlbum; n++ {
			a := Album{Owner: "alice", ID: "1", Motif: motif}
			whole, preview := paint(a, n, false), paint(a, n, true)
			if whole != paint(a, n, false) {
				t.Errorf("%s %d looks different each time", motif, n)
			}
			if strings.Contains(whole, "preview") || !strings.Contains(preview, "preview") {
				t.Errorf("%s %d: the mark is wrong", motif, n)
			}
			for _, svg := range []string{whole, preview} {
				for d := xml.NewDecoder(strings.NewReader(svg)); ; {
					if _, err := d.Token(); err == io.EOF {
						break
					} else if err != nil {
						t.Fatalf("%s %d: %v", motif, n, err)
					}
				}
				if len(svg) > 128<<10 {
					t.Errorf("%s %d has %d bytes", motif, n, len(svg))
				}
			}
		}
	}
}
