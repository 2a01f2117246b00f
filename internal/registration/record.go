// Package registration is a client that registered itself at a provider: what is
// remembered of it, how an answer of the provider is judged, and how many
// replicas that share one store register once, renew a secret, and clear up what
// a crash or a refused answer left behind.
//
// It knows bytes under one key of a store, a clock, and a [Server] that makes the
// calls. It must not know HTTP, where the endpoints are, and what a sign-in is.
package registration

import (
	"crypto/rand"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"time"

	"example.com/gatehouse/internal/lease"
	"example.com/gatehouse/internal/seal"
)

// Client is what the provider said about one registration. It holds secrets, so
// it is not printed: see [Client.Format].
type Client struct {
	ID      string    `json:"id"`
	Secret  string    `json:"secret,omitempty"`
	Expires time.Time `json:"expires,omitzero"`  // of the secret; zero for never
	Since   time.Time `json:"since"`             // when we got this secret, by our clock
	Auth    string    `json:"auth,omitempty"`    // token_endpoint_auth_method
	Signing string    `json:"signing,omitempty"` // id_token_signed_response_alg, if we asked for one
	Info    string    `json:"info,omitempty"`    // userinfo_signed_response_alg, if we asked for one
	Manage  string    `json:"manage,omitempty"`  // registration_client_uri (RFC 7592 §3), "" if there is none that may be used
	Token   string    `json:"token,omitempty"`   // registration_access_token
	Asked   string    `json:"asked,omitempty"`   // identifies the metadata that was asked for
	From    time.Time `json:"from,omitzero"`     // when it begins to begin sign-ins; zero for at once
}

// Format implements fmt.Formatter for every verb: only the id is no secret.
func (c Client) Format(f fmt.State, _ rune) { fmt.Fprintf(f, "client %q", c.ID) }

// Serves reports whether the client can still authenticate.
func (c *Client) Serves(now time.Time) bool { return c.Expires.IsZero() || now.Before(c.Expires) }

const (
	// renewAhead is how long before its end a secret is renewed at the earliest.
	// It leaves a day to an operator whose provider refuses the renewal.
	renewAhead = 24 * time.Hour
	// renewPart lets a secret of a short life serve for three quarters of it.
	renewPart = 4
	// minLife is the shortest life of a new secret. It is renewed so long after it
	// was given that no try comes sooner than RG5 allows.
	minLife = tryEvery * renewPart / (renewPart - 1)
)

// RenewAt is when the secret has to be renewed, or the zero time for never.
func (c *Client) RenewAt() time.Time {
	if c.Expires.IsZero() {
		return time.Time{}
	}
	return c.Expires.Add(-min(renewAhead, max(0, c.Expires.Sub(c.Since))/renewPart))
}

func (c *Client) due(now time.Time) bool {
	at := c.RenewAt()
	return !at.IsZero() && !now.Before(at)
}

// managed reports whether the client can be read, changed and deleted.
func (c *Client) managed() bool { return c.Manage != "" && c.Token != "" }

// Record is what the replicas share about one registration.
type Record struct {
	// Clients are the registered clients, the newest first. Sessions of the
	// others go on until their secrets end.
	Clients []Client
	// Ended are the ids of clients whose secrets have ended. Their sessions are
	// still ours.
	Ended []string
	// Leftover are clients that nobody uses and that have to be deleted at the
	// provider.
	Leftover []Client
	// Deleted means that the application has deleted the registration.
	Deleted bool

	// Sent is when a request was sent whose end is not stored yet. If the one
	// who sent it is gone, the provider may have a client that nobody knows.
	Sent time.Time
	// Fails counts the tries in a row that failed, and NotBefore is when the
	// next one may begin.
	Fails     int
	NotBefore time.Time
	// Why says why the last try failed, and Code in which way.
	Why, Code string

	Lease lease.Lease
	// Stale means that the stored form is not the one that [Box.Encode] writes
	// now: it is not sealed although there are keys, or not with the first.
	Stale bool
}

