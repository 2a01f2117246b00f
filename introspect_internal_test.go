package gatehouse

import (
	"fmt"
	"strings"
	"testing"
)

// An answer may be full of scopes, in one entry or in many. What is beyond the
// limit gives no permission, and what is before it does.
func TestGrantsAreBounded(t *testing.T) {
	scopes := func(from, n int) string {
		all := make([]string, n)
		for i := range all {
			all[i] = fmt.Sprintf(`"s%d"`, from+i)
		}
		return strings.Join(all, ",")
	}
	one := fmt.Sprintf(`{"resource_id":"r","resource_scopes":[%s]}`, scopes(0, 36_000))
	var many []string
	for i := range 5_000 {
		many = append(many, fmt.Sprintf(`{"resource_id":"r","resource_scopes":[%s]}`, scopes(i, 1)))
	}
	for name, permissions := range map[string]string{"one entry": one, "many entries": strings.Join(many, ",")} {
		f, err := readFacts([]byte(`{"active":true,"permissions":[`+permissions+`]}`), "https://as.test", nil)
		if err != nil {
			t.Fatal(err)
		}
		if len(f.grants) != maxGrants {
			t.Errorf("%s: %d grants, want %d", name, len(f.grants), maxGrants)
		}
		if !f.holds("r", "s0", 0) || f.holds("r", fmt.Sprint("s", maxGrants), 0) {
			t.Errorf("%s: the first scopes do not count, or others do", name)
		}
	}
	f, err := readFacts([]byte(`{"active":true,"permissions":[{"resource_id":"r","resource_scopes":["a"]},`+one+`]}`), "https://as.test", nil)
	if err != nil || len(f.grants) > 2*maxGrants {
		t.Errorf("%d grants of two entries, %v", len(f.grants), err)
	}
}
