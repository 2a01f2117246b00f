//go:build !race

package bench

import (
	"context"
	"fmt"
	"runtime"
	"strings"
	"testing"
	"time"

	"example.com/gatehouse/internal/introspection"
)

// TestFactsMemory: the facts of a token count for about as many bytes as they
// take in memory, so the bounds of docs/limits.md are those of the heap.
func TestFactsMemory(t *testing.T) {
	const tokens = 2_000
	for name, permissions := range map[string]string{
		"one permission":   `{"resource_id":"8c1f2b34-5a6d-4e7f-9a0b-1c2d3e4f5a6b","resource_scopes":["view","print"]}`,
		"many permissions": strings.Repeat(`{"resource_id":"8c1f2b34-5a6d-4e7f-9a0b-1c2d3e4f5a6b","resource_scopes":["view","print"]},`, 20) + `{}`,
		"many scopes":      `{"resource_id":"r","resource_scopes":["` + strings.Repeat(`scope","`, 100) + `"]}`,
	} {
		t.Run(name, func(t *testing.T) {
			body := fmt.Appendf(nil, `{"active":true,"sub":"f:6d1c8b1e-4c0c-4f0b-9d3e-1f1f5a1c7a5b","client_id":"printshop","exp":1777640400,"permissions":[%s]}`, permissions)
			now := time.Unix(1777636800, 0)
			cache := introspection.NewCache(30*time.Second, func() time.Time { return now })
			ask := func(context.Context) (*introspection.Facts, error) {
				return introspection.Read(body, "", nil, introspection.Names{})
			}
			before, counted := heap(), 0
			for i := range tokens {
				f, err := cache.Get(t.Context(), introspection.KeyOf(fmt.Sprint(i), ""), time.Minute, ask)
				if err != nil || !f.Active {
					t.Fatal(f, err)
				}
				counted += f.Size()
			}
			took := int(heap() - before)
			t.Logf("%d bytes for a token, counted are %d", took/tokens, counted/tokens)
			if took > counted*5/4 || took < counted/2 {
				t.Errorf("%d tokens take %d bytes, counted are %d", tokens, took, counted)
			}
			runtime.KeepAlive(cache)
		})
	}
}
