package session

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"time"

	"example.com/gatehouse/internal/lease"
	"example.com/gatehouse/internal/swap"
)

// Tokens are the result of a renewal.
type Tokens struct {
	Access, Refresh, IDToken string // the last two are empty if none came: the old ones stay
	Expires, Requested       time.Time
	Scope                    string
	HasScope                 bool
	Refused                  time.Time // now, if somebody refused the token before
}

// Renewer gets new tokens from the server that issued the old ones.
type Renewer interface {
	// Renew sends the record's refresh token, once. An error other than a
	// *RefusedError may be temporary. Unless a *TroubleError says that it is
	// known, nobody knows what became of the refresh token.
	Renew(ctx context.Context, sent *Record) (Tokens, error)
	// Discard is called with a refresh token that arrived too late for its
	// session.
	Discard(refresh string)
}

// RefusedError means that the session cannot go on with its tokens: the server
// has refused to renew them, or has sent what may not be used.
type RefusedError struct {
	// Spent means that the server does not know the refresh token any more. It
	// says the same of one that we have used ourselves.
	Spent bool
	Err   error
}

// Error returns the text of the cause.
func (e *RefusedError) Error() string {
	return "session: the tokens were not renewed: " + e.Err.Error()
}

// Unwrap returns the cause.
func (e *RefusedError) Unwrap() error { return e.Err }

// TroubleError means that the renewal failed for now. The refresh token is known
// to be unused or not accepted, unless Unknown is set.
type TroubleError struct {
	Wait    time.Duration // the shortest pause before the next try
	Unknown bool          // the server may have used the refresh token up
	Err     error
}

// Error returns the text of the cause.
func (e *TroubleError) Error() string {
	return "session: the tokens cannot be renewed now: " + e.Err.Error()
}

// Unwrap returns the cause.
func (e *TroubleError) Unwrap() error { return e.Err }

