package attempt

import (
	"encoding/base64"
	"encoding/binary"
	"fmt"
	"slices"
	"time"

	"example.com/gatehouse/internal/seal"
)

const (
	// maxCookie bounds an attempt's cookie, with its name, so that many of them
	// stay below the header limits of common proxies.
	maxCookie = 512
	// maxWithPath bounds it where the return path needs more: one of 2,000
	// bytes fits.
	maxWithPath = 3 << 10
	// nameRoom is what the name of the cookie and "=" take of that at most.
	nameRoom = 32
	// maxBesidePath bounds the value without the path where the path needs more
	// than maxCookie. So scopes leave room for a path of 2,000 bytes in one
	// cookie, and for eight with paths of 256 bytes in one browser.
	maxBesidePath = 360

	// markNameSize is the size of a mark's name: 128 bits of a hash.
	markNameSize = 16
	// markSize is the size of an encoded mark: its name and its number.
	markSize = markNameSize + 8

	domain = "gatehouse/attempt"
)

const (
	flagGrant = 1 << iota
	flagAged
	flagRetried
	flagSame
	flagACR    // a field more
	flagAnswer // two fields more, after that one
	flagMore   // two fields more, after those
	flagSilent
)

// because returns ErrUnknown with a reason.
func because(reason string) error { return fmt.Errorf("%w: %s", ErrUnknown, reason) }

// Seal returns the attempt as the value of a cookie. It opens only under the
// same binding (RFC 9700 §4.7), which names who began the attempt and the
// cookie. Parameters that make the cookie too long are left out, then scopes,
// then the acr_values, then what is beside the answer, and so is a path that is
// longer than any that we take. The callback needs the scopes only if the provider
// does not say which it has granted, and the parameters and acr_values only if it
// starts over. What has to be checked stays.
func (a *Attempt) Seal(ring *seal.Ring, binding string) string {
	sealed := func(a *Attempt) string {
		return ring.SealText(domain, binding, a.encode())
	}
	value := sealed(a)
	for _, field := range []*string{&a.Params, &a.Scopes, &a.ACR, &a.Beside} {
		if len(value) <= maxCookie-nameRoom || *field == "" {
			continue
		}
		bare := *a
		bare.ReturnTo = ""
		if len(sealed(&bare)) > maxBesidePath {
			*field = ""
			value = sealed(a)
		}
	}
	if len(value) > maxWithPath-nameRoom {
		a.ReturnTo = ""
		value = sealed(a)
	}
	return value
}

// Open reads what [Attempt.Seal] returned. The error is [ErrUnknown]; it also
// wraps [seal.ErrUnknownKey] if that is the cause.
func Open(ring *seal.Ring, binding, value string) (*Attempt, error) {
	if len(value) > maxWithPath {
		return nil, because("the cookie is too long")
	}
	plain, err := ring.OpenText(domain, binding, value)
	if err != nil {
		return nil, fmt.Errorf("%w: %w", ErrUnknown, err)
	}
	a := new(Attempt)
	if !a.decode(plain) {
		return nil, because("not the form of an attempt")
	}
	a.state = a.derive("state", stateSize)
	return a, nil
}

// encode returns the plain form: fixed fields first, then variable ones.
func (a *Attempt) encode() []byte {
	out := append([]byte{}, a.seed[:]...)
	out = binary.BigEndian.AppendUint64(out, uint64(a.Begin.UnixMilli()))
	var flags byte
	if a.Grant {
		flags |= flagGrant
	}
	if a.Aged {
		flags |= flagAged
	}
	if a.retried {
		flags |= flagRetried
	}
	if a.same {
		flags |= flagSame
	}
	varying := []string{a.Scopes, string(a.Asked), string(a.From), a.ReturnTo}
	if a.ACR != "" {
		flags |= flagACR
		varying = append(varying, a.ACR)
	}
	if a.Answer != "" {
		flags |= flagAnswer
		varying = append(varying, a.Answer, a.Beside)
	}
	if a.Params != "" || a.Essential != "" {
		flags |= flagMore
		varying = append(varying, a.Params, a.Essential)
	}
	if a.Silent {
		flags |= flagSilent
	}
	out = append(out, a.restarts, flags)
	out = binary.AppendUvarint(out, uint64(a.MaxAge/time.Second))
	for _, s := range varying {
		out = binary.AppendUvarint(out, uint64(len(s)))
		out = append(out, s...)
	}
	for _, m := range a.carried {
		var name [markNameSize]byte
		if b, err := base64.RawURLEncoding.DecodeString(m.Name); err == nil && len(b) == markNameSize {
			copy(name[:], b)
		}
		out = append(out, name[:]...)
		out = binary.BigEndian.AppendUint64(out, m.Number)
	}
	return out
}

// decode reads the plain form. It reports whether the bytes are valid.
func (a *Attempt) decode(b []byte) bool {
	if len(b) < seedSize+8+2 {
		return false
	}
	copy(a.seed[:], b)
	b = b[seedSize:]
	a.Begin = time.UnixMilli(int64(binary.BigEndian.Uint64(b)))
	a.restarts, a.Grant, a.Aged = b[8], b[9]&flagGrant != 0, b[9]&flagAged != 0
	a.retried, a.same = b[9]&flagRetried != 0, b[9]&flagSame != 0
	flags := b[9]
	a.Silent = flags&flagSilent != 0
	b = b[10:]
	seconds, n := binary.Uvarint(b)
	if n <= 0 || seconds > uint64(longestAge/time.Second) {
		return false
	}
	a.MaxAge, b = time.Duration(seconds)*time.Second, b[n:]
	var asked, from string
	fields := []*string{&a.Scopes, &asked, &from, &a.ReturnTo}
	if flags&flagACR != 0 {
		fields = append(fields, &a.ACR)
	}
	if flags&flagAnswer != 0 {
		fields = append(fields, &a.Answer, &a.Beside)
	}
	if flags&flagMore != 0 {
		fields = append(fields, &a.Params, &a.Essential)
	}
	for _, field := range fields {
		size, n := binary.Uvarint(b)
		if n <= 0 || size > uint64(len(b)-n) {
			return false
		}
		*field, b = string(b[n:n+int(size)]), b[n+int(size):]
	}
	a.Asked, a.From = []byte(asked), []byte(from)
	if len(a.Answer) > maxAnswer {
		return false
	}
	if len(b)%markSize != 0 {
		return false
	}
	for m := range slices.Chunk(b, markSize) {
		name := base64.RawURLEncoding.EncodeToString(m[:markNameSize])
		a.carried = append(a.carried, Mark{name, binary.BigEndian.Uint64(m[markNameSize:])})
	}
	return true
}
