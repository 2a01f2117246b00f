package gatehouse

import (
	"encoding/json"
	"fmt"
	"runtime"
	"strings"
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
		at := seconds(now.Unix())
		if err != nil || !facts.usable(at) || !facts.holds("r-1", "view", at) {
			return
		}
		if granted, _ := facts.granted("r-1", at); len(granted) == 0 {
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

// TestFactsSize: an entry is counted with about the bytes that it takes.
func TestFactsSize(t *testing.T) {
	const n = 2_000
	now := time.Unix(1777636800, 0)
	for name, permissions := range map[string]string{
		"one permission":   `{"resource_id":"8c1f2b34-5a6d-4e7f-9a0b-1c2d3e4f5a6b","resource_scopes":["view","print"]}`,
		"many permissions": strings.Repeat(`{"resource_id":"8c1f2b34-5a6d-4e7f-9a0b-1c2d3e4f5a6b","resource_scopes":["view","print"]},`, 20) + `{}`,
		"many scopes":      `{"resource_id":"r","resource_scopes":["` + strings.Repeat(`scope","`, 100) + `"]}`,
	} {
		body := fmt.Appendf(nil, `{"active":true,"sub":"f:6d1c8b1e-4c0c-4f0b-9d3e-1f1f5a1c7a5b","client_id":"printshop","exp":1777640400,"permissions":[%s]}`, permissions)
		var in introspector
		before := heapBytes()
		for i := range n {
			f, err := readFacts(body, "https://as.example.org", nil)
			if err != nil || !f.active {
				t.Fatal(f, err)
			}
			in.keep(newFactsKey(fmt.Sprint(i), ""), f, 30*time.Second, now)
		}
		took, counted := heapBytes()-before, in.good.bytes
		if len(in.good.byKey) != n || took > counted*5/4 || took < counted/2 {
			t.Errorf("%s: %d entries take %d bytes each, counted are %d", name, len(in.good.byKey), took/n, counted/n)
		}
		runtime.KeepAlive(&in)
	}
}

// heapBytes is what the heap holds.
func heapBytes() int {
	var m runtime.MemStats
	runtime.GC()
	runtime.GC() // what the first one only took out of pools, left by tests before
	runtime.ReadMemStats(&m)
	return int(m.HeapAlloc)
}

// TestFactsCacheIsBounded: a flood of tokens costs bounded memory, pushes out
// the oldest, and junk pushes out nothing that is good.
func TestFactsCacheIsBounded(t *testing.T) {
	var in introspector
	now := time.Unix(1777636800, 0)
	good := newFactsKey("good", "")
	in.keep(good, &rptFacts{active: true, expires: never}, 30*time.Second, now)
	const junk = 3 * maxBadFacts / factsOverhead
	for i := range junk {
		in.keep(newFactsKey(fmt.Sprint("junk ", i), ""), &rptFacts{}, 30*time.Second, now)
	}
	if in.cached(good, now) == nil {
		t.Error("junk pushed out what is good")
	}
	if n, q := len(in.bad.byKey), len(in.bad.queue); n > junk/3 || q > junk/3 || in.bad.bytes > maxBadFacts {
		t.Errorf("%d entries, queue of %d, %d bytes; want at most %d and %d", n, q, in.bad.bytes, junk/3, maxBadFacts)
	}
	if in.cached(newFactsKey("junk 0", ""), now) != nil || in.cached(newFactsKey(fmt.Sprint("junk ", junk-1), ""), now) == nil {
		t.Error("not the oldest went first")
	}
	claims := make([]byte, introspectionLimit)
	const times = 2 * maxGoodFacts / introspectionLimit
	for i := range times { // the same token again and again
		in.keep(good, &rptFacts{active: true, expires: never, claims: claims}, 30*time.Second, now.Add(time.Duration(i)))
	}
	if len(in.good.byKey) != 1 || len(in.good.queue) > times/2 || in.good.bytes > maxGoodFacts {
		t.Errorf("one token: %d entries, queue of %d, %d bytes", len(in.good.byKey), len(in.good.queue), in.good.bytes)
	}
	later := now.Add(time.Hour)
	in.keep(newFactsKey("new", ""), &rptFacts{active: true, expires: never}, 30*time.Second, later)
	if len(in.good.byKey) != 1 || in.cached(good, later) != nil {
		t.Errorf("%d entries after all expired, want the new one", len(in.good.byKey))
	}
	if in.good.bytes != (&rptFacts{}).size() {
		t.Errorf("%d bytes are counted for it", in.good.bytes)
	}
	if in.keep(good, &rptFacts{active: true, expires: never}, -1, later); in.cached(good, later) != nil {
		t.Error("a negative CacheTTL remembers")
	}
}
