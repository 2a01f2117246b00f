// Package opserver is an OpenID provider and UMA 2.0 authorization server in
// one http.Handler. It is the provider of the test kit (middlewaretest) and the
// embedded provider of the example. It keeps everything in memory and forgets it
// when the process ends.
//
// What it speaks: OpenID Connect Core 1.0 (authorization code flow) and
// Discovery 1.0, RP-Initiated Logout 1.0, RFC 6749, 6750, 7009, 7636, 7662, 8414,
// 9207, UMA 2.0 Grant for OAuth 2.0 Authorization and UMA 2.0 Federated
// Authorization.
//
// It is strict on purpose: PKCE with S256 is required of every client, redirect
// URIs are compared as strings, every code, ticket and refresh token is used
// once, and all endpoints lie at paths that nobody can guess from another server.
// What a client does wrong although the protocol lets it recover is written down:
// see [Server.Violations]. What a server may do wrong can be switched on: see
// [Fault].
//
// It is not a provider for production: passwords are kept in clear, there is no
// consent page, and nothing limits how often a password may be tried.
package opserver
