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

	access    token
	expires   time.Time // of access; zero when unknown
	requested time.Time // when access was asked for
	refresh   token
	idToken   token

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

// token is a token of a record. It stays part of the stored value, because most
// requests do not look at it; String copies it.
type token []byte

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

// binding is where a field's value lives: exactly one of them is set, none for
// a tag of a newer build.
type binding struct {
	str   *string
	bytes *[]byte
	when  *time.Time
	num   *uint64
}

// binding ties a tag to its field, for both directions.
func (r *record) binding(tag uint64) binding {
	switch tag {
	case tagIssuer:
		return binding{str: &r.issuer}
	case tagSubject:
		return binding{str: &r.subject}
	case tagClientID:
		return binding{str: &r.clientID}
	case tagSID:
		return binding{str: &r.sid}
	case tagBegin:
		return binding{when: &r.begin}
	case tagSeen:
		return binding{when: &r.seen}
	case tagEnds:
		return binding{when: &r.ends}
	case tagAuthTime:
		return binding{when: &r.authTime}
	case tagClaims:
		return binding{bytes: &r.claims}
	case tagScope:
		return binding{str: &r.scope}
	case tagAccess:
		return binding{bytes: (*[]byte)(&r.access)}
	case tagExpires:
		return binding{when: &r.expires}
	case tagRequested:
		return binding{when: &r.requested}
	case tagRefresh:
		return binding{bytes: (*[]byte)(&r.refresh)}
	case tagIDToken:
		return binding{bytes: (*[]byte)(&r.idToken)}
	case tagMark0:
		return binding{str: &r.marks[0].name}
	case tagNumber0:
		return binding{num: &r.marks[0].number}
	case tagMark1:
		return binding{str: &r.marks[1].name}
	case tagNumber1:
		return binding{num: &r.marks[1].number}
	case tagAsked:
		return binding{bytes: &r.asked}
	case tagAskedAt:
		return binding{when: &r.askedAt}
	case tagLeaseID:
		return binding{bytes: &r.leaseID}
	case tagLeaseUntil:
		return binding{when: &r.leaseUntil}
	case tagTakeovers:
		return binding{num: &r.takeovers}
	case tagRetryAt:
		return binding{when: &r.retryAt}
	case tagEnded:
		return binding{when: &r.ended}
	}
	return binding{}
}

// encode returns the plain form under a fresh write id.
func (r *record) encode() []byte {
	size := 2 + writeIDSize + len(r.claims) + len(r.access) + len(r.refresh) + len(r.idToken) + len(r.unknown)
	out := newValue(size + 512)
	for tag := tagIssuer; tag <= tagEnded; tag++ {
		b := r.binding(tag)
		switch {
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
	for len(body) > 0 {
		tag, value, rest, ok := cutField(body)
		if !ok {
			return nil, errRecordGarbage
		}
		if tag < tagIssuer || tag > tagEnded {
			r.unknown = append(r.unknown, body[:len(body)-len(rest)]...)
		} else if !r.binding(tag).set(value) {
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
	if n > 1<<50 { // some 35,000 years in ms
		return false
	}
	*b.when = time.UnixMilli(int64(n))
	return true
}
