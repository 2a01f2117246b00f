package session

import (
	"crypto/rand"
	"encoding/binary"
	"errors"
	"time"

	"example.com/gatehouse/internal/lease"
)

// A Record is one login. Its encoded form is
//
//	version ‖ form ‖ write id (16) ‖ fields
//
// where form says whether the rest is sealed. A field is tag ‖ length ‖ bytes,
// with tag and length as uvarints. Fields unknown to this build are kept, so an
// older replica does not lose what a newer one wrote.
//
// Many requests read a Record at once: change only a copy.
type Record struct {
	Issuer, Subject, ClientID, SID string

	Begin    time.Time // of the sign-in attempt: the session's lifetime counts from here
	Seen     time.Time // last write of the idle limit
	Ends     time.Time // at the latest, also if lifetimes are longer now; zero in a record of an older build
	AuthTime time.Time
	Claims   []byte
	Scope    string

	Access    Token
	Expires   time.Time // of Access; zero when unknown
	Requested time.Time // when Access was requested
	Refresh   Token
	IDToken   Token

	Marks [2]Mark // the marks that end it, with the numbers that its callback read

	Asked   []byte    // digest of the requirements that this sign-in had to meet
	AskedAt time.Time // when the sign-in returned

	Lease lease.Lease // who renews the tokens

	Own  []byte // the claims that the application set or, with null, took away: a JSON object; empty in a record of an older build
	Kept []byte // the protocol claims of earlier ID Tokens that IDToken leaves out: a JSON object
	App  Token  // of the application's own session, as the sign-in left it

	Refused time.Time // when Access was renewed because somebody refused the one before, if ever

	Ended time.Time // set on a tombstone, which stays for tombstoneLife, and until Ends if that is later
	Why   Why       // on a tombstone, why the login ended
	Next  []byte    // on a tombstone, the keys of the logins that took its place

	unknown []byte // fields of a newer build
}

// Why says why a login ended.
type Why = uint64

const (
	whyOther    Why = iota // it was revoked, or its tokens were refused
	whyReplaced            // a sign-in in the same browser took its place
	whySignOut             // the person signed out in this browser
)

// Token is a token of a record. It stays a slice of the stored value, because
// most requests do not look at it. Converting it to a string copies it.
type Token []byte

const (
	recordVersion = 1
	formPlain     = 0
	formSealed    = 1
	writeIDSize   = 16
	headSize      = 2 + writeIDSize
)

const (
	tagIssuer uint64 = iota + 1
	tagSubject
	tagClientID
	tagSID
	tagBegin
	tagSeen
	tagEnds
	tagAuthTime
	tagClaims
	tagScope
	tagAccess
	tagExpires
	tagRequested
	tagRefresh
	tagIDToken
	tagMark0
	tagNumber0
	tagMark1
	tagNumber1
	tagAsked
	tagAskedAt
	tagLeaseHolder
	tagLeaseUntil
	tagTakeovers
	tagRetryAt
	tagEnded
	tagWhy
	tagNext
	tagOwn
	tagKept
	tagApp
	tagRefused

	tagLast = tagRefused
)

var (
	// ErrGarbage means that bytes are not a record of any build.
	ErrGarbage = errors.New("session: not a login record")
	// errVersion means that a record was written by a newer build.
	errVersion = errors.New("session: login record of a newer version")
)

// binding points to where the value of a field lives. Exactly one pointer is
// set, or none for a tag of a newer build.
type binding struct {
	str   *string
	bytes *[]byte
	when  *time.Time
	num   *uint64
}