// Renew renews the tokens of a login, one replica at a time. It does nothing if
// the tokens are no longer those of the record that the caller saw. It returns
// the login as it is stored afterwards; renewed reports whether our own renewal is
// in it. The error is ErrNone if the session has ended, a *lease.WaitError, or an
// error of the store.
func (k *Keeper) Renew(ctx context.Context, ref Ref, seen *Record, r Renewer) (now Stored, renewed bool, err error) {
	run := &renewal{k: k, ref: ref, seen: seen, renewer: r}
	cell := recordCell{k, ref}
	rec, merged, err := lease.Run(ctx, lease.Job[Stored]{Cell: cell, Now: k.now, Done: run.done, Work: run.work})
	if err == nil && !merged && run.gave != nil { // or the reply was lost, and somebody else has written since
		merged = rec.Record.sameAnswer(run.gave)
	}
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

// Amend changes a live login that still holds the access token, and returns it
// as it is stored afterwards. If the login has ended, the error is ErrNone. If
// it holds another token, somebody else has renewed it, and nothing changes.
func (k *Keeper) Amend(ctx context.Context, ref Ref, access Token, change func(*Record)) (Stored, error) {
	cell := recordCell{k, ref}
	now, _, err := cell.Update(ctx, swap.Patience{}, func(s *Stored) bool {
		if !bytes.Equal(s.Record.Access, access) {
			return false
		}
		change(s.Record)
		return true
	})
	if errors.Is(err, swap.ErrContended) {
		err = fmt.Errorf("%w: %w", ErrStore, err)
	}
	return now, err
}

// renewal is one call of Renew.
type renewal struct {
	k       *Keeper
	ref     Ref
	seen    *Record // by the caller
	renewer Renewer
	came    string  // the refresh token in force after our renewal
	gave    *Record // what it brought, nil if nothing
	verdict error   // from a merge that ended the session
}

// settle handles the outcome of our merge. A mark that was raised between
// reading and writing also ends the session. Any other trouble leaves the
// stored value as it is.
func (n *renewal) settle(ctx context.Context) error {
	if n.verdict != nil {
		return n.verdict
	}
	if _, err := n.k.Load(context.WithoutCancel(ctx), n.ref); errors.Is(err, ErrNone) {
		return err
	}
	return nil
}

// done reports whether another replica was faster, or nothing can be renewed.
func (n *renewal) done(s Stored, _ bool) bool {
	return !s.Record.sameAnswer(n.seen) || len(s.Record.Refresh) == 0
}

// work sends the refresh token and decides what becomes of the record.
func (n *renewal) work(ctx context.Context, s Stored) lease.Result[Stored] {
	sent := s.Record
	tokens, err := n.renewer.Renew(ctx, sent)
	if refused, ok := errors.AsType[*RefusedError](err); ok {
		return lease.Result[Stored]{Merge: func(s *Stored) bool { return n.lose(s, sent, refused) }}
	}
	if trouble, ok := errors.AsType[*TroubleError](err); ok {
		return lease.Result[Stored]{Err: err, Known: !trouble.Unknown, Wait: trouble.Wait}
	}
	if err != nil {
		return lease.Result[Stored]{Err: err}
	}
	if n.came = tokens.Refresh; n.came == "" {
		n.came = string(sent.Refresh)
	}
	n.gave = &Record{Access: Token(tokens.Access), Requested: tokens.Requested}
	return lease.Result[Stored]{Merge: func(s *Stored) bool {
		if !merge(s.Record, sent, tokens) {
			return false
		}
		if len(n.k.pack(n.ref.Key, s.Record)) > maxValue { // of the tokens, the session can do without this one
			s.Record.IDToken = nil
		}
		return true
	}}
}

// sameAnswer reports whether two records have the access token of one answer. A
// server may send the same token more than once, so the time of the request
// counts too, as it is stored.
func (r *Record) sameAnswer(other *Record) bool {
	return bytes.Equal(r.Access, other.Access) && r.Requested.UnixMilli() == other.Requested.UnixMilli()
}

// merge puts the new tokens into the record if it still holds the ones that
// were sent.
func merge(r, sent *Record, t Tokens) bool {
	if !bytes.Equal(r.Refresh, sent.Refresh) || !r.sameAnswer(sent) {
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
	if !t.Refused.IsZero() {
		r.Refused = t.Refused
	}
	return true
}

// lose ends the session, because its tokens are not renewed any more. After a
// take-over our own request may have used the refresh token up. If that is what
// the server says, the access token serves until it expires, provided that it
// does. A result that another replica stored meanwhile stands.
func (n *renewal) lose(s *Stored, sent *Record, refused *RefusedError) bool {
	r, now := s.Record, n.k.now()
	n.verdict = nil
	if !bytes.Equal(r.Refresh, sent.Refresh) || r.Lease.Holder != sent.Lease.Holder {
		return false
	}
	if !refused.Spent || r.Lease.Takeovers == 0 || r.Expires.IsZero() || !r.Serves(now) {
		*r = *r.tombstone(now, whyOther)
		n.verdict = errors.Join(ErrNone, refused)
		return true
	}
	r.Refresh = nil
	if r.Ends.IsZero() || r.Expires.Before(r.Ends) { // zero in a record of an older build
		r.Ends = r.Expires
	}
	return true
}

// recordCell is the leased value: a login with its marks.
type recordCell struct {
	k   *Keeper
	ref Ref
}

// Load implements lease.Cell. If the login has ended, here or from outside, it
// returns ErrNone.
func (c recordCell) Load(ctx context.Context) (Stored, error) { return c.k.Load(ctx, c.ref) }

// Lease implements lease.Cell.
func (c recordCell) Lease(s *Stored) *lease.Lease { return &s.Record.Lease }

// Update implements lease.Cell. It reads the marks together with the record, so
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

// liveCell is the value of a live login. A login that has ended counts as
// absent.
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
