package gatehouse

// Tested in internal/e2e/uma_rs.

import (
	"context"
	"errors"
	"sync"
	"time"

	"example.com/gatehouse/internal/grant"
	"example.com/gatehouse/internal/lease"
	"example.com/gatehouse/internal/swap"
)

// cell returns the cell of an owner's grant.
func (g *OwnerGrants) cell(owner string) grantCell { return grantCell{g, owner} }

// grantCell is the stored grant of an owner. It is a swap.Cell for
// compare-and-swap and a lease.Cell for renewals.
type grantCell struct {
	g     *OwnerGrants
	owner string
}

// Find implements swap.Cell.
func (c grantCell) Find(ctx context.Context) ([]byte, error) {
	ctx, cancel := context.WithTimeout(ctx, grantStoreWait)
	defer cancel()
	raw, err := c.g.store.Grant(ctx, c.g.provider.issuer, c.owner)
	if err != nil {
		return nil, errGrantStore.because(err)
	}
	return raw, nil
}

// Swap implements swap.Cell.
func (c grantCell) Swap(ctx context.Context, old []byte, next swap.Value) (bool, error) {
	ctx, cancel := context.WithTimeout(ctx, grantStoreWait)
	defer cancel()
	swapped, err := c.g.store.SwapGrant(ctx, c.g.provider.issuer, c.owner, old, next.Bytes)
	if err != nil {
		return false, errGrantStore.because(err)
	}
	return swapped, nil
}

// decode reads a stored grant. If there is none, the error is
// owner_grant_missing. What nobody can have written for this owner is none
// either, with one warning (decision 7); the owner then agrees once more. What
// other keys or a newer build may read is an error, so that nothing replaces it.
func (c grantCell) decode(ctx context.Context, raw []byte) (ownerGrant, error) {
	if raw == nil {
		return ownerGrant{}, missingGrant(nil)
	}
	had, err := c.g.box.Decode(c.g.provider.issuer, c.owner, raw)
	switch {
	case errors.Is(err, grant.ErrUnreadable):
		return ownerGrant{}, errGrantUnreadable.because(err)
	case err != nil:
		if c.g.unread.first(c.owner) {
			c.g.provider.emit(ctx, Event{Name: EventTrouble, Code: troubleGarbage, Subject: c.owner, ClientID: c.g.client.told(), Err: err})
		}
		return ownerGrant{}, missingGrant(err)
	}
	return ownerGrant{Grant: had}, nil
}

// encode returns the stored form of the grant. A grant that has ended is
// deleted.
func (c grantCell) encode(o ownerGrant) (*swap.Value, error) {
	if o.over != nil {
		return &swap.Value{}, nil
	}
	raw, err := c.g.box.Encode(c.g.provider.issuer, c.owner, o.Grant)
	if errors.Is(err, grant.ErrTooLarge) {
		return nil, swap.Final(errGrantTooLarge.because(err))
	}
	if err != nil {
		return nil, errInternal.because(err)
	}
	return &swap.Value{Bytes: raw}, nil
}

// reseal writes a grant that was read in an older form once more: sealed, and
// with the first key. If that fails, the next read tries again.
func (g *OwnerGrants) reseal(ctx context.Context, owner string, had ownerGrant) {
	if !had.Stale {
		return
	}
	_, _, err := g.cell(owner).Update(ctx, swap.Patience{}, func(now *ownerGrant) bool { return now.Stale })
	if err != nil && ErrorCode(err) != CodeOwnerGrantMissing {
		g.provider.emit(ctx, Event{Name: EventTrouble, Code: troubleUnsealed, Subject: owner, ClientID: g.client.told(), Err: err})
	}
}

// mayRekey reports whether PAT may seal the owner's grant with the first key now.
// While keys rotate, replicas with another first key would write it by turns.
func (g *OwnerGrants) mayRekey(owner string) bool {
	return g.rekeyed.add(owner, g.provider.now().Truncate(rekeyEvery))
}

// rekeyed is the owners whose grants PAT has sealed with the first key since a time.
type rekeyed struct {
	mu     sync.Mutex
	since  time.Time
	owners map[string]bool
}

// add reports whether the owner is new since then, and there is room.
func (r *rekeyed) add(owner string, since time.Time) bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	if !since.Equal(r.since) {
		r.since, r.owners = since, map[string]bool{}
	}
	if r.owners[owner] || len(r.owners) == maxRekeyed {
		return false
	}
	r.owners[owner] = true
	return true
}

// Load implements lease.Cell.
func (c grantCell) Load(ctx context.Context) (ownerGrant, error) {
	raw, err := c.Find(ctx)
	if err != nil {
		return ownerGrant{}, err
	}
	return c.decode(ctx, raw)
}

// Lease implements lease.Cell.
func (c grantCell) Lease(o *ownerGrant) *lease.Lease { return &o.Grant.Lease }

// Update implements lease.Cell.
func (c grantCell) Update(ctx context.Context, p swap.Patience, change func(*ownerGrant) bool) (now ownerGrant, changed bool, err error) {
	changed, err = c.update(ctx, p, func(old []byte) (*swap.Value, error) {
		if now, err = c.decode(ctx, old); err != nil || !change(&now) {
			return nil, err
		}
		return c.encode(now)
	})
	return now, changed, err
}

// update changes the stored value by compare-and-swap.
func (c grantCell) update(ctx context.Context, p swap.Patience, change swap.Change) (changed bool, err error) {
	changed, err = swap.Update(ctx, c, p, change)
	if errors.Is(err, swap.ErrContended) {
		err = errGrantStore.because(err)
	}
	return changed, err
}

// grantPatience is the patience of changes that a person waits for. It is long
// enough that a brief failure of the store does not lose a refresh token.
func grantPatience() swap.Patience {
	return swap.Patience{For: grantStoreFor, Pause: grantStorePause, Most: grantStoreFor, Slow: true}
}

const (
	// grantStoreWait bounds one call to the store, so that a page answers 503
	// within a second if the store hangs (FA6).
	grantStoreWait = 900 * time.Millisecond
	// grantStoreFor is how long such a change is retried while the store
	// fails.
	grantStoreFor = time.Second
	// rekeyEvery is how often PAT seals a grant of another key with the first one:
	// seldom beside what PAT costs, and often beside how long keys rotate.
	rekeyEvery = 10 * time.Minute
	// maxRekeyed is for how many owners it does so in that time. Has, which the
	// application calls before the old key goes, does it for all.
	maxRekeyed = 10_000
	// grantStorePause is the first pause between two tries; it doubles each
	// time.
	grantStorePause = 20 * time.Millisecond
)
