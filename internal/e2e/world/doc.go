// Package world is where the stories of internal/e2e happen: an OpenID provider
// and UMA authorization server from middlewaretest, one clock, one log, the events,
// and the secrets that must never show. [Site] is a web site of several replicas
// that signs people in, [Visitor] a browser. [Photoz] is a photo site under UMA, which
// signs its owners in to let it act for them, and [PrintShop] its client.
//
// Where a test needs answers that the server of middlewaretest never gives, [Script]
// is an authorization server as a resource server sees it, [ShopScript] one as a
// client sees it: both say word for word what the test tells them, in the same world.
//
// It serves tests only. It knows what users of gatehouse know and the controls of
// the test provider; it knows nothing of the inside of gatehouse.
package world
