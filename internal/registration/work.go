package registration

import (
	"context"
	"errors"
	"fmt"
	"time"

	"example.com/gatehouse/internal/lease"
)

const (
	// persist is how many tries in a row may fail with trouble at a management
	// address before a new client is registered instead.
	persist = 2
	// maxWhy bounds what a record says about a failure.
	maxWhy = 400
)

// CodeUnusable is the code of an answer that cannot serve. The other codes are
// those of [Failure].
const CodeUnusable = "unusable"

type result = lease.Result[Record]

// start looks at what the last try left behind. It returns an error if it is too
// early for another one.
func (j *job) start(v Record) error {
	if !v.Sent.IsZero() {
		j.notes = append(j.notes, Note{Word: Orphan, Err: fmt.Errorf("what became of the registration sent at %s is not known: the process that sent it has ended, or lost its connection to the store", v.Sent.UTC().Format(time.RFC3339))})
	}
	if now := j.p.Now(); lease.Ahead(v.NotBefore, now) {
		return &PausedError{For: v.NotBefore.Sub(now), Why: v.Why, Code: v.Code}
	}
	return nil
}

// mark notes in the record that a request is about to be sent. So if this
// process is gone afterwards, the others wait as after a failure, and tell what
// may have been left at the provider.
func (j *job) mark(ctx context.Context, v Record, registers bool) error {
	_, ok, err := cell{j.p}.Update(ctx, patience(), func(r *Record) bool {
		if r.Lease.Holder != v.Lease.Holder {
			return false
		}
		r.Sent, r.NotBefore = time.Time{}, j.p.Now().Add(tryEvery)
		if registers {
			r.Sent = j.p.Now()
		}
		return true
	})
	if err == nil && !ok {
		err = errLost
	}
	return err
}

// ensure gets a client whose secret serves: it asks for a new secret, and
// registers where that gives none.
func (j *job) ensure(ctx context.Context, v Record) result {
	paused := j.start(v)
	if c := v.Current(j.p.Now()); c != nil && c.ID == j.adopted && !c.due(j.p.Now()) && !j.want.Anew {
		return result{Merge: func(r *Record) bool { r.settled(); return true }} // a pause was about registering
	}
	if paused != nil {
		return j.wait(paused)
	}
	if len(v.Clients) > 0 && !v.Deleted {
		had := v.Clients[0]
		refused := j.want.refuses(&had)
		c, err := j.renew(ctx, v, had)
		switch {
		case err == nil:
			return j.take(v, c, Renewed)
		case j.gives(v, had, err, refused):
			return j.fail(ctx, v, err)
		case refused:
			j.gone = had.ID
		}
	}
	return j.register(ctx, v)
}

// gives reports whether a try ends here, and no new client is registered.
func (j *job) gives(v Record, had Client, err error, refused bool) bool {
	f, failed := errors.AsType[*Failure](err)
	switch {
	case errors.Is(err, errLost):
		return true
	case refused: // another client would be refused too, unless this one is gone
		return !failed || !f.Gone
	case failed && !f.Gone && !f.Lasting:
		return had.Serves(j.p.Now()) && v.Fails < persist
	}
	return false
}

var errNotRenewed = errors.New("the provider gave no new secret")

// renew asks for a secret by a read and by an update (RFC 7592 §3: either may
// bring a new one). Where the configuration has changed, only an update helps.
func (j *job) renew(ctx context.Context, v Record, had Client) (Client, error) {
	if !had.managed() {
		return Client{}, ErrUnmanaged
	}
	if err := j.mark(ctx, v, false); err != nil {
		return Client{}, err
	}
	ask := j.ask
	now := j.p.Now()
	refused := j.want.refuses(&had)
	outdated := j.want.Anew && had.Asked != ask.Digest
	serves := func(c Client) bool {
		return c.Serves(now) && !c.due(now) && (!refused || c.Secret != j.want.Refused)
	}
	err := errNotRenewed
	for _, updates := range []bool{false, true} {
		if !updates && outdated && !refused {
			continue
		}
		var body []byte
		var e error
		if updates {
			body, e = j.p.Server.Update(ctx, had, ask)
		} else {
			body, e = j.p.Server.Read(ctx, had)
		}
		if f, ok := errors.AsType[*Failure](e); ok && (f.Gone || !f.Lasting) {
			return Client{}, e
		}
		c, changed := had, []string(nil)
		if e == nil {
			c, changed, e = ask.Judge(body, &had, now)
		}
		if e != nil {
			err = e
			continue
		}
		if updates {
			c.Asked = ask.Digest
			j.changed(c, changed)
		}
		if had, j.told = c, &c; serves(c) {
			return c, nil
		}
	}
	return Client{}, err
}

func (j *job) changed(c Client, names []string) {
	if len(names) > 0 {
		j.notes = append(j.notes, Note{Word: Changed, Client: c.ID, Names: names})
	}
}

