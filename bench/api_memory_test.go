//go:build !race

package bench

import (
	"context"
	"runtime"
	"strings"
	"testing"
	"time"

	"github.com/go-jose/go-jose/v4"

	"example.com/gatehouse/internal/bounded"
	"example.com/gatehouse/internal/keyset"
	"example.com/gatehouse/internal/token"
)

// TestAccessMemory: an access token that is remembered counts for about as many
// bytes as it takes in memory, so the bound of docs/limits.md is that of the
// heap.
func TestAccessMemory(t *testing.T) {
	const tokens = 2_000
	n := newNotary(t)
	verifier := token.NewVerifier(token.Config{
		Issuer: n.issuer, Keys: keyset.New(keyset.Config{Static: n.set.Keys}), Now: time.Now,
		Algorithms: func(context.Context) ([]string, error) { return []string{"EdDSA"}, nil },
	})
	rules := &token.AccessRules{Audience: []string{apiAudience}}
	for name, extra := range map[string]map[string]any{
		"usual": nil, "many scopes": {"scope": strings.Repeat("notes:read ", 200)}, "large": {"groups": strings.Repeat("x", 4000)},
		"small": {"roles": nil, "jti": nil, "acr": nil, "auth_time": nil, "client_id": nil, "scope": nil},
	} {
		t.Run(name, func(t *testing.T) {
			var list []string
			for i := range tokens {
				list = append(list, n.with(t, jose.EdDSA, i, extra))
			}
			memory, counted := token.NewAccessMemory(), 0
			before := heap()
			for _, raw := range list {
				got, err := verifier.AccessOnce(t.Context(), raw, bounded.KeyOf(raw), rules, memory)
				if err != nil {
					t.Fatal(err)
				}
				counted += got.Size()
			}
			took := int(heap() - before)
			t.Logf("%d bytes for a token of %d bytes, counted are %d", took/tokens, len(list[0]), counted/tokens)
			if took > counted*5/4 || took < counted/2 {
				t.Errorf("%d tokens take %d bytes, counted are %d", tokens, took, counted)
			}
			runtime.KeepAlive(memory)
			runtime.KeepAlive(list)
		})
	}
}
