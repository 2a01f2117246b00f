package redisstore

import (
	"context"
	"crypto/sha256"
	"encoding/base64"
	"encoding/binary"
	"fmt"

	"github.com/redis/go-redis/v9"
)

// The kinds of values beside those of sessions. Keys of sessions are 43
// characters without a colon.
const (
	kindGrant    = "grant:"
	kindResource = "resource:"
	kindClient   = "client:"
)

// name returns the key in Redis of the parts. It is a hash, so Redis does not
// list who the owners are. The length of each part goes before it, so that no
// two lists of parts have one name, whatever bytes they hold.
func (s *Store) name(kind string, parts ...string) string {
	in := make([]byte, 0, 256)
	for _, part := range parts {
		in = append(binary.AppendUvarint(in, uint64(len(part))), part...)
	}
	sum := sha256.Sum256(in)
	return s.config.Prefix + kind + base64.RawURLEncoding.EncodeToString(sum[:])
}

// ID returns the id under issuer, owner and name, or "" if none is kept.
func (s *Store) ID(ctx context.Context, issuer, owner, name string) (id string, err error) {
	value, err := s.get(ctx, s.name(kindResource, issuer, owner, name))
	if err != nil {
		return "", failed("id", err)
	}
	return string(value), nil
}

// putScript keeps a value if none is there, and returns the one that is. With
// "w" it writes the one that is there once more, for WAIT as in swapScript.
var putScript = redis.NewScript(`
local current = redis.call('GET', KEYS[1])
if not current or ARGV[1] == 'w' then
	current = current or ARGV[2]
	redis.call('SET', KEYS[1], current)
end
return current
`)

// PutIfAbsent keeps id if none is kept yet, and returns the one that is.
func (s *Store) PutIfAbsent(ctx context.Context, issuer, owner, name, id string) (winner string, err error) {
	ctx, cancel := s.within(ctx)
	defer cancel()
	mode := ""
	if s.config.WaitReplicas > 0 {
		mode = "w"
	}
	answer, err := s.run(ctx, putScript, s.name(kindResource, issuer, owner, name), mode, id)
	if err != nil {
		return "", failed("put id", err)
	}
	winner, ok := answer.(string)
	if !ok {
		return "", failed("put id", fmt.Errorf("the script answered %.20v", answer))
	}
	return winner, nil
}

// Drop deletes id if it is the one that is kept.
func (s *Store) Drop(ctx context.Context, issuer, owner, name, id string) error {
	ctx, cancel := s.within(ctx)
	defer cancel()
	_, err := s.change(ctx, s.name(kindResource, issuer, owner, name), change{old: []byte(id)})
	if err != nil {
		return failed("drop id", err)
	}
	return nil
}

// Grant returns the grant of an owner, or nil if there is none.
func (s *Store) Grant(ctx context.Context, issuer, owner string) ([]byte, error) {
	value, err := s.get(ctx, s.name(kindGrant, issuer, owner))
	if err != nil {
		return nil, failed("grant", err)
	}
	return value, nil
}

// SwapGrant replaces old with value in one step if exactly old is kept. A nil
// old means that nothing may be kept; a nil value deletes. It reports whether
// value is kept now, also if it was before. A grant does not expire.
func (s *Store) SwapGrant(ctx context.Context, issuer, owner string, old, value []byte) (swapped bool, err error) {
	ctx, cancel := s.within(ctx)
	defer cancel()
	swapped, err = s.change(ctx, s.name(kindGrant, issuer, owner), change{old: old, value: value, forever: true})
	if err != nil {
		return false, failed("swap grant", err)
	}
	return swapped, nil
}

// Registration returns a registered client, or nil if there is none.
func (s *Store) Registration(ctx context.Context, name string) ([]byte, error) {
	value, err := s.get(ctx, s.name(kindClient, name))
	if err != nil {
		return nil, failed("registration", err)
	}
	return value, nil
}

// SwapRegistration replaces old with value as SwapGrant does.
func (s *Store) SwapRegistration(ctx context.Context, name string, old, value []byte) (swapped bool, err error) {
	ctx, cancel := s.within(ctx)
	defer cancel()
	swapped, err = s.change(ctx, s.name(kindClient, name), change{old: old, value: value, forever: true})
	if err != nil {
		return false, failed("swap registration", err)
	}
	return swapped, nil
}
