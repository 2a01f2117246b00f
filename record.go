package gatehouse

import (
	"crypto/rand"
	"encoding/binary"
	"errors"
	"time"
)

// A record is one login. On the wire it is
//
//	version ‖ form ‖ write id (16) ‖ fields
//
// where form says whether what follows is sealed, and a field is tag ‖ length ‖
// bytes with both numbers as uvarint. Fields this build does not know are kept,
// so that an older replica does not lose what a newer one wrote.
type record struct {
	issuer, subject, clientID, sid string

	begin    time.Time // of the sign-in attempt: the session's life counts from here
	seen     time.Time // last write-back of the idle limit
	ends     time.Time // if set, ends the session earlier than its lifetime
	authTime time.Time
	claims   []byte
	scope    string

	access    string
	expires   time.Time // of access; zero when unknown
	requested time.Time // when access was asked for
	refresh   string
	idToken   string

	marks [2]mark // the marks that end it, with the numbers its callback read

	asked   []byte    // digest of the requirements this sign-in was to meet
	askedAt time.Time // when it came back

	leaseID    []byte // who is refreshing
	leaseUntil time.Time
	takeovers  uint64    // leases that ran out without an answer
	retryAt    time.Time // no refresh before, after the provider had trouble

	ended time.Time // set on a tombstone

	unknown []byte // fields of a newer build
}

const (
	recordVersion = 1
	formPlain     = 0
	formSealed    = 1
	writeIDSize   = 16
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
	tagLeaseID
	tagLeaseUntil
	tagTakeovers
	tagRetryAt
	tagEnded
)

var (
	errRecordGarbage = errors.New("not a login record")
	errRecordVersion = errors.New("login record of a newer version")
)

// binding ties a tag to its field, for both directions.
type binding struct {
	tag   uint64
	str   *string
	bytes *[]byte
	when  *time.Time
	num   *uint64
}

func (r *record) bindings() [26]binding {
	return [26]binding{
		{tag: tagIssuer, str: &r.issuer}, {tag: tagSubject, str: &r.subject},
		{tag: tagClientID, str: &r.clientID}, {tag: tagSID, str: &r.sid},
		{tag: tagBegin, when: &r.begin}, {tag: tagSeen, when: &r.seen},
		{tag: tagEnds, when: &r.ends}, {tag: tagAuthTime, when: &r.authTime},
		{tag: tagClaims, bytes: &r.claims}, {tag: tagScope, str: &r.scope},
		{tag: tagAccess, str: &r.access}, {tag: tagExpires, when: &r.expires},
		{tag: tagRequested, when: &r.requested}, {tag: tagRefresh, str: &r.refresh},
		{tag: tagIDToken, str: &r.idToken},
		{tag: tagMark0, str: &r.marks[0].name}, {tag: tagNumber0, num: &r.marks[0].number},
		{tag: tagMark1, str: &r.marks[1].name}, {tag: tagNumber1, num: &r.marks[1].number},
		{tag: tagAsked, bytes: &r.asked}, {tag: tagAskedAt, when: &r.askedAt},
		{tag: tagLeaseID, bytes: &r.leaseID}, {tag: tagLeaseUntil, when: &r.leaseUntil},
		{tag: tagTakeovers, num: &r.takeovers}, {tag: tagRetryAt, when: &r.retryAt},
		{tag: tagEnded, when: &r.ended},
	}
}

// encode returns the plain form under a fresh write id.
func (r *record) encode() []byte {
	size := 2 + writeIDSize + len(r.claims) + len(r.access) + len(r.refresh) + len(r.idToken) + len(r.unknown)
	out := newValue(size + 512)
	for _, b := range r.bindings() {
		switch {
		case b.str != nil && *b.str != "":
			out = appendField(out, b.tag, *b.str)
		case b.bytes != nil && len(*b.bytes) > 0:
			out = appendField(out, b.tag, *b.bytes)
		case b.when != nil && !b.when.IsZero():
			out = appendNumber(out, b.tag, uint64(b.when.UnixMilli()))
		case b.num != nil && *b.num != 0:
			out = appendNumber(out, b.tag, *b.num)
		}
	}
	return append(out, r.unknown...)
}

// newValue begins a stored value: version, plain form and a fresh 128-bit write
// id, so that no two writes are ever equal.
func newValue(size int) []byte {
	out := make([]byte, 2+writeIDSize, max(size, 2+writeIDSize))
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

// decodeRecord reads the plain form. The record keeps parts of b.
func decodeRecord(b []byte) (*record, error) {
	body, err := valueBody(b)
	if err != nil {
		return nil, err
	}
	r := new(record)
	bound := r.bindings()
	for len(body) > 0 {
		tag, value, rest, ok := cutField(body)
		if !ok {
			return nil, errRecordGarbage
		}
		if tag == 0 || tag > uint64(len(bound)) {
			r.unknown = append(r.unknown, body[:len(body)-len(rest)]...)
		} else if !bound[tag-1].set(value) {
			return nil, errRecordGarbage
		}
		body = rest
	}
	return r, nil
}

// valueBody checks the head of a plain value and returns what follows it.
func valueBody(b []byte) ([]byte, error) {
	switch {
	case len(b) < 2+writeIDSize:
		return nil, errRecordGarbage
	case b[0] > recordVersion:
		return nil, errRecordVersion
	case b[0] != recordVersion || b[1] != formPlain:
		return nil, errRecordGarbage
	}
	return b[2+writeIDSize:], nil
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

func (b *binding) set(value []byte) bool {
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
	if n > 1<<50 { // some 35,000 years in ms
		return false
	}
	*b.when = time.UnixMilli(int64(n))
	return true
}
