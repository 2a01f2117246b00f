package uma_rs_test

import (
	"bytes"
	"context"
	"errors"
	"maps"
	"slices"
	"sync"
	"testing"

	"example.com/gatehouse"
	"example.com/gatehouse/internal/e2e/world"
)

// grantStore is a GrantStore that replicas share.
type grantStore struct {
	mu     sync.Mutex
	values map[string][]byte
	err    error
	lose   int // this many swaps happen, but their answer is lost
}

func (s *grantStore) Grant(_ context.Context, issuer, owner string) ([]byte, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.values[issuer+" "+owner], s.err
}

func (s *grantStore) SwapGrant(_ context.Context, issuer, owner string, old, new []byte) (bool, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.err != nil {
		return false, s.err
	}
	if s.values == nil {
		s.values = map[string][]byte{}
	}
	key := issuer + " " + owner
	have := s.values[key]
	swapped := true
	switch {
	case bytes.Equal(have, new) && (have == nil) == (new == nil):
	case !bytes.Equal(have, old) || (have == nil) != (old == nil):
		swapped = false
	case new == nil:
		delete(s.values, key)
	default:
		s.values[key] = slices.Clone(new)
	}
	if s.lose > 0 {
		s.lose--
		return false, errors.New("connection reset")
	}
	return swapped, nil
}

// idStore is a durable ResourceIDs that several processes share.
type idStore struct {
	mu   sync.Mutex
	ids  map[[3]string]string
	err  error
	race string // what another replica puts first
}

func (s *idStore) ID(_ context.Context, issuer, owner, name string) (string, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.ids[[3]string{issuer, owner, name}], s.err
}

func (s *idStore) PutIfAbsent(_ context.Context, issuer, owner, name, id string) (string, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.ids == nil {
		s.ids = map[[3]string]string{}
	}
	key := [3]string{issuer, owner, name}
	if s.race != "" {
		s.ids[key], s.race = s.race, ""
	}
	if s.ids[key] == "" {
		s.ids[key] = id
	}
	return s.ids[key], s.err
}

func (s *idStore) Drop(_ context.Context, issuer, owner, name, id string) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if key := [3]string{issuer, owner, name}; s.ids[key] == id {
		delete(s.ids, key)
	}
	return s.err
}

// put sets the stored value, as another replica does.
func (s *grantStore) put(values map[string][]byte) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.values = maps.Clone(values)
}

// album7 is a resource of Alice's.
var album7 = gatehouse.Resource{Owner: "alice", Name: "album 7", Scopes: []string{"view", "print"}}

// one is a resource that the server knows by its id.
var one = gatehouse.Resource{ID: "r-1"}

// open is an authorization server whose only token may view and print r-1.
func open(t testing.TB) *world.Script {
	s := world.NewScript(t)
	s.Says("POST /look", 200, `{"active":true,"permissions":[{"resource_id":"r-1","resource_scopes":["view","print"]}]}`)
	s.Says("POST /perm", 201, `{"ticket":"t1"}`)
	return s
}
