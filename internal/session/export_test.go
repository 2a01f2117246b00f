package session

import (
	"context"

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
	DecodeMark    = decodeMark
	EncodeMark    = encodeMark
	ErrNewVersion = errVersion
)

func (r *Record) Encode() []byte { return r.encode() }

func (r *Record) Unknown() []byte { return r.unknown }

func (k *Keeper) Swap(ctx context.Context, key string, old []byte, next swap.Value) (bool, error) {
	return k.swap(ctx, key, old, next)
}
