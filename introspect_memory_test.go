//go:build amd64 || arm64

package gatehouse

import (
	"fmt"
	"reflect"
	"runtime"
	"strings"
	"testing"
)

// TestFactsLayout: what a request reads of the facts of a token stands in four
// whole lines of memory, and in the order that rptFacts promises. It is inside
// the package because nothing outside can see it but in time.
func TestFactsLayout(t *testing.T) {
	const line = 64
	facts, grant := reflect.TypeFor[rptFacts](), reflect.TypeFor[rptGrant]()
	if facts.Size() != 4*line {
		t.Errorf("facts take %d bytes, want %d", facts.Size(), 4*line)
	}
	at := func(name string) uintptr {
		f, ok := facts.FieldByName(name)
		if !ok {
			t.Fatal("no field", name)
		}
		return f.Offset
	}
	for _, name := range []string{"key", "starts", "expires", "active"} {
		if at(name) >= line {
			t.Errorf("%s is at %d, want it in the first line", name, at(name))
		}
	}
	if end := at("room") + grant.Size(); end > 2*line {
		t.Errorf("the first grant ends at %d, want at most %d", end, 2*line)
	}
	if at("until") < 2*line || at("until") > 3*line-16 {
		t.Errorf("until is at %d, want it in the third line", at("until"))
	}
	if p := reflect.ValueOf(newFacts()).Pointer(); p%line != 0 {
		t.Errorf("facts begin at %#x, inside a line", p)
	}
}

// TestSharedIDs: the id that is kept and the one in a grant are the same bytes of
// memory, also for tokens that come after a collection.
func TestSharedIDs(t *testing.T) {
	const id = "8c1f2b34-5a6d-4e7f-9a0b-1c2d3e4f5a6b"
	var ids memoryIDs
	if _, err := ids.PutIfAbsent(t.Context(), "https://as.example.org", "", "album", strings.Clone(id)); err != nil {
		t.Fatal(err)
	}
	for range 3 {
		runtime.GC()
		kept, err := ids.ID(t.Context(), "https://as.example.org", "", "album")
		if err != nil || kept != id {
			t.Fatal(kept, err)
		}
		f, err := readFacts(fmt.Appendf(nil, `{"active":true,"permissions":[{"resource_id":%q,"resource_scopes":["view"]}]}`, id), "", nil)
		if err != nil || len(f.grants) != 1 || f.grants[0].resource != id {
			t.Fatal(f, err)
		}
		if reflect.ValueOf(kept).Pointer() != reflect.ValueOf(f.grants[0].resource).Pointer() {
			t.Error("the grant has a copy of its own")
		}
	}
}

// TestIDKeys: issuer, owner and name stay apart, whatever they are.
func TestIDKeys(t *testing.T) {
	long := strings.Repeat("n", maxNameLength)
	var ids memoryIDs
	for i, k := range []resourceKey{
		{}, {"ab", "c", "d"}, {"a", "bc", "d"}, {"a", "b", "cd"}, {"abcd", "", ""}, {"", "abcd", ""}, {"", "", "abcd"},
		{"a", "\x01b", ""}, {"a", "", "\x01b"}, {"a", "b", long}, {"a", "b" + long, ""}, {"a", "b", long + "n"}, {"a" + long, "b", ""},
	} {
		id := fmt.Sprint(i)
		if winner, err := ids.PutIfAbsent(t.Context(), k.issuer, k.owner, k.name, id); err != nil || winner != id {
			t.Errorf("%.20q has the id %s of another one, %v", k, winner, err)
		}
		if got, err := ids.ID(t.Context(), k.issuer, k.owner, k.name); err != nil || got != id {
			t.Errorf("%.20q: id %q, %v", k, got, err)
		}
	}
}
