// Package photos is the photo site of the example. People sign in with OpenID
// Connect, keep albums, and share them through an authorization server with UMA
// 2.0. New wires gatehouse to an http.Handler, so read photos.go first.
//
// The site keeps no list of friends. It registers each album at the
// authorization server with a token of the album's owner. Anybody who comes
// without a session of the owner needs a permission from that server.
//
// Everything that must outlive a process is in Config, so another module can
// run the site on its own stores.
package photos
