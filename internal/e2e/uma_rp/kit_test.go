package uma_rp_test

import (
	"net/http"

	"example.com/gatehouse"
	"example.com/gatehouse/internal/e2e/world"
)

// atOnce runs f n times at once.
func atOnce(n int, f func(i int)) {
	world.Together(n, func(i int) struct{} { f(i); return struct{}{} })
}

// roundTrip is a transport made from a function.
type roundTrip func(*http.Request) (*http.Response, error)

func (f roundTrip) RoundTrip(r *http.Request) (*http.Response, error) { return f(r) }

// idTokenFormat is the claim token format of OpenID Connect ID Tokens (UMA
// Grant §3.3.1).
const idTokenFormat = "http://openid.net/specs/openid-connect-core-1_0.html#IDToken"

// with changes a config.
func with(c gatehouse.UMATransportConfig, change func(*gatehouse.UMATransportConfig)) gatehouse.UMATransportConfig {
	change(&c)
	return c
}