// Current returns the newest client, or nil if its secret does not serve.
func (r *Record) Current(now time.Time) *Client {
	if r.Deleted || len(r.Clients) == 0 || !r.Clients[0].Serves(now) {
		return nil
	}
	return &r.Clients[0]
}

// At returns the client of sign-ins that begin, or have begun, at a time, or nil
// if there is none whose secret serves now. All replicas that know the record
// give the same answer, so that a code is redeemed by the client that asked for
// it.
func (r *Record) At(begin, now time.Time) *Client {
	var last *Client
	for i := range r.Clients {
		c := &r.Clients[i]
		if r.Deleted || !c.Serves(now) {
			continue
		}
		if !begin.Before(c.From) {
			return c
		}
		last = c
	}
	return last
}

// Owns reports whether what was made for that client is ours.
func (r *Record) Owns(id string) bool { return r.Find(id) != nil || slices.Contains(r.Ended, id) }

// Find returns the client with that id, or nil.
func (r *Record) Find(id string) *Client {
	for i := range r.Clients {
		if r.Clients[i].ID == id {
			return &r.Clients[i]
		}
	}
	return nil
}

const (
	// maxClients is how many clients are remembered. Secrets of which more serve
	// at the same time would be renewed many times within their life.
	maxClients = 8
	// maxEnded is how many of those that have ended are known by their ids. At
	// one a day that is longer than sessions live.
	maxEnded = 128
	// switchAfter is how long after its registration a client begins sign-ins, if
	// an older one serves meanwhile. By then every replica knows it: each looks
	// at the store every 15 seconds.
	switchAfter = 45 * time.Second
)

// put makes c the current client. One with the same id is replaced. Those whose
// secret has ended, and the oldest if there are too many, are left over.
func (r *Record) put(c Client, now time.Time) {
	kept := []Client{c}
	for _, old := range r.Clients {
		switch {
		case old.ID == c.ID:
		case old.Serves(now) && len(kept) < maxClients:
			kept = append(kept, old)
			if old.Serves(now.Add(switchAfter)) {
				kept[0].From = now.Add(switchAfter)
			}
		default:
			r.leave(old)
			r.end(old.ID)
		}
	}
	r.Clients, r.Deleted = kept, false
}

// end remembers the id of a client that is no longer one of ours.
func (r *Record) end(id string) {
	r.Ended = append(r.Ended[max(0, len(r.Ended)-maxEnded+1):], id)
}

// replace puts what the provider says now about a client that it has already in
// the place of what it said before.
func (r *Record) replace(c Client) bool {
	had := r.Find(c.ID)
	if had != nil {
		*had = c
	}
	return had != nil
}

// maxLeftover is how many clients may wait for their deletion at a provider that
// does not answer. Beyond that the oldest is forgotten.
const maxLeftover = 16

// leave remembers a client to be deleted, if the provider lets us.
func (r *Record) leave(c Client) {
	if !c.managed() || slices.ContainsFunc(r.Leftover, func(l Client) bool { return l.Manage == c.Manage }) { // the id may be unknown
		return
	}
	r.Leftover = append(r.Leftover[max(0, len(r.Leftover)-maxLeftover+1):], c)
}

// stored is the plain form, as JSON. It begins with a brace, and so differs from
// a sealed form.
type stored struct {
	Version   int       `json:"v"`
	Write     string    `json:"w"` // new in every value, to recognise a swap whose reply was lost
	Clients   []Client  `json:"clients,omitempty"`
	Ended     []string  `json:"ended,omitempty"`
	Leftover  []Client  `json:"leftover,omitempty"`
	Deleted   bool      `json:"deleted,omitempty"`
	Sent      time.Time `json:"sent,omitzero"`
	Fails     int       `json:"fails,omitempty"`
	NotBefore time.Time `json:"not_before,omitzero"`
	Why       string    `json:"why,omitempty"`
	Code      string    `json:"code,omitempty"`
	Holder    string    `json:"holder,omitempty"`
	Until     time.Time `json:"lease,omitzero"`
	Takeovers uint64    `json:"takeovers,omitempty"`
	RetryAt   time.Time `json:"retry_at,omitzero"`
}

