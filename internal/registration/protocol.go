package registration

import (
	"context"
	"errors"
	"sync/atomic"
	"time"

	"example.com/gatehouse/internal/lease"
	"example.com/gatehouse/internal/swap"
)

// Server makes the calls to the provider. Each sends one request and never
// repeats it. An error is a *[Failure], or the error of what the call needs, and
// then nothing was sent.
type Server interface {
	// Ask returns what to ask for.
	Ask(ctx context.Context) (Ask, error)
	// Register sends a registration (RFC 7591 §3.1) and returns the body of the
	// answer.
	Register(ctx context.Context, a Ask) ([]byte, error)
	// Read asks for the client as it is now (RFC 7592 §2.1).
	Read(ctx context.Context, c Client) ([]byte, error)
	// Update replaces its metadata (RFC 7592 §2.2).
	Update(ctx context.Context, c Client, a Ask) ([]byte, error)
	// Delete deletes it (RFC 7592 §2.3). A client that is gone is no error.
	Delete(ctx context.Context, c Client) error
}

// Failure is a call that brought no client.
type Failure struct {
	Err error
	// Unknown means that the provider may have acted on the call.
	Unknown bool
	// Wait is how long the provider asked to be left alone, or 0.
	Wait time.Duration
	// Body is what came of an answer that was too long.
	Body []byte
	// Gone means that the provider does not know the client, or not our token
	// for it (RFC 7592 §2.1).
	Gone bool
	// Lasting means that the provider refused, and that asking again does not
	// help.
	Lasting bool
	// Code names the failure, for other replicas.
	Code string
}

// Error returns the text of the cause.
func (f *Failure) Error() string { return f.Err.Error() }

// Unwrap returns the cause.
func (f *Failure) Unwrap() error { return f.Err }

const (
	// tryEvery is the time between two tries over all replicas, whatever becomes
	// of the first (RG5). It doubles with each failure, up to tryMost.
	tryEvery = 30 * time.Second
	tryMost  = 8 * time.Minute
	// clearFor bounds what is done after the lease is given back: deleting
	// clients that nobody uses.
	clearFor = 5 * time.Second
)

// Flight bounds one call of [Party.Ensure] and of the other methods that work.
const Flight = lease.Flight + clearFor

// Word says what is told about a registration.
type Word string

// What is told.
const (
	Registered Word = "registered" // a client was registered
	Adopted    Word = "adopted"    // a client that the provider had already was taken over
	Renewed    Word = "renewed"    // its secret was renewed by a read or an update
	Updated    Word = "updated"    // its metadata was changed
	Removed    Word = "removed"    // a client was deleted at the provider
	Changed    Word = "changed"    // the provider set members to other values
	Orphan     Word = "orphan"     // the provider may have a client that nobody uses and that could not be deleted
	Outdated   Word = "outdated"   // what is registered is not what the configuration says
)

// Note is one thing that is told. It never holds a secret.
type Note struct {
	Word   Word
	Client string   // its id, "" if that is not known
	Names  []string // of the changed members
	Err    error    // why
}

// Party is one registration, as one process sees it. Its methods may be called
// at the same time, but [Party.Ensure] and those that change something are meant
// for one flight per process.
type Party struct {
	Cell   swap.Cell
	Box    Box
	Name   string // that the stored form is bound to
	Server Server
	Now    func() time.Time
	Tell   func(ctx context.Context, n Note)
	// Existing is a client that the provider has already, or nil. It is taken over
	// where the record knows nobody, and nothing is registered then.
	Existing *Client

	// pending is a client that the provider gave us and that is not stored,
	// because the store failed.
	pending atomic.Pointer[Client]
	swept   atomic.Bool // leftovers of an earlier process were looked for
}

var (
	// ErrDeleted means that the application has deleted the registration.
	ErrDeleted = errors.New("the registration was deleted")
	// ErrUnmanaged means that the provider gave no way to read, change or
	// delete the client (RFC 7592 §3).
	ErrUnmanaged = errors.New("the provider gave no address to manage the client")
	// ErrNone means that nothing is registered.
	ErrNone = errors.New("nothing is registered")
	// errLost means that another replica took over while we were at work.
	errLost = errors.New("another replica has taken over")
)

