// Package site says how the site of the reliability programs is configured. It
// knows nothing of gatehouse, so that builds of several versions of the site can
// be started with the same words.
package site

import "time"

// The addresses of the site. Those of a relying party come after its Path.
const (
	// Public is the origin that browsers know. A front that ends TLS would stand
	// there.
	Public = "https://site.example"

	Page        = "/page" // for whoever is signed in: "user=SUBJECT"
	Hold        = "/hold" // like Page, but answers only after Release?id=… was asked for
	Login       = "/auth/login"
	Callback    = "/auth/callback"
	Logout      = "/auth/logout"
	Backchannel = "/auth/backchannel-logout"

	JWT      = "/api/jwt"    // an access token that is a JWT
	Opaque   = "/api/opaque" // an access token that is introspected
	Album    = "/album"      // UMA
	Audience = "https://api.site.example"

	// What only the programs ask for. A front would not pass it on.
	Entered = "/admin/entered" // answers when Hold?id=… has begun
	Release = "/admin/release" // lets Hold?id=… end
	Revoke  = "/admin/revoke"  // ends all sessions of a person: POST with sub and issuer
	Stat    = "/admin/stat"    // a Stats
)

// ClientID and ClientSecret are the site's account at each provider.
const (
	ClientID     = "site"
	ClientSecret = "the secret of the site is long enough"
)

// What the site is made with.
const (
	Gatehouse = "gatehouse"
	SCS       = "scs" // bare scs with its own stores, go-oidc and x/oauth2
)

// Config is what a replica is started with.
type Config struct {
	Kind     string
	Addr     string // to listen at, "127.0.0.1:0" for any port
	Redis    string // host:port, or
	Postgres string // a connection string
	Prefix   string // of keys, or the name of a table
	Key      string // of cookies and records
	Relying  []Relying
	Idle     time.Duration
	API      bool // serves JWT, Opaque and Album
}

// Relying is one relying party of the site.
type Relying struct {
	Path   string // in front of its addresses
	Name   string // of its sessions
	Issuer string
}

// Stats is what a replica says about itself.
type Stats struct {
	Goroutines int
	Heap       uint64      // bytes of heap in use after a collection of garbage
	Discovery  []time.Time // when metadata was asked for
}
