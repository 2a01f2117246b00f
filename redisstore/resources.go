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
	value, err := s.get(ctx, "id", s.name(kindResource, issuer, owner, name))
	return string(value), err
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
	mode := ""
	if s.config.WaitReplicas > 0 {
		mode = "w"
	}
	err = s.call(ctx, "put id", func(ctx context.Context) error {
		answer, err := s.run(ctx, putScript, s.name(kindResource, issuer, owner, name), mode, id)
		if err != nil {
			return err
		}
		var ok bool
		if winner, ok = answer.(string); !ok {
			return fmt.Errorf("the script answered %.20v", answer)
		}
		return nil
	})
	return winner, err
}

// Drop deletes id if it is the one that is kept.
func (s *Store) Drop(ctx context.Context, issuer, owner, name, id string) error {
	_, err := s.swap(ctx, "drop id", s.name(kindResource, issuer, owner, name), change{old: []byte(id)})
	return err
}

// Grant returns the grant of an owner, or nil if there is none.
func (s *Store) Grant(ctx context.Context, issuer, owner string) ([]byte, error) {
	return s.get(ctx, "grant", s.name(kindGrant, issuer, owner))
}

// SwapGrant replaces old with value in one step if exactly old is kept. A nil
// old means that nothing may be kept; a nil value deletes. It reports whether
// value is kept now, also if it was before. A grant does not expire.
func (s *Store) SwapGrant(ctx context.Context, issuer, owner string, old, value []byte) (swapped bool, err error) {
	return s.swap(ctx, "swap grant", s.name(kindGrant, issuer, owner), change{old: old, value: value, forever: true})
}

// Registration returns a registered client, or nil if there is none.
func (s *Store) Registration(ctx context.Context, name string) ([]byte, error) {
	return s.get(ctx, "registration", s.name(kindClient, name))
}

// SwapRegistration replaces old with value as SwapGrant does.
func (s *Store) SwapRegistration(ctx context.Context, name string, old, value []byte) (swapped bool, err error) {
	return s.swap(ctx, "swap registration", s.name(kindClient, name), change{old: old, value: value, forever: true})
}
