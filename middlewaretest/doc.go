// Package middlewaretest tests services that use gatehouse to sign people in or
// protect resources. It runs them against a real provider in the test's own
// process.
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
// The server is strict: codes, tickets and refresh tokens work once, redirect
// URIs are compared as strings, and PKCE is required. [Server.Violations] lists
// what a client did wrong although its requests succeeded. Violations do not
// fail a test unless the test checks them. [Server.Break] makes the provider
// misbehave; see [Fault] for which fault tests which behaviour of a relying
// party. Time stands still until [Clock.Advance] moves it.
//
// An API that takes access tokens is tested with one line: [Server.NewRequest] is
// a request with a person's token for it. [Server.SetAccessTokens] makes the
// tokens JWTs, and [Server.Token] makes one by hand, with claims and faults of
// your choice:
//
//	op.SetAccessTokens(middlewaretest.AccessTokenOptions{JWT: true, Algorithm: "ES384"})
//	api.ServeHTTP(w, op.NewRequest(t, "ana", client, "GET", "https://api.example.org/v1/notes", "notes:read"))
//
// An application that registers itself is tested after [Server.SetRegistration].
//
// [NewKeycloak] starts a server that speaks UMA as Keycloak does. Keycloak
// departs from the specifications in many places. Run the tests of a resource
// server or a UMA client against both kinds; a test with two issuers needs two
// servers.
//
// [NewOffline] makes a server that does not listen on the network and has an
// issuer of your choice. Use it to test https origins, or in a bubble of
// testing/synctest.
//
// The browser treats cookies and Sec-Fetch headers as Chromium does. Use
// [Browser.On] to test what another site's page can make it do.
//
// [TestStore] checks that your own store meets the contract of gatehouse.Store.
// [TestGrantStore] and [TestResourceIDs] do the same for the stores of a UMA
// resource server, and [TestRegistrationStore] for that of a client that registers
// itself.
//
// Misuse of the kit, such as an unknown user or resource, fails the test at
// once. Call its functions from the goroutine that runs the test, unless their
// documentation says otherwise.
//
// To test a handler alone, without any server, use [WithIdentity].
package middlewaretest
