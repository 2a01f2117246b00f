package photos

import (
	"encoding/xml"
	"errors"
	"fmt"
	"io"
	"strings"
	"testing"
)

func TestHandles(t *testing.T) {
	var m memoryStore
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
	ctx := t.Context()
	for i := range maxPeople + 1 {
		_, err := m.SignedIn(ctx, Person{Issuer: "a", Subject: fmt.Sprint(i)})
		if full := errors.Is(err, ErrFull); full != (i == maxPeople) {
			t.Fatalf("person %d: %v", i, err)
		}
	}
	a, err := m.Add(ctx, Album{Owner: "alice"})
	if err != nil {
		t.Fatal(err)
	}
	for range maxPrints + 5 {
		if err := m.Printed(ctx, "alice", a.ID, Print{}); err != nil {
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
	for i := range maxAlbums + 1 {
		b, err := m.Add(ctx, Album{Owner: "alice"})
		if full := errors.Is(err, ErrFull); full != (i == maxAlbums) {
			t.Fatalf("album %d: %v", i, err)
		}
		if b.ID == a.ID {
			t.Errorf("the id %q is given twice", b.ID)
		}
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
