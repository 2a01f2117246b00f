// Package gatehouse signs people in with OpenID Connect and lets owners share
// their resources with UMA 2.0, by wrapping net/http handlers. For most
// services [NewProvider], [NewRelyingParty] and [RelyingParty.RequireLogin] are
// all there is to learn:
//
//	provider, err := gatehouse.NewProvider("https://id.example.org", nil)
//	login, err := gatehouse.NewRelyingParty(provider, gatehouse.RelyingPartyConfig{
//		Client:      gatehouse.Client{ID: "notes", Secret: gatehouse.NewSecret(secret)},
//		RedirectURL: "https://notes.example.org/auth/callback",
//	})
//	mux.Handle("/auth/callback", login.CallbackHandler())
//	mux.Handle("/notes/", login.RequireLogin(notes))
//
// # Terms
//
// The words are those of the specifications. A relying party ([RelyingParty])
// lets an OpenID provider ([Provider]) tell who somebody is. A resource server
// ([ResourceServer]) protects resources; in UMA a resource owner says at the
// authorization server who may do what with them. A client without permission
// gets a permission ticket, which its [UMATransport] exchanges at the
// authorization server for a requesting party token (RPT). The resource server
// works there with a protection API access token (PAT) of the owner
// ([PATSource]).
//
// # The life of a request
//
//  1. A [Guard] checks it. Of a page ([RelyingParty]): unsafe requests from
//     another site are refused; the session cookie names a login record, which
//     is read together with the marks that would end it; tokens that are about
//     to expire are renewed; the requirements are decided. Of an API
//     ([ResourceServer.UMAGuard]): the rule is found that the request would be
//     served by, and the RPT is introspected or remembered.
//  2. If it may pass, the next handler runs with the [Identity] on its context
//     ([IdentityFrom]).
//  3. If not, the guard answers: a navigation is sent to sign-in and comes
//     back, a script gets 401 and a JSON body, a UMA client gets 401 with a
//     ticket. A person who is signed in but not allowed gets 403, never a loop.
//
// Trouble of a store or a provider is 503 with Retry-After. It never means
// signed out, and never anonymous.
//
// # Middleware
//
// Every guard is a func(http.Handler) http.Handler and so fits any router.
// [RelyingParty.With] derives a stricter guard and leaves the first as it is.
// [Require] makes the middleware of any [Guard], [Either] joins a page for its
// owner with an API for everybody else.
//
// # Many replicas
//
// A [Store] with compare-and-swap makes sessions safe on many processes: a
// login record that ended cannot be brought back by a slow request, a refresh
// token is sent once, and a logout from outside raises a mark that ends every
// session at once. The store in memory is for one process.
//
// # The end of the process
//
// Renewals, revocations and fetches outlive the request that began them. Each
// has an owner whose Shutdown waits for it, and [Shutdown] ends any number of
// them after the http.Server.
//
// # Errors
//
// Failures are *[Error] with a stable code, a fixed sentence for the person
// outside and a cause for the log. [Secret] keeps secrets out of both.
//
// # Specifications
//
// OpenID Connect Core 1.0 and Discovery 1.0, RP-Initiated Logout 1.0, RFC 6749,
// 6750, 7009, 7636, 7662, 8414, 9207 and 9700; User-Managed Access 2.0 Grant
// and Federated Authorization. The line that implements a requirement names
// its section.
//
// # Compatibility
//
// Until version 1 the API may change; CHANGELOG.md says how. Error codes, event
// names, cookie and record formats change only with a note there. Records and
// cookies of one version are read by the next.
package gatehouse
