package resource_test

import (
	"errors"
	"slices"
	"testing"

	"example.com/gatehouse/internal/resource"
)

func ours(scopes ...string) resource.Description {
	return resource.Description{Name: "album", Scopes: scopes}
}

// TestHolds: the server is up to date if it has what we name, and more does not
// matter.
func TestHolds(t *testing.T) {
	full := ours("view")
	full.Type, full.Description, full.IconURI, full.OwnerManaged = "t", "text", "i", true
	for body, want := range map[string][3]bool{ // view; view exactly; everything
		`{"name":"album","resource_scopes":["view"]}`:                                  {true, true, false},
		`{"name":"album","resource_scopes":["view","admin"],"type":"t","uris":["/a"]}`: {true, false, false},
		`{"name":"album","resource_scopes":[{"name":"view"},{"id":"7"}]}`:              {true, false, false},
		`{"name":"Album","resource_scopes":["view"]}`:                                  {false, false, false},
		`{"name":"album","resource_scopes":["print"]}`:                                 {false, false, false},
		`{"name":"album"}`: {false, false, false},
		`{"name":"album","resource_scopes":["view"],"type":"t","description":"text","icon_uri":"i","ownerManagedAccess":true}`:     {true, true, true},
		`{"name":"album","resource_scopes":["view"],"type":"other","description":"text","icon_uri":"i","ownerManagedAccess":true}`: {true, true, false},
		`{"name":"album","resource_scopes":["view"],"type":"t","description":"text","icon_uri":"i","ownerManagedAccess":"true"}`:   {true, true, false},
	} {
		have := resource.Read([]byte(body))
		if got := [3]bool{have.Holds(ours("view"), false), have.Holds(ours("view"), true), have.Holds(full, false)}; got != want {
			t.Errorf("%s: %v, want %v", body, got, want)
		}
	}
	for _, body := range []string{``, `null`, `[]`, `{"name":"a","name":"b"}`} {
		if got := resource.Read([]byte(body)); got != nil {
			t.Errorf("%s: %+v", body, got)
		}
	}
}

// TestJoined: what is written back has everything of both.
func TestJoined(t *testing.T) {
	have := resource.Read([]byte(`{"_id":"1","user_access_policy_uri":"https://x/","name":"album","type":"t","owner":{"name":"x"},"scopes":["s"],"attributes":{},"n":1e2,"none":null,"resource_scopes":["a",{"name":"view"}]}`))
	for _, c := range []struct {
		exact, keycloak bool
		scopes          string
		members         []string
	}{
		{false, false, `["a","view","print"]`, []string{"attributes", "n", "name", "owner", "resource_scopes", "scopes", "type"}},
		{false, true, `["a","view","print"]`, []string{"n", "name", "resource_scopes", "type"}},
		{true, true, `["print","view"]`, []string{"n", "name", "resource_scopes", "type"}},
	} {
		got, err := have.Joined(ours("print", "view"), c.exact, c.keycloak)
		var names []string
		for name := range got {
			names = append(names, name)
		}
		slices.Sort(names)
		if err != nil || string(got["resource_scopes"]) != c.scopes || !slices.Equal(names, c.members) || string(got["n"]) != "1e2" {
			t.Errorf("%+v: %q, %s, %v", c, names, got["resource_scopes"], err)
		}
	}
	odd := resource.Read([]byte(`{"name":"album","resource_scopes":["a",7]}`))
	if got, err := odd.Joined(ours("view"), false, false); !errors.Is(err, resource.ErrScopes) {
		t.Errorf("scopes that cannot be read: %v, %v", got, err)
	}
	if got, err := odd.Joined(ours("view"), true, false); err != nil || string(got["resource_scopes"]) != `["view"]` {
		t.Errorf("exactly: %v, %v", got, err)
	}
}