const (
	// maxValue is the size that every store takes.
	maxValue = 60_000

	// A sealed form is version ‖ kind ‖ what seal.Ring makes of the plain form.
	version    = 1
	kindSealed = 1
	headSize   = 2

	domain = "client registration"
)

var (
	// ErrGarbage means that bytes are no registration of any build under that
	// name: they were cut, changed, or moved from another name. They are never
	// replaced, because the provider has a client that they may have named.
	ErrGarbage = errors.New("registration: not a registration of that name")
	// ErrUnreadable means that this build must not judge the bytes: they are
	// sealed with a key that it does not have, or of a newer build.
	ErrUnreadable = errors.New("registration: this build cannot read it")
	// ErrTooLarge means that what the provider said does not fit into one value.
	ErrTooLarge = errors.New("registration: the secrets are too large")
)

// Box turns records into their stored form and back. It is safe for concurrent
// use. The zero Box does not seal.
type Box struct {
	Keys *seal.Ring // nil for none
}

// Encode returns the stored form of a record. No two are ever equal.
func (b Box) Encode(name string, r Record) ([]byte, error) {
	l := r.Lease
	value, err := json.Marshal(stored{version, rand.Text(), r.Clients, r.Ended, r.Leftover, r.Deleted, r.Sent, r.Fails, r.NotBefore, r.Why, r.Code, l.Holder, l.Until, l.Takeovers, l.RetryAt})
	if err != nil {
		return nil, err
	}
	if b.Keys != nil {
		value = append([]byte{version, kindSealed}, b.Keys.Seal(domain, []byte(name), value)...)
	}
	if len(value) > maxValue {
		return nil, fmt.Errorf("%w: %d bytes", ErrTooLarge, len(value))
	}
	return value, nil
}

// Decode reads the stored form. It fails with [ErrUnreadable] if another build
// or other keys may read it, and otherwise with [ErrGarbage].
func (b Box) Decode(name string, value []byte) (Record, error) {
	plain, stale, err := b.open(name, value)
	if err != nil {
		return Record{}, err
	}
	var s stored
	if err := json.Unmarshal(plain, &s); err != nil {
		return Record{}, fmt.Errorf("%w: it cannot be parsed", ErrGarbage)
	}
	switch {
	case s.Version > version:
		return Record{}, fmt.Errorf("%w: it is of a newer version", ErrUnreadable)
	case s.Version != version || slices.ContainsFunc(s.Clients, func(c Client) bool { return c.ID == "" }):
		return Record{}, fmt.Errorf("%w: it lacks a member", ErrGarbage)
	}
	l := lease.Lease{Holder: s.Holder, Until: s.Until, Takeovers: s.Takeovers, RetryAt: s.RetryAt}
	return Record{s.Clients, s.Ended, s.Leftover, s.Deleted, s.Sent, s.Fails, s.NotBefore, s.Why, s.Code, l, stale}, nil
}

// open returns the plain form.
func (b Box) open(name string, value []byte) (plain []byte, stale bool, err error) {
	switch {
	case len(value) > maxValue:
		return nil, false, ErrGarbage
	case len(value) > 0 && value[0] == '{':
		return value, b.Keys != nil, nil
	case len(value) < headSize+seal.Overhead || value[0] == 0:
		return nil, false, ErrGarbage
	case value[0] > version || value[1] != kindSealed:
		return nil, false, fmt.Errorf("%w: it is of a newer version", ErrUnreadable)
	case b.Keys == nil:
		return nil, false, fmt.Errorf("%w: it is sealed, and there are no keys", ErrUnreadable)
	}
	sealed := value[headSize:]
	plain, err = b.Keys.Open(domain, []byte(name), sealed)
	switch {
	case errors.Is(err, seal.ErrVersion), errors.Is(err, seal.ErrUnknownKey):
		return nil, false, fmt.Errorf("%w: %w", ErrUnreadable, err)
	case err != nil:
		return nil, false, fmt.Errorf("%w: %w", ErrGarbage, err)
	}
	return plain, !b.Keys.First(sealed), nil
}
