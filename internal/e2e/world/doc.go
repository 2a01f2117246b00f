// Package world is the setting of the stories in internal/e2e: an OpenID
// provider and UMA authorization server from middlewaretest, one clock, one
// log, the events, and the secrets that must never show. [Site] is a web site
// of several replicas that signs people in, and [Visitor] is a browser.
// [Photoz] is a photo site under UMA, which signs its owners in so that it may
// act for them, and [PrintShop] is its client.
//
// Some tests need answers that the server of middlewaretest never gives.
// [Script] is an authorization server as a resource server sees it, and
// [ShopScript] one as a client sees it. Both answer word for word as the test
// says, in the same world.
//
// The package is only for tests. It knows what users of gatehouse know and the
// controls of the test provider. It must not know the internals of gatehouse.
package world