// binding ties a tag to its field, for encoding and decoding.
func (r *Record) binding(tag uint64) binding {
	switch tag {
	case tagIssuer:
		return binding{str: &r.Issuer}
	case tagSubject:
		return binding{str: &r.Subject}
	case tagClientID:
		return binding{str: &r.ClientID}
	case tagSID:
		return binding{str: &r.SID}
	case tagBegin:
		return binding{when: &r.Begin}
	case tagSeen:
		return binding{when: &r.Seen}
	case tagEnds:
		return binding{when: &r.Ends}
	case tagAuthTime:
		return binding{when: &r.AuthTime}
	case tagClaims:
		return binding{bytes: &r.Claims}
	case tagScope:
		return binding{str: &r.Scope}
	case tagAccess:
		return binding{bytes: (*[]byte)(&r.Access)}
	case tagExpires:
		return binding{when: &r.Expires}
	case tagRequested:
		return binding{when: &r.Requested}
	case tagRefresh:
		return binding{bytes: (*[]byte)(&r.Refresh)}
	case tagIDToken:
		return binding{bytes: (*[]byte)(&r.IDToken)}
	case tagMark0:
		return binding{str: &r.Marks[0].Name}
	case tagNumber0:
		return binding{num: &r.Marks[0].Number}
	case tagMark1:
		return binding{str: &r.Marks[1].Name}
	case tagNumber1:
		return binding{num: &r.Marks[1].Number}
	case tagAsked:
		return binding{bytes: &r.Asked}
	case tagAskedAt:
		return binding{when: &r.AskedAt}
	case tagLeaseHolder:
		return binding{str: &r.Lease.Holder}
	case tagLeaseUntil:
		return binding{when: &r.Lease.Until}
	case tagTakeovers:
		return binding{num: &r.Lease.Takeovers}
	case tagRetryAt:
		return binding{when: &r.Lease.RetryAt}
	case tagEnded:
		return binding{when: &r.Ended}
	case tagWhy:
		return binding{num: &r.Why}
	case tagNext:
		return binding{bytes: &r.Next}
	case tagOwn:
		return binding{bytes: &r.Own}
	case tagKept:
		return binding{bytes: &r.Kept}
	case tagApp:
		return binding{bytes: (*[]byte)(&r.App)}
	case tagRefused:
		return binding{when: &r.Refused}
	}
	return binding{}
}

// encode returns the plain form under a fresh write ID.
func (r *Record) encode() []byte {
	size := headSize + len(r.Claims) + len(r.Access) + len(r.Refresh) + len(r.IDToken) + len(r.Own) + len(r.Next) + len(r.unknown)
	out := newValue(size + 512)
	for i := range writeTurns * tagLast {
		tag := tagIssuer + i%tagLast
		b := r.binding(tag)
		switch {
		case i/tagLast != turnOf(tag):
		case b.str != nil && *b.str != "":
			out = appendField(out, tag, *b.str)
		case b.bytes != nil && len(*b.bytes) > 0:
			out = appendField(out, tag, *b.bytes)
		case b.when != nil && !b.when.IsZero():
			out = appendNumber(out, tag, uint64(b.when.UnixMilli()))
		case b.num != nil && *b.num != 0:
			out = appendNumber(out, tag, *b.num)
		}
	}
	return append(out, r.unknown...)
}

// turnOf says when a field is written. What every request reads comes first, side
// by side, and what has many bytes later. The name of a mark is last: without it
// a record is none, so one that was cut anywhere is known by that.
func turnOf(tag uint64) uint64 {
	switch tag {
	case tagClaims, tagAccess, tagRefresh, tagIDToken, tagNext, tagOwn, tagKept, tagApp:
		return 1
	case tagMark1:
		return 2
	}
	return 0
}

const writeTurns = 3

// newValue begins a stored value: version, plain form and a fresh 128-bit write
// ID. Because of the ID, no two writes are ever equal.
func newValue(size int) []byte {
	out := make([]byte, headSize, max(size, headSize))
	out[0], out[1] = recordVersion, formPlain
	rand.Read(out[2:]) // never fails (crypto/rand)
	return out
}

func appendField[T string | []byte](out []byte, tag uint64, value T) []byte {
	out = binary.AppendUvarint(out, tag)
	out = binary.AppendUvarint(out, uint64(len(value)))
	return append(out, value...)
}

