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