// register registers a client. Those that are there stay beside it.
func (j *job) register(ctx context.Context, v Record) result {
	ask := j.ask
	if err := j.mark(ctx, v, true); err != nil {
		return j.wait(err)
	}
	body, err := j.p.Server.Register(ctx, ask)
	if f, ok := errors.AsType[*Failure](err); ok && f.Unknown {
		if left := ask.Salvage(f.Body); left.managed() {
			return j.fail(ctx, v, err, left)
		}
		j.notes = append(j.notes, Note{Word: Orphan, Err: err})
	}
	if err != nil {
		return j.fail(ctx, v, err)
	}
	c, changed, err := ask.Judge(body, nil, j.p.Now())
	if err != nil {
		if !c.managed() {
			j.notes = append(j.notes, Note{Word: Orphan, Client: c.ID, Err: err})
			return j.fail(ctx, v, err)
		}
		return j.fail(ctx, v, err, c)
	}
	c.Asked = ask.Digest
	j.changed(c, changed)
	return j.take(v, c, Registered)
}

// take puts a client into the record. A new one counts only while the lease is
// ours. New values of one that is there are never lost: the old ones may no
// longer work.
func (j *job) take(v Record, c Client, word Word) result {
	j.made = &c
	return result{Merge: func(r *Record) bool {
		now := j.p.Now()
		j.correct(r)
		switch {
		case word != Registered:
			if !r.replace(c) {
				return false
			}
		case r.Lease.Holder != v.Lease.Holder || r.Deleted && !j.want.Anew:
			return false
		default:
			r.put(c, now)
		}
		r.settled()
		j.once(Note{Word: word, Client: c.ID})
		return true
	}}
}

// once notes something in a function that may be called several times. A read
// has nothing to note.
func (j *job) once(n Note) {
	if n.Word == "" {
		return
	}
	for _, had := range j.notes {
		if had.Word == n.Word && had.Client == n.Client {
			return
		}
	}
	j.notes = append(j.notes, n)
}

// correct puts what an answer said about a client into the record, and takes out
// a client that is gone.
func (j *job) correct(r *Record) {
	if j.told != nil {
		r.replace(*j.told)
	}
	for i := range r.Clients {
		if r.Clients[i].ID == j.gone {
			r.Clients = append(r.Clients[:i:i], r.Clients[i+1:]...)
			r.end(j.gone)
			break
		}
	}
}

// wait ends a try that has sent nothing.
func (j *job) wait(err error) result {
	j.failed = err
	r := result{Err: err, Known: true}
	if paused, ok := errors.AsType[*PausedError](err); ok {
		r.Wait = paused.For
	}
	return r
}

// fail ends a try. The record says for all replicas why, and when the next one
// may begin. Clients that were left behind are remembered, to be deleted.
func (j *job) fail(ctx context.Context, v Record, err error, left ...Client) result {
	j.failed, j.drop = err, append(j.drop, left...)
	f, _ := errors.AsType[*Failure](err)
	wait, code := backOff(v.Fails+1), CodeUnusable
	if f != nil {
		wait, code = max(wait, f.Wait), f.Code
	} else if !errors.Is(err, ErrUnusable) {
		code = ""
	}
	until := j.p.Now().Add(wait)
	_, _, e := cell{j.p}.Update(context.WithoutCancel(ctx), patience(), func(r *Record) bool {
		if r.Lease.Holder != v.Lease.Holder {
			return false
		}
		j.correct(r)
		for _, c := range left {
			r.leave(c)
		}
		r.Sent, r.NotBefore, r.Fails = time.Time{}, until, r.Fails+1
		r.Why, r.Code = clip(err.Error()), code
		return true
	})
	if e != nil {
		err = errors.Join(err, e)
	}
	return result{Err: err, Known: true, Wait: wait}
}

func clip(text string) string {
	if len(text) > maxWhy {
		return text[:maxWhy] + "…"
	}
	return text
}

// update replaces the metadata at the provider.
func (j *job) update(ctx context.Context, v Record) result {
	return j.manage(ctx, v, Updated, func(ask Ask, c Client) ([]byte, error) { return j.p.Server.Update(ctx, c, ask) })
}

// read asks for the client as it is now.
func (j *job) read(ctx context.Context, v Record) result {
	return j.manage(ctx, v, "", func(_ Ask, c Client) ([]byte, error) { return j.p.Server.Read(ctx, c) })
}

func (j *job) manage(ctx context.Context, v Record, word Word, call func(Ask, Client) ([]byte, error)) result {
	if err := j.start(v); err != nil {
		return j.wait(err)
	}
	if len(v.Clients) == 0 || !v.Clients[0].managed() {
		return j.wait(ErrUnmanaged)
	}
	had, ask := v.Clients[0], j.ask
	if err := j.mark(ctx, v, false); err != nil {
		return j.wait(err)
	}
	body, err := call(ask, had)
	if err != nil {
		return j.fail(ctx, v, err)
	}
	c, changed, err := ask.Judge(body, &had, j.p.Now())
	if err != nil {
		return j.fail(ctx, v, err)
	}
	if word == Updated {
		c.Asked = ask.Digest
		j.changed(c, changed)
	}
	j.body = body
	return j.take(v, c, word)
}

// remove marks the registration as deleted. Its clients are left over, so that
// they are deleted at the provider now, or when it answers again.
func (j *job) remove(_ context.Context, v Record) result {
	return result{Merge: func(r *Record) bool {
		j.drop = nil
		for _, c := range r.Clients {
			r.leave(c)
			if !c.managed() {
				j.drop = append(j.drop, c) // it is told
			}
		}
		for _, c := range r.Clients {
			r.end(c.ID)
		}
		r.Clients, r.Deleted = nil, true
		r.settled()
		return true
	}}
}
