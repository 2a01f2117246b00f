package resource_test

import (
	"fmt"
	"testing"

	"example.com/gatehouse/internal/resource"
)

// TestMemoryOfDescriptions: what was written last is known, and only that.
func TestMemoryOfDescriptions(t *testing.T) {
	var m resource.Memory
	key := resource.Key{Issuer: "as", Owner: "alice", Name: "album"}
	w := resource.Written{Sum: [32]byte{1}, ID: "r-1", Policy: "https://as/p"}
	m.Remember(key, w)
	for name, c := range map[string]struct {
		key  resource.Key
		sum  byte
		id   string
		want bool
	}{
		"it":                {key, 1, "r-1", true},
		"described anew":    {key, 2, "r-1", false},
		"another id":        {key, 1, "r-2", false},
		"another's":         {resource.Key{Issuer: "as", Owner: "bob", Name: "album"}, 1, "r-1", false},
		"at another issuer": {resource.Key{Issuer: "b", Owner: "alice", Name: "album"}, 1, "r-1", false},
	} {
		if _, ok := m.Known(c.key, [32]byte{c.sum}, c.id); ok != c.want {
			t.Errorf("%s: known %v", name, ok)
		}
	}
	if got := m.Unkept(key); got != "" {
		t.Errorf("%q is not kept", got)
	}
	w.Unkept = true
	m.Remember(key, w)
	if got := m.Unkept(key); got != "r-1" {
		t.Errorf("%q is not kept, want r-1", got)
	}
	if got := m.Forget(key); got != w.Policy {
		t.Errorf("policy %q", got)
	}
	if _, ok := m.Known(key, w.Sum, w.ID); ok || m.Forget(key) != "" {
		t.Error("known although it was forgotten")
	}
}

// TestMemoryOfNames: ids that the server did not show can be forgotten alone,
// and the memory is bounded.
func TestMemoryOfNames(t *testing.T) {
	var m resource.Memory
	album := resource.Named{Name: "album", Type: "t"}
	m.SetName("alice", "r-1", album)
	m.SetName("alice", "r-2", resource.Named{})
	m.SetName("bob", "r-2", resource.Named{})
	m.ForgetHidden("alice")
	m.ForgetHidden("nobody")
	if got, ok := m.NameOf("alice", "r-1"); !ok || got != album {
		t.Errorf("%+v, %v", got, ok)
	}
	if _, ok := m.NameOf("alice", "r-2"); ok {
		t.Error("what was not shown is still known")
	}
	if _, ok := m.NameOf("bob", "r-2"); !ok {
		t.Error("another owner's is forgotten")
	}
	const descriptionsKept = 100_000
	for i := range descriptionsKept - 2 {
		m.SetName("carol", fmt.Sprint(i), album)
		m.SetName("carol", fmt.Sprint(i), album) // counts once
	}
	if _, ok := m.NameOf("alice", "r-1"); !ok {
		t.Error("forgotten before the memory is full")
	}
	m.SetName("carol", "one more", album)
	if _, ok := m.NameOf("alice", "r-1"); ok {
		t.Error("the memory is not bounded")
	}
}
