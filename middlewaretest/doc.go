// Package middlewaretest tests services that sign people in or protect
// resources with gatehouse, against a real provider in the test's own process.
//
// [NewServer] starts an OpenID provider and UMA authorization server on
// loopback. [NewApp] starts the service under test, and [Server.Browser] visits
// it as a person with a browser would, signing in when asked:
//
//	op := middlewaretest.NewServer(t)
//	op.AddUser("ana", middlewaretest.Claims{"email": "ana@example.org"})
//	url := middlewaretest.NewApp(t, func(base string) http.Handler {
//		return newNotesApp(op.Provider(), op.AddClient(base+"/auth/callback"), base)
//	})
//	resp, err := op.Browser(t, "ana").Get(url + "/notes/")
//
// The server is strict: codes, tickets and refresh tokens are used once, redirect
// URIs are compared as strings, PKCE is required. What a client did wrong although
// it got through is in [Server.Violations]; nothing but your own check of it fails
// the test. What a provider may do wrong is switched on with [Server.Break]; see
// [Fault] for which fault tests which behaviour of a relying party. Time stands
// still until [Clock.Advance] moves it.
//
// [NewKeycloak] starts a server that speaks UMA as Keycloak does, which leaves the
// specifications in many places. Run the tests of a resource server or a UMA
// client against both, with two servers in one test where there are two issuers.
//
// [NewOffline] is a server with an issuer of your choice that nobody listens for:
// a test of https origins, or one in a bubble of testing/synctest.
//
// The browser treats cookies and Sec-Fetch headers as Chromium does. What another
// site's page can make it do is asked with [Browser.On].
//
// [TestStore] holds a store of your own to the contract of gatehouse.Store,
// [TestGrantStore] and [TestResourceIDs] do so with the stores of a UMA resource
// server.
//
// Misuse of the kit, say an unknown user or resource, fails the test at once, so
// its functions are called from the goroutine that runs the test. The exceptions
// say so.
//
// For tests of a handler alone there is [WithIdentity], without any server.
package middlewaretest
