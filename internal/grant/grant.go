// Package grant has the stored form of an owner's grant: its fields, its
// versions, and its seal.
//
// It knows keys and times. It must not know who stores the bytes, how tokens
// are renewed, and what they open.
package grant

import (
	"crypto/rand"
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"time"

	"example.com/gatehouse/internal/lease"
	"example.com/gatehouse/internal/seal"
)

// Grant is what a service may do for an owner.
type Grant struct {
	Access  string
	Refresh string
	Client  string    // the id of the client that Refresh was issued to, "" if that is not known
	Expires time.Time // of Access; zero when unknown
	RenewAt time.Time // zero for never
	Lease   lease.Lease

	// Stale means that the stored form is not the one that [Box.Encode] writes
	// now: it is not sealed although there are keys, or not with the first.
	Stale bool
	Plain bool // it is not sealed although there are keys
}

// stored is the plain form, as JSON. It begins with a brace, and so differs from
// a sealed form.
type stored struct {
	Write     string    `json:"w"` // new in every value, to recognise a swap whose reply was lost
	Access    string    `json:"access,omitempty"`
	Refresh   string    `json:"refresh,omitempty"`
	Client    string    `json:"client,omitempty"` // builds of before do not know it, and leave it out
	Expires   time.Time `json:"expires,omitzero"`
	RenewAt   time.Time `json:"renew_at,omitzero"`
	Holder    string    `json:"holder,omitempty"`
	Until     time.Time `json:"lease,omitzero"`
	Takeovers uint64    `json:"takeovers,omitempty"`
	RetryAt   time.Time `json:"retry_at,omitzero"`
}

// Fresh returns the access token if it is valid and not yet due for renewal, or
// else "".
func (g *Grant) Fresh(now time.Time, refused string) string {
	if !g.RenewAt.IsZero() && !now.Before(g.RenewAt) {
		return ""
	}
	return g.Serving(now, refused)
}

// Serving returns the access token if it is still valid and not the refused
// one, or else "".
func (g *Grant) Serving(now time.Time, refused string) string {
	if g.Access == refused || !g.Expires.IsZero() && !now.Before(g.Expires) {
		return ""
	}
	return g.Access
}

const (
	// maxValue is the size that every store of grants accepts.
	maxValue = 60_000

	// A sealed form is version ‖ kind ‖ what seal.Ring makes of the plain form.
	version    = 1
	kindSealed = 1
	headSize   = 2

	domain = "owner grant"
)

var (
	// ErrGarbage means that bytes are no grant of any build for that owner: they
	// were cut, changed, or moved from another owner.
	ErrGarbage = errors.New("grant: not a grant of this owner")
	// ErrUnreadable means that this build must not judge the bytes: they are
	// sealed with a key that it does not have, or of a newer build.
	ErrUnreadable = errors.New("grant: this build cannot read it")
	// ErrTooLarge means that the tokens do not fit into one value.
	ErrTooLarge = errors.New("grant: the tokens are too large")
)

// Box turns grants into their stored form and back. It is safe for concurrent
// use. The zero Box does not seal.
type Box struct {
	Keys *seal.Ring // nil for none
}

// Encode returns the stored form of an owner's grant. No two are ever equal.
func (b Box) Encode(issuer, owner string, g Grant) ([]byte, error) {
	l := g.Lease
	value, err := json.Marshal(stored{rand.Text(), g.Access, g.Refresh, g.Client, g.Expires, g.RenewAt, l.Holder, l.Until, l.Takeovers, l.RetryAt})
	if err != nil {
		return nil, err
	}
	if b.Keys != nil {
		value = append([]byte{version, kindSealed}, b.Keys.Seal(domain, place(issuer, owner), value)...)
	}
	if len(value) > maxValue {
		return nil, fmt.Errorf("%w: %d bytes", ErrTooLarge, len(value))
	}
	return value, nil
}

// Decode reads the stored form. It fails with [ErrUnreadable] if another build
// or other keys may read it, and otherwise with [ErrGarbage].
func (b Box) Decode(issuer, owner string, value []byte) (Grant, error) {
	plain, stale, err := b.open(issuer, owner, value)
	if err != nil {
		return Grant{}, err
	}
	var s stored
	if err := json.Unmarshal(plain, &s); err != nil {
		return Grant{}, fmt.Errorf("%w: it cannot be parsed", ErrGarbage)
	}
	l := lease.Lease{Holder: s.Holder, Until: s.Until, Takeovers: s.Takeovers, RetryAt: s.RetryAt}
	return Grant{s.Access, s.Refresh, s.Client, s.Expires, s.RenewAt, l, stale, stale && value[0] == '{'}, nil
}

// open returns the plain form.
func (b Box) open(issuer, owner string, value []byte) (plain []byte, stale bool, err error) {
	switch {
	case len(value) > 0 && value[0] == '{':
		return value, b.Keys != nil, nil
	case len(value) < headSize+seal.Overhead || len(value) > maxValue || value[1] > kindSealed:
		return nil, false, ErrGarbage
	case value[0] > version: // only what has the head and the length of a value
		return nil, false, fmt.Errorf("%w: it is of a newer version", ErrUnreadable)
	case value[0] != version || value[1] != kindSealed:
		return nil, false, ErrGarbage
	case b.Keys == nil:
		return nil, false, fmt.Errorf("%w: it is sealed, and there are no keys", ErrUnreadable)
	}
	sealed := value[headSize:]
	plain, err = b.Keys.Open(domain, place(issuer, owner), sealed)
	switch {
	case errors.Is(err, seal.ErrVersion), errors.Is(err, seal.ErrUnknownKey):
		return nil, false, fmt.Errorf("%w: %w", ErrUnreadable, err)
	case err != nil:
		return nil, false, fmt.Errorf("%w: %w", ErrGarbage, err)
	}
	return plain, !b.Keys.First(sealed), nil
}

// place is what a sealed grant is bound to. The length keeps issuer and owner
// apart.
func place(issuer, owner string) []byte {
	ad := binary.AppendUvarint(make([]byte, 0, binary.MaxVarintLen64+len(issuer)+len(owner)), uint64(len(issuer)))
	return append(append(ad, issuer...), owner...)
}
