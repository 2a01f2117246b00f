package gatehouse

import (
	"encoding/json"
	"fmt"
	"testing"
	"time"
)

// FuzzReadFacts: whatever a server answers, nothing panics, and a scope is held
// only if the answer, read by other means, says so. It is inside the package
// because the question is about one function.
func FuzzReadFacts(f *testing.F) {
	entries := []string{
		`[{"resource_id":"r-1","resource_scopes":["view"]}]`,
		`[{"resource_id":"r-1","resource_scopes":["view"],"exp":1777636801,"nbf":1777636800,"iat":1777636800}]`,
		`[{"resource_id":"r-1","resource_scopes":["view"],"exp":1777636799}]`,
		`[{"rsid":"r-1","rsname":"a","scopes":["view"],"resource_id":"r-1","resource_scopes":[{"name":"view"}]}]`,
		`[{"resource_id":"r-1","resource_scopes":[]},{"resource_id":"r-1"},7,null,"r-1",[["view"]]]`,
		`[{"resource_id":["r-1"],"resource_scopes":{"view":true}}]`,
		`[{"resource_id":"r-1","resource_scopes":["view"],"exp":1e300}]`,
		`[{"resource_id":"r-1","resource_scopes":["view"],"exp":-1}]`,
		`{"resource_id":"r-1","resource_scopes":["view"]}`, `null`, `"view"`, ``,
	}
	for _, e := range entries {
		f.Add([]byte(`{"active":true,"aud":["photoz"],"permissions":` + e + `}`))
		f.Add([]byte(`{"active":"true","iss":"x","exp":"1","permissions":` + e + `}`))
	}
	now := time.Unix(1777636800, 0)
	f.Fuzz(func(t *testing.T, body []byte) {
		facts, err := readFacts(body, "https://as.example.org", []string{"photoz"})
		if err != nil || !facts.usable(now) || !facts.holds("r-1", "view", now) {
			return
		}
		if granted, _ := facts.granted("r-1", now); len(granted) == 0 {
			t.Error("the scope is held, but none is granted")
		}
		if !says(body, now) {
			t.Errorf("a permission out of nothing: %s", body)
		}
	})
}

// says reads the answer in the plainest way and looks for the permission.
func says(body []byte, now time.Time) bool {
	var all map[string]any
	if json.Unmarshal(body, &all) != nil || all["active"] != true {
		return false
	}
	list, _ := all["permissions"].([]any)
	for _, one := range list {
		entry, _ := one.(map[string]any)
		if entry["resource_id"] != "r-1" && entry["rsid"] != "r-1" {
			continue
		}
		if exp, ok := entry["exp"].(float64); ok && exp <= float64(now.Unix()) {
			continue
		}
		for _, name := range []string{"resource_scopes", "scopes"} {
			scopes, _ := entry[name].([]any)
			for _, s := range scopes {
				object, _ := s.(map[string]any)
				if s == "view" || object["name"] == "view" {
					return true
				}
			}
		}
	}
	return false
}

// TestFactsCacheIsBounded: a flood of tokens costs bounded memory, pushes out
// the oldest, and junk pushes out nothing that is good.
func TestFactsCacheIsBounded(t *testing.T) {
	var in introspector
	now := time.Unix(1777636800, 0)
	good := newFactsKey("good", "")
	in.keep(good, &rptFacts{active: true}, 30*time.Second, now)
	for i := range 3 * factsKept {
		in.keep(newFactsKey(fmt.Sprint("junk ", i), ""), &rptFacts{}, 30*time.Second, now)
	}
	if in.cached(good, now) == nil {
		t.Error("junk pushed out what is good")
	}
	if n, q := len(in.bad.byKey), len(in.bad.queue); n > factsKept || q > factsKept {
		t.Errorf("%d entries, queue of %d; want at most %d", n, q, factsKept)
	}
	if in.cached(newFactsKey("junk 0", ""), now) != nil || in.cached(newFactsKey(fmt.Sprint("junk ", 3*factsKept-1), ""), now) == nil {
		t.Error("not the oldest went first")
	}
	for i := range 2 * factsKept { // the same token again and again
		in.keep(good, &rptFacts{active: true}, 30*time.Second, now.Add(time.Duration(i)))
	}
	if len(in.good.byKey) != 1 || len(in.good.queue) > factsKept {
		t.Errorf("one token: %d entries, queue of %d", len(in.good.byKey), len(in.good.queue))
	}
	later := now.Add(time.Hour)
	in.keep(newFactsKey("new", ""), &rptFacts{active: true}, 30*time.Second, later)
	if len(in.good.byKey) != 1 || in.cached(good, later) != nil {
		t.Errorf("%d entries after all expired, want the new one", len(in.good.byKey))
	}
	if in.keep(good, &rptFacts{active: true}, -1, later); in.cached(good, later) != nil {
		t.Error("a negative CacheTTL remembers")
	}
}
