// Package gatehouse signs people in with OpenID Connect, protects APIs with
// access tokens, and lets owners share their resources with UMA 2.0. It works by
// wrapping net/http handlers. Most sites need only [NewProvider],
// [NewRelyingParty] and [RelyingParty.RequireLogin]:
//
//	provider, err := gatehouse.NewProvider("https://id.example.org", nil)
//	login, err := gatehouse.NewRelyingParty(provider, gatehouse.RelyingPartyConfig{
//		Client:      gatehouse.Client{ID: "notes", Secret: gatehouse.NewSecret(secret)},
//		RedirectURL: "https://notes.example.org/auth/callback",
//	})
//	mux.Handle("/auth/", login.Handler())
//	mux.Handle("/notes/", login.RequireLogin(notes))
//
// docs/sign-in.md goes on from there to a service, step by step. An API that
// takes access tokens needs only [NewProvider], [NewResourceServer] and
// [ResourceServer.RequireToken]:
//
//	api, err := gatehouse.NewResourceServer(provider, gatehouse.ResourceServerConfig{
//		Audience: []string{"https://api.example.org"},
//	})
//	mux.Handle("GET /v1/notes", api.With(gatehouse.Scopes("notes:read")).RequireToken(list))
//
// docs/api.md goes on from there.
//
// # Terms
//
// The terms are those of the specifications. A relying party ([RelyingParty])
// relies on an OpenID provider ([Provider]) to authenticate people. A resource
// server ([ResourceServer]) protects an API with access tokens
// ([ResourceServer.RequireToken]) or with UMA. With UMA a resource owner decides
// at the authorization server who may do what with their resources. A client
// without permission gets a permission ticket. Its [UMATransport] exchanges the
// ticket at the authorization server for a requesting party token (RPT). The
// resource server itself calls the authorization server with a protection API
// access token (PAT) of the owner ([PATSource]).
//
// # The life of a request
//
//  1. A [Guard] checks the request. The guard of a page ([RelyingParty])
//     refuses unsafe requests from other sites. It then reads the login record
//     that the session cookie names, together with the marks that would end
//     it, renews tokens that are about to expire, and checks the requirements.
//     The guard of an API ([ResourceServer]) verifies the access token, or uses
//     what it remembers of it. That of UMA ([ResourceServer.UMAGuard]) finds
//     the rule for the request and introspects the RPT.
//  2. If the request may pass, the next handler runs with the [Identity] on its
//     context ([IdentityFrom]).
//  3. If not, the guard answers. A navigation is sent to sign-in and comes
//     back, a posted form gets 401 with a page that says that it was not
//     saved, a script gets 401 with a JSON body, a client of an API gets 401
//     with a challenge, and a UMA client gets 401 with a ticket. Somebody who is
//     known but not allowed gets 403. There is never a redirect loop.
//
// If a store or a provider fails, the answer is 503 with Retry-After. Such a
// failure never counts as signed out or as anonymous.
//
// # Middleware
//
// Every guard is available as a func(http.Handler) http.Handler, which works
// with any router. [RelyingParty.With] derives a stricter guard and does not
// change the original. [Require] turns any [Guard] into middleware. [Either]
// combines a page for the owner with an API for everybody else.
//
// # Many replicas
//
// A [Store] with compare-and-swap makes sessions safe across processes. A slow
// request cannot bring back a login record that has ended. A refresh token is
// sent only once. Ending all sessions of a person sets a mark that takes effect
// on every replica at once. The in-memory store is for a single process. Three
// modules in this repository keep a Store for several: redisstore in Redis,
// pgstore in PostgreSQL, and sqlitestore in a SQLite file. Package
// middlewaretest tests whether a store of your own keeps the contract. [Live]
// ends open connections with their session.
//
// # The end of the process
//
// Renewals, revocations and fetches can outlive the request that started them.
// Each has an owner whose Shutdown waits for it. [Shutdown] shuts down any
// number of owners, after the http.Server.
//
// # Errors
//
// Failures are of type *[Error]. Each has a stable code, a fixed sentence for
// the person outside and a cause for the log. [Secret] keeps secrets out of
// both.
//
// # Specifications
//
// OpenID Connect: Core 1.0 with the code flow and PKCE, the flows that answer
// with an ID Token through the browser ("id_token", "id_token token" and
// "code id_token"), and form_post; Discovery 1.0 with WebFinger; Dynamic Client
// Registration 1.0; RP-Initiated, Back-Channel and Front-Channel Logout 1.0.
//
// OAuth, as a client: RFC 6749 (authorization code, refresh token and client
// credentials), 6750, 7009, 7523, 7591, 7592, 7636, 8414, 9207 and 9449 (DPoP).
// As a resource server: 6750, 7662, 9068, 9449, 9470 and 9728. On both sides, the
// advice of 9700.
//
// User-Managed Access 2.0: Grant and Federated Authorization, as a client and as
// a resource server.
//
// The line that implements a requirement names its section. README.md lists what
// is not here yet.
//
// # Compatibility
//
// The API may change until version 1; CHANGELOG.md lists the changes. Error
// codes, event names, and the formats of cookies and records change only with a
// note there. Each version reads the records and cookies of the one before,
// unless that list says that everybody signs in once more.
package gatehouse
