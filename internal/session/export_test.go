package session

import (
	"context"
	"time"

	"example.com/gatehouse/internal/swap"
)

// These exports are for the tests of the codec.

const (
	HeadSize = headSize
	IDSize   = idSize
	Version  = recordVersion
)

var (
	DecodeRecord  = decodeRecord
	ErrNewVersion = errVersion
)

// ReadGlance reads stored bytes as a request does, and ReadRecord as a renewal.
func (k *Keeper) ReadGlance(b []byte, marks [2]string, whose Party) (*Glance, error) {
	g := &Glance{Found: Found{names: marks, raw: b}}
	return g, k.read(g, whose)
}

func (k *Keeper) ReadRecord(b []byte) (*Record, error) { return k.unpack("", b) }

// AsRecord returns a record with what a Glance keeps.
func (g *Glance) AsRecord() *Record {
	r := &Record{
		Issuer: g.Issuer, Subject: string(g.Subject), ClientID: g.ClientID, Scope: string(g.Scope), Claims: g.Claims, Asked: g.Asked,
		Marks: [2]Mark{{g.marks[0], g.numbers[tagNumber0]}, {g.marks[1], g.numbers[tagNumber1]}},
		Begin: g.time(tagBegin), Seen: g.time(tagSeen), Ends: g.time(tagEnds), AuthTime: g.AuthTime(),
		Expires: g.time(tagExpires), Requested: g.time(tagRequested), AskedAt: g.AskedAt(),
	}
	r.Lease.RetryAt = g.time(tagRetryAt)
	return r
}

// Has reports whether a Glance has a field that it does not keep.
func (g *Glance) Has(refresh bool) bool {
	if refresh {
		return g.isSet(tagRefresh)
	}
	return g.isSet(tagEnded)
}

// DecodeMark returns the number of a stored mark.
func DecodeMark(b []byte) (uint64, error) {
	m, err := decodeMark(b)
	return m.number, err
}

// EncodeMark returns the stored form of a mark.
func EncodeMark(number uint64, end time.Time) []byte { return storedMark{number, end}.encode() }

// MarkEnd returns the end that a stored mark carries.
func MarkEnd(b []byte) (time.Time, error) {
	m, err := decodeMark(b)
	return m.end, err
}

// MarkKey returns the key of a mark in the store.
func MarkKey(name string) string { return markKey(name) }

func (r *Record) Encode() []byte { return r.encode() }

func (r *Record) Unknown() []byte { return r.unknown }

func (k *Keeper) Swap(ctx context.Context, key string, old []byte, next swap.Value) (bool, error) {
	return k.swap(ctx, key, old, next)
}

// LogoutKey returns where the number of a logout token is kept.
func LogoutKey(l Logout) string { return l.key(l.marks()) }

// IndexKey returns where the list of a person's sessions is kept.
func IndexKey(name, issuer, subject string) string {
	return (&Keeper{name: name}).indexKey(issuer, subject)
}
