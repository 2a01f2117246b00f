// Package gatehouse signs people in with OpenID Connect, protects APIs with
// access tokens, and lets owners share their resources with UMA 2.0, by
// wrapping net/http handlers.
package gatehouse
