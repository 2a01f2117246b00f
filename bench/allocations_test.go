//go:build !race

package bench

import (
	"net/http"
	"strings"
	"testing"

	"example.com/gatehouse/internal/compact"
	"example.com/gatehouse/internal/navigation"
)

// A token that is too long, or is not a token, is refused before it costs
// anything.
func TestCheckAllocatesNothing(t *testing.T) {
	const limit = 16 << 10
	raw := "a." + strings.Repeat("b", limit-4) + ".c"
	if n := testing.AllocsPerRun(100, func() { _ = compact.Check(raw, limit) }); n != 0 {
		t.Errorf("%v allocations", n)
	}
}

// Looking through thousands of cookies in a request costs no memory.
func TestCookieAllocatesNothing(t *testing.T) {
	r := &http.Request{Header: http.Header{"Cookie": {strings.Repeat("a=1; ", 2900)}}}
	if n := testing.AllocsPerRun(10, func() { navigation.Cookie(r, "a") }); n != 0 {
		t.Errorf("%v allocations", n)
	}
}
