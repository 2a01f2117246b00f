// Package photos is the photo site of the example: people sign in with OpenID
// Connect, keep albums, and share them through an authorization server with UMA
// 2.0. New wires gatehouse to an http.Handler; that is the file to read first.
//
// The site owns no list of friends. It registers each album at the
// authorization server with a token of the album's owner, and asks whoever comes
// without a session of the owner for a permission from there.
//
// Everything that has to outlive a process is in Config, so another module can
// run the site on its own stores.
package photos
