package sqlitestore

import (
	"bytes"
	"context"

	"example.com/gatehouse/internal/storekey"
)

// A row stands under the hash of what it belongs to. That has a fixed length
// and does not tell the owner.
func grantPlace(issuer, owner string) []byte {
	sum := storekey.Place("grant", issuer, owner)
	return sum[:]
}

func registrationPlace(name string) []byte {
	sum := storekey.Place("registration", name)
	return sum[:]
}

func idPlace(issuer, owner, name string) []byte {
	sum := storekey.Place("id", issuer, owner, name)
	return sum[:]
}

// Grant returns an owner's grant, or nil. It is part of gatehouse.GrantStore.
func (s *Store) Grant(ctx context.Context, issuer, owner string) ([]byte, error) {
	return s.readOne(ctx, s.sql.grant, grantPlace(issuer, owner))
}

// SwapGrant replaces old with new if exactly old is stored. It is part of
// gatehouse.GrantStore.
func (s *Store) SwapGrant(ctx context.Context, issuer, owner string, old, new []byte) (swapped bool, err error) {
	return s.swapFact(ctx, grantPlace(issuer, owner), old, new)
}

// Registration returns a registered client, or nil. It is part of
// gatehouse.RegistrationStore. Clients lie in the table of grants: both are
// secrets that are swapped and do not expire.
func (s *Store) Registration(ctx context.Context, name string) ([]byte, error) {
	return s.readOne(ctx, s.sql.grant, registrationPlace(name))
}

// SwapRegistration replaces old with new if exactly old is stored. It is part of
// gatehouse.RegistrationStore.
func (s *Store) SwapRegistration(ctx context.Context, name string, old, new []byte) (swapped bool, err error) {
	return s.swapFact(ctx, registrationPlace(name), old, new)
}

func (s *Store) swapFact(ctx context.Context, place, old, new []byte) (swapped bool, err error) {
	old, new = bytes.Clone(old), bytes.Clone(new)
	var changed int64
	switch {
	case old == nil && new == nil:
		return s.isAbsent(ctx, s.sql.hasGrant, place)
	case old == nil:
		changed, err = s.change(ctx, func(now int64) (string, []any) { return s.sql.createGrant, []any{now, place, nil, new} })
	case new == nil:
		return s.deleteOld(ctx, s.sql.deleteGrant, s.sql.hasGrant, place, old)
	default:
		changed, err = s.change(ctx, func(now int64) (string, []any) { return s.sql.replaceGrant, []any{now, place, old, new} })
	}
	return changed == 1 && err == nil, err
}

// ID returns the id of a resource, or "". It is part of gatehouse.ResourceIDs.
func (s *Store) ID(ctx context.Context, issuer, owner, name string) (string, error) {
	id, err := s.readOne(ctx, s.sql.id, idPlace(issuer, owner, name))
	return string(id), err
}

// PutIfAbsent keeps id unless another is kept. It returns the id that is kept
// then. It is part of gatehouse.ResourceIDs.
func (s *Store) PutIfAbsent(ctx context.Context, issuer, owner, name, id string) (winner string, err error) {
	kept, err := s.query(ctx, s.writing, s.sql.putID, idPlace(issuer, owner, name), []byte(id))
	return string(kept[""]), err
}

// Drop removes id if it is kept. It is part of gatehouse.ResourceIDs.
func (s *Store) Drop(ctx context.Context, issuer, owner, name, id string) error {
	_, err := s.change(ctx, func(now int64) (string, []any) {
		return s.sql.dropID, []any{now, idPlace(issuer, owner, name), []byte(id)}
	})
	return err
}
