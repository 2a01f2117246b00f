package registration

import (
	"context"
	"errors"
	"fmt"
	"time"
)

// adopts reports whether the client that the provider has already is to be taken
// over: nobody is known, that client never was, and nothing was deleted.
func (p *Party) adopts(r Record) bool {
	return p.Existing != nil && len(r.Clients) == 0 && !r.Deleted && !r.Owns(p.Existing.ID)
}

// adopt puts that client into the record, where the work then finds it. It is
// stored before anything is asked about it, so that a crash makes no second one.
// Until the first update nothing says that the provider has our metadata for it.
func (j *job) adopt(ctx context.Context, v Record) (Record, error) {
	if !j.p.adopts(v) {
		return v, nil
	}
	c := *j.p.Existing
	c.Expires = storable(c.Expires)
	if !j.ask.Trusts(c.Manage) { // our token must not go elsewhere
		return v, fmt.Errorf("%w: the management address of the existing client has another origin than the registration endpoint", ErrUnusable)
	}
	now, ok, err := cell{j.p}.Update(ctx, patience(), func(r *Record) bool {
		if r.Lease.Holder != v.Lease.Holder || !j.p.adopts(*r) {
			return false
		}
		c.Since = j.p.Now()
		r.put(c, c.Since)
		return true
	})
	switch {
	case err != nil:
		return v, err
	case !ok:
		return v, errLost
	}
	j.adopted = c.ID
	j.once(Note{Word: Adopted, Client: c.ID})
	return now, nil
}

// storable is when a secret ends, as it can be stored. After the year 9999 is
// never, as in an answer of a provider, and before 1970 it is over all the same.
func storable(ends time.Time) time.Time {
	switch {
	case ends.Unix() > maxTime:
		return time.Time{}
	case !ends.IsZero() && ends.Unix() < 0:
		return time.Unix(0, 0).UTC()
	}
	return ends.UTC()
}

// worksOn does the work, with the client that is to be taken over.
func (j *job) worksOn(ctx context.Context, v Record, work func(context.Context, Record) result) result {
	next, err := j.adopt(ctx, v)
	switch {
	case errors.Is(err, ErrUnusable):
		return j.fail(ctx, v, err)
	case err != nil:
		return j.wait(err)
	}
	return work(ctx, next)
}