func appendNumber(out []byte, tag, n uint64) []byte {
	var b [binary.MaxVarintLen64]byte
	return appendField(out, tag, b[:binary.PutUvarint(b[:], n)])
}

// decodeRecord reads the plain form. The record keeps slices of b.
func decodeRecord(b []byte) (*Record, error) {
	body, err := valueBody(b)
	if err != nil {
		return nil, err
	}
	r := new(Record)
	for len(body) > 0 {
		tag, value, rest, ok := cutField(body)
		if !ok {
			return nil, ErrGarbage
		}
		if tag < tagIssuer || tag > tagLast {
			r.unknown = append(r.unknown, body[:len(body)-len(rest)]...)
		} else if !r.binding(tag).set(value) {
			return nil, ErrGarbage
		}
		body = rest
	}
	return r, nil
}

// valueBody checks the header of a plain value and returns the rest.
func valueBody(b []byte) ([]byte, error) {
	switch {
	case len(b) < headSize:
		return nil, ErrGarbage
	case b[0] > recordVersion && b[1] <= formSealed && len(b) <= maxValue:
		return nil, errVersion // only what has the head and the length of a value
	case b[0] != recordVersion || b[1] != formPlain:
		return nil, ErrGarbage
	}
	return b[headSize:], nil
}

// shortField returns the length of the field at the start of b, with its tag, if
// the field is shorter than 128 bytes, as most are, and otherwise 0.
func shortField(b []byte) int {
	if len(b) < 2 || b[0]|b[1] >= 0x80 || 2+int(b[1]) > len(b) {
		return 0
	}
	return 2 + int(b[1])
}

func cutField(b []byte) (tag uint64, value, rest []byte, ok bool) {
	tag, n := binary.Uvarint(b)
	if n <= 0 {
		return 0, nil, nil, false
	}
	size, m := binary.Uvarint(b[n:])
	if m <= 0 || size > uint64(len(b)-n-m) {
		return 0, nil, nil, false
	}
	start := n + m
	end := start + int(size)
	return tag, b[start:end:end], b[end:], true
}

// latestTime is some 35,000 years after 1970, in milliseconds. Beyond it,
// arithmetic with times would overflow.
const latestTime = 1 << 50

func (b binding) set(value []byte) bool {
	if b.str != nil {
		*b.str = string(value)
		return true
	}
	if b.bytes != nil {
		*b.bytes = value
		return true
	}
	n, size := binary.Uvarint(value)
	if size != len(value) {
		return false
	}
	if b.num != nil {
		*b.num = n
		return true
	}
	if n > latestTime {
		return false
	}
	*b.when = time.UnixMilli(int64(n))
	return true
}

// tombstone takes the place of a record for a minute, so that slow writers find
// that the login has ended.
func (r *Record) tombstone(now time.Time, why Why) *Record {
	return &Record{Issuer: r.Issuer, Subject: r.Subject, ClientID: r.ClientID, Marks: r.Marks, Ended: now, Why: why}
}

// whole reports whether a record has what every login has. What was cut between
// two fields, or is another kind of value, has not. A tombstone may lack it: a
// sign-out leaves one where nothing was stored.
func (r *Record) whole() bool {
	return !r.Ended.IsZero() ||
		r.Issuer != "" && r.Subject != "" && r.ClientID != "" && !r.Begin.IsZero() && !r.Seen.IsZero() && r.Marks[0].Name != "" && r.Marks[1].Name != ""
}

// Serves reports whether the access token can still be used.
func (r *Record) Serves(now time.Time) bool {
	return len(r.Access) > 0 && (r.Expires.IsZero() || now.Before(r.Expires))
}

// Due reports whether the tokens should be renewed now.
func (r *Record) Due(now time.Time) bool {
	if len(r.Refresh) == 0 || r.Expires.IsZero() {
		return false
	}
	return renewable(r.Requested, r.Expires, r.Lease.RetryAt, now)
}

func renewable(requested, expires, retryAt, now time.Time) bool {
	return !now.Before(lease.RenewAt(requested, expires)) && !now.Before(retryAt)
}
