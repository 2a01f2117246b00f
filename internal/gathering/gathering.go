// Package gathering is a person's visit to an authorization server that wants
// to know more about them (UMA Grant §3.3.2): what for, and how it travels in
// the browser that began it. The server stores nothing for it but, once it was
// used, its state.
//
// It knows a ring of keys and its own format. It must not know cookies,
// handlers, providers or tickets: its caller decides which cookie holds the
// value and what the value is bound to.
package gathering

import (
	"crypto/hmac"
	"crypto/rand"
	"crypto/sha256"
	"encoding/base64"
	"errors"
	"fmt"
	"time"
)

const (
	// Life is how long a person may take at the authorization server (R2: an
	// attempt must expire).
	Life = 10 * time.Minute
	// Linger is how long a visit that has ended is remembered, so that one page
	// does not send a browser back and forth for ever.
	Linger = time.Minute

	stateSize  = 16 // 128 bits (UMA Grant §3.3.2: not guessable)
	digestSize = 16 // of what is compared, but not read back

	// maxMethod and maxPath bound what is kept of the request that lacked
	// permission. It only says which of several tokens serves it next time.
	maxMethod, maxPath = 16, 256
)

// The errors of gatherings.
var (
	ErrUnknown = errors.New("not a visit of this browser")
	ErrExpired = errors.New("the visit took too long")
)

type digest [digestSize]byte

func digestOf(text string) (d digest) {
	sum := sha256.Sum256([]byte(text))
	copy(d[:], sum[:])
	return d
}

// Gathering is one visit. What only has to be recognised is kept as a digest.
type Gathering struct {
	state  [stateSize]byte
	begin  time.Time // to the millisecond
	by     digest
	party  digest
	ticket digest

	From     []byte            // identifies the session it started from
	Origin   string            // of the resource server
	Method   string            // of the request that lacked permission
	Path     string            // the same
	Request  [sha256.Size]byte // the same
	ReturnTo string            // the path to return to
	Rounds   int               // visits for the same request before this one
	Silent   bool              // claims are not pushed
	Done     bool              // it has ended well
	// Since is when the client was chosen that presented the first ticket, to the
	// millisecond. The later ones belong to that client too. Zero means that the
	// client never changes.
	Since time.Time
}

// New begins a visit with a ticket: by whom the answer will be redeemed, and
// for which party.
func New(now time.Time, by, party, ticket string) *Gathering {
	g := &Gathering{begin: now.Truncate(time.Millisecond), by: digestOf(by), party: digestOf(party), ticket: digestOf(ticket)}
	rand.Read(g.state[:])
	return g
}

// Next begins the next visit for the same request, with the newer ticket.
func (g *Gathering) Next(now time.Time, ticket string) *Gathering {
	next := *g
	next.begin, next.ticket, next.Done = now.Truncate(time.Millisecond), digestOf(ticket), false
	next.Rounds++
	rand.Read(next.state[:])
	return &next
}

// Wanted records the request that lacked permission. What is too long is cut,
// so that the path is at least a prefix.
func (g *Gathering) Wanted(method, path string, request [sha256.Size]byte) {
	if len(method) > maxMethod {
		method = ""
	}
	g.Method, g.Path, g.Request = method, path[:min(len(path), maxPath)], request
}

// State is what the answer must contain (UMA Grant §3.3.3).
func (g *Gathering) State() string { return base64.RawURLEncoding.EncodeToString(g.state[:]) }

// ValidState reports whether state has the form of our states.
func ValidState(state string) bool {
	b, err := base64.RawURLEncoding.Strict().DecodeString(state)
	return err == nil && len(b) == stateSize && len(state) == base64.RawURLEncoding.EncodedLen(stateSize)
}

// Check reports whether state belongs to the visit, which may have ended, and
// whether there is still time. The error is [ErrUnknown] or [ErrExpired].
func (g *Gathering) Check(state string, now time.Time) error {
	if !hmac.Equal([]byte(g.State()), []byte(state)) {
		return because("the state belongs to no visit")
	}
	if !now.Before(g.Ends()) {
		return fmt.Errorf("%w: it began at %s, and now it is %s", ErrExpired, g.begin.UTC().Format(time.RFC3339), now.UTC().Format(time.RFC3339))
	}
	return nil
}

// Ends is when there is no time left.
func (g *Gathering) Ends() time.Time { return g.begin.Add(Life) }

// IsBy reports whether it began by this name.
func (g *Gathering) IsBy(by string) bool { return g.by == digestOf(by) }

// IsFor reports whether it began for this party.
func (g *Gathering) IsFor(party string) bool { return g.party == digestOf(party) }

// Sent reports whether it began with this ticket.
func (g *Gathering) Sent(ticket string) bool { return g.ticket == digestOf(ticket) }

// End marks a visit that has ended well.
func (g *Gathering) End(now time.Time) {
	g.Done, g.begin, g.ReturnTo, g.Since = true, now.Truncate(time.Millisecond), "", time.Time{}
}

// same reports whether both are about one request of one party.
func (g *Gathering) same(other *Gathering) bool {
	return g.by == other.by && g.party == other.party && g.Request == other.Request
}

// because returns ErrUnknown with a reason.
func because(reason string) error { return fmt.Errorf("%w: %s", ErrUnknown, reason) }
