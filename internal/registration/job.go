package registration

import (
	"context"
	"errors"
	"slices"
	"time"

	"example.com/gatehouse/internal/lease"
)

// job is one call of a method of a [Party].
type job struct {
	p       *Party
	want    Want
	ask     Ask
	asked   bool // ask is there
	must    bool // the work is done whatever is stored
	deletes bool

	seen    Record // as last read
	worked  bool
	made    *Client  // that the provider gave us, or gave new values to
	told    *Client  // as an answer changed it that does not serve by itself
	gone    string   // the id of a client that the provider no longer knows
	drop    []Client // to be deleted at the provider
	body    []byte   // of a read
	adopted string   // the id of the client that was taken over
	failed  error    // why our own work failed
	notes   []Note   // told when the lease is given back
}

// run does the work if it is needed, under the lease.
func (j *job) run(ctx context.Context, work func(context.Context, Record) lease.Result[Record]) (Record, error) {
	p := j.p
	if err := j.settle(ctx); err != nil {
		return Record{}, err
	}
	had, err := p.Load(ctx)
	if err != nil {
		return had, err
	}
	switch {
	case j.deletes && had.Deleted: // once more, for what could not be deleted
		j.worked = true
		return had, j.clear(ctx, had)
	case j.must && had.Deleted:
		return had, ErrDeleted
	case (j.must || j.deletes) && len(had.Clients) == 0 && !p.adopts(had):
		return had, ErrNone
	case j.must && len(had.Clients) > 0 && !had.Clients[0].managed():
		return had, ErrUnmanaged
	case p.adopts(had), !j.deletes && !j.done(had, false):
		if err := j.prepare(ctx); err != nil { // nobody has to wait for that
			if j.done(had, true) {
				return had, nil
			}
			return had, err
		}
	}
	now, merged, err := lease.Run(ctx, lease.Job[Record]{Cell: cell{p}, Now: p.Now, Done: j.done, Urgent: j.deletes || p.adopts(had), Work: func(ctx context.Context, v Record) lease.Result[Record] {
		j.worked = true
		return j.worksOn(ctx, v, work)
	}})
	wait, paused := errors.AsType[*lease.WaitError](err)
	switch {
	case paused && j.failed != nil:
		err = j.failed
	case paused:
		err = &PausedError{For: wait.For, Why: j.seen.Why, Code: j.seen.Code}
	case err == nil && !merged && (j.must || j.deletes):
		err = errLost
	}
	j.keep(now, merged, err)
	j.tell(ctx)
	left := j.clear(ctx, now)
	switch {
	case err == nil && j.deletes:
		err = left
	case err == nil && now.Deleted:
		err = ErrDeleted
	}
	return now, err
}

// prepare finds out what to ask for, before the lease is taken: so trouble with
// the metadata holds up no other replica.
func (j *job) prepare(ctx context.Context) (err error) {
	if !j.asked {
		j.ask, err = j.p.Server.Ask(ctx)
		j.asked = err == nil
	}
	return err
}

// done reports whether a record needs no work.
func (j *job) done(r Record, busy bool) bool {
	j.seen = r
	now := j.p.Now()
	cur := r.Current(now)
	switch {
	case j.must, j.deletes:
		return false
	case r.Deleted:
		return !j.want.Anew
	case cur == nil:
		return false
	case j.want.Anew && cur.Asked != j.ask.Digest:
		return false
	case j.want.refuses(cur):
		// Whoever is at work may be about to store another one, so busy is no
		// answer. A provider that refuses what it has just given is not asked.
		return now.Before(cur.Since.Add(tryEvery))
	}
	return busy || !cur.due(now)
}

// settle brings a client into the store that the store did not take when the
// provider gave it to us. If others have registered since, it is deleted.
func (j *job) settle(ctx context.Context) error {
	p := j.p
	c := p.pending.Swap(nil)
	if c == nil {
		return nil
	}
	var held, other bool
	_, _, err := cell{p}.Update(ctx, patience(), func(r *Record) bool {
		now, had := p.Now(), r.Find(c.ID)
		held, other = false, false
		switch {
		case had != nil && !c.Since.After(had.Since):
			return false // it is stored, or what others got later
		case had != nil:
			*had = *c
			return true
		case r.Current(now) != nil || r.Deleted:
			other = true
			return false
		case lease.Ahead(r.Lease.Until, now):
			held = true
			return false
		}
		r.put(*c, now)
		r.settled()
		return true
	})
	if err != nil || held {
		p.pending.CompareAndSwap(nil, c)
	}
	if other {
		j.drop = append(j.drop, *c)
	}
	return err
}

// settled clears what was noted about a try.
func (r *Record) settled() {
	r.Sent, r.NotBefore, r.Fails, r.Why, r.Code = time.Time{}, time.Time{}, 0, "", ""
}

// keep decides what becomes of the client that the provider gave us.
func (j *job) keep(now Record, merged bool, err error) {
	switch {
	case j.made == nil || merged:
	case err != nil: // the store may have taken it, so it must not be deleted
		j.p.pending.CompareAndSwap(nil, j.made)
		j.notes = append(j.notes, Note{Word: Orphan, Client: j.made.ID, Err: errors.Join(errors.New("it could not be stored, and is stored at the next call of this process"), err)})
	case now.Find(j.made.ID) == nil: // another replica was faster
		j.drop = append(j.drop, *j.made)
	}
}

// tell reports what happened, when the lease is given back.
func (j *job) tell(ctx context.Context) {
	for _, n := range j.notes {
		j.p.say(ctx, n)
	}
	j.notes = nil
}

// clear deletes clients that nobody uses: those that this job left behind, and
// once in a process those that an earlier one did. It returns why some are still
// there.
func (j *job) clear(ctx context.Context, now Record) (left error) {
	p := j.p
	list := j.drop
	if first := p.swept.CompareAndSwap(false, true); first || j.worked {
		for _, c := range now.Leftover {
			if !slices.ContainsFunc(list, func(d Client) bool { return d.Manage == c.Manage }) {
				list = append(list, c)
			}
		}
	}
	if len(list) == 0 {
		return nil
	}
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), clearFor)
	defer cancel()
	var over []string // the addresses of what need not be remembered
	for _, c := range list {
		err := error(ErrUnmanaged)
		if c.managed() {
			err = p.Server.Delete(ctx, c)
		}
		if err == nil {
			j.notes = append(j.notes, Note{Word: Removed, Client: c.ID})
		} else {
			j.notes = append(j.notes, Note{Word: Orphan, Client: c.ID, Err: err})
			left = errors.Join(left, err)
		}
		if f, ok := errors.AsType[*Failure](err); !ok || f.Lasting { // asking again would not help
			over = append(over, c.Manage)
		}
	}
	_, _, err := cell{p}.Update(ctx, patience(), func(r *Record) bool {
		n := len(r.Leftover)
		r.Leftover = slices.DeleteFunc(r.Leftover, func(c Client) bool { return slices.Contains(over, c.Manage) })
		return len(r.Leftover) < n
	})
	if err != nil {
		p.swept.Store(false) // the next call looks again
	}
	j.tell(ctx)
	return left
}
