package opserver

import (
	"crypto/rand"
	"maps"
	"time"

	"github.com/go-jose/go-jose/v4"
)

// Lifetimes that no control method changes.
const (
	refreshLifetime = 30 * 24 * time.Hour // long enough for any demonstration
	sessionLifetime = 12 * time.Hour      // a working day at the provider
	memoryOfUsed    = time.Hour           // how long used codes and tickets are remembered, to detect a second use
)

// Lifetimes at the start. Control methods change them.
const (
	defaultCodeLifetime    = time.Minute // RFC 6749 §4.1.2 allows ten; a browser needs seconds
	defaultTokenLifetime   = 5 * time.Minute
	defaultIDTokenLifetime = 5 * time.Minute
	defaultTicketLifetime  = 5 * time.Minute // far above pollInterval: a ticket outlives the wait
)

// sweepEvery is how many values are stored between two removals of expired
// ones.
const sweepEvery = 4096

// state is everything the server remembers. Server.mu guards it.
type state struct {
	users    map[string]*user // by name
	subjects map[string]*user // by subject identifier
	clients  map[string]*client
	issuers  map[string]TrustedIssuer

	sessions map[string]*session
	visited  map[string][]string // the clients that a session signed somebody in to, by sid
	codes    map[string]*code
	tokens   map[string]*token
	refresh  map[string]*refreshToken
	// assertions and proofs of clients that were used, and when they end
	assertions map[string]time.Time
	seen       map[string]seenRequest // authorization requests by state, nonce and challenge

	resources    map[string]*resource
	tickets      map[string]*ticket
	interactions map[string]*interaction
	requests     map[string]*Request
	inboxes      map[party]bool  // owners who have said whether they take requests
	noRole       map[string]bool // people who may not own resources, in the dialect Keycloak

	codeLife, tokenLife, idTokenLife, ticketLife time.Duration
	signWith                                     jose.SignatureAlgorithm // of all ID Tokens; "": the client's
	rpt                                          RPTOptions
	access                                       AccessTokenOptions
	dpop                                         DPoPOptions
	nonces                                       map[string]givenNonce // of proofs, by endpoint
	patRefusal                                   int
	relativeLocation                             bool
	resourceLife                                 time.Duration // 0: until deleted
	resourceID                                   func() string // nil: random

	registration *RegistrationOptions // nil: no client may register itself

	stored int // since the last sweep
}

func newState() state {
	return state{
		users: map[string]*user{}, subjects: map[string]*user{}, clients: map[string]*client{},
		issuers: map[string]TrustedIssuer{}, sessions: map[string]*session{}, visited: map[string][]string{}, codes: map[string]*code{},
		tokens: map[string]*token{}, refresh: map[string]*refreshToken{}, seen: map[string]seenRequest{},
		resources: map[string]*resource{}, tickets: map[string]*ticket{}, requests: map[string]*Request{}, interactions: map[string]*interaction{},
		assertions: map[string]time.Time{}, nonces: map[string]givenNonce{}, inboxes: map[party]bool{}, noRole: map[string]bool{},
		codeLife: defaultCodeLifetime, tokenLife: defaultTokenLifetime, idTokenLife: defaultIDTokenLifetime, ticketLife: defaultTicketLifetime,
	}
}

// user is a person with an account. Name and subject never change. The rest is
// guarded by Server.mu, and the map is replaced, never modified.
type user struct {
	name, subject string
	password      string
	claims        map[string]any
}

// client is a registered client.
type client struct {
	Client
	alg        jose.SignatureAlgorithm // of its ID Tokens
	registered *registered             // nil unless it has registered itself
}

// session is a person's session at the provider.
type session struct {
	id       string
	user     *user
	sid      string // the sid claim; stays when the person signs in again
	authTime time.Time
	acr      string
	expires  time.Time
}

// grant is one authorization. Everything issued from it ends with it.
type grant struct {
	client    string
	user      *user // nil if the client acts for itself
	scope     []string
	nonce     string
	authTime  time.Time
	sid, acr  string
	resources []string // RFC 8707: the aud of access tokens
	asked     claimsParam
	key       string // RFC 9449: the next access token is bound to it, "" to none
	proves    string // RFC 9449 §10: the key that redeems the code, "" if any
	revoked   bool
}

// offline reports whether the grant outlives the session. OpenID Connect Core
// §11.
func (g *grant) offline() bool { return contains(g.scope, "offline_access") }

// code is an authorization code.
type code struct {
	grant       *grant
	redirectURI string
	challenge   string
	expires     time.Time
	used        bool
	tainted     string // why the client must not present it
}

// token is an access token. With non-nil rights it is an RPT.
type token struct {
	grant    *grant
	scope    []string
	iat, exp time.Time
	revoked  bool
	lost     bool // a fault has made the server forget it
	rights   *rights
	id       string // jti, of a JWT
	// resources are what the token request named (RFC 8707 §2.2); nil means
	// those of the grant.
	resources []string
	key       string         // RFC 9449: thumbprint of the key to which it is bound, "" to none
	minted    map[string]any // the claims, if [Server.Token] made it
}

// live reports whether the token is valid at a moment.
func (t *token) live(now time.Time) bool {
	return !t.revoked && !t.grant.revoked && now.Before(t.exp)
}

// refreshToken is one link of a family. The family is the grant.
type refreshToken struct {
	grant   *grant
	scope   []string
	expires time.Time
	used    bool
	revoked bool
	rights  *rights // of the RPT it renews, nil for plain tokens
	key     string  // RFC 9449 §5: that of the first, of a public client
}

// seenRequest records who sent an authorization request. The same browser may
// load the request again, but nobody else may repeat a part of it.
type seenRequest struct {
	whole, browser string
	expires        time.Time
}

// party is an owner of resources: a person, or a client for itself.
type party struct{ user, client string }

// newSecret returns at least 128 random bits as text.
func newSecret() string { return rand.Text() }

// put counts a stored value and occasionally removes expired ones, so that a
// long load test does not grow forever. The lock is held.
func (s *Server) put() {
	if s.st.stored++; s.st.stored < sweepEvery {
		return
	}
	s.st.stored = 0
	now := s.now()
	dead := now.Add(-memoryOfUsed)
	sweep(s.st.sessions, func(v *session) bool { return now.After(v.expires) })
	live := map[string]bool{}
	for _, v := range s.st.sessions {
		live[v.sid] = true
	}
	maps.DeleteFunc(s.st.visited, func(sid string, _ []string) bool { return !live[sid] })
	sweep(s.st.codes, func(v *code) bool { return dead.After(v.expires) })
	sweep(s.st.tokens, func(v *token) bool { return dead.After(v.exp) })
	sweep(s.st.refresh, func(v *refreshToken) bool { return dead.After(v.expires) })
	sweep(s.st.tickets, func(v *ticket) bool { return dead.After(v.expires) })
	sweep(s.st.assertions, func(ends time.Time) bool { return now.After(ends) })
	sweep(s.st.interactions, func(v *interaction) bool { return now.After(v.expires) })
	sweep(s.st.seen, func(v seenRequest) bool { return now.After(v.expires) })
}

func sweep[V any](m map[string]V, dead func(V) bool) {
	for k, v := range m {
		if dead(v) {
			delete(m, k)
		}
	}
}
