// Package opserver is an OpenID provider and UMA 2.0 authorization server in
// one http.Handler. It is the provider of the test kit (middlewaretest) and the
// embedded provider of the example. It keeps everything in memory and forgets
// it when the process ends.
//
// It implements OpenID Connect Core 1.0 (authorization code flow) and Discovery
// 1.0, RP-Initiated Logout 1.0, RFC 6749, 6750, 7009, 7636, 7662, 8414, 9207,
// UMA 2.0 Grant for OAuth 2.0 Authorization and UMA 2.0 Federated
// Authorization.
//
// It is strict on purpose. Every client must use PKCE with S256, redirect URIs
// are compared as strings, every code, ticket and refresh token works once, and
// all endpoints are at paths that nobody can guess from another server. It
// records what a client does wrong even if the protocol lets the client
// recover; see [Server.Violations]. It can be made to misbehave; see [Fault].
//
// It is not for production: passwords are kept in the clear, there is no
// consent page, and nothing limits how often a password may be tried.
package opserver