// PausedError means that the last try has failed and it is too early for the
// next one.
type PausedError struct {
	For time.Duration
	// Why says why the last try failed, here or at another replica, and Code in
	// which way.
	Why, Code string
}

// Error says why the last try failed.
func (e *PausedError) Error() string { return "registration: the last try failed: " + e.Why }

// Load returns the record. Nothing stored is the zero Record.
func (p *Party) Load(ctx context.Context) (Record, error) { return cell{p}.Load(ctx) }

// Want says what a call of [Party.Ensure] is for, beyond a client that serves.
type Want struct {
	// Anew registers again after a deletion, and changes a client that is not
	// what the configuration says.
	Anew bool
	// RefusedID is a client that the provider has refused with the secret
	// Refused, "" if it has none and signs. If that is how the current client is
	// still, the provider is asked for it as it is now.
	RefusedID, Refused string
}

// refuses reports whether the provider has refused the client as it is.
func (w *Want) refuses(c *Client) bool {
	return w.RefusedID != "" && w.RefusedID == c.ID && w.Refused == c.Secret
}

// Ensure returns a record with a client whose secret serves. It registers one if
// there is none, unless there is one to be taken over, and renews a secret that is
// near its end.
//
// Of all replicas that share the cell one at a time works. The others wait for
// it, unless a client serves meanwhile.
func (p *Party) Ensure(ctx context.Context, want Want) (Record, error) {
	j := &job{p: p, want: want}
	if want.Anew {
		if err := j.prepare(ctx); err != nil {
			return Record{}, err
		}
	}
	return j.run(ctx, j.ensure)
}

// Update changes the client at the provider to what the configuration says.
func (p *Party) Update(ctx context.Context) (Record, error) {
	j := &job{p: p, must: true}
	return j.run(ctx, j.update)
}

// Read asks the provider for the client as it is now. It returns the body of the
// answer.
func (p *Party) Read(ctx context.Context) (Record, []byte, error) {
	j := &job{p: p, must: true}
	rec, err := j.run(ctx, j.read)
	return rec, j.body, err
}

// Delete deletes the clients at the provider and remembers that, so that no
// replica registers again by itself. If the provider does not let us, it is told
// what is left there.
func (p *Party) Delete(ctx context.Context) error {
	j := &job{p: p, deletes: true}
	_, err := j.run(ctx, j.remove)
	return err
}

// cell is the stored record. It is a lease.Cell.
type cell struct{ p *Party }

func (c cell) decode(raw []byte) (Record, error) {
	if raw == nil {
		return Record{}, nil
	}
	return c.p.Box.Decode(c.p.Name, raw)
}

// Load implements lease.Cell.
func (c cell) Load(ctx context.Context) (Record, error) {
	raw, err := c.p.Cell.Find(ctx)
	if err != nil {
		return Record{}, err
	}
	return c.decode(raw)
}

// Lease implements lease.Cell.
func (c cell) Lease(r *Record) *lease.Lease { return &r.Lease }

// Update implements lease.Cell.
func (c cell) Update(ctx context.Context, patience swap.Patience, change func(*Record) bool) (now Record, changed bool, err error) {
	changed, err = swap.Update(ctx, c.p.Cell, patience, func(old []byte) (*swap.Value, error) {
		if now, err = c.decode(old); err != nil {
			return nil, err
		}
		if !change(&now) {
			return nil, nil
		}
		raw, err := c.p.Box.Encode(c.p.Name, now)
		if err != nil {
			return nil, swap.Final(err)
		}
		return &swap.Value{Bytes: raw}, nil
	})
	return now, changed, err
}

// patience is that of changes around a call to the provider.
func patience() swap.Patience {
	return swap.Patience{For: 3 * time.Second, Pause: 50 * time.Millisecond, Most: time.Second}
}

func (p *Party) say(ctx context.Context, n Note) {
	if p.Tell != nil {
		p.Tell(ctx, n)
	}
}

// backOff is the pause after that many failures in a row.
func backOff(fails int) time.Duration {
	return min(tryEvery<<min(max(fails-1, 0), 8), tryMost)
}
