package session

import (
	"bytes"
	"context"
	"errors"
	"time"

	"example.com/gatehouse/internal/lease"
	"example.com/gatehouse/internal/swap"
)

// Tokens are what a renewal brings.
type Tokens struct {
	Access, Refresh, IDToken string // the last two are empty where none came: the old ones stay
	Expires, Requested       time.Time
	Scope                    string
	HasScope                 bool
}

// Renewer gets new tokens from whoever issued the old ones.
type Renewer interface {
	// Renew sends the refresh token of the record, once. An error that is no
	// *RefusedError may pass: it says whether the fate of the token is known by
	// being a *TroubleError.
	Renew(ctx context.Context, sent *Record) (Tokens, error)
	// Discard is told of a refresh token that came too late for its session.
	Discard(refresh string)
}

// RefusedError says that the refresh token is worth nothing any more.
type RefusedError struct{ Err error }

// Error tells the cause.
func (e *RefusedError) Error() string {
	return "session: the tokens were not renewed: " + e.Err.Error()
}

// Unwrap returns the cause.
func (e *RefusedError) Unwrap() error { return e.Err }

// TroubleError says that the renewal failed and that it is known that the
// refresh token was not used up, or not accepted.
type TroubleError struct {
	Wait time.Duration // to pause at least
	Err  error
}

// Error tells the cause.
func (e *TroubleError) Error() string {
	return "session: the tokens cannot be renewed now: " + e.Err.Error()
}

// Unwrap returns the cause.
func (e *TroubleError) Unwrap() error { return e.Err }

// Renew renews the tokens of a login, one replica at a time, unless they are not
// those any more that the caller has seen. It returns the login as it is stored
// then; renewed says that our own renewal is in it. The error is ErrNone when
// the session has ended, a *lease.WaitError, or one of the store.
func (k *Keeper) Renew(ctx context.Context, ref Ref, seen string, r Renewer) (now Stored, renewed bool, err error) {
	run := &renewal{k: k, ref: ref, seen: seen, renewer: r}
	cell := recordCell{k, ref}
	rec, merged, err := lease.Run(ctx, lease.Job[Stored]{Cell: cell, Now: k.now, Done: run.done, Work: run.work})
	if err == nil && merged {
		err = run.settle(ctx)
	}
	if errors.Is(err, ErrNone) && run.came != "" {
		r.Discard(run.came) // logout won
	}
	if err != nil {
		return Stored{}, false, err
	}
	return rec, merged && run.came != "", nil
}

// renewal is one Renew under way.
type renewal struct {
	k       *Keeper
	ref     Ref
	seen    string // the access token that the caller knows
	renewer Renewer
	came    string // the refresh token that holds after our renewal
	verdict error  // of a merge that ends the session
}

// settle looks at what our merge has led to. A mark that was raised between
// reading and writing ends the session as well; other trouble leaves what is
// stored.
func (n *renewal) settle(ctx context.Context) error {
	if n.verdict != nil {
		return n.verdict
	}
	if _, err := n.k.Load(context.WithoutCancel(ctx), n.ref); errors.Is(err, ErrNone) {
		return err
	}
	return nil
}

// done reports whether others were faster, or nothing can be renewed.
func (n *renewal) done(s Stored, _ bool) bool {
	return string(s.Record.Access) != n.seen || len(s.Record.Refresh) == 0
}

// work sends the refresh token and says what becomes of the record.
func (n *renewal) work(ctx context.Context, s Stored) lease.Result[Stored] {
	sent := s.Record
	tokens, err := n.renewer.Renew(ctx, sent)
	if _, refused := errors.AsType[*RefusedError](err); refused {
		return lease.Result[Stored]{Merge: func(s *Stored) bool { return n.lose(s, sent, err) }}
	}
	if trouble, known := errors.AsType[*TroubleError](err); known {
		return lease.Result[Stored]{Err: err, Known: true, Wait: trouble.Wait}
	}
	if err != nil {
		return lease.Result[Stored]{Err: err}
	}
	if n.came = tokens.Refresh; n.came == "" {
		n.came = string(sent.Refresh)
	}
	return lease.Result[Stored]{Merge: func(s *Stored) bool { return merge(s.Record, sent, tokens) }}
}

// merge puts the new tokens into the record, as long as that still holds those
// that were sent.
func merge(r, sent *Record, t Tokens) bool {
	if !bytes.Equal(r.Refresh, sent.Refresh) || !bytes.Equal(r.Access, sent.Access) {
		return false
	}
	r.Access, r.Expires, r.Requested = Token(t.Access), t.Expires, t.Requested
	if t.Refresh != "" {
		r.Refresh = Token(t.Refresh)
	}
	if t.IDToken != "" {
		r.IDToken = Token(t.IDToken)
	}
	if t.HasScope {
		r.Scope = t.Scope
	}
	return true
}

// lose ends the session: its refresh token is worth nothing any more. After a
// take-over that may be our own doing, so the access token then serves until it
// expires. A result that another replica has stored meanwhile stands.
func (n *renewal) lose(s *Stored, sent *Record, cause error) bool {
	r, now := s.Record, n.k.now()
	n.verdict = nil
	if !bytes.Equal(r.Refresh, sent.Refresh) || r.Lease.Holder != sent.Lease.Holder {
		return false
	}
	if r.Lease.Takeovers == 0 || !r.Serves(now) {
		*r = *r.tombstone(now)
		n.verdict = errors.Join(ErrNone, cause)
		return true
	}
	r.Refresh, r.Ends = nil, r.Expires
	return true
}

// recordCell is the leased value: a login with its marks.
type recordCell struct {
	k   *Keeper
	ref Ref
}

// Load implements lease.Cell. A login that has ended, here or from outside, is
// ErrNone.
func (c recordCell) Load(ctx context.Context) (Stored, error) { return c.k.Load(ctx, c.ref) }

// Lease implements lease.Cell.
func (c recordCell) Lease(s *Stored) *lease.Lease { return &s.Record.Lease }

// Update implements lease.Cell. It reads the marks along with the record, so
// that a logout from outside stops a renewal at every step.
func (c recordCell) Update(ctx context.Context, p swap.Patience, change func(*Stored) bool) (next Stored, changed bool, err error) {
	changed, err = swap.Update(ctx, liveCell{c}, p, func(old []byte) (*swap.Value, error) {
		if old == nil {
			return nil, ErrNone
		}
		have, err := c.k.unpack(c.ref.Key, old)
		if err != nil {
			return nil, err
		}
		next = Stored{Record: have}
		if !change(&next) {
			return nil, nil
		}
		value := c.k.packed(c.ref.Key, next.Record)
		next.raw = value.Bytes
		return &value, nil
	})
	return next, changed, err
}

// liveCell is the value of a login while that lives: one that has ended counts
// as absent.
type liveCell struct{ recordCell }

func (c liveCell) Find(ctx context.Context) ([]byte, error) {
	s, err := c.k.Load(ctx, c.ref)
	switch {
	case errors.Is(err, ErrNone):
		return nil, nil
	case err != nil && !errors.Is(err, ErrStore):
		err = swap.Final(err)
	}
	return s.raw, err
}

func (c liveCell) Swap(ctx context.Context, old []byte, next swap.Value) (bool, error) {
	return c.k.swap(ctx, c.ref.Key, old, next)
}
