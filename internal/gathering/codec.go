package gathering

import (
	"encoding/binary"
	"fmt"
	"slices"
	"time"

	"example.com/gatehouse/internal/seal"
)

const (
	// Room is what the visits of one browser take together, in bytes of the
	// Cookie header: two or three with ordinary paths. With the sign-ins under
	// way they stay below the 8 KiB of common proxies.
	Room = 3 << 9
	// nameRoom is what the name of the cookie, "=" and "; " take of that at
	// most.
	nameRoom = 40

	domain = "gatehouse/gathering"
)

const (
	flagSilent = 1 << iota
	flagDone
)

// Seal returns the visit as the value of a cookie. It opens only under the same
// binding, which names who began the visit and the cookie. A return path that
// does not fit is left out. It reports whether the visit fits.
func (g *Gathering) Seal(ring *seal.Ring, binding string) (string, bool) {
	value := g.sealed(ring, binding)
	if len(value) > Room-nameRoom {
		g.ReturnTo = ""
		value = g.sealed(ring, binding)
	}
	return value, len(value) <= Room-nameRoom
}

func (g *Gathering) sealed(ring *seal.Ring, binding string) string {
	return ring.SealText(domain, binding, g.encode())
}

// Open reads what [Gathering.Seal] returned. The error is [ErrUnknown]; it also
// wraps [seal.ErrUnknownKey] if that is the cause.
func Open(ring *seal.Ring, binding, value string) (*Gathering, error) {
	if len(value) > Room {
		return nil, because("the cookie is too long")
	}
	plain, err := ring.OpenText(domain, binding, value)
	if err != nil {
		return nil, fmt.Errorf("%w: %w", ErrUnknown, err)
	}
	g := new(Gathering)
	if !g.decode(plain) {
		return nil, because("not the form of a visit")
	}
	return g, nil
}

// fixed returns the fields whose size never changes.
func (g *Gathering) fixed() [][]byte {
	return [][]byte{g.state[:], g.by[:], g.party[:], g.ticket[:], g.Request[:]}
}

// varying returns the fields whose size is written before them.
func (g *Gathering) varying() []string {
	return []string{string(g.From), g.Origin, g.Method, g.Path, g.ReturnTo}
}

// encode returns the plain form: fixed fields first, then variable ones.
func (g *Gathering) encode() []byte {
	out := slices.Concat(g.fixed()...)
	out = binary.BigEndian.AppendUint64(out, uint64(g.begin.UnixMilli()))
	var flags byte
	if g.Silent {
		flags |= flagSilent
	}
	if g.Done {
		flags |= flagDone
	}
	out = append(out, byte(min(g.Rounds, 0xff)), flags)
	for _, s := range g.varying() {
		out = binary.AppendUvarint(out, uint64(len(s)))
		out = append(out, s...)
	}
	if !g.Since.IsZero() { // an earlier build does not know it, and finds no visit
		out = binary.BigEndian.AppendUint64(out, uint64(g.Since.UnixMilli()))
	}
	return out
}

// decode reads the plain form. It reports whether the bytes are valid.
func (g *Gathering) decode(b []byte) bool {
	for _, field := range g.fixed() {
		if len(b) < len(field) {
			return false
		}
		b = b[copy(field, b):]
	}
	if len(b) < 8+2 {
		return false
	}
	g.begin = time.UnixMilli(int64(binary.BigEndian.Uint64(b)))
	g.Rounds, g.Silent, g.Done = int(b[8]), b[9]&flagSilent != 0, b[9]&flagDone != 0
	b = b[10:]
	var from string
	for _, s := range []*string{&from, &g.Origin, &g.Method, &g.Path, &g.ReturnTo} {
		size, n := binary.Uvarint(b)
		if n <= 0 || size > uint64(len(b)-n) {
			return false
		}
		*s, b = string(b[n:n+int(size)]), b[n+int(size):]
	}
	g.From = []byte(from)
	if len(b) == 8 {
		g.Since, b = time.UnixMilli(int64(binary.BigEndian.Uint64(b))), nil
	}
	return len(b) == 0
}
